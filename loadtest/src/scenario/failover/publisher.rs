//! A member that writes: what it has under way until that is acknowledged, and what it does next.
//!
//! It says something, edits or deletes what it has said, or reacts to what anybody has. It does the
//! same again until it is answered, and only then something else. What it changes it must still
//! have: where its room has told it that something may be lost, it lets go of that.

use fastrand::Rng;
use serde_json::{Value, json};

use crate::base::at;
use crate::client::stamp::Stamp;
use crate::core::{Core, Draft};
use crate::witness::{Deed, Had, Witness};

/// What one may react with.
const EMOJI: [&str; 2] = ["👍", "🎉"];

/// A message is changed while it is one of so many latest.
const LATEST: usize = 20;

/// What is done until it is acknowledged.
pub(super) enum Doing {
    /// A message is said.
    Say(Draft),
    /// Something is done to a message.
    Change(Had, Deed),
    /// The user of a connection is banned.
    Ban(u32),
}

impl Doing {
    /// Something that may be done to one of the latest messages that a member has; none, if it has
    /// none. `rank` is its own, and `user` its name.
    pub(super) fn change(
        witness: &Witness,
        conn: u32,
        rank: u32,
        user: String,
        due_ns: u64,
        rng: &mut Rng,
    ) -> Option<Self> {
        let all = witness.latest(conn, LATEST);
        let own: Vec<Had> = all.iter().copied().filter(|had| had.rank == rank).collect();
        let (of, deed) = match rng.u32(0..3) {
            0 => (own, Deed::Edit { due_ns }),
            1 => (own, Deed::Delete),
            _ => {
                let emoji = EMOJI[rng.usize(0..EMOJI.len())];
                (all, Deed::React { user, emoji, on: rng.u32(0..4) > 0 })
            }
        };
        let had = *of.get(rng.usize(0..of.len().max(1)))?;
        Some(Self::Change(had, deed))
    }

    /// Whether it can still be done.
    pub(super) fn is_possible(&self, witness: &Witness, conn: u32) -> bool {
        match self {
            Self::Change(had, _) => witness.has(conn, *had),
            Self::Say(_) | Self::Ban(_) => true,
        }
    }

    /// The push for it: event and payload.
    ///
    /// Requires: it is not [`Self::Say`], for which there is [`Core::say`].
    pub(super) fn push(&self, core: &mut Core, room: u32) -> (&'static str, Value) {
        match self {
            Self::Say(_) => unreachable!("a message is said"),
            Self::Change(had, Deed::Edit { due_ns }) => {
                let Had { offset, rank, seq } = *had;
                let body = core.stamped(Stamp { room, rank, seq, due_ns: *due_ns });
                ("msg_edit", json!({ "offset": offset, "body": body }))
            }
            Self::Change(had, Deed::Delete) => ("msg_delete", json!({ "offset": had.offset })),
            Self::Change(had, Deed::React { emoji, on, .. }) => {
                ("msg_react", json!({ "offset": had.offset, "emoji": emoji, "on": on }))
            }
            Self::Ban(conn) => ("room_member", json!({ "user": core.user(*conn), "banned_s": -1 })),
        }
    }
}

/// A member that writes.
#[derive(Default)]
pub(super) struct Publisher {
    /// What it does until that is acknowledged, with its number.
    pub(super) doing: Option<(u32, Doing)>,
    /// When that was sent last; none, if it is to be sent again.
    pub(super) sent_ns: Option<u64>,
    /// When its next is due.
    pub(super) next_ns: u64,
    /// Whom it is to ban, and when.
    pub(super) bans: Vec<(u64, u32)>,
    /// How much it has done.
    done: u32,
}

impl Publisher {
    /// It begins to do something.
    pub(super) fn begin(&mut self, doing: Doing) {
        self.done += 1;
        self.doing = Some((self.done, doing));
        self.sent_ns = None;
    }

    /// Whether it does what has this number.
    pub(super) fn does(&self, number: u32) -> bool {
        self.doing.as_ref().is_some_and(|(its, _)| *its == number)
    }

    /// Whether it says this message of its own.
    pub(super) fn says(&self, seq: u32) -> bool {
        matches!(&self.doing, Some((_, Doing::Say(draft))) if draft.stamp.seq == seq)
    }

    /// Whom it is to ban by now.
    pub(super) fn ban_due(&mut self, now_ns: u64) -> Option<u32> {
        let due = self.bans.iter().position(|(due_ns, _)| *due_ns <= now_ns)?;
        Some(self.bans.swap_remove(due).1)
    }
}

/// All that write, by connection.
pub(super) struct Publishers(Vec<Publisher>);

impl Publishers {
    pub(super) fn new(count: u32) -> Self {
        Self((0..count).map(|_| Publisher::default()).collect())
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&mut self, conn: u32) -> Option<&mut Publisher> {
        self.0.get_mut(at(conn))
    }

    /// With their connections.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Publisher)> {
        (0..).zip(&mut self.0)
    }

    /// How many have something under way, or are still to ban somebody.
    pub(super) fn busy(&self) -> usize {
        self.0.iter().filter(|it| it.doing.is_some() || !it.bans.is_empty()).count()
    }
}
