//! A worker and its coordinator: what they tell each other, and the phases of a run.

use std::io;
use std::ops::Range;
use std::sync::mpsc;

use mio::{Poll, Waker};
use serde::{Deserialize, Serialize};

use super::{Channel, Conn, Core, Membership, Script, State, TOKEN_WAKER, Timer, Waiting};
use crate::base::{SECOND_NS, at, count, count64, now_ns, real, whole};
use crate::stats::{Told, tell};

/// A command to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Down {
    /// Makes connections, until this many of the run's are ready.
    Connect {
        /// How many, over all workers.
        total: u32,
    },
    /// Begins the load.
    Go {
        /// When the load begins.
        start_ns: u64,
        /// The measured window.
        window_ns: (u64, u64),
    },
    /// All workers have sent their messages. Says which messages each member must have in the end.
    Totals {
        /// How many messages each publisher of each room sent.
        sent: Vec<Vec<u32>>,
        /// Those that the server refused: room, rank, seq.
        refused: Vec<(u32, u32, u32)>,
    },
}

/// A worker's report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Up {
    /// The connections asked for are ready or given up.
    Connected,
    /// The worker's progress, once a second.
    Progress(Progress),
    /// All that was due is sent.
    Sent {
        /// How many messages each publisher of each room sent, as far as this worker did it.
        sent: Vec<Vec<u32>>,
        /// Those that the server refused: room, rank, seq.
        refused: Vec<(u32, u32, u32)>,
    },
    /// The end.
    Done(Box<Told>),
    /// The worker cannot go on.
    Failed(String),
}

/// A worker's progress, since its start.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Open connections.
    pub(crate) open: u32,
    /// Connections with all their joins.
    pub(crate) ready: u32,
    /// Messages sent.
    pub(crate) sent: u64,
    /// Messages or answers received.
    pub(crate) delivered: u64,
    /// CPU of the worker's thread, in nanoseconds.
    pub(crate) cpu_ns: u64,
    /// The time of this report, in nanoseconds of the clock.
    pub(crate) at_ns: u64,
}

/// A worker's side of the way to its coordinator.
pub(crate) struct Inbox {
    /// The commands, in order.
    pub(crate) commands: mpsc::Receiver<Down>,
    /// Takes the worker's reports.
    pub(crate) reports: Box<dyn Fn(Up) + Send>,
}

/// The coordinator's side of the way to a worker.
#[derive(Clone)]
pub(crate) struct Outbox {
    commands: mpsc::Sender<Down>,
    waker: std::sync::Arc<Waker>,
}

impl Outbox {
    /// Sends a command and wakes the worker. A worker that is gone is no error here.
    pub(crate) fn tell(&self, down: Down) {
        let _gone = self.commands.send(down);
        let _gone = self.waker.wake();
    }
}

/// Makes a worker's poll and the way to it.
///
/// # Errors
/// The system has no more descriptors.
pub(crate) fn prepare(reports: Box<dyn Fn(Up) + Send>) -> io::Result<(Poll, Inbox, Outbox)> {
    let poll = Poll::new()?;
    let waker = std::sync::Arc::new(Waker::new(poll.registry(), TOKEN_WAKER)?);
    let (sender, commands) = mpsc::channel();
    Ok((poll, Inbox { commands, reports }, Outbox { commands: sender, waker }))
}

/// Where a worker stands with its coordinator.
pub(super) enum Phase {
    /// Waits for a command.
    Waiting,
    /// Connections are being made, until this time at most.
    Connecting(u64),
    /// The load is on.
    Loading,
    /// Messages still on their way are awaited, until this time at most.
    Draining(Vec<Vec<u32>>, u64),
}

/// What ended.
pub(super) enum Over {
    /// A phase.
    Phase,
    /// The run.
    Run,
}

impl Core {
    pub(super) fn command(&mut self, command: Down, script: &mut impl Script) -> Phase {
        match command {
            Down::Connect { total } => {
                script.connect(self, total);
                let ramp_ns = whole(f64::from(total) / self.plan.common.ramp * real(SECOND_NS));
                let until_ns = now_ns() + ramp_ns + self.plan.common.connect_timeout.0;
                self.timer(until_ns, Timer::Look);
                Phase::Connecting(until_ns)
            }
            Down::Go { start_ns, window_ns } => {
                self.started = true;
                self.stats.open_window(window_ns.0, window_ns.1);
                script.go(self, start_ns);
                Phase::Loading
            }
            Down::Totals { sent, refused } => {
                self.refused.extend(refused);
                Phase::Draining(sent, now_ns() + self.plan.common.drain.0)
            }
        }
    }

