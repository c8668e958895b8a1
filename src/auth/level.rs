//! The ladder of what somebody may do in a room, and the one rule that says where somebody stands
//! on it.
//!
//! ```text
//!   token ──── Level ─────────────────────┐
//!   standing ─ banned, muted, Role ───────┼─ level_of ──> Level
//!   room ───── join: Joiners, speak: ... ─┘
//! ```
//!
//! Three sources know a part each: a token, which stays with the connection; the standing of a user
//! in a room; and the room's settings. The last two are known at the room's home, so the token's
//! level goes there, in three bits.
//!
//! Deliberately absent: clocks, and who may change whose standing (`room::rights`).

use std::fmt;
use std::str::FromStr;

/// Declares words that tokens, protocol, records and files share, the number of each being its
/// place.
macro_rules! words {
    (
        $(#[$doc:meta])* $name:ident {
            $($(#[$word_doc:meta])* $word:ident = $text:literal),* $(,)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$word_doc])* $word,)*
        }

        impl $name {
            /// All of them, in their order.
            pub const ALL: [Self; [$($text),*].len()] = [$(Self::$word),*];

            /// The word for it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => $text,)*
                }
            }

            /// What the word stands for, if it is one.
            #[must_use]
            pub fn of(word: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|one| one.as_str() == word)
            }

            /// The number for it in records.
            #[must_use]
            pub const fn bits(self) -> u8 {
                self as u8
            }

            /// What the number stands for, if it is one.
            #[must_use]
            pub fn from_bits(bits: u8) -> Option<Self> {
                Self::ALL.get(usize::from(bits)).copied()
            }
        }
    };
}

pub(crate) use words;

words! {
    /// What somebody may do in a room. Each level includes those before it.
    Level {
        /// Nothing: the room might as well not exist.
        None = "none",
        /// To join and to read.
        Join = "join",
        /// To read and to write.
        Speak = "speak",
        /// To look after the room: what others wrote, and who may write.
        Moderate = "moderate",
        /// To decide whose room it is.
        Own = "own",
    }
}

impl FromStr for Level {
    type Err = NoLevel;

    fn from_str(word: &str) -> Result<Self, NoLevel> {
        Self::of(word).ok_or(NoLevel)
    }
}

/// A word is no level's. Says which words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoLevel;

impl fmt::Display for NoLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a level must be `none`, `join`, `speak`, `moderate` or `own`")
    }
}

impl std::error::Error for NoLevel {}

words! {
    /// What a member of a room is there. Each role includes those before it.
    Role {
        /// One of those whose room it is.
        Member = "member",
        /// One who looks after it.
        Moderator = "moderator",
        /// One who decides.
        Owner = "owner",
    }
}

words! {
    /// Who may join a room.
    Joiners {
        /// Everybody whose token allows it.
        All = "all",
        /// Only who has a role in it.
        Members = "members",
    }
}

words! {
    /// Who may speak in a room, of those who may join it.
    Speakers {
        /// Everybody whose token allows it.
        All = "all",
        /// Only who has a role in it.
        Members = "members",
        /// Only who may look after it.
        Moderators = "moderators",
    }
}

words! {
    /// Who may react to messages in a room, of those who may join it.
    Reactors {
        /// Who may speak.
        Speakers = "speakers",
        /// Who may read, unless muted.
        All = "all",
    }
}

words! {
    /// Who may invite others to a room.
    Inviters {
        /// Only who may look after it.
        Moderators = "moderators",
        /// Who has a role in it.
        Members = "members",
    }
}

words! {
    /// What a user may be held to in a room, for a time.
    Restraint {
        /// It may not speak.
        Muted = "muted",
        /// It is kept out.
        Banned = "banned",
    }
}

/// A time that never comes, in milliseconds of Unix time: a ban until then is for ever.
pub const NEVER_MS: u64 = i64::MAX.cast_unsigned();

/// How a user stands in a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Standing {
    /// `None` of one who is no member.
    pub role: Option<Role>,
    /// Until then it may read, and not speak: milliseconds of Unix time, 0 if it may.
    pub muted_until_ms: u64,
    /// Until then it is kept out.
    pub banned_until_ms: u64,
}

impl Standing {
    /// Of whoever has made the room.
    pub const OWNER: Self = Self { role: Some(Role::Owner), muted_until_ms: 0, banned_until_ms: 0 };

    /// Whether it is kept out at this time.
    #[must_use]
    pub const fn is_banned(&self, now_ms: u64) -> bool {
        self.banned_until_ms > now_ms
    }

    /// Whether it may not speak at this time.
    #[must_use]
    pub const fn is_muted(&self, now_ms: u64) -> bool {
        self.muted_until_ms > now_ms
    }

    /// Whether it is muted or banned at this time.
    #[must_use]
    pub const fn is_restrained(&self, now_ms: u64) -> bool {
        self.is_banned(now_ms) || self.is_muted(now_ms)
    }

    /// Whether there is anything that holds at this time or later.
    #[must_use]
    pub const fn holds(&self, now_ms: u64) -> bool {
        self.role.is_some() || self.is_restrained(now_ms)
    }
}

