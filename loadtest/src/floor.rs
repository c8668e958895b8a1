//! What the kernel alone takes: a bare process that does nothing but `send` the same bytes to the
//! same number of sockets.
//!
//! The sender is a process of its own with one thread and no event loop; it counts its own CPU
//! around the sending, in nanoseconds. On loopback that includes the receiver's half of the
//! kernel's work, as it does for any server. The receiver is the usual loop of this tool: wait,
//! read, drop; what it does with a frame besides was tried, and makes no difference to the sender.
//! Rounds are sent at a pace, because a receiver that sleeps between messages must be woken, and
//! that costs the sender too; and on connections that have been in use for a moment
//! ([`WARM_UP_FRAMES`]), as a server's have when a run's window begins.
//!
//! Whatever a server needs above this is its own doing; whatever it needs *less*, it saves by
//! sending less often (see the larger batches).

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream as TcpSocket};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};

use crate::base::{SECOND_NS, Span, at, count64, now_ns, real, time_text, whole};
use crate::client::frame::server_text_frame;
use crate::process::thread_cpu_ns;
use crate::report::machine;
use crate::stats::median;

/// What to send.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Floor {
    /// Sockets.
    #[arg(long, default_value_t = 1000)]
    pub(crate) sockets: u32,
    /// Sockets that one round goes to, one group after the other, as messages go to rooms; 0: all.
    #[arg(long, default_value_t = 0)]
    pub(crate) group: u32,
    /// Bytes of a frame, with its header.
    #[arg(long, default_value_t = 246)]
    pub(crate) bytes: u32,
    /// Rounds per second; 0: as fast as it goes.
    #[arg(long, default_value_t = 20.0)]
    pub(crate) rate: f64,
    /// Frames in one call, each of these in turn.
    #[arg(long, default_value = "1,4,16,64", value_delimiter = ',')]
    pub(crate) batch: Vec<u32>,
    /// How long one measurement takes.
    #[arg(long, default_value = "2s")]
    pub(crate) duration: Span,
    /// Measurements of each batch; they alternate.
    #[arg(long, default_value_t = 5)]
    pub(crate) runs: u32,
    /// Threads that send, each to its share of the sockets; CPU is that of all. The floor is what
    /// one takes.
    #[arg(long, default_value_t = 1)]
    #[serde(default = "one")]
    pub(crate) threads: u32,
    /// Write the result as JSON to this file.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) json: Option<PathBuf>,
}

/// The floor, as measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FloorReport {
    /// Which form of report this is.
    pub(crate) format: String,
    /// The machine.
    pub(crate) machine: String,
    /// What was sent.
    pub(crate) plan: Floor,
    /// What it took, by batch.
    pub(crate) batches: Vec<Batch>,
}

/// What frames in batches of one size take.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Batch {
    /// Frames in one call.
    pub(crate) frames_per_call: u32,
    /// CPU per frame: the median of the runs.
    pub(crate) ns_per_frame: f64,
    /// The least of the runs.
    pub(crate) least: f64,
    /// The most of the runs.
    pub(crate) most: f64,
    /// Each run, in no order.
    #[serde(default)]
    pub(crate) runs: Vec<f64>,
}

impl Batch {
    fn of(frames_per_call: u32, mut runs: Vec<f64>) -> Self {
        Self {
            frames_per_call,
            ns_per_frame: median(&mut runs),
            least: runs.first().copied().unwrap_or(0.0),
            most: runs.last().copied().unwrap_or(0.0),
            runs,
        }
    }
}

/// The form of report that this version writes and reads.
const FORMAT: &str = "loadtest-floor-1";

/// Frames that each socket is sent before what is counted. A receiver acknowledges the first frames
/// of a connection, and the first ones after a silence, one by one (16, `TCP_MAX_QUICKACKS`), and
/// on loopback that is the sender's time too: a quarter more for a frame.
const WARM_UP_FRAMES: usize = 32;

fn one() -> u32 {
    1
}

/// Told to the sending process.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Order {
    batch: u32,
    duration_ns: u64,
}

/// Told by it.
#[derive(Serialize, Deserialize)]
struct Taken {
    cpu_ns: u64,
    frames: u64,
}

