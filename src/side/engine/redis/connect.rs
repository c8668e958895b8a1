//! From an address to a connection: what the engine is, whether rooms can be kept there, and what
//! it needs for that.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use data_encoding::HEXLOWER;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, RedisError, ServerError, Value,
    cmd,
};
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time;

use super::address::Address;
use super::keys::Names;
use super::life::{Connection, Life};
use super::sentinel::{self, Sentinels};
use super::{Event, NO_FUNCTION, Target};

/// The functions that the engine runs.
pub(super) const LIBRARY: &str = include_str!("../chinwag_1.lua");

/// How the keys are laid out, as `cw:cfg` names it.
const LAYOUT: &str = "1";

/// The first version of Redis with functions and with channels of slots. Valkey began behind it.
const VERSION_MIN: (u32, u32) = (7, 0);

/// What the engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
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
    /// What all nodes sign by that have no key of their own.
    pub secret: [u8; 32],
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// Rooms cannot be kept there before somebody has changed something: what that is.
    Unfit(Box<str>),
    /// It may be better later.
    Passing(Box<str>),
}

impl ConnectError {
    /// Why, whatever follows from that.
    #[must_use]
    pub fn into_why(self) -> Box<str> {
        let (Self::Unfit(why) | Self::Passing(why)) = self;
        why
    }

    /// Nothing was answered in time.
    pub(super) fn silent(timeout: Duration) -> Self {
        Self::Passing(format!("it has not answered in {} ms", timeout.as_millis()).into())
    }

    /// The same, of one server among others.
    pub(super) fn at(self, place: impl Display) -> Self {
        let named = |why| format!("{place}: {why}").into();
        match self {
            Self::Unfit(why) => Self::Unfit(named(why)),
            Self::Passing(why) => Self::Passing(named(why)),
        }
    }
}

/// Makes connections to an engine, one after another.
#[derive(Clone)]
pub struct Connector {
    target: Target,
    way: Way,
    sentinels_answering: Arc<AtomicU32>,
}

/// How it is known where the engine is.
#[derive(Clone)]
enum Way {
    /// It is there, always.
    Server(Box<ConnectionInfo>),
    /// Sentinels are asked, each time anew.
    Sentinels(Arc<Mutex<Sentinels>>),
}

impl Connector {
    /// One for this engine.
    ///
    /// # Errors
    ///
    /// If its address is none.
    pub fn new(target: Target) -> Result<Self, ConnectError> {
        let (way, sentinels_answering) = match Address::parse(&target.url)? {
            Address::Server(info) => (Way::Server(Box::new(info)), Arc::default()),
            Address::Service(service) => {
                let sentinels = Sentinels::new(service);
                let answering = sentinels.answering();
                (Way::Sentinels(Arc::new(Mutex::new(sentinels))), answering)
            }
        };
        Ok(Self { target, way, sentinels_answering })
    }

    /// What all nodes sign by is this from now on: an engine that comes back empty is given it
    /// again.
    pub fn keep_secret(&mut self, secret: [u8; 32]) {
        self.target.made_secret = secret;
    }

    /// How many sentinels have answered when all were asked last; 0, if the engine has none.
    #[must_use]
    pub fn sentinels_answering(&self) -> u32 {
        self.sentinels_answering.load(Ordering::Relaxed)
    }

    /// Connects to the engine, and sees to it that rooms can be kept there. All that happens on the
    /// connection is told to `events`, in order. Runs on a current-thread runtime.
    ///
    /// # Errors
    ///
    /// Those of [`ConnectError`]; of a connection that was not made nothing is told to `events`.
    pub async fn connect(
        &self,
        events: UnboundedSender<Event>,
    ) -> Result<Connection, ConnectError> {
        let sentinels = match &self.way {
            Way::Server(info) => return self.connect_to((**info).clone(), events).await,
            Way::Sentinels(sentinels) => Arc::clone(sentinels),
        };
        let (primary, info) = sentinels.lock().await.primary(self.timeout()).await?;
        let every = Duration::from_millis(self.target.ping_ms);
        let connected = tokio::select! {
            connected = self.connect_to(info, events) => connected,
            // It hangs, and is given up meanwhile.
            other = sentinel::moved(&sentinels, &primary, every) => {
                Err(ConnectError::Passing(format!("by now they name {other}").into()))
            }
        };
        let mut connection = connected
            .map_err(|failure| failure.at(format!("{primary}, which sentinels name as primary")))?;
        connection.end_when(async move {
            let other = sentinel::moved(&sentinels, &primary, every).await;
            format!("sentinels name {other} as primary, and no more {primary}")
        });
        Ok(connection)
    }

    /// Connects as well, for whoever waits for each answer, and hears nothing else.
    ///
    /// # Errors
    ///
    /// Those of [`ConnectError`].
    #[cfg(feature = "store")]
    pub(super) async fn connect_to_ask(
        &self,
        names: &Names,
    ) -> Result<(MultiplexedConnection, Facts), ConnectError> {
        let info = match &self.way {
            Way::Server(info) => (**info).clone(),
            Way::Sentinels(sentinels) => sentinels.lock().await.primary(self.timeout()).await?.1,
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout()))
            // What is asked may be much.
            .set_response_timeout(None);
        made(info, &self.target, names, config).await
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.target.timeout_ms)
    }

    async fn connect_to(
        &self,
        info: ConnectionInfo,
        events: UnboundedSender<Event>,
    ) -> Result<Connection, ConnectError> {
        let (timeout, connecting) = (self.timeout(), connect_in_time(info, &self.target, events));
        let connected = time::timeout(timeout, connecting).await;
        connected.unwrap_or_else(|_| Err(ConnectError::silent(timeout)))
    }
}

