//! How newcomers learn who is there: the list that each is sent after its join, and the lists that
//! rooms keep for those who come next.
//!
//! At the home the list is written once for all newcomers of a shard, and kept while the room
//! rests, since newcomers follow one another; what they take in all is bounded. On the members'
//! shard each newcomer gets the list with its own entry in it, if the list has none.
//!
//! Deliberately absent: when (`tick`), and how a user is written (`presence`).

use smallvec::SmallVec;

use super::answers::text;
use super::audience::Audience;
use super::conn::Conn;
use super::home::{Home, Outpost};
use super::message::{Field, ToMember};
use super::output::out_of;
use super::{Io, Shard, Turn, presence};
use crate::base::arena::Key;
use crate::chat::presence::{Count, Slot};
use crate::limits::POOL_BUFFER_BYTES_MAX;
use crate::wire::phx::{Outgoing, Payload};

/// For how long a newcomer may wait for a tick, in milliseconds: Phoenix sends the list behind the
/// diff with one's own coming, and so does a tick.
const GREET_WITHIN_MS: u64 = 500;

/// How many bytes of lists are kept in all, or one if it is longer. In a storm there would be one
/// in every room, half as much as its members take for good, and an allocator keeps what was
/// touched once. A list that is not kept is written anew for whoever comes next.
const LISTS_BYTES_MAX: usize = 256 * 1_024;

/// How many buffers of lists are kept for the next room that needs one, and how large a kept one
/// may be.
pub(super) const SPARE_LISTS_MAX: usize = 16;
/// See [`SPARE_LISTS_MAX`].
pub(super) const SPARE_LIST_BYTES_MAX: usize = 16 * 1_024;

/// For how many newcomers at once a room keeps the memory.
const NEWCOMERS_KEPT: usize = 4;

/// A list that is kept, for as long as newcomers follow one another.
#[derive(Debug)]
pub(super) struct List {
    bytes: Vec<u8>,
    /// Whether somebody has been sent it since [`Shard::let_lists_go`].
    is_needed: bool,
}

impl List {
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

impl Shard {
    /// Has a new member greeted: at the next tick, or at the end of this turn if that is not soon.
    pub(super) fn expect_greeting<I: Io>(
        &mut self,
        turn: &Turn<'_, I>,
        key: Key<Home>,
        slot: Slot,
    ) {
        let Some(home) = self.homes.get_mut(key) else { return };
        home.roll.newcomers.push(slot);
        if home.roll.wait_ms(turn.now.mono_ms) > GREET_WITHIN_MS
            && self.greeting.last() != Some(&key)
        {
            self.greeting.push(key);
        }
    }

    /// Greets those for whom the next tick is too far off.
    pub(super) fn greet<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        let mut greeting = std::mem::take(&mut self.greeting);
        for key in greeting.drain(..) {
            self.greet_newcomers(turn, key);
            self.reweigh(key);
        }
        self.greeting = greeting;
    }

