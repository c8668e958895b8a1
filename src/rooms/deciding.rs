//! What members decide of a room: its settings; and what becomes of all that they decide, how users
//! stand in it (`standing`) too.
//!
//! ```text
//!   set ──── judge_settings ─┐                      ┌─ all hear `room_changed`
//!   stand ── judge_standing ─┴─ Log::append ── holds ┼─ the one concerned hears `room_you`,
//!                                  │            │    └─ or `room_removed`, and is out
//!                                  └─ Later ── came back
//! ```
//!
//! A decision holds from the call on where the log leaves the order to the home; its answer comes
//! when it is kept. A log that several homes share gives it its place: it holds when its entry
//! comes back, here and at all other homes, and is answered when it is kept, too. Who decided it,
//! why, and whether that was a kick, is what its line of the audit trail says.
//!
//! It is judged by the room as it stands, so it waits while an entry of its room is under way
//! without a place.
//!
//! Who is put out stays a member until its shard says that it has left: what was pushed before that
//! is on its way, and is refused.
//!
//! Deliberately absent: who may decide what (`room::rights`).
//!
//! Called by: `rooms`, `standing`, `auditing`, `committing`, `inviting`, `membership`, `purging`.
//! Calls: `room`, `registry`, `entries`, `standing`, `listings`, `pending`, `answering`, the log.

use crate::auth::level::{Level, Standing};
use crate::limits::VISITS_PER_WORK;
use crate::link::audit::{AuditAct, AuditLine};
use crate::link::facts::RoomSettings;
use crate::link::field::Field as _;
use crate::link::ids::{Address, RoomKey, Slot};
use crate::link::io::Io;
use crate::link::log::{Appended, Entry, Log, Placed, Ticket, What, Why};
use crate::link::message::text;
use crate::link::outbox::{Cx, Tell};
use crate::link::record::{Received, ToHome, ToMember, read};
use crate::link::refusal::Refusal;
use crate::room::facts::RemovalCause;
#[cfg(test)]
use crate::room::planted::{self, Planted};
use crate::rooms::entries::{append_of, deliver, take_fanout};
use crate::rooms::held::Membership;
use crate::rooms::registry::Registered;
use crate::rooms::under_way::{Again, UnderWay};
use crate::rooms::{Answer, Rooms};
use crate::wire::phx::Payload;

/// What has become of a decision that its log took.
pub(super) enum Decided {
    /// It holds. Its log will say by this whether it is kept; none, if it is.
    Holds(Option<(Ticket, UnderWay)>),
    /// It holds when its entry comes back.
    Later(Ticket, UnderWay),
}

