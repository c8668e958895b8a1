//! How newcomers are told who is there: the list, with one's own entry in it if it has none. What
//! does not fit into one frame follows as if it had joined just now.

use super::Members;
use crate::limits::POOL_BUFFER_BYTES_MAX;
use crate::link::ids::{AudienceKey, ConnKey, Count};
use crate::link::io::Io;
use crate::link::message::{presence_diff, presence_parts, push_count, text};
use crate::link::outbox::Cx;
use crate::link::record::OwnEntries;
use crate::wire::phx::{Outgoing, Payload};

/// About what a `presence_count` takes, in bytes.
const COUNT_BYTES: usize = 48;

/// For how many newcomers at once an audience keeps the memory.
const NEWCOMERS_KEPT: usize = 4;

impl Members {
    /// Sends `presence_state` to the members here that have not had it.
    pub(super) fn show<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: AudienceKey,
        list: &[u8],
        count: Option<Count>,
        own: &[u8],
    ) {
        let Some(audience) = self.audiences.get_mut(key) else { return };
        let mut newcomers = std::mem::take(&mut audience.newcomers);
        let mut own = OwnEntries::of(own);
        let parts = presence_parts(text(list));
        for conn in newcomers.drain(..) {
            self.show_to(key, conn, &parts, count, own.entry(conn));
            if self.conns.out_bytes(conn) > POOL_BUFFER_BYTES_MAX {
                // Not at the end of the turn: a thousand newcomers would have a thousand copies of
                // a long list until then.
                self.flush_conn(cx, conn);
            }
        }
        if let Some(audience) = self.audiences.get_mut(key) {
            newcomers.shrink_to(NEWCOMERS_KEPT);
            audience.newcomers = newcomers;
        }
    }

    fn show_to(
        &mut self,
        key: AudienceKey,
        conn: ConnKey,
        parts: &[&str],
        count: Option<Count>,
        own: &[u8],
    ) {
        let Some(channel) = self.channel(conn, key) else { return };
        let (seat, join_ref) = (channel.seat, self.join_ref(conn, channel));
        let serializer = self.conns.serializer(conn.index());
        self.audiences.settle(&mut self.conns, key, seat);
        let out = self.conns.output(conn.index());
        let Some(audience) = self.audiences.get(key) else { return };
        let state = Outgoing {
            join_ref: join_ref.as_json(),
            reference: "null",
            topic: &audience.topic,
            event: "presence_state",
            payload: Payload::Json("{}"),
        };
        let [first, rest @ ..] = parts else { return };
        let comma: &[u8] = if own.is_empty() || first.is_empty() { b"" } else { b"," };
        serializer.push_parts(out, &state, &[b"{", first.as_bytes(), comma, own, b"}"]);
        let diff = Outgoing { event: "presence_diff", ..state };
        for part in rest {
            serializer.push_parts(out, &diff, &presence_diff(part, "").map(str::as_bytes));
        }
        if let Some(count) = count {
            let mut payload = Vec::with_capacity(COUNT_BYTES);
            push_count(&mut payload, count);
            let payload = Payload::Json(text(&payload));
            serializer.push(out, &Outgoing { event: "presence_count", payload, ..state });
        }
    }
}
