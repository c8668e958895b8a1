//! The half of a shard that connections are on: what a client's messages do, and what its rooms say
//! to it. `Phoenix.Socket` and `Phoenix.Channel`, seen from one connection.
//!
//! ```text
//!   message ── dispatch ─┬ join, push, leave ── Ask ──> shard ──> the room's home, here or elsewhere
//!                        └ answered at once
//!   ToMember ── hear ────┬ an answer ──> the connection's output
//!                        └ a broadcast ──> the audience's log
//! ```
//!
//! A channel is a topic that a connection has joined. While it is on its way in or out, the
//! connection is parked by the next message for that topic; everything else is answered in the
//! order in which it came, also where the room's home is another shard.
//!
//! Invariants:
//!
//! 1. a seat is taken by a live connection that lists its audience, and the other way round;
//! 2. a connection has one channel a topic;
//! 3. a join that is under way is kept until it is answered.
//!
//! Deliberately absent: who may do what in a room, and in which order things are said (`room`); the
//! way to a room (`shard`): what is asked of one is returned, or waits in `asks`.
//!
//! Source: `Phoenix.Socket.handle_in/4`, recorded from Phoenix 1.8 (`docs/protocol.md`).
//!
//! Called by: `shard`. Calls: `audience`, `conn`.

mod answers;
mod channels;
mod endings;
mod expire;
mod fetch;
mod hear;
mod join;
mod leave;
mod lifecycle;
mod lobby;
mod params;
mod push;
mod refs;
mod renew;
mod show;
mod wishes;

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

use channels::{Arrival, Channel, Channels};
use endings::Endings;
use refs::{JoinRef, PackedRef};
use renew::Renewals;

use crate::audience::{Audiences, NO_SEAT};
use crate::base::dense::Dense;
use crate::base::slack::{ENTRIES_KEPT, Slack};
use crate::conn::{Conns, Stage};
use crate::limits::{
    ANSWERS_UNDER_WAY_MAX, CONN_WRITES_PER_TURN, JOINS_UNDER_WAY_MAX, PUSHES_UNDER_WAY_MAX,
};
use crate::link::ask::Ask;
use crate::link::ids::{AudienceKey, ConnKey};
use crate::link::io::Io;
use crate::link::outbox::Cx;
use crate::link::settings::Settings;
use crate::link::topic;
use crate::wire::phx::Message;

pub(crate) use channels::State;
pub(crate) use expire::ExpiresAt;
pub(crate) use join::Joiner;
pub(crate) use push::Push;
pub(crate) use renew::Renewal;

/// The connections of a shard, their channels, and the audiences that they sit in.
pub(crate) struct Members {
    pub(crate) conns: Conns,
    pub(crate) audiences: Audiences,
    /// By the connections' index.
    channels: Dense<Channels>,
    /// Joins that are under way, and refs of joins that are no numbers: by channel.
    arrivals: HashMap<(ConnKey, AudienceKey), Arrival, ahash::RandomState>,
    odd_refs: HashMap<(ConnKey, AudienceKey), JoinRef, ahash::RandomState>,
    /// Questions without a message of a client, in order: mostly ends of memberships.
    asks: VecDeque<Ask<'static>>,
    /// Ends of memberships by eviction. Homes are told at the end of a flush.
    evicted: Vec<Ask<'static>>,
    endings: Endings,
    renewals: Renewals,
    /// How many connections' own output may still be written in this turn.
    conn_writes_left: usize,
}

