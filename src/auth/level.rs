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
//! Deliberately absent: times (whether a ban or a mute is over is said by whoever knows the time),
//! and who may change whose standing.

use std::fmt;
use std::str::FromStr;

/// What somebody may do in a room. Each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Nothing: the room might as well not exist.
    None = 0,
    /// To join and to read.
    Join = 1,
    /// To read and to write.
    Speak = 2,
    /// To look after the room: what others wrote, and who may write.
    Moderate = 3,
    /// To decide whose room it is.
    Own = 4,
}

impl Level {
    /// All of them, from the least on.
    pub const ALL: [Self; 5] = [Self::None, Self::Join, Self::Speak, Self::Moderate, Self::Own];

    /// The word for it in tokens and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Join => "join",
            Self::Speak => "speak",
            Self::Moderate => "moderate",
            Self::Own => "own",
        }
    }

    /// The number for it in records: 0 to 4, which three bits hold.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self as u8
    }

    /// The level with this number; `None` of 5 and more.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::None),
            1 => Some(Self::Join),
            2 => Some(Self::Speak),
            3 => Some(Self::Moderate),
            4 => Some(Self::Own),
            _ => None,
        }
    }
}

impl FromStr for Level {
    type Err = NoLevel;

    fn from_str(word: &str) -> Result<Self, NoLevel> {
        Self::ALL.into_iter().find(|level| level.as_str() == word).ok_or(NoLevel)
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

/// What a member of a room is there. Each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// One of those whose room it is.
    Member,
    /// One who looks after it.
    Moderator,
    /// One who decides.
    Owner,
}

/// Who may join a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Joiners {
    /// Everybody whose token allows it.
    #[default]
    All,
    /// Only who has a role in it.
    Members,
}

/// Who may speak in a room, of those who may join it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Speakers {
    /// Everybody whose token allows it.
    #[default]
    All,
    /// Only who has a role in it.
    Members,
    /// Only who may look after it.
    Moderators,
}

/// How a user stands in a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Standing {
    /// Kept out, of this room or of the server.
    pub is_banned: bool,
    /// May read, and not speak.
    pub is_muted: bool,
    /// `None` of one who is no member.
    pub role: Option<Role>,
}

/// The level of somebody in a room.
///
/// The token's level is a ceiling for joining and speaking, and a grant of the levels above: whose
/// token says `join` speaks nowhere, and whose token says `moderate` needs no role. A ban comes
/// before everything. A mute caps everybody, moderators too: it is only ever given by one who
/// stands above.
#[must_use]
pub fn level_of(token: Level, standing: Standing, (join, speak): (Joiners, Speakers)) -> Level {
    let Standing { is_banned, is_muted, role } = standing;
    if is_banned || token == Level::None {
        return Level::None;
    }
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
    if is_muted { level.min(Level::Join) } else { level }
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
                let standing = Standing { is_banned, is_muted, role };
                let levels = Level::ALL.map(|token| level_of(token, standing, (join, speak)));
                assert_eq!(letters(levels), expected, "{standing:?} {join:?} {speak:?}");
            }
        }
        let combinations: HashSet<_> =
            rows.iter().map(|(role, join, speak, ..)| (role, join, speak)).collect();
        assert_eq!(combinations.len(), 4 * 2 * 3, "each has a row");
    }
}
