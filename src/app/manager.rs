//! The service manager that has started the process, as systemd: which sockets it passes, and what
//! it is told (`sd_listen_fds(3)`, `sd_notify(3)`). Where there is none, nothing is passed and
//! nobody told.
//!
//! Deliberately absent: reloading, which no configuration here knows.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use listenfd::ListenFd;
use mio::net::TcpListener;
use sd_notify::NotifyState;

use super::cli::EXIT_CONFIG;
use super::failure::Failure;
use crate::limits::STALL_MS;
use crate::reactor;

/// The sockets that were passed, one for each shard; none if it opens its own. With fewer sockets
/// than shards, several shards accept from one.
///
/// `is_private` is what the configuration was judged by: whether only this machine may get in.
///
/// # Errors
///
/// Where what was passed is not what the configuration is for, or no socket of TCP.
pub(super) fn listeners(
    is_private: bool,
    shards: u16,
) -> Result<Option<Vec<TcpListener>>, Failure> {
    let mut passed = ListenFd::from_env();
    let refuse = |message| Failure { code: EXIT_CONFIG, message };
    if passed.len() > usize::from(shards) {
        let count = passed.len();
        return Err(refuse(format!(
            "the service manager passes {count} sockets to {shards} shards, of which each accepts \
             from one: raise shards"
        )));
    }
    let mut sockets = Vec::new();
    for index in 0..passed.len() {
        let socket = passed.take_tcp_listener(index).transpose();
        let socket = socket.expect("each is taken once");
        let socket = socket.map_err(|error| {
            refuse(format!("what the service manager passes is wrong: {error}"))
        })?;
        let address = socket.local_addr().map_err(|error| error.to_string())?;
        if is_private && !address.ip().to_canonical().is_loopback() {
            return Err(refuse(format!(
                "the service manager passes {address}, which can be reached by others, and listen is \
                 for this machine alone: set listen to the same"
            )));
        }
        sockets.push(socket);
    }
    if sockets.is_empty() {
        return Ok(None);
    }
    let of_shard = |shard| {
        let socket = &sockets[usize::from(shard) % sockets.len()];
        reactor::inherit(socket).map_err(|error| format!("cannot use a passed socket: {error}"))
    };
    Ok(Some((0..shards).map(of_shard).collect::<Result<_, _>>()?))
}

/// Says that it serves, and where.
pub(super) fn say_ready(status: &str) {
    say(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Says that it has begun to stop.
pub(super) fn say_stopping() {
    say(&[NotifyState::Stopping]);
}

fn say(states: &[NotifyState<'_>]) {
    let Some(manager) = env::var_os("NOTIFY_SOCKET") else { return };
    let mut lines = String::new();
    for state in states {
        lines.extend([&*state.to_string(), "\n"]);
    }
    // A manager that does not hear it does what it does with those that say nothing.
    let _ = tell(&manager, lines.as_bytes());
}

/// Sends a message to a socket: its path, or its name behind an `@`. Without waiting, which the
/// library's own `notify` does: nothing here hangs on a manager that does not read.
fn tell(manager: &OsStr, message: &[u8]) -> io::Result<usize> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let address = match manager.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(manager)?,
    };
    socket.send_to_addr(message, &address)
}

/// When the manager is told that all shards turn, which it ends a process for that does not say so.
pub(super) struct Pulse {
    /// None: nobody waits for it.
    each_ms: Option<u64>,
    told_ms: u64,
}

impl Pulse {
    /// As the manager has asked for it.
    pub(super) fn asked() -> Self {
        Self::within(sd_notify::watchdog_enabled())
    }

    /// Told well within this time.
    fn within(patience: Option<Duration>) -> Self {
        let half_ms =
            |patience: Duration| u64::try_from(patience.as_millis()).unwrap_or(u64::MAX) / 2;
        Self { each_ms: patience.map(half_ms), told_ms: 0 }
    }

    /// How often to look, in milliseconds.
    pub(super) fn look_ms(&self) -> u64 {
        let stall_ms = STALL_MS / 2;
        self.each_ms.map_or(stall_ms, |each_ms| stall_ms.min(each_ms.max(1)))
    }

    /// Says so, if it is time to, and true.
    pub(super) fn beat(&mut self, now_ms: u64, is_stuck: bool) {
        if self.is_due(now_ms, is_stuck) {
            say(&[NotifyState::Watchdog]);
        }
    }

    fn is_due(&mut self, now_ms: u64, is_stuck: bool) -> bool {
        let is_due = self.each_ms.is_some_and(|each_ms| now_ms >= self.told_ms + each_ms);
        if is_due && !is_stuck {
            self.told_ms = now_ms;
        }
        is_due && !is_stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_that_does_not_read_is_not_waited_for() {
        for is_abstract in [false, true] {
            let name = format!("chinwag-manager-{}-{is_abstract}", std::process::id());
            let path = env::temp_dir().join(&name);
            let (address, shown) = if is_abstract {
                (SocketAddr::from_abstract_name(&name).unwrap(), format!("@{name}"))
            } else {
                (SocketAddr::from_pathname(&path).unwrap(), path.to_str().unwrap().to_owned())
            };
            let manager = UnixDatagram::bind_addr(&address).unwrap();
            let told = || tell(shown.as_ref(), b"READY=1\n");
            let count = std::iter::repeat_with(told).take_while(Result::is_ok).count();
            assert!(count > 0, "it is told until it is full");
            assert_eq!(told().unwrap_err().kind(), io::ErrorKind::WouldBlock);
            let mut heard = [0; 16];
            let length = manager.recv(&mut heard).unwrap();
            assert_eq!(heard[..length], *b"READY=1\n");
            let _ = std::fs::remove_file(&path);
        }
    }

    #[test]
    fn who_waits_is_told_in_half_the_time_and_not_while_a_shard_is_stuck() {
        let mut pulse = Pulse::within(Some(Duration::from_secs(10)));
        assert_eq!(pulse.look_ms(), STALL_MS / 2);
        for (now_ms, is_stuck, expected) in [
            (4_999, false, false),
            (5_000, false, true),
            (9_999, false, false),
            (10_000, true, false),
            (30_000, true, false),
            (30_500, false, true),
            (35_499, false, false),
            (35_500, false, true),
        ] {
            assert_eq!(pulse.is_due(now_ms, is_stuck), expected, "{now_ms}");
        }
    }

    #[test]
    fn nobody_is_told_who_has_not_asked_and_the_impatient_are_told_more_often() {
        let mut pulse = Pulse::within(None);
        assert!(!pulse.is_due(u64::MAX / 2, false));
        assert_eq!(pulse.look_ms(), STALL_MS / 2);
        assert_eq!(Pulse::within(Some(Duration::from_millis(200))).look_ms(), 100);
    }
}
