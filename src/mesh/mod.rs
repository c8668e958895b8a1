//! Lock-free rings between shards and their wake-ups. **Nothing here knows of chat or of mio.**
//!
//! ```text
//!             shard 0                     shard 1              each arrow is a ring of its own: one thread writes,
//!      Port ──outbox 1 ═══════════════> inbox 0 ── Port        one reads, nobody locks
//!           <─inbox 1  <═══════════════ outbox 0 ─
//! ```
//!
//! One turn of a shard, with its [`Port`]:
//!
//! 1. [`Port::recv`] until it has no more, or until the shard's budget for the turn is used up;
//! 2. [`Port::send`] as often as wanted; a full ring never blocks, it makes [`Port::waiting_bytes`]
//!    grow;
//! 3. [`Port::end_turn`]: moves what waits, and wakes each shard that was sent something, once, and
//!    only if it sleeps;
//! 4. [`Port::may_sleep`]; if so, the shard polls without a time limit, otherwise without waiting.
//!    Then [`Port::woke`].
//!
//! Invariants:
//!
//! 1. a record sent is received, once and whole, after all that were sent before it from the same
//!    shard to the same shard;
//! 2. no shard sleeps while there is a record for it, or while there is room for what it has
//!    waiting for others;
//! 3. nor before it has seen that nothing waits any more: whoever stopped reading for that reason
//!    can go on.
//!
//! Deliberately absent: what a record means, and a bound of what may wait. Nothing is ever dropped
//! or refused here; the caller stops reading from those who feed it.

mod ring;
mod stream;
mod sync;
mod wake;

use std::sync::Arc;

use stream::{Inbox, Outbox, stream};
use wake::Sleeper;
pub use wake::Wake;

/// One shard's ends of all its rings. There is also one from the shard to itself, so that nobody
/// needs to tell cases apart.
pub struct Port {
    me: u16,
    shards: u16,
    /// By the shard they lead to.
    outboxes: Box<[Outbox]>,
    /// By the shard they come from.
    inboxes: Box<[Inbox]>,
    /// Whose turn it is to be received from: a shard that sends much does not starve the others.
    next: u16,
    /// Whether the last of what waited for room has gone since [`Port::may_sleep`] was asked.
    has_cleared: bool,
    sleepers: Arc<[Sleeper]>,
}

/// Connects so many shards, each with each, by rings of `ring_words` words of 8 bytes. The ports
/// are in the order of the shards.
///
/// # Panics
///
/// If `ring_words` is not a power of two.
#[must_use]
pub fn connect(shards: u16, ring_words: usize) -> Vec<Port> {
    connect_with(shards, |_, _| ring_words)
}

/// The same, with rings of `ring_words(from, to)` words. Where two have nothing to say to each
/// other, one word does.
///
/// # Panics
///
/// If any of them is not a power of two.
#[must_use]
pub fn connect_with(shards: u16, ring_words: impl Fn(u16, u16) -> usize) -> Vec<Port> {
    let count = usize::from(shards);
    let sleepers: Arc<[Sleeper]> = (0..shards).map(|_| Sleeper::default()).collect();
    let mut outboxes: Vec<Vec<Outbox>> = Vec::new();
    let mut inboxes: Vec<Vec<Inbox>> = (0..count).map(|_| Vec::new()).collect();
    for from in 0..shards {
        let (to_all, at_all): (Vec<_>, Vec<_>) =
            (0..shards).map(|to| stream(ring_words(from, to))).unzip();
        outboxes.push(to_all);
        for (at, inbox) in inboxes.iter_mut().zip(at_all) {
            at.push(inbox);
        }
    }
    (0..shards)
        .zip(outboxes.into_iter().zip(inboxes))
        .map(|(me, (outboxes, inboxes))| Port {
            me,
            shards,
            outboxes: outboxes.into(),
            inboxes: inboxes.into(),
            next: 0,
            has_cleared: false,
            sleepers: Arc::clone(&sleepers),
        })
        .collect()
}

