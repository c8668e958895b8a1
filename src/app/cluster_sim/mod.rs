//! Three nodes with a pretended engine: whole rooms, logs and followers, and clients that go from
//! one to the other and check all that they are told.
//!
//! ```text
//!   clients ── pushes ──> rooms ── log ──> follower ── commands ──> engine ── a replica that lags
//!           <─ events ───       <─────              <─ answers, pushes ──
//! ```
//!
//! Each step does one thing, drawn from the run's seed: somebody says, edits, deletes, reacts to or
//! pins something, mutes somebody, comes or goes, reads a page, sets what a room keeps; what is
//! under way moves on by one; a connection is cut at any place, a push is lost, somebody else
//! speaks, a node dies and another begins, the engine stands still, has no memory left, or fails
//! over and loses its tail.
//!
//! | file | what it is |
//! |---|---|
//! | `client` | somebody who chats, at one node after the other |
//! | `judge` | what must be true of all that clients are told together |
//! | `keeping` | what may be gone of a room, and what must be |
//! | `site` | a node with its rooms and those who are connected to it |
//! | `world` | all nodes and the engine, and what happens to them |
//! | `rest` | what must be so when nothing goes wrong any more |
//!
//! What it does not model: shards, since a node has one (`tests/sim`); bytes on a wire
//! (`tests/engine`, `tests/cluster`); how an engine trims its streams, and an archive
//! (`tests/engine`, `tests/cluster`).

mod client;
mod judge;
mod keeping;
mod rest;
mod site;
mod world;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use keeping::keep_of;
use world::World;

use crate::link::facts::Keep;
use crate::side::engine::planted::{Planted, plant};

/// How many runs there are,
const SEEDS: u64 = 300;

/// and at most, until what is planted is found.
const SEEDS_OF_PLANTED: u64 = 2_000;

/// How many things happen in a run.
const STEPS: u32 = 1_500;

/// What must have happened in some run.
const REACHED: [&str; 18] = [
    "acked",
    "recovered",
    "not recovered",
    "turned",
    "ended",
    "came back elsewhere",
    "came back ahead",
    "said again",
    "edited",
    "deleted",
    "reacted",
    "pinned",
    "muted",
    "refused as muted",
    "changes left out",
    "lost what replicas had not",
    "a push was lost",
    "somebody else spoke",
];

/// And where rooms let go of something.
const REACHED_WHERE_LESS_IS_KEPT: [&str; 7] = [
    "set to keep less",
    "let go of what is too old",
    "let go of what is too many",
    "let go of what is too much",
    "came back for what is gone",
    "brought back what was gone",
    "read to what is gone",
];

/// One run, from one seed. What happened in it.
fn run(seed: u64, keep: Keep) -> BTreeSet<&'static str> {
    let mut world = World::new(seed, keep);
    for _ in 0..STEPS {
        world.step();
    }
    world.rest();
    world.judge.reached
}

/// From the environment, which seeds are run: all, or one of them.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(count),
    }
}

/// Asserts that all these runs are right, and reach this.
fn check_all(keep: impl Fn(u64) -> Keep, reach: &[&str]) {
    let mut reached = BTreeSet::new();
    let seeds = seeds(SEEDS);
    let is_whole = seeds.end - seeds.start >= SEEDS;
    for seed in seeds {
        match catch_unwind(AssertUnwindSafe(|| run(seed, keep(seed)))) {
            Ok(of_run) => reached.extend(of_run),
            Err(failure) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(failure);
            }
        }
    }
    for what in reach.iter().filter(|_| is_whole) {
        assert!(reached.contains(what), "{what} was not reached: {reached:?}");
    }
}

#[test]
fn three_nodes_are_one_chat_whatever_goes_wrong() {
    check_all(|_| Keep::default(), &REACHED);
}

#[test]
fn rooms_let_go_of_what_is_too_old_or_too_much_at_all_nodes_and_of_nothing_else() {
    check_all(keep_of, &[&REACHED[..], &REACHED_WHERE_LESS_IS_KEPT].concat());
}

/// Asserts that each of these is found by some run.
fn check_found(keep: impl Fn(u64) -> Keep, all: &[Planted]) {
    for planted in all {
        plant(*planted);
        let is_found = (0..SEEDS_OF_PLANTED)
            .any(|seed| catch_unwind(AssertUnwindSafe(|| run(seed, keep(seed)))).is_err());
        plant(Planted::Nothing);
        assert!(is_found, "{planted:?} is found");
    }
}

#[test]
fn what_is_wrong_with_a_node_or_the_script_is_found() {
    let all = [
        Planted::KeptBeforeReplicas,
        Planted::EpochReused,
        Planted::HeldForgotten,
        Planted::TurnToldFirst,
        Planted::PartsUnsaid,
        Planted::AuditOff,
        Planted::JudgedByIgnored,
        Planted::ExpectedIgnored,
        Planted::KeysIgnored,
    ];
    check_found(|_| Keep::default(), &all);
}

#[test]
fn what_is_wrong_with_what_is_let_go_of_is_found() {
    check_found(keep_of, &[Planted::YoungLetGo, Planted::FloorUntold, Planted::KeepUnheard]);
}
