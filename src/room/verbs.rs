//! What may be done to a message that is there: one pure function for each verb.
//!
//! ```text
//!   a message as it stands ── judge ── refused, with a reason
//!                                   └─ as it is already
//!                                   └─ as it is to be from now on
//! ```
//!
//! Each verb sets something, so doing it twice is doing it once.
//!
//! Deliberately absent: where the message is, and how it is kept and told (`propose`).
//!
//! Called by: `rooms`. Calls: nothing.

use crate::auth::level::Level;
use crate::link::record::{Given, Verb};
use crate::link::refusal::Refusal;
use crate::link::said::{ActText, MessageText};

/// Who does something to a message, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Actor<'a> {
    /// The user's id.
    pub(crate) user: &'a str,
    /// What the user may do in the room.
    pub(crate) level: Level,
    /// Milliseconds of Unix time.
    pub(crate) now_ms: u64,
}

/// For how long an author may edit a message, in seconds; `None`: for ever.
pub(crate) type EditS = Option<u64>;

/// What a message is to be from now on; `None` if it is so already.
///
/// # Errors
///
/// Why this actor may not do that to it, or nobody may.
pub(crate) fn judge(
    verb: Verb<'_>,
    message: &MessageText,
    actor: Actor<'_>,
    edit_s: EditS,
) -> Result<Option<MessageText>, Refusal> {
    let mut next = message.clone();
    let was = message.fate.as_deref().cloned().unwrap_or_default();
    let mut fate = was.clone();
    let is_own = *message.said.user == *actor.user;
    match verb {
        Verb::Edit { body, mentions, data } => {
            if was.deleted.is_some() {
                return Err(Refusal::Gone);
            }
            if !is_own {
                return Err(Refusal::NotYours);
            }
            let age_ms = actor.now_ms.saturating_sub(message.at_ms);
            if edit_s.is_some_and(|edit_s| age_ms > edit_s.saturating_mul(1_000)) {
                return Err(Refusal::TooLate);
            }
            if let Some(body) = body {
                next.said.body = body.into();
            }
            mentions.set(&mut next.said.mentions);
            data.set(&mut next.said.data);
            if &*next.said.body == "\"\"" && next.said.data.is_none() {
                let message = "a string that is not empty, where there is no data";
                return Err(Refusal::Invalid { field: "body", message });
            }
            if next.said == message.said {
                return Ok(None);
            }
            fate.edited = Some(ActText { at_ms: actor.now_ms, by: None });
        }
        Verb::Delete => {
            if !is_own && actor.level < Level::Moderate {
                return Err(Refusal::NotYours);
            }
            if was.deleted.is_some() {
                return Ok(None);
            }
            (next.said.body, next.said.mentions, next.said.data) = ("\"\"".into(), None, None);
            (fate.edited, fate.pinned) = (None, None);
            fate.deleted = Some(ActText { at_ms: actor.now_ms, by: Some(actor.user.into()) });
        }
        Verb::Pin { on } => {
            if actor.level < Level::Moderate {
                return Err(Refusal::Unauthorized);
            }
            if was.deleted.is_some() {
                return Err(Refusal::Gone);
            }
            if on == was.pinned.is_some() {
                return Ok(None);
            }
            let by = Some(actor.user.into());
            fate.pinned = on.then_some(ActText { at_ms: actor.now_ms, by });
        }
    }
    next.fate = Some(Box::new(fate));
    Ok(Some(next))
}

impl Given<'_> {
    /// Sets what is given, and leaves the rest as it is.
    fn set(self, text: &mut Option<Box<str>>) {
        match self {
            Self::Nothing => {}
            Self::Null => *text = None,
            Self::Value(value) => *text = Some(value.into()),
        }
    }
}
