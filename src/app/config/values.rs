//! The configuration itself: everything that is chosen, with its defaults.
//!
//! Invariants: no secret is ever shown by `Debug`.
//!
//! Deliberately absent: names, ranges and texts (`keys`), and where a value comes from (`sources`).

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use crate::auth::token::{Algorithm, Key, KeyError, Parties, Signer, Verifier};
use crate::base::phrases::{Fault, Phrases};
use crate::limits::{
    ChatLimits, EngineLimits, HistoryLimits, Limits, PresenceLimits, STORE_ROOMS, StoreLimits,
    TOKEN_WARN_S,
};
use crate::wire::http::forwarded::{ForwardedHeader, Network};

/// Everything that is configured. Its keys are listed in `docs/configuration.md` under the same
/// names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub listen_proxy_protocol: bool,
    /// How many shards, each with a thread. 0: as many as there are cores.
    pub shards: u16,
    /// How long a stop may take, in seconds.
    pub drain_s: u64,
    /// Whether `/echo` is served: a WebSocket endpoint that sends back what it gets, for
    /// conformance tests.
    pub echo: bool,
    /// What is logged.
    pub log: LogConfig,
    /// Who may connect.
    pub auth: AuthConfig,
    /// What browsers may do.
    pub http: HttpConfig,
    /// Bounds of connections and rooms.
    pub limits: Limits,
    /// Bounds of what rooms remember.
    pub history: HistoryLimits,
    /// How presence is told.
    pub presence: PresenceLimits,
    /// What may become of messages.
    pub chat: ChatLimits,
    /// How rooms come to be.
    pub rooms: RoomsConfig,
    /// What messages may not have.
    pub blocked: BlockedFile,
    /// Where what was said is kept.
    pub store: StoreConfig,
    /// Where several servers keep it together.
    pub engine: EngineConfig,
    /// Where what these let go of stays.
    pub archive: ArchiveConfig,
}

/// How rooms come to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomsConfig {
    /// Whether one that does not exist is made by joining it.
    pub implicit: bool,
    /// Who makes rooms on purpose.
    pub create: CreateRooms,
}

/// Who makes rooms on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateRooms {
    /// Whoever has a token that allows the room.
    All,
    /// Keys of the API alone, and no user's token.
    Keys,
}

impl CreateRooms {
    /// All of them.
    pub(super) const ALL: [Self; 2] = [Self::All, Self::Keys];
    /// Their names, in that order.
    pub(super) const NAMES: [&'static str; 2] = ["all", "keys"];
}

impl Default for RoomsConfig {
    fn default() -> Self {
        Self { implicit: true, create: CreateRooms::All }
    }
}

/// Phrases that messages may not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockedFile {
    /// The file that they are in. Empty: there are none.
    pub path: String,
    /// What the file contains.
    pub text: Box<str>,
}

impl BlockedFile {
    /// The phrases; `None` if there are none.
    ///
    /// # Errors
    ///
    /// With what is wrong with them. A loaded configuration has been checked for that.
    pub fn phrases(&self) -> Result<Option<Phrases>, Vec<Fault>> {
        Phrases::parse(&self.text)
    }
}

/// Where what was said is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The folder, of the working directory unless it is absolute. Empty: rooms are in memory only,
    /// and end with the process.
    pub path: String,
    /// When a message is answered `ok`.
    pub ack: StoreAck,
    /// When the members of a room see it.
    pub deliver: StoreDeliver,
    /// What the writer takes at a time.
    pub limits: StoreLimits,
    /// How many threads read rooms.
    pub readers: u16,
    /// Whether all of a room can be searched, and not only what is in memory.
    pub search: bool,
    /// For how long messages are kept, in seconds, in memory only too. 0: no bound.
    pub keep_s: u64,
    /// How many messages are kept of each room. 0: no bound.
    pub keep_messages: u64,
    /// How many bytes of messages are kept of each room. 0: no bound.
    pub keep_bytes: u64,
    /// How much of the disk stays free, in bytes. 0: it is not looked at.
    pub reserve_bytes: u64,
    /// Bytes of pages that all its threads keep in memory: half of them are the writer's.
    pub cache_bytes: usize,
    /// How many rooms are kept.
    pub rooms: u32,
    /// Whether a very large store is copied too before a new version migrates it.
    pub migrate_backup: bool,
    /// The folder of backups that are made by the clock. Empty: none are.
    pub backup: String,
    /// How long after one the next one is made, in seconds.
    pub backup_every_s: u64,
    /// How many of them are kept.
    pub backup_keep: u32,
}

