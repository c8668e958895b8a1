//! Does each member see the messages of its room in the room's own order?
//!
//! A server that numbers the messages of a room tells the order itself: each message has an offset,
//! and the answer to a join says after which one the member comes in. Two things are held against
//! that:
//!
//! 1. from the answer to its join on a member sees every offset, in order and once; an answer that
//!    says it recovered brings all from the member's cursor on;
//! 2. all members see the same message under an offset, and a message under one offset only.
//!
//! Offsets are counted within an epoch, which a member learns when it joins. Members in another
//! worker of the run are not compared with: each worker has an [`Order`] of its own.
//!
//! Where messages have no offsets, the order is that in which members that missed nothing saw them.
//! A member that joins while others write is no witness: the first message it sees may be far from
//! the first that another one is still to see. It is checked against the places that are known.
//!
//! Deliberately absent: what each sender sent. That nothing of it is lost is the affair of
//! [`Receiver`](crate::verify::Receiver).
//!
//! Called by the worker's channels (`core/channel.rs`), for each join and each message.

use std::collections::{BTreeSet, VecDeque};

use crate::base::at;

/// What came under an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// A message of the run: number `seq` of its room's publisher number `rank`.
    Ours {
        /// Its sender's rank.
        rank: u32,
        /// Which of the sender's.
        seq: u32,
    },
    /// Somebody else's.
    Foreign,
    /// A message of the run that was changed on its way: whose it was is not known.
    Unreadable,
    /// One that is deleted: whose it was is no longer told.
    Deleted,
}

/// What a message was in the order of its room, to the member that saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The next one.
    Next,
    /// Another than the next: one before it is missing, or it came before.
    NotNext,
    /// Under this offset another member saw another message, or this one under another offset.
    Differs,
}

/// The most offsets by which a message may be away from all that were seen and still be compared.
///
/// An offset is the server's word, and memory is taken by it: a wrong one must not take all.
const DISTANCE_MAX: u64 = 1_000_000;

/// The order of a room's messages, as far as members here have seen it.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// Whether a member sees all messages. If not, it is not sent its own.
    sees_all: bool,
    epochs: Vec<Epoch>,
    first_seen: FirstSeen,
}

impl Order {
    /// An order in which nothing was seen. `sees_all`: members are sent their own messages too.
    pub(crate) fn new(sees_all: bool) -> Self {
        Self { sees_all, epochs: Vec::new(), first_seen: FirstSeen::default() }
    }

    /// The index of an epoch, which is new or was told before.
    fn epoch(&mut self, name: &str) -> usize {
        let known = self.epochs.iter().position(|epoch| epoch.name == name);
        known.unwrap_or_else(|| {
            self.epochs.push(Epoch { name: name.to_owned(), ..Epoch::default() });
            self.epochs.len() - 1
        })
    }
}

/// The messages of an epoch.
#[derive(Clone, Debug, Default)]
struct Epoch {
    name: String,
    /// The offset of the first of `messages`.
    first: u64,
    /// By offset; `None` was not seen yet.
    messages: VecDeque<Option<Message>>,
    /// All of the run in `messages`, by rank and seq.
    seen: BTreeSet<(u32, u32)>,
}

impl Epoch {
    /// Whether a message may have an offset, given what was seen before.
    fn agrees(&mut self, offset: u64, message: Message) -> bool {
        if matches!(message, Message::Unreadable | Message::Deleted) {
            return true;
        }
        match self.slot(offset) {
            // Too far away to be compared.
            None => true,
            Some(Some(known)) => *known == message,
            Some(empty) => {
                *empty = Some(message);
                match message {
                    Message::Ours { rank, seq } => self.seen.insert((rank, seq)),
                    Message::Foreign | Message::Unreadable | Message::Deleted => true,
                }
            }
        }
    }

