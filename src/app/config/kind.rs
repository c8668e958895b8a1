//! The kinds of values: what each takes, in which words it says so, and where it writes them.

use std::net::SocketAddr;

use super::given::Given;
use super::values::{Config, PublicKey, Secret};
use crate::auth::secret::weakness;
use crate::auth::token::SECRET_BYTES_MIN;
use crate::wire::http::forwarded::Network;
use crate::wire::http::origin::Origin;

/// What values a key takes, and where it goes.
pub(super) enum Kind {
    Number(Number),
    Flag(fn(&mut Config) -> &mut bool),
    Address(fn(&mut Config) -> &mut SocketAddr),
    Word(Word),
    Text(fn(&mut Config) -> &mut Option<Box<str>>),
    Folder(fn(&mut Config) -> &mut String),
    File(fn(&mut Config) -> &mut String),
    Secret(fn(&mut Config) -> &mut Option<Secret>),
    Engine(fn(&mut Config) -> &mut Option<Secret>),
    Database(fn(&mut Config) -> &mut Option<Secret>),
    Networks(fn(&mut Config) -> &mut Vec<Network>),
    Origins(fn(&mut Config) -> &mut Vec<String>),
    KeyFiles(fn(&mut Config) -> &mut Vec<PublicKey>),
}

pub(super) struct Number {
    min: u64,
    max: u64,
    special: Option<Special>,
    unit: &'static str,
    slot: Slot,
}

/// A number that is allowed outside of the range, and means something else than so many.
struct Special {
    /// As it stands in a configuration.
    written: i64,
    /// As it is kept.
    value: u64,
    meaning: &'static str,
}

/// The fields of numbers, by their types.
pub(super) enum Slot {
    U16(fn(&mut Config) -> &mut u16),
    U32(fn(&mut Config) -> &mut u32),
    U64(fn(&mut Config) -> &mut u64),
    Usize(fn(&mut Config) -> &mut usize),
}

/// One of a few words, by its index.
pub(super) struct Word {
    pub(super) words: &'static [&'static str],
    pub(super) set: fn(&mut Config, usize),
    pub(super) index: fn(&Config) -> Option<usize>,
}

/// A number from `min` to `max`.
pub(super) const fn number(min: u64, max: u64, unit: &'static str, slot: Slot) -> Kind {
    Kind::Number(Number { min, max, special: None, unit, slot })
}

/// A number from 1 to `max`, or 0, which means something else.
pub(super) const fn number_or_zero(
    zero: &'static str,
    max: u64,
    unit: &'static str,
    slot: Slot,
) -> Kind {
    let special = Some(Special { written: 0, value: 0, meaning: zero });
    Kind::Number(Number { min: 1, max, special, unit, slot })
}

/// A number from 0 to `max`, or -1: there is no end, which is kept as `value`.
pub(super) const fn number_or_for_ever(
    value: u64,
    max: u64,
    unit: &'static str,
    slot: Slot,
) -> Kind {
    let special = Some(Special { written: -1, value, meaning: "for ever" });
    Kind::Number(Number { min: 0, max, special, unit, slot })
}

impl Kind {
    /// Writes a value into its place; None if it is not allowed there.
    pub(super) fn set(&self, config: &mut Config, given: &Given) -> Option<()> {
        match self {
            Self::Number(number) => number.set(config, given),
            Self::Flag(slot) => given.as_flag().map(|value| *slot(config) = value),
            Self::Address(slot) => given
                .as_text()
                .and_then(|text| text.parse().ok())
                .map(|address| *slot(config) = address),
            Self::Word(word) => given
                .as_text()
                .and_then(|text| word.words.iter().position(|word| *word == text))
                .map(|index| (word.set)(config, index)),
            Self::Text(slot) => given
                .as_text()
                .filter(|text| {
                    (1..=256).contains(&text.len())
                        && !text.chars().any(char::is_control)
                        && !is_padded(text)
                })
                .map(|text| *slot(config) = Some(text.into())),
            Self::Folder(slot) | Self::File(slot) => given
                .as_text()
                .filter(|text| text.len() <= 4_096 && !text.chars().any(char::is_control))
                .map(|text| *slot(config) = text.into()),
            Self::Secret(slot) => given
                .as_text()
                .filter(|text| text.len() >= SECRET_BYTES_MIN && !is_padded(text))
                .filter(|text| weakness(text).is_none())
                .map(|text| *slot(config) = Some(Secret(text.into()))),
            Self::Engine(slot) => given
                .as_text()
                .filter(|text| is_engine(text))
                .map(|text| *slot(config) = Some(Secret(text.into()))),
            Self::Database(slot) => given
                .as_text()
                .filter(|text| is_database(text))
                .map(|text| *slot(config) = Some(Secret(text.into()))),
            Self::Networks(slot) => given
                .as_list()
                .and_then(|list| list.iter().map(|text| text.parse().ok()).collect())
                .map(|networks| *slot(config) = networks),
            Self::Origins(slot) => given
                .as_list()
                .filter(|list| list.iter().all(|origin| Origin::parse(origin).is_some()))
                .map(|list| *slot(config) = list),
            Self::KeyFiles(slot) => given
                .as_list()
                .filter(|list| !list.is_empty() && !list.iter().any(String::is_empty))
                .map(|list| *slot(config) = list.iter().map(|text| key_file(text)).collect()),
        }
    }

