//! `chinwag token`: a token made by hand, for trying things out and for scripts.

use super::cli::{Exit, TokenRequest};
use super::config::Config;
use crate::auth::token::Claims;

/// What a request's head has besides the token, in bytes: its line, and the headers of a program.
const HEAD_BYTES_BESIDE: usize = 512;

/// The token that was asked for, made at `now_unix_s` (seconds of Unix time), with a line end.
///
/// It has been through the very verifier that the server will use: a token that is printed is
/// accepted.
///
/// # Errors
///
/// Where no secret is configured, or where what was asked for would not be accepted.
pub fn make(config: &Config, request: &TokenRequest, now_unix_s: u64) -> Result<String, Exit> {
    let no_secret = || {
        Exit::config(
            "chinwag: to sign a token there must be a secret, the same that the server has: set auth.secret in the file of \
             --config, or CHINWAG_AUTH__SECRET\n",
        )
    };
    if config.auth.secret.is_none() {
        return Err(no_secret());
    }
    let keys =
        config.auth.keys(&[]).map_err(|error| Exit::config(format!("chinwag: {error}\n")))?;
    let signer = keys.signer.ok_or_else(no_secret)?;
    let ttl_max_s = config.auth.ttl_max_s;
    if ttl_max_s != 0 && request.ttl_s > ttl_max_s {
        return Err(usage(&format!(
            "--ttl: the server takes no token that counts for more than auth.max_ttl_s = {ttl_max_s} s"
        )));
    }
    let mut rooms = std::collections::BTreeMap::new();
    for (pattern, level) in &request.rooms {
        if rooms.insert(pattern.clone(), *level).is_some() {
            return Err(usage(&format!("--rooms: {pattern:?} must not be there twice")));
        }
    }
    let claims = Claims {
        sub: request.user.clone(),
        name: request.name.clone(),
        exp: now_unix_s.saturating_add(request.ttl_s),
        iat: now_unix_s,
        rooms: (!request.rooms.is_empty()).then_some(rooms),
        guest: false,
    };
    let token = signer.sign(&claims);
    let room_bytes = config.limits.head_bytes.saturating_sub(HEAD_BYTES_BESIDE);
    if token.len() > room_bytes {
        return Err(usage(&format!(
            "the token would take {} bytes, and limits.head_bytes = {} leaves {room_bytes} for it: fewer --rooms, or \
             more limits.head_bytes for the server too",
            token.len(),
            config.limits.head_bytes
        )));
    }
    let is_named = |name: &str| request.name.as_ref().is_none_or(|wanted| wanted == name);
    match keys.verifier.verify(&token, now_unix_s) {
        // The server would show another name without a word.
        Ok(identity) if is_named(identity.name()) => Ok(token + "\n"),
        Ok(_) | Err(_) => Err(usage(
            "--user and --name must be 1 to 128 bytes without control characters, and so must a room's name, with at most \
             one `*`, at its end",
        )),
    }
}

fn usage(message: &str) -> Exit {
    Exit { code: 2, text: format!("chinwag: {message}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::config::{Flags, Surroundings};
    use crate::auth::level::Level;
    use crate::auth::token::LEEWAY_S;

    const NOW_S: u64 = 1_800_000_000;

    fn config(settings: &[&str]) -> Config {
        let flags =
            Flags { set: settings.iter().map(ToString::to_string).collect(), ..Flags::default() };
        Config::load(
            &flags,
            &Surroundings { variables: &[], read: &|_| unreachable!("no files here") },
        )
        .unwrap()
        .config
    }

    fn with_secret() -> Config {
        config(&[
            "auth.secret=9GkXo0fXcQm1mUqv3T2bJ7yqkq8WcR5hZ4nVtA6sLpE=",
            "auth.audience=chat",
            "auth.issuer=me",
        ])
    }

    fn request(user: &str, rooms: &[(&str, Level)]) -> TokenRequest {
        let rooms = rooms.iter().map(|(pattern, level)| ((*pattern).to_owned(), *level)).collect();
        TokenRequest { user: user.into(), name: Some("Ann".into()), ttl_s: 60, rooms }
    }

    #[test]
    fn the_server_accepts_what_is_printed() {
        let config = with_secret();
        let token = make(&config, &request("u1", &[("team-*", Level::Join)]), NOW_S).unwrap();
        let identity =
            config.auth.keys(&[]).unwrap().verifier.verify(token.trim_end(), NOW_S).unwrap();
        assert_eq!((identity.user(), identity.name()), ("u1", "Ann"));
        assert_eq!(identity.expires_at_s(), NOW_S + 60 + LEEWAY_S);
        assert!(
            identity.may_join("team-1")
                && !identity.may_speak("team-1")
                && !identity.may_join("tea")
        );
    }

    #[test]
    fn without_a_configured_secret_there_is_no_token() {
        let exit = make(&config(&[]), &request("u1", &[]), NOW_S).unwrap_err();
        assert!(exit.code == 78 && exit.text.contains("CHINWAG_AUTH__SECRET"), "{}", exit.text);
    }

    #[test]
    fn a_token_that_would_not_be_accepted_is_not_printed() {
        let many: Vec<String> = (0..400).map(|index| format!("room-{index}")).collect();
        let many: Vec<(&str, Level)> =
            many.iter().map(|name| (name.as_str(), Level::Join)).collect();
        for request in [
            request("", &[]),
            request("a\nb", &[]),
            request("u", &[("a*b", Level::Join)]),
            request("u", &[("a", Level::Join), ("a", Level::None)]),
            request("u", &many),
            TokenRequest { name: Some(String::new()), ..request("u", &[]) },
            TokenRequest { name: Some("x".repeat(129)), ..request("u", &[]) },
        ] {
            assert_eq!(make(&with_secret(), &request, NOW_S).unwrap_err().code, 2);
        }
        let exit = make(&with_secret(), &request("u", &many), NOW_S).unwrap_err();
        assert!(exit.text.contains("limits.head_bytes = 8192 leaves 7680"), "{}", exit.text);
        let mut strict = with_secret();
        strict.auth.ttl_max_s = 59;
        let exit = make(&strict, &request("u", &[]), NOW_S).unwrap_err();
        assert!(exit.code == 2 && exit.text.contains("auth.max_ttl_s = 59"), "{}", exit.text);
        strict.auth.ttl_max_s = 60;
        assert!(make(&strict, &request("u", &[]), NOW_S).is_ok());
        let mut wider = with_secret();
        wider.limits.head_bytes = 65_536;
        assert!(make(&wider, &request("u", &many), NOW_S).is_ok());
    }
}
