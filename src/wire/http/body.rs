//! The body of a request: as long as its head says, or in chunks (RFC 9112, 6 and 7.1).
//!
//! [`parse_body`] is given all that has come behind the head, again each time that more comes, and
//! keeps nothing in between. What it does each time is a step for each chunk, and
//! [`CHUNKING_BYTES_MAX`] bounds their number.
//!
//! Chunks are taken by the letter of the grammar: a parser in front of this one that is more
//! lenient might see another end of the body, and so another request behind it.
//!
//! Deliberately absent: trailers and extensions of chunks. They are skipped.

use std::borrow::Cow;

use super::HttpError;
use super::head::{Framing, Head, is_token};
use crate::limits::CHUNKING_BYTES_MAX;

/// What is sent to a client that waits for it before it sends a body (RFC 9110, 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The body of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body<'a> {
    /// What was sent: as it lies there, unless it came in several chunks.
    pub content: Cow<'a, [u8]>,
    /// How many bytes it takes on the wire: behind them the next request begins.
    pub taken: usize,
}

/// Takes the body off the front of `rest`, which is all that has come behind the head. `None` when
/// it goes on beyond `rest`.
///
/// # Errors
///
/// [`HttpError::BodyTooBig`] if the content is, or will be, larger than `bytes_max`, or what comes
/// around it larger than [`CHUNKING_BYTES_MAX`]. [`HttpError::Framing`] if these are no chunks.
pub fn parse_body<'a>(
    head: &Head<'_>,
    rest: &'a [u8],
    bytes_max: usize,
) -> Result<Option<Body<'a>>, HttpError> {
    match head.framing {
        // RFC 9112, 6.2: digits may say more than can be had, and are judged before it comes.
        Framing::Length(bytes) if bytes > bytes_max => Err(HttpError::BodyTooBig),
        Framing::Length(bytes) => {
            let content = rest.get(..bytes).map(Cow::Borrowed);
            Ok(content.map(|content| Body { content, taken: bytes }))
        }
        Framing::Chunked => chunked(rest, bytes_max),
    }
}

fn chunked(input: &[u8], bytes_max: usize) -> Result<Option<Body<'_>>, HttpError> {
    // Most bodies come in one chunk, and of one that is not whole nothing is copied.
    let mut first: &[u8] = &[];
    let (mut chunks, mut content_bytes) = (0, 0);
    let whole = walk(input, bytes_max, |chunk| {
        if chunks == 0 {
            first = chunk;
        }
        chunks += 1;
        content_bytes += chunk.len();
    })?;
    let Some(taken) = whole else { return Ok(None) };
    if chunks <= 1 {
        return Ok(Some(Body { content: Cow::Borrowed(first), taken }));
    }
    let mut content = Vec::with_capacity(content_bytes);
    walk(input, bytes_max, |chunk| content.extend_from_slice(chunk))?;
    Ok(Some(Body { content: Cow::Owned(content), taken }))
}

/// Visits the chunks of a body that `input` begins with, and says where it ends. `None` when it
/// goes on beyond `input`.
fn walk<'a>(
    input: &'a [u8],
    bytes_max: usize,
    mut visit: impl FnMut(&'a [u8]),
) -> Result<Option<usize>, HttpError> {
    let (mut at, mut content_bytes) = (0, 0);
    loop {
        let Some(line) = line(&input[at..], at - content_bytes)? else { return Ok(None) };
        at += line.len() + 2;
        let chunk_bytes = chunk_size(line)?;
        if chunk_bytes == 0 {
            break;
        }
        // RFC 9112, 7.1: a size may have more digits than a number here.
        if chunk_bytes > bytes_max - content_bytes {
            return Err(HttpError::BodyTooBig);
        }
        let Some(chunk) = input.get(at..at + chunk_bytes) else { return Ok(None) };
        at += chunk_bytes;
        content_bytes += chunk_bytes;
        match &input[at..] {
            [b'\r', b'\n', ..] => at += 2,
            [] | [b'\r'] => return Ok(None),
            _ => return Err(HttpError::Framing),
        }
        visit(chunk);
    }
    // RFC 9112, 7.1.2: trailers may be thrown away.
    loop {
        let Some(line) = line(&input[at..], at - content_bytes)? else { return Ok(None) };
        at += line.len() + 2;
        match line {
            [] => return Ok(Some(at)),
            _ if is_trailer(line) => {}
            _ => return Err(HttpError::Framing),
        }
    }
}

