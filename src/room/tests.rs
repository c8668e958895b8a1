//! A room alone, without a shard: what it says to whom asks, and what it refuses.

use super::encode::JoinQuestion;
use super::journal::Older;
use super::keys::KeyHash;
use super::pacing::Urgency;
use super::*;
use crate::auth::identity::NEVER_S;
use crate::base::arena::Key;
use crate::base::bitset::BitSet;
use crate::limits::{ChatLimits, PresenceLimits, SEARCH_LOOKED_BYTES_MAX};
use crate::link::ids::{Count, Cursor, Receipt};
use crate::link::log::{Marks, Opened, Part, Stretch, View, Wanted, What};
use crate::link::record::{From, Searched};
use crate::link::refusal::Refusal;
use crate::link::said::{Fate, MessageText, Said};

const HISTORY: HistoryLimits =
    HistoryLimits { messages: 3, room_bytes: 10_000, total_bytes: 0, page_bytes: 10_000 };
const QUESTION: JoinQuestion<'_> =
    JoinQuestion { now_ms: 0, since: None, limit: 50, older: Older::Gone, may_change: true };
const PRESENCE: PresenceLimits =
    PresenceLimits { tick_ms: 50, tick_max_ms: 2_000, full_max: 1_000, listed: 100 };

pub(super) fn now(ms: u64) -> Now {
    Now { mono_ms: ms, unix_ms: 1_000_000 + ms }
}

pub(super) fn identity(user: &str) -> Identity {
    Identity::new(user, user, NEVER_S, None).expect("a valid user")
}

pub(super) fn asker(conn: u64, slot: Slot) -> Asker {
    Asker { conn: Key::from_u64(1 << 32 | conn), slot }
}