    /// Sends the list to the newcomers of a room: one for all of a shard.
    pub(super) fn greet_newcomers<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Home>) {
        if self.homes.get(key).is_none_or(|home| home.roll.newcomers.is_empty()) {
            return;
        }
        let kept = self.take_list(key);
        let mut written = std::mem::take(&mut self.list);
        let Some(home) = self.homes.get_mut(key) else { return };
        let mut newcomers = std::mem::take(&mut home.roll.newcomers);
        let epoch = home.history.cursor().epoch;
        if kept.is_none() {
            let announced = home.presence.announced();
            presence::push_users(&mut written, &home.presence, announced, epoch, &mut self.seen);
        }
        let list = kept.as_ref().unwrap_or(&written);
        let count = home.presence.told_count();
        let outposts: SmallVec<[Outpost; 2]> = home.outposts.clone();
        let mut own = std::mem::take(&mut self.response);
        for Outpost { shard, audience, .. } in outposts {
            let Some(home) = self.homes.get(key) else { break };
            for slot in &newcomers {
                push_own(&mut own, home, shard, *slot);
            }
            if !own.is_empty() {
                let state = ToMember::State { audience, list, count, own: &own };
                self.tell_member(turn, shard, state);
                own.clear();
            }
        }
        self.response = own;
        newcomers.clear();
        newcomers.shrink_to(NEWCOMERS_KEPT);
        let mut rests = false;
        if let Some(home) = self.homes.get_mut(key) {
            home.roll.newcomers = newcomers;
            rests = home.roll.has_tick();
        }
        if rests {
            let copy = || {
                // Of its size, where one that grows has up to twice that.
                let mut copy = self.spare_lists.take();
                copy.extend_from_slice(&written);
                copy
            };
            let bytes = kept.unwrap_or_else(copy);
            self.keep_list(key, bytes);
        }
        written.clear();
        self.list = written;
    }

    /// Keeps the list of a room that rests, and lets go of those that have been needed by nobody
    /// for the longest.
    fn keep_list(&mut self, key: Key<Home>, bytes: Vec<u8>) {
        let Some(home) = self.homes.get_mut(key) else { return };
        self.lists_bytes += bytes.capacity();
        self.listed.push(key);
        home.roll.list = Some(List { bytes, is_needed: true });
        while self.lists_bytes > LISTS_BYTES_MAX && self.listed.len() > 1 {
            self.let_list_go(self.listed[0]);
        }
    }

    /// Takes the list of a room, if it keeps one.
    fn take_list(&mut self, key: Key<Home>) -> Option<Vec<u8>> {
        let list = self.homes.get_mut(key)?.roll.list.take()?;
        self.lists_bytes -= list.bytes.capacity();
        self.listed.retain(|other| *other != key);
        Some(list.bytes)
    }

    /// Lets go of the list of a room, if it keeps one.
    pub(super) fn let_list_go(&mut self, key: Key<Home>) {
        if let Some(bytes) = self.take_list(key) {
            self.spare_lists.keep(bytes);
            self.reweigh(key);
        }
    }

    /// Lets go of the lists that nobody has been sent since the last call: whoever comes next has a
    /// new one written. A room may rest for seconds after it has filled, and a list takes as much
    /// memory as the members in it.
    pub(super) fn let_lists_go(&mut self) {
        let mut is_needed = |key: &Key<Home>| {
            let list = self.homes.get_mut(*key).and_then(|home| home.roll.list.as_mut());
            list.is_some_and(|list| std::mem::take(&mut list.is_needed))
        };
        let unneeded: SmallVec<[_; 8]> =
            self.listed.iter().copied().filter(|key| !is_needed(key)).collect();
        for key in unneeded {
            self.let_list_go(key);
        }
    }

    /// Says that the kept lists are those that will be let go of. For [`Shard::check_invariants`].
    pub(super) fn check_lists(&self) {
        let (mut count, mut bytes) = (0, 0);
        for (key, home) in self.homes.iter() {
            if let Some(list) = &home.roll.list {
                assert!(self.listed.contains(&key), "a list is looked at until it is gone");
                count += 1;
                bytes += list.bytes.capacity();
            }
        }
        assert_eq!(
            (self.listed.len(), self.lists_bytes),
            (count, bytes),
            "and no other is counted"
        );
        assert!(bytes <= LISTS_BYTES_MAX || count == 1, "and those are bounded");
    }

    /// Sends `presence_state` to the members here who have not had it.
    pub(super) fn show<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        key: Key<Audience>,
        list: &[u8],
        count: Option<Count>,
        own: &[u8],
    ) {
        let Some(audience) = self.audiences.get_mut(key) else { return };
        let mut newcomers = std::mem::take(&mut audience.newcomers);
        let mut own = OwnEntries(own);
        for conn in newcomers.drain(..) {
            self.show_to(key, conn, list, count, own.of(conn));
            if self.out_bytes(conn) > POOL_BUFFER_BYTES_MAX {
                // Not at the end of the turn: a thousand newcomers would have a thousand copies of
                // a long list until then.
                self.flush_conn(turn, conn);
            }
        }
        if let Some(audience) = self.audiences.get_mut(key) {
            newcomers.shrink_to(NEWCOMERS_KEPT);
            audience.newcomers = newcomers;
        }
    }

    fn show_to(
        &mut self,
        key: Key<Audience>,
        conn: Key<Conn>,
        list: &[u8],
        count: Option<Count>,
        own: &[u8],
    ) {
        let Some(member) = self.conns.get(conn) else { return };
        let Some(channel) = member.channel(key) else { return };
        let (serializer, seat, join_ref) =
            (self.serializer_of(conn.index()), channel.seat, self.join_ref(conn, channel));
        self.settle(key, seat);
        self.touch_conn(conn.index());
        let out = out_of(&mut self.conns, &mut self.buffers, &mut self.flags, conn.index());
        let Some(audience) = self.audiences.get(key) else { return };
        let state = Outgoing {
            join_ref: join_ref.as_json(),
            reference: "null",
            topic: &audience.topic,
            event: "presence_state",
            payload: Payload::Json("{}"),
        };
        let comma: &[u8] = if own.is_empty() || list.is_empty() { b"" } else { b"," };
        serializer.push_parts(out, &state, &[b"{", list, comma, own, b"}"]);
        if let Some(count) = count {
            self.scratch.clear();
            presence::push_count(&mut self.scratch, count);
            let payload = Payload::Json(text(&self.scratch));
            serializer.push(out, &Outgoing { event: "presence_count", payload, ..state });
            self.scratch.clear();
        }
    }
}

/// The newcomers of a shard in the order in which they joined, each with its own entry for the
/// list, which is empty where the list has one.
struct OwnEntries<'a>(&'a [u8]);

impl<'a> OwnEntries<'a> {
    /// The entry of this one. Those before it have gone in the meantime.
    fn of(&mut self, conn: Key<Conn>) -> &'a [u8] {
        while !self.0.is_empty() {
            let (of, entry) = (Key::take(&mut self.0), Field::take(&mut self.0));
            if of == conn {
                return entry;
            }
        }
        &[]
    }
}

/// Appends a newcomer of a shard and its own entry: for [`OwnEntries`].
fn push_own(out: &mut Vec<u8>, home: &Home, shard: u16, slot: Slot) {
    let Some(member) = home.presence.member(slot).filter(|member| member.place.shard == shard)
    else {
        return;
    };
    member.place.conn.put(out);
    let begin = out.len();
    0u32.put(out);
    if home.presence.is_unlisted(slot) {
        let device = std::iter::once((slot, member));
        let epoch = home.history.cursor().epoch;
        presence::push_user(out, &home.presence, member.identity.user(), device, epoch);
    }
    let bytes = u32::try_from(out.len() - begin - 4).expect("an entry is small");
    out[begin..begin + 4].copy_from_slice(&bytes.to_le_bytes());
}
