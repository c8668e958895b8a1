//! The names of keys and channels. Those of a room have one hash tag, so that a cluster has them in
//! one slot, and braces in a topic do not matter: `{p}` is the topic's partition.
//!
//! ```text
//! cw:{p}:m:TOPIC  text        1 EPOCH top changes rev floor audited at gone gone_change
//!                             BRANCH LINEAGE                                            room_s
//! cw:{p}:s:TOPIC  stream      OFFSET-0: d RECORD, t `AT EPOCH`; the last `history`      history_s
//! cw:{p}:x:TOPIC  hash        OFFSET: `CHANGE d RECORD`; `-` if it is not deleted       history_s
//! cw:{p}:r:TOPIC  hash        facts                                                     room_s
//! cw:{p}:a:TOPIC  stream      NUMBER-0: d LINE; the last `audit_lines`                  room_s
//! cw:{p}:k:TOPIC  hash        of author and key: `EPOCH OFFSET AT`; the last 1,000      key_s
//! cw:{p}:o:TOPIC  hash        what `k` was before                                       key_s
//! cw:{p}:f        hash        TOPIC: `-HOUR `, or `oHOUR TITLE` or `pHOUR TITLE`         always
//! cw:{p}:h        hash        TOPIC: what of it is in the archive (`archiving`)            always
//! cw:{p}:d        sorted set  TOPIC of which something is not, by when that was said     always
//! cw:{p}:w        sorted set  TOPIC, by when it is looked at what of it is too old       always
//! cw:l:{p}        channel     what has changed in `f`: TOPIC and its value
//! cw:{p}:TOPIC    channel     `E` and news of the engine, or `S` and what a node says
//! cw:nodes        sorted set  `NODE:LIFE` by when its lease ends
//! cw:n:NODE       channel     a node's own
//! cw:archiver     text        NODE that writes the archive                               its lease
//! cw:cfg          hash        `partitions` and `layout`, which are those of all nodes    always
//! ```
//!
//! All of this, and what is published, has a layout with a number. `layout` names the one that
//! whoever writes must know: a node that does not is refused, also if it had a connection before.
//! The first word of `m` names the one of a room: whoever does not know that leaves the room alone.
//! The functions that write are a version's own (`library`), and records say by themselves what
//! they are (`record`). `tests/engine/keys-1.txt` has all of it byte for byte.
//!
//! `x` has each message that has changed, which is not in `s`
//! any more; deletions stay there longer. Of founded rooms `m`, `r` and `a` stay always. `f` has
//! the rooms of which something is kept: founded ones that all may join (`o`) or not (`p`), and
//! others (`-`), with the hour of Unix time in which they were renewed last.

use std::fmt::Display;
use std::sync::Arc;

use super::Target;
use super::slots::slot;
use crate::side::engine::partition::partition;

/// The layout that this version writes, and the only one that it reads.
pub(super) const LAYOUT: &str = "1";

/// So many numbers are tags of all slots.
const TAGS: u32 = 109_758;

/// How the names of an engine are made.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: Box<str>,
    partitions: u16,
    /// The slot of each partition: that of its hash tag.
    slots: Arc<[u16]>,
}

impl Names {
    pub(super) fn new(target: &Target) -> Self {
        let slots = (0..target.partitions).map(|partition| slot(&partition.to_string())).collect();
        Self { prefix: target.prefix.clone(), partitions: target.partitions, slots }
    }

    /// The slot of all names of a partition.
    pub(super) fn slot_of(&self, partition: u16) -> u16 {
        self.slots[usize::from(partition)]
    }

    /// The slot of all names of a room.
    pub(super) fn slot_of_room(&self, topic: &str) -> u16 {
        self.slot_of(partition(topic, self.partitions))
    }

    /// All slots in which a node has something: but for the channels of other nodes.
    pub(super) fn slots(&self, node: u64) -> Vec<u16> {
        let others = [self.config(), self.nodes(), self.node(node), self.archiver()];
        let others = others.iter().map(|name| slot(name));
        self.slots.iter().copied().chain(others).collect()
    }

    /// A key and a channel that are in such a slot, for whoever asks what may be done with any.
    pub(super) fn any_in(&self, is_there: impl Fn(u16) -> bool) -> (String, String) {
        let tag = (0..TAGS).find(|tag| is_there(slot(&tag.to_string())));
        let tag = tag.expect("one of them is in each slot");
        let Self { prefix, .. } = self;
        (format!("{prefix}:{{{tag}}}:f"), format!("{prefix}:l:{{{tag}}}"))
    }

    /// The names of a room.
    pub(super) fn of<'a>(&'a self, topic: &'a str) -> RoomNames<'a> {
        RoomNames { prefix: &self.prefix, partition: partition(topic, self.partitions), topic }
    }

    /// A node's own channel.
    pub(super) fn node(&self, node: u64) -> String {
        format!("{}:n:{node:016x}", self.prefix)
    }

    /// The nodes, by when their leases end.
    pub(super) fn nodes(&self) -> String {
        format!("{}:nodes", self.prefix)
    }

    /// The rooms of a partition of which something is kept.
    pub(super) fn listed(&self, partition: u16) -> String {
        format!("{}:{{{partition}}}:f", self.prefix)
    }

    /// What of the rooms of a partition is in the archive.
    pub(super) fn archived(&self, partition: u16) -> String {
        format!("{}:{{{partition}}}:h", self.prefix)
    }

