//! From a configuration to a running server, and to its end.
//!
//! ```text
//!   main thread        joins the shards, and says how it ended
//!   "signals"          SIGTERM, SIGINT: the first one drains, the second one stops
//!   "watchdog"         says when a shard is stuck, and to a service manager that none is
//!   "log"              writes lines (`log`)
//!   "store-…"          a writer and readers, where rooms are kept
//!   "engine"           the connection to the engine that several servers share, where there is one
//!   "archive"          connections to the archive of that, where there is one
//!   "shard-0" …        a reactor each: own listener, own sockets, own rooms; rings between them
//! ```

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::panic;
use std::path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::net::TcpListener as MioListener;
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use super::assets::Assets;
use super::cluster::{self, Cluster};
use super::config::{Config, CreateRooms, Keys, StoreAck, StoreConfig};
use super::failure::{EXIT_OS, EXIT_SOFTWARE, Failure};
use super::keeping::{self, Keeper};
use super::manager::{self, Pulse};
use super::memory;
use super::site::ChatSite;
use crate::auth::invite::Inviter;
use crate::auth::session::SessionSigner;
use crate::limits::{GIVE_UP_OVER_MS, HistoryLimits, Limits, RING_WORDS};
use crate::link::facts::Keep;
use crate::link::log::{LogEnd, MemoryLog};
use crate::link::rates::Rates;
use crate::mesh::{self, Port};
use crate::reactor::{self, Addresses, Clock, Control, HandoffQueue, Health, Phase, Reactor};
use crate::shard::{Settings, Shard, Site};
use crate::wire::http::forwarded::TrustedProxies;

/// Descriptors that are not connections: standard streams, epoll, wakers, listeners, the log, and
/// some to spare.
const DESCRIPTORS_RESERVED: u64 = 64;
const DESCRIPTORS_PER_SHARD: u64 = 8;

/// Rings of all pairs of shards together take about so many words at most.
const ALL_RINGS_WORDS: usize = 64 * RING_WORDS;

/// Serves until it is told to stop.
#[must_use]
pub(super) fn serve(config: Config) -> ExitCode {
    match start(config) {
        Ok(server) => server.join(),
        Err(Failure { code, message }) => {
            // Where nobody hears it, the exit code says as much.
            let _ = writeln!(io::stderr(), "chinwag: {message}");
            ExitCode::from(code)
        }
    }
}

struct Server {
    shards: Vec<JoinHandle<io::Result<()>>>,
    control: Arc<Control>,
    keeper: Option<Keeper>,
    cluster: Option<Cluster>,
}

/// Random numbers that are new with each start.
struct Drawn {
    /// What guests' tokens are signed with, unless something is kept or configured.
    secret: [u8; 32],
    seed: u64,
    /// The name of this server among several.
    node: u64,
}

impl Drawn {
    fn new() -> Result<Self, String> {
        let mut secret = [0; 32];
        let (mut seed, mut node) = ([0; 8], [0; 8]);
        for bytes in [&mut secret[..], &mut seed[..], &mut node[..]] {
            getrandom::fill(bytes)
                .map_err(|error| format!("the system has no random numbers: {error}"))?;
        }
        Ok(Self { secret, seed: u64::from_le_bytes(seed), node: u64::from_le_bytes(node) })
    }
}

