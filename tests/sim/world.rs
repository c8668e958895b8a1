//! A whole server and its clients in one thread: shards, sockets, rings and a clock, moved by
//! draws.
//!
//! Two phases. In the first, one step is one draw among what can happen, faults included. Then the
//! world is healed, and goes on until nothing moves any more; what everybody knows must then be the
//! truth. In the end all leave, and nothing may be left of them.
//!
//! What it does not model, and which test could notice: threads, of which each has its turn here
//! while the others stand still (the loom tests of `mesh`, `tests/hostile`); a turn that takes time
//! (`tests/hostile/stall.rs`); and a shard that panics within a turn, for here one begins anew
//! between two of them, and only where its log keeps rooms (`tests/hostile/panic.rs`).

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use chinwag::base::time::Now;
use chinwag::limits::{
    HistoryLimits, MESH_PAUSE_BYTES, POLL_ANSWER_BYTES, POLL_WINDOW_MS, SESSION_TIMEOUT_MS,
    SWEEP_MS, slow_link_ms,
};
use chinwag::shard::{Handoff, Shard, Turn};
use serde_json::Value;

use crate::acts::Mouth;
use crate::client::{Client, Link};
use crate::draws::Draws;
use crate::ears::Ears;
use crate::faults::{Bug, is_ahead, is_unbudgeted};
use crate::frames::take_answer;
use crate::logs::SimLog;
use crate::net::{Net, Pipe};
use crate::plan::{AROUND_BODY_BYTES, Happening, Plan};
use crate::pretend_log::Told;
use crate::progress::{self, Progress};
use crate::rights::{Ledger, Moment, moment};
use crate::site::{OWNER, Renewal, TestSite, USERS};
use crate::truth::Truth;
use crate::work::Work;

/// How long a session may live that nobody polls any more, in milliseconds: the poll that was
/// waiting when its client went is seen to have been in vain when it ends, or its answer was as
/// long as may be, with a page of history as its last message, in JSON that is escaped.
fn ghost_ms(history: &HistoryLimits) -> u64 {
    let page_bytes = history.page_bytes.min(history.room_bytes);
    let received_ms = slow_link_ms(POLL_ANSWER_BYTES + 2 * page_bytes);
    POLL_WINDOW_MS + SESSION_TIMEOUT_MS + received_ms + 3 * SWEEP_MS
}

/// By how much a clock that is ahead is so: by more than anybody is muted or banned, unless it is
/// for ever.
const AHEAD_MS: u64 = 24 * 3_600_000;

/// A shard and what it acts on.
pub(crate) struct Host {
    pub(crate) shard: Shard,
    pub(crate) net: Net,
    /// Whether it has done something since it last ended a turn.
    is_busy: bool,
    /// What it has done since its last turn began.
    work: Work,
}

/// A request of the API under way: who asked for which room.
struct Errand {
    host: usize,
    pipe: usize,
    room: String,
    title: String,
    asked: Moment,
    heard: Vec<u8>,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) draws: Draws,
    pub(crate) now: Now,
    pub(crate) hosts: Vec<Host>,
    pub(crate) clients: Vec<Client>,
    errands: Vec<Errand>,
    pub(crate) truth: Truth,
    pub(crate) healed: bool,
    /// Whether it has been quiet since.
    pub(crate) calm: bool,
    /// Until when there may be sessions that nobody polls any more, in milliseconds.
    pub(crate) ghosts_until_ms: u64,
    pub(crate) draining: bool,
    /// The latest that any wall clock has shown.
    pub(crate) latest_unix_ms: u64,
    links: u64,
    /// Everything that clients have read, in order, in one number.
    digest: u64,
}

