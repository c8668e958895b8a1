//! The command line: subcommands, the options of a TOML file, and exit codes.
//!
//! Exit code 0: the run is complete and within its limits. 1: it is not. 2: there was no run.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::base::{Span, real, whole};
use crate::coordinator::{self, Job, worker_process};
use crate::faulty::{Faulty, serve};
use crate::floor::{self, Floor, FloorReport};
use crate::plan::{Broadcast, Chat, Churn, Common, Idle, Ping, Presence, Scenario, Storm, publishers_needed};
use crate::report::{FORMAT, Figure, FloorRatio, Report, html, table};
use crate::scenario::churn::slots_for;

/// Messages a second that one connection publishes at most, unless told otherwise: half of the limit that Chinwag has by default.
const PUBLISH_EACH: f64 = 10.0;

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
    /// Many small rooms, with answers to those who write.
    Rooms(Rooms),
    /// One room in which some members stop reading.
    Slow(Slow),
    /// Round trips.
    Ping(PingArgs),
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
    /// Compare runs: reads their JSON files, writes one page.
    Report(ReportArgs),
    /// What the kernel alone takes on this machine: a bare process that only sends.
    Floor(FloorArgs),
    /// The sending process of `floor` (for internal use).
    #[command(hide = true)]
    FloorSender,
    /// A small server that makes mistakes on purpose, to try the generator on.
    Faulty(Faulty),
    /// A worker process (for internal use).
    #[command(hide = true)]
    Worker,
}

