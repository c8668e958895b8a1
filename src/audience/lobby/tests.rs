//! The lobby without connections: what its members know after each frame, against what they may.

use std::collections::HashMap;

use serde_json::Value;

use super::*;
use crate::auth::identity::{Identity, NEVER_S, Rights};
use crate::auth::level::Level;
use crate::base::budget::Budget;
use crate::base::rng::SplitMix64;
use crate::base::time::Now;
use crate::base::timers::Timers;
use crate::limits::{
    HistoryLimits, LISTING_BYTES_MAX, LOBBY_FRAME_BYTES_MAX, Limits, NAME_BYTES_MAX,
    PresenceLimits, REF_BYTES_MAX, TITLE_BYTES_MAX,
};
use crate::link::io::Handoff;
use crate::link::log::MemoryLog;
use crate::link::message::push_listing;
use crate::link::metrics::Metrics;
use crate::link::pressure::Pressure;
use crate::link::settings::Settings;
use crate::wire::phx::{Outgoing, Serializer};
use crate::wire::ws::frame::{decode_server_frame, frame_bytes_at};

fn identity(rules: &[(&str, Level)]) -> Identity {
    Identity::new("u", "U", NEVER_S, Rights::new(rules.iter().copied()).ok()).unwrap()
}

fn draw(rng: &mut SplitMix64, end: u64) -> usize {
    usize::try_from(rng.below(end)).unwrap()
}

/// What one member was told: members by room.
struct Reader {
    identity: Identity,
    rooms: BTreeMap<String, u64>,
}

impl Reader {
    fn joined(lobby: &mut Lobby, directory: &mut Directory, identity: Identity) -> Self {
        directory.watch();
        let answer = lobby.answers.find(directory, &Scope::of(&identity));
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let mut reader = Self { identity, rooms: BTreeMap::new() };
        reader.learn(&answer["rooms"]);
        reader
    }

    fn learn(&mut self, listings: &Value) {
        for listing in listings.as_array().unwrap() {
            let room = listing["room"].as_str().unwrap();
            assert!(self.identity.may_join(room), "only what may be seen");
            self.rooms.insert(room.to_owned(), listing["members"].as_u64().unwrap());
        }
    }

    fn hear(&mut self, payload: &Value) {
        self.learn(&payload["changed"]);
        for room in payload["removed"].as_array().unwrap() {
            assert!(self.identity.may_join(room.as_str().unwrap()), "only what may be seen");
            self.rooms.remove(room.as_str().unwrap());
        }
    }
}

/// The payload of a frame, which must be whole and not too long.
fn payload(frame: &[u8]) -> Value {
    assert!(frame.len() <= LOBBY_FRAME_BYTES_MAX, "{} bytes", frame.len());
    assert_eq!(frame_bytes_at(frame), frame.len());
    let (_, text, _) = decode_server_frame(frame);
    let message: Value = serde_json::from_slice(text).unwrap();
    assert_eq!((&message[2], &message[3]), (&"lobby".into(), &"rooms".into()));
    message[4].clone()
}

