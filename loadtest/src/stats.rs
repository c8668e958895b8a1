//! What is counted and timed, and how it is put together from several workers.
//!
//! Two rules keep the figures honest. Latency is counted from when a message was *due*, in the second it was due, so one that
//! comes late or after the end of the window is in the histogram all the same. Throughput is counted in the second a message
//! *arrived*, so that it can be held against the CPU of that second.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::base::{SECOND_NS, at, count, count64, real, whole};

/// The longest time a histogram tells apart, in nanoseconds: ten minutes. More is counted as that.
const LONGEST_NS: u64 = 600 * SECOND_NS;

/// Named times of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// From when a message was due to its arrival at one receiver.
    Delivery,
    /// The same, for those who had stopped reading (slow).
    Overdue,
    /// From when a push was due to its answer.
    Answer,
    /// From when a ping was due to its answer.
    RoundTrip,
    /// From when a connection was due to the end of its upgrade.
    Connect,
    /// From sending a join to its answer.
    Join,
    /// From when a connection was due to the answer to its last join.
    Ready,
    /// From asking for history to its answer.
    History,
    /// How late the client itself was in sending what was due.
    SendLag,
    /// From the start of the change to when an observer saw the whole room (presence).
    Seen,
}

impl Metric {
    /// All, in the order of a report.
    pub(crate) const ALL: [Self; 10] = [
        Self::Delivery,
        Self::Overdue,
        Self::RoundTrip,
        Self::Answer,
        Self::Connect,
        Self::Join,
        Self::Ready,
        Self::History,
        Self::Seen,
        Self::SendLag,
    ];

    /// Its name in JSON and in limits.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Overdue => "overdue",
            Self::Answer => "answer",
            Self::RoundTrip => "round_trip",
            Self::Connect => "connect",
            Self::Join => "join",
            Self::Ready => "ready",
            Self::History => "history",
            Self::SendLag => "send_lag",
            Self::Seen => "seen",
        }
    }

    /// What it means, in a few words.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Delivery => "delivery (due → received)",
            Self::Overdue => "delivery to those who slept",
            Self::Answer => "answer to a push (due → ok)",
            Self::RoundTrip => "round trip (due → answer)",
            Self::Connect => "connect and upgrade",
            Self::Join => "join (sent → ok)",
            Self::Ready => "connect, upgrade, join",
            Self::History => "page of history",
            Self::SendLag => "client's own lateness",
            Self::Seen => "whole room seen",
        }
    }
}

/// A histogram as it travels and is kept: each value that occurred and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Sparse(Vec<(u64, u64)>);

/// A histogram of times with three significant digits.
#[derive(Clone, Debug)]
pub(crate) struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("these bounds are valid"))
    }
}

impl Times {
    /// Counts one time.
    pub(crate) fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns.max(1));
    }

    /// Adds what another worker counted.
    pub(crate) fn add(&mut self, sparse: &Sparse) {
        for &(value, times) in &sparse.0 {
            self.0.saturating_record_n(value, times);
        }
    }

    /// As it travels.
    pub(crate) fn sparse(&self) -> Sparse {
        Sparse(self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect())
    }

    /// The figures of a report.
    pub(crate) fn summary(&self) -> Summary {
        let quantile = |q| self.0.value_at_quantile(q);
        Summary {
            count: self.0.len(),
            min_ns: if self.0.is_empty() { 0 } else { self.0.min() },
            mean_ns: whole(self.0.mean()),
            p50_ns: quantile(0.5),
            p90_ns: quantile(0.9),
            p99_ns: quantile(0.99),
            p999_ns: quantile(0.999),
            max_ns: self.0.max(),
        }
    }

    /// Points of the curve of latency by percentile, spaced evenly on the usual scale of nines.
    pub(crate) fn curve(&self) -> Vec<(f64, u64)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let nines = real(self.0.len()).log10().clamp(1.0, 7.0);
        let steps = 160;
        let mut points: Vec<(f64, u64)> = (0..=steps)
            .map(|step| 1.0 - 10_f64.powf(-nines * f64::from(step) / f64::from(steps)))
            .map(|quantile| (quantile, self.0.value_at_quantile(quantile)))
            .collect();
        points.push((1.0 - 10_f64.powf(-nines), self.0.max()));
        points
    }
}

