//! What a pretend log says later, until its home takes it.

use chinwag::link::audit::LineText;
use chinwag::link::ids::RoomKey;
use chinwag::link::log::{
    FromLog, Hits, ListedRoom, Marks, NodeId, Opened, Placed, Stretch, Ticket, UnkeptText,
    WhatText, Why,
};

use super::HERE;

/// [`FromLog`] on its way.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Opened {
        opened: Option<Opened>,
    },
    NotOpened {
        why: Why,
    },
    Entry {
        ticket: Option<Ticket>,
        placed: Placed,
        rev: u64,
        what: WhatText,
        line: Option<LineText>,
    },
    Closed,
    Kept {
        ticket: Ticket,
        placed: Placed,
    },
    Refused {
        ticket: Ticket,
        why: Why,
    },
    Read {
        ticket: Ticket,
        stretch: Stretch,
    },
    Found {
        ticket: Ticket,
        hits: Hits,
    },
    Audited {
        ticket: Ticket,
        page: String,
    },
    NotRead {
        ticket: Ticket,
        why: Why,
    },
    Turned {
        epoch: u64,
        kept: Marks,
    },
    LetGo {
        floor: Marks,
    },
    Listed {
        rooms: Vec<ListedRoom>,
        next: Option<u64>,
    },
    NotListed,
    Heard {
        from: NodeId,
        ticket: Option<Ticket>,
        what: UnkeptText,
    },
    Missed,
    Life {
        life: u64,
    },
}

impl Told {
    /// As it is told to the home of a room.
    pub(crate) fn message(&self, room: RoomKey) -> FromLog<'_> {
        match self {
            Self::Opened { opened } => FromLog::Opened { room, opened: opened.as_ref() },
            Self::NotOpened { why } => FromLog::NotOpened { room, why: *why },
            Self::Entry { ticket, placed, rev, what, line } => {
                let (what, line) = (what.what(), line.as_ref());
                let (ticket, placed, rev, was_missed) = (*ticket, *placed, *rev, false);
                FromLog::Entry { room, ticket, placed, rev, what, line, was_missed }
            }
            Self::Closed => FromLog::Closed { room },
            Self::Kept { ticket, placed } => {
                FromLog::Kept { room, ticket: *ticket, placed: *placed }
            }
            Self::Refused { ticket, why } => FromLog::Refused { room, ticket: *ticket, why: *why },
            Self::Read { ticket, stretch } => FromLog::Read { room, ticket: *ticket, stretch },
            Self::Found { ticket, hits } => FromLog::Found { room, ticket: *ticket, hits },
            Self::Audited { ticket, page } => FromLog::Audited { room, ticket: *ticket, page },
            Self::NotRead { ticket, why } => FromLog::NotRead { room, ticket: *ticket, why: *why },
            Self::Turned { epoch, kept } => FromLog::Turned { room, epoch: *epoch, kept: *kept },
            Self::LetGo { floor } => FromLog::LetGo { room, floor: *floor },
            // Of no room.
            Self::Listed { rooms, next } => FromLog::Listed { rooms, next: *next },
            Self::NotListed => FromLog::NotListed,
            Self::Heard { from, ticket, what } => {
                let (from, ticket, what) = (*from, *ticket, what.unkept());
                FromLog::Heard { room, from, ticket, what }
            }
            Self::Missed => FromLog::Missed { room },
            Self::Life { life } => FromLog::Life { node: HERE, life: *life },
        }
    }
}
