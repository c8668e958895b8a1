//! Rooms of the store of one machine are placed in an engine, so that their chat may grow: see
//! `chinwag move`.
//!
//! Each room begins an epoch there, in whose lineage are those of before. So whoever has a cursor
//! of the store is caught up, as far as what was seen is there.
//!
//! Invariants: a room that the engine has is left alone.
//!
//! Deliberately absent: reading the store, and what is said of it (`app`).

use std::collections::HashSet;
use std::io;

use tokio::runtime::{self, Runtime};

use super::command::{Changed, Ended, Founded, Head, Message, State};
use super::record::key_hash;
use super::redis::{ConnectError, Mover, Target, Whole};
use super::written::Writer;
use crate::auth::level::Joiners;
use crate::base::rng::SplitMix64;
use crate::link::engine::Told;
use crate::link::facts::RoomSettings;
use crate::link::ids::Receipt;
use crate::link::log::Marks;
use crate::link::said::Fate;
use crate::link::whole::{WholeMessage, WholeRoom};

/// The revision of a room that was placed: what holds in it was decided.
const REV: u64 = 1;

/// Why rooms cannot be placed.
#[derive(Debug)]
pub enum MovingError {
    /// The engine is not fit to keep rooms: what is to be changed.
    Unfit(Box<str>),
    /// Servers have it: so many.
    InUse(u64),
    /// It cannot be reached, or has refused something.
    Engine(Box<str>),
    /// The system has no place for a connection.
    System(io::Error),
}

/// What has become of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// It is there now.
    Placed,
    /// It was there, and is as it was.
    WasThere,
}

/// An engine in which rooms are placed.
pub struct Moving {
    runtime: Runtime,
    mover: Mover,
    /// Who has written what is placed.
    node: u64,
    epochs: SplitMix64,
}

impl Moving {
    /// Connects to an engine.
    ///
    /// # Errors
    ///
    /// Those of [`MovingError`].
    pub fn connect(target: Target) -> Result<Self, MovingError> {
        let node = target.node;
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(MovingError::System)?;
        let mover = runtime.block_on(Mover::connect(target))?;
        Ok(Self { runtime, mover, node, epochs: SplitMix64::new(node) })
    }

    /// Places a room.
    ///
    /// # Errors
    ///
    /// If servers have the engine, or it does not take the room: then that is not there, and may be
    /// placed again.
    pub fn place(&mut self, room: WholeRoom) -> Result<Moved, MovingError> {
        let whole = self.whole(room);
        let Self { runtime, mover, .. } = self;
        let placed = runtime.block_on(async {
            match mover.nodes().await {
                Ok(0) => mover.place(&whole).await.map_err(|error| (error, &whole.topic)),
                Ok(count) => return Err(MovingError::InUse(count)),
                Err(error) => Err((error, &whole.topic)),
            }
            .map_err(|(error, topic)| MovingError::Engine(format!("{topic}: {error}").into()))
        })?;
        Ok(if placed { Moved::Placed } else { Moved::WasThere })
    }

    /// A room as the engine has it.
    fn whole(&mut self, room: WholeRoom) -> Whole {
        let WholeRoom {
            topic,
            founded,
            settings,
            standings,
            epochs,
            top,
            changed_floor,
            lines,
            messages,
            left_behind: _,
        } = room;
        let writer = Writer { topic: &topic, node: self.node, shard: 0 };
        let title = founded.as_deref().unwrap_or_default();
        let mut facts = Vec::new();
        if founded.is_some() || settings.is_some() {
            facts.push(writer.title(title));
        }
        if let Some(settings) = settings.as_deref() {
            facts.push(writer.settings(title, settings));
        }
        let standings = standings.iter().map(|(user, standing)| writer.standing(user, *standing));
        facts.extend(standings.filter(|(_, value)| !value.is_empty()));
        let (mut unchanged, mut changed, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        let mut pinned = HashSet::new();
        let at_ms = messages.last().map_or(0, |last| last.message.at_ms);
        for WholeMessage { offset, epoch, message } in messages {
            let (at_ms, said, fate) = (message.at_ms, message.said.said(), message.fate());
            if let Some(key) = said.key {
                keys.push((key_hash(said.user, key), Receipt { offset, at_ms }));
            }
            if fate == Fate::default() {
                let record = writer.told(None, &Told::Message { said });
                unchanged.push(Message { offset, at_ms, epoch, record });
                continue;
            }
            let (change, is_deleted) = (fate.change, fate.deleted.is_some());
            pinned.extend(fate.pinned.map(|_| offset));
            // Its room may forget where that began.
            let fate = Fate { epoch: Some(epoch), ..fate };
            let record = writer.told(None, &Told::Changed { offset, said_ms: at_ms, said, fate });
            changed.push(Changed { offset, change, is_deleted, record });
        }
        let lines = lines.iter().map(|(at_ms, of)| (of.number, writer.line(of.line(), *at_ms)));
        let lines: Vec<_> = lines.collect();
        let audited = lines.last().map_or(0, |(number, _)| *number);
        let lineage =
            epochs.into_iter().map(|(epoch, kept)| Ended { epoch, kept, rev: REV, audited });
        let head = Head {
            epoch: self.epochs.next_u64(),
            top,
            rev: REV,
            audited,
            floor: changed_floor,
            at_ms,
            gone: Marks::default(),
            lineage: lineage.collect(),
        };
        let settings = settings.as_deref().map(RoomSettings::read).unwrap_or_default();
        let is_private = settings.join != Joiners::All;
        let founded = founded.map(|title| Founded { title, is_private });
        let (head, is_current, messages) = (Some(head), true, unchanged);
        let state = State { head, is_current, messages, changed, facts, archived: None };
        Whole { topic, state, pinned, founded, lines, keys }
    }
}

impl From<ConnectError> for MovingError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Unfit(why) => Self::Unfit(why),
            ConnectError::Passing(why) => Self::Engine(why),
        }
    }
}
