//! Answers and pushes of the engine as values. What has another form than ours is [`Malformed`],
//! and what somebody else has put into a room is that room's alone: [`Failure::Layout`].

use std::str;

use redis::{ServerError, Value};

use super::super::command::{
    Archived, Changed, Command, Ended, Failure, Founded, Head, Listed, Message, Pushed, Receipt,
    Reply, State,
};
use super::NO_FUNCTION;
use super::keys::{LAYOUT, Names};
use super::news;
use crate::link::log::Marks;

/// What a cluster says if the script deletes a key whose slot is moving, and asks for it again: of
/// what it was to do a part is done.
const CUT_OFF: &str = "non local key";

/// Something that the engine does not say, if it is ours: what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// The form in which a command is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The answer of `append`, with so many receipts.
    Appended(usize),
    /// All of a room, of which so many messages are wanted.
    State { history: u64 },
    /// Where a room stands.
    Stands,
    /// Lines of an audit trail.
    Lines,
    /// The answer of `beat`.
    Nodes,
    /// Some rooms of a list.
    Listed,
    /// The answer of `due`.
    Due,
    /// A number of replicas.
    Replicas,
    /// A number of those who have heard something.
    Heard,
    /// The channel of a room is heard no more.
    Unsubscribed(Box<str>),
    /// Anything.
    Done,
}

impl Form {
    /// Of the answer to a command.
    pub(super) fn of(command: Command, history: u32) -> Self {
        match command {
            Command::Append(append) => Self::Appended(append.entries.len()),
            Command::Read { .. } => Self::State { history: history.into() },
            Command::Look { .. } => Self::Stands,
            Command::Lines { .. } => Self::Lines,
            Command::Beat { .. } => Self::Nodes,
            Command::List { .. } => Self::Listed,
            Command::Due { .. } => Self::Due,
            Command::Wait { .. } => Self::Replicas,
            Command::Tell { .. } => Self::Heard,
            Command::Unsubscribe { topic } => Self::Unsubscribed(topic),
            Command::Subscribe { .. }
            | Command::Say { .. }
            | Command::Leave { .. }
            | Command::HearList { .. }
            | Command::Forget { .. }
            | Command::Age { .. }
            | Command::Ping => Self::Done,
        }
    }
}

/// An answer. `branch` is the engine's history of now: the answer of an append sets it, and with a
/// room's state it is compared.
pub(super) fn reply(
    form: &Form,
    value: Value,
    branch: &mut Box<str>,
) -> Result<Result<Reply, Failure>, Malformed> {
    if let Value::ServerError(error) = value {
        if error.details().is_some_and(|details| details.contains(CUT_OFF)) {
            return Err(Malformed("a slot has moved below the script"));
        }
        return Ok(Err(failure(&error)));
    }
    Ok(Ok(match form {
        Form::Appended(entries) => appended(value, *entries, branch)?,
        Form::State { history } => {
            let parts = <[Value; 5]>::try_from(array(value)?).map_err(|_| Malformed("a room"))?;
            return Ok(state(parts, *history, branch).unwrap_or(Err(Failure::Layout)));
        }
        Form::Stands => return stands(value, branch),
        Form::Lines => return Ok(lines(value).map_err(|_| Failure::Layout)),
        Form::Nodes => nodes(value)?,
        Form::Listed => listed(value)?,
        Form::Due => due(value)?,
        Form::Replicas => {
            Reply::Replicas(u32::try_from(int(&value)?).map_err(|_| Malformed("replicas"))?)
        }
        Form::Heard => Reply::Heard(u32::try_from(int(&value)?).map_err(|_| Malformed("ears"))?),
        Form::Unsubscribed(_) | Form::Done => Reply::Done,
    }))
}

/// What an error of the engine means. Nothing was done, since the script writes nothing before it
/// has looked at what could refuse it, and the engine asks before the script whether it may write.
pub(super) fn failure(error: &ServerError) -> Failure {
    let why = || match error.details() {
        Some(details) => format!("{} {details}", error.code()).into(),
        None => error.code().into(),
    };
    match error.code() {
        "CHINWAG" => Failure::Layout,
        "READONLY" | "LOADING" | "MASTERDOWN" | "MOVED" | "NOPERM" | "NOAUTH" => {
            Failure::Elsewhere(why())
        }
        // It has lost its functions, or has never had them.
        "ERR" if error.details() == Some(NO_FUNCTION) => Failure::Elsewhere(why()),
        // With these are `ASK`, `TRYAGAIN` and `CLUSTERDOWN`: a slot is just moving, or has nobody.
        // That passes, and others are not to be held up by it.
        _ => Failure::Refused(why()),
    }
}

