//! What is counted and timed, and how it is put together from several workers.
//!
//! Two rules keep the figures honest. Latency is counted from when a message was *due*, in the
//! second it was due, so one that comes late or after the end of the window is in the histogram all
//! the same. Throughput is counted in the second a message *arrived*, so that it can be held
//! against the CPU of that second.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::base::{SECOND_NS, at, count, count64};

pub(crate) use counts::{Counts, tell};
use times::LONGEST_NS;
pub(crate) use times::{Metric, Sparse, Summary, Times, time_figure};

mod counts;
mod times;

/// One second of a run.
#[derive(Clone, Debug)]
struct Second {
    sent: u64,
    delivered: u64,
    bytes: u64,
    /// Latency of what was due in this second, in microseconds with two digits: there may be many
    /// seconds.
    latency: Histogram<u32>,
}

impl Default for Second {
    fn default() -> Self {
        let latency =
            Histogram::new_with_bounds(1, LONGEST_NS / 1_000, 2).expect("these bounds are valid");
        Self { sent: 0, delivered: 0, bytes: 0, latency }
    }
}

/// One second as it travels.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SecondTold {
    sent: u64,
    delivered: u64,
    bytes: u64,
    latency_us: Vec<(u64, u32)>,
}

/// One second as it is reported.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SecondSummary {
    /// Messages sent, by when they were due.
    pub(crate) sent: u64,
    /// Deliveries, or answers in `ping`, by when they arrived.
    pub(crate) delivered: u64,
    /// Bytes received, with frame headers.
    pub(crate) bytes: u64,
    /// Latency of what was due in this second.
    pub(crate) p50_ns: u64,
    /// The same: all but one in a hundred.
    pub(crate) p99_ns: u64,
    /// The same: the longest.
    pub(crate) max_ns: u64,
}

/// The most seconds kept apart; later ones are counted in the last.
const SECONDS_MAX: usize = 24 * 3_600;

/// A run's seconds, from the start of the measured window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seconds(Vec<Second>);

impl Seconds {
    fn second(&mut self, start_ns: u64, now_ns: u64) -> Option<&mut Second> {
        let index =
            usize::try_from(now_ns.checked_sub(start_ns)? / SECOND_NS).ok()?.min(SECONDS_MAX - 1);
        if index >= self.0.len() {
            self.0.resize_with(index + 1, Second::default);
        }
        self.0.get_mut(index)
    }

    /// As they travel.
    pub(crate) fn told(&self) -> Vec<SecondTold> {
        let told = |second: &Second| SecondTold {
            sent: second.sent,
            delivered: second.delivered,
            bytes: second.bytes,
            latency_us: second
                .latency
                .iter_recorded()
                .map(|s| (s.value_iterated_to(), s.count_at_value()))
                .collect(),
        };
        self.0.iter().map(told).collect()
    }

    /// Adds another worker's.
    pub(crate) fn add(&mut self, told: &[SecondTold]) {
        if told.len() > self.0.len() {
            self.0.resize_with(told.len(), Second::default);
        }
        for (second, told) in self.0.iter_mut().zip(told) {
            second.sent += told.sent;
            second.delivered += told.delivered;
            second.bytes += told.bytes;
            for &(us, times) in &told.latency_us {
                second.latency.saturating_record_n(us, times);
            }
        }
    }

    /// As they are reported.
    pub(crate) fn summaries(&self) -> Vec<SecondSummary> {
        let summary = |second: &Second| SecondSummary {
            sent: second.sent,
            delivered: second.delivered,
            bytes: second.bytes,
            p50_ns: second.latency.value_at_quantile(0.5) * 1_000,
            p99_ns: second.latency.value_at_quantile(0.99) * 1_000,
            max_ns: second.latency.max() * 1_000,
        };
        self.0.iter().map(summary).collect()
    }
}

/// A worker's statistics.
#[derive(Default)]
pub(crate) struct Stats {
    /// What was counted.
    pub(crate) counts: Counts,
    /// What was timed.
    times: BTreeMap<Metric, Times>,
    /// Second by second.
    seconds: Seconds,
    /// What was done to the servers (failover).
    pub(crate) faults: Vec<FaultTold>,
    /// The measured window, in nanoseconds of the clock: start and end. Nothing before the start is
    /// timed.
    window_ns: (u64, u64),
}

