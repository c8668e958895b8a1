//! The command line: from arguments, environment and files to a [`Command`], or to an [`Exit`] that
//! says why there is none.
//!
//! What belongs to the configuration is only passed on here, as text, so that a bad flag is listed
//! together with a bad line of the file. Deliberately absent: the process itself. Nothing is
//! opened, printed or ended.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::config::{self, Config, Flags, Loaded, Problems, Surroundings};
use crate::auth::level::Level;

/// The exit code for a bad configuration: `EX_CONFIG` of `sysexits.h`.
pub const EXIT_CONFIG: u8 = 78;

/// The longest life of a token made on the command line, in seconds: ten years.
const TTL_MAX_S: u64 = 10 * 365 * DAY_S;
const DAY_S: u64 = 24 * 60 * 60;

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Say what this configuration amounts to.
    Check(Box<Config>),
    /// Serve.
    Serve(Box<Loaded>),
    /// Make a token and print it.
    Token(Box<Loaded>, TokenRequest),
    /// Do something with the store.
    Store(Box<Loaded>, StoreCommand),
    /// Move the rooms of the store in this folder into the engine that is configured.
    Move(Box<Loaded>, PathBuf),
    /// Ask the server that has this configuration whether it is ready.
    Health(Box<Loaded>),
    /// Write the manual pages.
    Manual {
        /// Into this folder.
        folder: PathBuf,
    },
}

/// What is to be done with the store that is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreCommand {
    /// Copy it.
    Backup {
        /// A file, or a folder for one.
        to: PathBuf,
    },
    /// Put a backup in its place.
    Restore {
        /// The backup.
        file: PathBuf,
    },
    /// Write it as lines of JSON.
    Export {
        /// Only this room, by its name.
        room: Option<String>,
        /// Only messages from this time on, in milliseconds of Unix time.
        since_ms: Option<u64>,
        /// As pages to read, into this folder.
        html: Option<PathBuf>,
    },
    /// Fill it from such lines.
    Import {
        /// From this file; none: from standard input.
        file: Option<PathBuf>,
    },
    /// Fill it from what another product has exported.
    ImportFrom {
        /// Whose it is.
        product: Product,
        /// The export.
        file: PathBuf,
    },
    /// Look for damage.
    Check {
        /// In this file, and not in the store.
        file: Option<PathBuf>,
        /// Whether the index of words is made anew then.
        search: bool,
    },
}

/// Whom a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// The user's id.
    pub user: String,
    /// What others see.
    pub name: Option<String>,
    /// How long it counts, in seconds.
    pub ttl_s: u64,
    /// Levels by pattern, in order. Empty: `speak` everywhere.
    pub rooms: Vec<(String, Level)>,
}

/// There is nothing to do but to say something and to end: after `--help` and `check` as much as
/// after a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The process' exit code: 0, 2 for a mistake in the arguments, [`EXIT_CONFIG`] for one in the
    /// configuration.
    pub code: u8,
    /// What to say, with line ends: on standard output if the code is 0, otherwise on standard
    /// error.
    pub text: String,
}

impl Exit {
    pub(super) fn config(text: impl Into<String>) -> Self {
        Self { code: EXIT_CONFIG, text: text.into() }
    }
}

/// A real-time chat server that speaks the Phoenix Channels protocol.
#[derive(Parser)]
#[command(name = "chinwag", version, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    sources: Sources,
    #[command(subcommand)]
    command: Option<Sub>,
}

#[derive(Args)]
struct Sources {
    /// Read the configuration from this TOML file
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Set any key of the configuration; chinwag --help lists them
    #[arg(long, value_name = "KEY=VALUE", global = true)]
    set: Vec<String>,
    #[command(flatten)]
    serving: Serving,
}

/// Flags that only a server heeds, and what says whether one would start.
#[derive(Args)]
struct Serving {
    /// Listen here [default: 127.0.0.1:4000]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Serve with so many threads [default: 0, as many as cores]
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// Serve /echo, a WebSocket endpoint that sends everything back, for conformance tests
    #[arg(long)]
    echo: bool,
}