fn start(config: Config) -> Result<Server, Failure> {
    let Drawn { secret: drawn, seed, node } = Drawn::new()?;
    let shards = shards_count(config.shards);
    let is_private = config.is_private();
    let (limits, history, store) = on_this_machine(&config, shards)?;
    let control = Arc::new(Control::default());
    // Before the store, whose end would be one without order if there were no server.
    let passed = manager::listeners(is_private, shards)?;
    let listeners = passed.map_or_else(|| listen_all(config.listen, shards), Ok)?;
    let address = listeners[0].local_addr().unwrap_or(config.listen);
    // A server that keeps nothing although it should is none.
    let failing = Arc::clone(&control);
    let on_panic: Arc<dyn Fn() + Send + Sync> = Arc::new(move || failing.give_up(GIVE_UP_OVER_MS));
    let kept = keeping::open(&store, &history, shards, drawn, Arc::clone(&on_panic))?;
    let (keeper, store_ends) = kept.unzip();
    let engine = (&config.engine, &config.archive);
    let keep = Keep { seconds: store.keep_s, ..Keep::default() };
    let shared = cluster::open(engine, (&history, keep), shards, node, drawn, on_panic)?;
    let (cluster, engine_ends) = shared.unzip();
    let secret = match (&keeper, &cluster) {
        (Some(keeper), _) => keeper.guest_secret(),
        (None, Some(cluster)) => cluster.secret(),
        (None, None) => drawn,
    };
    let Keys { verifier, signer } =
        config.auth.keys(&secret).map_err(|error| format!("auth: {error}"))?;
    let guests = signer.filter(|_| config.auth.guests);
    let has_guests = guests.is_some();
    // The one that the store keeps is as good for guests.
    let has_key = config.auth.has_key() || keeper.is_some();
    let health: Arc<[Arc<Health>]> = (0..shards).map(|_| Arc::default()).collect();
    let rates = Arc::new(Rates::new(seed.rotate_left(32)));
    let site: Arc<dyn Site + Send + Sync> = Arc::new(ChatSite {
        verifier,
        guests,
        guest_ttl_s: config.auth.guest_ttl_s(),
        assets: Assets::new(),
        origins: config.http.origins.clone(),
        health: config.http.metrics.then(|| Arc::clone(&health)),
        store: keeper.as_ref().map(Keeper::stats),
        engine: cluster.as_ref().map(Cluster::stats),
        archive: cluster.as_ref().and_then(Cluster::archive_stats),
        bounds: [
            ("limits.connections", u64::from(limits.connections)),
            ("limits.memory_bytes", limits.memory_bytes as u64),
        ],
        rates: Arc::clone(&rates),
        limits: limits.clone(),
        users_make_rooms: config.rooms.create == CreateRooms::All,
    });
    let trusted = TrustedProxies::from_iter(config.http.trusted_proxies.clone())
        .telling_by(config.http.forwarded_header);
    let addresses = Addresses::new(limits.connections_per_ip);
    let addresses = Arc::new(addresses.behind(trusted.clone(), config.listen_proxy_protocol));
    let drain_ms = config.drain_s.saturating_mul(1_000);
    let is_shared = cluster.is_some();
    let has_archive = cluster.as_ref().is_some_and(|of| of.archive_stats().is_some());
    let mut settings = settings_of(config, shards, (limits, history), &secret)?;
    if keeper.is_some() {
        settings = settings.with_store(store.cache_bytes, store.readers, store.rooms);
    }
    settings.is_clustered = is_shared;
    settings.has_archive = has_archive;
    settings.sessions = is_shared.then(|| Arc::new(SessionSigner::new(node, &secret)));
    settings.keep_s = store.keep_s;
    settings.trusted_proxies = trusted;
    settings.rates = rates;
    let settings = Arc::new(settings);
    let clock = Clock::new();
    let common = Common {
        addresses,
        control: Arc::clone(&control),
        clock,
        health: Arc::clone(&health),
        settings: Arc::clone(&settings),
        site,
        seed,
    };
    let shards_begun = common.begin_all(listeners, store_ends, engine_ends)?;
    // In the log like everything else, and on one line.
    panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a defect")));
    obey_signals(Arc::clone(&control), drain_ms)?;
    watch(clock, health)?;
    memory::log(&settings, ring_words(shards));
    let greeting = greeting(address, shards, has_key, has_guests, &store, is_shared);
    manager::say_ready(&greeting);
    // Who starts it may have left: that is no reason not to serve.
    let _ = writeln!(io::stdout(), "{greeting}");
    Ok(Server { shards: shards_begun, control, keeper, cluster })
}

/// What the configuration alone says of each shard's settings. Invites are signed with `secret`.
fn settings_of(
    config: Config,
    shards: u16,
    (limits, history): (Limits, HistoryLimits),
    secret: &[u8; 32],
) -> Result<Settings, String> {
    let is_private = config.is_private();
    let blocked = config.blocked.phrases();
    let blocked = blocked.map_err(|_| "chat.blocked_file: some line is no phrase".to_owned())?;
    let mut settings = Settings::new(shards, limits, history, config.presence, config.http.origins);
    settings.chat = config.chat;
    settings.implicit_rooms = config.rooms.implicit;
    settings.blocked = blocked.map(Arc::new);
    settings.inviter = Some(Arc::new(Inviter::new(secret)));
    settings.echo = config.echo;
    settings.warn_ms = config.auth.warn_s * 1_000;
    settings.is_private = is_private;
    Ok(settings)
}

