//! Reactions to the messages of a room: who may react how often, who has, and which are one's own.
//!
//! ```text
//!   msg_react ── Toggling ── refused, with a reason
//!                         └─ so it is already, or from now on: how many have reacted so
//!   a change ─── Reactions ── who has, of each message in memory
//!   a page ───── push_mine ── which are one's own, beside the messages
//! ```
//!
//! What members are told of a message does not depend on who reads it. So which reactions are one's
//! own stands beside the messages, in the answer to the one who asks.
//!
//! Deliberately absent: when it is told (`rooms::collecting`), and how it is written down
//! (`link::reacted`).
//!
//! Called by: `journal`, `encode`, `rooms`. Calls: `journal`.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use crate::limits::{ChatLimits, REACTED_BYTES_MAX, REACTED_MEMORY_BYTES};
use crate::link::message::text;
use crate::link::reacted::{by_emoji, emoji_of};
use crate::link::refusal::{EMOJI_LIMIT, REACTIONS_LIMIT, Refusal, USER_REACTIONS_LIMIT};
use crate::room::Room;
#[cfg(test)]
use crate::room::planted::{self, Planted};
use crate::wire::json::{self, push_array, push_string, push_unsigned};

/// Who has reacted to the messages that are in memory.
#[derive(Debug, Default)]
pub(super) struct Reactions {
    by_offset: BTreeMap<u64, Box<str>>,
    /// What they take, in bytes.
    bytes: usize,
}

impl Reactions {
    /// Who has reacted to a message.
    pub(super) fn of(&self, offset: u64) -> Option<&str> {
        self.by_offset.get(&offset).map(|reacted| &**reacted)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.by_offset.is_empty()
    }

    /// What they take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Notes who has reacted to a message by now.
    pub(super) fn set(&mut self, offset: u64, reacted: Option<&str>) {
        let before = match reacted {
            Some(reacted) => {
                self.bytes += bytes_of(reacted);
                self.by_offset.insert(offset, reacted.into())
            }
            None => self.by_offset.remove(&offset),
        };
        self.bytes -= before.as_deref().map_or(0, bytes_of);
    }

    /// Forgets those to messages before `first`, which are no longer in memory.
    pub(super) fn let_go(&mut self, first: u64) {
        while let Some(oldest) = self.by_offset.first_entry().filter(|of| *of.key() < first) {
            self.bytes -= bytes_of(&oldest.remove());
        }
    }

    /// Forgets those to messages behind `kept`, which are lost.
    pub(super) fn turn(&mut self, kept: u64) {
        for reacted in self.by_offset.split_off(&(kept + 1)).values() {
            self.bytes -= bytes_of(reacted);
        }
    }

    /// Asserts that they are to messages in memory, and counted. For tests.
    pub(super) fn check(&self, in_memory: RangeInclusive<u64>) {
        let bytes: usize = self.by_offset.values().map(|reacted| bytes_of(reacted)).sum();
        assert_eq!(bytes, self.bytes, "reactions are counted for what they take");
        assert!(self.by_offset.keys().all(|offset| in_memory.contains(offset)), "and in memory");
    }
}

fn bytes_of(reacted: &str) -> usize {
    REACTED_MEMORY_BYTES + reacted.len()
}

/// The reactions to a message while some of them change.
///
/// Many may come at once, to a message that has many. So who has reacted is looked up, and not
/// looked for.
pub(crate) struct Toggling<'a> {
    /// The emoji in the order in which they came. One of which nobody is left is nobody's, and is
    /// left out in the end.
    emojis: Vec<Line<'a>>,
    places: HashMap<&'a str, usize>,
    /// Whose reactions there are, by the emoji's place and user: the user's place.
    reacted: HashMap<(usize, &'a str), usize>,
    /// How many each user has.
    of_user: HashMap<&'a str, u32>,
    /// How many emoji somebody has reacted with.
    used: usize,
    /// The bytes of all of it as a text.
    bytes: usize,
}

/// Who has reacted with an emoji, in the order in which they came. Who has gone leaves a gap.
struct Line<'a> {
    emoji: &'a str,
    users: Vec<Option<&'a str>>,
    /// How many have not gone.
    count: usize,
}

