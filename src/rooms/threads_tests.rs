//! Messages that answer one that is not in memory: they wait for its thread, and what their members
//! push next waits behind them. And what has become of messages while others are read.

use super::tests::Home;
use crate::auth::level::Level;
use crate::limits::{PROPOSALS_MAX, READS_OF_ONE_MAX};
use crate::link::facts::{MemberWish, Sentence};
use crate::link::given::Given;
use crate::link::ids::{Asker, RoomKey};
use crate::link::log::{
    Append, Appended, FromLog, Log, Marks, Opening, Placed, Read, Stretch, Ticket, View, What, Why,
};
use crate::link::message::thread_of;
use crate::link::record::{Addition, From, NewMessage, ToHome, Verb};
use crate::link::said::{Act, Fate, MessageText, Said};
use crate::wire::json;
use crate::wire::phx::Payload;

type Of = (RoomKey, Asker);

/// A log that keeps what it is given, and reads what it is asked for when a test says so.
#[derive(Default)]
struct SlowLog {
    /// The offsets that are to be read, of which room.
    asked: Vec<(RoomKey, Ticket, u64)>,
    /// Whether others have it too: then it says later what becomes of what it is given.
    is_shared: bool,
    given: Vec<Ticket>,
    /// What became of messages by that.
    changed: Vec<MessageText>,
}

impl Log for SlowLog {
    fn is_shared(&self) -> bool {
        self.is_shared
    }
    fn open(&mut self, _: RoomKey, _: &str, _: u64) -> Opening {
        Opening::New
    }
    fn append(&mut self, append: Append<'_>) -> Appended {
        if !self.is_shared {
            return Appended::Kept;
        }
        self.given.push(append.ticket);
        if let What::Changed { message, .. } = append.entry.what {
            self.changed.push(message.clone());
        }
        Appended::Later
    }
    fn reads(&self) -> bool {
        true
    }
    fn read(&mut self, read: Read<'_>) -> Result<(), Why> {
        self.asked.push((read.room, read.ticket, read.wanted.upto));
        Ok(())
    }
    fn close(&mut self, _: RoomKey) {}
}

/// A room of which message 2 answers message 1, and only message 3 is in memory; with two members.
fn home() -> (Home<SlowLog>, Of, Of) {
    let mut home = Home::with_log(SlowLog::default());
    home.settings.history.messages = 1;
    let ann = home.enter(0, 1, "ann", Level::Speak);
    let bob = home.enter(0, 2, "bob", Level::Moderate);
    say(&mut home, ann, "1", None, None);
    say(&mut home, ann, "2", Some(1), None);
    say(&mut home, bob, "3", None, None);
    home.take_told();
    (home, ann, bob)
}

/// Says a message whose body is its ref.
fn say(
    home: &mut Home<SlowLog>,
    (room, asker): Of,
    reference: &str,
    reply_to: Option<u64>,
    key: Option<&str>,
) {
    let body = format!("\"{reference}\"");
    let message = NewMessage { body: &body, reply_to, key, ..NewMessage::default() };
    home.hear(0, ToHome::Publish { home: room, asker, reference, message });
}

/// What is to be read.
fn asked(home: &Home<SlowLog>) -> Vec<u64> {
    home.mesh.log.asked.iter().map(|(_, _, offset)| *offset).collect()
}

/// The log has read what it was asked for first: it is in this thread, or the first of one.
fn reads(home: &mut Home<SlowLog>, thread: Option<u64>) {
    let said = Said { user: "ann", name: "ann", body: "\"2\"", thread, ..Said::default() };
    reads_all(home, vec![MessageText::new(1, said, Fate::default())]);
}

/// The log has read what it was asked for first: these messages, or that there is none any more.
fn reads_all(home: &mut Home<SlowLog>, messages: Vec<MessageText>) {
    let (room, ticket, first) = home.mesh.log.asked.remove(0);
    let stretch = &Stretch { first, messages, ..Stretch::default() };
    home.with(|rooms, cx, told| rooms.hear_log(cx, told, FromLog::Read { room, ticket, stretch }));
}

