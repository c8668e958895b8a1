//! What nodes write of a room for each other, each record for its place, and how it is read there.
//!
//! Whoever reads knows nothing of what it finds: the engine may hold what somebody else has put
//! there. So all reading may fail, and then says where.
//!
//! Deliberately absent: keys (`redis::keys`), and what follows from what cannot be read.

use std::fmt;

use super::record::{Origin, Purpose, Unread, sealed, unsealed};
use crate::auth::level::Standing;
use crate::link::audit::AuditLine;
use crate::link::engine::{Counted, Passed, Told};
use crate::link::field::Field;
use crate::link::kept::try_read_whole;
use crate::link::said::{Fate, Said};

/// The names of facts.
mod fact {
    /// The title of a room that was made on purpose.
    pub(super) const TITLE: &str = "t";
    /// Its settings.
    pub(super) const SETTINGS: &str = "S";
    /// Before the id of a user: how that stands.
    pub(super) const STANDING: &str = "s:";
}

/// A fact of a room: its name and its value, which is empty if there is none any more.
pub(super) type Fact = (Box<str>, Vec<u8>);

/// A node that writes of a room.
#[derive(Clone, Copy, Debug)]
pub(in crate::side) struct Writer<'a> {
    /// The room.
    pub(in crate::side) topic: &'a str,
    /// The node.
    pub(in crate::side) node: u64,
    /// The shard there.
    pub(in crate::side) shard: u16,
}

impl Writer<'_> {
    /// What is told of an entry, or is told and not kept. With a number, the shard knows it again.
    pub(in crate::side) fn told(self, number: Option<u64>, told: &Told<'_>) -> Vec<u8> {
        self.sealed(purpose_of(self.topic, told), number, |out| (*told).put(out))
    }

    /// A line of the audit trail.
    pub(super) fn line(self, line: AuditLine<'_>, at_ms: u64) -> Vec<u8> {
        self.sealed(Purpose::Line { topic: self.topic }, None, |out| {
            at_ms.put(out);
            line.put(out);
        })
    }

    /// A message as the archive has it.
    #[cfg(any(test, feature = "archive-postgres"))]
    pub(in crate::side) fn archived(
        self,
        offset: u64,
        said_ms: u64,
        said: Said<'_>,
        fate: Fate<'_>,
    ) -> Vec<u8> {
        let told = Told::Changed { offset, said_ms, said, fate };
        self.sealed(Purpose::Archived { topic: self.topic, offset }, None, |out| told.put(out))
    }

    /// What the room is called.
    pub(super) fn title(self, title: &str) -> Fact {
        self.fact(fact::TITLE.into(), &Told::Founded { title, owner: None })
    }

    /// How it is set.
    pub(super) fn settings(self, title: &str, settings: &str) -> Fact {
        self.fact(fact::SETTINGS.into(), &Told::Settings { title, settings })
    }

    /// How a user stands in it. One that stands as by default has no fact.
    pub(super) fn standing(self, user: &str, standing: Standing) -> Fact {
        let name = [fact::STANDING, user].concat();
        if standing == Standing::default() {
            return (name.into(), Vec::new());
        }
        self.fact(name.into(), &Told::Standing { user, standing })
    }

    fn fact(self, name: Box<str>, told: &Told<'_>) -> Fact {
        let purpose = Purpose::Fact { topic: self.topic, name: &name };
        let value = self.sealed(purpose, None, |out| (*told).put(out));
        (name, value)
    }

    fn sealed(
        self,
        purpose: Purpose<'_>,
        number: Option<u64>,
        inside: impl FnOnce(&mut Vec<u8>),
    ) -> Vec<u8> {
        sealed(purpose, Origin { node: self.node, shard: self.shard, number }, inside)
    }
}

/// What a node tells others of all its rooms, or of itself.
pub(super) fn counted(node: u64, told: Counted<'_>) -> Vec<u8> {
    sealed(Purpose::Nodes, Origin { node, shard: 0, number: None }, |out| told.put(out))
}

