//! Power cuts in what a store does beside its commits: letting go of messages, giving back pages,
//! moving the log into the database, migration, backup and restore.
//!
//! Each path has a planted fault, which is a sync that lies: the cuts must find it. For a file that
//! is made under another name first, that is the same as giving it its name too early.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use chinwag::side::store::tools::{self, Choice};
use rusqlite::Connection;

use crate::cuts::{CUTS, Judge, SEED, cut_at, moments, run};
use crate::journal::Record;
use crate::kept::{Look, Told};
use crate::load::{Load, room};
use crate::model::Model;
use crate::server::{PATIENCE, Server, until};
use crate::shim::{Disk, has_ended};
use crate::{Draws, from_env};

fn cuts_count() -> usize {
    from_env("DISK_CUTS", CUTS)
}

fn draws() -> Draws {
    Draws(from_env("DISK_SEED", usize::try_from(SEED).unwrap()) as u64)
}

/// Moments around records of one kind, and others at random.
fn moments_near(
    records: &[Record],
    count: usize,
    draws: &mut Draws,
    is_near: impl Fn(&Record) -> bool,
) -> Vec<usize> {
    let near: Vec<usize> = (0..records.len()).filter(|at| is_near(&records[*at])).collect();
    let mut points = moments(records, count / 2, draws);
    for _ in points.len()..count {
        let at = near[draws.below(near.len())] + draws.below(7);
        points.push(at.saturating_sub(3).min(records.len()));
    }
    points
}

/// The names of files that were made shorter.
fn cut_short(records: &[Record]) -> Vec<&str> {
    let mut names = std::collections::HashMap::new();
    let mut found = Vec::new();
    for record in records {
        match record {
            Record::Begun => names.clear(),
            Record::Opened { handle, name, .. } => drop(names.insert(*handle, &**name)),
            Record::Truncated { handle, .. } => found.push(names[handle]),
            _ => {}
        }
    }
    found
}

/// Copies files, and no folders, into a new folder.
fn copy_files(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// The files in a folder that may not be there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn name_of(file: &Path) -> &str {
    file.file_name().unwrap().to_str().unwrap()
}

/// Whether a file is a whole store of its own that keeps what was told.
fn check_copy(file: &Path, disk: &Path, told: &Told) -> Result<(), String> {
    let look = disk.join("look");
    let _ = fs::remove_dir_all(&look);
    fs::create_dir_all(&look).unwrap();
    fs::copy(file, look.join("chat.db")).unwrap();
    told.check(&look).map_err(|what| format!("{}: {what}", name_of(file)))
}

// Retention, pages that are given back, checkpoints.

/// How many messages of each room are kept.
const KEEP: u64 = 60;

struct LettingGo(Told);

impl Judge for LettingGo {
    fn note(&mut self, note: &str) {
        self.0.note(note);
    }

    fn check(&mut self, disk: &Path) -> Result<(), String> {
        self.0.check(&disk.join("store"))
    }
}

fn let_go(rules: &str, count: usize) -> Vec<String> {
    let disk = Disk::new();
    let records = run(&disk, rules, &[&format!("store.keep_messages={KEEP}")]);
    let is_cut = |record: &Record| matches!(record, Record::Truncated { .. });
    let mut draws = draws();
    let points = moments_near(&records, count, &mut draws, is_cut);
    if rules.is_empty() {
        let short = cut_short(&records);
        assert!(short.contains(&"store/chat.db"), "pages are given back: {short:?}");
        assert!(short.contains(&"store/chat.db-wal"), "the log is emptied: {short:?}");
        let mut look = Look::begin(&disk.store()).unwrap();
        let opened = look.open(&format!("room:{}", room(3))).unwrap().unwrap();
        assert!(opened.top.offset > opened.tail.len() as u64, "something was let go of");
        look.end().unwrap();
    }
    let mut judge = LettingGo(Told::keeping(KEEP));
    cut_at(&disk, Model::default(), &records, points, &mut draws, &mut judge)
}

#[test]
fn what_is_not_let_go_of_is_there_after_a_power_cut_in_retention_and_checkpoints() {
    let faults = let_go("", cuts_count());
    assert!(faults.is_empty(), "{} faults: {faults:#?}", faults.len());
}

#[test]
fn planted_a_database_that_is_not_synced_before_its_log_is_emptied_is_found() {
    let faults = let_go("sync@chat.db:1:lie:*", CUTS / 2);
    assert!(!faults.is_empty(), "none of the cuts finds it");
}

// Backups, by the server: asked for and by itself.

/// What was acked when each backup began, and which ones are said to be done.
#[derive(Default)]
struct BackedUp {
    told: Told,
    /// When the server began that makes one by itself.
    base: Told,
    begun: Vec<(String, Told)>,
    done: Vec<String>,
    /// How many files were looked at.
    looked: usize,
}

