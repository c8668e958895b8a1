//! What a run is to do: the options all scenarios share, each scenario's own, and the plan made of
//! them that every worker gets.
//!
//! A worker learns nothing but its [`Plan`]: from the seed and its own number it works out the same
//! rooms, publishers and times as all the others, so nothing has to be agreed on while the run is
//! on.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::base::{SECOND_NS, Span, at, real, whole};
use crate::client::dialect::Dialect;
use crate::client::stamp::BODY_BYTES_MIN;
use crate::fault::Fault;
use crate::stats::{Metric, time_figure};

/// Options that every scenario has.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Common {
    /// The server's WebSocket. `{user}`, `{token}` and `{conn}` are filled in; a token that has no
    /// place is added as `token=`. May be given several times, for servers that share their rooms
    /// and take each other's tokens: connections are spread over all, and so is each room.
    #[arg(
        long = "url",
        value_name = "URL",
        default_value = "ws://127.0.0.1:4000/socket/websocket?vsn=2.0.0",
        help_heading = "Server"
    )]
    pub(crate) urls: Vec<String>,
    /// What the text frames hold.
    #[arg(long, value_enum, default_value = "phoenix", help_heading = "Server")]
    pub(crate) dialect: Dialect,
    /// The topic of room number `{room}`.
    #[arg(long, default_value = "room:{room}", help_heading = "Server")]
    pub(crate) join_topic: String,
    /// The payload of a join, as JSON. `{user}` and `{conn}` are filled in.
    #[arg(long, default_value = "{}", help_heading = "Server")]
    pub(crate) join_payload: String,
    /// The event that a message is sent as, and comes as.
    #[arg(long, default_value = "new_msg", help_heading = "Server")]
    pub(crate) event: String,
    /// The payload of a message, as JSON. `{body}` becomes the stamped body, `{user}` the sender.
    #[arg(long, default_value = r#"{"body":"{body}"}"#, help_heading = "Server")]
    pub(crate) payload: String,
    /// The server does not answer messages; do not wait for it.
    #[arg(long, help_heading = "Server")]
    pub(crate) no_answers: bool,
    /// The server does not send messages to their own sender.
    #[arg(long, help_heading = "Server")]
    pub(crate) not_to_sender: bool,
    /// The order that the server promises: one for the whole room, or only that of each sender.
    #[arg(long, value_enum, default_value = "room", help_heading = "Server")]
    pub(crate) order: Promised,
    /// How connections prove who they are. `auto` uses --token or --secret if given, else asks the
    /// server for guests, else none.
    #[arg(long, value_enum, default_value = "auto", help_heading = "Server")]
    pub(crate) auth: Auth,
    /// One token for all connections.
    #[arg(long, help_heading = "Server")]
    pub(crate) token: Option<String>,
    /// Sign a token for each connection with this HS256 secret.
    #[arg(long, help_heading = "Server")]
    pub(crate) secret: Option<String>,
    /// The server's process: its CPU, memory and context switches are taken, with all its children.
    /// May be given several times: figures are of all together, and what each took is told apart.
    #[arg(long = "server-pid", value_name = "PID", help_heading = "Server")]
    pub(crate) server_pids: Vec<u32>,
    /// Load a server that is not on this machine. Only one that is yours.
    #[arg(long, help_heading = "Server")]
    pub(crate) remote: bool,

    /// Bytes of a message's body, at least 61: a number, or a mix such as `80:70,300:25,4000:5`
    /// (bytes:weight).
    #[arg(long, default_value = "200", help_heading = "Load")]
    pub(crate) size: Sizes,
    /// New connections per second.
    #[arg(long, default_value_t = 1000.0, help_heading = "Load")]
    pub(crate) ramp: f64,
    /// Load before the measured window: checked, but not timed.
    #[arg(long, default_value = "2s", help_heading = "Load")]
    pub(crate) warmup: Span,
    /// The measured window.
    #[arg(long, default_value = "10s", help_heading = "Load")]
    pub(crate) duration: Span,
    /// How long to wait at the end for what is still on its way.
    #[arg(long, default_value = "5s", help_heading = "Load")]
    pub(crate) drain: Span,
    /// How long connecting and joining may take in all, beyond the ramp.
    #[arg(long, default_value = "30s", help_heading = "Load")]
    pub(crate) connect_timeout: Span,
    /// How messages are spaced in time.
    #[arg(long, value_enum, default_value = "even", help_heading = "Load")]
    pub(crate) arrivals: Arrivals,
    /// Connections from one loopback address; more come from the next: 127.0.0.2, and so on. An
    /// address has some 28,000 ports.
    #[arg(
        long,
        default_value_t = 20_000,
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Load"
    )]
    pub(crate) per_source: u32,
    /// A heartbeat from each connection after this; 0: none.
    #[arg(long, default_value = "30s", help_heading = "Load")]
    pub(crate) heartbeat: Span,
    /// The seed of all that is random.
    #[arg(long, default_value_t = 1, help_heading = "Load")]
    pub(crate) seed: u64,
    /// Threads of the client.
    #[arg(long, default_value_t = 1, help_heading = "Load")]
    pub(crate) threads: u32,
    /// Processes of the client, instead of threads; 0: as many as the descriptors of one do not
    /// suffice.
    #[arg(long, default_value_t = 0, help_heading = "Load")]
    pub(crate) processes: u32,

    /// What the scenario is called in reports, where it is a variant of one: runs of one name stand
    /// side by side.
    #[arg(long, default_value = "", hide_default_value = true, help_heading = "Report")]
    pub(crate) name: String,
    /// A name for this run in reports: the server's, if several are compared.
    #[arg(long, default_value = "", hide_default_value = true, help_heading = "Report")]
    pub(crate) label: String,
    /// Write the result as JSON to this file (`-`: standard output, and the table to standard
    /// error).
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) json: Option<PathBuf>,
    /// Append all texts that are sent and heard to this file, as JSON lines, for a judge of its
    /// own: `tests/disk/judge.py`. It costs the client, so it is for no figures.
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) journal: Option<PathBuf>,
    /// Write the result as one self-contained HTML page.
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) html: Option<PathBuf>,
    /// Compare with the floor in this file (`loadtest floor --json FILE`).
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) floor: Option<PathBuf>,
    /// Measure the kernel's floor for the same frames right before and after the run, and compare
    /// with it.
    #[arg(long, conflicts_with = "floor", help_heading = "Report")]
    pub(crate) with_floor: bool,
    /// Fail if a figure is above this: `p99=20ms`, `answer.p50=1ms`, `cpu=9us` (server CPU per
    /// delivery), `floor=1.15`, `bytes_per_conn=200`. May be given several times.
    #[arg(long = "limit", value_name = "FIGURE=VALUE", help_heading = "Report")]
    pub(crate) limits: Vec<Limit>,
    /// Do not fail because the server refused pushes.
    #[arg(long, help_heading = "Report")]
    pub(crate) allow_refused: bool,
    /// No progress.
    #[arg(long, short, help_heading = "Report")]
    pub(crate) quiet: bool,
    /// Take options from this TOML file: long names as keys, those of one scenario in a table of
    /// its name. The command line wins.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,
}

