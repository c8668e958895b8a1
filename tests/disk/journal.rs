//! The journal of `shim.c`: what was done to the files of a store, and what clients were told.

use std::path::Path;

/// Bytes before the data of a record: kind, handle, at, and how long the data is.
const HEAD_BYTES: usize = 1 + 4 + 8 + 4;

/// One of them.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    /// A process began: its handles are new.
    Begun,
    /// A file was opened, by its name in the folder; the folder itself has none.
    Opened { handle: u32, is_new: bool, name: String },
    /// A folder was opened, likewise.
    OpenedFolder { handle: u32, name: String },
    /// A file's name has gone.
    Unlinked { name: String },
    /// A file has another name.
    Renamed { from: String, to: String },
    /// A file has one more name.
    Linked { from: String, to: String },
    /// Bytes were written.
    Wrote { handle: u32, at: usize, bytes: Vec<u8> },
    /// A file has this length now.
    Truncated { handle: u32, bytes: usize },
    /// A sync began.
    SyncBegan { handle: u32 },
    /// It has ended well: what was written before it began is safe.
    SyncEnded { handle: u32 },
    /// It has failed, and what was written before it never reaches the disk.
    Dropped { handle: u32 },
    /// A client says what it was told.
    Noted(String),
}

/// A record of a client's.
pub(crate) fn note(text: &str) -> Vec<u8> {
    let mut record = vec![b'A'];
    record.extend([0; 12]);
    record.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
    record.extend(text.as_bytes());
    record
}

/// Reads all; a record that was being written when the process was killed is left out.
pub(crate) fn read(mut bytes: &[u8], folder: &Path) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) {
        let handle = u32::from_le_bytes(*head[1..].first_chunk().unwrap());
        let at = u64::from_le_bytes(*head[5..].first_chunk().unwrap());
        let at = usize::try_from(at).unwrap();
        let count = u32::from_le_bytes(*head[13..].first_chunk().unwrap());
        let Some((data, rest)) = rest.split_at_checked(count as usize) else { break };
        bytes = rest;
        let text = || String::from_utf8(data.to_vec()).unwrap();
        let name = |path: &str| {
            let name = Path::new(path).strip_prefix(folder).expect("it is in the folder");
            name.to_str().unwrap().to_owned()
        };
        records.push(match head[0] {
            b'P' => Record::Begun,
            b'O' if at == 2 => Record::OpenedFolder { handle, name: name(&text()) },
            b'O' => Record::Opened { handle, is_new: at == 1, name: name(&text()) },
            b'X' => Record::Unlinked { name: name(&text()) },
            b'R' | b'L' => {
                let both = text();
                let (from, to) = both.split_once('\0').unwrap();
                let (from, to) = (name(from), name(to));
                if head[0] == b'R' {
                    Record::Renamed { from, to }
                } else {
                    Record::Linked { from, to }
                }
            }
            b'W' => Record::Wrote { handle, at, bytes: data.to_vec() },
            b'T' => Record::Truncated { handle, bytes: at },
            b'B' => Record::SyncBegan { handle },
            b'S' => Record::SyncEnded { handle },
            b'D' => Record::Dropped { handle },
            b'A' => Record::Noted(text()),
            other => panic!("no record is a {other}"),
        });
    }
    records
}
