//! Who a connection belongs to, and what it may do in which room.
//!
//! An [`Identity`] is made once, from a verified token or for a guest, and then only asked. It is
//! kept for every connection, so its text is one shared allocation: a clone costs a counter. What
//! it says stays true for as long as it lives: names are within their bounds and free of control
//! characters, because there is no other way to make one.
//!
//! Deliberately absent: tokens (see `token`), clocks, and any knowledge of which rooms exist.

use std::fmt;

use triomphe::{Arc, ArcUnion, ArcUnionBorrow};

use crate::auth::level::Level;
use crate::base::name::is_name;
use crate::limits::NAME_BYTES_MAX;

/// The value of [`Identity::expires_at_s`] that says: never.
pub const NEVER_S: u64 = u64::MAX;

/// A user, the name it goes by, until when, and its rights. One pointer, to one allocation that the
/// connection and each of its memberships share.
#[derive(Clone, PartialEq)]
pub struct Identity(ArcUnion<Short, Long>);

/// Nearly everybody: no more text than this, and no rights of its own. With the count of those who
/// share it 48 bytes, which is a size that allocators have.
#[derive(PartialEq)]
struct Short {
    /// See [`Long`].
    expires_at_s: u32,
    user_bytes: u8,
    text: heapless::String<SHORT_TEXT_BYTES_MAX, u8>,
}

/// Enough for a guest's id and a name of 16 bytes.
const SHORT_TEXT_BYTES_MAX: usize = 34;

const _: () = assert!(size_of::<Short>() == 40);

impl Short {
    /// `None` if it is too much text. The name is empty where it is the user's id.
    fn new(user: &str, name: &str, expires_at_s: u32) -> Option<Self> {
        let mut text = heapless::String::new();
        text.push_str(user).ok()?;
        text.push_str(name).ok()?;
        Some(Self { expires_at_s, user_bytes: u8::try_from(user.len()).ok()?, text })
    }
}

/// Everybody else.
#[derive(PartialEq)]
struct Long {
    /// None: everything is allowed.
    rights: Option<Box<Rights>>,
    /// Until 2106; [`u32::MAX`] for never, or later.
    expires_at_s: u32,
    user_bytes: u8,
    /// The user's id, and behind it the name unless that is the same.
    text: Box<str>,
}

// A `text` of two ids must never need a wider length.
const _: () = assert!(NAME_BYTES_MAX <= u8::MAX as usize);

/// What is known of somebody, whether short or long.
struct Facts<'a> {
    rights: Option<&'a Rights>,
    expires_at_s: u32,
    user_bytes: u8,
    text: &'a str,
}

/// It compares bytes, and rights that are such.
impl Eq for Identity {}

impl Identity {
    /// An identity that ends at `expires_at_s` (seconds of Unix time, [`NEVER_S`] for never).
    /// Without `rights` it may do everything.
    ///
    /// # Errors
    ///
    /// Where `user` or `name` is empty, longer than [`NAME_BYTES_MAX`], or has control characters
    /// in it.
    pub fn new(
        user: &str,
        name: &str,
        expires_at_s: u64,
        rights: Option<Rights>,
    ) -> Result<Self, IdentityError> {
        if !is_name(name) {
            return Err(IdentityError::Name);
        }
        let user_bytes = u8::try_from(user.len()).map_err(|_| IdentityError::User)?;
        if !is_name(user) {
            return Err(IdentityError::User);
        }
        let expires_at_s = u32::try_from(expires_at_s).unwrap_or(u32::MAX);
        let name = if user == name { "" } else { name };
        let short = if rights.is_none() { Short::new(user, name, expires_at_s) } else { None };
        if let Some(short) = short {
            return Ok(Self(ArcUnion::from_first(Arc::new(short))));
        }
        let text = [user, name].concat().into_boxed_str();
        let long = Long { rights: rights.map(Box::new), expires_at_s, user_bytes, text };
        Ok(Self(ArcUnion::from_second(Arc::new(long))))
    }

    /// The user's id: 1 to [`NAME_BYTES_MAX`] bytes without control characters.
    #[must_use]
    pub fn user(&self) -> &str {
        let Facts { user_bytes, text, .. } = self.facts();
        &text[..usize::from(user_bytes)]
    }

    /// The name shown to others, bounded as the id is. It may be anything, another user's id
    /// included: never decide by it.
    #[must_use]
    pub fn name(&self) -> &str {
        let Facts { user_bytes, text, .. } = self.facts();
        match &text[usize::from(user_bytes)..] {
            "" => self.user(),
            name => name,
        }
    }

