//! Each room is read at each URL in the end, page by page, by a member that is there.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::base::{count, now_ns};
use crate::client::dialect::response_of;
use crate::core::{self, Core, Waiting};

/// Messages of a page.
const PAGE: u64 = 100;

/// A room that is to be read at a URL.
struct Reading {
    room: u32,
    url: usize,
    /// All from this offset on was read.
    before: Option<u64>,
    /// Who reads, and for whose answer it waits.
    conn: Option<u32>,
}

/// What is still to be read; the first is being read.
#[derive(Default)]
pub(super) struct Readings {
    rooms: u32,
    left: VecDeque<Reading>,
}

impl Readings {
    /// All rooms at all URLs.
    pub(super) fn of(rooms: u32, urls: usize) -> Self {
        let of_room = |room| {
            let urls = 0..urls;
            urls.map(move |url| Reading { room, url, before: None, conn: None })
        };
        Self { rooms, left: (0..rooms).flat_map(of_room).collect() }
    }

    /// Asks for the next page. Tells whether all is read.
    pub(super) fn ask(&mut self, core: &mut Core) -> bool {
        while let Some(reading) = self.left.front_mut() {
            let is_there = |conn: &u32| {
                conn % self.rooms == reading.room
                    && core.url(*conn) == reading.url
                    && core.is_ready(*conn)
            };
            // Where nobody of a room is at a URL, nobody can be told anything else there.
            reading.conn = (0..count(core.conns.len())).find(is_there);
            let Some(conn) = reading.conn else {
                self.left.pop_front();
                continue;
            };
            let before = reading.before.map(|before| format!("\"before\":{before},"));
            let payload = format!("{{{}\"limit\":{PAGE}}}", before.unwrap_or_default());
            let waiting = Some(Waiting::History);
            core.push(conn, Some(0), "history", payload.as_bytes(), waiting, now_ns());
            return false;
        }
        true
    }

    /// A page has come. Tells whether it was waited for.
    pub(super) fn take(&mut self, core: &mut Core, conn: u32, payload: &str) -> bool {
        #[derive(Deserialize)]
        struct Page<'a> {
            #[serde(borrow)]
            messages: Vec<&'a RawValue>,
            more: bool,
        }
        let Some(reading) = self.left.front_mut().filter(|it| it.conn == Some(conn)) else {
            return false;
        };
        let page = response_of(payload)
            .and_then(|response| serde_json::from_str::<Page<'_>>(response.get()).ok());
        let (Some(page), Some(witness)) = (page, &mut core.witness) else {
            core.malformed("a page of history without messages");
            return false;
        };
        let run = core.plan.run;
        let told: Vec<_> = page.messages.iter().map(|m| core::told(run, reading.room, m)).collect();
        witness.read(reading.room, reading.url, &told);
        let first = told.iter().find_map(|told| told.offset);
        let is_whole = first.is_none_or(|first| first <= witness.start(reading.room) + 1);
        reading.before = first;
        if is_whole || !page.more {
            self.left.pop_front();
        }
        true
    }

    /// Whoever reads is out: the same page is to be read by another, or again. Tells whether it
    /// read.
    pub(super) fn stop(&mut self, conn: u32) -> bool {
        let reading = self.left.front_mut().filter(|it| it.conn == Some(conn));
        reading.is_some_and(|reading| reading.conn.take().is_some())
    }
}
