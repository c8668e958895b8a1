//! The faults that were made, and when writes went on after each.

use crate::base::{at, now_ns};
use crate::core::Core;
use crate::fault::{Fault, Running};
use crate::stats::{FaultTold, Metric, tell};

/// A write that was acknowledged.
pub(super) struct Write {
    /// The publisher's connection.
    pub(super) conn: u32,
    pub(super) sent_ns: u64,
    pub(super) acked_ns: u64,
}

/// A fault whose time has come.
pub(super) struct Made {
    number: usize,
    began_ns: u64,
    /// None where it could not be started.
    running: Option<Running>,
}

impl Made {
    /// Starts a fault's command.
    pub(super) fn start(core: &mut Core, number: usize, fault: &Fault) -> Self {
        let began_ns = now_ns();
        let running = Running::start(fault).inspect_err(|error| {
            tell(&mut core.stats.counts.reasons, &format!("fault {}: {error}", number + 1));
        });
        Self { number, began_ns, running: running.ok() }
    }

    /// Sees whether its command has ended.
    pub(super) fn look(&mut self, now_ns: u64) {
        if let Some(running) = &mut self.running {
            running.ended(now_ns);
        }
    }

    /// Reports it: when its command was run, and when writes were acknowledged again that were sent
    /// after it had ended. What it has started ends with that.
    pub(super) fn tell(
        self,
        core: &mut Core,
        faults: &[Fault],
        start_ns: u64,
        publishers: usize,
        writes: &[Write],
    ) {
        let Self { number, began_ns, mut running } = self;
        let stats = &mut core.stats;
        let ended = running.as_mut().and_then(|running| running.ended(now_ns()));
        let is_failed = running.is_none() || ended.is_some_and(|(_, code)| code.unwrap_or(0) != 0);
        stats.counts.faults_failed += u64::from(is_failed);
        let over_ns = ended.map_or(began_ns, |(ended_ns, _)| ended_ns);
        // By publisher: its first write after the fault.
        let mut first_ns = vec![None; publishers];
        for write in writes.iter().filter(|write| write.sent_ns >= over_ns) {
            first_ns[at(write.conn)].get_or_insert(write.acked_ns - began_ns);
        }
        for again_ns in first_ns.iter().flatten() {
            stats.time(Metric::Resumed, *again_ns);
        }
        let fault = &faults[number];
        stats.faults.push(FaultTold {
            program: fault.program().to_owned(),
            due_ns: fault.at_ns(),
            began_ns: began_ns - start_ns,
            took_ns: ended.map(|(ended_ns, _)| ended_ns - began_ns),
            code: ended.and_then(|(_, code)| code),
            first_acked_ns: first_ns.iter().flatten().min().copied(),
            all_acked_ns: first_ns.into_iter().collect::<Option<Vec<_>>>().and_then(last),
        });
    }
}

fn last(times_ns: Vec<u64>) -> Option<u64> {
    times_ns.into_iter().max()
}
