//! Runs a scenario from its options to its report.
//!
//! The coordinator starts the workers and tells them when a phase begins. Meanwhile it samples the
//! server's process, and at the end it merges what the workers have counted.
//!
//! A worker is a thread or a process. Either takes the same commands ([`Down`]) and sends the same
//! reports ([`Up`]); to and from a process these are lines of JSON. The coordinator never touches a
//! socket of the run. Only the workers know what a message is.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::base::{SECOND_NS, count, grouped, now_ns, real};
use crate::client::target::Target;
use crate::core::{Down, Outbox, Progress, Up, prepare};
use crate::plan::{Common, Plan, Scenario};
use crate::process::{self, Sample};
use crate::report::Report;
use crate::stats::Merged;
use crate::{auth, scenario};

use summary::make_report;

mod summary;

/// What is to be run.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// The scenario's name, as the user knows it.
    pub(crate) name: String,
    /// The shared options.
    pub(crate) common: Common,
    /// What to do.
    pub(crate) scenario: Scenario,
}

impl Job {
    /// A job whose shared options can be run.
    ///
    /// # Errors
    /// A sentence that names the option that is wrong, and what is allowed.
    pub(crate) fn new(name: &str, common: Common, scenario: Scenario) -> Result<Self, String> {
        if common.duration.0 == 0 {
            return Err("--duration must be above 0".to_owned());
        }
        if !(common.ramp > 0.0 && common.ramp.is_finite()) {
            return Err("--ramp must be above 0".to_owned());
        }
        if scenario.connections() > CONNECTIONS_MAX {
            return Err(format!(
                "that is more than {} connections",
                grouped(u64::from(CONNECTIONS_MAX))
            ));
        }
        // Once for all: a worker would only say that it failed.
        for url in &common.urls {
            Target::parse(url, common.remote)?;
        }
        // Not after the run, whose result would be lost.
        for file in [&common.json, &common.html].into_iter().flatten() {
            if let Some(directory) = file.parent().filter(|parent| !parent.as_os_str().is_empty())
                && !directory.is_dir()
            {
                return Err(format!(
                    "{}: there is no directory {}",
                    file.display(),
                    directory.display()
                ));
            }
        }
        Ok(Self { name: name.to_owned(), common, scenario })
    }
}

/// The most connections of a run.
const CONNECTIONS_MAX: u32 = 10_000_000;

/// Descriptors that a process needs beside its connections.
const SPARE_DESCRIPTORS: u64 = 100;

/// How long workers may take to come to an end, beyond what they are told.
const PATIENCE_NS: u64 = 60 * SECOND_NS;

/// The time from the command to the start of the load: every worker has the command by then.
const HEAD_START_NS: u64 = 200_000_000;

/// A worker, as the coordinator has it.
enum Worker {
    Thread(Outbox),
    Process(Child, ChildStdin),
}

