//! What answers of long polling say: the `status` in their bodies.

/// A poll's status: its answer has messages. A post's status: it was taken.
pub(crate) const DONE: u16 = 200;
/// A poll's status: no message came in its time.
pub(crate) const NOTHING: u16 = 204;
/// A post's status: its body is not a message of Phoenix.
pub(crate) const MALFORMED: u16 = 400;
/// The client may not connect.
pub(crate) const REFUSED: u16 = 403;
/// There is no such session, or a new one has been made.
pub(crate) const GONE: u16 = 410;
/// A post was not taken: earlier posts still wait, the way to the session's shard is too full, or
/// its node cannot be reached now.
pub(crate) const BUSY: u16 = 503;
/// The status of a poll of a session that is gone. Phoenix answers 410 and makes a new session,
/// which `phoenix.js` before 1.8 takes for the old one: it does not join its channels again, and
/// hears nothing of them. With 500 every version begins anew. Also that of a post of which nobody
/// knows whether it was taken.
pub(crate) const LOST: u16 = 500;
