//! A connection to the database, and whether an archive can be kept there.
//!
//! Deliberately absent: what is written and read.

use std::str::FromStr;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use tokio::task::JoinHandle;
use tokio::time;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::schema::{ABOUT, LOCK, MIGRATIONS};

/// The first version of PostgreSQL that is tried.
const VERSION_MIN: i32 = 120_000;

/// Why there is no connection, or something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DatabaseError {
    /// It would have taken too long, says the database, which goes on.
    Late(Box<str>),
    /// The database refuses it, and goes on.
    Refused(Box<str>),
    /// No archive can be kept there before somebody has changed something: what that is.
    Unfit(Box<str>),
    /// It may be better later.
    Passing(Box<str>),
}

impl DatabaseError {
    /// Why, whatever follows from that.
    pub(super) fn into_why(self) -> Box<str> {
        let (Self::Late(why) | Self::Refused(why) | Self::Unfit(why) | Self::Passing(why)) = self;
        why
    }

    /// Whether it is about what was asked, and may be another for something else.
    pub(super) fn is_of_question(&self) -> bool {
        matches!(self, Self::Late(_) | Self::Refused(_))
    }
}

impl From<Error> for DatabaseError {
    fn from(error: Error) -> Self {
        let why = match error.as_db_error() {
            Some(of) => format!("{}: {}", of.code().code(), of.message()),
            None => told(&error),
        };
        let is_of_class = |class| error.code().is_some_and(|code| code.code().starts_with(class));
        let is_unfit = is_of_class("28")
            || error.code() == Some(&SqlState::INVALID_CATALOG_NAME)
            || error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE);
        if error.code() == Some(&SqlState::QUERY_CANCELED) {
            return Self::Late(why.into());
        }
        match error.as_db_error() {
            _ if is_unfit => Self::Unfit(why.into()),
            Some(_) => Self::Refused(why.into()),
            None => Self::Passing(why.into()),
        }
    }
}

/// An error with what is behind it.
fn told(error: &dyn std::error::Error) -> String {
    let mut why = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        why.push_str(": ");
        why.push_str(&error.to_string());
        source = error.source();
    }
    why
}

/// Which database is meant.
#[derive(Clone)]
pub(super) struct Database {
    config: Config,
    tls: MakeRustlsConnect,
    prefix: Box<str>,
    /// How long connecting may take, and each statement.
    timeout: Duration,
}

