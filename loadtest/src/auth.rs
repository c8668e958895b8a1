//! Tokens for the connections: guests from the server's own API, or signed here.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::client::target::Target;
use crate::plan::{Auth, Common};

/// How long a token signed here is good for, in seconds.
const TOKEN_SECONDS: u64 = 24 * 3_600;

/// A token for each of `connections`, or one for all, or none. The first `moderators` may look
/// after all rooms, where tokens are signed here.
///
/// # Errors
/// A sentence that says why there are none though there should be.
pub(crate) fn tokens(
    common: &Common,
    connections: u32,
    moderators: u32,
) -> Result<Vec<String>, String> {
    let auth = match (common.auth, &common.token, &common.secret) {
        (Auth::Auto, Some(_), _) => Auth::Token,
        (Auth::Auto, None, Some(_)) => Auth::Secret,
        (auth, _, _) => auth,
    };
    match auth {
        Auth::None => Ok(Vec::new()),
        Auth::Token => Ok(vec![common.token.clone().ok_or("--auth token needs --token")?]),
        Auth::Secret => {
            let secret = common.secret.as_deref().ok_or("--auth secret needs --secret")?;
            let sign = |user| sign(secret, &format!("lt-{user}"), user < moderators);
            Ok((0..connections).map(sign).collect())
        }
        Auth::Auto => match guests(common, 1) {
            Ok(_) => guests(common, connections),
            // A server without an API for guests wants no tokens of ours.
            Err(_) => Ok(Vec::new()),
        },
        Auth::Guest => guests(common, connections),
    }
}

/// A JWT signed with HS256 (RFC 7515, 7518).
fn sign(secret: &str, user: &str, moderates: bool) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let head = BASE64URL_NOPAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    let mut claims =
        serde_json::json!({"sub": user, "name": user, "iat": now, "exp": now + TOKEN_SECONDS});
    if moderates {
        claims["rooms"] = serde_json::json!({"*": "moderate"});
    }
    let signed = format!("{head}.{}", BASE64URL_NOPAD.encode(claims.to_string().as_bytes()));
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()))
}

/// Asks the server for guests, one after the other over one connection where it stays open.
fn guests(common: &Common, wanted: u32) -> Result<Vec<String>, String> {
    // The others take the tokens of the first.
    let target = Target::parse(common.first_url(), common.remote)?;
    let mut tokens = Vec::new();
    let mut open: Option<BufReader<TcpStream>> = None;
    let mut failures = 0;
    while tokens.len() < crate::base::at(wanted) {
        let mut stream = match open.take() {
            Some(stream) => stream,
            None => connect(&target)
                .map_err(|error| format!("{} does not answer: {error}", target.host))?,
        };
        match guest(&mut stream, &target.host, &format!("lt-{}", tokens.len())) {
            Ok((token, keep)) => {
                tokens.push(token);
                failures = 0;
                if keep {
                    open = Some(stream);
                }
            }
            Err(error) if failures == 1 => {
                return Err(format!("no guest from POST /api/session: {error}"));
            }
            // The server may have closed the connection between two requests.
            Err(_) => failures += 1,
        }
    }
    Ok(tokens)
}

fn connect(target: &Target) -> std::io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect_timeout(&target.address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

/// One guest: its token, and whether the connection may be used again.
fn guest(
    stream: &mut BufReader<TcpStream>,
    host: &str,
    name: &str,
) -> Result<(String, bool), String> {
    #[derive(serde::Deserialize)]
    struct Session {
        token: String,
    }
    let body = format!("{{\"name\":\"{name}\"}}");
    let request = format!(
        "POST /api/session HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.get_mut().write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut status = String::new();
    stream.read_line(&mut status).map_err(|error| error.to_string())?;
    let (mut length, mut keep) = (0_u64, status.starts_with("HTTP/1.1"));
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).map_err(|error| error.to_string())?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match (name.to_ascii_lowercase().as_str(), value.trim()) {
            ("content-length", value) => {
                length = value.parse().map_err(|_| "a length that is none")?;
            }
            ("connection", value) if value.eq_ignore_ascii_case("close") => keep = false,
            _ => {}
        }
    }
    let mut answer = String::new();
    stream
        .take(length.min(65_536))
        .read_to_string(&mut answer)
        .map_err(|error| error.to_string())?;
    match status.split_ascii_whitespace().nth(1) {
        Some("200" | "201") => {
            let session: Session =
                serde_json::from_str(&answer).map_err(|error| error.to_string())?;
            Ok((session.token, keep))
        }
        _ => Err(status.trim_end().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_signed_as_rfc_7515_says() {
        let token = sign("secret", "ann", false);
        let parts: Vec<&str> = token.split('.').collect();
        let mut mac = Hmac::<Sha256>::new_from_slice(b"secret").unwrap();
        mac.update(format!("{}.{}", parts[0], parts[1]).as_bytes());
        assert!(mac.verify_slice(&BASE64URL_NOPAD.decode(parts[2].as_bytes()).unwrap()).is_ok());
        let claims = BASE64URL_NOPAD.decode(parts[1].as_bytes()).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["sub"], "ann");
    }
}
