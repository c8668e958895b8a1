//! What the store has counted, for other threads to read, and the text of it for Prometheus.
//!
//! Deliberately absent: sums over shards. There is one store, and what shards have for it is told
//! of each.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::error::Cause;
use super::faults::State;
use crate::side::histogram::{Histogram, push_head};

/// Bounds of the histogram of commits, in microseconds.
const COMMIT_US: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 5_000_000,
];

/// Bounds of the histogram of batches, in messages.
const BATCH_MESSAGES: [u64; 9] = [1, 2, 5, 10, 20, 50, 100, 200, 500];

/// Bounds of the histograms of reads, in microseconds.
const READ_US: [u64; 12] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000];

/// What a reader is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadKind {
    /// A room that is opened.
    Room,
    /// A page of the history.
    Page,
    /// What a client missed.
    Recovery,
    /// Messages by their words.
    Search,
}

/// What the kinds are called, in the order of their numbers.
const READ_KINDS: [&str; 4] = ["room", "page", "recovery", "search"];

/// What failures are counted as.
const CAUSES: [Cause; 7] =
    [Cause::Full, Cause::Space, Cause::Sync, Cause::Io, Cause::Gone, Cause::Corrupt, Cause::Defect];

/// What the states are called, in the order of their numbers.
const STATES: [&str; 3] = ["ok", "failing", "failed"];

/// What the store has counted.
#[derive(Debug, Default)]
pub struct StoreStats {
    state: AtomicU8,
    commit_us: Histogram<{ COMMIT_US.len() }>,
    fsync_us: Histogram<{ COMMIT_US.len() }>,
    checkpoint_us: Histogram<{ COMMIT_US.len() }>,
    checkpoint_pages_left: AtomicU64,
    batch_messages: Histogram<{ BATCH_MESSAGES.len() }>,
    wal_bytes: AtomicU64,
    db_bytes: AtomicU64,
    /// By shard.
    waiting: Vec<Arc<Waiting>>,
    errors: [AtomicU64; CAUSES.len()],
    /// By kind.
    read_us: [Histogram<{ READ_US.len() }>; READ_KINDS.len()],
    damaged: AtomicU64,
    search_lag: AtomicU64,
    let_go: AtomicU64,
    free_disk_bytes: AtomicU64,
    last_backup_s: AtomicU64,
    backup_failures: AtomicU64,
}

/// What a shard has for the store, as it says at the end of its turns.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    bytes: AtomicU64,
    held: AtomicU64,
}

impl Waiting {
    /// So many bytes wait to be given to the writer, and so much is not known to be kept.
    pub(super) fn set(&self, bytes: usize, held: usize) {
        self.bytes.store(bytes as u64, Ordering::Relaxed);
        self.held.store(held as u64, Ordering::Relaxed);
    }
}

impl StoreStats {
    /// Of a store with so many shards.
    pub(super) fn of(shards: u16) -> Self {
        Self { waiting: (0..shards).map(|_| Arc::default()).collect(), ..Self::default() }
    }

    /// Where a shard says what it has for the store.
    pub(super) fn waiting(&self, shard: u16) -> &Arc<Waiting> {
        &self.waiting[usize::from(shard)]
    }

    /// Whether messages are kept.
    #[must_use]
    pub fn is_working(&self) -> bool {
        self.state.load(Ordering::Relaxed) == 0
    }

    pub(super) fn set_state(&self, state: State) {
        let number = match state {
            State::Working => 0,
            State::Failing { .. } => 1,
            State::Failed { .. } => 2,
        };
        self.state.store(number, Ordering::Relaxed);
    }

    /// A batch was committed.
    pub(super) fn committed(&self, messages: usize, took_us: u64, wal_bytes: usize) {
        self.commit_us.count(&COMMIT_US, took_us);
        self.batch_messages.count(&BATCH_MESSAGES, messages as u64);
        self.set_wal_bytes(wal_bytes);
    }

    /// The disk has taken so long for a commit that is synced.
    pub(super) fn synced(&self, took_us: u64) {
        self.fsync_us.count(&COMMIT_US, took_us);
    }

    /// What is in the log was moved into the database, all but so many pages.
    pub(super) fn checkpointed(&self, took_us: u64, pages_left: u64) {
        self.checkpoint_us.count(&COMMIT_US, took_us);
        self.checkpoint_pages_left.store(pages_left, Ordering::Relaxed);
    }

