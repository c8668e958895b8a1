//! The result of a run: as data, as a table, as a page.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::real;
use crate::plan::Limit;
use crate::process::Used;
use crate::stats::{Counts, FaultTold, SecondSummary, Summary, time_figure};

pub(crate) mod html;
pub(crate) mod table;

/// The result of one run, as it stands in the JSON. Times are nanoseconds, sizes bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Which form of report this is.
    pub(crate) format: String,
    /// The scenario's name.
    pub(crate) name: String,
    /// What the run was called.
    pub(crate) label: String,
    /// When it began, in seconds of Unix time.
    pub(crate) started_at: u64,
    /// The machine: processor, cores, kernel.
    pub(crate) machine: String,
    /// All options.
    pub(crate) options: serde_json::Value,
    /// Connections of the run.
    pub(crate) connections: u32,
    /// Threads or processes of the client.
    pub(crate) workers: u32,
    /// The measured window.
    pub(crate) window_ns: u64,
    /// What was counted.
    pub(crate) counts: Counts,
    /// What was timed, by name.
    pub(crate) times: BTreeMap<String, Timed>,
    /// Which of them is the run's main one.
    pub(crate) main: String,
    /// Second by second.
    pub(crate) seconds: Vec<SecondSummary>,
    /// The server's side, where its process was named; of all together, where there are several.
    pub(crate) server: Option<Server>,
    /// What each process took, where several were named; nothing of one that was not there all the
    /// time.
    #[serde(default)]
    pub(crate) servers: Vec<Option<Process>>,
    /// The client's side.
    pub(crate) client: Client,
    /// The kernel's floor, where it was measured.
    pub(crate) floor: Option<FloorRatio>,
    /// What was done to the servers, in the order in which it was done (failover).
    #[serde(default)]
    pub(crate) faults: Vec<FaultTold>,
    /// Figures that only this scenario has.
    pub(crate) figures: Vec<Figure>,
    /// Why the run failed, each in a sentence; empty if it did not.
    pub(crate) problems: Vec<String>,
    /// What to keep in mind when reading the figures.
    pub(crate) warnings: Vec<String>,
}

/// Times of one kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Timed {
    /// What they are, in a few words.
    pub(crate) title: String,
    /// The figures.
    #[serde(flatten)]
    pub(crate) summary: Summary,
    /// Latency by percentile, for plots: quantile and nanoseconds.
    pub(crate) curve: Vec<(f64, u64)>,
}

/// What the server took.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Server {
    /// In the window.
    pub(crate) used: Used,
    /// While the connections were made.
    pub(crate) used_connecting: Used,
    /// CPU in the window per message delivered (or ping answered).
    pub(crate) cpu_per_delivery_ns: f64,
    /// CPU per connection that was made and joined.
    pub(crate) cpu_per_connection_ns: f64,
    /// Memory, over time.
    pub(crate) memory: Memory,
    /// Bytes of own memory per connection: the slope over the steps of `idle`, else the growth over
    /// all.
    pub(crate) bytes_per_conn: f64,
    /// Second by second, from the start of the window.
    pub(crate) seconds: Vec<Used>,
    /// Own memory second by second.
    pub(crate) own_bytes_seconds: Vec<u64>,
    /// Connections and own memory after each step of `idle`.
    pub(crate) steps: Vec<(u32, u64)>,
}

/// What one of several servers took in the window.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Process {
    /// CPU and context switches.
    pub(crate) used: Used,
    /// The most own memory seen, looking once a second.
    pub(crate) most_own_bytes: u64,
}

#[expect(clippy::struct_field_names, reason = "the unit belongs to the names in the JSON")]
/// The server's memory at several moments: resident, and of that its own (heap and stacks).
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Before the first connection.
    pub(crate) before_bytes: u64,
    /// The same, own.
    pub(crate) before_own_bytes: u64,
    /// With all connections, before the load.
    pub(crate) connected_bytes: u64,
    /// The same, own.
    pub(crate) connected_own_bytes: u64,
    /// At the end of the window.
    pub(crate) end_bytes: u64,
    /// The same, own.
    pub(crate) end_own_bytes: u64,
    /// The most own memory seen in the window, looking once a second.
    pub(crate) most_own_bytes: u64,
    /// The most that was ever resident.
    pub(crate) peak_bytes: u64,
}

