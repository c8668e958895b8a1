//! Lines of an export into an empty store.
//!
//! Ids and offsets are kept. Clients may have seen more than what was exported, so each room begins
//! a new era when it is next opened: see `disk`.
//!
//! What could be saved of a damaged store has holes. Where the first messages of a room are
//! missing, they count as let go of; where the last ones are, its offsets go on from what is there.
//! Holes between others stay, and are told: nothing in the file says that they are known.
//!
//! Invariants: all lines are taken, or none; what is written could have been written by a server.
//!
//! Deliberately absent: merging. A store that has rooms is left alone.

use std::collections::HashSet;
use std::io::{BufRead, Read};
use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::check::missing;
use super::export::shown;
use super::line::{
    Any, EndLine, EraLine, FORMAT, HeadLine, Kind, MessageLine, Reaction, RoomLine, StandingLine,
    TrailLine,
};
use super::{Era, Report, Version, counted, epoch_of, inspect, open_to_read};
use crate::auth::level::{NEVER_MS, Role, Standing};
use crate::base::name::is_name;
use crate::limits::{
    BODY_BYTES_MAX, KEY_BYTES_MAX, NAME_BYTES_MAX, REACTED_BYTES_MAX, TITLE_BYTES_MAX,
};
use crate::link::audit::{AuditAct, AuditLine};
use crate::link::facts::RoomSettings;
use crate::link::message::parse_epoch;
use crate::link::reacted::{is_emoji, is_sound};
use crate::link::said::{Act, Fate, Said};
use crate::link::topic::of_room;
use crate::side::store::audit::note;
use crate::side::store::disk::{Disk, FILE, Options, checkpoint_all};
use crate::side::store::error::StoreError;
use crate::side::store::row::{EraRow, Message, OFFSET_MAX, ROOM_MAX, StandingRow, id_of};
use crate::side::store::statements::{insert, insert_era, seal_room, stand};

/// The longest line, in bytes: far more than the largest message takes.
const LINE_BYTES_MAX: u64 = 16 * 1_024 * 1_024;

/// Takes in an export, and tells which messages it lacks. `made_secret` signs guests' tokens, if
/// the store has no secret yet.
///
/// # Errors
///
/// If the store has rooms or a server, with the number of the first line that is none, or if the
/// disk fails. Then nothing was taken in.
pub fn import(
    folder: &Path,
    input: &mut dyn BufRead,
    made_secret: &[u8; 32],
    now_ms: u64,
    tell: &mut dyn FnMut(&str),
) -> Result<Report, StoreError> {
    let ((), report) = fill(folder, made_secret, now_ms, tell, |import| take_in(import, input))?;
    Ok(report)
}

/// Fills an empty store with the lines that `give` gives: with all of them, or with none. Returns
/// what that has returned, too.
///
/// # Errors
///
/// If the store has rooms or a server, if `give` fails, or if the disk does.
pub(super) fn fill<T>(
    folder: &Path,
    made_secret: &[u8; 32],
    now_ms: u64,
    tell: &mut dyn FnMut(&str),
    give: impl FnOnce(&mut Import<'_>) -> Result<T, StoreError>,
) -> Result<(T, Report), StoreError> {
    let file = folder.join(FILE);
    if file.exists() {
        let conn = open_to_read(&file, Version::UpToThis)?;
        let sql = "SELECT EXISTS(SELECT 1 FROM room)";
        if conn.query_row(sql, [], |row| row.get(0))? {
            return Err(StoreError::NotEmpty { folder: folder.to_owned() });
        }
    }
    let (disk, writer) = Disk::open(Options::at(folder), made_secret, now_ms)?;
    // It is not closed in order: so all eras that come with it count as ended without.
    let (writer, why_not) = writer.here();
    why_not.map_or(Ok(()), Err)?;
    let conn = writer.shared_conn();
    let given = fill_at_once(&conn, tell, give)?;
    checkpoint_all(&conn)?;
    drop((conn, writer, disk));
    Ok((given, inspect(&file, Version::This)?))
}

fn fill_at_once<T>(
    conn: &Connection,
    tell: &mut dyn FnMut(&str),
    give: impl FnOnce(&mut Import<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let step = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    let mut import = Import::new(&step, tell);
    let given = give(&mut import)?;
    let latest = import.life;
    drop(import);
    // Lives go on behind those that came with it.
    step.execute("UPDATE meta SET value = max(value, ?1) WHERE key = 'life'", [latest])?;
    step.commit()?;
    Ok(given)
}

fn take_in(import: &mut Import<'_>, input: &mut dyn BufRead) -> Result<(), StoreError> {
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        number += 1;
        let bad = |what: String| StoreError::Line { number, what };
        let read = (&mut *input).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        if line.last() != Some(&b'\n') {
            return Err(bad("it is cut off, or too long".to_owned()));
        }
        import.line(&line).map_err(|what| match what {
            Fault::Line(what) => bad(what),
            Fault::Store(error) => error,
        })?;
    }
    if import.part != Part::Ended {
        let what = "the export is cut off: its last line is missing".to_owned();
        return Err(StoreError::Line { number, what });
    }
    Ok(())
}

/// Why a line is not taken in.
pub(super) enum Fault {
    Line(String),
    Store(StoreError),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        // Its own number of a line is always 1.
        let text = error.to_string();
        Self::Line(text.split(" at line ").next().unwrap_or_default().to_owned())
    }
}

