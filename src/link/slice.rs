//! What the homes of a room on several nodes tell each other of who is there: records that travel
//! between nodes.
//!
//! A *slice* is what one node says of one room: its members there, as of a life of the node and a
//! version. Whoever hears it replaces what it knew of that node, or changes it by a difference.
//!
//! ```text
//!   1  kind  life version                                    an audit
//!   1  kind  life version refs_from count asks answers     a slice, with its members up to the end
//!   1  kind  life version refs_from count from leaves      with those who joined up to the end
//!   1  kind                                                 a wish to be told the slice
//! ```
//!
//! The first byte is the layout. Numbers are little-endian. A record comes from another process,
//! perhaps of another version. So it is read as a whole before anything is done, and one that is
//! not understood is none.
//!
//! Deliberately absent: what follows from it (`room::slices`).

use crate::base::name::is_name;
use crate::limits::META_BYTES_MAX;
use crate::wire::json::{Checker, is_object};

/// The layout of the records that are written here, and the only one that is read.
const LAYOUT: u8 = 1;

const WHOLE: u8 = 1;
const DIFF: u8 = 2;
const AUDIT: u8 = 3;
const WANT: u8 = 4;

/// Which state of a slice something is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    /// The life of the node.
    pub(crate) life: u64,
    /// Counts what the node has said of its rooms in that life.
    pub(crate) version: u64,
}

/// What a slice says besides its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its state from now on.
    pub(crate) stamp: Stamp,
    /// What the refs of its members begin with. Members of another beginning are others.
    pub(crate) refs_from: u64,
    /// How many are present and visible there: more than are listed, in a large room.
    pub(crate) count: u32,
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SliceTold<'a> {
    /// All that the node says of the room.
    Whole {
        head: Head,
        /// Whether the others are asked for theirs.
        asks: bool,
        /// The version of the slice that asked for it, if one did; else 0.
        answers: u64,
        members: Listed<'a>,
    },
    /// What has changed since version `from`.
    Diff { head: Head, from: u64, leaves: Numbers<'a>, joins: Listed<'a> },
    /// The node still says what it said by then.
    Audit(Stamp),
    /// The asker knows too little of this node.
    Want,
}

/// A member, as its node lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListedMember<'a> {
    /// Which of the node's entries in the room it is.
    pub(crate) number: u32,
    /// The entry that it has replaced, or 0.
    pub(crate) replaces: u32,
    /// When it joined, in seconds of Unix time.
    pub(crate) online_at_s: u32,
    /// Its user's id.
    pub(crate) user: &'a str,
    /// Its user's name.
    pub(crate) name: &'a str,
    /// What its client attached: a JSON object.
    pub(crate) meta: Option<&'a str>,
}

/// Members in a record that has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed<'a>(&'a [u8]);

impl<'a> Listed<'a> {
    /// In their order.
    pub(crate) fn iter(self) -> impl Iterator<Item = ListedMember<'a>> {
        let mut rest = Reader(self.0);
        std::iter::from_fn(move || rest.member())
    }
}

/// Numbers of entries, in a record that has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers<'a>(&'a [u8]);

impl<'a> Numbers<'a> {
    /// In their order.
    pub(crate) fn iter(self) -> impl Iterator<Item = u32> + 'a {
        let mut rest = Reader(self.0);
        std::iter::from_fn(move || rest.u32())
    }
}

impl<'a> SliceTold<'a> {
    /// Reads a record; `None`, if it is not understood.
    pub(crate) fn read(record: &'a [u8], json: &mut Checker) -> Option<Self> {
        let mut rest = Reader(record);
        if rest.u8()? != LAYOUT {
            return None;
        }
        let told = match rest.u8()? {
            WHOLE => {
                let (head, asks, answers) = (rest.head()?, rest.flag()?, rest.u64()?);
                Self::Whole { head, asks, answers, members: rest.listed(json)? }
            }
            DIFF => {
                let (head, from, count) = (rest.head()?, rest.u64()?, rest.u32()?);
                let bytes = usize::try_from(count).ok()?.checked_mul(size_of::<u32>())?;
                let leaves = Numbers(rest.bytes(bytes)?);
                Self::Diff { head, from, leaves, joins: rest.listed(json)? }
            }
            AUDIT => Self::Audit(rest.stamp()?),
            WANT => Self::Want,
            _ => return None,
        };
        rest.0.is_empty().then_some(told)
    }

