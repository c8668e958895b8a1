//! Invites to a room: who makes them, and what becomes of who brings one.
//!
//! ```text
//!   room_invite ── it may invite ── signed, and answered: nothing is kept of it
//!   a join with one ── it is of this room, not over, not taken back ── a member from now on,
//!                      by decision of who has invited; the join goes on when that is kept
//! ```
//!
//! What is none of that changes nothing: its bearer joins as everybody does, or is refused as
//! everybody is. So nobody learns by it whether a room exists, and a client that brings an old
//! invite each time it joins again is none the worse for it.
//!
//! Deliberately absent: signatures (`auth::invite`), and who may invite (`room::rights`).
//!
//! Invariant: a room stays while a join waits for it.
//!
//! Called by: `rooms`, `membership`, `committing`, `again`. Calls: `room`, `deciding`,
//! `membership`, `pending`, the log.

use std::collections::BTreeMap;

use crate::auth::invite::Invite;
use crate::auth::level::{Role, Standing};
use crate::limits::PENDING_MEMORY_BYTES;
use crate::link::audit::{AuditAct, AuditLine, INVITED};
use crate::link::field::Field as _;
use crate::link::ids::RoomKey;
use crate::link::io::Io;
use crate::link::log::{Ticket, What, Why};
use crate::link::message::text;
use crate::link::outbox::{Cx, Tell};
use crate::link::record::{Received, ToHome, ToMember, read};
use crate::link::refusal::Refusal;
use crate::room::facts::RemovalCause;
#[cfg(test)]
use crate::room::planted::{self, Planted};
use crate::rooms::deciding::Decided;
use crate::rooms::held::Membership;
use crate::rooms::registry::Registered;
use crate::rooms::under_way::{Again, UnderWay};
use crate::rooms::{Answer, Rooms};
use crate::wire::json::{self, push_string, push_unsigned};
use crate::wire::phx::Payload;

/// The joins that wait until it is kept that who is invited is a member.
#[derive(Default)]
pub(super) struct Invited(BTreeMap<Ticket, Vec<Comer>>);

/// A join that waits.
struct Comer {
    room: RoomKey,
    user: Box<str>,
    shard: u16,
    /// Whether its user could come in without the invite when that was brought first.
    may_do_without: bool,
    /// The join.
    record: Box<[u8]>,
}

impl Invited {
    /// Whether a join to a room waits: then the room stays.
    pub(super) fn has(&self, room: RoomKey) -> bool {
        self.0.values().flatten().any(|comer| comer.room == room)
    }

    /// Forgets the joins of a shard that has begun anew. Returns their rooms.
    pub(super) fn forget(&mut self, shard: u16) -> Vec<RoomKey> {
        let mut rooms = Vec::new();
        self.0.retain(|_, comers| {
            rooms.extend(comers.extract_if(.., |comer| comer.shard == shard).map(|one| one.room));
            !comers.is_empty()
        });
        rooms
    }

    /// A join waits for what a ticket stands for.
    fn insert(
        &mut self,
        ticket: Ticket,
        (room, user): (RoomKey, &str),
        (shard, may_do_without): (u16, bool),
        join: &ToHome<'_>,
    ) {
        let (user, record) = (user.into(), join.into_record());
        let comer = Comer { room, user, shard, may_do_without, record };
        self.0.entry(ticket).or_default().push(comer);
    }

    /// What another join of a user to a room waits for, if one does, and whether that user could
    /// come in without it.
    fn waits_for(&self, room: RoomKey, user: &str) -> Option<(Ticket, bool)> {
        let is_its = |comer: &&Comer| comer.room == room && *comer.user == *user;
        self.0.iter().find_map(|(ticket, comers)| {
            comers.iter().find(is_its).map(|comer| (*ticket, comer.may_do_without))
        })
    }

    /// What they take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let comers = self.0.values().flatten();
        comers.map(|one| PENDING_MEMORY_BYTES + one.user.len() + one.record.len()).sum()
    }
}