    /// What values it takes, in words.
    pub(super) fn allowed(&self) -> String {
        match self {
            Self::Number(number) => number.allowed(),
            Self::Flag(_) => "true or false".into(),
            Self::Address(_) => "ADDRESS:PORT, as 127.0.0.1:4000 or [::]:4000".into(),
            Self::Word(word) => {
                let (last, others) = word.words.split_last().expect("a choice has words");
                format!("{} or {last}", others.join(", "))
            }
            Self::Text(_) => {
                "1 to 256 bytes of text without control characters, or white space at its ends"
                    .into()
            }
            Self::Folder(_) => "FOLDER, or \"\" (none)".into(),
            Self::File(_) => "FILE, or \"\" (none)".into(),
            Self::Secret(_) => format!(
                "text of at least {SECRET_BYTES_MIN} bytes from a generator, without white space at its ends"
            ),
            Self::Engine(_) => {
                "redis://HOST:PORT or rediss://HOST:PORT (TLS), as redis://USER:PASSWORD@HOST:6379; \
                 or redis+cluster://HOST:PORT,HOST:PORT; \
                 or redis+sentinel://HOST:PORT,HOST:PORT/SERVICE"
                    .into()
            }
            Self::Database(_) => {
                "postgres://HOST/DATABASE, as postgres://USER:PASSWORD@HOST:5432/DATABASE; with \
                 ?sslmode=require (TLS) or ?sslmode=disable"
                    .into()
            }
            Self::Networks(_) => {
                "ADDRESS or ADDRESS/BITS with no bits set behind these, as 10.0.0.0/8, and not /0"
                    .into()
            }
            Self::Origins(_) => "SCHEME://HOST or SCHEME://HOST:PORT, without a path".into(),
            Self::KeyFiles(_) => "FILE or KID=FILE".into(),
        }
    }

    /// What to say of a value that is not allowed, and cannot be shown.
    pub(super) fn hint(&self, given: &Given) -> String {
        let (Self::Secret(_), Some(text)) = (self, given.as_text()) else { return String::new() };
        if is_padded(text) {
            return "; this has some, perhaps the line end that `echo` writes".to_owned();
        }
        let why = if text.len() < SECRET_BYTES_MIN {
            "is too short".to_owned()
        } else {
            weakness(text).map_or(String::new(), |weakness| weakness.to_string())
        };
        format!("; this {why}: take what `openssl rand -base64 48` writes")
    }

    /// Its value, as it could be written.
    pub(super) fn shown(&self, config: &Config) -> String {
        let mut copy = config.clone();
        match self {
            Self::Number(number) => number.shown(config),
            Self::Flag(slot) => slot(&mut copy).to_string(),
            Self::Address(slot) => slot(&mut copy).to_string(),
            Self::Word(word) => (word.index)(config)
                .and_then(|index| word.words.get(index))
                .map_or("", |word| *word)
                .into(),
            Self::Text(slot) => slot(&mut copy).as_deref().unwrap_or_default().into(),
            Self::Folder(slot) | Self::File(slot) => slot(&mut copy).clone(),
            Self::Secret(slot) | Self::Engine(slot) | Self::Database(slot) => {
                slot(&mut copy).as_ref().map_or("", |_| "(secret)").into()
            }
            Self::Networks(slot) => {
                slot(&mut copy).iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            }
            Self::Origins(slot) => slot(&mut copy).join(","),
            Self::KeyFiles(slot) => {
                slot(&mut copy).iter().map(|key| &*key.path).collect::<Vec<_>>().join(",")
            }
        }
    }

