//! A room's outgoing bytes on one shard: finished frames, one behind the other, each written once
//! for all members.
//!
//! A member's cursor is a [`Position`]: what it has not been sent yet is `log.after(position)`.
//! Positions count bytes since the log began, and wrap as TCP's sequence numbers do. Two positions
//! that are compared are never further apart than the lag limit.
//!
//! Invariants: a position that a member holds is the beginning of a frame or the end of the log,
//! and is not before the log's base.

use std::cmp::Ordering;

use crate::base::spare::Spares;

/// A place in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position(u32);

impl Position {
    /// The place `bytes` further on.
    pub(crate) fn plus(self, bytes: usize) -> Self {
        Self(self.0.wrapping_add(wrapped(bytes)))
    }

    /// How many bytes this is after another place, which must not be the later one.
    fn since(self, earlier: Self) -> usize {
        self.0.wrapping_sub(earlier.0) as usize
    }

    /// The order of two places of the same log.
    pub(crate) fn order(self, other: Self) -> Ordering {
        // Half the number space is 2 GiB; a log is bounded far below.
        if self == other {
            Ordering::Equal
        } else if self.0.wrapping_sub(other.0) < u32::MAX / 2 {
            Ordering::Greater
        } else {
            Ordering::Less
        }
    }
}

/// Positions wrap: only the low 32 bits count.
fn wrapped(bytes: usize) -> u32 {
    u32::try_from(bytes & 0xFFFF_FFFF).expect("masked to 32 bits")
}

/// Frames that some member has not been sent yet.
#[derive(Debug, Default)]
pub(crate) struct Log {
    bytes: Vec<u8>,
    base: Position,
}

/// Spare buffers for logs: an empty log owns no memory.
#[derive(Debug)]
pub(crate) struct LogMemory {
    spares: Spares,
    /// The memory of a log in which a member lags as far as it may, in bytes.
    lagging_bytes: usize,
    /// How much of that may lie before the member that lags furthest.
    front_bytes: usize,
    /// The memory of all logs, in bytes.
    lent_bytes: usize,
}

/// How many buffers are kept, and how large a kept one may be. Rooms flush one after another, so a
/// few serve all.
pub(crate) const SPARE_MAX: usize = 64;
pub(crate) const SPARE_BYTES_MAX: usize = 256 * 1_024;

impl LogMemory {
    /// No spare buffers yet. A member may lag by `lag_bytes`.
    pub(crate) fn new(lag_bytes: usize) -> Self {
        let spares = Spares::new(SPARE_MAX, SPARE_BYTES_MAX);
        // One eighth for bytes that every member has had, so that the log is not moved for each
        // message; another for what is said between two flushes.
        let front_bytes = lag_bytes / 8;
        Self { spares, lagging_bytes: lag_bytes + 2 * front_bytes, front_bytes, lent_bytes: 0 }
    }

    /// How much a log takes at most, in bytes.
    pub(crate) fn lagging_bytes(&self) -> usize {
        self.lagging_bytes
    }

    /// How much memory all logs have, in bytes.
    pub(crate) fn lent_bytes(&self) -> usize {
        self.lent_bytes
    }

    /// Notes that logs with `bytes` of memory are gone.
    pub(crate) fn forget(&mut self, bytes: usize) {
        self.lent_bytes -= bytes;
    }

    /// Gives back some of the spare buffers.
    pub(crate) fn tidy(&mut self) {
        self.spares.tidy();
    }
}

impl Log {
    /// Where the next frame will begin.
    pub(crate) fn end(&self) -> Position {
        self.base.plus(self.bytes.len())
    }

