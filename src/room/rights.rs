//! Who may do what in a room, and who may decide that otherwise.
//!
//! ```text
//!   token ──── Address::token ────┐
//!   standing ─ Facts::standings ──┼─ level ──> may it join, speak, look after the room?
//!   settings ─ Facts::settings ───┘
//!
//!   a wish ── judge_settings, judge_standing ── refused, with a reason     changes nothing
//!                                            └─ as it is already
//!                                            └─ as it is to be from now on
//! ```
//!
//! A room of which nothing was decided asks its members' tokens only.
//!
//! Deliberately absent: what was decided (`facts`), how that is kept, and who is told
//! (`rooms::deciding`).
//!
//! Called by: `rooms`. Calls: `facts`.

use crate::auth::invite::Invite;
use crate::auth::level::{Inviters, Level, Reactors, Role, Standing, level_of};
use crate::base::phrases::Phrases;
use crate::link::facts::{MemberWish, MembersWanted, RoomSettings, SettingsWish, told_until};
use crate::link::given::Given;
use crate::link::ids::{Address, Asker, Slot};
use crate::link::record::{Addition, Verb};
use crate::link::refusal::{MEMBERS_LIMIT, Refusal};
use crate::room::Room;
use crate::room::facts::SPEAKERS_SWEPT;
#[cfg(test)]
use crate::room::planted::{self, Planted};
use crate::wire::json;

impl Room {
    /// What a user may do here whose token allows so much.
    fn level(&self, user: &str, token: Level, now_ms: u64) -> Level {
        self.level_if(self.standing(user), token, now_ms)
    }

    /// The same of a user who stands so.
    fn level_if(&self, standing: Standing, token: Level, now_ms: u64) -> Level {
        let Some(facts) = &self.facts else { return token };
        let RoomSettings { join, speak, .. } = facts.settings;
        level_of(token, standing, (join, speak), now_ms)
    }

    /// What a member may do.
    pub(crate) fn level_at(&self, slot: Slot, now_ms: u64) -> Level {
        let Some(member) = self.member(slot) else { return Level::None };
        self.level(member.identity.user(), self.token_at(slot), now_ms)
    }

    /// What the token of a member allows.
    fn token_at(&self, slot: Slot) -> Level {
        self.address(slot).map_or(Level::None, |address| address.token)
    }