    /// Those of them of which something is not.
    #[cfg(feature = "archive-postgres")]
    pub(super) fn unarchived(&self, partition: u16) -> String {
        format!("{}:{{{partition}}}:d", self.prefix)
    }

    /// Those of them that are looked at whether something of them is too old.
    pub(super) fn due(&self, partition: u16) -> String {
        format!("{}:{{{partition}}}:w", self.prefix)
    }

    /// The node that writes the archive.
    pub(super) fn archiver(&self) -> String {
        format!("{}:archiver", self.prefix)
    }

    /// What changes in that.
    pub(super) fn list_channel(&self, partition: u16) -> String {
        format!("{}:l:{{{partition}}}", self.prefix)
    }

    /// Whether a channel is that of a list.
    pub(super) fn is_list(&self, channel: &str) -> bool {
        channel.strip_prefix(&*self.prefix).is_some_and(|rest| rest.starts_with(":l:{"))
    }

    /// What all nodes must agree on.
    pub(super) fn config(&self) -> String {
        format!("{}:cfg", self.prefix)
    }

    /// The topic of a room's channel; `None`, if it is no room's.
    pub(super) fn topic_of<'c>(&self, channel: &'c str) -> Option<&'c str> {
        let (digits, topic) =
            channel.strip_prefix(&*self.prefix)?.strip_prefix(":{")?.split_once("}:")?;
        digits.bytes().all(|digit| digit.is_ascii_digit()).then_some(topic)
    }
}

/// The names of a room.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoomNames<'a> {
    prefix: &'a str,
    partition: u16,
    topic: &'a str,
}

impl RoomNames<'_> {
    /// Where it stands.
    pub(super) fn meta(self) -> String {
        self.key('m')
    }

    /// Its messages that have not changed.
    pub(super) fn stream(self) -> String {
        self.key('s')
    }

    /// Its messages that have changed.
    pub(super) fn changed(self) -> String {
        self.key('x')
    }

    /// Its facts.
    pub(super) fn facts(self) -> String {
        self.key('r')
    }

    /// Its audit trail.
    pub(super) fn audit(self) -> String {
        self.key('a')
    }

    /// All keys that `append` asks for, in its order.
    pub(super) fn all(self) -> [String; 11] {
        let Self { prefix, partition, .. } = self;
        let [listed, unarchived, due] =
            ['f', 'd', 'w'].map(|kind| format!("{prefix}:{{{partition}}}:{kind}"));
        let archived = self.archived();
        let [keys, older] = ['k', 'o'].map(|kind| self.key(kind));
        let [meta, stream, changed] = [self.meta(), self.stream(), self.changed()];
        let (facts, audit) = (self.facts(), self.audit());
        [meta, stream, keys, older, changed, facts, audit, listed, archived, unarchived, due]
    }

    /// What of the rooms of its partition is in the archive.
    pub(super) fn archived(self) -> String {
        let Self { prefix, partition, .. } = self;
        format!("{prefix}:{{{partition}}}:h")
    }

    /// What changes in the list that it is in.
    pub(super) fn list_channel(self) -> String {
        format!("{}:l:{{{}}}", self.prefix, self.partition)
    }

    /// What is said in it.
    pub(super) fn channel(self) -> String {
        let Self { prefix, partition, topic } = self;
        format!("{prefix}:{{{partition}}}:{topic}")
    }

    fn key(self, kind: impl Display) -> String {
        let Self { prefix, partition, topic } = self;
        format!("{prefix}:{{{partition}}}:{kind}:{topic}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let slots = (0..1024).map(|partition: u16| slot(&partition.to_string())).collect();
        Names { prefix: "cw".into(), partitions: 1024, slots }
    }

    #[test]
    fn a_room_is_in_one_slot_whatever_its_topic_has() {
        let names = names();
        for topic in ["room:tea", "room:{x}", "}:{", ""] {
            let room = names.of(topic);
            let tag = format!("cw:{{{}}}:", partition(topic, 1024));
            for name in room.all().into_iter().chain([room.channel()]) {
                assert!(name.starts_with(&tag), "{name} of {topic}");
                assert_eq!(slot(&name), names.slot_of_room(topic), "{name} of {topic}");
            }
            assert_eq!(slot(&room.list_channel()), names.slot_of_room(topic), "{topic}");
        }
    }

    #[test]
    fn there_is_something_to_ask_about_in_each_slot() {
        let mut slots: Vec<_> = (0..TAGS).map(|tag| slot(&tag.to_string())).collect();
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), 16_384);
        let names = names();
        for wanted in [0, 1, 5_460, 5_461, 16_383] {
            let (key, channel) = names.any_in(|slot| slot == wanted);
            assert_eq!((slot(&key), slot(&channel)), (wanted, wanted), "{key} {channel}");
        }
    }

    #[test]
    fn a_channel_names_its_topic_and_others_name_none() {
        let names = names();
        for topic in ["room:tea", "room:{x}", "}:{", "", "n:00"] {
            assert_eq!(names.topic_of(&names.of(topic).channel()), Some(topic));
        }
        for other in [
            &*names.node(7),
            &*names.list_channel(3),
            "cw:{1",
            "cw:{1}",
            "cw:{x}:y",
            "cw2:{1}:y",
            "",
            "cw",
        ] {
            assert_eq!(names.topic_of(other), None, "{other}");
        }
    }
}
