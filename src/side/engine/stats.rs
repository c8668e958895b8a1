//! What the engine's thread counts, for `/metrics` and for those who ask whether it is there.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::command::{Failure, Reply};

/// Counts, which one thread writes and any reads.
#[derive(Debug, Default)]
pub struct EngineStats {
    is_up: AtomicBool,
    lives: AtomicU64,
    answers: AtomicU64,
    refusals: AtomicU64,
    pushes: AtomicU64,
    rooms: AtomicU64,
    listed: AtomicU64,
    passing: AtomicU64,
    passed: AtomicU64,
    waiting_bytes: AtomicU64,
    sentinels: AtomicU64,
}

impl EngineStats {
    /// Whether there is a connection.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    pub(super) fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::Relaxed);
        self.lives.fetch_add(u64::from(is_up), Ordering::Relaxed);
    }

    pub(super) fn count_answer(&self, result: &Result<Reply, Failure>) {
        let count = if result.is_ok() { &self.answers } else { &self.refusals };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_push(&self) {
        self.pushes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_waiting(&self, rooms: usize, bytes: usize) {
        self.rooms.store(rooms as u64, Ordering::Relaxed);
        self.waiting_bytes.store(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn set_listed(&self, rooms: usize) {
        self.listed.store(rooms as u64, Ordering::Relaxed);
    }

    pub(super) fn set_passed(&self, (waiting, passed): (usize, u64)) {
        self.passing.store(waiting as u64, Ordering::Relaxed);
        self.passed.store(passed, Ordering::Relaxed);
    }

    pub(super) fn set_sentinels(&self, answering: u32) {
        self.sentinels.store(answering.into(), Ordering::Relaxed);
    }

    /// Appends them in the text format of Prometheus.
    pub fn push_text(&self, out: &mut String) {
        let is_up = AtomicU64::new(u64::from(self.is_up()));
        for (name, kind, value, help) in [
            ("engine_up", "gauge", &is_up, "Whether the engine is connected to."),
            ("engine_connection_lives_total", "counter", &self.lives, "Connections made to it."),
            ("engine_answers_total", "counter", &self.answers, "What it was asked and has done."),
            ("engine_refusals_total", "counter", &self.refusals, "What it has not done."),
            ("engine_pushes_total", "counter", &self.pushes, "What it has told unasked."),
            ("engine_rooms", "gauge", &self.rooms, "Rooms that are followed in it."),
            ("engine_listed_rooms", "gauge", &self.listed, "Rooms in the list of all servers."),
            (
                "engine_passed_total",
                "counter",
                &self.passed,
                "Requests for sessions of long polling that were passed on to their servers.",
            ),
            (
                "engine_passing",
                "gauge",
                &self.passing,
                "Those of them that wait for their answers.",
            ),
            (
                "engine_inflight_bytes",
                "gauge",
                &self.waiting_bytes,
                "Bytes of entries that it has not answered.",
            ),
            (
                "engine_sentinels",
                "gauge",
                &self.sentinels,
                "Sentinels that have answered when all were asked.",
            ),
        ] {
            let value = value.load(Ordering::Relaxed);
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "# HELP chinwag_{name} {help}\n# TYPE chinwag_{name} {kind}\nchinwag_{name} {value}"
            );
        }
    }
}
