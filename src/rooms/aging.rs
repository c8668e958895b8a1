//! Messages that are older than their room keeps them, of rooms that are in memory only.
//!
//! ```text
//!   a room that is made, or set ── has it a time? ── noted
//!   the timer ── those that are noted, some of them in a turn ── what is old leaves the history
//! ```
//!
//! A log that has more than memory lets go by itself, and says so: see `committing`. So rooms are
//! noted here only where there is none. Nobody is told: who comes back from before what is left is
//! told as after any other message that memory had no place for.
//!
//! Invariants: what a turn looks at is bounded; a room without a time is not noted, and costs
//! nothing.
//!
//! Deliberately absent: looking at what is said. That grows old when the timer fires.
//!
//! Called by: `rooms`, and `shard` for the timer. Calls: `room`, `registry`, `membership`.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::limits::{
    AGE_SWEEP_MS, AGED_MESSAGES_PER_TURN_MAX, AGED_PER_WORK, AGED_ROOMS_PER_TURN_MAX,
};
use crate::link::ids::RoomKey;
use crate::link::io::Io;
use crate::link::log::Log;
use crate::link::outbox::{Cx, Timer};
use crate::rooms::Rooms;
use crate::rooms::registry::Registered;

/// About what a room takes here, in bytes.
const AGE_MEMORY_BYTES: usize = 16;

/// How much later those go on that did not fit into a turn, in milliseconds.
const NEXT_TURN_MS: u64 = 1;

/// The rooms whose messages grow old. See the module.
#[derive(Default)]
pub(super) struct Ages {
    rooms: BTreeSet<RoomKey>,
    /// The room behind which it goes on; none, from the first one on.
    behind: Option<RoomKey>,
    /// Whether a timer will look at them.
    is_armed: bool,
}

impl Ages {
    /// The next room to be looked at.
    fn next(&self) -> Option<RoomKey> {
        let from = self.behind.map_or(Bound::Unbounded, Bound::Excluded);
        self.rooms.range((from, Bound::Unbounded)).next().copied()
    }

    /// Forgets a room that is gone.
    pub(super) fn forget(&mut self, room: RoomKey) {
        self.rooms.remove(&room);
    }

    /// What all of them take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.rooms.len() * AGE_MEMORY_BYTES
    }
}

