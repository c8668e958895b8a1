//! What the archive's thread counts, for `/metrics`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::link::log::Why;
use crate::side::histogram::push_head;

/// What becomes of a read, in the order of [`result_number`].
const RESULTS: [&str; 3] = ["ok", "busy", "unavailable"];

fn result_number<T>(result: &Result<T, Why>) -> usize {
    match result {
        Ok(_) => 0,
        Err(Why::Busy) => 1,
        Err(_) => 2,
    }
}

/// Counts, which one thread writes and any reads.
#[derive(Debug, Default)]
pub struct ArchiveStats {
    is_up: AtomicBool,
    is_writer: AtomicBool,
    lag_rooms: AtomicU64,
    lag_entries: AtomicU64,
    written: AtomicU64,
    gaps: AtomicU64,
    unreadable: AtomicU64,
    failures: AtomicU64,
    reads: [AtomicU64; RESULTS.len()],
}

impl ArchiveStats {
    pub(super) fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::Relaxed);
    }

    pub(super) fn set_writer(&self, is_writer: bool) {
        self.is_writer.store(is_writer, Ordering::Relaxed);
    }

    /// How much waits to be written, as it was looked at last.
    pub(super) fn set_lag(&self, rooms: usize, entries: u64) {
        self.lag_rooms.store(rooms as u64, Ordering::Relaxed);
        self.lag_entries.store(entries, Ordering::Relaxed);
    }

    /// Messages were written, or what became of them.
    pub(super) fn count_written(&self, rows: u64) {
        self.written.fetch_add(rows, Ordering::Relaxed);
    }

    /// The engine had let go of messages before they were written.
    pub(super) fn count_gap(&self, messages: u64) {
        self.gaps.fetch_add(messages, Ordering::Relaxed);
    }

    /// Messages cannot be read, and are told to nobody.
    pub(super) fn count_unreadable(&self, messages: u64) {
        self.unreadable.fetch_add(messages, Ordering::Relaxed);
    }

    /// Something could not be written, which is done again.
    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// A read has ended.
    pub(super) fn count_read<T>(&self, result: &Result<T, Why>) {
        self.reads[result_number(result)].fetch_add(1, Ordering::Relaxed);
    }

    /// Appends them in the text format of Prometheus.
    pub fn push_text(&self, out: &mut String) {
        let flag = |of: &AtomicBool| AtomicU64::new(u64::from(of.load(Ordering::Relaxed)));
        for (name, kind, value, help) in [
            ("archive_up", "gauge", &flag(&self.is_up), "Whether its database was reached last."),
            ("archive_writer", "gauge", &flag(&self.is_writer), "Whether this server writes it."),
            (
                "archive_lag_rooms",
                "gauge",
                &self.lag_rooms,
                "Rooms that had something to be written when its writer looked last.",
            ),
            (
                "archive_lag_entries",
                "gauge",
                &self.lag_entries,
                "Messages and changes in them that were to be written.",
            ),
            ("archive_written_total", "counter", &self.written, "Messages written, or changed."),
            (
                "archive_gap_messages_total",
                "counter",
                &self.gaps,
                "Messages that the engine had let go of before they were written. Should be 0.",
            ),
            (
                "archive_unreadable_total",
                "counter",
                &self.unreadable,
                "Messages in the engine that could not be read, and are told to nobody.",
            ),
            (
                "archive_failures_total",
                "counter",
                &self.failures,
                "Times that something could not be written, which was done again.",
            ),
        ] {
            push_head(out, name, kind, help);
            // Writing to a string cannot fail.
            let _ = writeln!(out, "chinwag_{name} {}", value.load(Ordering::Relaxed));
        }
        push_head(out, "archive_reads_total", "counter", "What was asked of it, and what came.");
        for (result, reads) in RESULTS.iter().zip(&self.reads) {
            let reads = reads.load(Ordering::Relaxed);
            let _ = writeln!(out, "chinwag_archive_reads_total{{result=\"{result}\"}} {reads}");
        }
    }
}
