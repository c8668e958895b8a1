//! [`resume`] against a plain model: a client that is recovered has what is true.
//!
//! The model has what the verbs will bring: changes of messages, each under a number of its own,
//! tombstones, a bounded memory of changes, and messages that are let go of. It fails over, loses a
//! tail, turns, and proposes again the deletes that it had applied. Clients fold what they hear, go
//! away, and come back with a cursor, some of an epoch long gone.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::base::rng::SplitMix64;

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    body: String,
    change: u64,
    is_deleted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// The epoch goes on after a loss.
    EpochKept,
    /// The lineage remembers offsets alone.
    OffsetsOnly,
    /// A second turn leaves the earlier ones as they were.
    OldTurnsKept,
    /// A turn takes back a delete.
    DeleteLost,
    /// Letting go of a changed message does not move the floor.
    NoFloor,
    /// Nor does it when the memory of changes is full.
    NoRing,
}

/// What survives a failover.
#[derive(Clone, Default)]
struct Stand {
    top: Marks,
    kept: BTreeMap<u64, State>,
    /// Each changed message once, under its latest change.
    changed: BTreeMap<u64, u64>,
    floor: u64,
}

struct Home {
    bug: Bug,
    messages_max: usize,
    changes_max: usize,
    epoch: u64,
    lineage: Lineage,
    now: Stand,
    /// What has been copied to where a failover may go, and what was true then; the oldest first.
    copies: Vec<(Stand, BTreeMap<u64, State>)>,
    /// The truth of every message that is there, also of those that were let go of.
    truth: BTreeMap<u64, State>,
    /// What the home has deleted. It must not forget that while a failover may take it back, though
    /// the memory of changes may be full.
    removals: BTreeSet<u64>,
    /// What was deleted and must stay so, whatever is lost: by the body that it had first.
    deleted: BTreeSet<String>,
    first_bodies: BTreeMap<u64, String>,
}

#[derive(Clone, Debug)]
enum Event {
    New(u64, State),
    Changed(u64, State),
}

impl Home {
    fn first(&self) -> u64 {
        self.now.kept.keys().next().copied().unwrap_or(self.now.top.offset + 1)
    }

    fn say(&mut self, body: String) -> Event {
        self.now.top.offset += 1;
        let offset = self.now.top.offset;
        let state = State { body: body.clone(), change: 0, is_deleted: false };
        self.first_bodies.insert(offset, body);
        self.truth.insert(offset, state.clone());
        self.now.kept.insert(offset, state.clone());
        while self.now.kept.len() > self.messages_max {
            let Some((oldest, gone)) = self.now.kept.pop_first() else { break };
            if gone.change > 0 && !gone.is_deleted {
                if self.bug != Bug::NoFloor {
                    self.now.floor = self.now.floor.max(gone.change);
                }
                self.now.changed.retain(|_, offset| *offset != oldest);
            }
        }
        Event::New(offset, state)
    }

    fn change(&mut self, offset: u64, body: &str, is_deleted: bool) -> Option<Event> {
        if self.now.kept.get(&offset)?.is_deleted {
            return None;
        }
        self.now.top.change += 1;
        let change = self.now.top.change;
        self.now.changed.retain(|_, other| *other != offset);
        self.now.changed.insert(change, offset);
        if self.now.changed.len() > self.changes_max
            && let Some((oldest, _)) = self.now.changed.pop_first()
            && self.bug != Bug::NoRing
        {
            self.now.floor = self.now.floor.max(oldest);
        }
        let state = State { body: body.into(), change, is_deleted };
        self.now.kept.insert(offset, state.clone());
        self.truth.insert(offset, state.clone());
        if is_deleted {
            self.deleted.insert(self.first_bodies[&offset].clone());
            self.removals.insert(offset);
        }
        Some(Event::Changed(offset, state))
    }