impl Worker {
    fn tell(&mut self, down: &Down) {
        match self {
            Self::Thread(outbox) => outbox.tell(down.clone()),
            Self::Process(_, stdin) => {
                let mut line = serde_json::to_vec(down).expect("a command is plain data");
                line.push(b'\n');
                // A worker that has died is noticed by its silence.
                let _gone = stdin.write_all(&line).and_then(|()| stdin.flush());
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Self::Process(child, _) = self {
            let _over = child.kill();
            let _over = child.wait();
        }
    }
}

/// Raises this process' limit of descriptors to what the system allows, and returns that.
pub(crate) fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let _kept_as_it_is =
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Runs a job.
///
/// # Errors
/// A sentence that says why there is no result at all. A run with faults is no error: its report
/// names them.
pub(crate) fn run(job: &Job) -> Result<Report, String> {
    let connections = job.scenario.connections();
    let (processes, threads) = split(&job.common, connections, raise_descriptors());
    let tokens = auth::tokens(&job.common, connections, job.scenario.moderators())?;
    let server_pids = job.common.server_pids.clone();
    if let Some(pid) = server_pids.iter().find(|pid| process::sample(**pid).is_none()) {
        return Err(format!("there is no process {pid}"));
    }
    let workers = processes.max(threads);
    if let Scenario::Chat(chat) = &job.scenario
        && workers > chat.rooms
    {
        return Err(format!(
            "{workers} threads or processes of chat need as many rooms, since each has its \
             own: --rooms is {}",
            chat.rooms
        ));
    }
    if matches!(job.scenario, Scenario::Failover(_)) && workers > 1 {
        return Err(format!(
            "failover has one worker, which sees all members of all rooms: {workers} were asked \
             for, or {connections} connections are more than the descriptors of one"
        ));
    }
    let (up, reports) = mpsc::channel();
    let mut run = Run {
        workers: Vec::new(),
        reports,
        progress: vec![Progress::default(); crate::base::at(workers)],
        busiest: 0.0,
        quiet: job.common.quiet,
        server_pids,
    };
    let number = u16::try_from(now_ns() / 1_000 % 65_536).unwrap_or(0);
    for worker in 0..workers {
        let mut plan = Plan {
            common: job.common.clone(),
            scenario: job.scenario.clone(),
            run: number,
            worker,
            workers,
            tokens: Vec::new(),
        };
        let own = plan.own();
        plan.tokens = match tokens.len() {
            0 | 1 => tokens.clone(),
            _ => tokens[crate::base::at(own.start)..crate::base::at(own.end)].to_vec(),
        };
        run.workers.push(if processes > 0 {
            spawn_process(&plan, &up)?
        } else {
            spawn_thread(plan, &up)?
        });
    }
    drop(up);
    run.whole(job, connections)
}

/// The number of processes and that of threads, of which one is 0.
fn split(common: &Common, connections: u32, descriptors: u64) -> (u32, u32) {
    let each = descriptors.saturating_sub(SPARE_DESCRIPTORS).max(1);
    let needed = u32::try_from(u64::from(connections).div_ceil(each)).unwrap_or(u32::MAX);
    let processes =
        common.processes.max(if needed > 1 { needed } else { 0 }).min(connections.max(1));
    (processes, if processes > 0 { 0 } else { common.threads.clamp(1, connections.max(1)) })
}

fn spawn_thread(plan: Plan, up: &mpsc::Sender<(u32, Up)>) -> Result<Worker, String> {
    let number = plan.worker;
    let (told, failed) = (up.clone(), up.clone());
    let (poll, inbox, outbox) = prepare(Box::new(move |report| drop(told.send((number, report)))))
        .map_err(|error| error.to_string())?;
    let work = move || {
        let _told_if_it_panics = OnPanic(number, failed.clone());
        if let Err(error) = scenario::run(plan, poll, &inbox) {
            let _nobody_left_to_tell = failed.send((number, Up::Failed(error.to_string())));
        }
    };
    thread::Builder::new()
        .name(format!("worker-{number}"))
        .spawn(work)
        .map_err(|error| error.to_string())?;
    Ok(Worker::Thread(outbox))
}

/// Reports a worker that panics. Without the report the coordinator would wait for it for ever.
struct OnPanic(u32, mpsc::Sender<(u32, Up)>);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            let _nobody_left_to_tell = self.1.send((self.0, Up::Failed("it panicked".to_owned())));
        }
    }
}

fn spawn_process(plan: &Plan, up: &mpsc::Sender<(u32, Up)>) -> Result<Worker, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .arg("worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("a worker process: {error}"))?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let stdout = child.stdout.take().expect("it is piped");
    let mut line = serde_json::to_vec(plan).map_err(|error| error.to_string())?;
    line.push(b'\n');
    stdin.write_all(&line).map_err(|error| error.to_string())?;
    let (number, up) = (plan.worker, up.clone());
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let report = serde_json::from_str(&line).unwrap_or(Up::Failed(line));
            let over = matches!(report, Up::Done(_));
            if up.send((number, report)).is_err() || over {
                return;
            }
        }
        let _nobody_left_to_tell = up.send((number, Up::Failed("it ended".to_owned())));
    });
    Ok(Worker::Process(child, stdin))
}

/// The other side of [`spawn_process`]: a worker with its commands and reports as lines of JSON.
///
/// # Errors
/// A sentence: no plan came, or the system refuses what the worker needs.
pub(crate) fn worker_process() -> Result<(), String> {
    raise_descriptors();
    let mut first = String::new();
    std::io::stdin().read_line(&mut first).map_err(|error| error.to_string())?;
    let plan: Plan = serde_json::from_str(&first).map_err(|error| error.to_string())?;
    let tell = |report: Up| {
        let mut line = serde_json::to_vec(&report).expect("a report is plain data");
        line.push(b'\n');
        let mut stdout = std::io::stdout().lock();
        let _gone = stdout.write_all(&line).and_then(|()| stdout.flush());
    };
    let (poll, inbox, outbox) = prepare(Box::new(tell)).map_err(|error| error.to_string())?;
    thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(down) => outbox.tell(down),
                Err(_) => break,
            }
        }
        // The coordinator is gone, and a load must not go on unwatched.
        std::process::exit(3);
    });
    scenario::run(plan, poll, &inbox).map_err(|error| error.to_string())
}

