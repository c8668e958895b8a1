//! The scenarios' own options, and the job that each makes of them.

use std::process::ExitCode;

use clap::Args;

use super::{show, tell};
use crate::base::{Span, at, real};
use crate::client::dialect::Dialect;
use crate::coordinator::{self, Job};
use crate::fault::Fault;
use crate::plan::{
    Broadcast, Chat, Churn, Common, Failover, Idle, Keep, Limit, Ping, Presence, Promised,
    Scenario, Storm, check_rate, publishers_needed,
};
use crate::report::{Figure, Report, table};
use crate::scenario::churn::slots_for;

/// Messages a second that one connection publishes at most, unless told otherwise: half of the
/// limit that Chinwag has by default.
const PUBLISH_EACH: f64 = 10.0;

#[derive(Args, Debug)]
#[command(args_override_self = true)]
pub(super) struct Fanout {
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
pub(super) struct Capacity {
    #[command(flatten)]
    common: Common,
    /// Members of the room.
    #[arg(long, default_value_t = 1000)]
    members: u32,
    /// Messages per second to begin with.
    #[arg(long, default_value_t = 100.0)]
    from: f64,
    /// Messages per second to end with, whatever comes.
    #[arg(long, default_value_t = 10_000.0)]
    to: f64,
    /// The factor from one rate to the next. When one fails, the middle between it and the best is
    /// tried, three times over.
    #[arg(long, default_value_t = 1.5)]
    factor: f64,
    /// Messages per second that one connection publishes at most.
    #[arg(long, default_value_t = PUBLISH_EACH)]
    each: f64,
    /// Later than this at the 99th percentile is too late.
    #[arg(long, default_value = "100ms")]
    p99: Span,
}

#[derive(Args, Debug)]
#[command(args_override_self = true)]
#[expect(clippy::struct_field_names, reason = "a field is a flag")]
pub(super) struct Rooms {
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
pub(super) struct Slow {
    #[command(flatten)]
    common: Common,
    /// Members of the room.
    #[arg(long, default_value_t = 1000)]
    members: u32,
    /// Members that stop reading for the time of the window.
    #[arg(long, default_value_t = 100)]
    sleepers: u32,
    /// Messages per second. With --size and --duration this is what is published: 40 of 6,000 bytes
    /// for 25 s are 6 MB.
    #[arg(long, default_value_t = 40.0)]
    rate: f64,
    /// Receive buffer of the sleepers, in bytes, so that the kernel does not hide that they sleep.
    /// 0: the system's own.
    #[arg(long, default_value_t = 4096)]
    sleeper_buffer: u32,
    /// Members that write; 0: as many as needed for 10 messages a second each.
    #[arg(long, default_value_t = 0)]
    publishers: u32,
}

#[derive(Args, Debug)]
#[command(args_override_self = true)]
pub(super) struct PingArgs {
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
pub(super) struct KeepArgs {
    #[command(flatten)]
    common: Common,
    /// Rooms.
    #[arg(long, default_value_t = 100)]
    rooms: u32,
    /// Members of each room, of whom one writes.
    #[arg(long, default_value_t = 2)]
    members: u32,
    /// Connections, each of which is in its share of the rooms; 0: one for each member of each.
    #[arg(long, default_value_t = 0)]
    connections: u32,
    /// Messages under way at a time, in all rooms together.
    #[arg(long, default_value_t = 10)]
    in_flight: u32,
    /// How uneven rooms are: the n-th is written in as `1 / n^ZIPF`. 0: all alike.
    #[arg(long, default_value_t = 0.0)]
    zipf: f64,
}

#[derive(Args, Debug)]
#[command(args_override_self = true)]
pub(super) struct IdleArgs {
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
pub(super) struct ChurnArgs {
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
pub(super) struct StormArgs {
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
pub(super) struct PresenceArgs {
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
pub(super) struct ChatArgs {
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

#[derive(Args, Debug)]
#[command(args_override_self = true)]
pub(super) struct FailoverArgs {
    #[command(flatten)]
    common: Common,
    /// Rooms.
    #[arg(long, default_value_t = 10)]
    rooms: u32,
    /// Members of each room, at all URLs in turn.
    #[arg(long, default_value_t = 6)]
    members: u32,
    /// Members of each room that write.
    #[arg(long, default_value_t = 2)]
    publishers: u32,
    /// Messages and changes of messages per second over all rooms.
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// The share of these that edits, deletes or reacts to a message, rather than says one.
    #[arg(long, default_value_t = 0.2)]
    changes: f64,
    /// Members of each room, of those that do not write, that its first one bans during the load.
    /// Needs `--secret`.
    #[arg(long, default_value_t = 0)]
    banned: u32,
    /// How long a client waits for an answer before it gives its connection up and makes another.
    /// It sends a heartbeat at least as often.
    #[arg(long, default_value = "5s")]
    timeout: Span,
    /// A shell command, and the milliseconds from the start of the load (with its warm-up) until it
    /// is run: `3000: kill -9 1234`. May be given several times. What it starts ends with the run,
    /// unless by `setsid`.
    #[arg(long = "fault", value_name = "AT_MS: COMMAND")]
    faults: Vec<Fault>,
}

impl Fanout {
    pub(super) fn job(self) -> Result<Job, String> {
        let Self { common, members, rate, burst, publishers } = self;
        broadcast(
            "fanout",
            common,
            Broadcast {
                rooms: 1,
                members,
                rate,
                burst,
                publishers,
                sleepers: 0,
                sleeper_buffer_bytes: 0,
            },
        )
    }
}

impl Capacity {
    pub(super) fn run(self) -> Result<ExitCode, String> {
        positive(&[
            ("from", self.from),
            ("to", self.to),
            ("factor", self.factor),
            ("each", self.each),
        ])?;
        if self.from > self.to {
            return Err("--from must not be above --to".to_owned());
        }
        if self.factor <= 1.0 {
            return Err("--factor must be above 1".to_owned());
        }
        if self.common.floor.is_some() || self.common.with_floor {
            return Err(
                "capacity has no floor: what a frame takes changes with the rate".to_owned()
            );
        }
        let p99 = Limit {
            figure: "p99".to_owned(),
            most: real(self.p99.0),
            text: format!("p99={}", self.p99),
        };
        let limits = [std::slice::from_ref(&p99), &self.common.limits].concat();
        // Before anything is shown: what cannot be run is refused, and says nothing else.
        self.job(self.from)?;
        let (mut rate, mut refinements) = (self.from, 0);
        let mut best: Option<(f64, Report)> = None;
        let mut worst: Option<f64> = None;
        let show = |line: &str| show(&self.common, &format!("{line}\n"));
        show(&format!(
            "{:>12} {:>14} {:>10} {:>10} {:>12}  verdict",
            "messages/s", "delivered/s", "p50", "p99", "server CPU"
        ));
        while rate <= self.to && refinements <= 3 {
            let report = self.at(rate, &limits)?;
            show(&table::stage(rate, &report));
            if report.problems.is_empty() {
                best = Some((rate, report));
            } else {
                worst = Some(rate);
            }
            // Up by the factor until one fails; then into the middle between the best and the
            // worst.
            rate = match (&best, worst) {
                (Some((best, _)), None) => best * self.factor,
                (Some((best, _)), Some(worst)) => f64::midpoint(*best, worst),
                (None, _) => break,
            };
            refinements += u32::from(worst.is_some());
        }
        let (rate, mut report) =
            best.ok_or("not even the first rate was delivered in full and in time")?;
        report.figures.push(Figure {
            name: "highest rate in full".to_owned(),
            value: rate,
            unit: "messages/s".to_owned(),
        });
        tell(&report, &self.common)?;
        Ok(ExitCode::SUCCESS)
    }

