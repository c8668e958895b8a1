//! What shards and the threads for storage say to each other: [`ToStore`] from the home of a room,
//! [`FromStore`] back to it.
//!
//! ```text
//!   shard ── Open, Append, Change, Founding, Settings, Standing, Note,
//!            Read, Find, Audit, Close ───────────────────> writer ── Load ──> reader
//!         <─ Opened, NotOpened, Read, Found, Audited, Kept, Failing, LetGo ──┘          │
//!         <─ Opened, NotOpened, Read, Found, Audited, NotRead ──────────────────────────┘
//!   shard ── List ──> reader ── Listed, NotListed ──> shard
//! ```
//!
//! A shard numbers what it asks, one up each time and over its restarts. So an answer to what an
//! earlier life of it asked is seen as such, and [`FromStore::Kept`] needs one number for all
//! appends before.
//!
//! Invariants:
//!
//! 1. the writer handles the records of a shard in their order, so that a room is loaded, and read,
//!    after all that was said in it before is kept;
//! 2. each [`ToStore::Open`] is answered once, with [`FromStore::Opened`] or
//!    [`FromStore::NotOpened`], and each [`ToStore::Read`], [`ToStore::Find`] and
//!    [`ToStore::Audit`] with [`FromStore::Read`], [`FromStore::Found`], [`FromStore::Audited`] or
//!    [`FromStore::NotRead`];
//! 3. appends are kept in the order of their numbers.
//!
//! Deliberately absent: SQL, and who waits for an answer.

use crate::auth::level::Standing;
use crate::link::audit::AuditWanted;
use crate::link::field::{Field, struct_fields};
use crate::link::ids::RoomKey;
use crate::link::kept::{Found, Run};
use crate::link::log::{Marks, Sought, Wanted};
use crate::link::record::records;
use crate::link::said::{Fate, Said};

