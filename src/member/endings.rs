//! The ends of connections and channels, so many in a turn. A connection ends all its memberships,
//! and closes a socket; a room that loses its place ends the channels of all its members, and one
//! that becomes private puts many out. Thousands may be at the same moment, and others speak
//! meanwhile.
//!
//! Every end spends. Those that can wait do, where a turn has none left for them: connections that
//! are broken, and what a sweep has still to look at. A connection with many channels leaves some
//! of them in each turn, and is *parting* until it has left all: it hears and says nothing more.
//!
//! ```text
//!   close ──> closing ─┐                     ┌─> closing, a member of nothing
//!                      ├─ parting: a part ───┤
//!   remove ─> silent ──┘  of them in a turn  └─> removed
//!
//!   end_all ────────┐
//!   lose_homes ─────┼─> ending: a part of the members of an audience in each turn
//!   put_out ────────┤           (`audience::seats`)
//!   evict_furthest ─┘
//! ```
//!
//! Whose channel is to end is out at once: it hears nothing more from then on, no log waits for it,
//! and whatever it says in its room ends the channel before it is looked at. What waits for a later
//! turn is only that it is told so, and its home of it.
//!
//! Who goes on with another token leaves what that does not allow in parts too, out of the same
//! work (`renew`).
//!
//! Called by: `lifecycle`, `leave`, `expire`, `shard`. Calls: nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::Members;
use super::renew::Renewal;
use crate::base::slack::{ENTRIES_KEPT, Slack};
use crate::limits::LEAVING_PART;
use crate::link::ids::{AudienceKey, ConnKey};
use crate::link::io::Io;
use crate::link::outbox::Cx;

/// What becomes of a connection when it has left all its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// It goes on being closed.
    Stays,
    /// It is removed.
    Goes,
}

/// Why the channel of one member is to end, while others of its audience stay.
#[derive(Clone, Debug)]
pub(super) enum WhyAlone {
    /// Its home has put it out. It is told this, which is JSON.
    PutOut(Arc<str>),
    /// It lags too far for the memory that there is.
    Lags,
}

/// What ends of connections may still do in a turn, and which wait for the next one.
#[derive(Debug)]
pub(super) struct Endings {
    /// What is left for them, in units of [`TURN_WORK`](crate::limits::TURN_WORK).
    left: u32,
    /// Connections that are broken and wait to be removed, in order.
    broken: VecDeque<ConnKey>,
    /// Connections that are parting, in the order in which they go on. Some may be gone.
    line: VecDeque<ConnKey>,
    /// Those of them that are not gone.
    parting: HashMap<ConnKey, Afterwards, ahash::RandomState>,
    /// Audiences of which members' channels end, in the order in which they go on. Some may be
    /// gone.
    audiences: VecDeque<AudienceKey>,
    /// Why members leave one of them each by itself.
    singled: HashMap<(ConnKey, AudienceKey), WhyAlone, ahash::RandomState>,
    /// What the last one is told that is put out: mostly it is the same for all.
    told: Option<Arc<str>>,
    /// Where the sweep that is under way goes on.
    pub(super) swept: usize,
}

impl Endings {
    /// Nothing has ended yet.
    pub(super) fn new(hasher: ahash::RandomState) -> Self {
        Self {
            left: 0,
            broken: VecDeque::new(),
            line: VecDeque::new(),
            parting: HashMap::with_hasher(hasher.clone()),
            audiences: VecDeque::new(),
            singled: HashMap::with_hasher(hasher),
            told: None,
            swept: 0,
        }
    }

    /// Begins a turn.
    pub(super) fn refill<I: Io>(&mut self, cx: &Cx<'_, I>) {
        self.left = cx.settings.endings_work;
    }

    /// Whether one more may end in this turn. What was begun is finished, whatever it costs.
    pub(super) fn has_left(&self) -> bool {
        self.left > 0
    }

    /// Spends work of this turn.
    pub(super) fn spend<I: Io>(&mut self, cx: &mut Cx<'_, I>, work: u32) {
        self.left = self.left.saturating_sub(work);
        cx.budget.spend(work);
    }

    /// The work that one connection, or one audience, may do at a time to end channels.
    pub(super) fn part_of<I: Io>(cx: &Cx<'_, I>) -> u32 {
        (cx.settings.endings_work / LEAVING_PART).max(1)
    }

    /// A broken one waits for another turn, unless it is parting and goes anyway.
    pub(super) fn wait(&mut self, key: ConnKey) {
        if self.parting.get(&key) != Some(&Afterwards::Goes) {
            self.broken.push_back(key);
        }
    }

    /// The next one that waits, if it may end in this turn.
    pub(super) fn next_broken(&mut self) -> Option<ConnKey> {
        if self.has_left() { self.broken.pop_front() } else { None }
    }

    /// A connection is parting from now on, if it is not yet.
    pub(super) fn part(&mut self, key: ConnKey) {
        self.parting.entry(key).or_insert_with(|| {
            self.line.push_back(key);
            Afterwards::Stays
        });
    }

