//! What is counted, and which of it must be 0.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is counted. Each name stands in the JSON as it is here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    /// Connections that were opened and upgraded.
    pub(crate) connected: u64,
    /// Joins answered with `ok`.
    pub(crate) joined: u64,
    /// Messages sent, in all.
    pub(crate) sent: u64,
    /// Messages sent that were due in the window.
    pub(crate) sent_window: u64,
    /// Messages received, in all.
    pub(crate) delivered: u64,
    /// Messages that arrived within the window.
    pub(crate) delivered_window: u64,
    /// Messages that were in the answer to a rejoin with a cursor.
    pub(crate) recovered: u64,
    /// Pushes answered with `ok`.
    pub(crate) answered: u64,
    /// Pushes answered with `ok` within the window.
    pub(crate) answered_window: u64,
    /// Bytes received within the window, with frame headers.
    pub(crate) bytes_window: u64,
    /// Bytes of messages received within the window, with frame headers.
    pub(crate) message_bytes_window: u64,
    /// Other events received (presence, typing), in all.
    pub(crate) events: u64,
    /// Bytes of other events received, in all.
    pub(crate) event_bytes: u64,
    /// The same, while the room was filling (presence).
    pub(crate) filling_events: u64,
    /// Bytes of other events received while the room was filling (presence).
    pub(crate) filling_event_bytes: u64,
    /// Connections closed by us, on purpose.
    pub(crate) left: u64,
    /// Connections opened again.
    pub(crate) reconnected: u64,
    /// Channels that the server ended with `phx_error` or `phx_close`, or connections it closed,
    /// where the scenario expects it.
    pub(crate) ended_loudly: u64,

    /// Changes of messages that were acknowledged: edits, deletions, reactions (failover).
    pub(crate) changed: u64,
    /// Bans that were acknowledged (failover).
    pub(crate) banned: u64,
    /// How often a member was told that it may have missed something (failover).
    pub(crate) told: u64,
    /// Acknowledged messages, changes and bans that are lost, which the end of their epoch has told
    /// (failover).
    pub(crate) told_lost: u64,

    /// Messages that never came; in `failover`, those that were acknowledged and are not kept, and
    /// changes of them. From here on, anything but 0 fails the run.
    pub(crate) lost: u64,
    /// Messages that came more than once.
    pub(crate) duplicate: u64,
    /// Messages that came after a later one of the same sender.
    pub(crate) reordered: u64,
    /// Messages out of the room's order: the offset is not the member's next, or another member
    /// saw another message under it. Without offsets: seen the other way round by another member.
    pub(crate) room_order: u64,
    /// Offsets that a member was not sent though it must have them, which nothing has told it
    /// (failover).
    pub(crate) gaps: u64,
    /// Messages that are not the same to all members and servers in the end (failover).
    pub(crate) differing: u64,
    /// Members that are in, or let in, in the end though they were banned (failover).
    pub(crate) let_in: u64,
    /// Acknowledged messages of which it could not be read whether they are kept (failover).
    pub(crate) unread: u64,
    /// Presences that a member lists in the end though their connection's life is over (failover).
    pub(crate) ghosts: u64,
    /// Commands of `--fault` that could not be run, or ended with another code than 0.
    pub(crate) faults_failed: u64,
    /// Messages that came to a connection that is not in their room, or under another topic.
    pub(crate) stray: u64,
    /// Messages whose body is not what was sent.
    pub(crate) corrupt: u64,
    /// Messages that were refused and came all the same.
    pub(crate) refused_but_sent: u64,
    /// Pushes that were due but not sent, because their connection was gone or had no room for
    /// more, or there was none in time.
    pub(crate) not_sent: u64,
    /// Pushes without an answer.
    pub(crate) unanswered: u64,
    /// Connections that failed or were refused.
    pub(crate) connect_failed: u64,
    /// Joins that were refused or not answered.
    pub(crate) join_failed: u64,
    /// Connections that the server closed though nothing asked for it.
    pub(crate) closed_by_server: u64,
    /// Connections that the server was to close and did not (storm, when it is restarted).
    pub(crate) not_closed: u64,
    /// Channels that the server ended though nothing asked for it.
    pub(crate) channel_ended: u64,
    /// Frames that break RFC 6455, text that is not UTF-8, and messages that are not of the
    /// dialect.
    pub(crate) malformed: u64,
    /// Observers that never saw the whole room (presence); in `failover`, how often a member is not
    /// listed by another in the end.
    pub(crate) presence_wrong: u64,
    /// Pushes answered with an error, by reason. `rate_limited` is the server keeping its limit:
    /// spread the publishers.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Pushes and joins that were refused for now and asked again, by reason (failover). No fault.
    pub(crate) retried: BTreeMap<String, u64>,
    /// The first few of what fails the run, each in a sentence, by the name of its count.
    pub(crate) examples: BTreeMap<String, Vec<String>>,
    /// Why connections failed or were closed, by reason, to tell.
    pub(crate) reasons: BTreeMap<String, u64>,
}