fn fault(what: impl Into<String>) -> Fault {
    Fault::Line(what.into())
}

/// Which lines may follow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Head,
    Rooms,
    Ended,
}

/// The lines that a store is filled with, as they come.
pub(super) struct Import<'a> {
    step: &'a Transaction<'a>,
    tell: &'a mut dyn FnMut(&str),
    part: Part,
    room: Option<RoomHere>,
    names: HashSet<Box<str>, ahash::RandomState>,
    rooms: u32,
    messages: u64,
    /// The latest life of an era.
    life: i64,
}

/// The room whose lines come.
struct RoomHere {
    id: u32,
    name: Box<str>,
    last: u64,
    last_change: u64,
    /// Up to where messages have been let go of: what is missing at its beginning, too.
    floor: u64,
    eras: Vec<Era>,
    /// The last line of its audit trail.
    audited: u64,
    /// The last message, or what was let go of before.
    offset: u64,
    /// When that was accepted, in milliseconds of Unix time.
    at: i64,
    /// What its line says: its floor, and its last message.
    had: (u64, u64),
}

/// The first year of five digits, in milliseconds of Unix time.
const AT_MAX: i64 = 253_402_300_800_000;

/// More than was ever asked for at once, in bytes: the `data` of a room, and some.
const AUDIT_VALUE_BYTES_MAX: usize = 2 * BODY_BYTES_MAX;

/// More lives than a store has.
const LIFE_MAX: i64 = 1 << 48;

impl<'a> Import<'a> {
    fn new(step: &'a Transaction<'a>, tell: &'a mut dyn FnMut(&str)) -> Self {
        let names = HashSet::default();
        Self { step, tell, part: Part::Head, room: None, names, rooms: 0, messages: 0, life: 0 }
    }

