//! The rates there are, of users and of addresses: one table for all shards and transports.
//!
//! A new connection is no new burst, wherever it is and whatever it speaks. To ask costs a hash and
//! an exchange of one word. Asking the shard that a user is at home on would cost each push a way
//! through a ring.
//!
//! An address is that of the client, as far as a trusted proxy tells it. Many users may share one,
//! so it may do what a dozen users may. Trusted proxies have no rates of their own, and neither has
//! this machine itself: what comes from loopback is a proxy, or belongs to the operator.
//!
//! Deliberately absent: how many there may be at once of what (`conn`, `reactor`).

use std::net::{IpAddr, Ipv6Addr};

use crate::base::rate_table::{Rate, RateTable, RetryMs};
use crate::limits::{ADDRESS_BURST_S, FANOUT_FREE_BYTES, Limits, RATE_LINES};

/// What a bucket is for; a part of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Publish,
    Search,
    Join,
    Open,
    Found,
    Fanout,
    Token,
    Renew,
}

/// What a push costs of the rate of pushes, in quarters.
pub(crate) const PUSH_QUARTERS: u64 = 4;

/// An address as it has rates: a hash, so that it can go along with a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressHash(pub(crate) u64);

/// All rates. See the module.
#[derive(Debug)]
pub struct Rates(RateTable);

impl Rates {
    /// Nobody has done anything. `seed` should be one that nobody knows.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(RateTable::new(RATE_LINES, seed))
    }

    fn take(&self, kind: Kind, user: &str, now_ms: u64, rate: Rate) -> Result<(), RetryMs> {
        self.0.take(self.0.key((kind, user)), now_ms, 1, rate)
    }

    fn take_of_address(
        &self,
        kind: Kind,
        address: AddressHash,
        now_ms: u64,
        per_s: u32,
    ) -> Result<(), RetryMs> {
        let per_s = u64::from(per_s);
        let rate = Rate { per_s, burst: per_s * ADDRESS_BURST_S };
        self.0.take(self.0.key((kind, address.0)), now_ms, 1, rate)
    }

    /// Takes what a user does of its address too, if that has rates.
    ///
    /// Behind the user's own part: what a user asks for in vain must cost the others at its address
    /// nothing. What the address refuses costs the user its part, and nobody else.
    fn take_of(
        &self,
        kind: Kind,
        address: Option<AddressHash>,
        now_ms: u64,
        per_s: u32,
    ) -> Result<(), RetryMs> {
        address.map_or(Ok(()), |address| self.take_of_address(kind, address, now_ms, per_s))
    }

    /// An address that has rates; none, if it is of this machine.
    pub(crate) fn address(&self, address: IpAddr) -> Option<AddressHash> {
        let address = counted_as(address);
        (!address.is_loopback()).then(|| AddressHash(self.0.key(address)))
    }

    /// Takes a push of a user, or so many quarters of one.
    ///
    /// # Errors
    ///
    /// As all of these: when there is none left, how long until there is.
    pub(crate) fn take_publish(
        &self,
        user: &str,
        quarters: u64,
        now_ms: u64,
        limits: &Limits,
    ) -> Result<(), RetryMs> {
        let Rate { per_s, burst } = rate(limits.publish_per_s, limits.publish_burst);
        let rate = Rate { per_s: per_s * PUSH_QUARTERS, burst: burst * PUSH_QUARTERS };
        self.0.take(self.0.key((Kind::Publish, user)), now_ms, quarters, rate)
    }

    /// Takes a search of a user.
    pub(crate) fn take_search(
        &self,
        user: &str,
        now_ms: u64,
        limits: &Limits,
    ) -> Result<(), RetryMs> {
        let rate = rate(limits.search_per_s, limits.search_burst);
        self.take(Kind::Search, user, now_ms, rate)
    }

    /// Takes a join of a user.
    pub(crate) fn take_join(
        &self,
        user: &str,
        now_ms: u64,
        limits: &Limits,
    ) -> Result<(), RetryMs> {
        let rate = rate(limits.join_per_s, limits.join_burst);
        self.take(Kind::Join, user, now_ms, rate)
    }

    /// Takes a new token of a user on a connection that there is, at the rate of joins: each is a
    /// signature to verify.
    pub(crate) fn take_renewal(
        &self,
        user: &str,
        now_ms: u64,
        limits: &Limits,
    ) -> Result<(), RetryMs> {
        self.take(Kind::Renew, user, now_ms, rate(limits.join_per_s, limits.join_burst))
    }

    /// Takes a session of long polling that a user opens, at the rate of joins: who begins a
    /// session joins.
    pub(crate) fn take_session(
        &self,
        user: &str,
        address: Option<AddressHash>,
        now_ms: u64,
        limits: &Limits,
    ) -> Result<(), RetryMs> {
        self.take(Kind::Open, user, now_ms, rate(limits.join_per_s, limits.join_burst))?;
        self.take_of(Kind::Open, address, now_ms, limits.sessions_per_s_per_ip)
    }

    /// Takes a room that is made for a user.
    pub(crate) fn take_room(
        &self,
        user: &str,
        address: Option<AddressHash>,
        now_ms: u64,
        limits: &Limits,
    ) -> Result<(), RetryMs> {
        self.take(Kind::Found, user, now_ms, rate(limits.rooms_per_s, limits.rooms_burst))?;
        self.take_of(Kind::Found, address, now_ms, limits.rooms_per_s_per_ip)
    }

    /// Takes a guest's token, which is for somebody who is nobody yet.
    ///
    /// # Errors
    ///
    /// When there is none left: how long until there is.
    pub fn take_token(&self, address: IpAddr, now_ms: u64, limits: &Limits) -> Result<(), RetryMs> {
        let Some(address) = self.address(address) else { return Ok(()) };
        self.take_of_address(Kind::Token, address, now_ms, limits.tokens_per_s_per_ip)
    }

    /// Takes what so many members are sent of what a user says: so many bytes each. Little is not
    /// counted, for the rate of pushes bounds it.
    pub(crate) fn take_fanout(
        &self,
        user: &str,
        (bytes, members): (usize, u32),
        now_ms: u64,
        limits: &Limits,
    ) -> Result<(), RetryMs> {
        let bytes = (bytes as u64).saturating_mul(u64::from(members));
        if bytes < FANOUT_FREE_BYTES {
            return Ok(());
        }
        let rate = Rate {
            per_s: limits.fanout_bytes_per_s as u64,
            burst: limits.fanout_burst_bytes as u64,
        };
        self.0.take(self.0.key((Kind::Fanout, user)), now_ms, bytes, rate)
    }
}

