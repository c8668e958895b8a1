//! The judgement of all that was told, when nothing more comes.

use std::collections::BTreeMap;

use super::findings::{Broken, Findings};
use super::member::{Member, count_doubles};
use super::{Kept, Place, Reading, Room, Witness, text};
use crate::base::count64;
use crate::order::Message;

impl Witness {
    /// Adds to the findings what only the whole shows.
    pub(super) fn judge(&mut self, now_ns: u64) {
        let mut findings = std::mem::take(&mut self.findings);
        for member in &mut self.members {
            member.count_gaps(&mut findings);
        }
        for (number, room) in (0..).zip(&self.rooms) {
            let members = self.members.iter().filter(|member| member.room == number);
            let members: Vec<&Member> = members.filter(|member| member.is_in).collect();
            self.judge_ends(number, &members, &mut findings);
            let list = one_list(number, room, &mut findings);
            hold_members_against(number, &list, &members, &mut findings);
            judge_states(number, room, &members, &mut findings);
            self.judge_acked(number, room, &mut findings);
            self.judge_owed(number, room, &mut findings);
        }
        self.judge_presence(now_ns, &mut findings);
        self.findings = findings;
    }

    /// All members stand at the end of one order.
    fn judge_ends(&self, number: u32, members: &[&Member], findings: &mut Findings) {
        let mut ends = BTreeMap::<Place, u64>::new();
        for cursor in members.iter().filter_map(|member| member.cursor) {
            *ends.entry(cursor).or_default() += 1;
        }
        // Where as many stand at one end as at another, it is as good as the other.
        let Some((&end, _)) = ends.iter().max_by_key(|(place, members)| (**members, **place))
        else {
            return;
        };
        for (place, members) in ends.iter().filter(|(place, _)| **place != end) {
            let why = || {
                let (end, place) = (self.shown(end), self.shown(*place));
                format!(
                    "room {number}: it stands at {end}, and {members} of its members at {place}"
                )
            };
            if place.epoch == end.epoch {
                findings.add(
                    Broken::Gap,
                    members.saturating_mul(end.offset.abs_diff(place.offset)),
                    why,
                );
            } else {
                findings.add(Broken::Order, *members, why);
            }
        }
    }

    /// What was acknowledged is in each reading, at its place, or its loss was told.
    fn judge_acked(&self, number: u32, room: &Room, findings: &mut Findings) {
        for (&(rank, seq), &place) in &room.acked {
            let ours = Kept { epoch: place.epoch, message: Message::Ours { rank, seq }, body: 0 };
            let mut readings = room.readings.values();
            let is_covered = readings.clone().all(|reading| {
                reading.messages.first_key_value().is_some_and(|(first, _)| *first <= place.offset)
            });
            let why = |what| {
                let place = self.shown(place);
                format!(
                    "room {number}: message {seq} of publisher {rank} was acknowledged at {place}, \
                     {what}"
                )
            };
            if room.readings.is_empty() || !is_covered {
                findings.add(Broken::Unread, 1, || why("where nothing could be read"));
            } else if !readings.all(|reading| reading.has(place.offset, ours)) {
                if room.ended.contains(&place.epoch) {
                    findings.told_lost += 1;
                } else {
                    findings.add(Broken::Lost, 1, || why("and is not there"));
                }
            }
        }
    }

    /// What was acknowledged of what has become of messages is so in the end, or its loss was told.
    /// Of a message that is not there itself, [`Self::judge_acked`] says so.
    fn judge_owed(&self, number: u32, room: &Room, findings: &mut Findings) {
        for (place, owed) in &room.owed {
            for reading in room.readings.values() {
                let there = reading.messages.get(&place.offset);
                let Some(kept) = there.filter(|kept| kept.epoch == place.epoch) else { continue };
                for (what, epoch) in owed.missing(&reading.states.of(place.offset, kept.body)) {
                    if room.ended.contains(&epoch) {
                        findings.told_lost += 1;
                    } else {
                        let place = self.shown(*place);
                        findings.add(Broken::Lost, 1, || {
                            format!("room {number}: {what} at {place}, it was said, and is not so")
                        });
                    }
                }
            }
        }
    }
}

impl Reading {
    /// Whether this stands at an offset.
    fn has(&self, offset: u64, kept: Kept) -> bool {
        self.messages.get(&offset).is_some_and(|known| known.agrees(kept))
    }
}

/// All readings have the same states, and so have members of what they hold.
fn judge_states(number: u32, room: &Room, members: &[&Member], findings: &mut Findings) {
    let mut readings = room.readings.values();
    let Some(first) = readings.next() else { return };
    let readings = readings.map(|reading| ("a reader", &reading.messages, &reading.states));
    let members = members.iter().map(|member| ("a member", &member.held, &member.states));
    for (who, messages, states) in readings.chain(members) {
        for (offset, kept) in messages {
            let Some(read) = first.messages.get(offset) else { continue };
            let (one, other) = (first.states.of(*offset, read.body), states.of(*offset, kept.body));
            findings.add(Broken::Differs, u64::from(one != other), || {
                format!("room {number}: {offset} is {other:?} to {who}, and {one:?} to another")
            });
        }
    }
}

/// The room as it is kept, by all readings, which are one list.
fn one_list(number: u32, room: &Room, findings: &mut Findings) -> BTreeMap<u64, Kept> {
    let mut list = BTreeMap::new();
    for reading in room.readings.values() {
        let reading = &reading.messages;
        count_doubles(number, reading, findings);
        let span = reading.first_key_value().zip(reading.last_key_value());
        let span = span.map_or(0, |((first, _), (last, _))| (last - first).saturating_add(1));
        findings.add(Broken::Gap, span - count64(reading.len()), || {
            format!("room {number}: it is read with gaps")
        });
        for (offset, kept) in reading {
            let known = *list.entry(*offset).or_insert(*kept);
            if !known.agrees(*kept) {
                differs(number, *offset, known, *kept, findings);
            }
        }
    }
    list
}

/// What members hold is a part of what is kept.
fn hold_members_against(
    number: u32,
    list: &BTreeMap<u64, Kept>,
    members: &[&Member],
    findings: &mut Findings,
) {
    // What is before all that could be read is nowhere to be held against.
    let Some((&first, _)) = list.first_key_value() else { return };
    for member in members {
        count_doubles(number, &member.held, findings);
        for (offset, kept) in member.held.range(first..) {
            match list.get(offset) {
                Some(known) if known.agrees(*kept) => {}
                Some(known) => differs(number, *offset, *known, *kept, findings),
                None => findings.add(Broken::Lost, 1, || {
                    format!("room {number}: a member holds {offset}, which is not kept")
                }),
            }
        }
    }
}

fn differs(number: u32, offset: u64, one: Kept, other: Kept, findings: &mut Findings) {
    findings.add(Broken::Order, 1, || {
        let (one, other) = (text(one.message), text(other.message));
        format!("room {number}: to one {offset} is {one}, to another {other}")
    });
}
