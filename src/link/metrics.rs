//! What a shard counts, and how the rest of the process reads it: each shard writes its numbers
//! down once a turn, and whoever asks adds them up.
//!
//! The text is that of Prometheus (exposition format 0.0.4). Nothing a peer sent is in it, so
//! nothing needs to be escaped.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// A row of the text: its name, the labels behind it, whether it only grows, and what it is.
struct Series {
    name: &'static str,
    labels: &'static str,
    kind: &'static str,
    help: &'static str,
}

/// What the rows of a name with labels have in common; what each of them is stands with it.
const FAMILIES: &[(&str, &str)] = &[
    (
        "admissions_parked_total",
        "What had to wait for its turn, past `limits.admissions_per_turn`.",
    ),
    ("refused_total", "What was refused, and by which limit."),
    ("requests_refused_total", "HTTP requests that were not answered as they asked."),
    ("closed_total", "Sockets closed from this side."),
    (
        "cluster_slices_total",
        "What other servers have said of who is in rooms that are in use here, by what it was.",
    ),
];

macro_rules! metrics {
    ($($field:ident: $kind:ident $name:literal $labels:literal $help:literal;)+) => {
        /// What a shard has counted since it began, and how much it has of what now.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Metrics {
            $(#[doc = $help] pub $field: u64,)+
        }

        impl Metrics {
            const SERIES: &[Series] = &[
                $(Series { name: $name, labels: $labels, kind: stringify!($kind), help: $help },)+
            ];

            fn values(&self) -> [u64; Self::SERIES.len()] {
                [$(self.$field,)+]
            }
        }
    };
}

