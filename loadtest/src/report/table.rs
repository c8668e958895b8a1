//! The result as a table for a terminal.

use std::fmt::Write as _;

use super::Report;
use crate::base::{bytes_text, grouped, real, three_digits, time_text, whole};
use crate::stats::{Counts, FaultTold, Metric, median};

/// The whole table.
pub(crate) fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _infallible = write(&mut text, report);
    text
}

/// One stage of `capacity`: what the rate was, what came of it.
pub(crate) fn stage(rate: f64, report: &Report) -> String {
    let time = |figure: &str| {
        report.figure(figure).map_or_else(|| "–".to_owned(), |ns| time_text(whole(ns)))
    };
    let cpu = report.server.as_ref().map_or_else(
        || "–".to_owned(),
        |server| {
            format!("{:.0} %", real(server.used.cpu_ns()) * 100.0 / real(report.window_ns.max(1)))
        },
    );
    let verdict =
        if report.problems.is_empty() { "ok".to_owned() } else { report.problems.join("; ") };
    let busy = if report.client.busiest > 0.9 { " (the client was the bottleneck)" } else { "" };
    format!(
        "{:>12} {:>14} {:>10} {:>10} {cpu:>12}  {verdict}{busy}",
        three_digits(rate),
        grouped(whole(report.per_second())),
        time("p50"),
        time("p99")
    )
}

/// Several results as a table in Markdown: a row for each scenario and label, the median of its
/// runs, and their spread.
pub(crate) fn comparison(reports: &[Report]) -> String {
    let mut groups: Vec<(&str, &str, Vec<&Report>)> = Vec::new();
    for report in reports {
        match groups
            .iter_mut()
            .find(|(name, title, _)| (*name, *title) == (report.name.as_str(), report.title()))
        {
            Some((_, _, runs)) => runs.push(report),
            None => groups.push((&report.name, report.title(), vec![report])),
        }
    }
    let mut text = String::from(
        "| scenario | server | runs | CPU per delivery | × floor | p50 | p99 | \
         delivered/s | memory per connection | CPU per connection | verdict |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (name, title, runs) in groups {
        let of = |figure: &dyn Fn(&Report) -> Option<f64>, format: &dyn Fn(f64) -> String| {
            let mut figures: Vec<f64> =
                runs.iter().filter_map(|run| figure(run)).filter(|f| *f > 0.0).collect();
            let middle = median(&mut figures);
            match (figures.first(), figures.last()) {
                (Some(least), Some(most)) if figures.len() > 1 => {
                    format!("{} ({} – {})", format(middle), format(*least), format(*most))
                }
                (Some(_), _) => format(middle),
                _ => "–".to_owned(),
            }
        };
        let time = |ns: f64| time_text(whole(ns));
        let failed = runs.iter().filter(|run| !run.problems.is_empty()).count();
        let delivers = |run: &Report| run.counts.delivered_window > 0;
        let cells = [
            of(&|run| run.figure("cpu").filter(|_| delivers(run)), &time),
            of(&|run| run.figure("floor"), &three_digits),
            of(&|run| run.figure("p50"), &time),
            of(&|run| run.figure("p99"), &time),
            of(&|run| Some(run.per_second()), &|f| grouped(whole(f))),
            of(&|run| run.figure("bytes_per_conn"), &bytes_text),
            of(&|run| run.figure("connect_cpu"), &time),
            if failed == 0 { "ok".to_owned() } else { format!("{failed} failed") },
        ];
        // Writing to a string cannot fail.
        let _infallible =
            writeln!(text, "| {name} | {title} | {} | {} |", runs.len(), cells.join(" | "));
    }
    text
}

fn write(out: &mut String, report: &Report) -> std::fmt::Result {
    let counts = &report.counts;
    writeln!(out)?;
    writeln!(
        out,
        "{}: {} connections, {} s measured, {}",
        report.title(),
        grouped(u64::from(report.connections)),
        three_digits(real(report.window_ns) / 1e9),
        report.machine
    )?;
    writeln!(out)?;
    writeln!(
        out,
        "  {:<28} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10}",
        "time", "p50", "p90", "p99", "p99.9", "max", "count"
    )?;
    for metric in Metric::ALL {
        let Some(timed) = report.times.get(metric.name()) else { continue };
        let s = &timed.summary;
        let mark = if metric.name() == report.main { '*' } else { ' ' };
        writeln!(
            out,
            "{mark} {:<28} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10}",
            timed.title,
            time_text(s.p50_ns),
            time_text(s.p90_ns),
            time_text(s.p99_ns),
            time_text(s.p999_ns),
            time_text(s.max_ns),
            grouped(s.count)
        )?;
    }
    writeln!(out)?;
    traffic(out, report)?;
    for (name, value) in [
        ("recovered after a rejoin", counts.recovered),
        ("ended loudly", counts.ended_loudly),
        ("messages changed", counts.changed),
        ("banned", counts.banned),
        ("told of a gap", counts.told),
        ("told that it is lost", counts.told_lost),
        ("asked again", counts.retried.values().sum()),
    ] {
        if value > 0 {
            row(out, name, &grouped(value))?;
        }
    }
    for fault in &report.faults {
        row(out, &format!("fault at {}", time_text(fault.began_ns)), &fault_text(fault))?;
    }
    for figure in &report.figures {
        let value = match figure.unit.as_str() {
            "ns" => time_text(whole(figure.value)),
            "bytes" => bytes_text(figure.value),
            unit => format!("{} {unit}", three_digits(figure.value)),
        };
        row(out, &figure.name, &value)?;
    }
    server(out, report)?;
    processes(out, report)?;
    let cpu = real(report.client.used.cpu_ns()) / real(report.window_ns.max(1)) * 100.0;
    row(
        out,
        "client CPU",
        &format!("{cpu:.0} % of a core, busiest worker {:.0} %", report.client.busiest * 100.0),
    )?;
    writeln!(out)?;
    for warning in &report.warnings {
        writeln!(out, "  warning: {warning}")?;
    }
    if report.problems.is_empty() {
        writeln!(out, "  OK: {}", verdict(report))?;
    }
    for problem in &report.problems {
        writeln!(out, "  FAILED {problem}")?;
    }
    Ok(())
}