/// When a message is answered `ok`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreAck {
    /// When it is on disk.
    Commit,
    /// At once.
    AcceptMayLose1s,
}

impl StoreAck {
    /// All of them.
    pub(super) const ALL: [Self; 2] = [Self::Commit, Self::AcceptMayLose1s];
    /// Their names, in that order.
    pub(super) const NAMES: [&'static str; 2] = ["commit", "accept_may_lose_1s"];
}

/// When the members of a room see a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreDeliver {
    /// At once.
    AtOnce,
    /// When it is on disk.
    AfterCommit,
}

impl StoreDeliver {
    /// All of them.
    pub(super) const ALL: [Self; 2] = [Self::AtOnce, Self::AfterCommit];
    /// Their names, in that order.
    pub(super) const NAMES: [&'static str; 2] = ["at_once", "after_commit"];
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            path: if cfg!(feature = "store") { "chinwag-data" } else { "" }.to_owned(),
            ack: StoreAck::Commit,
            deliver: StoreDeliver::AtOnce,
            limits: StoreLimits::default(),
            readers: 2,
            search: true,
            keep_s: 0,
            keep_messages: 0,
            keep_bytes: 0,
            // What is deleted, and moved from the log into the database, needs some for a while.
            reserve_bytes: 256 * 1_024 * 1_024,
            cache_bytes: 32 * 1_024 * 1_024,
            rooms: STORE_ROOMS,
            migrate_backup: false,
            backup: String::new(),
            backup_every_s: 24 * 60 * 60,
            backup_keep: 7,
        }
    }
}

/// Where several servers keep their rooms together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Where the engine is. None: there is none.
    pub url: Option<Secret>,
    /// What all names there begin with; None: [`EngineConfig::PREFIX`].
    pub prefix: Option<Box<str>>,
    /// How many parts rooms fall into there.
    pub partitions: u16,
    /// When a message is answered `ok`.
    pub ack: EngineAck,
    /// How many replicas must have it then, where that matters.
    pub replicas: u32,
    /// How many messages are kept of each room, about.
    pub history: u32,
    /// For how long they are kept after the last one, in seconds.
    pub history_s: u32,
    /// For how long a room is known after that, in seconds.
    pub room_s: u32,
    /// For how long keys of messages are known, in seconds.
    pub key_s: u32,
    /// What its thread takes at a time, and for how long it waits.
    pub limits: EngineLimits,
}

impl EngineConfig {
    /// What all names in the engine begin with, unless it is configured.
    pub const PREFIX: &str = "cw";
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            url: None,
            prefix: None,
            partitions: 1_024,
            ack: EngineAck::Auto,
            replicas: 1,
            history: 1_000,
            history_s: 7 * 86_400,
            room_s: 30 * 86_400,
            key_s: 3_600,
            limits: EngineLimits::default(),
        }
    }
}

/// Where what an engine lets go of stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveConfig {
    /// Where the database is. None: there is none.
    pub url: Option<Secret>,
    /// How long connecting may take, and each statement, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        Self { url: None, timeout_ms: 2_000 }
    }
}

/// When a message is answered `ok` that an engine keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineAck {
    /// When a replica has it, if there is one; else when the primary has it.
    Auto,
    /// When the primary has it.
    Primary,
    /// When replicas have it.
    Replica,
}

impl EngineAck {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Auto, Self::Primary, Self::Replica];
    /// Their names, in that order.
    pub(super) const NAMES: [&'static str; 3] = ["auto", "primary", "replica"];
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The least important level that is still logged.
    pub level: tracing::Level,
}

/// What browsers may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpConfig {
    /// Origins besides our own whose pages may connect, as browsers write them:
    /// `https://chat.example`.
    pub origins: Vec<String>,
    /// Proxies that may say in a request's headers whose it is.
    pub trusted_proxies: Vec<Network>,
    /// Which header that is.
    pub forwarded_header: ForwardedHeader,
    /// Whether `/metrics` is served, to anybody who can connect.
    pub metrics: bool,
}