    fn facts(&self) -> Facts<'_> {
        match self.0.borrow() {
            ArcUnionBorrow::First(short) => {
                let Short { expires_at_s, user_bytes, text } = short.get();
                Facts { rights: None, expires_at_s: *expires_at_s, user_bytes: *user_bytes, text }
            }
            ArcUnionBorrow::Second(long) => {
                let Long { rights, expires_at_s, user_bytes, text } = long.get();
                let rights = rights.as_deref();
                Facts { rights, expires_at_s: *expires_at_s, user_bytes: *user_bytes, text }
            }
        }
    }

    /// From when on this identity is void, in seconds of Unix time; [`NEVER_S`] for never.
    #[must_use]
    pub fn expires_at_s(&self) -> u64 {
        match self.facts().expires_at_s {
            u32::MAX => NEVER_S,
            expires_at_s => u64::from(expires_at_s),
        }
    }

    /// Whether every room is open to it, known and unknown, to read and to write.
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        self.facts().rights.is_none()
    }

    /// Whether it may join `room`, read its messages and know of it at all.
    #[must_use]
    pub fn may_join(&self, room: &str) -> bool {
        self.level_in(room) >= Level::Join
    }

    /// Whether it may write in `room`. Who may write may also read.
    #[must_use]
    pub fn may_speak(&self, room: &str) -> bool {
        self.level_in(room) >= Level::Speak
    }

    /// Its rights; `None` if everything is allowed.
    #[must_use]
    pub fn rights(&self) -> Option<&Rights> {
        self.facts().rights
    }

    /// What the token says of `room`: of joining and speaking the most that is allowed, of the
    /// levels above what is granted whatever the room says. [`level_of`](super::level::level_of)
    /// has the rule.
    #[must_use]
    pub fn level_in(&self, room: &str) -> Level {
        self.facts().rights.map_or(Level::Speak, |rights| rights.in_room(room))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("user", &self.user())
            .field("name", &self.name())
            .field("expires_at_s", &self.expires_at_s())
            .field("rights", &self.facts().rights)
            .finish_non_exhaustive()
    }
}

/// Rights by pattern. A pattern is a room's name, or the beginning of one with a `*` behind it.
///
/// An exact name beats every pattern, a longer pattern a shorter one, and a room that nothing
/// matches is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Exact names first, then beginnings, the longest first: the first match decides.
    rules: Box<[Rule]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// The pattern without its `*`.
    text: Box<str>,
    exact: bool,
    level: Level,
}

impl Rights {
    /// The rights that `rules` grant, in whatever order they come. Without any nothing is allowed.
    ///
    /// # Errors
    ///
    /// Where a pattern is no room's name, has a `*` before its end, or is there twice: which one
    /// then counts would be a guess.
    pub fn new<'a>(
        rules: impl IntoIterator<Item = (&'a str, Level)>,
    ) -> Result<Self, IdentityError> {
        let mut rules: Vec<Rule> = rules
            .into_iter()
            .map(|(pattern, level)| Rule::new(pattern, level))
            .collect::<Result<_, _>>()?;
        // The text is the last criterion only so that what is twice stands side by side.
        rules.sort_by(|a, b| {
            (b.exact, b.text.len()).cmp(&(a.exact, a.text.len())).then_with(|| a.text.cmp(&b.text))
        });
        if rules
            .windows(2)
            .any(|pair| (pair[0].exact, &pair[0].text) == (pair[1].exact, &pair[1].text))
        {
            return Err(IdentityError::PatternTwice);
        }
        Ok(Self { rules: rules.into() })
    }

    /// The level in `room`.
    #[must_use]
    pub fn in_room(&self, room: &str) -> Level {
        self.rules.iter().find(|rule| rule.matches(room)).map_or(Level::None, |rule| rule.level)
    }

    /// Each pattern without its `*`, whether it had none, and what it grants. Of two that match a
    /// room the one that comes first decides.
    pub fn rules(&self) -> impl Iterator<Item = (&str, bool, Level)> {
        self.rules.iter().map(|rule| (&*rule.text, rule.exact, rule.level))
    }
}

impl Rule {
    fn new(pattern: &str, level: Level) -> Result<Self, IdentityError> {
        let (text, exact) = match pattern.strip_suffix('*') {
            Some(beginning) => (beginning, false),
            None => (pattern, true),
        };
        let fits = is_name(text) || (text.is_empty() && !exact);
        if !fits || text.contains('*') {
            return Err(IdentityError::Pattern);
        }
        Ok(Self { text: text.into(), exact, level })
    }

    fn matches(&self, room: &str) -> bool {
        if self.exact { room == &*self.text } else { room.starts_with(&*self.text) }
    }
}

/// Why something is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// The user's id is empty, too long or has control characters.
    User,
    /// The name is empty, too long or has control characters.
    Name,
    /// Neither a room's name nor the beginning of one with a `*` at its end.
    Pattern,
    /// The same pattern more than once.
    PatternTwice,
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "the user's id must be 1 to 128 bytes without control characters",
            Self::Name => "the name must be 1 to 128 bytes without control characters",
            Self::Pattern => "a pattern must be a room's name, with at most one `*`, at its end",
            Self::PatternTwice => "a pattern must not be there twice",
        })
    }
}

