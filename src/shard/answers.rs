//! How what a home says is written, but for presence: messages, receipts, pages of history, and the
//! answer to a join.

use super::home::Home;
use crate::chat::history::{Cursor, Page, Receipt};
use crate::chat::presence::Slot;
use crate::wire::json::{push_string, push_unsigned};

/// JSON that was put together from strings and checked JSON.
pub(super) fn text(json: &[u8]) -> &str {
    simdutf8::basic::from_utf8(json).expect("JSON is UTF-8")
}

/// Appends what the API, the lobby and a join say of a room.
pub(super) fn push_listing(out: &mut Vec<u8>, room: &str, title: &str, members: u32) {
    out.extend_from_slice(b"{\"members\":");
    push_unsigned(out, u64::from(members));
    out.extend_from_slice(b",\"room\":");
    push_string(out, room);
    out.extend_from_slice(b",\"title\":");
    push_string(out, title);
    out.push(b'}');
}

/// Appends a message as members get it, and as the history keeps it.
#[expect(clippy::too_many_arguments, reason = "they are the fields of one message")]
pub(super) fn push_message(
    out: &mut Vec<u8>,
    epoch: u64,
    receipt: Receipt,
    user: &str,
    name: &str,
    body: &str,
    key: Option<&str>,
    reply_to: Option<u64>,
) {
    out.extend_from_slice(b"{\"at\":");
    push_unsigned(out, receipt.at_ms);
    out.extend_from_slice(b",\"body\":");
    out.extend_from_slice(body.as_bytes());
    out.extend_from_slice(b",\"id\":");
    push_id(out, epoch, receipt.offset);
    if let Some(key) = key {
        out.extend_from_slice(b",\"key\":");
        push_string(out, key);
    }
    out.extend_from_slice(b",\"name\":");
    push_string(out, name);
    out.extend_from_slice(b",\"offset\":");
    push_unsigned(out, receipt.offset);
    if let Some(reply_to) = reply_to {
        out.extend_from_slice(b",\"reply_to\":");
        push_unsigned(out, reply_to);
    }
    out.extend_from_slice(b",\"user\":");
    push_string(out, user);
    out.push(b'}');
}

/// Appends what the publisher of a message is told.
pub(super) fn push_receipt(out: &mut Vec<u8>, epoch: u64, receipt: Receipt) {
    out.extend_from_slice(b"{\"at\":");
    push_unsigned(out, receipt.at_ms);
    out.extend_from_slice(b",\"id\":");
    push_id(out, epoch, receipt.offset);
    out.extend_from_slice(b",\"offset\":");
    push_unsigned(out, receipt.offset);
    out.push(b'}');
}

/// Appends the answer to a join.
pub(super) fn push_joined(
    out: &mut Vec<u8>,
    home: &Home,
    slot: Slot,
    speak: bool,
    since: Option<Cursor>,
    limit: u32,
    limits: &crate::limits::HistoryLimits,
) {
    let cursor = home.history.cursor();
    out.push(b'{');
    if home.room().is_some() {
        let recovered = since.and_then(|since| home.history.recover(since, limits));
        out.extend_from_slice(b"\"epoch\":\"");
        push_epoch(out, cursor.epoch);
        out.extend_from_slice(b"\",");
        // What was missed begins where the client stands, so it has what is before; the page may
        // have more before it.
        push_page(out, recovered.unwrap_or_else(|| home.history.latest(limit, limits)));
        out.extend_from_slice(b",\"offset\":");
        push_unsigned(out, cursor.offset);
        out.extend_from_slice(if recovered.is_some() {
            b",\"recovered\":true,"
        } else {
            b",\"recovered\":false,"
        });
        out.extend_from_slice(b"\"room\":");
        home.push_listing(out);
        out.push(b',');
    }
    out.extend_from_slice(b"\"you\":{");
    if let Some(member) = home.presence.member(slot) {
        out.extend_from_slice(b"\"name\":");
        push_string(out, member.identity.name());
        out.extend_from_slice(if speak {
            b",\"speak\":true,\"user\":"
        } else {
            b",\"speak\":false,\"user\":"
        });
        push_string(out, member.identity.user());
    }
    out.extend_from_slice(b"}}");
}

pub(super) fn push_page(out: &mut Vec<u8>, page: Page<'_>) {
    out.extend_from_slice(b"\"messages\":[");
    out.extend_from_slice(page.messages);
    out.extend_from_slice(if page.more { b"],\"more\":true" } else { b"],\"more\":false" });
}

/// A message's id: its room's epoch and its offset.
fn push_id(out: &mut Vec<u8>, epoch: u64, offset: u64) {
    out.push(b'"');
    push_epoch(out, epoch);
    out.push(b'-');
    push_unsigned(out, offset);
    out.push(b'"');
}

/// Appends an epoch as clients see it: 16 digits.
fn push_epoch(out: &mut Vec<u8>, epoch: u64) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend(
        (0..16)
            .rev()
            .map(|digit| HEX[usize::try_from(epoch >> (digit * 4) & 15).expect("four bits")]),
    );
}

/// Reads an epoch as a client kept it.
pub(super) fn parse_epoch(text: &str) -> Option<u64> {
    (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten()
}
