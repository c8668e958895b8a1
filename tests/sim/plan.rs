//! What a seed decides before the first step: how large everything is, how narrow the limits, and
//! what happens how often.

use std::sync::Arc;

use chinwag::limits::{
    ADMISSION_LINE_BYTES_MAX, FRAME_HEADER_BYTES_MAX, GATHERED_MEMBERS, HistoryLimits, Limits,
    MEMBER_MEMORY_BYTES, PresenceLimits, ROOM_MEMORY_BYTES, TURN_WORK, WRITES_PER_FLUSH,
    WRITES_PER_TURN,
};
use chinwag::link::rates::Rates;
use chinwag::shard::Settings;

use crate::draws::Draws;
use crate::faults::Bug;
use crate::inviting::inviter;
use crate::logs::LogKind;
use crate::site::ROOMS;

/// What a client may do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Join,
    Leave,
    Publish,
    PublishKeyed,
    /// Does something to a message that is there.
    Change,
    /// Reacts to one, or does no longer.
    React,
    Custom,
    Typing,
    History,
    Echo,
    Heartbeat,
    Ping,
    Stale,
    Crash,
    Nonsense,
    Poison,
    Close,
    /// To go on with another token.
    Renew,
    /// Appends to a message that grows, or begins one.
    Grow,
    /// Decides something of a room, or of somebody in it.
    Decide,
    /// Asks how users stand in a room.
    ListMembers,
    /// Reports a message.
    Report,
    /// Asks what has been done in a room.
    Audit,
    /// Asks for an invite.
    Invite,
    /// Attaches another meta to its presence.
    Attach,
}

/// Those that a run cannot do without, and those of which each run leaves out some.
const ALWAYS: [(Act, u64); 3] = [(Act::Join, 10), (Act::Publish, 12), (Act::Leave, 2)];
const SOMETIMES: [(Act, u64); 12] = [
    (Act::PublishKeyed, 6),
    (Act::Custom, 6),
    (Act::Typing, 4),
    (Act::History, 4),
    (Act::Echo, 4),
    (Act::Heartbeat, 2),
    (Act::Ping, 2),
    (Act::Stale, 2),
    (Act::Crash, 2),
    (Act::Nonsense, 3),
    (Act::Poison, 1),
    (Act::Close, 1),
];

/// What may happen next in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// A client connects.
    Connect,
    /// A client acts.
    Act,
    /// Bytes reach the server, or the end of them.
    ToServer,
    /// Bytes reach a client.
    ToClient,
    /// A socket takes bytes again.
    Writable,
    /// Records reach another shard.
    Ring,
    /// A shard ends a turn of its loop.
    Turn,
    /// Time passes.
    Time,
    /// A client goes without a word: its socket is reset, or ends anywhere.
    Vanish,
    /// A client stops reading, or reads again.
    Stall,
    /// The way from one shard to another stands still, or goes on.
    Jam,
    /// A request of the API.
    Request,
    /// Somebody sets the wall clock.
    SetClock,
    /// A connection that polls breaks.
    CutPoll,
    /// A log says its next thing.
    Log,
    /// A shard begins anew.
    Restart,
}

/// A run, before it begins.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) steps: u64,
    pub(crate) bug: Option<Bug>,
    pub(crate) shards: u16,
    pub(crate) log: LogKind,
    pub(crate) clients: usize,
    pub(crate) rooms: Vec<&'static str>,
    pub(crate) settings: Settings,
    pub(crate) acts: Vec<(Act, u64)>,
    pub(crate) happenings: Vec<(Happening, u64)>,
    /// How many bytes a socket takes before it is full.
    pub(crate) window: usize,
    /// How many bytes are in the way to another shard when it is told to pause.
    pub(crate) ring_bytes: usize,
    /// One in how many writes is short without need.
    pub(crate) short_write: u64,
    /// One in how many clocked stretches of work seems to take long.
    pub(crate) slow_work: u64,
    /// The longest body of a message.
    pub(crate) body_bytes: usize,
    /// Whether messages mention users and have data, and threads are typed in.
    pub(crate) is_rich: bool,
    /// How long tokens last, in seconds.
    pub(crate) token_s: u64,
    /// Whether rooms may be let go although somebody may still want them.
    pub(crate) forgets_rooms: bool,
}

