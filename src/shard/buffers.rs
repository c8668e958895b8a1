//! Buffers that connections and logs borrow while they need one, so that an idle connection owns none.
//!
//! A buffer is named by four bytes. What was returned is lent again, largest use first come; a buffer that grew beyond
//! [`POOL_BUFFER_BYTES_MAX`] is shrunk, and beyond [`POOL_BUFFERS_MAX`] spare ones memory is given back.

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
}

impl Buffers {
    /// Lends an empty buffer.
    pub(super) fn lend(&mut self) -> BufferId {
        if let Some(id) = self.spare.pop() {
            self.warm = self.warm.saturating_sub(1);
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
