//! From a room's log to its members' sockets: a slice of a flush, and what a single member missed.
//!
//! A flush of a large room is made in slices, each of a bounded number of writes. So the length of
//! a turn does not grow with the room. The caller evicts the members that lag too far.

use std::cmp::Ordering;

use super::seats::Seat;
use super::{Audience, Audiences};
use crate::conn::Conns;
use crate::link::ids::{AudienceKey, ConnKey};
use crate::link::io::Io;
use crate::link::outbox::{Cx, Timer};
use crate::link::topic::LOBBY;
use crate::wire::ws::frame::frame_bytes_at;

/// The seat of a member without one: before its join is confirmed, or apart from the others in the
/// lobby.
pub(crate) const NO_SEAT: u32 = u32::MAX;

impl Audiences {
    /// Sends members what they have not had, as many members as a turn may write to: of one
    /// audience, and `turn_left` of all.
    ///
    /// Requires: live, not resting. Changes: cursors, output, `laggards`. Emits: writes. To be
    /// followed by [`Audiences::next_laggard`] until there is none, and [`Audiences::end_slice`].
    pub(crate) fn flush_slice<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        conns: &mut Conns,
        key: AudienceKey,
        began_us: u64,
        turn_left: &mut u32,
    ) {
        let Some(audience) = self.arena.get_mut(key) else { return };
        let writes_max = cx.settings.writes_per_flush.min(*turn_left);
        let mut writes_left = writes_max;
        let mut seat = audience.next_seat;
        if seat == 0 {
            audience.cadence.begin(began_us);
        }
        seat = seat.max(audience.ending());
        while seat < audience.seats.len() && writes_left > 0 {
            let conn = audience.seats[seat].conn;
            let flags = conns.flags(conn);
            let log = if flags.speaks_v1() { &audience.log_v1 } else { &audience.log };
            let pending = log.after(audience.seats[seat].cursor);
            let this = seat;
            seat += 1;
            if pending.is_empty() {
                continue;
            }
            if flags.is_clear() {
                writes_left -= 1;
                let written = conns.write(cx, conn, pending);
                if written == pending.len() {
                    audience.seats[this].cursor = log.end();
                    continue;
                }
                let (whole, rest) = cut(pending, written);
                audience.seats[this].cursor = audience.seats[this].cursor.plus(whole);
                if !rest.is_empty() {
                    conns.output_untouched(conn).extend_from_slice(rest);
                }
            } else if !flags.hears_nothing() {
                // Its own output goes first, and the room's along with it in the same write.
                writes_left -= 1;
                conns.output_untouched(conn).extend_from_slice(pending);
                audience.seats[this].cursor = log.end();
                continue;
            }
            if flags.is_session() {
                conns.stir(conn);
            }
            if log.after(audience.seats[this].cursor).len() > cx.settings.limits.room_lag_bytes {
                self.laggards.push(this);
            }
        }
        audience.next_seat = seat;
        *turn_left -= writes_max - writes_left;
    }

    /// Takes the next seat that lags too far. From the back, since removing a seat moves the last
    /// one into its place.
    pub(crate) fn next_laggard(&mut self) -> Option<usize> {
        self.laggards.pop()
    }

    /// Ends a slice that began at `began_us`: either the flush goes on in the next turn, or it is
    /// over and the room may rest. True if the audience is to be flushed again.
    pub(crate) fn end_slice<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        conns: &Conns,
        key: AudienceKey,
        began_us: u64,
    ) -> bool {
        let (now_ms, ended_us) = (cx.now.mono_ms, cx.io.elapsed_us());
        let Some(audience) = self.arena.get_mut(key) else { return false };
        audience.cadence.spend(ended_us.saturating_sub(began_us));
        if audience.next_seat >= audience.seats.len() {
            audience.next_seat = 0;
            audience.touched = audience.release(&mut self.log_memory, conns);
            audience.cadence.end(now_ms, ended_us);
        }
        let (touched, rests_until_ms) = (audience.touched, audience.cadence.rests_until_ms());
        if touched || rests_until_ms > now_ms {
            cx.timers.push(rests_until_ms.max(now_ms), Timer::Pace(key));
        }
        self.drop_if_deserted(key);
        touched
    }

    /// Moves what a member has not been sent yet to its own output, so that what is appended there
    /// next comes after it.
    ///
    /// Not for a member whose socket takes nothing: its log may be long, and it would cost memory
    /// of its own.
    pub(crate) fn settle(&mut self, conns: &mut Conns, key: AudienceKey, seat: u32) {
        let Some(audience) = self.arena.get_mut(key).filter(|_| seat != NO_SEAT) else { return };
        let conn = audience.seats[seat as usize].conn;
        let flags = conns.flags(conn);
        let pending = audience.pending(seat as usize, flags.speaks_v1());
        if flags.is_stuck() || pending.is_empty() {
            return;
        }
        conns.output(conn).extend_from_slice(pending);
        audience.catch_up(seat as usize, flags.speaks_v1());
        // It may have been the last one that lagged.
        self.touch(key);
    }

    /// Passes what a session has not had as a member to `take`, which returns how many bytes of it
    /// are fetched: whole frames.
    pub(crate) fn fetch(
        &mut self,
        conns: &Conns,
        key: AudienceKey,
        seat: u32,
        take: impl FnOnce(&[u8]) -> usize,
    ) {
        let Some(audience) = self.arena.get_mut(key).filter(|_| seat != NO_SEAT) else { return };
        let speaks_v1 = conns.flags(audience.seats[seat as usize].conn).speaks_v1();
        let pending = audience.pending(seat as usize, speaks_v1);
        if !pending.is_empty() {
            let taken = take(pending);
            let cursor = &mut audience.seats[seat as usize].cursor;
            *cursor = cursor.plus(taken);
            self.touch(key);
        }
    }

    /// Sends a member whose socket is writable again what it has not had. False if the socket is
    /// blocked again.
    pub(crate) fn resume_seat<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        conns: &mut Conns,
        key: AudienceKey,
        seat: u32,
    ) -> bool {
        let Some(audience) = self.arena.get_mut(key) else { return true };
        let seat = seat as usize;
        let conn = audience.seats[seat].conn;
        let pending = audience.pending(seat, conns.flags(conn).speaks_v1());
        if pending.is_empty() {
            return true;
        }
        let written = conns.write(cx, conn, pending);
        let (whole, rest) = cut(pending, written);
        let is_blocked = written < pending.len();
        if !rest.is_empty() {
            conns.output_untouched(conn).extend_from_slice(rest);
        }
        audience.seats[seat].cursor = audience.seats[seat].cursor.plus(whole);
        if !is_blocked {
            // What waits in its next room has its time from now on.
            conns.note_taken(conn);
        }
        // It may have been the last one that lagged.
        self.touch(key);
        !is_blocked
    }

    /// The members that lag at least half as far as the furthest one of a room, the last seat
    /// first. Empty if none lags.
    pub(crate) fn furthest(&self, conns: &Conns, key: AudienceKey) -> Vec<ConnKey> {
        let Some(audience) = self.arena.get(key) else { return Vec::new() };
        let lag_bytes = |seat: usize| {
            let flags = conns.flags(audience.seats[seat].conn);
            let pending = || audience.pending(seat, flags.speaks_v1()).len();
            if flags.is_blocked() { pending() } else { 0 }
        };
        let lags: Vec<usize> = (0..audience.seats.len()).map(lag_bytes).collect();
        let furthest = lags.iter().copied().max().unwrap_or_default();
        let is_far = |lag: usize| furthest > 0 && lag * 2 >= furthest;
        let far = (0..lags.len()).rev().filter(|seat| is_far(lags[*seat]));
        far.filter_map(|seat| conns.key_at(audience.seats[seat].conn)).collect()
    }

    /// Panics if an audience's seats do not agree with its logs. `member` checks seats against
    /// channels.
    pub(super) fn check_audience(&self, conns: &Conns, key: AudienceKey, audience: &Audience) {
        assert_eq!(
            self.by_topic.get(&*audience.topic),
            Some(&key),
            "an audience is found by its topic"
        );
        let mut seats_v1 = 0;
        for (seat, Seat { conn, cursor }) in audience.seats.iter().enumerate() {
            let speaks_v1 = conns.flags(*conn).speaks_v1();
            seats_v1 += u32::from(speaks_v1);
            if seat < audience.ending() {
                continue;
            }
            let log = audience.log(speaks_v1);
            assert_ne!(cursor.order(log.end()), Ordering::Greater, "nobody is ahead of the log");
            let _ = log.after(*cursor);
        }
        let lags = |seat: usize| {
            let speaks_v1 = conns.flags(audience.seats[seat].conn).speaks_v1();
            !audience.pending(seat, speaks_v1).is_empty()
        };
        assert!(
            audience.touched || audience.log_bytes() == 0 || (0..audience.seats.len()).any(lags),
            "a log that nobody lags in is empty"
        );
        assert_eq!(seats_v1, audience.seats_v1);
        assert!(!audience.is_deserted(), "an audience has somebody in it");
        assert!(audience.ending() <= audience.seats.len(), "those whose channels end are seated");
        assert!(&*audience.topic == LOBBY || audience.home.is_some() || audience.hearers() == 0);
    }
}

/// Where a write of several frames ended: the end of the frame in which it stopped, in bytes, and
/// the rest of that frame.
fn cut(frames: &[u8], written: usize) -> (usize, &[u8]) {
    let mut end = 0;
    while end < written {
        end += frame_bytes_at(&frames[end..]);
    }
    (end, &frames[written..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ws::frame::{Opcode, push_frame};

    #[test]
    fn a_cut_write_leaves_the_rest_of_one_frame() {
        let mut frames = Vec::new();
        for payload in ["a", "bcd", ""] {
            push_frame(&mut frames, Opcode::Text, payload.as_bytes());
        }
        let ends = [0, 3, 8, 10];
        for written in 0..=frames.len() {
            let (whole, rest) = cut(&frames, written);
            assert!(ends.contains(&whole) && whole >= written);
            assert_eq!(rest, &frames[written..whole]);
            assert!(ends.iter().all(|end| *end < written || *end >= whole), "the nearest boundary");
        }
    }
}