impl Rooms {
    /// Answers with an invite.
    ///
    /// Requires: the asker is a member. Emits: the answer.
    pub(super) fn invite<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        push: ToHome<'_>,
    ) {
        let ToHome::Invite { home: key, asker, reference, for_s } = push else {
            unreachable!("called for invites")
        };
        let membership = Membership { room: key, shard, asker };
        if self.asks_later(membership, reference, push) {
            return;
        }
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let Some(by) = room.member(asker.slot).map(|member| member.identity.user()) else { return };
        let allowed = room.may_invite(asker.slot, cx.now.unix_ms);
        let made = allowed.and_then(|()| {
            let inviter = cx.settings.inviter.as_ref().ok_or(Refusal::Unauthorized)?;
            // Invites end with a second: not one before they were to.
            let exp = cx.now.unix_ms.div_ceil(1_000).saturating_add(for_s);
            let taken_back = room.settings().invites;
            #[cfg(test)]
            let taken_back = if planted::is(Planted::InvitesStale) { 0 } else { taken_back };
            let invite = Invite {
                room: room.name().unwrap_or_default().to_owned(),
                by: by.to_owned(),
                exp,
                epoch: room.journal().origin(),
                taken_back,
            };
            Ok((inviter.sign(&invite), exp))
        });
        let (invite, exp) = match made {
            Ok(made) => made,
            Err(refusal) => {
                return self.answer_refused(cx, members, membership, reference, refusal);
            }
        };
        let mut out = b"{\"expires_at\":".to_vec();
        push_unsigned(&mut out, exp.saturating_mul(1_000));
        out.extend_from_slice(b",\"invite\":");
        push_string(&mut out, &invite);
        out.push(b'}');
        self.reply(cx, members, membership, Answer::ok(reference, text(&out)));
    }

    /// Makes a member of who brings an invite with its join, if that is good for something. True,
    /// if the join waits until that is kept, or for the same as another one of its user does.
    ///
    /// Changes: facts, or what is under way. Emits: `room_you` to its other devices.
    ///
    /// # Errors
    ///
    /// Why it does not come in, though its invite is good.
    pub(super) fn accept_invite<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        shard: u16,
        join: &ToHome<'_>,
    ) -> Result<bool, Refusal> {
        let ToHome::Join { who, level: token, invite, replaces, .. } = *join else {
            return Ok(false);
        };
        let (user, now_ms) = (who.user(), cx.now.unix_ms);
        if let Some((ticket, may_do_without)) = self.invited.waits_for(key, user) {
            // Another device of the same user is in by the same decision.
            self.invited.insert(ticket, (key, user), (shard, may_do_without), join);
            return Ok(true);
        }
        let Some(Registered { room, .. }) = self.arena.get(key) else { return Ok(false) };
        let Some(invite) = invite.filter(|_| room.may_be_invited(user, token, now_ms)) else {
            return Ok(false);
        };
        let invite = json::string(invite).zip(cx.settings.inviter.as_ref());
        let invite = invite.and_then(|(invite, inviter)| inviter.read(&invite, now_ms / 1_000));
        let Some(invite) = invite.filter(|invite| room.takes_invite(invite, now_ms)) else {
            return Ok(false);
        };
        let may_do_without = room.may_join(user, token, now_ms).is_ok();
        match self.become_member(cx, members, key, user, &invite.by) {
            Ok(Some(ticket)) => {
                self.invited.insert(ticket, (key, user), (shard, may_do_without), join);
                Ok(true)
            }
            // A home takes in again whoever is in already.
            Err(refusal) if !may_do_without && replaces.is_none() => Err(refusal),
            Ok(None) | Err(_) => Ok(false),
        }
    }

    /// Goes on with the joins that have waited for this: it is kept that their users are members,
    /// or why that is not known. Then whoever needs no invite comes in as if it had brought none.
    pub(super) fn go_on_invited<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        ticket: Ticket,
        status: &str,
        response: Payload<'_>,
    ) {
        for Comer { room, shard, may_do_without, record, .. } in
            self.invited.0.remove(&ticket).unwrap_or_default()
        {
            let Received::ToHome(mut join) = read(&record) else { unreachable!("a join waits") };
            let ToHome::Join { conn, audience, replaces, invite, .. } = &mut join else {
                unreachable!("a join waits")
            };
            match response {
                // A home takes in again whoever is in already.
                Payload::Json(response)
                    if status != "ok" && !may_do_without && replaces.is_none() =>
                {
                    let (conn, audience) = (*conn, *audience);
                    members.tell(cx, shard, ToMember::Refused { conn, audience, response });
                    self.retire_if_empty(cx, room);
                }
                _ => {
                    // It has done what it is good for, or is good for nothing now.
                    *invite = None;
                    self.go_on_in_room(cx, members, room, shard, join);
                }
            }
        }
    }

    /// A user is a member from now on, by decision of who has invited it. Returns what says that
    /// this is kept; none, if it is.
    fn become_member<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        user: &str,
        by: &str,
    ) -> Result<Option<Ticket>, Refusal> {
        let Some(Registered { room, .. }) = self.arena.get(key) else { return Ok(None) };
        // It does not wait as other decisions do: no entry under way says how this user stands.
        if self.pending.is_behind(key) {
            return Err(Refusal::Busy);
        }
        room.may_one_more_come(cx.settings.chat.members_per_room, cx.now.unix_ms)?;
        let standing = Standing { role: Some(Role::Member), ..room.standing(user) };
        let line = AuditLine {
            user: Some(user),
            set: Some(INVITED),
            ..AuditLine::new(room.next_audit_number(), AuditAct::RoomMember, by)
        };
        let what = What::Standing { user, standing };
        let nobody = Membership::of_nobody(key);
        let decided = self.propose_decision(cx, nobody, what, Some(&line));
        let under_way = match decided.map_err(Why::refusal)? {
            Decided::Holds(under_way) => {
                let cause = RemovalCause { is_kicked: false, by, text: None };
                self.stands(cx, members, key, (user, standing), cause);
                under_way
            }
            Decided::Later(ticket, entry) => {
                Some((ticket, UnderWay { again: Again::Join, ..entry }))
            }
        };
        let ticket = under_way.as_ref().map(|(ticket, _)| *ticket);
        self.await_unheard(under_way);
        Ok(ticket)
    }

    /// Judges joins from the beginning that have waited for this, which was a conflict.
    pub(super) fn join_again<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        ticket: Ticket,
    ) {
        for Comer { room, shard, record, .. } in self.invited.0.remove(&ticket).unwrap_or_default()
        {
            let Received::ToHome(join) = read(&record) else { unreachable!("a join waits") };
            self.go_on_in_room(cx, members, room, shard, join);
        }
    }
}
