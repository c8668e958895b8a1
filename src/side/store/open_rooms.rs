//! Rooms that shards have open, as the writer knows them: by whom, of which topic, with which id.
//!
//! A batch that fails is written again, and must find all of this as it was before: what it changes
//! here is noted, and taken back.
//!
//! Deliberately absent: what is written of rooms (`statements`).
//!
//! Called by: `side::store::writer`. Calls: `side::store::statements`.

use std::collections::HashMap;

use rusqlite::Connection;

use super::disk::Lives;
use super::error::StoreError;
use super::statements::begin_room;
use crate::base::arena::Key;
use crate::link::ids::RoomKey;
use crate::link::log::Marks;

/// A room that a shard has open.
#[derive(Debug)]
pub(super) struct OpenRoom {
    /// Its topic.
    pub(super) topic: Box<str>,
    /// Its epoch, if it begins.
    pub(super) epoch: u64,
    /// None, as long as nothing was said in it.
    pub(super) id: Option<u32>,
}

/// The rooms that shards have open, and how many there are in all.
pub(super) struct OpenRooms {
    /// By their shard and by what that calls them.
    open: HashMap<(u16, u64), OpenRoom, ahash::RandomState>,
    /// How many rooms there are, by the ids that were given, and how many there may be.
    count: u32,
    max: u32,
    /// What the batch under way has changed here, in order: if it fails it is written again, and
    /// must find everything as it was.
    undo: Vec<Undo>,
}

/// How a change of the open rooms is taken back.
enum Undo {
    /// One was given an id.
    Begun((u16, u64)),
    /// One was opened or closed: what was open by its key before.
    Was((u16, u64), Option<OpenRoom>),
}

impl OpenRooms {
    /// None is open yet. There are so many rooms, and may be so many.
    pub(super) fn new(count: u32, max: u32) -> Self {
        Self { open: HashMap::default(), count, max, undo: Vec::new() }
    }

    /// Whether there is no place for another one to begin.
    pub(super) fn is_full(&self) -> bool {
        self.count >= self.max
    }

    /// Notes that a shard has a room open, by this key from now on.
    pub(super) fn open(&mut self, shard: u16, key: RoomKey, room: OpenRoom) {
        let key = (shard, key.to_u64());
        let was = self.open.insert(key, room);
        self.undo.push(Undo::Was(key, was));
    }

    /// Notes that a shard has a room open no more.
    pub(super) fn close(&mut self, key: (u16, u64)) {
        if let Some(room) = self.open.remove(&key) {
            self.undo.push(Undo::Was(key, Some(room)));
        }
    }

    /// Notes that a shard has none open any more: it has begun anew.
    pub(super) fn close_all(&mut self, shard: u16) {
        let closed = self.open.extract_if(|(of, _), _| *of == shard);
        self.undo.extend(closed.map(|(key, room)| Undo::Was(key, Some(room))));
    }

    /// The id of a room that is to be read. None, if nothing was kept of it.
    pub(super) fn id_of(&self, shard: u16, room: RoomKey) -> Option<u32> {
        self.open.get(&(shard, room.to_u64())).and_then(|room| room.id)
    }

    /// The topic of a room that something is kept of.
    ///
    /// # Panics
    ///
    /// If the shard does not have it open.
    pub(super) fn topic_of(&self, shard: u16, room: RoomKey) -> &str {
        let room = self.open.get(&(shard, room.to_u64()));
        &room.expect("something was just written in it").topic
    }

    /// The id of a room that something is to be kept of. It begins, if that is the first thing.
    ///
    /// # Panics
    ///
    /// If the shard does not have it open: its message would have no room.
    pub(super) fn id_in(
        &mut self,
        step: &Connection,
        lives: Lives,
        (shard, room): (u16, RoomKey),
        top: Marks,
        at_ms: u64,
    ) -> Result<u32, StoreError> {
        let key = (shard, room.to_u64());
        let room = self.open.get_mut(&key);
        let room = room.expect("a room is opened before anything is said in it");
        if let Some(id) = room.id {
            return Ok(id);
        }
        self.undo.push(Undo::Begun(key));
        self.count += 1;
        let id = begin_room(step, lives, &room.topic, room.epoch, (top, at_ms))?;
        room.id = Some(id);
        Ok(id)
    }

    /// The id of a room of which something is decided. Nothing was said in one that begins by that.
    pub(super) fn id_to_decide(
        &mut self,
        step: &Connection,
        lives: Lives,
        room: (u16, RoomKey),
        at_ms: u64,
    ) -> Result<u32, StoreError> {
        self.id_in(step, lives, room, Marks::default(), at_ms)
    }

    /// Who has a room open, and what that calls it: for each of these that somebody has.
    pub(super) fn who_has<'a>(
        &'a self,
        floors: &'a [(u32, Marks)],
    ) -> impl Iterator<Item = (u16, RoomKey, Marks)> + 'a {
        self.open.iter().filter_map(move |((shard, room), of)| {
            let at = floors.binary_search_by_key(&of.id?, |(id, _)| *id).ok()?;
            Some((*shard, Key::from_u64(*room), floors[at].1))
        })
    }

    /// A transaction has changed this for good.
    pub(super) fn committed(&mut self) {
        self.undo.clear();
    }

    /// Takes back what a transaction has changed that is no more.
    pub(super) fn undo(&mut self) {
        while let Some(change) = self.undo.pop() {
            match change {
                Undo::Begun(key) => {
                    self.count -= 1;
                    self.open.get_mut(&key).expect("it was open when it began").id = None;
                }
                Undo::Was(key, Some(room)) => drop(self.open.insert(key, room)),
                Undo::Was(key, None) => drop(self.open.remove(&key)),
            }
        }
    }
}