    /// Goes on from a copy. What is not in it is lost.
    fn fail_over(&mut self, epoch: u64, draw: u64) {
        let count = self.copies.len() as u64;
        let index = usize::try_from(draw % count).expect("few");
        (self.now, self.truth) = self.copies[index].clone();
        self.copies.truncate(index + 1);
        let top = self.now.top;
        self.first_bodies.retain(|offset, _| *offset <= top.offset);
        if self.bug != Bug::EpochKept {
            let kept = match self.bug {
                Bug::OffsetsOnly => Marks { change: u64::MAX, ..top },
                _ => top,
            };
            if self.bug == Bug::OldTurnsKept {
                self.lineage.ended.insert(0, (self.epoch, kept));
            } else {
                self.lineage.turn(self.epoch, kept, self.first());
            }
            self.epoch = epoch;
        }
        // A turn takes back no removal: the home had applied these.
        for offset in std::mem::take(&mut self.removals) {
            if self.bug != Bug::DeleteLost {
                self.change(offset, "", true);
                self.removals.insert(offset);
            }
        }
    }

    fn numbering(&self) -> Numbering<'_> {
        Numbering {
            epoch: self.epoch,
            top: self.now.top,
            first: self.first(),
            floor: self.now.floor,
            lineage: &self.lineage,
        }
    }
}

#[derive(Clone, Default)]
struct Client {
    messages: BTreeMap<u64, State>,
    cursor: Option<Cursor>,
    is_there: bool,
}

impl Client {
    fn hear(&mut self, event: &Event) {
        let Some(cursor) = &mut self.cursor else { return };
        match event {
            Event::New(offset, state) => {
                assert_eq!(*offset, cursor.offset + 1, "contiguous");
                cursor.offset = *offset;
                self.messages.insert(*offset, state.clone());
            }
            Event::Changed(offset, state) => {
                assert_eq!(Some(state.change), cursor.change.map(|change| change + 1));
                cursor.change = Some(state.change);
                self.merge(*offset, state);
            }
        }
    }

    /// The larger change wins.
    fn merge(&mut self, offset: u64, state: &State) {
        if let Some(mine) = self.messages.get_mut(&offset)
            && mine.change < state.change
        {
            *mine = state.clone();
        }
    }

    fn join(&mut self, home: &Home, bytes_max: usize, recovered: &mut [u64; 2]) {
        let missed = |has: Marks| {
            let new = home.now.kept.range(has.offset + 1..);
            let changed = home.now.changed.range(has.change + 1..);
            (new, changed.filter(move |(_, offset)| **offset <= has.offset))
        };
        let bytes = |has: Marks| {
            let (new, changed) = missed(has);
            new.count() + changed.count()
        };
        let has = self.cursor.and_then(|cursor| resume(home.numbering(), cursor, bytes_max, bytes));
        recovered[usize::from(has.is_some())] += 1;
        if let Some(has) = has {
            let (new, changed) = missed(has);
            self.messages.extend(new.map(|(offset, state)| (*offset, state.clone())));
            for (change, offset) in changed {
                let tombstone = State { body: String::new(), change: *change, is_deleted: true };
                let state = home.now.kept.get(offset).cloned().unwrap_or(tombstone);
                self.merge(*offset, &state);
            }
        } else {
            self.messages = home.now.kept.clone();
        }
        let Marks { offset, change } = home.now.top;
        self.cursor = Some(Cursor { epoch: home.epoch, offset, change: Some(change) });
        self.is_there = true;
    }

    fn check(&self, home: &Home) {
        for (offset, mine) in &self.messages {
            assert_eq!(Some(mine), home.truth.get(offset), "a client has what is true: {offset}");
        }
        let newest = self.messages.keys().next_back().copied().unwrap_or_default();
        assert!(newest <= home.now.top.offset, "and nothing else");
    }
}