    /// The place of an offset, made if need be.
    fn slot(&mut self, offset: u64) -> Option<&mut Option<Message>> {
        if self.messages.is_empty() {
            self.first = offset;
        }
        // A member that lags may be the first to see what others saw the end of.
        let before = self.first.saturating_sub(offset);
        let index = usize::try_from(offset.saturating_sub(self.first)).ok()?;
        let length = self.messages.len();
        if before > DISTANCE_MAX
            || index.saturating_sub(length) > usize::try_from(DISTANCE_MAX).ok()?
        {
            return None;
        }
        for _ in 0..before {
            self.messages.push_front(None);
        }
        self.first -= before;
        if index >= self.messages.len() {
            self.messages.resize(index + 1, None);
        }
        self.messages.get_mut(index)
    }
}

/// The order in which members that missed nothing first saw messages without an offset.
#[derive(Clone, Debug, Default)]
struct FirstSeen {
    /// By rank and seq; 0 where it has none.
    places: Vec<Vec<u32>>,
    last: u32,
}

impl FirstSeen {
    /// The place of a message, from 1. If it has none, a `witness` gives it the next.
    fn place(&mut self, rank: u32, seq: u32, witness: bool) -> Option<u32> {
        let known = self.places.get(at(rank)).and_then(|of_sender| of_sender.get(at(seq)));
        if let Some(place) = known.filter(|place| **place > 0) {
            return Some(*place);
        }
        if !witness {
            return None;
        }
        if self.places.len() <= at(rank) {
            self.places.resize_with(at(rank) + 1, Vec::new);
        }
        let of_sender = &mut self.places[at(rank)];
        if of_sender.len() <= at(seq) {
            of_sender.resize(at(seq) + 1, 0);
        }
        self.last += 1;
        of_sender[at(seq)] = self.last;
        Some(self.last)
    }
}

/// Where a member stands in an epoch: all up to an offset was seen.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    /// The epoch's index in the room's [`Order`].
    epoch: usize,
    offset: u64,
}

/// What the answer to a join says of the room's order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// The epoch.
    pub(crate) epoch: &'a str,
    /// The offset after all that the answer carries.
    pub(crate) offset: u64,
}

/// One member's seat in the order of one room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seat {
    cursor: Option<Cursor>,
    /// The member came in while others wrote.
    is_late: bool,
    /// The place of the last message without an offset.
    place: u32,
}

impl Seat {
    /// The member is in, and its answer brought nothing that it missed. `is_late`: others may write
    /// already.
    pub(crate) fn joined(&mut self, order: &mut Order, entry: Option<Entry<'_>>, is_late: bool) {
        let cursor =
            entry.map(|entry| Cursor { epoch: order.epoch(entry.epoch), offset: entry.offset });
        *self = Self { cursor, is_late, place: 0 };
    }

    /// The member is in again, and its answer says that it `brought` all that the member missed,
    /// each with its offset. Gives the place of each, and after the last one whether that was all.
    pub(crate) fn recovered(
        &mut self,
        order: &mut Order,
        entry: Entry<'_>,
        brought: impl Iterator<Item = (Option<u64>, Message)>,
    ) -> Vec<Place> {
        let missed_from = self.cursor.map_or(entry.offset, |cursor| cursor.offset);
        // The epoch may be another one, of which the part up to the cursor is the same.
        self.joined(order, Some(Entry { offset: missed_from, ..entry }), true);
        let mut places: Vec<Place> =
            brought.map(|(offset, message)| self.received(order, offset, message)).collect();
        let is_all =
            !order.sees_all || self.cursor.is_some_and(|cursor| cursor.offset == entry.offset);
        places.push(if is_all { Place::Next } else { Place::NotNext });
        self.joined(order, Some(entry), true);
        places
    }

    /// A message has come.
    pub(crate) fn received(
        &mut self,
        order: &mut Order,
        offset: Option<u64>,
        message: Message,
    ) -> Place {
        match (&mut self.cursor, offset) {
            (Some(cursor), Some(offset)) => {
                let is_next = if order.sees_all {
                    offset.checked_sub(1) == Some(cursor.offset)
                } else {
                    offset > cursor.offset
                };
                cursor.offset = cursor.offset.max(offset);
                if !order.epochs[cursor.epoch].agrees(offset, message) {
                    Place::Differs
                } else if is_next {
                    Place::Next
                } else {
                    Place::NotNext
                }
            }
            _ => self.received_without_offset(order, message),
        }
    }