impl Stats {
    /// Opens the window.
    pub(crate) fn open_window(&mut self, start_ns: u64, end_ns: u64) {
        self.window_ns = (start_ns, end_ns);
    }

    /// Forgets all times so far: those of the connections that were there before what is to be
    /// timed.
    pub(crate) fn forget_times(&mut self) {
        self.times.clear();
    }

    /// Whether a moment lies in the window.
    pub(crate) fn in_window(&self, ns: u64) -> bool {
        ns >= self.window_ns.0 && ns < self.window_ns.1
    }

    /// Counts a time that belongs to the run as a whole, window or not (connecting, joining).
    pub(crate) fn time(&mut self, metric: Metric, ns: u64) {
        self.times.entry(metric).or_default().record(ns);
    }

    /// Counts a time that belongs to the window, by when its cause was due.
    pub(crate) fn time_due(&mut self, metric: Metric, due_ns: u64, now_ns: u64) {
        if self.in_window(due_ns) {
            self.time(metric, now_ns.saturating_sub(due_ns));
        }
    }

    /// Counts a latency that the plots over time show: deliveries, or round trips.
    pub(crate) fn latency(&mut self, metric: Metric, due_ns: u64, now_ns: u64) {
        if self.in_window(due_ns) {
            let latency_ns = now_ns.saturating_sub(due_ns);
            self.time(metric, latency_ns);
            if let Some(second) = self.seconds.second(self.window_ns.0, due_ns) {
                second.latency.saturating_record((latency_ns / 1_000).max(1));
            }
        }
    }

    /// Counts a message sent.
    pub(crate) fn sent(&mut self, due_ns: u64, now_ns: u64) {
        self.counts.sent += 1;
        if self.in_window(due_ns) {
            self.counts.sent_window += 1;
            self.time(Metric::SendLag, now_ns.saturating_sub(due_ns));
            if let Some(second) = self.seconds.second(self.window_ns.0, due_ns) {
                second.sent += 1;
            }
        }
    }

    /// Counts a delivery (or, in `ping`, an answer) for throughput.
    pub(crate) fn arrived(&mut self, frame_bytes: usize, now_ns: u64) {
        if self.in_window(now_ns) {
            self.counts.delivered_window += 1;
            self.counts.message_bytes_window += count64(frame_bytes);
            if let Some(second) = self.seconds.second(self.window_ns.0, now_ns) {
                second.delivered += 1;
            }
        }
    }

    /// Counts received bytes.
    pub(crate) fn received(&mut self, bytes: usize, now_ns: u64) {
        if self.in_window(now_ns) {
            self.counts.bytes_window += count64(bytes);
            if let Some(second) = self.seconds.second(self.window_ns.0, now_ns) {
                second.bytes += count64(bytes);
            }
        }
    }

    /// As they travel: counts, times, seconds.
    pub(crate) fn told(&self) -> Told {
        Told {
            counts: self.counts.clone(),
            times: self.times.iter().map(|(metric, times)| (*metric, times.sparse())).collect(),
            seconds: self.seconds.told(),
            faults: self.faults.clone(),
        }
    }
}

/// A worker's statistics as they travel.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    /// What was counted.
    pub(crate) counts: Counts,
    /// What was timed.
    pub(crate) times: Vec<(Metric, Sparse)>,
    /// Second by second.
    pub(crate) seconds: Vec<SecondTold>,
    /// What was done to the servers.
    pub(crate) faults: Vec<FaultTold>,
}

/// A fault of `failover`, and what came of it. Times are nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FaultTold {
    /// The program of its command.
    pub(crate) program: String,
    /// When it was due, from the start of the load.
    pub(crate) due_ns: u64,
    /// When it was begun.
    pub(crate) began_ns: u64,
    /// How long its command took; none, if it ran until the end.
    pub(crate) took_ns: Option<u64>,
    /// The command's exit code; none, if it has none.
    pub(crate) code: Option<i32>,
    /// From its beginning to when a write was acknowledged that was sent after its end.
    pub(crate) first_acked_ns: Option<u64>,
    /// The same of the last publisher to have one; none, if one had none.
    pub(crate) all_acked_ns: Option<u64>,
}

