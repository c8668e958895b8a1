//! The archive of an engine as the process sees it: begun when the engine is connected to, ended
//! after it.
//!
//! Built without the feature `archive-postgres` there is none, and a configuration that asks for
//! one is refused (`config::relations`).

#[cfg(feature = "archive-postgres")]
mod with_archive {
    use std::sync::Arc;

    use crate::app::cli::EXIT_CONFIG;
    use crate::app::config::ArchiveConfig;
    use crate::app::failure::{EXIT_OS, Failure};
    use crate::side::archive::{Archive, Start, StartError};
    use crate::side::engine::older::{ArchiveEnd, OlderEnd, connect};
    use crate::side::engine::{EngineStats, Target};

    pub(in crate::app) use crate::side::archive::ArchiveStats as Stats;

    /// An archive that is written and read.
    pub(in crate::app) struct Keeper(Archive);

    /// The way to the archive that is configured; `None`, if there is none.
    pub(in crate::app) fn way(config: &ArchiveConfig) -> Option<(OlderEnd, ArchiveEnd)> {
        config.url.as_ref().map(|_| connect())
    }

    /// Begins the archive of an engine. `lease_ms` is for how long a node is believed to write it.
    pub(in crate::app) fn open(
        config: &ArchiveConfig,
        (target, lease_ms): (Target, u64),
        (engine, end): (Arc<EngineStats>, ArchiveEnd),
        on_panic: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Keeper, Failure> {
        let url = config.url.as_ref().map(|url| String::from_utf8_lossy(url.as_bytes()).into());
        let (url, timeout_ms) = (url.unwrap_or_default(), config.timeout_ms);
        let start = Start { url, timeout_ms, target, lease_ms, engine, end, on_panic };
        let archive = Archive::start(start).map_err(|error| match error {
            StartError::Unfit(why) => Failure {
                code: EXIT_CONFIG,
                message: format!("archive.url: no archive can be kept there: {why}"),
            },
            StartError::Thread(error) => {
                let message = format!("cannot start the archive's thread: {error}");
                Failure { code: EXIT_OS, message }
            }
        })?;
        Ok(Keeper(archive))
    }

    impl Keeper {
        /// What it counts.
        pub(in crate::app) fn stats(&self) -> Arc<Stats> {
            Arc::clone(self.0.stats())
        }

        /// Ends it. What is not written waits in the engine.
        pub(in crate::app) fn stop(self) {
            self.0.stop();
        }
    }
}

#[cfg(feature = "archive-postgres")]
pub(super) use with_archive::*;

#[cfg(not(feature = "archive-postgres"))]
mod without_archive {
    /// There are none.
    pub(in crate::app) enum Stats {}

    impl Stats {
        pub(in crate::app) fn push_text(&self, _: &mut String) {
            match *self {}
        }
    }

    #[cfg(feature = "engine-redis")]
    mod of_an_engine {
        use std::sync::Arc;

        use super::Stats;
        use crate::app::config::ArchiveConfig;
        use crate::app::failure::Failure;
        use crate::side::engine::older::{ArchiveEnd, OlderEnd};
        use crate::side::engine::{EngineStats, Target};

        /// There is none.
        pub(in crate::app) enum Keeper {}

        /// None.
        pub(in crate::app) fn way(_: &ArchiveConfig) -> Option<(OlderEnd, ArchiveEnd)> {
            None
        }

        /// Nothing: there is no way to one.
        pub(in crate::app) fn open(
            _: &ArchiveConfig,
            _: (Target, u64),
            _: (Arc<EngineStats>, ArchiveEnd),
            _: Arc<dyn Fn() + Send + Sync>,
        ) -> Result<Keeper, Failure> {
            unreachable!("the configuration was refused")
        }

        impl Keeper {
            pub(in crate::app) fn stats(&self) -> Arc<Stats> {
                match *self {}
            }

            pub(in crate::app) fn stop(self) {
                match self {}
            }
        }
    }

    #[cfg(feature = "engine-redis")]
    pub(in crate::app) use of_an_engine::*;
}

#[cfg(not(feature = "archive-postgres"))]
pub(super) use without_archive::*;