/// Something heard on a shard's channel; `None`, if it is on a channel that is not ours, or of
/// another version. Whoever may publish there may say anything.
pub(super) fn pushed(
    data: Vec<Value>,
    names: &Names,
    own_channel: &str,
) -> Result<Option<Pushed>, Malformed> {
    const WHAT: Malformed = Malformed("a push");
    let [channel, said] = <[Value; 2]>::try_from(data).map_err(|_| WHAT)?;
    let channel = String::from_utf8(bytes(channel)?).map_err(|_| WHAT)?;
    let mut said = bytes(said)?;
    if channel == own_channel {
        return Ok(Some(Pushed::Told { record: said }));
    }
    if names.is_list(&channel) {
        let listed = || {
            let (length, rest) = said.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            rest.split_at_checked(length)
        };
        let foreign = Some(Pushed::Foreign { topic: None });
        return Ok(
            listed().map_or(foreign, |(topic, value)| listed_as(topic, value).map(Pushed::Listed))
        );
    }
    let Some(topic) = names.topic_of(&channel) else { return Ok(None) };
    let topic = topic.into();
    Ok(Some(match said.split_first() {
        Some((b'E', told)) => match news::read(told) {
            Some(news) => Pushed::News { topic, news },
            None => Pushed::Foreign { topic: Some(topic) },
        },
        Some((b'S', _)) => {
            said.remove(0);
            Pushed::Said { topic, record: said }
        }
        _ => Pushed::Foreign { topic: Some(topic) },
    }))
}

/// The channel of a push that says that it is heard no more.
pub(super) fn unsubscribed(data: &[Value]) -> Option<&str> {
    match data.first()? {
        Value::BulkString(channel) => str::from_utf8(channel).ok(),
        _ => None,
    }
}

fn appended(value: Value, entries: usize, branch: &mut Box<str>) -> Result<Reply, Malformed> {
    let mut answer = array(value)?.into_iter();
    let meta = bytes(answer.next().ok_or(Malformed("the answer of an append"))?)?;
    let meta = meta_of(&meta).ok_or(Malformed("where a room stands"))?;
    let receipts: Vec<Receipt> = answer.map(receipt).collect::<Result<_, _>>()?;
    if receipts.len() != entries {
        return Err(Malformed("the receipts of an append"));
    }
    if **branch != *meta.branch {
        *branch = meta.branch;
    }
    Ok(Reply::Appended { head: meta.head, receipts })
}

fn receipt(value: Value) -> Result<Receipt, Malformed> {
    let bytes = bytes(value)?;
    let words = str::from_utf8(&bytes).unwrap_or_default().split(' ').collect::<Vec<_>>();
    let receipt = match words[..] {
        ["m", _, offset, at_ms] => decimal(offset)
            .zip(decimal(at_ms))
            .map(|(offset, at_ms)| Receipt::Message { offset, at_ms }),
        ["c", change] => decimal(change).map(|change| Receipt::Change { change }),
        ["d", rev] => decimal(rev).map(|rev| Receipt::Decided { rev }),
        ["stale"] => Some(Receipt::Stale),
        ["conflict"] => Some(Receipt::Conflict),
        ["gone"] => Some(Receipt::Gone),
        _ => None,
    };
    receipt.ok_or(Malformed("a receipt"))
}

fn lines(value: Value) -> Result<Reply, Malformed> {
    let lines =
        stream(value)?.into_iter().map(|(number, fields)| Ok((number, field(fields, b"d")?)));
    Ok(Reply::Lines(lines.collect::<Result<_, _>>()?))
}

