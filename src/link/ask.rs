//! Questions of the members to another part: returned as a value, and routed by the shard.

use crate::link::ids::{Asker, RoomKey};
use crate::link::log::NodeId;
use crate::link::record::{ToHome, ToSession};

/// A question, and where it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask<'m> {
    /// To a room's home.
    Home { shard: u16, message: ToHome<'m> },
    /// To a session of long polling: at another node, or on the shard here that has it.
    Session { node: Option<NodeId>, message: ToSession<'m> },
}

impl Ask<'_> {
    /// The shard that it goes to, if it stays at this node.
    pub(crate) fn shard(&self) -> Option<u16> {
        match self {
            Self::Home { shard, .. } => Some(*shard),
            Self::Session { node: None, message } => Some(message.ticket().shard),
            Self::Session { node: Some(_), .. } => None,
        }
    }
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
