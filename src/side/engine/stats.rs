//! What the engine's thread counts, for `/metrics` and for those who ask whether it is there.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::command::{Command, Failure, Reply};
use super::follower::Counted;
use super::redis::Cause;
use crate::side::histogram::{Histogram, push_head};

/// Bounds of the histogram of answers, in microseconds.
const RTT_US: [u64; 15] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000,
];

/// Bounds of the histogram of entries that are appended at a time.
const BATCH_MESSAGES: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

/// What commands are counted as, in the order of [`Op`].
const OPS: [&str; 11] =
    ["append", "read", "look", "hear", "say", "lines", "beat", "list", "ping", "wait", "age"];

/// What results are counted as, in the order of [`result_number`].
const RESULTS: [&str; 5] = ["ok", "refused", "layout", "elsewhere", "lost"];

/// What the engine was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Op(usize);

impl Op {
    pub(super) fn of(command: &Command) -> Self {
        Self(match command {
            Command::Append(_) => 0,
            Command::Read { .. } => 1,
            Command::Look { .. } => 2,
            Command::Subscribe { .. } | Command::Unsubscribe { .. } | Command::HearList { .. } => 3,
            Command::Say { .. } | Command::Tell { .. } => 4,
            Command::Lines { .. } => 5,
            Command::Beat { .. } | Command::Leave { .. } => 6,
            Command::List { .. } | Command::Forget { .. } => 7,
            Command::Ping => 8,
            Command::Wait { .. } => 9,
            Command::Age { .. } | Command::Due { .. } => 10,
        })
    }
}

fn result_number(result: &Result<Reply, Failure>) -> usize {
    match result {
        Ok(_) => 0,
        Err(Failure::Refused(_)) => 1,
        Err(Failure::Layout) => 2,
        Err(Failure::Elsewhere(_)) => 3,
        Err(Failure::Lost) => 4,
    }
}

/// Counts, which one thread writes and any reads.
#[derive(Debug, Default)]
pub struct EngineStats {
    is_up: AtomicBool,
    lives: AtomicU64,
    /// By what was asked for, then by what came of it.
    calls: [[AtomicU64; RESULTS.len()]; OPS.len()],
    rtt_us: Histogram<{ RTT_US.len() }>,
    batch_messages: Histogram<{ BATCH_MESSAGES.len() }>,
    holes: AtomicU64,
    repairs: AtomicU64,
    /// Turns by which nothing was lost of what was told here, and others.
    turns: [AtomicU64; 2],
    told: AtomicU64,
    reopened: AtomicU64,
    nodes: AtomicU64,
    pushes: AtomicU64,
    told_bytes: AtomicU64,
    overflows: AtomicU64,
    foreign: AtomicU64,
    let_go: AtomicU64,
    unreadable: AtomicU64,
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

    /// How many connections were made: the number of the present one.
    #[cfg(feature = "archive-postgres")]
    pub(in crate::side) fn lives(&self) -> u64 {
        self.lives.load(Ordering::Relaxed)
    }

