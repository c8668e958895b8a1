//! Parameters in a request's target, read as Phoenix reads them (WHATWG,
//! `application/x-www-form-urlencoded`).
//!
//! Deliberately absent: nested parameters (`a[b]=c`). That is a parameter of the name `a[b]` here.

use std::borrow::Cow;

use super::HttpError;

/// The value of the parameter `name` in a query. Of several the last one counts. `a` and `a=` both
/// have the value "".
///
/// `+` is a space; a `%` without two hexadecimal digits stands for itself.
///
/// # Errors
///
/// [`HttpError::QueryNotUtf8`] if any name, or this parameter's value, is not UTF-8 once decoded.
pub fn query_param<'a>(query: &'a str, name: &str) -> Result<Option<Cow<'a, str>>, HttpError> {
    Ok(query_params(query, name)?.pop())
}

/// The values of all parameters of this name, in their order. See [`query_param`].
///
/// # Errors
///
/// Those of [`query_param`], for any of them.
pub fn query_params<'a>(query: &'a str, name: &str) -> Result<Vec<Cow<'a, str>>, HttpError> {
    let mut values = Vec::new();
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decode(key)? == name {
            values.push(decode(value)?);
        }
    }
    Ok(values)
}

/// Without anything to decode, `encoded` itself.
fn decode(encoded: &str) -> Result<Cow<'_, str>, HttpError> {
    if !encoded.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Ok(Cow::Borrowed(encoded));
    }
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => match escaped(after) {
                Some((byte, after)) => {
                    rest = after;
                    byte
                }
                None => b'%',
            },
            byte => byte,
        });
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| HttpError::QueryNotUtf8)
}

/// The byte that the two hexadecimal digits at the front stand for, and what comes after them.
fn escaped(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (&[high, low], rest) = bytes.split_first_chunk()?;
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some((digit(high)? << 4 | digit(low)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: Option<&str>) {
        assert_eq!(query_param(query, "user").unwrap().as_deref(), expected, "{query}");
    }

    #[test]
    fn the_last_parameter_of_a_name_counts() {
        check("", None);
        check("user", Some(""));
        check("user=", Some(""));
        check("user=ann", Some("ann"));
        check("vsn=2.0.0&user=ann&", Some("ann"));
        check("user=ann&user=bob", Some("bob"));
        check("user=a=b", Some("a=b"));
        check("xuser=1&userx=2&USER=3", None);
        check("user[]=ann&user[x]=bob", None);
        check("&&=&user=ann", Some("ann"));
    }

    #[test]
    fn escapes_are_decoded_and_bad_ones_kept() {
        check("user=al%20ice%26%C3%A9", Some("al ice&\u{e9}"));
        check("user=al+ice", Some("al ice"));
        check("%75ser=ann", Some("ann"));
        check("user=%zz", Some("%zz"));
        check("user=%", Some("%"));
        check("user=%4", Some("%4"));
        check("user=%+1", Some("% 1"));
        check("user=%%41", Some("%A"));
        check("user=%00", Some("\0"));
        check("user=%2541", Some("%41"));
    }

    #[test]
    fn what_is_not_utf8_is_refused() {
        for query in ["user=%ff", "user=%c3", "user=%ed%a0%80", "%ff=1&user=ann", "user=ann&%ff"] {
            assert_eq!(query_param(query, "user"), Err(HttpError::QueryNotUtf8), "{query}");
        }
    }

    #[test]
    fn a_plain_value_is_not_copied() {
        assert!(matches!(query_param("user=ann", "user"), Ok(Some(Cow::Borrowed("ann")))));
    }
}
