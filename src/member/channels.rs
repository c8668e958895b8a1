//! The topics that a connection has joined, is joining or leaving: mostly one.
//!
//! Deliberately absent: the text of refs (`refs`), and what a join that is under way needs until it
//! is answered ([`Arrival`]). Both lie beside the connections, for few channels have any.

use std::ops::{Deref, DerefMut};

use super::refs::{JoinRef, PackedRef, Ref};
use crate::audience::NO_SEAT;
use crate::link::ids::{AudienceKey, Slot};

/// A topic that a connection has joined, or is joining, or leaving. Every idle connection has one,
/// so it is kept small.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channel {
    pub(crate) audience: AudienceKey,
    /// Its place in the audience, or [`NO_SEAT`].
    pub(crate) seat: u32,
    /// Its membership at the home; [`Slot::NONE`] until it has joined.
    pub(crate) slot: Slot,
    pub(crate) join_ref: PackedRef,
    /// Answers that are still to come from another shard. What is answered here must not overtake
    /// them.
    pub(crate) outstanding: u16,
    pub(crate) state: State,
}

impl Channel {
    /// One whose join is under way.
    pub(crate) const fn joining(audience: AudienceKey) -> Self {
        Self {
            audience,
            seat: NO_SEAT,
            slot: Slot::NONE,
            join_ref: PackedRef::ODD,
            outstanding: 0,
            state: State::Joining,
        }
    }
}

/// Where a channel is between its join and its end.
///
/// ```text
///   None ── join ──> Joining ── taken in ──> Joined ── leave ──> Leaving ── let go ──> None
///   Joining ── refused ──> None
///   Joined ── join ──> Rejoining ── taken in ──> Joined
///
///   Joined ── crash, evicted, forbidden, put out ──> None
///   Rejoining ── evicted ──> Joining
///   Leaving ── evicted, forbidden, put out ──> LeavingUnheard ── let go ──> None
///   Joining, Joined, Rejoining, Leaving, LeavingUnheard ── restarted, hung up ──> None
///   Joined, Rejoining ── let go ──> None
/// ```
///
/// `None` is no channel. The last line is what the code would do: a home lets nobody go who has not
/// asked. `shard/machines/channel.rs` holds the drawing, and has the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not a member yet.
    Joining,
    /// A member.
    Joined,
    /// A member, and about to be one by a newer join.
    Rejoining,
    /// A member until the home says otherwise.
    Leaving,
    /// A member until the home says otherwise, without a seat: it lagged too far, and would hear
    /// what comes next behind a gap.
    LeavingUnheard,
}

/// A join that the home has not answered yet.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) join_ref: JoinRef,
    /// The ref that its answer carries.
    pub(crate) reference: Ref,
    pub(crate) visible: bool,
    /// Why the home puts out the membership that this one replaces, if it does: then this one ends
    /// as soon as it is answered. The payload of `room_removed`.
    pub(crate) put_out: Option<Box<str>>,
}

/// The channels of one connection, in the order in which they were joined.
#[derive(Debug, Default)]
pub(crate) enum Channels {
    #[default]
    None,
    One(Channel),
    /// More than one channel, now or before. Boxed, since connections with one channel pay for the
    /// size of this variant.
    #[expect(clippy::box_collection, reason = "three words less in each connection")]
    Many(Box<Vec<Channel>>),
}

const _: () = assert!(size_of::<Channels>() <= 24);

impl Channels {
    pub(crate) fn push(&mut self, channel: Channel) {
        match self {
            Self::None => *self = Self::One(channel),
            Self::One(first) => *self = Self::Many(Box::new(vec![*first, channel])),
            Self::Many(all) => all.push(channel),
        }
    }

    /// Takes one out by its place.
    ///
    /// # Panics
    ///
    /// If there is none at this place.
    pub(crate) fn remove(&mut self, at: usize) -> Channel {
        match self {
            Self::Many(all) if all.len() > 1 => all.remove(at),
            _ => {
                let last = self[at];
                *self = Self::None;
                last
            }
        }
    }
}

impl Deref for Channels {
    type Target = [Channel];

    fn deref(&self) -> &[Channel] {
        match self {
            Self::None => &[],
            Self::One(channel) => std::slice::from_ref(channel),
            Self::Many(all) => all,
        }
    }
}

impl DerefMut for Channels {
    fn deref_mut(&mut self) -> &mut [Channel] {
        match self {
            Self::None => &mut [],
            Self::One(channel) => std::slice::from_mut(channel),
            Self::Many(all) => all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_keep_their_order_whatever_their_number() {
        let channel = |number| Channel::joining(AudienceKey::from_u64(number));
        let numbers = |channels: &Channels| {
            channels.iter().map(|one| one.audience.to_u64()).collect::<Vec<_>>()
        };
        let mut channels = Channels::default();
        let mut expected = Vec::new();
        for number in 0..4 {
            channels.push(channel(number));
            expected.push(number);
            assert_eq!(numbers(&channels), expected);
        }
        for at in [1, 0, 1, 0] {
            assert_eq!(channels.remove(at).audience.to_u64(), expected.remove(at));
            assert_eq!(numbers(&channels), expected);
        }
        assert!(matches!(channels, Channels::None), "and nothing is left of the memory");
    }
}