    /// The life of the node that says it, if it says so.
    pub(crate) fn life(&self) -> Option<u64> {
        match self {
            Self::Whole { head, .. } | Self::Diff { head, .. } => Some(head.stamp.life),
            Self::Audit(stamp) => Some(stamp.life),
            Self::Want => None,
        }
    }
}

/// The life of the node that says a record, if it says so: for whoever needs no more of it.
pub(crate) fn life_in(record: &[u8]) -> Option<u64> {
    let mut rest = Reader(record);
    let begin = (rest.u8()?, rest.u8()?);
    if matches!(begin, (LAYOUT, WHOLE | DIFF | AUDIT)) { rest.u64() } else { None }
}

/// Begins the record of a whole slice. Its members follow: see [`push_member`].
pub(crate) fn push_whole(out: &mut Vec<u8>, head: Head, asks: bool, answers: u64) {
    out.extend_from_slice(&[LAYOUT, WHOLE]);
    push_head(out, head);
    out.push(u8::from(asks));
    out.extend_from_slice(&answers.to_le_bytes());
}

/// Appends the record of a difference. `leaves` are the numbers of entries, and `joins` is what
/// [`push_member`] has written.
pub(crate) fn push_diff(out: &mut Vec<u8>, head: Head, from: u64, leaves: &[u32], joins: &[u8]) {
    out.extend_from_slice(&[LAYOUT, DIFF]);
    push_head(out, head);
    out.extend_from_slice(&from.to_le_bytes());
    let count = u32::try_from(leaves.len()).expect("slots are counted so");
    out.extend_from_slice(&count.to_le_bytes());
    for number in leaves {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(joins);
}

/// Appends the record of an audit.
pub(crate) fn push_audit(out: &mut Vec<u8>, stamp: Stamp) {
    out.extend_from_slice(&[LAYOUT, AUDIT]);
    push_stamp(out, stamp);
}

/// Appends the record of a wish to be told the slice.
pub(crate) fn push_want(out: &mut Vec<u8>) {
    out.extend_from_slice(&[LAYOUT, WANT]);
}

/// Appends a member. One that was let in has a user and a name that are names, and a meta within
/// its bound.
pub(crate) fn push_member(out: &mut Vec<u8>, member: ListedMember<'_>) {
    let ListedMember { number, replaces, online_at_s, user, name, meta } = member;
    // A name that is the user's id is left out.
    let name = if name == user { "" } else { name };
    let meta = meta.unwrap_or_default();
    for number in [number, replaces, online_at_s] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend([user, name].map(|text| u8::try_from(text.len()).expect("a name is short")));
    let meta_bytes = u16::try_from(meta.len()).expect("a meta is bounded");
    out.extend_from_slice(&meta_bytes.to_le_bytes());
    for text in [user, name, meta] {
        out.extend_from_slice(text.as_bytes());
    }
}

fn push_stamp(out: &mut Vec<u8>, Stamp { life, version }: Stamp) {
    out.extend_from_slice(&life.to_le_bytes());
    out.extend_from_slice(&version.to_le_bytes());
}

fn push_head(out: &mut Vec<u8>, Head { stamp, refs_from, count }: Head) {
    push_stamp(out, stamp);
    out.extend_from_slice(&refs_from.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
}

/// What is left of a record to be read. What is not there is `None`.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn text(&mut self, count: usize) -> Option<&'a str> {
        std::str::from_utf8(self.bytes(count)?).ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn stamp(&mut self) -> Option<Stamp> {
        Some(Stamp { life: self.u64()?, version: self.u64()? })
    }

    fn head(&mut self) -> Option<Head> {
        Some(Head { stamp: self.stamp()?, refs_from: self.u64()?, count: self.u32()? })
    }

    fn member(&mut self) -> Option<ListedMember<'a>> {
        let (number, replaces, online_at_s) = (self.u32()?, self.u32()?, self.u32()?);
        let lengths = (self.u8()?, self.u8()?, self.u16()?);
        let (user, name) = (self.text(lengths.0.into())?, self.text(lengths.1.into())?);
        let meta = Some(self.text(lengths.2.into())?).filter(|meta| !meta.is_empty());
        let name = if name.is_empty() { user } else { name };
        Some(ListedMember { number, replaces, online_at_s, user, name, meta })
    }

    /// The members up to the end, if each of them can be shown to clients.
    fn listed(&mut self, json: &mut Checker) -> Option<Listed<'a>> {
        let listed = Listed(self.0);
        let mut is_meta = |meta: &str| {
            meta.len() <= META_BYTES_MAX && json.check(meta).is_ok() && is_object(meta)
        };
        while !self.0.is_empty() {
            let ListedMember { user, name, meta, .. } = self.member()?;
            if !is_name(user) || !is_name(name) || !meta.is_none_or(&mut is_meta) {
                return None;
            }
        }
        Some(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::SplitMix64;

    const HEAD: Head = Head { stamp: Stamp { life: 7, version: 3 }, refs_from: 5, count: 2 };
    const ANN: ListedMember<'_> = ListedMember {
        number: 4,
        replaces: 2,
        online_at_s: 1_795_336_253,
        user: "ann",
        name: "Ann \"A\"",
        meta: Some("{\"x\":1}"),
    };
    const BOB: ListedMember<'_> = ListedMember {
        number: 9,
        replaces: 0,
        online_at_s: 0,
        user: "bob",
        name: "bob",
        meta: None,
    };

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut record = Vec::new();
        write(&mut record);
        record
    }

    fn joins() -> Vec<u8> {
        written(|out| [ANN, BOB].into_iter().for_each(|member| push_member(out, member)))
    }

    fn whole(asks: bool) -> Vec<u8> {
        written(|out| {
            push_whole(out, HEAD, asks, 8);
            out.extend(joins());
        })
    }

    fn diff() -> Vec<u8> {
        written(|out| push_diff(out, HEAD, 2, &[4, 1], &joins()))
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let mut json = Checker::default();
        for asks in [false, true] {
            let record = whole(asks);
            let Some(SliceTold::Whole { head, asks: read, answers: 8, members }) =
                SliceTold::read(&record, &mut json)
            else {
                panic!("a slice")
            };
            assert_eq!((head, read), (HEAD, asks));
            assert!(members.iter().eq([ANN, BOB]));
        }
        assert_eq!(life_in(&whole(true)), Some(7));
        let record = diff();
        assert_eq!((life_in(&record), life_in(&record[..9])), (Some(7), None));
        let Some(SliceTold::Diff { head, from, leaves, joins }) =
            SliceTold::read(&record, &mut json)
        else {
            panic!("a difference")
        };
        assert_eq!((head, from), (HEAD, 2));
        assert!(leaves.iter().eq([4, 1]) && joins.iter().eq([ANN, BOB]));
        let audit = written(|out| push_audit(out, HEAD.stamp));
        let told = SliceTold::read(&audit, &mut json);
        assert_eq!(told, Some(SliceTold::Audit(HEAD.stamp)));
        assert_eq!(SliceTold::read(&written(push_want), &mut json), Some(SliceTold::Want));
    }

    #[test]
    fn what_is_not_understood_is_refused_and_nothing_panics() {
        let mut json = Checker::default();
        let mut rng = SplitMix64::new(7);
        for record in [whole(true), diff(), written(|out| push_audit(out, HEAD.stamp))] {
            let other = [&[LAYOUT + 1], &record[1..]].concat();
            assert_eq!(SliceTold::read(&other, &mut json), None, "another layout");
            let other = [&[LAYOUT, 99], &record[2..]].concat();
            assert_eq!(SliceTold::read(&other, &mut json), None, "another kind");
            assert_eq!(SliceTold::read(&[&*record, b"x"].concat(), &mut json), None, "more");
            for _ in 0..20_000 {
                let mut spoilt = record.clone();
                let at = usize::try_from(rng.next_u64()).expect("64 bits") % spoilt.len();
                spoilt[at] ^= u8::try_from(1 + rng.next_u64() % 255).expect("a byte");
                spoilt.truncate(at + 1 + usize::try_from(rng.next_u64() % 90).expect("few"));
                // Whatever it is, it can be walked.
                match SliceTold::read(&spoilt, &mut json) {
                    Some(SliceTold::Whole { members, .. }) => assert!(members.iter().count() <= 2),
                    Some(SliceTold::Diff { leaves, joins, .. }) => {
                        assert!(leaves.iter().count() + joins.iter().count() <= 20);
                    }
                    Some(SliceTold::Audit(_) | SliceTold::Want) | None => {}
                }
            }
        }
        for meta in ["{", "[]", "7", "{}x"] {
            let record = written(|out| {
                push_whole(out, HEAD, false, 0);
                push_member(out, ListedMember { meta: Some(meta), ..ANN });
            });
            assert_eq!(SliceTold::read(&record, &mut json), None, "{meta} is no meta");
        }
        for user in ["", "a\nb"] {
            let record = written(|out| {
                push_whole(out, HEAD, false, 0);
                push_member(out, ListedMember { user, ..ANN });
            });
            assert_eq!(SliceTold::read(&record, &mut json), None, "{user:?} is no user");
        }
    }
}
