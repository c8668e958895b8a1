//! `chinwag backup`, `restore`, `export`, `import` and `store check`: what is said of them, and how
//! they end.
//!
//! Deliberately absent: doing it, which is the store's.

use super::cli::{Exit, StoreCommand};
use super::config::StoreConfig;

/// The exit code for data that is damaged: `EX_DATAERR` of `sysexits.h`.
const EXIT_DATA: u8 = 65;

/// Does what was asked for. Returns what to say when it is done, with a line end.
///
/// # Errors
///
/// Where no store is configured, and where it was not done: with why.
pub(super) fn run(config: &StoreConfig, what: &StoreCommand, now_ms: u64) -> Result<String, Exit> {
    if config.path.is_empty() {
        return Err(Exit::config(
            "chinwag: there is no store: set store.path in the file of --config, by --set, or as CHINWAG_STORE__PATH, as the \
             server has it\n",
        ));
    }
    with(config, what, now_ms)
}

#[cfg(not(feature = "store"))]
fn with(_: &StoreConfig, _: &StoreCommand, _: u64) -> Result<String, Exit> {
    let _ = EXIT_DATA;
    Err(Exit::config("chinwag: this program was built without the feature `store`\n"))
}

#[cfg(feature = "store")]
use with_store::with;
#[cfg(all(feature = "engine-redis", feature = "store"))]
pub(super) use with_store::{complain, damage, exit, random};

#[cfg(feature = "store")]
mod with_store {
    use std::fmt::Write as _;
    use std::io::{self, BufReader, BufWriter, Write};
    use std::path::Path;

    use super::EXIT_DATA;
    use crate::app::cli::{self, EXIT_CONFIG, Exit, StoreCommand};
    use crate::app::config::StoreConfig;
    use crate::app::failure::EXIT_OS;
    use crate::side::store::tools::{self, Choice, Product, Reapplied, Report, Restored, counted};
    use crate::side::store::{Cause, StoreError};
    use crate::wire::http::date::{for_file_names, rfc3339};

    pub(super) fn with(
        config: &StoreConfig,
        what: &StoreCommand,
        now_ms: u64,
    ) -> Result<String, Exit> {
        let folder = Path::new(&config.path);
        let stamp = for_file_names(now_ms);
        match what {
            StoreCommand::Backup { to } => {
                tools::backup(folder, to, now_ms).map(|report| told(&report))
            }
            StoreCommand::Restore { file } => restore(folder, file, &stamp),
            StoreCommand::Export { room, since_ms, html } => {
                let choice = Choice { room: room.clone(), since_ms: *since_ms };
                let damaged = if let Some(to) = html {
                    tools::export_html(folder, &choice, to, &mut complain)
                } else {
                    let mut out = BufWriter::new(io::stdout().lock());
                    tools::export(folder, &choice, &mut out, &mut complain)
                };
                match damaged {
                    Ok(0) => Ok(String::new()),
                    Ok(count) => return Err(damage(&format!("{count} not exported"))),
                    Err(error) => Err(error),
                }
            }
            StoreCommand::Import { file } => import(folder, file.as_deref(), now_ms),
            StoreCommand::ImportFrom { product, file } => {
                import_from(folder, *product, file, now_ms)
            }
            StoreCommand::Check { file, search } => match check(folder, file.as_deref(), *search) {
                Ok(Some(text)) => Ok(text),
                Ok(None) => return Err(damage("it is damaged")),
                Err(error) => Err(error),
            },
        }
        .map_err(|error| exit(&error))
    }