#[derive(Subcommand)]
enum Sub {
    /// Check the configuration, as the server would at start, and open nothing
    Check {
        /// The file to check, together with environment and flags
        #[arg(value_name = "FILE", conflicts_with = "config")]
        file: Option<PathBuf>,
        #[command(flatten)]
        serving: Serving,
    },
    /// Ask the server whether it is ready (GET /readyz), as the check of a container
    Health {
        /// Where the server listens, by its configuration or in place of that
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<String>,
    },
    /// Print a token, signed with the configured secret
    Token {
        /// The user's id
        #[arg(long, value_name = "ID")]
        user: String,
        /// The name shown to others [default: the id]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// How long it counts: a number and s, m, h or d
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_ttl)]
        ttl: u64,
        /// Restrict it to rooms by name, or by beginning and `*`; LEVEL is none, join (to read),
        /// speak, moderate or own
        #[arg(long, value_name = "PATTERN=LEVEL", num_args = 1.., value_parser = parse_rule)]
        rooms: Vec<(String, Level)>,
    },
    /// Copy the store into a file, while a server runs or not
    Backup {
        /// The file, which must not be there yet, or a folder for one that is named by the time
        #[arg(value_name = "FILE|FOLDER")]
        to: PathBuf,
    },
    /// Put a backup in place of the store, without what was taken away since; what was there is
    /// kept beside it
    Restore {
        /// What `chinwag backup` has made
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Write the store as lines of JSON or as pages to read, while a server runs or not
    Export {
        /// Only the room with this name
        #[arg(long, value_name = "NAME")]
        room: Option<String>,
        /// Only messages from this time on: milliseconds of Unix time, as in `at`
        #[arg(long, value_name = "MS")]
        since: Option<u64>,
        /// As lines of JSON, which `chinwag import` takes, or as pages of HTML
        #[arg(long, value_name = "FORMAT", default_value = "jsonl")]
        format: Format,
        /// The folder for pages, which is not there yet or empty
        #[arg(long, value_name = "FOLDER", required_if_eq("format", "html"))]
        to: Option<PathBuf>,
    },
    /// Fill an empty store with what `chinwag export` has written, or another product
    Import {
        /// The lines [default: standard input]; of another product its zip, file or folder
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// The product that has exported it
        #[arg(long, value_name = "PRODUCT", requires = "file")]
        from: Option<Product>,
    },
    /// Move the rooms of a store into the engine that is configured, while no server runs
    Move {
        /// The folder of the store, which stays as it is
        #[arg(value_name = "FOLDER")]
        from: PathBuf,
    },
    /// Look after the store
    Store {
        #[command(subcommand)]
        command: StoreSub,
    },
    /// Print what completes this command line in a shell
    Completions {
        /// Which shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Write the manual pages, one for each command
    Man {
        /// Into this folder, which must be there
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
}

/// How a store is written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Jsonl,
    Html,
}

/// A product that rooms come from. That of `side::store::tools` is there only with the feature
/// `store`, and this command line is always the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Product {
    /// A workspace's export: the zip, or the folder in it
    Slack,
    /// A bulk export: the zip, or the lines in it
    Mattermost,
    /// Channels as JSON by `DiscordChatExporter`: a file, or a folder or zip of some
    Discord,
}

#[derive(Subcommand)]
enum StoreSub {
    /// Read all of the store, and name each damage
    Check {
        /// A backup to check, instead of the store
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// Then make the index of words anew, by which messages are found
        #[arg(long, conflicts_with = "file")]
        search: bool,
    },
}