/// What members were told, in short: of a message its body and its thread, of an answer whether it
/// was `ok` or why not.
fn told(home: &mut Home<SlowLog>) -> Vec<String> {
    let short = |told: String| {
        let (start, payload) = told.split_once('{').unwrap_or((&told, ""));
        let payload = format!("{{{payload}");
        let field = |name| json::field(&payload, name).unwrap_or_default().to_owned();
        match start.split(' ').skip(1).collect::<Vec<_>>()[..] {
            ["new_msg", ..] => match thread_of(&payload) {
                Some(thread) => format!("{} in {thread}", field("body")),
                None => field("body"),
            },
            ["reply", reference, "ok", ..] => format!("{reference} ok {}", field("offset")),
            ["reply", reference, ..] => format!("{reference} {}", field("reason")),
            _ => start.trim_start_matches("0 ").trim().to_owned(),
        }
    };
    home.take_told().into_iter().map(short).collect()
}

#[test]
fn an_answer_waits_for_its_thread_and_holds_up_what_its_member_pushes_and_nobody_else() {
    let (mut home, ann, bob) = home();
    say(&mut home, ann, "5", Some(2), None);
    say(&mut home, ann, "6", None, None);
    home.hear(0, ToHome::Typing { home: ann.0, asker: ann.1, thread: None });
    let payload = Payload::Json("{}");
    let (room, asker) = ann;
    home.hear(0, ToHome::Custom { home: room, asker, reference: "7", event: "wave", payload });
    let verb = Verb::Delete;
    home.hear(0, ToHome::Change { home: room, asker, reference: "8", offset: 3, verb });
    assert_eq!((told(&mut home), asked(&home)), (vec![], vec![2]));
    say(&mut home, bob, "9", None, None);
    assert_eq!(told(&mut home), ["\"9\"", "9 ok 4"]);
    reads(&mut home, Some(1));
    let expected = ["\"5\" in 1", "5 ok 5", "\"6\"", "6 ok 6", "typing", "wave", "7 ok "];
    let told = told(&mut home);
    assert_eq!(told[..7], expected);
    // That message is not in memory any more: it is read, too.
    assert_eq!((told.len(), asked(&home)), (7, vec![3]));
}

#[test]
fn a_message_is_read_once_whoever_answers_it_and_a_key_is_used_once() {
    let (mut home, ann, bob) = home();
    let phone = home.enter(0, 3, "ann", Level::Speak);
    home.take_told();
    say(&mut home, ann, "5", Some(2), Some("k"));
    say(&mut home, bob, "6", Some(2), None);
    say(&mut home, phone, "7", Some(2), Some("k"));
    assert_eq!((told(&mut home), asked(&home)), (vec![], vec![2]));
    reads(&mut home, Some(1));
    let both = ["\"5\" in 1", "5 ok 4", "\"6\" in 1", "6 ok 5", "7 ok 4"];
    assert_eq!(told(&mut home), both);
    say(&mut home, phone, "8", Some(2), Some("k"));
    assert_eq!((told(&mut home), asked(&home)), (vec!["8 ok 4".to_owned()], vec![]));
}

#[test]
fn what_a_member_does_to_a_message_is_done_in_order_whatever_it_pushes_between() {
    let edit =
        |body| Verb::Edit { body: Some(body), mentions: Given::Nothing, data: Given::Nothing };
    let append = |text| Addition::Text { text, is_last: false };
    for is_edited in [true, false] {
        let (mut home, ann, _) = home();
        let (room, asker) = ann;
        let push = |home: &mut Home<SlowLog>, reference, text| {
            home.hear(
                0,
                if is_edited {
                    ToHome::Change { home: room, asker, reference, offset: 2, verb: edit(text) }
                } else {
                    let addition = append(text);
                    ToHome::Add { home: room, asker, reference, offset: 2, addition }
                },
            );
        };
        push(&mut home, "5", "\"+first\"");
        say(&mut home, ann, "6", Some(1), None);
        push(&mut home, "7", "\"+second\"");
        assert_eq!((told(&mut home), asked(&home)), (vec![], vec![2]));
        let said = Said { user: "ann", body: "\"2\"", stream: true, ..Said::default() };
        let message = MessageText::new(home.now_ms, said, Fate::default());
        while !asked(&home).is_empty() {
            reads_all(&mut home, vec![message.clone()]);
        }
        // What is appended behind the first piece is told with the next tick.
        home.now_ms += home.settings.chat.react_tick_ms;
        home.with(|rooms, cx, told| rooms.collected_due(cx, told, room));
        let told = home.take_told().join("\n");
        let places = ["+first", "6 ok", "+second"].map(|what| told.find(what).expect(what));
        assert!(places.is_sorted(), "{told}");
    }
}

