//! Faults that a run is told to make: shell commands, each at its time, that kill a server, stop
//! it, start it again, or let an engine fail over.
//!
//! A command is in a process group of its own, which ends with the run: so no server that it has
//! started is left behind, unless by `setsid`. Until then the command itself is not waited for, and
//! its number is nobody else's.

use std::io::{self, stderr};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid,
};
use serde::{Deserialize, Serialize};

use crate::base::SECOND_NS;

/// A fault as it is asked for: `AT_MS: COMMAND`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fault {
    /// When it is due, in milliseconds from the start of the load.
    at_ms: u64,
    /// What the shell is given.
    command: String,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not AT_MS: COMMAND, as in `3000: kill -9 1234`");
        let (at_ms, command) = text.split_once(':').ok_or_else(wrong)?;
        let at_ms = at_ms.trim().parse().map_err(|_| wrong())?;
        let command = command.trim().to_owned();
        if command.is_empty() { Err(wrong()) } else { Ok(Self { at_ms, command }) }
    }
}

impl Fault {
    /// When it is due, in milliseconds from the start of the load.
    pub(crate) fn at_ms(&self) -> u64 {
        self.at_ms
    }

    /// When it is due, in nanoseconds from the start of the load.
    pub(crate) fn at_ns(&self) -> u64 {
        self.at_ms.saturating_mul(SECOND_NS / 1_000)
    }

    /// The program that it runs. All of the command is in no report: a secret may stand in it.
    pub(crate) fn program(&self) -> &str {
        let mut words = self.command.split_whitespace();
        words.find(|word| !word.contains('=')).unwrap_or_default()
    }
}

/// A fault whose command was started.
pub(crate) struct Running {
    child: Child,
    group: Pid,
    /// Its end: when it was seen, and the exit code; none of a command that a signal has ended.
    ended: Option<(u64, Option<i32>)>,
}

impl Running {
    /// Starts the command. What it says goes to standard error.
    ///
    /// # Errors
    /// There is no shell, or no process for it.
    pub(crate) fn start(fault: &Fault) -> io::Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", &fault.command]).process_group(0);
        let child = command.stdin(Stdio::null()).stdout(stderr()).stderr(stderr()).spawn()?;
        let group = Pid::from_child(&child);
        Ok(Self { child, group, ended: None })
    }

    /// Its end, if it has ended by now: when that was seen, and the exit code.
    pub(crate) fn ended(&mut self, now_ns: u64) -> Option<(u64, Option<i32>)> {
        if self.ended.is_none() {
            // Without taking it away: its number is that of the group, too.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            let status = waitid(WaitId::Pid(self.group), options).ok().flatten();
            self.ended = status.as_ref().map(WaitIdStatus::exit_status).map(|code| (now_ns, code));
        }
        self.ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _all_gone = kill_process_group(self.group, Signal::KILL);
        let _over = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_fault_is_a_time_and_a_command() {
        let fault: Fault = "1500: PASSWORD=x kill -9 1".parse().unwrap();
        assert_eq!((fault.at_ns(), fault.program()), (1_500_000_000, "kill"));
        assert_eq!(fault.command, "PASSWORD=x kill -9 1");
        for wrong in ["", "kill -9 1", "5:", "1.5s: kill -9 1", "-1: true"] {
            assert!(wrong.parse::<Fault>().unwrap_err().contains("AT_MS: COMMAND"), "{wrong}");
        }
    }

    #[test]
    fn a_command_ends_with_its_code_and_what_it_has_left_behind_ends_with_the_run() {
        let name = std::env::temp_dir().join(format!("loadtest-fault-{}", std::process::id()));
        let command = format!("0: sleep 600 & echo $! > {}; exit 3", name.display());
        let mut running = Running::start(&command.parse().unwrap()).unwrap();
        let ended = loop {
            match running.ended(7) {
                Some(ended) => break ended,
                None => std::thread::yield_now(),
            }
        };
        assert_eq!(ended, (7, Some(3)));
        assert_eq!(running.ended(8), Some((7, Some(3))), "its end is when it was seen first");
        let left: u32 = fs::read_to_string(&name).unwrap().trim().parse().unwrap();
        fs::remove_file(&name).unwrap();
        let is_there = || {
            // One that nobody has waited for is over, too.
            let stat = fs::read_to_string(format!("/proc/{left}/stat")).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z"))
        };
        assert!(is_there());
        drop(running);
        let since = Instant::now();
        while is_there() {
            assert!(since.elapsed() < Duration::from_secs(10), "{left} is left behind");
            std::thread::yield_now();
        }
    }
}
