//! The stamp that every message of a run carries in its body: who sent it, which one it is, and
//! when it was *due*.
//!
//! It is plain ASCII that no JSON encoder escapes, so it comes through any server that passes a
//! string on. Without the spaces:
//!
//! ```text
//! ~L rrrr bbbbbb oooooooo kkkkkkkk ssssssss tttttttttttttttt cccccccc ... ~
//!    run  bytes  room     rank     seq      due, ns          check    filler
//! ```
//!
//! `bytes` is the length of the whole body: a body cut short or grown does not end in `~` there.
//! `rank` is the sender's number among the publishers of the room, `seq` counts that sender's
//! messages in that room from 0. `check` is worked out from the others, so that a digit which
//! became another one is noticed, and no receiver looks for the message number four billion.

use memchr::memmem;

/// The shortest body that holds a stamp, in bytes.
pub(crate) const BODY_BYTES_MIN: u32 = HEAD_BYTES + 1;

const HEAD_BYTES: u32 = 2 + 4 + 6 + 8 + 8 + 8 + 16 + 8;

/// What a receiver learns from a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The room it was sent to, as a number.
    pub(crate) room: u32,
    /// Its sender among the publishers of that room.
    pub(crate) rank: u32,
    /// Which of that sender's messages, from 0.
    pub(crate) seq: u32,
    /// When it was to be sent, in nanoseconds of the monotonic clock.
    pub(crate) due_ns: u64,
}

/// What was found in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A message of this run, whole.
    Message(Stamp),
    /// A message of this run whose body is not what was sent.
    Corrupt,
    /// Nothing of this run.
    Nothing,
}

/// Writes a stamped body of `body_bytes` bytes (or [`BODY_BYTES_MIN`], if that is more).
pub(crate) fn write(out: &mut Vec<u8>, run: u16, stamp: Stamp, body_bytes: u32) {
    let body_bytes = body_bytes.max(BODY_BYTES_MIN);
    out.extend_from_slice(b"~L");
    hex(out, u64::from(run), 4);
    hex(out, u64::from(body_bytes), 6);
    hex(out, u64::from(stamp.room), 8);
    hex(out, u64::from(stamp.rank), 8);
    hex(out, u64::from(stamp.seq), 8);
    hex(out, stamp.due_ns, 16);
    hex(out, check(u64::from(body_bytes), stamp), 8);
    let filler = crate::base::at(body_bytes - BODY_BYTES_MIN);
    out.resize(out.len() + filler, b'.');
    out.push(b'~');
}

/// Looks for a stamp of this `run`.
pub(crate) fn find(payload: &[u8], run: u16) -> Found {
    let Some(start) = memmem::find(payload, b"~L") else { return Found::Nothing };
    let body = &payload[start..];
    let Some(head) = body.get(2..crate::base::at(HEAD_BYTES)) else { return Found::Nothing };
    let mut head = head;
    let mut field = |digits: usize| {
        let (field, rest) = head.split_at(digits);
        head = rest;
        unhex(field)
    };
    let fields =
        (|| Some((field(4)?, field(6)?, field(8)?, field(8)?, field(8)?, field(16)?, field(8)?)))();
    let Some((of_run, bytes, room, rank, seq, due_ns, told)) = fields else {
        return Found::Corrupt;
    };
    if of_run != u64::from(run) {
        return Found::Nothing;
    }
    let whole =
        usize::try_from(bytes).ok().and_then(|bytes| body.get(..bytes)).is_some_and(|body| {
            body.last() == Some(&b'~')
                && body.get(crate::base::at(HEAD_BYTES)..body.len() - 1).is_some_and(is_filler)
        });
    match (whole, u32::try_from(room), u32::try_from(rank), u32::try_from(seq)) {
        (true, Ok(room), Ok(rank), Ok(seq)) => {
            let stamp = Stamp { room, rank, seq, due_ns };
            if check(bytes, stamp) == told { Found::Message(stamp) } else { Found::Corrupt }
        }
        _ => Found::Corrupt,
    }
}

/// 32 bits that depend on every bit of a stamp.
fn check(body_bytes: u64, stamp: Stamp) -> u64 {
    let Stamp { room, rank, seq, due_ns } = stamp;
    let words =
        [u64::from(room) << 32 | u64::from(rank), u64::from(seq) << 32 | body_bytes, due_ns];
    words.iter().fold(0x9e37_79b9_7f4a_7c15_u64, |sum, word| {
        let mixed = (sum ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^ mixed >> 32
    }) & 0xffff_ffff
}

fn is_filler(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |seen, byte| seen | (byte ^ b'.')) == 0
}

fn hex(out: &mut Vec<u8>, value: u64, digits: u32) {
    for digit in (0..digits).rev() {
        let nibble = usize::try_from((value >> (4 * digit)) & 0xf).unwrap_or(0);
        out.push(b"0123456789abcdef"[nibble]);
    }
}

fn unhex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(nibble))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { room: 7, rank: 0xdead_beef, seq: 42, due_ns: 1_234_567_890_123 };

    fn body(bytes: u32) -> Vec<u8> {
        let mut payload = b"{\"body\":\"".to_vec();
        write(&mut payload, 0xabc, STAMP, bytes);
        payload.extend_from_slice(b"\"}");
        payload
    }

    #[test]
    fn a_stamp_comes_back_at_any_size() {
        for bytes in [0, BODY_BYTES_MIN, 200, 16_384] {
            assert_eq!(find(&body(bytes), 0xabc), Found::Message(STAMP), "{bytes}");
        }
        assert_eq!(body(200).len(), 200 + 11);
    }

    #[test]
    fn another_runs_stamp_is_nothing_of_ours() {
        assert_eq!(find(&body(200), 0xabd), Found::Nothing);
        assert_eq!(find(b"{\"body\":\"hello\"}", 0xabc), Found::Nothing);
    }

    #[test]
    fn any_changed_byte_of_the_body_is_noticed() {
        let whole = body(100);
        for index in 9 + 2 + 4..109 {
            // A digit that is another one is still a digit.
            for byte in [b'#', if whole[index] == b'7' { b'3' } else { b'7' }] {
                let mut changed = whole.clone();
                changed[index] = byte;
                assert_eq!(find(&changed, 0xabc), Found::Corrupt, "byte {index}");
            }
        }
        let mut cut = whole;
        cut.remove(80);
        assert_eq!(find(&cut, 0xabc), Found::Corrupt);
    }
}