#[test]
fn whatever_happens_to_rooms_every_member_knows_in_the_end_what_it_may() {
    let rights: [&[(&str, Level)]; 4] = [
        &[("a*", Level::Join)],
        &[("a*", Level::Speak), ("b1*", Level::Join), ("b12", Level::None)],
        &[("*", Level::Join), ("a*", Level::None)],
        &[],
    ];
    let mut frames_count = 0;
    for seed in 0..3 {
        let mut rng = SplitMix64::new(seed);
        let (mut lobby, mut directory) = (Lobby::default(), Directory::default());
        let mut truth: BTreeMap<String, u64> = BTreeMap::new();
        let mut readers: HashMap<u32, Reader> = HashMap::new();
        for step in 0..200_u32 {
            // In the end nothing happens any more, and what waits is told.
            for _ in 0..if step < 140 { rng.below(40) } else { 0 } {
                let first = ["a", "b", "c"][draw(&mut rng, 3)];
                // Long names, so that some frames are full.
                let room = format!("{first}{}{}", rng.below(300), "\\".repeat(60));
                if rng.below(3) == 0 {
                    directory.learn(&room, "", None);
                    truth.remove(&room);
                } else {
                    let members = u32::try_from(rng.below(50)).unwrap();
                    directory.learn(&room, &"\"".repeat(TITLE_BYTES_MAX), Some(members));
                    truth.insert(room, members.into());
                }
            }
            let conn = u32::try_from(rng.below(12)).unwrap();
            if step < 140 && rng.below(4) == 0 {
                readers.remove(&conn);
                lobby.stand(conn);
                let identity = identity(rights[draw(&mut rng, 4)]);
                lobby.sit(conn, Scope::of(&identity));
                readers.insert(conn, Reader::joined(&mut lobby, &mut directory, identity));
            }
            if lobby.check() != readers.len() || rng.below(3) > 0 && step < 140 {
                continue;
            }
            if !lobby.is_telling() {
                lobby.take(&mut directory);
            }
            lobby.tell_some(|conn, frame| {
                let bytes = frame.bytes(Serializer::V2);
                readers.get_mut(&conn).expect("a member").hear(&payload(bytes));
                frames_count += 1;
                bytes.len()
            });
        }
        assert!(!directory.has_changed() && !lobby.is_telling());
        for reader in readers.values() {
            let mut expected = truth.clone();
            expected.retain(|room, _| reader.identity.may_join(room));
            assert_eq!(reader.rooms, expected, "seed {seed}");
        }
    }
    assert!(frames_count > 500);
}

#[test]
fn a_frame_is_full_at_its_bound_and_the_rest_comes_with_the_next() {
    let (mut lobby, mut directory) = (Lobby::default(), Directory::default());
    directory.watch();
    for number in 0..10_000 {
        directory.learn(&format!("room-{number}"), "A title as they are", Some(1));
    }
    let (mut told, mut frames_count) = (0, 0);
    while directory.has_changed() {
        lobby.take(&mut directory);
        let mut frame = Frame::new(lobby.batch.payload(&Scope::all()).unwrap());
        let bytes = frame.bytes(Serializer::V1).len();
        assert!(bytes <= LOBBY_FRAME_BYTES_MAX);
        let bytes = frame.bytes(Serializer::V2);
        told += payload(bytes)["changed"].as_array().unwrap().len();
        let is_full = bytes.len() > LOBBY_FRAME_BYTES_MAX - LISTING_BYTES_MAX;
        assert!(is_full || !directory.has_changed(), "{} bytes", bytes.len());
        frames_count += 1;
    }
    assert_eq!(told, 10_000);
    assert!((10..=15).contains(&frames_count), "{frames_count}");
}

#[test]
fn members_with_the_same_rights_share_one_encoding_and_a_turn_tells_so_many() {
    let (mut lobby, mut directory) = (Lobby::default(), Directory::default());
    directory.watch();
    for conn in 0..2_000 {
        let team = ["red-*", "blue-*"][conn as usize % 2];
        lobby.sit(conn, Scope::of(&identity(&[(team, Level::Join)])));
    }
    for number in 0..10_000 {
        directory.learn(&format!("red-{number}"), "A title as they are", Some(1));
    }
    lobby.take(&mut directory);
    let (mut told, mut turns_count) = (BTreeSet::new(), 0);
    while lobby.is_telling() {
        let mut encodings = BTreeSet::new();
        let mut told_bytes = 0;
        lobby.tell_some(|conn, frame| {
            assert!(told.insert(conn), "each once");
            let bytes = frame.bytes(Serializer::V2);
            encodings.insert(bytes.as_ptr());
            told_bytes += bytes.len();
            bytes.len()
        });
        assert!(encodings.len() <= 1, "one encoding for all");
        assert!(told_bytes <= LOBBY_TURN_BYTES + LOBBY_FRAME_BYTES_MAX);
        turns_count += 1;
    }
    assert!(told.iter().all(|conn| conn % 2 == 0) && told.len() == 1_000, "those it is news to");
    let turns_expected =
        1_000 * (LOBBY_FRAME_BYTES_MAX + LOBBY_WRITE_COST_BYTES) / LOBBY_TURN_BYTES;
    assert!(turns_count >= turns_expected / 2, "{turns_count} turns");
}

