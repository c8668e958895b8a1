//! The JSON that a room's home, its members' shards and the API share: a message as members get it
//! and as the history keeps it, its receipt, a room's listing, the true number of those present.

use std::borrow::Cow;

use smallvec::{SmallVec, smallvec};

use crate::base::word;
use crate::limits::PRESENCE_PART_BYTES;
use crate::link::ids::{Count, Receipt};
use crate::link::reacted::{push_reactions, push_toggled};
use crate::link::said::{Act, ActText, Fate, FateText, MessageText, Replies, Said, SaidText};
use crate::wire::json::{self, push_string, push_unsigned};

/// JSON that was put together from strings and checked JSON.
pub(crate) fn text(json: &[u8]) -> &str {
    simdutf8::basic::from_utf8(json).expect("JSON is UTF-8")
}

/// Appends what the API and the lobby say of a room.
pub(crate) fn push_listing(out: &mut Vec<u8>, room: &str, title: &str, members: u32) {
    push_listing_start(out, room, title, members);
    out.push(b'}');
}

/// Appends the same, as an object without its end: its members are told more.
pub(crate) fn push_listing_start(out: &mut Vec<u8>, room: &str, title: &str, members: u32) {
    out.extend_from_slice(b"{\"members\":");
    push_unsigned(out, u64::from(members));
    out.extend_from_slice(b",\"room\":");
    push_string(out, room);
    out.extend_from_slice(b",\"title\":");
    push_string(out, title);
}

/// Appends the payload of `presence_count`.
pub(crate) fn push_count(out: &mut Vec<u8>, count: Count) {
    out.extend_from_slice(b"{\"count\":");
    push_unsigned(out, u64::from(count.present));
    out.extend_from_slice(b",\"listed\":");
    push_unsigned(out, u64::from(count.listed));
    out.push(b'}');
}

/// A list of who is there, whose entries are `"user":{...}` without white space, in parts of at most
/// [`PRESENCE_PART_BYTES`]; one at least. An entry is never cut.
pub(crate) fn presence_parts(list: &str) -> SmallVec<[&str; 1]> {
    if list.len() <= PRESENCE_PART_BYTES {
        return smallvec![list];
    }
    let (mut parts, mut begin, mut end) = (SmallVec::new(), 0, 0);
    for (user, entry) in json::members(&format!("{{{list}}}")) {
        let next_end = end + user.len() + ":".len() + entry.len();
        if end > begin && next_end - begin > PRESENCE_PART_BYTES {
            parts.push(&list[begin..end - ",".len()]);
            begin = end;
        }
        end = next_end + ",".len();
    }
    parts.push(&list[begin..]);
    parts
}

/// The payload of a `presence_diff`, of entries one behind the other, in pieces.
pub(crate) const fn presence_diff<'a>(joins: &'a str, leaves: &'a str) -> [&'a str; 5] {
    ["{\"joins\":{", joins, "},\"leaves\":{", leaves, "}}"]
}

/// The payload of a `presence_diff` in several: whoever applies one after the other has the same.
/// One that is short stays as it is.
pub(crate) fn presence_diffs(diff: &str) -> SmallVec<[Cow<'_, str>; 1]> {
    if diff.len() <= PRESENCE_PART_BYTES {
        return smallvec![diff.into()];
    }
    let entries = json::fields(diff, ["joins", "leaves"]).map(Option::unwrap_or_default);
    let [joins, leaves] = entries.map(|object| object.get(1..object.len() - 1).unwrap_or_default());
    let parts = |list| presence_parts(list).into_iter().filter(|part| !part.is_empty());
    let joined = parts(joins).map(|part| presence_diff(part, ""));
    let left = parts(leaves).map(|part| presence_diff("", part));
    joined.chain(left).map(|pieces| pieces.concat().into()).collect()
}

/// The least bytes of a message as members get it.
pub(crate) const MESSAGE_BYTES_MIN: usize = 75;

