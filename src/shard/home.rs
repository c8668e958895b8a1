//! The home of a room: the one place that orders what is said in it, remembers it, and knows who is
//! there.
//!
//! A topic's home is the shard that its hash names. All other shards ask it ([`ToHome`]) and are
//! told ([`ToMember`]), in the order of one ring; so all members see one order, offsets have no
//! gaps, and nothing needs a lock.
//!
//! Deliberately absent: connections. A member is a slot, and the address its answers go to.

use smallvec::SmallVec;

use super::answers::{push_joined, push_listing, push_message, push_page, push_receipt, text};
use super::audience::Audience;
use super::conn::Conn;
use super::http::NO_ROOM;
use super::memory::Pressure;
use super::message::{Asker, From, ToHome, ToMember, Who};
use super::refusal::Refusal;
use super::tick::{News, Roll};
use super::{Io, Shard, Turn};
use crate::base::arena::Key;
use crate::chat::history::{History, KeyHash};
use crate::chat::presence::{Presence, Slot};
use crate::chat::topic::Topic;
use crate::limits::{KEY_MEMORY_BYTES, MEMBER_MEMORY_BYTES, ROOM_MEMORY_BYTES};
use crate::wire::json::push_string;
use crate::wire::phx::Payload;

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) shard: u16,
    pub(super) conn: Key<Conn>,
}

/// A shard with members.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outpost {
    pub(super) shard: u16,
    pub(super) audience: Key<Audience>,
    members: u32,
}

/// A topic that lives on this shard.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) topic: Box<str>,
    pub(super) title: Box<str>,
    /// Whether it was made on purpose, and so stays when nobody is there.
    pub(super) founded: bool,
    pub(super) history: History,
    pub(super) presence: Presence<Address>,
    pub(super) outposts: SmallVec<[Outpost; 2]>,
    pub(super) roll: Roll,
    /// Who was said to be typing for a while: a user, by a hash of its id, on whatever device and
    /// through whatever rejoins.
    typists: SmallVec<[u64; 4]>,
    /// Until when that is not said again, in milliseconds.
    typing_until_ms: u64,
    /// Whether the directory is to be told of it.
    pub(super) unlisted: bool,
    /// Counts the times it became empty, so that an old entry of [`Upkeep`](super::upkeep::Upkeep)
    /// is not taken for a new one.
    pub(super) emptied: u32,
    /// Whether it has an entry there.
    pub(super) queued: bool,
    /// What it is counted for in [`Upkeep`](super::upkeep::Upkeep).
    pub(super) counted_bytes: usize,
}

impl Home {
    fn new(topic: &str, epoch: u64) -> Self {
        Self {
            topic: topic.into(),
            title: Topic::parse(topic).and_then(Topic::room).unwrap_or_default().into(),
            founded: false,
            history: History::new(epoch),
            presence: Presence::default(),
            outposts: SmallVec::new(),
            roll: Roll::default(),
            typists: SmallVec::new(),
            typing_until_ms: 0,
            unlisted: false,
            emptied: 0,
            queued: false,
            counted_bytes: 0,
        }
    }

    /// About how much memory it takes besides its history, in bytes.
    pub(super) fn weight_bytes(&self) -> usize {
        let members =
            self.presence.live_count() as usize * MEMBER_MEMORY_BYTES + self.presence.meta_bytes();
        ROOM_MEMORY_BYTES
            + members
            + self.history.keys_count() * KEY_MEMORY_BYTES
            + self.roll.list_bytes()
    }

    pub(super) fn room(&self) -> Option<&str> {
        Topic::parse(&self.topic).and_then(Topic::room)
    }

    /// The member that asked.
    ///
    /// # Panics
    ///
    /// If that slot is not the asker's: it would speak as somebody else, or in a room that it is
    /// not in.
    fn check(&self, shard: u16, asker: Asker) {
        let address = self.presence.member(asker.slot).map(|member| member.place);
        assert_eq!(
            address,
            Some(Address { shard, conn: asker.conn }),
            "a member speaks for itself"
        );
    }