records! {
    /// From a room's home to the store. `audit` is an [`AuditLine`](crate::link::audit::AuditLine)
    /// as a record, or empty: few entries have one.
    ToStore {
        /// What is there of a room? `epoch` is new: the room's, if it begins or if its latest one
        /// may have lost something.
        101 Open { number: u64, room: RoomKey, topic: &'a str, epoch: u64 }
        /// A message that has its place. Its room was opened before, by this life of the shard.
        102 Append { number: u64, room: RoomKey, top: Marks, at_ms: u64, said: Said<'a> }
        /// A message, which was accepted at `said_ms`, has become another one. Its room was opened
        /// before, by this life of the shard.
        106 Change {
            number: u64, room: RoomKey, top: Marks, at_ms: u64, offset: u64, said_ms: u64,
            said: Said<'a>, fate: Fate<'a>, audit: &'a [u8],
        }
        /// The home has let go of a room.
        103 Close { room: RoomKey }
        /// The shard has begun anew, and has no room open.
        104 Restarted {}
        /// A room was made on purpose. It was opened before, by this life of the shard.
        105 Founding {
            number: u64, room: RoomKey, at_ms: u64, title: &'a str, owner: Option<&'a str>,
        }
        /// The settings of a room are these from now on. It was opened before, by this life of the
        /// shard.
        107 Settings {
            number: u64, room: RoomKey, at_ms: u64, title: &'a str, settings: &'a str,
            audit: &'a [u8],
        }
        /// A user stands so in a room from now on. It was opened before, by this life of the shard.
        108 Standing {
            number: u64, room: RoomKey, at_ms: u64, user: &'a str, standing: Standing,
            audit: &'a [u8],
        }
        /// A line of a room's audit trail, of what changes nothing. The room was opened before, by
        /// this life of the shard.
        109 Note { number: u64, room: RoomKey, at_ms: u64, line: &'a [u8] }
        /// Messages of a room that is open.
        110 Read { number: u64, room: RoomKey, wanted: Wanted }
        /// Messages of a room that is open, by their words.
        111 Find { number: u64, room: RoomKey, sought: Sought<'a> }
        /// Lines of the audit trail of a room that is open, of so many bytes about.
        112 Audit { number: u64, room: RoomKey, wanted: AuditWanted, bytes: usize }
    }
}

impl ToStore<'_> {
    /// The number of what is to be kept; none of what only asks.
    pub(crate) const fn entry_number(&self) -> Option<u64> {
        match self {
            Self::Append { number, .. }
            | Self::Change { number, .. }
            | Self::Founding { number, .. }
            | Self::Settings { number, .. }
            | Self::Standing { number, .. }
            | Self::Note { number, .. } => Some(*number),
            Self::Open { .. }
            | Self::Close { .. }
            | Self::Restarted {}
            | Self::Read { .. }
            | Self::Find { .. }
            | Self::Audit { .. } => None,
        }
    }
}

/// From the writer to a reader: what is kept of a room, for the shard that opens or reads it?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load<'a> {
    /// Who asks.
    pub(crate) shard: u16,
    /// As it called that.
    pub(crate) number: u64,
    /// The room.
    pub(crate) id: u32,
    /// What is read of it.
    pub(crate) part: LoadPart<'a>,
}

/// What is read of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadPart<'a> {
    /// Where it stands, and its tail: it is opened.
    Tail,
    /// Messages.
    Messages(Wanted),
    /// Messages with words in them.
    Words(Sought<'a>),
    /// Lines of its audit trail, of so many bytes about.
    Audit(AuditWanted, usize),
}

impl<'a> Field<'a> for LoadPart<'a> {
    fn put(self, out: &mut Vec<u8>) {
        match self {
            Self::Tail => 0_u8.put(out),
            Self::Messages(wanted) => {
                1_u8.put(out);
                wanted.put(out);
            }
            Self::Words(sought) => {
                2_u8.put(out);
                sought.put(out);
            }
            Self::Audit(wanted, bytes) => {
                3_u8.put(out);
                wanted.put(out);
                bytes.put(out);
            }
        }
    }

    fn read(record: &mut &'a [u8]) -> Option<Self> {
        Some(match u8::read(record)? {
            0 => Self::Tail,
            1 => Self::Messages(Field::read(record)?),
            2 => Self::Words(Field::read(record)?),
            3 => Self::Audit(Field::read(record)?, Field::read(record)?),
            _ => return None,
        })
    }
}

struct_fields!(Load<'a> { shard, number, id, part });

/// From a shard to a reader: which rooms are kept whose home it is?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct List {
    /// As the shard calls it.
    pub(crate) number: u64,
    /// Behind which id.
    pub(crate) after: u64,
}

struct_fields!(List { number, after });

records! {
    /// From the store to a room's home.
    FromStore {
        /// What is there of a room; nothing, for one that begins.
        121 Opened { number: u64, found: Option<Found<'a>> }
        /// It cannot be read now, or there is no place for one that begins.
        122 NotOpened { number: u64, is_full: bool }
        /// All appends and foundings up to this number are kept.
        123 Kept { through: u64 }
        /// Appends are not taken any more. What is under way stays queued.
        124 Failing {}
        /// They are again.
        125 Healed {}
        /// Rooms that are kept, as [`push_listed`](crate::link::kept::push_listed) writes them, and
        /// behind which id there are more.
        126 Listed { number: u64, rooms: &'a [u8], next: Option<u64> }
        /// They cannot be read now.
        127 NotListed { number: u64 }
        /// Messages that were read.
        130 Read { number: u64, run: Run<'a> }
        /// Messages that were found: see [`push_numbered`](crate::link::kept::push_numbered).
        132 Found { number: u64, more_before: u64, hits: &'a [u8] }
        /// Lines of an audit trail: the answer as it is told.
        134 Audited { number: u64, page: &'a str }
        /// They cannot be read now: the disk does not give them, or it would take too long.
        131 NotRead { number: u64, is_late: bool }
        /// Messages of a room have been let go of, up to this offset and with this greatest change.
        133 LetGo { room: RoomKey, floor: Marks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::level::Role;
    use crate::base::arena::Key;
    use crate::link::audit::AuditAct;
    use crate::link::ids::Receipt;
    use crate::link::kept::{
        check_written as check, push_listed, push_numbered, read_hits, read_listed, read_whole,
    };
    use crate::link::log::{Hits, Keyed, ListedRoom, Part, Stretch, View};
    use crate::link::said::{Act, MessageText, Replies};

    const TOP: Marks = Marks { offset: 7, change: 9 };

    const RICH: Said<'_> = Said {
        user: "u",
        name: "é",
        body: "\"hi\"",
        key: Some("k"),
        reply_to: Some(3),
        thread: Some(2),
        mentions: Some("[\"u\"]"),
        data: Some("{}"),
        stream: true,
    };

    const FATE: Fate<'_> = Fate {
        change: 5,
        edited: Some(Act { at_ms: 6, by: None }),
        deleted: None,
        pinned: Some(Act { at_ms: 7, by: Some("m") }),
        reacted: Some("a\tu\n"),
        replies: Some(Replies { count: 3, last: 9 }),
        epoch: Some(u64::MAX),
    };

    fn bare() -> Said<'static> {
        Said { user: "u", name: "é", body: "\"hi\"", ..Said::default() }
    }

    #[test]
    fn what_the_store_reads_is_what_was_written() {
        let (room, top, said, bare) = (Key::from_u64(0x3_0000_0004), TOP, RICH, bare());
        let (number, at_ms, offset, said_ms) = (1, 5, 3, 4);
        for said in [said, bare] {
            let append = ToStore::Append { number, room, top, at_ms, said };
            check(append, &mut Vec::new());
            let fate = FATE;
            for audit in [&[][..], &[1, 2]] {
                let change = ToStore::Change {
                    number,
                    room,
                    top,
                    at_ms,
                    offset,
                    said_ms,
                    said,
                    fate,
                    audit,
                };
                check(change, &mut Vec::new());
            }
        }
        check(ToStore::Open { number: 1, room, topic: "room:é", epoch: u64::MAX }, &mut Vec::new());
        check(ToStore::Close { room }, &mut Vec::new());
        check(ToStore::Restarted {}, &mut Vec::new());
        let (title, owner) = ("Tea & é", Some("é"));
        let founding = ToStore::Founding { number: 1, room, at_ms: 5, title, owner };
        check(founding, &mut Vec::new());
        let (settings, audit) = ("{}", &[3][..]);
        let set = ToStore::Settings { number: 1, room, at_ms: 5, title, settings, audit };
        check(set, &mut Vec::new());
        for role in [None, Some(Role::Member), Some(Role::Moderator), Some(Role::Owner)] {
            let standing = Standing { role, muted_until_ms: 1, banned_until_ms: u64::MAX };
            let stands =
                ToStore::Standing { number: 1, room, at_ms: 5, user: "é", standing, audit };
            check(stands, &mut Vec::new());
        }
        check(ToStore::Note { number: 1, room, at_ms: 5, line: audit }, &mut Vec::new());
        for act in [None, Some(AuditAct::MsgPin)] {
            let wanted = AuditWanted { before: 3, limit: 4, act };
            check(ToStore::Audit { number: 1, room, wanted, bytes: 5 }, &mut Vec::new());
            let part = LoadPart::Audit(wanted, 5);
            check(Load { shard: 3, number: 2, id: 1, part }, &mut Vec::new());
        }
        check(Load { shard: 3, number: 2, id: 1, part: LoadPart::Tail }, &mut Vec::new());
        let views = [View::Room, View::Thread(4), View::Pins, View::Room];
        let parts = [Part::Newest, Part::Oldest, Part::All, Part::Around(6)];
        for (part, view) in parts.into_iter().zip(views) {
            let (messages, bytes, changed) = (5, 1 << 30, Some(4));
            let wanted = Wanted { after: 3, upto: 9, part, messages, bytes, changed, view };
            check(
                Load { shard: 3, number: 2, id: 1, part: LoadPart::Messages(wanted) },
                &mut Vec::new(),
            );
            check(ToStore::Read { number: 1, room, wanted }, &mut Vec::new());
        }
        for from in [None, Some("é")] {
            let sought = Sought { query: "tea", from, before: 4, messages: 5, bytes: 1 << 30 };
            let part = LoadPart::Words(sought);
            check(Load { shard: 3, number: 2, id: 1, part }, &mut Vec::new());
            check(ToStore::Find { number: 1, room, sought }, &mut Vec::new());
        }
    }

    #[test]
    fn what_a_home_reads_is_what_was_written() {
        let (room, top, said, bare, fate) = (Key::from_u64(0x3_0000_0004), TOP, RICH, bare(), FATE);
        let mut hits = Vec::new();
        push_numbered(&mut hits, 7, 9, said, fate);
        push_numbered(&mut hits, 3, 8, bare, Fate::default());
        check(FromStore::Found { number: 4, more_before: 9, hits: &hits }, &mut Vec::new());
        let placed = || {
            let bare = MessageText::new(8, bare, Fate::default());
            vec![(7, MessageText::new(9, said, fate)), (3, bare)]
        };
        assert_eq!(read_hits(&hits, 9), Hits { messages: placed(), more_before: Some(9) });
        let (mut lineage, mut tail) = (Vec::new(), Vec::new());
        Found::push_epoch(&mut lineage, 5, top);
        Found::push_message(&mut tail, 9, said, fate);
        Found::push_message(&mut tail, 10, bare, Fate::default());
        let founded = Some("Tea");
        let standing = Standing { role: Some(Role::Owner), ..Standing::default() };
        let mut standings = Vec::new();
        Found::push_standing(&mut standings, "é", standing);
        let mut pins = Vec::new();
        4_u64.put(&mut pins);
        7_u64.put(&mut pins);
        let mut keys = Vec::new();
        let receipts = [8, 3].map(|offset| Receipt { offset, at_ms: 5 });
        Found::push_key(&mut keys, "é", "k2", receipts[0]);
        Found::push_key(&mut keys, "", "k1", receipts[1]);
        let found = Found {
            epoch: 6,
            origin: 4,
            top,
            floor: Marks { offset: 3, change: 8 },
            founded,
            settings: Some("{}"),
            standings: &standings,
            audited: 12,
            lineage: &lineage,
            pins: &pins,
            keys: &keys,
            tail: &tail,
        };
        let mut record = Vec::new();
        check(FromStore::Opened { number: 4, found: Some(found) }, &mut record);
        let FromStore::Opened { found: Some(found), .. } = read_whole(&record) else {
            unreachable!("as above")
        };
        let opened = found.opened();
        assert_eq!(
            (opened.epoch, opened.origin, opened.top, opened.kept, opened.floor),
            (6, 4, top, top, Marks { offset: 3, change: 8 })
        );
        assert_eq!(opened.founded.as_deref(), founded);
        assert_eq!((opened.settings.as_deref(), opened.standings.len()), (Some("{}"), 1));
        assert_eq!((opened.standings.of("é"), opened.audited), (Some(standing), 12));
        assert_eq!((&*opened.lineage, &*opened.pins), (&[(5, top)][..], &[4, 7][..]));
        let messages =
            [MessageText::new(9, said, fate), MessageText::new(10, bare, Fate::default())];
        assert_eq!(opened.tail, messages);
        let keyed =
            |user: &str, key: &str, receipt| Keyed { user: user.into(), key: key.into(), receipt };
        let keys = [keyed("", "k1", receipts[1]), keyed("é", "k2", receipts[0])];
        assert_eq!(opened.keys, keys, "the oldest first");
        check(FromStore::Opened { number: 4, found: None }, &mut Vec::new());
        check(FromStore::NotOpened { number: 4, is_full: true }, &mut Vec::new());
        check(FromStore::Audited { number: 4, page: "{\"acts\":[]}" }, &mut Vec::new());
        check(List { number: 4, after: 5 }, &mut Vec::new());
        let mut rooms = Vec::new();
        push_listed(&mut rooms, "room:tea", Some("Tea"), Some(0));
        push_listed(&mut rooms, "room:é", None, None);
        check(FromStore::Listed { number: 4, rooms: &rooms, next: Some(7) }, &mut Vec::new());
        check(FromStore::NotListed { number: 4 }, &mut Vec::new());
        let listed = [("room:tea", Some("Tea"), Some(0)), ("room:é", None, None)];
        let listed = listed.map(|(topic, founded, present)| ListedRoom {
            topic: topic.into(),
            founded: founded.map(Box::from),
            present,
        });
        assert_eq!(read_listed(&rooms), listed);
        let run = Run { first: 5, more: true, messages: &tail, changed: &hits, picked: &hits };
        check(FromStore::Read { number: 4, run }, &mut Vec::new());
        let (messages, changed, picked) = (messages.to_vec(), placed(), placed());
        assert_eq!(run.stretch(), Stretch { first: 5, messages, more: true, changed, picked });
        check(FromStore::NotRead { number: 4, is_late: true }, &mut Vec::new());
        check(FromStore::Kept { through: 4 }, &mut Vec::new());
        check(FromStore::Failing {}, &mut Vec::new());
        check(FromStore::Healed {}, &mut Vec::new());
        check(FromStore::LetGo { room, floor: Marks { offset: 8, change: 2 } }, &mut Vec::new());
    }
}
