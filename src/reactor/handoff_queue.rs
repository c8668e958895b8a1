//! Carries connections from one shard's thread to another's: a socket cannot go by the rings, which
//! carry bytes.
//!
//! A channel to each shard, of the standard library: a connection is handed off once in its life.
//! The sender wakes the receiver as if it had sent a record ([`Port::wake`]), and
//! the receiver looks here before it sleeps.
//!
//! [`Port::wake`]: crate::mesh::Port::wake

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::sockets::Parcel;

/// One shard's end.
pub struct HandoffQueue {
    to: Box<[Sender<Parcel>]>,
    here: Receiver<Parcel>,
    arrived: VecDeque<Parcel>,
}

impl HandoffQueue {
    /// Connects so many shards, each with each. In the order of the shards.
    #[must_use]
    pub fn connect(shards: u16) -> Vec<Self> {
        let (to, here): (Vec<_>, Vec<_>) = (0..shards).map(|_| channel()).unzip();
        here.into_iter()
            .map(|here| Self { to: to.clone().into(), here, arrived: VecDeque::new() })
            .collect()
    }

    /// Sends a connection to a shard.
    pub(super) fn send(&self, shard: u16, parcel: Parcel) {
        // Fails only when that shard has ended, and with it the process is about to.
        let _ = self.to[usize::from(shard)].send(parcel);
    }

    /// Whether a connection has arrived that has not been taken.
    pub(super) fn has_arrived(&mut self) -> bool {
        self.arrived.extend(self.here.try_iter());
        !self.arrived.is_empty()
    }

    /// The next connection that has arrived.
    pub(super) fn take(&mut self) -> Option<Parcel> {
        self.arrived.pop_front().or_else(|| self.here.try_recv().ok())
    }
}