/// The level of somebody in a room, at a time in milliseconds of Unix time.
///
/// The token's level is a ceiling for joining and speaking, and a grant of the levels above: whose
/// token says `join` speaks nowhere, and whose token says `moderate` needs no role. A ban comes
/// before everything. A mute caps everybody, moderators too: it is only ever given by one who
/// stands above.
#[must_use]
pub fn level_of(
    token: Level,
    standing: Standing,
    (join, speak): (Joiners, Speakers),
    now_ms: u64,
) -> Level {
    if standing.is_banned(now_ms) || token == Level::None {
        return Level::None;
    }
    let role = standing.role;
    let by_role = match role {
        Some(Role::Owner) => Level::Own,
        Some(Role::Moderator) => Level::Moderate,
        Some(Role::Member) | None => Level::None,
    };
    let granted = if token >= Level::Speak { token.max(by_role) } else { token };
    let level = if granted >= Level::Moderate {
        granted
    } else {
        let is_member = role.is_some();
        let by_room = match (join, speak) {
            (Joiners::Members, _) if !is_member => Level::None,
            (_, Speakers::All) => Level::Speak,
            (_, Speakers::Members) if is_member => Level::Speak,
            (_, Speakers::Members | Speakers::Moderators) => Level::Join,
        };
        token.min(by_room)
    };
    if standing.is_muted(now_ms) { level.min(Level::Join) } else { level }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_level_is_exactly_one_of_five_words_and_numbers() {
        for (number, level) in (0..).zip(Level::ALL) {
            assert_eq!(level.as_str().parse(), Ok(level));
            assert_eq!((level.bits(), Level::from_bits(number)), (number, Some(level)));
        }
        assert!(Level::ALL.is_sorted());
        assert!((5..=u8::MAX).all(|bits| Level::from_bits(bits).is_none()));
        for word in ["", "Speak", "speak ", "all", "owner", "moderator"] {
            let NoLevel = word.parse::<Level>().expect_err(word);
        }
        let told = NoLevel.to_string();
        assert!(Level::ALL.iter().all(|level| told.contains(&format!("`{}`", level.as_str()))));
    }

    #[test]
    fn a_standing_holds_as_long_as_something_of_it_does() {
        let over = Standing { role: None, muted_until_ms: 7, banned_until_ms: 6 };
        assert!(!over.holds(7) && over.holds(6));
        assert!(Standing { banned_until_ms: NEVER_MS, ..over }.holds(NEVER_MS - 1));
        assert!(Standing { role: Some(Role::Member), ..over }.holds(7));
        assert!(Role::ALL.iter().all(|role| Role::of(role.as_str()) == Some(*role)));
        assert_eq!((Role::of("owner"), Role::of("Owner")), (Some(Role::Owner), None));
    }

    /// One letter a level, for each token from `none` to `own`.
    fn letters(levels: [Level; 5]) -> String {
        levels.map(|level| level.as_str().chars().next().expect("a word")).iter().collect()
    }

    /// Every combination: for each of role, join and speak one row, of four groups: neither, muted,
    /// banned, both. A group has a letter for the token's level, from `none` to `own`.
    #[test]
    fn every_combination_is_as_the_table_says() {
        use Joiners as J;
        use Speakers as S;
        let (owner, moderator, member) =
            (Some(Role::Owner), Some(Role::Moderator), Some(Role::Member));
        let nothing = "nnnnn";
        let rows = [
            (None, J::All, S::All, "njsmo", "njjjj"),
            (None, J::All, S::Members, "njjmo", "njjjj"),
            (None, J::All, S::Moderators, "njjmo", "njjjj"),
            (None, J::Members, S::All, "nnnmo", "nnnjj"),
            (None, J::Members, S::Members, "nnnmo", "nnnjj"),
            (None, J::Members, S::Moderators, "nnnmo", "nnnjj"),
            (member, J::All, S::All, "njsmo", "njjjj"),
            (member, J::All, S::Members, "njsmo", "njjjj"),
            (member, J::All, S::Moderators, "njjmo", "njjjj"),
            (member, J::Members, S::All, "njsmo", "njjjj"),
            (member, J::Members, S::Members, "njsmo", "njjjj"),
            (member, J::Members, S::Moderators, "njjmo", "njjjj"),
            (moderator, J::All, S::All, "njmmo", "njjjj"),
            (moderator, J::All, S::Members, "njmmo", "njjjj"),
            (moderator, J::All, S::Moderators, "njmmo", "njjjj"),
            (moderator, J::Members, S::All, "njmmo", "njjjj"),
            (moderator, J::Members, S::Members, "njmmo", "njjjj"),
            (moderator, J::Members, S::Moderators, "njmmo", "njjjj"),
            (owner, J::All, S::All, "njooo", "njjjj"),
            (owner, J::All, S::Members, "njooo", "njjjj"),
            (owner, J::All, S::Moderators, "njooo", "njjjj"),
            (owner, J::Members, S::All, "njooo", "njjjj"),
            (owner, J::Members, S::Members, "njooo", "njjjj"),
            (owner, J::Members, S::Moderators, "njooo", "njjjj"),
        ];
        for (role, join, speak, free, muted) in rows {
            for (is_banned, is_muted, expected) in [
                (false, false, free),
                (false, true, muted),
                (true, false, nothing),
                (true, true, nothing),
            ] {
                let until = |is: bool| if is { 8 } else { 7 };
                let (muted_until_ms, banned_until_ms) = (until(is_muted), until(is_banned));
                let standing = Standing { role, muted_until_ms, banned_until_ms };
                let levels = Level::ALL.map(|token| level_of(token, standing, (join, speak), 7));
                assert_eq!(letters(levels), expected, "{standing:?} {join:?} {speak:?}");
            }
        }
        let combinations: HashSet<_> =
            rows.iter().map(|(role, join, speak, ..)| (role, join, speak)).collect();
        assert_eq!(combinations.len(), 4 * 2 * 3, "each has a row");
    }
}
