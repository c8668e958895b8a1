//! What a server is, whether rooms can be kept there, and what it needs for that.
//!
//! Deliberately absent: where it is, and what follows from a refusal (`connect`).

use std::collections::HashMap;
use std::time::Duration;

use data_encoding::HEXLOWER;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ServerError, Value, cmd};
use tokio::time::{self, MissedTickBehavior};

use super::connect::{ConnectError, not_made, unfit};
use super::keys::{LAYOUT, Names};
use super::library::{Library, fcall};
use super::{NO_FUNCTION, Target};

/// Which layout all nodes know that write, as `cw:cfg` names it,
const LAYOUT_FIELD: &str = "layout";
/// and what is to be done if this version does not.
const LAYOUT_FIX: &str = "all nodes must have a version of the server that knows it";

/// The first version of Redis with functions and with channels of slots. Valkey began behind it.
const VERSION_MIN: (u32, u32) = (7, 0);

/// What a primary says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Where it is.
    pub place: Box<str>,
    /// On which of its histories it is: `master_replid`.
    pub branch: Box<str>,
    /// How many replicas are attached.
    pub replicas: u32,
    /// Its version, by its own name.
    pub version: Box<str>,
    /// Whether it is Valkey.
    pub is_valkey: bool,
    /// Whether it writes a file of what it was asked.
    pub has_aof: bool,
    /// When that is synced; `None`, if it is not told.
    pub appendfsync: Option<Box<str>>,
}

/// Asks the engine what it is, and refuses one in which rooms cannot be kept.
pub(super) async fn look(
    redis: &mut MultiplexedConnection,
    target: &Target,
    is_in_cluster: bool,
) -> Result<Facts, ConnectError> {
    let info = text(call(redis, cmd("INFO")).await?.map_err(|error| refused(&error, target))?)?;
    let facts: HashMap<&str, &str> =
        info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let fact = |name| facts.get(name).copied().unwrap_or_default();
    let version = fact("redis_version");
    if !is_new_enough(version) {
        return Err(unfit(format!("it is Redis {version}: 7.0 or newer is needed, or Valkey")));
    }
    if fact("cluster_enabled") == "1" && !is_in_cluster {
        return Err(unfit(
            "it is part of a cluster, of which it has only some rooms: set engine.url to \
             redis+cluster://HOST:PORT,HOST:PORT",
        ));
    }
    let policy = fact("maxmemory_policy");
    if policy != "noeviction" {
        return Err(unfit(format!(
            "maxmemory-policy is {policy:?}, by which parts of rooms are forgotten silently: \
             CONFIG SET maxmemory-policy noeviction"
        )));
    }
    if fact("role") != "master" {
        return Err(ConnectError::Passing("it is a replica".into()));
    }
    let branch = fact("master_replid");
    if branch.is_empty() {
        return Err(unfit(
            "INFO tells no master_replid, without which nobody would notice that messages were \
             lost: another engine is needed",
        ));
    }
    let valkey = facts.get("valkey_version");
    Ok(Facts {
        branch: branch.into(),
        replicas: fact("connected_slaves").parse().unwrap_or_default(),
        version: valkey.map_or(version, |version| version).into(),
        is_valkey: valkey.is_some(),
        has_aof: fact("aof_enabled") == "1",
        appendfsync: appendfsync(redis).await?,
        place: Box::default(),
    })
}

fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or_default());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()) >= VERSION_MIN
}

/// When the engine syncs its file, which not every user is told.
async fn appendfsync(redis: &mut MultiplexedConnection) -> Result<Option<Box<str>>, ConnectError> {
    match call(redis, command(&["CONFIG", "GET", "appendfsync"])).await? {
        Ok(Value::Map(pairs)) => {
            pairs.into_iter().next().map(|(_, value)| Ok(text(value)?.into())).transpose()
        }
        _ => Ok(None),
    }
}

/// Loads the library where it is missing, and asks it which commands this user may not call, with
/// a key and a channel that the server has.
pub(super) async fn check_rights(
    redis: &mut MultiplexedConnection,
    (key, channel): &(String, String),
    target: &Target,
) -> Result<(), ConnectError> {
    let lacks = || {
        let mut lacks = fcall("lacks");
        lacks.arg(1).arg(key).arg(channel);
        lacks
    };
    let mut answer = call(redis, lacks()).await?;
    if answer.as_ref().is_err_and(|error| error.details() == Some(NO_FUNCTION)) {
        // Another node may be faster.
        if let Err(error) =
            call(redis, command(&["FUNCTION", "LOAD", &Library::ours().text])).await?
            && !error.details().is_some_and(|details| details.contains("already exists"))
        {
            return Err(refused(&error, target));
        }
        answer = call(redis, lacks()).await?;
    }
    let lacking = match answer.map_err(|error| refused(&error, target))? {
        Value::Array(lacking) => lacking.into_iter().map(text).collect::<Result<Vec<_>, _>>()?,
        _ => return Err(foreign()),
    };
    if lacking.is_empty() {
        return Ok(());
    }
    Err(unfit(format!("this user may not call {}: {}", lacking.join(", "), rights(target))))
}