impl Common {
    /// The first URL, which is the only one for what concerns one server.
    pub(crate) fn first_url(&self) -> &str {
        // The command line has a default, so there is one.
        self.urls.first().map_or("", String::as_str)
    }
}

/// The order that a server promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Promised {
    /// All members of a room see all its messages in the same order.
    Room,
    /// The messages of one sender keep their order.
    Sender,
}

/// How connections prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Auth {
    /// By what there is.
    Auto,
    /// Not at all.
    None,
    /// With a guest's token each, from `POST /api/session`.
    Guest,
    /// With the one of --token.
    Token,
    /// With one signed with --secret.
    Secret,
}

/// How messages are spaced in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Arrivals {
    /// At even distances.
    Even,
    /// At random, as many independent people do.
    Poisson,
}

/// Body sizes and their weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sizes(Vec<(u32, f64)>);

impl Sizes {
    /// One size, by weight.
    pub(crate) fn pick(&self, rng: &mut fastrand::Rng) -> u32 {
        let total: f64 = self.0.iter().map(|(_, weight)| weight).sum();
        let mut left = rng.f64() * total;
        for (bytes, weight) in &self.0 {
            left -= weight;
            if left < 0.0 {
                return *bytes;
            }
        }
        self.0.last().map_or(BODY_BYTES_MIN, |(bytes, _)| *bytes)
    }

    /// What they come to on average.
    pub(crate) fn mean(&self) -> f64 {
        let weighed = |of: fn(&(u32, f64)) -> f64| self.0.iter().map(of).sum::<f64>();
        weighed(|(bytes, weight)| f64::from(*bytes) * weight) / weighed(|(_, weight)| *weight)
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = |part: &str| {
            let (bytes, weight) = part.split_once(':').unwrap_or((part, "1"));
            match (bytes.trim().parse::<u32>(), weight.trim().parse::<f64>()) {
                (Ok(bytes @ BODY_BYTES_MIN..=1_000_000), Ok(weight)) if weight > 0.0 => {
                    Ok((bytes, weight))
                }
                _ => Err(format!(
                    "`{part}` is not bytes ({BODY_BYTES_MIN} to 1,000,000) or bytes:weight"
                )),
            }
        };
        text.split(',').map(part).collect::<Result<_, _>>().map(Self)
    }
}

