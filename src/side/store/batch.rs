//! Records that go into one commit, as they came: they can be written again if the commit fails.
//!
//! Deliberately absent: bounds, which are those of whoever gathers.

use crate::link::kept::read_whole;
use crate::link::store::ToStore;

/// Records of several shards, each shard's in its order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Which shard each record is of, and where it ends.
    records: Vec<(u16, usize)>,
}

impl Batch {
    /// Adds a record.
    pub(super) fn push(&mut self, shard: u16, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.records.push((shard, self.bytes.len()));
    }

    /// The records.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, ToStore<'_>)> {
        let mut start = 0;
        self.records.iter().map(move |&(shard, end)| {
            let record = &self.bytes[std::mem::replace(&mut start, end)..end];
            (shard, read_whole(record))
        })
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How large they are, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Lets go of all, and keeps their memory up to a bound.
    pub(super) fn clear(&mut self, bytes_kept: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(bytes_kept);
        self.records.clear();
    }
}
