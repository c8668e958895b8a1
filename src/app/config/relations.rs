//! What must hold between values, each of which is fine on its own.
//!
//! A relation is not looked at while one of its values is bad: it would complain of a value that
//! nobody wanted.

use std::io;
use std::path::Path;

use super::draft::Draft;
use super::keys;
use super::kind::grouped;
use super::problem::Problem;
use super::sources::Surroundings;
use super::values::{Config, StoreAck, StoreConfig, StoreDeliver};
use crate::auth::token::Algorithm;
use crate::base::phrases::Fault;
use crate::limits::{CHANGING_ROOM_BYTES_MAX, FRAME_HEADER_BYTES_MAX};

/// What a message in the history has besides its body, in bytes: topic, event, names, id, each at
/// its longest, rounded up.
const MESSAGE_OVERHEAD_BYTES: u64 = 2_048;

/// `key` must be at least what `least` makes of `other`.
struct AtLeast {
    key: &'static str,
    other: &'static str,
    least: fn(u64) -> u64,
    /// When it does not matter.
    unless: fn(&Config) -> bool,
    why: &'static str,
}

const RELATIONS: &[AtLeast] = &[
    AtLeast {
        key: "limits.message_bytes",
        other: "limits.frame_bytes",
        least: |frame| frame,
        unless: |_| false,
        why: "a message is at least one frame",
    },
    AtLeast {
        key: "limits.frame_bytes",
        other: "limits.body_bytes",
        least: |body| body + MESSAGE_OVERHEAD_BYTES,
        unless: |_| false,
        why: "clients send a message in one frame, with some 2 KiB around its body",
    },
    AtLeast {
        key: "limits.room_lag_bytes",
        other: "limits.message_bytes",
        least: |message| 2 * (message + FRAME_HEADER_BYTES_MAX as u64),
        unless: |_| false,
        why: "who is one message behind is not slow yet",
    },
    AtLeast {
        key: "limits.conn_out_bytes",
        other: "history.page_bytes",
        least: |page| 2 * page,
        unless: |_| false,
        why: "an answer must fit, and the one before it may still wait",
    },
    AtLeast {
        key: "history.page_bytes",
        other: "limits.body_bytes",
        least: |body| body + MESSAGE_OVERHEAD_BYTES,
        unless: |config| config.history.messages == 0,
        why: "an answer must hold at least one message",
    },
    AtLeast {
        key: "history.room_bytes",
        other: "limits.body_bytes",
        least: |body| body + MESSAGE_OVERHEAD_BYTES,
        unless: |config| config.history.messages == 0,
        why: "a history must hold at least one message",
    },
    AtLeast {
        key: "history.total_bytes",
        other: "history.room_bytes",
        least: |room| room,
        unless: |config| config.history.messages == 0,
        why: "all rooms together are at least one",
    },
    AtLeast {
        key: "limits.memory_bytes",
        other: "history.total_bytes",
        least: |history| 4 * history,
        unless: |config| config.limits.memory_bytes == 0,
        why: "what is remembered may take twice as much while it grows, and others need the other half",
    },
    AtLeast {
        key: "limits.memory_bytes",
        other: "store.cache_bytes",
        least: |cache| 4 * cache,
        unless: |config| config.limits.memory_bytes == 0 || config.store.path.is_empty(),
        why: "the store's pages are a part of it, and others need the rest",
    },
    AtLeast {
        key: "presence.tick_max_ms",
        other: "presence.tick_ms",
        least: |tick| tick,
        unless: |_| false,
        why: "no room collects for less",
    },
    AtLeast {
        key: "engine.dead_ms",
        other: "engine.ping_ms",
        least: |ping| 2 * ping,
        unless: |config| config.engine.url.is_none(),
        why: "one ping may be late",
    },
    AtLeast {
        key: "engine.history",
        other: "history.messages",
        least: |messages| messages,
        unless: |config| config.engine.url.is_none(),
        why: "what a server has in memory can be changed",
    },
    AtLeast {
        key: "cluster.lease_ms",
        other: "cluster.heartbeat_ms",
        least: |heartbeat| 2 * heartbeat,
        unless: |config| config.engine.url.is_none(),
        why: "one heartbeat may be late",
    },
    AtLeast {
        key: "presence.full_max",
        other: "presence.listed",
        least: |listed| listed,
        unless: |config| config.presence.full_max == 0,
        why: "a choice of the members is no more than there are",
    },
];

