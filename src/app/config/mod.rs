//! What an operator may choose, where it comes from, and whether it makes sense.
//!
//! Defaults are overridden by one TOML file, that by variables `CHINWAG_*`, and those by flags.
//! `keys` is the one table of what there is to choose: reading, complaining, `--help` and
//! `docs/configuration.md` all follow it. [`Config::load`] looks at everything before it gives up,
//! so that one start tells all that is wrong.
//!
//! Invariants: a [`Config`] that was loaded is whole, its relations hold and its keys have been
//! read; no secret is ever shown, whether by `Debug` or in a complaint.
//!
//! Deliberately absent: reloading (a restart drains), and access to the process' surroundings (they
//! are passed in).
//!
//! Each file uses only those above it:
//!
//! ```text
//!   values      the configuration, and its defaults
//!   given       a value as it came
//!   problem     what is wrong, and where
//!   kind        what a value may be              (values, given)
//!   keys        the table                        (kind)
//!   sources     file, variables, flags           (keys, problem)
//!   draft       what the sources say together    (sources)
//!   relations   what must hold between values    (draft)
//! ```

mod draft;
mod given;
mod keys;
mod kind;
mod problem;
mod relations;
mod sources;
mod values;

use draft::Draft;

pub use draft::Loaded;
pub(crate) use keys::help;
pub use keys::reference;
pub use problem::{Origin, Problem, Problems};
pub use sources::{Flags, Surroundings};
pub use values::{
    ArchiveConfig, AuthConfig, BlockedFile, Config, CreateRooms, EngineAck, EngineConfig,
    HttpConfig, Keys, LogConfig, PublicKey, RoomsConfig, Secret, StoreAck, StoreConfig,
    StoreDeliver,
};

impl Config {
    /// The configuration that file, environment and flags make together, and what is odd about it.
    ///
    /// # Errors
    ///
    /// With everything that is wrong or odd, in the order of the sources, and lines within the
    /// file.
    pub fn load(flags: &Flags, surroundings: &Surroundings<'_>) -> Result<Loaded, Problems> {
        let mut draft = Draft::collect(flags, surroundings);
        relations::check(&mut draft, surroundings);
        draft.finish()
    }
}

#[cfg(test)]
mod tests;
