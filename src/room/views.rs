//! Pages that are not simply before or after an offset: around a message, of a thread, of what is
//! pinned.
//!
//! ```text
//!   history ── check_page ─┬ refused, with a reason
//!                          └ view_in_log ─┬ from memory: push_view
//!                                         └ the log reads it, and then: push_view_read
//! ```
//!
//! Which messages are pinned is known here, and a log gives the messages only. Which ones are in a
//! thread the log says, unless all of it is in memory: no answer comes before what it answers.
//!
//! What was read is told as it stands by now, as in any page: see `Journal::message`.
//!
//! Deliberately absent: who may ask, and waiting.
//!
//! Called by: `rooms`, `speech`. Calls: `journal`, `history`, `encode`.

use std::collections::BTreeMap;
use std::iter;
use std::ops::RangeInclusive;

use crate::limits::HistoryLimits;
use crate::link::log::{Part, Stretch, View, Wanted};
use crate::link::message::{text, thread_of};
use crate::link::record::From;
use crate::link::refusal::Refusal;
use crate::link::said::MessageText;
use crate::room::Room;
use crate::room::encode::push_page;
use crate::room::history::Page;
#[cfg(test)]
use crate::room::planted::{self, Planted};

/// The messages of a page, those next to what was asked first.
#[derive(Default)]
struct Taken<'a> {
    messages: Vec<&'a [u8]>,
    /// With a comma behind each.
    bytes: usize,
    more: bool,
}

impl<'a> Taken<'a> {
    /// Takes another message, if it fits. The first one does.
    fn push(&mut self, message: &'a [u8], bytes_max: usize) {
        self.bytes += message.len();
        if self.bytes > bytes_max && !self.messages.is_empty() {
            self.more = true;
        } else {
            self.messages.push(message);
            self.bytes += 1;
        }
    }
}

/// What a log has read, each message as it stands by now.
struct Read {
    messages: BTreeMap<u64, Vec<u8>>,
    /// Whether the log has more behind those, as seen from what was asked.
    more: bool,
}

impl Read {
    /// Whether the log would have given a message, if it had it.
    fn reaches(&self, offset: u64, from: From) -> bool {
        let farthest = if is_ascending(from) {
            self.messages.last_key_value().map(|(last, _)| offset <= *last)
        } else {
            self.messages.first_key_value().map(|(first, _)| offset >= *first)
        };
        !self.more || farthest == Some(true)
    }
}