impl World {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut draws = Draws::new(plan.seed);
        let now = Now { mono_ms: 1_000_000, unix_ms: 1_795_336_253_000 };
        let settings = Arc::new(plan.settings());
        let site = Arc::new(TestSite {
            lenient: plan.bug == Some(Bug::IgnoreRights),
            lets_all_moderate: plan.bug == Some(Bug::LetAllModerate),
            forgets_ends: plan.bug == Some(Bug::IgnoreExpiry),
            renewal: match plan.bug {
                Some(Bug::RenewForEver) => Renewal::ForEver,
                Some(Bug::RenewInVain) => Renewal::InVain(1),
                _ => Renewal::Right,
            },
            secrets: AtomicU64::new(0),
        });
        let hosts = (0..plan.shards)
            .map(|id| {
                let mut seed = draws.number();
                if plan.bug == Some(Bug::Unseeded) {
                    seed ^= RandomState::new().hash_one(id);
                }
                let log = SimLog::new(plan.log, plan.seed ^ u64::from(id) << 32, plan.bug);
                let mut net = Net::new(id, plan.shards, now.mono_ms, log, draws.fork(), plan.bug);
                net.ring_bytes = plan.ring_bytes;
                net.short_write = plan.short_write;
                net.slow_work = plan.slow_work;
                // One message and one page too many; of each connection an echo that must not
                // overtake; and small things.
                let limits = &plan.settings.limits;
                net.spare_bytes = (plan.clients + 2) * (limits.message_bytes + AROUND_BODY_BYTES)
                    + settings.history.page_bytes
                    + 32 * 1_024;
                Host {
                    shard: Shard::new(id, settings.clone(), site.clone(), seed, now),
                    net,
                    is_busy: false,
                    work: Work::default(),
                }
            })
            .collect();
        // One that polls has several connections, and asks on for them where there are few.
        let may_poll = plan.settings.limits.connections == 0;
        let mut clients: Vec<Client> =
            (0..plan.clients).map(|id| client(id, &mut draws, may_poll)).collect();
        if plan.decides() {
            // Somebody is there who may.
            clients[0].user = OWNER;
        }
        if plan.happenings.iter().any(|(happening, _)| *happening == Happening::Restart) {
            // Without a ref one does not know which of two joins has ended.
            for client in &mut clients {
                client.refless = false;
            }
        }
        Self {
            plan: plan.clone(),
            draws,
            now,
            hosts,
            clients,
            errands: Vec::new(),
            truth: Truth::new(plan.log.keeps()),
            healed: false,
            calm: false,
            ghosts_until_ms: 0,
            draining: false,
            latest_unix_ms: now.unix_ms,
            links: 0,
            digest: 0,
        }
    }

    /// One step of the first phase.
    pub(crate) fn step(&mut self) {
        let weights: Vec<u64> = self.plan.happenings.iter().map(|(_, weight)| *weight).collect();
        let (happening, _) = self.plan.happenings[self.draws.weighted(&weights)];
        match happening {
            Happening::Connect => {
                let client = self.draws.index(self.clients.len());
                self.connect(client);
            }
            Happening::Act => {
                let speaks = |client: &&Client| client.link.as_ref().is_some_and(Link::speaks);
                let speakers: Vec<usize> =
                    self.clients.iter().filter(speaks).map(|client| client.id).collect();
                if !speakers.is_empty() {
                    let client = *self.draws.pick(&speakers);
                    self.write(client, Client::act);
                }
            }
            Happening::ToServer => {
                if let Some((host, pipe)) = self.some_pipe(Pipe::is_readable) {
                    let most = self.draws.skewed(64 * 1_024);
                    self.bring_to_server(host, pipe, most);
                }
            }
            Happening::ToClient => {
                let client = self.draws.index(self.clients.len());
                let most = self.draws.skewed(64 * 1_024);
                if self.clients[client].link.as_ref().is_some_and(|link| !link.stalled) {
                    self.bring_to_client(client, most);
                } else {
                    self.errand_hears(most);
                }
            }
            Happening::Writable => {
                if let Some((host, pipe)) = self.some_pipe(Pipe::is_writable) {
                    self.writable(host, pipe);
                }
            }
            Happening::Ring => {
                let (from, to) =
                    (self.draws.index(self.hosts.len()), self.draws.index(self.hosts.len()));
                let most = self.draws.skewed(20);
                self.ring(from, to, most);
            }
            Happening::Turn => {
                let host = self.draws.index(self.hosts.len());
                self.turn(host);
            }
            Happening::Time => {
                let ms = match self.draws.below(200) {
                    0 => self.draws.range(10_000, 61_000),
                    1..=20 => self.draws.range(100, 1_000),
                    _ => self.draws.range(1, 30),
                };
                self.pass(ms);
            }
            Happening::Vanish => self.vanish(),
            Happening::Stall => {
                let client = self.draws.index(self.clients.len());
                if let Some(link) = &mut self.clients[client].link {
                    link.stalled = !link.stalled;
                }
            }
            Happening::Jam => {
                let (from, to) =
                    (self.draws.index(self.hosts.len()), self.draws.index(self.hosts.len()));
                let jammed = &mut self.hosts[from].net.jammed[to];
                *jammed = !*jammed;
            }
            Happening::Log => {
                let host = self.draws.index(self.hosts.len());
                self.log_says(host);
            }
            Happening::Restart => {
                let host = self.draws.index(self.hosts.len());
                self.restart(host);
            }
            Happening::Request => self.request(),
            Happening::CutPoll => self.cut_poll(),
            Happening::SetClock => {
                let hour_ms = 3_600_000;
                self.pass(0);
                self.now.unix_ms += self.draws.below(2 * hour_ms);
                self.pass(0);
                self.truth.clock_sets += 1;
                self.now.unix_ms -= self.draws.below(2 * hour_ms);
                self.pass(0);
            }
        }
    }

    /// Ends the faults: whoever stalls goes on, and everything has room.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        self.ghosts_until_ms = self.now.mono_ms + ghost_ms(&self.plan.settings.history);
        for client in &mut self.clients {
            if let Some(link) = &mut client.link {
                link.stalled = false;
                self.hosts[link.host].net.pipes[link.pipe].client_fin |= link.heard_close.is_some();
            }
        }
        for host in &mut self.hosts {
            host.net.log.calm();
            host.net.jammed.fill(false);
            host.net.short_write = u64::MAX;
            host.net.slow_work = u64::MAX;
            host.net.ring_bytes = MESH_PAUSE_BYTES;
            for pipe in &mut host.net.pipes {
                pipe.window = 1 << 24;
            }
        }
    }

    /// Lets everything that is under way arrive; says whether anything was.
    pub(crate) fn settle(&mut self) -> bool {
        let mut moved = false;
        for from in 0..self.hosts.len() {
            for to in 0..self.hosts.len() {
                moved |= self.ring(from, to, usize::MAX) > 0;
            }
            for pipe in 0..self.hosts[from].net.pipes.len() {
                while self.hosts[from].net.pipes[pipe].is_readable() {
                    self.bring_to_server(from, pipe, 64 * 1_024);
                    moved = true;
                }
                if self.hosts[from].net.pipes[pipe].is_writable() {
                    self.writable(from, pipe);
                    moved = true;
                }
            }
            // One that fails goes on failing until all is well.
            moved |= self.log_says(from);
            while self.healed && !self.hosts[from].net.log.is_idle() {
                self.log_says(from);
                moved = true;
            }
            self.turn(from);
            moved |= self.hosts[from].shard.next_due() == Some(0);
        }
        for client in 0..self.clients.len() {
            moved |= self.bring_to_client(client, usize::MAX);
        }
        while self.errand_hears(usize::MAX) {
            moved = true;
        }
        moved
    }

    /// Lets time pass. Clients that are still there say so now and then, once all is well.
    ///
    /// A turn of a shard's loop has one time: those that have done something end their turns first.
    pub(crate) fn pass(&mut self, ms: u64) {
        for host in 0..self.hosts.len() {
            if self.hosts[host].is_busy {
                self.turn(host);
            }
            // A loop with work left turns at once. Unless all is well that may take it as long as
            // anything else.
            while self.healed && self.hosts[host].shard.next_due() == Some(0) {
                self.turn(host);
            }
        }
        self.now.mono_ms += ms;
        self.now.unix_ms += ms;
        self.latest_unix_ms = self.latest_unix_ms.max(self.now.unix_ms);
        for Host { net, .. } in &mut self.hosts {
            net.log.ledger.now = Some(self.now);
            net.now_ms = self.now.mono_ms;
        }
    }

    pub(crate) fn turn(&mut self, host: usize) {
        let now = self.now;
        crate::trace!("turn of shard {host} at {}", now.mono_ms);
        let limits = &self.plan.settings.limits;
        progress::begin_turn(limits, &mut self.hosts[host], now.mono_ms);
        let Host { shard, net, is_busy, work } = &mut self.hosts[host];
        work.begin_turn(&self.plan.settings, shard);
        shard.turn(&mut Turn { now, io: net });
        *is_busy = false;
        progress::check_after_turn(limits, &mut self.hosts[host], now.mono_ms);
        let shard = &self.hosts[host].shard;
        if shard.metrics().waiting > 0 && shard.next_due() != Some(0) {
            self.truth.saw("join that waits for a way");
        }
        crate::rest::check_after_turn(&self.plan, &self.hosts[host]);
        self.check(host);
    }

    /// Looks at everything in a shard, and how many there are in all.
    fn check(&self, host: usize) {
        // Each shard has a share, and places go from one to another.
        let conns: usize = self.hosts.iter().map(|host| host.shard.conns_count()).sum();
        let places = self.hosts.len() * self.plan.settings.conns_max as usize;
        // One that begins anew has all of its own again, and those that it gave away are there yet.
        let has_restarted = self.truth.seen.contains_key("restarted");
        assert!(conns <= places || has_restarted, "connections are bounded: {conns} of {places}");
        let host = &self.hosts[host];
        host.shard.check_invariants();
        crate::rest::check_memory(&self.plan, host);
    }

    /// A shard has panicked, and begins anew, as `reactor` has it do.
    pub(crate) fn restart(&mut self, host: usize) {
        let now = self.now;
        let Host { shard, net, is_busy, work } = &mut self.hosts[host];
        net.is_dying = true;
        shard.last_words(net);
        net.is_dying = false;
        net.begin_anew();
        *shard = shard.next_life(now);
        work.restart(shard);
        shard.say_restarted(&mut Turn { now, io: net });
        *is_busy = true;
        self.truth.saw("restarted");
    }

    /// A shard's log does the next thing, and says what there is to say. False if there is nothing.
    pub(crate) fn log_says(&mut self, host: usize) -> bool {
        let now = self.now;
        let Host { shard, net, is_busy, .. } = &mut self.hosts[host];
        let Some((room, told)) = net.log.says() else { return false };
        crate::trace!("the log of shard {host} says {told:?}");
        *is_busy = true;
        if let Told::Listed { rooms, .. } = &told
            && !rooms.is_empty()
        {
            self.truth.saw("rooms listed that are kept");
        }
        shard.log_said(&mut Turn { now, io: net }, told.message(room));
        self.check(host);
        true
    }

    fn some_pipe(&mut self, fits: impl Fn(&Pipe) -> bool) -> Option<(usize, usize)> {
        let all = self.hosts.iter().enumerate();
        let found: Vec<(usize, usize)> = all
            .flat_map(|(host, Host { net, .. })| {
                let pipes = net.pipes.iter().enumerate().filter(|(_, pipe)| fits(pipe));
                pipes.map(move |(pipe, _)| (host, pipe)).collect::<Vec<_>>()
            })
            .collect();
        (!found.is_empty()).then(|| *self.draws.pick(&found))
    }

    /// Has a client connect, if it is not and a shard takes it.
    pub(crate) fn connect(&mut self, client: usize) {
        let (host, other) =
            (self.draws.index(self.hosts.len()), self.draws.index(self.hosts.len()));
        self.connect_by(client, host, other);
    }

    /// The same to a certain shard.
    pub(crate) fn connect_to(&mut self, client: usize, host: usize) {
        self.connect_by(client, host, host);
    }

    /// One that polls has another connection to post by.
    fn connect_by(&mut self, client: usize, host: usize, other: usize) {
        if self.clients[client].link.is_some() {
            return;
        }
        let life_s = if self.healed { 1_000_000 } else { self.plan.token_s };
        let expires_at_s = self.now.unix_ms / 1_000 + life_s;
        if self.clients[client].polls {
            let Some(relay) = self.begin_session(client, (host, other), expires_at_s) else {
                return;
            };
            self.links += 1;
            let mut link =
                Link::new(self.links, host, relay.poll.pipe, expires_at_s, self.now.mono_ms);
            link.relay = Some(Box::new(relay));
            self.clients[client].link = Some(link);
            return;
        }
        let Some(pipe) = self.open(host) else { return };
        self.links += 1;
        let link = Link::new(self.links, host, pipe, expires_at_s, self.now.mono_ms);
        let client = &mut self.clients[client];
        let request = client.upgrade(expires_at_s);
        client.link = Some(link);
        self.hosts[host].net.pipes[pipe].to_server.extend_from_slice(&request);
        crate::trace!("client {} connects to shard {host} as {}", client.id, self.links);
    }

    /// A new connection to a shard, if it takes one.
    pub(crate) fn open(&mut self, host: usize) -> Option<usize> {
        let now = self.now;
        let window = if self.healed { 1 << 24 } else { self.plan.window };
        let Host { shard, net, is_busy, .. } = &mut self.hosts[host];
        *is_busy = true;
        let key = shard.open(&mut Turn { now, io: net })?;
        Some(net.insert(Pipe::new(key, window)))
    }

    /// Has a client write what `say` makes it say.
    pub(crate) fn write(&mut self, client: usize, say: impl FnOnce(&mut Client, &mut Mouth<'_>)) {
        let Self { plan, truth, now, hosts, clients, .. } = self;
        let client = &mut clients[client];
        let Some(link) = client.link.as_ref().filter(|link| link.speaks()) else { return };
        let (host, pipe) = (link.host, link.pipe);
        let (now_ms, unix_ms) = (now.mono_ms, now.unix_ms);
        let (out, brought) = (Vec::new(), Vec::new());
        let mut mouth = Mouth { plan, truth, now_ms, unix_ms, out, brought };
        say(client, &mut mouth);
        let Mouth { out, brought, .. } = mouth;
        for brought in brought {
            for Host { net, .. } in &mut *hosts {
                net.log.ledger.bring(brought.clone());
            }
        }
        if client.polls {
            client.link.as_mut().expect("it has one").wrote_ms = now.mono_ms;
            let id = client.id;
            return self.relay(id, &out);
        }
        let pipe = &mut hosts[host].net.pipes[pipe];
        crate::trace!("client {} writes {} bytes", client.id, out.len());
        if !pipe.gone && !out.is_empty() {
            pipe.to_server.extend_from_slice(&out);
            client.link.as_mut().expect("it has one").wrote_ms = now.mono_ms;
        }
    }

    /// Brings at most so many bytes to the server, or the end of them.
    fn bring_to_server(&mut self, host: usize, pipe: usize, most: usize) {
        let now = self.now;
        let Host { shard, net, is_busy, .. } = &mut self.hosts[host];
        let Pipe { key, reset, .. } = net.pipes[pipe];
        if reset || net.pipes[pipe].to_server.is_empty() {
            crate::trace!("shard {host} hears the end of {key:?}");
            *is_busy = true;
            net.pipes[pipe].is_end_told = true;
            shard.hung_up(&mut Turn { now, io: net }, key);
            return self.check(host);
        }
        let waiting = &mut net.pipes[pipe].to_server;
        let mut bytes: Vec<u8> = waiting.drain(..most.min(waiting.len())).collect();
        *is_busy = true;
        let goes_on = shard.received(&mut Turn { now, io: net }, key, &mut bytes);
        if !goes_on {
            net.pipes[pipe].stopped = true;
            net.pipes[pipe].was_stopped = true;
        }
        let reader = self.clients.iter_mut().filter_map(|client| client.link.as_mut());
        if let Some(link) = reader.into_iter().find(|link| (link.host, link.pipe) == (host, pipe)) {
            link.silent_ms = link.silent_ms.max(now.mono_ms - link.reached_ms);
            link.reached_ms = now.mono_ms;
        }
        crate::trace!("shard {host} reads {} bytes of {key:?}", bytes.len());
        self.check(host);
    }

    /// Brings at most so many bytes to a client, or the end of them. False if there is nothing.
    fn bring_to_client(&mut self, client: usize, most: usize) -> bool {
        if self.clients[client].link.as_ref().is_some_and(|link| link.relay.is_some()) {
            return self.bring_to_relay(client, most);
        }
        let Some(link) = &self.clients[client].link else { return false };
        let (host, pipe_index) = (link.host, link.pipe);
        let pipe = &mut self.hosts[host].net.pipes[pipe_index];
        if !pipe.is_heard() {
            return false;
        }
        let bytes: Vec<u8> = pipe.to_client.drain(..most.min(pipe.to_client.len())).collect();
        if bytes.is_empty() {
            link.check_end(pipe);
            pipe.client_fin = true;
            crate::trace!("client {client} has lost its connection");
            self.clients[client].link = None;
            return true;
        }
        let progress = pipe.progress;
        self.note(&bytes);
        let (mut ears, clients) = self.ears(progress);
        clients[client].read(&mut ears, &bytes);
        let link = clients[client].link.as_ref().expect("reading does not end a connection");
        if link.heard_close.is_some() && (self.healed || !self.draws.one_in(4)) {
            // Most clients close when they are told that it is over.
            self.hosts[host].net.pipes[pipe_index].client_fin = true;
        }
        true
    }

    /// What a client hears with whose socket has taken so much, and the clients.
    pub(crate) fn ears(&mut self, progress: Progress) -> (Ears<'_>, &mut [Client]) {
        let Self { plan, truth, now, clients, hosts, .. } = self;
        let ears = Ears {
            plan,
            hosts,
            truth,
            now_ms: now.mono_ms,
            unix_ms: self.latest_unix_ms,
            calm: self.calm,
            draining: self.draining,
            progress,
        };
        (ears, clients)
    }

    /// Has bytes that a client has read count for the digest.
    pub(crate) fn note(&mut self, bytes: &[u8]) {
        self.digest = note(self.digest, bytes);
    }

    /// A client ends its connections, without a word. Of a session the server learns it later, when
    /// nobody polls it any more.
    pub(crate) fn lose_link(&mut self, client: usize) {
        let Some(link) = self.clients[client].link.take() else { return };
        for (host, pipe) in link.pipes() {
            self.hosts[host].net.pipes[pipe].client_fin = true;
        }
        if link.relay.is_some() {
            self.ghosts_until_ms = self.now.mono_ms + ghost_ms(&self.plan.settings.history);
        }
    }

    /// How many bytes of the server a client's machine takes.
    pub(crate) fn window(&mut self, client: usize, bytes: usize) {
        let link = self.clients[client].link.as_ref().expect("it is connected");
        self.hosts[link.host].net.pipes[link.pipe].window = bytes;
    }

    /// Stops all ways between shards, or lets them go on.
    pub(crate) fn jam(&mut self, stop: bool) {
        self.hosts.iter_mut().for_each(|host| host.net.jammed.fill(stop));
    }

    /// Lets everything that is under way arrive, with a turn of each shard after each record.
    pub(crate) fn step_by_step(&mut self) {
        for from in 0..self.hosts.len() {
            for pipe in 0..self.hosts[from].net.pipes.len() {
                while self.hosts[from].net.pipes[pipe].is_readable() {
                    self.bring_to_server(from, pipe, 64 * 1_024);
                }
            }
        }
        let count = self.hosts.len();
        while (0..count * count).any(|way| self.ring(way / count, way % count, 1) > 0) {
            (0..count).for_each(|host| self.turn(host));
        }
    }

    fn writable(&mut self, host: usize, pipe: usize) {
        let mut now = self.now;
        let Host { shard, net, is_busy, .. } = &mut self.hosts[host];
        let Pipe { key, progress, .. } = net.pipes[pipe];
        net.pipes[pipe].blocked = false;
        if self.plan.bug == Some(Bug::ForgetProgress) {
            now.mono_ms = progress.waits_since_ms().expect("something waits");
        }
        *is_busy = true;
        shard.writable(&mut Turn { now, io: net }, key);
        self.check(host);
    }

    /// Brings at most so many records to another shard, and says how many.
    pub(crate) fn ring(&mut self, from: usize, to: usize, most: usize) -> usize {
        if self.hosts[from].net.jammed[to] {
            return 0;
        }
        let handoffs = std::mem::take(&mut self.hosts[from].net.handoffs[to]);
        let handed_off = handoffs.len();
        for (pipe, handoff) in handoffs {
            self.take_over(from, pipe, to, handoff);
        }
        let ring = &self.hosts[from].net.rings[to];
        let most = most.min(ring.len());
        let now = self.now;
        for number in 0..most {
            let is_unbudgeted = is_unbudgeted(self.plan.bug, &self.hosts[from].net.rings[to][0]);
            if !self.hosts[to].shard.may_hear() && !is_unbudgeted {
                // What is left stays where it is, for the next turn.
                self.truth.saw("records left for the next turn");
                self.hosts[to].is_busy = true;
                return (handed_off + number).max(1);
            }
            let record = self.hosts[from].net.rings[to].remove(0);
            let from = u16::try_from(from).expect("few shards");
            crate::trace!(
                "shard {from} to {to}: {}",
                String::from_utf8_lossy(&record).escape_debug()
            );
            self.truth.passed(to, &record);
            let Host { shard, net, is_busy, work } = &mut self.hosts[to];
            *is_busy = true;
            work.hear(&self.plan.settings, &record);
            let ahead_ms = if is_ahead(self.plan.bug, &record) { AHEAD_MS } else { 0 };
            let now = Now { unix_ms: now.unix_ms + ahead_ms, ..now };
            shard.heard_from(&mut Turn { now, io: net }, from, &record);
            self.check(to);
        }
        handed_off + most
    }

    /// A connection that one shard has handed off comes to another.
    fn take_over(&mut self, from: usize, pipe: usize, to: usize, handoff: Handoff) {
        if self.plan.bug == Some(Bug::LoseHandoff) && self.draws.one_in(4) {
            return;
        }
        let now = self.now;
        let left = std::mem::replace(&mut self.hosts[from].net.pipes[pipe], Pipe::left());
        let Host { shard, net, is_busy, .. } = &mut self.hosts[to];
        *is_busy = true;
        let key = shard.take_over(&mut Turn { now, io: net }, handoff);
        let there = net.insert(Pipe { key, away: false, is_end_told: false, ..left });
        crate::trace!("shard {to} takes {key:?} over");
        let links = self.clients.iter_mut().filter_map(|client| client.link.as_mut());
        if let Some(link) = links.into_iter().find(|link| (link.host, link.pipe) == (from, pipe)) {
            (link.host, link.pipe) = (to, there);
        }
        self.truth.saw("handed off");
        self.check(to);
    }

    /// A client is gone, from one moment to the next.
    fn vanish(&mut self) {
        let client = self.draws.index(self.clients.len());
        let Some(link) = self.clients[client].link.take() else { return };
        crate::trace!("client {client} vanishes");
        let is_reset = self.draws.one_in(2);
        for (host, pipe) in link.pipes() {
            let pipe = &mut self.hosts[host].net.pipes[pipe];
            if is_reset {
                pipe.reset();
                pipe.blocked = pipe.blocked && !pipe.gone;
            } else {
                let left = self.draws.size(0, pipe.to_server.len());
                pipe.to_server.truncate(left);
                pipe.client_fin = true;
            }
            pipe.window = usize::MAX;
            pipe.to_client.clear();
        }
    }

    /// Somebody asks for a room.
    fn request(&mut self) {
        let host = self.draws.index(self.hosts.len());
        let Some(pipe) = self.open(host) else { return };
        let room = (*self.draws.pick(&self.plan.rooms)).to_owned();
        let title = format!("The room {}", self.errands.len());
        let body = serde_json::json!({"room": room, "title": title}).to_string();
        let request = format!(
            "POST /api/rooms HTTP/1.1\r\nHost: chat.example\r\nContent-Length: {}\r\n\r\n{body}GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            body.len()
        );
        self.hosts[host].net.pipes[pipe].to_server.extend_from_slice(request.as_bytes());
        let (asked, heard) = (moment(), Vec::new());
        self.errands.push(Errand { host, pipe, room, title, asked, heard });
    }

    /// The oldest request under way hears its answer, in part or whole. False if there is nothing.
    fn errand_hears(&mut self, most: usize) -> bool {
        let heard = |errand: &Errand| self.hosts[errand.host].net.pipes[errand.pipe].is_heard();
        let Some(at) = self.errands.iter().position(heard) else { return false };
        let errand = &mut self.errands[at];
        let pipe = &mut self.hosts[errand.host].net.pipes[errand.pipe];
        let bytes: Vec<u8> = pipe.to_client.drain(..most.min(pipe.to_client.len())).collect();
        errand.heard.extend_from_slice(&bytes);
        if bytes.is_empty() {
            assert!(!self.calm || self.draining, "a request is answered");
            pipe.client_fin = true;
            self.errands.remove(at);
            return true;
        }
        if !errand.is_answered() {
            return true;
        }
        let answer = take_answer(&mut errand.heard).expect("it is whole");
        let body: Value = serde_json::from_slice(&answer.body).expect("the API speaks JSON");
        match answer.status {
            200 => assert_eq!(body["room"], errand.room),
            201 => {
                assert_eq!(
                    (&body["room"], &body["title"]),
                    (&errand.room.as_str().into(), &errand.title.as_str().into())
                );
                // Somebody may have joined it before its log has kept it.
                assert!(body["members"] == 0 || self.plan.log.keeps(), "nobody is in it: {body}");
                self.truth.saw("founded");
            }
            403 => {
                let topic = format!("room:{}", errand.room);
                let ledger = ledger_of(&self.hosts, &topic);
                let held = ledger.map(|of| of.between(&topic, errand.asked, moment()));
                let may_be = held.into_iter().flatten().any(|facts| facts.is_private());
                assert!(may_be, "a room that is open to all is there for who asks for it: {body}");
                self.truth.saw("no room for a stranger");
            }
            503 => {
                let may_be = self.plan.forgets_rooms || self.plan.log.keeps();
                assert!(may_be, "there is place for a room");
            }
            429 => assert_ne!(self.plan.settings.limits.rooms_per_s, 0, "making rooms has a rate"),
            other => panic!("a room is made, or there, or too many: {other}"),
        }
        assert_eq!(
            take_answer(&mut errand.heard).expect("and the next request after it").status,
            200
        );
        self.hosts[errand.host].net.pipes[errand.pipe].client_fin = true;
        self.errands.remove(at);
        true
    }

    /// All bytes that were written and read, in one number.
    pub(crate) fn digest(&self) -> u64 {
        self.hosts.iter().fold(self.digest, |digest, host| digest.rotate_left(7) ^ host.net.digest)
    }
}

