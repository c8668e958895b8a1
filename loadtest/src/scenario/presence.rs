//! `presence`: a room fills within some time and then empties within the same; observers must see
//! everybody come and go.
//!
//! The first half of the window belongs to the filling, the second to the emptying. An observer
//! knows how many are there from `presence_state` and `presence_diff`, by the `phx_ref` of each
//! meta, or from `presence_count` where the server sends that (a room too large to list). `seen` is
//! the time from when the last was due to come (or go) until an observer's number was right.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::NOBODY;
use crate::base::{at, count};
use crate::core::{self, Core};
use crate::plan::Presence;
use crate::stats::{Metric, tell};

const LEAVE: u32 = 0;
const HALF: u32 = 1;
const OVER: u32 = 2;

#[derive(Default)]
struct Observer {
    metas: HashSet<String>,
    counted: Option<u32>,
    /// Whether it has seen the room full, and then empty.
    seen: [bool; 2],
}

pub(crate) struct Script {
    options: Presence,
    observers: Vec<Observer>,
    /// When the last was due to come, and to go.
    last_due_ns: [u64; 2],
    half: usize,
    finished: bool,
}

#[derive(Deserialize)]
struct Metas {
    metas: Vec<Meta>,
}

#[derive(Deserialize)]
struct Meta {
    phx_ref: String,
}

#[derive(Deserialize)]
struct Diff {
    joins: BTreeMap<String, Metas>,
    leaves: BTreeMap<String, Metas>,
}

#[derive(Deserialize)]
struct Counted {
    count: u32,
}

impl Observer {
    fn learn(&mut self, event: &str, payload: &str) -> Result<(), serde_json::Error> {
        let refs = |all: BTreeMap<String, Metas>| {
            all.into_values().flat_map(|m| m.metas).map(|meta| meta.phx_ref)
        };
        match event {
            "presence_state" => self.metas = refs(serde_json::from_str(payload)?).collect(),
            "presence_diff" => {
                let diff: Diff = serde_json::from_str(payload)?;
                // As phoenix.js does: joins first, so that an update (both at once) stays.
                self.metas.extend(refs(diff.joins));
                for gone in refs(diff.leaves) {
                    self.metas.remove(&gone);
                }
            }
            "presence_count" => {
                self.counted = Some(serde_json::from_str::<Counted>(payload)?.count);
            }
            _ => {}
        }
        Ok(())
    }

    fn members(&self) -> u32 {
        self.counted.unwrap_or(count(self.metas.len()))
    }
}

impl Script {
    pub(crate) fn new(core: &mut Core, options: Presence) -> Self {
        let room = core.add_room(0);
        for _ in core.plan.own() {
            core.add_conn(&[room]);
        }
        let own = core.plan.own();
        let observers = own
            .clone()
            .filter(|conn| *conn < options.observers)
            .map(|_| Observer::default())
            .collect();
        Self { options, observers, last_due_ns: [u64::MAX; 2], half: 0, finished: false }
    }

    fn expected(&self) -> u32 {
        if self.half == 0 { self.options.members } else { self.options.observers }
    }

    fn look(&mut self, core: &mut Core, conn: u32, now_ns: u64) {
        let (expected, half) = (self.expected(), self.half);
        let observer = &mut self.observers[at(conn)];
        if observer.members() == expected && !observer.seen[half] {
            observer.seen[half] = true;
            core.stats.time(Metric::Seen, now_ns.saturating_sub(self.last_due_ns[half]));
        }
    }

    fn count_those_who_did_not_see(&self, core: &mut Core) {
        for observer in &self.observers {
            if !observer.seen[self.half] {
                core.stats.counts.presence_wrong += 1;
                let why = format!(
                    "an observer saw {} members, not {}",
                    observer.members(),
                    self.expected()
                );
                tell(&mut core.stats.counts.reasons, &why);
            }
        }
    }
}

impl core::Script for Script {
    fn connect(&mut self, core: &mut Core, _total: u32) {
        core.connect_all(self.options.observers);
    }

    fn go(&mut self, core: &mut Core, start_ns: u64) {
        core.stats.forget_times();
        let (within_ns, half_ns) = (self.options.within.0, core.plan.common.duration.0 / 2);
        let start_ns = start_ns + core.plan.common.warmup.0;
        self.last_due_ns = [start_ns + within_ns, start_ns + half_ns + within_ns];
        let own = core.plan.own();
        let comers = u64::from((self.options.members - self.options.observers).max(1));
        for conn in own.clone().filter(|conn| *conn >= self.options.observers) {
            let offset_ns = within_ns * u64::from(conn - self.options.observers) / comers;
            core.connect_at(conn - own.start, start_ns + offset_ns);
            core.at(start_ns + half_ns + offset_ns, conn - own.start, LEAVE);
        }
        core.at(start_ns + half_ns, NOBODY, HALF);
        core.at(start_ns + 2 * half_ns, NOBODY, OVER);
    }

    fn timer(&mut self, core: &mut Core, conn: u32, what: u32, _due_ns: u64) {
        match what {
            LEAVE => core.close(conn, false),
            HALF => {
                self.count_those_who_did_not_see(core);
                let counts = &mut core.stats.counts;
                (counts.filling_events, counts.filling_event_bytes) =
                    (counts.events, counts.event_bytes);
                self.half = 1;
            }
            _ => {
                self.count_those_who_did_not_see(core);
                self.finished = true;
            }
        }
    }

    fn event(&mut self, core: &mut Core, conn: u32, event: &str, payload: &str, now_ns: u64) {
        if let Some(observer) = self.observers.get_mut(at(conn))
            && event.starts_with("presence_")
        {
            match observer.learn(event, payload) {
                Ok(()) => self.look(core, conn, now_ns),
                Err(error) => core.malformed(&format!("{event}: {error}")),
            }
        }
    }

    fn finished(&self, _core: &Core) -> bool {
        self.finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observer_counts_metas_and_an_update_is_one_person_still() {
        let mut observer = Observer::default();
        observer
            .learn("presence_state", r#"{"a":{"metas":[{"phx_ref":"1"},{"phx_ref":"2"}]}}"#)
            .unwrap();
        assert_eq!(observer.members(), 2);
        let update = r#"{"joins":{"a":{"metas":[{"phx_ref":"3"}]}},
            "leaves":{"a":{"metas":[{"phx_ref":"1"}]}}}"#;
        observer.learn("presence_diff", update).unwrap();
        assert_eq!(observer.members(), 2);
        observer.learn("presence_count", r#"{"count":5000,"listed":100}"#).unwrap();
        assert_eq!(observer.members(), 5_000);
        assert!(observer.learn("presence_diff", "{}").is_err());
    }
}
