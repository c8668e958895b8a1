//! From the file, the environment and the flags to a list of settings, in the order in which they
//! count.
//!
//! Each setting knows where it stands. What cannot become one (a key that does not exist, a file
//! that cannot be read) is a problem at once. The value of an unknown key is never shown: it might
//! be a secret under a mistyped name.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use toml::de::{DeTable, DeValue};

use super::given::Given;
use super::keys::{self, Key};
use super::problem::{Origin, Problem};

/// What the command line says of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The file to read.
    pub config: Option<PathBuf>,
    /// `--set KEY=VALUE`, in order.
    pub set: Vec<String>,
    /// The key, flag and value of each flag that is a key of its own. They count more than `--set`.
    pub named: Vec<(&'static str, &'static str, String)>,
}

/// What lies around the process, passed in so that it can be pretended.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The environment.
    pub variables: &'a [(OsString, OsString)],
    /// Reads a file of text.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// One value for one key.
pub(super) struct Setting {
    pub(super) origin: Origin,
    pub(super) key: &'static Key,
    pub(super) given: Given,
}

/// All settings, the ones that count most last.
pub(super) fn collect(
    flags: &Flags,
    surroundings: &Surroundings<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(path) = &flags.config {
        let name: Rc<str> = path.to_string_lossy().into();
        match (surroundings.read)(path) {
            Ok(text) => File { path: name, text: &text }.collect(&mut settings, problems),
            Err(error) => {
                problems.push(Problem::new(
                    Origin::Flag("--config"),
                    format!("cannot read {name}: {error}"),
                ));
            }
        }
    }
    of_variables(surroundings.variables, &mut settings, problems);
    of_flags(flags, &mut settings, problems);
    settings
}

/// The file's name and text.
struct File<'a> {
    path: Rc<str>,
    text: &'a str,
}

impl File<'_> {
    fn collect(&self, settings: &mut Vec<Setting>, problems: &mut Vec<Problem>) {
        let (table, mut errors) = DeTable::parse_recoverable(self.text);
        if !errors.is_empty() {
            errors.sort_by_key(|error| error.span().map(|span| span.start));
            // Only the message: the error's own text quotes the line, and there may be a secret in
            // it. And no keys: what the parser makes of the rest is a guess.
            problems.extend(errors.iter().map(|error| {
                let at = error.span().map_or(0, |span| span.start);
                Problem::new(self.origin(at), format!("not TOML: {}", error.message()))
            }));
            return;
        }
        // The parser sorts keys by name; people read from top to bottom.
        let mut found = Vec::new();
        walk("", table.get_ref(), &mut found);
        found.sort_by_key(|found| found.at);
        for Found { at, name, given } in found {
            let origin = self.origin(at);
            match keys::find(&name) {
                Some(key) => settings.push(Setting { origin, key, given }),
                None if keys::is_section(&name) => {
                    let message = format!("{name} is a section: write [{name}] and its keys below");
                    problems.push(Problem::new(origin, message));
                }
                None => problems.push(Problem::new(origin, keys::unknown(&name))),
            }
        }
    }

    fn origin(&self, at: usize) -> Origin {
        let line = self.text.bytes().take(at).filter(|&byte| byte == b'\n').count() + 1;
        Origin::File { path: self.path.clone(), line }
    }
}

/// All values of `table`, under their whole names.
fn walk(section: &str, table: &DeTable<'_>, found: &mut Vec<Found>) {
    for (key, value) in table {
        let at = key.span().start;
        let name = if section.is_empty() {
            key.get_ref().to_string()
        } else {
            format!("{section}.{}", key.get_ref())
        };
        match value.get_ref() {
            DeValue::Table(inner) if keys::find(&name).is_none() && !inner.is_empty() => {
                walk(&name, inner, found);
            }
            DeValue::Table(_) if keys::is_section(&name) => {}
            value => found.push(Found { at, name, given: Given::of_toml(value) }),
        }
    }
}

/// A value of the file.
struct Found {
    /// Where in the file the key begins, in bytes.
    at: usize,
    name: String,
    given: Given,
}

const PREFIX: &str = "CHINWAG_";

/// The variable for a key: `CHINWAG_LIMITS__IDLE_MS` for `limits.idle_ms`.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

fn of_variables(
    variables: &[(OsString, OsString)],
    settings: &mut Vec<Setting>,
    problems: &mut Vec<Problem>,
) {
    let mut ours: Vec<_> =
        variables.iter().map(|(name, value)| (name.to_string_lossy(), value)).collect();
    ours.retain(|(name, _)| name.starts_with(PREFIX));
    // The environment has no order that anybody relies on.
    ours.sort();
    for (name, value) in ours {
        let origin = Origin::Variable((*name).into());
        let Some(key) = keys::ALL.iter().find(|key| variable(key.name) == name) else {
            // Others than the operator put variables there as well, under names that begin with
            // ours: that must not keep a server from starting.
            if !is_service_link(&name, &value.to_string_lossy()) {
                let key = name[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
                problems.push(Problem::warning(origin, keys::unknown_as(&key, variable)));
            }
            continue;
        };
        match value.to_str() {
            Some(value) => {
                settings.push(Setting { origin, key, given: Given::Text(value.to_owned()) });
            }
            None => problems.push(Problem::new(origin, "is not UTF-8")),
        }
    }
}

/// Whether Kubernetes made this variable: for a service named `chinwag-web` it puts
/// `CHINWAG_WEB_SERVICE_HOST`, `CHINWAG_WEB_PORT=tcp://10.0.0.1:4000` and
/// `CHINWAG_WEB_PORT_4000_TCP_ADDR` into every container beside it, which is nobody's mistake.
fn is_service_link(name: &str, value: &str) -> bool {
    let ends_with = |end| name.ends_with(end);
    ends_with("_SERVICE_HOST")
        || ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        // A number instead is somebody's idea of a key.
        || (ends_with("_PORT") && value.contains("://"))
        || name.match_indices("PORT_").any(|(at, port)| {
            name[..at].ends_with('_') && is_port_link(&name[at + port.len()..])
        })
}

/// `4000_TCP` or `4000_TCP_ADDR`.
fn is_port_link(text: &str) -> bool {
    let mut parts = text.split('_');
    parts.next().is_some_and(|port| port.parse::<u16>().is_ok())
        && parts.next().is_some_and(|transport| ["TCP", "UDP", "SCTP"].contains(&transport))
        && parts.next().is_none_or(|part| ["PROTO", "PORT", "ADDR"].contains(&part))
        && parts.next().is_none()
}

fn of_flags(flags: &Flags, settings: &mut Vec<Setting>, problems: &mut Vec<Problem>) {
    let origin = Origin::Flag("--set");
    for text in &flags.set {
        let Some((name, value)) = text.split_once('=') else {
            problems.push(Problem::new(
                origin.clone(),
                "must be KEY=VALUE, as in --set limits.idle_ms=60000",
            ));
            continue;
        };
        match keys::find(name.trim()) {
            Some(key) => {
                let given = Given::Text(value.to_owned());
                settings.push(Setting { origin: origin.clone(), key, given });
            }
            None => problems.push(Problem::new(origin.clone(), keys::unknown(name.trim()))),
        }
    }
    for (name, flag, value) in &flags.named {
        let key = keys::find(name).expect("a flag of ours sets a key of ours");
        settings.push(Setting {
            origin: Origin::Flag(flag),
            key,
            given: Given::Text(value.clone()),
        });
    }
}
