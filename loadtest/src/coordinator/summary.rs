//! The report of a run, put together from what the workers told and what was seen of the server.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Job, Look, Watched};
use crate::base::{SECOND_NS, real, three_digits};
use crate::client::target::shown;
use crate::plan::Scenario;
use crate::process::{Sample, Used};
use crate::report::{Client, FORMAT, Figure, Memory, Process, Report, Server, Timed, machine};
use crate::stats::{Merged, Metric, slope};

/// Above this share of a core the client is too busy for its figures to be the server's.
const BUSY: f64 = 0.9;

#[expect(clippy::too_many_arguments, reason = "it only puts together what the run has seen")]
pub(super) fn make_report(
    job: &Job,
    connections: u32,
    workers: u32,
    started_at: u64,
    before: &Look,
    connected: &Look,
    watched: &Watched,
    steps: &[(u32, u64)],
    merged: &Merged,
) -> Report {
    let (first_ns, first) =
        watched.looks.first().expect("the start of the window is always looked at");
    let (last_ns, last) = watched.looks.last().expect("there is a first");
    let window_ns = last_ns - first_ns;
    let counts = merged.counts.clone();
    let mut seconds = merged.seconds.summaries();
    seconds.truncate(usize::try_from(window_ns.div_ceil(SECOND_NS)).unwrap_or(usize::MAX));
    let times: BTreeMap<String, Timed> = merged
        .times
        .iter()
        .map(|(metric, times)| {
            let timed = Timed {
                title: metric.title().to_owned(),
                summary: times.summary(),
                curve: times.curve(),
            };
            (metric.name().to_owned(), timed)
        })
        .collect();
    let main = main_metric(&job.scenario).name().to_owned();
    let server = server_side(before, connected, watched, steps, &counts);
    let client = client_side(watched, first, last);
    let mut warnings = Vec::new();
    match (before.server(), &server) {
        (Some(_), None) => warnings.push(
            "The process of --server-pid ended during the run, so nothing is said of what it took."
                .to_owned(),
        ),
        (_, Some(server)) if server.used.cpu_ns() == 0 && counts.delivered_window > 0 => warnings
            .push(
            "The process of --server-pid took no CPU while the server delivered: is it the server?"
                .to_owned(),
        ),
        _ => {}
    }
    if client.busiest > BUSY {
        warnings.push(format!(
            "The client was the bottleneck: a worker took {} % of a core. Use \
             more --threads, or believe only CPU per delivery.",
            three_digits(client.busiest * 100.0)
        ));
    }
    if let Some(lag) = times.get(Metric::SendLag.name())
        && let Some(main) = times.get(&main)
        && lag.summary.p99_ns > main.summary.p99_ns / 4
        && lag.summary.p99_ns > 2_000_000
    {
        warnings.push(format!(
            "The client was late itself: its own lateness has a p99 of {}, which is in the \
             latencies.",
            crate::base::time_text(lag.summary.p99_ns)
        ));
    }
    let mut report = Report {
        format: FORMAT.to_owned(),
        name: if job.common.name.is_empty() { job.name.clone() } else { job.common.name.clone() },
        label: job.common.label.clone(),
        started_at,
        machine: machine(),
        options: options(job),
        connections,
        workers,
        window_ns,
        counts,
        times,
        main,
        seconds,
        server,
        servers: processes(watched),
        client,
        floor: None,
        faults: merged.faults.clone(),
        figures: Vec::new(),
        problems: Vec::new(),
        warnings,
    };
    report.figures = figures(job, &report);
    report
}

/// What is said instead of a secret.
const NOT_TOLD: &str = "(not told)";

/// The options of a run, without what is secret in them: a report is made to be passed on.
fn options(job: &Job) -> Value {
    let mut options = serde_json::to_value(&job.common).unwrap_or_default();
    options["scenario"] = serde_json::to_value(&job.scenario).unwrap_or_default();
    options["urls"] = job.common.urls.iter().map(|url| shown(url)).collect();
    if let Scenario::Failover(failover) = &job.scenario {
        let told = failover.faults.iter().map(|it| format!("{}: {}", it.at_ms(), it.program()));
        options["scenario"]["faults"] = told.collect();
    }
    for secret in ["token", "secret"] {
        if !options[secret].is_null() {
            options[secret] = NOT_TOLD.into();
        }
    }
    // Servers other than Chinwag may want to be told a token when a channel is joined.
    for payload in ["join_payload", "payload"] {
        let template = options[payload].as_str().unwrap_or_default();
        if let Ok(mut template) = serde_json::from_str(template)
            && hide_secrets(&mut template)
        {
            options[payload] = template.to_string().into();
        }
    }
    options
}

/// Hides what stands under a key that names a secret, at any depth. Tells whether there was any.
fn hide_secrets(value: &mut Value) -> bool {
    let is_secret = |key: &str| {
        let key = key.to_ascii_lowercase();
        ["token", "secret", "password", "auth", "jwt"].iter().any(|word| key.contains(word))
    };
    let mut hidden = false;
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                if is_secret(key) {
                    *member = NOT_TOLD.into();
                    hidden = true;
                } else {
                    hidden |= hide_secrets(member);
                }
            }
        }
        Value::Array(elements) => {
            for element in elements {
                hidden |= hide_secrets(element);
            }
        }
        _ => {}
    }
    hidden
}

fn main_metric(scenario: &Scenario) -> Metric {
    match scenario {
        Scenario::Broadcast(_) | Scenario::Chat(_) => Metric::Delivery,
        Scenario::Ping(_) => Metric::RoundTrip,
        Scenario::Keep(_) | Scenario::Failover(_) => Metric::Answer,
        Scenario::Idle(_) | Scenario::Churn(_) | Scenario::Storm(_) => Metric::Ready,
        Scenario::Presence(_) => Metric::Seen,
    }
}

