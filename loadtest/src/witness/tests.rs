//! A room that two servers share, told rightly; and each way to tell it wrongly is found.

use super::*;
use crate::client::stamp::{self, Stamp};

const SECOND_NS: u64 = crate::base::SECOND_NS;

/// What is kept of one room, and three members of it that are told.
struct World {
    witness: Witness,
    epoch: String,
    /// By offset, from 1: the epoch in which it was said, and the message.
    log: Vec<(String, Message)>,
    sent: u32,
    /// How many changes there were, and what has become of messages.
    change: u64,
    states: BTreeMap<u64, Changed>,
    lives: Vec<String>,
}

const MEMBERS: u32 = 3;

impl World {
    /// All members are in, and list each other.
    fn new() -> Self {
        let mut world = Self {
            witness: Witness::new(7, 1, [0; MEMBERS as usize].into_iter()),
            epoch: "a".to_owned(),
            log: Vec::new(),
            sent: 0,
            change: 0,
            states: BTreeMap::new(),
            lives: vec![String::new(); at(MEMBERS)],
        };
        for conn in 0..MEMBERS {
            world.join(conn, false);
        }
        world.list_all();
        world
    }

    fn told(log: &[(String, Message)], from: usize) -> Vec<Told<'_>> {
        let numbered = (1..).zip(log).skip(from);
        let told = numbered.map(|(offset, (epoch, message))| Told {
            epoch: Some(epoch),
            offset: Some(offset),
            message: *message,
            body: 0,
            changed: None,
        });
        told.collect()
    }

    /// A member joins, and is sent what it missed, or two messages and that this may not be all.
    fn join(&mut self, conn: u32, recovered: bool) {
        let (cursor, change) =
            self.witness.cursor(conn).map_or((0, 0), |(_, offset, change)| (offset, change));
        let from = if recovered { cursor } else { count64(self.log.len()).saturating_sub(2) };
        self.lives[at(conn)] = self.witness.joins(conn, SECOND_NS);
        let entry = Entry { epoch: &self.epoch, offset: count64(self.log.len()) };
        let brought = Self::told(&self.log, usize::try_from(from).unwrap());
        let joined = Joined { entry, change: self.change, recovered };
        let since = if recovered { change } else { 0 };
        let changed: Vec<Changed> =
            self.states.values().filter(|state| state.number() > since).cloned().collect();
        self.witness.joined(conn, &joined, &brought, &changed);
    }

    /// Everybody is told who is there.
    fn list_all(&mut self) {
        let state = Self::state(&self.lives);
        for conn in 0..MEMBERS {
            self.witness.present(conn, "presence_state", &state, 0).unwrap();
        }
    }

    fn state(lives: &[String]) -> String {
        let metas = lives.iter().enumerate().map(|(number, life)| {
            format!(r#"{{"phx_ref":"{number}","meta":{{"life":"{life}"}}}}"#)
        });
        format!(r#"{{"ann":{{"metas":[{}]}}}}"#, metas.collect::<Vec<_>>().join(","))
    }

    /// A message is kept, but nobody is told.
    fn keep(&mut self) -> Message {
        let message = Message::Ours { rank: 0, seq: self.sent };
        self.sent += 1;
        self.log.push((self.epoch.clone(), message));
        message
    }

    fn acknowledge(&mut self, seq: u32, offset: u64) {
        self.witness.acked(0, 0, seq, Entry { epoch: &self.epoch, offset });
    }

    /// A member is told of a message of the log.
    fn tell(&mut self, conn: u32, offset: u64) {
        let all = Self::told(&self.log, 0);
        self.witness.came(conn, &all[usize::try_from(offset).unwrap() - 1]);
    }

    /// A message is edited, with a stamp of this time: what members are to be told.
    fn edit(&mut self, offset: u64, due_ns: u64) -> Changed {
        let Message::Ours { rank, seq } = self.log[usize::try_from(offset).unwrap() - 1].1 else {
            panic!("a message of the run")
        };
        let mut body = Vec::new();
        stamp::write(&mut body, 7, Stamp { room: 0, rank, seq, due_ns }, 100);
        let body = String::from_utf8(body).unwrap();
        self.set(offset, &format!(r#""body":"{body}","edited":{{"at":{due_ns}}}"#))
    }

    /// A change sets fields of a message: what members are to be told.
    fn set(&mut self, offset: u64, fields: &str) -> Changed {
        self.change += 1;
        let text = format!(r#"{{"change":{},"offset":{offset},{fields}}}"#, self.change);
        let changed = Changed::read(&text, 7).unwrap();
        self.states.insert(offset, changed.clone());
        changed
    }

    fn tell_change(&mut self, changed: &Changed) {
        for conn in 0..MEMBERS {
            self.witness.changed(conn, changed);
        }
    }

    /// Some messages are kept, told and acknowledged.
    fn say(&mut self, messages: usize) {
        for _ in 0..messages {
            self.keep();
            for conn in 0..MEMBERS {
                self.tell(conn, count64(self.log.len()));
            }
            self.acknowledge(self.sent - 1, count64(self.log.len()));
        }
    }

    /// The servers fail over: what is behind an offset is lost, and another epoch begins.
    fn turn(&mut self, kept: usize) {
        self.log.truncate(kept);
        self.epoch.push('a');
    }

    /// The room is read at a server.
    fn read(&mut self, url: usize) {
        let mut all = Self::told(&self.log, 0);
        for told in &mut all {
            told.changed = told.offset.and_then(|offset| self.states.get(&offset)).cloned();
            if told.changed.as_ref().is_some_and(Changed::is_deleted) {
                told.message = Message::Deleted;
            }
        }
        self.witness.read(0, url, &all);
    }

    /// What is found, after the room was read at both servers.
    fn conclude(mut self) -> Findings {
        for url in 0..2 {
            self.read(url);
        }
        self.witness.conclude(9 * SECOND_NS)
    }

    /// That this is found, and nothing else.
    #[track_caller]
    fn finds(self, broken: Broken, times: u64) {
        let findings = self.conclude().broken;
        let found: Vec<_> = findings.iter().map(|(broken, (times, _))| (*broken, *times)).collect();
        assert_eq!(found, [(broken, times)], "{findings:?}");
    }

    #[track_caller]
    fn finds_nothing(self) -> Findings {
        let findings = self.conclude();
        assert!(findings.broken.is_empty(), "{findings:?}");
        findings
    }
}

#[test]
fn a_room_that_is_told_rightly_has_nothing_wrong() {
    let mut world = World::new();
    world.say(5);
    world.witness.left(1, SECOND_NS);
    world.keep();
    world.tell(0, 6);
    world.tell(2, 6);
    world.join(1, true);
    world.list_all();
    world.say(2);
    assert!(world.witness.is_settled());
    let findings = world.finds_nothing();
    assert_eq!((findings.told, findings.told_lost), (0, 0));
}

#[test]
fn a_turn_that_keeps_all_is_told_and_goes_on() {
    let mut world = World::new();
    world.say(5);
    world.turn(5);
    for conn in 0..MEMBERS {
        world.witness.turned(conn, Entry { epoch: "aa", offset: 5 }, 0);
    }
    world.say(3);
    world.finds_nothing();
}

#[test]
fn a_turn_tells_of_what_was_acknowledged_and_seen_by_nobody() {
    let mut world = World::new();
    world.say(5);
    world.keep();
    world.acknowledge(5, 6);
    world.turn(5);
    for conn in 0..MEMBERS {
        world.witness.turned(conn, Entry { epoch: "aa", offset: 5 }, 0);
    }
    assert_eq!(world.finds_nothing().told_lost, 1);
}

#[test]
fn a_member_that_is_not_told_of_a_turn_is_in_another_order() {
    let mut world = World::new();
    world.say(3);
    world.turn(3);
    for conn in 0..2 {
        world.witness.turned(conn, Entry { epoch: "aa", offset: 3 }, 0);
    }
    world.finds(Broken::Order, 1);
}

#[test]
fn what_a_member_has_discarded_it_does_not_hold() {
    let mut world = World::new();
    world.say(2);
    world.keep();
    world.tell(0, 3);
    world.turn(2);
    world.join(0, false);
    for conn in 1..MEMBERS {
        world.join(conn, true);
    }
    world.list_all();
    world.finds_nothing();
}

#[test]
fn what_a_failover_loses_is_told_to_who_has_seen_it_and_kept_by_who_has_not() {
    let mut world = World::new();
    world.say(4);
    world.witness.left(2, SECOND_NS);
    for offset in 5..=6 {
        world.keep();
        world.tell(0, offset);
        world.tell(1, offset);
        world.acknowledge(world.sent - 1, offset);
    }
    world.turn(5);
    world.join(0, false);
    world.join(1, false);
    // It stood at 4, which is kept: it misses nothing that it knew of.
    world.join(2, true);
    world.list_all();
    world.say(3);
    let findings = world.finds_nothing();
    assert_eq!((findings.told, findings.told_lost), (2, 1));
}

#[test]
fn an_unconfirmed_message_that_is_lost_and_said_again_is_there_once() {
    let mut world = World::new();
    world.say(2);
    world.keep();
    world.tell(0, 3);
    world.turn(2);
    world.join(0, false);
    for conn in 1..MEMBERS {
        world.join(conn, true);
    }
    world.list_all();
    // The same message, with the same key.
    world.sent -= 1;
    world.say(1);
    world.finds_nothing();
}

#[test]
fn two_that_come_the_other_way_round_are_reordered() {
    let mut world = World::new();
    world.say(2);
    world.keep();
    world.keep();
    for (conn, offsets) in [(0, [3, 4]), (1, [4, 3]), (2, [3, 4])] {
        for offset in offsets {
            world.tell(conn, offset);
        }
    }
    world.finds(Broken::Order, 1);
}

#[test]
fn two_messages_at_one_place_are_no_order() {
    let mut world = World::new();
    world.say(3);
    let other = Message::Ours { rank: 0, seq: 9 };
    world.keep();
    for conn in 0..2 {
        world.tell(conn, 4);
    }
    let told = Told { epoch: Some("a"), offset: Some(4), message: other, body: 0, changed: None };
    world.witness.came(2, &told);
    // The place has another one, and what the member holds is not what is kept.
    world.finds(Broken::Order, 2);
}

#[test]
fn an_epoch_that_is_kept_though_its_end_is_lost_is_no_order() {
    let mut world = World::new();
    world.say(4);
    // The servers fail over, and no epoch turns: cursors are silently wrong.
    world.log.truncate(3);
    world.keep();
    world.tell(0, 4);
    let findings = world.conclude().broken;
    assert!(findings.contains_key(&Broken::Order), "{findings:?}");
    assert!(findings.contains_key(&Broken::Lost), "{findings:?}");
}

#[test]
fn two_servers_that_share_nothing_are_no_order() {
    let mut world = World::new();
    world.say(3);
    // One member is at another server, with an epoch and messages of its own.
    world.witness.left(2, SECOND_NS);
    world.lives[2] = world.witness.joins(2, SECOND_NS);
    let entry = Entry { epoch: "b", offset: 0 };
    world.witness.joined(2, &Joined { entry, change: 0, recovered: false }, &[], &[]);
    world.list_all();
    let message = Message::Ours { rank: 1, seq: 0 };
    let theirs = Told { epoch: Some("b"), offset: Some(1), message, body: 0, changed: None };
    world.witness.came(2, &theirs);
    world.witness.acked(0, 1, 0, Entry { epoch: "b", offset: 1 });
    assert!(!world.witness.is_settled());
    world.witness.read(0, 2, &[theirs]);
    let findings = world.conclude().broken;
    // They stand in two epochs, and have two messages at one offset.
    assert!(findings[&Broken::Order].0 >= 2, "{findings:?}");
    assert!(findings.contains_key(&Broken::Lost), "{findings:?}");
}

#[test]
fn what_was_acknowledged_and_is_not_kept_is_lost() {
    let mut world = World::new();
    world.say(3);
    world.acknowledge(9, 4);
    world.finds(Broken::Lost, 1);
}

#[test]
fn the_end_of_an_epoch_that_nobody_was_told_of_is_no_excuse() {
    let mut world = World::new();
    world.say(3);
    world.witness.acked(0, 0, 9, Entry { epoch: "b", offset: 4 });
    world.finds(Broken::Lost, 1);
}

#[test]
fn what_cannot_be_read_again_is_not_taken_for_kept() {
    let mut world = World::new();
    world.say(3);
    let told = World::told(&world.log, 1);
    world.witness.read(0, 0, &told);
    let findings = world.witness.conclude(0).broken;
    let found: Vec<_> = findings.iter().map(|(broken, (times, _))| (*broken, *times)).collect();
    assert_eq!(found, [(Broken::Unread, 1)], "{findings:?}");
}

#[test]
fn a_message_that_is_kept_twice_stands_twice() {
    let mut world = World::new();
    world.say(3);
    // Its key was forgotten.
    world.sent -= 1;
    world.keep();
    for conn in 0..MEMBERS {
        world.tell(conn, 4);
    }
    // In two readings and for three members.
    world.finds(Broken::Twice, 5);
}

#[test]
fn a_message_that_comes_twice_does_and_so_does_one_that_is_acknowledged_at_two_places() {
    let mut world = World::new();
    world.say(3);
    world.tell(1, 2);
    world.finds(Broken::Twice, 1);
    let mut world = World::new();
    world.say(3);
    world.acknowledge(2, 4);
    world.finds(Broken::Twice, 1);
}

#[test]
fn what_never_comes_is_a_silent_gap_within_and_at_the_end() {
    for missing in [4, 5] {
        let mut world = World::new();
        world.say(3);
        for offset in 4..=5 {
            world.keep();
            for conn in (0..MEMBERS).filter(|conn| offset != missing || *conn != 1) {
                world.tell(conn, offset);
            }
        }
        world.finds(Broken::Gap, 1);
    }
}

#[test]
fn a_recovery_that_leaves_something_out_is_a_silent_gap() {
    let mut world = World::new();
    world.say(2);
    world.witness.left(1, SECOND_NS);
    for offset in 3..=5 {
        world.keep();
        world.tell(0, offset);
        world.tell(2, offset);
    }
    world.lives[1] = world.witness.joins(1, SECOND_NS);
    let brought = World::told(&world.log, 3);
    let entry = Entry { epoch: "a", offset: 5 };
    world.witness.joined(1, &Joined { entry, change: 0, recovered: true }, &brought, &[]);
    world.list_all();
    world.finds(Broken::Gap, 1);
}

#[test]
fn a_turn_that_is_said_to_keep_all_and_does_not_is_a_silent_gap() {
    let mut world = World::new();
    world.say(4);
    world.turn(3);
    for conn in 0..MEMBERS {
        world.witness.turned(conn, Entry { epoch: "aa", offset: 3 }, 0);
    }
    let findings = world.conclude().broken;
    assert_eq!(findings[&Broken::Gap].0, u64::from(MEMBERS), "{findings:?}");
}

#[test]
fn a_member_that_is_told_is_no_silent_gap() {
    let mut world = World::new();
    world.say(2);
    world.witness.left(1, SECOND_NS);
    for offset in 3..=9 {
        world.keep();
        world.tell(0, offset);
        world.tell(2, offset);
    }
    world.join(1, false);
    world.list_all();
    assert_eq!(world.finds_nothing().told, 1);
}

#[test]
fn an_offset_that_is_far_ahead_takes_no_memory() {
    let mut world = World::new();
    let message = world.keep();
    world.witness.came(
        0,
        &Told { epoch: Some("a"), offset: Some(u64::MAX - 1), message, body: 0, changed: None },
    );
    let findings = world.conclude().broken;
    assert!(findings[&Broken::Gap].0 > 1 << 60, "{findings:?}");
}

#[test]
fn a_ghost_is_listed_in_a_life_that_is_over_and_it_is_timed_until_it_is_told() {
    let mut world = World::new();
    let before = world.lives.clone();
    world.witness.left(2, 5 * SECOND_NS);
    world.join(2, true);
    // Two list both lives, the third only the one that is.
    let both = World::state(&[&world.lives[..], &before[2..]].concat());
    let right = World::state(&world.lives);
    for (conn, state) in [(0, &both), (1, &both), (2, &right)] {
        world.witness.present(conn, "presence_state", state, 0).unwrap();
    }
    assert!(!world.witness.is_settled());
    let gone = format!(
        r#"{{"joins":{{}},"leaves":{{"ann":{{"metas":[{{"phx_ref":"3","meta":{{"life":"{}"}}}}]}}}}}}"#,
        before[2]
    );
    let over_ns = world.witness.present(0, "presence_diff", &gone, 9 * SECOND_NS).unwrap();
    assert_eq!(over_ns, [4 * SECOND_NS]);
    let findings = world.conclude().broken;
    let ghost = "room 0: connection 1 lists connection 2 in a life that has been over for 4.00 s";
    assert_eq!(findings[&Broken::Ghost], (1, vec![ghost.to_owned()]));
    assert_eq!(findings.len(), 1, "{findings:?}");
}

#[test]
fn who_is_there_and_not_listed_is_absent_and_strangers_are_nobodys_affair() {
    let mut world = World::new();
    let stranger = "8-0-0".to_owned();
    let some = World::state(&[&world.lives[..2], &[stranger]].concat());
    world.witness.present(1, "presence_state", &some, 0).unwrap();
    world.finds(Broken::Absent, 1);
}

/// What a publisher has acknowledged to it, of its message number `seq`.
fn had(seq: u32) -> Had {
    Had { offset: u64::from(seq) + 1, rank: 0, seq }
}

#[test]
fn changes_that_are_told_rightly_have_nothing_wrong() {
    let mut world = World::new();
    world.say(4);
    for due_ns in [5, 9] {
        let edited = world.edit(2, due_ns);
        world.tell_change(&edited);
        world.witness.acked_deed(0, had(1), Deed::Edit { due_ns });
    }
    // One is away meanwhile.
    world.witness.left(1, SECOND_NS);
    let deleted = world.set(3, r#""body":"","deleted":{"at":1,"by":"lt-0"}"#);
    world.tell_change(&deleted);
    world.witness.acked_deed(0, had(2), Deed::Delete);
    let reacted = world.set(1, r#""reactions":{"👍":{"count":1,"users":["lt-0"]}}"#);
    world.tell_change(&reacted);
    let react = Deed::React { user: "lt-0".to_owned(), emoji: "👍", on: true };
    world.witness.acked_deed(0, had(0), react);
    assert_eq!(world.witness.latest(0, 9).len(), 3, "what is deleted is left out");
    world.join(1, true);
    world.list_all();
    assert!(world.witness.is_settled());
    world.finds_nothing();
}

#[test]
fn a_member_comes_back_for_a_change_that_was_left_out_or_has_another_message() {
    for comes_back in [true, false] {
        let mut world = World::new();
        world.say(2);
        let lost = world.edit(1, 5);
        world.witness.changed(0, &lost);
        world.witness.changed(2, &lost);
        let edited = world.edit(2, 6);
        assert_eq!([0, 1, 2].map(|conn| world.witness.changed(conn, &edited)), [true, false, true]);
        if comes_back {
            world.join(1, true);
            world.list_all();
            world.finds_nothing();
        } else {
            world.finds(Broken::Differs, 2);
        }
    }
}

#[test]
fn a_message_that_was_said_and_edited_while_a_server_was_away_is_what_it_is_by_now() {
    let mut world = World::new();
    world.say(1);
    let edited = world.edit(1, 5);
    for conn in 0..2 {
        world.witness.changed(conn, &edited);
    }
    // The third is told of it with the body that it has by now, and then that this is an edit.
    world.witness.members[2].held.clear();
    world.witness.members[2].cursor = Some(Place { epoch: 0, offset: 0 });
    let message = Message::Ours { rank: 0, seq: 0 };
    let told = Told { epoch: Some("a"), offset: Some(1), message, body: 5, changed: None };
    world.witness.came(2, &told);
    let text = r#"{"change":1,"offset":1,"edited":{"at":5}}"#;
    world.witness.changed(2, &Changed::read(text, 7).unwrap());
    world.finds_nothing();
}

#[test]
fn a_recovery_that_leaves_a_change_out_leaves_a_member_with_another_message() {
    let mut world = World::new();
    world.say(2);
    world.witness.left(1, SECOND_NS);
    let edited = world.edit(1, 5);
    world.tell_change(&edited);
    let state = world.states.remove(&1).unwrap();
    world.join(1, true);
    world.states.insert(1, state);
    world.list_all();
    world.finds(Broken::Differs, 1);
}

#[test]
fn a_change_that_comes_twice_and_one_number_for_two_are_found() {
    let mut world = World::new();
    world.say(2);
    let edited = world.edit(1, 5);
    world.tell_change(&edited);
    world.witness.changed(1, &edited);
    world.finds(Broken::Twice, 1);
    let mut world = World::new();
    world.say(2);
    let other = world.edit(2, 5);
    world.change -= 1;
    world.states.clear();
    let edited = world.edit(1, 5);
    for conn in 0..2 {
        world.witness.changed(conn, &edited);
    }
    world.witness.changed(2, &other);
    assert_eq!(world.conclude().broken[&Broken::Order].0, 1);
}

#[test]
fn what_was_acknowledged_of_a_message_and_is_not_so_is_lost() {
    let react = |on| Deed::React { user: "lt-0".to_owned(), emoji: "👍", on };
    for deed in [Deed::Edit { due_ns: 5 }, Deed::Delete, react(true)] {
        let mut world = World::new();
        world.say(2);
        world.witness.acked_deed(0, had(0), deed);
        // At both servers.
        world.finds(Broken::Lost, 2);
    }
    let mut world = World::new();
    world.say(2);
    let reacted = world.set(1, r#""reactions":{"👍":{"count":1,"users":["lt-0"]}}"#);
    world.tell_change(&reacted);
    world.witness.acked_deed(0, had(0), react(false));
    world.finds(Broken::Lost, 2);
}

#[test]
fn an_edit_that_is_undone_by_an_earlier_one_is_lost() {
    let mut world = World::new();
    world.say(2);
    for due_ns in [9, 5] {
        let edited = world.edit(1, due_ns);
        world.tell_change(&edited);
    }
    world.witness.acked_deed(0, had(0), Deed::Edit { due_ns: 9 });
    world.finds(Broken::Lost, 2);
}

#[test]
fn a_change_that_a_failover_loses_is_told() {
    let mut world = World::new();
    world.say(2);
    world.witness.acked_deed(0, had(0), Deed::Delete);
    world.turn(2);
    for conn in 0..MEMBERS {
        world.witness.turned(conn, Entry { epoch: "aa", offset: 2 }, 0);
    }
    assert_eq!(world.finds_nothing().told_lost, 2);
}

#[test]
fn a_turn_that_counts_other_changes_than_a_member_has_is_a_gap() {
    let mut world = World::new();
    world.say(2);
    let edited = world.edit(1, 5);
    world.tell_change(&edited);
    world.turn(2);
    for conn in 0..MEMBERS {
        world.witness.turned(conn, Entry { epoch: "aa", offset: 2 }, u64::from(conn != 1));
    }
    world.finds(Broken::Gap, 1);
}

#[test]
fn who_is_banned_is_not_waited_for() {
    let mut world = World::new();
    world.say(2);
    world.witness.left(2, SECOND_NS);
    assert!(!world.witness.is_settled());
    world.witness.ban(2);
    let state = World::state(&world.lives[..2]);
    for conn in 0..2 {
        world.witness.present(conn, "presence_state", &state, 0).unwrap();
    }
    assert!(world.witness.is_settled());
    world.finds_nothing();
}