fn run(seed: u64, bug: Bug) -> [u64; 2] {
    let mut rng = SplitMix64::new(seed);
    let sizes = [3, 8, 30];
    let pick = |rng: &mut SplitMix64| sizes[usize::try_from(rng.below(3)).expect("small")];
    let mut home = Home {
        bug,
        messages_max: pick(&mut rng),
        changes_max: pick(&mut rng),
        epoch: 1,
        lineage: Lineage::default(),
        now: Stand::default(),
        copies: vec![(Stand::default(), BTreeMap::new())],
        truth: BTreeMap::new(),
        removals: BTreeSet::new(),
        deleted: BTreeSet::new(),
        first_bodies: BTreeMap::new(),
    };
    let mut clients = vec![Client::default(); 4];
    let mut recovered = [0; 2];
    let bytes_max = pick(&mut rng) * 2;
    for step in 0..250 {
        let back = rng.below(12);
        let offset = home.now.top.offset.saturating_sub(back).max(1);
        let event = match rng.below(14) {
            0..=4 => Some(home.say(format!("b{step}"))),
            5 | 6 => home.change(offset, &format!("e{step}"), false),
            7 => home.change(offset, "", true),
            8 => {
                home.copies.push((home.now.clone(), home.truth.clone()));
                if home.copies.len() > 3 {
                    home.copies.remove(0);
                }
                None
            }
            9 if rng.below(3) == 0 => {
                // Those who are there are told of the turn, and join with their cursors again.
                home.fail_over(100 + step, back);
                for client in &mut clients {
                    client.is_there = false;
                }
                None
            }
            _ => {
                let client = &mut clients[usize::try_from(rng.below(4)).expect("small")];
                if client.is_there {
                    client.is_there = false;
                } else {
                    client.join(&home, bytes_max, &mut recovered);
                    client.check(&home);
                }
                None
            }
        };
        for client in clients.iter_mut().filter(|client| client.is_there) {
            if let Some(event) = &event {
                client.hear(event);
            }
            client.check(&home);
        }
        let shown = home.now.kept.iter().filter(|(_, state)| !state.is_deleted);
        for (offset, _) in shown {
            let body = &home.first_bodies[offset];
            assert!(!home.deleted.contains(body), "what was deleted is never shown again");
        }
    }
    recovered
}

#[test]
fn whoever_is_recovered_has_what_is_true() {
    let mut recovered = [0; 2];
    for seed in 0..3_000 {
        let [not, exactly] = run(seed, Bug::None);
        recovered = [recovered[0] + not, recovered[1] + exactly];
    }
    assert!(recovered.iter().all(|count| *count > 10_000), "both happen: {recovered:?}");
}

#[track_caller]
fn bark(bug: Bug) {
    let found = |seed| catch_unwind(AssertUnwindSafe(|| run(seed, bug))).is_err();
    assert!((0..500).any(found), "{bug:?} is not found");
}

#[test]
fn what_would_be_silently_wrong_is_found() {
    for bug in [
        Bug::EpochKept,
        Bug::OffsetsOnly,
        Bug::OldTurnsKept,
        Bug::DeleteLost,
        Bug::NoFloor,
        Bug::NoRing,
    ] {
        bark(bug);
    }
}

#[test]
fn an_epoch_that_no_cursor_is_judged_by_names_what_is_in_memory_and_the_first_is_never_forgotten() {
    const TURNS: u64 = 40;
    let mut lineage = Lineage::default();
    for turn in 1..=TURNS {
        // In each epoch a message is said, but for the one behind it.
        let kept = Marks { offset: turn.div_ceil(2), change: 0 };
        lineage.turn(turn, kept, 3);
    }
    let judged = TURNS - LINEAGE_EPOCHS_MAX as u64;
    assert_eq!(lineage.kept_of(judged), None);
    assert_eq!(lineage.kept_of(judged + 1), Some(Marks { offset: 13, change: 0 }));
    for offset in 3..=TURNS / 2 {
        assert_eq!(lineage.epoch_of(offset), Some(2 * offset - 1), "message {offset}");
    }
    assert_eq!(lineage.epoch_of(TURNS / 2 + 1), None, "it is of the present one");
    let forgets = |epoch: &u64| !lineage.has(*epoch);
    assert_eq!((1..=6).filter(forgets).collect::<Vec<_>>(), [2, 3, 4, 6]);
    assert_eq!(lineage.origin(), Some(1));
}