/// Writes down what all nodes must agree on, or compares it.
pub(super) async fn check_config(
    redis: &mut MultiplexedConnection,
    names: &Names,
    target: &Target,
) -> Result<(), ConnectError> {
    let config = names.config();
    for (field, ours, fix) in [
        (LAYOUT_FIELD, LAYOUT, LAYOUT_FIX),
        (
            "partitions",
            &*target.partitions.to_string(),
            "set engine.partitions to that, or another engine.prefix",
        ),
    ] {
        let theirs = agreed(redis, &config, (field, ours), target).await?;
        if theirs != ours {
            return Err(unfit(differs(&config, (field, &theirs, ours), fix)));
        }
    }
    Ok(())
}

/// Asks again and again how rooms are laid out there, and returns as soon as this version does not
/// know that any more: why it must not write.
pub(super) async fn laid_out_otherwise(
    mut redis: MultiplexedConnection,
    config: String,
    every: Duration,
) -> String {
    let mut turns = time::interval(every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let layout = command(&["HGET", &config, LAYOUT_FIELD]);
        // That the connection has ended, or the engine is emptied, others notice.
        let Ok(Ok(Value::BulkString(theirs))) = call(&mut redis, layout).await else { continue };
        if theirs != LAYOUT.as_bytes() {
            let theirs = String::from_utf8_lossy(&theirs);
            return differs(&config, (LAYOUT_FIELD, &theirs, LAYOUT), LAYOUT_FIX);
        }
    }
}

fn differs(config: &str, (field, theirs, ours): (&str, &str, &str), fix: &str) -> String {
    format!("{field} in {config} is {theirs}, and here {ours}: {fix}")
}

/// What all nodes sign by that have no key of their own.
pub(super) async fn secret(
    redis: &mut MultiplexedConnection,
    names: &Names,
    target: &Target,
) -> Result<[u8; 32], ConnectError> {
    let config = names.config();
    let ours = HEXLOWER.encode(&target.made_secret);
    let theirs = agreed(redis, &config, ("secret", &ours), target).await?;
    let secret = HEXLOWER.decode(theirs.as_bytes()).ok();
    let secret = secret.and_then(|secret| secret.try_into().ok());
    secret.ok_or_else(|| unfit(format!("secret in {config} is none: delete that field")))
}

/// What all nodes agree on: what the first one has written.
async fn agreed(
    redis: &mut MultiplexedConnection,
    config: &str,
    (field, ours): (&str, &str),
    target: &Target,
) -> Result<String, ConnectError> {
    let read = || command(&["HGET", config, field]);
    let mut theirs = call(redis, read()).await?.map_err(|error| refused(&error, target))?;
    if theirs == Value::Nil {
        let write = command(&["HSETNX", config, field, ours]);
        call(redis, write).await?.map_err(|error| refused(&error, target))?;
        theirs = call(redis, read()).await?.map_err(|error| refused(&error, target))?;
    }
    text(theirs)
}

/// What the engine's administrator does so that a user may do all that is needed.
fn rights(target: &Target) -> String {
    let Target { prefix, url, .. } = target;
    let of_cluster = if url.contains("+cluster://") { " +cluster|slots" } else { "" };
    format!(
        "ACL SETUSER NAME ~{prefix}:* &{prefix}:* +@read +@write +@pubsub +@connection \
         +@transaction +fcall +function|load +info +time +wait{of_cluster}"
    )
}

/// Calls one command. An error of the engine is an answer too.
pub(super) async fn call(
    redis: &mut MultiplexedConnection,
    command: Cmd,
) -> Result<Result<Value, ServerError>, ConnectError> {
    match redis.send_packed_command(&command).await {
        Ok(Value::ServerError(error)) => Ok(Err(error)),
        Ok(value) => Ok(Ok(value)),
        Err(error) => Err(not_made(&error)),
    }
}

pub(super) fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command
}

/// An error of the engine, at something that is done at each start.
pub(super) fn refused(error: &ServerError, target: &Target) -> ConnectError {
    let why = format!("{} {}", error.code(), error.details().unwrap_or_default());
    match error.code() {
        "NOPERM" | "NOAUTH" => unfit(format!("{why}: {}", rights(target))),
        "WRONGTYPE" => {
            let config = Names::new(target).config();
            unfit(format!("{why}: {config} is somebody else's, so set another engine.prefix"))
        }
        "ERR" if why.contains("unknown command") => {
            unfit(format!("{why}: Redis 7.0 or newer is needed, or Valkey"))
        }
        _ => ConnectError::Passing(why.into()),
    }
}

fn text(value: Value) -> Result<String, ConnectError> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| foreign()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Ok(text),
        _ => Err(foreign()),
    }
}

/// It answers otherwise than Redis and Valkey do.
pub(super) fn foreign() -> ConnectError {
    unfit("it does not answer as Redis and Valkey do")
}