/// Appends a message as members get it, and as the history keeps it. Of one that was deleted only
/// its place and its author are left.
pub(crate) fn push_message(
    out: &mut Vec<u8>,
    epoch: u64,
    receipt: Receipt,
    said: &Said<'_>,
    fate: &Fate<'_>,
) {
    out.extend_from_slice(b"{\"at\":");
    push_unsigned(out, receipt.at_ms);
    out.extend_from_slice(b",\"body\":");
    out.extend_from_slice(said.body.as_bytes());
    out.extend_from_slice(b",\"id\":");
    push_id(out, fate.epoch.unwrap_or(epoch), receipt.offset);
    if let Some(key) = said.key.filter(|_| fate.deleted.is_none()) {
        out.extend_from_slice(b",\"key\":");
        push_string(out, key);
    }
    out.extend_from_slice(b",\"name\":");
    push_string(out, said.name);
    out.extend_from_slice(b",\"offset\":");
    push_unsigned(out, receipt.offset);
    if let Some(reply_to) = said.reply_to {
        out.extend_from_slice(b",\"reply_to\":");
        push_unsigned(out, reply_to);
    }
    out.extend_from_slice(b",\"user\":");
    push_string(out, said.user);
    if !said.is_plain() || !fate.is_plain() {
        push_more(out, said, fate);
    }
    out.push(b'}');
}

/// Appends the fields that most messages have none of.
#[cold]
fn push_more(out: &mut Vec<u8>, said: &Said<'_>, fate: &Fate<'_>) {
    push_given(out, "thread", said.thread, push_unsigned);
    push_given(out, "mentions", said.mentions, push_json);
    push_given(out, "data", said.data, push_json);
    push_given(out, "stream", said.stream.then_some("true"), push_json);
    let Fate { change, edited, deleted, pinned, reacted, replies: _, epoch: _ } = *fate;
    push_given(out, "change", (change > 0).then_some(change), push_unsigned);
    push_given(out, "edited", edited, push_act);
    push_given(out, "deleted", deleted, push_act);
    push_given(out, "pinned", pinned, push_act);
    push_given(out, "reactions", reacted, push_reactions);
}

/// Appends to a message as [`push_message`] wrote it how often it was answered, which is its last
/// field.
pub(crate) fn push_replies(message: &mut Vec<u8>, replies: Replies) {
    message.pop_if(|last| *last == b'}');
    push_name(message, "replies");
    message.extend_from_slice(b"{\"count\":");
    push_unsigned(message, replies.count);
    push_name(message, "last");
    push_unsigned(message, replies.last);
    message.extend_from_slice(b"}}");
}

/// How often a message was answered, and the message without that.
pub(crate) fn split_replies(message: &[u8]) -> (Option<Replies>, Cow<'_, [u8]>) {
    let Some(object) = json::field(text(message), "replies") else { return (None, message.into()) };
    let number = |value: Option<&str>| value.and_then(json::unsigned).unwrap_or_default();
    let [count, last] = json::fields(object, ["count", "last"]).map(number);
    let field_bytes = ",\"replies\":".len() + object.len() + "}".len();
    let rest = [&message[..message.len() - field_bytes], b"}"].concat();
    (Some(Replies { count, last }), rest.into())
}

/// Appends a field, if it is there.
fn push_given<T>(
    out: &mut Vec<u8>,
    name: &str,
    value: Option<T>,
    push: impl FnOnce(&mut Vec<u8>, T),
) {
    if let Some(value) = value {
        push_name(out, name);
        push(out, value);
    }
}

/// Appends a field of a patch, unless it is as it `was`, which may not be known: `null`, where it
/// is there no more.
fn push_unlike<T: PartialEq>(
    out: &mut Vec<u8>,
    name: &str,
    was: Option<&Option<T>>,
    now: Option<T>,
    push: impl FnOnce(&mut Vec<u8>, T),
) {
    if was == Some(&now) {
        return;
    }
    if now.is_some() {
        return push_given(out, name, now, push);
    }
    push_name(out, name);
    out.extend_from_slice(b"null");
}

fn push_json(out: &mut Vec<u8>, json: &str) {
    out.extend_from_slice(json.as_bytes());
}

/// Appends the name of a field that is not the first.
fn push_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn push_act(out: &mut Vec<u8>, act: Act<'_>) {
    out.extend_from_slice(b"{\"at\":");
    push_unsigned(out, act.at_ms);
    if let Some(by) = act.by {
        out.extend_from_slice(b",\"by\":");
        push_string(out, by);
    }
    out.push(b'}');
}

