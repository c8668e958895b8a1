//! Invites: who makes them, and who becomes a member by one.
//!
//! The ledger (`rights`) has what each user has brought, and judges by it whom a home makes a
//! member. The other way round, whoever brings one that is good becomes a member.
//!
//! What it does not model, and which test could notice: other lives of a room by the same name
//! (`rooms::inviting_tests`), and signatures (`auth::invite`).

use chinwag::auth::invite::{Invite, Inviter};
use chinwag::auth::level::Level;
use serde_json::{Value, json};

use crate::acts::Mouth;
use crate::client::{Ask, Client, Payload, Pending};
use crate::ears::Ears;
use crate::faults::Bug;
use crate::logs::LogKind;
use crate::rights::{Facts, Moment, moment};
use crate::site::User;
use crate::world::ledger_of;

/// What the invites of a run are signed with.
pub(crate) fn inviter() -> Inviter {
    Inviter::new(&[7; 32])
}

/// An invite that somebody was given.
#[derive(Clone, Debug)]
pub(crate) struct Invited {
    pub(crate) topic: String,
    pub(crate) text: String,
    pub(crate) says: Invite,
    /// When it was asked for.
    pub(crate) asked: Moment,
}

impl Client {
    /// Asks for an invite.
    pub(crate) fn ask_invite(&mut self, mouth: &mut Mouth<'_>) {
        let topic = self.channel_or_topic(mouth);
        if !topic.starts_with("room:") {
            return;
        }
        let for_s = *self.draws.pick(&[1_u64, 60, 604_800, 604_800]);
        let payload = Payload::Json(json!({"for_s": for_s}));
        self.push(mouth, &topic, "room_invite", &payload, Some(Ask::Invite));
    }

    /// What it brings to a join: mostly nothing, and else mostly an invite to that room.
    pub(crate) fn some_invite(
        &mut self,
        mouth: &mut Mouth<'_>,
        topic: &str,
    ) -> Option<(Value, Option<Invited>)> {
        if mouth.truth.invites.is_empty() || !self.draws.one_in(3) {
            return None;
        }
        let is_any = self.draws.one_in(6);
        let known = mouth.truth.invites.iter().filter(|invite| is_any || invite.topic == topic);
        let known: Vec<&Invited> = known.collect();
        if known.is_empty() || self.draws.one_in(12) {
            return Some((json!("inv_nonsense"), None));
        }
        let invited = (*self.draws.pick(&known)).clone();
        if mouth.plan.bug != Some(Bug::HoldNothing) {
            let brought = (topic.to_owned(), self.user().id, invited.says.clone());
            mouth.brought.push(brought);
        }
        Some((json!(invited.text), Some(invited)))
    }
}

impl Ears<'_> {
    /// An invite was made: by somebody who might, and it says that.
    pub(crate) fn check_invite(&mut self, user: &'static User, pending: &Pending, told: &Value) {
        let topic = &*pending.topic;
        let text = told["invite"].as_str().expect("an invite is a text");
        let says = inviter().read(text, 0).expect("it is signed");
        let room = topic.strip_prefix("room:").expect("invites are to rooms");
        assert_eq!((&*says.room, &*says.by), (room, user.id), "an invite says whose it is");
        assert_eq!(told["expires_at"], says.exp * 1_000, "and for how long it is good");
        let held = self.held_since(topic, pending.asked);
        let token = user.level_in(room);
        let may_be = |facts: &Facts| {
            let is_of_room = facts.invites() == u64::from(says.taken_back);
            is_of_room && facts.may_invite(user.id, token, self.unix_ms)
        };
        assert!(held.iter().any(may_be), "only who may invites: {} to {topic}", user.id);
        let (topic, text, asked) = (topic.to_owned(), text.to_owned(), pending.asked);
        self.truth.invites.push(Invited { topic, text, says, asked });
        self.truth.saw("invited");
    }

    /// Whether an invite was good all the time from its join on. Where a log keeps rooms, it may
    /// stand in the way that they are made members.
    fn is_good(&self, invited: &Invited, user: &'static User, pending: &Pending) -> bool {
        let Invited { topic, says, asked, .. } = invited;
        let room = topic.strip_prefix("room:").unwrap_or_default();
        let is_open = ledger_of(self.hosts, topic).is_some_and(|of| of.opened(topic) < *asked);
        let held = self.held_since(topic, pending.asked);
        let is_banned = |facts: &Facts, user| facts.standing(user).banned_until_ms > 0;
        self.plan.log == LogKind::Memory
            && is_open
            && *topic == pending.topic
            && user.level_in(room) >= Level::Join
            && says.exp > self.unix_ms / 1_000
            && held.iter().all(|facts| {
                let is_in_force = facts.invites() == u64::from(says.taken_back);
                is_in_force && !is_banned(facts, user.id) && !is_banned(facts, &says.by)
            })
    }

    /// Whoever brought a good invite has become a member.
    pub(crate) fn check_invited(
        &mut self,
        user: &'static User,
        pending: &Pending,
        invited: Option<&Invited>,
    ) {
        let Some(invited) = invited.filter(|invited| self.is_good(invited, user, pending)) else {
            return;
        };
        let ledger = ledger_of(self.hosts, &pending.topic).expect("there is somebody in it");
        let held = ledger.between(&pending.topic, pending.asked, moment());
        assert!(
            held.iter().any(|facts| facts.standing(user.id).role.is_some()),
            "who brings a good invite is let in as a member: {} to {}, {invited:?}",
            user.id,
            pending.topic
        );
        self.truth.saw("came with an invite");
    }

    /// Nobody who brought a good one is kept out.
    pub(crate) fn check_not_invited(
        &self,
        user: &'static User,
        pending: &Pending,
        invited: Option<&Invited>,
    ) {
        assert!(
            !invited.is_some_and(|invited| self.is_good(invited, user, pending)),
            "who brings a good invite is let in as a member: {} to {}, {invited:?}",
            user.id,
            pending.topic
        );
    }
}