impl Room {
    /// Checks that there can be such a page. `reaches_back` says whether a log has the messages
    /// before those in memory.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(crate) fn check_page(
        &self,
        view: View,
        from: From,
        reaches_back: bool,
    ) -> Result<(), Refusal> {
        let is_given = |offset: u64| (1..=self.history().last()).contains(&offset);
        let message = "the offset of a message of this room";
        match (view, from) {
            (View::Thread(root), _) if !is_given(root) => {
                Err(Refusal::Invalid { field: "thread", message })
            }
            (_, From::Around(offset)) if !is_given(offset) => {
                Err(Refusal::Invalid { field: "around", message })
            }
            (_, From::Around(offset)) if offset < self.first_kept(reaches_back) => {
                Err(Refusal::Gone)
            }
            _ => Ok(()),
        }
    }

    /// What a page is to be read from, if not from memory: in a room whose log has more.
    pub(crate) fn view_in_log(
        &self,
        view: View,
        from: From,
        limit: u32,
        limits: &HistoryLimits,
    ) -> Option<Wanted> {
        if view == View::Room {
            return match from {
                From::Around(offset) => self.around_in_log(offset, limit, limits),
                _ => self.page_in_log(from, limit, limits),
            };
        }
        let is_here = match view {
            View::Thread(root) => root >= self.history().first(),
            _ => self.take_pins(from, limit, true, limits, None).is_some(),
        };
        let range = self.range(view, from, true);
        let (after, upto) = (range.start() - 1, self.history().last().min(*range.end()));
        let part = if is_ascending(from) { Part::Oldest } else { Part::Newest };
        let (messages, bytes) = (limit, limits.page_bytes);
        let wanted = Wanted { after, upto, part, messages, bytes, changed: None, view };
        (!is_here && after < upto).then_some(wanted)
    }

    fn around_in_log(&self, offset: u64, limit: u32, limits: &HistoryLimits) -> Option<Wanted> {
        let before = u64::from(limit / 2);
        let behind = u64::from(limit) - before;
        let first = offset.saturating_sub(before).max(self.first_kept(true));
        let (after, upto) = (first - 1, self.history().last().min(offset + behind - 1));
        let (part, messages, bytes) = (Part::Around(offset), limit, limits.page_bytes);
        let wanted = Wanted { after, upto, part, messages, bytes, changed: None, view: View::Room };
        (limit > 0 && first < self.history().first()).then_some(wanted)
    }

    /// Appends the answer to `history` from memory. Returns how many bytes were looked at besides
    /// those that are told.
    pub(crate) fn push_view(
        &self,
        out: &mut Vec<u8>,
        (view, from, limit): (View, From, u32),
        reaches_back: bool,
        limits: &HistoryLimits,
    ) -> usize {
        let mut looked_at = 0;
        match (view, from) {
            (View::Room, From::Around(offset)) => {
                let (page, more_after) = self.around(offset, limit, reaches_back, limits);
                push_around(out, page, more_after);
            }
            (View::Room, _) => self.push_page(out, (from, limit), reaches_back, limits),
            (View::Thread(root), _) => {
                let mut range = self.range(view, from, reaches_back);
                range = (*range.start()).max(self.history().first())
                    ..=(*range.end()).min(self.history().last());
                let messages = nearest(from, range).filter_map(|offset| {
                    let message = self.history().message(offset)?;
                    looked_at += message.len();
                    let is_in = offset == root || thread_of(text(message)) == Some(root);
                    is_in.then_some(message)
                });
                let taken = take(messages, limit, limits.page_bytes);
                push_taken(out, from, taken);
            }
            (View::Pins, _) => {
                let taken = self.take_pins(from, limit, reaches_back, limits, None);
                push_taken(out, from, taken.unwrap_or_default());
            }
        }
        looked_at
    }

    /// Appends the answer to `history` from what a log has read of what was wanted.
    pub(crate) fn push_view_read(
        &self,
        out: &mut Vec<u8>,
        from: From,
        wanted: Wanted,
        stretch: &Stretch,
        limits: &HistoryLimits,
    ) {
        if wanted.view == View::Room {
            return self.push_page_read(out, wanted, stretch, limits);
        }
        let read = stretch.picked.iter().map(|(offset, message)| {
            let mut read = Vec::new();
            self.push_read(&mut read, *offset, message);
            read.pop();
            (*offset, read)
        });
        let read = Read { messages: read.collect(), more: stretch.more };
        let limit = wanted.messages;
        let taken = if wanted.view == View::Pins {
            self.take_pins(from, limit, true, limits, Some(&read)).unwrap_or_default()
        } else {
            let messages = nearest(from, read.messages.values()).map(Vec::as_slice);
            let taken = take(messages, limit, limits.page_bytes);
            Taken { more: taken.more || read.more, ..taken }
        };
        push_taken(out, from, taken);
    }

    /// The offsets of the pinned messages that are kept, ascending.
    pub(crate) fn pins(&self, reaches_back: bool) -> impl DoubleEndedIterator<Item = u64> {
        self.journal().pins(self.first_kept(reaches_back)..)
    }

    /// Whether what a log has read of the pinned messages is without one that it was asked too
    /// early for: how often that was answered is not known here.
    pub(crate) fn lacks_pin(&self, wanted: Wanted, stretch: &Stretch) -> bool {
        if wanted.view != View::Pins {
            return false;
        }
        let picked = &stretch.picked;
        let end = |of: Option<&(u64, MessageText)>| of.filter(|_| stretch.more).map(|(at, _)| *at);
        let reached = match wanted.part {
            Part::Newest => end(picked.first()).unwrap_or(wanted.after + 1)..=wanted.upto,
            _ => wanted.after + 1..=end(picked.last()).unwrap_or(wanted.upto),
        };
        let before = self.history().first();
        let mut pins = self.journal().pins(reached).filter(|offset| *offset < before);
        pins.any(|pin| {
            self.journal().message(pin).is_some() && picked.iter().all(|(offset, _)| *offset != pin)
        })
    }

    /// How many messages are pinned, of those that are kept; others are forgotten.
    pub(crate) fn count_pins(&mut self, reaches_back: bool) -> usize {
        self.journal.let_go_of_pins(self.first_kept(reaches_back));
        #[cfg(test)]
        if planted::is(Planted::PinsUncounted) {
            return 0;
        }
        self.pins(reaches_back).count()
    }

    /// The first message that can be told.
    pub(super) fn first_kept(&self, reaches_back: bool) -> u64 {
        if reaches_back { self.journal.log_floor().offset + 1 } else { self.history().first() }
    }

    /// Which offsets a page may have.
    fn range(&self, view: View, from: From, reaches_back: bool) -> RangeInclusive<u64> {
        let first = self.first_kept(reaches_back);
        let first = if let View::Thread(root) = view { first.max(root) } else { first };
        match from {
            From::Latest => first..=u64::MAX,
            From::Before(offset) => first..=offset.saturating_sub(1),
            From::After(offset) => first.max(offset.saturating_add(1))..=u64::MAX,
            From::Around(_) => unreachable!("only of all messages of a room"),
        }
    }

    /// The messages around one that is in memory with half of the others.
    fn around(
        &self,
        offset: u64,
        limit: u32,
        reaches_back: bool,
        limits: &HistoryLimits,
    ) -> (Page<'_>, bool) {
        let is_before = |first: u64| reaches_back && self.first_kept(true) < first;
        match self.history().around(offset, limit, limits) {
            Some((page, more_after)) => {
                let more = page.more || is_before(self.history().first());
                (Page { more, ..page }, more_after)
            }
            // Nothing was asked for: there are others on both sides of it.
            None => (Page { messages: &[], count: 0, more: is_before(offset) }, true),
        }
    }

    /// Whether nothing of what was read of the pinned messages is next to what was asked any more,
    /// though others are: of an empty page nobody could go on to them.
    pub(crate) fn is_read_in_vain(&self, from: From, wanted: Wanted, stretch: &Stretch) -> bool {
        if wanted.view != View::Pins || !stretch.more {
            return false;
        }
        let range = self.range(View::Pins, from, true);
        let range = if range.is_empty() { 0..=0 } else { range };
        let Some(next) = nearest(from, self.journal().pins(range)).next() else { return false };
        let is_near =
            |(offset, _): &(u64, _)| *offset == next || (*offset > next) == is_ascending(from);
        self.journal().message(next).is_none() && !stretch.picked.iter().any(is_near)
    }

    /// The pinned messages of a page, from memory and from what was `read`. None, if nothing was
    /// read and not all are in memory.
    fn take_pins<'a>(
        &'a self,
        from: From,
        limit: u32,
        reaches_back: bool,
        limits: &HistoryLimits,
        read: Option<&'a Read>,
    ) -> Option<Taken<'a>> {
        let range = self.range(View::Pins, from, reaches_back);
        let range = if range.is_empty() { 0..=0 } else { range };
        let mut taken = Taken::default();
        for offset in nearest(from, self.journal().pins(range)) {
            if taken.messages.len() == limit as usize {
                taken.more = true;
                break;
            }
            let here = self.history().message(offset);
            let newer = || self.journal().message(offset);
            match (here, read) {
                (Some(message), _) => taken.push(message, limits.page_bytes),
                (None, None) => return None,
                (None, Some(read)) => {
                    match read.messages.get(&offset).map(Vec::as_slice).or_else(newer) {
                        Some(message) => taken.push(message, limits.page_bytes),
                        // It is damaged.
                        None if read.reaches(offset, from) => {}
                        None => taken.more = true,
                    }
                }
            }
            if taken.more {
                break;
            }
        }
        Some(taken)
    }
}

