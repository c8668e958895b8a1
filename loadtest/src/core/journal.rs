//! What each connection said and heard, as JSON lines, for a judge that shares no code with this
//! tool.
//!
//! ```text
//! {"conn":3,"life":2,"sent":["1","7","room:0","new_msg",{"body":"…"}]}
//! {"conn":3,"life":2,"heard":["1","7","room:0","phx_reply",{"response":{…},"status":"ok"}]}
//! ```
//!
//! `conn` is the number of a connection in the run, `life` counts its sockets. A line stands in the
//! file before its frame is sent, and after its frame has come. Lines of all workers are in one
//! order: so a frame that is sent behind a line was sent after what the line tells.
//!
//! Deliberately absent: what any of it means.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// The file; none, if there is no journal.
pub(super) struct Journal {
    file: Option<File>,
    line: Vec<u8>,
}

impl Journal {
    /// Appends to a file, as other workers do too.
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        let open = |path| OpenOptions::new().append(true).create(true).open(path);
        Ok(Self { file: path.map(open).transpose()?, line: Vec::new() })
    }

    /// A text that is `sent` or was `heard`.
    ///
    /// # Panics
    ///
    /// If it cannot be written: a journal with a hole proves nothing.
    pub(super) fn put(&mut self, conn: u32, life: u32, what: &str, frame: &[u8]) {
        let Some(file) = &mut self.file else { return };
        let text = &mut self.line;
        text.clear();
        let _in_memory = write!(text, r#"{{"conn":{conn},"life":{life},"{what}":"#);
        text.extend_from_slice(frame);
        text.extend_from_slice(b"}\n");
        // In one piece, or it would stand within another worker's.
        file.write_all(text).expect("the journal can be written");
    }
}