#[test]
fn joins_between_two_frames_share_one_answer() {
    let (mut lobby, mut directory) = (Lobby::default(), Directory::default());
    directory.watch();
    for number in 0..100_000 {
        directory.learn(&format!("room-{number}"), "title", Some(number % 7));
    }
    lobby.take(&mut directory);
    lobby.answers.find(&mut directory, &Scope::all());
    directory.take_visits();
    for _ in 0..300 {
        let answer = lobby.answers.find(&mut directory, &Scope::all());
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["rooms"].as_array().unwrap().len(), LOBBY_ROOMS_MAX);
        assert_eq!(answer["total"], 100_000);
    }
    assert_eq!(directory.take_visits(), 0, "nothing is looked up again");
    lobby.take(&mut directory);
    lobby.answers.find(&mut directory, &Scope::all());
    assert!(directory.take_visits() > 0, "a frame makes it old");
}

#[test]
fn kept_answers_are_bounded() {
    let (mut lobby, mut directory) = (Lobby::default(), Directory::default());
    for number in 0..1_000 {
        directory.learn(&format!("room-{number}"), &"t".repeat(TITLE_BYTES_MAX), Some(1));
    }
    for number in 0..100 {
        let rights = [("*", Level::Join), (&*format!("other-{number}"), Level::None)];
        lobby.answers.find(&mut directory, &Scope::of(&identity(&rights)));
        let kept: usize = lobby.answers.by_scope.values().map(|answer| answer.len()).sum();
        assert_eq!(kept, lobby.answers.bytes);
        assert!(kept <= LOBBY_ANSWERS_BYTES_MAX && kept > 0);
    }
}

#[test]
fn no_entry_and_no_answer_is_longer_than_its_bound() {
    let name = |number: u32| format!("{number:05}{}", "\\".repeat(NAME_BYTES_MAX - 5));
    let title = "\"".repeat(TITLE_BYTES_MAX);
    let mut entry = Vec::new();
    push_listing(&mut entry, &"\"".repeat(NAME_BYTES_MAX), &title, u32::MAX);
    assert!((LISTING_BYTES_MAX - 20..=LISTING_BYTES_MAX).contains(&(entry.len() + 1)));
    let mut directory = Directory::default();
    for number in 0..2_000 {
        directory.learn(&name(number), &title, Some(u32::MAX));
    }
    let answer = Answers::default().find(&mut directory, &Scope::all());
    let reference = "9".repeat(REF_BYTES_MAX);
    for serializer in [Serializer::V1, Serializer::V2] {
        let mut frame = Vec::new();
        let message = Outgoing {
            join_ref: &reference,
            reference: &reference,
            topic: LOBBY,
            event: "ok",
            payload: Payload::Json(std::str::from_utf8(&answer).unwrap()),
        };
        serializer.reply(&mut frame, &message);
        assert!(frame.len() <= crate::limits::LOBBY_ANSWER_BYTES_MAX, "{}", frame.len());
    }
}

/// No sockets: what is written is taken.
#[derive(Default)]
struct Nowhere(MemoryLog);

impl Io for Nowhere {
    type Log = MemoryLog;

    fn log(&mut self) -> &mut MemoryLog {
        &mut self.0
    }
    fn write(&mut self, _: u32, bytes: &[u8]) -> usize {
        bytes.len()
    }
    fn shut(&mut self, _: u32) {}
    fn close(&mut self, _: u32) {}
    fn resume(&mut self, _: u32) {}
    fn hand_off(&mut self, _: u32, _: u16, _: Handoff) {}
    fn send(&mut self, _: u16, _: &[u8]) {}
    fn waiting_bytes(&self, _: u16) -> usize {
        0
    }
    fn elapsed_us(&self) -> u64 {
        0
    }
}