/// Reasons that are told apart; more are `other`.
const REASONS_MAX: usize = 100;

/// The longest reason told, in characters.
const REASON_CHARS_MAX: usize = 100;

/// Counts a reason. It may be the server's own words: these are cut, and a terminal is shown no
/// control characters.
pub(crate) fn tell(reasons: &mut BTreeMap<String, u64>, why: &str) {
    let why: String =
        why.chars().take(REASON_CHARS_MAX).map(|c| if c.is_control() { '?' } else { c }).collect();
    let known = reasons.contains_key(&why) || reasons.len() < REASONS_MAX;
    *reasons.entry(if known { why } else { "other".to_owned() }).or_default() += 1;
}

/// Adds the counts of these names to one's own. What else there is must be named, too, so that
/// nothing is forgotten.
macro_rules! add_up {
    ($own:ident += $other:ident; $($count:ident)+; $($rest:ident)+) => {
        let Self { $($count,)+ $($rest,)+ } = $other;
        $($own.$count += $count;)+
    };
}

impl Counts {
    /// What must be 0 for the run to count, by name, in the order of a report.
    pub(crate) fn faults(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("lost", self.lost),
            ("duplicate", self.duplicate),
            ("reordered", self.reordered),
            ("room_order", self.room_order),
            ("gaps", self.gaps),
            ("differing", self.differing),
            ("let_in", self.let_in),
            ("unread", self.unread),
            ("stray", self.stray),
            ("corrupt", self.corrupt),
            ("refused", self.refused.values().sum()),
            ("refused_but_sent", self.refused_but_sent),
            ("not_sent", self.not_sent),
            ("unanswered", self.unanswered),
            ("connect_failed", self.connect_failed),
            ("join_failed", self.join_failed),
            ("closed_by_server", self.closed_by_server),
            ("not_closed", self.not_closed),
            ("channel_ended", self.channel_ended),
            ("malformed", self.malformed),
            ("presence_wrong", self.presence_wrong),
            ("ghosts", self.ghosts),
            ("faults_failed", self.faults_failed),
        ]
    }

    /// Adds another worker's.
    pub(crate) fn add(&mut self, other: &Self) {
        add_up! {
            self += other;
            connected joined sent sent_window delivered delivered_window recovered answered
            answered_window bytes_window message_bytes_window events event_bytes filling_events
            filling_event_bytes left reconnected ended_loudly changed banned told told_lost lost
            duplicate reordered room_order gaps differing let_in unread ghosts faults_failed
            stray corrupt refused_but_sent not_sent unanswered connect_failed join_failed
            closed_by_server not_closed channel_ended malformed presence_wrong;
            refused retried examples reasons
        }
        for (name, sentences) in examples {
            self.examples.entry(name.clone()).or_default().extend_from_slice(sentences);
        }
        add_times(&mut self.refused, refused);
        add_times(&mut self.retried, retried);
        add_times(&mut self.reasons, reasons);
    }
}

fn add_times(mine: &mut BTreeMap<String, u64>, theirs: &BTreeMap<String, u64>) {
    for (reason, times) in theirs {
        *mine.entry(reason.clone()).or_default() += times;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_words_are_cut_and_only_so_many_are_told_apart() {
        let mut reasons = BTreeMap::new();
        for number in 0..1_000 {
            tell(&mut reasons, &format!("no {number}"));
        }
        tell(&mut reasons, "no 7");
        assert_eq!((reasons.len(), reasons["other"], reasons["no 7"]), (REASONS_MAX + 1, 900, 2));
        let mut reasons = BTreeMap::new();
        tell(&mut reasons, &format!("\u{1b}[2J{}", "x".repeat(10_000)));
        assert_eq!(
            reasons.keys().next().map(String::as_str),
            Some(format!("?[2J{}", "x".repeat(96)).as_str())
        );
    }
}