/// The most that is begun in a second: no client comes near it. What is due is made in one go, and
/// what it does not come to is counted one by one, so there has to be a bound.
const RATE_MAX: f64 = 10e6;

/// Looks at a `--rate`.
///
/// # Errors
/// It is not one; says what is.
pub(crate) fn check_rate(rate: f64) -> Result<(), String> {
    if rate > 0.0 && rate <= RATE_MAX {
        Ok(())
    } else {
        Err(format!("--rate must be above 0 and at most {RATE_MAX:.0}"))
    }
}

/// A figure that must not be exceeded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Limit {
    /// The figure's name.
    pub(crate) figure: String,
    /// Its limit; times in nanoseconds.
    pub(crate) most: f64,
    /// As it was written.
    pub(crate) text: String,
}

impl Limit {
    /// Whether the figure is a number, not a time.
    pub(crate) fn is_plain(&self) -> bool {
        PLAIN_FIGURES.contains(&self.figure.as_str())
    }
}

/// Figures that are plain numbers.
const PLAIN_FIGURES: [&str; 2] = ["floor", "bytes_per_conn"];

/// Figures that are times, beside those of what is timed.
const CPU_FIGURES: [&str; 2] = ["cpu", "connect_cpu"];

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (figure, value) =
            text.split_once('=').ok_or_else(|| format!("`{text}` is not FIGURE=VALUE"))?;
        let most = if PLAIN_FIGURES.contains(&figure) {
            value
                .parse()
                .ok()
                .filter(|most: &f64| most.is_finite())
                .ok_or(format!("`{value}` is not a number"))?
        } else if CPU_FIGURES.contains(&figure) || time_figure(figure).is_some() {
            real(value.parse::<Span>()?.0)
        } else {
            return Err(format!(
                "there is no figure `{figure}`; there are min, mean, p50, p90, p99, p99.9 and max, \
                 of the main time or as in `answer.p50` of {}, and cpu, connect_cpu, \
                 floor and bytes_per_conn",
                Metric::ALL.map(Metric::name).join(", ")
            ));
        };
        Ok(Self { figure: figure.to_owned(), most, text: text.to_owned() })
    }
}

/// `fanout` and `rooms`: members of rooms, some of whom write.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Broadcast {
    /// How many rooms.
    pub(crate) rooms: u32,
    /// Members of each.
    pub(crate) members: u32,
    /// Messages per second, over all rooms.
    pub(crate) rate: f64,
    /// Messages that are due at the same moment.
    pub(crate) burst: u32,
    /// Members of each room that write.
    pub(crate) publishers: u32,
    /// Members of each room that stop reading once the window begins, and read again at its end
    /// (`slow`).
    pub(crate) sleepers: u32,
    /// Receive buffer of the sleepers, in bytes, so that the kernel does not hide that they sleep.
    /// 0: the system's own.
    pub(crate) sleeper_buffer_bytes: u32,
}

/// `ping`: round trips.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ping {
    /// Connections, each with at most one ping under way in the closed form.
    pub(crate) connections: u32,
    /// Pings per second over all connections; 0: each connection sends the next when the last is
    /// answered.
    pub(crate) rate: f64,
    /// `heartbeat`, or the name of an event that is answered.
    pub(crate) event: String,
}

/// `keep`: so many messages under way at a time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Keep {
    /// How many connections.
    pub(crate) connections: u32,
    /// How many rooms.
    pub(crate) rooms: u32,
    /// Members of each, of whom one writes.
    pub(crate) members: u32,
    /// How many messages are under way at a time, in all rooms together.
    pub(crate) in_flight: u32,
    /// How uneven rooms are: the n-th weighs `1 / n^zipf`. 0: all alike.
    pub(crate) zipf: f64,
}

/// `idle`: connections that are just there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Idle {
    /// Connections in the end.
    pub(crate) connections: u32,
    /// Members of a room.
    pub(crate) per_room: u32,
    /// In how many steps they come; memory is taken after each.
    pub(crate) steps: u32,
    /// The pause after each step.
    pub(crate) settle: Span,
}

/// `churn`: connect, join, write, vanish.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Churn {
    /// Lives begun per second.
    pub(crate) rate: f64,
    /// Lives at the same time, at most.
    pub(crate) slots: u32,
    /// Rooms they choose from.
    pub(crate) rooms: u32,
    /// Members of each room that stay and check what they see.
    pub(crate) observers: u32,
    /// The share of lives that end without a close frame.
    pub(crate) abrupt: f64,
}

