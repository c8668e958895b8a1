//! Questions of the members to another part: returned as a value, and routed by the shard.

use crate::link::ids::{Asker, RoomKey};
use crate::link::record::{ToHome, ToSession};

/// A question, and the shard that it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask<'m> {
    /// To a room's home.
    Home { shard: u16, message: ToHome<'m> },
    /// To a session of long polling.
    Session { shard: u16, message: ToSession<'m> },
}

impl Ask<'static> {
    /// Tells a room's home that a membership has ended without its client asking for that.
    pub(crate) const fn leave(shard: u16, home: RoomKey, asker: Asker) -> Self {
        Self::Home { shard, message: ToHome::Leave { home, asker, reference: None } }
    }
}

/// Memory that a question may borrow from, beside the message that caused it. Reused, so that no
/// push allocates. It belongs to the shard, since a question outlives the call that made it.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    /// A text: a key whose JSON has escapes, a topic, an answer.
    pub(crate) text: String,
    /// Bytes: a custom payload with its sender in it, frames for a session.
    pub(crate) bytes: Vec<u8>,
}