fn rate(per_s: u32, burst: u32) -> Rate {
    Rate { per_s: per_s.into(), burst: burst.into() }
}

/// What an address counts as. Of IPv6 the first 64 bits: whoever has a network has all addresses in
/// it (RFC 4291, 2.5.4).
pub(crate) fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            publish_per_s: 10,
            publish_burst: 2,
            join_per_s: 1,
            join_burst: 1,
            rooms_per_s: 1,
            rooms_burst: 3,
            rooms_per_s_per_ip: 1,
            tokens_per_s_per_ip: 2,
            sessions_per_s_per_ip: 3,
            fanout_bytes_per_s: 1_000_000,
            fanout_burst_bytes: 10_000_000,
            ..Limits::default()
        }
    }

    fn address(rates: &Rates, text: &str) -> Option<AddressHash> {
        rates.address(text.parse().expect("an address"))
    }

    #[test]
    fn a_user_has_one_rate_of_each_kind_and_nobody_elses() {
        let (rates, limits) = (Rates::new(1), limits());
        let push = |user, quarters| rates.take_publish(user, quarters, 5, &limits).is_ok();
        assert_eq!([(); 3].map(|()| push("ann", PUSH_QUARTERS)), [true, true, false]);
        assert!(push("bob", PUSH_QUARTERS));
        assert_eq!([(); 5].map(|()| push("bob", 1)), [true, true, true, true, false]);
        assert_eq!(rates.take_join("ann", 5, &limits), Ok(()), "another kind");
        assert_eq!(rates.take_join("ann", 5, &limits), Err(RetryMs(1_000)));
        assert_eq!(rates.take_session("ann", None, 5, &limits), Ok(()), "another kind");
    }

    #[test]
    fn an_address_has_what_a_dozen_users_have_and_this_machine_has_no_bound() {
        let (rates, limits) = (Rates::new(1), limits());
        let count = |text: &str, takes: &dyn Fn(Option<AddressHash>, &str) -> bool| {
            let address = address(&rates, text);
            (0..100).filter(|number| takes(address, &number.to_string())).count()
        };
        let rooms =
            |address: Option<_>, user: &str| rates.take_room(user, address, 5, &limits).is_ok();
        assert_eq!(count("192.0.2.1", &rooms), 20);
        assert_eq!(count("::ffff:192.0.2.1", &rooms), 0, "the same in another form");
        assert_eq!(count("2001:db8::1", &rooms), 20);
        assert_eq!(count("2001:db8::2", &rooms), 0, "a network is one");
        let sessions =
            |address: Option<_>, user: &str| rates.take_session(user, address, 5, &limits).is_ok();
        assert_eq!(count("192.0.2.1", &sessions), 60);
        for here in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(address(&rates, here), None, "{here}");
        }
        let token = |text: &str| rates.take_token(text.parse().expect("one"), 5, &limits).is_ok();
        assert_eq!((0..100).filter(|_| token("192.0.2.1")).count(), 40);
        assert!((0..100).all(|_| token("127.0.0.1")));
    }

    #[test]
    fn what_a_user_asks_for_in_vain_costs_the_others_at_its_address_nothing() {
        let (rates, limits) = (Rates::new(1), limits());
        let address = address(&rates, "192.0.2.1");
        for user in ["ann", "bob", "cyd"] {
            let rooms = || rates.take_room(user, address, 5, &limits).is_ok();
            assert_eq!((0..100).filter(|_| rooms()).count(), 3, "{user} has a burst");
            let sessions = || rates.take_session(user, address, 5, &limits).is_ok();
            assert_eq!((0..100).filter(|_| sessions()).count(), 1, "{user}");
        }
    }

    #[test]
    fn what_is_sent_to_many_counts_for_each_and_what_is_little_not_at_all() {
        let (rates, limits) = (Rates::new(1), limits());
        let say =
            |bytes, members, now_ms| rates.take_fanout("ann", (bytes, members), now_ms, &limits);
        assert!((0..1_000).all(|_| say(65_535, 1, 0).is_ok()), "the rate of pushes is for that");
        assert_eq!((0..100).filter(|_| say(1_000, 1_000, 0).is_ok()).count(), 10);
        assert_eq!(say(1_000, 1_000, 0), Err(RetryMs(1_000)));
        assert_eq!(say(1_000, 1_000, 1_000), Ok(()));
        assert!(say(64 * 1_024, 100_000, 10_999).is_err(), "more than a burst, while some is owed");
        assert_eq!(say(64 * 1_024, 100_000, 11_000), Ok(()), "and is never refused for ever");
    }

    #[test]
    fn an_honest_speaker_in_a_large_room_is_never_refused_and_a_flood_of_large_events_is() {
        let (rates, limits) = (Rates::new(1), Limits::default());
        let say = |bytes, now_ms| rates.take_fanout("ann", (bytes, 1_000), now_ms, &limits).is_ok();
        assert!((0..u64::from(limits.publish_burst)).all(|_| say(4_096, 0)), "a whole burst");
        let honest = (0..600).all(|number| say(4_096, 3_000 + number * 50));
        assert!(honest, "4 KiB to 1,000 members, 20 times a second, for half a minute");
        let taken = (0..46).filter(|_| say(64 * 1_024, 100_000)).count();
        assert!((1..=5).contains(&taken), "46 events of 64 KiB at once: {taken}");
    }
}