#[derive(Args, Debug)]
struct ReportArgs {
    /// Results written with --json. Runs with the same scenario and label are shown as one, with their spread.
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

#[derive(Args, Debug)]
#[command(args_override_self = true)]
struct Fanout {
    #[command(flatten)]
    common: Common,
    /// Members of the room.
    #[arg(long, default_value_t = 1000)]
    members: u32,
    /// Messages per second.
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// Messages that are due at the same moment.
    #[arg(long, default_value_t = 1)]
    burst: u32,
    /// Members that write; 0: as many as needed for 10 messages a second each and one of a burst.
    #[arg(long, default_value_t = 0)]
    publishers: u32,
}

#[derive(Args, Debug)]
#[command(args_override_self = true)]
#[expect(clippy::struct_field_names, reason = "a field is a flag")]
struct Rooms {
    #[command(flatten)]
    common: Common,
    /// Rooms.
    #[arg(long, default_value_t = 50)]
    rooms: u32,
    /// Members of each room.
    #[arg(long, default_value_t = 20)]
    members: u32,
    /// Messages per second over all rooms.
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// Messages that are due at the same moment, over all rooms.
    #[arg(long, default_value_t = 1)]
    burst: u32,
    /// Members of each room that write; 0: as many as needed for 10 messages a second each.
    #[arg(long, default_value_t = 0)]
    publishers: u32,
}

#[derive(Args, Debug)]
#[command(args_override_self = true)]
struct Slow {
    #[command(flatten)]
    common: Common,
    /// Members of the room.
    #[arg(long, default_value_t = 1000)]
    members: u32,
    /// Members that stop reading for the time of the window.
    #[arg(long, default_value_t = 100)]
    sleepers: u32,
    /// Messages per second. With the size and the duration this is what is published: 100 of 6,000 bytes for 10 s are 6 MB.
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// Receive buffer of the sleepers, in bytes, so that the kernel does not hide that they sleep. 0: the system's own.
    #[arg(long, default_value_t = 4096)]
    sleeper_buffer: u32,
    /// Members that write; 0: as many as needed for 10 messages a second each.
    #[arg(long, default_value_t = 0)]
    publishers: u32,
}

#[derive(Args, Debug)]
#[command(args_override_self = true)]
struct PingArgs {
    #[command(flatten)]
    common: Common,
    /// Connections.
    #[arg(long, default_value_t = 1)]
    connections: u32,
    /// Pings per second over all connections; 0: each sends the next when the last is answered.
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// `heartbeat`, or an event of a joined room that is answered, such as `echo`.
    #[arg(long, default_value = "heartbeat")]
    push: String,
}

#[derive(Args, Debug)]
#[command(args_override_self = true)]
struct IdleArgs {
    #[command(flatten)]
    common: Common,
    /// Connections in the end.
    #[arg(long, default_value_t = 10_000)]
    connections: u32,
    /// Members of each room; 0: they join none.
    #[arg(long, default_value_t = 100)]
    per_room: u32,
    /// In how many steps they come. Memory is taken after each; bytes per connection are the slope.
    #[arg(long, default_value_t = 4)]
    steps: u32,
    /// The pause after each step.
    #[arg(long, default_value = "2s")]
    settle: Span,
}

#[derive(Args, Debug)]
#[command(args_override_self = true)]
struct ChurnArgs {
    #[command(flatten)]
    common: Common,
    /// Lives begun per second.
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Lives at the same time, at most; 0: half a second's worth.
    #[arg(long, default_value_t = 0)]
    slots: u32,
    /// Rooms they choose from.
    #[arg(long, default_value_t = 10)]
    rooms: u32,
    /// Members of each room that stay and check what they see.
    #[arg(long, default_value_t = 2)]
    observers: u32,
    /// The share of lives that end without a close frame, 0 to 1.
    #[arg(long, default_value_t = 0.5)]
    abrupt: f64,
}

#[derive(Args, Debug)]
#[command(args_override_self = true)]
struct StormArgs {
    #[command(flatten)]
    common: Common,
    /// Connections.
    #[arg(long, default_value_t = 5_000)]
    connections: u32,
    /// Members of each room; 0: they join none.
    #[arg(long, default_value_t = 100)]
    per_room: u32,
    /// Over how long their return is spread at random.
    #[arg(long, default_value = "0s")]
    spread: Span,
    /// Wait for the server to close the connections (restart it by hand) instead of dropping them.
    #[arg(long)]
    on_close: bool,
}

#[derive(Args, Debug)]
#[command(args_override_self = true)]
struct PresenceArgs {
    #[command(flatten)]
    common: Common,
    /// Members in the end, observers included.
    #[arg(long, default_value_t = 1_000)]
    members: u32,
    /// Within how long they come, and later go.
    #[arg(long, default_value = "2s")]
    within: Span,
    /// Members that are there from the start and must see all come and go.
    #[arg(long, default_value_t = 3)]
    observers: u32,
}

#[derive(Args, Debug)]
#[command(args_override_self = true)]
struct ChatArgs {
    #[command(flatten)]
    common: Common,
    /// People.
    #[arg(long, default_value_t = 500)]
    users: u32,
    /// Rooms.
    #[arg(long, default_value_t = 50)]
    rooms: u32,
    /// Rooms that each joins.
    #[arg(long, default_value_t = 3)]
    rooms_each: u32,
    /// The mean time between two messages of one person.
    #[arg(long, default_value = "10s")]
    write_every: Span,
    /// The mean time between two looks of one person at older messages; 0: never.
    #[arg(long, default_value = "60s")]
    history_every: Span,
    /// The mean time between two breaks of one person's connection; 0: never.
    #[arg(long, default_value = "60s")]
    break_every: Span,
    /// How long a break lasts, on average.
    #[arg(long, default_value = "1s")]
    away: Span,
    /// People do not say that they are typing.
    #[arg(long)]
    no_typing: bool,
}

/// Does what the command line says.
pub(crate) fn main() -> ExitCode {
    let arguments = match with_config(std::env::args_os().collect()) {
        Ok(arguments) => arguments,
        Err(why) => return no_run(&why),
    };
    let matches = Cli::command().get_matches_from(arguments);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let job = match cli.command {
        Command::Worker => return finish(worker_process()),
        Command::Faulty(faults) => {
            return finish(serve(faults));
        }
        Command::Report(args) => return finish(compare(&args)),
        Command::FloorSender => return finish(floor::sender_process()),
        Command::Floor(FloorArgs { floor }) => {
            return finish(floor::measure(&floor).and_then(|f| floor::tell(&f)));
        }
        Command::Fanout(fanout) => fanout.job(),
        Command::Rooms(rooms) => rooms.job(),
        Command::Slow(slow) => slow.job(),
        Command::Ping(ping) => ping.job(),
        Command::Idle(idle) => idle.job(),
        Command::Churn(churn) => churn.job(),
        Command::Storm(storm) => storm.job(),
        Command::Presence(presence) => presence.job(),
        Command::Chat(chat) => chat.job(),
    };
    job.and_then(|job| run(&job)).unwrap_or_else(|why| no_run(&why))
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
    let mut report = coordinator::run(job)?;
    match earlier {
        Some(floor) => hold_against(&mut report, &floor),
        None if job.common.with_floor => {
            let floor = floor::measure(&floor_for(job, &report))?;
            hold_against(&mut report, &floor);
        }
        None => {}
    }
    report.judge(&job.common.limits, job.common.allow_refused);
    tell(&report, &job.common)?;
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The floor for what a run has sent.
fn floor_for(job: &Job, report: &Report) -> Floor {
    let (sockets, group, burst) = match &job.scenario {
        Scenario::Broadcast(broadcast) => {
            (broadcast.rooms * broadcast.members, broadcast.members, broadcast.burst)
        }
        other => (other.connections(), 1, 1),
    };
    let counts = &report.counts;
    let bytes = real(counts.message_bytes_window) / real(counts.delivered_window.max(1));
    let per_second = real(counts.delivered_window) * 1e9 / real(report.window_ns.max(1));
    // A large burst would take long frame by frame; what is measured is per frame anyway.
    let batch = if burst > 1 { vec![1, burst] } else { vec![1] };
    Floor {
        sockets,
        group,
        bytes: u32::try_from(whole(bytes)).unwrap_or(u32::MAX),
        rate: per_second / f64::from(group) / f64::from(burst),
        batch,
        duration: Span(1_000_000_000),
        runs: 3,
        json: None,
    }
}

fn hold_against(report: &mut Report, floor: &FloorReport) {
    let (Some(server), Some(ns_per_frame)) = (&report.server, floor.of(1)) else {
        report.warnings.push(
            "No floor to compare with: it needs --server-pid, and a floor of single frames.".to_owned(),
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

/// Writes the result wherever it is wanted.
fn tell(report: &Report, common: &Common) -> Result<(), String> {
    let table = table::render(report);
    match &common.json {
        Some(path) if path.as_os_str() == "-" => {
            eprint!("{table}");
            println!("{}", serde_json::to_string_pretty(report).map_err(|error| error.to_string())?);
        }
        Some(path) => {
            print!("{table}");
            write(path, &serde_json::to_string_pretty(report).map_err(|error| error.to_string())?)?;
        }
        None => print!("{table}"),
    }
    match &common.html {
        Some(path) => write(path, &html::render(std::slice::from_ref(report))?),
        None => Ok(()),
    }
}

/// Puts several results side by side: a table here, all else in the page.
fn compare(args: &ReportArgs) -> Result<(), String> {
    let mut reports = Vec::new();
    for path in &args.files {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let report: Report =
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        if report.format != FORMAT {
            return Err(format!("{}: not a result of this version", path.display()));
        }
        reports.push(report);
    }
    print!("{}", table::comparison(&reports));
    write(&args.html, &html::render(&reports)?)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

impl Fanout {
    fn job(self) -> Result<Job, String> {
        let Self { common, members, rate, burst, publishers } = self;
        broadcast(
            "fanout",
            common,
            Broadcast { rooms: 1, members, rate, burst, publishers, sleepers: 0, sleeper_buffer_bytes: 0 },
        )
    }
}

impl Rooms {
    fn job(self) -> Result<Job, String> {
        let Self { common, rooms, members, rate, burst, publishers } = self;
        broadcast(
            "rooms",
            common,
            Broadcast { rooms, members, rate, burst, publishers, sleepers: 0, sleeper_buffer_bytes: 0 },
        )
    }
}

impl Slow {
    fn job(self) -> Result<Job, String> {
        let Self { common, members, sleepers, rate, sleeper_buffer, publishers } = self;
        let options = Broadcast {
            rooms: 1,
            members,
            rate,
            burst: 1,
            publishers,
            sleepers,
            sleeper_buffer_bytes: sleeper_buffer,
        };
        broadcast("slow", common, options)
    }
}

fn broadcast(name: &str, common: Common, mut options: Broadcast) -> Result<Job, String> {
    positive(&[
        ("members", f64::from(options.members)),
        ("rooms", f64::from(options.rooms)),
        ("rate", options.rate),
    ])?;
    let awake = options.members.saturating_sub(options.sleepers);
    if awake == 0 {
        return Err("somebody has to be awake: --sleepers must be below --members".to_owned());
    }
    if options.publishers == 0 {
        options.publishers =
            publishers_needed(options.rate, options.burst, options.rooms, awake, PUBLISH_EACH);
    }
    if options.publishers > awake {
        return Err(format!("{} publishers are more than the {awake} members that read", options.publishers));
    }
    Ok(Job { name: name.to_owned(), common, scenario: Scenario::Broadcast(options) })
}

impl PingArgs {
    fn job(self) -> Result<Job, String> {
        let Self { common, connections, rate, push } = self;
        positive(&[("connections", f64::from(connections))])?;
        let scenario = Scenario::Ping(Ping { connections, rate, event: push });
        Ok(Job { name: "ping".to_owned(), common, scenario })
    }
}

impl IdleArgs {
    fn job(self) -> Result<Job, String> {
        let Self { common, connections, per_room, steps, settle } = self;
        positive(&[("connections", f64::from(connections)), ("steps", f64::from(steps))])?;
        Ok(Job {
            name: "idle".to_owned(),
            common,
            scenario: Scenario::Idle(Idle { connections, per_room, steps, settle }),
        })
    }
}

impl ChurnArgs {
    fn job(self) -> Result<Job, String> {
        let Self { common, rate, slots, rooms, observers, abrupt } = self;
        positive(&[("rate", rate), ("rooms", f64::from(rooms))])?;
        let slots = if slots == 0 { slots_for(rate) } else { slots };
        let scenario = Scenario::Churn(Churn { rate, slots, rooms, observers, abrupt });
        Ok(Job { name: "churn".to_owned(), common, scenario })
    }
}

impl StormArgs {
    fn job(self) -> Result<Job, String> {
        let Self { common, connections, per_room, spread, on_close } = self;
        positive(&[("connections", f64::from(connections))])?;
        let scenario = Scenario::Storm(Storm { connections, per_room, spread, on_close });
        Ok(Job { name: "storm".to_owned(), common, scenario })
    }
}

impl PresenceArgs {
    fn job(self) -> Result<Job, String> {
        let Self { common, members, within, observers } = self;
        positive(&[("members", f64::from(members)), ("observers", f64::from(observers))])?;
        if observers > members {
            return Err("--observers are --members too".to_owned());
        }
        if 2 * within.0 > common.duration.0 {
            return Err("--duration must be more than twice --within: one half is for coming, one for going"
                .to_owned());
        }
        let scenario = Scenario::Presence(Presence { members, within, observers });
        Ok(Job { name: "presence".to_owned(), common, scenario })
    }
}

impl ChatArgs {
    fn job(self) -> Result<Job, String> {
        let Self {
            common,
            users,
            rooms,
            rooms_each,
            write_every,
            history_every,
            break_every,
            away,
            no_typing,
        } = self;
        positive(&[
            ("users", f64::from(users)),
            ("rooms", f64::from(rooms)),
            ("rooms-each", f64::from(rooms_each)),
            ("write-every", write_every.seconds()),
        ])?;
        let typing = !no_typing;
        let scenario = Scenario::Chat(Chat {
            users,
            rooms,
            rooms_each,
            write_every,
            history_every,
            break_every,
            away,
            typing,
        });
        Ok(Job { name: "chat".to_owned(), common, scenario })
    }
}

fn positive(options: &[(&str, f64)]) -> Result<(), String> {
    match options.iter().find(|(_, value)| !(*value > 0.0 && value.is_finite())) {
        Some((name, _)) => Err(format!("--{name} must be above 0")),
        None => Ok(()),
    }
}

/// Puts the options of a `--config` file before those of the command line, which so win.
fn with_config(arguments: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let texts: Vec<String> =
        arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let Some(path) = texts.iter().enumerate().find_map(|(index, text)| match text.strip_prefix("--config") {
        Some("") => texts.get(index + 1).cloned(),
        Some(rest) => rest.strip_prefix('=').map(str::to_owned),
        None => None,
    }) else {
        return Ok(arguments);
    };
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let file: toml::Table = text.parse().map_err(|error| format!("{path}: {error}"))?;
    let command = texts.get(1).cloned().unwrap_or_default();
    let mut with: Vec<OsString> = arguments.iter().take(2).cloned().collect();
    let own = file.get(&command).and_then(toml::Value::as_table).into_iter().flatten();
    for (key, value) in file.iter().filter(|(_, value)| !value.is_table()).chain(own) {
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
        fs::write(&path, "rate = 7\nlimit = [\"p99=1s\", \"max=2s\"]\nquiet = true\n[fanout]\nmembers = 5\n[rooms]\nrooms = 9\n").unwrap();
        let line =
            ["loadtest", "fanout", "--config", path.to_str().unwrap(), "--rate", "8"].map(OsString::from);
        let arguments = with_config(line.to_vec()).unwrap();
        fs::remove_file(&path).unwrap();
        let cli = Cli::try_parse_from(arguments).unwrap();
        let Command::Fanout(fanout) = cli.command else { panic!("it is fanout") };
        assert_eq!(
            (fanout.members, whole(fanout.rate), fanout.common.limits.len(), fanout.common.quiet),
            (5, 8, 2, true)
        );
    }
}
