//! What a client was granted: each answer says what was asked for, and is true.

use chinwag::auth::level::Level;
use serde_json::Value;

use crate::client::{Ask, Client, Member, Payload, Pending};
use crate::merge::{self, change_of};
use crate::rights::Facts;

use super::heard::Heard;
use super::{Ears, number};

impl Client {
    #[expect(clippy::too_many_lines, reason = "a table of answers")]
    pub(super) fn granted(
        &mut self,
        ears: &mut Ears<'_>,
        heard: &Heard,
        pending: &Pending,
        is_orphan: bool,
        response: &Payload,
    ) {
        let user = self.user();
        let link = self.link.as_mut().expect("who hears is connected");
        let topic = &*pending.topic;
        let room = topic.strip_prefix("room:");
        let is_member = pending.join_ref != "null" || self.refless;
        assert!(
            is_member || matches!(pending.ask, Ask::Join { .. } | Ask::Leave | Ask::Heartbeat),
            "only members speak: {pending:?}"
        );
        if let Ask::Echo(payload) = &pending.ask {
            // V1 has no binary.
            assert_eq!(response, payload, "an echo is what was said");
            return;
        }
        let Payload::Json(response) = response else { panic!("only echoes are binary") };
        match &pending.ask {
            Ask::Join { since, limit, visible, invited } => {
                assert!(!is_orphan, "a join belongs to no channel that could end before");
                assert!(
                    heard
                        .join_ref
                        .as_ref()
                        .is_none_or(|it| *it == pending.join_ref || pending.join_ref == "null")
                );
                assert!(
                    room.is_none_or(|room| user.may_join(room)),
                    "only who may joins: {} in {topic}",
                    user.id
                );
                if ears.plan.log.keeps() || ears.collects() {
                    // What waited for the log, or for a reaction to be told, in the channel that
                    // ends is answered no more.
                    link.orphan_before(topic, number(&pending.reference));
                }
                let before: Vec<_> =
                    link.pending.iter().filter(|other| other.topic == topic).collect();
                assert!(
                    before
                        .iter()
                        .all(|other| number(&other.reference) > number(&pending.reference)),
                    "what was asked before a join is answered before it: {before:?}"
                );
                ears.check_entry(user, pending);
                ears.check_invited(user, pending, invited.as_ref());
                let mut member = Member::new(pending, *visible);
                match (room, topic) {
                    (Some(room), _) => {
                        member.joined(ears, user, room, since.as_ref(), *limit, response);
                        let had = self.cursors.get(topic).map_or(0, |cursor| cursor.offset);
                        self.cursors.insert(topic.to_owned(), member.cursor(self.knows_changes));
                        let has = self.has.entry(topic.to_owned()).or_default();
                        let knows = since.as_ref().is_some_and(|since| since.change.is_some());
                        let changed = response.get("changed");
                        assert!(changed.is_none() || knows, "it would not know what that is");
                        if self.knows_changes {
                            let upto = since.clone().unwrap_or_default();
                            // Whoever says that it has what it has not cannot count.
                            if upto.offset > had {
                                has.clear();
                            }
                            let change = upto.change.unwrap_or_default();
                            let is_same = upto.epoch == member.epoch;
                            merge::forget_beyond(has, (upto.offset, change), is_same);
                            member.merge_joined(ears, topic, has, response);
                        }
                    }
                    (None, "lobby") => member.lobby(user, response),
                    _ => assert_eq!(response["you"]["user"], user.id),
                }
                ears.truth.saw("joined");
                let channel = link.channels.entry(topic.to_owned()).or_default();
                if let Some(old) = channel.member.replace(member) {
                    ears.truth.saw("joined again");
                    channel.closes_due.push_back(old.join_ref);
                }
            }
            Ask::Leave => {
                let Some(channel) = link.channels.get_mut(topic) else { return };
                if let Some(old) = channel.member.take() {
                    assert!(pending.join_ref != "\"stale\"", "a stale leave ends nothing");
                    channel.closes_due.push_back(old.join_ref);
                    ears.truth.saw("left");
                }
            }
            Ask::Publish { body, key, too_large, calls_all } => {
                let room = room.expect("messages are said in rooms");
                assert!(user.may_speak(room), "only who may speaks: {} in {room}", user.id);
                let needed = if *calls_all { Level::Moderate } else { Level::Speak };
                ears.check_might(user, pending, needed);
                if *calls_all {
                    ears.truth.saw("mentioned all");
                }
                assert!(!too_large, "a body has a limit");
                ears.truth.receipt(topic, body, response);
                let offset = response["offset"].as_u64().expect("a receipt has an offset");
                ears.check_kept(topic, offset, body);
                if key.is_some() {
                    self.unanswered.retain(|(_, unanswered, _)| unanswered != body);
                }
                ears.truth.saw("published");
            }
            Ask::Attach { meta } => {
                ears.check_might(user, pending, Level::Join);
                assert_eq!(response.to_string(), "{}");
                ears.truth.saw("another meta");
                let channel = link.channels.get_mut(topic);
                let member = channel.and_then(|channel| channel.member.as_mut());
                // One without a ref belongs to the channel that there is, whatever join was asked
                // for since.
                let is_its = |of: &&mut Member| {
                    heard.join_ref.as_ref().is_none_or(|named| *named == of.join_ref)
                };
                if let Some(member) = member.filter(is_its) {
                    member.meta = Some(meta.clone());
                }
            }
            Ask::Custom { .. } => {
                assert!(
                    room.is_none_or(|room| user.may_speak(room)),
                    "only who may speaks: {} in {topic}",
                    user.id
                );
                ears.check_might(user, pending, Level::Speak);
                assert_eq!(response.to_string(), "{}");
            }
            Ask::History { before, after, limit, heard } => {
                let epoch = link.member(topic).map(|member| member.epoch.clone());
                // Of a channel that has ended one does not know the epoch any more.
                let Some(epoch) = epoch.filter(|_| !is_orphan) else { return };
                // A turn is not told to one that leaves, which may wait for its log.
                let leaves =
                    |other: &Pending| other.topic == *topic && matches!(other.ask, Ask::Leave);
                if ears.plan.log.keeps() && link.pending.iter().any(leaves) {
                    return;
                }
                let change = link.member(topic).map_or(0, |member| member.change);
                check_fresh(ears, topic, &epoch, change, response);
                if let Some(has) = self.has.get_mut(topic).filter(|_| self.knows_changes) {
                    for message in response["messages"].as_array().into_iter().flatten() {
                        merge::whole(has, message, true);
                    }
                }
                let asked = (*before, *after, limit.unwrap_or(50));
                let heard = if heard.0 == epoch { heard.1 } else { 0 };
                check_page(ears, topic, &epoch, asked, heard, response);
                ears.truth.saw("history");
            }
            Ask::Search(query) => {
                let epoch = link.member(topic).map(|member| member.epoch.clone());
                let Some(epoch) = epoch.filter(|_| !is_orphan) else { return };
                check_hits(ears, topic, &epoch, query, response);
                ears.truth.saw("searched");
            }
            Ask::Change { offset, deed, calls_all, epoch } => {
                let room = room.expect("what changes is in rooms");
                let needed = if *calls_all { Level::Moderate } else { deed.needs() };
                let may = needed < Level::Speak || user.may_speak(room);
                assert!(may, "only who may speaks: {} in {room}", user.id);
                ears.check_might(user, pending, needed);
                let change = response["change"].as_u64().expect("it says which change it was");
                ears.truth.saw("done");
                if change == 0 {
                    // It was so already, as it was said.
                    return;
                }
                if ears.check_done(topic, *offset, change, deed) {
                    let acked = (topic.to_owned(), *offset, change, deed.clone());
                    ears.truth.acked_changes.push(acked);
                } else if !ears.plan.log.keeps() && !is_orphan {
                    ears.truth.reached_change(topic, epoch, change);
                }
            }
            Ask::React { .. } => {
                let token = user.level_in(room.expect("reactions are in rooms"));
                let facts = ears.might(user, topic, pending.asked).facts;
                let may_be = |facts: &Facts| facts.may_react(user.id, token, ears.unix_ms);
                assert!(facts.iter().any(may_be), "only who may reacts: {} in {topic}", user.id);
                assert!(response["count"].is_u64(), "it says how many have reacted: {response}");
                ears.truth.saw("reacted");
            }
            Ask::Append { offset, piece } => {
                ears.check_might(user, pending, Level::Speak);
                let mine = self.has.get(topic).and_then(|has| has.get(offset));
                ears.appended(mine, piece, response);
            }
            Ask::Decide(_) => ears.check_decided(user, pending, response),
            Ask::ListMembers(_) => ears.check_members(user, pending, response),
            // Of a room that has been left there may be nothing any more.
            Ask::Report(_) | Ask::Audit(_) if is_orphan => {}
            Ask::Report(_) => ears.check_reported(user, pending),
            Ask::Audit(_) => {
                let since = link.member(topic).map_or(pending.asked, |member| member.asked);
                ears.check_trail(user, pending, since, response);
            }
            Ask::Invite => ears.check_invite(user, pending, response),
            Ask::Heartbeat => assert_eq!(response.to_string(), "{}"),
            Ask::Renew { expires_at_s } => {
                assert_eq!(response["user"], user.id, "a connection stays its user's");
                let is_planted = ears.plan.bug.is_some();
                assert!(is_planted || response["expires_at"] == *expires_at_s, "{response}");
                // Of two topics the answers come in any order, and the tokens counted as they came.
                let asked = number(&pending.reference);
                if asked > link.renewed {
                    (link.renewed, link.expires_at_s) = (asked, *expires_at_s);
                }
                ears.truth.saw("renewed");
            }
            Ask::Echo(_) => unreachable!("handled above"),
            Ask::Wrong(reason) => panic!("this is refused for {reason}: {topic} {response}"),
        }
    }
}