/// What all shards begin with.
struct Common {
    addresses: Arc<Addresses>,
    control: Arc<Control>,
    clock: Clock,
    health: Arc<[Arc<Health>]>,
    settings: Arc<Settings>,
    site: Arc<dyn Site + Send + Sync>,
    seed: u64,
}

impl Common {
    /// Begins a thread for each listener, with the logs of a store or an engine, if there is one.
    #[cfg_attr(
        not(any(feature = "engine-redis", feature = "store")),
        expect(clippy::match_same_arms, reason = "without either all logs are of one type")
    )]
    fn begin_all(
        &self,
        listeners: Vec<MioListener>,
        store: Option<Vec<keeping::End>>,
        engine: Option<Vec<cluster::End>>,
    ) -> Result<Vec<JoinHandle<io::Result<()>>>, String> {
        match (store, engine) {
            (Some(ends), _) => self.begin_shards(listeners, ends),
            (None, Some(ends)) => self.begin_shards(listeners, ends),
            (None, None) => {
                let logs = vec![MemoryLog; usize::from(self.settings.shards)];
                self.begin_shards(listeners, logs)
            }
        }
    }

    /// Begins a thread for each listener and log.
    fn begin_shards<L: LogEnd + Send + 'static>(
        &self,
        listeners: Vec<MioListener>,
        logs: Vec<L>,
    ) -> Result<Vec<JoinHandle<io::Result<()>>>, String> {
        let shards = self.settings.shards;
        let ports = mesh::connect(shards, ring_words(shards));
        let ways = ports.into_iter().zip(HandoffQueue::connect(shards)).zip(logs);
        let mut handles = Vec::new();
        for (id, ((listener, ((port, queue), log)), health)) in
            (0..shards).zip(listeners.into_iter().zip(ways).zip(&*self.health))
        {
            // Epochs count up from the seed: shards must be far apart.
            let seed = self.seed.wrapping_add(u64::from(id) << 48);
            let (settings, site) = (Arc::clone(&self.settings), Arc::clone(&self.site));
            let (control, health, clock) =
                (Arc::clone(&self.control), Arc::clone(health), self.clock);
            let entrance = (listener, Arc::clone(&self.addresses));
            let ways = (port, queue, log);
            let run =
                move || run_shard(id, entrance, ways, control, clock, health, settings, site, seed);
            let thread = thread::Builder::new().name(format!("shard-{id}")).spawn(run);
            handles.push(thread.map_err(|error| format!("cannot start a thread: {error}"))?);
        }
        Ok(handles)
    }
}

/// How many shards there are: as many as cores, unless it is configured.
fn shards_count(configured: u16) -> u16 {
    match configured {
        0 => thread::available_parallelism()
            .map_or(1, |cores| u16::try_from(cores.get()).unwrap_or(u16::MAX)),
        shards => shards,
    }
}

/// Limits as they hold on this machine, where the configuration leaves that to it.
///
/// # Errors
///
/// If the process may not open as many files as that takes.
fn on_this_machine(
    config: &Config,
    shards: u16,
) -> Result<(Limits, HistoryLimits, StoreConfig), String> {
    let Config { mut limits, mut history, mut store, .. } = config.clone();
    limits.connections = connections_max(limits.connections, shards)?;
    memory::bound(
        &mut limits,
        &mut history,
        &mut store,
        memory::available_bytes(&|path| std::fs::read_to_string(path)),
    );
    Ok((limits, history, store))
}

/// What the memory of a server with this configuration would be bounded by, for people.
///
/// # Errors
///
/// With what keeps a server with this configuration from starting here.
pub(super) fn memory_report(config: &Config) -> Result<String, String> {
    let shards = shards_count(config.shards);
    let (limits, history, store) = on_this_machine(config, shards)?;
    let mut settings = Settings::new(shards, limits, history, config.presence.clone(), Vec::new());
    if !store.path.is_empty() {
        settings = settings.with_store(store.cache_bytes, store.readers, store.rooms);
    }
    Ok(memory::report(&settings, ring_words(shards)))
}