/// The line at the front, without the CR LF at its end, if it is whole. `before` is how much there
/// was already that is not content.
fn line(input: &[u8], before: usize) -> Result<Option<&[u8]>, HttpError> {
    // RFC 9112, 7.1.1: what is around the content is bounded in all, and more is refused.
    let window = &input[..input.len().min(CHUNKING_BYTES_MAX.saturating_sub(before))];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if window.len() < input.len() { Err(HttpError::BodyTooBig) } else { Ok(None) };
    };
    // RFC 9112, 2.2: a CR elsewhere, and an LF without one, end no line.
    match window[..end].split_last() {
        Some((b'\r', line)) if line.iter().all(|byte| is_visible(*byte)) => Ok(Some(line)),
        _ => Err(HttpError::Framing),
    }
}

/// What may stand in an extension or a trailer: no control characters but tabs.
fn is_visible(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7F
}

/// `chunk-size [ chunk-ext ]`. Extensions MUST be ignored if they are not known (RFC 9112, 7.1.1).
/// A size that is no number here is larger than anything.
fn chunk_size(line: &[u8]) -> Result<usize, HttpError> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, extension) = line.split_at(digits);
    let begins = extension.trim_ascii_start().first();
    if digits.is_empty() || !(extension.is_empty() || begins == Some(&b';')) {
        return Err(HttpError::Framing);
    }
    let size = digits.iter().try_fold(0_usize, |size, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        size.checked_mul(16)?.checked_add(usize::try_from(digit).ok()?)
    });
    Ok(size.unwrap_or(usize::MAX))
}

