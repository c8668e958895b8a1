//! What a room in the engine lets go of: messages that are older than it keeps them, or more.
//!
//! ```text
//!   what the engine has ── Cut::of ──┬─ no archive ───────────────────────> LetGo
//!                                    └─ Oldest ── archive ── Cut::with ──> LetGo
//! ```
//!
//! What is let go of is at the beginning of a room, without a hole. Times of a room never decrease,
//! so one message that is too old says it of all before it.
//!
//! Deliberately absent: which rooms are looked at, and when (`follower::sweeping`).

use super::command::Head;
#[cfg(test)]
use super::follower::planted::{self, Planted};
use super::view::Messages;
use crate::link::facts::Keep;
use crate::link::log::Marks;

/// Up to where a room lets go, and what is left then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::side) struct Cut {
    /// The last message that goes, and the last change of those that go.
    pub(in crate::side) upto: Marks,
    /// When the oldest message was said that stays, in milliseconds of Unix time; `None`, if none
    /// does.
    pub(in crate::side) oldest_ms: Option<u64>,
    /// How many bytes more may stay, of messages before `first`; `None`, if they are not bounded.
    pub(in crate::side) bytes_left: Option<u64>,
    /// From this message on the engine has all.
    pub(in crate::side) first: u64,
}

impl Cut {
    /// Of what the engine has.
    pub(super) fn of(messages: &Messages<'_>, head: &Head, keep: Keep, now_ms: u64) -> Self {
        let before_ms = keep.too_old_before(now_ms);
        let mut upto = head.gone;
        if keep.messages > 0 {
            upto.offset = upto.offset.max(head.top.offset.saturating_sub(keep.messages));
        }
        let first = messages.first_before(head.top.offset);
        let mut bytes_left = (keep.bytes > 0).then_some(keep.bytes);
        let mut oldest_ms = None;
        let behind = upto.offset;
        for (offset, of) in messages.newest_first().take_while(|(offset, _)| *offset > behind) {
            // Of those before, which have changed, an archive has the others.
            let size = if offset >= first { of.size() } else { 0 };
            let left = bytes_left.map(|left| left.checked_sub(size));
            if of.at_ms < before_ms || left == Some(None) {
                (upto.offset, bytes_left) = (offset, None);
                break;
            }
            (bytes_left, oldest_ms) = (left.flatten(), Some(of.at_ms));
        }
        #[cfg(test)]
        if planted::is(Planted::YoungLetGo) && upto.offset > head.gone.offset {
            upto.offset = head.top.offset.min(upto.offset + 1);
        }
        let gone = messages.newest_first().filter(|(offset, _)| *offset <= upto.offset);
        upto.change = gone.map(|(_, of)| of.fate.change).fold(upto.change, u64::max);
        Self { upto, oldest_ms, bytes_left, first }
    }

    /// With what an archive says of messages that the engine does not have: of all that go the last
    /// change, of all that stay the first.
    pub(super) fn with(self, archive: Self) -> Self {
        let upto = self.upto.max(archive.upto);
        let oldest_ms = self.oldest_ms.into_iter().chain(archive.oldest_ms).min();
        Self { upto, oldest_ms, ..archive }
    }

