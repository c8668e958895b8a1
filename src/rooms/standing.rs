//! How users are to stand in a room, by decision of members: their roles, mutes and bans, who is
//! kicked, and whose messages are purged; and the list of those of whom something is remembered.
//!
//! ```text
//!   stand ── judge_stand ── decide_standing ─┬ holds ── go_on_standing: purge, answer
//!                                            └ later ── it came back (`deciding`) ── the same
//! ```
//!
//! Deliberately absent: who may decide what (`room::rights`); how a decision is given to the log,
//! and who is told of it (`deciding`).
//!
//! Called by: `rooms`, `deciding`. Calls: `room`, `deciding`, `entries`, `purging`, `answering`,
//! the log.

use crate::auth::level::{Role, Standing};
use crate::limits::{MEMBERS_LOOKS_MAX, VISITS_PER_WORK};
use crate::link::audit::{AuditAct, AuditLine};
use crate::link::facts::{MemberWish, push_standing};
use crate::link::io::Io;
use crate::link::log::{Log, Ticket, What, Why};
use crate::link::message::{MESSAGE_BYTES_MIN, text};
use crate::link::outbox::{Cx, Tell};
use crate::link::record::ToHome;
use crate::link::refusal::Refusal;
use crate::room::facts::RemovalCause;
use crate::room::lately::{SaidBy, SaidOfLate};
use crate::rooms::changing::may_change_at_all;
use crate::rooms::deciding::Decided;
use crate::rooms::entries::take_fanout;
use crate::rooms::held::Membership;
use crate::rooms::purging::{Begun, Deleted};
use crate::rooms::registry::Registered;
use crate::rooms::under_way::UnderWay;
use crate::rooms::{Answer, Rooms};

/// What was judged of how a user is to stand.
struct JudgedStanding {
    standing: Standing,
    /// Whether it stands so already.
    is_so: bool,
    /// What it has said of late, as far as memory has it: it is deleted.
    purged: SaidOfLate,
    /// Whether anything may be deleted, here or in the log.
    is_purge: bool,
    /// Whether the audit trail has a line of it.
    is_audited: bool,
}

/// How a user was to stand, by whose decision, and which of its messages are to go.
struct Stood<'a> {
    wish: MemberWish<'a>,
    by: &'a str,
    purged: SaidOfLate,
}