/// Whether a line is a field: `name: value`, not folded, without white space before the colon.
fn is_trailer(line: &[u8]) -> bool {
    memchr::memchr(b':', line).is_some_and(|colon| is_token(&line[..colon]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::wire::http::parse_head;

    const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";

    fn parse(body: &[u8], bytes_max: usize) -> Result<Option<Body<'_>>, HttpError> {
        let head = parse_head(HEAD, &Limits::default()).unwrap().unwrap();
        parse_body(&head, body, bytes_max)
    }

    /// What is taken, of whatever follows; and of every part of it nothing.
    #[track_caller]
    fn check(body: &[u8], content: &[u8]) {
        for follows in ["", "GET / HTTP/1.1\r\n", "\r\n", "0\r\n\r\n"] {
            let input = [body, follows.as_bytes()].concat();
            let expected = Body { content: content.into(), taken: body.len() };
            assert_eq!(parse(&input, 100), Ok(Some(expected)), "{:?}", input.escape_ascii());
        }
        for cut in 0..body.len() {
            assert_eq!(parse(&body[..cut], 100), Ok(None), "decided at {cut} bytes");
        }
    }

    #[track_caller]
    fn check_refused(body: &[u8], error: HttpError) {
        assert_eq!(parse(body, 100), Err(error), "{:?}", body.escape_ascii().to_string());
        for cut in 0..body.len() {
            assert!(!matches!(parse(&body[..cut], 100), Ok(Some(_))), "taken at {cut} bytes");
        }
    }

    #[test]
    fn chunks_are_put_together() {
        check(b"0\r\n\r\n", b"");
        check(b"5\r\nhello\r\n0\r\n\r\n", b"hello");
        check(b"2\r\nhe\r\n03\r\nllo\r\n000\r\n\r\n", b"hello");
        check(b"A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n", b"01234567890123456789a");
        check(b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n");
        check(b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n");
    }

    #[test]
    fn a_body_of_one_chunk_is_not_copied() {
        let body = parse(b"5\r\nhello\r\n0\r\n\r\n", 5).unwrap().unwrap();
        assert!(matches!(body.content, Cow::Borrowed(b"hello")));
    }

    #[test]
    fn extensions_and_trailers_are_skipped() {
        check(b"5;a\r\nhello\r\n0;b=\"c;\xe9\";d\r\n\r\n", b"hello");
        check(b"5 \t;a = 1\r\nhello\r\n0\r\n\r\n", b"hello");
        check(b"5\r\nhello\r\n0\r\nX-A: b\r\nC:\r\nD: \xe9\t\r\n\r\n", b"hello");
        // What would decide about the request is too late to do so.
        check(b"0\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\n\r\n", b"");
    }

    #[test]
    fn what_another_parser_might_read_differently_is_refused() {
        for body in [
            &b"\r\n"[..],
            b"x\r\n",
            b"-1\r\n",
            b"+5\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b" 5\r\nhello\r\n",
            b"5 \r\nhello\r\n",
            b"5 a\r\nhello\r\n",
            b"5,5\r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\r\rhello\r\n0\r\n\r\n",
            b"5;\r;\r\nhello\r\n",
            b"5;\n\r\nhello\r\n",
            b"5;\0\r\nhello\r\n",
            b"5;\x7f\r\nhello\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello\r0\r\n\r\n",
            b"5\r\nhell\r\n0\r\n\r\n",
            b"5\r\nhello\r\n0\n\r\n",
            b"5\r\nhello\r\n0\r\n\n",
            b"0\r\na b: c\r\n\r\n",
            b"0\r\na : c\r\n\r\n",
            b"0\r\n: c\r\n\r\n",
            b"0\r\na\r\n\r\n",
            b"0\r\na: b\r\n c\r\n\r\n",
            b"0\r\na: b\n\r\n",
            b"0\r\na: \0\r\n\r\n",
            b"0\r\nGET / HTTP/1.1\r\n\r\n",
        ] {
            check_refused(body, HttpError::Framing);
        }
    }

    #[test]
    fn content_is_bounded_as_soon_as_its_size_is_known() {
        assert!(parse(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 5).unwrap().is_some());
        assert_eq!(parse(b"3\r\nabc\r\n3\r\n", 5), Err(HttpError::BodyTooBig));
        assert_eq!(parse(b"6\r\n", 5), Err(HttpError::BodyTooBig));
        for size in ["65", "FFFFFFFFFFFFFFFF", "10000000000000005", &"f".repeat(100)] {
            check_refused(format!("{size}\r\n").as_bytes(), HttpError::BodyTooBig);
        }
        assert_eq!(parse(&[b'0'; 1_000], 5), Ok(None), "zeros in front say nothing");
    }

    #[test]
    fn what_is_around_the_content_is_bounded_in_all() {
        let extension = |bytes: usize| format!("1;{}\r\na\r\n", "x".repeat(bytes));
        let trailer = |bytes: usize| format!("0\r\na:{}\r\n\r\n", "b".repeat(bytes));
        let around = CHUNKING_BYTES_MAX - extension(0).len() - trailer(0).len() + 1;
        let (half, rest) = (around / 2, around - around / 2);
        let fits = extension(half) + &trailer(rest);
        assert!(parse(fits.as_bytes(), 100).unwrap().is_some());
        check_far(&(extension(half + 1) + &trailer(rest)));
        check_far(&(extension(half) + &trailer(rest + 1)));
        check_far(&"0".repeat(CHUNKING_BYTES_MAX + 1));
        check_far(&("1\r\na\r\n".repeat(CHUNKING_BYTES_MAX / 5) + "0\r\n\r\n"));
    }

    /// More around the content than there may be, in a body that may be as large as any.
    #[track_caller]
    fn check_far(body: &str) {
        assert_eq!(parse(body.as_bytes(), usize::MAX), Err(HttpError::BodyTooBig), "{body:.40}");
    }

    #[test]
    fn a_length_is_judged_before_the_body_comes() {
        let input = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n";
        let head = parse_head(input, &Limits::default()).unwrap().unwrap();
        assert_eq!(parse_body(&head, b"", 4), Err(HttpError::BodyTooBig));
        assert_eq!(parse_body(&head, b"hell", 5), Ok(None));
        let body = Body { content: b"hello"[..].into(), taken: 5 };
        assert_eq!(parse_body(&head, b"hello!", 5), Ok(Some(body)));
    }
}