impl Judge for BackedUp {
    fn note(&mut self, note: &str) {
        match note.split_once(' ') {
            Some(("begins", "server")) => self.base = self.told.clone(),
            Some(("begins", name)) => self.begun.push((name.to_owned(), self.told.clone())),
            Some(("done", name)) => self.done.push(name.to_owned()),
            _ => self.told.note(note),
        }
    }

    fn check(&mut self, disk: &Path) -> Result<(), String> {
        let files = files(&disk.join("backups"));
        if let Some(lost) = self.done.iter().find(|of| !files.iter().any(|at| name_of(at) == **of))
        {
            return Err(format!("{lost} was made and is not there"));
        }
        for file in files.iter().filter(|file| !name_of(file).contains(".partial")) {
            let begun = self.begun.iter().find(|(name, _)| name == name_of(file));
            let then = begun.map_or(&self.base, |(_, told)| told);
            check_copy(file, disk, &then.seen_since(&self.told))?;
            self.looked += 1;
        }
        self.told.check(&disk.join("store"))
    }
}

/// A server that makes backups under load. Returns the faults, and how many backups were looked at.
fn back_up(rules: &str, count: usize) -> (Vec<String>, usize) {
    let disk = Disk::new();
    let (notes, mut load) = (disk.notes(), Load::default());
    load.run(disk.serve_with_journal(&[]), &notes, 300, Server::terminate);
    disk.rule(rules);
    notes.put("begins server");
    let folder = disk.watched().join("backups");
    let server = disk.serve_with_journal(&[&format!("store.backup={}", folder.display())]);
    load.run(server, &notes, 300, |server: &Server| {
        for name in ["a.db", "b.db", "c.db"] {
            notes.put(&format!("begins {name}"));
            let to = folder.join(name);
            let output = disk.run(&[OsStr::new("backup"), to.as_os_str()], false);
            assert!(output.status.success(), "{output:?}");
            notes.put(&format!("done {name}"));
        }
        server.terminate();
    });
    let records = disk.read_journal();
    let in_backups = |record: &Record| match record {
        Record::Opened { name, .. } | Record::Unlinked { name } => name.starts_with("backups/"),
        Record::Linked { to, .. } => to.starts_with("backups/"),
        Record::Noted(note) => note.starts_with("begins ") || note.starts_with("done "),
        _ => false,
    };
    let mut draws = draws();
    let points = moments_near(&records, count, &mut draws, in_backups);
    let mut judge = BackedUp::default();
    let faults = cut_at(&disk, Model::default(), &records, points, &mut draws, &mut judge);
    (faults, judge.looked)
}

#[test]
fn a_backup_that_a_power_cut_ends_is_whole_or_has_no_name() {
    let (faults, looked) = back_up("", cuts_count());
    assert!(faults.is_empty(), "{} faults: {faults:#?}", faults.len());
    assert!(looked > CUTS / 2, "{looked} backups were looked at");
}

#[test]
fn planted_a_backup_that_has_its_name_before_it_is_on_disk_is_found() {
    let (faults, _) = back_up("sync@.partial:1:lie:*", CUTS / 2);
    assert!(!faults.is_empty(), "none of the cuts finds it");
}

#[test]
fn planted_a_backup_whose_name_is_not_on_disk_when_it_is_done_is_found() {
    let (faults, _) = back_up("sync@backups:1:lie:*", CUTS / 2);
    let lost = |fault: &String| fault.contains("was made and is not there");
    assert!(faults.iter().any(lost), "{faults:#?}");
}

// Restore.

#[derive(Default)]
struct Restoring {
    told: Told,
    backup: Option<Told>,
    is_begun: bool,
    is_done: bool,
    /// How often the old store was there, and how often the new one.
    seen: (usize, usize),
}

impl Judge for Restoring {
    fn note(&mut self, note: &str) {
        match note {
            "backup" => self.backup = Some(self.told.clone()),
            "begins" => self.is_begun = true,
            "done" => self.is_done = true,
            _ => self.told.note(note),
        }
    }

    fn check(&mut self, disk: &Path) -> Result<(), String> {
        let (store, look) = (disk.join("store"), disk.join("look"));
        // To look at a store alters it.
        copy_files(&store, &look);
        let old = if self.is_done { Err("it is done".to_owned()) } else { self.told.check(&look) };
        let Err(old) = old else {
            self.seen.0 += 1;
            return Ok(());
        };
        if !self.is_begun {
            return Err(old);
        }
        copy_files(&store, &look);
        let backup = self.backup.as_ref().expect("it was made before");
        let new = backup.restored_since(&self.told).check(&look);
        new.map_err(|new| format!("neither the old one ({old}) nor the new one ({new})"))?;
        self.seen.1 += 1;
        let kept = files(&store).into_iter().find(|file| name_of(file).contains(".before-"));
        let kept = kept.ok_or("the old one is not there any more")?;
        check_copy(&kept, disk, &self.told)
    }
}