    fn job(&self, rate: f64) -> Result<Job, String> {
        let options = Broadcast {
            rooms: 1,
            members: self.members,
            rate,
            burst: 1,
            publishers: publishers_needed(rate, 1, 1, self.members, self.each),
            sleepers: 0,
            sleeper_buffer_bytes: 0,
        };
        broadcast("capacity", Common { quiet: true, ..self.common.clone() }, options)
    }

    fn at(&self, rate: f64, limits: &[Limit]) -> Result<Report, String> {
        let mut report = coordinator::run(&self.job(rate)?)?;
        report.judge(limits, self.common.allow_refused);
        Ok(report)
    }
}

impl Rooms {
    pub(super) fn job(self) -> Result<Job, String> {
        let Self { common, rooms, members, rate, burst, publishers } = self;
        broadcast(
            "rooms",
            common,
            Broadcast {
                rooms,
                members,
                rate,
                burst,
                publishers,
                sleepers: 0,
                sleeper_buffer_bytes: 0,
            },
        )
    }
}

impl Slow {
    pub(super) fn job(self) -> Result<Job, String> {
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
    check_rate(options.rate)?;
    positive(&[
        ("members", f64::from(options.members)),
        ("rooms", f64::from(options.rooms)),
        ("burst", f64::from(options.burst)),
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
        return Err(format!(
            "{} publishers are more than the {awake} members that read",
            options.publishers
        ));
    }
    Job::new(name, common, Scenario::Broadcast(options))
}

impl PingArgs {
    pub(super) fn job(self) -> Result<Job, String> {
        let Self { common, connections, rate, push } = self;
        positive(&[("connections", f64::from(connections))])?;
        if rate != 0.0 {
            check_rate(rate)?;
        }
        Job::new("ping", common, Scenario::Ping(Ping { connections, rate, event: push }))
    }
}

impl KeepArgs {
    pub(super) fn job(self) -> Result<Job, String> {
        let Self { common, rooms, members, connections, in_flight, zipf } = self;
        positive(&[
            ("rooms", f64::from(rooms)),
            ("members", f64::from(members)),
            ("in-flight", f64::from(in_flight)),
        ])?;
        let seats = rooms.saturating_mul(members);
        let connections = if connections == 0 { seats } else { connections };
        if !(members..=seats).contains(&connections) {
            return Err(format!("--connections must be from {members} to {seats}"));
        }
        if !(0.0..=10.0).contains(&zipf) {
            return Err("--zipf must be from 0 to 10".to_owned());
        }
        let keep = Keep { connections, rooms, members, in_flight, zipf };
        Job::new("keep", common, Scenario::Keep(keep))
    }
}

impl IdleArgs {
    pub(super) fn job(self) -> Result<Job, String> {
        let Self { common, connections, per_room, steps, settle } = self;
        positive(&[("connections", f64::from(connections)), ("steps", f64::from(steps))])?;
        Job::new("idle", common, Scenario::Idle(Idle { connections, per_room, steps, settle }))
    }
}

impl ChurnArgs {
    pub(super) fn job(self) -> Result<Job, String> {
        let Self { common, rate, slots, rooms, observers, abrupt } = self;
        check_rate(rate)?;
        positive(&[("rooms", f64::from(rooms))])?;
        if !(0.0..=1.0).contains(&abrupt) {
            return Err("--abrupt must be from 0 to 1".to_owned());
        }
        let slots = if slots == 0 { slots_for(rate) } else { slots };
        let scenario = Scenario::Churn(Churn { rate, slots, rooms, observers, abrupt });
        Job::new("churn", common, scenario)
    }
}

impl StormArgs {
    pub(super) fn job(self) -> Result<Job, String> {
        let Self { common, connections, per_room, spread, on_close } = self;
        positive(&[("connections", f64::from(connections))])?;
        let scenario = Scenario::Storm(Storm { connections, per_room, spread, on_close });
        Job::new("storm", common, scenario)
    }
}

impl PresenceArgs {
    pub(super) fn job(self) -> Result<Job, String> {
        let Self { common, members, within, observers } = self;
        positive(&[("members", f64::from(members)), ("observers", f64::from(observers))])?;
        if observers >= members {
            return Err(
                "--observers must be below --members: they are members too, and somebody has \
                 to come"
                    .to_owned(),
            );
        }
        if 2 * within.0 >= common.duration.0 {
            return Err(
                "--duration must be more than twice --within: one half is for coming, one \
                for going"
                    .to_owned(),
            );
        }
        let scenario = Scenario::Presence(Presence { members, within, observers });
        Job::new("presence", common, scenario)
    }
}

impl ChatArgs {
    pub(super) fn job(self) -> Result<Job, String> {
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
        Job::new("chat", common, scenario)
    }
}

impl FailoverArgs {
    pub(super) fn job(self) -> Result<Job, String> {
        let Self { mut common, .. } = self;
        let Self { rooms, members, publishers, rate, changes, banned, timeout, faults, .. } = self;
        check_rate(rate)?;
        if !(0.0..1.0).contains(&changes) {
            return Err("--changes must be from 0 to below 1".to_owned());
        }
        positive(&[
            ("rooms", f64::from(rooms)),
            ("publishers", f64::from(publishers)),
            ("timeout", timeout.seconds()),
        ])?;
        if publishers > members {
            return Err("--publishers must not be above --members, of whom they are".to_owned());
        }
        if at(members) < common.urls.len() {
            return Err("--members must be as many as there are --url, or more".to_owned());
        }
        let stay = members.saturating_sub(banned);
        if stay < publishers || at(stay) < common.urls.len() {
            return Err("--banned must leave those who write, and one for each --url".to_owned());
        }
        if banned > 0 && common.secret.is_none() {
            return Err("--banned needs --secret: who bans has a token of its own".to_owned());
        }
        for (option, is_given) in [
            ("--dialect", common.dialect != Dialect::Phoenix),
            ("--order", common.order != Promised::Room),
            ("--no-answers", common.no_answers),
            ("--not-to-sender", common.not_to_sender),
        ] {
            if is_given {
                return Err(format!(
                    "failover judges one order of acknowledged messages: {option} \
                                    is for servers without"
                ));
            }
        }
        let end_ns = common.warmup.0 + common.duration.0;
        if let Some(fault) = faults.iter().find(|fault| fault.at_ns() >= end_ns) {
            return Err(format!(
                "--fault: {} ms is not before the end of --warmup and --duration",
                fault.at_ms()
            ));
        }
        // 0 is none, and stays it.
        common.heartbeat = common.heartbeat.min(timeout);
        let failover =
            Failover { rooms, members, publishers, rate, changes, banned, timeout, faults };
        Job::new("failover", common, Scenario::Failover(failover))
    }
}

fn positive(options: &[(&str, f64)]) -> Result<(), String> {
    match options.iter().find(|(_, value)| !(*value > 0.0 && value.is_finite())) {
        Some((name, _)) => Err(format!("--{name} must be above 0")),
        None => Ok(()),
    }
}
