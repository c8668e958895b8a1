//! How a channel ends: left by its client, evicted by us, or with its connection.

use super::Members;
use super::channels::{Arrival, Channel, State};
use super::refs::JoinRef;
use crate::audience::NO_SEAT;
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
        let home = self.audiences.home(audience);
        let Some(channel) = self.channel(conn, audience) else { return };
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
        let is_evicted = self.evict_seat(audience, seat, "lagging");
        metrics.lagged += u64::from(is_evicted);
    }

    /// Ends the channels of all members of an audience, whose clients rejoin with their cursors:
    /// what comes next may not follow on what they have heard.
    pub(super) fn end_all(&mut self, audience: AudienceKey, reason: &str) {
        let seats = self.audiences.get(audience).map_or(0, |audience| audience.seats.len());
        // From the back, since letting one go moves the last into its seat.
        for seat in (0..seats).rev() {
            self.evict_seat(audience, seat, reason);
        }
    }

    /// Ends the channel of the member in a seat. False if it was leaving: its client does not wait
    /// for more.
    fn evict_seat(&mut self, audience: AudienceKey, seat: usize, reason: &str) -> bool {
        let Some(record) = self.audiences.get(audience) else { return false };
        let Some(conn) = self.conns.key_at(record.seats[seat].conn) else { return false };
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

    /// Ends every membership of a connection.
    ///
    /// Requires: nothing. Changes: channels, seats. Emits: later one `Leave` per joined channel.
    pub(super) fn leave_all<I: Io>(&mut self, cx: &mut Cx<'_, I>, conn: ConnKey) {
        self.endings.spend(cx, self.channels(conn).len());
        while let Some(audience) = self.channels(conn).last().map(|last| last.audience) {
            let home = self.audiences.home(audience);
            let Some(Departed { channel, .. }) = self.remove_channel(conn, audience) else {
                return;
            };
            // If a change is under way, its answer says it too: one to a join that finds nobody is
            // a leave.
            if channel.state == State::Joined {
                let asker = Asker { conn, slot: channel.slot };
                let leave = home.map(|(shard, home)| Ask::leave(shard, home, asker));
                self.asks.extend(leave);
            }
            self.audiences.drop_if_deserted(audience);
        }
    }

    /// Takes a channel from its connection, with what is kept beside it, and its seat from the
    /// audience.
    pub(super) fn remove_channel(
        &mut self,
        conn: ConnKey,
        audience: AudienceKey,
    ) -> Option<Departed> {
        let at = self.channels(conn).iter().position(|channel| channel.audience == audience)?;
        let channel = self.channels[conn.index() as usize].remove(at);
        let record = self.audiences.get_mut(audience)?;
        record.newcomers.retain(|newcomer| *newcomer != conn);
        if channel.state == State::LeavingUnheard {
            record.unheard -= 1;
        }
        self.audiences.stand_apart(audience, conn.index());
        self.vacate(conn, audience, channel.seat);
        // What the others have had may now be let go.
        self.audiences.touch(audience);
        let join_ref = self.join_ref(conn, &channel);
        self.odd_refs.remove(&(conn, audience));
        let arrival = self.arrivals.remove(&(conn, audience));
        Some(Departed { channel: Channel { seat: NO_SEAT, ..channel }, join_ref, arrival })
    }

    /// Removes a seat from the audience, if there is one, and updates the channel of the member
    /// that moves into it.
    fn vacate(&mut self, conn: ConnKey, audience: AudienceKey, seat: u32) {
        let record = self.audiences.get_mut(audience).filter(|_| seat != NO_SEAT);
        let Some(record) = record else { return };
        let moved = record.stand(seat, self.conns.flags(conn.index()).speaks_v1());
        let moved = moved.and_then(|moved| self.conns.key_at(moved));
        if let Some(channel) = moved.and_then(|moved| self.channel_mut(moved, audience)) {
            channel.seat = seat;
        }
    }

    /// Ends the channels in rooms of a shard that has begun anew, with `phx_error`: stock clients
    /// join again.
    pub(crate) fn lose_homes(&mut self, shard: u16) {
        let of_shard = self.audiences.iter().filter(|(_, audience)| audience.home_shard == shard);
        let lost: Vec<_> = of_shard.map(|(key, _)| key).collect();
        for key in &lost {
            if let Some(audience) = self.audiences.get_mut(*key) {
                audience.home = None;
                audience.joining = 0;
            }
        }
        let is_lost = |key: &AudienceKey| {
            self.audiences.get(*key).is_some_and(|audience| audience.home_shard == shard)
        };
        let mut members = Vec::new();
        for conn in self.conns.keys() {
            let audiences = self.channels(conn).iter().map(|channel| channel.audience);
            members.extend(audiences.filter(is_lost).map(|key| (conn, key)));
        }
        for (conn, audience) in members {
            if let Some(departed) = self.remove_channel(conn, audience) {
                self.end_lost(conn, audience, departed);
                self.conns.unpark(conn);
            }
        }
        for audience in lost {
            self.audiences.drop_if_deserted(audience);
        }
    }

    /// Tells a client that its channel has ended with the room's home.
    fn end_lost(&mut self, conn: ConnKey, audience: AudienceKey, departed: Departed) {
        let Departed { channel, join_ref, arrival } = departed;
        if matches!(channel.state, State::Leaving | State::LeavingUnheard) {
            return self.say_closed(conn, audience, &join_ref);
        }
        let join_ref = arrival.map_or(join_ref, |arrival| arrival.join_ref);
        self.say_lost(conn, audience, &join_ref, "restarted");
    }
}
