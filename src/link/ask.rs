//! What one half of a shard asks of another part: handed upwards as a value, and routed by the
//! shard.

use crate::link::ids::{Asker, RoomKey};
use crate::link::record::{ToHome, ToSession};

/// A question, and the shard that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask<'m> {
    /// Of a room's home.
    Home { shard: u16, message: ToHome<'m> },
    /// Of a session of long polling.
    Session { shard: u16, message: ToSession<'m> },
}

impl Ask<'static> {
    /// A membership has ended, though its client did not ask for that.
    pub(crate) const fn leave(shard: u16, home: RoomKey, asker: Asker) -> Self {
        Self::Home { shard, message: ToHome::Leave { home, asker, reference: None } }
    }
}

/// Memory that a question may borrow from, beside the message that it comes of. Reused, so that no
/// push allocates.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    /// A text: a key whose JSON has escapes, a topic, an answer.
    pub(crate) text: String,
    /// Bytes: a custom payload with its sender in it, frames for a session.
    pub(crate) bytes: Vec<u8>,
}