impl Rooms {
    /// Handles that a user is to stand otherwise in a room.
    ///
    /// Requires: the asker is a member. Changes: facts, messages that are purged, or what is under
    /// way. Emits: `room_you` or `room_removed` to the devices of that user, `msg_changed` to all
    /// for each message that is purged, then the answer.
    pub(super) fn stand<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        push: ToHome<'_>,
    ) {
        let ToHome::Stand { home: key, asker, reference, wish } = push else {
            unreachable!("called for standings")
        };
        let membership = Membership { room: key, shard, asker };
        let Some((by, _)) = self.decides(cx, members, membership, reference, push) else {
            return;
        };
        let judged = match self.judge_stand(cx, membership, &wish, &by) {
            Ok(judged) => judged,
            Err(refusal) => {
                return self.answer_refused(cx, members, membership, reference, refusal);
            }
        };
        let decided = self.decide_standing(cx, members, membership, (&wish, &by), &judged);
        let under_way = match decided {
            Ok(Decided::Holds(under_way)) => under_way,
            Ok(Decided::Later(ticket, entry)) => {
                return self.hold_decided(ticket, reference, entry, push);
            }
            Err(why) => {
                return self.answer_refused(cx, members, membership, reference, why.refusal());
            }
        };
        let stood = Stood { wish, by: &by, purged: judged.purged };
        self.go_on_standing(cx, members, (membership, reference), stood, under_way);
    }

    /// Goes on with how a user is to stand: it has come back from the log, and holds.
    pub(super) fn stood<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        (membership, reference): (Membership, &str),
        wish: MemberWish<'_>,
        under_way: Option<(Ticket, UnderWay)>,
    ) {
        let reaches_back = cx.io.log().reads();
        let of_room = self.arena.get(membership.room).map(|of| &of.room);
        let purged = of_room.zip(purged_by(&wish, cx.now.unix_ms));
        let purged = purged.map(|(room, said_by)| room.said_by(said_by, reaches_back));
        let purged = purged.unwrap_or_default();
        cx.budget.spend_for(purged.looks, VISITS_PER_WORK);
        let stood = Stood { wish, by: &self.user_of(membership), purged };
        self.go_on_standing(cx, members, (membership, reference), stood, under_way);
    }

    /// Goes on with how a user is to stand when that holds: deletes what is purged, and answers.
    fn go_on_standing<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        (membership, reference): (Membership, &str),
        Stood { wish, by, purged }: Stood<'_>,
        under_way: Option<(Ticket, UnderWay)>,
    ) {
        let (key, now_ms) = (membership.room, cx.now.unix_ms);
        let SaidOfLate { found, before, .. } = purged;
        let Deleted { count, last, refused } = self.purge(cx, members, membership, found, by);
        let under_way = if last.is_some() {
            // They are kept in order, so the last of them says it for all.
            self.await_unheard(under_way);
            last
        } else {
            under_way
        };
        if let Some((_, why)) = refused.filter(|_| count == 0) {
            self.await_unheard(under_way);
            return self.answer_refused(cx, members, membership, reference, why.refusal());
        }
        let user = wish.user;
        let mut answer = Vec::new();
        if let Some(Registered { room, .. }) = self.arena.get(key) {
            // What others are held to concerns those alone who look after the room.
            let may_look = room.may_look_after(membership.asker.slot, now_ms).is_ok();
            let is_told = *user == *by || may_look;
            let standing = room.standing(user);
            let role_alone = Standing { role: standing.role, ..Standing::default() };
            let told = if is_told { standing } else { role_alone };
            push_standing(&mut answer, user, told, now_ms);
        }
        if let Some(SaidBy { since_ms, .. }) = purged_by(&wish, now_ms) {
            let is_cut_short = refused.is_some();
            let before = refused.map_or(before, |(offset, _)| Some(offset + 1));
            let begun = Begun { user, by, since_ms, count, before, is_cut_short, answer };
            return self.answer_purge(cx, members, (membership, reference), begun, under_way);
        }
        answer.push(b'}');
        self.answer_with(cx, members, membership, reference, under_way, text(&answer));
    }

    /// Judges how a user is to stand, by decision of another: before anything is decided.
    fn judge_stand<I: Io>(
        &self,
        cx: &mut Cx<'_, I>,
        membership: Membership,
        wish: &MemberWish<'_>,
        by: &str,
    ) -> Result<JudgedStanding, Refusal> {
        let Membership { room: key, asker, .. } = membership;
        let Some(Registered { room, .. }) = self.arena.get(key) else { return Err(Refusal::Busy) };
        let now_ms = cx.now.unix_ms;
        let max = cx.settings.chat.members_per_room;
        let standing = room.judge_standing(asker, wish, now_ms, max)?;
        let reaches_back = cx.io.log().reads();
        let mut purged = SaidOfLate::default();
        if let Some(said_by) = purged_by(wish, now_ms) {
            may_change_at_all(cx)?;
            purged = room.said_by(said_by, reaches_back);
            cx.budget.spend_for(purged.looks, VISITS_PER_WORK);
            take_fanout(cx, room, by, purged.found.len() * MESSAGE_BYTES_MIN)?;
        }
        let was = room.standing(wish.user);
        let is_so = standing == was;
        // Of what only a log has it is not known yet whether anything goes.
        let is_purge = !purged.found.is_empty() || (reaches_back && purged.before.is_some());
        // Of other homes it is not known who is there.
        let may_be_there = cx.io.log().is_shared() || room.of_user(wish.user).next().is_some();
        let is_put_out = wish.kick && may_be_there;
        // What one does to oneself is nobody's concern, unless one looks after the room no more.
        let is_own = *wish.user == *by && was.role.max(standing.role) <= Some(Role::Member);
        let is_audited = (!is_so || is_purge || is_put_out) && !is_own;
        Ok(JudgedStanding { standing, is_so, purged, is_purge, is_audited })
    }

    /// Decides how a user stands, and puts out whoever is to go, with a line for the audit trail.
    /// Returns what its answer waits for.
    ///
    /// # Errors
    ///
    /// Why the log does not take it.
    fn decide_standing<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        (wish, by): (&MemberWish<'_>, &str),
        judged: &JudgedStanding,
    ) -> Result<Decided, Why> {
        let (key, is_shared) = (membership.room, cx.io.log().is_shared());
        let Some(Registered { room, .. }) = self.arena.get(key) else { return Err(Why::Busy) };
        let &JudgedStanding { standing, is_so, is_purge, is_audited, .. } = judged;
        let (user, set) = (wish.user, wish.audited());
        let cause = RemovalCause { is_kicked: wish.kick, by, text: wish.reason };
        let audit = AuditLine {
            user: Some(user),
            text: wish.reason,
            set: set.as_deref(),
            ..AuditLine::new(room.next_audit_number(), AuditAct::RoomMember, by)
        };
        let audit = Some(&audit).filter(|_| is_audited);
        if !wish.is_kick_or_purge_only() && self.is_to_be_kept(cx, key, is_so) {
            let what = What::Standing { user, standing };
            let decided = self.propose_decision(cx, membership, what, audit)?;
            if matches!(decided, Decided::Holds(_)) {
                self.stands(cx, members, key, (user, standing), cause);
            }
            return Ok(decided);
        }
        let noted = match audit {
            Some(_) => self.propose_decision(cx, membership, What::Noted, audit),
            None => Ok(Decided::Holds(None)),
        };
        if is_shared && audit.is_some() {
            // Whoever is put out goes when it comes back, wherever it is; or nowhere.
            return noted;
        }
        if wish.kick {
            self.put_out_user(cx, members, key, user, cause);
        }
        // Nothing is deleted without a line. Whoever is put out goes, though the disk may not take
        // that it was.
        noted.or_else(|why| if is_purge { Err(why) } else { Ok(Decided::Holds(None)) })
    }

    /// Answers how users stand in a room.
    pub(super) fn list_members<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        push: ToHome<'_>,
    ) {
        let ToHome::ListMembers { home: key, asker, reference, wanted } = push else {
            unreachable!("called for lists of users")
        };
        let membership = Membership { room: key, shard, asker };
        if self.asks_later(membership, reference, push) {
            return;
        }
        let now_ms = cx.now.unix_ms;
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        if let Err(refusal) = room.may_list(asker.slot, wanted, now_ms) {
            return self.answer_refused(cx, members, membership, reference, refusal);
        }
        let mut out = Vec::new();
        let looks = room.push_members(&mut out, wanted, MEMBERS_LOOKS_MAX, now_ms);
        cx.budget.spend_for(looks, VISITS_PER_WORK);
        self.reply(cx, members, membership, Answer::ok(reference, text(&out)));
    }
}

/// Which messages are deleted, if any are to be.
fn purged_by<'a>(wish: &MemberWish<'a>, now_ms: u64) -> Option<SaidBy<'a>> {
    let since_ms = now_ms.saturating_sub(wish.purge_s?.saturating_mul(1_000));
    Some(SaidBy { user: wish.user, since_ms, before: wish.purge_before.unwrap_or(u64::MAX) })
}
