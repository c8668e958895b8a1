//! What threads beside the shards count for Prometheus: values by bounds, which one thread writes
//! and any reads, and their text.

use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts by bounds, each for what is at most that.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize> {
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
    pub(super) fn count(&self, bounds: &[u64; N], value: u64) {
        let at = bounds.iter().position(|bound| value <= *bound);
        at.map_or(&self.above, |at| &self.counts[at]).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// How much was counted.
    #[cfg(feature = "store")]
    pub(super) fn count_of_all(&self) -> u64 {
        self.counts.iter().chain([&self.above]).map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Appends its lines. `labels` are those besides the bound: `kind="page"`, or none.
    pub(super) fn push_text(&self, out: &mut String, name: &str, labels: &str, bounds: &[u64; N]) {
        self.push_as(out, name, labels, bounds, |value| value);
    }

    /// The same of microseconds, told as seconds.
    #[cfg(feature = "engine-redis")]
    pub(super) fn push_seconds(&self, out: &mut String, name: &str, bounds: &[u64; N]) {
        self.push_as(out, name, "", bounds, |us| {
            format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
        });
    }

    fn push_as<D: Display>(
        &self,
        out: &mut String,
        name: &str,
        labels: &str,
        bounds: &[u64; N],
        show: impl Fn(u64) -> D,
    ) {
        let comma = if labels.is_empty() { "" } else { "," };
        let all = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let mut count = 0;
        // Writing to a string cannot fail.
        for (bound, here) in bounds.iter().zip(&self.counts) {
            count += here.load(Ordering::Relaxed);
            let bound = show(*bound);
            let _ = writeln!(out, "chinwag_{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
        }
        count += self.above.load(Ordering::Relaxed);
        let sum = show(self.sum.load(Ordering::Relaxed));
        let _ = writeln!(out, "chinwag_{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "chinwag_{name}_sum{all} {sum}\nchinwag_{name}_count{all} {count}");
    }
}

/// Appends what a name is, before its lines.
pub(super) fn push_head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "# HELP chinwag_{name} {help}\n# TYPE chinwag_{name} {kind}");
}
