//! What a process and all its children cost, from `/proc`.
//!
//! CPU in all is the scheduler's own count in nanoseconds (`schedstat`, per thread). The split into
//! user and system comes from `stat`, which counts in hundredths of a second; it is scaled to the
//! sum. A thread that ended in between takes its `schedstat` with it; where that happened, or where
//! threads came and went unseen, the coarser count is the better one, and is taken. For a thread
//! that is running, `schedstat` stands as of the last tick of the scheduler, some milliseconds ago:
//! nothing over seconds, too much over less.

use std::collections::BTreeMap;
use std::fs;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::base::{nanoseconds, real, whole};

/// One tick of `/proc/PID/stat`: Linux shows programs 100 a second, whatever the kernel's own pace.
const TICK_NS: u64 = 10_000_000;

/// How far the ticks of one process may be ahead of the scheduler's count though all its threads
/// are seen: both parts are cut to whole ticks, and what is running is further on in one than in
/// the other.
const SLACK_TICKS: u64 = 4;

/// What a tree of processes has used by some moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    user_ticks: u64,
    system_ticks: u64,
    threads_ns: BTreeMap<u32, u64>,
    context_switches: u64,
    /// Resident memory, in bytes.
    pub(crate) resident_bytes: u64,
    /// Resident memory that is the processes' own (heap, stacks), in bytes.
    pub(crate) own_bytes: u64,
    /// The most that was ever resident, in bytes.
    pub(crate) peak_bytes: u64,
    /// Threads.
    pub(crate) threads: u64,
    /// Processes.
    pub(crate) processes: u64,
}

/// What was used between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Used {
    /// CPU in user space, in nanoseconds.
    pub(crate) user_ns: u64,
    /// CPU in the kernel, in nanoseconds.
    pub(crate) system_ns: u64,
    /// Context switches.
    pub(crate) context_switches: u64,
}

impl Used {
    /// CPU in all, in nanoseconds.
    pub(crate) fn cpu_ns(self) -> u64 {
        self.user_ns + self.system_ns
    }
}

/// Takes a sample of a process and all its descendants; `None` if it is not there.
pub(crate) fn sample(root: u32) -> Option<Sample> {
    let mut sample = Sample::default();
    for pid in tree(root) {
        // A child may end in between; the one that was asked for may not.
        let Some(stat) = fs::read_to_string(format!("/proc/{pid}/stat")).ok() else { continue };
        let fields = stat_fields(&stat);
        // One that has ended and is not waited for yet has no memory and no threads any more.
        if pid == root && fields.first() == Some(&"Z") {
            return None;
        }
        let field = |number: usize| {
            fields.get(number - 3).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
        };
        sample.processes += 1;
        // Fields 14 to 17 (proc_pid_stat(5)): its own, and that of children it has waited for.
        sample.user_ticks += field(14) + field(16);
        sample.system_ticks += field(15) + field(17);
        sample.threads += field(20);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        sample.resident_bytes += kilobytes(&status, "VmRSS:");
        sample.own_bytes += kilobytes(&status, "RssAnon:");
        sample.peak_bytes += kilobytes(&status, "VmHWM:");
        for (thread, directory) in threads(pid) {
            if let Some(ns) = schedstat(&format!("{directory}/schedstat")) {
                sample.threads_ns.insert(thread, ns);
            }
            let status = fs::read_to_string(format!("{directory}/status")).unwrap_or_default();
            sample.context_switches += number(&status, "voluntary_ctxt_switches:")
                + number(&status, "nonvoluntary_ctxt_switches:");
        }
    }
    (sample.processes > 0).then_some(sample)
}