/// What was sent and delivered.
fn traffic(out: &mut String, report: &Report) -> std::fmt::Result {
    let counts = &report.counts;
    if counts.sent > 0 {
        row(
            out,
            "sent",
            &format!(
                "{} in the window ({}/s), {} in all",
                grouped(counts.sent_window),
                three_digits(real(counts.sent_window) * 1e9 / real(report.window_ns.max(1))),
                grouped(counts.sent)
            ),
        )?;
        row(
            out,
            "delivered",
            &format!(
                "{} in the window ({}/s), {} in all",
                grouped(counts.delivered_window),
                grouped(whole(report.per_second())),
                grouped(counts.delivered)
            ),
        )?;
    }
    if counts.delivered_window > 0 {
        let per = real(counts.message_bytes_window) / real(counts.delivered_window);
        row(out, "bytes per delivery", &format!("{per:.0} B on the wire"))?;
    }
    Ok(())
}

/// What each of several servers took.
fn processes(out: &mut String, report: &Report) -> std::fmt::Result {
    for (number, process) in (1..).zip(&report.servers) {
        let took = process.map_or("ended during the run".to_owned(), |process| {
            let cpu = real(process.used.cpu_ns()) / real(report.window_ns.max(1)) * 100.0;
            format!(
                "{cpu:.1} % of a core, {} context switches, {} own memory at most",
                grouped(process.used.context_switches),
                bytes_text(real(process.most_own_bytes))
            )
        });
        row(out, &format!("  of these server {number}"), &took)?;
    }
    Ok(())
}

/// A fault, and when writes went on.
fn fault_text(fault: &FaultTold) -> String {
    let end = match (fault.took_ns, fault.code) {
        (None, _) => "ran until the end".to_owned(),
        (Some(ns), Some(0)) => format!("took {}", time_text(ns)),
        (Some(ns), Some(code)) => format!("ended with {code} after {}", time_text(ns)),
        (Some(ns), None) => format!("was killed after {}", time_text(ns)),
    };
    let after = |ns: Option<u64>| ns.map_or("never".to_owned(), time_text);
    format!(
        "{} {end}; first write ok after {}, of every publisher after {}",
        fault.program,
        after(fault.first_acked_ns),
        after(fault.all_acked_ns)
    )
}

/// What a run without problems has shown: no more than it has seen.
fn verdict(report: &Report) -> &'static str {
    let Counts { sent, refused, told_lost, .. } = &report.counts;
    if report.options["scenario"]["kind"] == "failover" {
        return match told_lost {
            0 => "there is one order, and all that was acknowledged is in it",
            _ => "there is one order, and what was acknowledged is in it or was told to be lost",
        };
    }
    match (sent, refused.is_empty()) {
        (0, _) => "nothing went wrong",
        (_, true) => "every message arrived once and in order",
        (_, false) => "every message that was not refused arrived once and in order",
    }
}

fn server(out: &mut String, report: &Report) -> std::fmt::Result {
    let Some(server) = &report.server else { return Ok(()) };
    let window = real(report.window_ns.max(1));
    let share = |ns: u64| real(ns) / window * 100.0;
    row(
        out,
        "server CPU",
        &format!(
            "{:.1} % of a core (user {:.1}, system {:.1}), {} context switches",
            share(server.used.cpu_ns()),
            share(server.used.user_ns),
            share(server.used.system_ns),
            grouped(server.used.context_switches)
        ),
    )?;
    if report.counts.delivered_window > 0 {
        let floor = report.floor.as_ref().map_or(String::new(), |floor| {
            format!(
                " = {:.2} × the kernel's floor of {}",
                floor.ratio,
                time_text(whole(floor.ns_per_frame))
            )
        });
        row(
            out,
            "server CPU per delivery",
            &format!("{}{floor}", time_text(whole(server.cpu_per_delivery_ns))),
        )?;
    }
    if server.cpu_per_connection_ns > 0.0 {
        row(out, "server CPU per connection", &time_text(whole(server.cpu_per_connection_ns)))?;
    }
    let memory = &server.memory;
    row(
        out,
        "server memory (own)",
        &format!(
            "{} before, {} connected, {} most in the window; resident peak {}",
            bytes_text(real(memory.before_own_bytes)),
            bytes_text(real(memory.connected_own_bytes)),
            bytes_text(real(memory.most_own_bytes)),
            bytes_text(real(memory.peak_bytes))
        ),
    )?;
    // Of a server that has served before, the memory may shrink.
    if server.bytes_per_conn > 0.0 {
        row(out, "server memory per connection", &bytes_text(server.bytes_per_conn))
    } else {
        Ok(())
    }
}

fn row(out: &mut String, name: &str, value: &str) -> std::fmt::Result {
    writeln!(out, "  {name:<28} {value}")
}