    /// Counts a member at its shard.
    fn enter(&mut self, shard: u16, audience: Key<Audience>) {
        if let Some(outpost) = self.outposts.iter_mut().find(|outpost| outpost.shard == shard) {
            outpost.members += 1;
            outpost.audience = audience;
        } else {
            self.outposts.push(Outpost { shard, audience, members: 1 });
        }
    }

    /// Takes a member out; its leave is announced by the next tick.
    fn exit(&mut self, slot: Slot) {
        let Some(address) = self.presence.member(slot).map(|member| member.place) else { return };
        self.presence.leave(slot);
        self.roll.forget(slot);
        if let Some(at) = self.outposts.iter().position(|outpost| outpost.shard == address.shard) {
            self.outposts[at].members -= 1;
            if self.outposts[at].members == 0 {
                self.outposts.swap_remove(at);
            }
        }
    }

    /// `{"members":2,"room":"tea","title":"Tea time"}`
    pub(super) fn push_listing(&self, out: &mut Vec<u8>) {
        push_listing(
            out,
            self.room().unwrap_or_default(),
            &self.title,
            self.presence.present_count(),
        );
    }
}

impl Shard {
    /// Handles what a member's shard asks.
    pub(super) fn at_home<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        shard: u16,
        message: ToHome<'_>,
    ) {
        if self.is_too_much(turn, shard, &message) {
            return self.home_refuse(turn, shard, message);
        }
        match message {
            ToHome::Join { .. }
                if self.is_filling(turn, shard) || !self.admission.admits_join(shard) =>
            {
                self.line_up_join(turn, shard, message);
            }
            ToHome::Join { .. } => self.home_join(turn, shard, message),
            ToHome::Leave { home, asker, reference } => {
                self.home_leave(turn, shard, home, asker, reference)
            }
            ToHome::Publish { home, asker, reference, body, key, reply_to } => {
                self.home_publish(turn, shard, home, asker, reference, body, key, reply_to);
            }
            ToHome::Custom { home, asker, reference, event, payload } => {
                if self.homes.get(home).is_some() {
                    self.home_of_asker(shard, home, asker);
                    self.spoke(turn, home, asker.slot);
                    self.tell_all(turn, home, event, payload);
                    self.home_reply(turn, shard, home, asker, reference, "ok", Payload::Json("{}"));
                    self.tell_along(turn, home);
                }
            }
            ToHome::Typing { home, asker } => self.home_typing(turn, shard, home, asker),
            ToHome::History { home, asker, reference, from, limit } => {
                self.home_history(turn, shard, home, asker, reference, from, limit);
            }
            ToHome::Bounce { home, asker, reference, status, response } => {
                self.home_reply(turn, shard, home, asker, reference, status, response);
            }
            ToHome::Create { conn, topic, title } => {
                self.home_create(turn, shard, conn, topic, title)
            }
            ToHome::Listing { room, title, members } => self.directory.learn(room, title, members),
            ToHome::Load { conns, is_full, places } => {
                self.handoffs.learn(shard, conns, is_full, places)
            }
        }
    }

    /// Whether the way to those who would hear of this is so full that it must not be done now:
    /// that of all who have members here, or for a page of history that of the one who asks. What
    /// ends something is never too much, and a join waits ([`Admission`](super::admission)).
    pub(super) fn is_too_much<I: Io>(
        &self,
        turn: &Turn<'_, I>,
        shard: u16,
        message: &ToHome<'_>,
    ) -> bool {
        match message {
            ToHome::Publish { home, .. }
            | ToHome::Custom { home, .. }
            | ToHome::Typing { home, .. } => {
                let outposts = self.homes.get(*home).map(|home| &home.outposts);
                outposts
                    .is_some_and(|all| all.iter().any(|outpost| self.is_busy(turn, outpost.shard)))
            }
            ToHome::History { .. } => self.is_busy(turn, shard),
            _ => false,
        }
    }

    pub(super) fn home_refuse<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        shard: u16,
        message: ToHome<'_>,
    ) {
        Refusal::Busy.count(&mut self.metrics);
        let response = &*Refusal::Busy.response();
        match message {
            ToHome::Join { conn, audience, .. } => {
                self.tell_member(turn, shard, ToMember::Refused { conn, audience, response });
            }
            ToHome::Publish { home, asker, reference, .. }
            | ToHome::Custom { home, asker, reference, .. }
            | ToHome::History { home, asker, reference, .. } => {
                self.home_reply(
                    turn,
                    shard,
                    home,
                    asker,
                    reference,
                    "error",
                    Payload::Json(response),
                );
            }
            // Nobody waits for an answer.
            _ => {}
        }
    }

    /// The home of a member, who must be one.
    fn home_of_asker(&self, shard: u16, home: Key<Home>, asker: Asker) {
        if let Some(home) = self.homes.get(home) {
            home.check(shard, asker);
        }
    }

    /// The home of a topic; made if there is none and there is place.
    fn found(&mut self, topic: &str) -> Result<Key<Home>, Refusal> {
        if let Some(key) = self.home_by_topic.get(topic) {
            return Ok(*key);
        }
        let is_full = self.homes.len() >= self.settings.rooms_max as usize
            || self.memory.pressure >= Pressure::Joins;
        if is_full && !self.evict_longest_empty() {
            return Err(Refusal::TooManyRooms);
        }
        let epoch = self.upkeep.next_epoch();
        let key = self.homes.insert(Home::new(topic, epoch));
        self.home_by_topic.insert(topic.into(), key);
        self.reweigh(key);
        Ok(key)
    }

    pub(super) fn home_join<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        shard: u16,
        message: ToHome<'_>,
    ) {
        let ToHome::Join {
            conn,
            audience,
            topic,
            who,
            speak,
            visible,
            since,
            limit,
            meta,
            replaces,
        } = message
        else {
            unreachable!("called for joins")
        };
        let key = match self.found(topic) {
            Ok(key) => key,
            Err(refusal) => {
                refusal.count(&mut self.metrics);
                let response = &refusal.response();
                return self.tell_member(
                    turn,
                    shard,
                    ToMember::Refused { conn, audience, response },
                );
            }
        };
        let Some(home) = self.homes.get_mut(key) else { return };
        if let Some(slot) = replaces {
            home.check(shard, Asker { conn, slot });
            home.exit(slot);
        }
        let is_room = home.room().is_some();
        let known = match who {
            Who::There { user, name } => home.presence.known(user, name),
            Who::Here(_) => None,
        };
        let identity = known.unwrap_or_else(|| who.identity());
        let online_at_s = turn.now.unix_ms / 1_000;
        let address = Address { shard, conn };
        let slot = home.presence.join(
            identity,
            address,
            meta.map(Box::from),
            online_at_s,
            visible && is_room,
        );
        home.enter(shard, audience);
        let mut response = std::mem::take(&mut self.response);
        push_joined(&mut response, home, slot, speak, since, limit, &self.settings.history);
        let joined =
            ToMember::Joined { conn, audience, home: key, slot, response: text(&response) };
        self.tell_member(turn, shard, joined);
        self.admission.spend(response.len());
        response.clear();
        self.response = response;
        self.membership_changed(turn, key, News::Came);
        if visible && is_room {
            self.expect_greeting(turn, key, slot);
        }
    }

    fn home_leave<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        shard: u16,
        key: Key<Home>,
        asker: Asker,
        reference: Option<&str>,
    ) {
        let Some(home) = self.homes.get_mut(key) else { return };
        home.check(shard, asker);
        let outpost = home
            .outposts
            .iter()
            .find(|outpost| outpost.shard == shard)
            .map(|outpost| outpost.audience);
        home.exit(asker.slot);
        if let (Some(reference), Some(audience)) = (reference, outpost) {
            let Asker { conn, slot } = asker;
            self.tell_member(turn, shard, ToMember::Left { conn, audience, slot, reference });
        }
        self.membership_changed(turn, key, News::Left);
    }

    /// Lets go of all members of another shard, which has begun anew.
    pub(super) fn forget_members<I: Io>(&mut self, turn: &Turn<'_, I>, shard: u16) {
        let is_there = |home: &Home| home.outposts.iter().any(|outpost| outpost.shard == shard);
        let homes: Vec<_> =
            self.homes.iter().filter(|(_, home)| is_there(home)).map(|(key, _)| key).collect();
        for key in homes {
            let Some(home) = self.homes.get_mut(key) else { continue };
            let members = home.presence.members();
            let gone: Vec<_> = members
                .filter(|(_, member)| member.place.shard == shard)
                .map(|(slot, _)| slot)
                .collect();
            for slot in gone {
                home.exit(slot);
            }
            self.membership_changed(turn, key, News::Left);
        }
    }

    /// Who is there has changed: the members are told at the next tick, the directory at its own.
    fn membership_changed<I: Io>(&mut self, turn: &Turn<'_, I>, key: Key<Home>, news: News) {
        self.reweigh(key);
        let Some(home) = self.homes.get_mut(key) else { return };
        if home.room().is_some() {
            self.set_tick(turn, key, news);
            self.unlist(key);
        }
        let Some(home) = self.homes.get_mut(key) else { return };
        if home.presence.live_count() > 0 {
            return;
        }
        if home.founded || !home.history.is_empty() {
            self.upkeep.note_empty(key, home);
        } else {
            self.remove_home(key);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "they are the fields of one message")]
    fn home_publish<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        shard: u16,
        key: Key<Home>,
        asker: Asker,
        reference: &str,
        body: &str,
        message_key: Option<&str>,
        reply_to: Option<u64>,
    ) {
        let Some(home) = self.homes.get_mut(key) else { return };
        home.check(shard, asker);
        let Some(member) = home.presence.member(asker.slot) else { return };
        let user = member.identity.user();
        let key_hash = message_key.map(|key| {
            KeyHash(self.key_hashers.each_ref().map(|hasher| hasher.hash_one((user, key))))
        });
        let epoch = home.history.cursor().epoch;
        let known = key_hash.and_then(|key_hash| home.history.of_key(key_hash));
        let receipt = known.unwrap_or_else(|| home.history.next(turn.now.unix_ms));
        let mut scratch = std::mem::take(&mut self.response);
        if known.is_none() {
            let name = member.identity.name();
            push_message(&mut scratch, epoch, receipt, user, name, body, message_key, reply_to);
            self.upkeep.history_bytes -= home.history.kept_bytes();
            home.history.append(receipt, key_hash, &scratch, &self.settings.history);
            self.upkeep.history_bytes += home.history.kept_bytes();
            self.metrics.published += 1;
            if key_hash.is_some() {
                self.reweigh(key);
            }
            self.tell_all(turn, key, "new_msg", Payload::Json(text(&scratch)));
            self.bound_history(key);
            self.spoke(turn, key, asker.slot);
            scratch.clear();
        }
        push_receipt(&mut scratch, epoch, receipt);
        self.home_reply(turn, shard, key, asker, reference, "ok", Payload::Json(text(&scratch)));
        scratch.clear();
        self.response = scratch;
        if known.is_none() {
            self.tell_along(turn, key);
        }
    }

    fn spoke<I: Io>(&mut self, turn: &Turn<'_, I>, key: Key<Home>, slot: Slot) {
        if let Some(home) = self.homes.get_mut(key)
            && home.presence.spoke(slot, &self.settings.presence)
        {
            self.set_tick(turn, key, News::Came);
        }
    }

    fn home_typing<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        shard: u16,
        key: Key<Home>,
        asker: Asker,
    ) {
        let Some(home) = self.homes.get_mut(key) else { return };
        home.check(shard, asker);
        let Some(member) = home.presence.member(asker.slot) else { return };
        let typist = self.key_hashers[0].hash_one(member.identity.user());
        if turn.now.mono_ms >= home.typing_until_ms {
            home.typists.clear();
            home.typing_until_ms = turn.now.mono_ms + self.settings.presence.tick_ms;
        }
        if home.typists.contains(&typist) {
            return;
        }
        home.typists.push(typist);
        let mut payload = std::mem::take(&mut self.response);
        payload.extend_from_slice(b"{\"name\":");
        push_string(&mut payload, member.identity.name());
        payload.extend_from_slice(b",\"user\":");
        push_string(&mut payload, member.identity.user());
        payload.push(b'}');
        self.tell_all(turn, key, "typing", Payload::Json(text(&payload)));
        payload.clear();
        self.response = payload;
    }

    #[expect(clippy::too_many_arguments, reason = "they are the fields of one message")]
    fn home_history<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        shard: u16,
        key: Key<Home>,
        asker: Asker,
        reference: &str,
        from: From,
        limit: u32,
    ) {
        let Some(home) = self.homes.get(key) else { return };
        let limits = &self.settings.history;
        let page = match from {
            From::Latest => home.history.latest(limit, limits),
            From::Before(offset) => home.history.before(offset, limit, limits),
            From::After(offset) => home.history.after(offset, limit, limits),
        };
        let mut response = std::mem::take(&mut self.response);
        response.push(b'{');
        push_page(&mut response, page);
        response.push(b'}');
        self.home_reply(turn, shard, key, asker, reference, "ok", Payload::Json(text(&response)));
        response.clear();
        self.response = response;
    }

    fn home_create<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        shard: u16,
        conn: Key<Conn>,
        topic: &str,
        title: &str,
    ) {
        let is_new = !self.home_by_topic.contains_key(topic);
        let key = match self.found(topic) {
            Ok(key) => key,
            Err(refusal) => {
                refusal.count(&mut self.metrics);
                return self.tell_member(
                    turn,
                    shard,
                    ToMember::Created { conn, status: 503, body: NO_ROOM },
                );
            }
        };
        let Some(home) = self.homes.get_mut(key) else { return };
        if is_new {
            home.founded = true;
            home.title = title.into();
            self.upkeep.note_empty(key, home);
        }
        let mut body = Vec::new();
        home.push_listing(&mut body);
        self.unlist(key);
        let status = if is_new { 201 } else { 200 };
        self.tell_member(turn, shard, ToMember::Created { conn, status, body: text(&body) });
    }

    /// Answers a member.
    #[expect(clippy::too_many_arguments, reason = "they are the fields of one message")]
    fn home_reply<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        shard: u16,
        key: Key<Home>,
        asker: Asker,
        reference: &str,
        status: &str,
        response: Payload<'_>,
    ) {
        let Some(home) = self.homes.get(key) else { return };
        home.check(shard, asker);
        let Some(outpost) = home.outposts.iter().find(|outpost| outpost.shard == shard) else {
            return;
        };
        let (Asker { conn, slot }, audience) = (asker, outpost.audience);
        self.tell_member(
            turn,
            shard,
            ToMember::Reply { conn, audience, slot, reference, status, response },
        );
    }

    /// Says something to every member: once to each shard that has any.
    pub(super) fn tell_all<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        key: Key<Home>,
        event: &str,
        payload: Payload<'_>,
    ) {
        let mut at = 0;
        while let Some(Outpost { shard, audience, .. }) =
            self.homes.get(key).and_then(|home| home.outposts.get(at)).copied()
        {
            self.tell_member(turn, shard, ToMember::Deliver { audience, event, payload });
            at += 1;
        }
    }

    /// Says how a home's parts fit. For [`Shard::check_invariants`].
    pub(super) fn check_home(&self, key: Key<Home>, home: &Home) {
        assert_eq!(
            self.home_by_topic.get(&*home.topic),
            Some(&key),
            "a home is found by its topic"
        );
        for outpost in &home.outposts {
            let members = home.presence.members();
            let there = members.filter(|(_, member)| member.place.shard == outpost.shard).count();
            assert_eq!(outpost.members as usize, there, "every member is counted at its shard");
        }
        let there: u32 = home.outposts.iter().map(|outpost| outpost.members).sum();
        assert_eq!(there, home.presence.live_count(), "and each has one");
        home.roll.check();
        assert!(
            there > 0 || home.founded || !home.history.is_empty(),
            "a room with nothing worth keeping goes away"
        );
    }

    /// See [`Population`](super::Population).
    pub(super) fn members_of_homes(&self) -> usize {
        self.homes.iter().map(|(_, home)| home.presence.live_count() as usize).sum()
    }
}