    /// Takes in the next line.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let text = std::str::from_utf8(line).map_err(|error| fault(error.to_string()))?;
        let Any { kind } = parse(text)?;
        match (self.part, kind) {
            (Part::Head, Kind::Chinwag) => {
                let HeadLine { format, .. } = parse(text)?;
                if format != FORMAT {
                    return Err(fault(format!("it has format {format}, and {FORMAT} is known")));
                }
                self.part = Part::Rooms;
                Ok(())
            }
            (Part::Rooms, Kind::Room) => self.room(&parse(text)?),
            (Part::Rooms, Kind::Era) => self.era(&parse(text)?),
            (Part::Rooms, Kind::Standing) => self.standing(&parse(text)?),
            (Part::Rooms, Kind::Audit) => self.trail(&parse(text)?),
            (Part::Rooms, Kind::Message) => self.message(&parse(text)?),
            (Part::Rooms, Kind::End) => {
                let EndLine { rooms, messages, .. } = parse(text)?;
                self.end_room()?;
                let (has, had) = ((u64::from(self.rooms), self.messages), (rooms, messages));
                if has != had {
                    let of = |(rooms, messages): (u64, u64)| {
                        format!("{} and {}", counted(rooms, "room"), counted(messages, "message"))
                    };
                    return Err(fault(format!("it says {}, and {} came", of(had), of(has))));
                }
                self.part = Part::Ended;
                Ok(())
            }
            (Part::Head, _) => Err(fault("an export begins with a line of kind \"chinwag\"")),
            (Part::Rooms, Kind::Chinwag) => Err(fault("a second beginning")),
            (Part::Ended, _) => Err(fault("something comes behind the end")),
        }
    }

    fn room(&mut self, line: &RoomLine<'_>) -> Result<(), Fault> {
        self.end_room()?;
        let name = &*line.room;
        check_name("room", name)?;
        if !self.names.insert(name.into()) {
            return Err(fault(format!("room {name:?} for a second time")));
        }
        let furthest = line.last.max(line.last_change);
        if line.floor > line.last || furthest >= OFFSET_MAX {
            return Err(fault("`floor` is over `last`, or it is beyond what there may be"));
        }
        if line.changed_floor > line.last_change {
            return Err(fault("`changed_floor` is over `last_change`"));
        }
        check_length("title", line.title.len(), TITLE_BYTES_MAX)?;
        if line.title.chars().any(char::is_control) {
            return Err(fault("`title` has a control character"));
        }
        if !(0..AT_MAX).contains(&line.created_at) {
            return Err(fault("`created_at` is far from now"));
        }
        line.by.as_deref().map_or(Ok(()), |by| check_name("by", by))?;
        check_length("settings", length(line.settings.as_deref()), BODY_BYTES_MAX)?;
        let settings = line.settings.as_deref().map(settings_of).transpose()?;
        if self.rooms >= ROOM_MAX {
            return Err(fault("more rooms than a store has place for"));
        }
        self.rooms += 1;
        let sql = "INSERT INTO room(id, name, title, founded, created_at, by, settings, floor, \
                   last, last_change, changed_floor, sum) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
                   ?9, ?10, ?11, 0)";
        self.step.prepare_cached(sql)?.execute(params![
            self.rooms,
            of_room(name),
            line.title,
            line.founded,
            line.created_at,
            line.by,
            settings,
            number(line.floor)?,
            number(line.last)?,
            number(line.last_change)?,
            number(line.changed_floor)?,
        ])?;
        seal_room(self.step, self.rooms)?;
        self.room = Some(RoomHere {
            id: self.rooms,
            name: name.into(),
            last: line.last,
            last_change: line.last_change,
            floor: line.floor,
            eras: Vec::new(),
            audited: 0,
            offset: line.floor,
            at: 0,
            had: (line.floor, line.last),
        });
        Ok(())
    }

    /// Notes of a room, when all its lines have come, what it lacks at its beginning and its end.
    fn end_room(&mut self) -> Result<(), Fault> {
        let Some(room) = self.room.take() else { return Ok(()) };
        let RoomHere { id, name, last, floor, eras, offset, had, .. } = room;
        // An era that begins behind says that there was more, whatever became of it.
        let is_whole = eras.last().is_none_or(|era| era.first <= offset + 1);
        let (floor, end) = if offset == floor {
            // There is none at all.
            (last, last)
        } else if is_whole {
            (floor, offset)
        } else {
            (floor, last)
        };
        if offset < last {
            let what = missing(offset + 1, last);
            (self.tell)(&format!("room {name:?}: {what}"));
        }
        if (floor, end) != had {
            let sql = "UPDATE room SET floor = ?2, last = ?3 WHERE id = ?1";
            self.step.prepare_cached(sql)?.execute(params![id, number(floor)?, number(end)?])?;
            seal_room(self.step, id)?;
        }
        Ok(())
    }

    fn era(&mut self, line: &EraLine<'_>) -> Result<(), Fault> {
        let room = here(&mut self.room, &line.room)?;
        let epoch = parse_epoch(&line.epoch)
            .ok_or_else(|| fault(format!("{:?} is no epoch: 16 digits", line.epoch)))?;
        let EraLine { first, first_change, life, .. } = *line;
        let era = Era { first, first_change, epoch, life, is_whole: true };
        let is_next = room.eras.last().is_none_or(|before| era.follows(before));
        if !is_next || era.first == 0 || era.first_change == 0 {
            return Err(fault("an era must come behind those before it"));
        }
        if !(0..LIFE_MAX).contains(&era.life) {
            return Err(fault("`life` counts the server's starts: there were not so many"));
        }
        if era.first > room.last + 1 {
            return Err(fault("an era begins behind the end of its room"));
        }
        let row = EraRow {
            room: room.id,
            first: number(first)?,
            first_change: number(first_change)?,
            epoch: epoch.cast_signed(),
            life,
        };
        insert_era(self.step, row)?;
        self.life = self.life.max(era.life);
        room.eras.push(era);
        Ok(())
    }

    fn standing(&mut self, line: &StandingLine<'_>) -> Result<(), Fault> {
        let room = here(&mut self.room, &line.room)?.id;
        check_name("user", &line.user)?;
        let role = line.role.as_deref().map(|word| {
            Role::of(word).ok_or_else(|| {
                fault(format!("{word:?} is no role: \"member\", \"moderator\" or \"owner\""))
            })
        });
        let until = |until: Option<u64>| match until {
            None => 0,
            Some(0) => NEVER_MS,
            Some(until_ms) => until_ms.min(NEVER_MS),
        };
        let (muted_until_ms, banned_until_ms) = (until(line.muted_until), until(line.banned_until));
        let standing = Standing { role: role.transpose()?, muted_until_ms, banned_until_ms };
        Ok(stand(self.step, StandingRow { room, user: &line.user, standing })?)
    }

    fn trail(&mut self, line: &TrailLine<'_>) -> Result<(), Fault> {
        let room = here(&mut self.room, &line.room)?;
        let TrailLine { n, at, offset, .. } = *line;
        if n <= room.audited || n > OFFSET_MAX || offset.is_some_and(|offset| offset > OFFSET_MAX) {
            return Err(fault(format!(
                "`n` or `offset` is beyond what there may be, or `n` is not behind {}",
                room.audited
            )));
        }
        if !(0..AT_MAX).contains(&at) {
            return Err(fault("`at` is far from now"));
        }
        let act = AuditAct::of(&line.act)
            .ok_or_else(|| fault(format!("{:?} is no act that is noted", line.act)))?;
        check_name("by", &line.by)?;
        line.user.as_deref().map_or(Ok(()), |user| check_name("user", user))?;
        let (text, set) = (line.text.map(RawValue::get), line.set.map(RawValue::get));
        for (field, value, first) in [("text", text, '"'), ("set", set, '{')] {
            check_length(field, length(value), AUDIT_VALUE_BYTES_MAX)?;
            if value.is_some_and(|value| !value.starts_with(first)) {
                return Err(fault(format!("`{field}` does not begin with {first}")));
            }
        }
        let (by, user) = (&*line.by, line.user.as_deref());
        let row = AuditLine { number: n, act, by, user, offset, text, set };
        note(self.step, room.id, at.cast_unsigned(), row)?;
        room.audited = n;
        Ok(())
    }

    fn message(&mut self, line: &MessageLine<'_>) -> Result<(), Fault> {
        let room = here(&mut self.room, &line.room)?;
        let offset = line.offset;
        if offset <= room.offset || offset > room.last {
            return Err(fault(format!(
                "offset {offset} is not behind {} and up to {}",
                room.offset, room.last
            )));
        }
        let epoch = epoch_of(&room.eras, offset).ok_or_else(|| fault("it is in no era"))?;
        let id = format!("{}-{offset}", shown(epoch));
        if line.id != id {
            return Err(fault(format!("its id is {:?}, and would be {id:?}", line.id)));
        }
        if !(room.at..AT_MAX).contains(&line.at) {
            return Err(fault(format!("`at` is before {}, or far from now", room.at)));
        }
        let body = line.body.map_or("\"\"", |body| body.get());
        if line.body.is_none() && line.deleted_at.is_none() || !body.starts_with('"') {
            return Err(fault("`body` is no text"));
        }
        let act = |at_ms: Option<u64>, by| at_ms.map(|at_ms| Act { at_ms, by });
        let edited = act(line.edited_at, None);
        let deleted = act(line.deleted_at, line.deleted_by.as_deref());
        let pinned = act(line.pinned_at, line.pinned_by.as_deref());
        let mut acts = [edited, deleted, pinned].into_iter().flatten();
        if acts.any(|act| act.at_ms >= AT_MAX.cast_unsigned()) {
            return Err(fault("what became of it is far from now"));
        }
        let change = line.change.unwrap_or_default();
        if change > room.last_change || line.thread.is_some_and(|thread| thread > OFFSET_MAX) {
            return Err(fault("`change` or `thread` is beyond what the room has come to"));
        }
        check_texts(line, body)?;
        let said = Said {
            user: &line.user,
            name: &line.name,
            body,
            key: line.key.as_deref(),
            reply_to: line.reply_to,
            thread: line.thread,
            mentions: line.mentions.map(RawValue::get),
            data: line.data.map(RawValue::get),
            stream: line.stream,
        };
        if deleted.is_some() && (line.reactions.is_some() || line.stream) {
            return Err(fault("it is deleted, and has `reactions` or `stream`"));
        }
        let reacted = line.reactions.as_deref().map(reacted_of).transpose()?;
        let reacted = reacted.as_deref();
        let fate = Fate { change, edited, deleted, pinned, reacted, replies: None, epoch: None };
        let id = id_of(room.id, offset);
        insert(self.step, &Message { id, at_ms: line.at.cast_unsigned(), said, fate })?;
        if offset > room.offset + 1 {
            let what = missing(room.offset + 1, offset - 1);
            (self.tell)(&format!("room {:?}: {what}", room.name));
            if room.offset == room.floor {
                room.floor = offset - 1;
            }
        }
        (room.offset, room.at) = (offset, line.at);
        self.messages += 1;
        Ok(())
    }
}

