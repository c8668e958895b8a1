//! The header that a proxy puts in front of a connection to tell whose it is: the PROXY protocol,
//! versions 1 (a line of text) and 2 (binary), as the `proxy-protocol.txt` of `HAProxy` describes
//! it.
//!
//! Invariants:
//!
//! 1. a prefix of a header is either incomplete, or already refused for what refuses the whole;
//! 2. no more than [`PROXY_HEADER_BYTES_MAX`] are ever asked for;
//! 3. a client's address is canonical: `::ffff:192.0.2.1` is 192.0.2.1.
//!
//! Deliberately absent: finding out whether there is a header. A listener demands one of each
//! connection, or looks for none (`proxy-protocol.txt`, 2: a receiver MUST NOT guess); otherwise a
//! client could write its own. Absent too are destinations and the extensions of version 2 (TLS,
//! names, checksums), which are skipped.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::limits::{PROXY_BLOCK_BYTES_MAX, PROXY_LINE_BYTES_MAX};

/// What a header of version 2 begins with (`proxy-protocol.txt`, 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, and length.
const FIXED_BYTES: usize = SIGNATURE.len() + 4;

/// The longest header of any version, in bytes: a buffer needs no more.
pub const PROXY_HEADER_BYTES_MAX: usize = FIXED_BYTES + PROXY_BLOCK_BYTES_MAX;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// How many bytes the header takes: there the client's own begin.
    pub header_bytes: usize,
    /// Whose connection it is. `None`: the peer's own, as a health check of the proxy, or one whose
    /// client has no IP address.
    pub client: Option<SocketAddr>,
}

/// Why the bytes in front of a connection are no header. All that is left is to close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// It begins like a header of neither version.
    Signature,
    /// Binary, and of another version than 2.
    Version,
    /// Neither `LOCAL` nor `PROXY`.
    Command,
    /// A family of addresses or a transport that is not assigned.
    Family,
    /// Past the bound of its version: 107 bytes, or [`PROXY_HEADER_BYTES_MAX`].
    TooLong,
    /// An address or a port that is none, or too few bytes for them.
    Address,
}

impl ProxyError {
    /// One word for a metric's label or a log's field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Version => "version",
            Self::Command => "command",
            Self::Family => "family",
            Self::TooLong => "too_long",
            Self::Address => "address",
        }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for ProxyError {}

/// Parses the header at the front of `buf`. `None` when it goes on beyond `buf`.
///
/// ```
/// use chinwag::wire::proxy::parse_proxy_header;
///
/// let header = parse_proxy_header(b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\nGET /");
/// let header = header.unwrap().unwrap();
/// assert_eq!(header.client.unwrap().to_string(), "203.0.113.7:4711");
/// assert_eq!(header.header_bytes, 43);
/// ```
///
/// # Errors
///
/// Whatever is wrong with it, as soon as the bytes show it.
pub fn parse_proxy_header(buf: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    match buf.first() {
        None => Ok(None),
        Some(b'P') => parse_line(buf),
        Some(_) => parse_binary(buf),
    }
}

/// Whether the bytes that are there are those of `expected`.
fn agrees(buf: &[u8], expected: &[u8]) -> bool {
    buf.iter().zip(expected).all(|(byte, expected)| byte == expected)
}

/// Version 1: `PROXY TCP4 203.0.113.7 192.0.2.1 4711 443` and a line end.
fn parse_line(buf: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    if !agrees(buf, b"PROXY ") {
        return Err(ProxyError::Signature);
    }
    let window = &buf[..buf.len().min(PROXY_LINE_BYTES_MAX)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if buf.len() < PROXY_LINE_BYTES_MAX { Ok(None) } else { Err(ProxyError::TooLong) };
    };
    let header_bytes = end + 2;
    // Whatever else such a line says is to be ignored.
    if buf[..end] == *b"PROXY UNKNOWN" || buf.starts_with(b"PROXY UNKNOWN ") {
        return Ok(Some(ProxyHeader { header_bytes, client: None }));
    }
    let line = std::str::from_utf8(&buf[..end]).map_err(|_| ProxyError::Address)?;
    let mut fields = line.split(' ').skip(1);
    let client = match fields.next() {
        Some("TCP4") => line_client::<Ipv4Addr>(fields)?,
        Some("TCP6") => line_client::<Ipv6Addr>(fields)?,
        _ => return Err(ProxyError::Family),
    };
    Ok(Some(ProxyHeader { header_bytes, client: Some(client) }))
}