impl FloorReport {
    /// What a frame takes in calls of so many, if that was measured.
    pub(crate) fn of(&self, batch: u32) -> Option<f64> {
        self.batches.iter().find(|one| one.frames_per_call == batch).map(|one| one.ns_per_frame)
    }

    /// The same with the runs of another one, as measured at another time.
    #[must_use]
    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.plan.runs += other.plan.runs;
        for batch in &mut self.batches {
            let same =
                other.batches.iter().filter(|one| one.frames_per_call == batch.frames_per_call);
            let runs = batch.runs.iter().chain(same.flat_map(|one| &one.runs)).copied().collect();
            *batch = Batch::of(batch.frames_per_call, runs);
        }
        self
    }

    /// How it was measured, in a line.
    pub(crate) fn method(&self) -> String {
        let Floor { sockets, group, bytes, rate, runs, threads, .. } = &self.plan;
        let group = if *group == 0 { sockets } else { group };
        let threads = if *threads == 1 { String::new() } else { format!(" of {threads} threads") };
        format!(
            "bare process{threads}, {sockets} sockets, {rate:.0} rounds/s to {group} each, \
             {bytes} B a frame, median of {runs}"
        )
    }

    /// The table for a terminal.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "\nfloor: {}, {}\n\n  frames per call   CPU per frame      least       most\n",
            self.method(),
            self.machine
        );
        for one in &self.batches {
            let [median, least, most] =
                [one.ns_per_frame, one.least, one.most].map(|ns| time_text(whole(ns)));
            // Writing to a string cannot fail.
            let _infallible = writeln!(
                text,
                "  {:>15}   {median:>13} {least:>10} {most:>10}",
                one.frames_per_call
            );
        }
        text
    }
}

/// Measures.
///
/// # Errors
/// A sentence that says why there is no result.
pub(crate) fn measure(plan: &Floor) -> Result<FloorReport, String> {
    crate::coordinator::raise_descriptors();
    let mut sender = Sender::start(plan)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (address, sockets) = (sender.address, plan.sockets);
    // Before the reader has a thread: were it to fail there, the sender would wait for it for ever.
    let (poll, streams) = connect(address, sockets)?;
    let stopped = Arc::clone(&stop);
    let reader = thread::spawn(move || receive(poll, streams, &stopped));
    let mut taken = vec![Vec::new(); plan.batch.len()];
    let result = (|| {
        sender.line()?;
        for _ in 0..plan.runs.max(1) {
            for (of_batch, batch) in taken.iter_mut().zip(&plan.batch) {
                let order = Order { batch: (*batch).max(1), duration_ns: plan.duration.0 };
                let used: Taken = sender.ask(&order)?;
                of_batch.push(real(used.cpu_ns) / real(used.frames.max(1)));
            }
        }
        Ok::<(), String>(())
    })();
    stop.store(true, Ordering::Relaxed);
    drop(sender);
    let read = reader.join().map_err(|_| "the receiver failed".to_owned())?;
    result.and(read.map_err(|error| error.to_string()))?;
    let batches = plan.batch.iter().zip(taken).map(|(batch, taken)| Batch::of(*batch, taken));
    Ok(FloorReport {
        format: FORMAT.to_owned(),
        machine: machine(),
        plan: plan.clone(),
        batches: batches.collect(),
    })
}

/// The sending process, from outside.
struct Sender {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Sender {
    fn start(plan: &Floor) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut child = Command::new(program)
            .arg("floor-sender")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut sender =
            Self { child, stdin, stdout, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        sender.tell(plan)?;
        sender.address =
            sender.line()?.trim().parse().map_err(|_| "the sender did not start".to_owned())?;
        Ok(sender)
    }