/// Checks that the texts of a message are no longer than a server takes them, whatever its limits.
fn check_texts(line: &MessageLine<'_>, body: &str) -> Result<(), Fault> {
    check_name("user", &line.user)?;
    check_name("name", &line.name)?;
    for (field, by) in [("deleted_by", &line.deleted_by), ("pinned_by", &line.pinned_by)] {
        by.as_deref().map_or(Ok(()), |by| check_name(field, by))?;
    }
    if line.key.as_deref() == Some("") {
        return Err(fault("`key` is empty"));
    }
    check_length("key", length(line.key.as_deref()), KEY_BYTES_MAX)?;
    check_length("mentions", length(line.mentions.map(RawValue::get)), BODY_BYTES_MAX)?;
    check_length("data", length(line.data.map(RawValue::get)), BODY_BYTES_MAX)?;
    // Without its two quotes, as a server counts.
    check_length("body", body.len().saturating_sub(2), BODY_BYTES_MAX)
}

/// Who has reacted to a message, as a server writes it.
fn reacted_of(reactions: &[Reaction<'_>]) -> Result<String, Fault> {
    let mut reacted = String::new();
    for (emoji, users) in reactions {
        if !is_emoji(emoji) || !users.iter().all(|user| is_name(user)) {
            return Err(fault("`reactions` have an emoji or a user that is none"));
        }
        reacted.push_str(emoji);
        for user in users {
            reacted.push('\t');
            reacted.push_str(user);
        }
        reacted.push('\n');
    }
    check_length("reactions", reacted.len(), REACTED_BYTES_MAX)?;
    if is_sound(&reacted) {
        Ok(reacted)
    } else {
        Err(fault("`reactions` are no emoji, each once and with its users"))
    }
}

/// The settings of a room as a server writes them: what it does not know is left out.
fn settings_of(settings: &str) -> Result<String, Fault> {
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(settings) {
        Ok(_) => Ok(RoomSettings::read(settings).json()),
        Err(error) => Err(fault(format!("`settings` are no object of JSON: {error}"))),
    }
}

fn check_name(field: &str, name: &str) -> Result<(), Fault> {
    let what =
        || format!("`{field}` is not 1 to {NAME_BYTES_MAX} bytes without control characters");
    if is_name(name) { Ok(()) } else { Err(fault(what())) }
}

fn check_length(field: &str, bytes: usize, bytes_max: usize) -> Result<(), Fault> {
    let what = || format!("`{field}` is longer than {bytes_max} bytes");
    if bytes <= bytes_max { Ok(()) } else { Err(fault(what())) }
}

fn length(text: Option<&str>) -> usize {
    text.map_or(0, str::len)
}

/// The room that a line is of, which must be the one whose lines come.
fn here<'r>(room: &'r mut Option<RoomHere>, name: &str) -> Result<&'r mut RoomHere, Fault> {
    room.as_mut()
        .filter(|room| &*room.name == name)
        .ok_or_else(|| fault(format!("it does not stand behind the line of room {name:?}")))
}

fn number(number: u64) -> Result<i64, Fault> {
    i64::try_from(number).map_err(|_| fault("a number beyond what there may be"))
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Fault> {
    Ok(serde_json::from_str(text)?)
}
