//! A node with a pretended engine, put to the contract that every log of rooms keeps. Here, since
//! rooms know no engine, and the engine no rooms.

use std::panic::catch_unwind;

use crate::link::ids::RoomKey;
use crate::link::log::{
    Append, Appended, Audit, Log, Marks, Opening, Read, Recall, Say, Spoken, Ticket, Why,
};
use crate::rooms::contract::{Heard, Subject, check_some};
use crate::side::engine::Pretended;
use crate::side::engine::planted::{Planted, plant};

/// How many runs there are.
const SEEDS: u64 = 192;

/// And at most, until what is planted is found.
const SEEDS_OF_PLANTED: u64 = 2_000;

impl Log for Pretended {
    fn is_shared(&self) -> bool {
        true
    }

    fn open(&mut self, room: RoomKey, topic: &str, fresh_epoch: u64) -> Opening {
        let opening = self.log.open(room, topic, fresh_epoch);
        if opening == Opening::Later {
            self.opening.insert(room);
        }
        opening
    }

    fn append(&mut self, append: Append<'_>) -> Appended {
        self.log.append(append)
    }

    fn reads(&self) -> bool {
        self.log.reads()
    }

    fn read(&mut self, read: Read<'_>) -> Result<(), Why> {
        self.log.read(read)
    }

    fn recall(&mut self, recall: Recall<'_>) -> Option<Appended> {
        self.log.recall(recall)
    }

    fn catch_up(&mut self, room: RoomKey, ticket: Ticket) -> Result<(), Why> {
        self.log.catch_up(room, ticket)
    }

    fn audit(&mut self, audit: Audit) -> Result<(), Why> {
        self.log.audit(audit)
    }

    fn say(&mut self, say: Say<'_>) -> Spoken {
        self.log.say(say)
    }

    fn close(&mut self, room: RoomKey) {
        self.opening.remove(&room);
        self.log.close(room);
    }
}

impl Subject for Pretended {
    const KEEPS: bool = true;

    fn step(&mut self) {
        Self::step(self);
    }

    fn next(&mut self) -> Option<Heard> {
        Self::next(self).map(Heard::Real)
    }

    fn crash(&mut self) {
        Self::crash(self);
    }

    fn calm(&mut self) {
        Self::calm(self);
    }

    fn is_idle(&self) -> bool {
        Self::is_idle(self)
    }

    fn check(&self) {
        self.check_list();
    }

    fn truth(&self, topic: &str) -> Option<Vec<String>> {
        Some(self.bodies(topic))
    }

    fn durable(&self, topic: &str) -> Marks {
        Self::durable(self, topic)
    }

    fn top(&self, topic: &str) -> Marks {
        Self::top(self, topic)
    }

    fn has_others(&self) -> bool {
        true
    }
}

#[test]
fn a_node_with_an_engine_keeps_the_contract() {
    let reached = ["ok", "crash", "recovered", "not recovered", "unconfirmed", "waited", "page"];
    check_some(SEEDS, Pretended::new, &reached);
}

#[test]
fn what_is_wrong_with_a_node_is_found() {
    for planted in [
        Planted::KeptBeforeReplicas,
        Planted::EpochReused,
        Planted::HeldForgotten,
        Planted::PageOfAnotherEpoch,
        Planted::DoubtDenied,
        Planted::TurnToldFirst,
        Planted::AuditOff,
        Planted::ListsUnheard,
        Planted::ListsReadOnce,
        Planted::ListsUnswept,
    ] {
        plant(planted);
        let found = catch_unwind(|| check_some(SEEDS_OF_PLANTED, Pretended::new, &[]));
        plant(Planted::Nothing);
        assert!(found.is_err(), "{planted:?} is found");
    }
}
