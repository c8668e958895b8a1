//! What a disk may hold after a power cut, by what was written and synced before.
//!
//! - Bytes that were synced are there. Of those that were not, each sector of each write is there
//!   or not, whatever its neighbours do; so is a new length.
//! - A name that was given, changed or taken is safe once its *folder* was synced; until then the
//!   names in it are as they were at some moment since, as a file system with a journal has it.
//!   Each folder has a moment of its own.
//!
//! Not modelled: a sector that is half written, or altered though nobody wrote it; a file system
//! that makes names of one folder safe in another order; a folder that is not there after it was
//! made; what is mapped (see `shim.c`).

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
    /// The names in each folder, by its own.
    folders: BTreeMap<String, Names>,
    handles: HashMap<u32, Opened>,
}

/// The names in a folder: whole ones, as the journal has them.
#[derive(Default)]
struct Names {
    /// As processes see them, and as they are safe.
    now: BTreeMap<String, usize>,
    safe: BTreeMap<String, usize>,
    /// All that they were since.
    since: Vec<BTreeMap<String, usize>>,
}

#[derive(Clone)]
struct Opened {
    of: Of,
    /// What was unsafe when a sync began.
    syncing: usize,
}

#[derive(Clone)]
enum Of {
    Inode(usize),
    Folder(String),
}

/// The folder that a name is in.
fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
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
            Record::OpenedFolder { handle, name } => {
                self.folders.entry(name.clone()).or_default();
                self.handles.insert(*handle, Opened { of: Of::Folder(name.clone()), syncing: 0 });
            }
            Record::Opened { handle, is_new, name } => {
                if *is_new {
                    self.inodes.push(Inode::default());
                    self.give(name, self.inodes.len() - 1);
                }
                let inode = self.inode_of(name);
                let inode = inode.unwrap_or_else(|| panic!("{name} was made before the journal"));
                self.handles.insert(*handle, Opened { of: Of::Inode(inode), syncing: 0 });
            }
            Record::Unlinked { name } => self.take(name),
            // A socket is made by `bind`, of which the journal has nothing.
            Record::Renamed { from, to } => {
                if let Some(inode) = self.inode_of(from) {
                    let names = self.folders.entry(folder_of(from).to_owned()).or_default();
                    assert_eq!(folder_of(from), folder_of(to), "nothing is moved");
                    names.change(|names| {
                        names.remove(from);
                        names.insert(to.clone(), inode);
                    });
                }
            }
            Record::Linked { from, to } => {
                let inode = self.inode_of(from).expect("it was there");
                self.give(to, inode);
            }
            Record::Wrote { handle, at, bytes } => {
                self.change(*handle, Change::Write { at: *at, bytes: bytes.clone() });
            }
            Record::Truncated { handle, bytes } => {
                self.change(*handle, Change::Truncate { bytes: *bytes });
            }
            Record::SyncBegan { handle } => {
                let opened = self.handles.get_mut(handle).expect("it was opened");
                opened.syncing = match &opened.of {
                    Of::Inode(inode) => self.inodes[*inode].unsafe_changes.len(),
                    Of::Folder(name) => self.folders[name].since.len(),
                };
            }
            Record::SyncEnded { handle } => {
                let Opened { of, syncing } = &self.handles[handle];
                match of {
                    Of::Folder(name) => {
                        let names = self.folders.get_mut(name).expect("it was opened");
                        if let Some(last) = names.since.drain(..*syncing).next_back() {
                            names.safe = last;
                        }
                    }
                    Of::Inode(inode) => {
                        let Inode { safe, unsafe_changes } = &mut self.inodes[*inode];
                        let count = *syncing.min(&unsafe_changes.len());
                        unsafe_changes.drain(..count).for_each(|change| change.apply(safe));
                    }
                }
            }
            Record::Dropped { handle } => {
                let Opened { of: Of::Inode(inode), syncing } = &self.handles[handle] else {
                    panic!("of a file")
                };
                self.inodes[*inode].unsafe_changes.drain(..*syncing);
            }
            Record::Noted(_) => {}
        }
    }

    fn inode_of(&self, name: &str) -> Option<usize> {
        self.folders.get(folder_of(name))?.now.get(name).copied()
    }

    fn give(&mut self, name: &str, inode: usize) {
        let names = self.folders.entry(folder_of(name).to_owned()).or_default();
        names.change(|names| {
            names.insert(name.to_owned(), inode);
        });
    }

    fn take(&mut self, name: &str) {
        let names = self.folders.entry(folder_of(name).to_owned()).or_default();
        names.change(|names| {
            names.remove(name);
        });
    }

    /// A file that is there and safe before anything is done.
    pub(crate) fn begin_with(&mut self, name: &str, bytes: Vec<u8>) {
        self.inodes.push(Inode { safe: bytes, unsafe_changes: Vec::new() });
        let names = self.folders.entry(folder_of(name).to_owned()).or_default();
        names.now.insert(name.to_owned(), self.inodes.len() - 1);
        names.safe = names.now.clone();
    }

    fn change(&mut self, handle: u32, change: Change) {
        let Of::Inode(inode) = self.handles[&handle].of else { panic!("nobody writes a folder") };
        self.inodes[inode].unsafe_changes.push(change);
    }

    /// Writes what the disk may hold now into a new folder.
    pub(crate) fn cut(&self, cut: Cut, draws: &mut Draws, folder: &Path) {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).unwrap();
        // A file that has two names is one.
        let mut files: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for (name, Names { now, safe, since }) in &self.folders {
            fs::create_dir_all(folder.join(name)).unwrap();
            let names = match cut {
                Cut::Keep => now,
                Cut::Drop => safe,
                Cut::Tear => match draws.below(since.len() + 1) {
                    0 => safe,
                    at => &since[at - 1],
                },
            };
            for (name, inode) in names {
                let after = || self.inodes[*inode].after(cut, draws);
                fs::write(folder.join(name), files.entry(*inode).or_insert_with(after)).unwrap();
            }
        }
    }
}

impl Names {
    fn change(&mut self, change: impl FnOnce(&mut BTreeMap<String, usize>)) {
        change(&mut self.now);
        self.since.push(self.now.clone());
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