    /// A connection that is parting is to go then.
    pub(super) fn let_go_then(&mut self, key: ConnKey) {
        if let Some(afterwards) = self.parting.get_mut(&key) {
            *afterwards = Afterwards::Goes;
        }
    }

    /// The next one that is parting, if it may go on in this turn. It stands in the line no more.
    pub(super) fn next_parting(&mut self) -> Option<ConnKey> {
        while self.has_left() {
            let key = self.line.pop_front()?;
            if self.parting.contains_key(&key) {
                return Some(key);
            }
        }
        None
    }

    /// One of [`Endings::next_parting`] has channels left.
    pub(super) fn go_on_later(&mut self, key: ConnKey) {
        self.line.push_back(key);
    }

    /// A connection has left all its channels. Returns what becomes of it, if it was parting.
    pub(super) fn end_parting(&mut self, key: ConnKey) -> Option<Afterwards> {
        if self.parting.is_empty() { None } else { self.parting.remove(&key) }
    }

    /// Whether a connection has still to leave channels.
    pub(super) fn is_parting(&self, key: ConnKey) -> bool {
        self.parting.contains_key(&key)
    }

    /// How many have.
    pub(super) fn parting_count(&self) -> usize {
        self.parting.len()
    }

    /// Channels of members of an audience are to end, in later turns.
    pub(super) fn end_audience_later(&mut self, key: AudienceKey) {
        self.audiences.push_back(key);
    }

    /// The next audience of which channels are to end, if they may in this turn. It stands in the
    /// line no more.
    pub(super) fn next_audience(&mut self) -> Option<AudienceKey> {
        if self.has_left() { self.audiences.pop_front() } else { None }
    }

    /// Whether there are audiences of which channels are to end.
    pub(super) fn has_audiences(&self) -> bool {
        !self.audiences.is_empty()
    }

    /// Whether channels of an audience are to end. For tests: it looks at all of them.
    pub(super) fn ends_audience(&self, key: AudienceKey) -> bool {
        self.audiences.contains(&key)
    }

    /// Why the channel of one member is to end.
    pub(super) fn single_out(&mut self, conn: ConnKey, audience: AudienceKey, why: WhyAlone) {
        self.singled.insert((conn, audience), why);
    }

    /// What a member is told that is put out, shared with the one before if that is told the same.
    pub(super) fn why_put_out(&mut self, payload: &str) -> WhyAlone {
        let known = self.told.as_ref().filter(|told| &***told == payload);
        let told = known.cloned().unwrap_or_else(|| payload.into());
        self.told = Some(Arc::clone(&told));
        WhyAlone::PutOut(told)
    }

    /// Takes why the channel of one member is to end; `None`, if it is no other than that of all.
    pub(super) fn take_why(&mut self, conn: ConnKey, audience: AudienceKey) -> Option<WhyAlone> {
        if self.singled.is_empty() { None } else { self.singled.remove(&(conn, audience)) }
    }

    /// Of how many channels that are to end it is kept why.
    pub(super) fn singled_count(&self) -> usize {
        self.singled.len()
    }

    /// Whether it is of one.
    pub(super) fn is_singled(&self, conn: ConnKey, audience: AudienceKey) -> bool {
        self.singled.contains_key(&(conn, audience))
    }

    /// Whether some wait.
    pub(super) fn has_work(&self) -> bool {
        !self.broken.is_empty() || !self.line.is_empty() || self.has_audiences()
    }

    /// Gives back memory that is mostly unused.
    pub(super) fn trim(&mut self) {
        let Self { left: _, broken, line, parting, audiences, singled, told, swept: _ } = self;
        audiences.trim(ENTRIES_KEPT);
        singled.trim(ENTRIES_KEPT);
        *told = None;
        broken.trim(ENTRIES_KEPT);
        line.trim(ENTRIES_KEPT);
        parting.trim(ENTRIES_KEPT);
    }
}

impl Members {
    /// Whether something is to end in later turns, or to go on with another token.
    pub(crate) fn has_endings(&self) -> bool {
        self.endings.has_work() || !self.renewals.is_empty()
    }

    /// Whether it may in this one.
    pub(crate) fn may_end(&self) -> bool {
        self.endings.has_left()
    }

    /// The work that one may do at a time, in this turn.
    pub(crate) fn part_of_ending<I: Io>(&self, cx: &Cx<'_, I>) -> u32 {
        Endings::part_of(cx).min(self.endings.left)
    }

    /// Spends what ends may do in a turn.
    pub(crate) fn spend_ending<I: Io>(&mut self, cx: &mut Cx<'_, I>, work: u32) {
        self.endings.spend(cx, work);
    }

    /// Takes the next connection that goes on with another token.
    pub(crate) fn next_renewal(&mut self) -> Option<Renewal> {
        self.renewals.next()
    }
}
