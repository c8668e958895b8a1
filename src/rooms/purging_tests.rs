//! Purges in rooms with more than one look goes through: whoever asks again goes on.

use super::tests::Home;
use crate::auth::level::Level;
use crate::limits::{PURGE_LOOKS_MAX, PURGE_READ_MESSAGES, PURGE_READS_MAX};
use crate::link::facts::MemberWish;
use crate::link::ids::{Asker, RoomKey};
use crate::link::log::{
    Append, Appended, FromLog, Log, Marks, Opened, Opening, Part, Read, Stretch, Ticket, Wanted,
    Why,
};
use crate::link::said::{Fate, MessageText, Said};

/// So many messages the room of [`LongLog`] has in memory.
const TAIL: usize = 10;

/// A log that has a long room, of which it reads what it is asked for.
#[derive(Default)]
struct LongLog {
    messages: Vec<MessageText>,
    asked: Vec<(Ticket, Wanted)>,
}

impl Log for LongLog {
    fn open(&mut self, _: RoomKey, _: &str, _: u64) -> Opening {
        let count = self.messages.len();
        let top = Marks { offset: count as u64, change: 0 };
        let tail = self.messages[count - TAIL..].to_vec();
        Opening::Kept(Opened { epoch: 5, origin: 5, top, kept: top, tail, ..Opened::default() })
    }
    fn append(&mut self, _: Append<'_>) -> Appended {
        Appended::Kept
    }
    fn reads(&self) -> bool {
        true
    }
    fn read(&mut self, read: Read<'_>) -> Result<(), Why> {
        self.asked.push((read.ticket, read.wanted));
        Ok(())
    }
    fn close(&mut self, _: RoomKey) {}
}

fn by(user: &str) -> MessageText {
    let said = Said { user, name: user, body: "\"hi\"", ..Said::default() };
    MessageText::new(1_000_500, said, Fate::default())
}

impl Home<LongLog> {
    /// The log reads what it was asked for, until it is asked for nothing more. Returns how often.
    fn reads(&mut self, room: RoomKey) -> u32 {
        for count in 0.. {
            let Some((ticket, wanted)) = self.mesh.log.asked.pop() else { return count };
            assert_eq!(wanted.part, Part::Newest);
            let first = wanted.upto.saturating_sub(wanted.messages.into()).max(wanted.after) + 1;
            let [from, upto] = [first - 1, wanted.upto].map(|of| usize::try_from(of).expect("few"));
            let messages = self.mesh.log.messages[from..upto].to_vec();
            let stretch = &Stretch { first, messages, ..Stretch::default() };
            let read = FromLog::Read { room, ticket, stretch };
            self.with(|rooms, cx, told| rooms.hear_log(cx, told, read));
        }
        unreachable!("it ends before")
    }
}

/// Asks to delete what bob has said.
fn purge<L: Log>(home: &mut Home<L>, (room, asker): (RoomKey, Asker), before: Option<u64>) {
    let wish = MemberWish { user: "bob", purge_s: Some(60), ..MemberWish::default() };
    home.stand((room, asker), MemberWish { purge_before: before, ..wish });
}

fn answer(purged: usize, before: Option<u64>) -> String {
    let more = before.map_or(String::new(), |before| format!(",\"more\":true,\"before\":{before}"));
    format!(r#"0 reply 1 ok {{"user":"bob","purged":{purged}{more}}}"#)
}

#[test]
fn what_lies_behind_more_than_one_purge_looks_through_is_deleted_by_asking_again() {
    let others = (PURGE_READ_MESSAGES * PURGE_READS_MAX) as usize + 100;
    let mut home = Home::with_log(LongLog::default());
    home.settings.history.messages = 100;
    let of_bob = std::iter::repeat_n(by("bob"), 50);
    home.mesh.log.messages = of_bob.chain(std::iter::repeat_n(by("zoe"), others)).collect();
    let (room, asker) = home.enter(0, 1, "mod", Level::Moderate);
    home.take_told();

    purge(&mut home, (room, asker), None);
    assert_eq!(home.reads(room), PURGE_READS_MAX, "and no more at once");
    let before = 50 + others as u64 - TAIL as u64 - 50_000 + 1;
    assert_eq!(home.take_told(), [answer(0, Some(before))]);

    purge(&mut home, (room, asker), Some(before));
    assert_eq!(home.reads(room), 1, "what is behind that is not looked at again");
    let told = home.take_told();
    let deleted = told.iter().filter(|told| told.contains(r#""deleted":"#)).count();
    assert_eq!((deleted, told.last()), (50, Some(&answer(50, None))));
}

#[test]
fn a_long_memory_is_looked_through_in_several() {
    let mut home = Home::new();
    home.settings.history.messages = 10_000;
    let (room, asker) = home.enter(0, 1, "mod", Level::Moderate);
    let (_, bob) = home.enter(0, 2, "bob", Level::Speak);
    home.publish(room, bob, "5", "\"spam\"");
    for _ in 0..PURGE_LOOKS_MAX {
        home.publish(room, asker, "5", "\"hi\"");
    }
    home.take_told();
    purge(&mut home, (room, asker), None);
    assert_eq!(home.take_told(), [answer(0, Some(2))]);
    purge(&mut home, (room, asker), Some(2));
    let told = home.take_told();
    assert!(told[0].contains(r#""deleted":"#), "{told:?}");
    assert_eq!(told[1..], [answer(1, None)]);
}

#[test]
fn a_memory_longer_than_one_look_is_read_on_where_there_is_a_log() {
    let mut home = Home::with_log(LongLog::default());
    home.settings.history.messages = 10_000;
    home.mesh.log.messages = std::iter::repeat_n(by("zoe"), TAIL).collect();
    let (room, asker) = home.enter(0, 1, "mod", Level::Moderate);
    let (_, bob) = home.enter(0, 2, "bob", Level::Speak);
    for (user, said_by, count) in [("bob", bob, 1), ("mod", asker, PURGE_LOOKS_MAX)] {
        for _ in 0..count {
            home.publish(room, said_by, "5", "\"hi\"");
            home.mesh.log.messages.push(by(user));
        }
    }
    home.take_told();
    purge(&mut home, (room, asker), None);
    assert_eq!(home.take_told(), [] as [&str; 0]);
    assert_eq!(home.reads(room), 1);
    let told = home.take_told();
    assert_eq!((told.len(), told.last()), (2, Some(&answer(1, None))), "{told:?}");
}
