//! The list of who is there that a room keeps, for as long as newcomers follow one another.
//!
//! Deliberately absent: when it is written, sent and dropped (`greeting`).

/// A kept list.
#[derive(Debug)]
pub(super) struct List {
    pub(super) bytes: Vec<u8>,
    /// Whether it has been sent since [`Rooms::let_lists_go`].
    ///
    /// [`Rooms::let_lists_go`]: crate::rooms::Rooms::let_lists_go
    pub(super) is_needed: bool,
}

impl List {
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}
