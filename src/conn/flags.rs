//! Facts about a connection that each flush, read or sweep looks at: one byte beside the record.
//!
//! All eight bits are taken. A ninth fact that a flush looks at makes this a `u16`: `Conns` has one
//! for each connection in a dense array, so that costs a byte each (`CONN_MEMORY_BYTES`). One that
//! only few look at lies beside the record where few have it, as `Conns::stuck` does; what a
//! connection speaks is a [`Stage`](super::stage::Stage).

/// Its socket took less than it was given; it is written to again when the socket says so.
const BLOCKED: u8 = 1;
/// It has output of its own, which goes before anything of a room.
const HAS_OUT: u8 = 1 << 1;
/// It speaks the old encoding.
const SPEAKS_V1: u8 = 1 << 2;
/// What it sent cannot be handled yet.
const PARKED: u8 = 1 << 3;
/// It is among those to be flushed at the end of the turn.
const TOUCHED: u8 = 1 << 4;
/// It is being closed: what it sends is thrown away, and what it has not been sent goes out first.
const CLOSING: u8 = 1 << 5;
/// Our half of its socket is closed.
const SHUT: u8 = 1 << 6;
/// It is a session of long polling, and has no socket.
const SESSION: u8 = 1 << 7;

/// The facts. All false in a free slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u8);

impl Flags {
    const fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    const fn set(&mut self, bit: u8, is_set: bool) {
        if is_set {
            self.0 |= bit;
        } else {
            self.0 &= !bit;
        }
    }

    /// The facts of a session of long polling: its socket never takes anything.
    pub(super) const fn of_session(speaks_v1: bool) -> Self {
        Self(SESSION | BLOCKED | if speaks_v1 { SPEAKS_V1 } else { 0 })
    }

    /// Whether its socket took less than it was given.
    pub(crate) const fn is_blocked(self) -> bool {
        self.has(BLOCKED)
    }

    /// Whether it has output of its own, which goes before anything of a room.
    pub(crate) const fn has_out(self) -> bool {
        self.has(HAS_OUT)
    }

    /// Whether its socket may be written to from a room's log: it is not full, nothing goes before,
    /// and it is not being closed.
    pub(crate) const fn is_clear(self) -> bool {
        self.0 & (BLOCKED | HAS_OUT | CLOSING) == 0
    }

    /// Whether nothing from a room's log is for it now, neither at once nor behind its own output.
    pub(crate) const fn hears_nothing(self) -> bool {
        self.0 & (BLOCKED | CLOSING) != 0
    }

    /// Whether it speaks the old encoding.
    pub(crate) const fn speaks_v1(self) -> bool {
        self.has(SPEAKS_V1)
    }

    /// Whether what it sent cannot be handled yet.
    pub(crate) const fn is_parked(self) -> bool {
        self.has(PARKED)
    }

    /// Whether it is being closed.
    pub(crate) const fn is_closing(self) -> bool {
        self.has(CLOSING)
    }

    /// Whether our half of its socket is closed.
    pub(crate) const fn is_shut(self) -> bool {
        self.has(SHUT)
    }

    /// Whether it is a session of long polling.
    pub(crate) const fn is_session(self) -> bool {
        self.has(SESSION)
    }

    /// Whether its socket is full: that of a session never takes anything, and is not what counts.
    pub(crate) const fn is_stuck(self) -> bool {
        self.0 & (BLOCKED | SESSION) == BLOCKED
    }

    pub(super) const fn set_blocked(&mut self, is_set: bool) {
        self.set(BLOCKED, is_set);
    }

    pub(super) const fn set_has_out(&mut self, is_set: bool) {
        self.set(HAS_OUT, is_set);
    }

    pub(super) const fn set_speaks_v1(&mut self) {
        self.set(SPEAKS_V1, true);
    }

    pub(super) const fn set_parked(&mut self, is_set: bool) {
        self.set(PARKED, is_set);
    }

    pub(super) const fn set_closing(&mut self) {
        self.set(CLOSING, true);
    }

    pub(super) const fn set_shut(&mut self) {
        self.set(SHUT, true);
    }

    /// Notes that nothing more is read from it, or written to it.
    pub(super) const fn silence(&mut self) {
        self.set(CLOSING | SHUT, true);
        self.set(HAS_OUT | PARKED, false);
        // The socket of a session never takes anything.
        self.set(BLOCKED, self.is_session());
    }

    /// Notes that it is to be flushed; true if that is news.
    pub(super) const fn touch(&mut self) -> bool {
        let is_news = !self.has(TOUCHED);
        self.set(TOUCHED, true);
        is_news
    }

    pub(super) const fn untouch(&mut self) {
        self.set(TOUCHED, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fact_is_one_bit() {
        let mut flags = Flags::default();
        flags.set_blocked(true);
        assert!(flags.is_blocked() && flags.is_stuck() && !flags.is_clear() && !flags.is_session());
        flags.set_has_out(true);
        flags.set_blocked(false);
        assert!(flags.has_out() && !flags.is_clear() && !flags.is_stuck());
        flags.set_has_out(false);
        assert!(flags.is_clear() && !flags.hears_nothing());
        let mut silent = flags;
        silent.set_closing();
        assert!(!silent.is_clear() && silent.hears_nothing() && !silent.is_blocked());
        silent.set_has_out(true);
        silent.silence();
        assert!(silent.is_closing() && silent.is_shut() && !silent.has_out());
        assert!(flags.touch() && !flags.touch());
        flags.untouch();
        assert_eq!(flags, Flags::default());
        let session = Flags::of_session(true);
        assert!(session.is_session() && session.speaks_v1() && session.is_blocked());
        assert!(!session.is_stuck() && !session.is_parked() && !session.is_closing());
    }
}
