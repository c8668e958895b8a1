//! Which primary of a cluster has which slots, as one of its nodes says.
//!
//! ```text
//!   name ── hash tag, CRC-16 ──> slot ── Slots ──> primary
//! ```
//!
//! Nodes know each other by ids, and by places as their clients are to reach them. Two of them
//! agree if they give the same slots to the same ids. Slots that nobody has are no answer.
//!
//! Deliberately absent: whom of them is believed (`cluster`).

use std::cmp::Ordering;

use redis::Value;

use super::read::Malformed;
use crate::side::engine::partition::crc16;

/// How many slots a cluster has.
const SLOTS: u16 = 16_384;

const WHAT: Malformed = Malformed("the slots of a cluster");

/// The slot of a key or a channel.
pub(super) fn slot(name: &str) -> u16 {
    let tag = name.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let tag = tag.map(|(tag, _)| tag).filter(|tag| !tag.is_empty());
    crc16(tag.unwrap_or(name).as_bytes()) % SLOTS
}

/// A node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    id: Box<str>,
    /// `None`: where the node is that has been asked.
    pub(super) host: Option<Box<str>>,
    pub(super) port: u16,
}

/// Slots that follow each other, and who has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u16,
    last: u16,
    primary: u16,
}

/// Why it is not known who has which slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSlots {
    /// The answer has another form.
    Malformed,
    /// Nobody has this one.
    Missing(u16),
}

impl From<Malformed> for NoSlots {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Which primary has which slots. Primaries are numbered in the order of their first slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slots {
    /// In the order of slots.
    runs: Vec<Run>,
    pub(super) primaries: Vec<Member>,
    pub(super) replicas: Vec<Member>,
}

impl Slots {
    /// Those of a server that has all of them: there is one primary.
    pub(super) fn of_one() -> Self {
        let runs = vec![Run { first: 0, last: SLOTS - 1, primary: 0 }];
        Self { runs, primaries: Vec::new(), replicas: Vec::new() }
    }

    /// Reads the answer to `CLUSTER SLOTS`.
    pub(super) fn read(answer: Value) -> Result<Self, NoSlots> {
        let mut all = array(answer)?.into_iter().map(run).collect::<Result<Vec<_>, _>>()?;
        all.sort_unstable_by_key(|((first, _), _)| *first);
        let mut slots = Self { runs: Vec::new(), primaries: Vec::new(), replicas: Vec::new() };
        for ((first, last), mut members) in all {
            let replicas = members.split_off(1);
            let primary = number_in(&mut slots.primaries, members.pop().ok_or(WHAT)?);
            for replica in replicas {
                number_in(&mut slots.replicas, replica);
            }
            let primary = u16::try_from(primary).map_err(|_| WHAT)?;
            let next = slots.runs.last().map_or(0, |run| run.last + 1);
            match first.cmp(&next) {
                Ordering::Equal => {}
                Ordering::Less => return Err(NoSlots::Malformed),
                Ordering::Greater => return Err(NoSlots::Missing(next)),
            }
            slots.runs.push(Run { first, last, primary });
        }
        match slots.runs.last() {
            Some(Run { last, .. }) if *last == SLOTS - 1 => Ok(slots),
            run => Err(NoSlots::Missing(run.map_or(0, |run| run.last + 1))),
        }
    }

    /// Who has a slot.
    pub(super) fn primary_of(&self, slot: u16) -> u16 {
        let next = self.runs.partition_point(|run| run.first <= slot);
        self.runs[next - 1].primary
    }

    /// The first of these slots of which another node says that somebody else has it.
    pub(super) fn differs(&self, other: &Self, slots: &[u16]) -> Option<u16> {
        slots.iter().copied().find(|slot| self.id_of(*slot) != other.id_of(*slot))
    }

    fn id_of(&self, slot: u16) -> &str {
        &self.primaries[usize::from(self.primary_of(slot))].id
    }
}

/// The place of a member among others, where it is noted if it is new.
fn number_in(members: &mut Vec<Member>, member: Member) -> usize {
    let known = members.iter().position(|known| known.id == member.id);
    known.unwrap_or_else(|| {
        members.push(member);
        members.len() - 1
    })
}

/// The first and last of some slots, and who has them: the primary first.
fn run(value: Value) -> Result<((u16, u16), Vec<Member>), Malformed> {
    let mut parts = array(value)?.into_iter();
    let mut bound = || parts.next().as_ref().and_then(small).filter(|slot| *slot < SLOTS);
    let (first, last) = bound().zip(bound()).ok_or(WHAT)?;
    let members = parts.map(member).collect::<Result<Vec<_>, _>>()?;
    if members.is_empty() || first > last { Err(WHAT) } else { Ok(((first, last), members)) }
}

fn member(value: Value) -> Result<Member, Malformed> {
    // What comes behind these are other names of it.
    let mut parts = array(value)?.into_iter();
    let host = match parts.next() {
        Some(Value::Nil) => None,
        Some(host) => Some(text(host)?).filter(|host| !host.is_empty()),
        None => return Err(WHAT),
    };
    let port = parts.next().as_ref().and_then(small).ok_or(WHAT)?;
    Ok(Member { id: text(parts.next().ok_or(WHAT)?)?, host, port })
}

fn array(value: Value) -> Result<Vec<Value>, Malformed> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(WHAT),
    }
}

