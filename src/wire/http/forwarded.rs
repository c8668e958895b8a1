//! The address of a client behind proxies that are trusted to tell it (RFC 7239, and
//! `X-Forwarded-For`, which no standard describes).
//!
//! Each proxy appends the address of its own peer, so a list of hops is read from its right end. A
//! hop is believed only while everything to the right of it, the connection's peer included, is a
//! trusted proxy. The first address that is none is the client's; what stands to the left of it is
//! that client's own text, and is not looked at. So `Forwarded` is taken apart from its right end
//! too, quotes included: read from the left, as the standard writes it, a quote that the client
//! opens and never closes would swallow what the proxies append.
//!
//! Invariants:
//!
//! 1. a peer that is not trusted is the client, whatever its headers say;
//! 2. no text of an untrusted client changes the result;
//! 3. a hop that cannot be read is not trusted: it is [`UNKNOWN_CLIENT`], one for all of them;
//! 4. every address is canonical: `::ffff:192.0.2.1` is 192.0.2.1.
//!
//! Deliberately absent: `by`, `host` and `proto`, names that have to be resolved, and ports.

use std::fmt;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::Head;

/// The client of which a trusted proxy says no address: an address that nobody has (RFC 1122,
/// 3.2.1.3). It is no trusted proxy's, so all such clients share the bounds of one.
pub const UNKNOWN_CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The header that proxies tell the client by.
///
/// Only one is believed: a proxy sets one, and may pass the other on as its client wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl ForwardedHeader {
    /// All of them, in the order of [`ForwardedHeader::NAMES`].
    pub const ALL: [Self; 2] = [Self::XForwardedFor, Self::Forwarded];

    /// Their names in a request.
    pub const NAMES: [&str; 2] = ["x-forwarded-for", "forwarded"];
}

/// The proxies whose header is believed, and which one that is.
///
/// ```
/// use chinwag::wire::http::forwarded::{TrustedProxies, client_address};
///
/// let trusted: TrustedProxies = "10.0.0.0/8, ::1".parse().unwrap();
/// let client = client_address(
///     "10.0.0.1".parse().unwrap(),
///     &trusted,
///     [&b"198.51.100.9, 203.0.113.7, 10.0.0.2"[..]],
/// );
/// assert_eq!(client.to_string(), "203.0.113.7");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    header: ForwardedHeader,
}

impl TrustedProxies {
    /// Whether `address` is one of them. [`UNKNOWN_CLIENT`] is in no network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address != UNKNOWN_CLIENT && self.networks.iter().any(|network| network.contains(address))
    }

    /// Whether there is none, so that no header is believed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// The same proxies, which tell the client by this header.
    #[must_use]
    pub fn telling_by(self, header: ForwardedHeader) -> Self {
        Self { header, ..self }
    }
}

impl FromIterator<Network> for TrustedProxies {
    fn from_iter<T: IntoIterator<Item = Network>>(networks: T) -> Self {
        Self { networks: networks.into_iter().collect(), ..Self::default() }
    }
}

impl FromStr for TrustedProxies {
    type Err = TrustedProxiesError;

    /// Reads networks separated by commas. Empty text is an empty list.
    ///
    /// # Errors
    ///
    /// With every part that is no network.
    fn from_str(text: &str) -> Result<Self, TrustedProxiesError> {
        let mut networks = Vec::new();
        let mut bad = Vec::new();
        let parts = if text.trim().is_empty() { None } else { Some(text.split(',')) };
        for part in parts.into_iter().flatten().map(str::trim) {
            match part.parse() {
                Ok(network) => networks.push(network),
                Err(error) => bad.push((part.to_owned(), error)),
            }
        }
        if bad.is_empty() { Ok(Self::from_iter(networks)) } else { Err(TrustedProxiesError(bad)) }
    }
}

/// Every part of a list that is no network, and why. At least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProxiesError(Vec<(String, NetworkError)>);

impl fmt::Display for TrustedProxiesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (part, error)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{part:?}: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TrustedProxiesError {}

/// One address, or all that begin with the same bits: `192.0.2.1`, `10.0.0.0/8`, `2001:db8::/32`
/// (RFC 4632, 3.1; RFC 4291, 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Canonical, and 0 behind the prefix.
    first: IpAddr,
    /// 1 to 32, or to 128.
    prefix_bits: u32,
}