impl Plan {
    pub(crate) fn new(seed: u64, steps: u64, bug: Option<Bug>) -> Self {
        let draws = &mut Draws::new(seed ^ 0x005e_ed0f_c4a7);
        let shards = if bug.is_some() { 3 } else { *draws.pick(&[1, 2, 2, 3, 3, 4]) };
        let clients = draws.size(3, 10);
        let rooms = ROOMS[..draws.size(1, ROOMS.len())].to_vec();
        let body_bytes = *draws.pick(&[50, 200, 200, 2_000, 16 * 1_024]);
        let history = history(draws, body_bytes);
        let mut limits = limits(draws, shards, &history, body_bytes);
        limits.memory_bytes = usize::from(shards)
            * memory_bytes(draws, steps, clients, rooms.len(), &history, body_bytes);
        let presence = presence(draws);
        let writes_per_flush = *draws.pick(&[1, 2, 5, WRITES_PER_FLUSH]);
        let writes_per_turn = *draws.pick(&[1, 2, 7, WRITES_PER_TURN]);
        let turn_work = *draws.pick(&[1, 5, 50, TURN_WORK]);
        let gathered_members = *draws.pick(&[0, 0, 1, 2, GATHERED_MEMBERS]);
        // Some are too long.
        let body_bytes = body_bytes + (body_bytes / 4).min(500);
        // Each shard has its share, which may be smaller than what is needed on it.
        let forgets_rooms = limits.rooms < 1_000
            || history.total_bytes < 200 * 1_024 * 1_024
            || limits.memory_bytes != 0;
        let mut settings = Settings::new(shards, limits, history, presence, Vec::new());
        settings.writes_per_flush = writes_per_flush;
        settings.writes_per_turn = writes_per_turn;
        settings.turn_work = turn_work;
        settings.endings_work = (turn_work / 2).max(1);
        settings.gathered_members = gathered_members;
        settings.inviter = Some(Arc::new(inviter()));
        let mut plan = Self {
            seed,
            steps,
            bug,
            shards,
            log: LogKind::of(seed, bug),
            clients,
            rooms,
            acts: acts(draws),
            happenings: happenings(draws),
            window: *draws.pick(&[100, 500, 4_000, 64_000, 1_000_000]),
            ring_bytes: *draws.pick(&[300, 2_000, 20_000, 1_000_000]),
            short_write: *draws.pick(&[2, 10, 1_000]),
            slow_work: *draws.pick(&[10, 100, u64::MAX]),
            body_bytes,
            is_rich: bug.map_or(seed % 5 < 3, Bug::is_of_rich),
            token_s: *draws.pick(&[20, 600, 1_000_000]),
            forgets_rooms,
            settings,
        };
        // A join is some 60 to 200.
        plan.settings.admission_line_bytes =
            *draws.pick(&[100, 500, ADMISSION_LINE_BYTES_MAX, ADMISSION_LINE_BYTES_MAX]);
        if plan.log.keeps() {
            let weight = Draws::new(seed ^ 0x5a1d).range(2, 60);
            plan.happenings.push((Happening::Log, weight));
        }
        let renews = &mut Draws::new(seed ^ 0x70_6b65);
        let is_about_tokens = matches!(bug, Some(Bug::RenewForEver | Bug::RenewInVain));
        if is_about_tokens || bug.is_none() && renews.one_in(2) {
            plan.acts.push((Act::Renew, renews.range(1, 12)));
        }
        // Of a sequence of its own, too.
        let changes = &mut Draws::new(seed ^ 0x00c4_a6e5);
        if !changes.one_in(4) || plan.bug.is_some_and(Bug::is_of_changes) {
            plan.acts.push((Act::Change, changes.range(2, 30)));
        }
        if plan.bug.is_some_and(Bug::is_of_what_is_read) {
            plan.settings.history.messages = 1;
        }
        if plan.bug == Some(Bug::LoseTombstone) {
            plan.settings.history.messages = 3;
            plan.let_all_speak();
        }
        let many = if plan.settings.limits.memory_bytes == 0 { 1_000 } else { 5 };
        plan.settings.chat.changes = *changes.pick(&[2, 5, many, many]);
        if plan.bug.is_none() {
            plan.settings.chat.pins = *changes.pick(&[1, 3, 50]);
        }
        let reactions = &mut Draws::new(seed ^ 0x072e_ac75);
        if reactions.one_in(2) && plan.bug.is_none() {
            plan.acts.push((Act::React, reactions.range(2, 20)));
        }
        plan.settings.chat.react_tick_ms = *reactions.pick(&[1, 50, 250, 2_000]);
        plan.settings.chat.emoji_per_message = *reactions.pick(&[2, 20]);
        plan.settings.chat.reactions_per_user = *reactions.pick(&[1, 5]);
        plan.let_messages_grow();
        plan.let_members_decide();
        plan.let_members_look_after();
        plan.let_metas_change();
        if plan.settings.limits.memory_bytes != 0 {
            // Keys are not let go of. With them the bound would have to be so wide that nothing
            // reached it.
            plan.acts.retain(|(act, _)| *act != Act::PublishKeyed);
        }
        plan
    }
}