fn arrival(who: Who<'_>, shard: u16, conn: u64) -> Arrival<'_> {
    Arrival {
        address: Address { shard, token: Level::Speak, conn: Key::from_u64(1 << 32 | conn) },
        audience: Key::from_u64(7 << 32 | u64::from(shard)),
        who,
        visible: true,
        meta: None,
        replaces: None,
    }
}

fn join(room: &mut Room, user: &str, shard: u16, conn: u64) -> Slot {
    let slot = room.join(now(0), arrival(Who::Here(&identity(user)), shard, conn));
    room.check_invariants();
    slot
}

/// Lets a user join whose token allows so much.
pub(super) fn join_as(room: &mut Room, user: &str, token: Level, conn: u64) -> Slot {
    let identity = identity(user);
    let mut arrival = arrival(Who::Here(&identity), 0, conn);
    arrival.address.token = token;
    room.join(now(0), arrival)
}

/// Publishes as it is done with a log in memory. Gives the receipt, and what members hear.
fn publish(room: &mut Room, slot: Slot, body: &str, key: Option<&str>) -> (Receipt, String) {
    publish_into(&HISTORY, room, slot, body, key)
}

/// The same in a room with a history of another size.
fn publish_into(
    limits: &HistoryLimits,
    room: &mut Room,
    slot: Slot,
    body: &str,
    key: Option<&str>,
) -> (Receipt, String) {
    let key_hash = key.map(|key| KeyHash([u64::from(slot.0), key.len() as u64]));
    let author = room.member(slot).expect("a member").identity.clone();
    let said = Said { user: author.user(), name: author.name(), body, key, ..Said::default() };
    if let Some(receipt) = key_hash.and_then(|key| room.history().of_key(key)) {
        return (receipt, String::new());
    }
    let entry = room.propose(said).expect("nothing is refused");
    assert_eq!(entry.judged, room.journal().judged());
    let What::Message(said) = entry.what else { panic!("a message") };
    let receipt = room.next_receipt(now(5));
    let mut out = Vec::new();
    assert!(room.apply(said, Fate::default(), receipt, key_hash, limits, &mut out));
    (receipt, String::from_utf8(out).expect("UTF-8"))
}

pub(super) fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn a_join_is_answered_with_the_cursor_the_page_and_who_one_is() {
    let mut room = Room::new("room:tea", 0x5f);
    let ann = join(&mut room, "ann", 0, 1);
    publish(&mut room, ann, "\"hi\"", None);
    let bob = join_as(&mut room, "bob", Level::Join, 2);
    assert_eq!(
        written(|out| room.push_joined(out, bob, QUESTION, &HISTORY)),
        r#"{"change":0,"epoch":"000000000000005f","messages":[{"at":1000005,"body":"hi","id":"000000000000005f-1","name":"ann","offset":1,"user":"ann"}],"more":false,"offset":1,"recovered":false,"room":{"members":2,"room":"tea","title":"tea"},"you":{"name":"bob","speak":false,"user":"bob"}}"#
    );
    let since = Some(Cursor { epoch: 0x5f, offset: 1, change: None });
    let recovered = written(|out| {
        room.push_joined(out, bob, JoinQuestion { since, ..QUESTION }, &HISTORY);
    });
    assert!(recovered.contains(r#""messages":[],"more":false,"offset":1,"recovered":true"#));
}

#[test]
fn where_no_message_changes_a_join_is_not_told_how_far_changes_are() {
    let mut room = Room::new("room:tea", 0x5f);
    let ann = join(&mut room, "ann", 0, 1);
    publish(&mut room, ann, "\"hi\"", None);
    let told = |question| written(|out| room.push_joined(out, ann, question, &HISTORY));
    let [may, may_not] =
        [true, false].map(|may_change| told(JoinQuestion { may_change, ..QUESTION }));
    assert_eq!(may.replace(r#""change":0,"#, ""), may_not);
    assert_ne!(may, may_not);
}

#[test]
fn a_users_own_topic_has_neither_history_nor_a_list() {
    let mut room = Room::new("user:ann", 1);
    assert_eq!(room.name(), None);
    let ann = join(&mut room, "ann", 0, 1);
    assert_eq!((room.members_count(), room.present_count()), (1, 0));
    assert_eq!(
        written(|out| room.push_joined(out, ann, QUESTION, &HISTORY)),
        r#"{"you":{"name":"ann","speak":true,"user":"ann"}}"#
    );
}

#[test]
fn members_are_counted_at_their_shards_and_the_last_one_takes_the_outpost_along() {
    let mut room = Room::new("room:tea", 1);
    let ann = join(&mut room, "ann", 0, 1);
    let bob = join(&mut room, "bob", 3, 1);
    let cy = join(&mut room, "cy", 3, 2);
    let shards =
        |room: &Room| room.outposts().iter().map(|outpost| outpost.shard).collect::<Vec<_>>();
    assert_eq!(shards(&room), [0, 3]);
    room.leave(bob);
    room.check_invariants();
    assert_eq!(shards(&room), [0, 3]);
    room.leave(bob);
    assert_eq!(room.members_count(), 2, "who is not there cannot leave");
    room.leave(cy);
    assert_eq!((shards(&room), room.audience(3)), (vec![0], None));
    join(&mut room, "dan", 3, 3);
    for slot in room.lose_shard(3) {
        room.check_invariants();
        assert_eq!(room.audience(3), None, "nothing is told there");
        room.leave(slot);
    }
    room.check_invariants();
    assert_eq!(shards(&room), [0]);
    assert!(room.member(ann).is_some());
}

#[test]
fn who_joins_again_takes_its_own_place_and_nobody_elses() {
    let mut room = Room::new("room:tea", 1);
    let ann = join(&mut room, "ann", 0, 1);
    let myself = identity("ann");
    let again = Arrival { replaces: Some(ann), ..arrival(Who::Here(&myself), 0, 1) };
    let ann = room.join(now(0), again);
    room.check_invariants();
    assert_eq!(room.members_count(), 1);
    let stranger = identity("bob");
    let theft = Arrival { replaces: Some(ann), ..arrival(Who::Here(&stranger), 0, 2) };
    let stolen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        room.join(now(0), theft);
    }));
    assert!(stolen.is_err(), "a member of another connection cannot be replaced");
}

#[test]
#[should_panic(expected = "a member speaks for itself")]
fn a_slot_of_another_shard_is_refused_loudly() {
    let mut room = Room::new("room:tea", 1);
    let ann = join(&mut room, "ann", 0, 1);
    room.assert_member(0, asker(1, ann));
    room.assert_member(1, asker(1, ann));
}

#[test]
#[should_panic(expected = "a member speaks for itself")]
fn a_member_that_left_speaks_no_more() {
    let mut room = Room::new("room:tea", 1);
    let ann = join(&mut room, "ann", 0, 1);
    room.leave(ann);
    room.assert_member(0, asker(1, ann));
}

#[test]
fn a_key_gives_its_first_receipt_and_no_second_message() {
    let mut room = Room::new("room:tea", 1);
    let ann = join(&mut room, "ann", 0, 1);
    let receipt = Receipt { offset: 1, at_ms: 1_000_005 };
    let (first, message) = publish(&mut room, ann, "\"a\"", Some("k"));
    assert_eq!(first, receipt);
    assert!(message.contains(r#""body":"a""#) && message.contains(r#""key":"k""#));
    let again = publish(&mut room, ann, "\"b\"", Some("k"));
    assert_eq!(again, (receipt, String::new()));
    assert_eq!(room.history().last(), 1);
    let (other, _) = publish(&mut room, ann, "\"b\"", None);
    assert_eq!(other.offset, 2);
}

#[test]
fn a_proposal_changes_nothing_and_what_is_applied_twice_is_applied_once() {
    let mut room = Room::new("room:tea", 1);
    let ann = join(&mut room, "ann", 0, 1);
    room.apply_rev(3);
    let author = room.member(ann).expect("a member").identity.clone();
    let said = Said { user: author.user(), name: "A", body: "1", ..Said::default() };
    let Ok(entry) = room.propose(said) else { panic!("an entry") };
    assert_eq!(room.propose(said), Ok(entry));
    for reply_to in [0, 1, u64::MAX] {
        let answer = Said { reply_to: Some(reply_to), ..said };
        let refused = room.propose(answer);
        assert!(matches!(refused, Err(Refusal::Invalid { field: "reply_to", .. })), "{reply_to}");
    }
    assert_eq!((entry.judged.rev, room.history().last()), (3, 0));
    let What::Message(said) = entry.what else { panic!("a message") };
    let receipt = room.next_receipt(now(5));
    let mut out = Vec::new();
    assert!(room.apply(said, Fate::default(), receipt, None, &HISTORY, &mut out));
    let told = out.len();
    assert!(!room.apply(said, Fate::default(), receipt, None, &HISTORY, &mut out));
    assert_eq!((out.len(), room.history().len()), (told, 1), "and told once");
}

#[test]
fn a_turn_says_whether_what_somebody_saw_is_lost() {
    let mut room = Room::new("room:tea", 1);
    let ann = join(&mut room, "ann", 0, 1);
    publish(&mut room, ann, "1", None);
    publish(&mut room, ann, "2", None);
    let at = |offset| Marks { offset, change: 0 };
    assert!(!room.turn(2, at(2)));
    assert!(room.turn(3, at(1)));
    assert_eq!((room.journal().epoch(), room.journal().top()), (3, at(1)));
    assert_eq!(publish(&mut room, ann, "3", None).0.offset, 2, "it goes on from what is there");
}

#[test]
fn pages_are_what_is_kept_from_where_it_was_asked() {
    let mut room = Room::new("room:tea", 1);
    let ann = join(&mut room, "ann", 0, 1);
    for body in ["1", "2", "3", "4"] {
        publish(&mut room, ann, body, None);
    }
    let page = |from, limit| {
        let page = written(|out| room.push_page(out, (from, limit), false, &HISTORY));
        let offsets: Vec<_> =
            (1..=4).filter(|offset| page.contains(&format!(r#""offset":{offset},"#))).collect();
        (offsets, page.ends_with(r#""more":true}"#))
    };
    assert_eq!(page(From::Latest, 2), (vec![3, 4], true));
    assert_eq!(page(From::Latest, 9), (vec![2, 3, 4], false));
    assert_eq!(page(From::Before(4), 1), (vec![3], true));
    assert_eq!(page(From::After(2), 1), (vec![3], true));
    room.drop_oldest();
    let page = written(|out| room.push_page(out, (From::Latest, 9), false, &HISTORY));
    assert!(!page.contains(r#""offset":2,"#));
    room.let_go(up_to(3));
    let first = room.history().first();
    room.let_go(up_to(2));
    assert_eq!((first, room.history().first()), (4, 4), "what has gone has gone");
    room.let_go(up_to(9));
    let history = room.history();
    assert_eq!((history.is_empty(), history.last()), (true, 4), "an emptied room counts on");
}

/// Messages up to this offset, of which none was changed.
fn up_to(offset: u64) -> Marks {
    Marks { offset, change: 0 }
}

/// The offsets of a page below 10, and whether there is more.
fn page_of(page: &str) -> (Vec<u64>, bool) {
    let has = |offset: &u64| page.contains(&format!(r#""offset":{offset},"#));
    ((1..10).filter(has).collect(), page.ends_with(r#""more":true}"#))
}

#[test]
fn a_page_that_is_read_from_the_log_has_a_message_however_long_that_is() {
    let mut room = Room::new("room:tea", 1);
    let ann = join(&mut room, "ann", 0, 1);
    for body in ["1", "2", "3", "4", "5", "6"] {
        publish(&mut room, ann, body, None);
    }
    let tiny = HistoryLimits { page_bytes: 1, ..HISTORY };
    let said = Said { user: "ann", name: "Ann", body: "\"x\"", ..Said::default() };
    let page = |part, limits| {
        let wanted = Wanted {
            after: 0,
            upto: 3,
            part,
            messages: 9,
            bytes: 1,
            changed: None,
            view: View::Room,
        };
        let messages = vec![MessageText::new(7, said, Fate::default()); 3];
        let stretch = Stretch { first: 1, messages, ..Stretch::default() };
        page_of(&written(|out| room.push_page_read(out, wanted, &stretch, limits)))
    };
    assert_eq!(page(Part::Newest, &HISTORY), (vec![1, 2, 3], false));
    assert_eq!(page(Part::Newest, &tiny), (vec![3], true));
    assert_eq!(page(Part::Oldest, &HISTORY), (vec![1, 2, 3], true));
    assert_eq!(page(Part::Oldest, &tiny), (vec![1], true));
}

#[test]
fn a_message_whose_epoch_only_its_log_knows_keeps_its_id_however_often_it_changes() {
    let opened = Opened { epoch: 9, origin: 9, top: up_to(1), ..Opened::default() };
    let mut room = Room::with_journal("room:tea", Journal::opened(&opened), 9);
    let fate = Fate { epoch: Some(5), ..Fate::default() };
    let read = MessageText::new(7, Said { body: "\"a\"", ..Said::default() }, fate);
    let limits = (&HISTORY, &ChatLimits::default());
    for change in 1..=2 {
        // It is read by others all the while.
        let mut message = room.message(1).unwrap_or_else(|| read.clone());
        message.said.body = format!("\"{change}\"").into();
        room.apply_change((1, None, &message), (change, false), Some(1), limits, &mut Vec::new());
    }
    let told = written(|out| room.push_read(out, 1, &read));
    assert!(told.contains(r#""body":"2","id":"0000000000000005-1""#), "{told}");
}

#[test]
fn there_is_nothing_more_before_what_the_log_has_let_go_of() {
    let mut room = Room::new("room:tea", 1);
    let ann = join(&mut room, "ann", 0, 1);
    for body in ["1", "2", "3", "4", "5"] {
        publish(&mut room, ann, body, None);
    }
    let latest = |room: &Room| {
        let (page, wanted) = ((From::Latest, 9), room.page_in_log(From::Before(3), 9, &HISTORY));
        let upto = wanted.map(|wanted| (wanted.after, wanted.upto));
        (page_of(&written(|out| room.push_page(out, page, true, &HISTORY))), upto)
    };
    assert_eq!(latest(&room), ((vec![3, 4, 5], true), Some((0, 2))));
    room.let_go(up_to(1));
    assert_eq!(latest(&room), ((vec![3, 4, 5], true), Some((1, 2))));
    room.let_go(up_to(2));
    assert_eq!(latest(&room), ((vec![3, 4, 5], false), None));
    assert!(room.page_in_log(From::After(0), 9, &HISTORY).is_none(), "they are all in memory");
    room.let_go(up_to(1));
    assert_eq!(latest(&room), ((vec![3, 4, 5], false), None), "what has gone has gone");
    room.let_go(up_to(5));
    assert_eq!(latest(&room), ((vec![], false), None));
}

#[test]
fn a_user_types_once_for_a_while_on_whatever_device() {
    let mut room = Room::new("room:tea", 1);
    let mut may_type = |typist, ms| room.may_type(now(ms), typist, &PRESENCE);
    assert!(may_type(1, 100));
    assert!(!may_type(1, 149));
    assert!(may_type(2, 149), "another user, by its hash");
    assert!(may_type(1, 150), "the while is over");
    assert_eq!(
        written(|out| speech::push_typing(out, "ann", "Ann", None)),
        r#"{"name":"Ann","user":"ann"}"#
    );
    assert_eq!(
        written(|out| speech::push_typing(out, "ann", "Ann", Some(7))),
        r#"{"name":"Ann","thread":7,"user":"ann"}"#
    );
}

#[test]
fn a_tick_tells_who_came_and_left_and_newcomers_get_the_list() {
    let mut room = Room::new("room:tea", 1);
    let mut seen = BitSet::new();
    let ann = join(&mut room, "ann", 0, 1);
    room.expect_greeting(ann);
    assert_eq!(room.request_tick(now(10), Urgency::Now, &PRESENCE), Some(10));
    assert!(!room.take_due_tick(now(9)) && room.has_tick());
    assert!(room.take_due_tick(now(10)) && !room.has_tick());
    let diff = |room: &mut Room, seen: &mut BitSet| {
        written(|out| assert_eq!(room.tick(&PRESENCE, seen, out), !out.is_empty()))
    };
    let joined = diff(&mut room, &mut seen);
    assert!(joined.starts_with(r#"{"joins":{"ann":{"metas":[{"name":"ann""#), "{joined}");
    assert!(joined.ends_with(r#""leaves":{}}"#));
    assert!(written(|out| room.push_list(out, &mut seen)).starts_with(r#""ann":{"metas":"#));
    assert_eq!(room.newcomers(), [ann]);
    let mut own = Vec::new();
    room.push_own_entries(&mut own, 1);
    assert!(own.is_empty(), "nobody is new on that shard");
    room.push_own_entries(&mut own, 0);
    assert_eq!(own[8..], [0; 4], "the list has it");
    room.greeted();
    room.rest(now(10), &PRESENCE);
    room.leave(ann);
    assert_eq!(room.request_tick(now(11), Urgency::AfterRest, &PRESENCE), Some(112));
    assert_eq!(room.tick_wait_ms(now(100)), 12);
    assert!(diff(&mut room, &mut seen).starts_with(r#"{"joins":{},"leaves":{"ann""#));
    let mut out = Vec::new();
    assert!(!room.tick(&PRESENCE, &mut seen, &mut out) && out.is_empty(), "nothing is new");
}

#[test]
fn in_a_large_room_the_true_number_is_news_and_who_is_not_listed_is_told_of_itself() {
    let limits = PresenceLimits { full_max: 4, listed: 2, ..PRESENCE };
    let mut room = Room::new("room:tea", 1);
    let mut seen = BitSet::new();
    for conn in 0..6 {
        let user = format!("u{conn}");
        let slot = join(&mut room, &user, 0, conn);
        room.expect_greeting(slot);
    }
    let mut out = Vec::new();
    assert!(room.tick(&limits, &mut seen, &mut out));
    assert_eq!(written(|out| assert!(room.push_count_news(out))), r#"{"count":6,"listed":1}"#);
    assert_eq!(room.list_count(), Some(Count { present: 6, listed: 1 }));
    assert!(!room.push_count_news(&mut out), "told once");
    let own = {
        let mut own = Vec::new();
        room.push_own_entries(&mut own, 0);
        String::from_utf8_lossy(&own).into_owned()
    };
    assert!(!own.contains("\"u0\"") && own.contains("\"u5\""), "{own}");
}

#[test]
fn a_search_looks_at_so_much_of_what_is_in_memory_and_whoever_asks_goes_on() {
    let limits = HistoryLimits { messages: 1_000, room_bytes: 4 << 20, ..HISTORY };
    let mut room = Room::new("room:tea", 1);
    let ann = join(&mut room, "ann", 0, 1);
    let long = format!("\"{}\"", "a ".repeat(4_096));
    for number in 0..200 {
        let body = if number % 150 == 0 { "\"tea\"" } else { &long };
        publish_into(&limits, &mut room, ann, body, None);
    }
    let (mut before, mut found) = (None, Vec::new());
    let answers = std::iter::from_fn(|| {
        let mut looked_at = 0;
        let answer = written(|out| {
            let searched = Searched { query: "\"tea\"", from: None, before, limit: 50 };
            looked_at = room.push_found(out, searched, limits.page_bytes);
        });
        assert!(looked_at < SEARCH_LOOKED_BYTES_MAX + long.len() + 1_000, "{looked_at}");
        let has = |offset: &u64| answer.contains(&format!(r#""offset":{offset},"#));
        found.extend((1..=200).filter(has));
        let [next, more] = crate::wire::json::fields(&answer, ["before", "more"]);
        before = next.map(|next| next.parse().expect("an offset"));
        assert_eq!(more, Some(if before.is_some() { "true" } else { "false" }));
        Some(before.is_some())
    });
    assert_eq!(answers.take_while(|more| *more).count(), 3, "1.6 MB in steps of 512 KiB");
    assert_eq!(found, [151, 1]);
}