impl Network {
    /// Whether `address` lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4()
            && (left_aligned(address) ^ left_aligned(self.first)).leading_zeros()
                >= self.prefix_bits
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = if self.first.is_ipv4() { 32 } else { 128 };
        match self.prefix_bits {
            bits if bits == width => write!(f, "{}", self.first),
            bits => write!(f, "{}/{bits}", self.first),
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let width = if written.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(digits) => prefix(digits, width).ok_or(NetworkError::Prefix)?,
        };
        if left_aligned(written).checked_shl(bits).unwrap_or(0) != 0 {
            return Err(NetworkError::HostBits);
        }
        let first = written.to_canonical();
        // Of a mapped address the first 96 bits say only that it is one. A shorter prefix would
        // leave bits of them behind it, and is refused above.
        let mapped_bits = if first.is_ipv4() == written.is_ipv4() { 0 } else { 96 };
        match bits - mapped_bits {
            0 => Err(NetworkError::Everybody),
            prefix_bits => Ok(Self { first, prefix_bits }),
        }
    }
}

/// Decimal digits without a sign or zeros in front, as most parsers of networks want them.
fn prefix(digits: &str, width: u32) -> Option<u32> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|bits| is_plain && *bits <= width)
}

/// An address' bits, the first one at the top.
fn left_aligned(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Why something is no network. The operator's mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkError {
    /// What stands before the slash is no IP address. Names are not resolved.
    Address,
    /// What stands behind the slash is no number of bits that the address has.
    Prefix,
    /// The address has bits behind its prefix: it may be one address, or another network.
    HostBits,
    /// A prefix of no bits: a client could then write any address.
    Everybody,
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "must be an IP address, or a network as 10.0.0.0/8",
            Self::Prefix => "the prefix must be 1 to 32 bits, or to 128 of an IPv6 address",
            Self::HostBits => "must have no bits set behind its prefix",
            Self::Everybody => "/0 trusts everybody: a client could name any address",
        })
    }
}

impl std::error::Error for NetworkError {}

/// The address of the client whose request arrives from `peer`.
///
/// `values` are those of all header fields of the name that is believed, in their order. The result
/// is the rightmost hop that is not trusted, and [`UNKNOWN_CLIENT`] where that is not an address
/// (`unknown`, `_hidden`, garbage). Where every hop is trusted it is the leftmost.
pub fn client_address<'a, V>(peer: IpAddr, trusted: &TrustedProxies, values: V) -> IpAddr
where
    V: IntoIterator<Item = &'a [u8], IntoIter: DoubleEndedIterator>,
{
    let peer = peer.to_canonical();
    if !trusted.contains(peer) {
        return peer;
    }
    let values = values.into_iter().rev();
    let client = match trusted.header {
        ForwardedHeader::XForwardedFor => {
            rightmost_untrusted(trusted, values.flat_map(listed_hops))
        }
        ForwardedHeader::Forwarded => rightmost_untrusted(trusted, values.flat_map(forwarded_hops)),
    };
    client.unwrap_or(peer)
}

/// [`client_address`] of a request.
#[must_use]
pub fn request_client(peer: IpAddr, trusted: &TrustedProxies, head: &Head<'_>) -> IpAddr {
    let name = ForwardedHeader::NAMES[trusted.header as usize];
    client_address(peer, trusted, head.raw_headers(name))
}

/// The client by these hops, from right to left; `None` where there is none. A hop that is `None`
/// is not an address.
fn rightmost_untrusted(
    trusted: &TrustedProxies,
    hops: impl Iterator<Item = Option<IpAddr>>,
) -> Option<IpAddr> {
    let mut leftmost = None;
    for hop in hops {
        let hop = hop.unwrap_or(UNKNOWN_CLIENT);
        leftmost = Some(hop);
        if !trusted.contains(hop) {
            break;
        }
    }
    leftmost
}

/// The hops in one value of `X-Forwarded-For`, from right to left. Bytes that are no text spoil
/// the hop that they are in, and no other.
fn listed_hops(value: &[u8]) -> impl Iterator<Item = Option<IpAddr>> {
    let hops = value.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    hops.filter(|hop| !hop.is_empty()).map(|hop| node_address(str::from_utf8(hop).ok()?))
}