    /// The unit of its value, and a space before it; nothing where it has none.
    pub(super) fn unit(&self) -> String {
        match self {
            Self::Number(Number { unit, .. }) if !unit.is_empty() => format!(" {unit}"),
            _ => String::new(),
        }
    }
}

impl Number {
    /// The value that a configuration has for it.
    pub(super) fn value(&self, config: &Config) -> u64 {
        self.slot.read(config)
    }

    fn set(&self, config: &mut Config, given: &Given) -> Option<()> {
        let written = given.as_number()?;
        let special =
            self.special.as_ref().filter(|special| i128::from(special.written) == written);
        let number = match special {
            Some(special) => special.value,
            None => u64::try_from(written).ok().filter(|n| (self.min..=self.max).contains(n))?,
        };
        self.slot.write(config, number)
    }

    fn shown(&self, config: &Config) -> String {
        let value = self.value(config);
        match &self.special {
            Some(special) if special.value == value => special.written.to_string(),
            _ => grouped(value),
        }
    }

    fn allowed(&self) -> String {
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        let range = format!("{} to {}{unit}", grouped(self.min), grouped(self.max));
        match &self.special {
            Some(Special { written, meaning, .. }) => format!("{range}, or {written} ({meaning})"),
            None => range,
        }
    }
}

impl Slot {
    /// None where the number is too large for its place, which no range of the table lets it be.
    fn write(&self, config: &mut Config, number: u64) -> Option<()> {
        match self {
            Self::U16(slot) => *slot(config) = number.try_into().ok()?,
            Self::U32(slot) => *slot(config) = number.try_into().ok()?,
            Self::U64(slot) => *slot(config) = number,
            Self::Usize(slot) => *slot(config) = number.try_into().ok()?,
        }
        Some(())
    }

    fn read(&self, config: &Config) -> u64 {
        // A slot leads to what may be written; a copy is as good to read, and this is no hot path.
        let mut copy = config.clone();
        match self {
            Self::U16(slot) => u64::from(*slot(&mut copy)),
            Self::U32(slot) => u64::from(*slot(&mut copy)),
            Self::U64(slot) => *slot(&mut copy),
            Self::Usize(slot) => *slot(&mut copy) as u64,
        }
    }
}

/// Whether something that nobody sees stands at an end: a line end (`echo secret | base64`), the
/// return of a file from Windows, a byte order mark. What others compare it with has none.
fn is_padded(text: &str) -> bool {
    let is_unseen = |c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}';
    text.starts_with(is_unseen) || text.ends_with(is_unseen)
}

/// Whether it is the address of an engine that is spoken to.
fn is_engine(text: &str) -> bool {
    let kinds = ["://", "+cluster://", "+sentinel://"];
    let rest = text.strip_prefix("rediss").or_else(|| text.strip_prefix("redis"));
    let rest = rest.and_then(|rest| kinds.iter().find_map(|kind| rest.strip_prefix(kind)));
    let is_one = |rest: &str| !rest.is_empty() && !rest.starts_with(['/', '?']);
    // Nodes of a cluster know no names of services and no databases.
    let is_one = |rest: &str| is_one(rest) && !(text.contains("+cluster://") && rest.contains('/'));
    rest.is_some_and(is_one) && text.len() <= 1_024 && !text.contains(char::is_whitespace)
}

/// Whether it is the address of a database that is spoken to.
fn is_database(text: &str) -> bool {
    let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?']))
        && text.len() <= 1_024
        && !text.contains(char::is_whitespace)
}

/// `KID=FILE` or `FILE`. A slash before the `=` says that it belongs to the file's name.
fn key_file(text: &str) -> PublicKey {
    let (kid, path) = match text.split_once('=') {
        Some((kid, path)) if !kid.contains('/') => (Some(kid.into()), path),
        _ => (None, text),
    };
    PublicKey { kid, path: path.into(), pem: "".into() }
}

/// A number with underscores, as it may stand in the file.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('_');
        }
        grouped.push(digit);
    }
    grouped
}