fn state(
    parts: [Value; 5],
    history: u64,
    branch: &str,
) -> Result<Result<Reply, Failure>, Malformed> {
    for part in &parts {
        if let Value::ServerError(error) = part {
            return Ok(Err(failure(error)));
        }
    }
    let [meta, messages, changed, facts, archived] = parts;
    // What is there of a room that has none has no places before it is appended to.
    if meta == Value::Nil {
        return Ok(Ok(Reply::State(State::default())));
    }
    let Some(Meta { mut head, branch: of }) = meta_of(&bytes(meta)?) else {
        return Ok(Err(Failure::Layout));
    };
    // The engine trims a few at a time, and changes are let go of with what was before these.
    let first = (head.top.offset + 1).saturating_sub(history);
    let mut messages = stream(messages)?
        .into_iter()
        .filter(|(offset, _)| *offset >= first)
        .map(message)
        .collect::<Result<Vec<_>, _>>()?;
    messages.reverse();
    let changed = map(changed)?.into_iter().map(|(offset, changed)| change(&offset, &changed));
    let mut changed = changed.collect::<Result<Vec<_>, _>>()?;
    changed.sort_unstable_by_key(|changed| changed.offset);
    // The script notes that changes have expired when the next one comes.
    if changed.is_empty() {
        head.floor = head.top.change;
    }
    let mut facts = map(facts)?
        .into_iter()
        .map(|(field, value)| Some((String::from_utf8(field).ok()?.into(), value)))
        .collect::<Option<Vec<(Box<str>, _)>>>()
        .ok_or(Malformed("a fact"))?;
    facts.sort_unstable();
    let is_current = *of == *branch;
    let archived = match archived {
        Value::Nil => None,
        archived => archived_of(&bytes(archived)?),
    };
    let head = Some(head);
    Ok(Ok(Reply::State(State { head, is_current, messages, changed, facts, archived })))
}

/// What of a room is in the archive; `None`, if another version has written that.
fn archived_of(written: &[u8]) -> Option<Archived> {
    let words: Vec<&str> = str::from_utf8(written).ok()?.split(' ').collect();
    let [epoch, offset, change, floor, floor_change] = words[..] else { return None };
    Some(Archived {
        epoch: hexadecimal(epoch)?,
        upto: Marks { offset: decimal(offset)?, change: decimal(change)? },
        floor: Marks { offset: decimal(floor)?, change: decimal(floor_change)? },
    })
}

fn message((offset, fields): (u64, Vec<Value>)) -> Result<Message, Malformed> {
    const WHAT: Malformed = Malformed("a message");
    let [name, record, time_name, time] = <[Value; 4]>::try_from(fields).map_err(|_| WHAT)?;
    if (bytes(name)?, bytes(time_name)?) != (b"d".to_vec(), b"t".to_vec()) {
        return Err(WHAT);
    }
    let time = bytes(time)?;
    let (at_ms, epoch) = str::from_utf8(&time)
        .ok()
        .and_then(|time| time.split_once(' '))
        .and_then(|(at_ms, epoch)| decimal(at_ms).zip(hexadecimal(epoch)))
        .ok_or(WHAT)?;
    Ok(Message { offset, at_ms, epoch, record: bytes(record)? })
}

fn change(offset: &[u8], changed: &[u8]) -> Result<Changed, Malformed> {
    let parse = || {
        let offset = decimal(str::from_utf8(offset).ok()?)?;
        let mut words = changed.splitn(3, |byte| *byte == b' ');
        let change = decimal(str::from_utf8(words.next()?).ok()?)?;
        let is_deleted = words.next()? == b"d";
        Some(Changed { offset, change, is_deleted, record: words.next()?.to_vec() })
    };
    parse().ok_or(Malformed("a changed message"))
}

fn nodes(value: Value) -> Result<Reply, Malformed> {
    const WHAT: Malformed = Malformed("the nodes");
    let mut answer = array(value)?.into_iter();
    let mut next = || int(&answer.next().ok_or(WHAT)?);
    let (now_ms, life) = (next()?, next()?);
    // What is called otherwise is no node.
    let nodes = answer.filter_map(|node| {
        let node = bytes(node).ok()?;
        let (node, life) = str::from_utf8(&node).ok()?.split_once(':')?;
        hexadecimal(node).zip(hexadecimal(life))
    });
    Ok(Reply::Nodes { now_ms, life, nodes: nodes.collect() })
}

