//! What is timed: named histograms that workers fill apart and that are put together afterwards.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::base::{SECOND_NS, real, whole};

/// The longest time a histogram tells apart, in nanoseconds: ten minutes. More is counted as that.
pub(super) const LONGEST_NS: u64 = 600 * SECOND_NS;

/// Named times of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// From when a message was due to its arrival at one receiver.
    Delivery,
    /// The same, for members that had stopped reading (slow).
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
    /// From a fault to the first write of each publisher that was sent after it and acknowledged
    /// (failover).
    Resumed,
    /// From the end of a connection's life to when another member was told so (failover).
    Ghost,
}

impl Metric {
    /// All, in the order of a report.
    pub(crate) const ALL: [Self; 12] = [
        Self::Delivery,
        Self::Overdue,
        Self::RoundTrip,
        Self::Answer,
        Self::Connect,
        Self::Join,
        Self::Ready,
        Self::History,
        Self::Seen,
        Self::Resumed,
        Self::Ghost,
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
            Self::Resumed => "resumed",
            Self::Ghost => "ghost",
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
            Self::Resumed => "fault → publisher's write ok",
            Self::Ghost => "gone → no longer present",
        }
    }
}

/// Takes the name of a time's figure apart, such as `p99` or `answer.p99.9`: which time (`None`:
/// the run's main one) and which figure of it.
pub(crate) fn time_figure(name: &str) -> Option<(Option<Metric>, &str)> {
    let named =
        |metric: Metric| Some((metric, name.strip_prefix(metric.name())?.strip_prefix('.')?));
    let (metric, figure) = match Metric::ALL.into_iter().find_map(named) {
        Some((metric, figure)) => (Some(metric), figure),
        None => (None, name),
    };
    Summary::default().figure(figure).map(|_| (metric, figure))
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
        Sparse(
            self.0
                .iter_recorded()
                .map(|step| (step.value_iterated_to(), step.count_at_value()))
                .collect(),
        )
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

impl Summary {
    /// One of the figures by its name, in nanoseconds.
    pub(crate) fn figure(&self, name: &str) -> Option<u64> {
        Some(match name {
            "min" => self.min_ns,
            "mean" => self.mean_ns,
            "p50" => self.p50_ns,
            "p90" => self.p90_ns,
            "p99" => self.p99_ns,
            "p999" | "p99.9" => self.p999_ns,
            "max" => self.max_ns,
            _ => return None,
        })
    }
}
