//! How many connections come from one address, where that is bounded: over all shards, wherever
//! each of them goes.
//!
//! The shards meet here under a lock, when a connection comes and when it ends, and only where
//! there is a bound.
//!
//! What comes through a proxy is counted for its client, where the proxy is to be believed: by the
//! header that the PROXY protocol puts in front of each connection, or, at a trusted proxy, by the
//! headers of the request that opens a socket. The proxy's own address has no bound then.
//!
//! Deliberately absent: reading such headers (`wire`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::slack::Slack;
use crate::link::rates::counted_as;
use crate::wire::http::forwarded::TrustedProxies;

/// For how many addresses that have gone memory is kept.
const ADDRESSES_KEPT: usize = 512;

/// Connections by the address they come from. One for all shards.
#[derive(Debug)]
pub struct Addresses {
    max: u32,
    trusted: TrustedProxies,
    expects_header: bool,
    counts: Mutex<HashMap<IpAddr, u32, ahash::RandomState>>,
}

/// That a connection is counted. It goes wherever the socket goes, and ends with it.
#[derive(Debug)]
pub(super) struct Permit {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

/// There are as many connections from one address as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crowded;

impl Addresses {
    /// For at most `max` connections from one address; 0 for any number, without counting.
    #[must_use]
    pub fn new(max: u32) -> Self {
        Self {
            max,
            trusted: TrustedProxies::default(),
            expects_header: false,
            counts: Mutex::default(),
        }
    }

    /// The same, where those that `trusted` names may say whose connections they forward, and where
    /// each connection begins with a header of the PROXY protocol if one is expected.
    #[must_use]
    pub fn behind(self, trusted: TrustedProxies, expects_header: bool) -> Self {
        Self { trusted, expects_header, ..self }
    }

    /// Whether each connection begins with a header that says whose it is.
    pub(super) fn expects_header(&self) -> bool {
        self.expects_header
    }

    /// Counts a connection that is accepted from this peer; see [`Addresses::admit`]. Where a
    /// header is expected, it is counted when that is known.
    pub(super) fn admit_peer(self: &Arc<Self>, peer: IpAddr) -> Result<Option<Permit>, Crowded> {
        if self.expects_header { Ok(None) } else { self.admit(peer) }
    }

    /// Counts a connection, where there is a bound. A trusted proxy has none.
    ///
    /// # Errors
    ///
    /// If there are as many from its address as may be.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Option<Permit>, Crowded> {
        if self.max == 0 || self.trusted.contains(address) {
            return Ok(None);
        }
        let address = counted_as(address);
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if *count == self.max {
            return Err(Crowded);
        }
        *count += 1;
        Ok(Some(Permit { addresses: Arc::clone(self), address }))
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, u32, ahash::RandomState>> {
        // Nothing is left half done by a panic in here.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Counts one more from the same address, for what has no connection of its own.
    pub(super) fn another(&self) -> Result<Option<Permit>, Crowded> {
        self.addresses.admit(self.address)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts();
        if let Entry::Occupied(mut count) = counts.entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
                counts.trim(ADDRESSES_KEPT);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(addresses: &Arc<Addresses>, address: &str) -> Result<Option<Permit>, Crowded> {
        addresses.admit(address.parse().unwrap())
    }

    #[test]
    fn there_are_so_many_from_one_address_and_a_place_that_is_free_is_given_again() {
        let addresses = Arc::new(Addresses::new(2));
        let first = admit(&addresses, "192.0.2.1").unwrap();
        let _second = admit(&addresses, "192.0.2.1").unwrap();
        assert_eq!(admit(&addresses, "192.0.2.1").unwrap_err(), Crowded);
        let _other = admit(&addresses, "192.0.2.2").unwrap();
        drop(first);
        let _again = admit(&addresses, "192.0.2.1").unwrap();
        assert_eq!(admit(&addresses, "192.0.2.1").unwrap_err(), Crowded);
    }

    #[test]
    fn who_is_in_takes_another_place_from_the_same_address() {
        let addresses = Arc::new(Addresses::new(2));
        let first = admit(&addresses, "2001:db8::1").unwrap().unwrap();
        let second = first.another().unwrap();
        assert_eq!(first.another().unwrap_err(), Crowded);
        drop(first);
        assert!(second.unwrap().another().unwrap().is_some());
    }

    #[test]
    fn an_address_is_known_in_every_form_and_a_network_is_one() {
        let addresses = Arc::new(Addresses::new(1));
        let _v4 = admit(&addresses, "192.0.2.1").unwrap();
        let _v6 = admit(&addresses, "2001:db8:0:1::1").unwrap();
        for same in ["::ffff:192.0.2.1", "2001:db8:0:1:ffff::2"] {
            assert_eq!(admit(&addresses, same).unwrap_err(), Crowded, "{same}");
        }
        let _others =
            ["::ffff:192.0.2.2", "2001:db8:0:2::1"].map(|other| admit(&addresses, other).unwrap());
    }

    #[test]
    fn a_trusted_proxy_has_no_bound_and_with_a_header_no_peer_has() {
        let addresses = Addresses::new(1).behind("192.0.2.0/24".parse().unwrap(), false);
        let addresses = Arc::new(addresses);
        assert!(admit(&addresses, "192.0.2.1").unwrap().is_none());
        let _client = admit(&addresses, "198.51.100.1").unwrap();
        assert_eq!(admit(&addresses, "198.51.100.1").unwrap_err(), Crowded);
        let addresses = Arc::new(Addresses::new(1).behind(TrustedProxies::default(), true));
        let peer = "198.51.100.1".parse().unwrap();
        assert!(addresses.admit_peer(peer).unwrap().is_none());
        let _client = addresses.admit(peer).unwrap();
        assert_eq!(addresses.admit(peer).unwrap_err(), Crowded);
    }

    #[test]
    fn who_has_gone_is_forgotten_and_without_a_bound_nobody_is_counted() {
        let bounded = Arc::new(Addresses::new(1));
        drop(admit(&bounded, "192.0.2.1").unwrap());
        assert!(bounded.counts().is_empty());
        let free = Arc::new(Addresses::new(0));
        assert!(admit(&free, "192.0.2.1").unwrap().is_none());
        assert!(free.counts().is_empty());
    }
}
