//! What the store has counted, for other threads to read, and the text of it for Prometheus.
//!
//! Deliberately absent: sums over shards. There is one store.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::error::Cause;
use super::faults::State;

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
    batch_messages: Histogram<{ BATCH_MESSAGES.len() }>,
    wal_bytes: AtomicU64,
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

/// Counts by bounds, each for what is at most that.
#[derive(Debug)]
struct Histogram<const N: usize> {
    counts: [AtomicU64; N],
    above: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        let counts = [const { AtomicU64::new(0) }; N];
        Self { counts, above: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }
}

impl<const N: usize> Histogram<N> {
    fn count(&self, bounds: &[u64; N], value: u64) {
        let at = bounds.iter().position(|bound| value <= *bound);
        at.map_or(&self.above, |at| &self.counts[at]).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// How much was counted.
    fn count_of_all(&self) -> u64 {
        self.counts.iter().chain([&self.above]).map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Appends its lines. `labels` are those besides the bound: `kind="page"`, or none.
    fn push_text(&self, out: &mut String, name: &str, labels: &str, bounds: &[u64; N]) {
        let comma = if labels.is_empty() { "" } else { "," };
        let all = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let mut count = 0;
        // Writing to a string cannot fail.
        for (bound, here) in bounds.iter().zip(&self.counts) {
            count += here.load(Ordering::Relaxed);
            let _ = writeln!(out, "chinwag_{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
        }
        count += self.above.load(Ordering::Relaxed);
        let sum = self.sum.load(Ordering::Relaxed);
        let _ = writeln!(out, "chinwag_{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "chinwag_{name}_sum{all} {sum}\nchinwag_{name}_count{all} {count}");
    }
}

impl StoreStats {
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
        push_head(out, "store_commit_us", "histogram", "How long commits took, in microseconds.");
        self.commit_us.push_text(out, "store_commit_us", "", &COMMIT_US);
        push_head(out, "store_batch_messages", "histogram", "Messages in a commit.");
        self.batch_messages.push_text(out, "store_batch_messages", "", &BATCH_MESSAGES);
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
}

fn push_head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "# HELP chinwag_{name} {help}\n# TYPE chinwag_{name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_what_was_counted() {
        let stats = StoreStats::default();
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
