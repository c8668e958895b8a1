//! `chinwag move`: the rooms of a store go into the engine that is configured. What is said of
//! that, and how it ends.
//!
//! Deliberately absent: reading a store, and writing into an engine.

use std::path::Path;

use super::cli::Exit;
use super::config::{ArchiveConfig, EngineConfig};

/// Moves all rooms. Returns what to say when it is done, with a line end.
///
/// # Errors
///
/// Where no engine is configured, and where it was not done: with why.
pub(super) fn run(
    (config, archive): (&EngineConfig, &ArchiveConfig),
    folder: &Path,
) -> Result<String, Exit> {
    if config.url.is_none() {
        return Err(Exit::config(
            "chinwag: there is no engine: set engine.url in the file of --config, by --set, or as CHINWAG_ENGINE__URL, as the \
             servers will have it\n",
        ));
    }
    move_all((config, archive), folder)
}

#[cfg(not(all(feature = "engine-redis", feature = "store")))]
fn move_all(_: (&EngineConfig, &ArchiveConfig), _: &Path) -> Result<String, Exit> {
    let text = "chinwag: this program was built without the features `store` and `engine-redis`\n";
    Err(Exit::config(text))
}

#[cfg(all(feature = "engine-redis", feature = "store"))]
use with_both::move_all;

#[cfg(all(feature = "engine-redis", feature = "store"))]
mod with_both {
    use std::path::Path;

    use crate::app::cli::{EXIT_CONFIG, Exit};
    use crate::app::cluster;
    use crate::app::config::{ArchiveConfig, EngineConfig};
    use crate::app::failure::EXIT_OS;
    use crate::app::store_commands::{complain, damage, exit, random};
    use crate::limits::AUDIT_LINES_MAX;
    use crate::link::whole::WholeRoom;
    use crate::side::engine::{Moved, Moving, MovingError};
    use crate::side::store::StoreError;
    use crate::side::store::tools::{Extent, counted, each_room, secret_of};

    /// Why it was not done.
    enum Why {
        Store(StoreError),
        Engine(MovingError),
    }

    pub(super) fn move_all(
        engine: (&EngineConfig, &ArchiveConfig),
        folder: &Path,
    ) -> Result<String, Exit> {
        match try_to_move(engine, folder) {
            Ok((said, 0)) => Ok(said),
            Ok((said, damaged)) => {
                Err(damage(&format!("{damaged} not moved, for it is damaged\n{}", said.trim_end())))
            }
            Err(Why::Store(error)) => Err(exit(&error)),
            Err(Why::Engine(error)) => Err(refused(&error)),
        }
    }

    /// Returns what to say, and how much is damaged.
    fn try_to_move(
        (config, archive): (&EngineConfig, &ArchiveConfig),
        folder: &Path,
    ) -> Result<(String, u64), Why> {
        let node = u64::from_ne_bytes(random()?);
        // Invites of before are good, if the engine has no secret yet.
        let secret = secret_of(folder)?;
        let target =
            cluster::target(config, archive, node, secret).expect("it was looked at before");
        let lines = usize::try_from(AUDIT_LINES_MAX).expect("few");
        let extent = Extent { messages: config.history, lines };
        let mut moving = Moving::connect(target)?;
        let (mut placed, mut there, mut messages, mut left) = (0, 0, 0, 0);
        let take = |room: WholeRoom| {
            let (taken, left_behind) = (room.messages.len(), room.left_behind);
            match moving.place(room)? {
                Moved::Placed => {
                    placed += 1;
                    messages += taken;
                    left += left_behind;
                }
                Moved::WasThere => there += 1,
            }
            Ok::<(), Why>(())
        };
        let damaged = each_room(folder, extent, take, &mut complain)?;
        let said = format!(
            "rooms: {placed} moved, {there} left alone that were there\n\
             messages: {messages} moved, {left} before them stay in the store\n"
        );
        Ok((said, damaged))
    }

    fn refused(error: &MovingError) -> Exit {
        let (code, why) = match error {
            MovingError::Unfit(why) => {
                (EXIT_CONFIG, format!("engine.url: rooms cannot be kept there: {why}"))
            }
            MovingError::InUse(count) => {
                let what = "end them, and wait for cluster.lease_ms if one was killed";
                (EXIT_OS, format!("the engine is in use by {}: {what}", counted(*count, "server")))
            }
            MovingError::Engine(why) => (EXIT_OS, format!("engine.url: {why}")),
            MovingError::System(error) => (EXIT_OS, error.to_string()),
        };
        Exit { code, text: format!("chinwag: {why}\n") }
    }

    impl From<StoreError> for Why {
        fn from(error: StoreError) -> Self {
            Self::Store(error)
        }
    }

    impl From<std::io::Error> for Why {
        fn from(error: std::io::Error) -> Self {
            Self::Store(error.into())
        }
    }

    impl From<MovingError> for Why {
        fn from(error: MovingError) -> Self {
            Self::Engine(error)
        }
    }
}
