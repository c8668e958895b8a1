//! Members that are banned while the servers fail. In the end each tries to come in at each URL,
//! and is to be refused at all of them.
//!
//! A node that was cut off may not know yet, so they try again until all say the same. Where the
//! end of an epoch has told that the ban may be lost, all may let them in.

use crate::base::{at, count};
use crate::core::Core;

/// How long until one that was let in, or was refused somewhere only, tries again.
pub(super) const AGAIN_NS: u64 = 300_000_000;

/// One that is to be out.
struct Victim {
    conn: u32,
    room: u32,
    /// The epoch in which its ban was acknowledged, by its index; none, if it was not.
    epoch: Option<u32>,
    /// By URL: whether it was let in there in the end.
    let_in: Vec<Option<bool>>,
    /// The URL at which it tries.
    url: u32,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is as the others are.
    Member,
    /// It tries to come in, to tell what it is answered.
    Trying,
    /// All URLs have said the same, and what they may.
    Told,
}

/// All of them.
#[derive(Default)]
pub(super) struct Banned(Vec<Victim>);

impl Banned {
    /// One is to be banned some time.
    pub(super) fn add(&mut self, conn: u32, room: u32, urls: usize) {
        let let_in = vec![None; urls];
        self.0.push(Victim { conn, room, epoch: None, let_in, url: 0, stage: Stage::Member });
    }

    fn victim(&mut self, conn: u32) -> Option<&mut Victim> {
        self.0.iter_mut().find(|victim| victim.conn == conn)
    }

    /// Whether a connection is one that is to be banned.
    pub(super) fn has(&self, conn: u32) -> bool {
        self.0.iter().any(|victim| victim.conn == conn)
    }

    /// Whether one goes from URL to URL by now.
    pub(super) fn is_trying(&self, conn: u32) -> bool {
        self.0.iter().any(|victim| victim.conn == conn && victim.stage != Stage::Member)
    }

    /// A ban was acknowledged.
    pub(super) fn acknowledge(&mut self, core: &mut Core, conn: u32) {
        let Some(victim) = self.victim(conn) else { return };
        let Some(witness) = &mut core.witness else { return };
        // By whoever banned it: the first member of the room.
        victim.epoch = witness.epoch_at(victim.room);
        witness.ban(conn);
        core.stats.counts.banned += 1;
    }

    /// Lets those who are out begin to try. They have been put out, or what put them out is lost.
    pub(super) fn begin(&mut self, core: &mut Core, now_ns: u64) {
        for victim in self.0.iter_mut().filter(|victim| victim.stage == Stage::Member) {
            let Some(witness) = &core.witness else { return };
            let Some(epoch) = victim.epoch else { continue };
            let is_out = !witness.is_in(victim.conn) || witness.has_ended(victim.room, epoch);
            // One that is on its way arrives first.
            if is_out && core.is_open(victim.conn) {
                victim.stage = Stage::Trying;
                victim.go(core, now_ns);
            }
        }
    }

    /// One that tries was answered.
    pub(super) fn answered(&mut self, core: &mut Core, conn: u32, let_in: bool, now_ns: u64) {
        let Some(victim) = self.victim(conn).filter(|victim| victim.stage == Stage::Trying) else {
            return;
        };
        victim.let_in[core.url(conn)] = Some(let_in);
        victim.url += 1;
        if at(victim.url) < victim.let_in.len() {
            return victim.go(core, now_ns);
        }
        if victim.verdict(core).is_ok() {
            victim.stage = Stage::Told;
            core.close(conn, false);
        } else {
            victim.url = 0;
            victim.go(core, now_ns + AGAIN_NS);
        }
    }

    /// The connection of one that tries is gone: it is made again.
    pub(super) fn lost(&mut self, core: &mut Core, conn: u32, now_ns: u64) {
        if let Some(victim) = self.victim(conn).filter(|victim| victim.stage == Stage::Trying) {
            victim.go(core, now_ns + AGAIN_NS);
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.0.iter().all(|victim| victim.stage == Stage::Told)
    }

    /// Counts those who are let in though they must not be, and whose ban is lost, which was told.
    pub(super) fn judge(&self, core: &mut Core) {
        for victim in &self.0 {
            match victim.verdict(core) {
                Ok(true) => core.stats.counts.told_lost += 1,
                Ok(false) => {}
                Err(()) => core.stats.counts.let_in += 1,
            }
        }
    }
}

impl Victim {
    /// Connects to the URL at which it is to try.
    fn go(&self, core: &mut Core, due_ns: u64) {
        core.close(self.conn, false);
        core.move_to(self.conn, self.url % count(self.let_in.len()));
        core.connect_at(self.conn, due_ns);
    }

    /// Whether its ban is lost. An error, if it is not and it is let in, or not everywhere.
    fn verdict(&self, core: &Core) -> Result<bool, ()> {
        let (true, Some(epoch)) = (self.stage != Stage::Member, self.epoch) else { return Err(()) };
        let may_be_lost =
            core.witness.as_ref().is_some_and(|witness| witness.has_ended(self.room, epoch));
        // A URL that does not answer says nothing.
        let mut told = self.let_in.iter().flatten();
        match (told.clone().any(|let_in| *let_in), told.all(|let_in| *let_in)) {
            (false, _) => Ok(false),
            (true, true) if may_be_lost => Ok(true),
            _ => Err(()),
        }
    }
}