/// What the client itself took.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Client {
    /// In the window.
    pub(crate) used: Used,
    /// The share of one core that the busiest worker took in its busiest second, 0 to 1.
    pub(crate) busiest: f64,
    /// Second by second, from the start of the window.
    pub(crate) seconds: Vec<Used>,
}

/// A run held against the kernel's floor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FloorRatio {
    /// CPU of the bare process per frame, one frame a call.
    pub(crate) ns_per_frame: f64,
    /// The server's CPU per delivery as a multiple of that.
    pub(crate) ratio: f64,
    /// How the floor was measured.
    pub(crate) method: String,
}

/// A figure that only one scenario has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// What it is.
    pub(crate) name: String,
    /// How much.
    pub(crate) value: f64,
    /// Of what: `ns`, `bytes`, or a word.
    pub(crate) unit: String,
}

/// The form of report that this version writes and reads.
pub(crate) const FORMAT: &str = "loadtest-1";

impl Report {
    /// The name to show for the run.
    pub(crate) fn title(&self) -> &str {
        if self.label.is_empty() { &self.name } else { &self.label }
    }

    /// Deliveries (or answers) per second in the window.
    pub(crate) fn per_second(&self) -> f64 {
        real(self.counts.delivered_window) * 1e9 / real(self.window_ns.max(1))
    }

    /// A figure that can have a limit, in nanoseconds where it is a time; `None` where the run does
    /// not have it. What nothing was divided by is no figure: a run without deliveries is not one
    /// in which they were cheap.
    fn figure(&self, name: &str) -> Option<f64> {
        let of_server =
            |figure: fn(&Server) -> f64| self.server.as_ref().map(figure).filter(|f| *f > 0.0);
        match name {
            "cpu" => of_server(|server| server.cpu_per_delivery_ns),
            "connect_cpu" => of_server(|server| server.cpu_per_connection_ns),
            "bytes_per_conn" => of_server(|server| server.bytes_per_conn),
            "floor" => self.floor.as_ref().map(|floor| floor.ratio),
            _ => {
                let (metric, figure) = time_figure(name)?;
                let metric = metric.map_or(self.main.as_str(), |metric| metric.name());
                let timed = self.times.get(metric)?;
                timed.summary.figure(figure).map(real)
            }
        }
    }

    /// Adds to the problems what counts as one: faults, and figures over their limit.
    pub(crate) fn judge(&mut self, limits: &[Limit], allow_refused: bool) {
        for (name, times) in self.counts.faults() {
            if times == 0 || (name == "refused" && allow_refused) {
                continue;
            }
            let detail = match name {
                "refused" => &self.counts.refused,
                "connect_failed" | "join_failed" | "closed_by_server" | "channel_ended"
                | "malformed" => &self.counts.reasons,
                _ => &BTreeMap::new(),
            };
            let examples = self.counts.examples.get(name).into_iter().flatten().cloned();
            let detail = detail.iter().map(|(reason, times)| format!("{reason}: {times}"));
            let detail: Vec<String> = detail.chain(examples).collect();
            let detail =
                if detail.is_empty() { String::new() } else { format!(" ({})", detail.join("; ")) };
            self.problems.push(format!("{name}: {times}{detail}"));
        }
        for limit in limits {
            match self.figure(&limit.figure) {
                Some(value) if value <= limit.most => {}
                Some(value) => {
                    let text = if limit.is_plain() {
                        format!("{value:.2}")
                    } else {
                        crate::base::time_text(crate::base::whole(value))
                    };
                    self.problems.push(format!("limit {} exceeded: {text}", limit.text));
                }
                None => {
                    self.problems
                        .push(format!("limit {}: this run has no such figure", limit.text));
                }
            }
        }
        if self.counts.refused.contains_key("rate_limited") {
            self.warnings.push(
                "The server kept its rate limit for one connection: use more publishers, or a \
                 lower rate."
                    .to_owned(),
            );
        }
    }
}

/// The machine in a line: processor, cores, kernel. No name of it.
pub(crate) fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned())
        })
        .unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.split('-').next().unwrap_or_default().trim();
    format!("{model}, {cores} cores, Linux {kernel}")
}