pub(super) fn check(draft: &mut Draft, surroundings: &Surroundings<'_>) {
    for relation in RELATIONS {
        relation.check(draft);
    }
    check_keys(draft);
    check_retention(draft);
    check_changes(draft);
    check_store(draft);
    check_backups(draft);
    check_engine(draft);
    check_archive(draft);
    read_public_keys(draft, surroundings);
    read_phrases(draft, surroundings);
}

impl AtLeast {
    fn check(&self, draft: &mut Draft) {
        if draft.is_bad(self.key) || draft.is_bad(self.other) || (self.unless)(&draft.config) {
            return;
        }
        let value = keys::value_of(&draft.config, self.key);
        let other = keys::value_of(&draft.config, self.other);
        let least = (self.least)(other);
        if value < least {
            let message = format!(
                "{} = {}: must be at least {}, because {}, and {} = {} ({})",
                self.key,
                grouped(value),
                grouped(least),
                self.why,
                self.other,
                grouped(other),
                draft.origin(self.other),
            );
            draft.add(Problem::new(draft.origin(self.key), message));
        }
    }
}

/// What is answered before it is on disk cannot be seen after it is.
fn check_store(draft: &mut Draft) {
    let StoreConfig { ack, deliver, .. } = draft.config.store;
    if (ack, deliver) == (StoreAck::AcceptMayLose1s, StoreDeliver::AfterCommit) {
        let message = "store.deliver = after_commit: is for store.ack = commit: nobody is answered \
                       before their message is seen";
        draft.add(Problem::new(draft.origin("store.deliver"), message.to_owned()));
    }
}

/// An archive is of an engine.
fn check_archive(draft: &mut Draft) {
    if draft.is_bad("archive.url") || draft.config.archive.url.is_none() {
        return;
    }
    let message = if !cfg!(feature = "archive-postgres") {
        "archive.url: this program was built without the feature `archive-postgres`"
    } else if !draft.is_bad("engine.url") && draft.config.engine.url.is_none() {
        "archive.url: is nothing without engine.url, of which it is the archive: a server without \
         one keeps all in store.path"
    } else {
        return;
    };
    draft.add(Problem::new(draft.origin("archive.url"), message.to_owned()));
}

/// What is kept in an engine is kept nowhere else, and its servers know each other's tokens.
fn check_engine(draft: &mut Draft) {
    let config = &draft.config;
    if draft.is_bad("engine.url") || config.engine.url.is_none() {
        return;
    }
    let mut found = Vec::new();
    if !cfg!(feature = "engine-redis") {
        let message = "this program was built without the feature `engine-redis`";
        found.push(("engine.url", message));
    }
    if !draft.is_bad("store.path") && !config.store.path.is_empty() {
        let message = "is nothing beside engine.url, in which rooms are kept";
        found.push(("store.path", message));
    }
    if !config.auth.has_key() && !draft.is_bad("auth.secret") {
        let message = "needs auth.secret, the same at each server: else a token counts at one of \
                       them only";
        found.push(("engine.url", message));
    }
    for (key, message) in found {
        draft.add(Problem::new(draft.origin(key), format!("{key}: {message}")));
    }
}

/// Backups are of a store, and do not lie in it.
fn check_backups(draft: &mut Draft) {
    if draft.is_bad("store.path") || draft.is_bad("store.backup") {
        return;
    }
    let StoreConfig { path, backup, .. } = &draft.config.store;
    let message = if backup.is_empty() {
        return;
    } else if path.is_empty() {
        "store.backup: is nothing without store.path".to_owned()
    } else if is_within(Path::new(backup), Path::new(path)) {
        format!(
            "store.backup = {backup:?}: must not be in store.path ({}), because what takes a store \
             away would take its backups along",
            draft.origin("store.path")
        )
    } else {
        return;
    };
    draft.add(Problem::new(draft.origin("store.backup"), message));
}

/// Whether a folder is another one, or lies in it, by their names: no link is followed.
fn is_within(folder: &Path, other: &Path) -> bool {
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    whole(folder).starts_with(whole(other))
}