/// What a node asks another of a session of long polling, or answers.
pub(super) fn passed(node: u64, what: Passed<'_>) -> Vec<u8> {
    sealed(Purpose::Sessions, Origin { node, shard: 0, number: None }, |out| what.put(out))
}

/// What is told of an entry is written for this.
fn purpose_of<'a>(topic: &'a str, told: &Told<'_>) -> Purpose<'a> {
    match told {
        Told::Message { .. } => Purpose::Message { topic },
        Told::Changed { offset, .. } => Purpose::Changed { topic, offset: *offset },
        Told::Founded { .. } | Told::Settings { .. } | Told::Standing { .. } | Told::Noted {} => {
            Purpose::Decided { topic }
        }
        Told::Custom { .. } | Told::Typing { .. } | Told::Presence { .. } => {
            Purpose::Said { topic }
        }
    }
}

/// What cannot be read: where it was found, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::side) struct Unreadable<'p> {
    place: Purpose<'p>,
    why: Unread,
}

impl fmt::Display for Unreadable<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, why } = self;
        write!(out, "{place}: {why}")
    }
}

/// What was read, or nothing: then the log says what stands in the way.
pub(in crate::side) fn warned<T>(read: Result<T, Unreadable<'_>>) -> Option<T> {
    read.inspect_err(|Unreadable { place, why }| {
        tracing::warn!(key = %place, %why, "a record in the engine cannot be read");
    })
    .ok()
}

/// A record of an entry, or of what is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written<'a> {
    /// Who has written it.
    pub(super) origin: Origin,
    /// What it says,
    pub(super) told: Told<'a>,
    /// and the bytes of that.
    pub(super) inside: &'a [u8],
}

/// Reads a record of an entry, or of what is not kept, where one for this belongs.
///
/// # Errors
///
/// If it was not written for that.
pub(super) fn read_told<'a, 'p>(
    place: Purpose<'p>,
    record: &'a [u8],
) -> Result<Written<'a>, Unreadable<'p>> {
    let unreadable = |why| Unreadable { place, why };
    let (origin, inside) = unsealed(place, record).map_err(unreadable)?;
    let told = try_read_whole(inside).ok_or(Unread::Foreign).map_err(unreadable)?;
    let is_here = match place {
        Purpose::Message { topic }
        | Purpose::Changed { topic, .. }
        | Purpose::Decided { topic }
        | Purpose::Said { topic } => purpose_of(topic, &told) == place,
        Purpose::Fact { .. }
        | Purpose::Line { .. }
        | Purpose::Archived { .. }
        | Purpose::Nodes
        | Purpose::Sessions => false,
    };
    if is_here { Ok(Written { origin, told, inside }) } else { Err(unreadable(Unread::Foreign)) }
}

/// Reads what was said as a message, and who has written that.
///
/// # Errors
///
/// If it was not written for that.
pub(in crate::side) fn read_message<'a, 'p>(
    topic: &'p str,
    record: &'a [u8],
) -> Result<(Origin, Said<'a>), Unreadable<'p>> {
    let place = Purpose::Message { topic };
    match read_told(place, record)? {
        Written { origin, told: Told::Message { said }, .. } => Ok((origin, said)),
        _ => Err(Unreadable { place, why: Unread::Foreign }),
    }
}

/// A message that has changed, as it is by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::side) struct ChangedTold<'a> {
    /// Who has written it.
    pub(super) origin: Origin,
    /// When it was said.
    pub(in crate::side) said_ms: u64,
    /// What it says.
    pub(in crate::side) said: Said<'a>,
    /// What has become of it, but for the number of the change.
    pub(in crate::side) fate: Fate<'a>,
}

/// Reads a message that has changed.
///
/// # Errors
///
/// If it was not written for that.
pub(in crate::side) fn read_changed<'a, 'p>(
    topic: &'p str,
    offset: u64,
    record: &'a [u8],
) -> Result<ChangedTold<'a>, Unreadable<'p>> {
    read_changed_at(Purpose::Changed { topic, offset }, offset, record)
}

