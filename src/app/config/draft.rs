//! A configuration in the making: what is set so far, where that stands, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::problem::{Origin, Problem, Problems};
use super::sources::{self, Flags, Setting, Surroundings};
use super::values::Config;

/// A configuration that a server can start with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What is configured.
    pub config: Config,
    /// What is odd about it.
    pub warnings: Vec<Problem>,
}

impl Loaded {
    /// The configuration if nothing is odd about it.
    ///
    /// # Errors
    ///
    /// With all warnings.
    pub fn flawless(self) -> Result<Config, Problems> {
        if self.warnings.is_empty() { Ok(self.config) } else { Err(Problems(self.warnings)) }
    }
}

/// A configuration in the making.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) config: Config,
    /// Where each key that was set has its value from. Bad ones are there too, and in `bad`.
    origins: BTreeMap<&'static str, Origin>,
    bad: BTreeSet<&'static str>,
    problems: Vec<Problem>,
}

impl Draft {
    /// All that the sources say, each value looked at on its own.
    pub(super) fn collect(flags: &Flags, surroundings: &Surroundings<'_>) -> Self {
        let mut draft = Self::default();
        for setting in sources::collect(flags, surroundings, &mut draft.problems) {
            draft.apply(setting);
        }
        draft.settle_guests();
        draft.settle_store();
        draft
    }

    fn apply(&mut self, setting: Setting) {
        let Setting { origin, key, given } = setting;
        if let Err(message) = key.set(&mut self.config, &given) {
            self.bad.insert(key.name);
            let shown = (!key.is_secret()).then_some(&given as &dyn Display);
            self.add(Problem::of_value(origin.clone(), key.name, shown, &message));
        }
        self.origins.insert(key.name, origin);
    }

    /// Guests are let in by default where nobody else can be.
    fn settle_guests(&mut self) {
        if !self.is_set("auth.guests") {
            let has_key = self.is_set("auth.secret")
                || self.is_set("auth.public_key_file")
                || self.config.auth.has_key();
            self.config.auth.guests = !has_key && self.config.is_private();
        }
    }

    /// Servers with an engine keep nothing beside it.
    fn settle_store(&mut self) {
        if self.config.engine.url.is_some() && !self.is_set("store.path") {
            self.config.store.path.clear();
        }
    }

    pub(super) fn is_set(&self, key: &str) -> bool {
        self.origins.contains_key(key)
    }

    pub(super) fn is_bad(&self, key: &str) -> bool {
        self.bad.contains(key)
    }

    /// Where the value of this key comes from.
    pub(super) fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    pub(super) fn add(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(super) fn finish(self) -> Result<Loaded, Problems> {
        if self.problems.iter().all(Problem::is_warning) {
            Ok(Loaded { config: self.config, warnings: self.problems })
        } else {
            Err(Problems(self.problems))
        }
    }
}