/// What a message asks for.
#[derive(Debug)]
pub(crate) enum Dispatch<'m> {
    /// Nothing more: the message has been answered.
    Done,
    /// To wait: the message cannot be handled yet, and must be offered again.
    Park,
    /// To join a topic. `is_new` unless the connection is in it already.
    Join { topic: Cow<'m, str>, is_new: bool },
    /// To leave one.
    Leave { audience: AudienceKey },
    /// A push in a channel.
    Push { audience: AudienceKey, event: Cow<'m, str> },
    /// To go on with another token.
    Renew { audience: AudienceKey },
}

impl Members {
    /// No members yet. `hasher` makes a hasher from a number that is different for each table.
    pub(crate) fn new(settings: &Settings, hasher: impl Fn(u64) -> ahash::RandomState) -> Self {
        Self {
            audiences: Audiences::new(settings.limits.room_lag_bytes, hasher(1)),
            channels: Dense::new(),
            arrivals: HashMap::with_hasher(hasher(7)),
            odd_refs: HashMap::with_hasher(hasher(8)),
            asks: VecDeque::new(),
            evicted: Vec::new(),
            endings: Endings::new(hasher(13)),
            renewals: Renewals::new(hasher(14)),
            conn_writes_left: CONN_WRITES_PER_TURN,
            conns: Conns::new(settings.warn_ms, hasher),
        }
    }

    /// Makes the keys of another life of the shard find nothing here.
    pub(crate) fn follow(&mut self, other: &Self) {
        self.conns.follow(&other.conns);
        self.audiences.follow(&other.audiences);
    }

    /// Begins a turn: its work is before it.
    pub(crate) fn begin_turn<I: Io>(&mut self, cx: &Cx<'_, I>) {
        self.endings.refill(cx);
        self.conn_writes_left = CONN_WRITES_PER_TURN;
        // Connections that waited for a way go first: their input came before that of this turn.
        self.conns.unpause(cx);
    }

    /// Decides what a message asks for, and answers what needs no room. A connection has
    /// `channels_max` channels at most.
    pub(crate) fn dispatch<'m>(
        &mut self,
        conn: ConnKey,
        channels_max: u32,
        message: &'m Message<'_>,
    ) -> Dispatch<'m> {
        if self.renewals.contains(conn) {
            return Dispatch::Park;
        }
        let Some(topic) = message.topic() else { return self.answer_unmatched(conn, message) };
        let event = message.event();
        if topic == topic::PHOENIX {
            if event.as_deref() != Some("heartbeat") {
                return self.answer_unmatched(conn, message);
            }
            return self.answer_alone(conn, message, "null", "ok", "{}");
        }
        let audience = self.audiences.find(&topic);
        if let Some(audience) = audience
            && self.endings.has_audiences()
        {
            self.end_before_turn(conn, audience);
        }
        let channel = audience.and_then(|audience| self.channel(conn, audience)).copied();
        let Some(channel) = channel else {
            return match event.as_deref() {
                Some("phx_join")
                    if self.is_joining_much(conn) || self.awaits_place(conn, channels_max) =>
                {
                    Dispatch::Park
                }
                Some("phx_join") => Dispatch::Join { topic, is_new: true },
                Some("phx_leave") => {
                    self.answer_alone(conn, message, &message.join_ref, "ok", "{}")
                }
                _ => self.answer_unmatched(conn, message),
            };
        };
        if channel.state != State::Joined {
            return Dispatch::Park;
        }
        let audience = channel.audience;
        match event {
            Some(event) if event == "phx_join" && self.is_joining_much(conn) => {
                return Dispatch::Park;
            }
            Some(event) if event == "phx_join" => return Dispatch::Join { topic, is_new: false },
            // The message belongs to an earlier join, which has ended.
            _ if !self.owns(conn, &channel, message) => {}
            Some(event) if event == "phx_leave" => return Dispatch::Leave { audience },
            // These answers may be large.
            Some(event)
                if (event == topic::HISTORY || event == topic::SEARCH)
                    && channel.outstanding >= ANSWERS_UNDER_WAY_MAX =>
            {
                return Dispatch::Park;
            }
            // Outstanding answers are bounded: the next push is not read before some of them have
            // come.
            _ if channel.outstanding >= PUSHES_UNDER_WAY_MAX => return Dispatch::Park,
            // What a join under way is allowed must not change before it is answered.
            Some(event) if event == topic::ACCESS_TOKEN && self.is_joining(conn) => {
                return Dispatch::Park;
            }
            Some(event) if event == topic::ACCESS_TOKEN => return Dispatch::Renew { audience },
            Some(event) if !topic::is_phoenix(&event) => {
                return Dispatch::Push { audience, event };
            }
            // An event that cannot be read: the answer says so.
            None if message.payload.is_err() => {
                return Dispatch::Push { audience, event: Cow::Borrowed("") };
            }
            _ => self.evict(conn, audience, "channel_crash"),
        }
        Dispatch::Done
    }

    /// The channels of a connection, in the order in which they were joined. Whoever is being
    /// closed has none: what is said in those that it has still to leave is not for it.
    fn channels(&self, conn: ConnKey) -> &[Channel] {
        if self.conns.is_closing(conn) { &[] } else { self.held_channels(conn) }
    }

    /// The same, with those that a connection that is being closed has still to leave.
    fn held_channels(&self, conn: ConnKey) -> &[Channel] {
        let is_live = self.conns.contains(conn);
        let channels = self.channels.get(conn.index() as usize).filter(|_| is_live);
        channels.map_or(&[], |channels| &**channels)
    }

    /// How many channels a connection has.
    pub(crate) fn channels_count(&self, conn: ConnKey) -> usize {
        self.channels(conn).len()
    }

    /// Whether as many joins of a connection are under way as may be. Each may be answered with a
    /// page of history, which counts against the output only when it arrives.
    fn is_joining_much(&self, conn: ConnKey) -> bool {
        self.joins_under_way(conn) >= JOINS_UNDER_WAY_MAX
    }

    /// Whether a join of a connection is under way.
    fn is_joining(&self, conn: ConnKey) -> bool {
        self.joins_under_way(conn) > 0
    }

    fn joins_under_way(&self, conn: ConnKey) -> usize {
        let is_joining =
            |channel: &&Channel| matches!(channel.state, State::Joining | State::Rejoining);
        self.channels(conn).iter().filter(is_joining).count()
    }

    /// Whether a connection has all channels that it may have, and leaves one of them: who has
    /// asked to leave a room may join another.
    fn awaits_place(&self, conn: ConnKey, channels_max: u32) -> bool {
        let channels = self.channels(conn);
        let is_leaving =
            |channel: &Channel| matches!(channel.state, State::Leaving | State::LeavingUnheard);
        channels.len() >= channels_max as usize && channels.iter().any(is_leaving)
    }

    /// The channel of a connection in an audience, if it has one.
    fn channel(&self, conn: ConnKey, audience: AudienceKey) -> Option<&Channel> {
        self.channels(conn).iter().find(|channel| channel.audience == audience)
    }

    /// See [`Members::channel`].
    fn channel_mut(&mut self, conn: ConnKey, audience: AudienceKey) -> Option<&mut Channel> {
        if !self.conns.contains(conn) || self.conns.is_closing(conn) {
            return None;
        }
        let channels = self.channels.get_mut(conn.index() as usize)?;
        channels.iter_mut().find(|channel| channel.audience == audience)
    }

    /// The state of a connection's channel in a topic, if it has one.
    #[cfg(test)]
    pub(crate) fn state(&self, conn: ConnKey, topic: &str) -> Option<State> {
        let audience = self.audiences.find(topic)?;
        self.channel(conn, audience).map(|channel| channel.state)
    }

    /// Gives a connection a channel, with the ref of its join.
    fn insert_channel(&mut self, conn: ConnKey, channel: Channel, join_ref: &JoinRef) {
        if !self.conns.contains(conn) {
            return;
        }
        let packed = PackedRef::of(join_ref);
        if packed == PackedRef::ODD {
            self.odd_refs.insert((conn, channel.audience), join_ref.clone());
        }
        let index = conn.index() as usize;
        self.channels.grow(index + 1, Channels::default);
        self.channels[index].push(Channel { join_ref: packed, ..channel });
    }

    /// Whether a push belongs to the join that made a channel.
    fn owns(&self, conn: ConnKey, channel: &Channel, message: &Message<'_>) -> bool {
        let odd = || self.join_ref(conn, channel).owns(message);
        channel.join_ref.owns(message).unwrap_or_else(odd)
    }

    /// The ref of the join that made a channel.
    fn join_ref(&self, conn: ConnKey, channel: &Channel) -> JoinRef {
        let odd = || self.odd_refs.get(&(conn, channel.audience)).cloned();
        channel
            .join_ref
            .unpack()
            .or_else(odd)
            .expect("a ref that is no number is kept beside its channel")
    }

    /// Takes the next question, in order.
    pub(crate) fn next_ask(&mut self) -> Option<Ask<'static>> {
        self.asks.pop_front()
    }

    /// Takes the end of the next evicted membership.
    pub(crate) fn next_evicted(&mut self) -> Option<Ask<'static>> {
        self.evicted.pop()
    }

    /// Forgets the evictions that a shard was to be told, which has begun anew.
    pub(crate) fn forget_evicted(&mut self, shard: u16) {
        self.evicted.retain(|ask| !matches!(ask, Ask::Home { shard: to, .. } if *to == shard));
    }

    /// Whether the next turn has work here.
    pub(crate) fn has_work(&self) -> bool {
        let has_asks = !self.asks.is_empty() || !self.evicted.is_empty();
        let has_endings = self.has_endings();
        self.conns.has_work() || self.audiences.is_behind() || has_asks || has_endings
    }

    /// Gives back memory that is mostly unused.
    pub(crate) fn tidy(&mut self) {
        let Self {
            conns,
            audiences,
            channels: _,
            arrivals,
            odd_refs,
            asks,
            evicted,
            endings,
            renewals,
            conn_writes_left: _,
        } = self;
        conns.tidy();
        audiences.tidy();
        arrivals.trim(ENTRIES_KEPT);
        odd_refs.trim(ENTRIES_KEPT);
        asks.trim(ENTRIES_KEPT);
        evicted.trim(ENTRIES_KEPT);
        endings.trim();
        renewals.trim();
    }

    /// Panics if the parts do not agree. For tests: it looks at everything.
    pub(crate) fn check(&self) {
        self.conns.check();
        self.audiences.check(&self.conns);
        for (key, audience) in self.audiences.iter() {
            for (seat, taken) in (0..).zip(&audience.seats) {
                let conn = self.conns.key_at(taken.conn);
                let conn = conn.expect("a seat is taken by a live connection");
                let mut channels = self.held_channels(conn).iter();
                let channel = channels.find(|channel| channel.audience == key);
                let channel = channel.expect("one that lists this audience");
                assert_eq!(channel.seat, seat, "and knows its seat");
            }
        }
        let (mut channels, mut odd, mut arriving, mut parting) = (0, 0, 0, 0);
        let mut singled = 0;
        for conn in self.conns.keys() {
            self.check_channels(conn);
            channels += self.held_channels(conn).len();
            parting += usize::from(self.endings.is_parting(conn));
            for channel in self.held_channels(conn) {
                let key = (conn, channel.audience);
                if channel.join_ref == PackedRef::ODD {
                    assert!(self.odd_refs.contains_key(&key), "an odd ref is kept");
                    odd += 1;
                }
                let is_singled = self.endings.is_singled(conn, channel.audience);
                singled += usize::from(is_singled);
                let of = self.audiences.get(channel.audience).filter(|_| channel.seat != NO_SEAT);
                let is_ending = of.is_some_and(|of| of.is_ending(channel.seat));
                let has_why = of.is_some_and(|of| of.why_ending(channel.seat).is_some());
                assert!(is_ending || !is_singled, "what ends by itself is to end");
                assert!(has_why || is_singled || !is_ending, "and what ends has a reason");
                if matches!(channel.state, State::Joining | State::Rejoining) {
                    assert!(self.arrivals.contains_key(&key), "a join will be answered");
                    arriving += 1;
                }
            }
        }
        let kept = (self.odd_refs.len(), self.arrivals.len());
        assert_eq!(kept, (odd, arriving), "and no other is kept");
        assert_eq!(self.endings.parting_count(), parting, "who is parting is there");
        assert_eq!(self.endings.singled_count(), singled, "and so is what ends by itself");
        for (key, _) in self.audiences.iter().filter(|(_, audience)| audience.ending() > 0) {
            assert!(self.endings.ends_audience(key), "what is to end is in the line");
        }
        self.renewals.check();
        let all = (0..self.channels.len()).map(|index| self.channels[index].len()).sum::<usize>();
        assert_eq!(all, channels, "channels are of live connections");
    }

    fn check_channels(&self, conn: ConnKey) {
        let channels = self.held_channels(conn);
        let is_settled = self.conns.stage(conn) == Stage::Settled;
        assert!(channels.is_empty() || is_settled, "who has joined stays where that was");
        let is_parting = self.endings.is_parting(conn);
        let is_closing = self.conns.is_closing(conn);
        assert!(!is_parting || is_closing, "who is parting is being closed");
        assert!(
            !is_closing || channels.is_empty() || is_parting,
            "who is closing leaves whatever it is a member of"
        );
        for (index, channel) in channels.iter().enumerate() {
            let audience = self.audiences.get(channel.audience);
            let audience = audience.expect("a channel has an audience");
            let may_hear = |room| self.conns.identity(conn).is_some_and(|who| who.may_join(room));
            let hears = channel.seat != NO_SEAT;
            let is_allowed = !hears || topic::room_of(&audience.topic).is_none_or(may_hear);
            assert!(is_allowed, "a token allows every room that its connection hears");
            if hears {
                let taken = audience.seats[channel.seat as usize].conn;
                assert_eq!(taken, conn.index(), "and the seat it knows is its own");
            }
            let is_other = |other: &Channel| other.audience != channel.audience;
            assert!(channels[..index].iter().all(is_other), "one channel a topic");
        }
    }
}
