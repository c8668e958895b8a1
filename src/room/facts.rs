//! What was decided of a room: its settings, and how users stand in it; and how that is told.
//!
//! A room of which nothing was decided has no [`Facts`]: nearly all rooms.
//!
//! Invariant: a user stands in it only if something of that holds, or did when it was decided.
//!
//! Deliberately absent: what follows from it for a member (`rights`).
//!
//! Called by: `rooms`. Calls: `standings`.

use std::collections::HashMap;

use crate::auth::level::{Joiners, Level, Restraint, Standing};
use crate::limits::{SPEAKER_MEMORY_BYTES, SPEAKERS_KNOWN_MAX};
use crate::link::facts::{
    MembersWanted, RoomSettings, push_role_and_mute, push_standing, push_until,
};
use crate::link::ids::Slot;
use crate::link::message::push_listing_start;
use crate::link::standings::Standings as Kept;
use crate::room::Room;
use crate::room::audit::Trail;
#[cfg(test)]
use crate::room::planted::{self, Planted};
use crate::room::standings::Standings;
use crate::wire::json::push_string;

/// What was decided of a room. Few rooms have any.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) settings: RoomSettings,
    pub(super) standings: Standings,
    /// When those who spoke of late did, by a hash of their ids: milliseconds of monotonic time.
    /// Only in slow mode.
    pub(super) spoken_ms: HashMap<u64, u64, ahash::RandomState>,
    /// What was done to it.
    pub(super) trail: Trail,
}

/// From how many speakers on those who may speak again are forgotten.
pub(super) const SPEAKERS_SWEPT: usize = 1_024;

const _: () = assert!(SPEAKERS_SWEPT < SPEAKERS_KNOWN_MAX);

impl Facts {
    /// Forgets who may speak again by now, and, where there are too many, those who spoke first.
    pub(super) fn sweep_speakers(&mut self, mono_ms: u64) {
        let slow_ms = self.slow_ms();
        self.spoken_ms.retain(|_, spoken_ms| *spoken_ms + slow_ms > mono_ms);
        if self.spoken_ms.len() >= SPEAKERS_KNOWN_MAX {
            let mut times: Vec<u64> = self.spoken_ms.values().copied().collect();
            let (_, &mut middle, _) = times.select_nth_unstable(SPEAKERS_KNOWN_MAX / 2);
            self.spoken_ms.retain(|_, spoken_ms| *spoken_ms > middle);
        }
    }

    /// How long its author waits after a message, in milliseconds.
    pub(super) fn slow_ms(&self) -> u64 {
        u64::from(self.settings.slow_s) * 1_000
    }

    /// What they take, in bytes, roughly.
    pub(super) fn bytes(&self) -> usize {
        let Self { settings, standings, spoken_ms, trail } = self;
        size_of::<Self>()
            + settings.text_bytes()
            + standings.bytes()
            + spoken_ms.capacity() * SPEAKER_MEMORY_BYTES
            + trail.bytes()
    }
}

impl Room {
    /// Whether something was decided of it.
    pub(crate) fn has_facts(&self) -> bool {
        self.facts.is_some()
    }

    /// Its settings, but for its title.
    pub(crate) fn settings(&self) -> &RoomSettings {
        self.facts.as_ref().map_or(&RoomSettings::DEFAULT, |facts| &facts.settings)
    }

    /// Whether it is in no list.
    pub(crate) fn is_private(&self) -> bool {
        self.settings().join == Joiners::Members
    }

    /// Whether somebody has spoken who may not speak again yet.
    pub(crate) fn has_slow_speakers(&self, mono_ms: u64) -> bool {
        self.facts.as_ref().is_some_and(|facts| {
            let slow_ms = facts.slow_ms();
            facts.spoken_ms.values().any(|spoken_ms| spoken_ms + slow_ms > mono_ms)
        })
    }

    /// How a user stands in it.
    pub(crate) fn standing(&self, user: &str) -> Standing {
        self.facts.as_ref().map(|facts| facts.standings.of(user)).unwrap_or_default()
    }

    /// It is called so from now on, and these are its settings.
    pub(crate) fn apply_settings(&mut self, title: &str, settings: RoomSettings) {
        self.title = title.into();
        if self.facts.is_some() || settings != RoomSettings::DEFAULT {
            self.facts.get_or_insert_default().settings = settings;
        }
    }

    /// A user stands so from now on.
    pub(crate) fn apply_standing(&mut self, user: &str, standing: Standing, now_ms: u64) {
        if standing.holds(now_ms) {
            self.facts.get_or_insert_default().standings.set(user, standing, now_ms);
        } else if let Some(facts) = &mut self.facts {
            facts.standings.set(user, standing, now_ms);
            let is_plain = facts.standings.is_empty() && facts.settings == RoomSettings::DEFAULT;
            if is_plain && facts.trail.is_empty() {
                self.facts = None;
            }
        }
    }

