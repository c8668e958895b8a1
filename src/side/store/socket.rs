//! How the command line asks the server that has a store: by a socket in the store's folder.
//!
//! ```text
//!   "store-socket"  "backup FILE" ── Request ──> writer: copies
//!                   "ok", or why not <── Partial ──┘  synced and named here
//! ```
//!
//! Invariants: only whoever may read the store may ask; one request at a time.
//!
//! Deliberately absent: arguments, and reading the copy again, which is done by whoever asked for
//! it.
//!
//! Called by: `threads`, `tools`. Calls: `copy`.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::copy::Copier;
use super::error::StoreError;

/// Its name in the folder.
const SOCKET: &str = "socket";

/// What a request begins with.
const BACKUP: &[u8] = b"backup ";

/// The longest request, in bytes.
const REQUEST_BYTES_MAX: u64 = 8 * 1_024;

/// How long a request may take to come.
const REQUEST_WAIT: Duration = Duration::from_secs(5);

/// The thread that takes requests.
pub(super) struct Requests {
    socket: PathBuf,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Requests {
    /// Begins to take requests for a store.
    ///
    /// # Errors
    ///
    /// If there can be no socket, as where the path of the folder is too long for one.
    pub(super) fn begin(folder: &Path, copier: Copier) -> Result<Self, StoreError> {
        let (socket, new) = (folder.join(SOCKET), folder.join("socket.new"));
        // One that an end without order has left.
        let _ = fs::remove_file(&new);
        let listener = UnixListener::bind(&new)?;
        // It is nobody else's from the moment on that it has its name.
        fs::set_permissions(&new, Permissions::from_mode(0o600))?;
        fs::rename(&new, &socket)?;
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let run = move || {
            for stream in listener.incoming() {
                if flag.load(Ordering::Acquire) {
                    return;
                }
                // Whoever asked and does not listen hears nothing.
                let _ = stream.and_then(|stream| answer(stream, &copier));
            }
        };
        let thread = super::threads::spawn("store-socket".to_owned(), run)?;
        Ok(Self { socket, stop, thread })
    }

    /// Ends. The writer must have ended before.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        // It waits for somebody to come.
        let woken = UnixStream::connect(&self.socket);
        let _ = fs::remove_file(&self.socket);
        if woken.is_ok() {
            // It has nothing to say.
            let _ = self.thread.join();
        }
    }
}

fn answer(mut stream: UnixStream, copier: &Copier) -> io::Result<()> {
    stream.set_read_timeout(Some(REQUEST_WAIT))?;
    let mut request = Vec::new();
    (&stream).take(REQUEST_BYTES_MAX).read_to_end(&mut request)?;
    let done = match request.strip_prefix(BACKUP) {
        Some(to) => copy(Path::new(OsStr::from_bytes(to)), copier),
        None => Err(StoreError::Refused("it knows no such request".to_owned())),
    };
    match done {
        Ok(()) => stream.write_all(b"ok"),
        Err(error) => write!(stream, "no: {error}"),
    }
}

fn copy(to: &Path, copier: &Copier) -> Result<(), StoreError> {
    // Whoever asked reads it again.
    copier.copy(to, |_| Ok(()))?;
    tracing::info!(to = %to.display(), "a backup is made");
    Ok(())
}

/// Asks the server that has a store for a copy of it, with this absolute name, and waits for it.
///
/// # Errors
///
/// If there is no such server, or if it does not do it.
pub(super) fn ask(folder: &Path, to: &Path) -> Result<(), StoreError> {
    let socket = folder.join(SOCKET);
    let mut stream = UnixStream::connect(&socket).map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::InvalidInput => "its path is too long for a socket".to_owned(),
            _ => error.to_string(),
        };
        StoreError::Refused(format!(
            "another process has the store, and cannot be asked by {}: {why}",
            socket.display()
        ))
    })?;
    stream.write_all(BACKUP)?;
    stream.write_all(to.as_os_str().as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer == "ok" {
        return Ok(());
    }
    let why = answer.strip_prefix("no: ").unwrap_or("it has ended");
    Err(StoreError::Refused(format!("the server did not do it: {why}")))
}