/// What only this scenario tells.
fn figures(job: &Job, report: &Report) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut tell = |name: &str, value: f64, unit: &str| {
        figures.push(Figure { name: name.to_owned(), value, unit: unit.to_owned() });
    };
    match (&job.scenario, &report.server) {
        (Scenario::Broadcast(broadcast), Some(server)) if broadcast.sleepers > 0 => {
            let grown =
                real(server.memory.most_own_bytes) - real(server.memory.connected_own_bytes);
            tell("memory grown by sleepers", grown, "bytes");
        }
        (Scenario::Keep(_), server) => {
            let answered = real(report.counts.answered_window);
            tell("answered", answered / (real(report.window_ns) / 1e9), "messages/s");
            if let Some(server) = server {
                tell(
                    "server CPU per message",
                    real(server.used.cpu_ns()) / answered.max(1.0),
                    "ns",
                );
            }
        }
        (Scenario::Presence(presence), server) => {
            let members = f64::from(presence.members);
            let counts = &report.counts;
            tell("frames per member, filling", real(counts.filling_events) / members, "frames");
            tell("bytes per member, filling", real(counts.filling_event_bytes) / members, "bytes");
            tell("frames per member, in all", real(counts.events) / members, "frames");
            if let Some(server) = server {
                tell("server CPU per member", real(server.used.cpu_ns()) / members, "ns");
            }
        }
        (Scenario::Churn(_), Some(server)) => {
            let lives = real(report.counts.sent_window.max(1));
            tell("server CPU per life", real(server.used.cpu_ns()) / lives, "ns");
        }
        (Scenario::Storm(storm), server) => {
            // When the server is restarted is its operator's affair: then the longest return tells,
            // not the window.
            if !storm.on_close {
                tell("all back after", real(report.window_ns), "ns");
            }
            tell("came back", real(report.counts.reconnected), "connections");
            if let Some(server) = server {
                let back = real(report.counts.reconnected.max(1));
                tell("server CPU per return", real(server.used.cpu_ns()) / back, "ns");
            }
        }
        (Scenario::Idle(idle), Some(server)) => {
            let connections = f64::from(idle.connections);
            let per_s = real(server.used.cpu_ns()) / connections / (real(report.window_ns) / 1e9);
            tell("server CPU per idle connection and second", per_s, "ns");
            let switches = real(server.used.context_switches) / (real(report.window_ns) / 1e9);
            tell("server wake-ups per second", switches, "context switches/s");
        }
        _ => {}
    }
    figures
}

fn server_side(
    before: &Look,
    connected: &Look,
    watched: &Watched,
    steps: &[(u32, u64)],
    counts: &crate::stats::Counts,
) -> Option<Server> {
    let ready = connected.ready;
    let (before, connected) = (before.server()?, connected.server()?);
    // A server that was not there all the time has no figures: it is not known what it took at
    // last.
    let samples: Vec<Sample> =
        watched.looks.iter().map(|(_, look)| look.server()).collect::<Option<_>>()?;
    let (first, last) = (samples.first()?, samples.last()?);
    let used = last.since(first);
    let used_connecting = connected.since(&before);
    let per = |ns: u64, times: u64| if times == 0 { 0.0 } else { real(ns) / real(times) };
    let points: Vec<(f64, f64)> =
        steps.iter().map(|(conns, bytes)| (f64::from(*conns), real(*bytes))).collect();
    let growth = real(connected.own_bytes) - real(before.own_bytes);
    let ready = u64::from(ready.max(1));
    Some(Server {
        used,
        used_connecting,
        cpu_per_delivery_ns: per(used.cpu_ns(), counts.delivered_window),
        cpu_per_connection_ns: per(used_connecting.cpu_ns(), ready),
        memory: Memory {
            before_bytes: before.resident_bytes,
            before_own_bytes: before.own_bytes,
            connected_bytes: connected.resident_bytes,
            connected_own_bytes: connected.own_bytes,
            end_bytes: last.resident_bytes,
            end_own_bytes: last.own_bytes,
            most_own_bytes: samples.iter().map(|sample| sample.own_bytes).max().unwrap_or(0),
            peak_bytes: last.peak_bytes,
        },
        bytes_per_conn: slope(&points).unwrap_or(growth / real(ready)),
        seconds: samples.windows(2).map(|pair| pair[1].since(&pair[0])).collect(),
        own_bytes_seconds: samples.iter().map(|sample| sample.own_bytes).collect(),
        steps: steps.to_vec(),
    })
}

/// What each process took; nothing of one that was the only one, or was not there all the time.
fn processes(watched: &Watched) -> Vec<Option<Process>> {
    let of = |index: usize| {
        let samples = watched.looks.iter().map(|(_, look)| look.servers.get(index)?.as_ref());
        let samples: Vec<&Sample> = samples.collect::<Option<_>>()?;
        let most_own_bytes = samples.iter().map(|sample| sample.own_bytes).max()?;
        Some(Process { used: samples.last()?.since(samples.first()?), most_own_bytes })
    };
    let processes = watched.looks.first().map_or(0, |(_, look)| look.servers.len());
    if processes < 2 { Vec::new() } else { (0..processes).map(of).collect() }
}

fn client_side(watched: &Watched, first: &Look, last: &Look) -> Client {
    let pairs = watched.looks.windows(2);
    let seconds: Vec<Used> = pairs.map(|pair| pair[1].1.client.since(&pair[0].1.client)).collect();
    Client { used: last.client.since(&first.client), busiest: watched.busiest, seconds }
}