impl Sample {
    /// What two trees of processes have used together.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.threads_ns.extend(other.threads_ns);
        for (sum, of_other) in [
            (&mut self.user_ticks, other.user_ticks),
            (&mut self.system_ticks, other.system_ticks),
            (&mut self.context_switches, other.context_switches),
            (&mut self.resident_bytes, other.resident_bytes),
            (&mut self.own_bytes, other.own_bytes),
            (&mut self.peak_bytes, other.peak_bytes),
            (&mut self.threads, other.threads),
            (&mut self.processes, other.processes),
        ] {
            *sum += of_other;
        }
        self
    }

    /// What was used since an earlier sample.
    pub(crate) fn since(&self, earlier: &Self) -> Used {
        let user = self.user_ticks.saturating_sub(earlier.user_ticks) * TICK_NS;
        let system = self.system_ticks.saturating_sub(earlier.system_ticks) * TICK_NS;
        let by_ticks = user + system;
        let by_scheduler: u64 = self
            .threads_ns
            .iter()
            .map(|(thread, ns)| {
                ns.saturating_sub(earlier.threads_ns.get(thread).copied().unwrap_or(0))
            })
            .sum();
        let ended = earlier.threads_ns.keys().any(|thread| !self.threads_ns.contains_key(thread));
        // What came and went between the samples is in neither of them.
        let unseen = by_ticks > by_scheduler + SLACK_TICKS * TICK_NS * self.processes;
        let total = if ended || unseen { by_ticks.max(by_scheduler) } else { by_scheduler };
        let user_share = if by_ticks == 0 { 0.5 } else { real(user) / real(by_ticks) };
        let user_ns = whole(real(total) * user_share);
        Used {
            user_ns,
            system_ns: total - user_ns.min(total),
            context_switches: self.context_switches.saturating_sub(earlier.context_switches),
        }
    }
}

/// CPU of the calling thread, in nanoseconds.
///
/// Not from `schedstat`: for a thread that is running it lacks what came after the last tick of the
/// scheduler, which is all there is in a short span of work.
pub(crate) fn thread_cpu_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::ThreadCPUTime))
}

/// A process and its descendants.
fn tree(root: u32) -> Vec<u32> {
    let mut parents: Vec<(u32, u32)> = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat"))
            && let Some(parent) = stat_fields(&stat).get(1).and_then(|text| text.parse().ok())
        {
            parents.push((pid, parent));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found
}

/// The fields from the third on: the second, the name, may hold anything, spaces and brackets too.
fn stat_fields(stat: &str) -> Vec<&str> {
    stat.rsplit_once(')')
        .map(|(_, rest)| rest.split_ascii_whitespace().collect())
        .unwrap_or_default()
}

fn threads(pid: u32) -> Vec<(u32, String)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|entry| {
            let thread = entry.file_name().to_str()?.parse().ok()?;
            Some((thread, format!("/proc/{pid}/task/{thread}")))
        })
        .collect()
}

fn schedstat(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

fn number(status: &str, name: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn kilobytes(status: &str, name: &str) -> u64 {
    number(status, name) * 1_024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_done_in_this_process_is_seen_and_memory_is_there() {
        let before = sample(std::process::id()).unwrap();
        let start = thread_cpu_ns();
        let mut sum = 0_u64;
        while thread_cpu_ns() < start + 30_000_000 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let after = sample(std::process::id()).unwrap();
        assert!(after.since(&before).cpu_ns() >= 20_000_000, "{:?}", after.since(&before));
        assert!(after.resident_bytes > 100_000 && after.threads >= 1);
    }

    #[test]
    fn a_thread_that_came_and_went_between_two_looks_is_counted() {
        let before = sample(std::process::id()).unwrap();
        let work = || {
            while thread_cpu_ns() < 200_000_000 {
                std::hint::black_box(0);
            }
        };
        std::thread::spawn(work).join().unwrap();
        let after = sample(std::process::id()).unwrap();
        assert!(after.since(&before).cpu_ns() >= 150_000_000, "{:?}", after.since(&before));
    }

    #[test]
    fn a_process_that_has_ended_is_not_there_though_nobody_has_waited_for_it() {
        let mut child = std::process::Command::new("true")
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // Its end closes the pipe; it is a zombie from some moment after that.
        std::io::copy(&mut child.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
        while fs::read_to_string(format!("/proc/{}/stat", child.id()))
            .is_ok_and(|stat| stat_fields(&stat)[0] != "Z")
        {
            std::thread::yield_now();
        }
        assert!(sample(child.id()).is_none());
        child.wait().unwrap();
    }

    #[test]
    fn a_child_belongs_to_the_tree_and_a_process_that_is_not_there_has_none() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let found = tree(std::process::id());
        assert!(found.contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(sample(child.id()).is_none());
    }

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        assert_eq!(stat_fields("12 (a) b) S 7 9")[..2], ["S", "7"]);
    }
}
