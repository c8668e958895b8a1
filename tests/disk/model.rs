//! What a disk may hold after a power cut, by what was written and synced before.
//!
//! - Bytes that were synced are there. Of those that were not, each sector of each write is there
//!   or not, whatever its neighbours do; so is a new length.
//! - A name that was given, changed or taken is safe once the *folder* was synced; until then names
//!   are as they were at some moment since, as a file system with a journal has it.
//!
//! Not modelled: a sector that is half written, or altered though nobody wrote it; a file system
//! that makes names safe in another order; what is mapped (see `shim.c`).

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use crate::Draws;
use crate::journal::Record;

/// What a disk writes whole or not at all, in bytes.
const SECTOR_BYTES: usize = 512;

/// The files of a folder, as the disk has them and as the processes do.
#[derive(Default)]
pub(crate) struct Model {
    inodes: Vec<Inode>,
    /// As processes see them, and as they are safe.
    names: BTreeMap<String, usize>,
    safe_names: BTreeMap<String, usize>,
    /// All that the names were since.
    unsafe_names: Vec<BTreeMap<String, usize>>,
    handles: HashMap<u32, Opened>,
}

#[derive(Clone, Copy)]
struct Opened {
    /// None: the folder.
    inode: Option<usize>,
    /// What was unsafe when a sync began.
    syncing: usize,
}

#[derive(Default)]
struct Inode {
    safe: Vec<u8>,
    unsafe_changes: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate { bytes: usize },
}

/// What becomes of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// All of it is there, as after `kill -9`.
    Keep,
    /// Nothing is.
    Drop,
    /// Some is: whole writes, and sectors of others.
    Tear,
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => put(file, *at, bytes),
            Self::Truncate { bytes } => file.resize(*bytes, 0),
        }
    }
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if end > file.len() {
        file.resize(end, 0);
    }
    file[at..end].copy_from_slice(bytes);
}

impl Model {
    /// Goes on by one record.
    pub(crate) fn apply(&mut self, record: &Record) {
        match record {
            Record::Begun => self.handles.clear(),
            Record::Opened { handle, name, .. } if name.is_empty() => {
                self.handles.insert(*handle, Opened { inode: None, syncing: 0 });
            }
            Record::Opened { handle, is_new, name } => {
                if *is_new {
                    self.inodes.push(Inode::default());
                    let inode = self.inodes.len() - 1;
                    self.rename(|names| {
                        names.insert(name.clone(), inode);
                    });
                }
                let inode = self.names.get(name).copied();
                assert!(inode.is_some(), "{name} was made before the journal began");
                self.handles.insert(*handle, Opened { inode, syncing: 0 });
            }
            Record::Unlinked { name } => self.rename(|names| {
                names.remove(name);
            }),
            Record::Renamed { from, to } => self.rename(|names| {
                // A socket is made by `bind`, of which the journal has nothing.
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }),
            Record::Wrote { handle, at, bytes } => {
                self.change(*handle, Change::Write { at: *at, bytes: bytes.clone() });
            }
            Record::Truncated { handle, bytes } => {
                self.change(*handle, Change::Truncate { bytes: *bytes });
            }
            Record::SyncBegan { handle } => {
                let opened = self.handles[handle];
                let syncing = match opened.inode {
                    Some(inode) => self.inodes[inode].unsafe_changes.len(),
                    None => self.unsafe_names.len(),
                };
                self.handles.insert(*handle, Opened { syncing, ..opened });
            }
            Record::SyncEnded { handle } => {
                let Opened { inode, syncing } = self.handles[handle];
                let Some(inode) = inode else {
                    if let Some(last) = self.unsafe_names.drain(..syncing).next_back() {
                        self.safe_names = last;
                    }
                    return;
                };
                let Inode { safe, unsafe_changes } = &mut self.inodes[inode];
                let count = syncing.min(unsafe_changes.len());
                unsafe_changes.drain(..count).for_each(|change| change.apply(safe));
            }
            Record::Dropped { handle } => {
                let Opened { inode, syncing } = self.handles[handle];
                let inode = &mut self.inodes[inode.expect("a file")];
                inode.unsafe_changes.drain(..syncing);
            }
            Record::Noted(_) => {}
        }
    }

    fn rename(&mut self, change: impl FnOnce(&mut BTreeMap<String, usize>)) {
        change(&mut self.names);
        self.unsafe_names.push(self.names.clone());
    }

    fn change(&mut self, handle: u32, change: Change) {
        let inode = self.handles[&handle].inode.expect("nobody writes a folder");
        self.inodes[inode].unsafe_changes.push(change);
    }

    /// Writes what the disk may hold now into a new folder.
    pub(crate) fn cut(&self, cut: Cut, draws: &mut Draws, folder: &Path) {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).unwrap();
        let names = match cut {
            Cut::Keep => &self.names,
            Cut::Drop => &self.safe_names,
            Cut::Tear => match draws.below(self.unsafe_names.len() + 1) {
                0 => &self.safe_names,
                at => &self.unsafe_names[at - 1],
            },
        };
        for (name, inode) in names {
            fs::write(folder.join(name), self.inodes[*inode].after(cut, draws)).unwrap();
        }
    }
}

impl Inode {
    fn after(&self, cut: Cut, draws: &mut Draws) -> Vec<u8> {
        let mut file = self.safe.clone();
        for change in &self.unsafe_changes {
            match (cut, change) {
                (Cut::Keep, _) => change.apply(&mut file),
                (Cut::Tear, Change::Write { at, bytes }) if draws.is_heads() => {
                    let mut from = 0;
                    while from < bytes.len() {
                        // Up to the next sector of the file.
                        let whole = SECTOR_BYTES - (at + from) % SECTOR_BYTES;
                        let end = bytes.len().min(from + whole);
                        if draws.is_heads() {
                            put(&mut file, at + from, &bytes[from..end]);
                        }
                        from = end;
                    }
                }
                (Cut::Tear, _) if draws.is_heads() => change.apply(&mut file),
                (Cut::Drop | Cut::Tear, _) => {}
            }
        }
        file
    }
}