    fn received_without_offset(&mut self, order: &mut Order, message: Message) -> Place {
        let Message::Ours { rank, seq } = message else { return Place::Next };
        // A member that is not sent its own messages does not know where these stand.
        let is_witness = order.sees_all && !self.is_late;
        let Some(place) = order.first_seen.place(rank, seq, is_witness) else { return Place::Next };
        let earlier = std::mem::replace(&mut self.place, place);
        if place > earlier { Place::Next } else { Place::NotNext }
    }

    /// The member's cursor, for a join that asks for what was missed: epoch and offset.
    pub(crate) fn cursor<'a>(&self, order: &'a Order) -> Option<(&'a str, u64)> {
        self.cursor.map(|cursor| (order.epochs[cursor.epoch].name.as_str(), cursor.offset))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// What happens to one member: the answer to a join, or a message.
    #[derive(Clone, Debug)]
    enum Event {
        Joined { epoch: usize, offset: u64, is_late: bool, brought: Option<Vec<(u64, Message)>> },
        Came { epoch: usize, offset: u64, message: Message },
    }

    /// What happens, in the order in which a worker hears of it: to which member, and what.
    type Story = Vec<(usize, Event)>;

    /// What the members object to. Where messages are not `numbered`, they and answers have no
    /// offset.
    fn objections(story: &Story, numbered: bool) -> Vec<Place> {
        let mut order = Order::new(true);
        let mut seats = BTreeMap::<usize, Seat>::new();
        let mut places = Vec::new();
        for (member, event) in story {
            let seat = seats.entry(*member).or_default();
            match event {
                Event::Joined { epoch, offset, is_late, brought } => {
                    let epoch = format!("epoch {epoch}");
                    let entry = Entry { epoch: &epoch, offset: *offset };
                    match brought {
                        Some(brought) if numbered => {
                            let brought = brought.iter().map(|(at, message)| (Some(*at), *message));
                            places.extend(seat.recovered(&mut order, entry, brought));
                        }
                        _ => seat.joined(&mut order, numbered.then_some(entry), *is_late),
                    }
                }
                Event::Came { offset, message, .. } => {
                    let offset = numbered.then_some(*offset);
                    places.push(seat.received(&mut order, offset, *message));
                }
            }
        }
        places.retain(|place| *place != Place::Next);
        places
    }

    /// A server that does everything right, and members that come and go.
    struct Room {
        rng: fastrand::Rng,
        epoch: usize,
        /// The messages of the epoch: the first has offset 1.
        log: Vec<Message>,
        sent: [u32; 3],
        /// For each member: whether it is in, and its epoch and offset, if it was in once.
        members: Vec<(bool, Option<(usize, usize)>)>,
        story: Story,
    }

    impl Room {
        fn new(seed: u64) -> Self {
            let mut rng = fastrand::Rng::with_seed(seed);
            let log = vec![Message::Foreign; rng.usize(0..5)];
            let members = vec![(false, None); rng.usize(2..6)];
            let mut room = Self { rng, epoch: 0, log, sent: [0; 3], members, story: Vec::new() };
            for member in 0..room.members.len() {
                room.joined(member, false);
            }
            room
        }

        /// The answer may be heard of late: it was right at any moment since the member's last.
        fn joined(&mut self, member: usize, is_late: bool) {
            let since = self.members[member].1.filter(|(epoch, _)| *epoch == self.epoch);
            let least = since.map_or(0, |(_, offset)| offset);
            let most = self.log.len();
            let now = if is_late { self.rng.usize(least..=most) } else { most };
            let brought = since.filter(|_| self.rng.bool()).map(|(_, offset)| {
                (offset..now).map(|index| (index as u64 + 1, self.log[index])).collect()
            });
            self.members[member] = (true, Some((self.epoch, now)));
            let offset = now as u64;
            self.story
                .push((member, Event::Joined { epoch: self.epoch, offset, is_late, brought }));
        }

        fn publish(&mut self) {
            let rank = self.rng.usize(0..4);
            self.log.push(match self.sent.get_mut(rank) {
                None => Message::Foreign,
                Some(sent) => {
                    *sent += 1;
                    Message::Ours { rank: u32::try_from(rank).unwrap(), seq: *sent - 1 }
                }
            });
        }

        /// Sends a member its next message, if there is one.
        fn deliver(&mut self, member: usize) -> bool {
            let (true, Some((epoch, index))) = self.members[member] else { return false };
            let Some(message) = self.log.get(index) else { return false };
            let came = Event::Came { epoch, offset: index as u64 + 1, message: *message };
            self.story.push((member, came));
            self.members[member].1 = Some((epoch, index + 1));
            true
        }

        /// A part of the history is kept under a new epoch. All members are thrown out, and those
        /// whose cursor is in that part may recover.
        fn restart(&mut self) {
            self.log.truncate(self.rng.usize(0..=self.log.len()));
            self.epoch += 1;
            for (is_in, cursor) in &mut self.members {
                *is_in = false;
                *cursor = cursor
                    .filter(|(epoch, offset)| *epoch + 1 == self.epoch && *offset <= self.log.len())
                    .map(|(epoch, offset)| (epoch + 1, offset));
            }
        }

        fn story(seed: u64) -> Story {
            let mut room = Self::new(seed);
            for _ in 0..300 {
                let member = room.rng.usize(0..room.members.len());
                match room.rng.u32(0..100) {
                    0..30 => room.publish(),
                    30..90 => drop(room.deliver(member)),
                    90..99 if room.members[member].0 => room.members[member].0 = false,
                    90..99 => room.joined(member, true),
                    _ => room.restart(),
                }
            }
            for member in 0..room.members.len() {
                while room.deliver(member) {}
            }
            room.story
        }
    }

    #[test]
    fn what_a_right_server_delivers_is_never_objected_to() {
        for seed in 0..1_000 {
            let story = Room::story(seed);
            assert_eq!(objections(&story, true), [], "seed {seed}");
            assert_eq!(objections(&story, false), [], "seed {seed}, without offsets");
        }
    }

    /// Where in a story a member gets a message right after which it gets another one.
    fn pairs(story: &Story) -> Vec<(usize, usize)> {
        let pair = |(index, (member, event)): (usize, &(usize, Event))| {
            let next = (index + 1..story.len()).find(|next| story[*next].0 == *member)?;
            let both =
                matches!(event, Event::Came { .. }) && matches!(story[next].1, Event::Came { .. });
            both.then_some((index, next))
        };
        story.iter().enumerate().filter_map(pair).collect()
    }

    /// Plants a fault in many stories: `plant` is given a place for it, and tells whether it fits.
    #[track_caller]
    fn check(plant: impl Fn(&mut Story, (usize, usize)) -> bool) {
        let mut planted = 0;
        for seed in 0..100 {
            let right = Room::story(seed);
            for pair in pairs(&right) {
                let mut story = right.clone();
                if plant(&mut story, pair) {
                    planted += 1;
                    assert_ne!(objections(&story, true), [], "seed {seed}, {pair:?}");
                }
            }
        }
        assert!(planted > 1_000, "the fault fitted only {planted} times");
    }

    #[test]
    fn two_messages_that_change_places_are_objected_to() {
        check(|story, (first, second)| {
            let second_event = story[second].1.clone();
            story[second].1 = std::mem::replace(&mut story[first].1, second_event);
            true
        });
    }

    #[test]
    fn a_message_that_comes_twice_is_objected_to() {
        check(|story, (first, second)| {
            let copy = story[first].clone();
            // At once, or after the next one.
            story.insert(if first % 2 == 0 { first } else { second } + 1, copy);
            true
        });
    }

    #[test]
    fn a_message_that_never_comes_is_objected_to() {
        check(|story, (first, _)| {
            story.remove(first);
            true
        });
    }

    #[test]
    fn a_message_that_differs_from_what_another_member_saw_is_objected_to() {
        check(|story, (first, _)| {
            let Event::Came { epoch, offset, .. } = story[first].1 else { return false };
            let seen_elsewhere = story.iter().enumerate().any(|(index, (_, event))| {
                index != first
                    && matches!(event, Event::Came { epoch: e, offset: o, .. }
                        if (*e, *o) == (epoch, offset))
            });
            let message = Message::Ours { rank: 7, seq: 0 };
            story[first].1 = Event::Came { epoch, offset, message };
            seen_elsewhere
        });
    }

    #[test]
    fn a_message_under_two_offsets_is_objected_to() {
        check(|story, (first, second)| {
            let Event::Came { message: again @ Message::Ours { .. }, .. } = story[first].1 else {
                return false;
            };
            let Event::Came { message, .. } = &mut story[second].1 else { return false };
            *message = again;
            true
        });
    }

    #[test]
    fn a_recovery_that_leaves_out_any_message_is_objected_to() {
        let mut planted = 0;
        for seed in 0..100 {
            let right = Room::story(seed);
            for index in 0..right.len() {
                let Event::Joined { brought: Some(brought), .. } = &right[index].1 else {
                    continue;
                };
                for left_out in 0..brought.len() {
                    let mut story = right.clone();
                    let Event::Joined { brought: Some(brought), .. } = &mut story[index].1 else {
                        continue;
                    };
                    brought.remove(left_out);
                    planted += 1;
                    assert_ne!(objections(&story, true), [], "seed {seed}, {index}, {left_out}");
                }
            }
        }
        assert!(planted > 1_000, "the fault fitted only {planted} times");
    }

    #[test]
    fn without_offsets_members_that_missed_nothing_say_what_the_order_is() {
        let ours = |rank, seq| Message::Ours { rank, seq };
        let mut order = Order::new(true);
        let (mut early, mut late, mut other) = (Seat::default(), Seat::default(), Seat::default());
        late.joined(&mut order, None, true);
        let mut see = |seat: &mut Seat, message| seat.received(&mut order, None, message);
        // The late one may be the first to see what others see after three messages more.
        assert_eq!(see(&mut late, ours(0, 1)), Place::Next);
        for message in [ours(0, 0), ours(3, 1), ours(0, 1), ours(3, 2)] {
            assert_eq!(see(&mut early, message), Place::Next);
        }
        assert_eq!(see(&mut late, ours(3, 2)), Place::Next);
        assert_eq!(
            [ours(3, 1), ours(0, 0)].map(|m| see(&mut other, m)),
            [Place::Next, Place::NotNext]
        );
    }

    #[test]
    fn a_member_that_is_not_sent_its_own_messages_may_miss_offsets_but_not_go_back() {
        let mut order = Order::new(false);
        let mut seat = Seat::default();
        seat.joined(&mut order, Some(Entry { epoch: "e", offset: 0 }), false);
        let places = [1, 3, 2].map(|offset| {
            let seq = u32::try_from(offset).unwrap();
            seat.received(&mut order, Some(offset), Message::Ours { rank: 0, seq })
        });
        assert_eq!(places, [Place::Next, Place::Next, Place::NotNext]);
    }

    #[test]
    fn an_offset_out_of_all_proportion_takes_no_memory() {
        let mut order = Order::new(true);
        let mut seat = Seat::default();
        let far = 5 * DISTANCE_MAX;
        seat.joined(&mut order, Some(Entry { epoch: "e", offset: far - 1 }), false);
        for (offset, place) in [
            (far, Place::Next),
            (u64::MAX, Place::NotNext),
            (0, Place::NotNext),
            (far - 1, Place::NotNext),
        ] {
            assert_eq!(seat.received(&mut order, Some(offset), Message::Foreign), place);
        }
        assert_eq!(order.epochs[0].messages.len(), 2);
    }

    #[test]
    fn a_cursor_is_what_a_join_asks_with() {
        let mut order = Order::new(true);
        let mut seat = Seat::default();
        assert_eq!(seat.cursor(&order), None);
        seat.joined(&mut order, Some(Entry { epoch: "e", offset: 41 }), false);
        seat.received(&mut order, Some(42), Message::Unreadable);
        assert_eq!(seat.cursor(&order), Some(("e", 42)));
    }
}
