//! What one frame of the lobby says, encoded once: for every reader the part that it may see is
//! found by ranges of names, and copied.
//!
//! ```text
//!   directory ── fill ──> changed: {..},{..},{..},   by name ── within(range) ──> one piece each
//!                         removed: "a","b",
//! ```
//!
//! Invariant: what is in a batch fits into a frame of [`LOBBY_FRAME_BYTES_MAX`], whoever reads it.
//! What does not fit stays in the directory.

use crate::directory::{Directory, NameRange, Scope};
use crate::limits::LOBBY_FRAME_BYTES_MAX;
use crate::link::message::push_listing;
use crate::link::topic::LOBBY;
use crate::wire::json::push_string;
use crate::wire::phx::{Payload, Serializer};

/// What a frame has beside the entries of its two lists, in bytes: header, envelope, names of
/// fields.
const AROUND_BYTES: usize = 128;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Batch {
    changed: Entries,
    removed: Entries,
}

/// One list: entries in order of name, each with a comma behind it.
#[derive(Debug, Default)]
struct Entries {
    json: Vec<u8>,
    /// Each room, and where its entry ends.
    rooms: Vec<(Box<str>, usize)>,
}

impl Entries {
    /// Encodes the entries anew.
    fn set(&mut self, mut entries: Vec<(Box<str>, Vec<u8>)>) {
        // They were taken in order from some name on, and went on from the first.
        entries.sort_unstable();
        self.json.clear();
        self.rooms.clear();
        for (room, json) in entries {
            self.json.extend_from_slice(&json);
            self.rooms.push((room, self.json.len()));
        }
    }

    /// The entries of the rooms in a range.
    fn within(&self, range: &NameRange) -> &[u8] {
        let count_before =
            |bound: &[u8]| self.rooms.partition_point(|(room, _)| room.as_bytes() < bound);
        let end_of = |count: usize| count.checked_sub(1).map_or(0, |last| self.rooms[last].1);
        let (start, end) = (count_before(&range.start), count_before(&range.end));
        &self.json[end_of(start)..end_of(end)]
    }

    /// Appends those that may be seen, as a list. False if these are none.
    fn push_seen(&self, out: &mut Vec<u8>, scope: &Scope) -> bool {
        out.push(b'[');
        let empty_bytes = out.len();
        for range in scope.ranges() {
            out.extend_from_slice(self.within(range));
        }
        let is_any = out.len() > empty_bytes;
        if is_any {
            out.pop();
        }
        out.push(b']');
        is_any
    }
}

impl Batch {
    /// Takes from the directory as much as fits into a frame.
    pub(super) fn fill(&mut self, directory: &mut Directory) {
        let (mut changed, mut removed) = (Vec::new(), Vec::new());
        let mut left_bytes = LOBBY_FRAME_BYTES_MAX - AROUND_BYTES;
        directory.take_changes(|room, listing| {
            let mut json = Vec::new();
            match listing {
                Some(listing) => push_listing(&mut json, room, &listing.title, listing.members),
                None => push_string(&mut json, room),
            }
            json.push(b',');
            let Some(rest_bytes) = left_bytes.checked_sub(json.len()) else { return false };
            left_bytes = rest_bytes;
            let list = if listing.is_some() { &mut changed } else { &mut removed };
            list.push((room.into(), json));
            true
        });
        self.changed.set(changed);
        self.removed.set(removed);
    }

    /// The payload for those with this scope; `None` if nothing of it is news to them.
    pub(super) fn payload(&self, scope: &Scope) -> Option<String> {
        let mut out = b"{\"changed\":".to_vec();
        let is_any_changed = self.changed.push_seen(&mut out, scope);
        out.extend_from_slice(b",\"removed\":");
        let is_any_removed = self.removed.push_seen(&mut out, scope);
        out.push(b'}');
        let is_news = is_any_changed || is_any_removed;
        is_news.then(|| String::from_utf8(out).expect("JSON of strings"))
    }
}

/// A frame for all who share a scope, in each encoding that one of them speaks.
#[derive(Debug)]
pub(super) struct Frame {
    payload: String,
    v1: Vec<u8>,
    v2: Vec<u8>,
}

impl Frame {
    /// A frame with this payload.
    pub(super) fn new(payload: String) -> Self {
        Self { payload, v1: Vec::new(), v2: Vec::new() }
    }

    /// Its bytes, encoded when they are first asked for.
    pub(super) fn bytes(&mut self, serializer: Serializer) -> &[u8] {
        let bytes = match serializer {
            Serializer::V1 => &mut self.v1,
            Serializer::V2 => &mut self.v2,
        };
        if bytes.is_empty() {
            serializer.broadcast(bytes, LOBBY, "rooms", Payload::Json(&self.payload));
        }
        bytes
    }
}