/// Who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// How tokens are signed.
    pub algorithm: Algorithm,
    /// The key of [`Algorithm::Hs256`]. None: one is made at start, and forgotten at the end.
    pub secret: Option<Secret>,
    /// A secret that is still accepted and no longer used to sign.
    pub previous_secret: Option<Secret>,
    /// The keys of the other algorithms.
    pub public_keys: Vec<PublicKey>,
    /// The `aud` that tokens must carry.
    pub audience: Option<Box<str>>,
    /// The `iss` that tokens must carry.
    pub issuer: Option<Box<str>>,
    /// Whether anybody may get a token from us by giving a name.
    pub guests: bool,
    /// For how long a guest's token counts, in seconds.
    pub guest_ttl_s: u64,
    /// How long a token may still count when it is shown, in seconds. 0: no bound.
    pub ttl_max_s: u64,
    /// How long before the end of its token a client is told, in seconds. 0: it is not.
    pub warn_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // Phoenix' port, and nobody else's business until a key is configured.
            listen: (Ipv4Addr::LOCALHOST, 4000).into(),
            listen_proxy_protocol: false,
            shards: 0,
            // Orchestrators kill after 30 s.
            drain_s: 25,
            echo: false,
            log: LogConfig { level: tracing::Level::INFO },
            auth: AuthConfig::default(),
            http: HttpConfig::default(),
            limits: Limits::default(),
            history: HistoryLimits::default(),
            presence: PresenceLimits::default(),
            chat: ChatLimits::default(),
            rooms: RoomsConfig::default(),
            blocked: BlockedFile::default(),
            store: StoreConfig::default(),
            engine: EngineConfig::default(),
            archive: ArchiveConfig::default(),
        }
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Hs256,
            secret: None,
            previous_secret: None,
            public_keys: Vec::new(),
            audience: None,
            issuer: None,
            // As it is for what `Config::default` listens on.
            guests: true,
            guest_ttl_s: 24 * 60 * 60,
            ttl_max_s: 0,
            warn_s: TOKEN_WARN_S,
        }
    }
}

impl Config {
    /// Whether only this machine can reach the server.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.listen.ip().to_canonical().is_loopback()
    }
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(super) Box<str>);

impl Secret {
    /// The secret in the clear, to make a key of it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A public key for tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// The id by which tokens name it, if they have to.
    pub kid: Option<Box<str>>,
    /// The file it is in.
    pub path: Box<str>,
    /// What the file contains.
    pub pem: Box<str>,
}

/// What verifies tokens, and what signs a guest's.
pub struct Keys {
    /// For every connection.
    pub verifier: Verifier,
    /// For guests' tokens; None where only the public half of the key is ours.
    pub signer: Option<Signer>,
}

impl AuthConfig {
    /// Whether a key is configured, or one has to be made.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.secret.is_some() || self.algorithm != Algorithm::Hs256
    }

    /// The keys. `made` is the secret to use where none is configured: at least 32 random bytes.
    ///
    /// # Errors
    ///
    /// Where a key is none. A loaded configuration has been checked for that; `made` has not.
    pub fn keys(&self, made: &[u8]) -> Result<Keys, KeyError> {
        let parties = Parties { audience: self.audience.clone(), issuer: self.issuer.clone() };
        if self.algorithm != Algorithm::Hs256 {
            let keys = self
                .public_keys
                .iter()
                .map(|key| key.key(self.algorithm))
                .collect::<Result<_, _>>()?;
            return Ok(Keys { verifier: self.verifier(keys, parties)?, signer: None });
        }
        let secret = self.secret.as_ref().map_or(made, Secret::as_bytes);
        let secrets = [Some(secret), self.previous_secret.as_ref().map(Secret::as_bytes)];
        let keys = secrets.into_iter().flatten().map(Key::from_secret).collect::<Result<_, _>>()?;
        let signer = Signer::new(secret, parties.clone())?;
        Ok(Keys { verifier: self.verifier(keys, parties)?, signer: Some(signer) })
    }

    fn verifier(&self, keys: Vec<Key>, parties: Parties) -> Result<Verifier, KeyError> {
        Ok(Verifier::new(keys, parties)?.with_ttl_max(self.ttl_max_s))
    }

    /// How long a guest's token counts, in seconds: no longer than any may.
    #[must_use]
    pub fn guest_ttl_s(&self) -> u64 {
        match self.ttl_max_s {
            0 => self.guest_ttl_s,
            ttl_max_s => self.guest_ttl_s.min(ttl_max_s),
        }
    }
}

impl PublicKey {
    pub(super) fn key(&self, algorithm: Algorithm) -> Result<Key, KeyError> {
        Key::from_pem(algorithm, self.kid.as_deref(), &self.pem)
    }
}