async fn connect_in_time(
    info: ConnectionInfo,
    target: &Target,
    events: UnboundedSender<Event>,
) -> Result<Connection, ConnectError> {
    let names = Names::new(target);
    let life = Life::new(target, &names, events);
    let config = AsyncConnectionConfig::new()
        .set_push_sender(life.clone())
        // Deadlines are those of whoever asks.
        .set_connection_timeout(None)
        .set_response_timeout(None)
        // Sending never waits, so that it keeps its order. Whoever asks bounds what is under way.
        .set_pipeline_buffer_size(tokio::sync::Semaphore::MAX_PERMITS);
    let (redis, facts) = made(info, target, &names, config).await?;
    Ok(Connection::new(redis, target.clone(), names, facts, life))
}

/// Makes a connection to an engine in which rooms can be kept.
async fn made(
    info: ConnectionInfo,
    target: &Target,
    names: &Names,
    config: AsyncConnectionConfig,
) -> Result<(MultiplexedConnection, Facts), ConnectError> {
    let client = Client::open(info).map_err(|error| not_made(&error))?;
    let mut redis = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(|error| not_made(&error))?;
    let facts = look(&mut redis, target).await?;
    check_rights(&mut redis, names, target).await?;
    check_config(&mut redis, names, target).await?;
    let secret = secret(&mut redis, names, target).await?;
    Ok((redis, Facts { secret, ..facts }))
}

/// Asks the engine what it is, and refuses one in which rooms cannot be kept.
async fn look(redis: &mut MultiplexedConnection, target: &Target) -> Result<Facts, ConnectError> {
    let info = text(call(redis, cmd("INFO")).await?.map_err(|error| refused(&error, target))?)?;
    let facts: HashMap<&str, &str> =
        info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let fact = |name| facts.get(name).copied().unwrap_or_default();
    let version = fact("redis_version");
    if !is_new_enough(version) {
        return Err(unfit(format!("it is Redis {version}: 7.0 or newer is needed, or Valkey")));
    }
    if fact("redis_mode") == "cluster" {
        return Err(unfit("it is part of a cluster, of which this version knows nothing"));
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
        secret: [0; 32],
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

/// Loads the library where it is missing, and asks it which commands this user may not call.
async fn check_rights(
    redis: &mut MultiplexedConnection,
    names: &Names,
    target: &Target,
) -> Result<(), ConnectError> {
    let (key, channel) = (names.config(), names.node(target.node));
    let lacks = || command(&["FCALL", "chinwag_1_lacks", "1", &key, &channel]);
    let mut answer = call(redis, lacks()).await?;
    if answer.as_ref().is_err_and(|error| error.details() == Some(NO_FUNCTION)) {
        // Another node may be faster.
        if let Err(error) = call(redis, command(&["FUNCTION", "LOAD", LIBRARY])).await?
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
async fn check_config(
    redis: &mut MultiplexedConnection,
    names: &Names,
    target: &Target,
) -> Result<(), ConnectError> {
    let config = names.config();
    for (field, ours, fix) in [
        ("layout", LAYOUT, "all nodes must have a version of the server that knows it"),
        (
            "partitions",
            &*target.partitions.to_string(),
            "set engine.partitions to that, or another engine.prefix",
        ),
    ] {
        let theirs = agreed(redis, &config, (field, ours), target).await?;
        if theirs != ours {
            let what = format!("{field} in {config} is {theirs}, and here {ours}: {fix}");
            return Err(unfit(what));
        }
    }
    Ok(())
}

/// What all nodes sign by that have no key of their own.
async fn secret(
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
    let Target { prefix, .. } = target;
    format!(
        "ACL SETUSER NAME ~{prefix}:* &{prefix}:* +@read +@write +@pubsub +@connection \
         +@transaction +fcall +function|load +info +time +wait"
    )
}

/// Calls one command. An error of the engine is an answer too.
async fn call(
    redis: &mut MultiplexedConnection,
    command: Cmd,
) -> Result<Result<Value, ServerError>, ConnectError> {
    match redis.send_packed_command(&command).await {
        Ok(Value::ServerError(error)) => Ok(Err(error)),
        Ok(value) => Ok(Ok(value)),
        Err(error) => Err(not_made(&error)),
    }
}

fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command
}

/// An error of the crate, before there is a connection.
fn not_made(error: &RedisError) -> ConnectError {
    let why = error.to_string();
    match error.kind() {
        ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => unfit(why),
        ErrorKind::RESP3NotSupported => unfit(format!("{why}: Redis 7.0 or newer is needed")),
        _ => match error.code() {
            Some("WRONGPASS" | "NOAUTH" | "NOPERM") => unfit(why),
            _ => ConnectError::Passing(why.into()),
        },
    }
}

/// An error of the engine, at something that is done at each start.
fn refused(error: &ServerError, target: &Target) -> ConnectError {
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

pub(super) fn unfit(why: impl Into<Box<str>>) -> ConnectError {
    ConnectError::Unfit(why.into())
}

fn text(value: Value) -> Result<String, ConnectError> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| foreign()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Ok(text),
        _ => Err(foreign()),
    }
}

/// It answers otherwise than Redis and Valkey do.
fn foreign() -> ConnectError {
    unfit("it does not answer as Redis and Valkey do")
}