/// All workers' statistics together.
#[derive(Default)]
pub(crate) struct Merged {
    /// What was counted.
    pub(crate) counts: Counts,
    /// What was timed.
    pub(crate) times: BTreeMap<Metric, Times>,
    /// Second by second.
    pub(crate) seconds: Seconds,
    /// What was done to the servers.
    pub(crate) faults: Vec<FaultTold>,
}

impl Merged {
    /// Adds one worker's.
    pub(crate) fn add(&mut self, told: &Told) {
        self.counts.add(&told.counts);
        for (metric, sparse) in &told.times {
            self.times.entry(*metric).or_default().add(sparse);
        }
        self.seconds.add(&told.seconds);
        self.faults.extend_from_slice(&told.faults);
    }
}

/// The slope of a straight line through points, by least squares; `None` with fewer than two
/// different abscissas.
pub(crate) fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let n = f64::from(count(points.len()));
    let (mean_x, mean_y) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let (over, under) = points.iter().fold((0.0, 0.0), |(o, u), (x, y)| {
        (o + (x - mean_x) * (y - mean_y), u + (x - mean_x) * (x - mean_x))
    });
    (under > 0.0).then(|| over / under)
}

/// The median of some figures, or 0 of none.
pub(crate) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = at(count(figures.len()) / 2);
    match figures.len() {
        0 => 0.0,
        length if length.is_multiple_of(2) => f64::midpoint(figures[middle - 1], figures[middle]),
        _ => figures[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_of_two_workers_are_one() {
        let (mut left, mut right, mut whole) =
            (Times::default(), Times::default(), Times::default());
        for ns in 1..10_000 {
            if ns % 3 == 0 {
                left.record(ns * 1_000);
            } else {
                right.record(ns * 1_000);
            }
            whole.record(ns * 1_000);
        }
        let mut merged = Times::default();
        merged.add(&left.sparse());
        merged.add(&right.sparse());
        assert_eq!(
            (merged.summary().p50_ns, merged.summary().p999_ns),
            (whole.summary().p50_ns, whole.summary().p999_ns)
        );
        assert_eq!(merged.summary().count, 9_999);
    }

    #[test]
    fn a_late_arrival_is_timed_in_the_second_it_was_due_and_counted_in_the_second_it_came() {
        let mut stats = Stats::default();
        stats.open_window(10 * SECOND_NS, 12 * SECOND_NS);
        stats.latency(Metric::Delivery, 11 * SECOND_NS, 13 * SECOND_NS);
        stats.arrived(100, 13 * SECOND_NS);
        assert_eq!(stats.counts.delivered_window, 0, "it came after the window");
        stats.latency(Metric::Delivery, 9 * SECOND_NS, 10 * SECOND_NS);
        stats.arrived(100, 10 * SECOND_NS);
        assert_eq!(stats.counts.delivered_window, 1);
        let mut merged = Merged::default();
        merged.add(&stats.told());
        let summary = merged.times[&Metric::Delivery].summary();
        assert_eq!(summary.count, 1, "what was due before the window is not timed");
        assert!(summary.max_ns.abs_diff(2 * SECOND_NS) < SECOND_NS / 100);
        let seconds = merged.seconds.summaries();
        assert_eq!((seconds[0].delivered, seconds[1].delivered), (1, 0));
        assert!(seconds[1].max_ns > SECOND_NS, "timed where it was due");
    }

    #[test]
    fn a_slope_and_a_median_are_what_they_should_be() {
        assert_eq!(slope(&[(1.0, 3.0), (2.0, 5.0), (3.0, 7.0)]), Some(2.0));
        assert_eq!(slope(&[(1.0, 3.0)]), None);
        assert!((median(&mut [3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&mut [4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
    }
}