/// `storm`: all come back at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Storm {
    /// How many.
    pub(crate) connections: u32,
    /// Members of a room.
    pub(crate) per_room: u32,
    /// Over how long their return is spread.
    pub(crate) spread: Span,
    /// Wait for the server to close the connections (it is being restarted) instead of closing them
    /// here.
    pub(crate) on_close: bool,
}

/// `presence`: a room fills and empties.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Presence {
    /// How many join.
    pub(crate) members: u32,
    /// Within how long.
    pub(crate) within: Span,
    /// Members that read every presence message and must see all come and go.
    pub(crate) observers: u32,
}

/// `chat`: people.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Chat {
    /// How many.
    pub(crate) users: u32,
    /// In how many rooms.
    pub(crate) rooms: u32,
    /// Rooms that each joins.
    pub(crate) rooms_each: u32,
    /// The mean time between two messages of one person.
    pub(crate) write_every: Span,
    /// The mean time between two looks at older messages.
    pub(crate) history_every: Span,
    /// The mean time between two breaks of one person's connection.
    pub(crate) break_every: Span,
    /// How long a person is away after a break, on average.
    pub(crate) away: Span,
    /// Whether people say that they are typing.
    pub(crate) typing: bool,
}

/// `failover`: servers that share their rooms, while they are killed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failover {
    /// How many rooms.
    pub(crate) rooms: u32,
    /// Members of each.
    pub(crate) members: u32,
    /// Members of each room that write.
    pub(crate) publishers: u32,
    /// Messages per second over all rooms.
    pub(crate) rate: f64,
    /// The share of what they do that changes a message.
    pub(crate) changes: f64,
    /// Members of each room that are banned.
    pub(crate) banned: u32,
    /// How long a client waits for an answer before it gives its connection up.
    pub(crate) timeout: Span,
    /// What is done to the servers.
    pub(crate) faults: Vec<Fault>,
}

/// What kind of run it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Scenario {
    /// One or many rooms.
    Broadcast(Broadcast),
    /// Round trips.
    Ping(Ping),
    /// Messages that are followed by the next when they are answered.
    Keep(Keep),
    /// Doing nothing.
    Idle(Idle),
    /// Coming and going.
    Churn(Churn),
    /// Coming back.
    Storm(Storm),
    /// A room that fills and empties.
    Presence(Presence),
    /// People.
    Chat(Chat),
    /// Servers that are killed.
    Failover(Failover),
}

impl Scenario {
    /// How many connections it holds at most.
    pub(crate) fn connections(&self) -> u32 {
        match self {
            Self::Broadcast(b) => b.rooms.saturating_mul(b.members),
            Self::Ping(p) => p.connections,
            Self::Keep(k) => k.connections,
            Self::Idle(i) => i.connections,
            Self::Churn(c) => c.slots.saturating_add(c.rooms.saturating_mul(c.observers)),
            Self::Storm(s) => s.connections,
            Self::Presence(p) => p.members,
            Self::Chat(c) => c.users,
            Self::Failover(f) => f.rooms.saturating_mul(f.members),
        }
    }

    /// Whether the window ends when all is done, not at a set time.
    pub(crate) fn ends_by_itself(&self) -> bool {
        matches!(self, Self::Storm(_))
    }
}

impl Scenario {
    /// How many connections, from the first one on, look after their rooms.
    pub(crate) fn moderators(&self) -> u32 {
        match self {
            Self::Failover(failover) if failover.banned > 0 => failover.rooms,
            _ => 0,
        }
    }
}

/// What one worker gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The shared options.
    pub(crate) common: Common,
    /// What to do.
    pub(crate) scenario: Scenario,
    /// Tells this run's messages from another's.
    pub(crate) run: u16,
    /// This worker's number.
    pub(crate) worker: u32,
    /// How many workers there are.
    pub(crate) workers: u32,
    /// A token for each of this worker's connections, or one for all, or none.
    pub(crate) tokens: Vec<String>,
}

impl Plan {
    /// The connections that are this worker's: an even, contiguous share.
    pub(crate) fn own(&self) -> std::ops::Range<u32> {
        share(self.scenario.connections(), self.worker, self.workers)
    }

    /// The token of this worker's connection number `local`.
    pub(crate) fn token(&self, local: u32) -> Option<&str> {
        let index = if self.tokens.len() == 1 { 0 } else { at(local) };
        self.tokens.get(index).map(String::as_str)
    }
}