/// How many records at the end of a restore are of names; most others are bytes of the copy.
const NAMED: usize = 12;

fn restore(rules: &str, count: usize) -> (Vec<String>, (usize, usize)) {
    let disk = Disk::new();
    let (notes, mut load) = (disk.notes(), Load::default());
    let backup = disk.elsewhere("backup.db");
    load.run(disk.serve_with_journal(&[]), &notes, 200, Server::terminate);
    notes.put("backup");
    let output = disk.run(&[OsStr::new("backup"), backup.as_os_str()], false);
    assert!(output.status.success(), "{output:?}");
    load.run(disk.serve_with_journal(&[]), &notes, 200, Server::terminate);
    disk.rule(rules);
    notes.put("begins");
    let output = disk.run(&[OsStr::new("restore"), backup.as_os_str()], true);
    assert!(output.status.success(), "{output:?}");
    notes.put("done");
    let records = disk.read_journal();
    let is_begin = |record: &Record| matches!(record, Record::Noted(note) if note == "begins");
    let begin = records.iter().position(is_begin).unwrap();
    let mut draws = draws();
    let points = (0..count).map(|number| match number % 2 {
        0 => begin + 1 + draws.below(records.len() - begin),
        _ => records.len() - draws.below(NAMED),
    });
    let points = points.collect();
    let mut judge = Restoring::default();
    let faults = cut_at(&disk, Model::default(), &records, points, &mut draws, &mut judge);
    (faults, judge.seen)
}

#[test]
fn a_restore_that_a_power_cut_ends_leaves_the_old_store_or_the_new_one() {
    let (faults, (old, new)) = restore("", cuts_count());
    assert!(faults.is_empty(), "{} faults: {faults:#?}", faults.len());
    assert!(old > CUTS / 10 && new > CUTS / 10, "{old} times the old one, {new} the new one");
}

#[test]
fn planted_a_store_that_has_its_name_before_it_is_on_disk_is_found() {
    let (faults, _) = restore("sync@.partial:1:lie:*", CUTS / 2);
    assert!(!faults.is_empty(), "none of the cuts finds it");
}

// What was taken away since a backup.

/// At each cut the backup is brought back.
struct TakenAway {
    told: Told,
    backup: Option<(PathBuf, Told)>,
    /// How much was taken away again, over all cuts.
    reapplied: u64,
}

impl Judge for TakenAway {
    fn note(&mut self, note: &str) {
        match note.split_once(' ') {
            Some(("backup", file)) => self.backup = Some((file.into(), self.told.clone())),
            _ => self.told.note(note),
        }
    }

    fn check(&mut self, disk: &Path) -> Result<(), String> {
        let Some((file, then)) = &self.backup else { return Ok(()) };
        let store = disk.join("store");
        let restored = tools::restore(&store, file, "then", 9).map_err(|e| e.to_string())?;
        if restored.reapplied.damaged + restored.damaged_lines > 0 {
            return Err(format!("something is damaged: {restored:?}"));
        }
        self.reapplied += restored.reapplied.deleted + restored.reapplied.stands;
        then.restored_since(&self.told).check(&store)
    }
}

/// A server from which something is taken away behind a backup. Returns the faults, and how much
/// was taken away again.
fn take_away(rules: &str, count: usize) -> (Vec<String>, u64) {
    let disk = Disk::new();
    let (notes, mut load) = (disk.notes(), Load::default());
    let backup = disk.elsewhere("backup.db");
    load.run(disk.serve_with_journal(&[]), &notes, 200, Server::terminate);
    let output = disk.run(&[OsStr::new("backup"), backup.as_os_str()], false);
    assert!(output.status.success(), "{output:?}");
    notes.put(&format!("backup {}", backup.display()));
    disk.rule(rules);
    load.run(disk.serve_with_journal(&[]), &notes, 300, Server::terminate);
    let records = disk.read_journal();
    let is_dropped = |record: &Record| matches!(record, Record::Dropped { .. });
    assert_eq!(records.iter().any(is_dropped), rules.contains(":drop"), "{rules}");
    let is_backup =
        |record: &Record| matches!(record, Record::Noted(note) if note.starts_with("backup "));
    let begin = records.iter().position(is_backup).unwrap();
    let mut draws = draws();
    let points = moments(&records[begin..], count, &mut draws);
    let points = points.into_iter().map(|point| begin + point).collect();
    let mut judge = TakenAway { told: Told::default(), backup: None, reapplied: 0 };
    let faults = cut_at(&disk, Model::default(), &records, points, &mut draws, &mut judge);
    (faults, judge.reapplied)
}