#[expect(clippy::too_many_arguments, reason = "a thread's entry gets all that the thread will own")]
fn run_shard<L: LogEnd>(
    id: u16,
    entrance: (MioListener, Arc<Addresses>),
    ways: (Port, HandoffQueue, L),
    control: Arc<Control>,
    clock: Clock,
    health: Arc<Health>,
    settings: Arc<Settings>,
    site: Arc<dyn Site + Send + Sync>,
    seed: u64,
) -> io::Result<()> {
    // Whichever way this shard ends, it does not leave the others to serve half a server.
    let _ends_all = EndsAll(Arc::clone(&control));
    Reactor::new(entrance, ways, control, clock, health, |now| {
        Shard::new(id, settings, site, seed, now)
    })?
    .run()
}

/// Stops every shard when one ends, for whatever reason.
struct EndsAll(Arc<Control>);

impl Drop for EndsAll {
    fn drop(&mut self) {
        self.0.begin(Phase::Stop);
    }
}

impl Server {
    fn join(self) -> ExitCode {
        let mut code = ExitCode::SUCCESS;
        for shard in self.shards {
            let name = shard.thread().name().unwrap_or("shard").to_owned();
            match shard.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(shard = name, %error, "a shard failed");
                    code = ExitCode::from(EXIT_OS);
                }
                Err(_) => {
                    tracing::error!(shard = name, "a shard panicked");
                    code = ExitCode::from(EXIT_SOFTWARE);
                }
            }
        }
        self.control.begin(Phase::Stop);
        // All that the shards have said is with the store or the engine by now, and nobody says
        // more.
        if let Some(cluster) = self.cluster {
            cluster.stop();
        }
        if self.keeper.is_some_and(|keeper| !keeper.stop()) {
            code = ExitCode::from(EXIT_OS);
        }
        if self.control.has_failed() {
            code = ExitCode::from(EXIT_SOFTWARE);
        }
        tracing::info!("stopped");
        code
    }
}

/// Opens a listener for each shard, all on the same address.
fn listen_all(address: SocketAddr, shards: u16) -> Result<Vec<MioListener>, String> {
    let explain = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "{address} is in use by another program: stop it, or choose another with --listen"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{address} is no address of this machine: see --listen")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{address} needs more rights than this process has: see --listen")
        }
        _ => format!("cannot listen on {address}: {error}"),
    };
    // Listeners that share an address would also share it with another server of ours; without
    // sharing, that is an error.
    drop(TcpListener::bind(address).map_err(explain)?);
    let first = reactor::listen(address).map_err(explain)?;
    let address = first.local_addr().map_err(explain)?;
    let mut listeners = vec![first];
    for _ in 1..shards {
        listeners.push(reactor::listen(address).map_err(explain)?);
    }
    Ok(listeners)
}

/// How many connections there may be, by the limit and by the descriptors that the process can
/// have; 0 in the configuration leaves it to these.
fn connections_max(configured: u32, shards: u16) -> Result<u32, String> {
    let files = rlimit::increase_nofile_limit(u64::MAX)
        .map_err(|error| format!("cannot find out how many files may be open: {error}"))?;
    let reserved = DESCRIPTORS_RESERVED + DESCRIPTORS_PER_SHARD * u64::from(shards);
    let possible = u32::try_from(files.saturating_sub(reserved)).unwrap_or(u32::MAX);
    match (configured, possible) {
        (_, 0) => Err(format!(
            "{files} files may be open, and {reserved} are needed before any connection: see ulimit -n"
        )),
        (0, possible) => Ok(possible),
        (configured, possible) if configured <= possible => Ok(configured),
        (configured, possible) => Err(format!(
            "limits.connections is {configured}, and only {possible} are possible with {files} open files: see ulimit -n"
        )),
    }
}

/// Smaller rings where there are many.
fn ring_words(shards: u16) -> usize {
    let pairs = usize::from(shards) * usize::from(shards);
    (ALL_RINGS_WORDS / pairs).next_power_of_two().clamp(RING_WORDS / 16, RING_WORDS)
}

