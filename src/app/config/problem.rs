//! What is wrong with a configuration, said so that it can be put right.

use std::fmt;
use std::rc::Rc;

/// Values are shown up to so many characters.
const VALUE_CHARS_MAX: usize = 60;

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere.
    Default,
    /// In the file, on this line, counted from 1.
    File {
        /// The file's name as it was given.
        path: Rc<str>,
        /// The line.
        line: usize,
    },
    /// In this variable of the environment.
    Variable(Rc<str>),
    /// In this flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    origin: Origin,
    message: String,
    is_warning: bool,
}

impl Problem {
    /// `message` says all but where.
    pub(super) fn new(origin: Origin, message: impl Into<String>) -> Self {
        Self { origin, message: message.into(), is_warning: false }
    }

    /// A problem with which a server starts all the same.
    pub(super) fn warning(origin: Origin, message: impl Into<String>) -> Self {
        Self { is_warning: true, ..Self::new(origin, message) }
    }

    /// Whether a server starts all the same.
    pub(super) fn is_warning(&self) -> bool {
        self.is_warning
    }

    /// The value of `key` is not what is allowed. Without `shown` the value is a secret.
    pub(super) fn of_value(
        origin: Origin,
        key: &str,
        shown: Option<&dyn fmt::Display>,
        message: &str,
    ) -> Self {
        let Some(shown) = shown else {
            return Self::new(origin, format!("{key}: {message}"));
        };
        let shown = shown.to_string();
        let cut: String = shown.chars().take(VALUE_CHARS_MAX).collect();
        let ellipsis = if cut.len() < shown.len() { "..." } else { "" };
        Self::new(origin, format!("{key} = {cut}{ellipsis}: {message}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

/// Everything that is wrong: at least one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub(super) Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let plural = if count == 1 { "" } else { "s" };
        let outcome = if self.0.iter().all(Problem::is_warning) {
            "with which a server would start all the same"
        } else {
            "nothing was started"
        };
        writeln!(f, "chinwag: {count} problem{plural} in the configuration, {outcome}")?;
        self.0.iter().try_for_each(|problem| writeln!(f, "  {problem}"))
    }
}

impl std::error::Error for Problems {}