/// Algorithm, keys, guests and address must go together.
fn check_keys(draft: &mut Draft) {
    let config = &draft.config;
    let auth = &config.auth;
    let is_set = |key| draft.is_set(key);
    let mut found: Vec<(&'static str, String)> = Vec::new();
    if draft.is_bad("auth.algorithm") {
        return;
    }
    let algorithm = auth.algorithm.as_str();
    if auth.algorithm == Algorithm::Hs256 {
        if is_set("auth.public_key_file") {
            let message = "is for auth.algorithm = RS256, ES256 or EdDSA; the default, HS256, takes auth.secret";
            found.push(("auth.public_key_file", message.into()));
        }
        if is_set("auth.previous_secret") && !is_set("auth.secret") {
            found.push(("auth.previous_secret", "is nothing without auth.secret".into()));
        }
        if !config.is_private() && !is_set("auth.secret") && !is_set("auth.public_key_file") {
            let message = format!(
                "{} can be reached by others, so tokens need a key: set auth.secret to at least 32 random bytes, for \
                 example CHINWAG_AUTH__SECRET=$(openssl rand -base64 48), or auth.algorithm and auth.public_key_file",
                config.listen
            );
            found.push(("listen", message));
        }
    } else {
        for key in ["auth.secret", "auth.previous_secret"] {
            if is_set(key) {
                found.push((key, format!("is for auth.algorithm = HS256, not {algorithm}")));
            }
        }
        if !is_set("auth.public_key_file") {
            let message =
                format!("{algorithm}: needs auth.public_key_file, the key that verifies tokens");
            found.push(("auth.algorithm", message));
        }
        if auth.guests {
            let message = format!(
                "true: guests' tokens are signed here, which {algorithm} cannot do; HS256 can"
            );
            found.push(("auth.guests", message));
        }
    }
    for (key, message) in found {
        draft.add(Problem::new(draft.origin(key), format!("{key}: {message}")));
    }
}

/// What is only in memory has bounds of its own: `history.messages`, `history.room_bytes`.
fn check_retention(draft: &mut Draft) {
    if draft.is_bad("store.path") || !draft.config.store.path.is_empty() {
        return;
    }
    for key in ["store.keep_messages", "store.keep_bytes"] {
        if draft.is_set(key) && !draft.is_bad(key) && keys::value_of(&draft.config, key) > 0 {
            let message = format!("{key}: is nothing without store.path");
            draft.add(Problem::new(draft.origin(key), message));
        }
    }
}

/// A change rewrites a room's history where it lies, and moves all that lies behind it, while the
/// other rooms of the shard wait.
fn check_changes(draft: &mut Draft) {
    let (room_bytes, changes) = (draft.config.history.room_bytes, draft.config.chat.changes);
    let is_bad = ["history.room_bytes", "chat.changes"].iter().any(|key| draft.is_bad(key));
    if is_bad || room_bytes <= CHANGING_ROOM_BYTES_MAX || changes == 0 {
        return;
    }
    let message = format!(
        "history.room_bytes = {}: must be at most {} where messages can be changed, because a \
         change moves all that lies behind it; or set chat.changes = 0",
        grouped(room_bytes as u64),
        grouped(CHANGING_ROOM_BYTES_MAX as u64),
    );
    draft.add(Problem::new(draft.origin("history.room_bytes"), message));
}

fn read_public_keys(draft: &mut Draft, surroundings: &Surroundings<'_>) {
    let algorithm = draft.config.auth.algorithm;
    if draft.is_bad("auth.algorithm") || algorithm == Algorithm::Hs256 {
        return;
    }
    let mut found = Vec::new();
    for key in &mut draft.config.auth.public_keys {
        let error = match (surroundings.read)(Path::new(&*key.path)) {
            Ok(pem) => {
                key.pem = pem.into();
                key.key(algorithm).err().map(|error| error.to_string())
            }
            Err(error) => Some(error.to_string()),
        };
        found.extend(error.map(|error| format!("auth.public_key_file: {}: {error}", key.path)));
    }
    for message in found {
        draft.add(Problem::new(draft.origin("auth.public_key_file"), message));
    }
}

fn read_phrases(draft: &mut Draft, surroundings: &Surroundings<'_>) {
    let blocked = &mut draft.config.blocked;
    if blocked.path.is_empty() {
        return;
    }
    let path = blocked.path.clone();
    let found = match (surroundings.read)(Path::new(&path)) {
        Ok(text) => {
            blocked.text = text.into();
            blocked.phrases().err().unwrap_or_default()
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            vec![Fault { line: None, reason: "is no text in UTF-8".to_owned() }]
        }
        Err(error) => vec![Fault { line: None, reason: error.to_string() }],
    };
    for Fault { line, reason } in found {
        let message = match line {
            None => format!("chat.blocked_file: {path}: {reason}"),
            Some(line) => format!("chat.blocked_file: {path}:{line}: {reason}"),
        };
        draft.add(Problem::new(draft.origin("chat.blocked_file"), message));
    }
}