#[test]
fn a_batch_is_told_over_several_turns_and_the_next_is_taken_when_all_have_had_it() {
    let hasher = |salt| ahash::RandomState::with_seeds(salt, 1, 2, 3);
    let (mut audiences, mut conns) = (Audiences::new(1 << 20, hasher(9)), Conns::new(0, hasher));
    let (mut directory, mut timers) = (Directory::default(), Timers::new());
    let settings = Settings::new(
        1,
        Limits::default(),
        HistoryLimits::default(),
        PresenceLimits::default(),
        Vec::new(),
    );
    let (mut io, mut metrics, mut record) = (Nowhere::default(), Metrics::default(), Vec::new());
    let mut budget = Budget::new(settings.turn_work, 1);
    let lobby = audiences.find_or_make(LOBBY, 0);
    let scope = Scope::of(&identity(&[("red-*", Level::Join)]));
    directory.watch();
    for number in 0..60 {
        let conn = conns.take_in(0).index();
        if number == 0 {
            audiences.get_mut(lobby).unwrap().sit(conn, false);
        } else {
            audiences.sit_apart(lobby, conn, scope.clone());
        }
    }
    for number in 0..1_500 {
        directory.learn(&format!("red-{number}"), "A title as they are", Some(1));
    }
    let mut frames: BTreeMap<u32, usize> = BTreeMap::new();
    let (mut told_per_turn, mut log_bytes) = (Vec::new(), Vec::new());
    for mono_ms in 1_000..2_200 {
        let mut cx = Cx {
            id: 0,
            now: Now { mono_ms, unix_ms: mono_ms },
            io: &mut io,
            settings: &settings,
            metrics: &mut metrics,
            timers: &mut timers,
            pressure: Pressure::None,
            is_draining: false,
            budget: &mut budget,
            record: &mut record,
        };
        while cx.timers.pop_due(mono_ms).is_some() {
            audiences.lobby_tick(&mut cx, &mut conns, &mut directory);
            let mut told = 0;
            for conn in 1..60 {
                let out = conns.output(conn);
                if !out.is_empty() {
                    payload(out);
                    out.clear();
                    told += 1;
                    *frames.entry(conn).or_default() += 1;
                }
            }
            told_per_turn.push((mono_ms, told));
            log_bytes.push(audiences.get(lobby).unwrap().pending(0, false).len());
            if told_per_turn.len() == 1 {
                // It leaves while it waits.
                audiences.stand_apart(lobby, 1);
            }
        }
        audiences.set_lobby_tick(&mut cx, &directory);
    }
    let turns: Vec<u64> = told_per_turn.iter().map(|(mono_ms, _)| *mono_ms).collect();
    assert!(turns.is_sorted_by(|a, b| a < b), "not twice in a turn: {turns:?}");
    let second = turns.iter().position(|mono_ms| *mono_ms >= turns[0] + LOBBY_TICK_MS).unwrap();
    // The first frame is full.
    let slice = LOBBY_TURN_BYTES / (LOBBY_FRAME_BYTES_MAX + LOBBY_WRITE_COST_BYTES) + 1;
    assert!(told_per_turn[..second].iter().all(|(_, told)| *told <= slice), "{told_per_turn:?}");
    assert!(turns[second - 1] <= turns[0] + 10, "a turn each millisecond: {turns:?}");
    // Those with a seat have the first frame at once, and the second with the second batch.
    assert!(log_bytes[0] <= LOBBY_FRAME_BYTES_MAX && log_bytes[second - 1] == log_bytes[0]);
    assert!(log_bytes[second] > log_bytes[0]);
    assert!(!directory.has_changed());
    assert!((2..60).all(|conn| frames[&conn] == 2), "each batch once: {frames:?}");
    assert!(!frames.contains_key(&1), "nothing for those who have left");
    (2..60).for_each(|conn| audiences.stand_apart(lobby, conn));
    assert_eq!(audiences.lobby.check(), 0);
}
