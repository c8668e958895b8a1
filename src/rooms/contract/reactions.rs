//! What is told of reactions: to whoever reacts, to all, and to each of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::judge::{Judge, Member, field};
use super::reader::{Message, messages, object, of};
use super::{Subject, TOPICS};
use crate::link::ids::Asker;
use crate::link::message::text;
use crate::link::reacted::{emoji_of, push_toggled};
use crate::link::said::MessageText;

/// A reaction of a user to a message: the topic, the offset, the user, the emoji.
pub(super) type Place = (usize, u64, String, String);

/// A reaction that is set, or taken back.
#[derive(Clone, Debug)]
pub(super) struct Reaction {
    pub(super) offset: u64,
    pub(super) emoji: String,
    pub(super) on: bool,
}

/// What members have asked for, and were answered.
#[derive(Default)]
pub(super) struct Reactions {
    asked: BTreeMap<Place, Waiting>,
    /// Those of which it is known what was done last, and answered `ok`.
    acked: BTreeMap<Place, bool>,
}

/// Who waits for an answer to a reaction.
#[derive(Default)]
struct Waiting {
    /// Each as often as it has asked. Whoever goes without an answer stays.
    askers: Vec<(u16, Asker)>,
    /// Whether nobody knows which of them comes last: they are several devices of the user, or one
    /// was told that it may be kept.
    is_unknown: bool,
}

fn has(message: &MessageText, user: &str, emoji: &str) -> bool {
    emoji_of(message.reacted().unwrap_or_default(), user).any(|of| of == emoji)
}

impl Judge {
    pub(super) fn reacts(&mut self, index: usize, reaction: &Reaction) {
        let Member { topic, shard, asker, ref user, .. } = self.members[index];
        let Reaction { offset, emoji, .. } = reaction;
        let place = (topic, *offset, user.clone(), emoji.clone());
        self.reactions.acked.remove(&place);
        let waiting = self.reactions.asked.entry(place).or_default();
        let is_only = waiting.askers.iter().all(|other| *other == (shard, asker));
        waiting.is_unknown = !is_only || waiting.is_unknown && !waiting.askers.is_empty();
        waiting.askers.push((shard, asker));
    }

    /// Somebody who has reacted is answered. Whether that is known to be the last thing done there.
    fn is_last_reaction(&mut self, index: usize, place: &Place, is_doubtful: bool) -> bool {
        let Member { shard, asker, .. } = self.members[index];
        let waiting = self.reactions.asked.get_mut(place).expect("it was asked for");
        let at = waiting.askers.iter().position(|other| *other == (shard, asker));
        waiting.askers.remove(at.expect("it has asked"));
        waiting.is_unknown |= is_doubtful;
        waiting.askers.is_empty() && !waiting.is_unknown
    }

    /// The answer to who reacts to a message.
    pub(super) fn hear_reacted<L: Subject>(
        &mut self,
        log: &L,
        index: usize,
        reaction: Reaction,
        status: &str,
        response: &str,
    ) {
        let Member { topic, ref user, .. } = self.members[index];
        let Reaction { offset, emoji, on } = reaction;
        let name = TOPICS[topic];
        let place = (topic, offset, user.clone(), emoji);
        let is_last = self.is_last_reaction(index, &place, response.contains("unconfirmed"));
        if status == "error" {
            let reason = field(response, "reason").trim_matches('"');
            let reasons = ["unconfirmed", "storage", "unavailable", "busy", "invalid", "gone"];
            let is_full = reason == "too_many" && field(response, "limit").contains("emoji");
            assert!(reasons.contains(&reason) || is_full, "{response}");
            self.seen.insert(if is_full { "too many emoji" } else { "reaction refused" });
            return;
        }
        self.seen.insert("reacted");
        if !is_last {
            return;
        }
        let (.., user, emoji) = &place;
        let durable = log.durable(name).change;
        if let Some(kept) = log.state(name, offset, durable).filter(|_| !log.may_lose_acked()) {
            let is_so = kept.fate().deleted.is_some() || has(&kept, user, emoji) == on;
            assert!(is_so, "a reaction is answered after it is kept: {place:?} {kept:?}");
        }
        self.reactions.acked.insert(place, on);
    }

    /// What was answered is there for good.
    pub(super) fn check_reactions<L: Subject>(&self, log: &L) {
        for ((topic, offset, user, emoji), on) in &self.reactions.acked {
            let latest = log.state(TOPICS[*topic], *offset, u64::MAX);
            let Some(latest) = latest.filter(|_| !log.may_lose_acked()) else { continue };
            let is_so = latest.fate().deleted.is_some() || has(&latest, user, emoji) == *on;
            assert!(is_so, "an answered reaction is there for good: {user} {emoji} {latest:?}");
        }
    }

    /// Whoever merges patches knows which reactions are its own: what is told of who has reacted is
    /// what has happened.
    pub(super) fn check_by<L: Subject>(&mut self, log: &L, topic: usize, patch: &Message) {
        let (offset, change) = (of(patch, "offset"), of(patch, "change"));
        let then = |change| log.state(TOPICS[topic], offset, change);
        let (Some(was), Some(now)) = (then(change - 1), then(change)) else { return };
        if now.fate().change != change {
            // A turn has lost it already.
            return;
        }
        let (was, now) = (was.reacted().unwrap_or_default(), &now);
        let mut expected = Vec::new();
        push_toggled(&mut expected, was, now.reacted().unwrap_or_default());
        // Of a message that nobody here knows any more it is not known who has just reacted.
        let by = patch.get("by").map(ToString::to_string);
        let by = by.filter(|by| by != "[]" || !log.has_others());
        // Where the log gives the order, the message may be known to nobody here any more.
        let is_known = by.is_some() || !(log.has_others() || log.shows_only_kept());
        let has_changed = text(&expected) != "[]" && now.fate().deleted.is_none();
        if is_known && has_changed {
            assert_eq!(by.as_deref(), Some(text(&expected)), "who reacts is told: {patch:?}");
            self.seen.insert("told by whom");
        } else {
            assert!(by.is_none() || has_changed, "nobody reacts unseen: {patch:?}");
        }
    }

    /// An answer says which reactions to the messages in it are one's own.
    pub(super) fn check_mine<L: Subject>(
        &mut self,
        log: &L,
        (topic, user): (usize, &str),
        response: &str,
    ) {
        let response = object(response);
        let mine = response.get("mine").cloned().unwrap_or_default();
        let lists = ["messages", "changed"].map(|name| messages(&response, name));
        for message in lists.iter().flatten() {
            let (offset, change) = (of(message, "offset"), of(message, "change"));
            let Some(then) = log.state(TOPICS[topic], offset, change) else { continue };
            if then.fate().change != change {
                continue;
            }
            let own: BTreeSet<_> = emoji_of(then.reacted().unwrap_or_default(), user).collect();
            let told = mine[offset.to_string()].as_array().cloned().unwrap_or_default();
            let told: BTreeSet<_> = told.iter().filter_map(|emoji| emoji.as_str()).collect();
            assert_eq!(told, own, "what is one's own is said: {user} {message:?}");
            if !own.is_empty() {
                self.seen.insert("mine");
            }
        }
    }
}