/// The hops in one value of `Forwarded`, from right to left.
fn forwarded_hops(value: &[u8]) -> impl Iterator<Item = Option<IpAddr>> {
    let mut rest = Some(value);
    let elements = iter::from_fn(move || {
        let (left, element) = split_last(rest?);
        rest = left;
        Some(element.trim_ascii())
    });
    // Empty elements of a list do not count (RFC 9110, 5.6.1.2).
    elements.filter(|element| !element.is_empty()).map(|element| {
        // A host in quotes may have bytes that are no text (RFC 9110, 5.6.4).
        forwarded_element(&String::from_utf8_lossy(element))
    })
}

/// The last element of a list, and what stands before its comma.
///
/// A quote is one unless an odd number of backslashes stands before it. In an element that a proxy
/// wrote these are escapes (RFC 9110, 5.6.4) and nothing else. So from the right it is read as it
/// was written, whatever stands before it.
fn split_last(value: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut is_quoted = false;
    for (at, byte) in value.iter().enumerate().rev() {
        match byte {
            b'"' => {
                let escapes = value[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
                is_quoted ^= escapes % 2 == 0;
            }
            b',' if !is_quoted => return (Some(&value[..at]), &value[at + 1..]),
            _ => {}
        }
    }
    (None, value)
}

/// The address in the `for` of an element (RFC 7239, 4); `None` if that is no element, or has none.
fn forwarded_element(mut text: &str) -> Option<IpAddr> {
    let mut node = None;
    loop {
        text = text.trim_start_matches([' ', '\t']);
        // Pairs may be empty.
        if !text.is_empty() && !text.starts_with(';') {
            let (name, behind) = text.split_once('=')?;
            let (value, behind) = pair_value(behind)?;
            if name.is_empty() || !name.bytes().all(is_token_byte) {
                return None;
            }
            // RFC 7239, 4: no parameter may be there twice.
            if name.eq_ignore_ascii_case("for") && node.replace(value).is_some() {
                return None;
            }
            text = behind.trim_start_matches([' ', '\t']);
        }
        if text.is_empty() {
            return node_address(node?);
        }
        text = text.strip_prefix(';')?;
    }
}

/// The token, or what stands in the quotes, at the front of `text`, and what is behind it. Escapes
/// stay as they are: no address has one.
fn pair_value(text: &str) -> Option<(&str, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(text.len());
        return Some(text.split_at(end)).filter(|_| end > 0);
    };
    let mut is_escaped = false;
    let end = quoted.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })?;
    Some((&quoted[..end], &quoted[end + 1..]))
}

/// RFC 9110, 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The address of a node (RFC 7239, 6), whose port is left out. IPv6 may lack its brackets, as it
/// does in `X-Forwarded-For`.
fn node_address(node: &str) -> Option<IpAddr> {
    if let Ok(address) = node.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let (address, port): (IpAddr, _) = if let Some(bracketed) = node.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        (address.parse::<Ipv6Addr>().ok()?.into(), port)
    } else {
        let (address, port) = node.split_at(node.find(':')?);
        (address.parse::<Ipv4Addr>().ok()?.into(), port)
    };
    (port.is_empty() || is_port(port.strip_prefix(':')?)).then(|| address.to_canonical())
}