/// When the messages of a run are due, in nanoseconds after the start of the load. The same in
/// every worker.
pub(crate) struct Schedule {
    rng: fastrand::Rng,
    arrivals: Arrivals,
    mean_ns: f64,
    burst: u32,
    left: u32,
    due_ns: f64,
}

impl Schedule {
    /// `rate` messages a second, `burst` of them at the same moment.
    pub(crate) fn new(rate: f64, burst: u32, arrivals: Arrivals, seed: u64) -> Self {
        let burst = burst.max(1);
        let mean_ns = f64::from(burst) / rate * real(SECOND_NS);
        Self {
            rng: fastrand::Rng::with_seed(seed),
            arrivals,
            mean_ns,
            burst,
            left: burst,
            due_ns: 0.0,
        }
    }
}

impl Iterator for Schedule {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.left == 0 {
            self.left = self.burst;
            self.due_ns += match self.arrivals {
                Arrivals::Even => self.mean_ns,
                Arrivals::Poisson => self.mean_ns * -(1.0 - self.rng.f64()).ln(),
            };
        }
        self.left -= 1;
        Some(whole(self.due_ns))
    }
}

/// The `index`th of `parts` even, contiguous shares of `whole`.
pub(crate) fn share(whole: u32, index: u32, parts: u32) -> std::ops::Range<u32> {
    let cut = |part: u32| {
        u32::try_from(u64::from(whole) * u64::from(part) / u64::from(parts)).unwrap_or(whole)
    };
    cut(index)..cut(index + 1)
}

/// How many publishers a room of `members` needs so that none of them writes more than `each`
/// messages a second, and none twice in a burst.
pub(crate) fn publishers_needed(rate: f64, burst: u32, rooms: u32, members: u32, each: f64) -> u32 {
    let by_rate = whole((rate / f64::from(rooms) / each).ceil());
    let by_burst = u64::from(burst.div_ceil(rooms));
    u32::try_from(by_rate.max(by_burst).max(1)).unwrap_or(u32::MAX).min(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_leave_nobody_out() {
        let shares: Vec<_> = (0..3).map(|index| share(10, index, 3)).collect();
        assert_eq!(shares, [0..3, 3..6, 6..10]);
    }

    #[test]
    fn a_mix_of_sizes_is_drawn_by_weight() {
        let sizes: Sizes = "80:3,400:1".parse().unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        let small = (0..4_000).filter(|_| sizes.pick(&mut rng) == 80).count();
        assert!((2_800..3_200).contains(&small), "{small} of 4000");
        assert!("10".parse::<Sizes>().is_err(), "too small for a stamp");
        assert!("80:0".parse::<Sizes>().is_err());
    }

    #[test]
    fn messages_of_a_burst_are_due_together_and_random_ones_keep_the_rate() {
        let due: Vec<u64> = Schedule::new(4.0, 2, Arrivals::Even, 1).take(5).collect();
        assert_eq!(due, [0, 0, SECOND_NS / 2, SECOND_NS / 2, SECOND_NS]);
        let last = Schedule::new(1_000.0, 1, Arrivals::Poisson, 1).nth(10_000).unwrap();
        assert!((9.5..10.5).contains(&Span(last).seconds()), "{last}");
    }

    #[test]
    fn publishers_are_as_many_as_the_servers_limit_asks_for() {
        assert_eq!(publishers_needed(20.0, 1, 1, 1_000, 10.0), 2);
        assert_eq!(publishers_needed(1_000.0, 1, 50, 20, 10.0), 2);
        assert_eq!(publishers_needed(64.0, 64, 1, 1_000, 10.0), 64);
        assert_eq!(publishers_needed(1_000.0, 1, 1, 5, 10.0), 5, "no more than there are members");
    }

    #[test]
    fn a_limit_is_a_time_or_a_number() {
        let limit: Limit = "p99=20ms".parse().unwrap();
        assert_eq!((limit.figure.as_str(), whole(limit.most)), ("p99", 20_000_000));
        assert_eq!(whole("bytes_per_conn=200".parse::<Limit>().unwrap().most), 200);
        for known in [
            "p99.9=1ms",
            "answer.p99.9=1ms",
            "ready.max=1s",
            "cpu=9us",
            "connect_cpu=60us",
            "floor=1.15",
        ] {
            assert!(known.parse::<Limit>().is_ok(), "{known}");
        }
        for unknown in ["p99", "p95=20ms", "delivry.p99=1ms", "delivery=1ms", "floor=NaN", "=1ms"] {
            assert!(unknown.parse::<Limit>().is_err(), "{unknown}");
        }
    }
}
