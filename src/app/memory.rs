//! How much memory there is, what of it the server may use, and what its limits amount to.
//!
//! The arithmetic of the limits stands in the shard ([`worst_case`]); here is what the machine
//! says, of page faults too, and the words.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::config::StoreConfig;
use crate::limits::{HistoryLimits, Limits, MEMORY_SHARE_PERCENT};
use crate::shard::{Part, Settings, worst_case};

/// Where control groups are mounted, of both versions.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The memory that this process may have at most: what the machine has, or less if a control group
/// or the limit of its address space says so. `None` if nothing says anything.
pub(super) fn available_bytes(read: &dyn Fn(&Path) -> io::Result<String>) -> Option<u64> {
    let address_space = rlimit::Resource::AS.get_soft().ok();
    let bounds = [of_machine(read), of_groups(read), address_space];
    bounds.into_iter().flatten().filter(|bytes| *bytes > 0).min()
}

/// `MemTotal: 16303428 kB`
fn of_machine(read: &dyn Fn(&Path) -> io::Result<String>) -> Option<u64> {
    let text = read(Path::new("/proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

/// The least that the process' control group, or one that it is in, allows. Inside a container the
/// group's own place is often the root.
fn of_groups(read: &dyn Fn(&Path) -> io::Result<String>) -> Option<u64> {
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let mut found = Vec::new();
    for line in groups.lines().chain(["0::/", "0:memory:/"]) {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = match controllers {
            "" => (PathBuf::from(CGROUPS), "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                (Path::new(CGROUPS).join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = root.join(group.trim_start_matches('/'));
        let levels = group.ancestors().take_while(|level| level.starts_with(&root));
        // `max`, where there is no bound, is no number.
        found.extend(
            levels.filter_map(|level| read(&level.join(file)).ok()?.trim().parse::<u64>().ok()),
        );
    }
    found.into_iter().min()
}

/// How often a thread of this process has waited for the disk to bring a page of memory, since the
/// process began: its program, or what was swapped out. `None` where the machine does not say.
pub(super) fn major_page_faults(read: &dyn Fn(&Path) -> io::Result<String>) -> Option<u64> {
    /// Its place behind the name of the program (`proc_pid_stat(5)`: the twelfth field).
    const MAJFLT: usize = 12 - 3;
    let text = read(Path::new("/proc/self/stat")).ok()?;
    // The name is in brackets, and may have any byte in it.
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(MAJFLT)?.parse().ok()
}

/// Bounds the memory by what is available, unless the configuration does; and the history and the
/// pages of the store by what they may have of that.
pub(super) fn bound(
    limits: &mut Limits,
    history: &mut HistoryLimits,
    store: &mut StoreConfig,
    available_bytes: Option<u64>,
) {
    if limits.memory_bytes != 0 {
        return;
    }
    let Some(available_bytes) = available_bytes else { return };
    let share = available_bytes / 100 * MEMORY_SHARE_PERCENT;
    limits.memory_bytes = usize::try_from(share).unwrap_or(usize::MAX);
    // As the configuration demands it of numbers that are given.
    history.total_bytes = history.total_bytes.min(limits.memory_bytes / 4);
    store.cache_bytes = store.cache_bytes.min(limits.memory_bytes / 4);
}

/// Says in the log what memory is bounded by.
pub(super) fn log(settings: &Settings, ring_words: usize) {
    let parts = worst_case(settings, ring_words);
    let (counted, fixed) = sums(&parts);
    let bytes = match settings.limits.memory_bytes {
        0 => counted,
        bytes => counted.min(bytes as u64),
    };
    tracing::info!(
        connections = settings.limits.connections,
        memory_bytes = bytes,
        fixed_bytes = fixed,
        history_bytes = settings.history.total_bytes,
        "memory is bounded"
    );
}

/// What the limits amount to, part by part, for people.
pub(super) fn report(settings: &Settings, ring_words: usize) -> String {
    let parts = worst_case(settings, ring_words);
    let (counted, fixed) = sums(&parts);
    let mut text = match settings.limits.memory_bytes {
        0 => "memory: no bound but the limits\n".to_owned(),
        bytes => format!(
            "memory: {} by limits.memory_bytes, and {} in any case\n",
            size(counted.min(bytes as u64)),
            size(fixed)
        ),
    };
    // Writing to a string cannot fail.
    let _ =
        writeln!(text, "if everything were as large as its own limit allows: {}", size(counted));
    for part in &parts {
        let (what, count, each) = (part.what, part.count, size(part.each_bytes));
        let in_any_case = if part.is_counted { "" } else { ", in any case" };
        let _ =
            writeln!(text, "{:>12}  {what}: {count} of {each}{in_any_case}", size(part.bytes()));
    }
    text
}

/// What counts against the bound, and what does not.
fn sums(parts: &[Part]) -> (u64, u64) {
    let sum = |is_counted| {
        let parts = parts.iter().filter(|part| part.is_counted == is_counted);
        parts.fold(0, |sum: u64, part| sum.saturating_add(part.bytes()))
    };
    (sum(true), sum(false))
}

/// Bytes with a unit, to one place.
fn size(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = usize::try_from(bytes.max(1).ilog2() / 10).expect("a small number");
    if unit == 0 {
        return format!("{bytes} bytes");
    }
    let tenths = (u128::from(bytes) * 10) >> (unit * 10);
    format!("{}.{} {}", tenths / 10, tenths % 10, units[unit])
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::limits::PresenceLimits;

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: Option<u64>) {
        let files: HashMap<&Path, &str> =
            files.iter().map(|(path, text)| (Path::new(*path), *text)).collect();
        let read = |path: &Path| {
            files
                .get(path)
                .map(|text| (*text).to_owned())
                .ok_or_else(|| io::ErrorKind::NotFound.into())
        };
        assert_eq!(of_machine(&read).into_iter().chain(of_groups(&read)).min(), expected);
    }

    #[test]
    fn the_least_that_anybody_says_counts() {
        let machine = ("/proc/meminfo", "MemFree: 1 kB\nMemTotal:       2048 kB\n");
        check(&[], None);
        check(&[machine], Some(2 << 20));
        check(&[machine, ("/sys/fs/cgroup/memory.max", "max\n")], Some(2 << 20));
        check(&[machine, ("/sys/fs/cgroup/memory.max", "1048576\n")], Some(1 << 20));
        let group = ("/proc/self/cgroup", "0::/a.slice/b.service\n");
        check(&[machine, group, ("/sys/fs/cgroup/a.slice/memory.max", "5000\n")], Some(5_000));
        check(
            &[machine, group, ("/sys/fs/cgroup/a.slice/b.service/memory.max", "4000\n")],
            Some(4_000),
        );
        let group = ("/proc/self/cgroup", "3:cpu:/c\n4:memory:/c\n0::/\n");
        check(
            &[machine, group, ("/sys/fs/cgroup/memory/c/memory.limit_in_bytes", "3000\n")],
            Some(3_000),
        );
        let none = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        check(&[machine, group, none], Some(2 << 20));
    }

    #[test]
    fn page_faults_are_those_of_the_disk_whatever_the_program_is_called() {
        let stat = "71 (a) S 9 (b)) S 1 71 71 34816 71 4194304 150 7000 42 3 11 12 0 0 20 0 9 0";
        let of = |text: &str| {
            let text = text.to_owned();
            major_page_faults(&move |path| {
                assert_eq!(path, Path::new("/proc/self/stat"));
                Ok(text.clone())
            })
        };
        assert_eq!(of(stat), Some(42));
        assert_eq!(of("71 (a) S 1"), None);
        assert_eq!(of(""), None);
        assert_eq!(major_page_faults(&|_| Err(io::ErrorKind::NotFound.into())), None);
        assert!(major_page_faults(&|path| std::fs::read_to_string(path)).is_some(), "of this one");
    }

    #[test]
    fn a_quarter_of_it_is_used_and_a_quarter_of_that_remembers_at_most() {
        let bounded = |memory_bytes, available| {
            let mut limits = Limits { memory_bytes, ..Limits::default() };
            let mut history = HistoryLimits { total_bytes: 1_000, ..HistoryLimits::default() };
            let mut store = StoreConfig { cache_bytes: 2_000, ..StoreConfig::default() };
            bound(&mut limits, &mut history, &mut store, available);
            (limits.memory_bytes, history.total_bytes, store.cache_bytes)
        };
        assert_eq!(bounded(0, Some(1_000_000)), (250_000, 1_000, 2_000));
        assert_eq!(bounded(0, Some(4_000)), (1_000, 250, 250));
        assert_eq!(bounded(0, None), (0, 1_000, 2_000));
        let checked = bounded(100, Some(1_000_000));
        assert_eq!(checked, (100, 1_000, 2_000), "who says so has been checked");
    }

    #[test]
    fn the_report_has_every_part_and_the_sum() {
        let limits = Limits { connections: 1_000, memory_bytes: 3 << 29, ..Limits::default() };
        let settings = Settings::new(
            2,
            limits,
            HistoryLimits::default(),
            PresenceLimits::default(),
            Vec::new(),
        );
        let text = report(&settings, 1_024);
        assert!(text.starts_with("memory: 1.5 GiB by limits.memory_bytes, and "), "{text}");
        assert_eq!(text.lines().count(), 2 + worst_case(&settings, 1_024).len(), "{text}");
        assert_eq!(
            [size(0), size(1_023), size(1_024), size(u64::MAX)],
            ["0 bytes", "1023 bytes", "1.0 KiB", "15.9 EiB"]
        );
    }
}