/// What these arguments (with the program's name first) ask for.
///
/// # Errors
///
/// With what to print and the exit code, wherever there is nothing further to do.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    surroundings: &Surroundings<'_>,
) -> Result<Command, Exit> {
    let cli = command()
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches))
        .map_err(|error| usage(&error))?;
    let mut flags = cli.sources.flags();
    match &cli.command {
        Some(Sub::Man { folder }) => return Ok(Command::Manual { folder: folder.clone() }),
        Some(Sub::Completions { shell }) => return Err(completions(*shell)),
        Some(Sub::Check { file, serving }) => {
            flags.named.extend(serving.named());
            flags.config = file.clone().or(flags.config);
        }
        Some(Sub::Health { listen }) => {
            flags.named.extend(listen.clone().map(|at| ("listen", "--listen", at)));
        }
        _ => {}
    }
    let exit = |problems: Problems| Exit::config(problems.to_string());
    let loaded = Config::load(&flags, surroundings).map_err(exit)?;
    let on_store = |what| Ok(Command::Store(Box::new(loaded.clone()), what));
    match cli.command {
        None => Ok(Command::Serve(Box::new(loaded))),
        Some(Sub::Backup { to }) => on_store(StoreCommand::Backup { to }),
        Some(Sub::Restore { file }) => on_store(StoreCommand::Restore { file }),
        Some(Sub::Export { room, since, format, to }) => {
            if to.is_some() && format == Format::Jsonl {
                let text = "error: --to is for --format html: lines go to standard output\n";
                return Err(Exit { code: 2, text: text.to_owned() });
            }
            on_store(StoreCommand::Export { room, since_ms: since, html: to })
        }
        Some(Sub::Import { file: Some(file), from: Some(product) }) => {
            on_store(StoreCommand::ImportFrom { product, file })
        }
        Some(Sub::Import { file, .. }) => on_store(StoreCommand::Import { file }),
        Some(Sub::Store { command: StoreSub::Check { file, search } }) => {
            on_store(StoreCommand::Check { file, search })
        }
        Some(Sub::Man { .. } | Sub::Completions { .. }) => unreachable!("need no configuration"),
        Some(Sub::Move { from }) => Ok(Command::Move(Box::new(loaded), from)),
        Some(Sub::Health { .. }) => Ok(Command::Health(Box::new(loaded))),
        Some(Sub::Check { .. }) => {
            loaded.flawless().map(|config| Command::Check(Box::new(config))).map_err(exit)
        }
        Some(Sub::Token { user, name, ttl, rooms }) => {
            Ok(Command::Token(Box::new(loaded), TokenRequest { user, name, ttl_s: ttl, rooms }))
        }
    }
}

/// What clap has to say: help and version are no mistakes.
fn usage(error: &clap::Error) -> Exit {
    let code = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
        _ => 2,
    };
    Exit { code, text: error.render().to_string() }
}

/// The command line, with every key in its long help.
fn command() -> clap::Command {
    Cli::command().after_long_help(config::help())
}

/// What a shell reads to complete this command line.
fn completions(shell: Shell) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "chinwag", &mut text);
    Exit { code: 0, text: String::from_utf8_lossy(&text).into_owned() }
}

/// Writes a manual page for each command into a folder.
///
/// # Errors
///
/// Those of writing files.
pub(super) fn write_manual(folder: &Path) -> io::Result<()> {
    clap_mangen::generate_to(command(), folder)
}

impl Sources {
    fn flags(&self) -> Flags {
        Flags {
            config: self.config.clone(),
            set: self.set.clone(),
            named: self.serving.named().collect(),
        }
    }
}

impl Serving {
    /// The key, flag and value of each that is given.
    fn named(&self) -> impl Iterator<Item = (&'static str, &'static str, String)> {
        let echo = self.echo.then(|| "true".to_owned());
        let named = [
            ("listen", "--listen", self.listen.clone()),
            ("shards", "--shards", self.shards.clone()),
            ("echo", "--echo", echo),
        ];
        named.into_iter().filter_map(|(key, flag, value)| Some((key, flag, value?)))
    }
}

/// Reads `90s`, `30m`, `1h`, `7d`; without a letter, seconds.
fn parse_ttl(text: &str) -> Result<u64, String> {
    let (digits, unit_s) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 60 * 60),
        Some(b'd') => (&text[..text.len() - 1], DAY_S),
        _ => (text, 1),
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = digits
        .parse::<u64>()
        .ok()
        .filter(|_| is_number)
        .and_then(|count| count.checked_mul(unit_s));
    seconds
        .filter(|seconds| (1..=TTL_MAX_S).contains(seconds))
        .ok_or_else(|| "must be a number and s, m, h or d, at most 3650d".to_owned())
}