/// Appends the payload of `msg_changed`: a patch, which has the fields that are not as they were.
/// `null` says that a field is there no more. Where it is not known how they were, all that may
/// change are in it, but for who has just reacted; and where `was_missed`, for then a member may
/// know the message as it was in between.
pub(crate) fn push_patch(
    out: &mut Vec<u8>,
    offset: u64,
    was: Option<&(Said<'_>, Fate<'_>)>,
    (said, fate): (Said<'_>, Fate<'_>),
    was_missed: bool,
) {
    let was_reacted = was.map(|(_, fate)| &fate.reacted);
    let was = was.filter(|_| !was_missed);
    let (was_said, was_fate) = was.map(|(said, fate)| (said, fate)).unzip();
    out.extend_from_slice(b"{\"change\":");
    push_unsigned(out, fate.change);
    push_name(out, "offset");
    push_unsigned(out, offset);
    let is_edited = was_fate.is_none_or(|was| was.edited != fate.edited);
    let grew = was_said.filter(|was| was.stream && !is_edited && fate.deleted.is_none());
    match grew.and_then(|was| appended(was.body, said.body)) {
        Some("") => {}
        // Whoever has what it was gets the rest. Others fetch all of it.
        Some(more) => {
            push_given(out, "prev", was_fate.map(|was| was.change), push_unsigned);
            push_name(out, "append");
            out.push(b'"');
            out.extend_from_slice(more.as_bytes());
            out.push(b'"');
        }
        _ if was_said.is_none_or(|was| was.body != said.body) => {
            push_given(out, "body", Some(said.body), push_json);
        }
        _ => {}
    }
    push_unlike(
        out,
        "stream",
        was_said.map(|was| was.stream.then_some("true")).as_ref(),
        said.stream.then_some("true"),
        push_json,
    );
    if fate.deleted.is_some() && was_said.is_none_or(|was| was.key.is_some()) {
        push_given(out, "key", Some("null"), push_json);
    }
    push_unlike(out, "mentions", was_said.map(|was| &was.mentions), said.mentions, push_json);
    push_unlike(out, "data", was_said.map(|was| &was.data), said.data, push_json);
    push_unlike(out, "edited", was_fate.map(|was| &was.edited), fate.edited, push_act);
    push_unlike(out, "deleted", was_fate.map(|was| &was.deleted), fate.deleted, push_act);
    push_unlike(out, "pinned", was_fate.map(|was| &was.pinned), fate.pinned, push_act);
    push_unlike(out, "reactions", was_fate.map(|was| &was.reacted), fate.reacted, push_reactions);
    // Whoever did it learns of it on all devices. With the message all of them are gone.
    if let Some(was) = was_reacted.filter(|was| **was != fate.reacted && fate.deleted.is_none()) {
        push_name(out, "by");
        push_toggled(out, was.unwrap_or_default(), fate.reacted.unwrap_or_default());
    }
    out.push(b'}');
}

/// What a JSON string has more than another one that it begins with, without quotes.
fn appended<'a>(was: &str, now: &'a str) -> Option<&'a str> {
    now.strip_prefix(was.strip_suffix('"')?)?.strip_suffix('"')
}

/// Appends what is left of a deleted message that is no longer kept: whoever has it forgets what it
/// said.
pub(crate) fn push_tombstone(out: &mut Vec<u8>, offset: u64, change: u64) {
    out.extend_from_slice(b"{\"body\":\"\",\"change\":");
    push_unsigned(out, change);
    out.extend_from_slice(b",\"deleted\":{},\"offset\":");
    push_unsigned(out, offset);
    out.push(b'}');
}

/// The thread that a message is in, which is as [`push_message`] wrote it.
pub(crate) fn thread_of(message: &str) -> Option<u64> {
    json::field(message, "thread").and_then(json::unsigned)
}

/// The epoch in which a message was said, by its id, as [`push_message`] wrote it.
pub(crate) fn said_in(message: &str) -> Option<u64> {
    let (epoch, _) = json::field(message, "id")?.strip_prefix('"')?.split_once('-')?;
    parse_epoch(epoch)
}

/// When a message was said, as [`push_message`] wrote it, in milliseconds of Unix time.
pub(crate) fn said_at_ms(message: &str) -> u64 {
    let at_ms = json::field(message, "at").and_then(json::unsigned);
    at_ms.expect("a message has a time")
}