#[test]
fn what_was_taken_away_before_a_power_cut_is_not_brought_back_by_a_backup() {
    let (faults, reapplied) = take_away("", cuts_count());
    assert!(faults.is_empty(), "{} faults: {faults:#?}", faults.len());
    assert!(reapplied > CUTS as u64, "{reapplied}: something was taken away again each time");
}

#[test]
fn what_a_sync_that_failed_has_dropped_of_what_is_taken_away_is_written_anew() {
    let (faults, reapplied) = take_away("sync@removed.log:3:drop", CUTS / 2);
    assert!(faults.is_empty(), "{} faults: {faults:#?}", faults.len());
    assert!(reapplied > CUTS as u64 / 4, "{reapplied}: something was taken away again each time");
}

#[test]
fn planted_what_is_taken_away_before_that_is_on_disk_is_found() {
    let (faults, _) = take_away("sync@removed.log:1:lie:*", CUTS / 2);
    let is_back = |fault: &String| fault.contains("was acked and is not there");
    assert!(faults.iter().any(is_back), "{faults:#?}");
}

// Migration.

/// What was in the store of an earlier schema.
struct Migrated {
    /// As it is exported.
    lines: String,
    /// How often there was a copy from before.
    copies: usize,
}

impl Judge for Migrated {
    fn note(&mut self, _: &str) {}

    fn check(&mut self, disk: &Path) -> Result<(), String> {
        let store = disk.join("store");
        let copy = store.join("chat.db.v1");
        if copy.exists() {
            self.copies += 1;
            let all = |conn: &Connection| -> rusqlite::Result<(String, i64, i64)> {
                let check = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
                let count = conn.query_row("SELECT count(*) FROM message", [], |row| row.get(0))?;
                Ok((check, count, conn.pragma_query_value(None, "user_version", |row| row.get(0))?))
            };
            let found = Connection::open(&copy).and_then(|conn| all(&conn));
            let messages = self.lines.matches("\"kind\":\"message\"").count();
            let messages = i64::try_from(messages).unwrap();
            if found.as_ref().ok() != Some(&("ok".to_owned(), messages, 1)) {
                return Err(format!("the copy from before is not whole: {found:?}"));
            }
        }
        Look::begin(&store)?.end()?;
        let (mut out, mut tell) = (Vec::new(), |_: &str| {});
        tools::export(&store, &Choice::default(), &mut out, &mut tell)
            .map_err(|error| format!("it cannot be exported: {error}"))?;
        let lines = String::from_utf8(out).unwrap();
        if lines == self.lines { Ok(()) } else { Err(format!("it is another one: {lines}")) }
    }
}

/// Returns the faults, and how often there was a copy from before.
fn migrate(rules: &str, count: usize) -> (Vec<String>, usize) {
    let fixture = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store");
        fs::read_to_string(folder.join(name)).unwrap()
    };
    let disk = Disk::new();
    let file = disk.store().join("chat.db");
    fs::create_dir_all(disk.store()).unwrap();
    Connection::open(&file).unwrap().execute_batch(&fixture("schema-1.sql")).unwrap();
    let mut model = Model::default();
    model.begin_with("store/chat.db", fs::read(&file).unwrap());
    disk.rule(rules);
    let server = disk.serve_with_journal(&[]);
    server.terminate();
    until("it has ended", || has_ended(&server));
    let (status, log) = server.wait(PATIENCE);
    assert!(status.success(), "{log}");
    let records = disk.read_journal();
    let mut draws = draws();
    let points = (0..count).map(|_| draws.below(records.len() + 1)).collect();
    let mut judge = Migrated { lines: fixture("schema-1.jsonl"), copies: 0 };
    let faults = cut_at(&disk, model, &records, points, &mut draws, &mut judge);
    (faults, judge.copies)
}

#[test]
fn a_migration_that_a_power_cut_ends_has_lost_nothing_and_its_copy_is_whole_or_not_there() {
    let (faults, copies) = migrate("", cuts_count());
    assert!(faults.is_empty(), "{} faults: {faults:#?}", faults.len());
    assert!(copies > CUTS / 20, "{copies} copies");
}

#[test]
fn planted_a_copy_from_before_a_migration_that_is_not_synced_is_found() {
    let (faults, _) = migrate("sync@.partial:1:lie:*", CUTS / 2);
    let is_it = |fault: &String| fault.contains("the copy from before is not whole");
    assert!(faults.iter().any(is_it), "{faults:#?}");
}
