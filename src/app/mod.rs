//! The process: configuration, command line, logs, start and stop.
//!
//! Everything that decides is a function of its arguments and tested as one; what touches the
//! process stands in [`main`].

mod archive;
mod assets;
mod boot;
pub mod cli;
mod cluster;
#[cfg(all(test, feature = "engine-redis"))]
mod cluster_sim;
pub mod config;
#[cfg(all(test, feature = "engine-redis"))]
mod engine_contract;
mod failure;
mod health;
mod keeping;
pub mod log;
mod manager;
mod memory;
mod moving;
mod site;
mod store_commands;
#[cfg(all(test, feature = "store"))]
mod store_contract;
pub mod token;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use cli::{Command, Exit};
use config::{Loaded, Surroundings};

/// Runs the program with these arguments (its own name first) and this environment, to the end.
#[must_use]
pub fn main(
    args: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> ExitCode {
    let variables: Vec<_> = variables.into_iter().collect();
    let surroundings =
        Surroundings { variables: &variables, read: &|path| std::fs::read_to_string(path) };
    let done = cli::parse(args, &surroundings).and_then(|command| match command {
        Command::Serve(loaded) => {
            let Loaded { config, warnings } = *loaded;
            let _written = log::start(config.log.level);
            for warning in &warnings {
                tracing::warn!(problem = %warning, "configuration");
            }
            Ok(boot::serve(config))
        }
        Command::Check(config) => match boot::memory_report(&config) {
            Ok(report) => Ok(say(&Exit { code: 0, text: format!("ok\n{report}") })),
            Err(problem) => {
                Err(Exit { code: failure::EXIT_OS, text: format!("chinwag: {problem}\n") })
            }
        },
        Command::Store(loaded, what) => {
            warn(&loaded);
            let done = store_commands::run(&loaded.config.store, &what, now_unix_ms());
            done.map(|text| say(&Exit { code: 0, text }))
        }
        Command::Move(loaded, from) => {
            warn(&loaded);
            moving::run((&loaded.config.engine, &loaded.config.archive), &from)
                .map(|text| say(&Exit { code: 0, text }))
        }
        Command::Health(loaded) => {
            warn(&loaded);
            health::ask(&loaded.config).map(|text| say(&Exit { code: 0, text }))
        }
        Command::Manual { folder } => {
            cli::write_manual(&folder).map(|()| ExitCode::SUCCESS).map_err(|error| Exit {
                code: failure::EXIT_OS,
                text: format!("chinwag: {}: {error}\n", folder.display()),
            })
        }
        Command::Token(loaded, request) => {
            warn(&loaded);
            token::make(&loaded.config, &request, now_unix_s())
                .map(|token| say(&Exit { code: 0, text: token }))
        }
    });
    done.unwrap_or_else(|exit| say(&exit))
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

/// Says what is odd in a configuration that will do.
fn warn(loaded: &Loaded) {
    for warning in &loaded.warnings {
        // Whoever does not hear it is served all the same.
        let _ = writeln!(std::io::stderr(), "chinwag: {warning}");
    }
}

/// Seconds of Unix time. A clock before 1970 counts as 1970.
fn now_unix_s() -> u64 {
    now_unix_ms() / 1_000
}

/// Milliseconds of Unix time.
fn now_unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