/// Reads a message as [`push_message`] wrote it, but for who has reacted to it: that is not all in
/// it.
pub(crate) fn read_message(message: &str) -> MessageText {
    let names = [
        "at", "body", "key", "name", "reply_to", "user", "thread", "mentions", "data", "change",
        "stream", "edited", "deleted", "pinned",
    ];
    let [at, body, key, name, reply_to, user, thread, mentions, data, change, stream, acts @ ..] =
        json::fields(message, names);
    let number = |value: Option<&str>| value.and_then(json::unsigned);
    let string = |value: Option<&str>| {
        value.and_then(json::string).map(|text| Box::<str>::from(text.as_ref()))
    };
    let act = |value: Option<&str>| {
        let [at, by] = json::fields(value?, ["at", "by"]);
        Some(ActText { at_ms: number(at)?, by: string(by) })
    };
    let said = SaidText {
        user: string(user).unwrap_or_default(),
        name: string(name).unwrap_or_default(),
        body: body.unwrap_or("\"\"").into(),
        key: string(key),
        reply_to: number(reply_to),
        thread: number(thread),
        mentions: mentions.map(Box::from),
        data: data.map(Box::from),
        stream: stream.is_some(),
    };
    let has_fate = change.is_some() || acts.iter().any(Option::is_some);
    let [edited, deleted, pinned] = acts.map(act);
    let change = number(change).unwrap_or_default();
    let fate = FateText { change, edited, deleted, pinned, ..FateText::default() };
    let fate = has_fate.then(|| Box::new(fate));
    MessageText { at_ms: number(at).unwrap_or_default(), said, fate }
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

/// Appends what is told to whoever has changed a message.
pub(crate) fn push_change_number(out: &mut Vec<u8>, change: u64) {
    out.extend_from_slice(b"{\"change\":");
    push_unsigned(out, change);
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
    out.extend_from_slice(&word::hex(epoch));
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
        let said = Said { body: "\"\"", ..Said::default() };
        push_message(&mut out, 1, Receipt { offset: 1, at_ms: 0 }, &said, &Fate::default());
        assert_eq!(out.len(), MESSAGE_BYTES_MIN, "{}", text(&out));
    }

    #[test]
    fn an_id_names_the_epoch_that_a_message_was_read_with_and_else_the_rooms() {
        for (told, named) in [(None, "0000000000000001-5"), (Some(2), "0000000000000002-5")] {
            let (mut out, fate) = (Vec::new(), Fate { epoch: told, ..Fate::default() });
            let said = Said { body: "\"\"", ..Said::default() };
            push_message(&mut out, 1, Receipt { offset: 5, at_ms: 0 }, &said, &fate);
            let id = json::field(text(&out), "id").and_then(json::string);
            assert_eq!(id.as_deref(), Some(named), "{}", text(&out));
            assert_eq!(said_in(text(&out)), Some(told.unwrap_or(1)));
        }
    }

    fn act(at_ms: u64, by: Option<&str>) -> Act<'_> {
        Act { at_ms, by }
    }

    const RICH: Said<'_> = Said {
        user: "u\"1",
        name: "é",
        body: r#""a\u0062""#,
        key: Some("k\n"),
        reply_to: Some(4),
        thread: Some(2),
        mentions: Some(r#"["bob"]"#),
        data: Some(r#"{ "a" : 1.0}"#),
        stream: false,
    };

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let pinned = Fate { change: 3, pinned: Some(act(5, Some("mod"))), ..Fate::default() };
        let edited = Fate { change: 4, edited: Some(act(7, None)), ..pinned };
        let plain = Said { user: "u", name: "U", body: "\"x\"", ..Said::default() };
        // Of another server, which does not number its changes.
        let grows = Said { stream: true, ..plain };
        let imported = Fate { deleted: Some(act(8, None)), ..Fate::default() };
        for (said, fate) in [
            (plain, Fate::default()),
            (grows, Fate::default()),
            (plain, imported),
            (RICH, Fate::default()),
            (RICH, edited),
        ] {
            let mut out = Vec::new();
            push_message(&mut out, 1, Receipt { offset: 5, at_ms: 9 }, &said, &fate);
            assert_eq!(read_message(text(&out)), MessageText::new(9, said, fate));
            assert!(json::Checker::default().check(text(&out)).is_ok(), "{}", text(&out));
        }
    }

    #[test]
    fn how_often_a_message_was_answered_is_its_last_field() {
        let data = Some(r#"{"replies":{"count":1,"last":2}}"#);
        for said in [Said { body: "\"x\"", ..Said::default() }, Said { data, ..RICH }] {
            let mut plain = Vec::new();
            push_message(&mut plain, 1, Receipt { offset: 5, at_ms: 9 }, &said, &Fate::default());
            assert_eq!(split_replies(&plain), (None, Cow::from(&plain)));
            let replies = Replies { count: 3, last: 47 };
            let mut answered = plain.clone();
            push_replies(&mut answered, replies);
            assert!(answered.ends_with(br#","replies":{"count":3,"last":47}}"#));
            assert_eq!(split_replies(&answered), (Some(replies), Cow::from(&plain)));
            assert_eq!(read_message(text(&answered)), read_message(text(&plain)));
        }
    }

    #[test]
    fn of_a_deleted_message_its_place_and_its_author_are_left() {
        let gone = Said { body: "\"\"", mentions: None, data: None, ..RICH };
        let fate = Fate { change: 6, deleted: Some(act(8, Some("mod"))), ..Fate::default() };
        let mut out = Vec::new();
        push_message(&mut out, 1, Receipt { offset: 5, at_ms: 9 }, &gone, &fate);
        let expected = concat!(
            r#"{"at":9,"body":"","id":"0000000000000001-5","name":"é","offset":5,"reply_to":4,"#,
            r#""user":"u\"1","thread":2,"change":6,"deleted":{"at":8,"by":"mod"}}"#
        );
        assert_eq!(text(&out), expected);
    }

    #[test]
    fn a_patch_of_a_message_that_grows_has_what_is_new() {
        let patch = |was: (Said<'_>, Fate<'_>), now| {
            let mut out = Vec::new();
            push_patch(&mut out, 5, Some(&was), now, false);
            text(&out).to_owned()
        };
        let said = |body, stream| Said { user: "u", body, stream, ..Said::default() };
        let at = |change| Fate { change, ..Fate::default() };
        let grows = (said(r#""a\n""#, true), at(2));
        let more = patch(grows, (said(r#""a\nb\"c""#, true), at(3)));
        assert_eq!(more, r#"{"change":3,"offset":5,"prev":2,"append":"b\"c"}"#);
        let last = patch(grows, (said(r#""a\nb""#, false), at(3)));
        assert_eq!(last, r#"{"change":3,"offset":5,"prev":2,"append":"b","stream":null}"#);
        let ended = patch(grows, (said(r#""a\n""#, false), at(3)));
        assert_eq!(ended, r#"{"change":3,"offset":5,"stream":null}"#);
        let edited = Fate { edited: Some(act(7, None)), ..at(3) };
        let other = patch(grows, (said(r#""a\nb""#, true), edited));
        assert_eq!(other, r#"{"change":3,"offset":5,"body":"a\nb","edited":{"at":7}}"#);
        let deleted = Fate { deleted: Some(act(7, None)), ..at(3) };
        let gone = patch((said("\"\"", true), at(0)), (said("\"\"", false), deleted));
        assert_eq!(gone, r#"{"change":3,"offset":5,"stream":null,"deleted":{"at":7}}"#);
    }

    #[test]
    fn a_patch_has_what_is_not_as_it_was() {
        let patch = |was: Option<(Said<'_>, Fate<'_>)>, now| {
            let mut out = Vec::new();
            push_patch(&mut out, 5, was.as_ref(), now, false);
            text(&out).to_owned()
        };
        let fate = Fate { change: 3, edited: Some(act(7, None)), ..Fate::default() };
        let was = (RICH, Fate::default());
        let now = (Said { body: "\"b\"", ..RICH }, fate);
        let edited = r#"{"change":3,"offset":5,"body":"b","edited":{"at":7}}"#;
        assert_eq!(patch(Some(was), now), edited);
        let gone = Said { body: "\"\"", mentions: None, data: None, ..RICH };
        let deleted = Fate { change: 4, deleted: Some(act(8, Some("u"))), ..Fate::default() };
        let expected = concat!(
            r#"{"change":4,"offset":5,"body":"","key":null,"mentions":null,"data":null,"#,
            r#""edited":null,"#,
            r#""deleted":{"at":8,"by":"u"}}"#
        );
        assert_eq!(patch(Some(now), (gone, deleted)), expected);
        let whole = concat!(
            r#"{"change":3,"offset":5,"body":"b","stream":null,"mentions":["bob"],"data":{ "a" : 1.0},"#,
            r#""edited":{"at":7},"deleted":null,"pinned":null,"reactions":null}"#
        );
        assert_eq!(patch(None, now), whole, "nobody knows how it was");
        let reacted = |reacted| (RICH, Fate { change: 5, reacted, ..Fate::default() });
        let (none, one, two) = (reacted(None), reacted(Some("a\tu\n")), Some("a\tu\tw\n"));
        let expected = concat!(
            r#"{"change":5,"offset":5,"reactions":{"a":{"count":2,"users":["u","w"]}},"#,
            r#""by":[["w","a",true]]}"#
        );
        assert_eq!(patch(Some(one), reacted(two)), expected);
        let expected = r#"{"change":5,"offset":5,"reactions":null,"by":[["u","a",false]]}"#;
        assert_eq!(patch(Some(one), none), expected);
        let gone = patch(Some(one), (gone, deleted));
        assert!(gone.ends_with(r#","reactions":null}"#), "{gone}");
    }

    #[test]
    fn a_patch_of_what_was_missed_has_all_and_who_has_reacted_since() {
        let reacted = |reacted| (RICH, Fate { change: 5, reacted, ..Fate::default() });
        let mut out = Vec::new();
        push_patch(&mut out, 5, Some(&reacted(Some("a\tu\n"))), reacted(Some("a\tw\n")), true);
        let Said { body, .. } = RICH;
        let expected = format!(
            "{{\"change\":5,\"offset\":5,\"body\":{body},{}",
            concat!(
                r#""stream":null,"mentions":["bob"],"data":{ "a" : 1.0},"#,
                r#""edited":null,"deleted":null,"pinned":null,"#,
                r#""reactions":{"a":{"count":1,"users":["w"]}},"#,
                r#""by":[["u","a",false],["w","a",true]]}"#
            )
        );
        assert_eq!(text(&out), expected);
    }

    #[test]
    fn a_long_list_is_told_in_parts_and_nobody_is_left_out() {
        let entry = |user: u32| format!("\"u{user}\":{{\"metas\":[\"{}\"]}}", "x".repeat(1_000));
        for (count, expected) in [(0, 1), (1, 1), (500, 1), (600, 2), (1_100, 3)] {
            let list = (0..count).map(entry).collect::<Vec<_>>().join(",");
            let parts = presence_parts(&list);
            assert_eq!(parts.len(), expected, "{count}");
            assert!(parts.iter().all(|part| part.len() <= PRESENCE_PART_BYTES));
            assert_eq!(parts.join(","), list);
        }
        let large = format!("\"a\":\"{}\"", "x".repeat(2 * PRESENCE_PART_BYTES));
        let list = format!("{large},\"b\":1");
        assert_eq!(presence_parts(&list)[..], [&*large, "\"b\":1"]);
    }

    #[test]
    fn a_long_diff_is_told_in_several_that_come_to_the_same() {
        let entries = |users: std::ops::Range<u32>| {
            let entry = |user| format!("\"u{user}\":{{\"metas\":[\"{}\"]}}", "x".repeat(1_000));
            users.map(entry).collect::<Vec<_>>().join(",")
        };
        let (joins, leaves) = (entries(0..600), entries(550..1_100));
        let short = presence_diff("\"a\":1", "").concat();
        assert_eq!(presence_diffs(&short)[..], [&*short]);
        let whole = presence_diff(&joins, &leaves).concat();
        let diffs = presence_diffs(&whole);
        let all = |name: &str| {
            let parts = diffs.iter().filter_map(|diff| json::fields(diff, [name])[0]);
            let inside = parts.map(|part| &part[1..part.len() - 1]).filter(|part| !part.is_empty());
            inside.collect::<Vec<_>>().join(",")
        };
        assert_eq!((all("joins"), all("leaves")), (joins.clone(), leaves.clone()));
        assert!(diffs.len() == 4 && diffs.iter().all(|diff| diff.len() < PRESENCE_PART_BYTES + 40));
    }
}