fn obey_signals(control: Arc<Control>, drain_ms: u64) -> Result<(), String> {
    let cannot = |error| format!("cannot listen for signals: {error}");
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(cannot)?;
    // A file that is as large as files may be (`ulimit -f`) is a full disk, and no reason to end.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map_err(cannot)?;
    let run = move || {
        for _ in signals.forever() {
            if control.phase() == Phase::Serve {
                tracing::info!(drain_ms, "stopping; once more to stop at once");
                manager::say_stopping();
                control.begin(Phase::Drain { over_ms: drain_ms });
            } else {
                control.begin(Phase::Stop);
            }
        }
    };
    let thread = thread::Builder::new().name("signals".to_owned()).spawn(run);
    thread.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
}

/// Looks after the shards, and says when one is stuck: nothing else would. A service manager that
/// asked for it is told as long as none is.
fn watch(clock: Clock, health: Arc<[Arc<Health>]>) -> Result<(), String> {
    let mut pulse = Pulse::asked();
    let run = move || loop {
        thread::sleep(Duration::from_millis(pulse.look_ms()));
        let now_ms = clock.now().mono_ms;
        for (shard, health) in health.iter().enumerate() {
            if let Some(turn_ms) = health.stalled_ms(now_ms) {
                tracing::error!(shard, turn_ms, "a shard is stuck in one turn");
            }
        }
        pulse.beat(now_ms, health.iter().any(|health| health.is_stuck(now_ms)));
    };
    let thread = thread::Builder::new().name("watchdog".to_owned()).spawn(run);
    thread.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
}

/// Where it is, and what is not as it should be in production.
fn greeting(
    address: SocketAddr,
    shards: u16,
    has_key: bool,
    has_guests: bool,
    store: &StoreConfig,
    is_shared: bool,
) -> String {
    let is_everywhere = address.ip().is_unspecified();
    let host = match address.ip() {
        ip if is_everywhere || ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST => {
            "localhost".to_owned()
        }
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let others = if is_everywhere { " and all other addresses" } else { "" };
    let version = env!("CARGO_PKG_VERSION");
    let plural = if shards == 1 { "" } else { "s" };
    let mut line = format!(
        "Chinwag {version} on http://{host}:{}{others} ({shards} shard{plural})",
        address.port()
    );
    if is_shared {
        line.push_str("; rooms are kept in the engine, with other servers");
    } else if !store.path.is_empty() {
        // Without the working directory's name nobody knows where that is.
        let folder = path::absolute(&store.path).unwrap_or_else(|_| (&store.path).into());
        line.push_str("; rooms are kept in ");
        line.push_str(&folder.display().to_string());
        if store.ack == StoreAck::AcceptMayLose1s {
            line.push_str(
                ", and what was answered in the last second is lost if the power fails, in the last \
                 50 ms if this process is killed (store.ack)",
            );
        }
    }
    let open = [
        (!has_key).then_some("a random token secret that ends with this process (set auth.secret)"),
        has_guests.then_some("guests without a token (set auth.guests = false)"),
    ];
    let open: Vec<_> = open.into_iter().flatten().collect();
    if !open.is_empty() {
        line.push_str("; for development: ");
        line.push_str(&open.join(", "));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, expected: &str) {
        let version = env!("CARGO_PKG_VERSION");
        let store = StoreConfig { path: String::new(), ..StoreConfig::default() };
        assert_eq!(
            greeting(address.parse().unwrap(), 2, true, false, &store, false),
            format!("Chinwag {version} on http://{expected} (2 shards)")
        );
    }

    #[test]
    fn the_greeting_says_who_can_reach_it() {
        check("127.0.0.1:80", "localhost:80");
        check("[::1]:80", "localhost:80");
        check("127.0.0.2:80", "127.0.0.2:80");
        check("0.0.0.0:80", "localhost:80 and all other addresses");
        check("[::]:80", "localhost:80 and all other addresses");
        check("[2001:db8::1]:80", "[2001:db8::1]:80");
    }

    #[test]
    fn the_greeting_says_where_rooms_are_kept_and_what_may_be_lost() {
        let said = |ack| {
            let store = StoreConfig { path: "/folder".to_owned(), ack, ..StoreConfig::default() };
            greeting("127.0.0.1:80".parse().unwrap(), 2, true, false, &store, false)
        };
        let kept = said(StoreAck::Commit);
        assert!(kept.ends_with("; rooms are kept in /folder"), "{kept}");
        let lazy = said(StoreAck::AcceptMayLose1s);
        assert!(lazy.contains("the last second is lost if the power fails"), "{lazy}");
    }
}
