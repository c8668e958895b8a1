//! What a peer can do wrong in a request's head, and what it is told.

use super::Status;

/// Why a request is refused before anybody looked at what it asks for. Each variant is the *peer's*
/// doing: none may panic, none is logged above `debug`. The connection is closed after the answer,
/// for where the next request begins is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// A byte that the grammar has no place for: a control character, white space before a colon, a
    /// folded line.
    Malformed,
    /// A line that ends in LF without CR. Some parsers take it as an end of line, others do not.
    BareLineFeed,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    Version,
    /// A target that is neither a path nor a URL of HTTP; one with a fragment, a user, something
    /// outside ASCII, or a `%` without two hexadecimal digits.
    Target,
    /// HTTP/1.1 without `Host`, a `Host` that is none, or two.
    Host,
    /// A `Host` that is not this server's: see
    /// [`loopback_host_allowed`](super::origin::loopback_host_allowed).
    Misdirected,
    /// A query parameter that is not UTF-8.
    QueryNotUtf8,
    /// A `Content-Length` that is not one number, or beside it a `Transfer-Encoding`; another
    /// coding than `chunked`, or chunks that are none: the shapes of request smuggling.
    Framing,
    /// A body over [`HTTP_BODY_BYTES_MAX`](crate::limits::HTTP_BODY_BYTES_MAX), or over what is
    /// taken at this path; or too much around its chunks.
    BodyTooBig,
    /// A request line over [`Limits::head_bytes`](crate::limits::Limits::head_bytes).
    TargetTooLong,
    /// A head over [`Limits::head_bytes`](crate::limits::Limits::head_bytes).
    HeadTooLong,
    /// More than [`HTTP_HEADERS_MAX`](crate::limits::HTTP_HEADERS_MAX).
    TooManyHeaders,
}

impl HttpError {
    /// The status to answer with: total, so a new variant does not compile until it has one.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Malformed
            | Self::BareLineFeed
            | Self::Target
            | Self::Host
            | Self::QueryNotUtf8
            | Self::Framing => Status::BadRequest,
            Self::Misdirected => Status::MisdirectedRequest,
            Self::Version => Status::VersionNotSupported,
            Self::BodyTooBig => Status::ContentTooLarge,
            Self::TargetTooLong => Status::UriTooLong,
            Self::HeadTooLong | Self::TooManyHeaders => Status::HeadersTooLarge,
        }
    }
}

impl From<httparse::Error> for HttpError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::TooManyHeaders,
            httparse::Error::Version => Self::Version,
            httparse::Error::HeaderName
            | httparse::Error::HeaderValue
            | httparse::Error::NewLine
            | httparse::Error::Status
            | httparse::Error::Token => Self::Malformed,
        }
    }
}
