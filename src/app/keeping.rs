//! The store as the process sees it: opened before the shards begin, stopped after they have ended.
//!
//! Built without the feature `store` there is none, and a configuration that asks for one is
//! refused.

#[cfg(feature = "store")]
mod with_store {
    use std::sync::Arc;

    use crate::app::cli::EXIT_CONFIG;
    use crate::app::config::{StoreAck, StoreConfig, StoreDeliver};
    use crate::app::failure::{EXIT_OS, Failure};
    use crate::app::now_unix_ms;
    use crate::limits::{HistoryLimits, RING_WORDS, STORE_ERASE_MS, STORE_SWEEP_MS};
    use crate::link::facts::Keep;
    use crate::side::store::{
        Backups, Cause, Options, Promise, Start, Store, StoreError, StoreLog, TailBounds,
    };

    pub(in crate::app) use crate::side::store::StoreStats as Stats;

    /// A shard's end of the store.
    pub(in crate::app) type End = StoreLog;

    /// A store that runs.
    pub(in crate::app) struct Keeper(Store);

    /// Opens what is configured; `None` if rooms are in memory only. `made_secret` signs guests'
    /// tokens in a store that is new.
    pub(in crate::app) fn open(
        config: &StoreConfig,
        history: &HistoryLimits,
        shards: u16,
        made_secret: [u8; 32],
        on_panic: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Option<(Keeper, Vec<End>)>, Failure> {
        if config.path.is_empty() {
            return Ok(None);
        }
        let promise = match (config.ack, config.deliver) {
            (StoreAck::AcceptMayLose1s, _) => Promise::OkIsTaken,
            (StoreAck::Commit, StoreDeliver::AfterCommit) => Promise::SeenIsKept,
            (StoreAck::Commit, StoreDeliver::AtOnce) => Promise::OkIsKept,
        };
        let options = Options {
            writer_cache_bytes: config.cache_bytes / 2,
            reader_cache_bytes: config.cache_bytes / 2 / usize::from(config.readers),
            rooms_max: config.rooms,
            search: config.search,
            migrate_backup: config.migrate_backup,
            ..Options::at(&config.path)
        };
        let start = Start {
            options,
            tail: TailBounds::of(history),
            made_secret,
            now_ms: now_unix_ms(),
            shards,
            readers: config.readers,
            keep: Keep {
                seconds: config.keep_s,
                messages: config.keep_messages,
                bytes: config.keep_bytes,
            },
            sweep_ms: STORE_SWEEP_MS,
            erase_ms: STORE_ERASE_MS,
            reserve_bytes: config.reserve_bytes,
            unix_ms: now_unix_ms,
            backups: (!config.backup.is_empty()).then(|| Backups {
                folder: (&config.backup).into(),
                every_s: config.backup_every_s,
                keep: config.backup_keep,
            }),
            promise,
            limits: config.limits,
            ring_words: RING_WORDS,
            on_panic,
        };
        let (store, ends) = Store::start(start).map_err(|error| {
            let is_config = matches!(error, StoreError::Newer { .. } | StoreError::Foreign { .. });
            let code = if is_config { EXIT_CONFIG } else { EXIT_OS };
            let mut message = format!("store.path = {:?}: {error}", config.path);
            if error.cause() == Cause::Full {
                message.push_str(
                    "; to open a store takes 32 KiB for chat.db-shm, and what a new or an older one is made of",
                );
            } else if matches!(error, StoreError::Io(_)) {
                message.push_str(
                    "; it must be a folder that can be made or written, and \"\" keeps nothing on disk",
                );
            }
            Failure { code, message }
        })?;
        Ok(Some((Keeper(store), ends)))
    }

    impl Keeper {
        /// Signs guests' tokens.
        pub(in crate::app) fn guest_secret(&self) -> [u8; 32] {
            *self.0.guest_secret()
        }

        /// What it counts.
        pub(in crate::app) fn stats(&self) -> Arc<Stats> {
            Arc::clone(self.0.stats())
        }

        /// Writes all that the shards have said, which have ended. False if that was not possible.
        pub(in crate::app) fn stop(self) -> bool {
            let stopped = self.0.stop();
            if let Err(error) = &stopped {
                tracing::error!(%error, "the store did not end in order");
            }
            stopped.is_ok()
        }
    }
}

#[cfg(feature = "store")]
pub(super) use with_store::*;

#[cfg(not(feature = "store"))]
mod without_store {
    use std::sync::Arc;

    use crate::app::cli::EXIT_CONFIG;
    use crate::app::config::StoreConfig;
    use crate::app::failure::Failure;
    use crate::limits::HistoryLimits;
    use crate::link::log::MemoryLog;

    /// There are none.
    pub(in crate::app) enum Stats {}

    /// There is none.
    pub(in crate::app) enum Keeper {}

    /// A shard's end of it.
    pub(in crate::app) type End = MemoryLog;

    /// Nothing, unless one is asked for.
    pub(in crate::app) fn open(
        config: &StoreConfig,
        _: &HistoryLimits,
        _: u16,
        _: [u8; 32],
        _: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Option<(Keeper, Vec<End>)>, Failure> {
        if config.path.is_empty() {
            return Ok(None);
        }
        let message = "store.path: this program was built without the feature `store`".to_owned();
        Err(Failure { code: EXIT_CONFIG, message })
    }

    impl Stats {
        pub(in crate::app) fn is_working(&self) -> bool {
            match *self {}
        }

        pub(in crate::app) fn push_text(&self, _: &mut String) {
            match *self {}
        }
    }

    impl Keeper {
        pub(in crate::app) fn guest_secret(&self) -> [u8; 32] {
            match *self {}
        }

        pub(in crate::app) fn stats(&self) -> Arc<Stats> {
            match *self {}
        }

        pub(in crate::app) fn stop(self) -> bool {
            match self {}
        }
    }
}

#[cfg(not(feature = "store"))]
pub(super) use without_store::*;
