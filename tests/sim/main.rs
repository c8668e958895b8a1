//! A whole server in one thread, from one seed: real shards with all that they are made of; pretend
//! sockets, rings and clocks; clients that check every byte they read.
//!
//! ```text
//! SIM_SEED=0x2a cargo test --test sim     one seed
//! SIM_SEEDS=10000 cargo test --test sim   so many, from 0 on
//! SIM_STEPS=20000                         longer runs
//! SIM_TRACE=1                             tell everything that happens
//! SIM_DIGEST=0x2a                         fail if the bytes of all seeds have another digest: another build must say the same
//! ```
//!
//! What it does not model stands in the header of each part, with the test that could notice: of
//! sockets and rings in `net`, of threads and turns in `world`, of who reads in `progress`, of logs
//! in `pretend_log`, of clients in `client` and `poll`.

mod acts;
mod auditing;
mod client;
mod deciding;
mod draws;
mod ears;
mod faults;
mod frames;
mod growing;
mod inviting;
mod logs;
mod merge;
mod net;
mod plan;
mod planted;
mod poll;
mod presence;
mod pretend_log;
mod progress;
mod rest;
mod rights;
mod site;
mod stories;
mod truth;
mod work;
mod world;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use faults::Bug;
use plan::Plan;
use world::World;

/// Tells what happens, if `SIM_TRACE` is set.
macro_rules! trace {
    ($($what:tt)*) => { if $crate::is_traced() { eprintln!("    {}", format_args!($($what)*)); } };
}
pub(crate) use trace;

fn is_traced() -> bool {
    static TRACED: OnceLock<bool> = OnceLock::new();
    *TRACED.get_or_init(|| std::env::var_os("SIM_TRACE").is_some())
}

/// How long a run is, unless `SIM_STEPS` says otherwise.
const STEPS: u64 = 6_000;

/// What must have been seen once the usual number of seeds has been run: the limits are there to be
/// reached.
const REACHED: &[&str] = &[
    "another meta",
    "answer lost",
    "appended",
    "audited",
    "banned",
    "busy",
    "came with an invite",
    "changed",
    "changed meanwhile",
    "channel_crash",
    "custom",
    "decided",
    "deleted",
    "done",
    "expired",
    "founded",
    "gone",
    "handed off",
    "history",
    "idle",
    "invalid",
    "invited",
    "join that waits for a way",
    "joined",
    "joined again",
    "kept out",
    "kicked",
    "lagging",
    "last_owner",
    "left",
    "lost its place",
    "mentioned all",
    "muted",
    "no memory for a connection or join",
    "no memory for a connection's buffers",
    "no memory for laggards",
    "not recovered",
    "not_yours",
    "overflowed",
    "parked join",
    "parked upgrade",
    "poisoned",
    "polled",
    "posted",
    "published",
    "put out of a private room",
    "rate_limited",
    "reacted",
    "records left for the next turn",
    "read_only",
    "recovered",
    "recovered over a turn",
    "rejected",
    "renewed",
    "reported",
    "restarted",
    "session lost",
    "slow_mode",
    "storage",
    "too many channels joined",
    "too_late",
    "too_large",
    "too_many",
    "too_many_rooms",
    "turned",
    "turned without a loss",
    "typing",
    "unauthorized",
    "unavailable",
    "unconfirmed",
    "unmatched topic",
    "user_mismatch",
    "users listed",
    "warned",
];

/// What came out of a run.
struct Outcome {
    digest: u64,
    seen: BTreeMap<&'static str, u64>,
}

thread_local! {
    /// Where the run on this thread is, for the report of its failure.
    static STEP: Cell<u64> = const { Cell::new(0) };
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let parsed =
        text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16));
    Some(parsed.unwrap_or_else(|_| panic!("{variable} is a number, perhaps with 0x: {text}")))
}

fn steps() -> u64 {
    number_from("SIM_STEPS").unwrap_or(STEPS)
}

/// Runs a seed to its end.
fn run(seed: u64, bug: Option<Bug>) -> Outcome {
    let plan = Plan::new(seed, steps(), bug);
    let mut world = World::new(&plan);
    for step in 0..plan.steps {
        STEP.set(step);
        world.step();
    }
    STEP.set(plan.steps);
    world.finish();
    world.end();
    let mut happened = std::mem::take(&mut world.truth.seen);
    for host in &world.hosts {
        let metrics = host.shard.metrics();
        for (what, count) in [
            ("parked upgrade", metrics.parked_upgrades),
            ("parked join", metrics.parked_joins),
            ("no memory for a connection or join", metrics.refused_memory),
            ("no memory for laggards", metrics.lost_for_memory),
            ("no memory for a connection's buffers", metrics.closed_for_memory),
            ("lost its place", host.net.log.lost_places),
        ] {
            if count > 0 {
                *happened.entry(what).or_default() += count;
            }
        }
        let fullest = happened.entry("fullest ring").or_default();
        *fullest = (*fullest).max(host.net.fullest as u64);
    }
    Outcome { digest: world.digest(), seen: happened }
}

/// Runs a seed, and says what went wrong.
fn try_run(seed: u64, bug: Option<Bug>) -> Result<Outcome, String> {
    catch_unwind(AssertUnwindSafe(|| run(seed, bug))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words").to_owned()
    })
}

#[track_caller]
fn check(seed: u64) -> Outcome {
    try_run(seed, None).unwrap_or_else(|failure| {
        panic!(
            "seed {seed:#x} fails at step {}: {failure}\nreplay: SIM_SEED={seed:#x} SIM_STEPS={} cargo test --test sim",
            STEP.get(),
            steps()
        )
    })
}

/// The seeds to run: one that is asked for, or as many as are asked for.
fn seeds() -> Vec<u64> {
    match number_from("SIM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number_from("SIM_SEEDS").unwrap_or(1_024)).collect(),
    }
}

#[test]
fn the_server_keeps_its_promises_whatever_the_seed() {
    let seeds = seeds();
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    let mut digest = 0_u64;
    for seed in &seeds {
        let outcome = check(*seed);
        digest = digest.rotate_left(1) ^ outcome.digest;
        for (what, count) in outcome.seen {
            let sum = seen.entry(what).or_default();
            *sum = if what == "fullest ring" { count.max(*sum) } else { *sum + count };
        }
    }
    if seeds.len() >= 1_024 && steps() >= STEPS {
        let unseen: Vec<_> = REACHED.iter().filter(|what| !seen.contains_key(*what)).collect();
        assert!(
            unseen.is_empty(),
            "these were not reached, so nothing is known of them: {unseen:?} of {seen:#?}"
        );
    }
    println!("{} seeds, {} steps each: {seen:#?}", seeds.len(), steps());
    // For a run of another build, which must say the same.
    let kept = concat!(env!("CARGO_TARGET_TMPDIR"), "/sim-digest");
    std::fs::write(kept, format!("{digest:#x}")).expect("a file in the target folder");
    assert!(
        number_from("SIM_DIGEST").is_none_or(|expected| expected == digest),
        "every build says the same, byte for byte"
    );
}
