//! How many connections come from one address, where that is bounded.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::base::slack::Slack;

/// Counts connections by address. Without a bound it keeps nothing.
#[derive(Debug)]
pub(super) struct Peers {
    max: u32,
    counts: HashMap<IpAddr, u32, ahash::RandomState>,
    /// By the connections' index.
    addresses: Vec<Option<IpAddr>>,
}

impl Peers {
    /// `max` connections from one address; 0 for any number.
    pub(super) fn new(max: u32) -> Self {
        Self { max, counts: HashMap::default(), addresses: Vec::new() }
    }

    /// Whether one more may come from here.
    pub(super) fn has_room(&self, address: IpAddr) -> bool {
        self.max == 0 || self.counts.get(&address).is_none_or(|count| *count < self.max)
    }

    /// Counts a connection.
    pub(super) fn enter(&mut self, conn: u32, address: IpAddr) {
        if self.max == 0 {
            return;
        }
        let index = conn as usize;
        if self.addresses.len() <= index {
            self.addresses.resize(index + 1, None);
        }
        self.addresses[index] = Some(address);
        *self.counts.entry(address).or_default() += 1;
    }

    /// Gives back the memory of many addresses that were, but for `kept` places.
    pub(super) fn trim(&mut self, kept: usize) {
        self.counts.trim(kept);
    }

    /// Counts it no longer.
    pub(super) fn exit(&mut self, conn: u32) {
        let Some(address) = self.addresses.get_mut(conn as usize).and_then(Option::take) else { return };
        if let Some(count) = self.counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&address);
            }
        }
    }
}
