//! What an operator may choose, where it comes from, and whether it makes sense.
//!
//! Defaults are overridden by one TOML file, that by variables `CHINWAG_*`, and those by flags.
//! `keys` is the one table of what there is to choose: reading, complaining, `--help` and
//! `docs/operating.md` all follow it. [`Config::load`] looks at everything before it gives up, so
//! that one start tells all that is wrong.
//!
//! Invariants: a [`Config`] that was loaded is whole, its relations hold and its keys have been
//! read; no secret is ever shown, whether by `Debug` or in a complaint.
//!
//! Deliberately absent: reloading (a restart drains), and access to the process' surroundings (they
//! are passed in).

mod keys;
mod kind;
mod problem;
mod relations;
mod sources;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

pub(crate) use keys::help;
pub use keys::reference;
pub use problem::{Origin, Problem, Problems};
pub use sources::{Flags, Surroundings};

use crate::auth::token::{Algorithm, Key, KeyError, Parties, Signer, Verifier};
use crate::limits::{HistoryLimits, Limits, PresenceLimits};

/// Everything that is configured. Its keys are listed in `docs/operating.md` under the same names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // Phoenix' port, and nobody else's business until a key is configured.
            listen: (Ipv4Addr::LOCALHOST, 4000).into(),
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
        }
    }
}

impl Config {
    /// The configuration that file, environment and flags make together.
    ///
    /// # Errors
    ///
    /// With everything that is wrong, in the order of the sources, and lines within the file.
    pub fn load(flags: &Flags, surroundings: &Surroundings<'_>) -> Result<Self, Problems> {
        let mut draft = Draft::default();
        for setting in sources::collect(flags, surroundings, &mut draft.problems) {
            draft.apply(setting);
        }
        draft.finish(surroundings)
    }

    /// Whether only this machine can reach the server.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.listen.ip().to_canonical().is_loopback()
    }
}

/// A configuration in the making: what is set so far, by whom, and what was wrong with it.
#[derive(Default)]
struct Draft {
    config: Config,
    /// Where each key that was set has its value from. Bad ones are there too, and in `bad`.
    origins: std::collections::BTreeMap<&'static str, Origin>,
    bad: std::collections::BTreeSet<&'static str>,
    problems: Vec<Problem>,
}

impl Draft {
    fn apply(&mut self, setting: sources::Setting) {
        let sources::Setting { origin, key, given } = setting;
        if let Err(message) = key.set(&mut self.config, &given) {
            self.bad.insert(key.name);
            self.problems.push(Problem::of_value(origin.clone(), key, &given, &message));
        }
        self.origins.insert(key.name, origin);
    }

    fn finish(mut self, surroundings: &Surroundings<'_>) -> Result<Config, Problems> {
        if !self.origins.contains_key("auth.guests") {
            let has_key = ["auth.secret", "auth.public_key_file"]
                .iter()
                .any(|key| self.origins.contains_key(key))
                || self.config.auth.has_key();
            self.config.auth.guests = !has_key && self.config.is_private();
        }
        relations::check(&mut self, surroundings);
        if self.problems.is_empty() { Ok(self.config) } else { Err(Problems(self.problems)) }
    }

    /// Where the value of this key comes from.
    fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

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
            return Ok(Keys { verifier: Verifier::new(keys, parties)?, signer: None });
        }
        let secret = self.secret.as_ref().map_or(made, Secret::as_bytes);
        let secrets = [Some(secret), self.previous_secret.as_ref().map(Secret::as_bytes)];
        let keys = secrets.into_iter().flatten().map(Key::from_secret).collect::<Result<_, _>>()?;
        let signer = Signer::new(secret, parties.clone())?;
        Ok(Keys { verifier: Verifier::new(keys, parties)?, signer: Some(signer) })
    }
}

impl PublicKey {
    fn key(&self, algorithm: Algorithm) -> Result<Key, KeyError> {
        Key::from_pem(algorithm, self.kid.as_deref(), &self.pem)
    }
}

#[cfg(test)]
mod tests;