struct Run {
    workers: Vec<Worker>,
    reports: mpsc::Receiver<(u32, Up)>,
    progress: Vec<Progress>,
    /// The largest share of a core that a worker took between two reports, since the load began.
    busiest: f64,
    quiet: bool,
    server_pids: Vec<u32>,
}

/// What is seen of servers and client at one moment.
struct Look {
    /// Of each process of a server, as they were named; none of one that is not there.
    servers: Vec<Option<Sample>>,
    client: Sample,
    ready: u32,
}

impl Look {
    /// All servers together; none, if one is not there or none was named.
    fn server(&self) -> Option<Sample> {
        let samples: Vec<&Sample> =
            self.servers.iter().map(Option::as_ref).collect::<Option<_>>()?;
        samples.into_iter().cloned().reduce(Sample::and)
    }
}

impl Run {
    fn tell(&mut self, down: &Down) {
        for worker in &mut self.workers {
            worker.tell(down);
        }
    }

    fn look(&self) -> Look {
        Look {
            servers: self.server_pids.iter().copied().map(process::sample).collect(),
            client: process::sample(std::process::id()).unwrap_or_default(),
            ready: self.total().ready,
        }
    }

    fn say(&self, what: &str) {
        if !self.quiet {
            eprintln!("{what}");
        }
    }

    fn whole(&mut self, job: &Job, connections: u32) -> Result<Report, String> {
        let started_at =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let before = self.look();
        let steps = self.connect(&job.scenario, connections)?;
        let connected = self.look();
        let start_ns = now_ns() + HEAD_START_NS;
        let warmup_ns = if job.scenario.ends_by_itself() { 0 } else { job.common.warmup.0 };
        let window_ns = (start_ns + warmup_ns, start_ns + warmup_ns + job.common.duration.0);
        self.busiest = 0.0;
        self.tell(&Down::Go { start_ns, window_ns });
        let late_ns = window_ns.1 + job.common.drain.0 + PATIENCE_NS;
        let watched = self.watch(window_ns, job.scenario.ends_by_itself(), late_ns)?;
        let (totals, refused) = merge_sent(&watched.sent);
        self.tell(&Down::Totals { sent: totals, refused });
        let merged = self.collect(job.common.drain.0)?;
        Ok(make_report(
            job,
            connections,
            count(self.workers.len()),
            started_at,
            &before,
            &connected,
            &watched,
            &steps,
            &merged,
        ))
    }

    /// Waits until the workers have made the connections, step by step where the scenario has
    /// steps. Returns the connections and the server's own memory after each step.
    fn connect(
        &mut self,
        scenario: &Scenario,
        connections: u32,
    ) -> Result<Vec<(u32, u64)>, String> {
        let (steps, settle) = match scenario {
            Scenario::Idle(idle) => (idle.steps.max(1), idle.settle.0),
            _ => (1, 0),
        };
        let mut seen = Vec::new();
        for step in 1..=steps {
            let total = crate::plan::share(connections, step - 1, steps).end;
            self.say(&format!("connecting {} ...", grouped(u64::from(total))));
            self.tell(&Down::Connect { total });
            let mut left = self.workers.len();
            while left > 0 {
                match self.next(Duration::from_hours(1))? {
                    Some(Up::Connected) => left -= 1,
                    Some(Up::Progress(_)) => self.say(&self.line(None)),
                    Some(other) => return Err(format!("a worker said {other:?} while connecting")),
                    None => return Err("the workers are silent".to_owned()),
                }
            }
            if settle > 0 {
                thread::sleep(Duration::from_nanos(settle));
            }
            seen.push((total, self.look().server().map_or(0, |server| server.own_bytes)));
        }
        Ok(seen)
    }

    /// The next report, or `None` if none comes within `wait`.
    fn next(&mut self, wait: Duration) -> Result<Option<Up>, String> {
        match self.reports.recv_timeout(wait) {
            Ok((_, Up::Failed(why))) => Err(format!("a worker failed: {why}")),
            Ok((worker, Up::Progress(progress))) => {
                let earlier =
                    std::mem::replace(&mut self.progress[crate::base::at(worker)], progress);
                let wall_ns = progress.at_ns.saturating_sub(earlier.at_ns);
                // Over less time than this, one batch of work looks like all there is.
                if wall_ns > SECOND_NS / 5 {
                    let share =
                        real(progress.cpu_ns.saturating_sub(earlier.cpu_ns)) / real(wall_ns);
                    self.busiest = self.busiest.max(share);
                }
                Ok(Some(Up::Progress(progress)))
            }
            Ok((_, report)) => Ok(Some(report)),
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err("the workers are gone".to_owned()),
        }
    }