    /// What to say of a store, or of this file; none, if it is damaged.
    fn check(
        folder: &Path,
        file: Option<&Path>,
        search: bool,
    ) -> Result<Option<String>, StoreError> {
        let Some(report) = tools::check(folder, file, &mut complain)? else { return Ok(None) };
        let mut text = format!("ok\n{}", told(&report));
        if search {
            let bytes = tools::index_anew(folder)?;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "search.db is made anew: {bytes} bytes");
        }
        Ok(Some(text))
    }

    fn restore(folder: &Path, file: &Path, stamp: &str) -> Result<String, StoreError> {
        let restored = tools::restore(folder, file, stamp, u64::from_ne_bytes(random()?))?;
        let Restored { report, moved, reapplied, known_since_ms, damaged_lines, of_others } =
            restored;
        let Reapplied { deleted, stands, damaged } = reapplied;
        let mut text = told(&report);
        for moved in moved {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "before: {}", moved.display());
        }
        let (deleted, stands) = (counted(deleted, "message"), counted(stands, "user"));
        let _ = writeln!(text, "deleted again: {deleted}; roles, mutes and bans as last: {stands}");
        let since =
            known_since_ms.map_or("nothing".to_owned(), |at| format!("all since {}", time(at)));
        let _ = writeln!(text, "known of what was taken away: {since}");
        for name in of_others {
            let _ = writeln!(text, "{name} is of another store: nothing of it is taken away");
        }
        if damaged + damaged_lines > 0 {
            complain(&format!(
                "removed.log has {} that are damaged, and {damaged} of what is damaged in the \
                 backup: look at what is there",
                counted(damaged_lines, "line")
            ));
        }
        Ok(text)
    }

    fn import(folder: &Path, file: Option<&Path>, now_ms: u64) -> Result<String, StoreError> {
        let made_secret = random()?;
        let report = if let Some(file) = file {
            let mut input = BufReader::new(tools::open_named(file)?);
            tools::import(folder, &mut input, &made_secret, now_ms, &mut complain)
        } else {
            tools::import(folder, &mut io::stdin().lock(), &made_secret, now_ms, &mut complain)
        };
        report.map(|report| told(&report))
    }

    fn import_from(
        folder: &Path,
        product: cli::Product,
        file: &Path,
        now_ms: u64,
    ) -> Result<String, StoreError> {
        let product = match product {
            cli::Product::Slack => Product::Slack,
            cli::Product::Mattermost => Product::Mattermost,
            cli::Product::Discord => Product::Discord,
        };
        tools::import_from(product, folder, file, &random()?, now_ms, &mut complain)
            .map(|report| told(&report))
    }

    /// What nobody can guess.
    pub(in crate::app) fn random<const BYTES: usize>() -> io::Result<[u8; BYTES]> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(bytes)
    }

    fn told(report: &Report) -> String {
        let Report { file, bytes, messages, newest_ms } = report;
        let newest = newest_ms.map_or(String::new(), |at| format!(", the newest at {}", time(at)));
        let messages = counted(*messages, "message");
        format!("{}: {bytes} bytes, {messages}{newest}\n", file.display())
    }

    fn time(unix_ms: u64) -> String {
        rfc3339(unix_ms).escape_ascii().to_string()
    }

    /// What is wrong while it goes on.
    pub(in crate::app) fn complain(what: &str) {
        // The exit code says as much.
        let _ = writeln!(io::stderr(), "chinwag: {what}");
    }

    /// How it ends that something is damaged.
    pub(in crate::app) fn damage(what: &str) -> Exit {
        Exit { code: EXIT_DATA, text: format!("chinwag: {what}\n") }
    }

    /// How it ends that a store did not do something.
    pub(in crate::app) fn exit(error: &StoreError) -> Exit {
        let code = match error {
            StoreError::Line { .. } | StoreError::Damaged { .. } => EXIT_DATA,
            StoreError::Newer { .. }
            | StoreError::Older { .. }
            | StoreError::Foreign { .. }
            | StoreError::Absent { .. } => EXIT_CONFIG,
            _ if error.cause() == Cause::Corrupt => EXIT_DATA,
            _ => EXIT_OS,
        };
        Exit { code, text: format!("chinwag: {error}\n") }
    }
}