    fn tell(&mut self, what: &impl Serialize) -> Result<(), String> {
        let mut line = serde_json::to_vec(what).map_err(|error| error.to_string())?;
        line.push(b'\n');
        self.stdin.write_all(&line).map_err(|error| error.to_string())
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.stdout.read_line(&mut line) {
            Ok(1..) => Ok(line),
            Ok(0) => Err("the sender ended".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn ask<T: for<'a> Deserialize<'a>>(&mut self, what: &impl Serialize) -> Result<T, String> {
        self.tell(what)?;
        let line = self.line()?;
        serde_json::from_str(&line).map_err(|error| error.to_string())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _over = self.child.kill();
        let _over = self.child.wait();
    }
}

/// The sending process, from inside.
///
/// # Errors
/// A sentence, to be told on standard error.
pub(crate) fn sender_process() -> Result<(), String> {
    crate::coordinator::raise_descriptors();
    let mut lines = io::stdin().lines().map_while(Result::ok);
    let plan: Floor = serde_json::from_str(&lines.next().unwrap_or_default())
        .map_err(|error| error.to_string())?;
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    println!("{}", listener.local_addr().map_err(|error| error.to_string())?);
    let mut sockets = Vec::new();
    for _ in 0..plan.sockets {
        let (socket, _) = listener.accept().map_err(|error| error.to_string())?;
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        sockets.push(socket);
    }
    println!("ready");
    let threads = at(plan.threads.max(1));
    let mut shares: Vec<Share> =
        (0..threads).map(|index| Share::new(&plan, &sockets, index, threads)).collect();
    for line in lines {
        let order: Order = serde_json::from_str(&line).map_err(|error| error.to_string())?;
        let taken = if let [only] = &mut shares[..] {
            // Not in a thread beside the first one: the kernel does more for the descriptors of a
            // process that has several.
            only.send(order)?
        } else {
            thread::scope(|scope| {
                let sending: Vec<_> =
                    shares.iter_mut().map(|share| scope.spawn(move || share.send(order))).collect();
                sending.into_iter().try_fold(Taken { cpu_ns: 0, frames: 0 }, |sum, sending| {
                    let taken =
                        sending.join().map_err(|_| "a sending thread failed".to_owned())??;
                    Ok::<_, String>(Taken {
                        cpu_ns: sum.cpu_ns + taken.cpu_ns,
                        frames: sum.frames + taken.frames,
                    })
                })
            })?
        };
        println!("{}", serde_json::to_string(&taken).map_err(|error| error.to_string())?);
    }
    Ok(())
}

/// What one thread sends to: of each group of sockets, every so many-th.
struct Share<'a> {
    plan: &'a Floor,
    groups: Vec<Vec<&'a TcpSocket>>,
    next: usize,
}

impl<'a> Share<'a> {
    fn new(plan: &'a Floor, sockets: &'a [TcpSocket], index: usize, threads: usize) -> Self {
        let group = at(if plan.group == 0 { plan.sockets } else { plan.group.min(plan.sockets) });
        let groups = sockets.chunks(group.max(1));
        let groups =
            groups.map(|group| group.iter().skip(index).step_by(threads).collect()).collect();
        Self { plan, groups, next: 0 }
    }

    /// Sends at the plan's pace for as long as is asked for.
    fn send(&mut self, order: Order) -> Result<Taken, String> {
        let frame = server_text_frame(payload_for(self.plan.bytes));
        let bytes = frame.repeat(at(order.batch));
        let write = |mut socket: &TcpSocket, bytes: &[u8]| {
            socket.write_all(bytes).map_err(|error| error.to_string())
        };
        for _ in 0..WARM_UP_FRAMES {
            self.groups.iter().flatten().try_for_each(|socket| write(socket, &frame))?;
        }
        let (mut cpu_ns, mut frames) = (0, 0);
        let start_ns = now_ns();
        let mut round = 0_u64;
        loop {
            let due_ns = match self.plan.rate {
                rate if rate > 0.0 => start_ns + whole(real(round) / rate * real(SECOND_NS)),
                _ => 0,
            };
            if now_ns().max(due_ns) >= start_ns + order.duration_ns {
                return Ok(Taken { cpu_ns, frames });
            }
            thread::sleep(Duration::from_nanos(due_ns.saturating_sub(now_ns())));
            let group = &self.groups[self.next % self.groups.len()];
            // The sleep is not part of the floor: a server that waits has its own cost for that,
            // which is not sending.
            let before_ns = thread_cpu_ns();
            group.iter().try_for_each(|socket| write(socket, &bytes))?;
            cpu_ns += thread_cpu_ns() - before_ns;
            frames += count64(group.len()) * u64::from(order.batch);
            self.next += 1;
            round += 1;
        }
    }
}

/// The payload that makes a frame of `frame_bytes` with its header.
fn payload_for(frame_bytes: u32) -> u32 {
    match frame_bytes {
        0..128 => frame_bytes.saturating_sub(2),
        128..65_540 => frame_bytes - 4,
        _ => frame_bytes - 10,
    }
}

/// Connects so many times.
fn connect(address: SocketAddr, sockets: u32) -> Result<(Poll, Vec<TcpStream>), String> {
    let poll = Poll::new().map_err(|error| error.to_string())?;
    let one = |index: u32| {
        let stream = TcpSocket::connect(address)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(at(index)), Interest::READABLE)?;
        Ok(stream)
    };
    let streams = (0..sockets).map(|index| {
        one(index).map_err(|error: io::Error| {
            format!("socket {} of {sockets} of the floor: {error}", index + 1)
        })
    });
    let streams = streams.collect::<Result<_, _>>()?;
    Ok((poll, streams))
}

/// Reads and drops all that comes.
fn receive(mut poll: Poll, mut streams: Vec<TcpStream>, stop: &AtomicBool) -> io::Result<()> {
    let mut events = Events::with_capacity(256);
    let mut buffer = vec![0; 256 * 1_024];
    while !stop.load(Ordering::Relaxed) {
        match poll.poll(&mut events, Some(Duration::from_millis(100))) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        for event in &events {
            let Some(stream) = streams.get_mut(event.token().0) else { continue };
            loop {
                match stream.read(&mut buffer) {
                    Ok(read) if read == buffer.len() => {}
                    Ok(_) => break,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // The sender is done.
                    Err(_) => return Ok(()),
                }
            }
        }
    }
    Ok(())
}

/// Writes the table, and the JSON where it is wanted.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn tell(report: &FloorReport) -> Result<(), String> {
    print!("{}", report.table());
    match &report.plan.json {
        Some(path) => {
            let text = serde_json::to_string_pretty(report).map_err(|error| error.to_string())?;
            std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
        }
        None => Ok(()),
    }
}

/// Reads a floor that was measured earlier.
///
/// # Errors
/// There is none in the file.
pub(crate) fn load(path: &std::path::Path) -> Result<FloorReport, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let report: FloorReport =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    if report.format == FORMAT {
        Ok(report)
    } else {
        Err(format!("{}: not a floor of this version", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::count;

    #[test]
    fn runs_of_two_times_count_alike() {
        let report = |runs: &[f64]| FloorReport {
            format: FORMAT.to_owned(),
            machine: String::new(),
            plan: Floor {
                sockets: 1,
                group: 0,
                bytes: 1,
                rate: 1.0,
                batch: vec![1],
                duration: Span(1),
                runs: count(runs.len()),
                threads: 1,
                json: None,
            },
            batches: vec![Batch::of(1, runs.to_vec())],
        };
        let both = report(&[9.0, 1.0]).and(&report(&[5.0, 4.0, 6.0]));
        assert_eq!((both.of(1), both.plan.runs), (Some(5.0), 5));
        assert_eq!((both.batches[0].least, both.batches[0].most), (1.0, 9.0));
    }

    #[test]
    fn each_socket_is_of_one_thread_and_a_round_goes_to_one_group() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sockets: Vec<_> = (0..7).map(|_| TcpSocket::connect(address).unwrap()).collect();
        let plan = Floor {
            sockets: 7,
            group: 3,
            bytes: 20,
            rate: 0.0,
            batch: vec![1],
            duration: Span(1),
            runs: 1,
            threads: 2,
            json: None,
        };
        let lengths = |index| {
            let share = Share::new(&plan, &sockets, index, 2);
            share.groups.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!((lengths(0), lengths(1)), (vec![2, 2, 1], vec![1, 1, 0]));
    }

    #[test]
    fn a_frame_has_the_bytes_asked_for() {
        for bytes in [20, 127, 130, 246, 4_096, 70_000] {
            assert_eq!(count(server_text_frame(payload_for(bytes)).len()), bytes);
        }
    }
}
