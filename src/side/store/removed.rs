//! What was taken away, for a backup that still has it: which messages were deleted, and how users
//! stand. Ids and times, and nothing that was said.
//!
//! ```text
//!   commit:   what it takes away ── one line ── synced ── then COMMIT
//!   restore:  removed.log.old, removed.log ── the last word of each ──> the backup
//! ```
//!
//! A line is a checksum and a JSON object. The first one of a file says of which store it is, and
//! since when it has all that was taken away. A file that has grown large becomes the old one, and
//! what was the old one goes; so does one of another store, whose rooms may have the same names.
//!
//! Invariants:
//!
//! 1. what a commit takes away is on disk here before it is committed;
//! 2. only the last line may be without its commit: a life that follows an end without order adds
//!    what holds instead;
//! 3. what is here is bounded.
//!
//! Deliberately absent: taking it away from a backup (`tools`), and messages that were edited, for
//! which that would take their texts.
//!
//! Called by: `writer`, `disk`, `tools`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::disk::{open_private, sync_folder};
use super::error::{Cause, StoreError};
use super::place::Place;
use super::row::Sum;
use super::statements::standing_in;
use crate::auth::level::{Role, Standing};
use crate::limits::STORE_REMOVED_BYTES;
use crate::link::said::Act;

/// The names of the files in the folder of the store.
const NAME: &str = "removed.log";
const OLD: &str = "removed.log.old";

/// How many digits a checksum has.
const SUM_DIGITS: usize = 16;

/// What a commit takes away: a line.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RemovedLine {
    /// In the first line of a file: since when it has all, in milliseconds of Unix time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    /// There too: when the store was made, which tells it from others. A file that does not say it
    /// counts as of the store in whose folder it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    store: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    deleted: Vec<Deleted>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stands: Vec<Stands>,
}

/// A message that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Deleted {
    pub(super) topic: Box<str>,
    pub(super) offset: u64,
    /// When it was said: after a restore another one may have its offset. All times are in
    /// milliseconds of Unix time.
    pub(super) said: u64,
    /// When it was deleted.
    pub(super) at: u64,
    /// By whom, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<Box<str>>,
}

/// How a user stands in a room from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stands {
    pub(super) topic: Box<str>,
    pub(super) user: Box<str>,
    /// When that was decided.
    pub(super) at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "is_zero")]
    muted_until: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    banned_until: u64,
}