impl std::error::Error for IdentityError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(rules: &[(&str, Level)]) -> Identity {
        Identity::new("u", "U", NEVER_S, Some(Rights::new(rules.iter().copied()).unwrap())).unwrap()
    }

    #[track_caller]
    fn check(rules: &[(&str, Level)], room: &str, expected: Level) {
        let mut reversed = rules.to_vec();
        reversed.reverse();
        for rules in [rules, &reversed] {
            let identity = identity(rules);
            assert_eq!(identity.may_join(room), expected >= Level::Join, "{room} {rules:?}");
            assert_eq!(identity.may_speak(room), expected >= Level::Speak, "{room} {rules:?}");
        }
    }

    #[test]
    fn without_rights_everything_is_allowed_and_with_none_of_them_nothing() {
        let free = Identity::new("u", "U", NEVER_S, None).unwrap();
        assert!(free.is_unrestricted() && free.may_join("tea") && free.may_speak("tea"));
        assert!(!identity(&[]).is_unrestricted());
        check(&[], "tea", Level::None);
    }

    #[test]
    fn the_longest_pattern_wins_whatever_it_grants() {
        let rules = [
            ("*", Level::Join),
            ("team-*", Level::Speak),
            ("team-red-*", Level::None),
            ("t*", Level::None),
        ];
        check(&rules, "news", Level::Join);
        check(&rules, "team-blue", Level::Speak);
        check(&rules, "team-", Level::Speak);
        check(&rules, "team", Level::None);
        check(&rules, "team-red-1", Level::None);
    }

    #[test]
    fn an_exact_name_beats_a_pattern_and_matches_nothing_else() {
        let rules = [("tea", Level::None), ("tea*", Level::Speak), ("te", Level::Join)];
        check(&rules, "tea", Level::None);
        check(&rules, "tea2", Level::Speak);
        check(&rules, "te", Level::Join);
        check(&rules, "t", Level::None);
        check(&rules, "Tea", Level::None);
    }

    #[test]
    fn a_star_in_a_rooms_name_means_only_itself() {
        check(&[("tea*", Level::Speak)], "tea*", Level::Speak);
        check(&[("tea", Level::Speak)], "tea*", Level::None);
    }

    #[test]
    fn a_pattern_has_at_most_one_star_at_its_end_and_is_there_once() {
        let long = "x".repeat(NAME_BYTES_MAX);
        for pattern in ["*", "a", "a*", long.as_str(), &format!("{long}*")] {
            assert!(Rights::new([(pattern, Level::Join)]).is_ok(), "{pattern}");
        }
        for pattern in [
            "",
            "a*b",
            "*a",
            "a**",
            "**",
            "a\n",
            "a\u{7f}*",
            &format!("{long}x"),
            &format!("{long}x*"),
        ] {
            assert_eq!(
                Rights::new([(pattern, Level::Join)]),
                Err(IdentityError::Pattern),
                "{pattern}"
            );
        }
        let twice = [("a*", Level::Join), ("b", Level::Join), ("a*", Level::None)];
        assert_eq!(Rights::new(twice), Err(IdentityError::PatternTwice));
        assert!(Rights::new([("a*", Level::Join), ("a", Level::None)]).is_ok());
    }

    #[test]
    fn user_and_name_come_back_as_given() {
        let long = "x".repeat(NAME_BYTES_MAX);
        for (user, name) in [
            ("u1", "Ann"),
            ("u", "u"),
            ("a", "aa"),
            ("é", "é"),
            (long.as_str(), "né"),
            ("u", &long),
        ] {
            for rights in [None, Some(Rights::new([("*", Level::Join)]).unwrap())] {
                let identity = Identity::new(user, name, 7, rights).unwrap();
                assert_eq!(
                    (identity.user(), identity.name(), identity.expires_at_s()),
                    (user, name, 7)
                );
            }
        }
    }

    #[test]
    fn what_is_one_byte_too_long_to_be_short_is_as_good() {
        let user = "x".repeat(20);
        for name_bytes in [SHORT_TEXT_BYTES_MAX - 20, SHORT_TEXT_BYTES_MAX - 19] {
            let name = "y".repeat(name_bytes);
            let identity = Identity::new(&user, &name, NEVER_S, None).unwrap();
            assert_eq!(
                (identity.user(), identity.name(), identity.is_unrestricted()),
                (&*user, &*name, true)
            );
            assert_eq!(identity.0.is_first(), name_bytes == SHORT_TEXT_BYTES_MAX - 20);
        }
        assert!(
            Identity::new(
                &"x".repeat(SHORT_TEXT_BYTES_MAX),
                &"x".repeat(SHORT_TEXT_BYTES_MAX),
                0,
                None
            )
            .unwrap()
            .0
            .is_first()
        );
    }

    #[test]
    fn ids_and_names_are_bounded_and_free_of_control_characters() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        let very_long = "x".repeat(NAME_BYTES_MAX + 256);
        for bad in ["", "a\0", "a\nb", "\u{1b}[2J", "\u{85}", "\u{7f}", &long, &very_long] {
            assert_eq!(Identity::new(bad, "n", 0, None), Err(IdentityError::User), "{bad:?}");
            assert_eq!(Identity::new("u", bad, 0, None), Err(IdentityError::Name), "{bad:?}");
        }
    }
}
