//! The process: configuration, command line, logs, start and stop.
//!
//! Everything that decides is a function of its arguments and tested as one; what touches the process stands in [`main`].

pub mod cli;
pub mod config;
pub mod log;
pub mod token;

use std::error::Error;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use cli::{Command, Exit};
use config::{Config, Surroundings};

use crate::chat::token::SECRET_BYTES_MIN;

/// Runs the program with these arguments (its own name first) and this environment, to the end.
#[must_use]
pub fn main(
    args: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> ExitCode {
    let variables: Vec<_> = variables.into_iter().collect();
    let surroundings = Surroundings { variables: &variables, read: &|path| std::fs::read_to_string(path) };
    let done = cli::parse(args, &surroundings).and_then(|command| match command {
        Command::Serve(config) => Ok(serve(&config)),
        Command::Token(config, request) => {
            token::make(&config, &request, now_unix_s()).map(|token| say(&Exit { code: 0, text: token }))
        }
    });
    done.unwrap_or_else(|exit| say(&exit))
}

/// Serves until it is told to stop.
fn serve(config: &Config) -> ExitCode {
    log::start(config.log.level);
    let keys = match make_keys(config) {
        Ok(keys) => keys,
        Err(error) => {
            tracing::error!(%error, "no key for tokens");
            return ExitCode::FAILURE;
        }
    };
    let secret = if config.auth.has_key() { "configured" } else { "made for this start" };
    tracing::info!(listen = %config.listen, guests = config.auth.guests, secret, "starting");
    drop(keys);
    ExitCode::SUCCESS
}

/// The configured keys, or a secret of this process' own.
fn make_keys(config: &Config) -> Result<config::Keys, Box<dyn Error>> {
    let mut made = [0; SECRET_BYTES_MIN];
    if !config.auth.has_key() {
        getrandom::fill(&mut made)?;
    }
    Ok(config.auth.keys(&made)?)
}

fn say(exit: &Exit) -> ExitCode {
    // Whoever closed the pipe does not want to hear it.
    let _ = if exit.code == 0 {
        std::io::stdout().write_all(exit.text.as_bytes())
    } else {
        std::io::stderr().write_all(exit.text.as_bytes())
    };
    ExitCode::from(exit.code)
}

/// Seconds of Unix time. A clock before 1970 counts as 1970.
fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