    pub(super) fn set_db_bytes(&self, bytes: u64) {
        self.db_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_wal_bytes(&self, bytes: usize) {
        self.wal_bytes.store(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, cause: Cause) {
        let at = CAUSES.iter().position(|of| *of == cause).expect("all causes are in the list");
        self.errors[at].fetch_add(1, Ordering::Relaxed);
    }

    /// Something was read, and on the way so many rows were not what had been written.
    pub(super) fn read(&self, kind: ReadKind, took_us: u64, damaged: u64) {
        self.read_us[kind as usize].count(&READ_US, took_us);
        self.note_damaged(damaged);
    }

    /// So many rows are not what was written.
    pub(super) fn note_damaged(&self, count: u64) {
        self.damaged.fetch_add(count, Ordering::Relaxed);
    }

    /// So many rooms have messages that cannot be found yet.
    pub(super) fn set_search_lag(&self, rooms: usize) {
        self.search_lag.store(rooms as u64, Ordering::Relaxed);
    }

    /// Retention has deleted so many messages.
    pub(super) fn let_go(&self, messages: u64) {
        self.let_go.fetch_add(messages, Ordering::Relaxed);
    }

    pub(super) fn set_free_disk_bytes(&self, bytes: u64) {
        self.free_disk_bytes.store(bytes, Ordering::Relaxed);
    }

    /// A backup was begun then, and is whole.
    pub(super) fn backed_up(&self, unix_ms: u64) {
        self.last_backup_s.store(unix_ms / 1_000, Ordering::Relaxed);
    }

    /// A backup of an earlier life is there, which was begun then.
    pub(super) fn has_backup(&self, unix_ms: u64) {
        self.last_backup_s.fetch_max(unix_ms / 1_000, Ordering::Relaxed);
    }

    /// A backup that was due was not made.
    pub(super) fn backup_failed(&self) {
        self.backup_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Appends it as text for Prometheus.
    pub fn push_text(&self, out: &mut String) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "# HELP chinwag_store_state Whether messages are kept.\n# TYPE chinwag_store_state gauge"
        );
        let now = usize::from(self.state.load(Ordering::Relaxed));
        for (number, state) in STATES.iter().enumerate() {
            let is_now = u8::from(number == now);
            let _ = writeln!(out, "chinwag_store_state{{state=\"{state}\"}} {is_now}");
        }
        self.push_times(out);
        push_head(out, "store_batch_messages", "histogram", "Messages in a commit.");
        self.batch_messages.push_text(out, "store_batch_messages", "", &BATCH_MESSAGES);
        self.push_waiting(out);
        push_head(out, "store_reads_total", "counter", "What was read of rooms.");
        for (kind, read_us) in READ_KINDS.iter().zip(&self.read_us) {
            let count = read_us.count_of_all();
            let _ = writeln!(out, "chinwag_store_reads_total{{kind=\"{kind}\"}} {count}");
        }
        push_head(out, "store_read_us", "histogram", "How long reads took, in microseconds.");
        for (kind, read_us) in READ_KINDS.iter().zip(&self.read_us) {
            read_us.push_text(out, "store_read_us", &format!("kind=\"{kind}\""), &READ_US);
        }
        let _ = writeln!(
            out,
            "# HELP chinwag_store_errors_total Commits, checkpoints and reads that failed.\n# TYPE chinwag_store_errors_total counter"
        );
        for (cause, count) in CAUSES.iter().zip(&self.errors) {
            let (code, count) = (cause.as_str(), count.load(Ordering::Relaxed));
            let _ = writeln!(out, "chinwag_store_errors_total{{code=\"{code}\"}} {count}");
        }
        for (name, kind, help, value) in [
            ("wal_bytes", "gauge", "The log of the database, in bytes.", &self.wal_bytes),
            ("db_bytes", "gauge", "The database without its log, in bytes.", &self.db_bytes),
            (
                "checkpoint_pages_left",
                "gauge",
                "Pages that a read has kept in the log when it was moved last.",
                &self.checkpoint_pages_left,
            ),
            (
                "search_lag_rooms",
                "gauge",
                "Rooms with messages that cannot be found yet.",
                &self.search_lag,
            ),
            (
                "damaged_rows_total",
                "counter",
                "Messages and rooms that were not served, for they are not what was written.",
                &self.damaged,
            ),
            (
                "retention_deleted_total",
                "counter",
                "Messages that were let go of, as configured.",
                &self.let_go,
            ),
            (
                "free_disk_bytes",
                "gauge",
                "How much of the disk was free when something was to be written.",
                &self.free_disk_bytes,
            ),
            (
                "last_backup_unix",
                "gauge",
                "When the last backup was begun, in seconds of Unix time; 0 if none was.",
                &self.last_backup_s,
            ),
            (
                "backup_failures_total",
                "counter",
                "Backups that were due and were not made.",
                &self.backup_failures,
            ),
        ] {
            let value = value.load(Ordering::Relaxed);
            let _ = writeln!(
                out,
                "# HELP chinwag_store_{name} {help}\n# TYPE chinwag_store_{name} {kind}\nchinwag_store_{name} {value}"
            );
        }
    }

    /// How long it waits for the disk.
    fn push_times(&self, out: &mut String) {
        for (name, help, took_us) in [
            ("store_commit_us", "How long commits took, in microseconds.", &self.commit_us),
            (
                "store_fsync_us",
                "How long the disk took for commits that are synced: a part of `store_commit_us`.",
                &self.fsync_us,
            ),
            (
                "store_checkpoint_us",
                "How long it took to move the log into the database, in microseconds.",
                &self.checkpoint_us,
            ),
        ] {
            push_head(out, name, "histogram", help);
            took_us.push_text(out, name, "", &COMMIT_US);
        }
    }

    /// What shards have for it.
    fn push_waiting(&self, out: &mut String) {
        for (name, help, of) in [
            (
                "store_waiting_bytes",
                "What waits to be given to the writer, in bytes, by shard.",
                (|of| &of.bytes) as fn(&Waiting) -> &AtomicU64,
            ),
            (
                "store_held_answers",
                "Messages and decisions whose answers wait until they are kept, by shard.",
                |of| &of.held,
            ),
        ] {
            push_head(out, name, "gauge", help);
            for (shard, waiting) in self.waiting.iter().enumerate() {
                let value = of(waiting).load(Ordering::Relaxed);
                // Writing to a string cannot fail.
                let _ = writeln!(out, "chinwag_{name}{{shard=\"{shard}\"}} {value}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_what_was_counted() {
        let stats = StoreStats::of(2);
        stats.waiting(1).set(70, 3);
        stats.synced(240);
        stats.checkpointed(2_000, 5);
        stats.set_db_bytes(40_960);
        stats.committed(3, 250, 8_000);
        stats.committed(1_000, 251, 9_000);
        stats.failed(Cause::Full);
        stats.read(ReadKind::Room, 51, 2);
        stats.read(ReadKind::Page, 50, 0);
        stats.read(ReadKind::Page, 1_000_000, 0);
        stats.let_go(7);
        stats.set_free_disk_bytes(1 << 40);
        stats.backed_up(1_795_336_170_999);
        stats.has_backup(1_795_336_000_000);
        stats.backup_failed();
        assert!(stats.is_working());
        stats.set_state(State::Failed { cause: Cause::Corrupt });
        assert!(!stats.is_working());
        let mut text = String::new();
        stats.push_text(&mut text);
        for line in [
            "chinwag_store_state{state=\"ok\"} 0",
            "chinwag_store_state{state=\"failed\"} 1",
            "chinwag_store_commit_us_bucket{le=\"100\"} 0",
            "chinwag_store_commit_us_bucket{le=\"250\"} 1",
            "chinwag_store_commit_us_bucket{le=\"500\"} 2",
            "chinwag_store_commit_us_bucket{le=\"+Inf\"} 2",
            "chinwag_store_commit_us_sum 501",
            "chinwag_store_batch_messages_bucket{le=\"500\"} 1",
            "chinwag_store_batch_messages_count 2",
            "chinwag_store_batch_messages_sum 1003",
            "chinwag_store_fsync_us_bucket{le=\"250\"} 1",
            "chinwag_store_checkpoint_us_sum 2000",
            "chinwag_store_checkpoint_pages_left 5",
            "chinwag_store_db_bytes 40960",
            "chinwag_store_waiting_bytes{shard=\"0\"} 0",
            "chinwag_store_waiting_bytes{shard=\"1\"} 70",
            "chinwag_store_held_answers{shard=\"1\"} 3",
            "chinwag_store_errors_total{code=\"full\"} 1",
            "chinwag_store_wal_bytes 9000",
            "chinwag_store_reads_total{kind=\"room\"} 1",
            "chinwag_store_reads_total{kind=\"page\"} 2",
            "chinwag_store_reads_total{kind=\"recovery\"} 0",
            "chinwag_store_read_us_bucket{kind=\"page\",le=\"50\"} 1",
            "chinwag_store_read_us_bucket{kind=\"page\",le=\"+Inf\"} 2",
            "chinwag_store_read_us_sum{kind=\"room\"} 51",
            "chinwag_store_read_us_count{kind=\"page\"} 2",
            "chinwag_store_damaged_rows_total 2",
            "chinwag_store_retention_deleted_total 7",
            "chinwag_store_free_disk_bytes 1099511627776",
            "chinwag_store_last_backup_unix 1795336170",
            "chinwag_store_backup_failures_total 1",
        ] {
            assert!(text.lines().any(|of| of == line), "{line}");
        }
    }
}