    pub(super) fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::Relaxed);
        self.lives.fetch_add(u64::from(is_up), Ordering::Relaxed);
    }

    /// Counts an answer, which has taken so long.
    pub(super) fn count_answer(&self, op: Op, result: &Result<Reply, Failure>, took: Duration) {
        self.calls[op.0][result_number(result)].fetch_add(1, Ordering::Relaxed);
        if result != &Err(Failure::Lost) {
            let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            self.rtt_us.count(&RTT_US, us);
        }
    }

    /// Counts what is being asked for.
    pub(super) fn count_asked(&self, command: &Command) {
        if let Command::Append(append) = command
            && !append.entries.is_empty()
        {
            self.batch_messages.count(&BATCH_MESSAGES, append.entries.len() as u64);
        }
    }

    /// What the follower has counted by now.
    pub(super) fn set_counted(&self, counted: Counted, nodes: usize) {
        let Counted { holes, repairs, turns, told, reopened, foreign, let_go, unreadable } =
            counted;
        for (place, value) in [
            (&self.holes, holes),
            (&self.repairs, repairs),
            (&self.turns[0], turns.kept),
            (&self.turns[1], turns.lost),
            (&self.told, told),
            (&self.reopened, reopened),
            (&self.foreign, foreign),
            (&self.let_go, let_go),
            (&self.unreadable, unreadable),
            (&self.nodes, nodes as u64),
        ] {
            place.store(value, Ordering::Relaxed);
        }
    }

    pub(super) fn count_push(&self) {
        self.pushes.fetch_add(1, Ordering::Relaxed);
    }

    /// How much it has told, asked or not, that nobody has taken, in bytes.
    pub(super) fn set_told_bytes(&self, bytes: usize) {
        self.told_bytes.store(bytes as u64, Ordering::Relaxed);
    }

    /// Counts the end of a connection.
    pub(super) fn count_end(&self, cause: Cause) {
        self.overflows.fetch_add(u64::from(cause == Cause::Overflown), Ordering::Relaxed);
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
            (
                "engine_holes_total",
                "counter",
                &self.holes,
                "Times that something was missing of what a room was to be told.",
            ),
            ("engine_repairs_total", "counter", &self.repairs, "Those that were closed again."),
            (
                "engine_reopened_rooms",
                "counter",
                &self.reopened,
                "Rooms that went on where they were behind another connection or a turn.",
            ),
            (
                "engine_told_total",
                "counter",
                &self.told,
                "Rooms that had to be opened again: members were told that something is missing.",
            ),
            ("cluster_nodes", "gauge", &self.nodes, "Servers that live, this one among them."),
            ("engine_pushes_total", "counter", &self.pushes, "What it has told unasked."),
            (
                "engine_told_bytes",
                "gauge",
                &self.told_bytes,
                "Bytes that it has told, asked or not, and that wait to be handled.",
            ),
            (
                "engine_overflows_total",
                "counter",
                &self.overflows,
                "Connections that ended since too much of it waited.",
            ),
            (
                "engine_foreign_total",
                "counter",
                &self.foreign,
                "What was published on channels of rooms that no server says.",
            ),
            (
                "engine_retention_deleted_total",
                "counter",
                &self.let_go,
                "Messages that were too old, or too many.",
            ),
            (
                "engine_unreadable_total",
                "counter",
                &self.unreadable,
                "What was found or heard there that this version cannot read.",
            ),
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
            push_head(out, name, kind, help);
            // Writing to a string cannot fail.
            let _ = writeln!(out, "chinwag_{name} {}", value.load(Ordering::Relaxed));
        }
        self.push_labelled(out);
        push_head(out, "engine_rtt_seconds", "histogram", "How long its answers took.");
        self.rtt_us.push_seconds(out, "engine_rtt_seconds", &RTT_US);
        push_head(out, "engine_batch_messages", "histogram", "Entries of a room in one call.");
        self.batch_messages.push_text(out, "engine_batch_messages", "", &BATCH_MESSAGES);
    }

    /// Appends those that have labels.
    fn push_labelled(&self, out: &mut String) {
        push_head(out, "engine_calls_total", "counter", "What it was asked, and what came of it.");
        for (op, results) in OPS.iter().zip(&self.calls) {
            for (result, calls) in RESULTS.iter().zip(results) {
                let calls = calls.load(Ordering::Relaxed);
                let labels = format!("{{op=\"{op}\",result=\"{result}\"}}");
                let _ = writeln!(out, "chinwag_engine_calls_total{labels} {calls}");
            }
        }
        push_head(
            out,
            "engine_turns_total",
            "counter",
            "Rooms that went on in another epoch, and whether something was lost that was told here.",
        );
        for (lost, turns) in ["false", "true"].iter().zip(&self.turns) {
            let turns = turns.load(Ordering::Relaxed);
            let _ = writeln!(out, "chinwag_engine_turns_total{{lost=\"{lost}\"}} {turns}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::Append;
    use super::super::follower::Turns;
    use super::*;

    /// The value of a series in the text.
    fn value(stats: &EngineStats, series: &str) -> String {
        let mut text = String::new();
        stats.push_text(&mut text);
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).to_owned()
    }

    #[test]
    fn the_text_has_what_was_counted() {
        let stats = EngineStats::default();
        stats.set_up(true);
        stats.count_push();
        stats.set_told_bytes(10);
        for cause in [Cause::Closed, Cause::Overflown, Cause::Other] {
            stats.count_end(cause);
        }
        let (look, topic) = (Command::Look { topic: "room:tea".into() }, "room:tea".into());
        stats.count_asked(&look);
        stats.count_asked(&Command::Append(Append { topic, fresh_epoch: 1, entries: Vec::new() }));
        let took = Duration::from_micros(70);
        stats.count_answer(Op::of(&look), &Ok(Reply::Done), took);
        stats.count_answer(Op::of(&look), &Err(Failure::Layout), took);
        stats.count_answer(Op::of(&look), &Err(Failure::Lost), Duration::from_secs(9));
        let turns = Turns { kept: 3, lost: 4 };
        let (holes, repairs, told, reopened) = (1, 2, 5, 6);
        let (foreign, unreadable, let_go) = (8, 9, 10);
        let counted =
            Counted { holes, repairs, turns, told, reopened, foreign, let_go, unreadable };
        stats.set_counted(counted, 7);
        for (series, is) in [
            ("chinwag_engine_up", "1"),
            ("chinwag_engine_connection_lives_total", "1"),
            ("chinwag_engine_pushes_total", "1"),
            ("chinwag_engine_told_bytes", "10"),
            ("chinwag_engine_overflows_total", "1"),
            ("chinwag_engine_foreign_total", "8"),
            ("chinwag_engine_retention_deleted_total", "10"),
            ("chinwag_engine_unreadable_total", "9"),
            ("chinwag_engine_calls_total{op=\"look\",result=\"ok\"}", "1"),
            ("chinwag_engine_calls_total{op=\"look\",result=\"layout\"}", "1"),
            ("chinwag_engine_calls_total{op=\"look\",result=\"lost\"}", "1"),
            ("chinwag_engine_calls_total{op=\"append\",result=\"ok\"}", "0"),
            ("chinwag_engine_rtt_seconds_bucket{le=\"0.000050\"}", "0"),
            ("chinwag_engine_rtt_seconds_bucket{le=\"0.000100\"}", "2"),
            ("chinwag_engine_rtt_seconds_sum", "0.000140"),
            ("chinwag_engine_rtt_seconds_count", "2"),
            ("chinwag_engine_batch_messages_count", "0"),
            ("chinwag_engine_holes_total", "1"),
            ("chinwag_engine_repairs_total", "2"),
            ("chinwag_engine_turns_total{lost=\"false\"}", "3"),
            ("chinwag_engine_turns_total{lost=\"true\"}", "4"),
            ("chinwag_engine_told_total", "5"),
            ("chinwag_engine_reopened_rooms", "6"),
            ("chinwag_cluster_nodes", "7"),
        ] {
            assert_eq!(value(&stats, series), is, "{series}");
        }
    }
}
