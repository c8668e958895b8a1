//! The JSON that a room's home, its members' shards and the API share: a message as members get it
//! and as the history keeps it, its receipt, a room's listing, the true number of those present.

use crate::link::ids::{Count, Receipt};
use crate::wire::json::{push_string, push_unsigned};

/// JSON that was put together from strings and checked JSON.
pub(crate) fn text(json: &[u8]) -> &str {
    simdutf8::basic::from_utf8(json).expect("JSON is UTF-8")
}

/// Appends what the API, the lobby and a join say of a room.
pub(crate) fn push_listing(out: &mut Vec<u8>, room: &str, title: &str, members: u32) {
    out.extend_from_slice(b"{\"members\":");
    push_unsigned(out, u64::from(members));
    out.extend_from_slice(b",\"room\":");
    push_string(out, room);
    out.extend_from_slice(b",\"title\":");
    push_string(out, title);
    out.push(b'}');
}

/// Appends the payload of `presence_count`.
pub(crate) fn push_count(out: &mut Vec<u8>, count: Count) {
    out.extend_from_slice(b"{\"count\":");
    push_unsigned(out, u64::from(count.present));
    out.extend_from_slice(b",\"listed\":");
    push_unsigned(out, u64::from(count.listed));
    out.push(b'}');
}

/// The least bytes of a message as members get it.
pub(crate) const MESSAGE_BYTES_MIN: usize = 75;

/// Appends a message as members get it, and as the history keeps it.
#[expect(clippy::too_many_arguments, reason = "they are the fields of one message")]
pub(crate) fn push_message(
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
pub(crate) fn push_receipt(out: &mut Vec<u8>, epoch: u64, receipt: Receipt) {
    out.extend_from_slice(b"{\"at\":");
    push_unsigned(out, receipt.at_ms);
    out.extend_from_slice(b",\"id\":");
    push_id(out, epoch, receipt.offset);
    out.extend_from_slice(b",\"offset\":");
    push_unsigned(out, receipt.offset);
    out.push(b'}');
}

/// A message's id: its room's epoch and its offset.
fn push_id(out: &mut Vec<u8>, epoch: u64, offset: u64) {
    out.push(b'"');
    push_epoch(out, epoch);
    out.push(b'-');
    push_unsigned(out, offset);
    out.push(b'"');
}

/// Appends the payload of `room_epoch`: where the room stands in its new epoch.
pub(crate) fn push_epoch_told(out: &mut Vec<u8>, epoch: u64, offset: u64, change: u64) {
    out.extend_from_slice(b"{\"change\":");
    push_unsigned(out, change);
    out.extend_from_slice(b",\"epoch\":\"");
    push_epoch(out, epoch);
    out.extend_from_slice(b"\",\"offset\":");
    push_unsigned(out, offset);
    out.push(b'}');
}

/// Appends an epoch as clients see it: 16 digits.
pub(crate) fn push_epoch(out: &mut Vec<u8>, epoch: u64) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 16];
    for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(epoch.to_be_bytes()) {
        *pair = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
    }
    out.extend_from_slice(&digits);
}

/// Reads an epoch as a client kept it.
pub(crate) fn parse_epoch(text: &str) -> Option<u64> {
    (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_is_shorter_than_the_least() {
        let mut out = Vec::new();
        push_message(&mut out, 1, Receipt { offset: 1, at_ms: 0 }, "", "", "\"\"", None, None);
        assert_eq!(out.len(), MESSAGE_BYTES_MIN, "{}", text(&out));
    }
}