#[test]
fn an_edit_comes_behind_what_was_appended_before_it_and_before_what_is_appended_next() {
    let edit = Verb::Edit { body: Some("\"E\""), mentions: Given::Nothing, data: Given::Nothing };
    for is_shared in [false, true] {
        let mut home = Home::with_log(SlowLog::default());
        let (room, asker) = home.enter(0, 1, "ann", Level::Speak);
        let message = NewMessage { body: "\"\"", stream: true, ..NewMessage::default() };
        home.hear(0, ToHome::Publish { home: room, asker, reference: "1", message });
        home.take_told();
        home.mesh.log.is_shared = is_shared;
        let append = |home: &mut Home<SlowLog>, reference, text| {
            let addition = Addition::Text { text, is_last: false };
            home.hear(0, ToHome::Add { home: room, asker, reference, offset: 1, addition });
        };
        append(&mut home, "2", "\"a\"");
        append(&mut home, "3", "\"b\"");
        append(&mut home, "4", "\"c\"");
        home.hear(0, ToHome::Change { home: room, asker, reference: "5", offset: 1, verb: edit });
        append(&mut home, "6", "\"d\"");
        let mut told = String::new();
        for change in 1..=4 {
            told += &home.take_told().join("\n");
            if is_shared && !home.mesh.log.given.is_empty() {
                assert_eq!(home.mesh.log.given.len(), 1, "one change of a room is under way");
                let (ticket, message) =
                    (home.mesh.log.given.remove(0), home.mesh.log.changed.remove(0));
                let placed = Placed::change(change, home.now_ms);
                let (what, line) = (What::Changed { offset: 1, message: &message }, None);
                let ours = Some(ticket);
                for said in [
                    FromLog::Entry {
                        room,
                        ticket: ours,
                        placed,
                        rev: 0,
                        what,
                        line,
                        was_missed: false,
                    },
                    FromLog::Kept { room, ticket, placed },
                ] {
                    home.with(|rooms, cx, told| rooms.hear_log(cx, told, said));
                }
            }
            if home.mesh.log.given.is_empty() {
                home.now_ms += home.settings.chat.react_tick_ms;
                home.with(|rooms, cx, told| rooms.collected_due(cx, told, room));
            }
        }
        told += &home.take_told().join("\n");
        let expected = [
            r#""append":"a""#,
            "reply 2 ok",
            r#""append":"bc""#,
            "reply 3 ok",
            "reply 4 ok",
            r#""body":"E""#,
            "reply 5 ok",
            r#""append":"d""#,
            "reply 6 ok",
        ];
        let places = expected.map(|what| told.find(what));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{is_shared}: {told}");
    }
}

#[test]
fn what_is_collected_for_a_message_that_is_not_what_was_read_is_refused_in_the_end() {
    let (mut home, ann, _) = home();
    home.mesh.log.is_shared = true;
    let (room, asker) = ann;
    let addition = Addition::Reaction { emoji: "x", on: true };
    home.hear(0, ToHome::Add { home: room, asker, reference: "5", offset: 2, addition });
    reads(&mut home, None);
    for _ in 0..PROPOSALS_MAX {
        assert_eq!(told(&mut home), [""; 0]);
        let ticket = home.mesh.log.given.pop().expect("it is proposed");
        let why = Why::Conflict;
        home.with(|rooms, cx, told| {
            rooms.hear_log(cx, told, FromLog::Refused { room, ticket, why });
        });
        home.now_ms += home.settings.chat.react_tick_ms;
        home.with(|rooms, cx, told| rooms.collected_due(cx, told, room));
    }
    assert_eq!(told(&mut home), ["5 \"busy\""]);
    assert!(home.mesh.log.given.is_empty(), "it is not proposed again");
}