metrics! {
    connections: gauge "connections" "" "Connections there are, sessions of long polling among them.";
    rooms: gauge "rooms" "" "Rooms there are, empty ones with a history among them.";
    history_bytes: gauge "history_bytes" "" "What rooms remember, in bytes.";
    log_bytes: gauge "log_bytes" "" "Memory of what members who lag have not been sent yet, in bytes.";
    buffers: gauge "buffers" "" "Buffers lent to connections with a part of a message, or with output that they do not take.";
    memory_bytes: gauge "memory_bytes" "" "Memory in use, as it counts against `limits.memory_bytes`.";
    waiting: gauge "admissions_waiting" "" "Upgrades and joins that wait for their turn, or for the way to another shard.";
    turns: counter "turns_total" "" "Turns of the event loops.";
    accepted: counter "accepted_total" "" "Connections taken in.";
    accept_failures: counter "accept_failures_total" "" "Failures to accept a connection, for want of descriptors or memory.";
    put_out: counter "put_out_total" "" "Memberships that a room has ended: by a ban, a kick, or since it is for members only.";
    left_at_end: counter "memberships_ended_total" "" "Memberships that ended many at a time: with their connection, together with all of their room, since it put them out, or for the memory that they took.";
    handed_off: counter "handed_off_total" "" "Connections that went to another shard before their first join: to where their room lives.";
    parked_upgrades: counter "admissions_parked_total" "{what=\"upgrade\"}" "Upgrades.";
    parked_joins: counter "admissions_parked_total" "{what=\"join\"}" "Joins.";
    refused: counter "refused_total" "{limit=\"limits.connections\"}" "Connections turned away from a full server.";
    refused_per_ip: counter "refused_total" "{limit=\"limits.connections_per_ip\"}" "Connections, for others from the same address.";
    refused_sessions: counter "refused_total" "{limit=\"sessions\"}" "Sessions of long polling, for others of the same user, or for their pace.";
    refused_memory: counter "refused_total" "{limit=\"limits.memory_bytes\"}" "Connections turned away, and joins answered `busy`.";
    refused_search: counter "refused_total" "{limit=\"limits.search_per_s\"}" "Searches.";
    refused_publish: counter "refused_total" "{limit=\"limits.publish_per_s\"}" "Pushes.";
    refused_join: counter "refused_total" "{limit=\"limits.join_per_s\"}" "Joins.";
    refused_fanout: counter "refused_total" "{limit=\"limits.fanout_bytes_per_s\"}" "Pushes of much to many.";
    refused_founding: counter "refused_total" "{limit=\"limits.rooms_per_s\"}" "Joins and requests that would have made a room, by user or address.";
    refused_tokens: counter "refused_total" "{limit=\"limits.tokens_per_s_per_ip\"}" "Guests' tokens.";
    refused_channels: counter "refused_total" "{limit=\"limits.channels_per_conn\"}" "Joins of one channel too many.";
    refused_rooms: counter "refused_total" "{limit=\"limits.rooms\"}" "Joins of one room too many.";
    refused_moderated: counter "refused_total" "{limit=\"moderation\"}" "What a room does not take of a user: it is muted or banned, the room is in slow mode, a link.";
    refused_length: counter "refused_total" "{limit=\"limits.body_bytes\"}" "A body that is too long, or another field of a message.";
    refused_busy: counter "refused_total" "{limit=\"busy\"}" "The way to another shard was full, or a join waited too long.";
    refused_storage: counter "refused_total" "{limit=\"storage\"}" "Messages that the disk did not take.";
    refused_unavailable: counter "refused_total" "{limit=\"unavailable\"}" "Messages for an engine that was not there.";
    refused_unconfirmed: counter "refused_total" "{limit=\"unconfirmed\"}" "Messages of which it was not known whether they are kept.";
    requests: counter "requests_total" "" "HTTP requests answered, upgrades not among them.";
    refused_head: counter "requests_refused_total" "{reason=\"malformed\"}" "No request of HTTP/1.1.";
    refused_head_length: counter "requests_refused_total" "{reason=\"too_long\"}" "Past `limits.head_bytes`, or too large a body.";
    late: counter "requests_refused_total" "{reason=\"late\"}" "No whole request within `limits.handshake_ms`, or no further one within `limits.idle_ms`.";
    unauthorized: counter "requests_refused_total" "{reason=\"unauthorized\"}" "An upgrade with a bad token, version or origin.";
    upgrades: counter "upgrades_total" "" "Sockets and sessions opened.";
    renewed: counter "tokens_renewed_total" "" "Tokens that replaced another on their connection.";
    messages_in: counter "messages_in_total" "" "Messages from clients.";
    published: counter "published_total" "" "Messages that got an offset.";
    changed: counter "changed_total" "" "Changes of messages: edits, deletions, pins.";
    delivered: counter "delivered_total" "" "Events addressed to members: each counts once for each member.";
    lagged: counter "lagged_total" "" "Members let go of because they were `limits.room_lag_bytes` behind.";
    lost_for_memory: counter "lost_for_memory_total" "" "Members let go of because memory was short: they lagged furthest.";
    overflowed: counter "closed_total" "{reason=\"overflowed\"}" "Nothing of what waited was taken for `limits.out_ms`, or far too much waited: 1013.";
    answers_lost: counter "closed_total" "{reason=\"answer_lost\"}" "Sessions of long polling whose client polled on without the last answer: 500.";
    expired: counter "closed_total" "{reason=\"expired\"}" "The token has expired: 4001.";
    idle: counter "closed_total" "{reason=\"idle\"}" "Nothing came for `limits.idle_ms`: 1002.";
    slow: counter "closed_total" "{reason=\"slow\"}" "A message took longer than `limits.message_ms`: 1008.";
    broken_protocol: counter "closed_total" "{reason=\"protocol\"}" "Frames against RFC 6455: 1002 or 1007.";
    fragmented: counter "closed_total" "{reason=\"fragments\"}" "Past `limits.fragments`: 1008.";
    too_big: counter "closed_total" "{reason=\"too_big\"}" "Past `limits.frame_bytes` or `limits.message_bytes`: 1009.";
    malformed: counter "closed_total" "{reason=\"malformed\"}" "No message of Phoenix: 1011.";
    closed_for_memory: counter "closed_total" "{reason=\"memory\"}" "Whoever held the most when `limits.memory_bytes` was reached: 1013, if it still takes that.";
    drained: counter "closed_total" "{reason=\"drained\"}" "The server stops: 1012.";
    slices_whole: counter "cluster_slices_total" "{kind=\"whole\"}" "All who are there.";
    slices_diff: counter "cluster_slices_total" "{kind=\"diff\"}" "Who has come and gone.";
    slices_audit: counter "cluster_slices_total" "{kind=\"audit\"}" "That what was said still holds.";
    slices_want: counter "cluster_slices_total" "{kind=\"want\"}" "That a server wants to be told all.";
    slices_wanted: counter "cluster_wants_total" "" "Times that this server has asked another who is there.";
    slices_differ: counter "cluster_audit_differs_total" "" "Audits of servers that had said something which was not heard here.";
}