    /// What a log has kept: nothing was said of it since.
    pub(crate) fn reopen_facts(
        &mut self,
        settings: Option<&str>,
        standings: &Kept,
        audited: u64,
        now_ms: u64,
    ) {
        #[cfg(test)]
        let settings = settings.filter(|_| !planted::is(Planted::SettingsForgotten));
        let settings = settings.map(RoomSettings::read).unwrap_or_default();
        let standings = Standings::reopened(standings, now_ms);
        let trail = Trail::reopened(audited);
        if !standings.is_empty() || settings != RoomSettings::DEFAULT || !trail.is_empty() {
            let facts = Facts { settings, standings, trail, ..Facts::default() };
            self.facts = Some(Box::new(facts));
        }
    }

    /// Appends what members are told of the room: what lists say of it, and its settings.
    pub(crate) fn push_room(&self, out: &mut Vec<u8>) {
        let name = self.name().unwrap_or_default();
        push_listing_start(out, name, &self.title, self.present_count());
        if let Some(facts) = &self.facts {
            facts.settings.push_fields(out);
        }
        out.push(b'}');
    }

    /// Appends what a member may do, as fields behind another one.
    pub(crate) fn push_rights(&self, out: &mut Vec<u8>, slot: Slot, now_ms: u64) {
        let level = self.level_at(slot, now_ms);
        if level >= Level::Moderate {
            out.extend_from_slice(b",\"level\":\"");
            out.extend_from_slice(level.as_str().as_bytes());
            out.push(b'"');
        }
        let Some(member) = self.member(slot).filter(|_| self.facts.is_some()) else { return };
        push_role_and_mute(out, self.standing(member.identity.user()), now_ms);
    }

    /// Appends the payload of `room_you`: what a member may do, by whose decision.
    pub(crate) fn push_you(&self, out: &mut Vec<u8>, slot: Slot, by: &str, now_ms: u64) {
        let speaks = self.level_at(slot, now_ms) >= Level::Speak;
        out.extend_from_slice(if speaks { b"{\"speak\":true" } else { b"{\"speak\":false" });
        self.push_rights(out, slot, now_ms);
        push_by(out, by);
        out.push(b'}');
    }

    /// Appends the payload of `room_removed`: why a user is put out, until when, and by whom.
    pub(crate) fn push_removed(
        &self,
        out: &mut Vec<u8>,
        user: &str,
        cause: RemovalCause<'_>,
        now_ms: u64,
    ) {
        let RemovalCause { is_kicked, by, text } = cause;
        let standing = self.standing(user);
        if standing.is_banned(now_ms) {
            out.extend_from_slice(b"{\"reason\":\"banned\",\"until\":");
            push_until(out, standing.banned_until_ms);
        } else if is_kicked {
            out.extend_from_slice(b"{\"reason\":\"kicked\"");
        } else {
            out.extend_from_slice(b"{\"reason\":\"members\"");
        }
        push_by(out, by);
        if let Some(text) = text {
            out.extend_from_slice(b",\"text\":");
            out.extend_from_slice(text.as_bytes());
        }
        out.push(b'}');
    }

    /// Appends how users stand in the room: the answer to `room_members`. It looks at so many of
    /// them at most, and says then where to go on. Returns how many it looked at.
    pub(crate) fn push_members(
        &self,
        out: &mut Vec<u8>,
        wanted: MembersWanted<'_>,
        looks_max: usize,
        now_ms: u64,
    ) -> usize {
        let MembersWanted { restraint, after, limit } = wanted;
        let standings = self.facts.iter().flat_map(|facts| facts.standings.behind(after));
        let is_wanted = |standing: &Standing| match restraint {
            None => standing.role.is_some(),
            Some(Restraint::Muted) => standing.is_muted(now_ms),
            Some(Restraint::Banned) => standing.is_banned(now_ms),
        };
        let (mut told, mut looks, mut last, mut more) = (0, 0, None, false);
        out.extend_from_slice(b"{\"members\":[");
        for (user, standing) in standings {
            more = looks == looks_max || told == limit && is_wanted(&standing);
            if more {
                break;
            }
            (looks, last) = (looks + 1, Some(user));
            if told == limit || !is_wanted(&standing) {
                continue;
            }
            #[cfg(test)]
            if told + 1 == limit && planted::is(Planted::ListsShort) {
                told = limit;
                continue;
            }
            if told > 0 {
                out.push(b',');
            }
            push_standing(out, user, standing, now_ms);
            out.push(b'}');
            told += 1;
        }
        out.extend_from_slice(if more { b"],\"more\":true" } else { b"],\"more\":false" });
        if let Some(last) = last.filter(|_| more && told < limit) {
            out.extend_from_slice(b",\"after\":");
            push_string(out, last);
        }
        out.push(b'}');
        looks
    }
}

/// Appends who has decided something, if that is known.
fn push_by(out: &mut Vec<u8>, by: &str) {
    if !by.is_empty() {
        out.extend_from_slice(b",\"by\":");
        push_string(out, by);
    }
}

/// Why a member is put out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemovalCause<'a> {
    /// Whether it may come back.
    pub(crate) is_kicked: bool,
    /// By which user's decision; empty, if it is nobody's now.
    pub(crate) by: &'a str,
    /// What that user says of it: a JSON string.
    pub(crate) text: Option<&'a str>,
}