impl Errand {
    /// Whether both answers are there: that of the request, and that of the one behind it.
    fn is_answered(&self) -> bool {
        let mut heard = self.heard.clone();
        take_answer(&mut heard).is_some() && take_answer(&mut heard).is_some()
    }
}

impl Link {
    /// The connection has ended; it must have been said, or something has been lost.
    fn check_end(&self, pipe: &Pipe) {
        if pipe.lossy || pipe.reset {
            return;
        }
        let was_cut = pipe.progress.was_full() && pipe.gone;
        assert!(
            self.heard_close.is_some() || !self.is_open || was_cut,
            "a connection ends with a close frame: {self:?}"
        );
        assert!(was_cut || !self.inbox.is_within_a_frame(), "and not within a frame");
    }
}

/// What the home of a room has decided of it, if there was one.
pub(crate) fn ledger_of<'a>(hosts: &'a [Host], topic: &str) -> Option<&'a Ledger> {
    hosts.iter().map(|host| &host.net.log.ledger).find(|ledger| ledger.knows(topic))
}

/// Bytes, into a digest.
fn note(digest: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(digest, |digest, byte| {
        (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(9)
    })
}

fn client(id: usize, draws: &mut Draws, may_poll: bool) -> Client {
    let v1 = draws.one_in(4);
    Client {
        id,
        user: draws.index(USERS.len()),
        v1,
        polls: draws.one_in(4) && may_poll,
        refless: if v1 { !draws.one_in(3) } else { draws.one_in(8) },
        hides: draws.one_in(6),
        draws: draws.fork(),
        wants: std::collections::BTreeSet::new(),
        knows_changes: id % 4 != 3,
        cursors: std::collections::BTreeMap::new(),
        has: std::collections::BTreeMap::new(),
        unanswered: Vec::new(),
        link: None,
        said: 0,
    }
}