/// One shard's numbers, for other threads to read.
pub struct Published([AtomicU64; Metrics::SERIES.len()]);

impl Default for Published {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; Metrics::SERIES.len()])
    }
}

impl Published {
    /// Writes the numbers down. By the shard whose they are, and nobody else.
    pub fn set(&self, metrics: &Metrics) {
        for (place, value) in self.0.iter().zip(metrics.values()) {
            // Each number stands for itself: a reader may see one of this turn and one of the last.
            place.store(value, Ordering::Relaxed);
        }
    }
}

/// Appends the sums over all shards as text for Prometheus.
pub fn push_text<'a>(out: &mut String, shards: &(impl Iterator<Item = &'a Published> + Clone)) {
    let mut before = "";
    for (index, Series { name, labels, kind, help }) in Metrics::SERIES.iter().enumerate() {
        let sum: u64 = shards.clone().map(|shard| shard.0[index].load(Ordering::Relaxed)).sum();
        if std::mem::replace(&mut before, name) != *name {
            // Writing to a string cannot fail.
            let family =
                FAMILIES.iter().find(|(family, _)| family == name).map_or(*help, |(_, help)| help);
            let _ = writeln!(out, "# HELP chinwag_{name} {family}\n# TYPE chinwag_{name} {kind}");
        }
        if !labels.is_empty() {
            // A comment: the format has no place for what a single row is.
            let _ = writeln!(out, "# {labels}: {help}");
        }
        let _ = writeln!(out, "chinwag_{name}{labels} {sum}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_the_sums_of_all_shards_and_each_name_is_explained_once() {
        let shards = [Published::default(), Published::default()];
        shards[0].set(&Metrics {
            connections: 2,
            refused: 3,
            refused_per_ip: 1,
            ..Metrics::default()
        });
        shards[1].set(&Metrics { connections: 5, ..Metrics::default() });
        let mut text = String::new();
        push_text(&mut text, &shards.iter());
        assert!(text.starts_with(
            "# HELP chinwag_connections Connections there are, sessions of long polling among them.\n\
             # TYPE chinwag_connections gauge\nchinwag_connections 7\n"
        ));
        assert!(text.contains(
            "# HELP chinwag_refused_total What was refused, and by which limit.\n\
             # TYPE chinwag_refused_total counter\n\
             # {limit=\"limits.connections\"}: Connections turned away from a full server.\n\
             chinwag_refused_total{limit=\"limits.connections\"} 3\n\
             # {limit=\"limits.connections_per_ip\"}: Connections, for others from the same address.\n\
             chinwag_refused_total{limit=\"limits.connections_per_ip\"} 1\n"
        ));
        let mut explained: Vec<_> =
            text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let count = explained.len();
        explained.sort_unstable();
        explained.dedup();
        assert_eq!(explained.len(), count, "rows of one name stand together");
    }

    #[test]
    fn names_with_labels_are_families_and_only_they() {
        for Series { name, labels, .. } in Metrics::SERIES {
            assert_eq!(
                FAMILIES.iter().any(|(family, _)| family == name),
                !labels.is_empty(),
                "{name}"
            );
        }
    }
}
