//! The lobby without connections: what its members know after each frame, against what they may.

use std::collections::HashMap;

use serde_json::Value;

use super::*;
use crate::auth::identity::{Identity, NEVER_S, Right, Rights};
use crate::base::rng::SplitMix64;
use crate::limits::{
    LISTING_BYTES_MAX, LOBBY_FRAME_BYTES_MAX, NAME_BYTES_MAX, REF_BYTES_MAX, TITLE_BYTES_MAX,
};
use crate::link::message::push_listing;
use crate::wire::phx::{Outgoing, Serializer};
use crate::wire::ws::frame::{decode_server_frame, frame_bytes_at};

fn identity(rules: &[(&str, Right)]) -> Identity {
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
    let rights: [&[(&str, Right)]; 4] = [
        &[("a*", Right::Join)],
        &[("a*", Right::Speak), ("b1*", Right::Join), ("b12", Right::None)],
        &[("*", Right::Join), ("a*", Right::None)],
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
        lobby.sit(conn, Scope::of(&identity(&[(team, Right::Join)])));
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
        let rights = [("*", Right::Join), (&*format!("other-{number}"), Right::None)];
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