/// Reads a message as the archive has it.
///
/// # Errors
///
/// If it was not written for that.
pub(in crate::side) fn read_archived<'a, 'p>(
    topic: &'p str,
    offset: u64,
    record: &'a [u8],
) -> Result<ChangedTold<'a>, Unreadable<'p>> {
    read_changed_at(Purpose::Archived { topic, offset }, offset, record)
}

/// Reads what was written of a message for one of both.
fn read_changed_at<'a, 'p>(
    place: Purpose<'p>,
    offset: u64,
    record: &'a [u8],
) -> Result<ChangedTold<'a>, Unreadable<'p>> {
    let unreadable = |why| Unreadable { place, why };
    let (origin, inside) = unsealed(place, record).map_err(unreadable)?;
    match try_read_whole(inside) {
        Some(Told::Changed { offset: of, said_ms, said, fate }) if of == offset => {
            Ok(ChangedTold { origin, said_ms, said, fate })
        }
        _ => Err(unreadable(Unread::Foreign)),
    }
}

/// What a fact says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FactTold<'a> {
    /// What the room is called.
    Title(&'a str),
    /// How it is set.
    Settings(&'a str),
    /// How a user stands in it.
    Standing(&'a str, Standing),
}

/// Reads the fact of a room that has this name.
///
/// # Errors
///
/// If its value was not written for that.
pub(super) fn read_fact<'a, 'p>(
    topic: &'p str,
    name: &'p str,
    value: &'a [u8],
) -> Result<FactTold<'a>, Unreadable<'p>> {
    let place = Purpose::Fact { topic, name };
    let unreadable = |why| Unreadable { place, why };
    let (_, inside) = unsealed(place, value).map_err(unreadable)?;
    let told = match try_read_whole(inside) {
        Some(Told::Founded { title, .. }) if name == fact::TITLE => FactTold::Title(title),
        Some(Told::Settings { settings, .. }) if name == fact::SETTINGS => {
            FactTold::Settings(settings)
        }
        Some(Told::Standing { user, standing })
            if name.strip_prefix(fact::STANDING) == Some(user) =>
        {
            FactTold::Standing(user, standing)
        }
        _ => return Err(unreadable(Unread::Foreign)),
    };
    Ok(told)
}

/// Reads a line of a room's audit trail, which has this number there, and when it was written.
///
/// # Errors
///
/// If it was not written for that.
pub(super) fn read_line<'a, 'p>(
    topic: &'p str,
    number: u64,
    record: &'a [u8],
) -> Result<(u64, AuditLine<'a>), Unreadable<'p>> {
    let place = Purpose::Line { topic };
    let unreadable = |why| Unreadable { place, why };
    let (_, mut inside) = unsealed(place, record).map_err(unreadable)?;
    let at_ms = u64::read(&mut inside);
    let line = at_ms.zip(try_read_whole::<AuditLine<'_>>(inside));
    let (at_ms, line) = line.ok_or_else(|| unreadable(Unread::Foreign))?;
    Ok((at_ms, AuditLine { number, ..line }))
}

/// Reads what a node tells others of all its rooms, or of itself, and which node that is.
///
/// # Errors
///
/// If it was not written for that.
pub(super) fn read_counted(record: &[u8]) -> Result<(u64, Counted<'_>), Unreadable<'static>> {
    let unreadable = |why| Unreadable { place: Purpose::Nodes, why };
    let (origin, inside) = unsealed(Purpose::Nodes, record).map_err(unreadable)?;
    let told = try_read_whole(inside).ok_or_else(|| unreadable(Unread::Foreign))?;
    Ok((origin.node, told))
}

/// Reads what a node asks of a session of long polling, or answers, and which node that is.
///
/// # Errors
///
/// If it was not written for that.
pub(super) fn read_passed(record: &[u8]) -> Result<(u64, Passed<'_>), Unreadable<'static>> {
    let unreadable = |why| Unreadable { place: Purpose::Sessions, why };
    let (origin, inside) = unsealed(Purpose::Sessions, record).map_err(unreadable)?;
    let what = try_read_whole(inside).ok_or_else(|| unreadable(Unread::Foreign))?;
    Ok((origin.node, what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::level::Role;
    use crate::base::arena::Key;
    use crate::base::rng::SplitMix64;
    use crate::link::audit::AuditAct;
    use crate::link::ids::Ticket;
    use crate::link::record::{FromSession, ToSession};
    use crate::link::said::Act;
    use crate::wire::phx::Payload;

    const TOPIC: &str = "room:tea";
    const WRITER: Writer<'_> = Writer { topic: TOPIC, node: 7, shard: 3 };
    const ORIGIN: Origin = Origin { node: 7, shard: 3, number: None };

    /// All places for which something is written here.
    const PLACES: [Purpose<'_>; 11] = [
        Purpose::Message { topic: TOPIC },
        Purpose::Changed { topic: TOPIC, offset: 4 },
        Purpose::Decided { topic: TOPIC },
        Purpose::Said { topic: TOPIC },
        Purpose::Fact { topic: TOPIC, name: "t" },
        Purpose::Fact { topic: TOPIC, name: "S" },
        Purpose::Fact { topic: TOPIC, name: "s:bob" },
        Purpose::Line { topic: TOPIC },
        Purpose::Nodes,
        Purpose::Sessions,
        Purpose::Archived { topic: TOPIC, offset: 4 },
    ];

    /// A record of each kind, where it belongs.
    fn records() -> Vec<(&'static str, Purpose<'static>, Vec<u8>)> {
        let key = Some("k1");
        let said = Said { user: "ann", name: "Ann", body: "\"tea\"", key, ..Said::default() };
        let pinned = Some(Act { at_ms: 1_700_000_000_001, by: Some("bob") });
        let fate = Fate { pinned, ..Fate::default() };
        let archived = Fate { change: 5, epoch: Some(6), ..fate };
        let (title, settings, role) = ("Tea", "{\"slow_s\":5}", Some(Role::Moderator));
        let standing = Standing { role, muted_until_ms: 0, banned_until_ms: 2 };
        let (user, name, payload) = ("ann", "Ann", Payload::Json("{}"));
        let line = AuditLine { user: Some("ann"), offset: Some(4), ..pin_line() };
        let told = [
            ("Message", Told::Message { said }),
            ("Changed", Told::Changed { offset: 4, said_ms: 1_700_000_000_000, said, fate }),
            ("Founded", Told::Founded { title, owner: Some("ann") }),
            ("Settings", Told::Settings { title, settings }),
            ("Standing", Told::Standing { user: "bob", standing }),
            ("Noted", Told::Noted {}),
            ("Custom", Told::Custom { event: "wave", payload }),
            ("Typing", Told::Typing { user, name, thread: Some(4) }),
            ("Presence", Told::Presence { record: &[1, 4] }),
        ];
        let told =
            told.map(|(name, told)| (name, purpose_of(TOPIC, &told), WRITER.told(Some(9), &told)));
        let [.., title_at, settings_at, standing_at, line_at, nodes_at, sessions_at, archived_at] =
            PLACES;
        let conn = Key::from_u64(3);
        let ticket = Ticket { shard: 3, key: conn, secret: 9, answer: 1 };
        let post = ToSession::Post { conn, ticket, frames: b"[]" };
        let posted = FromSession::Posted { conn, status: 200 };
        let want = Counted::Want { life: 5, version: 6, from: 8 };
        let others = [
            ("title", title_at, WRITER.title(title).1),
            ("settings", settings_at, WRITER.settings(title, settings).1),
            ("standing", standing_at, WRITER.standing("bob", standing).1),
            ("line", line_at, WRITER.line(line, 1_700_000_000_000)),
            ("Want", nodes_at, counted(7, want)),
            ("Leaves", nodes_at, counted(7, Counted::Leaves { life: 5 })),
            ("Ask", sessions_at, passed(7, Passed::Ask { message: post })),
            ("Answer", sessions_at, passed(7, Passed::Answer { message: posted })),
            ("archived", archived_at, WRITER.archived(4, 1_700_000_000_000, said, archived)),
        ];
        told.into_iter().chain(others).collect()
    }

    fn pin_line() -> AuditLine<'static> {
        AuditLine::new(0, AuditAct::MsgPin, "bob")
    }

    /// Whether what stands in a place is read there.
    fn is_read(place: Purpose<'_>, record: &[u8]) -> bool {
        match place {
            Purpose::Fact { topic, name } => read_fact(topic, name, record).is_ok(),
            Purpose::Line { topic } => read_line(topic, 1, record).is_ok(),
            Purpose::Nodes => read_counted(record).is_ok(),
            Purpose::Sessions => read_passed(record).is_ok(),
            Purpose::Archived { topic, offset } => read_archived(topic, offset, record).is_ok(),
            Purpose::Message { topic } => {
                let read = read_message(topic, record).is_ok();
                assert_eq!(read, read_told(place, record).is_ok());
                read
            }
            Purpose::Changed { topic, offset } => {
                let read = read_changed(topic, offset, record).is_ok();
                assert_eq!(read, read_told(place, record).is_ok());
                read
            }
            Purpose::Decided { .. } | Purpose::Said { .. } => read_told(place, record).is_ok(),
        }
    }

    /// Other versions and other nodes have them: who changes them gives the layout a new number.
    #[test]
    fn records_are_byte_for_byte_those_of_their_layout() {
        let written: Vec<_> = records()
            .into_iter()
            .map(|(name, _, record)| format!("{name} {}", hex(&record)))
            .collect();
        let golden = include_str!("../../../tests/engine/records-1.txt");
        assert!(golden.lines().skip(1).eq(written.iter().map(String::as_str)), "{written:#?}");
    }

    fn hex(bytes: &[u8]) -> String {
        data_encoding::HEXLOWER.encode(bytes)
    }

    #[test]
    fn a_record_is_read_in_its_place_and_in_no_other() {
        for (name, of, record) in records() {
            for place in PLACES {
                assert_eq!(is_read(place, &record), place == of, "{name} in {place}");
            }
            let elsewhere = Purpose::Message { topic: "room:mate" };
            assert!(!is_read(elsewhere, &record), "{name} in {elsewhere}");
        }
    }

    /// As by a later version that has forgotten to give the layout a new number.
    #[test]
    fn a_good_checksum_does_not_make_any_bytes_a_record() {
        let mut rng = SplitMix64::new(1);
        let mut insides: Vec<Vec<u8>> = (0..500)
            .map(|at| {
                // Small numbers are those that mean something.
                let bytes_max = if at < 250 { 8 } else { 256 };
                let byte = |_| u8::try_from(rng.below(bytes_max)).expect("it is one");
                (0..at % 64).map(byte).collect()
            })
            .collect();
        for (_, of, record) in records() {
            let (_, inside) = unsealed(of, &record).expect("it is ours");
            for cut in 0..=inside.len() {
                insides.push(inside[..cut].to_vec());
                for byte in [0, 1, 9, 0x7F, 0xFF] {
                    let mut other = inside.to_vec();
                    other.truncate(cut.max(1));
                    *other.last_mut().expect("it has a first byte") = byte;
                    other.extend_from_slice(&inside[cut.max(1)..]);
                    insides.push(other);
                }
            }
            insides.push([inside, b"x"].concat());
        }
        let mut read = 0;
        for inside in &insides {
            for place in PLACES {
                let record = sealed(place, ORIGIN, |out| out.extend_from_slice(inside));
                read += usize::from(is_read(place, &record));
                // Nor are they one as they are.
                assert!(!is_read(place, inside));
            }
        }
        assert!(read > 0 && read < insides.len() * PLACES.len(), "{read}");
    }

    #[test]
    fn what_is_behind_a_record_is_not_read_over() {
        for (name, place, record) in records() {
            let (origin, inside) = unsealed(place, &record).expect("it is ours");
            let longer =
                sealed(place, origin, |out| out.extend_from_slice(&[inside, b"x"].concat()));
            assert!(!is_read(place, &longer), "{name}");
        }
    }

    #[test]
    fn a_user_stands_by_default_where_there_is_no_fact() {
        let (name, value) = WRITER.standing("bob", Standing::default());
        assert_eq!((&*name, value.is_empty()), ("s:bob", true));
    }
}