/// What was found was said in this room, and has what was looked for. That it is kept is seen at
/// rest.
fn check_hits(ears: &mut Ears<'_>, topic: &str, epoch: &str, query: &str, found: &Value) {
    let messages = found["messages"].as_array().expect("what was found has messages");
    let mut before = u64::MAX;
    for message in messages {
        let body = message["body"].as_str().expect("a message has a body");
        assert!(ears.truth.is_said_in(topic, body), "what was found was said there: {body}");
        let offset = ears.truth.heard(topic, epoch, message);
        assert!(offset < before, "the newest is found first: {topic} at {offset}");
        before = offset;
        // One that has changed since is told as it is by then.
        let has_it = body.contains(query) || change_of(message) > 0;
        assert!(has_it, "what was found has what was looked for: {body}");
        ears.truth.found.push((topic.to_owned(), offset, body.to_owned()));
    }
}

/// A page is never older than what its reader has heard, which is all up to a change.
pub(super) fn check_fresh(ears: &Ears<'_>, topic: &str, epoch: &str, heard: u64, page: &Value) {
    for message in page["messages"].as_array().expect("a page has messages") {
        let offset = message["offset"].as_u64().expect("a message has an offset");
        let latest = ears.truth.latest_change(topic, epoch, offset, heard);
        assert!(
            change_of(message) >= latest,
            "a page is never older than what its reader has heard: {latest} of {message}"
        );
    }
}