/// Digits, or what hides them: `_x1` (RFC 7239, 6.1 and 6.3).
fn is_port(port: &str) -> bool {
    match port.strip_prefix('_') {
        Some(hidden) => {
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !hidden.is_empty() && hidden.bytes().all(is_allowed)
        }
        None => (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::wire::http::parse_head;

    const TRUSTED: &str = "10.0.0.0/8, 192.0.2.1, 2001:db8:aa::/48, ::1";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const UNKNOWN: &str = "0.0.0.0";

    fn client(peer: &str, header: ForwardedHeader, values: &[&str]) -> String {
        let trusted = TRUSTED.parse::<TrustedProxies>().unwrap().telling_by(header);
        client_address(ip(peer), &trusted, values.iter().map(|value| value.as_bytes())).to_string()
    }

    /// That the values of `X-Forwarded-For`, behind the proxy 10.0.0.1, mean this client.
    #[track_caller]
    fn check_listed(values: &[&str], expected: &str) {
        assert_eq!(
            client("10.0.0.1", ForwardedHeader::XForwardedFor, values),
            expected,
            "{values:?}"
        );
    }

    /// The same of `Forwarded`.
    #[track_caller]
    fn check_forwarded(values: &[&str], expected: &str) {
        assert_eq!(client("10.0.0.1", ForwardedHeader::Forwarded, values), expected, "{values:?}");
    }

    #[test]
    fn a_network_is_shown_as_it_is_written() {
        for text in ["192.0.2.1", "10.0.0.0/8", "::1", "2001:db8::/32"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn headers_of_a_peer_that_is_not_trusted_are_ignored() {
        for peer in ["198.51.100.9", "11.0.0.1", "192.0.2.2", "2001:db8:ab::1", "::2"] {
            assert_eq!(client(peer, ForwardedHeader::XForwardedFor, &["203.0.113.7"]), peer);
            assert_eq!(client(peer, ForwardedHeader::Forwarded, &["for=203.0.113.7"]), peer);
        }
        let nobody = TrustedProxies::default();
        let peer = ip("10.0.0.1");
        assert_eq!(client_address(peer, &nobody, [&b"203.0.113.7"[..]]), peer);
        assert!(nobody.is_empty());
    }

    #[test]
    fn without_headers_the_peer_is_the_client() {
        check_listed(&[], "10.0.0.1");
        check_listed(&[""], "10.0.0.1");
        check_forwarded(&[" , "], "10.0.0.1");
        assert_eq!(client("::ffff:10.0.0.1", ForwardedHeader::XForwardedFor, &[]), "10.0.0.1");
    }

    #[test]
    fn the_rightmost_hop_that_is_not_trusted_is_the_client() {
        check_listed(&["203.0.113.7"], "203.0.113.7");
        check_listed(&["203.0.113.7, 10.2.3.4,192.0.2.1"], "203.0.113.7");
        // What stands to the left is the client's own text.
        check_listed(&["198.51.100.9, 203.0.113.7, 10.2.3.4"], "203.0.113.7");
        check_listed(&["<script>, 203.0.113.7"], "203.0.113.7");
        // Fields of the same name are one list.
        check_listed(&["198.51.100.9", "203.0.113.7", "10.2.3.4"], "203.0.113.7");
        check_listed(&["198.51.100.9, , 203.0.113.7,\t,"], "203.0.113.7");
        // Where all are trusted the leftmost is.
        check_listed(&["10.2.3.4, 10.2.3.5"], "10.2.3.4");
        check_forwarded(
            &["for=198.51.100.9, for=203.0.113.7;proto=https, for=10.2.3.4"],
            "203.0.113.7",
        );
        check_forwarded(&["for=198.51.100.9", "for=203.0.113.7"], "203.0.113.7");
    }

    #[test]
    fn a_hop_that_is_no_address_is_one_client_for_all_and_no_proxy() {
        for bad in [
            "unknown",
            "_hidden",
            "203.0.113",
            "203.0.113.007",
            "203.0.113.7:",
            "203.0.113.7:123456",
            "203.0.113.7:http",
            "203.0.113.7:_",
            "[203.0.113.7]",
            "[2001:db8::7",
            "2001:db8::7]",
            "[2001:db8::7]4711",
            "fe80::1%eth0",
            "203.0.113.7 198.51.100.9",
            "chat.example",
            "\u{661}.1.1.1",
        ] {
            check_listed(&[bad], UNKNOWN);
            check_listed(&[&format!("203.0.113.7, {bad}, 10.2.3.4, 10.2.3.5")], UNKNOWN);
            check_listed(&[&format!("{bad}, 203.0.113.7, 10.2.3.4")], "203.0.113.7");
            check_forwarded(&[&format!("for=203.0.113.7, for=\"{bad}\", for=10.2.3.4")], UNKNOWN);
            check_forwarded(&[&format!("for=\"{bad}\", for=203.0.113.7")], "203.0.113.7");
        }
        let half: TrustedProxies = "0.0.0.0/1".parse().unwrap();
        assert!(!half.contains(UNKNOWN_CLIENT), "be the networks as wide as they may");
    }

    #[test]
    fn bytes_that_are_no_text_spoil_their_own_hop_alone() {
        let client = |header, values: &[&[u8]]| {
            let trusted = TRUSTED.parse::<TrustedProxies>().unwrap().telling_by(header);
            client_address(ip("10.0.0.1"), &trusted, values.iter().copied()).to_string()
        };
        let listed = |values: &[&[u8]]| client(ForwardedHeader::XForwardedFor, values);
        assert_eq!(listed(&[b"\xff, 203.0.113.7, 10.2.3.4"]), "203.0.113.7");
        assert_eq!(listed(&[b"\xff", b"203.0.113.7"]), "203.0.113.7");
        assert_eq!(listed(&[b"203.0.113.7, \xff"]), UNKNOWN);
        let forwarded = |values: &[&[u8]]| client(ForwardedHeader::Forwarded, values);
        assert_eq!(forwarded(&[b"\xff\", for=203.0.113.7;host=\"\xff\""]), "203.0.113.7");
        assert_eq!(forwarded(&[b"for=203.0.113.7, for=\xff"]), UNKNOWN);
    }

    #[test]
    fn an_address_may_have_a_port_and_brackets() {
        for (node, expected) in [
            ("203.0.113.7:4711", "203.0.113.7"),
            ("203.0.113.7:_x-1.2", "203.0.113.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:DB8:0::7]:4711", "2001:db8::7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("[::ffff:203.0.113.7]:80", "203.0.113.7"),
        ] {
            check_listed(&[node], expected);
            check_forwarded(&[&format!("for=\"{node}\"")], expected);
        }
    }

    #[test]
    fn an_element_of_forwarded_is_read_as_the_standard_writes_it() {
        for value in [
            "for=203.0.113.7",
            "For=203.0.113.7;proto=http;by=203.0.113.43",
            "proto=http; FOR=\"203.0.113.7\" ; host=\"a, for=1.1.1.1\"",
            ";;for=203.0.113.7;;",
            "host=\"a\\\"; for=1.1.1.1, \";for=203.0.113.7",
            "for=1.1.1.1 , for=203.0.113.7",
            "for=203.0.113.7;host=\"\\\\\"",
            "for=203.0.113.7;host=\"\\\", for=1.1.1.1\"",
            // What stands before the comma is none of the last element's.
            "for, for=203.0.113.7",
            "\"\\, for=203.0.113.7",
        ] {
            check_forwarded(&[value], "203.0.113.7");
        }
        for malformed in [
            "203.0.113.7",
            "for",
            "for=",
            "=203.0.113.7",
            "for =203.0.113.7",
            "for= 203.0.113.7",
            "for=203.0.113.7:80",
            "for=[2001:db8::7]",
            "for=203.0.113.7 proto=http",
            "for=198.51.100.9 for=203.0.113.7",
            "x=;for=203.0.113.7",
            "=x;for=203.0.113.7",
            "for=\"203.0.113.7\"x",
            "for=\"203.0.113.\\7\"",
            "for=\"203.0.113.7",
            "for=203.0.113.7;for=203.0.113.7",
            "proto=https",
            "by=203.0.113.7",
        ] {
            check_forwarded(&[malformed], UNKNOWN);
            check_forwarded(&[&format!("for=198.51.100.9, {malformed}")], UNKNOWN);
            // It does not reach over into the next field.
            check_forwarded(&[malformed, "for=198.51.100.9"], "198.51.100.9");
        }
    }

    #[test]
    fn no_text_of_a_client_changes_what_a_proxy_appends() {
        let pieces = ["for=", "198.51.100.9", "\"", "\\", ",", ";", "x=", "[", "unknown", " "];
        let quoted = "for=\"203.0.113.7\";by=\"10.0.0.1\";host=\"a\\\", for=\\\\\"";
        for appended in ["for=203.0.113.7", quoted] {
            for a in pieces {
                for b in pieces {
                    for c in pieces {
                        for d in pieces {
                            let text = [a, b, c, d].concat();
                            check_forwarded(&[&format!("{text}, {appended}")], "203.0.113.7");
                            check_forwarded(&[&text, appended], "203.0.113.7");
                            check_listed(&[&format!("{text}, 203.0.113.7")], "203.0.113.7");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_client_changes_nothing_by_the_header_that_is_not_believed() {
        let believed = |header| TRUSTED.parse::<TrustedProxies>().unwrap().telling_by(header);
        for other in ["for=198.51.100.9", "198.51.100.9", "unknown", "x=1", ""] {
            for (index, header) in ForwardedHeader::ALL.into_iter().enumerate() {
                let value = ["203.0.113.7", "for=203.0.113.7"][index];
                let [name, other_name] =
                    [ForwardedHeader::NAMES[index], ForwardedHeader::NAMES[1 - index]];
                let request = format!(
                    "GET / HTTP/1.1\r\nHost: a\r\n{other_name}: {other}\r\n{name}: {value}\r\n\r\n"
                );
                let head = parse_head(request.as_bytes(), &Limits::default());
                let head = head.unwrap().unwrap();
                let client = request_client(ip("10.0.0.1"), &believed(header), &head);
                assert_eq!(client, ip("203.0.113.7"), "{request}");
            }
        }
    }

    #[test]
    fn a_request_is_read_over_all_its_fields() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nx-forwarded-for: 198.51.100.9\r\n\
                    X-Forwarded-For: 203.0.113.7\r\n\r\n";
        let head = parse_head(head.as_bytes(), &Limits::default()).unwrap().unwrap();
        let trusted = TRUSTED.parse().unwrap();
        assert_eq!(request_client(ip("::1"), &trusted, &head), ip("203.0.113.7"));
        assert_eq!(request_client(ip("::2"), &trusted, &head), ip("::2"));
    }

    #[test]
    fn a_network_holds_what_begins_with_its_bits() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "a00::"),
            ("192.0.2.0/31", "192.0.2.1", "192.0.2.2"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.0"),
            ("192.0.2.1/32", "192.0.2.1", "192.0.2.3"),
            ("128.0.0.0/1", "255.0.0.1", "127.255.255.255"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("8000::/1", "ffff::", "7fff::"),
            ("::1", "::1", "::2"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert!(parsed.contains(ip(inside)), "{network} {inside}");
            assert!(!parsed.contains(ip(outside)), "{network} {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for (text, expected) in [
            ("", NetworkError::Address),
            ("/8", NetworkError::Address),
            ("localhost", NetworkError::Address),
            ("10.0.0/24", NetworkError::Address),
            ("010.0.0.0/8", NetworkError::Address),
            ("10.0.0.0:80", NetworkError::Address),
            ("[::1]", NetworkError::Address),
            ("10.0.0.0/", NetworkError::Prefix),
            ("10.0.0.0/33", NetworkError::Prefix),
            ("10.0.0.0/+8", NetworkError::Prefix),
            ("10.0.0.0/08", NetworkError::Prefix),
            ("10.0.0.0/8/8", NetworkError::Prefix),
            ("10.0.0.0/255.0.0.0", NetworkError::Prefix),
            ("10.0.0.0/4294967304", NetworkError::Prefix),
            ("::/129", NetworkError::Prefix),
            ("10.0.0.1/8", NetworkError::HostBits),
            ("10.0.0.1/31", NetworkError::HostBits),
            ("2001:db8::1/127", NetworkError::HostBits),
            ("::ffff:10.0.0.0/95", NetworkError::HostBits),
            ("::ffff:10.0.0.1/104", NetworkError::HostBits),
            ("0.0.0.0/0", NetworkError::Everybody),
            ("::/0", NetworkError::Everybody),
            ("::ffff:0:0/96", NetworkError::Everybody),
        ] {
            assert_eq!(text.parse::<Network>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_list_tells_all_that_is_wrong_with_it_at_once() {
        assert_eq!("".parse(), Ok(TrustedProxies::default()));
        let list: TrustedProxies = " 10.0.0.0/8,::1 ".parse().unwrap();
        let networks = ["10.0.0.0/8", "::1"].map(|text| text.parse::<Network>().unwrap());
        assert_eq!(list, networks.into_iter().collect());
        let error = "10.0.0.1/8, ::1,,a\nb".parse::<TrustedProxies>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"10.0.0.1/8\": must have no bits set behind its prefix; \
             \"\": must be an IP address, or a network as 10.0.0.0/8; \
             \"a\\nb\": must be an IP address, or a network as 10.0.0.0/8"
        );
    }
}
