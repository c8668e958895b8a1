//! The engine as the process sees it: connected to before the shards begin, left after they have
//! ended.
//!
//! Built without the feature `engine-redis` there is none, and a configuration that asks for one is
//! refused (`config::relations`).

#[cfg(feature = "engine-redis")]
mod with_engine {
    use std::sync::Arc;

    use crate::app::archive::{self, Keeper};
    use crate::app::cli::EXIT_CONFIG;
    use crate::app::config::{ArchiveConfig, EngineAck, EngineConfig};
    use crate::app::failure::{EXIT_OS, Failure};
    use crate::limits::{
        ARCHIVE_WAITS_FACTOR, ARCHIVE_WAITS_MIN, AUDIT_LINES_MAX, HistoryLimits, RING_WORDS,
    };
    use crate::link::facts::Keep;
    use crate::side::engine::{Ack, Engine, EngineLog, Start, StartError, TailBounds, Target};

    pub(in crate::app) use crate::side::engine::EngineStats as Stats;

    /// A shard's end of the engine.
    pub(in crate::app) type End = EngineLog;

    /// An engine that is connected to, and its archive.
    pub(in crate::app) struct Cluster {
        engine: Engine,
        archive: Option<Keeper>,
    }

    /// Connects to the engine that is configured, however long that takes; `None`, if there is
    /// none. `node` is what others call this server, `made_secret` is for all of them, if this is
    /// the first.
    pub(in crate::app) fn open(
        (config, archive): (&EngineConfig, &ArchiveConfig),
        (history, keep): (&HistoryLimits, Keep),
        shards: u16,
        node: u64,
        made_secret: [u8; 32],
        on_panic: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Option<(Cluster, Vec<End>)>, Failure> {
        let Some(target) = target(config, archive, node, made_secret) else { return Ok(None) };
        let ack = match config.ack {
            EngineAck::Auto => Ack::Auto,
            EngineAck::Primary => Ack::Primary,
            EngineAck::Replica => Ack::Replicas(config.replicas),
        };
        let tail = TailBounds { messages: history.messages, bytes: history.room_bytes };
        let (limits, ring_words) = (config.limits, RING_WORDS);
        let (older, archived) = archive::way(archive).unzip();
        let start = Start {
            target: target.clone(),
            ack,
            shards,
            tail,
            keep,
            limits,
            archive: older,
            ring_words,
            on_panic: Arc::clone(&on_panic),
        };
        let (engine, ends) = Engine::start(start).map_err(|error| match error {
            StartError::Unfit(why) => Failure {
                code: EXIT_CONFIG,
                message: format!("engine.url: rooms cannot be kept there: {why}"),
            },
            StartError::Thread(error) => {
                let message = format!("cannot start the engine's thread: {error}");
                Failure { code: EXIT_OS, message }
            }
        })?;
        let engine_stats = Arc::clone(engine.stats());
        let lease_ms = limits.lease_ms;
        let archive = archived
            .map(|end| archive::open(archive, (target, lease_ms), (engine_stats, end), on_panic));
        Ok(Some((Cluster { engine, archive: archive.transpose()? }, ends)))
    }

    /// The engine that is configured; `None`, if there is none.
    pub(in crate::app) fn target(
        config: &EngineConfig,
        archive: &ArchiveConfig,
        node: u64,
        made_secret: [u8; 32],
    ) -> Option<Target> {
        let url = config.url.as_ref()?;
        Some(Target {
            url: String::from_utf8_lossy(url.as_bytes()).into(),
            prefix: config.prefix.as_deref().unwrap_or(EngineConfig::PREFIX).into(),
            partitions: config.partitions,
            node,
            made_secret,
            timeout_ms: config.limits.timeout_ms,
            ping_ms: config.limits.ping_ms,
            dead_ms: config.limits.dead_ms,
            history: config.history,
            history_s: config.history_s,
            room_s: config.room_s,
            key_s: config.key_s,
            audit_lines: u32::try_from(AUDIT_LINES_MAX).expect("few"),
            archive_slack: match archive.url {
                Some(_) => {
                    config.history.saturating_mul(ARCHIVE_WAITS_FACTOR).max(ARCHIVE_WAITS_MIN)
                }
                None => 0,
            },
        })
    }

    impl Cluster {
        /// What all servers with this engine sign by which has no key of its own.
        pub(in crate::app) fn secret(&self) -> [u8; 32] {
            *self.engine.secret()
        }

        /// What it counts.
        pub(in crate::app) fn stats(&self) -> Arc<Stats> {
            Arc::clone(self.engine.stats())
        }

        /// What its archive counts, if it has one.
        pub(in crate::app) fn archive_stats(&self) -> Option<Arc<archive::Stats>> {
            self.archive.as_ref().map(Keeper::stats)
        }

        /// Passes on all that the shards have said, which have ended.
        pub(in crate::app) fn stop(self) {
            self.engine.stop();
            if let Some(archive) = self.archive {
                archive.stop();
            }
        }
    }
}

#[cfg(feature = "engine-redis")]
pub(super) use with_engine::*;

#[cfg(not(feature = "engine-redis"))]
mod without_engine {
    use std::sync::Arc;

    use crate::app::archive;
    use crate::app::config::{ArchiveConfig, EngineConfig};
    use crate::app::failure::Failure;
    use crate::limits::HistoryLimits;
    use crate::link::facts::Keep;
    use crate::link::log::MemoryLog;

    /// There are none.
    pub(in crate::app) enum Stats {}

    /// There is none.
    pub(in crate::app) enum Cluster {}

    /// A shard's end of it.
    pub(in crate::app) type End = MemoryLog;

    /// Nothing.
    #[expect(clippy::unnecessary_wraps, reason = "where there is an engine, it may fail")]
    pub(in crate::app) fn open(
        _: (&EngineConfig, &ArchiveConfig),
        _: (&HistoryLimits, Keep),
        _: u16,
        _: u64,
        _: [u8; 32],
        _: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Option<(Cluster, Vec<End>)>, Failure> {
        Ok(None)
    }

    impl Stats {
        pub(in crate::app) fn push_text(&self, _: &mut String) {
            match *self {}
        }
    }

    impl Cluster {
        pub(in crate::app) fn secret(&self) -> [u8; 32] {
            match *self {}
        }

        pub(in crate::app) fn stats(&self) -> Arc<Stats> {
            match *self {}
        }

        pub(in crate::app) fn archive_stats(&self) -> Option<Arc<archive::Stats>> {
            match *self {}
        }

        pub(in crate::app) fn stop(self) {
            match self {}
        }
    }
}

#[cfg(not(feature = "engine-redis"))]
pub(super) use without_engine::*;
