//! Power cuts: a server under load over several lives, and what its disk may hold at hundreds of
//! moments of that. All that was acked must be there each time; a disk that lies must be found out.

use std::path::Path;

use crate::journal::Record;
use crate::kept::Told;
use crate::load::Load;
use crate::model::{Cut, Model};
use crate::server::Server;
use crate::shim::Disk;
use crate::{Draws, from_env};

/// How often the power is cut in CI.
pub(crate) const CUTS: usize = 100;

/// Which cuts they are, if `DISK_SEED` does not say it.
pub(crate) const SEED: u64 = 0x5eed;

/// How much is acked in each life of a server, and how it ends.
const LIVES: [(u32, End); 3] = [(700, End::Killed), (2_000, End::Terminated), (1_000, End::Killed)];

/// How a server ends under load.
enum End {
    Killed,
    Terminated,
}

/// Judges what a disk holds after a cut.
pub(crate) trait Judge {
    /// Takes a note of a client, or of the test, as of when it was made.
    fn note(&mut self, note: &str);

    /// Whether all is as it should be in the folder that was watched. The error says what is not.
    fn check(&mut self, disk: &Path) -> Result<(), String>;
}

/// What clients were told is in the store, and how much of it was asked for.
struct Asked {
    told: Told,
    acked: usize,
    changes: usize,
}

impl Judge for Asked {
    fn note(&mut self, note: &str) {
        self.told.note(note);
    }

    fn check(&mut self, disk: &Path) -> Result<(), String> {
        self.acked += self.told.acked();
        self.changes += self.told.changes();
        self.told.check(&disk.join("store"))
    }
}

/// What a run of power cuts has shown.
pub(crate) struct Found {
    cuts: usize,
    /// How much had been acked before all cuts together, and how many changes among that.
    asked: usize,
    changes: usize,
    /// One for each cut after which not all was as it should be.
    pub(crate) faults: Vec<String>,
}

/// A server under load on a disk with these rules and settings, over its lives.
pub(crate) fn run(disk: &Disk, rules: &str, settings: &[&str]) -> Vec<Record> {
    let notes = disk.notes();
    let (mut load, mut draws) = (Load::default(), Draws(9));
    for (acks, end) in &LIVES {
        disk.rule(rules);
        let server = disk.serve_with_journal(settings);
        load.run(server, &notes, *acks, |server: &Server| match end {
            End::Killed => disk.rule(&format!("{rules}\n{}", dies(&mut draws))),
            End::Terminated => server.terminate(),
        });
    }
    disk.read_journal()
}

/// A server that is killed in the middle of a write soon.
fn dies(draws: &mut Draws) -> String {
    format!("write:{}:die", 1 + draws.below(50))
}

/// Moments at random, half of them just after somebody was told something.
pub(crate) fn moments(records: &[Record], count: usize, draws: &mut Draws) -> Vec<usize> {
    let is_note = |at: &usize| matches!(records[*at], Record::Noted(_));
    let noted: Vec<usize> = (0..records.len()).filter(is_note).map(|at| at + 1).collect();
    (0..count)
        .map(|number| match number % 2 {
            0 => noted[draws.below(noted.len())],
            _ => draws.below(records.len() + 1),
        })
        .collect()
}

/// Cuts the power at these moments. Returns what the judge has found, one for each bad cut.
pub(crate) fn cut_at(
    disk: &Disk,
    mut model: Model,
    records: &[Record],
    mut points: Vec<usize>,
    draws: &mut Draws,
    judge: &mut impl Judge,
) -> Vec<String> {
    points.sort_unstable();
    let (mut at, mut faults) = (0, Vec::new());
    for point in points {
        for record in &records[at..point] {
            model.apply(record);
            if let Record::Noted(note) = record {
                judge.note(note);
            }
        }
        at = point;
        let cut = [Cut::Keep, Cut::Drop, Cut::Tear, Cut::Tear][draws.below(4)];
        model.cut(cut, draws, disk.scratch());
        if let Err(fault) = judge.check(disk.scratch()) {
            faults.push(format!("record {point}, {cut:?}: {fault}"));
        }
    }
    faults
}

/// Cuts the power at moments at random, and asks for what is told.
fn cut(disk: &Disk, records: &[Record], told: Told, count: usize, seed: u64) -> Found {
    let mut draws = Draws(seed);
    let points = moments(records, count, &mut draws);
    let mut judge = Asked { told, acked: 0, changes: 0 };
    let faults = cut_at(disk, Model::default(), records, points, &mut draws, &mut judge);
    Found { cuts: count, asked: judge.acked, changes: judge.changes, faults }
}

