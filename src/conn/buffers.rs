//! Buffers that connections and logs borrow while they need one, so that an idle connection owns
//! none.
//!
//! A buffer is named by four bytes. One that grew beyond [`POOL_BUFFER_BYTES_MAX`] is shrunk when
//! it comes back, and of [`POOL_BUFFERS_MAX`] the memory is kept for the next one.

use std::cmp::Reverse;
use std::num::NonZeroU32;

use crate::base::slack::{self, Slack};
use crate::base::spare::Spares;
use crate::limits::{POOL_BUFFER_BYTES_MAX, POOL_BUFFERS_MAX};

/// Names a lent buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BufferId(NonZeroU32);

impl BufferId {
    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// All buffers of a shard.
pub(crate) struct Buffers {
    /// Those that are not lent have no memory.
    all: Vec<Vec<u8>>,
    free: Vec<BufferId>,
    memory: Spares,
    /// By buffer.
    counts: Vec<Count>,
    /// Those that may have grown since [`Buffers::lent_bytes`] was asked for.
    touched: Vec<BufferId>,
    lent_bytes: usize,
}

/// What a buffer is counted for.
#[derive(Clone, Copy, Default)]
struct Count {
    bytes: usize,
    is_lent: bool,
    is_touched: bool,
}

impl Default for Buffers {
    fn default() -> Self {
        let memory = Spares::new(POOL_BUFFERS_MAX, POOL_BUFFER_BYTES_MAX);
        Self {
            all: Vec::new(),
            free: Vec::new(),
            memory,
            counts: Vec::new(),
            touched: Vec::new(),
            lent_bytes: 0,
        }
    }
}

impl Buffers {
    /// Lends an empty buffer.
    pub(crate) fn lend(&mut self) -> BufferId {
        let memory = self.memory.take();
        if let Some(id) = self.free.pop() {
            self.all[id.index()] = memory;
            self.counts[id.index()].is_lent = true;
            self.touch(id);
            return id;
        }
        self.all.push(memory);
        self.counts.push(Count { is_lent: true, ..Count::default() });
        let number = u32::try_from(self.all.len()).expect("fewer buffers than descriptors");
        let id = BufferId(NonZeroU32::new(number).expect("one was pushed"));
        self.touch(id);
        id
    }

    /// Takes a buffer back.
    pub(crate) fn give_back(&mut self, id: BufferId) {
        let count = &mut self.counts[id.index()];
        self.lent_bytes -= std::mem::take(&mut count.bytes);
        count.is_lent = false;
        let mut memory = self.take(id);
        memory.clear();
        memory.shrink_to(POOL_BUFFER_BYTES_MAX);
        self.memory.keep(memory);
        self.free.push(id);
    }

    /// Gives back some of the memory that nobody needs, and the places of many buffers that were,
    /// but for `kept`.
    pub(crate) fn tidy(&mut self, kept: usize) {
        self.memory.tidy();
        if slack::places(self.lent(), self.all.len(), kept).is_none() {
            return;
        }
        let len = self.counts.iter().rposition(|count| count.is_lent).map_or(0, |last| last + 1);
        self.all.truncate(len);
        self.counts.truncate(len);
        self.free.retain(|id| id.index() < len);
        // The lowest go out first, so that the last become free.
        self.free.sort_unstable_by_key(|id| Reverse(id.0));
        self.touched.retain(|id| id.index() < len);
        self.all.trim(kept);
        self.counts.trim(kept);
        self.free.trim(kept);
        self.touched.trim(kept);
    }

    /// A lent buffer's bytes.
    pub(crate) fn bytes(&mut self, id: BufferId) -> &mut Vec<u8> {
        self.touch(id);
        &mut self.all[id.index()]
    }

    /// Takes a lent buffer's bytes out, to be worked on beside the shard; [`Buffers::put`] brings
    /// them back.
    pub(crate) fn take(&mut self, id: BufferId) -> Vec<u8> {
        std::mem::take(&mut self.all[id.index()])
    }

    /// See [`Buffers::take`].
    pub(crate) fn put(&mut self, id: BufferId, bytes: Vec<u8>) {
        self.touch(id);
        self.all[id.index()] = bytes;
    }

    /// How many bytes are in a lent buffer.
    pub(crate) fn bytes_count(&self, id: BufferId) -> usize {
        self.all[id.index()].len()
    }

    /// How much memory a lent buffer has, in bytes.
    pub(crate) fn memory_bytes(&self, id: BufferId) -> usize {
        self.all[id.index()].capacity()
    }

    /// How much memory all buffers have that are lent, in bytes. Looks only at those that were in
    /// use since the last time.
    pub(crate) fn lent_bytes(&mut self) -> usize {
        for id in self.touched.drain(..) {
            let count = &mut self.counts[id.index()];
            count.is_touched = false;
            if count.is_lent {
                let bytes = self.all[id.index()].capacity();
                self.lent_bytes = self.lent_bytes - count.bytes + bytes;
                count.bytes = bytes;
            }
        }
        self.lent_bytes
    }

    fn touch(&mut self, id: BufferId) {
        let count = &mut self.counts[id.index()];
        if !std::mem::replace(&mut count.is_touched, true) {
            self.touched.push(id);
        }
    }

    /// How many are lent.
    pub(crate) fn lent(&self) -> usize {
        self.all.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_of_many_that_were_lent_are_given_back_behind_the_last_that_is() {
        let mut buffers = Buffers::default();
        let all: Vec<_> = (0..1_000).map(|_| buffers.lend()).collect();
        for id in &all {
            buffers.bytes(*id).push(1);
        }
        for (number, id) in all.iter().enumerate().filter(|(number, _)| ![3, 200].contains(number))
        {
            assert_eq!(buffers.bytes(*id).len(), 1, "{number}");
            buffers.give_back(*id);
        }
        buffers.tidy(10);
        assert_eq!((buffers.all.len(), buffers.free.len(), buffers.lent()), (201, 199, 2));
        assert!(buffers.all.capacity() < 500 && buffers.counts.capacity() < 500);
        let memory = buffers.memory_bytes(all[3]) + buffers.memory_bytes(all[200]);
        assert_eq!(buffers.lent_bytes(), memory);
        assert_eq!(buffers.lend(), all[0], "the lowest first");
        for id in [0, 3, 200] {
            buffers.give_back(all[id]);
        }
        buffers.tidy(10);
        assert_eq!((buffers.all.len(), buffers.lent(), buffers.lent_bytes()), (0, 0, 0));
        assert_eq!(buffers.lend(), all[0]);
    }

    #[test]
    fn what_is_lent_is_counted_as_it_grows_and_no_longer_when_it_is_back() {
        let mut buffers = Buffers::default();
        let (first, second) = (buffers.lend(), buffers.lend());
        buffers.bytes(first).reserve_exact(1_000);
        assert_eq!(buffers.lent_bytes(), 1_000);
        let mut taken = buffers.take(second);
        taken.reserve_exact(500);
        buffers.put(second, taken);
        buffers.bytes(first).reserve_exact(2_000);
        assert_eq!(buffers.lent_bytes(), 2_500);
        buffers.bytes(first).push(0);
        buffers.give_back(first);
        assert_eq!(buffers.lent_bytes(), 500);
        // It comes back with the memory that it has.
        assert_eq!(buffers.lend(), first);
        assert_eq!(buffers.lent_bytes(), 2_500);
    }
}