    /// In how many milliseconds the room is looked at again, not before `rest_ms`; `None`, if time
    /// alone changes nothing.
    pub(super) fn due_in_ms(&self, keep: Keep, now_ms: u64, rest_ms: u64) -> Option<u64> {
        if keep.seconds == 0 {
            return None;
        }
        let keep_ms = keep.seconds.saturating_mul(1_000);
        // What is said next is no older than now.
        let oldest_ms = self.oldest_ms.unwrap_or(now_ms);
        Some(oldest_ms.saturating_add(keep_ms).saturating_sub(now_ms).max(rest_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::engine::Told;
    use crate::link::said::{Fate, Said};
    use crate::side::engine::command::{Changed, Message, State};
    use crate::side::engine::written::Writer;

    const WRITER: Writer<'_> = Writer { topic: "room:tea", node: 7, shard: 3 };

    /// What a message of this room takes, in bytes.
    const SIZE: u64 = 3 + 3 + 5 + 32;

    fn marks(offset: u64, change: u64) -> Marks {
        Marks { offset, change }
    }

    /// Messages 3 to 6, said at 3,000 to 6,000 ms. The fourth has changed, by change 2.
    fn room() -> State {
        let said = Said { user: "ann", name: "Ann", body: "\"tea\"", ..Said::default() };
        let messages = [3, 5, 6].map(|offset| {
            let record = WRITER.told(None, &Told::Message { said });
            Message { offset, at_ms: offset * 1_000, epoch: 1, record }
        });
        let told = Told::Changed { offset: 4, said_ms: 4_000, said, fate: Fate::default() };
        let record = WRITER.told(None, &told);
        let changed = vec![Changed { offset: 4, change: 2, is_deleted: false, record }];
        let head = Head { epoch: 1, top: marks(6, 2), ..Head::default() };
        State { head: Some(head), messages: messages.into(), changed, ..State::default() }
    }

    fn cut(keep: Keep, now_ms: u64) -> Cut {
        let state = room();
        let head = state.head.clone().expect("it has one");
        Cut::of(&Messages::of("room:tea", &state), &head, keep, now_ms)
    }

    #[test]
    fn what_is_too_old_goes_with_its_changes() {
        let keep = Keep { seconds: 2, ..Keep::default() };
        let at = |now_ms| {
            let Cut { upto, oldest_ms, .. } = cut(keep, now_ms);
            ((upto.offset, upto.change), oldest_ms)
        };
        assert_eq!(at(5_000), ((0, 0), Some(3_000)));
        assert_eq!(at(5_001), ((3, 0), Some(4_000)));
        assert_eq!(at(6_001), ((4, 2), Some(5_000)));
        assert_eq!(at(9_000), ((6, 2), None));
        assert_eq!(cut(Keep::default(), 9_000).upto, marks(0, 0));
    }

    #[test]
    fn what_is_too_much_goes() {
        let messages = Keep { messages: 2, ..Keep::default() };
        assert_eq!(cut(messages, 0).upto, marks(4, 2));
        let bytes = |bytes| {
            let Cut { upto, bytes_left, .. } = cut(Keep { bytes, ..Keep::default() }, 0);
            (upto.offset, bytes_left)
        };
        assert_eq!(bytes(4 * SIZE), (0, Some(0)));
        assert_eq!(bytes(4 * SIZE - 1), (3, None));
        assert_eq!(bytes(4 * SIZE + 9), (0, Some(9)));
        assert_eq!(bytes(1), (6, None));
    }

    #[test]
    fn a_room_is_looked_at_when_the_oldest_that_stays_is_too_old() {
        let keep = Keep { seconds: 2, ..Keep::default() };
        let due = |now_ms| cut(keep, now_ms).due_in_ms(keep, now_ms, 100);
        assert_eq!(due(4_000), Some(1_000));
        assert_eq!(due(5_000), Some(100), "not at once");
        assert_eq!(due(9_000), Some(2_000), "nothing is left");
        let count = Keep { messages: 2, ..Keep::default() };
        assert_eq!(cut(count, 4_000).due_in_ms(count, 4_000, 100), None);
    }

    #[test]
    fn an_archive_has_what_stays_before_and_what_goes_with_it() {
        let keep = Keep { seconds: 2, ..Keep::default() };
        let archive = Cut { upto: marks(2, 7), oldest_ms: Some(2_900), bytes_left: None, first: 3 };
        let Cut { upto, oldest_ms, .. } = cut(keep, 4_900).with(archive);
        assert_eq!((upto, oldest_ms), (marks(2, 7), Some(2_900)));
        let nothing = Cut { upto: marks(0, 7), oldest_ms: None, bytes_left: None, first: 3 };
        assert_eq!(cut(keep, 6_001).with(nothing).upto, marks(4, 7));
    }
}
