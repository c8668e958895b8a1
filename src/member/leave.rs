//! How a channel ends: left by its client, evicted by us, with its connection, or with all others
//! of its room.

use std::sync::Arc;

use super::Members;
use super::channels::{Arrival, Channel, State};
use super::endings::{Afterwards, Endings, WhyAlone};
use super::refs::JoinRef;
use crate::audience::{Audience, NO_SEAT, WhyEnding};
use crate::limits::{CHANNELS_PER_WORK, ENDING_WORK, LEAVING_WORK};
use crate::link::ask::Ask;
use crate::link::ids::{Asker, AudienceKey, ConnKey, Slot};
use crate::link::io::Io;
use crate::link::metrics::Metrics;
use crate::link::outbox::Cx;
use crate::link::record::ToHome;
use crate::wire::phx::Payload;

/// A channel that has ended, and what was kept beside it.
#[derive(Debug)]
pub(super) struct Departed {
    pub(super) channel: Channel,
    pub(super) join_ref: JoinRef,
    /// The join under way that was to begin or replace it.
    pub(super) arrival: Option<Arrival>,
}

impl Members {
    /// `Joined -> Leaving`, or gone where there is no home to ask.
    ///
    /// Requires: joined. Changes: the channel. Emits: `Leave`, answered by `Left`.
    pub(crate) fn leave<'m>(
        &mut self,
        conn: ConnKey,
        audience: AudienceKey,
        reference: &'m str,
    ) -> Option<Ask<'m>> {
        let channel = self.channel_mut(conn, audience)?;
        let asker = Asker { conn, slot: channel.slot };
        channel.state = State::Leaving;
        let Some((shard, home)) = self.audiences.home(audience) else {
            self.left(conn, audience, asker.slot, reference);
            return None;
        };
        let message = ToHome::Leave { home, asker, reference: Some(reference) };
        Some(Ask::Home { shard, message })
    }

    /// The home has removed the member, which is sent all that was said until then. Then the
    /// channel ends.
    pub(super) fn left(
        &mut self,
        conn: ConnKey,
        audience: AudienceKey,
        slot: Slot,
        reference: &str,
    ) {
        let channel = self.channel(conn, audience).filter(|channel| channel.slot == slot);
        let Some(channel) = channel else { return };
        let (join_ref, seat) = (self.join_ref(conn, channel), channel.seat);
        self.audiences.settle(&mut self.conns, audience, seat);
        self.answer(conn, audience, reference, "ok", Payload::Json("{}"));
        self.say_closed(conn, audience, &join_ref);
        self.remove_channel(conn, audience);
        self.conns.unpark(conn);
        self.audiences.drop_if_deserted(audience);
    }

    /// Ends a channel with `phx_error`: a stock client joins again.
    ///
    /// Requires: a member. Changes: the channel, its seat. Emits: `phx_error`; later a `Leave`,
    /// unless a newer join is under way, which then begins the channel anew.
    pub(super) fn evict(&mut self, conn: ConnKey, audience: AudienceKey, reason: &str) {
        let Some(channel) = self.channel(conn, audience) else { return };
        let home = self.audiences.home_of_seat(audience, channel.seat);
        let join_ref = self.join_ref(conn, channel);
        self.say_lost(conn, audience, &join_ref, reason);
        let Some(Departed { channel, arrival, .. }) = self.remove_channel(conn, audience) else {
            return;
        };
        match (channel.state, arrival) {
            // A newer join is under way, and will be answered.
            (State::Rejoining, Some(arrival)) => {
                // Without the old slot: answers to what was asked in the channel that has ended are
                // not for this one.
                let joining = Channel::joining(audience);
                self.insert_channel(conn, joining, &arrival.join_ref);
                self.arrivals.insert((conn, audience), arrival);
            }
            // The audience may be gone by the time the home is told: the last of it may be this
            // one.
            (State::Joined, _) => {
                let asker = Asker { conn, slot: channel.slot };
                let leave = home.map(|(shard, home)| Ask::leave(shard, home, asker));
                self.evicted.extend(leave);
            }
            _ => {
                unreachable!(
                    "only a member loses its place, and one that leaves keeps it until it has left"
                )
            }
        }
        self.audiences.drop_if_deserted(audience);
        // It may have waited for answers to what was asked in the channel that has ended.
        self.conns.unpark(conn);
    }

    /// Evicts a member that lags too far: its client rejoins with its cursor.
    pub(crate) fn evict_laggard(
        &mut self,
        metrics: &mut Metrics,
        audience: AudienceKey,
        seat: usize,
    ) {
        let is_evicted = self.evict_seat(audience, seat, LAGGING);
        metrics.lagged += u64::from(is_evicted);
    }

    /// Ends the channels of all members of an audience, whose clients rejoin with their cursors:
    /// what comes next may not follow on what they have heard, so they hear nothing more. A part of
    /// the channels ends now, the others in the next turns.
    ///
    /// Requires: nothing. Changes: channels, seats. Emits: as [`Members::evict`], for each.
    pub(super) fn end_all<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        audience: AudienceKey,
        reason: &str,
    ) {
        let Some(record) = self.audiences.get(audience) else { return };
        let (ending, seats) = (record.ending(), record.seats.len());
        if record.has_lost_home() {
            // The home has turned at once after it had begun anew. It knows only the few who have
            // joined since. From the back, since letting one go moves the last into its seat.
            for seat in (ending..seats).rev() {
                self.evict_seat(audience, seat, reason);
            }
            return;
        }
        let why = Arc::new(WhyEnding { reason: reason.into(), has_lost_home: false });
        if self.audiences.begin_ending(audience, why) && !self.end_some(cx, audience) && ending == 0
        {
            self.endings.end_audience_later(audience);
        }
    }

    /// Ends channels of an audience that are to end, as many as it may at a time and the turn has
    /// work for. True if none is left.
    fn end_some<I: Io>(&mut self, cx: &mut Cx<'_, I>, audience: AudienceKey) -> bool {
        let next = |members: &Self| members.next_to_end(audience);
        self.end_part(cx, next, |members, conn| members.end_in(conn, audience))
    }

    /// The last of an audience's members whose channels are to end.
    fn next_to_end(&self, audience: AudienceKey) -> Option<ConnKey> {
        let record = self.audiences.get(audience)?;
        let seat = record.ending().checked_sub(1)?;
        let conn = self.conns.key_at(record.seats[seat].conn);
        Some(conn.expect("a seat is taken by a live connection"))
    }

    /// Ends the channel of a member before its turn, if it is to end: whoever says something there
    /// has left what ends.
    pub(super) fn end_before_turn(&mut self, conn: ConnKey, audience: AudienceKey) {
        if self.is_ending(conn, audience) {
            self.end_in(conn, audience);
        }
    }

    /// Whether the channel of a member is to end.
    fn is_ending(&self, conn: ConnKey, audience: AudienceKey) -> bool {
        let Some(channel) = self.channel(conn, audience) else { return false };
        self.audiences.get(audience).is_some_and(|record| record.is_ending(channel.seat))
    }

    /// `Joined -> (gone)`: a room's home puts a member out, now or, where the turn has no work left
    /// for it, in a later one. It is out from now on either way: it is written what was said until
    /// now, and of what is said from now on nothing, and the home refuses what it says.
    ///
    /// Requires: no join of it under way. Changes: the channel, its seat. Emits: as
    /// [`Members::end_forbidden`].
    pub(super) fn put_out<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        conn: ConnKey,
        audience: AudienceKey,
        payload: &str,
    ) {
        let Some(channel) = self.channel(conn, audience) else { return };
        let (state, seat) = (channel.state, channel.seat);
        let has_lost_home = self.audiences.get(audience).is_some_and(Audience::has_lost_home);
        if self.is_ending(conn, audience) {
            // It is told the last that was decided. A home that has begun anew does not know it.
            if !has_lost_home {
                let why = self.endings.why_put_out(payload);
                self.endings.single_out(conn, audience, why);
            }
        } else if state != State::Joined || has_lost_home || self.endings.has_left() {
            self.end_forbidden(conn, audience, payload);
            self.endings.spend(cx, LEAVING_WORK);
            let is_told = state == State::Joined && !has_lost_home;
            cx.metrics.left_at_end += u64::from(is_told);
        } else {
            self.audiences.settle(&mut self.conns, audience, seat);
            let why = self.endings.why_put_out(payload);
            self.end_later(conn, audience, why);
        }
    }

    /// Evicts a member whose log takes memory that is needed, now or, where the turn has no work
    /// left for it, in a later one. Its log is let go of now: it hears nothing more.
    ///
    /// Requires: nothing. Changes: the channel, its seat. Emits: as [`Members::evict`].
    pub(super) fn evict_for_memory<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        conn: ConnKey,
        audience: AudienceKey,
    ) {
        let channels = self.held_channels(conn);
        let Some(channel) = channels.iter().find(|channel| channel.audience == audience) else {
            return;
        };
        let (state, seat) = (channel.state, channel.seat);
        let hears = matches!(state, State::Joined | State::Rejoining);
        let has_lost_home = self.audiences.get(audience).is_some_and(Audience::has_lost_home);
        let is_now = self.endings.has_left() || has_lost_home;
        if !hears || is_now || self.conns.is_closing(conn) {
            let is_evicted = self.evict_seat(audience, seat as usize, LAGGING);
            self.endings.spend(cx, LEAVING_WORK);
            cx.metrics.lagged += u64::from(is_evicted);
            cx.metrics.left_at_end += u64::from(is_evicted && !has_lost_home);
        } else {
            cx.metrics.lagged += 1;
            self.end_later(conn, audience, WhyAlone::Lags);
        }
    }

    /// The channel of one member is to end in a later turn. Until then it hears nothing.
    ///
    /// Requires: seated, and not to end yet. The home of its audience has not begun anew: it is
    /// told of this one. Changes: its seat, and another's. Emits: nothing.
    fn end_later(&mut self, conn: ConnKey, audience: AudienceKey, why: WhyAlone) {
        let Some(seat) = self.channel(conn, audience).map(|channel| channel.seat) else { return };
        let Some(record) = self.audiences.get_mut(audience) else { return };
        record.newcomers.retain(|newcomer| *newcomer != conn);
        let is_first = record.ending() == 0;
        for taken in self.audiences.begin_ending_of(audience, seat) {
            self.reseat(audience, taken);
        }
        self.endings.single_out(conn, audience, why);
        if is_first {
            self.endings.end_audience_later(audience);
        }
    }

    /// Ends a channel that is to end. Returns the work of what was looked through for it.
    fn end_in(&mut self, conn: ConnKey, audience: AudienceKey) -> u32 {
        let channels = self.held_channels(conn);
        let Some(at) = channels.iter().position(|channel| channel.audience == audience) else {
            unreachable!("a seat is taken by a connection that lists its audience")
        };
        let Channel { seat, state, .. } = channels[at];
        let why = self.audiences.get(audience).and_then(|of| of.why_ending(seat)).cloned();
        let alone = self.endings.take_why(conn, audience);
        match (alone, why) {
            (_, Some(why)) if why.has_lost_home => {
                self.lose(conn, audience, &why.reason);
                self.audiences.drop_if_deserted(audience);
            }
            // One that is parting is told nothing more.
            (Some(WhyAlone::PutOut(payload)), _)
                if state == State::Joined && !self.conns.is_closing(conn) =>
            {
                self.end_forbidden(conn, audience, &payload);
            }
            (_, why) => {
                let reason = why.as_ref().map_or(LAGGING, |why| &*why.reason);
                self.evict_seat(audience, seat as usize, reason);
            }
        }
        u32::try_from(at / CHANNELS_PER_WORK).unwrap_or(u32::MAX)
    }

    /// Ends the channel of the member in a seat. False if it was leaving, or is being closed: its
    /// client does not wait for more.
    fn evict_seat(&mut self, audience: AudienceKey, seat: usize, reason: &str) -> bool {
        let Some(record) = self.audiences.get(audience) else { return false };
        let Some(conn) = self.conns.key_at(record.seats[seat].conn) else { return false };
        if self.conns.is_closing(conn) {
            // It is parting, and leaves this one before its turn.
            let channels = self.held_channels(conn);
            if let Some(at) = channels.iter().position(|channel| channel.audience == audience) {
                self.leave_at(conn, at);
            }
            return false;
        }
        let state = self.channel(conn, audience).map(|channel| channel.state);
        if state == Some(State::Leaving) {
            self.leave_unheard(conn, audience);
            return false;
        }
        self.evict(conn, audience, reason);
        true
    }

    /// `Leaving -> LeavingUnheard`: it hears nothing more until it has left.
    pub(super) fn leave_unheard(&mut self, conn: ConnKey, audience: AudienceKey) {
        let Some(channel) = self.channel_mut(conn, audience) else { return };
        channel.state = State::LeavingUnheard;
        let seat = std::mem::replace(&mut channel.seat, NO_SEAT);
        let Some(record) = self.audiences.get_mut(audience) else { return };
        record.unheard += 1;
        record.newcomers.retain(|newcomer| *newcomer != conn);
        self.vacate(conn, audience, seat);
        // What only this one lagged in may now be let go.
        self.audiences.touch(audience);
    }

    /// Ends every membership of a connection: a part of them now, and where they are many, or the
    /// turn has no work left, the others in the next turns. The connection is closing then, and is
    /// *parting*. True if none is left.
    ///
    /// Requires: nothing. Changes: channels, seats, flags (closing). Emits: later one `Leave` per
    /// joined channel.
    pub(super) fn leave_all<I: Io>(&mut self, cx: &mut Cx<'_, I>, conn: ConnKey) -> bool {
        let has_left = self.leave_some(cx, conn);
        self.endings.spend(cx, ENDING_WORK);
        if has_left {
            return true;
        }
        if !self.endings.is_parting(conn) {
            // What is answered from now on finds nobody.
            self.leave_joining(conn);
            self.conns.set_closing(conn);
            self.endings.part(conn);
        }
        false
    }

    /// Removes a connection that is broken, and goes on with one that is parting and with an
    /// audience whose members' channels end: each has a part of the work of a turn.
    pub(crate) fn end_some_more<I: Io>(&mut self, cx: &mut Cx<'_, I>) {
        if let Some(key) = self.endings.next_broken()
            && self.conns.contains(key)
        {
            self.remove(cx, key);
        }
        if let Some(key) = self.endings.next_parting() {
            if !self.leave_some(cx, key) {
                self.endings.go_on_later(key);
            } else if self.endings.end_parting(key) == Some(Afterwards::Goes) {
                self.let_go(cx, key);
            }
        }
        if let Some(audience) = self.endings.next_audience()
            && !self.end_some(cx, audience)
        {
            self.endings.end_audience_later(audience);
        }
    }

    /// Leaves channels, the last one first, as many as a connection may at a time and the turn has
    /// work for. True if none is left.
    fn leave_some<I: Io>(&mut self, cx: &mut Cx<'_, I>, conn: ConnKey) -> bool {
        let next = |members: &Self| members.held_channels(conn).len().checked_sub(1);
        self.end_part(cx, next, |members, last| members.leave_at(conn, last))
    }

    /// Ends one channel after another, as many as may end at a time and the turn has work for. What
    /// ends one says what it took to look through others for it. True if none is left.
    fn end_part<I: Io, T>(
        &mut self,
        cx: &mut Cx<'_, I>,
        next: impl Fn(&Self) -> Option<T>,
        end: impl Fn(&mut Self, T) -> u32,
    ) -> bool {
        let mut part = Endings::part_of(cx);
        while let Some(channel) = next(self) {
            if part == 0 || !self.endings.has_left() {
                return false;
            }
            let work = LEAVING_WORK + end(self, channel);
            part = part.saturating_sub(work);
            self.endings.spend(cx, work);
            cx.metrics.left_at_end += 1;
        }
        true
    }

    /// Leaves the channels whose joins are under way. They are few.
    fn leave_joining(&mut self, conn: ConnKey) {
        for at in (0..self.held_channels(conn).len()).rev() {
            let state = self.held_channels(conn)[at].state;
            if matches!(state, State::Joining | State::Rejoining) {
                self.leave_at(conn, at);
            }
        }
    }

    /// Ends the membership of a connection by its place among its channels. Returns the work of
    /// what was looked through for it.
    fn leave_at(&mut self, conn: ConnKey, at: usize) -> u32 {
        let Channel { audience, seat, .. } = self.held_channels(conn)[at];
        let home = self.audiences.home_of_seat(audience, seat);
        let (departed, looks) = self.remove_channel_at(conn, at);
        let Departed { channel, .. } = departed;
        // If a change is under way, its answer says it too: one to a join that finds nobody is a
        // leave.
        if channel.state == State::Joined {
            let asker = Asker { conn, slot: channel.slot };
            let leave = home.map(|(shard, home)| Ask::leave(shard, home, asker));
            self.asks.extend(leave);
        }
        self.audiences.drop_if_deserted(audience);
        u32::try_from(looks / CHANNELS_PER_WORK).unwrap_or(u32::MAX)
    }

    /// Takes a channel from its connection, with what is kept beside it, and its seat from the
    /// audience.
    pub(super) fn remove_channel(
        &mut self,
        conn: ConnKey,
        audience: AudienceKey,
    ) -> Option<Departed> {
        let channels = self.held_channels(conn);
        let at = channels.iter().position(|channel| channel.audience == audience)?;
        Some(self.remove_channel_at(conn, at).0)
    }

    /// The same by its place, with how many channels were looked through for it.
    fn remove_channel_at(&mut self, conn: ConnKey, at: usize) -> (Departed, usize) {
        let channel = self.channels[conn.index() as usize].remove(at);
        let audience = channel.audience;
        let record = self.audiences.get_mut(audience).expect("a channel has an audience");
        record.newcomers.retain(|newcomer| *newcomer != conn);
        if channel.state == State::LeavingUnheard {
            record.unheard -= 1;
        }
        self.audiences.stand_apart(audience, conn.index());
        let looks = self.vacate(conn, audience, channel.seat);
        // What the others have had may now be let go.
        self.audiences.touch(audience);
        let join_ref = self.join_ref(conn, &channel);
        self.odd_refs.remove(&(conn, audience));
        self.endings.take_why(conn, audience);
        let arrival = self.arrivals.remove(&(conn, audience));
        (Departed { channel: Channel { seat: NO_SEAT, ..channel }, join_ref, arrival }, looks)
    }

    /// Removes a seat from the audience, if there is one, and updates the channels of the members
    /// that move. Returns how many channels of these were looked through.
    fn vacate(&mut self, conn: ConnKey, audience: AudienceKey, seat: u32) -> usize {
        let record = self.audiences.get_mut(audience).filter(|_| seat != NO_SEAT);
        let Some(record) = record else { return 0 };
        let taken = record.stand(seat, self.conns.flags(conn.index()).speaks_v1());
        taken.into_iter().flatten().map(|seat| self.reseat(audience, seat)).sum()
    }

    /// Tells the channel of whoever sits in a seat which one that is. Returns how many channels
    /// were looked through for it.
    fn reseat(&mut self, audience: AudienceKey, seat: u32) -> usize {
        let Some(record) = self.audiences.get(audience) else { return 0 };
        let moved = record.seats[seat as usize].conn;
        let channels = &mut self.channels[moved as usize];
        let at = channels.iter().position(|channel| channel.audience == audience);
        let at = at.expect("a seat is taken by a connection that lists its audience");
        channels[at].seat = seat;
        at
    }

    /// Ends the channels in rooms of a shard that has begun anew, with `phx_error`: stock clients
    /// join again. A part of the members' channels ends now, the others in the next turns.
    pub(crate) fn lose_homes<I: Io>(&mut self, cx: &mut Cx<'_, I>, shard: u16) {
        let of_shard = self.audiences.iter().filter(|(_, audience)| audience.home_shard == shard);
        let lost: Vec<_> = of_shard.map(|(key, _)| key).collect();
        let is_lost = |key: &AudienceKey| {
            self.audiences.get(*key).is_some_and(|audience| audience.home_shard == shard)
        };
        // Joins under way, of which a connection has few, and those who wait to leave unheard: no
        // answer will come.
        let mut unseated = Vec::new();
        for conn in self.conns.keys() {
            let channels = self.held_channels(conn).iter();
            let unseated_here = channels.filter(|channel| channel.seat == NO_SEAT);
            let audiences = unseated_here.map(|channel| channel.audience);
            unseated.extend(audiences.filter(is_lost).map(|key| (conn, key)));
        }
        for (conn, audience) in unseated {
            self.lose(conn, audience, RESTARTED);
        }
        let why = Arc::new(WhyEnding { reason: RESTARTED.into(), has_lost_home: true });
        for audience in lost {
            if let Some(record) = self.audiences.get_mut(audience) {
                record.home = None;
                record.joining = 0;
            }
            let was_ending = self.audiences.get(audience).is_some_and(|of| of.ending() > 0);
            let has_some = self.audiences.begin_ending(audience, Arc::clone(&why));
            let has_more = has_some && !self.end_some(cx, audience);
            if has_more && !was_ending {
                self.endings.end_audience_later(audience);
            }
            self.audiences.drop_if_deserted(audience);
        }
    }

    /// Ends a channel whose room's home has begun anew, and tells its client.
    fn lose(&mut self, conn: ConnKey, audience: AudienceKey, reason: &str) {
        let Some(departed) = self.remove_channel(conn, audience) else { return };
        // Whoever is being closed is told nothing more.
        if self.conns.is_closing(conn) {
            return;
        }
        let Departed { channel, join_ref, arrival } = departed;
        if matches!(channel.state, State::Leaving | State::LeavingUnheard) {
            self.say_closed(conn, audience, &join_ref);
        } else {
            let join_ref = arrival.map_or(join_ref, |arrival| arrival.join_ref);
            self.say_lost(conn, audience, &join_ref, reason);
        }
        self.conns.unpark(conn);
    }
}

/// Why a channel ends whose member lags too far, as clients are told.
const LAGGING: &str = "lagging";

/// Why a channel ends whose room's home has begun anew, as clients are told.
const RESTARTED: &str = "restarted";