fn due(value: Value) -> Result<Reply, Malformed> {
    let mut answer = array(value)?.into_iter();
    let now_ms = int(&answer.next().ok_or(Malformed("the rooms that are due"))?)?;
    // What is no text is no room.
    let topics =
        answer.filter_map(|topic| Some(String::from_utf8(bytes(topic).ok()?).ok()?.into()));
    Ok(Reply::Due { now_ms, topics: topics.collect() })
}

fn listed(value: Value) -> Result<Reply, Malformed> {
    const WHAT: Malformed = Malformed("a list of rooms");
    let [cursor, rooms] = <[Value; 2]>::try_from(array(value)?).map_err(|_| WHAT)?;
    let cursor = bytes(cursor)?;
    let cursor = str::from_utf8(&cursor).ok().and_then(decimal).ok_or(WHAT)?;
    let rooms = map(rooms)?;
    let rooms = rooms.iter().filter_map(|(topic, value)| listed_as(topic, value));
    Ok(Reply::Listed { cursor, rooms: rooms.collect() })
}

/// A room of a list; `None`, if another version has written it.
pub(super) fn listed_as(topic: &[u8], value: &[u8]) -> Option<Listed> {
    let (topic, value) = (str::from_utf8(topic).ok()?.into(), str::from_utf8(value).ok()?);
    let (is_founded, is_private) = match value.as_bytes().first()? {
        b'-' => (false, false),
        b'o' => (true, false),
        b'p' => (true, true),
        _ => return None,
    };
    let (hour, title) = value[1..].split_once(' ')?;
    let founded = is_founded.then(|| Founded { title: title.into(), is_private });
    Some(Listed { topic, founded, hour: decimal(hour)? })
}

fn stands(value: Value, branch: &str) -> Result<Result<Reply, Failure>, Malformed> {
    if value == Value::Nil {
        return Ok(Ok(Reply::Stands { head: None, is_current: false }));
    }
    let Some(Meta { head, branch: of }) = meta_of(&bytes(value)?) else {
        return Ok(Err(Failure::Layout));
    };
    Ok(Ok(Reply::Stands { head: Some(head), is_current: *of == *branch }))
}

/// What is kept of where a room stands, and on which history of the engine that is.
pub(super) struct Meta {
    pub(super) head: Head,
    pub(super) branch: Box<str>,
}

/// `None`, if its layout is not this version's.
pub(super) fn meta_of(meta: &[u8]) -> Option<Meta> {
    let words: Vec<&str> = str::from_utf8(meta).ok()?.split(' ').collect();
    let [LAYOUT, epoch, top, changes, rev, floor, audited, at, gone, gone_change, branch, turns] =
        words[..]
    else {
        return None;
    };
    let head = Head {
        epoch: hexadecimal(epoch)?,
        top: Marks { offset: decimal(top)?, change: decimal(changes)? },
        rev: decimal(rev)?,
        audited: decimal(audited)?,
        floor: decimal(floor)?,
        at_ms: decimal(at)?,
        gone: Marks { offset: decimal(gone)?, change: decimal(gone_change)? },
        lineage: lineage(turns)?,
    };
    Some(Meta { head, branch: branch.into() })
}

/// The epochs before a room's own, `EPOCH:OFFSET/CHANGE/REVISION/LINE` each, the latest first.
pub(super) fn lineage(turns: &str) -> Option<Vec<Ended>> {
    let turns = turns.split(',').filter(|turn| !turn.is_empty());
    turns
        .map(|turn| {
            let (epoch, kept) = turn.split_once(':')?;
            let numbers: Vec<u64> = kept.split('/').map(decimal).collect::<Option<_>>()?;
            let [offset, change, rev, audited] = numbers[..] else { return None };
            let kept = Marks { offset, change };
            Some(Ended { epoch: hexadecimal(epoch)?, kept, rev, audited })
        })
        .collect()
}

/// The entries of a stream as they come, each with its number and its fields.
fn stream(value: Value) -> Result<Vec<(u64, Vec<Value>)>, Malformed> {
    const WHAT: Malformed = Malformed("an entry of a stream");
    let entries = array(value)?.into_iter().map(|entry| {
        let [id, fields] = <[Value; 2]>::try_from(array(entry)?).map_err(|_| WHAT)?;
        let id = bytes(id)?;
        let number = str::from_utf8(&id).ok().and_then(|id| id.split_once('-'));
        Ok((number.and_then(|(number, _)| decimal(number)).ok_or(WHAT)?, array(fields)?))
    });
    entries.collect()
}