    /// Samples server and client once a second while the load is on, until `late_ns` at most.
    fn watch(
        &mut self,
        window_ns: (u64, u64),
        ends_by_itself: bool,
        late_ns: u64,
    ) -> Result<Watched, String> {
        let mut looks = Vec::new();
        let mut sent = Vec::new();
        let mut next_ns = window_ns.0;
        let mut earlier = self.total();
        loop {
            let now = now_ns();
            let all_sent = sent.len() == self.workers.len();
            if now >= next_ns && next_ns <= window_ns.1 {
                looks.push((now, self.look()));
                if next_ns > window_ns.0 {
                    self.say(&self.line(Some((earlier, next_ns - window_ns.0))));
                }
                earlier = self.total();
                next_ns = match next_ns {
                    at_end if at_end >= window_ns.1 => u64::MAX,
                    before => (before + SECOND_NS).min(window_ns.1),
                };
            }
            if all_sent && (ends_by_itself || next_ns == u64::MAX) {
                if ends_by_itself {
                    looks.push((now_ns(), self.look()));
                }
                return Ok(Watched { looks, sent, busiest: self.busiest });
            }
            let wait_ns = next_ns.saturating_sub(now).min(SECOND_NS);
            if let Some(Up::Sent { sent: by_room, refused }) =
                self.next(Duration::from_nanos(wait_ns.max(1_000)))?
            {
                sent.push((by_room, refused));
            }
            if now > late_ns {
                return Err("the workers do not come to an end".to_owned());
            }
        }
    }

    fn collect(&mut self, drain_ns: u64) -> Result<Merged, String> {
        let mut merged = Merged::default();
        let mut left = self.workers.len();
        let deadline = now_ns() + drain_ns + PATIENCE_NS;
        while left > 0 {
            if let Some(Up::Done(told)) = self.next(Duration::from_secs(1))? {
                merged.add(&told);
                left -= 1;
            }
            if now_ns() > deadline {
                return Err("the workers do not come to an end".to_owned());
            }
        }
        Ok(merged)
    }

    fn total(&self) -> Progress {
        self.progress.iter().fold(Progress::default(), |sum, one| Progress {
            open: sum.open + one.open,
            ready: sum.ready + one.ready,
            sent: sum.sent + one.sent,
            delivered: sum.delivered + one.delivered,
            cpu_ns: sum.cpu_ns + one.cpu_ns,
            at_ns: sum.at_ns.max(one.at_ns),
        })
    }

    fn line(&self, since: Option<(Progress, u64)>) -> String {
        let now = self.total();
        match since {
            Some((earlier, into_ns)) => format!(
                "{:>4} s  {} open, {} sent/s, {} delivered/s",
                into_ns / SECOND_NS,
                grouped(u64::from(now.open)),
                grouped(now.sent - earlier.sent),
                grouped(now.delivered - earlier.delivered)
            ),
            None => format!(
                "        {} open, {} ready",
                grouped(u64::from(now.open)),
                grouped(u64::from(now.ready))
            ),
        }
    }
}

type SentByWorker = (Vec<Vec<u32>>, Vec<(u32, u32, u32)>);

/// What was seen while the load was on.
struct Watched {
    looks: Vec<(u64, Look)>,
    sent: Vec<SentByWorker>,
    busiest: f64,
}

/// Each publisher belongs to one worker: what the others say of it is 0.
fn merge_sent(sent: &[SentByWorker]) -> SentByWorker {
    let mut totals: Vec<Vec<u32>> =
        sent.first().map(|(rooms, _)| rooms.clone()).unwrap_or_default();
    let mut refused = Vec::new();
    for (rooms, refused_here) in sent {
        for (total, room) in totals.iter_mut().zip(rooms) {
            // Only the worker that has a room's people knows how many there are (`chat`).
            total.resize(total.len().max(room.len()), 0);
            for (total, sent) in total.iter_mut().zip(room) {
                *total = (*total).max(*sent);
            }
        }
        refused.extend_from_slice(refused_here);
    }
    (totals, refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_panics_is_told_of() {
        let (up, reports) = mpsc::channel();
        let work = move || {
            let _told = OnPanic(3, up);
            // Not `panic!`, which would write to standard error.
            std::panic::resume_unwind(Box::new("on purpose"));
        };
        assert!(thread::spawn(work).join().is_err());
        assert!(matches!(reports.recv(), Ok((3, Up::Failed(_)))));
    }
}