impl Plan {
    /// Messages grow in half of the seeds. Of sequences of their own, as what follows.
    fn let_messages_grow(&mut self) {
        let draws = &mut Draws::new(self.seed ^ 0x6_9204);
        self.settings.chat.stream_s = *draws.pick(&[1, 2, 60]);
        if self.bug.is_some_and(Bug::is_of_growing) {
            let is_endless = self.bug == Some(Bug::GrowForEver);
            self.settings.chat.stream_s = if is_endless { 1 } else { 60 };
            self.rooms.truncate(2);
            self.let_all_speak();
        } else if !draws.one_in(2) || self.bug.is_some() {
            return;
        }
        self.acts.push((Act::Grow, draws.range(4, 40)));
    }

    /// In half of them members attach other metas.
    fn let_metas_change(&mut self) {
        if self.bug.is_none() && Draws::new(self.seed ^ 0x006d_6574).one_in(2) {
            self.acts.push((Act::Attach, 5));
        }
    }

    /// Something is decided in half of them; and in some of those shards begin anew.
    fn let_members_decide(&mut self) {
        let draws = &mut Draws::new(self.seed ^ 0x0041_6874);
        let is_planted = self.bug.is_some_and(Bug::is_of_rights);
        if !is_planted && (!draws.one_in(2) || self.bug.is_some()) {
            return;
        }
        let least = if is_planted { 30 } else { 3 };
        self.acts.push((Act::Decide, draws.range(least, 30)));
        if self.bug == Some(Bug::DoForMuted) {
            self.acts.push((Act::Custom, 60));
        }
        // Where few meet, nobody is put out.
        self.rooms.truncate(draws.size(1, 2));
        let forgets = self.bug == Some(Bug::ForgetDecision);
        if self.log.keeps() && (draws.one_in(2) || forgets) {
            self.happenings.push((Happening::Restart, if forgets { 3 } else { 1 }));
        }
        if self.bug.is_some() || draws.one_in(2) {
            self.let_all_speak();
        }
    }

    /// Where something is decided, members look at that.
    fn let_members_look_after(&mut self) {
        let is_planted = self.bug.is_some_and(Bug::is_of_looking_after);
        if self.decides() && (is_planted || self.bug.is_none()) {
            let draws = &mut Draws::new(self.seed ^ 0x100c_af7e);
            for act in [Act::ListMembers, Act::Report, Act::Audit, Act::Invite] {
                self.acts.push((act, draws.range(2, 8)));
            }
        }
    }

    /// Nobody is kept from speaking by rates, or for long.
    fn let_all_speak(&mut self) {
        (self.settings.limits.publish_per_s, self.settings.limits.join_per_s) = (0, 0);
        self.token_s = 1_000_000;
    }

    /// Whether anything is decided in its rooms.
    pub(crate) fn decides(&self) -> bool {
        self.acts.iter().any(|(act, _)| *act == Act::Decide)
    }

    /// What the server is told, which is what the checks know, unless that is the bug.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = self.settings.clone();
        // A server has a table of rates of its own, which all its shards share.
        settings.rates = Arc::new(Rates::new(self.seed));
        match self.bug {
            Some(Bug::GrowForEver) => settings.chat.stream_s = 1_000_000,
            Some(Bug::UnboundedOutput) => settings.limits.conn_out_bytes = usize::MAX,
            Some(Bug::HurryReaders) => settings.limits.out_ms /= 8,
            Some(Bug::BoundReaders) => settings.limits.conn_out_bytes /= 64,
            Some(Bug::WaitForEver) => settings.limits.out_ms = u64::MAX / 2,
            Some(Bug::UnboundedMemory) => settings.memory_bytes_max = usize::MAX,
            Some(Bug::UnboundedHistory) => settings.history_bytes_max = usize::MAX,
            Some(Bug::UnboundedWork) => settings.turn_work = u32::MAX,
            Some(Bug::UnboundedEnds) => settings.endings_work = u32::MAX,
            Some(Bug::UnboundedRooms) => settings.rooms_max = u32::MAX,
            Some(Bug::UnboundedConnections) => settings.conns_max = u32::MAX,
            Some(Bug::ForgetAcked) => settings.history.messages = settings.history.messages.min(2),
            _ => {}
        }
        settings
    }
}

/// What a message has besides its body, in bytes, as the configuration reckons it. Its relations
/// between limits hold here too.
pub(crate) const AROUND_BODY_BYTES: usize = 2_048;