impl<'a> Toggling<'a> {
    /// The reactions that there are.
    pub(crate) fn new(reacted: &'a str) -> Self {
        let mut toggling = Self {
            emojis: Vec::new(),
            places: HashMap::new(),
            reacted: HashMap::new(),
            of_user: HashMap::new(),
            used: 0,
            bytes: 0,
        };
        for (emoji, users) in by_emoji(reacted) {
            users.for_each(|user| toggling.add(user, emoji));
        }
        toggling
    }

    /// How many have reacted with an emoji.
    pub(crate) fn count(&self, emoji: &str) -> usize {
        self.places.get(emoji).map_or(0, |place| self.emojis[*place].count)
    }

    /// A user reacts, or does no longer. So it may be already.
    ///
    /// # Errors
    ///
    /// If there are as many reactions as may be.
    pub(crate) fn toggle(
        &mut self,
        user: &'a str,
        (emoji, on): (&'a str, bool),
        limits: &ChatLimits,
    ) -> Result<(), Refusal> {
        let place = self.places.get(emoji).copied();
        let is_on = place.is_some_and(|place| self.reacted.contains_key(&(place, user)));
        if is_on == on {
            return Ok(());
        }
        if let (Some(place), false) = (place, on) {
            self.remove(user, place);
        } else {
            self.may_add(user, emoji, limits)?;
            self.add(user, emoji);
        }
        Ok(())
    }

    fn may_add(&self, user: &str, emoji: &str, limits: &ChatLimits) -> Result<(), Refusal> {
        let refused = |limit, max| Err(Refusal::TooMany { limit, max });
        if self.of_user.get(user).is_some_and(|count| *count >= limits.reactions_per_user) {
            return refused(USER_REACTIONS_LIMIT, limits.reactions_per_user);
        }
        if self.count(emoji) == 0 && self.used >= limits.emoji_per_message as usize {
            return refused(EMOJI_LIMIT, limits.emoji_per_message);
        }
        let is_full = self.reacted.len() >= limits.reactions_per_message as usize;
        if is_full || self.bytes + user.len() + emoji.len() + 2 > REACTED_BYTES_MAX {
            return refused(REACTIONS_LIMIT, limits.reactions_per_message);
        }
        Ok(())
    }

    fn add(&mut self, user: &'a str, emoji: &'a str) {
        // Whose last one has gone has lost its place.
        let known = self.places.get(emoji).filter(|place| self.emojis[**place].count > 0);
        let place = known.copied().unwrap_or_else(|| {
            self.emojis.push(Line { emoji, users: Vec::new(), count: 0 });
            self.places.insert(emoji, self.emojis.len() - 1);
            self.bytes += emoji.len() + 1;
            self.used += 1;
            self.emojis.len() - 1
        });
        let line = &mut self.emojis[place];
        self.reacted.insert((place, user), line.users.len());
        line.users.push(Some(user));
        line.count += 1;
        *self.of_user.entry(user).or_default() += 1;
        self.bytes += user.len() + 1;
    }

    fn remove(&mut self, user: &'a str, place: usize) {
        let line = &mut self.emojis[place];
        let Some(at) = self.reacted.remove(&(place, user)) else { return };
        line.users[at] = None;
        line.count -= 1;
        self.bytes -= user.len() + 1;
        if line.count == 0 {
            self.bytes -= line.emoji.len() + 1;
            self.used -= 1;
        }
        if let Some(count) = self.of_user.get_mut(user) {
            *count -= 1;
        }
    }

    /// As a text; none, if there is no reaction.
    pub(crate) fn text(&self) -> Option<Box<str>> {
        let mut out = String::with_capacity(self.bytes);
        for Line { emoji, users, .. } in self.emojis.iter().filter(|line| line.count > 0) {
            out.push_str(emoji);
            for user in users.iter().flatten() {
                out.push('\t');
                out.push_str(user);
            }
            out.push('\n');
        }
        debug_assert_eq!(out.len(), self.bytes, "its bytes are counted");
        (!out.is_empty()).then(|| out.into())
    }
}

impl Room {
    /// Adds to an answer, which is an object and begins at `start`, which reactions to the messages
    /// that it lists are this user's. `read` are messages that its log has read, each with who has
    /// reacted: what is known here is newer.
    pub(crate) fn push_mine<'a>(
        &'a self,
        out: &mut Vec<u8>,
        start: usize,
        user: &str,
        read: impl Iterator<Item = (u64, &'a str)>,
    ) {
        #[cfg(test)]
        let read = read.filter(|_| !planted::is(Planted::MineForgotten));
        let read: BTreeMap<u64, &str> = read.collect();
        // Of most rooms.
        if read.is_empty() && !self.journal.has_reactions() {
            return;
        }
        let answer = text(&out[start..]);
        let lists = json::fields(answer, ["messages", "changed"]).into_iter().flatten();
        let listed = lists.flat_map(json::elements).filter_map(|message| {
            let [offset, reactions] = json::fields(message, ["offset", "reactions"]);
            reactions.and(offset).and_then(json::unsigned)
        });
        let own = listed.filter_map(|offset| {
            let reacted = match self.journal.message(offset) {
                Some(_) => self.journal.reacted(offset),
                None => read.get(&offset).copied(),
            };
            let emoji: Vec<&str> = emoji_of(reacted?, user).collect();
            (!emoji.is_empty()).then_some((offset, emoji))
        });
        let own: BTreeMap<u64, Vec<&str>> = own.collect();
        if own.is_empty() {
            return;
        }
        out.pop_if(|last| *last == b'}');
        for (at, (offset, emoji)) in own.into_iter().enumerate() {
            out.extend_from_slice(if at == 0 { b",\"mine\":{\"" } else { b",\"" });
            push_unsigned(out, offset);
            out.extend_from_slice(b"\":");
            push_array(out, emoji, push_string);
        }
        out.extend_from_slice(b"}}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reaction_is_one_however_often_it_is_set_and_the_order_is_that_in_which_they_came() {
        let limits = ChatLimits::default();
        let mut toggling = Toggling::new("👍\tann\tbob\n🎉\tbob\n");
        for (user, emoji, on, count) in [
            ("ann", "👍", true, 2),
            ("cyd", "🎉", true, 2),
            ("cyd", "🐢", false, 0),
            ("ann", "👍", false, 1),
            ("bob", "👍", false, 0),
            ("bob", "👍", true, 1),
        ] {
            let is_so = toggling.toggle(user, (emoji, on), &limits);
            assert_eq!((is_so, toggling.count(emoji)), (Ok(()), count), "{user} {emoji} {on}");
        }
        assert_eq!(toggling.text().as_deref(), Some("🎉\tbob\tcyd\n👍\tbob\n"));
        let mut same = Toggling::new("👍\tann\n");
        assert_eq!(same.toggle("ann", ("👍", true), &limits), Ok(()));
        assert_eq!(same.text().as_deref(), Some("👍\tann\n"));
        assert_eq!(same.toggle("ann", ("👍", false), &limits), Ok(()));
        assert_eq!(same.text(), None);
    }

    #[test]
    fn there_are_no_more_reactions_than_may_be() {
        let limits = ChatLimits {
            emoji_per_message: 2,
            reactions_per_message: 4,
            reactions_per_user: 2,
            ..ChatLimits::default()
        };
        let mut toggling = Toggling::new("a\tann\nb\tann\n");
        let mut told = |user, emoji, on| toggling.toggle(user, (emoji, on), &limits);
        let refused = |limit, max| Err(Refusal::TooMany { limit, max });
        assert_eq!(told("ann", "c", true), refused(USER_REACTIONS_LIMIT, 2));
        assert_eq!(told("bob", "c", true), refused(EMOJI_LIMIT, 2));
        assert_eq!((told("ann", "b", false), told("bob", "c", true)), (Ok(()), Ok(())));
        assert_eq!((told("bob", "a", true), told("cyd", "a", true)), (Ok(()), Ok(())));
        assert_eq!(told("dan", "a", true), refused(REACTIONS_LIMIT, 4));
        assert_eq!(told("cyd", "a", true), Ok(()), "so it is");
        assert_eq!((told("cyd", "a", false), told("dan", "a", true)), (Ok(()), Ok(())));
        let user = "x".repeat(120);
        let users: Vec<_> = (0..2_200).map(|number| format!("{user}{number}")).collect();
        let many = ChatLimits::default();
        let mut toggling = Toggling::new("");
        let taken =
            users.iter().take_while(|user| toggling.toggle(user, ("a", true), &many).is_ok());
        let taken = taken.count();
        assert!((2_000..2_200).contains(&taken), "they are too long: {taken}");
        assert!(toggling.text().is_some_and(|text| text.len() <= REACTED_BYTES_MAX));
    }
}