/// Whether a page is next to what is before it.
fn is_ascending(from: From) -> bool {
    matches!(from, From::After(_))
}

/// In the order in which a page takes them: those next to what was asked first.
fn nearest<T>(
    from: From,
    mut ascending: impl DoubleEndedIterator<Item = T>,
) -> impl Iterator<Item = T> {
    iter::from_fn(move || if is_ascending(from) { ascending.next() } else { ascending.next_back() })
}

/// As many messages as there may be, and fit.
fn take<'a>(nearest: impl Iterator<Item = &'a [u8]>, limit: u32, bytes_max: usize) -> Taken<'a> {
    let mut taken = Taken::default();
    for message in nearest {
        if taken.messages.len() == limit as usize {
            taken.more = true;
        } else {
            taken.push(message, bytes_max);
        }
        if taken.more {
            break;
        }
    }
    taken
}

fn push_taken(out: &mut Vec<u8>, from: From, taken: Taken<'_>) {
    let Taken { mut messages, bytes: _, more } = taken;
    if !is_ascending(from) {
        messages.reverse();
    }
    let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
    out.push(b'{');
    push_page(out, &[], Page { messages: &messages.join(&b','), count, more });
    out.push(b'}');
}

/// Appends the answer to a page around a message.
pub(super) fn push_around(out: &mut Vec<u8>, page: Page<'_>, more_after: bool) {
    out.push(b'{');
    push_page(out, &[], page);
    out.extend_from_slice(if more_after {
        b",\"more_after\":true}"
    } else {
        b",\"more_after\":false}"
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ChatLimits;
    use crate::link::ids::Receipt;
    use crate::link::log::Marks;
    use crate::link::said::{Act, Fate, MessageText, Said};

    const LIMITS: HistoryLimits =
        HistoryLimits { messages: 9, room_bytes: 100_000, total_bytes: 0, page_bytes: 10_000 };

    /// A room after 9 messages: 3, 5 and 9 are in the thread of message 2; 2, 4 and 9 are pinned.
    fn room() -> Room {
        let mut room = Room::new("room:tea", 7);
        for offset in 1..=9 {
            let thread = [3, 5, 9].contains(&offset).then_some(2);
            let said = Said { thread, ..said() };
            let receipt = Receipt { offset, at_ms: 0 };
            room.apply(said, Fate::default(), receipt, None, &LIMITS, &mut Vec::new());
        }
        for offset in [9, 4, 2] {
            pin(&mut room, offset, true);
        }
        room
    }

    fn said() -> Said<'static> {
        Said { user: "u", name: "U", body: "\"b\"", ..Said::default() }
    }

    fn pinned(is_pinned: bool) -> Fate<'static> {
        let pinned = is_pinned.then_some(Act { at_ms: 1, by: Some("mod") });
        Fate { pinned, ..Fate::default() }
    }

    fn pin(room: &mut Room, offset: u64, is_pinned: bool) {
        let thread = [3, 5, 9].contains(&offset).then_some(2);
        let message = MessageText::new(0, Said { thread, ..said() }, pinned(is_pinned));
        let limits = (&LIMITS, &ChatLimits::default());
        let change = room.journal().top().change + 1;
        room.apply_change(
            (offset, None, &message),
            (change, false),
            Some(1),
            limits,
            &mut Vec::new(),
        );
    }

    /// The offsets in an answer, and what it says of others.
    fn told(answer: &[u8]) -> (Vec<u64>, String) {
        let answer = text(answer);
        let has = |offset: &u64| answer.contains(&format!(r#""offset":{offset},"#));
        let more = answer.split_once("],").map_or("", |(_, more)| more);
        ((1..20).filter(has).collect(), more.replace(['"', '}'], ""))
    }

    #[track_caller]
    fn check(room: &Room, asked: (View, From, u32), offsets: &[u64], more: &str) {
        let mut out = Vec::new();
        room.push_view(&mut out, asked, false, &LIMITS);
        assert_eq!(told(&out), (offsets.to_vec(), more.to_owned()), "{asked:?}");
    }

    #[test]
    fn a_thread_is_paged_as_a_room_is() {
        let room = room();
        let thread = View::Thread(2);
        check(&room, (thread, From::Latest, 9), &[2, 3, 5, 9], "more:false");
        check(&room, (thread, From::Latest, 4), &[2, 3, 5, 9], "more:false");
        check(&room, (thread, From::Latest, 2), &[5, 9], "more:true");
        check(&room, (thread, From::Latest, 0), &[], "more:true");
        check(&room, (thread, From::Before(5), 9), &[2, 3], "more:false");
        check(&room, (thread, From::Before(2), 9), &[], "more:false");
        check(&room, (thread, From::After(2), 2), &[3, 5], "more:true");
        check(&room, (thread, From::After(5), 2), &[9], "more:false");
        check(&room, (thread, From::After(u64::MAX), 2), &[], "more:false");
        check(&room, (View::Thread(4), From::Latest, 2), &[4], "more:false");
    }

    #[test]
    fn pinned_messages_are_paged_as_a_room_is_until_they_are_so_no_more() {
        let mut room = room();
        check(&room, (View::Pins, From::Latest, 9), &[2, 4, 9], "more:false");
        check(&room, (View::Pins, From::Latest, 2), &[4, 9], "more:true");
        check(&room, (View::Pins, From::Before(0), 2), &[], "more:false");
        check(&room, (View::Pins, From::Before(9), 9), &[2, 4], "more:false");
        check(&room, (View::Pins, From::After(2), 1), &[4], "more:true");
        pin(&mut room, 4, false);
        check(&room, (View::Pins, From::Latest, 9), &[2, 9], "more:false");
        assert_eq!(room.count_pins(true), 2);
        room.drop_oldest();
        room.drop_oldest();
        check(&room, (View::Pins, From::Latest, 9), &[9], "more:false");
        assert_eq!((room.count_pins(true), room.count_pins(false)), (2, 1));
    }

    #[test]
    fn a_page_is_within_its_bytes_and_has_a_message_however_long_that_is() {
        let room = room();
        for view in [View::Thread(2), View::Pins] {
            for (page_bytes, count) in [(1, 1), (250, 2)] {
                let limits = HistoryLimits { page_bytes, ..LIMITS };
                let mut out = Vec::new();
                room.push_view(&mut out, (view, From::Latest, 9), false, &limits);
                let (offsets, more) = told(&out);
                assert_eq!(offsets.len(), count, "{offsets:?}");
                assert_eq!((offsets.last(), &*more), (Some(&9), "more:true"));
                assert!(out.len() < page_bytes + 40 || offsets.len() == 1, "{}", out.len());
            }
        }
    }

    #[test]
    fn a_page_around_a_message_is_read_where_half_of_it_is_not_in_memory() {
        let mut room = room();
        let around = |offset, limit| (View::Room, From::Around(offset), limit);
        check(&room, around(5, 4), &[3, 4, 5, 6], "more:true,more_after:true");
        check(&room, around(9, 4), &[7, 8, 9], "more:true,more_after:false");
        for _ in 0..3 {
            room.drop_oldest();
        }
        let wanted = |room: &Room, offset, limit| {
            let wanted = room.view_in_log(View::Room, From::Around(offset), limit, &LIMITS);
            wanted.map(|wanted| (wanted.after, wanted.upto, wanted.part))
        };
        assert_eq!(wanted(&room, 6, 4), None);
        assert_eq!(wanted(&room, 5, 4), Some((2, 6, Part::Around(5))));
        assert_eq!(wanted(&room, 1, 50), Some((0, 9, Part::Around(1))));
        assert_eq!(wanted(&room, 1, 0), None);
        room.let_go(Marks { offset: 3, change: 0 });
        assert_eq!(wanted(&room, 5, 4), None, "all that is left is in memory");
        let (gone, here) = (From::Around(3), From::Around(4));
        assert_eq!(room.check_page(View::Room, gone, true), Err(Refusal::Gone));
        assert_eq!(room.check_page(View::Room, here, true), Ok(()));
        for (view, from, field) in [
            (View::Room, From::Around(0), "around"),
            (View::Room, From::Around(10), "around"),
            (View::Thread(10), From::Latest, "thread"),
            (View::Thread(0), From::Latest, "thread"),
        ] {
            let refused = room.check_page(view, from, true);
            assert!(matches!(refused, Err(Refusal::Invalid { field: of, .. }) if of == field));
        }
    }

    #[test]
    fn what_was_read_of_a_view_is_told_as_it_is_by_now() {
        let mut room = room();
        for _ in 0..8 {
            room.drop_oldest();
        }
        room.note_read(None);
        let wanted = |view, from, limit| room.view_in_log(view, from, limit, &LIMITS);
        let pins = wanted(View::Pins, From::Latest, 2).expect("message 4 is not in memory");
        assert_eq!((pins.after, pins.upto, pins.messages), (0, 9, 2));
        assert!(wanted(View::Pins, From::Latest, 1).is_none(), "message 9 is in memory");
        let thread = wanted(View::Thread(2), From::After(3), 9).expect("it begins in the log");
        assert_eq!((thread.after, thread.upto, thread.part), (3, 9, Part::Oldest));
        assert!(wanted(View::Thread(9), From::Latest, 9).is_none());

        let read = |offsets: &[u64], more| {
            let read = |offset: &u64| (*offset, MessageText::new(0, said(), pinned(true)));
            Stretch { picked: offsets.iter().map(read).collect(), more, ..Stretch::default() }
        };
        let told_of = |room: &Room, wanted, from, stretch: &Stretch| {
            let mut out = Vec::new();
            room.push_view_read(&mut out, from, wanted, stretch, &LIMITS);
            told(&out)
        };
        let is = |offsets: &[u64], more: &str| (offsets.to_vec(), more.to_owned());
        let two = read(&[4, 9], true);
        assert_eq!(told_of(&room, pins, From::Latest, &two), is(&[4, 9], "more:true"));
        // Meanwhile another one was pinned, and one is so no more.
        pin(&mut room, 7, true);
        assert_eq!(told_of(&room, pins, From::Latest, &two), is(&[7, 9], "more:true"));
        pin(&mut room, 9, false);
        assert_eq!(told_of(&room, pins, From::Latest, &two), is(&[4, 7], "more:true"));
        pin(&mut room, 7, false);
        assert_eq!(told_of(&room, pins, From::Latest, &two), is(&[4], "more:true"));
        // Message 2 is damaged.
        let all = read(&[4, 9], false);
        assert_eq!(told_of(&room, pins, From::Latest, &all), is(&[4], "more:false"));
        let some = read(&[5, 9], true);
        assert_eq!(told_of(&room, thread, From::After(3), &some), is(&[5, 9], "more:true"));
    }
}
