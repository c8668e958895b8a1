//! Backups that the server makes by itself: when one is due, what it is called, and which ones go.
//!
//! ```text
//!   "store-backup"   look into the folder ─┬─ not due: rest
//!                                          └─ due: Copier ── on disk, sound ── named ── prune
//! ```
//!
//! When one is due is told by the newest file there, so a restart makes none before its time.
//!
//! Invariants: only files with the names that are given here are deleted, and never the one that
//! was made last; what fails is told, and tried again.
//!
//! Deliberately absent: copying (`copy`, `threads`), and links between folders, which are not
//! followed to see whether one lies in the other.
//!
//! Called by: `threads`. Calls: `copy`, `tools`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use super::copy::{Copier, PARTIAL};
use super::disk::{self, FILE, remove_if_there, sync_folder};
use super::error::StoreError;
use super::space::free_bytes;
use super::tools::inspect_copy;
use crate::limits::{STORE_BACKUP_AGAIN_MS, STORE_BACKUP_LEFT_MS, STORE_BACKUP_LOOK_MS};
use crate::wire::http::date::for_file_names;

/// Which backups are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backups {
    /// Where. It is made, for its owner alone, if it is not there.
    pub folder: PathBuf,
    /// How long after one the next one is made, in seconds.
    pub every_s: u64,
    /// How many are kept: at least one.
    pub keep: u32,
}

/// Makes them, as long as it runs.
pub(super) struct BackupThread {
    /// Which.
    pub(super) backups: Backups,
    /// The folder of the store.
    pub(super) store: PathBuf,
    /// How much of a disk stays free, in bytes.
    pub(super) reserve_bytes: u64,
    /// Who copies.
    pub(super) copier: Copier,
}

impl BackupThread {
    /// Makes backups until it is told to stop, and woken.
    pub(super) fn run(self, stop: &Arc<AtomicBool>) {
        let mut look_ms = 0;
        while !stop.load(Ordering::Acquire) {
            let now_ms = (self.copier.unix_ms)();
            // The clock may have been set back.
            look_ms = look_ms.min(now_ms.saturating_add(self.every_ms()));
            if look_ms <= now_ms {
                look_ms = self.step(now_ms, stop);
                continue;
            }
            let rest_ms = (look_ms - now_ms).min(STORE_BACKUP_LOOK_MS);
            thread::park_timeout(Duration::from_millis(rest_ms));
        }
    }

    fn every_ms(&self) -> u64 {
        self.backups.every_s.saturating_mul(1_000)
    }

    /// Makes a backup, if one is due. Returns when to look again, in milliseconds of Unix time.
    fn step(&self, now_ms: u64, stop: &Arc<AtomicBool>) -> u64 {
        let folder = &self.backups.folder;
        match self.make_if_due(now_ms, stop) {
            Ok(due_ms) => due_ms,
            // It is no failure that it ends.
            Err(_) if stop.load(Ordering::Acquire) => now_ms,
            Err(error) => {
                let wait_ms = self.every_ms().min(STORE_BACKUP_AGAIN_MS);
                let (folder, again_s) = (folder.display(), wait_ms / 1_000);
                tracing::error!(%error, %folder, again_s, "a backup is due and is not made");
                self.copier.stats.backup_failed();
                now_ms.saturating_add(wait_ms)
            }
        }
    }

    fn make_if_due(&self, now_ms: u64, stop: &Arc<AtomicBool>) -> Result<u64, StoreError> {
        let Backups { folder, keep, .. } = &self.backups;
        let found = Found::look(folder, BY_CLOCK)?;
        if let Some(newest_ms) = found.newest_ms(now_ms) {
            self.copier.stats.has_backup(newest_ms);
            let due_ms = newest_ms.saturating_add(self.every_ms());
            if due_ms > now_ms {
                return Ok(due_ms);
            }
        }
        make_folder(folder)?;
        for partial in &found.partials {
            // A power cut has left it.
            fs::remove_file(folder.join(partial))?;
        }
        self.check_space(folder)?;
        let name = name_of(BY_CLOCK, now_ms);
        let to = folder.join(&name);
        let mut messages = 0;
        self.copier.copy(&to, |partial| {
            let stop = Arc::clone(stop);
            messages = inspect_copy(partial, move || stop.load(Ordering::Acquire))?;
            Ok(())
        })?;
        let bytes = to.metadata()?.len();
        tracing::info!(to = %to.display(), bytes, messages, "a backup is made");
        // The new one is not among what was found: it stays, whatever the clock said before.
        for old in found.surplus(*keep) {
            match fs::remove_file(folder.join(old)) {
                Ok(()) => tracing::info!(file = old, "an old backup is deleted"),
                Err(error) => tracing::warn!(%error, file = old, "an old backup stays"),
            }
        }
        Ok(now_ms.saturating_add(self.every_ms()))
    }

