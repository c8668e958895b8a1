//! How a message grows: what its author appends to it.
//!
//! Deliberately absent: when that is told (`rooms::collecting`), and when it is over for want of
//! more (`rooms::streaming`).
//!
//! Called by: `rooms`. Calls: nothing.

use crate::link::refusal::Refusal;
use crate::link::said::SaidText;

/// A message while something is appended to it.
pub(crate) struct Growth {
    author: Box<str>,
    /// A JSON string without its last quote.
    body: String,
    is_open: bool,
    is_changed: bool,
}

impl Growth {
    /// A message as it stands.
    pub(crate) fn new(said: &SaidText) -> Self {
        let body = said.body.strip_suffix('"').unwrap_or(&said.body).to_owned();
        Self { author: said.user.clone(), body, is_open: said.stream, is_changed: false }
    }

    /// Whether a user may append a text, a JSON string.
    ///
    /// # Errors
    ///
    /// Why it does not grow.
    pub(crate) fn may_append(
        &self,
        user: &str,
        text: &str,
        bytes_max: usize,
    ) -> Result<(), Refusal> {
        if user != &*self.author {
            return Err(Refusal::NotYours);
        }
        if !self.is_open {
            return Err(Refusal::TooLate);
        }
        if self.bytes() + inside(text).len() > bytes_max {
            return Err(Refusal::TooLarge { field: "text", max_bytes: bytes_max });
        }
        Ok(())
    }

    /// Appends a text that may be appended; it may be the last one. Returns how many bytes the
    /// message has by then, as its bound counts them.
    pub(crate) fn append(&mut self, text: &str, is_last: bool) -> usize {
        let text = inside(text);
        self.body.push_str(text);
        self.is_open = !is_last;
        self.is_changed |= is_last || !text.is_empty();
        self.bytes()
    }

    fn bytes(&self) -> usize {
        self.body.len() - 1
    }

    /// What it would say with this text: a JSON string.
    pub(crate) fn with(&self, text: &str) -> String {
        [&self.body, text.get(1..).unwrap_or_default()].concat()
    }

    /// Whether there is more of it than in the beginning.
    pub(crate) fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// Puts what it has become into a message.
    pub(crate) fn finish(mut self, said: &mut SaidText) {
        self.body.push('"');
        (said.body, said.stream) = (self.body.into(), self.is_open);
    }
}

/// A JSON string without its quotes.
fn inside(text: &str) -> &str {
    text.get(1..text.len().saturating_sub(1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::said::Said;

    fn said(stream: bool) -> SaidText {
        SaidText::new(Said { user: "bot", body: "\"a\"", stream, ..Said::default() })
    }

    /// What comes of appending a text.
    fn append(
        growth: &mut Growth,
        user: &str,
        (text, is_last): (&str, bool),
        bytes_max: usize,
    ) -> Result<usize, Refusal> {
        growth.may_append(user, text, bytes_max)?;
        Ok(growth.append(text, is_last))
    }

    #[test]
    fn a_message_grows_by_its_author_until_it_is_done() {
        let mut growth = Growth::new(&said(true));
        assert_eq!(append(&mut growth, "ann", ("\"x\"", false), 9), Err(Refusal::NotYours));
        assert_eq!(append(&mut growth, "bot", ("\"\"", false), 9), Ok(1));
        assert!(!growth.is_changed());
        assert_eq!(growth.with("\"b\""), "\"ab\"");
        assert_eq!(append(&mut growth, "bot", (r#""\n\"b""#, false), 9), Ok(6));
        assert_eq!(append(&mut growth, "bot", ("\"c\"", true), 9), Ok(7));
        assert_eq!(append(&mut growth, "bot", ("\"d\"", false), 9), Err(Refusal::TooLate));
        assert!(growth.is_changed());
        let mut grown = said(true);
        growth.finish(&mut grown);
        assert_eq!((&*grown.body, grown.stream), (r#""a\n\"bc""#, false));
        let mut whole = Growth::new(&said(false));
        assert_eq!(append(&mut whole, "bot", ("\"x\"", true), 9), Err(Refusal::TooLate));
    }

    #[test]
    fn a_message_grows_no_larger_than_others_are() {
        let mut growth = Growth::new(&said(true));
        let too_large = Err(Refusal::TooLarge { field: "text", max_bytes: 3 });
        assert_eq!(append(&mut growth, "bot", ("\"123\"", false), 3), too_large);
        assert_eq!(append(&mut growth, "bot", ("\"12\"", false), 3), Ok(3));
        assert_eq!(append(&mut growth, "bot", ("\"\"", true), 3), Ok(3));
    }
}