impl Port {
    /// The shard whose port this is.
    #[must_use]
    pub const fn me(&self) -> u16 {
        self.me
    }

    /// How many shards there are.
    #[must_use]
    pub const fn shards(&self) -> u16 {
        self.shards
    }

    /// How others wake this shard. Before this is set, [`Port::may_sleep`] says no.
    ///
    /// # Panics
    ///
    /// If it was set before.
    pub fn set_waker(&self, waker: Arc<dyn Wake>) {
        self.sleepers[usize::from(self.me)].set_waker(waker);
    }

    /// Sends a record to a shard. Never blocks, never drops; what finds no room waits.
    ///
    /// # Panics
    ///
    /// If there is no such shard.
    pub fn send(&mut self, to: u16, record: &[u8]) {
        self.outboxes[usize::from(to)].send(record);
    }

    /// The next record, in place of what `into` held, and the shard it came from; `None` if there
    /// is none now. Shards take turns.
    pub fn recv(&mut self, into: &mut Vec<u8>) -> Option<u16> {
        for _ in 0..self.shards {
            let from = self.next;
            self.next = (from + 1) % self.shards;
            if self.inboxes[usize::from(from)].recv(into) {
                return Some(from);
            }
        }
        None
    }

    /// How many bytes wait for room in the ring to a shard.
    ///
    /// # Panics
    ///
    /// If there is no such shard.
    #[must_use]
    pub fn waiting_bytes(&self, to: u16) -> usize {
        self.outboxes[usize::from(to)].waiting_bytes()
    }

    /// Whether anything waits for room. A shard that sleeps is woken when there is some.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        self.outboxes.iter().any(Outbox::is_waiting)
    }

    /// Moves what waits into the rings as far as it fits. Wakes those who sleep and have got
    /// something, or have been waiting for room that this shard has made.
    pub fn end_turn(&mut self) {
        let had_waiting = self.has_waiting();
        for ((outbox, inbox), sleeper) in
            self.outboxes.iter_mut().zip(&mut self.inboxes).zip(&*self.sleepers)
        {
            let has_got = outbox.flush();
            let has_room = inbox.take_waiting();
            if has_got || has_room {
                sleeper.wake();
            }
        }
        self.has_cleared |= had_waiting && !self.has_waiting();
    }

    /// Wakes a shard if it sleeps: there is something for it that does not come by a ring. As with
    /// those it must be there before this is called, and looked for after [`Port::may_sleep`].
    ///
    /// # Panics
    ///
    /// If there is no such shard.
    pub fn wake(&self, shard: u16) {
        self.sleepers[usize::from(shard)].wake();
    }

    /// Ends the turn, and says whether the shard may sleep until it is woken. If not, there is
    /// something to receive, or room for what waits, or all that waited has gone since this was
    /// last asked. Either way [`Port::woke`] is to be called when it goes on.
    pub fn may_sleep(&mut self) -> bool {
        self.end_turn();
        let has_cleared = std::mem::take(&mut self.has_cleared);
        let may = self.sleepers[usize::from(self.me)].announce_sleep()
            && !has_cleared
            && !self.has_work();
        if !may {
            self.woke();
        }
        may
    }

    /// To be called when the shard goes on, whatever woke it.
    pub fn woke(&self) {
        self.sleepers[usize::from(self.me)].woke();
    }

    /// To be asked after the sleep was announced. Who makes room is to find both, that it is wanted
    /// here and that this shard sleeps: room that is told of while it is awake may be used up
    /// already, and nobody tells of it again.
    fn has_work(&mut self) -> bool {
        self.inboxes.iter_mut().any(Inbox::has_something)
            || self.outboxes.iter_mut().any(Outbox::can_flush)
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;

#[cfg(all(test, feature = "loom"))]
mod loom_tests;