/// A connection. It ends when it is dropped.
pub(super) struct Line {
    pub(super) client: Client,
    task: JoinHandle<()>,
    timeout: Duration,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Line {
    /// Does something within the time that it may take. After a failure the connection is of no
    /// use any more.
    pub(super) async fn in_time<T>(
        timeout: Duration,
        doing: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, DatabaseError> {
        let done = time::timeout(timeout, doing).await;
        done.unwrap_or_else(|_| {
            let why = format!("it has not answered in {} ms", timeout.as_millis());
            Err(DatabaseError::Passing(why.into()))
        })
    }

    /// How long a statement may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }
}

impl Database {
    /// Reads its address. What it is refused for has nothing of a password.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub(super) fn parse(url: &str, prefix: &str, timeout_ms: u64) -> Result<Self, Box<str>> {
        let mut config = Config::from_str(url).map_err(|error| told(&error))?;
        if config.get_hosts().is_empty() {
            return Err("it names no host: postgres://USER:PASSWORD@HOST:5432/DATABASE".into());
        }
        let timeout = Duration::from_millis(timeout_ms);
        config.connect_timeout(timeout).application_name("chinwag");
        let tls = MakeRustlsConnect::with_native_certs().map_or_else(
            |_| {
                // Without any certificate nothing is verified, and what asks for TLS is refused.
                let none = RootCertStore::empty();
                let config = ClientConfig::builder().with_root_certificates(none);
                MakeRustlsConnect::new(config.with_no_client_auth())
            },
            |(tls, _)| tls,
        );
        Ok(Self { config, tls, prefix: prefix.into(), timeout })
    }

    /// Connects, and sees to it that an archive can be kept there.
    ///
    /// # Errors
    ///
    /// Those of [`DatabaseError`].
    pub(super) async fn connect(&self) -> Result<Line, DatabaseError> {
        Line::in_time(2 * self.timeout, async {
            let mut line = self.dial().await?;
            let timeout_ms = self.timeout.as_millis();
            line.client.batch_execute(&format!("SET statement_timeout = {timeout_ms}")).await?;
            self.check(&mut line.client).await?;
            Ok(line)
        })
        .await
    }

    async fn dial(&self) -> Result<Line, DatabaseError> {
        let timeout = self.timeout;
        let ended = |result: Result<(), Error>| {
            if let Err(error) = result {
                tracing::debug!(why = %told(&error), "a connection to the archive has ended");
            }
        };
        // Sockets of the system and servers that are told so have none.
        let is_plain = self.config.get_ssl_mode() == tokio_postgres::config::SslMode::Disable;
        let (client, task) = if is_plain {
            let (client, connection) = self.config.connect(NoTls).await?;
            (client, tokio::spawn(async move { ended(connection.await) }))
        } else {
            let (client, connection) = self.config.connect(self.tls.clone()).await?;
            (client, tokio::spawn(async move { ended(connection.await) }))
        };
        Ok(Line { client, task, timeout })
    }

    async fn check(&self, client: &mut Client) -> Result<(), DatabaseError> {
        let unfit = |why: String| Err(DatabaseError::Unfit(why.into()));
        let asked = "SELECT current_setting('server_version_num')::int, \
                     current_setting('server_encoding'), pg_is_in_recovery()";
        let row = client.query_one(asked, &[]).await?;
        let (version, encoding, is_replica): (i32, String, bool) =
            (row.get(0), row.get(1), row.get(2));
        if version < VERSION_MIN {
            return unfit(format!("it is PostgreSQL {}: 12 or newer is needed", version / 10_000));
        }
        if encoding != "UTF8" {
            return unfit(format!(
                "the database's encoding is {encoding}: make one with \
                 CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
            ));
        }
        if is_replica {
            return Err(DatabaseError::Passing("it is a replica".into()));
        }
        let there = client.query_one("SELECT to_regclass('chinwag_archive') IS NOT NULL", &[]);
        let is_there: bool = there.await?.get(0);
        let known = if is_there { about(client).await? } else { None };
        let ours = i32::try_from(MIGRATIONS.len()).expect("few");
        let version = match &known {
            Some((_, prefix)) if **prefix != *self.prefix => {
                return unfit(format!(
                    "it is the archive of engine.prefix = {prefix:?}, and here that is {:?}: \
                     each engine has a database of its own",
                    self.prefix
                ));
            }
            Some((version, _)) if *version > ours => {
                return unfit(format!(
                    "its schema is {version}, and this version knows {ours}: a newer server has \
                     written it"
                ));
            }
            Some((version, _)) => *version,
            None => 0,
        };
        if version < ours { self.migrate(client).await } else { Ok(()) }
    }

    /// Brings the tables to the schema of this version. Another node may be faster.
    async fn migrate(&self, client: &mut Client) -> Result<(), DatabaseError> {
        let change = client.transaction().await?;
        change.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
        change.batch_execute(ABOUT).await?;
        let known = about(change.client()).await?;
        let done = known.map_or(0, |(version, _)| usize::try_from(version).unwrap_or_default());
        for migration in MIGRATIONS.iter().skip(done) {
            change.batch_execute(migration).await?;
        }
        let version = i32::try_from(MIGRATIONS.len().max(done)).expect("few");
        change.execute("DELETE FROM chinwag_archive", &[]).await?;
        let note = "INSERT INTO chinwag_archive(version, prefix) VALUES ($1, $2)";
        change.execute(note, &[&version, &&*self.prefix]).await?;
        Ok(change.commit().await?)
    }
}

/// Which version the tables have, and whose they are.
async fn about(client: &Client) -> Result<Option<(i32, String)>, DatabaseError> {
    let row = client.query_opt("SELECT version, prefix FROM chinwag_archive LIMIT 1", &[]).await?;
    Ok(row.map(|row| (row.get(0), row.get(1))))
}