/// The value of the only field, which has this name.
fn field(fields: Vec<Value>, name: &[u8]) -> Result<Vec<u8>, Malformed> {
    const WHAT: Malformed = Malformed("a field of a stream");
    let [found, value] = <[Value; 2]>::try_from(fields).map_err(|_| WHAT)?;
    if bytes(found)? == name { bytes(value) } else { Err(WHAT) }
}

/// A field of a hash, and its value.
type Pair = (Vec<u8>, Vec<u8>);

fn array(value: Value) -> Result<Vec<Value>, Malformed> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(Malformed("no array")),
    }
}

/// A hash, which functions answer as an array of its fields and values by turns.
fn map(value: Value) -> Result<Vec<Pair>, Malformed> {
    const WHAT: Malformed = Malformed("no map");
    match value {
        Value::Map(pairs) => {
            pairs.into_iter().map(|(field, value)| Ok((bytes(field)?, bytes(value)?))).collect()
        }
        Value::Array(values) => {
            let mut values = values.into_iter();
            std::iter::from_fn(|| values.next().map(|field| (field, values.next())))
                .map(|(field, value)| Ok((bytes(field)?, bytes(value.ok_or(WHAT)?)?)))
                .collect()
        }
        _ => Err(WHAT),
    }
}

fn bytes(value: Value) -> Result<Vec<u8>, Malformed> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        _ => Err(Malformed("no string")),
    }
}

fn int(value: &Value) -> Result<u64, Malformed> {
    match value {
        Value::Int(number) => u64::try_from(*number).map_err(|_| Malformed("a negative number")),
        _ => Err(Malformed("no number")),
    }
}

fn decimal(digits: &str) -> Option<u64> {
    digits.parse().ok()
}

