//! Buffers that connections and logs borrow while they need one, so that an idle connection owns none.
//!
//! A buffer is named by four bytes. One that grew beyond [`POOL_BUFFER_BYTES_MAX`] is shrunk when it comes back, and of [`POOL_BUFFERS_MAX`] the
//! memory is kept for the next one.

use std::num::NonZeroU32;

use crate::base::spare::Spares;
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
pub(super) struct Buffers {
    /// Those that are not lent have no memory.
    all: Vec<Vec<u8>>,
    free: Vec<BufferId>,
    memory: Spares,
}

impl Default for Buffers {
    fn default() -> Self {
        let memory = Spares::new(POOL_BUFFERS_MAX, POOL_BUFFER_BYTES_MAX);
        Self { all: Vec::new(), free: Vec::new(), memory }
    }
}

impl Buffers {
    /// Lends an empty buffer.
    pub(super) fn lend(&mut self) -> BufferId {
        let memory = self.memory.take();
        if let Some(id) = self.free.pop() {
            self.all[id.index()] = memory;
            return id;
        }
        self.all.push(memory);
        let number = u32::try_from(self.all.len()).expect("fewer buffers than descriptors");
        BufferId(NonZeroU32::new(number).expect("one was pushed"))
    }

    /// Takes a buffer back.
    pub(super) fn give_back(&mut self, id: BufferId) {
        let mut memory = self.take(id);
        memory.clear();
        memory.shrink_to(POOL_BUFFER_BYTES_MAX);
        self.memory.keep(memory);
        self.free.push(id);
    }

    /// Gives back some of the memory that nobody needs.
    pub(super) fn tidy(&mut self) {
        self.memory.tidy();
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
        self.all.len() - self.free.len()
    }
}
