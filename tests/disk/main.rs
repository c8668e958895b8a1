//! The real program on a disk that fails, lies, loses power, or alters what it holds.
//!
//! ```text
//!   server ── open, write, sync ──> shim.c ──> files        rules: which call fails, and how
//!      ^                               │
//!   load ── what was acked, seen ──> journal ──> model ──> a folder, as after the cut ──> kept
//! ```
//!
//! `shim` loads the layer below the server, `load` talks to it, `journal` and `model` say what a
//! disk may hold after a power cut, and `kept` opens that with the store's own code and asks for
//! all that was acked; `acts` is what clients do beside talking, and `changed` asks for that.
//! `cuts` cuts the power under load, and `paths` in all that is not a commit: retention, migration,
//! backup, restore. `failing` lets calls fail under a server that runs; `rot` flips bits.
//! `judge.py` says the same of a journal of clients, and shares no code: see
//! `loadtest/tests/judged.rs`.
//!
//! How to add a fault is in `docs/testing.md`. `DISK_CUTS` and `DISK_FLIPS` are how many are tried;
//! `tests/long/run` tries many.

#![cfg(feature = "store")]

mod acts;
mod changed;
mod cuts;
mod failing;
mod journal;
mod kept;
mod load;
mod model;
mod paths;
#[path = "../hostile/peer.rs"]
#[allow(dead_code, reason = "what is not needed here is elsewhere")]
mod peer;
mod rot;
#[path = "../hostile/server.rs"]
#[allow(dead_code, reason = "the same")]
mod server;
mod shim;

/// `SplitMix64`: the same choices from the same seed.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Below a bound.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn is_heads(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// A number from the environment, for runs that are longer than those of CI.
fn from_env(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect(name))
}