    /// Ends the phase if it is over, and reports that.
    pub(super) fn advance(
        &mut self,
        phase: &Phase,
        script: &impl Script,
        inbox: &Inbox,
    ) -> Option<Over> {
        match phase {
            Phase::Waiting => None,
            Phase::Connecting(until_ns) => {
                let late = now_ns() >= *until_ns;
                if self.unfinished > 0 && !late {
                    return None;
                }
                if late {
                    self.give_up_connecting();
                }
                (inbox.reports)(Up::Progress(self.progress()));
                (inbox.reports)(Up::Connected);
                Some(Over::Phase)
            }
            Phase::Loading => script.finished(self).then(|| {
                // A connection that is still on its way (back) when the load ends has failed.
                self.give_up_connecting();
                let sent = self.rooms.iter().map(|room| room.sent.clone()).collect();
                (inbox.reports)(Up::Progress(self.progress()));
                (inbox.reports)(Up::Sent { sent, refused: self.refused.iter().copied().collect() });
                Over::Phase
            }),
            Phase::Draining(totals, until_ns) => {
                let now = now_ns();
                // Looking takes a while where many are to hear from many.
                if now < self.look_ns {
                    return None;
                }
                let missing = self.missing(totals);
                let unanswered = self.unanswered();
                if missing + unanswered > 0 && now < *until_ns {
                    // Nor may looking take the time of hearing.
                    let after = now_ns();
                    self.look_ns = after + (after - now).max(20_000_000);
                    self.timer(self.look_ns, Timer::Look);
                    return None;
                }
                self.ending = true;
                self.stats.counts.lost += missing;
                self.stats.counts.unanswered += unanswered;
                self.stats.counts.refused_but_sent += self.refused_but_sent();
                (inbox.reports)(Up::Done(Box::new(self.stats.told())));
                Some(Over::Run)
            }
        }
    }

    pub(super) fn give_up_connecting(&mut self) {
        for id in 0..count(self.conns.len()) {
            if !self.conns[at(id)].unfinished {
                continue;
            }
            if self.conns[at(id)].state == State::Open {
                self.stats.counts.join_failed += 1;
                tell(&mut self.stats.counts.reasons, "join not answered");
            } else {
                self.stats.counts.connect_failed += 1;
                tell(&mut self.stats.counts.reasons, "connect: too late");
            }
            self.finish(id);
        }
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            open: self.open,
            ready: self.ready,
            sent: self.stats.counts.sent,
            delivered: self.stats.counts.delivered,
            cpu_ns: crate::process::thread_cpu_ns(),
            at_ns: now_ns(),
        }
    }

    /// The number of messages that present members still miss.
    ///
    /// Where there is a witness it knows, and the script has waited for it.
    pub(super) fn missing(&self, totals: &[Vec<u32>]) -> u64 {
        if self.witness.is_some() {
            return 0;
        }
        let of = |conn: &Conn| -> u64 {
            conn.memberships
                .iter()
                .filter(|place| place.channel == Channel::In)
                .map(|place| {
                    let refused = |rank, run: Range<u32>| {
                        let run = (place.room, rank, run.start)..(place.room, rank, run.end);
                        count64(self.refused.range(run).count())
                    };
                    totals
                        .get(at(place.room))
                        .map_or(0, |sent| place.receiver.missing(sent, refused))
                })
                .sum()
        };
        self.conns.iter().map(of).sum()
    }

    /// The number of deliveries of messages that the server had refused.
    pub(super) fn refused_but_sent(&self) -> u64 {
        let of = |place: &Membership| {
            let came = |(room, rank, seq): &&(u32, u32, u32)| {
                *room == place.room && place.receiver.has(*rank, *seq)
            };
            u64::from(count(self.refused.iter().filter(came).count()))
        };
        self.conns.iter().flat_map(|conn| &conn.memberships).map(of).sum()
    }

    /// The number of pushes without an answer. Where there is a witness the script asks again.
    pub(super) fn unanswered(&self) -> u64 {
        if self.witness.is_some() {
            return 0;
        }
        let of = |conn: &Conn| {
            u64::from(count(
                conn.pending.iter().filter(|p| p.waiting != Waiting::Heartbeat).count(),
            ))
        };
        self.conns.iter().map(of).sum()
    }
}
