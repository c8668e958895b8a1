//! What a page of another origin may read of an answer (Fetch, 3.2: the CORS protocol).
//!
//! Who may ask is decided elsewhere, by tokens: a browser sends what a page tells it to, and only
//! keeps the answer from a page that is not named in it. So an origin that the operator lists is
//! named, and any other is not.
//!
//! Deliberately absent: credentials (there are no cookies), and `*`.

use super::Head;
use super::origin::listed_origin;

/// The methods and headers that a page may be told to use at a path, and how long a browser may
/// keep that, in seconds.
const HEADERS_ALLOWED: &str = "authorization, content-type";
const MAX_AGE_S: &str = "3600";

/// A request from a page of an origin that is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossOrigin<'a> {
    origin: &'a str,
}

impl<'a> CrossOrigin<'a> {
    /// Recognises a request by its only `Origin`, if that is one of those `listed`.
    #[must_use]
    pub fn of(head: &Head<'a>, listed: &[impl AsRef<str>]) -> Option<Self> {
        let origin = head.only_header("origin")?;
        listed_origin(origin, listed).then_some(Self { origin })
    }

    /// The origin, as the request has it.
    #[must_use]
    pub const fn origin(self) -> &'a str {
        self.origin
    }

    /// What every answer to this request carries.
    #[must_use]
    pub const fn headers(self) -> [(&'static str, &'a str); 2] {
        // Another page gets another answer (RFC 9110, 12.5.5).
        [("access-control-allow-origin", self.origin), ("vary", "origin")]
    }

    /// What the answer to a preflight carries, of a path that takes these methods.
    #[must_use]
    pub const fn preflight(self, methods: &'a str) -> [(&'static str, &'a str); 5] {
        let [allow, vary] = self.headers();
        [
            allow,
            vary,
            ("access-control-allow-methods", methods),
            ("access-control-allow-headers", HEADERS_ALLOWED),
            ("access-control-max-age", MAX_AGE_S),
        ]
    }
}

/// Whether a request is a browser's question before the one that its page wants to make.
#[must_use]
pub fn is_preflight(head: &Head<'_>) -> bool {
    head.method == "OPTIONS" && head.header("access-control-request-method").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::wire::http::parse_head;

    const LISTED: [&str; 2] = ["https://app.example", "capacitor://localhost"];

    /// The origin that is named in the answer to a request with these lines.
    #[track_caller]
    fn check(lines: &str, expected: Option<&str>) {
        let input = format!("GET / HTTP/1.1\r\nHost: chat.example\r\n{lines}\r\n");
        let head = parse_head(input.as_bytes(), &Limits::default()).unwrap().unwrap();
        assert_eq!(CrossOrigin::of(&head, &LISTED).map(CrossOrigin::origin), expected, "{lines}");
    }

    #[test]
    fn an_origin_is_named_if_it_is_listed_and_the_only_one() {
        check("Origin: https://app.example\r\n", Some("https://app.example"));
        check("Origin: https://APP.example:443\r\n", Some("https://APP.example:443"));
        check("Origin: capacitor://localhost\r\n", Some("capacitor://localhost"));
        for lines in [
            "",
            "Origin:\r\n",
            "Origin: null\r\n",
            "Origin: *\r\n",
            "Origin: https://evil.example\r\n",
            "Origin: http://app.example\r\n",
            "Origin: https://app.example.evil.example\r\n",
            "Origin: https://app.example, https://app.example\r\n",
            "Origin: https://app.example\r\nOrigin: https://app.example\r\n",
            // Its own page reads everything without being named.
            "Origin: https://chat.example\r\n",
        ] {
            check(lines, None);
        }
    }

    #[test]
    fn an_answer_names_the_origin_and_depends_on_it() {
        let cross = CrossOrigin { origin: "https://app.example" };
        let every = [("access-control-allow-origin", "https://app.example"), ("vary", "origin")];
        assert_eq!(cross.headers(), every);
        let preflight = cross.preflight("GET, POST");
        assert_eq!(preflight[..2], every);
        assert_eq!(
            preflight[2..],
            [
                ("access-control-allow-methods", "GET, POST"),
                ("access-control-allow-headers", "authorization, content-type"),
                ("access-control-max-age", "3600"),
            ]
        );
    }

    #[test]
    fn a_preflight_is_told_from_a_question_for_methods() {
        for (method, lines, expected) in [
            ("OPTIONS", "Access-Control-Request-Method: POST\r\n", true),
            ("OPTIONS", "", false),
            ("POST", "Access-Control-Request-Method: POST\r\n", false),
        ] {
            let input = format!("{method} / HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
            let head = parse_head(input.as_bytes(), &Limits::default()).unwrap().unwrap();
            assert_eq!(is_preflight(&head), expected, "{method} {lines}");
        }
    }
}