/// The figures of one histogram, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// How many times were counted.
    pub(crate) count: u64,
    /// The shortest.
    pub(crate) min_ns: u64,
    /// The mean.
    pub(crate) mean_ns: u64,
    /// Half were shorter.
    pub(crate) p50_ns: u64,
    /// Nine of ten were shorter.
    pub(crate) p90_ns: u64,
    /// All but one in a hundred were shorter.
    pub(crate) p99_ns: u64,
    /// All but one in a thousand were shorter.
    pub(crate) p999_ns: u64,
    /// The longest.
    pub(crate) max_ns: u64,
}

/// One second of a run.
#[derive(Clone, Debug)]
struct Second {
    sent: u64,
    delivered: u64,
    bytes: u64,
    /// Latency of what was due in this second, in microseconds with two digits: there may be many seconds.
    latency: Histogram<u32>,
}

impl Default for Second {
    fn default() -> Self {
        let latency = Histogram::new_with_bounds(1, LONGEST_NS / 1_000, 2).expect("these bounds are valid");
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
        let index = usize::try_from(now_ns.checked_sub(start_ns)? / SECOND_NS).ok()?.min(SECONDS_MAX - 1);
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

/// What is counted. Each name stands in the JSON as it is here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    /// Connections that were opened and upgraded.
    pub(crate) connected: u64,
    /// Joins answered with `ok`.
    pub(crate) joined: u64,
    /// Messages sent, in all.
    pub(crate) sent: u64,
    /// Messages sent that were due in the window.
    pub(crate) sent_window: u64,
    /// Messages received, in all.
    pub(crate) delivered: u64,
    /// Messages that arrived within the window.
    pub(crate) delivered_window: u64,
    /// Messages that were in the answer to a rejoin with a cursor.
    pub(crate) recovered: u64,
    /// Pushes answered with `ok`.
    pub(crate) answered: u64,
    /// Pushes answered with `ok` within the window.
    pub(crate) answered_window: u64,
    /// Bytes received within the window, with frame headers.
    pub(crate) bytes_window: u64,
    /// Bytes of messages received within the window, with frame headers.
    pub(crate) message_bytes_window: u64,
    /// Other events received (presence, typing), in all.
    pub(crate) events: u64,
    /// Bytes of other events received, in all.
    pub(crate) event_bytes: u64,
    /// The same, while the room was filling (presence).
    pub(crate) filling_events: u64,
    /// Bytes of other events received while the room was filling (presence).
    pub(crate) filling_event_bytes: u64,
    /// Connections closed by us, on purpose.
    pub(crate) left: u64,
    /// Connections opened again.
    pub(crate) reconnected: u64,
    /// Channels that the server ended with `phx_error` or `phx_close`, or connections it closed, where the scenario expects it.
    pub(crate) ended_loudly: u64,

    /// Messages that never came. From here on, anything but 0 fails the run.
    pub(crate) lost: u64,
    /// Messages that came more than once.
    pub(crate) duplicate: u64,
    /// Messages that came after a later one of the same sender.
    pub(crate) reordered: u64,
    /// Messages that a member saw the other way round than another member of the room.
    pub(crate) room_order: u64,
    /// Messages that came to somebody who is not in their room, or under another topic.
    pub(crate) stray: u64,
    /// Messages whose body is not what was sent.
    pub(crate) corrupt: u64,
    /// Messages that were refused and came all the same.
    pub(crate) refused_but_sent: u64,
    /// Pushes that were due but not sent, because their connection was gone.
    pub(crate) not_sent: u64,
    /// Pushes without an answer.
    pub(crate) unanswered: u64,
    /// Connections that failed or were refused.
    pub(crate) connect_failed: u64,
    /// Joins that were refused or not answered.
    pub(crate) join_failed: u64,
    /// Connections that the server closed though nothing asked for it.
    pub(crate) closed_by_server: u64,
    /// Channels that the server ended though nothing asked for it.
    pub(crate) channel_ended: u64,
    /// Frames that break RFC 6455, text that is not UTF-8, and messages that are not of the dialect.
    pub(crate) malformed: u64,
    /// Observers that never saw the whole room (presence).
    pub(crate) presence_wrong: u64,
    /// Pushes answered with an error, by reason. `rate_limited` is the server keeping its limit: spread the publishers.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Why connections failed or were closed, by reason, to tell.
    pub(crate) reasons: BTreeMap<String, u64>,
}

impl Counts {
    /// What must be 0 for the run to count, by name, in the order of a report.
    pub(crate) fn faults(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("lost", self.lost),
            ("duplicate", self.duplicate),
            ("reordered", self.reordered),
            ("room_order", self.room_order),
            ("stray", self.stray),
            ("corrupt", self.corrupt),
            ("refused", self.refused.values().sum()),
            ("refused_but_sent", self.refused_but_sent),
            ("not_sent", self.not_sent),
            ("unanswered", self.unanswered),
            ("connect_failed", self.connect_failed),
            ("join_failed", self.join_failed),
            ("closed_by_server", self.closed_by_server),
            ("channel_ended", self.channel_ended),
            ("malformed", self.malformed),
            ("presence_wrong", self.presence_wrong),
        ]
    }