#[test]
fn what_was_acked_is_there_after_a_power_cut_at_any_moment() {
    let disk = Disk::new();
    let records = run(&disk, "", &[]);
    let count = |is: fn(&Record) -> bool| records.iter().filter(|record| is(record)).count();
    let syncs = count(|record| matches!(record, Record::SyncEnded { .. }));
    // A slow disk has fewer commits, each with more in it.
    assert!(syncs > 100, "{syncs} syncs: the disk is not watched");
    // Each life ends with one, and begins with one; 4 MiB are more often full than that.
    let checkpoints = count(|record| matches!(record, Record::Truncated { .. }));
    assert!(checkpoints > 5, "{checkpoints} times the log was cut");
    let seed = from_env("DISK_SEED", usize::try_from(SEED).unwrap()) as u64;
    let found = cut(&disk, &records, Told::default(), from_env("DISK_CUTS", CUTS), seed);
    let Found { cuts, asked, changes, .. } = found;
    println!(
        "{cuts} cuts, {asked} asked for, {changes} of them changes, {} records",
        records.len()
    );
    assert!(asked > 50 * cuts && changes > 5 * cuts, "enough was acked: {asked}, {changes}");
    assert!(found.faults.is_empty(), "{} faults: {:#?}", found.faults.len(), found.faults);
}

/// Planted: the power cuts must find it, and would if nobody looked for messages.
#[track_caller]
fn planted(rules: &str, faults_min: usize, is_it: fn(&String) -> bool) {
    let disk = Disk::new();
    let records = run(&disk, rules, &[]);
    for told in [Told::default(), Told::of_changes()] {
        let Found { cuts, faults, .. } = cut(&disk, &records, told, CUTS / 3, SEED);
        println!("{rules}: {} faults in {cuts} cuts", faults.len());
        assert!(faults.iter().all(is_it), "{faults:#?}");
        assert!(faults.len() > faults_min, "{faults:#?}");
    }
}

#[test]
fn planted_a_sync_that_lies_is_found() {
    planted("sync:1:lie:*", CUTS / 12, |_| true);
}

#[test]
fn planted_a_log_that_is_synced_before_checkpoints_only_is_found() {
    // What `synchronous=NORMAL` does: nothing is ever damaged, and what was acked last is lost.
    let is_lost = |fault: &String| fault.contains("was acked and is not there");
    planted("sync@-wal:1:lazy:*", CUTS / 30, is_lost);
}

/// A disk that fails for a while and heals, by these rules. Then it is cut.
#[track_caller]
fn check_healed(rules: &str) {
    let disk = Disk::new();
    disk.rule(rules);
    let notes = disk.notes();
    let mut load = Load::default();
    let dies = dies(&mut Draws(9));
    load.run(disk.serve_with_journal(&[]), &notes, 1_500, |_: &Server| disk.rule(&dies));
    let records = disk.read_journal();
    let is_dropped = |record: &Record| matches!(record, Record::Dropped { .. });
    assert_eq!(records.iter().any(is_dropped), rules.ends_with("drop"), "{rules}");
    // What is slow refuses nothing.
    let is_refused =
        |record: &Record| matches!(record, Record::Noted(note) if note.starts_with("refused "));
    assert_eq!(records.iter().any(is_refused), !rules.contains("sleep"), "{rules}");
    let found = cut(&disk, &records, Told::default(), CUTS / 3, SEED);
    assert!(found.faults.is_empty(), "{rules}: {:#?}", found.faults);
}

#[test]
fn a_sync_that_fails_once_and_drops_what_was_written_loses_nothing_that_was_acked() {
    for rules in ["sync@-wal:40:drop", "sync@chat.db:4:drop", "sync@-wal:40:EIO"] {
        check_healed(rules);
    }
}

#[test]
fn writes_that_fail_for_a_while_lose_nothing_that_was_acked() {
    for rules in [
        "write@-wal:400:EIO",
        // The first pages of a commit are there, and half of another.
        "write@-wal:401:short\nwrite@-wal:402:ENOSPC:3",
        // A checkpoint that comes to its end later.
        "write@chat.db:40:short\nwrite@chat.db:41:ENOSPC",
    ] {
        check_healed(rules);
    }
}

#[test]
fn a_slow_disk_loses_nothing_that_was_acked() {
    check_healed("sync@-wal:40:sleep=200:3");
}
