//! The command line: subcommands, the options of a TOML file, and exit codes.
//!
//! Exit code 0: the run is complete and within its limits. 1: it is not. 2: there was no run.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::base::{Span, real, whole};
use crate::client::target::with_urls_shown;
use crate::coordinator::{self, Job, worker_process};
use crate::disk::Disk;
use crate::flood::Flood;
use crate::floor::{self, Floor, FloorReport};
use crate::plan::{Common, Scenario};
use crate::report::{FORMAT, Figure, FloorRatio, Report, Server, html, table};
use scenarios::{
    Capacity, ChatArgs, ChurnArgs, FailoverArgs, Fanout, IdleArgs, KeepArgs, PingArgs,
    PresenceArgs, Rooms, Slow, StormArgs,
};

mod scenarios;

/// Load generator and latency benchmark for chat servers that speak Phoenix Channels.
#[derive(Parser, Debug)]
#[command(name = "loadtest", version, about, args_override_self = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// One big room: every message goes to all its members.
    Fanout(Fanout),
    /// Raise the rate in one big room until delivery is incomplete or late.
    Capacity(Capacity),
    /// Many small rooms, with answers to those who write.
    Rooms(Rooms),
    /// One room in which some members stop reading.
    Slow(Slow),
    /// Round trips.
    Ping(PingArgs),
    /// So many messages under way at a time: how many a second a server keeps, and answers.
    Keep(KeepArgs),
    /// Hold connections that do nothing: time to connect, memory and CPU of each.
    Idle(IdleArgs),
    /// Connect, join, write, vanish.
    Churn(ChurnArgs),
    /// All come back at once, as after a restart.
    Storm(StormArgs),
    /// A room fills and empties.
    Presence(PresenceArgs),
    /// A realistic mix: people who write, read back, and lose their connection.
    Chat(ChatArgs),
    /// Servers that share their rooms, while they are killed: one order, nothing lost, no ghosts.
    ///
    /// --drain must be longer than a server that is dead is still thought to be there, or those who
    /// were connected to it are ghosts.
    Failover(FailoverArgs),
    /// Too much of one thing, beside another run that sees whether others notice.
    Flood(Flood),
    /// Compare runs: reads their JSON files, writes one page.
    Report(ReportArgs),
    /// What the kernel alone takes on this machine: a bare process that only sends.
    Floor(FloorArgs),
    /// What the disk alone takes to keep messages: a bare process that appends and syncs.
    Disk(Disk),
    /// The sending process of `floor` (for internal use).
    #[command(hide = true)]
    FloorSender,
    /// A worker process (for internal use).
    #[command(hide = true)]
    Worker,
}

#[derive(Args, Debug)]
struct ReportArgs {
    /// Results written with --json. Runs with the same scenario and label are shown as one, with
    /// their spread.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The page to write.
    #[arg(long, default_value = "report.html")]
    html: PathBuf,
}

#[derive(Args, Debug)]
#[command(args_override_self = true)]
struct FloorArgs {
    #[command(flatten)]
    floor: Floor,
}

