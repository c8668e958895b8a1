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
use crate::link::record::Verb;
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

/// What a message is to be from now on; `None` if it is so already. Its author may edit it for
/// `edit_s` seconds, or `EDIT_FOR_EVER_S`.
///
/// # Errors
///
/// Why this actor may not do that to it, or nobody may.
pub(crate) fn judge(
    verb: Verb<'_>,
    message: &MessageText,
    actor: Actor<'_>,
    edit_s: u64,
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
            // Behind that: one that was made is answered as it was then.
            let age_ms = actor.now_ms.saturating_sub(message.at_ms);
            if age_ms > edit_s.saturating_mul(1_000) {
                return Err(Refusal::TooLate);
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
            next.said.stream = false;
            (fate.edited, fate.pinned, fate.reacted) = (None, None, None);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::EDIT_FOR_EVER_S;
    use crate::link::given::Given;
    use crate::link::said::{Act, Fate, Said};

    const SAID: Said<'_> = Said {
        user: "ann",
        name: "Ann",
        body: "\"hi\"",
        key: Some("k"),
        reply_to: Some(3),
        thread: Some(2),
        mentions: Some("[\"bob\"]"),
        data: Some("{}"),
        stream: false,
    };

    fn message(fate: Fate<'_>) -> MessageText {
        MessageText::new(1_000, SAID, fate)
    }

    fn deleted() -> Fate<'static> {
        let deleted = Some(Act { at_ms: 7, by: Some("ann") });
        Fate { change: 1, deleted, ..Fate::default() }
    }

    fn pinned() -> Fate<'static> {
        let pinned = Some(Act { at_ms: 7, by: Some("mod") });
        Fate { change: 1, pinned, ..Fate::default() }
    }

    fn edit(body: &str) -> Verb<'_> {
        Verb::Edit { body: Some(body), mentions: Given::Nothing, data: Given::Nothing }
    }

    #[test]
    fn each_verb_is_for_whom_it_is_and_each_refusal_says_why() {
        use Level::{Join, Moderate, None as Nobody, Own, Speak};
        let all = [Nobody, Join, Speak, Moderate, Own];
        let plain = Fate::default();
        let (pin, unpin) = (Verb::Pin { on: true }, Verb::Pin { on: false });
        // Of a message of Ann's: what she is told, and what others are by their level.
        let own = |level| (level >= Moderate).then_some(());
        for level in all {
            let by = |user| Actor { user, level, now_ms: 2_000 };
            let told = |verb, fate, user| judge(verb, &message(fate), by(user), EDIT_FOR_EVER_S);
            let is_done = |verb, fate, user| matches!(told(verb, fate, user), Ok(Some(_)));
            let is_so = |verb, fate, user| told(verb, fate, user) == Ok(None);
            let refused = |verb, fate, user| told(verb, fate, user).err();

            assert!(is_done(edit("\"b\""), plain, "ann"), "{level:?}");
            assert_eq!(refused(edit("\"b\""), plain, "bob"), Some(Refusal::NotYours), "{level:?}");
            assert!(is_so(edit("\"hi\""), plain, "ann"));
            assert_eq!(refused(edit("\"b\""), deleted(), "ann"), Some(Refusal::Gone));

            assert!(is_done(Verb::Delete, plain, "ann"));
            assert!(is_so(Verb::Delete, deleted(), "ann"));
            let of_another = told(Verb::Delete, plain, "bob");
            match own(level) {
                Some(()) => assert!(matches!(of_another, Ok(Some(_))), "{level:?}"),
                None => assert_eq!(of_another, Err(Refusal::NotYours), "{level:?}"),
            }

            for user in ["ann", "bob"] {
                let outcomes = [
                    told(pin, plain, user).map(|next| next.is_some()),
                    told(pin, pinned(), user).map(|next| next.is_some()),
                    told(unpin, pinned(), user).map(|next| next.is_some()),
                    told(unpin, plain, user).map(|next| next.is_some()),
                    told(pin, deleted(), user).map(|next| next.is_some()),
                ];
                let expected = match own(level) {
                    Some(()) => [Ok(true), Ok(false), Ok(true), Ok(false), Err(Refusal::Gone)],
                    None => [Err(Refusal::Unauthorized); 5],
                };
                assert_eq!(outcomes, expected, "{user} {level:?}");
            }
        }
    }

    #[test]
    fn an_edit_sets_what_it_names_and_leaves_the_rest() {
        let actor = Actor { user: "ann", level: Level::Speak, now_ms: 2_000 };
        let edited = |body, mentions, data| {
            let verb = Verb::Edit { body, mentions, data };
            judge(verb, &message(pinned()), actor, EDIT_FOR_EVER_S)
                .expect("it is allowed")
                .expect("it is new")
        };
        let next = edited(None, Given::Null, Given::Value("{\"a\":1}"));
        let expected = Said { mentions: None, data: Some("{\"a\":1}"), ..SAID };
        assert_eq!(next.said.said(), expected);
        let edit = Some(Act { at_ms: 2_000, by: None });
        assert_eq!(next.fate(), Fate { edited: edit, ..pinned() }, "and it stays pinned");
        let next = edited(Some("\"b\""), Given::Nothing, Given::Nothing);
        assert_eq!(next.said.said(), Said { body: "\"b\"", ..SAID });
        // Without text there must be data.
        let verb = |data| Verb::Edit { body: Some("\"\""), mentions: Given::Nothing, data };
        let judged = |verb| judge(verb, &message(Fate::default()), actor, EDIT_FOR_EVER_S);
        assert!(judged(verb(Given::Nothing)).is_ok());
        let empty = judged(verb(Given::Null));
        assert!(matches!(empty, Err(Refusal::Invalid { field: "body", .. })), "{empty:?}");
    }

    #[test]
    fn an_edit_is_in_time_and_a_deletion_always_is() {
        let at = |now_ms| Actor { user: "ann", level: Level::Speak, now_ms };
        let told = |verb, now_ms, edit_s| {
            judge(verb, &message(Fate::default()), at(now_ms), edit_s).map(|next| next.is_some())
        };
        assert_eq!(told(edit("\"b\""), 11_000, 10), Ok(true));
        assert_eq!(told(edit("\"b\""), 11_001, 10), Err(Refusal::TooLate));
        assert_eq!(told(edit("\"hi\""), 11_001, 10), Ok(false), "it says that already");
        assert_eq!(told(edit("\"b\""), 0, 10), Ok(true), "a clock that goes back");
        assert_eq!(told(edit("\"b\""), u64::MAX, EDIT_FOR_EVER_S), Ok(true));
        assert_eq!(told(Verb::Delete, u64::MAX, 1), Ok(true));
    }

    #[test]
    fn of_a_deleted_message_nothing_that_it_said_is_left() {
        let actor = Actor { user: "mod", level: Level::Moderate, now_ms: 2_000 };
        let edited = Some(Act { at_ms: 5, by: None });
        let was = Fate { edited, reacted: Some("a\tb\n"), ..pinned() };
        let next = judge(Verb::Delete, &message(was), actor, 0).expect("it may").expect("new");
        assert_eq!(next.said.said(), Said { body: "\"\"", mentions: None, data: None, ..SAID });
        let deleted = Some(Act { at_ms: 2_000, by: Some("mod") });
        assert_eq!(next.fate(), Fate { change: 1, deleted, ..Fate::default() });
    }
}