    /// Whether a user may join whose token allows so much.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) fn may_join(&self, user: &str, token: Level, now_ms: u64) -> Result<(), Refusal> {
        #[cfg(test)]
        if planted::is(Planted::BansIgnored) {
            return Ok(());
        }
        let is_let_in = self.level(user, token, now_ms) >= Level::Join;
        #[cfg(test)]
        let is_let_in = is_let_in
            && !(planted::is(Planted::MutedKeptOut) && self.standing(user).is_muted(now_ms));
        if is_let_in {
            return Ok(());
        }
        let standing = self.standing(user);
        let without_ban = Standing { banned_until_ms: 0, ..standing };
        // Whoever could not come in anyway learns nothing of the room by its ban.
        if self.level_if(without_ban, token, now_ms) >= Level::Join {
            return Err(Refusal::Banned { until_ms: told_until(standing.banned_until_ms) });
        }
        Err(Refusal::Unauthorized)
    }

    /// Whether a member may be in the room by now.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) fn may_be_here(&self, slot: Slot, now_ms: u64) -> Result<(), Refusal> {
        let Some(member) = self.member(slot) else { return Err(Refusal::Unauthorized) };
        self.may_join(member.identity.user(), self.token_at(slot), now_ms)
    }

    /// Whether a member may say, or do, something in the room.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) fn may_speak(&self, slot: Slot, now_ms: u64) -> Result<(), Refusal> {
        if self.facts.is_none() || self.level_at(slot, now_ms) >= Level::Speak {
            return Ok(());
        }
        self.may_be_here(slot, now_ms)?;
        let Some(member) = self.member(slot) else { return Err(Refusal::Unauthorized) };
        Err(self.silenced(member.identity.user(), now_ms))
    }

    /// Whether something may still be said that a user said who has left since, and whose token
    /// allowed to speak: nobody knows here what it allows beyond that.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) fn may_have_said(&self, user: &str, now_ms: u64) -> Result<(), Refusal> {
        if self.facts.is_none() || self.level(user, Level::Speak, now_ms) >= Level::Speak {
            return Ok(());
        }
        self.may_join(user, Level::Speak, now_ms)?;
        Err(self.silenced(user, now_ms))
    }

    /// Why a user that may be here may not speak.
    fn silenced(&self, user: &str, now_ms: u64) -> Refusal {
        let standing = self.standing(user);
        if standing.is_muted(now_ms) {
            return Refusal::Muted { until_ms: told_until(standing.muted_until_ms) };
        }
        Refusal::Unauthorized
    }

    /// Whether a member may send a text, a JSON string, that mentions these users. `blocked` is
    /// what the text may not have in it.
    ///
    /// # Errors
    ///
    /// Why not.
    #[inline]
    pub(crate) fn may_send(
        &self,
        slot: Slot,
        body: &str,
        mentions: Option<&str>,
        blocked: Option<&Phrases>,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        // So it is with nearly all, and with each message.
        if self.facts.is_none() && mentions.is_none() && blocked.is_none() {
            return Ok(());
        }
        self.judge_text(slot, body, (mentions, blocked), now_ms)
    }

    fn judge_text(
        &self,
        slot: Slot,
        body: &str,
        (mentions, blocked): (Option<&str>, Option<&Phrases>),
        now_ms: u64,
    ) -> Result<(), Refusal> {
        self.may_speak(slot, now_ms)?;
        let is_free = |room: &Self| room.level_at(slot, now_ms) >= Level::Moderate;
        if mentions.is_some_and(mentions_everybody) && !is_free(self) {
            return Err(Refusal::Unauthorized);
        }
        if !self.settings().links && has_link(body) && !is_free(self) {
            return Err(Refusal::Rejected { text: "links are not taken in this room" });
        }
        if blocked.is_some_and(|phrases| has_any(body, phrases)) && !is_free(self) {
            return Err(Refusal::Rejected {
                text: "the message has words that are not taken here",
            });
        }
        Ok(())
    }

    /// Whether a member may invite others.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) fn may_invite(&self, slot: Slot, now_ms: u64) -> Result<(), Refusal> {
        if self.settings().invite == Inviters::Moderators {
            return self.may_look_after(slot, now_ms);
        }
        let Some(member) = self.member(slot) else { return Err(Refusal::Unauthorized) };
        let standing = self.standing(member.identity.user());
        if standing.is_muted(now_ms) {
            return Err(Refusal::Muted { until_ms: told_until(standing.muted_until_ms) });
        }
        if standing.role.is_some() && self.token_at(slot) >= Level::Speak {
            return Ok(());
        }
        self.may_look_after(slot, now_ms)
    }

    /// Whether an invite makes something of a user whose token allows so much.
    pub(crate) fn may_be_invited(&self, user: &str, token: Level, now_ms: u64) -> bool {
        let standing = self.standing(user);
        token >= Level::Join && standing.role.is_none() && !standing.is_banned(now_ms)
    }

    /// Whether an invite is to this room, was not taken back, and is of somebody who is not banned.
    pub(crate) fn takes_invite(&self, invite: &Invite, now_ms: u64) -> bool {
        let Invite { room, by, exp: _, epoch, taken_back } = invite;
        let is_of_it = self.name() == Some(room) && self.journal().has_epoch(*epoch);
        #[cfg(test)]
        if planted::is(Planted::InvitesOutlive) {
            return is_of_it;
        }
        is_of_it && *taken_back == self.settings().invites && !self.standing(by).is_banned(now_ms)
    }

    /// Whether there is a place for one more user of whom something is decided.
    ///
    /// # Errors
    ///
    /// If there are as many as may be. Those who come by themselves, or are invited, leave half of
    /// the places for what is decided of others.
    pub(crate) fn may_one_more_come(&self, max: u32, now_ms: u64) -> Result<(), Refusal> {
        let standings = self.facts.iter().flat_map(|facts| facts.standings.iter());
        let members = standings.filter(|(_, standing)| standing.role == Some(Role::Member)).count();
        if members < (max / 2) as usize && self.standings_count(now_ms) < max as usize {
            return Ok(());
        }
        Err(Refusal::TooMany { limit: MEMBERS_LIMIT, max })
    }

    /// Whether a member looks after the room.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) fn may_look_after(&self, slot: Slot, now_ms: u64) -> Result<(), Refusal> {
        if self.level_at(slot, now_ms) >= Level::Moderate {
            return Ok(());
        }
        Err(Refusal::Unauthorized)
    }

    /// Whether a member may do this to a message, whosever that is. `blocked` is what a text may
    /// not have in it.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) fn may_change(
        &self,
        slot: Slot,
        verb: Verb<'_>,
        blocked: Option<&Phrases>,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        match verb {
            Verb::Edit { body, mentions, .. } => {
                let mentions = match mentions {
                    Given::Value(mentions) => Some(mentions),
                    Given::Nothing | Given::Null => None,
                };
                self.may_send(slot, body.unwrap_or_default(), mentions, blocked, now_ms)
            }
            // Whoever is in the room may take back what it has said, muted or not.
            Verb::Delete if self.level_at(slot, now_ms) >= Level::Join => Ok(()),
            Verb::Delete | Verb::Pin { .. } => self.may_speak(slot, now_ms),
        }
    }

    /// Whether a member may add this to a message, whosever that is.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) fn may_add(
        &self,
        slot: Slot,
        addition: Addition<'_>,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        match addition {
            Addition::Reaction { .. } => {
                let level = self.level_at(slot, now_ms);
                let readers_may = self.settings().react == Reactors::All && level >= Level::Join;
                if level >= Level::Speak || readers_may && !self.is_muted(slot, now_ms) {
                    return Ok(());
                }
                // Whose token only lets it read has no other reason.
                self.may_speak(slot, now_ms)?;
                Err(Refusal::Unauthorized)
            }
            // What it may say is judged with what it says already.
            Addition::Text { .. } => self.may_speak(slot, now_ms),
        }
    }

    fn is_muted(&self, slot: Slot, now_ms: u64) -> bool {
        let member = self.member(slot);
        member.is_some_and(|member| self.standing(member.identity.user()).is_muted(now_ms))
    }

    /// Whether a member may see such a list of users.
    ///
    /// # Errors
    ///
    /// If not.
    pub(crate) fn may_list(
        &self,
        slot: Slot,
        wanted: MembersWanted<'_>,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        if wanted.restraint.is_some() {
            return self.may_look_after(slot, now_ms);
        }
        if self.level_at(slot, now_ms) < Level::Join { Err(Refusal::Unauthorized) } else { Ok(()) }
    }

    /// Whether a member may say its next message already; `speaker` is a hash of its user's id.
    ///
    /// # Errors
    ///
    /// If the room is in slow mode, and it has spoken just now.
    pub(crate) fn may_speak_again(
        &self,
        slot: Slot,
        speaker: u64,
        (now_ms, mono_ms): (u64, u64),
    ) -> Result<(), Refusal> {
        let Some(facts) = self.facts.as_ref().filter(|facts| facts.settings.slow_s > 0) else {
            return Ok(());
        };
        let Some(spoken_ms) = facts.spoken_ms.get(&speaker) else { return Ok(()) };
        let wait_ms = (spoken_ms + facts.slow_ms()).saturating_sub(mono_ms);
        if wait_ms == 0 || self.level_at(slot, now_ms) >= Level::Moderate {
            return Ok(());
        }
        Err(Refusal::SlowMode { retry_ms: u32::try_from(wait_ms).unwrap_or(u32::MAX) })
    }

    /// Notes that somebody has said a message, whose id has this hash.
    pub(crate) fn note_spoken(&mut self, speaker: u64, mono_ms: u64) {
        let Some(facts) = self.facts.as_mut().filter(|facts| facts.settings.slow_s > 0) else {
            return;
        };
        if facts.spoken_ms.len() >= SPEAKERS_SWEPT.max(facts.spoken_ms.capacity() / 2) {
            facts.sweep_speakers(mono_ms);
        }
        facts.spoken_ms.insert(speaker, mono_ms);
    }

    /// The title and settings that the room is to have from now on.
    ///
    /// # Errors
    ///
    /// Why this member may not decide that.
    pub(crate) fn judge_settings(
        &self,
        asker: Asker,
        wish: &SettingsWish<'_>,
        now_ms: u64,
    ) -> Result<(Box<str>, RoomSettings), Refusal> {
        let level = self.level_at(asker.slot, now_ms);
        let is_own = wish.join.is_some() || wish.speak.is_some() || wish.is_of_keeping();
        // One that was made on purpose has an owner, and a title, though it may be its name.
        let has_title = Some(&*self.title) != self.name() || self.owners_count() > 0;
        let needed = match () {
            () if is_own => Level::Own,
            // Whoever speaks in a room that has no title may give it one.
            () if wish.is_title_only() && !has_title => Level::Speak,
            () => Level::Moderate,
        };
        if level < needed {
            self.may_speak(asker.slot, now_ms)?;
            return Err(Refusal::Unauthorized);
        }
        let title = wish.title.and_then(json::string);
        let title = title.map_or_else(|| self.title.clone(), |title| title.as_ref().into());
        let settings = self.settings().with(wish);
        Ok((title, settings))
    }

    /// Whether it is called so, and has these settings.
    pub(crate) fn is_set(&self, title: &str, settings: &RoomSettings) -> bool {
        title == &*self.title && settings == self.settings()
    }

    /// How a user is to stand from now on.
    ///
    /// # Errors
    ///
    /// Why this member may not decide that, or nobody may.
    pub(crate) fn judge_standing(
        &self,
        asker: Asker,
        wish: &MemberWish<'_>,
        now_ms: u64,
        max: u32,
    ) -> Result<Standing, Refusal> {
        let Some(member) = self.member(asker.slot) else { return Err(Refusal::Unauthorized) };
        let is_self = member.identity.user() == wish.user;
        let level = self.level_at(asker.slot, now_ms);
        let was = self.standing(wish.user);
        match (wish.role, was.role) {
            (Given::Nothing, _) | (Given::Null, None) => {}
            (Given::Value(role), Some(is)) if role == is => {}
            // Only an owner stops being one.
            (_, Some(Role::Owner)) if !is_self => return Err(Refusal::Unauthorized),
            (_, Some(Role::Owner)) if !self.has_other_owner(wish.user, now_ms) => {
                return Err(Refusal::LastOwner);
            }
            // Anybody becomes less.
            (Given::Null, Some(_)) if is_self => {}
            (Given::Value(role), Some(is)) if is_self && role < is => {}
            (Given::Value(Role::Member), None) if is_self && level >= Level::Join => {}
            (Given::Value(Role::Member), None) | (Given::Null, Some(Role::Member))
                if level >= Level::Moderate => {}
            _ if level >= Level::Own => {}
            _ => return Err(Refusal::Unauthorized),
        }
        let is_above = level >= Level::Moderate && level > self.greatest_level(wish.user, now_ms);
        let is_purge_only = wish.mute.is_none() && wish.ban.is_none() && !wish.kick;
        let may_purge_own = is_self && is_purge_only && level >= Level::Speak;
        // Or nobody could lift what was decided of one who has become an owner, or comes with a
        // token that is above, since.
        let may_lift = level >= Level::Own && wish.is_role_or_lifting();
        if !wish.is_role_only() && !is_above && !may_purge_own && !may_lift {
            self.may_speak(asker.slot, now_ms)?;
            return Err(Refusal::Unauthorized);
        }
        let mut next = was;
        wish.role.set(&mut next.role);
        if let Some(mute) = wish.mute {
            next.muted_until_ms = mute.until_ms(now_ms);
        }
        if let Some(ban) = wish.ban {
            next.banned_until_ms = ban.until_ms(now_ms);
        }
        // Each room that has owners has one who may decide.
        if next.role == Some(Role::Owner) && next.is_restrained(now_ms) {
            if was.role != Some(Role::Owner) {
                let message = "an owner is neither muted nor banned: lift it in the same push";
                return Err(Refusal::Invalid { field: "role", message });
            }
            if wish.restrains() && !self.has_other_owner(wish.user, now_ms) {
                return Err(Refusal::LastOwner);
            }
        }
        let is_new = !was.holds(now_ms) && next.holds(now_ms);
        if is_new && is_self {
            self.may_one_more_come(max, now_ms)?;
        } else if is_new && self.standings_count(now_ms) >= max as usize {
            return Err(Refusal::TooMany { limit: MEMBERS_LIMIT, max });
        }
        Ok(next)
    }

    /// The greatest level that a user has here, on any device, as far as that is known: its token
    /// if it is on this node, and otherwise its role alone counts.
    fn greatest_level(&self, user: &str, now_ms: u64) -> Level {
        let members = self.presence.members().map(|(_, member)| member);
        let own = members.filter(|member| member.identity.user() == user);
        let tokens = own.map(|member| member.place.here().map_or(Level::Speak, |of| of.token));
        let token = tokens.max().unwrap_or(Level::Speak);
        // A ban or a mute does not put an owner below a moderator.
        let Standing { role, .. } = self.standing(user);
        let standing = Standing { role, ..Standing::default() };
        let settings = (self.settings().join, self.settings().speak);
        level_of(token, standing, settings, now_ms)
    }

    /// Whether another user than this one is an owner, and neither muted nor banned.
    fn has_other_owner(&self, user: &str, now_ms: u64) -> bool {
        let mut standings = self.facts.iter().flat_map(|facts| facts.standings.iter());
        standings.any(|(of, standing)| {
            let is_owner = standing.role == Some(Role::Owner);
            of != user && is_owner && !standing.is_restrained(now_ms)
        })
    }

    fn owners_count(&self) -> usize {
        let standings = self.facts.iter().flat_map(|facts| facts.standings.iter());
        standings.filter(|(_, standing)| standing.role == Some(Role::Owner)).count()
    }

    /// How many users stand in it otherwise than those of whom nothing was decided.
    fn standings_count(&self, now_ms: u64) -> usize {
        let standings = self.facts.iter().flat_map(|facts| facts.standings.iter());
        standings.filter(|(_, standing)| standing.holds(now_ms)).count()
    }

    /// The memberships of a user here: each with its slot and where it is.
    pub(crate) fn of_user<'a>(
        &'a self,
        user: &'a str,
    ) -> impl Iterator<Item = (Slot, Address)> + 'a {
        let members = self.members_here();
        let own = members.filter(move |(_, member, _)| member.identity.user() == user);
        own.map(|(slot, _, address)| (slot, address))
    }

    /// The members here that may not be here any more.
    pub(crate) fn out(&self, now_ms: u64) -> Vec<(Slot, Address)> {
        let members = self.members_here().map(|(slot, _, address)| (slot, address));
        members.filter(|(slot, _)| self.level_at(*slot, now_ms) == Level::None).collect()
    }
}

/// Stands for all who are in the room, among those whom a message mentions.
const EVERYBODY: &str = "@room";

/// Whether a JSON array of users' ids has the one that stands for all who are in the room.
fn mentions_everybody(mentions: &str) -> bool {
    json::elements(mentions).any(|user| json::string(user).as_deref() == Some(EVERYBODY))
}

/// Whether a JSON string has a link in it: `http://` or `https://`, however it is written.
fn has_link(body: &str) -> bool {
    let Some(text) = json::string(body) else { return false };
    let text = text.as_bytes();
    let ends_with = |before: &[u8], word: &[u8]| {
        before.len() >= word.len() && before[before.len() - word.len()..].eq_ignore_ascii_case(word)
    };
    memchr::memmem::find_iter(text, b"://")
        .any(|at| ends_with(&text[..at], b"http") || ends_with(&text[..at], b"https"))
}

/// Whether a JSON string has one of these phrases in it, however it is written.
fn has_any(body: &str, phrases: &Phrases) -> bool {
    json::string(body).is_some_and(|text| phrases.is_any_in(&text))
}