    /// Adds another worker's.
    pub(crate) fn add(&mut self, other: &Self) {
        let Self {
            connected,
            joined,
            sent,
            sent_window,
            delivered,
            delivered_window,
            recovered,
            answered,
            answered_window,
            bytes_window,
            message_bytes_window,
            events,
            event_bytes,
            filling_events,
            filling_event_bytes,
            left,
            reconnected,
            ended_loudly,
            lost,
            duplicate,
            reordered,
            room_order,
            stray,
            corrupt,
            refused_but_sent,
            not_sent,
            unanswered,
            connect_failed,
            join_failed,
            closed_by_server,
            channel_ended,
            malformed,
            presence_wrong,
            refused,
            reasons,
        } = other;
        for (mine, theirs) in [
            (&mut self.connected, connected),
            (&mut self.joined, joined),
            (&mut self.sent, sent),
            (&mut self.sent_window, sent_window),
            (&mut self.delivered, delivered),
            (&mut self.delivered_window, delivered_window),
            (&mut self.recovered, recovered),
            (&mut self.answered, answered),
            (&mut self.answered_window, answered_window),
            (&mut self.bytes_window, bytes_window),
            (&mut self.message_bytes_window, message_bytes_window),
            (&mut self.events, events),
            (&mut self.event_bytes, event_bytes),
            (&mut self.filling_events, filling_events),
            (&mut self.filling_event_bytes, filling_event_bytes),
            (&mut self.left, left),
            (&mut self.reconnected, reconnected),
            (&mut self.ended_loudly, ended_loudly),
            (&mut self.lost, lost),
            (&mut self.duplicate, duplicate),
            (&mut self.reordered, reordered),
            (&mut self.room_order, room_order),
            (&mut self.stray, stray),
            (&mut self.corrupt, corrupt),
            (&mut self.refused_but_sent, refused_but_sent),
            (&mut self.not_sent, not_sent),
            (&mut self.unanswered, unanswered),
            (&mut self.connect_failed, connect_failed),
            (&mut self.join_failed, join_failed),
            (&mut self.closed_by_server, closed_by_server),
            (&mut self.channel_ended, channel_ended),
            (&mut self.malformed, malformed),
            (&mut self.presence_wrong, presence_wrong),
        ] {
            *mine += theirs;
        }
        for (mine, theirs) in [(&mut self.refused, refused), (&mut self.reasons, reasons)] {
            for (reason, times) in theirs {
                *mine.entry(reason.clone()).or_default() += times;
            }
        }
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
    /// The measured window, in nanoseconds of the clock: start and end. Nothing before the start is timed.
    window_ns: (u64, u64),
}

impl Stats {
    /// Opens the window.
    pub(crate) fn open_window(&mut self, start_ns: u64, end_ns: u64) {
        self.window_ns = (start_ns, end_ns);
    }

    /// Forgets all times so far: those of the connections that were there before what is to be timed.
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
}

impl Merged {
    /// Adds one worker's.
    pub(crate) fn add(&mut self, told: &Told) {
        self.counts.add(&told.counts);
        for (metric, sparse) in &told.times {
            self.times.entry(*metric).or_default().add(sparse);
        }
        self.seconds.add(&told.seconds);
    }
}

/// The slope of a straight line through points, by least squares; `None` with fewer than two different abscissas.
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
        let (mut left, mut right, mut whole) = (Times::default(), Times::default(), Times::default());
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