    /// A copy that does not fit would take the disk from the store, if that is on the same one.
    fn check_space(&self, folder: &Path) -> Result<(), StoreError> {
        let needed = self.store.join(FILE).metadata()?.len().saturating_add(self.reserve_bytes);
        let free = free_bytes(folder)?;
        if free < needed {
            let why = format!("{free} bytes are free there, and a backup needs {needed}");
            return Err(StoreError::Refused(why));
        }
        Ok(())
    }
}

/// Makes a folder for its owner alone, if it is not there, and its name safe.
fn make_folder(folder: &Path) -> Result<(), StoreError> {
    if folder.is_dir() {
        return Ok(());
    }
    disk::make_folder(folder)?;
    sync_folder(folder.parent().unwrap_or(Path::new("")))
}

/// What the names of backups begin with that are made by the clock, and of those that somebody asks
/// for.
const BY_CLOCK: &str = "chat-";
const BY_HAND: &str = "chinwag-";
const END: &str = ".db";

/// What a backup is called that is begun then: `chat-20261128T193000Z.db`.
fn name_of(begin: &str, unix_ms: u64) -> String {
    format!("{begin}{}{END}", for_file_names(unix_ms))
}

/// What a backup that somebody asks for is called in a folder. Those that were not finished there
/// go first, if nothing was written to them for [`STORE_BACKUP_LEFT_MS`]: others may be under way,
/// of another store too.
///
/// # Errors
///
/// Those of the disk.
pub(super) fn name_by_hand(folder: &Path, now_ms: u64) -> Result<String, StoreError> {
    let last = UNIX_EPOCH + Duration::from_millis(now_ms.saturating_sub(STORE_BACKUP_LEFT_MS));
    for partial in Found::look(folder, BY_HAND)?.partials {
        let partial = folder.join(partial);
        let is_left = partial.metadata().and_then(|of| of.modified()).is_ok_and(|at| at < last);
        if is_left {
            remove_if_there(&partial)?;
        }
    }
    Ok(name_of(BY_HAND, now_ms))
}