/// Checks a page and what it is a page of.
fn check_page(
    ears: &mut Ears<'_>,
    topic: &str,
    epoch: &str,
    (before, after, limit): (Option<u64>, Option<u64>, u64),
    heard: u64,
    page: &Value,
) {
    let messages = page["messages"].as_array().expect("a page has messages");
    let offsets: Vec<u64> =
        messages.iter().map(|message| ears.truth.heard(topic, epoch, message)).collect();
    assert!(offsets.len() as u64 <= limit, "a page is no longer than asked");
    assert!(offsets.is_sorted_by(|a, b| a + 1 == *b), "a page has no gaps: {topic} {offsets:?}");
    let more = page["more"].as_bool().expect("a page says whether there is more");
    ears.truth.pages.push((offsets.clone(), more));
    if ears.plan.log.keeps() && limit > 0 {
        // What a log keeps is there, in memory or not.
        let (first, last) = (offsets.first().copied(), offsets.last().copied());
        let has_all = match (before, after) {
            (Some(before), _) => before < 2 || before - 1 > heard || last == Some(before - 1),
            (_, Some(after)) => after >= heard || first == Some(after + 1),
            (None, None) => last.unwrap_or_default() >= heard,
        };
        assert!(
            has_all,
            "a page has all that its reader has heard: {topic} {first:?} to {last:?}, of {heard}, \
             before {before:?} after {after:?}"
        );
        assert!(
            after.is_some() || more == first.is_some_and(|first| first > 1),
            "a page says what is before it: {topic} from {first:?} on"
        );
    }
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return };
    if let Some(before) = before {
        assert!(*last < before, "a page ends before what was asked");
    }
    if let Some(after) = after {
        assert!(*first > after, "a page begins after what was asked");
    } else {
        assert!(!more || *first > 1, "there is nothing before the first");
    }
}