    /// Appends frames with `write`, which must append whole ones.
    pub(crate) fn append(&mut self, memory: &mut LogMemory, write: impl FnOnce(&mut Vec<u8>)) {
        let capacity_bytes = self.bytes.capacity();
        if capacity_bytes == 0 {
            self.bytes = memory.spares.take();
        } else if self.bytes.len() > SPARE_BYTES_MAX {
            // A member lags, and will probably lag on. Growing by doubling would take up to four
            // times as much meanwhile.
            self.bytes.reserve_exact(memory.lagging_bytes.saturating_sub(self.bytes.len()));
        }
        write(&mut self.bytes);
        memory.lent_bytes = memory.lent_bytes - capacity_bytes + self.bytes.capacity();
    }

    /// The bytes from a position to the end.
    ///
    /// # Panics
    ///
    /// If the position is not in the log: bytes of another time would be sent.
    pub(crate) fn after(&self, position: Position) -> &[u8] {
        &self.bytes[position.since(self.base)..]
    }

    /// Lets go of everything before a position.
    pub(crate) fn release_before(&mut self, memory: &mut LogMemory, position: Position) {
        let bytes = position.since(self.base);
        if bytes == self.bytes.len() {
            if self.bytes.capacity() > 0 {
                memory.lent_bytes -= self.bytes.capacity();
                memory.spares.keep(std::mem::take(&mut self.bytes));
            }
        } else if bytes * 2 < self.bytes.len() && bytes < memory.front_bytes {
            // Moving what is left would cost more than the memory is worth.
            return;
        } else {
            self.bytes.drain(..bytes);
        }
        self.base = position;
    }

    /// Gives back what it has beyond what is in it.
    pub(crate) fn shrink(&mut self, memory: &mut LogMemory) {
        let capacity_bytes = self.bytes.capacity();
        self.bytes.shrink_to_fit();
        memory.lent_bytes = memory.lent_bytes - capacity_bytes + self.bytes.capacity();
    }

    /// The memory it holds, in bytes.
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_hold_across_the_wrap() {
        let memory = &mut LogMemory::new(1_024);
        let mut log = Log { bytes: Vec::new(), base: Position(u32::MAX - 3) };
        let first = log.end();
        log.append(memory, |bytes| bytes.extend_from_slice(b"abcdef"));
        let second = log.end();
        log.append(memory, |bytes| bytes.extend_from_slice(b"gh"));
        assert_eq!(second.order(first), Ordering::Greater);
        assert_eq!(first.order(second), Ordering::Less);
        assert_eq!(log.after(first), b"abcdefgh");
        assert_eq!(log.after(second), b"gh");
        log.release_before(memory, second);
        assert_eq!(log.after(second), b"gh");
        log.release_before(memory, log.end());
        assert!(log.capacity_bytes() == 0 && log.after(log.end()).is_empty());
    }

    #[test]
    fn a_log_in_which_somebody_lags_as_far_as_may_be_takes_no_more_than_it_may() {
        const LAG_BYTES: usize = 1024 * 1024;
        let memory = &mut LogMemory::new(LAG_BYTES);
        let mut log = Log::default();
        let mut furthest = log.end();
        for _ in 0..10_000 {
            log.append(memory, |bytes| bytes.extend_from_slice(&[7; 1_000]));
            // It reads as fast as is said, and is always as far behind as may be.
            while log.after(furthest).len() > LAG_BYTES {
                furthest = furthest.plus(1_000);
            }
            log.release_before(memory, furthest);
            assert!(log.capacity_bytes() <= memory.lagging_bytes(), "{}", log.capacity_bytes());
        }
        assert_eq!(memory.lent_bytes(), log.capacity_bytes());
    }

    #[test]
    #[should_panic(expected = "range")]
    fn a_position_before_the_base_is_never_served() {
        let memory = &mut LogMemory::new(1_024);
        let mut log = Log::default();
        let first = log.end();
        log.append(memory, |bytes| bytes.extend_from_slice(b"abc"));
        log.release_before(memory, log.end());
        log.append(memory, |bytes| bytes.extend_from_slice(b"def"));
        let _ = log.after(first);
    }
}
