//! Who is there, by what clients do, and who is listed as present, by what they are told.
//!
//! Each join is a *life* of its connection, and has a name that its presence carries. So a member
//! that is listed although its life is over is a ghost, even where its connection is back already.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Witness;
use super::findings::{Broken, Findings};
use crate::base::{at, count, count64, time_text};

/// Which life of which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Life {
    conn: u32,
    number: u32,
}

/// The lives of all connections, and whom each lists.
#[derive(Debug, Default)]
pub(super) struct Lives {
    /// By connection and life: when it ended.
    ended_ns: Vec<Vec<Option<u64>>>,
    /// By connection: whom it lists, by `phx_ref`. Those of another run are nobody's life.
    listed: Vec<BTreeMap<String, Option<Life>>>,
}

#[derive(Deserialize)]
struct Metas {
    metas: Vec<Meta>,
}

#[derive(Deserialize)]
struct Meta {
    phx_ref: String,
    #[serde(default)]
    meta: Own,
}

/// What a client has said of itself.
#[derive(Default, Deserialize)]
struct Own {
    #[serde(default)]
    life: String,
}

#[derive(Deserialize)]
struct Diff {
    joins: BTreeMap<String, Metas>,
    leaves: BTreeMap<String, Metas>,
}

impl Lives {
    pub(super) fn new(conns: usize) -> Self {
        Self { ended_ns: vec![Vec::new(); conns], listed: vec![BTreeMap::new(); conns] }
    }

    /// A connection begins another life, and the one before is over. Gives its name.
    pub(super) fn begin(&mut self, run: u16, conn: u32, now_ns: u64) -> String {
        self.end(conn, now_ns);
        let lives = &mut self.ended_ns[at(conn)];
        lives.push(None);
        format!("{run}-{conn}-{}", lives.len() - 1)
    }

    /// A connection's life is over, if it is not so already.
    pub(super) fn end(&mut self, conn: u32, now_ns: u64) {
        if let Some(last) = self.ended_ns[at(conn)].last_mut() {
            last.get_or_insert(now_ns);
        }
    }

    /// When a life ended, if it did.
    fn ended_ns(&self, life: Life) -> Option<u64> {
        self.ended_ns.get(at(life.conn))?.get(at(life.number)).copied()?
    }
}

/// The life that a name of this run is of.
fn life(run: u16, name: &str) -> Option<Life> {
    let mut parts = name.splitn(3, '-');
    let of_run: u16 = parts.next()?.parse().ok()?;
    let life = Life { conn: parts.next()?.parse().ok()?, number: parts.next()?.parse().ok()? };
    (of_run == run).then_some(life)
}

impl Witness {
    /// A member is told who is present. Gives for each that is no longer, how long after the end of
    /// its life that is told.
    ///
    /// # Errors
    /// The payload is none of such an event.
    pub(crate) fn present(
        &mut self,
        conn: u32,
        event: &str,
        payload: &str,
        now_ns: u64,
    ) -> Result<Vec<u64>, serde_json::Error> {
        let run = self.run;
        let all = |all: BTreeMap<String, Metas>| all.into_values().flat_map(|user| user.metas);
        let named = |meta: Meta| (meta.phx_ref, life(run, &meta.meta.life));
        let listed = &mut self.lives.listed[at(conn)];
        let mut over_ns = Vec::new();
        match event {
            "presence_state" => *listed = all(serde_json::from_str(payload)?).map(named).collect(),
            "presence_diff" => {
                let diff: Diff = serde_json::from_str(payload)?;
                // As phoenix.js does: joins first, so that an update (both at once) stays.
                listed.extend(all(diff.joins).map(named));
                let gone = all(diff.leaves).filter_map(|meta| listed.remove(&meta.phx_ref)?);
                let gone: Vec<Life> = gone.collect();
                over_ns.extend(gone.into_iter().filter_map(|life| self.lives.ended_ns(life)));
            }
            _ => {}
        }
        Ok(over_ns.into_iter().map(|ended_ns| now_ns.saturating_sub(ended_ns)).collect())
    }

    /// Whether each member that is in lists all who are in its room, once, and nobody else.
    pub(super) fn presence_is_right(&self) -> bool {
        let mut findings = Findings::default();
        self.judge_presence(0, &mut findings);
        findings.broken.is_empty()
    }

    /// Holds what members are told of each other against who is there.
    pub(super) fn judge_presence(&self, now_ns: u64, findings: &mut Findings) {
        let mut there = BTreeMap::<u32, Vec<Life>>::new();
        for (conn, member) in (0..).zip(&self.members).filter(|(_, member)| member.is_in) {
            let number = count(self.lives.ended_ns[at(conn)].len().saturating_sub(1));
            there.entry(member.room).or_default().push(Life { conn, number });
        }
        for (conn, member) in (0..).zip(&self.members).filter(|(_, member)| member.is_in) {
            let mut listed = BTreeMap::<Life, u64>::new();
            for life in self.lives.listed[at(conn)].values().flatten() {
                *listed.entry(*life).or_default() += 1;
            }
            let room = member.room;
            let there = there.get(&room).map_or(&[][..], Vec::as_slice);
            let absent = there.iter().filter(|life| listed.remove(life).is_none_or(|n| n > 1));
            let absent: Vec<&Life> = absent.collect();
            findings.add(Broken::Absent, count64(absent.len()), || {
                format!(
                    "room {room}: connection {} is there, and connection {conn} does not list it once",
                    absent[0].conn
                )
            });
            findings.add(Broken::Ghost, count64(listed.len()), || {
                let ghost = listed.keys().next().copied().unwrap_or(Life { conn: 0, number: 0 });
                let over_ns = now_ns.saturating_sub(self.lives.ended_ns(ghost).unwrap_or(now_ns));
                format!(
                    "room {room}: connection {conn} lists connection {} in a life that has been over \
                     for {}",
                    ghost.conn,
                    time_text(over_ns)
                )
            });
        }
    }
}