fn small(value: &Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

fn text(value: Value) -> Result<Box<str>, Malformed> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map(Into::into).map_err(|_| WHAT),
        _ => Err(WHAT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(id: &str, host: &str, port: i64) -> Value {
        let [host, id] = [host, id].map(|text| Value::BulkString(text.into()));
        Value::Array(vec![host, Value::Int(port), id, Value::Array(Vec::new())])
    }

    fn run_of(first: i64, last: i64, members: Vec<Value>) -> Value {
        Value::Array([vec![Value::Int(first), Value::Int(last)], members].concat())
    }

    /// Three primaries, the second of them with a replica; the first has two runs.
    fn three() -> Value {
        let (a, b, c) = (named("a", "", 1), named("b", "two", 2), named("c", "::1", 3));
        Value::Array(vec![
            run_of(10_000, 16_383, vec![c]),
            run_of(0, 4_999, vec![a.clone()]),
            run_of(5_000, 9_998, vec![b, named("d", "two", 4)]),
            run_of(9_999, 9_999, vec![a]),
        ])
    }

    fn read(value: Value) -> Slots {
        Slots::read(value).expect("it is read")
    }

    #[test]
    fn a_name_is_in_the_slot_of_its_tag() {
        // https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/, hash tags.
        assert_eq!(slot("123456789"), 0x31C3 % SLOTS);
        assert_eq!(slot("{user1000}.following"), slot("user1000"));
        assert_eq!(slot("foo{bar}{zap}"), slot("bar"));
        assert_eq!(slot("foo{{bar}}zap"), slot("{bar"));
        for whole in ["foo{}{bar}", "foo{bar", "foo}bar{", ""] {
            assert_eq!(slot(whole), crc16(whole.as_bytes()) % SLOTS, "{whole}");
        }
    }

    #[test]
    fn each_slot_has_its_primary() {
        let slots = read(three());
        for (slot, primary) in
            [(0, 0), (4_999, 0), (5_000, 1), (9_998, 1), (9_999, 0), (10_000, 2), (16_383, 2)]
        {
            assert_eq!(slots.primary_of(slot), primary, "{slot}");
        }
        let place = |member: &Member| (member.host.clone().unwrap_or_default(), member.port);
        let places: Vec<_> = slots.primaries.iter().map(place).collect();
        assert_eq!(places, [("".into(), 1), ("two".into(), 2), ("::1".into(), 3)]);
        assert_eq!(slots.replicas.iter().map(place).collect::<Vec<_>>(), [("two".into(), 4)]);
        assert_eq!(Slots::of_one().primary_of(16_383), 0);
    }

    #[test]
    fn a_slot_that_nobody_has_is_named() {
        let missing = |runs: Vec<Value>| match Slots::read(Value::Array(runs)) {
            Err(NoSlots::Missing(slot)) => Some(slot),
            other => other.map(|_| None).expect("it is read"),
        };
        let one = |first, last| run_of(first, last, vec![named("a", "one", 1)]);
        assert_eq!(missing(vec![]), Some(0));
        assert_eq!(missing(vec![one(1, 16_383)]), Some(0));
        assert_eq!(missing(vec![one(0, 7), one(9, 16_383)]), Some(8));
        assert_eq!(missing(vec![one(0, 16_382)]), Some(16_383));
        assert_eq!(missing(vec![one(0, 7), one(8, 16_383)]), None);
    }

    #[test]
    fn nodes_agree_by_ids_and_only_of_what_matters() {
        let (a, b) = (named("a", "one", 1), named("b", "two", 2));
        let two = |last| {
            let runs =
                [run_of(0, last, vec![a.clone()]), run_of(last + 1, 16_383, vec![b.clone()])];
            read(Value::Array(runs.into()))
        };
        let slots = two(100);
        assert_eq!(slots.differs(&two(100), &[0, 100, 101]), None);
        assert_eq!(slots.differs(&two(101), &[0, 100, 102]), None);
        assert_eq!(slots.differs(&two(101), &[0, 100, 101]), Some(101));
        // Another place of the same node is no other node.
        let moved = run_of(0, 16_383, vec![named("a", "other", 9)]);
        assert_eq!(slots.differs(&read(Value::Array(vec![moved])), &[0]), None);
    }

    #[test]
    fn what_is_no_answer_of_a_cluster_is_malformed() {
        let a = || named("a", "one", 1);
        for other in [
            Value::Okay,
            Value::Array(vec![Value::Int(0)]),
            Value::Array(vec![run_of(0, 16_384, vec![a()])]),
            Value::Array(vec![run_of(-1, 5, vec![a()])]),
            Value::Array(vec![run_of(6, 5, vec![a()])]),
            Value::Array(vec![run_of(0, 5, vec![a()]), run_of(5, 16_383, vec![a()])]),
            Value::Array(vec![run_of(0, 5, vec![])]),
            Value::Array(vec![run_of(0, 5, vec![Value::Nil])]),
            Value::Array(vec![run_of(0, 5, vec![named("a", "one", 65_536)])]),
            Value::Array(vec![run_of(0, 5, vec![Value::Array(vec![Value::Nil, Value::Int(1)])])]),
        ] {
            assert_eq!(Slots::read(other.clone()), Err(NoSlots::Malformed), "{other:?}");
        }
        let nil = Value::Array(vec![Value::Nil, Value::Int(1), Value::BulkString(b"a".into())]);
        assert_eq!(read(Value::Array(vec![run_of(0, 16_383, vec![nil])])).primaries[0].host, None);
    }
}