impl Rooms {
    /// Notes a room that has just been made or set, if it has a time for its messages.
    pub(super) fn note_age<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey) {
        if !cx.io.log().reads() && self.keep_s(cx, key).is_some() && self.ages.rooms.insert(key) {
            self.arm_ages(cx, AGE_SWEEP_MS);
        }
    }

    /// For how long a room's messages are kept, in seconds; none, for ever.
    fn keep_s<I: Io>(&self, cx: &Cx<'_, I>, key: RoomKey) -> Option<u64> {
        let Registered { room, .. } = self.arena.get(key)?;
        let of_all = Some(cx.settings.keep_s).filter(|keep_s| *keep_s > 0);
        room.settings().keep_s.or(of_all)
    }

    fn arm_ages<I: Io>(&mut self, cx: &mut Cx<'_, I>, in_ms: u64) {
        if !self.ages.rooms.is_empty() && !std::mem::replace(&mut self.ages.is_armed, true) {
            cx.timers.push(cx.now.mono_ms + in_ms, Timer::Ages);
        }
    }

    /// Lets go of what is old in the rooms that are noted: of as much as a turn may.
    ///
    /// Changes: histories, registry; an empty room of which nothing is left goes. Emits: nothing.
    pub(crate) fn let_age<I: Io>(&mut self, cx: &mut Cx<'_, I>) {
        self.ages.is_armed = false;
        let (mut looked_at, mut let_go) = (0, 0);
        let is_over = loop {
            if looked_at == AGED_ROOMS_PER_TURN_MAX || let_go == AGED_MESSAGES_PER_TURN_MAX {
                break false;
            }
            let Some(key) = self.ages.next() else {
                self.ages.behind = None;
                break true;
            };
            looked_at += 1;
            let_go += self.let_age_in(cx, key, AGED_MESSAGES_PER_TURN_MAX - let_go);
            // Else there may be more in it.
            if let_go < AGED_MESSAGES_PER_TURN_MAX {
                self.ages.behind = Some(key);
            }
        };
        cx.budget.spend_for(looked_at + let_go, AGED_PER_WORK);
        self.arm_ages(cx, if is_over { AGE_SWEEP_MS } else { NEXT_TURN_MS });
    }

    /// Lets go of what is old in a room, of so many messages at most. Returns how many there were.
    fn let_age_in<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey, max: usize) -> usize {
        let Some(keep_s) = self.keep_s(cx, key) else {
            // They are kept for ever again.
            self.ages.forget(key);
            return 0;
        };
        let Some(registered) = self.arena.get_mut(key) else { return 0 };
        let before_ms = cx.now.unix_ms.saturating_sub(keep_s.saturating_mul(1_000));
        let bytes_before = registered.room.history().kept_bytes();
        let count = registered.room.let_go_before(before_ms, max);
        if count > 0 {
            self.registry.weigh_history(bytes_before, &registered.room);
            // What was remembered of its changes may have gone with it.
            self.registry.weigh(registered);
            self.remove_if_deserted(cx, key);
        }
        count
    }

    /// Asserts that the rooms that are noted are there. For [`Rooms::check`].
    pub(super) fn check_ages(&self) {
        let Ages { rooms, behind: _, is_armed } = &self.ages;
        assert!(*is_armed || rooms.is_empty(), "what grows old is looked at");
        for key in rooms {
            assert!(self.arena.contains(*key), "and is of a room");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::auth::level::Level;
    use crate::limits::{AGE_SWEEP_MS, AGED_MESSAGES_PER_TURN_MAX, AGED_ROOMS_PER_TURN_MAX};
    use crate::link::facts::SettingsWish;
    use crate::link::given::Given;
    use crate::link::ids::{Asker, RoomKey};
    use crate::link::log::{Append, Appended, Log, MemoryLog, Opening};
    use crate::link::outbox::Timer;
    use crate::link::record::ToHome;
    use crate::rooms::tests::Home;

    impl<L: Log> Home<L> {
        /// Lets time pass, and fires the timer of ages for as long as it is due, once in a turn.
        /// Returns how often it was.
        fn age(&mut self, ms: u64) -> usize {
            self.now_ms += ms;
            let mut count = 0;
            while let Some(timer) = self.timers.pop_due(self.now_ms) {
                if timer == Timer::Ages {
                    count += 1;
                    assert!(count < 1_000, "it ends");
                    self.with(|rooms, cx, _| rooms.let_age(cx));
                    self.now_ms += 1;
                }
            }
            count
        }

        fn kept(&self, room: RoomKey) -> Vec<u64> {
            let history = self.rooms.arena.get(room).expect("it is there").room.history();
            (history.first()..=history.last()).collect()
        }

        fn keeps(&mut self, (home, asker): (RoomKey, Asker), keep_s: Given<u64>) {
            let wish = SettingsWish { keep_s, ..SettingsWish::default() };
            self.hear(0, ToHome::Set { home, asker, reference: "1", wish });
            self.take_told();
        }

        fn say(&mut self, (room, asker): (RoomKey, Asker), count: usize) {
            for _ in 0..count {
                self.publish(room, asker, "5", "\"hi\"");
            }
            self.take_told();
        }

        fn own(&mut self, number: u64, topic: &str) -> (RoomKey, Asker) {
            self.join_as(0, number, topic, Level::Own)
        }
    }

    /// No bound but that of time.
    fn home() -> Home<MemoryLog> {
        let mut home = Home::new();
        let limits = &mut home.settings.limits;
        (limits.rooms_per_s, limits.fanout_bytes_per_s) = (0, 0);
        (home.settings.rooms_max, home.settings.history.messages) = (1_000, 10_000);
        home
    }

    #[test]
    fn a_quiet_room_lets_go_of_what_is_older_than_it_keeps_and_nobody_is_told() {
        let mut home = home();
        let ann = home.own(1, "room:tea");
        home.say(ann, 3);
        assert_eq!(home.age(AGE_SWEEP_MS), 0, "a plain room has no timer");
        home.say(ann, 2);
        home.keeps(ann, Given::Value(AGE_SWEEP_MS / 1_000));
        assert_eq!(home.age(AGE_SWEEP_MS - 1), 0);
        assert_eq!(home.age(1), 1);
        assert_eq!(home.kept(ann.0), [4, 5], "they are just so old");
        assert_eq!(home.age(AGE_SWEEP_MS), 1);
        assert_eq!((home.kept(ann.0), home.take_told()), (vec![], vec![]));
        home.say(ann, 1);
        assert_eq!(home.kept(ann.0), [6], "offsets go on");
        home.keeps(ann, Given::Null);
        assert_eq!((home.age(AGE_SWEEP_MS), home.age(AGE_SWEEP_MS)), (1, 0), "for ever again");
        assert_eq!(home.kept(ann.0), [6]);
    }

    #[test]
    fn what_all_rooms_keep_is_for_each_that_says_nothing_else() {
        let mut home = home();
        home.settings.keep_s = 10;
        let rooms = ["room:a", "room:b", "room:c"].map(|topic| home.own(1, topic));
        home.keeps(rooms[1], Given::Value(1));
        home.keeps(rooms[2], Given::Value(1_000));
        for of in rooms {
            home.say(of, 1);
        }
        let kept = |home: &Home<_>| rooms.map(|(room, _)| home.kept(room).len());
        home.age(AGE_SWEEP_MS);
        assert_eq!(kept(&home), [1, 0, 1]);
        home.age(10_000);
        assert_eq!(kept(&home), [0, 0, 1]);
        home.keeps(rooms[2], Given::Null);
        home.age(AGE_SWEEP_MS);
        assert_eq!(kept(&home), [0, 0, 0]);
    }

    #[test]
    fn a_turn_lets_go_of_some_and_the_next_ones_of_the_rest() {
        let mut home = home();
        let ann = home.own(1, "room:tea");
        home.say(ann, 2 * AGED_MESSAGES_PER_TURN_MAX + 10);
        home.keeps(ann, Given::Value(1));
        let before = home.budget.done();
        assert_eq!(home.age(AGE_SWEEP_MS), 3);
        assert!(home.budget.done() > before + 200, "it is spent");
        assert!(home.kept(ann.0).is_empty());
        home.settings.keep_s = 1;
        let names = 0..2 * AGED_ROOMS_PER_TURN_MAX;
        let rooms: Vec<_> = names.map(|name| home.own(2, &format!("room:{name}"))).collect();
        for of in &rooms {
            home.say(*of, 1);
        }
        assert_eq!(home.age(AGE_SWEEP_MS), 3, "with the one that was there before");
        assert!(rooms.iter().all(|(room, _)| home.kept(*room).is_empty()));
        assert_eq!(home.age(AGE_SWEEP_MS), 3, "and again");
    }

    #[test]
    fn an_empty_room_goes_with_its_last_message_and_is_forgotten() {
        let mut home = home();
        home.settings.keep_s = 1;
        let (room, asker) = home.own(1, "room:tea");
        home.say((room, asker), 1);
        home.hear(0, ToHome::Leave { home: room, asker, reference: None });
        assert_eq!(home.rooms.len(), 1);
        home.age(AGE_SWEEP_MS);
        assert_eq!((home.rooms.len(), home.rooms.ages.bytes()), (0, 0));
        assert_eq!(home.age(AGE_SWEEP_MS), 0, "nothing is left to look at");
    }

    /// A log that has more than memory.
    struct Reading;

    impl Log for Reading {
        fn reads(&self) -> bool {
            true
        }

        fn open(&mut self, room: RoomKey, topic: &str, epoch: u64) -> Opening {
            MemoryLog.open(room, topic, epoch)
        }

        fn append(&mut self, append: Append<'_>) -> Appended {
            MemoryLog.append(append)
        }

        fn close(&mut self, room: RoomKey) {
            MemoryLog.close(room);
        }
    }

    #[test]
    fn a_log_that_has_more_than_memory_lets_go_by_itself() {
        let mut home = Home::with_log(Reading);
        home.settings.keep_s = 1;
        let ann = home.own(1, "room:tea");
        home.say(ann, 1);
        home.keeps(ann, Given::Value(1));
        assert_eq!((home.age(AGE_SWEEP_MS), home.kept(ann.0).len()), (0, 1));
    }
}