/// The client by the fields behind the family: both addresses, and both ports.
fn line_client<'a, A: std::str::FromStr + Into<IpAddr>>(
    mut fields: impl Iterator<Item = &'a str>,
) -> Result<SocketAddr, ProxyError> {
    let mut field = || fields.next().ok_or(ProxyError::Address);
    let [client, server] = [field()?, field()?];
    let [client_port, server_port] = [field()?, field()?];
    let address = |text: &str| text.parse::<A>().map_err(|_| ProxyError::Address);
    let (client, client_port) = (address(client)?.into(), port(client_port)?);
    // The destination is of no use, but a line with a broken one is not what a proxy writes.
    let _ = (address(server)?, port(server_port)?);
    if fields.next().is_some() {
        return Err(ProxyError::Address);
    }
    Ok(canonical(client, client_port))
}

/// A port in decimal digits, without zeros in front (`proxy-protocol.txt`, 2.1).
fn port(text: &str) -> Result<u16, ProxyError> {
    let is_plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain).ok_or(ProxyError::Address)
}

fn canonical(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

/// Version 2: a signature, what it tells of, and a block of so many bytes. Checks go from front to
/// back, so that a prefix never fails for another reason than the whole.
fn parse_binary(buf: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    if !agrees(buf, SIGNATURE) {
        return Err(ProxyError::Signature);
    }
    let Some(&version_command) = buf.get(12) else { return Ok(None) };
    if version_command >> 4 != 2 {
        return Err(ProxyError::Version);
    }
    let is_local = match version_command & 0xf {
        0 => true,
        1 => false,
        _ => return Err(ProxyError::Command),
    };
    let Some(&family) = buf.get(13) else { return Ok(None) };
    // A transport of 1 is a stream and one of 2 datagrams, as where a proxy takes HTTP/3.
    let block = match (family >> 4, family & 0xf) {
        // What a proxy tells of itself has no address, whatever its family says.
        _ if is_local => Block::Other { bytes: 0 },
        (0, 0..=2) => Block::Other { bytes: 0 },
        (1, 0..=2) => Block::Inet,
        (2, 0..=2) => Block::Inet6,
        // Two paths of sockets in the file system.
        (3, 0..=2) => Block::Other { bytes: 216 },
        _ => return Err(ProxyError::Family),
    };
    let Some(&[high, low]) = buf.get(14..FIXED_BYTES) else { return Ok(None) };
    let block_bytes = usize::from(u16::from_be_bytes([high, low]));
    if block_bytes > PROXY_BLOCK_BYTES_MAX {
        return Err(ProxyError::TooLong);
    }
    if block_bytes < block.bytes() {
        return Err(ProxyError::Address);
    }
    let header_bytes = FIXED_BYTES + block_bytes;
    let Some(rest) = buf.get(FIXED_BYTES..header_bytes) else { return Ok(None) };
    Ok(Some(ProxyHeader { header_bytes, client: block.client(rest) }))
}

/// What the addresses in a block are.
#[derive(Clone, Copy)]
enum Block {
    /// Two of IPv4, and two ports.
    Inet,
    /// Two of IPv6, and two ports.
    Inet6,
    /// Nothing of use.
    Other { bytes: usize },
}

impl Block {
    /// How many bytes the addresses take.
    const fn bytes(self) -> usize {
        match self {
            Self::Inet => 2 * (4 + 2),
            Self::Inet6 => 2 * (16 + 2),
            Self::Other { bytes } => bytes,
        }
    }

    /// The first of the two. `None` where there is none, or where the block is too short for it.
    fn client(self, block: &[u8]) -> Option<SocketAddr> {
        let (address, ports): (IpAddr, _) = match self {
            Self::Inet => (Ipv4Addr::from_octets(*block.first_chunk()?).into(), 2 * 4),
            Self::Inet6 => (Ipv6Addr::from_octets(*block.first_chunk()?).into(), 2 * 16),
            Self::Other { .. } => return None,
        };
        let port = u16::from_be_bytes(*block.get(ports..)?.first_chunk()?);
        Some(canonical(address, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That `header` means this, whatever follows it, and that no prefix of it means anything else.
    #[track_caller]
    fn check(header: &[u8], expected: Result<Option<&str>, ProxyError>) {
        let parsed = |buf: &[u8]| {
            parse_proxy_header(buf).map(|header| {
                header.map(|ProxyHeader { header_bytes, client }| {
                    (header_bytes, client.map(|client| client.to_string()))
                })
            })
        };
        let expected = expected.map(|client| Some((header.len(), client.map(str::to_owned))));
        assert_eq!(parsed(header), expected, "{}", header.escape_ascii());
        assert_eq!(parsed(&[header, b"\r\nGET / HTTP/1.1"].concat()), expected);
        for cut in 0..header.len() {
            match parsed(&header[..cut]) {
                Ok(None) => {}
                early => {
                    assert!(early.is_err(), "{} is whole at {cut} bytes", header.escape_ascii());
                    assert_eq!(early, expected, "{} at {cut} bytes", header.escape_ascii());
                }
            }
        }
    }

    /// A header of version 2 with this 13th and 14th byte and this block.
    fn binary(version_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[version_command, family][..], &length, block].concat()
    }

    const INET: [u8; 12] = [203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 0x01, 0xbb];

    /// From this address and port 4711, to all zeros.
    fn inet6(client: &str) -> [u8; 36] {
        let mut block = [0; 36];
        block[..16].copy_from_slice(&client.parse::<Ipv6Addr>().unwrap().octets());
        block[32..34].copy_from_slice(&4711_u16.to_be_bytes());
        block
    }

    #[test]
    fn a_line_names_the_client() {
        let longest = ["ffff"; 8].join(":");
        let longest = format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n");
        for (line, client) in [
            ("PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n", "203.0.113.7:4711"),
            ("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", "0.0.0.0:0"),
            ("PROXY TCP6 2001:db8::7 ::1 4711 443\r\n", "[2001:db8::7]:4711"),
            ("PROXY TCP6 ::ffff:203.0.113.7 ::1 4711 443\r\n", "203.0.113.7:4711"),
            (&longest, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        ] {
            check(line.as_bytes(), Ok(Some(client)));
        }
    }

    #[test]
    fn a_line_that_knows_no_client_means_the_peer_whatever_else_it_says() {
        check(b"PROXY UNKNOWN\r\n", Ok(None));
        check(b"PROXY UNKNOWN \xff\r\n", Ok(None));
        check(b"PROXY UNKNOWN ffff::1 nonsense\n\r 1\r\n", Ok(None));
        let filled = |bytes: usize| {
            let filler = "x".repeat(bytes - "PROXY UNKNOWN \r\n".len());
            format!("PROXY UNKNOWN {filler}\r\n")
        };
        check(filled(107).as_bytes(), Ok(None));
        check(filled(108).as_bytes(), Err(ProxyError::TooLong));
        check(filled(109).as_bytes(), Err(ProxyError::TooLong));
        check(&filled(10_000).as_bytes()[..200], Err(ProxyError::TooLong));
    }

    #[test]
    fn a_line_that_no_proxy_writes_is_refused() {
        for (line, expected) in [
            ("PROXY\r\n", ProxyError::Signature),
            ("PROXY\tTCP4 203.0.113.7 192.0.2.1 4711 443\r\n", ProxyError::Signature),
            ("POST / HTTP/1.1\r\n", ProxyError::Signature),
            ("PROXYTCP4\r\n", ProxyError::Signature),
            ("PROXY \r\n", ProxyError::Family),
            ("PROXY  TCP4 203.0.113.7 192.0.2.1 4711 443\r\n", ProxyError::Family),
            ("PROXY tcp4 203.0.113.7 192.0.2.1 4711 443\r\n", ProxyError::Family),
            ("PROXY UDP4 203.0.113.7 192.0.2.1 4711 443\r\n", ProxyError::Family),
            ("PROXY UNKNOWNX\r\n", ProxyError::Family),
            ("PROXY TCP4 \u{e9}\r\n", ProxyError::Address),
            ("PROXY TCP4\r\n", ProxyError::Address),
            ("PROXY TCP4 203.0.113.7 192.0.2.1 4711\r\n", ProxyError::Address),
            ("PROXY TCP4 203.0.113.7 192.0.2.1 4711 443 1\r\n", ProxyError::Address),
            ("PROXY TCP4 203.0.113.7 192.0.2.1 4711 443 \r\n", ProxyError::Address),
            ("PROXY TCP4 203.0.113.7  192.0.2.1 4711 443\r\n", ProxyError::Address),
            ("PROXY TCP4 203.0.113.07 192.0.2.1 4711 443\r\n", ProxyError::Address),
            ("PROXY TCP4 203.0.113 192.0.2.1 4711 443\r\n", ProxyError::Address),
            ("PROXY TCP4 2001:db8::7 ::1 4711 443\r\n", ProxyError::Address),
            ("PROXY TCP6 203.0.113.7 192.0.2.1 4711 443\r\n", ProxyError::Address),
            ("PROXY TCP6 [2001:db8::7] ::1 4711 443\r\n", ProxyError::Address),
            ("PROXY TCP4 203.0.113.7 192.0.2.x 4711 443\r\n", ProxyError::Address),
            ("PROXY TCP4 203.0.113.7 192.0.2.1 65536 443\r\n", ProxyError::Address),
            ("PROXY TCP4 203.0.113.7 192.0.2.1 04711 443\r\n", ProxyError::Address),
            ("PROXY TCP4 203.0.113.7 192.0.2.1 +471 443\r\n", ProxyError::Address),
            ("PROXY TCP4 203.0.113.7 192.0.2.1 4711 00\r\n", ProxyError::Address),
            ("PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\n\r\n", ProxyError::Address),
            ("PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\r\n", ProxyError::Address),
            ("PROXY TCP4 \u{661}.0.113.7 192.0.2.1 4711 443\r\n", ProxyError::Address),
        ] {
            check(line.as_bytes(), Err(expected));
        }
    }

    #[test]
    fn a_binary_header_names_the_client() {
        check(&binary(0x21, 0x11, &INET), Ok(Some("203.0.113.7:4711")));
        check(&binary(0x21, 0x12, &INET), Ok(Some("203.0.113.7:4711")));
        check(&binary(0x21, 0x21, &inet6("2001:db8::7")), Ok(Some("[2001:db8::7]:4711")));
        check(&binary(0x21, 0x21, &inet6("::ffff:203.0.113.7")), Ok(Some("203.0.113.7:4711")));
        // Extensions follow the addresses.
        for extension_bytes in [1, 3, 500, PROXY_BLOCK_BYTES_MAX - INET.len()] {
            let block = [&INET[..], &vec![0xff; extension_bytes]].concat();
            check(&binary(0x21, 0x11, &block), Ok(Some("203.0.113.7:4711")));
        }
    }

    #[test]
    fn a_binary_header_without_an_ip_address_means_the_peer() {
        // `LOCAL`, whatever its family and block say.
        for family in [0x00, 0x11, 0x21, 0x31, 0xff] {
            check(&binary(0x20, family, b""), Ok(None));
            check(&binary(0x20, family, &INET), Ok(None));
        }
        // Of an unspecified family, and of sockets in the file system.
        check(&binary(0x21, 0x00, b""), Ok(None));
        check(&binary(0x21, 0x00, &INET), Ok(None));
        check(&binary(0x21, 0x31, &[b'/'; 216]), Ok(None));
    }

    #[test]
    fn a_binary_header_that_no_proxy_writes_is_refused() {
        for (version_command, family, expected) in [
            (0x11, 0x11, ProxyError::Version),
            (0x31, 0x11, ProxyError::Version),
            (0x01, 0x11, ProxyError::Version),
            (0x22, 0x11, ProxyError::Command),
            (0x2f, 0x11, ProxyError::Command),
            (0x21, 0x13, ProxyError::Family),
            (0x21, 0x41, ProxyError::Family),
            (0x21, 0xff, ProxyError::Family),
            (0x21, 0x21, ProxyError::Address),
            (0x21, 0x31, ProxyError::Address),
        ] {
            check(&binary(version_command, family, &INET), Err(expected));
        }
        check(&binary(0x21, 0x11, &INET[..11]), Err(ProxyError::Address));
        check(&binary(0x21, 0x21, &[0; 35]), Err(ProxyError::Address));
        check(&binary(0x21, 0x31, &[0; 215]), Err(ProxyError::Address));
        let too_long = vec![0; PROXY_BLOCK_BYTES_MAX + 1];
        check(&binary(0x21, 0x11, &too_long), Err(ProxyError::TooLong));
        check(&binary(0x20, 0x00, &too_long), Err(ProxyError::TooLong));
        for index in 0..SIGNATURE.len() {
            let mut header = binary(0x21, 0x11, &INET);
            header[index] ^= 1;
            check(&header, Err(ProxyError::Signature));
        }
        check(b"GET / HTTP/1.1\r\n\r\n", Err(ProxyError::Signature));
        check(b"\x16\x03\x01\x02\x00", Err(ProxyError::Signature));
    }

    #[test]
    fn it_asks_for_no_more_than_its_bound_whatever_comes() {
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut draw = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state >> 33
            };
            let mut bytes = match draw() % 3 {
                0 => b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n".to_vec(),
                1 => binary(0x21, 0x11, &INET),
                _ => binary(0x21, 0x21, &inet6("2001:db8::7")),
            };
            for _ in 0..draw() % 3 {
                let index = usize::try_from(draw()).unwrap() % bytes.len();
                bytes[index] = draw().to_le_bytes()[0];
            }
            bytes.resize(PROXY_HEADER_BYTES_MAX, b'x');
            match parse_proxy_header(&bytes) {
                Ok(Some(header)) => assert!(header.header_bytes <= PROXY_HEADER_BYTES_MAX),
                Ok(None) => panic!("it asks for more: {}", bytes.escape_ascii()),
                Err(_) => {}
            }
        }
    }
}