impl Stands {
    /// The same, as a value; none, if there is no such role.
    pub(super) fn standing(&self) -> Option<Standing> {
        let role = match &self.role {
            Some(word) => Some(Role::of(word)?),
            None => None,
        };
        let (muted_until_ms, banned_until_ms) = (self.muted_until, self.banned_until);
        Some(Standing { role, muted_until_ms, banned_until_ms })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl RemovedLine {
    /// Adds a message that is deleted.
    pub(super) fn push_deleted(&mut self, topic: &str, offset: u64, said: u64, act: Act<'_>) {
        let (topic, by) = (topic.into(), act.by.map(Box::from));
        self.deleted.push(Deleted { topic, offset, said, at: act.at_ms, by });
    }

    /// Adds how a user stands from now on.
    pub(super) fn push_standing(&mut self, topic: &str, user: &str, at: u64, standing: Standing) {
        let Standing { role, muted_until_ms, banned_until_ms } = standing;
        self.stands.push(Stands {
            topic: topic.into(),
            user: user.into(),
            at,
            role: role.map(|role| role.as_str().into()),
            muted_until: muted_until_ms,
            banned_until: banned_until_ms,
        });
    }

    /// When the first of it was done; none, if nothing is taken away.
    fn first_ms(&self) -> Option<u64> {
        let deleted = self.deleted.first().map(|of| of.at);
        deleted.or(self.stands.first().map(|of| of.at))
    }

    /// As a line, with its end.
    fn line(&self) -> String {
        let text = serde_json::to_string(self).expect("texts and numbers");
        format!("{:016x} {text}\n", sum_of(&text))
    }

    /// From a line without its end; none, if it is not what was written.
    fn of(line: &[u8]) -> Option<Self> {
        let (sum, text) = str::from_utf8(line).ok()?.split_at_checked(SUM_DIGITS)?;
        let text = text.strip_prefix(' ')?;
        let is_whole = u64::from_str_radix(sum, 16).ok()? == sum_of(text);
        is_whole.then(|| serde_json::from_str(text).ok())?
    }
}

fn sum_of(text: &str) -> u64 {
    let mut sum = Sum::default();
    sum.text(text);
    sum.end().cast_unsigned()
}

/// What is in a file, without a last line that is none: a power cut has torn it, in any part, and
/// so it has no commit.
fn whole_lines(text: &[u8]) -> &[u8] {
    let last = text.split_inclusive(|byte| *byte == b'\n').next_back().unwrap_or_default();
    let is_whole = last.strip_suffix(b"\n").is_some_and(|line| RemovedLine::of(line).is_some());
    let torn = if is_whole { 0 } else { last.len() };
    &text[..text.len() - torn]
}

/// Of which store a file says that it is.
fn store_of(lines: &[u8]) -> Option<i64> {
    let first = lines.split_inclusive(|byte| *byte == b'\n').next()?;
    RemovedLine::of(first.trim_ascii_end())?.store
}

/// Whether a file is of another store than this.
fn is_of_another(lines: &[u8], store: i64) -> bool {
    store_of(lines).is_some_and(|of| of != store)
}

/// The file that is written. See the module.
pub(super) struct RemovedLog {
    folder: PathBuf,
    /// Of which store it is: when that was made.
    store: i64,
    /// None, from when the one before became the old one until this has begun: the disk may fail
    /// in between, and the next note goes on there.
    begun: Option<Begun>,
    /// How large it may become, in bytes.
    bytes_max: u64,
    /// The last line, if its commit may not have been done.
    last: Option<String>,
}

/// A file that has its first line.
struct Begun {
    file: File,
    /// Where it is.
    place: Place,
    /// How much of the file is known to be on disk.
    bytes: u64,
}

impl Begun {
    /// Appends a line. Whatever has become of it before, if that has failed: it is written anew, in
    /// the same place, so a sync that succeeds is one of this.
    fn append(&mut self, line: &str) -> Result<(), StoreError> {
        self.file.write_all_at(line.as_bytes(), self.bytes)?;
        self.file.sync_data()?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

impl RemovedLog {
    /// Opens the file of a store that was made then, and begins it if there is none, or one of
    /// another store.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub(super) fn open(folder: &Path, store: i64, now_ms: u64) -> Result<Self, StoreError> {
        Self::open_bounded(folder, store, now_ms, STORE_REMOVED_BYTES)
    }

    fn open_bounded(
        folder: &Path,
        store: i64,
        now_ms: u64,
        bytes_max: u64,
    ) -> Result<Self, StoreError> {
        let path = folder.join(NAME);
        let file = open_private(&path)?;
        let text = fs::read(&path)?;
        let lines = whole_lines(&text);
        let bytes = lines.len() as u64;
        // Nothing is appended to a part of a line.
        file.set_len(bytes)?;
        let mut log = Self { folder: folder.to_owned(), store, begun: None, bytes_max, last: None };
        if is_of_another(lines, store) {
            log.set_aside()?;
            log.begin(now_ms)?;
        } else if bytes == 0 {
            log.begin(now_ms)?;
        } else {
            let last = lines.split_inclusive(|byte| *byte == b'\n').next_back();
            log.last = last.map(|line| String::from_utf8_lossy(line).into_owned());
            // What has made it may have failed before its folder was known to have it.
            sync_folder(&log.folder)?;
            log.begun = Some(Begun { file, place: Place::of(vec![path])?, bytes });
        }
        Ok(log)
    }

    /// Notes what the next commit takes away. When this has returned it is on disk.
    ///
    /// # Errors
    ///
    /// Those of the disk, and if the file is not where it was. Then it is not to be committed, and
    /// may be noted again.
    pub(super) fn note(&mut self, removal: &RemovedLine) -> Result<(), StoreError> {
        let Some(at_ms) = removal.first_ms() else { return Ok(()) };
        let line = removal.line();
        if self.last.as_ref() == Some(&line) {
            // The commit has failed, and is tried again.
            return Ok(());
        }
        if let Some(Begun { place, bytes, .. }) = &self.begun {
            place.check()?;
            if bytes + line.len() as u64 > self.bytes_max {
                self.set_aside()?;
            }
        }
        let begun = match &mut self.begun {
            Some(begun) => begun,
            None => self.begin(at_ms)?,
        };
        begun.append(&line)?;
        self.last = Some(line);
        Ok(())
    }

    /// What was noted last is committed.
    pub(super) fn note_committed(&mut self) {
        self.last = None;
    }

    /// Adds how users stand whom the last line is about, if that is something else: it is without
    /// its commit.
    ///
    /// # Errors
    ///
    /// Those of SQLite and of the disk.
    pub(super) fn settle(&mut self, conn: &Connection) -> Result<(), StoreError> {
        let Some(last) = self.last.take() else { return Ok(()) };
        let last = RemovedLine::of(last.trim_end().as_bytes()).unwrap_or_default();
        let mut holds = RemovedLine::default();
        for of in &last.stands {
            match standing_in(conn, &of.topic, &of.user) {
                Ok(standing) if Some(standing) == of.standing() => {}
                Ok(standing) => holds.push_standing(&of.topic, &of.user, of.at, standing),
                // What holds there is not known, and the room is not opened.
                Err(error) if error.cause() == Cause::Corrupt => {}
                Err(error) => return Err(error),
            }
        }
        self.note(&holds)
    }

    /// Makes the file the old one.
    fn set_aside(&mut self) -> Result<(), StoreError> {
        fs::rename(self.folder.join(NAME), self.folder.join(OLD))?;
        self.begun = None;
        Ok(())
    }

    /// Begins a file, which has all from then on. It has begun when the folder is known to have it.
    fn begin(&mut self, since_ms: u64) -> Result<&mut Begun, StoreError> {
        let path = self.folder.join(NAME);
        let file = open_private(&path)?;
        // One that has failed may have left its first line.
        file.set_len(0)?;
        let mut begun = Begun { file, place: Place::of(vec![path])?, bytes: 0 };
        let (since, store) = (Some(since_ms), Some(self.store));
        begun.append(&RemovedLine { since, store, ..RemovedLine::default() }.line())?;
        sync_folder(&self.folder)?;
        Ok(self.begun.insert(begun))
    }
}

/// What the files of a store say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    /// Since when they have all that was taken away; none, if that is not known.
    pub(super) since_ms: Option<u64>,
    /// Messages that were deleted.
    pub(super) deleted: Vec<Deleted>,
    /// How users stand, by room and user: the last word of each.
    pub(super) stands: BTreeMap<(Box<str>, Box<str>), Stands>,
    /// How many lines are not what was written.
    pub(super) damaged: u64,
    /// Which of the files are of another store: nothing of them is here.
    pub(super) of_others: Vec<&'static str>,
}

impl Removed {
    /// Reads the files in a folder that are of the store that was made then; with none, all.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub(super) fn read(folder: &Path, store: Option<i64>) -> Result<Self, StoreError> {
        let mut removed = Self::default();
        let mut is_first = true;
        for name in [OLD, NAME] {
            let text = match fs::read(folder.join(name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                text => text?,
            };
            let lines = whole_lines(&text);
            if store.is_some_and(|store| is_of_another(lines, store)) {
                removed.of_others.push(name);
                continue;
            }
            removed.take(lines, is_first);
            is_first &= lines.is_empty();
        }
        Ok(removed)
    }

    fn take(&mut self, lines: &[u8], is_first: bool) {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let Some(removal) = RemovedLine::of(line.trim_ascii_end()) else {
                self.damaged += 1;
                continue;
            };
            let RemovedLine { since, deleted, stands, .. } = removal;
            if is_first {
                self.since_ms = self.since_ms.or(since);
            }
            self.deleted.extend(deleted);
            for of in stands {
                self.stands.insert((of.topic.clone(), of.user.clone()), of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::side::store::tests::Folder;

    /// When the store was made.
    const STORE: i64 = 5;

    fn new(folder: &Folder) -> RemovedLog {
        fs::create_dir_all(&folder.0).unwrap();
        RemovedLog::open_bounded(&folder.0, STORE, 7, 400).unwrap()
    }

    fn read(folder: &Folder) -> Removed {
        Removed::read(&folder.0, Some(STORE)).unwrap()
    }

    /// That a message is deleted.
    fn deleted(offset: u64) -> RemovedLine {
        let mut removal = RemovedLine::default();
        removal.push_deleted("room:a", offset, 100, Act { at_ms: 200 + offset, by: Some("mod") });
        removal
    }

    fn banned(user: &str, at: u64, banned_until_ms: u64) -> RemovedLine {
        let mut removal = RemovedLine::default();
        let standing = Standing { banned_until_ms, ..Standing::default() };
        removal.push_standing("room:a", user, at, standing);
        removal
    }

    fn offsets(folder: &Folder) -> Vec<u64> {
        let removed = read(folder);
        removed.deleted.iter().map(|of| of.offset).collect()
    }

    #[test]
    fn what_is_noted_is_read_and_of_how_a_user_stands_the_last_word() {
        let folder = Folder::new();
        assert_eq!(read(&folder), Removed::default(), "there is nothing yet");
        let mut log = new(&folder);
        log.note(&RemovedLine::default()).unwrap();
        log.note(&deleted(1)).unwrap();
        log.note(&banned("eve", 300, 9)).unwrap();
        log = new(&folder);
        log.note(&banned("eve", 301, 0)).unwrap();
        let removed = read(&folder);
        assert_eq!((removed.since_ms, removed.damaged), (Some(7), 0));
        assert_eq!(removed.deleted, deleted(1).deleted);
        let words: Vec<_> = removed.stands.into_values().collect();
        assert_eq!(words, banned("eve", 301, 0).stands);
        let lines = fs::read_to_string(folder.0.join(NAME)).unwrap();
        assert_eq!(lines.lines().count(), 4, "nothing is noted of nothing: {lines}");
    }

    #[test]
    fn what_is_tried_again_is_noted_once_and_what_is_done_again_twice() {
        let folder = Folder::new();
        let mut log = new(&folder);
        log.note(&deleted(1)).unwrap();
        log.note(&deleted(1)).unwrap();
        assert_eq!(offsets(&folder), [1]);
        log.note_committed();
        log.note(&deleted(1)).unwrap();
        assert_eq!(offsets(&folder), [1, 1]);
    }

    #[test]
    fn wherever_the_last_line_is_torn_it_is_gone_and_what_follows_is_whole() {
        let folder = Folder::new();
        let mut log = new(&folder);
        log.note(&deleted(1)).unwrap();
        let before = log.begun.as_ref().unwrap().bytes;
        log.note(&deleted(2)).unwrap();
        let whole = fs::read(folder.0.join(NAME)).unwrap();
        for end in 0..=whole.len() {
            fs::write(folder.0.join(NAME), &whole[..end]).unwrap();
            new(&folder).note(&deleted(3)).unwrap();
            let removed = read(&folder);
            let is_first = end as u64 >= before;
            let expected = [(is_first, 1), (end == whole.len(), 2), (true, 3)];
            let expected: Vec<u64> = expected.iter().filter(|of| of.0).map(|of| of.1).collect();
            assert_eq!(offsets(&folder), expected, "cut at {end}");
            assert_eq!((removed.since_ms, removed.damaged), (Some(7), 0), "cut at {end}");
        }
        // One sector of several is there.
        let mut torn = whole.clone();
        torn[usize::try_from(before).unwrap()..][..20].fill(0);
        fs::write(folder.0.join(NAME), &torn).unwrap();
        assert_eq!(read(&folder).damaged, 0, "it has no commit");
        assert_eq!(offsets(&folder), [1]);
        new(&folder).note(&deleted(3)).unwrap();
        assert_eq!(offsets(&folder), [1, 3]);
        assert_eq!(read(&folder).damaged, 0);
    }

    #[test]
    fn whichever_byte_is_altered_its_line_is_damaged_and_the_others_are_not() {
        let folder = Folder::new();
        let mut log = new(&folder);
        log.note(&deleted(1)).unwrap();
        log.note(&deleted(2)).unwrap();
        let whole = fs::read(folder.0.join(NAME)).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let second = first + deleted(1).line().len();
        for at in first..second - 1 {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            fs::write(folder.0.join(NAME), &altered).unwrap();
            let removed = read(&folder);
            assert!(removed.damaged > 0, "{at}");
            assert_eq!(offsets(&folder), [2], "{at}");
        }
    }

    #[test]
    fn a_file_that_has_grown_large_is_the_old_one_and_the_one_before_goes() {
        let folder = Folder::new();
        let mut log = new(&folder);
        let mut noted = Vec::new();
        for offset in 1..=9 {
            log.note(&deleted(offset)).unwrap();
            log.note_committed();
            noted.push(offset);
            let found = offsets(&folder);
            assert!(noted.ends_with(&found), "{found:?}: the newest ones, in their order");
            let removed = read(&folder);
            let since = if found.len() == noted.len() { 7 } else { 200 + found[0] };
            assert_eq!(removed.since_ms, Some(since));
        }
        let found = offsets(&folder).len();
        assert!((3..9).contains(&found), "{found}");
        for name in [NAME, OLD] {
            assert!(folder.0.join(name).metadata().unwrap().len() <= 400, "{name}");
        }
    }

    #[test]
    fn nothing_is_noted_in_a_file_that_is_not_where_it_was() {
        let folder = Folder::new();
        let mut log = new(&folder);
        fs::rename(folder.0.join(NAME), folder.0.join("elsewhere")).unwrap();
        let gone = log.note(&deleted(1));
        assert!(matches!(gone, Err(StoreError::Gone { .. })), "{gone:?}");
        fs::rename(folder.0.join("elsewhere"), folder.0.join(NAME)).unwrap();
        log.note(&deleted(1)).unwrap();
        assert_eq!(offsets(&folder), [1]);
    }

    #[test]
    fn a_file_of_another_store_is_not_taken_for_this_ones_and_is_the_old_one_when_this_begins() {
        let folder = Folder::new();
        new(&folder).note(&deleted(1)).unwrap();
        let of_another = || Removed::read(&folder.0, Some(STORE + 1)).unwrap();
        let none = |of_others| Removed { of_others, ..Removed::default() };
        assert_eq!(of_another(), none(vec![NAME]));
        let mut log = RemovedLog::open_bounded(&folder.0, STORE + 1, 9, 400).unwrap();
        assert_eq!(log.last, None, "there is nothing to be put right");
        assert_eq!(of_another(), Removed { since_ms: Some(9), ..none(vec![OLD]) });
        assert_eq!((offsets(&folder), read(&folder).of_others), (vec![1], vec![NAME]));
        log.note(&deleted(2)).unwrap();
        assert_eq!(of_another().deleted, deleted(2).deleted);
        assert_eq!(read(&folder).since_ms, Some(7));
        let all = Removed::read(&folder.0, None).unwrap();
        assert_eq!((all.deleted.len(), all.of_others), (2, Vec::new()));
    }
}