fn limits(draws: &mut Draws, shards: u16, history: &HistoryLimits, body_bytes: usize) -> Limits {
    let frame_bytes = body_bytes + AROUND_BODY_BYTES + draws.pick(&[0, 0, 2_000, 60_000]);
    let message_bytes = frame_bytes * draws.size(1, 2);
    Limits {
        connections: if draws.one_in(8) { u32::from(shards) * 2 } else { 0 },
        admissions_per_turn: *draws.pick(&[1, 1, 3, 64]),
        admission_wait_ms: *draws.pick(&[50, 2_000]),
        frame_bytes,
        message_bytes,
        fragments: *draws.pick(&[8, 128]),
        channels_per_conn: *draws.pick(&[2, 4, 100, 100, 100]),
        body_bytes,
        publish_per_s: *draws.pick(&[0, 2, 20, 1_000]),
        publish_burst: *draws.pick(&[1, 5, 60]),
        join_per_s: *draws.pick(&[0, 2, 20, 1_000]),
        join_burst: *draws.pick(&[2, 5, 100]),
        // As in a world before these were, so that what else is drawn is the same.
        rooms_per_s: 20,
        room_lag_bytes: 2 * (message_bytes + FRAME_HEADER_BYTES_MAX)
            + draws.pick(&[0, 0, 2_000, 1_000_000]),
        conn_out_bytes: 2 * history.page_bytes + draws.pick(&[0, 0, 4_000, 1_000_000]),
        out_ms: *draws.pick(&[2_000, 30_000]),
        rooms: if draws.one_in(4) { u32::from(shards) * 3 } else { 100_000 },
        ..Limits::default()
    }
}

/// Enough on one shard for all that is there at rest, and little for what is not taken and not
/// whole; 0 where that would be much.
fn memory_bytes(
    draws: &mut Draws,
    steps: u64,
    clients: usize,
    rooms: usize,
    history: &HistoryLimits,
    body_bytes: usize,
) -> usize {
    let count = usize::try_from(history.messages)
        .expect("small")
        .min(usize::try_from(steps).expect("small"));
    let history_bytes =
        2 * rooms * history.room_bytes.min(count * (body_bytes + AROUND_BODY_BYTES / 4));
    // Besides rooms there are the lobby and those of the users.
    let rooms_bytes = (rooms + 7) * (2 * ROOM_MEMORY_BYTES + clients * MEMBER_MEMORY_BYTES);
    let at_rest = 30_000 + history_bytes + rooms_bytes;
    let bounded = at_rest + at_rest / 4 + draws.pick(&[0, 10_000, 100_000]);
    if at_rest > 300_000 || draws.one_in(3) { 0 } else { bounded }
}

fn history(draws: &mut Draws, body_bytes: usize) -> HistoryLimits {
    let least = body_bytes + AROUND_BODY_BYTES;
    let room_bytes = least + draws.pick(&[0, 5_000, 512 * 1_024, 512 * 1_024]);
    HistoryLimits {
        messages: *draws.pick(&[0, 1, 5, 20, 1_000, 1_000]),
        room_bytes,
        total_bytes: if draws.one_in(4) {
            room_bytes * draws.size(1, 3)
        } else {
            256 * 1_024 * 1_024
        },
        page_bytes: least + draws.pick(&[0, 0, 3_000, 256 * 1_024]),
    }
}

fn presence(draws: &mut Draws) -> PresenceLimits {
    let full_max = *draws.pick(&[0, 2, 4, 1_000, 1_000]);
    let listed = *draws.pick(&[2, 4, 100]);
    PresenceLimits {
        tick_ms: *draws.pick(&[20, 50, 200]),
        tick_max_ms: 2_000,
        full_max,
        listed: if full_max == 0 { listed } else { listed.min(full_max) },
    }
}

fn acts(draws: &mut Draws) -> Vec<(Act, u64)> {
    let mut acts = ALWAYS.to_vec();
    acts.extend(SOMETIMES.iter().filter(|_| draws.one_in(2)).map(|(act, weight)| (*act, *weight)));
    acts.iter().map(|(act, weight)| (*act, weight * draws.range(1, 4))).collect()
}

fn happenings(draws: &mut Draws) -> Vec<(Happening, u64)> {
    use Happening as H;
    let mut happenings = vec![
        (H::Connect, 6),
        (H::Act, 40),
        (H::ToServer, 60),
        (H::ToClient, 60),
        (H::Writable, 15),
        (H::Ring, 40),
        (H::Turn, 50),
        (H::Time, 15),
    ];
    let faults = [
        (H::Vanish, 1),
        (H::Stall, 3),
        (H::Jam, 3),
        (H::Request, 1),
        (H::SetClock, 1),
        (H::CutPoll, 1),
    ];
    happenings.extend(faults.iter().filter(|_| draws.one_in(2)));
    for (_, weight) in &mut happenings {
        *weight *= draws.range(1, 4);
    }
    happenings
}