fn hexadecimal(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    /// An answer of each form.
    fn answers() -> Vec<(Form, Value)> {
        let meta =
            text("1 00000000000000e1 3 1 2 0 1 1700000000000 0 0 ab 00000000000000e0:1/0/2/1");
        let entry = |id, fields: &[&str]| {
            Value::Array(vec![text(id), Value::Array(fields.iter().map(|it| text(it)).collect())])
        };
        let stream = Value::Array(vec![
            entry("3-0", &["d", "three", "t", "1700000000000 00000000000000e1"]),
            entry("2-0", &["d", "two", "t", "1700000000000 00000000000000e1"]),
        ]);
        let changed = Value::Map(vec![(text("1"), text("1 d gone"))]);
        let facts = Value::Map(vec![(text("s:u"), text("muted"))]);
        let there = text("00000000000000e1 2 1 0 0");
        let receipts = ["m 00000000000000e1 3 5", "c 1", "d 2", "stale", "conflict"].map(text);
        let appended = [meta.clone()].into_iter().chain(receipts).collect();
        let node = text("00000000000000aa:0000000000000001");
        let listed = ["room:tea", "o7 Tea", "room:mate", "-8 ", "room:x", "?"].map(text);
        let listed = Value::Array(listed.into());
        vec![
            (Form::Appended(5), Value::Array(appended)),
            (Form::State { history: 9 }, Value::Array(vec![meta, stream, changed, facts, there])),
            (Form::Lines, Value::Array(vec![entry("1-0", &["d", "line"])])),
            (Form::Nodes, Value::Array(vec![Value::Int(1), Value::Int(2), node])),
            (Form::Listed, Value::Array(vec![text("0"), listed])),
            (Form::Due, Value::Array(vec![Value::Int(1), text("room:tea")])),
            (Form::Replicas, Value::Int(1)),
        ]
    }

    fn read(form: &Form, value: Value) -> Result<Result<Reply, Failure>, Malformed> {
        reply(form, value, &mut "ab".into())
    }

    /// All that a value becomes if one of those in it is another one.
    fn others(value: &Value) -> Vec<Value> {
        let mut others = vec![
            Value::Nil,
            Value::Okay,
            Value::Int(-1),
            text(""),
            text("1 1 1"),
            text("99999999999999999999-0"),
            Value::BulkString(vec![0xFF]),
            Value::Array(Vec::new()),
            Value::Map(vec![(Value::Nil, Value::Nil)]),
        ];
        let within = |parts: &[Value], make: &dyn Fn(Vec<Value>) -> Value| {
            let mut all = vec![make(parts[..parts.len().saturating_sub(1)].to_vec())];
            for (at, part) in parts.iter().enumerate() {
                all.extend(self::others(part).into_iter().map(|other| {
                    let mut parts = parts.to_vec();
                    parts[at] = other;
                    make(parts)
                }));
            }
            all
        };
        match value {
            Value::Array(parts) => others.extend(within(parts, &Value::Array)),
            Value::Map(pairs) => {
                let parts: Vec<Value> = pairs
                    .iter()
                    .flat_map(|(field, value)| [field.clone(), value.clone()])
                    .collect();
                others.extend(within(&parts, &Value::Array));
            }
            _ => {}
        }
        others
    }

    #[test]
    fn no_answer_is_a_panic_whatever_is_in_it() {
        for (form, answer) in answers() {
            assert!(matches!(read(&form, answer.clone()), Ok(Ok(_))), "{form:?}");
            let is_refused = |other: &Value| {
                matches!(read(&form, other.clone()), Err(_) | Ok(Err(Failure::Layout)))
            };
            assert!(others(&answer).iter().filter(|other| is_refused(other)).count() > 2);
        }
    }

    #[test]
    fn an_error_of_a_cluster_refuses_or_leads_elsewhere_or_leaves_a_doubt() {
        let answer = |error: &str| {
            let error = redis::parse_redis_value(format!("-{error}\r\n").as_bytes());
            read(&Form::Done, error.expect("an error is a value"))
        };
        for passing in ["TRYAGAIN Multiple keys", "ASK 7 one:1", "CLUSTERDOWN It is down"] {
            assert_eq!(answer(passing), Ok(Err(Failure::Refused(passing.into()))));
        }
        let moved = "MOVED 7 one:1";
        assert_eq!(answer(moved), Ok(Err(Failure::Elsewhere(moved.into()))));
        let half = "ERR Script attempted to access a non local key in a cluster node";
        assert!(answer(half).is_err(), "{half}");
    }

    #[test]
    fn a_room_is_read_up_to_what_is_kept_of_it() {
        let (_, answer) = answers().swap_remove(1);
        let Ok(Ok(Reply::State(state))) = read(&Form::State { history: 1 }, answer.clone()) else {
            panic!("it is a state");
        };
        let offsets: Vec<u64> = state.messages.iter().map(|message| message.offset).collect();
        assert_eq!((offsets, state.is_current), (vec![3], true));
        let other = reply(&Form::State { history: 9 }, answer, &mut "cd".into());
        assert!(matches!(other, Ok(Ok(Reply::State(State { is_current: false, .. })))));
    }

    #[test]
    fn a_room_whose_changes_have_expired_has_forgotten_all_of_them() {
        let (form, answer) = answers().swap_remove(1);
        let Value::Array(mut parts) = answer else { panic!("it is an array") };
        let floor = |parts| match read(&form, Value::Array(parts)) {
            Ok(Ok(Reply::State(State { head: Some(head), .. }))) => head.floor,
            other => panic!("{other:?}"),
        };
        assert_eq!(floor(parts.clone()), 0);
        parts[2] = Value::Map(Vec::new());
        assert_eq!(floor(parts), 1);
    }

    #[test]
    fn rooms_are_listed_as_the_script_notes_them() {
        let (form, answer) = answers().swap_remove(4);
        let founded = |title: &str, is_private| Some(Founded { title: title.into(), is_private });
        let room = |topic: &str, founded, hour| Listed { topic: topic.into(), founded, hour };
        let rooms = vec![room("room:tea", founded("Tea", false), 7), room("room:mate", None, 8)];
        assert_eq!(read(&form, answer), Ok(Ok(Reply::Listed { cursor: 0, rooms })));
        let private = listed_as(b"room:x", b"p9 a b");
        assert_eq!(private, Some(room("room:x", founded("a b", true), 9)));
        for other in ["", "o", "o7", "o7x ", "x7 "] {
            assert_eq!(listed_as(b"room:x", other.as_bytes()), None, "{other:?}");
        }
    }
}
