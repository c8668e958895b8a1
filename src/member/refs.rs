//! The refs of joins: text while a message is handled, four bytes while a channel lasts.
//!
//! A client chooses the ref of a join, and every answer in the channel carries it. `phoenix.js`
//! counts: `"1"`, `"2"`, and so on. Such a ref is kept as its number; any other is legal too, and
//! kept beside the channels (`Members::odd_refs`).

use crate::wire::phx::Message;

/// A ref as the JSON in which it came. Mostly a short string of digits, which needs no memory of
/// its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ref(Text);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Text {
    Short(heapless::String<SHORT_REF_BYTES_MAX, u8>),
    Long(Box<str>),
}

/// Enough for any number in quotes that [`PackedRef`] can hold.
const SHORT_REF_BYTES_MAX: usize = 15;

impl Ref {
    pub(crate) fn of(json: &str) -> Self {
        Self::short([json]).unwrap_or_else(|| Self(Text::Long(json.into())))
    }

    /// Of some parts; `None` if they are too long for it.
    fn short<const N: usize>(parts: [&str; N]) -> Option<Self> {
        let mut text = heapless::String::new();
        for part in parts {
            text.push_str(part).ok()?;
        }
        Some(Self(Text::Short(text)))
    }

    pub(crate) fn as_json(&self) -> &str {
        match &self.0 {
            Text::Short(text) => text,
            Text::Long(text) => text,
        }
    }
}

/// The ref of a join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JoinRef {
    /// The client gave this one.
    Given(Ref),
    /// The client gave `null`, and answers show the ref of the join instead, as Phoenix does.
    Null(Ref),
}

impl JoinRef {
    pub(crate) fn of(message: &Message<'_>) -> Self {
        match &*message.join_ref {
            "null" => Self::Null(Ref::of(&message.reference)),
            given => Self::Given(Ref::of(given)),
        }
    }

    /// What an answer to a push carries.
    pub(crate) fn in_answers(&self) -> &str {
        let (Self::Given(text) | Self::Null(text)) = self;
        text.as_json()
    }

    /// What the client gave.
    pub(crate) fn as_json(&self) -> &str {
        match self {
            Self::Given(text) => text.as_json(),
            Self::Null(_) => "null",
        }
    }

    /// Whether a push belongs to this join. One that names none does (Phoenix 1.8.12).
    pub(crate) fn owns(&self, message: &Message<'_>) -> bool {
        let given = &*message.join_ref;
        given == "null" || matches!(self, Self::Given(text) if text.as_json() == given)
    }
}

/// A join's ref in four bytes, if it is a number in quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackedRef(u32);

/// In front of the number: whether the client gave `null`.
const NULL: u32 = 1 << 31;

impl PackedRef {
    /// Stands for a ref that is kept elsewhere.
    pub(crate) const ODD: Self = Self(u32::MAX);

    /// The ref, or [`PackedRef::ODD`] if four bytes cannot hold it.
    pub(crate) fn of(join_ref: &JoinRef) -> Self {
        let (text, null) = match join_ref {
            JoinRef::Given(text) => (text, 0),
            JoinRef::Null(text) => (text, NULL),
        };
        let number = number_in_quotes(text.as_json()).filter(|number| number | NULL != u32::MAX);
        number.map_or(Self::ODD, |number| Self(null | number))
    }

    /// The same as [`JoinRef::owns`], unless the ref is kept elsewhere. For each push, so no text
    /// is made.
    pub(crate) fn owns(self, message: &Message<'_>) -> Option<bool> {
        if self == Self::ODD {
            return None;
        }
        let given = &*message.join_ref;
        Some(given == "null" || number_in_quotes(given) == Some(self.0))
    }

    /// The ref, unless it is kept elsewhere.
    pub(crate) fn unpack(self) -> Option<JoinRef> {
        if self == Self::ODD {
            return None;
        }
        let mut digits = itoa::Buffer::new();
        let text =
            Ref::short(["\"", digits.format(self.0 & !NULL), "\""]).expect("ten digits are short");
        Some(if self.0 & NULL == 0 { JoinRef::Given(text) } else { JoinRef::Null(text) })
    }
}

/// The number in a JSON string of decimal digits, if it is below 2^31 and written as numbers are.
fn number_in_quotes(json: &str) -> Option<u32> {
    let digits = json.strip_prefix('"')?.strip_suffix('"')?;
    let is_plain = digits == "0" || !digits.starts_with(['0', '+']);
    digits.parse().ok().filter(|number| is_plain && number & NULL == 0)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::wire::phx::Payload;

    #[test]
    fn a_packed_ref_is_the_same_text_again_and_any_other_is_not_packed() {
        for text in ["\"0\"", "\"1\"", "\"42\"", "\"999999999\"", "\"2147483646\""] {
            for join_ref in [JoinRef::Given(Ref::of(text)), JoinRef::Null(Ref::of(text))] {
                assert_eq!(PackedRef::of(&join_ref).unpack(), Some(join_ref));
            }
        }
        for text in [
            "1",
            "\"\"",
            "\"01\"",
            "\"00\"",
            "\"+1\"",
            "\"-1\"",
            "\" 1\"",
            "\"1",
            "null",
            "\"a\"",
            "\"1\\u0030\"",
            "{}",
            "\"2147483647\"",
            "\"2147483648\"",
            "\"4294967295\"",
            "\"99999999999\"",
            "\"",
        ] {
            for join_ref in [JoinRef::Given(Ref::of(text)), JoinRef::Null(Ref::of(text))] {
                assert_eq!(PackedRef::of(&join_ref), PackedRef::ODD, "{text}");
            }
        }
        assert_eq!(PackedRef::ODD.unpack(), None);
    }

    #[test]
    fn a_packed_ref_owns_the_same_pushes_as_its_text() {
        let message = |join_ref| Message {
            join_ref: Cow::Borrowed(join_ref),
            reference: Cow::Borrowed("\"7\""),
            topic_json: Cow::Borrowed("\"room:a\""),
            event_json: Cow::Borrowed("\"new_msg\""),
            payload: Ok(Payload::Json("{}")),
        };
        let texts = ["null", "\"0\"", "\"1\"", "\"10\"", "\"01\"", "1", "\"\"", "\"2147483647\""];
        for joined in texts {
            for join_ref in [JoinRef::Given(Ref::of(joined)), JoinRef::Null(Ref::of(joined))] {
                let packed = PackedRef::of(&join_ref);
                let is_kept_elsewhere = packed == PackedRef::ODD;
                for pushed in texts.map(message) {
                    let owns = (!is_kept_elsewhere).then(|| join_ref.owns(&pushed));
                    assert_eq!(packed.owns(&pushed), owns, "{joined} {}", pushed.join_ref);
                }
            }
        }
    }
}