impl Rooms {
    /// Handles that the settings of a room are to be others.
    ///
    /// Requires: the asker is a member. Changes: facts, or what is under way. Emits: `room_changed`
    /// to all members, `room_removed` to those who may not be there any more, then the answer.
    pub(super) fn set<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        push: ToHome<'_>,
    ) {
        let ToHome::Set { home: key, asker, reference, wish } = push else {
            unreachable!("called for settings")
        };
        let membership = Membership { room: key, shard, asker };
        let Some((by, now_ms)) = self.decides(cx, members, membership, reference, push) else {
            return;
        };
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let judged = room.judge_settings(asker, &wish, now_ms).and_then(|judged| {
            take_fanout(cx, room, &by, wish.bytes())?;
            Ok(judged)
        });
        let (title, settings) = match judged {
            Ok(judged) => judged,
            Err(refusal) => {
                return self.answer_refused(cx, members, membership, reference, refusal);
            }
        };
        let mut under_way = None;
        let is_set = room.is_set(&title, &settings);
        let set = wish.audited();
        let audit = AuditLine {
            set: set.as_deref(),
            ..AuditLine::new(room.next_audit_number(), AuditAct::RoomSet, &by)
        };
        if self.is_to_be_kept(cx, key, is_set) {
            let json = settings.json();
            let what = What::Settings { title: &title, settings: &json };
            let audit = Some(&audit).filter(|_| !is_set);
            match self.propose_decision(cx, membership, what, audit) {
                Ok(Decided::Holds(proposed)) => under_way = proposed,
                Ok(Decided::Later(ticket, entry)) => {
                    #[cfg(test)]
                    if planted::is(Planted::DecidedTwice) {
                        self.was_set(cx, members, key, &title, settings, &by);
                    }
                    return self.hold_decided(ticket, reference, entry, push);
                }
                Err(why) => {
                    return self.answer_refused(cx, members, membership, reference, why.refusal());
                }
            }
            self.was_set(cx, members, key, &title, settings, &by);
        }
        self.answer_set(cx, members, (membership, reference), under_way);
    }

    /// Answers what a room is that was set, when that is kept.
    fn answer_set<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        (membership, reference): (Membership, &str),
        under_way: Option<(Ticket, UnderWay)>,
    ) {
        let mut answer = Vec::new();
        if let Some(Registered { room, .. }) = self.arena.get(membership.room) {
            room.push_room(&mut answer);
        }
        self.answer_with(cx, members, membership, reference, under_way, text(&answer));
    }

    /// Whether a decision is given to the log: also one that holds already, while another is not
    /// known to be kept. Its answer says that it is. Of what another home has decided that is never
    /// known.
    pub(super) fn is_to_be_kept<I: Io>(
        &self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        is_so: bool,
    ) -> bool {
        let is_known =
            !cx.io.log().is_shared() && !self.pending.has_decision(key) && !self.foundings.has(key);
        !is_so || !is_known
    }

    /// Whether a decision may be judged now: who decides, and the time. None, if it waits or was
    /// refused.
    pub(super) fn decides<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        reference: &str,
        push: ToHome<'_>,
    ) -> Option<(Box<str>, u64)> {
        let Membership { room: key, shard, asker } = membership;
        let Registered { room, .. } = self.arena.get(key)?;
        room.assert_member(shard, asker);
        if !self.is_releasing && self.pending.must_event_wait(membership) {
            self.wait(cx, members, membership, Some(reference), push);
            return None;
        }
        if self.pending.is_behind(key) {
            self.answer_refused(cx, members, membership, reference, Refusal::Busy);
            return None;
        }
        let by = room.member(asker.slot)?.identity.user().into();
        Some((by, cx.now.unix_ms))
    }

    /// Gives its log what was decided of a room, with what the audit trail says of it.
    ///
    /// # Errors
    ///
    /// Why the log does not take it.
    pub(super) fn propose_decision<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        membership: Membership,
        what: What<'_>,
        audit: Option<&AuditLine<'_>>,
    ) -> Result<Decided, Why> {
        let key = membership.room;
        if self.loading.is_closed(key) {
            return Err(Why::Unavailable);
        }
        let Some(Registered { room, .. }) = self.arena.get(key) else { return Err(Why::Busy) };
        let judged = room.journal().judged();
        let placed = Placed::decision(cx.now.unix_ms);
        let ticket = self.pending.next_ticket();
        #[cfg(test)]
        let audit = audit.filter(|_| !planted::is(Planted::LinesLeftOut));
        let append = append_of(key, room, ticket, placed.at_ms, Entry { judged, what, audit });
        let appended = cx.io.log().append(append);
        if let Appended::Refused(why) = appended {
            #[cfg(test)]
            self.drop_standings(key);
            return Err(why);
        }
        let is_decision = what != What::Noted;
        #[cfg(test)]
        if appended == Appended::Later && planted::is(Planted::DoneRefused) {
            return Err(Why::Busy);
        }
        if appended == Appended::Later {
            let proposals = 1 + self.proposals;
            let entry = UnderWay::new(membership, ticket, judged);
            return Ok(Decided::Later(ticket, UnderWay { is_decision, proposals, ..entry }));
        }
        if let Some(Registered { room, .. }) = self.arena.get_mut(key).filter(|_| is_decision) {
            room.apply_rev(judged.rev + 1);
        }
        if let Some(line) = audit {
            self.note_audit(cx, key, line, placed.at_ms);
        }
        match appended {
            Appended::Kept => Ok(Decided::Holds(None)),
            #[cfg(test)]
            Appended::Ordered if planted::is(Planted::DoneRefused) => Err(Why::Busy),
            Appended::Ordered => {
                let entry = UnderWay {
                    applied_at: Some(placed.marks),
                    placed: Some(placed),
                    ..UnderWay::new(membership, ticket, judged)
                };
                Ok(Decided::Holds(Some((ticket, entry))))
            }
            Appended::Later | Appended::Refused(_) => unreachable!("handled before"),
        }
    }

    /// Holds the answer to a push whose decision comes back later.
    pub(super) fn hold_decided(
        &mut self,
        ticket: Ticket,
        reference: &str,
        entry: UnderWay,
        push: ToHome<'_>,
    ) {
        let again = Again::Push(push.into_record());
        self.hold_under_way(ticket, reference, UnderWay { again, ..entry });
    }

    /// What was decided of a room holds from now on: it came back from the log, and was proposed
    /// here under a ticket, or elsewhere.
    pub(super) fn was_decided<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        own: Option<Ticket>,
        (what, line): (What<'_>, Option<AuditLine<'_>>),
    ) {
        #[cfg(test)]
        if own.is_none() && planted::is(Planted::OthersUnheard) {
            return;
        }
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        // What one does to oneself has no line.
        let entry = own.and_then(|ticket| self.pending.get(key, ticket));
        let proposer = entry.map_or(Box::default(), |entry| self.user_of(entry.membership));
        let by = line.map_or(&*proposer, |line| line.by);
        let is_kicked = line.is_some_and(|line| line.is_of_kick());
        let cause = RemovalCause { is_kicked, by, text: line.and_then(|line| line.text) };
        match what {
            What::Founded { title, owner } => {
                self.was_founded(cx, key, title, owner);
                // Somebody may have joined while it was on its way, here or elsewhere.
                self.tell_room(cx, members, key);
            }
            What::Settings { title, settings } => {
                self.was_set(cx, members, key, title, RoomSettings::read(settings), by);
            }
            What::Standing { user, standing } if is_kicked || room.standing(user) != standing => {
                self.stands(cx, members, key, (user, standing), cause);
            }
            What::Noted if is_kicked => {
                let user = line.and_then(|line| line.user).unwrap_or_default();
                self.put_out_user(cx, members, key, user, cause);
            }
            What::Standing { .. } | What::Noted => {}
            What::Message(_) | What::Changed { .. } => unreachable!("called for decisions"),
        }
    }

    /// Goes on with a push whose decision holds now: its answer says what the room is, and is given
    /// when that is kept.
    pub(super) fn go_on_decided<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        ticket: Ticket,
    ) {
        let asked = self.pending.get(key, ticket);
        if !asked.is_some_and(|entry| matches!(entry.again, Again::Push(_))) {
            return;
        }
        let Some(mut entry) = self.pending.remove(key, ticket) else { return };
        let Again::Push(record) = std::mem::replace(&mut entry.again, Again::Never) else {
            unreachable!("it was one just now")
        };
        let Received::ToHome(push) = read(&record) else { unreachable!("only pushes decide") };
        let membership = entry.membership;
        let outer = self.released.replace((membership, ticket));
        let under_way = Some((ticket, entry));
        match push {
            ToHome::Set { reference, .. } => {
                self.answer_set(cx, members, (membership, reference), under_way);
            }
            ToHome::Stand { reference, wish, .. } => {
                self.stood(cx, members, (membership, reference), wish, under_way);
            }
            ToHome::Report { reference, .. } => {
                self.answer_with(cx, members, membership, reference, under_way, "{}");
            }
            _ => unreachable!("it decides nothing"),
        }
        self.released = outer;
    }

    /// The user who is the member of a membership; empty, if that has ended.
    pub(super) fn user_of(&self, membership: Membership) -> Box<str> {
        let Membership { room, shard, asker } = membership;
        let room = self.arena.get(room).map(|of| &of.room);
        let room = room.filter(|room| room.is_member(shard, asker));
        let member = room.and_then(|room| room.member(asker.slot));
        member.map_or(Box::default(), |member| member.identity.user().into())
    }

    /// Answers a decision, when it is kept.
    pub(super) fn answer_with<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        reference: &str,
        under_way: Option<(Ticket, UnderWay)>,
        answer: &str,
    ) {
        #[cfg(test)]
        if planted::is(Planted::DecisionsUnkept) {
            self.await_unheard(under_way);
            return self.reply(cx, members, membership, Answer::ok(reference, answer));
        }
        match under_way {
            Some((ticket, entry)) => {
                let entry = UnderWay { answer: Some(answer.into()), ..entry };
                self.hold_under_way(ticket, reference, entry);
            }
            None => self.reply(cx, members, membership, Answer::ok(reference, answer)),
        }
    }

    /// The settings of a room are these from now on, by decision of a user.
    pub(super) fn was_set<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        title: &str,
        settings: RoomSettings,
        by: &str,
    ) {
        let Some(registered) = self.arena.get_mut(key) else { return };
        if registered.is_founded && registered.room.is_set(title, &settings) {
            return;
        }
        registered.is_founded = true;
        registered.room.apply_settings(title, settings);
        self.registry.weigh(registered);
        self.note_age(cx, key);
        self.tell_room(cx, members, key);
        self.list(key);
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let cause = RemovalCause { is_kicked: false, by, text: None };
        cx.budget.spend_for(room.members_count() as usize, VISITS_PER_WORK);
        for (slot, address) in room.out(cx.now.unix_ms) {
            self.put_out(cx, members, key, (slot, address), cause);
        }
    }

    /// Tells the members of a room what was decided of it.
    fn tell_room<I: Io>(&self, cx: &mut Cx<'_, I>, members: &mut impl Tell<I>, key: RoomKey) {
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let mut out = Vec::new();
        room.push_room(&mut out);
        deliver(cx, members, room, "room_changed", Payload::Json(text(&out)));
    }

    /// A user stands so in a room from now on, by decision of another.
    pub(super) fn stands<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        (user, standing): (&str, Standing),
        cause: RemovalCause<'_>,
    ) {
        let Some(registered) = self.arena.get_mut(key) else { return };
        registered.room.apply_standing(user, standing, cx.now.unix_ms);
        self.registry.weigh(registered);
        self.put_out_user(cx, members, key, user, cause);
    }

    /// Puts out the devices of a user that may not be in a room any more, or all of them if it is
    /// kicked. Tells the others how they stand.
    pub(super) fn put_out_user<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        user: &str,
        cause: RemovalCause<'_>,
    ) {
        let now_ms = cx.now.unix_ms;
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let devices: Vec<_> = room.of_user(user).collect();
        for (slot, address) in devices {
            let Some(Registered { room, .. }) = self.arena.get(key) else { return };
            if cause.is_kicked || room.level_at(slot, now_ms) == Level::None {
                self.put_out(cx, members, key, (slot, address), cause);
            } else {
                let mut out = Vec::new();
                room.push_you(&mut out, slot, cause.by, now_ms);
                let Address { shard, conn, .. } = address;
                let Some(audience) = room.audience(shard) else { continue };
                let (event, payload) = ("room_you", text(&out));
                members.tell(cx, shard, ToMember::Told { conn, audience, slot, event, payload });
            }
        }
    }

    /// Puts a member out that has come in, or goes on, as it may not.
    pub(super) fn put_out_if_unwanted<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        slot: Slot,
    ) {
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let Some(address) = room.address(slot) else { return };
        if room.level_at(slot, cx.now.unix_ms) == Level::None {
            let cause = RemovalCause { is_kicked: false, by: "", text: None };
            self.put_out(cx, members, key, (slot, address), cause);
        }
    }

    /// Tells a member, and its shard, that it is out. Its membership ends when that says so.
    fn put_out<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        (slot, address): (Slot, Address),
        cause: RemovalCause<'_>,
    ) {
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let Some(member) = room.member(slot) else { return };
        let mut out = Vec::new();
        room.push_removed(&mut out, member.identity.user(), cause, cx.now.unix_ms);
        cx.metrics.put_out += 1;
        let Address { shard, conn, .. } = address;
        let Some(audience) = room.audience(shard) else { return };
        let payload = text(&out);
        let may_return = cause.is_kicked && room.level_at(slot, cx.now.unix_ms) > Level::None;
        let removed = ToMember::Removed { conn, audience, slot, may_return, payload };
        members.tell(cx, shard, removed);
    }

    /// Waits for an entry to be kept, of which nobody is told by itself.
    pub(super) fn await_unheard(&mut self, under_way: Option<(Ticket, UnderWay)>) {
        if let Some((ticket, entry)) = under_way {
            self.pending.insert(ticket, entry);
        }
    }

    /// The planted defect: how users stand is forgotten where something else is refused.
    #[cfg(test)]
    fn drop_standings(&mut self, key: RoomKey) {
        if let Some(registered) = self.arena.get_mut(key)
            && planted::is(Planted::StandingsDropped)
        {
            registered.room.drop_standings();
            self.registry.weigh(registered);
        }
    }
}