/// Does what the command line says.
pub(crate) fn main() -> ExitCode {
    let arguments = match with_config(std::env::args_os().collect()) {
        Ok(arguments) => arguments,
        Err(why) => return no_run(&why),
    };
    let parsed = Cli::command()
        .try_get_matches_from(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    let job = match cli.command {
        Command::Worker => return finish(worker_process()),
        Command::Flood(flood) => return finish(flood.run()),
        Command::Report(args) => return finish(compare(&args)),
        Command::Disk(disk) => return finish(disk.run()),
        Command::FloorSender => return finish(floor::sender_process()),
        Command::Floor(FloorArgs { floor }) => {
            return finish(floor::measure(&floor).and_then(|f| floor::tell(&f)));
        }
        Command::Capacity(capacity) => return capacity.run().unwrap_or_else(|why| no_run(&why)),
        Command::Fanout(fanout) => fanout.job(),
        Command::Rooms(rooms) => rooms.job(),
        Command::Slow(slow) => slow.job(),
        Command::Ping(ping) => ping.job(),
        Command::Keep(keep) => keep.job(),
        Command::Idle(idle) => idle.job(),
        Command::Churn(churn) => churn.job(),
        Command::Storm(storm) => storm.job(),
        Command::Presence(presence) => presence.job(),
        Command::Chat(chat) => chat.job(),
        Command::Failover(failover) => failover.job(),
    };
    job.and_then(|job| run(&job)).unwrap_or_else(|why| no_run(&why))
}

/// Says what is wrong with the command line, or shows the help that was asked for.
///
/// What is wrong is repeated, and may be a URL with a token in it.
fn not_understood(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    let shown = with_urls_shown(&text);
    if error.use_stderr() && shown != text {
        eprint!("{shown}");
    } else {
        let _nobody_listens = error.print();
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn finish(done: Result<(), String>) -> ExitCode {
    done.map_or_else(|why| no_run(&why), |()| ExitCode::SUCCESS)
}

fn no_run(why: &str) -> ExitCode {
    eprintln!("loadtest: {why}");
    ExitCode::from(2)
}

fn run(job: &Job) -> Result<ExitCode, String> {
    let earlier = job.common.floor.as_deref().map(floor::load).transpose()?;
    let planned = if job.common.with_floor { Traffic::planned(job) } else { None };
    let before = planned.map(|planned| floor::measure(&floor_for(job, planned))).transpose()?;
    let mut report = coordinator::run(job)?;
    match earlier {
        Some(floor) => hold_against(&mut report, &floor),
        None if job.common.with_floor => {
            let after = floor::measure(&floor_for(job, Traffic::seen(&report)))?;
            let floor = before.iter().fold(after, FloorReport::and);
            hold_against(&mut report, &floor);
        }
        None => {}
    }
    report.judge(&job.common.limits, job.common.allow_refused);
    tell(&report, &job.common)?;
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a run sends to its members.
#[derive(Clone, Copy)]
struct Traffic {
    frame_bytes: f64,
    frames_per_s: f64,
}

/// What a server's frame has besides the message's body, about. A hundred bytes more or less are
/// not seen in what a frame costs.
const ENVELOPE_BYTES: f64 = 150.0;

impl Traffic {
    /// As the options have it, where they do.
    fn planned(job: &Job) -> Option<Self> {
        let Scenario::Broadcast(broadcast) = &job.scenario else { return None };
        Some(Self {
            frame_bytes: job.common.size.mean() + ENVELOPE_BYTES,
            frames_per_s: broadcast.rate * f64::from(broadcast.members),
        })
    }

    /// As it was in the window.
    fn seen(report: &Report) -> Self {
        let counts = &report.counts;
        Self {
            frame_bytes: real(counts.message_bytes_window) / real(counts.delivered_window.max(1)),
            frames_per_s: real(counts.delivered_window) * 1e9 / real(report.window_ns.max(1)),
        }
    }
}

/// The floor for what a run sends. It is measured before the run, where it is known by then, and
/// after it, each time for half as long: the machine's pace drifts within minutes by more than what
/// a good server has above the floor.
fn floor_for(job: &Job, traffic: Traffic) -> Floor {
    let (sockets, group, burst) = match &job.scenario {
        Scenario::Broadcast(broadcast) => {
            (broadcast.rooms * broadcast.members, broadcast.members, broadcast.burst)
        }
        other => (other.connections(), 1, 1),
    };
    // A large burst would take long frame by frame; what is measured is per frame anyway.
    let batch = if burst > 1 { vec![1, burst] } else { vec![1] };
    Floor {
        sockets,
        group,
        bytes: u32::try_from(whole(traffic.frame_bytes)).unwrap_or(u32::MAX),
        rate: traffic.frames_per_s / f64::from(group) / f64::from(burst),
        batch,
        duration: Span(1_000_000_000),
        runs: 4,
        threads: 1,
        json: None,
    }
}

fn hold_against(report: &mut Report, floor: &FloorReport) {
    let delivers = |server: &&Server| server.cpu_per_delivery_ns > 0.0;
    let single = floor.of(1).filter(|ns| *ns > 0.0);
    let (Some(server), Some(ns_per_frame)) = (report.server.as_ref().filter(delivers), single)
    else {
        report.warnings.push(
            "No floor to compare with: it needs --server-pid, deliveries in the window, and a \
             floor of single frames."
                .to_owned(),
        );
        return;
    };
    let ratio = server.cpu_per_delivery_ns / ns_per_frame;
    for batch in floor.batches.iter().filter(|batch| batch.frames_per_call > 1) {
        report.figures.push(Figure {
            name: format!("× floor in batches of {}", batch.frames_per_call),
            value: server.cpu_per_delivery_ns / batch.ns_per_frame,
            unit: "×".to_owned(),
        });
    }
    report.floor = Some(FloorRatio { ns_per_frame, ratio, method: floor.method() });
}

/// Writes the result to each place that was asked for. The files come first, since the reader of
/// the table may be gone.
fn tell(report: &Report, common: &Common) -> Result<(), String> {
    if let Some(path) = &common.html {
        write(path, &html::render(std::slice::from_ref(report))?)?;
    }
    let json = || serde_json::to_string_pretty(report).map_err(|error| error.to_string());
    if let Some(path) = common.json.as_ref().filter(|_| !is_json_said(common)) {
        write(path, &json()?)?;
    }
    show(common, &table::render(report));
    if is_json_said(common) {
        say(&format!("{}\n", json()?));
    }
    Ok(())
}

/// Whether standard output is for the JSON alone.
fn is_json_said(common: &Common) -> bool {
    common.json.as_deref().is_some_and(|path| path.as_os_str() == "-")
}

/// Shows people something: on standard output, or on standard error where that is for the JSON.
fn show(common: &Common, text: &str) {
    if is_json_said(common) {
        eprint!("{text}");
    } else {
        say(text);
    }
}

/// Says something on standard output. Nobody may listen any more, as when it was a pipe to `head`.
fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _nobody_listens = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Puts several results side by side: a table here, all else in the page.
fn compare(args: &ReportArgs) -> Result<(), String> {
    let mut reports = Vec::new();
    for path in &args.files {
        let text =
            fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let report: Report =
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        if report.format != FORMAT {
            return Err(format!("{}: not a result of this version", path.display()));
        }
        reports.push(report);
    }
    write(&args.html, &html::render(&reports)?)?;
    say(&table::comparison(&reports));
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Puts the options of a `--config` file before those of the command line, which win: what stands
/// in both may be a list, and that of the command line is then all of it.
fn with_config(arguments: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let texts: Vec<String> =
        arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let Some(path) =
        texts.iter().enumerate().find_map(|(index, text)| match text.strip_prefix("--config") {
            Some("") => texts.get(index + 1).cloned(),
            Some(rest) => rest.strip_prefix('=').map(str::to_owned),
            None => None,
        })
    else {
        return Ok(arguments);
    };
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let file: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        // Not as the error shows itself, which is with the line: a secret may stand there.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        format!("{path}, line {line}: {}", error.message())
    })?;
    let is_known = |name: &str| Cli::command().find_subcommand(name).is_some();
    if let Some((name, _)) = file.iter().find(|(name, value)| value.is_table() && !is_known(name)) {
        return Err(format!("{path}: [{name}]: there is no such scenario"));
    }
    let command = texts.get(1).cloned().unwrap_or_default();
    let mut with: Vec<OsString> = arguments.iter().take(2).cloned().collect();
    let own = file.get(&command).and_then(toml::Value::as_table).into_iter().flatten();
    let is_said = |key: &str| {
        let mut said = texts.iter().filter_map(|text| text.strip_prefix("--")?.strip_prefix(key));
        said.any(|rest| rest.is_empty() || rest.starts_with('='))
    };
    let of_file = file.iter().filter(|(_, value)| !value.is_table()).chain(own);
    for (key, value) in of_file.filter(|(key, _)| !is_said(key)) {
        option(&mut with, key, value).map_err(|why| format!("{path}: {key}: {why}"))?;
    }
    with.extend(arguments.into_iter().skip(2));
    Ok(with)
}

fn option(arguments: &mut Vec<OsString>, key: &str, value: &toml::Value) -> Result<(), String> {
    let text = match value {
        toml::Value::Boolean(true) => {
            arguments.push(format!("--{key}").into());
            return Ok(());
        }
        toml::Value::Boolean(false) => return Ok(()),
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Array(values) => {
            return values.iter().try_for_each(|value| option(arguments, key, value));
        }
        toml::Value::Table(_) | toml::Value::Datetime(_) => return Err("is no option".to_owned()),
    };
    arguments.push(format!("--{key}={text}").into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_file_gives_options_and_the_command_line_wins() {
        let path = std::env::temp_dir().join(format!("loadtest-{}.toml", std::process::id()));
        let shared = "rate = 7\nlimit = [\"p99=1s\", \"max=2s\"]\nquiet = true\n\
                      url = [\"ws://127.0.0.1:1/\", \"ws://127.0.0.1:2/\"]\n";
        let own = "[fanout]\nmembers = 5\n[rooms]\nrooms = 9\n";
        fs::write(&path, [shared, own].concat()).unwrap();
        let line = ["loadtest", "fanout", "--config", path.to_str().unwrap(), "--rate", "8"];
        let url = ["--url=ws://127.0.0.1:3/", "--url", "ws://127.0.0.1:4/"];
        let line = line.into_iter().chain(url).map(OsString::from);
        let arguments = with_config(line.collect()).unwrap();
        fs::remove_file(&path).unwrap();
        let cli = Cli::try_parse_from(arguments).unwrap();
        let Command::Fanout(fanout) = cli.command else { panic!("it is fanout") };
        let Job { common, scenario, .. } = fanout.job().unwrap();
        let Scenario::Broadcast(broadcast) = scenario else { panic!("it has rooms") };
        assert_eq!((broadcast.members, whole(broadcast.rate)), (5, 8));
        assert_eq!((common.limits.len(), common.quiet), (2, true));
        assert_eq!(common.urls, ["ws://127.0.0.1:3/", "ws://127.0.0.1:4/"]);
    }
}