/// When a backup was begun, in milliseconds of Unix time, by its name; none, if it is no such name.
fn time_of(begin: &str, name: &str) -> Option<u64> {
    /// The last second with a year of four digits.
    const LAST_S: u64 = 253_402_300_799;
    let (mut from, mut to) = (0, LAST_S);
    // Names are in the order of times.
    while from < to {
        let middle = u64::midpoint(from, to);
        if name_of(begin, middle * 1_000).as_str() < name {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    (name_of(begin, from * 1_000) == name).then_some(from * 1_000)
}

/// Whether it is a backup that is not whole, or something that SQLite had beside one.
fn is_partial(begin: &str, name: &str) -> bool {
    ["", "-journal", "-wal", "-shm"].iter().any(|end| {
        let whole = name.strip_suffix(end).and_then(|name| name.strip_suffix(PARTIAL));
        whole.and_then(|name| time_of(begin, name)).is_some()
    })
}

/// What was made before, by the names in a folder.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Those that are whole, the oldest first.
    names: Vec<String>,
    /// Those that are not.
    partials: Vec<String>,
}

impl Found {
    /// Nothing, where there is no such folder.
    fn look(folder: &Path, begin: &str) -> Result<Self, StoreError> {
        let mut found = Self::default();
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Whatever else is there, and a link to somewhere, is somebody else's.
            if !entry.file_type()?.is_file() {
                continue;
            }
            if time_of(begin, &name).is_some() {
                found.names.push(name);
            } else if is_partial(begin, &name) {
                found.partials.push(name);
            }
        }
        found.names.sort_unstable();
        Ok(found)
    }

    /// When the newest one was begun. One of the future is of a clock that was wrong.
    fn newest_ms(&self, now_ms: u64) -> Option<u64> {
        self.names.iter().rev().filter_map(|name| time_of(BY_CLOCK, name)).find(|ms| *ms <= now_ms)
    }

    /// Those that go when there is another one, so that so many are left.
    fn surplus(&self, keep: u32) -> impl Iterator<Item = &str> {
        let stay = usize::try_from(keep).unwrap_or(usize::MAX).saturating_sub(1);
        let count = self.names.len().saturating_sub(stay);
        self.names.iter().take(count).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::side::store::stats::StoreStats;
    use crate::side::store::tests::Folder;

    const DAY_MS: u64 = 86_400_000;
    const NOW_MS: u64 = 1_795_336_170_000;

    #[test]
    fn names_are_in_the_order_of_times_and_say_them() {
        assert_eq!(name_of(BY_CLOCK, NOW_MS + 999), "chat-20261122T082930Z.db");
        for ms in [0, 951_782_400_000, NOW_MS, 4_102_444_800_000] {
            assert_eq!(time_of(BY_CLOCK, &name_of(BY_CLOCK, ms)), Some(ms));
            assert!(name_of(BY_CLOCK, ms) < name_of(BY_CLOCK, ms + 1_000));
        }
        for name in [
            "",
            "chat.db",
            "chat-monday.db",
            "chat-20261122T082930Z.db.partial",
            "chat-20261122T082930Z.db2",
            "chat-20260231T082930Z.db",
            "chat-20261122T082960Z.db",
            "chinwag-20261122T082930Z.db",
            "old-chat-20261122T082930Z.db",
        ] {
            assert_eq!(time_of(BY_CLOCK, name), None, "{name}");
        }
    }

    #[test]
    fn only_what_was_made_here_is_found_and_the_oldest_of_it_goes() {
        let folder = Folder::new();
        assert_eq!(
            Found::look(&folder.0, BY_CLOCK).unwrap(),
            Found::default(),
            "there is no folder yet"
        );
        fs::create_dir(&folder.0).unwrap();
        let of = |day: u64| name_of(BY_CLOCK, NOW_MS + day * DAY_MS);
        for day in [3, 1, 2] {
            fs::write(folder.0.join(of(day)), "").unwrap();
        }
        for end in ["", "-journal"] {
            fs::write(folder.0.join(of(4) + ".partial" + end), "").unwrap();
        }
        for others in ["chinwag-20200101T000000Z.db", "chat-monday.db", "chat.db", "x.partial"] {
            fs::write(folder.0.join(others), "").unwrap();
        }
        fs::create_dir(folder.0.join("chat-20200101T000000Z.db")).unwrap();
        std::os::unix::fs::symlink("/etc", folder.0.join("chat-20200102T000000Z.db")).unwrap();
        let mut found = Found::look(&folder.0, BY_CLOCK).unwrap();
        assert_eq!(found.names, [of(1), of(2), of(3)]);
        found.partials.sort_unstable();
        assert_eq!(found.partials, [of(4) + ".partial", of(4) + ".partial-journal"]);
        assert_eq!(found.newest_ms(u64::MAX), Some(NOW_MS + 3 * DAY_MS));
        assert_eq!(found.newest_ms(NOW_MS + 3 * DAY_MS - 1), Some(NOW_MS + 2 * DAY_MS));
        assert_eq!(found.newest_ms(NOW_MS), None);
        let surplus = |keep| found.surplus(keep).collect::<Vec<_>>();
        assert_eq!(surplus(7), [""; 0]);
        assert_eq!(surplus(4), [""; 0]);
        assert_eq!(surplus(2), [of(1), of(2)]);
        assert_eq!(surplus(1), [of(1), of(2), of(3)]);
    }

    #[test]
    fn the_next_one_is_due_after_the_newest_and_is_tried_again_where_it_fails() {
        let (folder, store) = (Folder::new(), Folder::new());
        fs::create_dir(&store.0).unwrap();
        fs::write(store.file(), "0123456789").unwrap();
        // The writer has ended.
        let (requests, _) = mpsc::channel();
        let (stats, writer) = (Arc::<StoreStats>::default(), thread::current());
        let stop = Arc::default();
        let backups = |every_s| Backups { folder: folder.0.clone(), every_s, keep: 2 };
        let mut thread = BackupThread {
            backups: backups(3_600),
            store: store.0.clone(),
            reserve_bytes: 0,
            copier: Copier { requests, writer, stats: Arc::clone(&stats), unix_ms: || NOW_MS },
        };
        let counts = |line: &str| {
            let mut text = String::new();
            stats.push_text(&mut text);
            text.lines().any(|of| of == line)
        };
        assert_eq!(thread.step(NOW_MS, &stop), NOW_MS + STORE_BACKUP_AGAIN_MS, "there is none");
        assert!(counts("chinwag_store_backup_failures_total 1"));
        let last_ms = NOW_MS - 600_000;
        for ms in [last_ms - 1_000_000, last_ms, NOW_MS + DAY_MS] {
            fs::write(folder.0.join(name_of(BY_CLOCK, ms)), "").unwrap();
        }
        assert_eq!(thread.step(NOW_MS, &stop), last_ms + 3_600_000);
        assert!(counts(&format!("chinwag_store_last_backup_unix {}", last_ms / 1_000)));
        assert!(counts("chinwag_store_backup_failures_total 1"));
        let left = folder.0.join(name_of(BY_CLOCK, last_ms) + PARTIAL);
        fs::write(&left, "").unwrap();
        let due_ms = last_ms + 3_600_000;
        assert_eq!(thread.step(due_ms, &stop), due_ms + STORE_BACKUP_AGAIN_MS);
        assert!(!left.exists(), "what a power cut has left goes");
        thread.backups = backups(60);
        assert_eq!(thread.step(due_ms, &stop), due_ms + 60_000, "sooner, if they are due sooner");
        thread.reserve_bytes = u64::MAX;
        let error = thread.make_if_due(due_ms, &stop).unwrap_err().to_string();
        assert!(error.contains("a backup needs"), "{error}");
        assert_eq!(Found::look(&folder.0, BY_CLOCK).unwrap().names.len(), 3, "nothing was deleted");
    }
}