/// Reads `PATTERN=LEVEL`. The last `=` counts, for a room's name may have one.
fn parse_rule(text: &str) -> Result<(String, Level), String> {
    let (pattern, level) =
        text.rsplit_once('=').ok_or("must be PATTERN=LEVEL, as in 'team-*=speak'")?;
    let level = level.parse::<Level>().map_err(|error| error.to_string())?;
    Ok((pattern.to_owned(), level))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[auth]\nsecret = '9GkXo0fXcQm1mUqv3T2bJ7yqkq8WcR5hZ4nVtA6sLpE='\n[limits]\nidle_ms = 5_000\n";

    fn read(path: &Path) -> io::Result<String> {
        match path.to_str() {
            Some("good.toml") => Ok(CONFIG.into()),
            Some("bad.toml") => Ok("[limits]\nidle_ms = 5\n".into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn run(line: &str) -> Result<Command, Exit> {
        let args = std::iter::once("chinwag").chain(line.split_whitespace()).map(OsString::from);
        parse(args, &Surroundings { variables: &[], read: &read })
    }

    #[track_caller]
    fn serve(line: &str) -> Config {
        match run(line) {
            Ok(Command::Serve(loaded)) => loaded.config,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn token(line: &str) -> TokenRequest {
        match run(line) {
            Ok(Command::Token(_, request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn exit(line: &str, code: u8, part: &str) {
        match run(line) {
            Err(exit) => {
                assert_eq!(exit.code, code, "{}", exit.text);
                assert!(exit.text.contains(part) && exit.text.ends_with('\n'), "{}", exit.text);
            }
            Ok(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_arguments_it_serves_with_defaults() {
        assert_eq!(serve(""), Config::default());
    }

    #[test]
    fn flags_reach_their_keys() {
        let config =
            serve("--config good.toml --listen [::1]:81 --shards 3 --echo --set drain_s=7");
        assert_eq!(config.listen.to_string(), "[::1]:81");
        assert_eq!((config.shards, config.echo, config.drain_s), (3, true, 7));
        assert_eq!(config.limits.idle_ms, 5_000);
    }

    #[test]
    fn mistakes_in_arguments_exit_with_2_and_in_the_configuration_with_78() {
        exit("--port 4000", 2, "--port");
        exit("serve", 2, "serve");
        exit("token", 2, "--user");
        exit("token --user u --ttl never", 2, "at most 3650d");
        exit("token --user u --rooms tea=admin", 2, "`speak`, `moderate` or `own`");
        exit("check good.toml --config good.toml", 2, "cannot be used with");
        exit("--shards many", EXIT_CONFIG, "--shards: shards = \"many\": must be 1 to 128");
        exit("--listen localhost", EXIT_CONFIG, "--listen: listen = \"localhost\"");
        exit("--config none.toml", EXIT_CONFIG, "cannot read none.toml");
        exit("token --user u --config bad.toml", EXIT_CONFIG, "limits.idle_ms = 5");
    }

    #[test]
    fn the_help_of_a_command_lists_the_flags_that_it_heeds() {
        let serving = ["--listen", "--shards", "--echo"];
        for (line, listed) in [
            ("--help", &serving[..]),
            ("check --help", &serving[..]),
            ("health --help", &serving[..1]),
            ("token --help", &[]),
            ("backup --help", &[]),
            ("store check --help", &[]),
            ("man --help", &[]),
        ] {
            let help = run(line).unwrap_err();
            assert_eq!(help.code, 0, "{line}");
            for flag in serving {
                let is_listed = help.text.contains(&format!("{flag} "))
                    || help.text.contains(&format!("{flag}\n"));
                assert_eq!(is_listed, listed.contains(&flag), "{line}: {flag}\n{}", help.text);
            }
            assert!(help.text.contains("--config <FILE>"), "{line}");
        }
    }

    #[test]
    fn completions_and_manual_need_no_configuration() {
        for (shell, part) in [
            ("bash", "complete -F _chinwag"),
            ("zsh", "#compdef chinwag"),
            ("fish", "complete -c chinwag"),
        ] {
            exit(&format!("--config none.toml completions {shell}"), 0, part);
        }
        let manual = run("--config none.toml man pages");
        assert!(matches!(manual, Ok(Command::Manual { folder }) if folder == Path::new("pages")));
        exit("completions tcsh", 2, "tcsh");
        exit("man", 2, "<FOLDER>");
    }

    #[test]
    fn the_health_of_a_server_is_asked_for_where_it_listens() {
        for line in ["health --listen 127.0.0.1:81", "--listen 127.0.0.1:81 health"] {
            match run(line) {
                Ok(Command::Health(loaded)) => assert_eq!(loaded.config.listen.port(), 81),
                other => panic!("{other:?}"),
            }
        }
        exit("health --config bad.toml", EXIT_CONFIG, "limits.idle_ms = 5");
    }

    #[test]
    fn a_configuration_that_is_checked_is_good_or_everything_that_is_wrong_is_said() {
        assert!(matches!(run("check good.toml"), Ok(Command::Check(_))));
        assert!(matches!(run("--config good.toml check"), Ok(Command::Check(_))));
        assert!(matches!(run("check"), Ok(Command::Check(_))));
        exit(
            "check bad.toml",
            EXIT_CONFIG,
            "bad.toml:2: limits.idle_ms = 5: must be 1_000 to 86_400_000 ms",
        );
        exit("check bad.toml --shards 999", EXIT_CONFIG, "2 problems");
    }

    #[test]
    fn a_token_is_asked_for_with_rights_and_a_time() {
        let request = token(
            "token --config good.toml --user u --name N --ttl 2d --rooms team-*=moderate a=b=join",
        );
        let rooms = vec![("team-*".to_owned(), Level::Moderate), ("a=b".to_owned(), Level::Join)];
        assert_eq!(
            request,
            TokenRequest { user: "u".into(), name: Some("N".into()), ttl_s: 2 * DAY_S, rooms }
        );
        let request = token("token --user u --rooms a=none --rooms b=join");
        assert_eq!((request.rooms.len(), request.ttl_s), (2, 3_600));
    }

    #[track_caller]
    fn store_command(line: &str, expected: &StoreCommand) {
        match run(line) {
            Ok(Command::Store(_, what)) => assert_eq!(what, *expected),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_store_is_looked_after_by_commands() {
        let config = "--config good.toml";
        store_command(&format!("backup /b {config}"), &StoreCommand::Backup { to: "/b".into() });
        store_command(
            &format!("{config} restore b.db"),
            &StoreCommand::Restore { file: "b.db".into() },
        );
        store_command("export", &StoreCommand::Export { room: None, since_ms: None, html: None });
        let part = StoreCommand::Export {
            room: Some("tea".into()),
            since_ms: Some(1_795_336_170_000),
            html: None,
        };
        store_command("export --room tea --since 1795336170000", &part);
        store_command("import", &StoreCommand::Import { file: None });
        store_command("import x.jsonl", &StoreCommand::Import { file: Some("x.jsonl".into()) });
        store_command("store check", &StoreCommand::Check { file: None, search: false });
        let of_file = StoreCommand::Check { file: Some("b.db".into()), search: false };
        store_command("store check b.db", &of_file);
        store_command("store check --search", &StoreCommand::Check { file: None, search: true });
        exit("store check b.db --search", 2, "--search");
        exit("backup", 2, "<FILE|FOLDER>");
        exit("restore", 2, "<FILE>");
        exit("store", 2, "check");
        exit("export --since today", 2, "--since <MS>");
    }

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        for (text, seconds) in
            [("1", 1), ("90s", 90), ("30m", 1_800), ("1h", 3_600), ("3650d", TTL_MAX_S)]
        {
            assert_eq!(parse_ttl(text), Ok(seconds));
        }
        for text in [
            "",
            "h",
            "0",
            "-1h",
            "+1h",
            "1.5h",
            "1w",
            "1hh",
            "3651d",
            "99999999999999999999d",
            "1é",
        ] {
            assert!(parse_ttl(text).is_err(), "{text}");
        }
    }

    #[test]
    fn help_names_every_flag_and_every_key_with_its_default_and_unit() {
        exit("--help", 0, "--listen <ADDRESS:PORT>");
        exit("--help", 0, "limits.idle_ms [default: 60_000 ms]");
        exit("--help", 0, "1 to 1_000_000 per s, or 0 (no bound)");
        exit("-h", 0, "--set <KEY=VALUE>");
        exit("--version", 0, concat!("chinwag ", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn the_definition_of_the_arguments_is_sound() {
        Cli::command().debug_assert();
    }
}
