//! Who there is in a run, and what they may do: once for the server, as a [`Site`], and once for
//! the checks, worked out differently.
//!
//! What it does not model, and which test could notice: signatures (the tests of `auth::token`),
//! and the routes of the real one, guests among them (`tests/hostile/http.rs`).

use std::sync::atomic::{AtomicU64, Ordering};

use chinwag::auth::identity::{Identity, NEVER_S, Rights};
use chinwag::auth::level::Level;
use chinwag::base::time::Now;
use chinwag::shard::{API_HEADERS, Request, Routed, Site};
use chinwag::wire::http::response::{Response, Status};
use serde_json::Value;

/// A user; several clients may be the same one, on several devices.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    /// None: everything is allowed.
    pub(crate) rights: Option<&'static [(&'static str, &'static str)]>,
}

pub(crate) const USERS: &[User] = &[
    User { id: "ann", name: "Ann", rights: None },
    User { id: "bob", name: "Bob \"the\" \\ builder", rights: None },
    User {
        id: "cy",
        name: "ann",
        rights: Some(&[("tea*", "speak"), ("news", "join"), ("secret*", "none")]),
    },
    User {
        id: "d\u{e9}e",
        name: "D\u{e9}e \u{1f600}",
        rights: Some(&[("*", "speak"), ("secret", "join")]),
    },
    User { id: "eve", name: "Eve", rights: Some(&[("news", "speak"), ("*", "none")]) },
    User { id: "fay", name: "Fay", rights: Some(&[("*", "moderate")]) },
    User { id: "gil", name: "Gil", rights: Some(&[("*", "own"), ("news", "speak")]) },
];

/// Which of them decides whose the rooms are.
pub(crate) const OWNER: usize = 6;

/// The rooms that are talked in. Those who have rights have different ones in each.
pub(crate) const ROOMS: &[&str] =
    &["tea", "news", "secret", "tea-\u{e9} \"2\"", "a:b\\c", "r5", "r6", "r7"];

impl User {
    fn right_in(&self, room: &str) -> &'static str {
        let Some(rights) = self.rights else { return "speak" };
        if let Some((_, right)) = rights.iter().find(|(pattern, _)| *pattern == room) {
            return right;
        }
        let matching = rights.iter().filter(|(pattern, _)| {
            pattern.strip_suffix('*').is_some_and(|beginning| room.starts_with(beginning))
        });
        matching.max_by_key(|(pattern, _)| pattern.len()).map_or("none", |(_, right)| right)
    }

    pub(crate) fn may_join(&self, room: &str) -> bool {
        self.right_in(room) != "none"
    }

    pub(crate) fn may_speak(&self, room: &str) -> bool {
        self.level_in(room) >= Level::Speak
    }

    /// What its token allows in a room.
    pub(crate) fn level_in(&self, room: &str) -> Level {
        self.right_in(room).parse().expect("a level")
    }

    fn identity(&self, expires_at_s: u64) -> Identity {
        let right = |word: &str| word.parse::<Level>().expect("a level");
        let rights = self.rights.map(|rights| {
            Rights::new(rights.iter().map(|(pattern, word)| (*pattern, right(word))))
                .expect("valid rights")
        });
        Identity::new(self.id, self.name, expires_at_s, rights).expect("a valid user")
    }
}

/// A token: which user, and until when, in seconds of Unix time.
pub(crate) fn token(user: usize, expires_at_s: u64) -> String {
    format!("{user}.{expires_at_s}")
}

/// The same, for a connection that there is.
pub(crate) fn another_token(user: usize, expires_at_s: u64) -> String {
    format!("{user}.{expires_at_s}.another")
}

/// What the bug makes of another token on a connection that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// Its own end.
    Right,
    /// A planted bug: it is good for ever.
    ForEver,
    /// A planted bug: it ends no later than this many seconds from now, as the one before it.
    InVain(u64),
}

/// The server's side of it.
pub(crate) struct TestSite {
    /// A planted bug: everybody may do everything.
    pub(crate) lenient: bool,
    /// A planted bug: everybody may look after every room.
    pub(crate) lets_all_moderate: bool,
    /// A planted bug: a token is good for ever once it has let somebody in.
    pub(crate) forgets_ends: bool,
    /// What becomes of another token on a connection.
    pub(crate) renewal: Renewal,
    /// How many secrets have been given out. Nobody guesses in here.
    pub(crate) secrets: AtomicU64,
}

impl Site for TestSite {
    fn identify(&self, token: &str, now: Now) -> Option<Identity> {
        let mut parts = token.split('.');
        let user = USERS.get(parts.next()?.parse::<usize>().ok()?)?;
        let mut expires_at_s = parts.next()?.parse().ok()?;
        let now_s = now.unix_ms / 1_000;
        if expires_at_s <= now_s {
            return None;
        }
        // For stories: a room that it does not allow, and another name.
        let (mut closed, mut name) = (None, user.name);
        for part in parts {
            match (part, self.renewal) {
                ("another", Renewal::Right) => {}
                ("another", Renewal::ForEver) => expires_at_s = NEVER_S,
                ("another", Renewal::InVain(left_s)) => {
                    expires_at_s = expires_at_s.min(now_s + left_s);
                }
                _ => match part.split_once('=')? {
                    ("not", room) => closed = Some(room),
                    ("as", as_name) => name = as_name,
                    _ => return None,
                },
            }
        }
        if closed.is_some() || name != user.name {
            let rules = [("*", Level::Speak)].into_iter();
            let rules = rules.chain(closed.map(|room| (room, Level::None)));
            return Identity::new(user.id, name, expires_at_s, Rights::new(rules).ok()).ok();
        }
        if self.lenient {
            return Identity::new(user.id, user.name, NEVER_S, None).ok();
        }
        if self.lets_all_moderate {
            let rights = Rights::new([("*", Level::Moderate)]).ok();
            return Identity::new(user.id, user.name, expires_at_s, rights).ok();
        }
        Some(user.identity(if self.forgets_ends { NEVER_S } else { expires_at_s }))
    }

    fn secret(&self) -> Option<u128> {
        Some(self.secrets.fetch_add(1, Ordering::Relaxed).into())
    }

    fn respond(&self, request: &Request<'_, '_>, out: &mut Vec<u8>) -> Routed {
        let wanted = serde_json::from_slice::<Value>(request.body).ok();
        let text =
            |name| wanted.as_ref().and_then(|wanted| wanted[name].as_str()).map(str::to_owned);
        if let (("/api/rooms", "POST"), Some(room), Some(title)) =
            ((request.head.path, request.head.method), text("room"), text("title"))
        {
            // Users of their own, though not one for each request.
            let user = title.as_str().into();
            return Routed::CreateRoom { user, room, title, origin: None };
        }
        let response = Response { status: Status::Ok, headers: API_HEADERS, body: b"{}" };
        response.push(out, request.manner, request.now.unix_ms);
        Routed::Answered
    }
}