#[test]
fn what_cannot_be_read_is_refused_and_what_waits_behind_it_goes_on() {
    let (mut home, ann, _) = home();
    say(&mut home, ann, "5", Some(2), None);
    say(&mut home, ann, "6", None, None);
    say(&mut home, ann, "7", Some(1), None);
    say(&mut home, ann, "8", None, None);
    let (room, ticket, _) = home.mesh.log.asked.remove(0);
    let why = Why::Storage;
    home.with(|rooms, cx, told| rooms.hear_log(cx, told, FromLog::NotRead { room, ticket, why }));
    assert_eq!(told(&mut home), ["5 \"storage\"", "\"6\"", "6 ok 4"]);
    assert_eq!(asked(&home), [1], "and the last one waits behind the other answer");
    let kept = Marks { offset: 4, change: 0 };
    home.with(|rooms, cx, told| {
        rooms.hear_log(cx, told, FromLog::Turned { room, epoch: 9, kept });
    });
    home.take_told();
    reads(&mut home, None);
    assert_eq!(told(&mut home), ["7 \"busy\"", "\"8\"", "8 ok 5"]);
}

#[test]
fn what_goes_on_though_nothing_was_read_sees_what_was_done_before_it() {
    let (mut home, _, bob) = home();
    let (room, dan) = home.enter(0, 4, "dan", Level::Moderate);
    say(&mut home, bob, "5", Some(2), None);
    let pin = |home: &mut Home<SlowLog>, asker, reference, on| {
        let verb = Verb::Pin { on };
        home.hear(0, ToHome::Change { home: room, asker, reference, offset: 3, verb });
    };
    pin(&mut home, dan, "6", true);
    say(&mut home, (room, dan), "7", None, None);
    pin(&mut home, bob.1, "8", false);
    pin(&mut home, bob.1, "9", false);
    home.take_told();
    let (room, ticket, _) = home.mesh.log.asked.remove(0);
    let why = Why::Busy;
    home.with(|rooms, cx, told| rooms.hear_log(cx, told, FromLog::NotRead { room, ticket, why }));
    let told = home.take_told();
    assert_eq!(told[2..], ["8", "9"].map(|of| format!(r#"0 reply {of} ok {{"change":2}}"#)));
}

#[test]
fn an_answer_is_judged_when_its_thread_is_known() {
    let (mut home, ann, bob) = home();
    let cat = home.enter(0, 3, "cat", Level::Speak);
    let dan = home.enter(0, 4, "dan", Level::Moderate);
    say(&mut home, ann, "5", Some(2), None);
    say(&mut home, cat, "6", Some(2), None);
    say(&mut home, bob, "7", Some(2), None);
    let (room, asker) = bob;
    home.hear(0, ToHome::Leave { home: room, asker, reference: Some("8") });
    let mute = Some(Sentence::Seconds(60));
    home.stand(dan, MemberWish { user: "ann", mute, ..MemberWish::default() });
    home.hear(0, ToHome::Leave { home: cat.0, asker: cat.1, reference: None });
    home.take_told();
    reads(&mut home, Some(1));
    let expected = ["5 \"muted\"", "\"7\" in 1", "7 ok 4", "left 8"];
    assert_eq!(told(&mut home), expected, "and who has left says nothing");
}

#[test]
fn what_is_kept_no_more_is_the_first_of_a_thread() {
    let (mut home, ann, _) = home();
    let room = ann.0;
    say(&mut home, ann, "5", Some(2), None);
    reads_all(&mut home, Vec::new());
    assert_eq!(told(&mut home), ["\"5\" in 2", "5 ok 4"]);
    let floor = Marks { offset: 2, change: 0 };
    home.with(|rooms, cx, told| rooms.hear_log(cx, told, FromLog::LetGo { room, floor }));
    say(&mut home, ann, "6", Some(2), None);
    assert_eq!(told(&mut home), ["\"6\" in 2", "6 ok 5"]);
    for (reference, reply_to) in [("7", 0), ("8", 6)] {
        say(&mut home, ann, reference, Some(reply_to), None);
        assert_eq!(told(&mut home), [format!("{reference} \"invalid\"")]);
    }
    assert_eq!(asked(&home), [0; 0], "of those nothing is to be read");
}

#[test]
fn an_answer_in_line_behind_too_many_is_refused() {
    let (mut home, ann, _) = home();
    let max = crate::limits::WAITING_PUSHES_PER_ROOM_MAX;
    say(&mut home, ann, "5", Some(2), None);
    for _ in 1..max {
        say(&mut home, ann, "6", None, None);
    }
    say(&mut home, ann, "7", None, None);
    assert_eq!(home.rooms.arena.get(ann.0).expect("there").room.history().last(), 3);
    reads(&mut home, None);
    let told = told(&mut home);
    assert_eq!((told.len(), &*told[2 * max]), (2 * max + 1, "7 \"busy\""));
    assert_eq!(told[0], "\"5\" in 2");
    assert_eq!(home.metrics.refused_busy, 1);
}

/// Asks for a page of message 2, which is to be read.
fn look_back(home: &mut Home<SlowLog>, (room, asker): Of, reference: &str) {
    let (view, from, limit) = (View::Room, From::Before(3), 1);
    home.hear(0, ToHome::History { home: room, asker, reference, view, from, limit });
}

/// Says a message and deletes it. Returns its offset.
fn say_and_delete(home: &mut Home<SlowLog>, of: Of) -> u64 {
    say(home, of, "said", None, None);
    let (room, asker) = of;
    let offset = home.rooms.arena.get(room).expect("it is there").room.history().last();
    let verb = Verb::Delete;
    home.hear(0, ToHome::Change { home: room, asker, reference: "deleted", offset, verb });
    home.take_told();
    offset
}

#[test]
fn of_reads_that_overlap_for_ever_nothing_stays_that_none_of_them_lacks() {
    let (mut home, ann, bob) = home();
    let is_known = |home: &Home<SlowLog>, offset| {
        let room = &home.rooms.arena.get(ann.0).expect("it is there").room;
        room.journal().message(offset).is_some()
    };
    look_back(&mut home, ann, "5");
    let mut before = say_and_delete(&mut home, ann);
    for round in 0..20 {
        home.now_ms += 10_000;
        // One of a member's own is asked when the one before it is answered.
        look_back(&mut home, if round % 2 == 0 { bob } else { ann }, "6");
        let last = say_and_delete(&mut home, ann);
        assert!(is_known(&home, before), "what is read first lacks it");
        reads(&mut home, Some(1));
        assert!(!is_known(&home, before), "what is read next has it");
        before = last;
    }
    say(&mut home, bob, "7", None, None);
    assert!(is_known(&home, before));
    reads(&mut home, Some(1));
    assert!(!is_known(&home, before));
}

#[test]
fn what_was_asked_before_too_much_changed_is_asked_again() {
    let (mut home, ann, bob) = home();
    home.settings.history.room_bytes = 64;
    look_back(&mut home, bob, "5");
    for _ in 1..READS_OF_ONE_MAX {
        say_and_delete(&mut home, ann);
        reads(&mut home, Some(1));
        assert_eq!((told(&mut home), asked(&home)), (vec![], vec![2]));
    }
    reads(&mut home, Some(1));
    assert_eq!((told(&mut home), asked(&home)), (vec!["5 ok ".to_owned()], vec![]));
    // A push is judged by nothing that may be old.
    say(&mut home, bob, "6", Some(2), None);
    say_and_delete(&mut home, ann);
    reads(&mut home, Some(1));
    assert_eq!(told(&mut home), ["6 \"busy\""]);
}

#[test]
fn of_what_was_missed_members_are_told_all_for_the_home_may_know_it_as_it_is_by_now() {
    for was_missed in [false, true] {
        let log = SlowLog { is_shared: true, ..SlowLog::default() };
        let mut home = Home::with_log(log);
        let (room, _) = home.enter(0, 1, "ann", Level::Speak);
        let said = Said { user: "bob", body: "\"\"", ..Said::default() };
        let deleted = Some(Act { at_ms: 7, by: None });
        let message = MessageText::new(5, said, Fate { change: 1, deleted, ..Fate::default() });
        let (said, change) = (What::Message(said), What::Changed { offset: 1, message: &message });
        let at = [Marks { offset: 1, change: 0 }, Marks { offset: 0, change: 1 }];
        for (what, marks) in [said, change].into_iter().zip(at) {
            let (placed, ticket, line) = (Placed { marks, at_ms: 5 }, None, None);
            let heard = FromLog::Entry { room, ticket, placed, rev: 0, what, line, was_missed };
            home.with(|rooms, cx, told| rooms.hear_log(cx, told, heard));
        }
        let told = home.take_told().join("\n");
        let patch = told.find("\"change\":1").map(|at| &told[at..]);
        let patch = patch.unwrap_or_else(|| panic!("{told}"));
        // Somebody may have come in between who knows what it was.
        assert_eq!(patch.contains("\"body\":\"\""), was_missed, "{told}");
    }
}
