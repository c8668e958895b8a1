//! Buffers that connections and logs borrow while they need one, so that an idle connection owns none.
//!
//! A buffer is named by four bytes. What was returned is lent again, the last one first; a buffer that grew beyond
//! [`POOL_BUFFER_BYTES_MAX`] is shrunk, and beyond [`POOL_BUFFERS_MAX`] spare ones memory is given back. So is, little by little, that of
//! spare ones which nobody needs: what a storm took is free again soon after.

use std::num::NonZeroU32;

use crate::limits::{POOL_BUFFER_BYTES_MAX, POOL_BUFFERS_MAX};

/// Names a lent buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BufferId(NonZeroU32);

impl BufferId {
    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// All buffers of a shard.
#[derive(Default)]
pub(super) struct Buffers {
    all: Vec<Vec<u8>>,
    spare: Vec<BufferId>,
    /// How many spare ones have memory; they are at the back of `spare`.
    warm: usize,
    /// How many spare ones with memory were never lent since the last [`Buffers::tidy`].
    unneeded: usize,
}

impl Buffers {
    /// Lends an empty buffer.
    pub(super) fn lend(&mut self) -> BufferId {
        if let Some(id) = self.spare.pop() {
            self.warm = self.warm.saturating_sub(1);
            self.unneeded = self.unneeded.min(self.warm);
            return id;
        }
        self.all.push(Vec::new());
        let number = u32::try_from(self.all.len()).expect("fewer buffers than descriptors");
        BufferId(NonZeroU32::new(number).expect("one was pushed"))
    }

    /// Takes a buffer back.
    pub(super) fn give_back(&mut self, id: BufferId) {
        let buffer = &mut self.all[id.index()];
        buffer.clear();
        if self.warm < POOL_BUFFERS_MAX {
            buffer.shrink_to(POOL_BUFFER_BYTES_MAX);
            self.warm += 1;
            self.spare.push(id);
        } else {
            *buffer = Vec::new();
            self.spare.insert(0, id);
        }
    }

    /// Gives back the memory of half of those that nobody has needed since the last call.
    pub(super) fn tidy(&mut self) {
        let coldest = self.spare.len() - self.warm;
        for id in &self.spare[coldest..coldest + self.unneeded.div_ceil(2)] {
            self.all[id.index()] = Vec::new();
            self.warm -= 1;
        }
        self.unneeded = self.warm;
    }

    /// A lent buffer's bytes.
    pub(super) fn bytes(&mut self, id: BufferId) -> &mut Vec<u8> {
        &mut self.all[id.index()]
    }

    /// Takes a lent buffer's bytes out, to be worked on beside the shard; [`Buffers::put`] brings them back.
    pub(super) fn take(&mut self, id: BufferId) -> Vec<u8> {
        std::mem::take(&mut self.all[id.index()])
    }

    /// See [`Buffers::take`].
    pub(super) fn put(&mut self, id: BufferId, bytes: Vec<u8>) {
        self.all[id.index()] = bytes;
    }

    /// How many bytes are in a lent buffer.
    pub(super) fn bytes_count(&self, id: BufferId) -> usize {
        self.all[id.index()].len()
    }

    /// How many are lent.
    pub(super) fn lent(&self) -> usize {
        self.all.len() - self.spare.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many buffers have memory.
    fn warm(buffers: &Buffers) -> usize {
        buffers.all.iter().filter(|buffer| buffer.capacity() > 0).count()
    }

    #[test]
    fn memory_that_nobody_needs_is_given_back_little_by_little_and_that_which_is_in_use_stays() {
        let mut buffers = Buffers::default();
        let use_some = |buffers: &mut Buffers, count| {
            let ids: Vec<_> = (0..count).map(|_| buffers.lend()).collect();
            ids.iter().for_each(|id| buffers.bytes(*id).push(1));
            ids.into_iter().for_each(|id| buffers.give_back(id));
        };
        use_some(&mut buffers, 100);
        buffers.tidy();
        assert_eq!(warm(&buffers), 100, "all were needed");
        for expected in [52, 28, 16, 10, 7, 6, 5, 5] {
            use_some(&mut buffers, 5);
            buffers.tidy();
            assert_eq!((warm(&buffers), buffers.warm), (expected, expected));
        }
        assert_eq!(buffers.lent(), 0);
        for expected in [2, 1, 0, 0] {
            buffers.tidy();
            assert_eq!(warm(&buffers), expected);
        }
        use_some(&mut buffers, 100);
        assert_eq!(warm(&buffers), 100);
    }
}
