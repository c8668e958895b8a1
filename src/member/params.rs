//! What the payloads of joins and pushes ask for, read and checked.
//!
//! Deliberately absent: whether it is granted.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use crate::base::name::is_name;
use crate::limits::{
    INVITE_BYTES_MAX, KEY_BYTES_MAX, META_BYTES_MAX, PAGE_MESSAGES_DEFAULT, PAGE_MESSAGES_MAX,
    QUERY_BYTES_MAX, QUERY_BYTES_MIN, SEARCH_MESSAGES_DEFAULT, SEARCH_MESSAGES_MAX,
};
use crate::link::given::Given;
use crate::link::ids::Cursor;
use crate::link::log::View;
use crate::link::message::parse_epoch;
use crate::link::reacted::is_emoji;
use crate::link::record::{Addition, From, NewMessage, Searched, Verb};
use crate::link::refusal::{MENTIONS_LIMIT, Refusal};
use crate::link::settings::Settings;
use crate::link::topic::{MSG_DELETE, MSG_EDIT, MSG_PIN};
use crate::wire::json;
use crate::wire::phx::Payload;

/// A field that is not as it must be.
pub(super) const fn invalid(field: &'static str, message: &'static str) -> Refusal {
    Refusal::Invalid { field, message }
}

/// A number within bounds, which the message names.
pub(super) fn number_within<T: TryFrom<u64> + PartialOrd>(
    value: &str,
    bounds: RangeInclusive<T>,
    (field, message): (&'static str, &'static str),
) -> Result<T, Refusal> {
    json::unsigned(value)
        .and_then(|number| T::try_from(number).ok())
        .filter(|number| bounds.contains(number))
        .ok_or(invalid(field, message))
}

/// That a value is a string of at most so many bytes, as it comes.
pub(super) fn text_within(
    value: &str,
    field: &'static str,
    max_bytes: usize,
) -> Result<(), Refusal> {
    if !value.starts_with('"') {
        return Err(invalid(field, "a string"));
    }
    if value.len() - 2 > max_bytes {
        return Err(Refusal::TooLarge { field, max_bytes });
    }
    Ok(())
}

/// A meta, if it is an object and not too long.
pub(super) fn meta_within(meta: &str) -> Result<&str, Refusal> {
    if !json::is_object(meta) {
        return Err(invalid("meta", "an object"));
    }
    if meta.len() > META_BYTES_MAX {
        return Err(Refusal::TooLarge { field: "meta", max_bytes: META_BYTES_MAX });
    }
    Ok(meta)
}

/// What a join asks for besides the topic.
#[derive(Debug)]
pub(crate) struct JoinParams<'a> {
    pub(crate) since: Option<Cursor>,
    pub(crate) limit: u32,
    pub(crate) visible: bool,
    pub(crate) meta: Option<&'a str>,
    pub(crate) invite: Option<&'a str>,
}

impl<'a> JoinParams<'a> {
    pub(crate) fn parse(payload: Payload<'a>) -> Result<Self, Refusal> {
        let mut params = Self {
            since: None,
            limit: PAGE_MESSAGES_DEFAULT,
            visible: true,
            meta: None,
            invite: None,
        };
        // Phoenix takes any payload for a join; only an object can ask for something.
        let Payload::Json(object) = payload else { return Ok(params) };
        let names = ["since", "limit", "presence", "meta", "invite"];
        let [since, limit, presence, meta, invite] = given(object, names);
        if let Some(since) = since {
            params.since = cursor(since)?;
        }
        if let Some(limit) = limit {
            params.limit = page_limit(limit)?;
        }
        if let Some(presence) = presence {
            params.visible = json::boolean(presence).ok_or(invalid("presence", "true or false"))?;
        }
        if let Some(meta) = meta {
            params.meta = Some(meta_within(meta)?);
        }
        if let Some(invite) = invite {
            text_within(invite, "invite", INVITE_BYTES_MAX)?;
            params.invite = Some(invite);
        }
        Ok(params)
    }
}

/// What a message may have at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageBounds {
    /// Bytes of its body, as it comes.
    pub(crate) body_bytes: usize,
    /// Bytes of its data, as it comes.
    pub(crate) data_bytes: usize,
    /// How many it mentions.
    pub(crate) mentions: u32,
}

impl MessageBounds {
    /// Those of the configuration.
    pub(crate) fn of(settings: &Settings) -> Self {
        let (limits, chat) = (&settings.limits, &settings.chat);
        let (data_bytes, mentions) = (chat.data_bytes, chat.mentions);
        Self { body_bytes: limits.body_bytes, data_bytes, mentions }
    }

    /// A JSON string that may be the body of a message; empty only where there is data.
    fn body(self, body: &str, has_data: bool) -> Result<&str, Refusal> {
        if !body.starts_with('"') || body.len() == 2 && !has_data {
            return Err(invalid("body", "a string that is not empty"));
        }
        if body.len() - 2 > self.body_bytes {
            return Err(Refusal::TooLarge { field: "body", max_bytes: self.body_bytes });
        }
        Ok(body)
    }

    pub(super) fn data(self, data: &str) -> Result<&str, Refusal> {
        if !json::is_object(data) {
            return Err(invalid("data", "an object"));
        }
        if data.len() > self.data_bytes {
            return Err(Refusal::TooLarge { field: "data", max_bytes: self.data_bytes });
        }
        Ok(data)
    }

    /// Users whom a message mentions, of whom there is one at least.
    fn mentions(self, mentions: &str) -> Result<&str, Refusal> {
        let max = self.mentions;
        let mut count = 0;
        for user in json::elements(mentions) {
            if !json::string(user).is_some_and(|user| is_name(&user)) {
                return Err(Refusal::NotMentions { entry: Some(count), max });
            }
            count += 1;
        }
        if count == 0 {
            return Err(Refusal::NotMentions { entry: None, max });
        }
        if count > max {
            return Err(Refusal::TooMany { limit: MENTIONS_LIMIT, max });
        }
        Ok(mentions)
    }
}

/// The payload of `new_msg`.
#[derive(Debug)]
pub(crate) struct Publish<'a> {
    /// As it came, without its key.
    pub(crate) message: NewMessage<'a>,
    pub(crate) key: Option<Cow<'a, str>>,
}

impl<'a> Publish<'a> {
    pub(crate) fn parse(payload: Payload<'a>, bounds: MessageBounds) -> Result<Self, Refusal> {
        let Payload::Json(object) = payload else {
            return Err(invalid("body", "a message is JSON"));
        };
        let names = ["body", "key", "reply_to", "mentions", "data", "stream"];
        let [body, key, reply_to, mentions, data, stream] = given(object, names);
        let data = data.map(|data| bounds.data(data)).transpose()?;
        let stream =
            stream.map(|stream| json::boolean(stream).ok_or(invalid("stream", "true or false")));
        let stream = stream.transpose()?.unwrap_or_default();
        // With data there need be no body, nor where it is to come.
        let may_be_empty = data.is_some() || stream;
        let body = body.or(may_be_empty.then_some("\"\"")).unwrap_or_default();
        let body = bounds.body(body, may_be_empty)?;
        let key = key.map(|key| json::string(key).ok_or(invalid("key", "a string"))).transpose()?;
        if key.as_deref().is_some_and(str::is_empty) {
            return Err(invalid("key", "a string that is not empty"));
        }
        if key.as_deref().is_some_and(|key| key.len() > KEY_BYTES_MAX) {
            return Err(Refusal::TooLarge { field: "key", max_bytes: KEY_BYTES_MAX });
        }
        let reply_to = reply_to
            .map(|offset| {
                json::unsigned(offset).ok_or(invalid("reply_to", "the offset of a message"))
            })
            .transpose()?;
        let mentions = mentions.map(|users| bounds.mentions(users)).transpose()?;
        Ok(Self { message: NewMessage { body, key: None, reply_to, mentions, data, stream }, key })
    }
}

/// What is done to a message by an event, one of [`VERBS`](crate::link::topic::VERBS), and to which
/// one.
///
/// # Errors
///
/// What is wrong with the payload.
///
/// # Panics
///
/// If the event is no verb: doing another one instead could take away what somebody said.
pub(crate) fn verb_wanted<'a>(
    event: &str,
    payload: Payload<'a>,
    bounds: MessageBounds,
) -> Result<(u64, Verb<'a>), Refusal> {
    let (object, offset) = offset_wanted(payload)?;
    let verb = match event {
        MSG_EDIT => edit_wanted(object, bounds)?,
        MSG_PIN => Verb::Pin { on: on_wanted(object)? },
        MSG_DELETE => Verb::Delete,
        _ => unreachable!("{event} is no verb"),
    };
    Ok((offset, verb))
}

/// The fields of what is done to a message, and which one it is done to.
pub(super) fn offset_wanted(payload: Payload<'_>) -> Result<(&str, u64), Refusal> {
    let Payload::Json(object) = payload else {
        return Err(invalid("offset", "the offset of a message, in JSON"));
    };
    let [offset] = given(object, ["offset"]);
    let offset = offset.and_then(json::unsigned).filter(|offset| *offset > 0);
    Ok((object, offset.ok_or(invalid("offset", "the offset of a message"))?))
}

/// Whether it is done, as if that is not said, or taken back.
fn on_wanted(object: &str) -> Result<bool, Refusal> {
    let [on] = given(object, ["on"]);
    on.map_or(Some(true), json::boolean).ok_or(invalid("on", "true or false"))
}

/// In which thread a member types, if in one.
pub(crate) fn typing_wanted(payload: Payload<'_>) -> Result<Option<u64>, Refusal> {
    // Any payload will do for one that says no more.
    let Payload::Json(object) = payload else { return Ok(None) };
    let [thread] = given(object, ["thread"]);
    let thread = thread.map(|thread| json::unsigned(thread).filter(|thread| *thread > 0));
    thread.map(|thread| thread.ok_or(invalid("thread", "the offset of a message"))).transpose()
}

/// What `msg_react` does, and to which message. The emoji is written to `desk`.
pub(crate) fn reaction_wanted<'a>(
    payload: Payload<'_>,
    desk: &'a mut String,
) -> Result<(u64, Addition<'a>), Refusal> {
    let (object, offset) = offset_wanted(payload)?;
    let [emoji] = given(object, ["emoji"]);
    let emoji = emoji.and_then(json::string).filter(|emoji| is_emoji(emoji));
    let message = "a string of 1 to 64 bytes without control characters";
    let emoji = emoji.ok_or(invalid("emoji", message))?;
    desk.clear();
    desk.push_str(&emoji);
    Ok((offset, Addition::Reaction { emoji: desk, on: on_wanted(object)? }))
}

/// What `msg_append` appends, and to which message.
pub(crate) fn text_wanted(
    payload: Payload<'_>,
    bounds: MessageBounds,
) -> Result<(u64, Addition<'_>), Refusal> {
    let (object, offset) = offset_wanted(payload)?;
    let [text, done] = given(object, ["text", "done"]);
    let is_last =
        done.map_or(Some(false), json::boolean).ok_or(invalid("done", "true or false"))?;
    // The end alone need say nothing.
    let text = text.or(is_last.then_some("\"\"")).unwrap_or_default();
    if !text.starts_with('"') || text.len() == 2 && !is_last {
        return Err(invalid("text", "a string that is not empty, unless it is done"));
    }
    if text.len() - 2 > bounds.body_bytes {
        return Err(Refusal::TooLarge { field: "text", max_bytes: bounds.body_bytes });
    }
    Ok((offset, Addition::Text { text, is_last }))
}

fn edit_wanted(object: &str, bounds: MessageBounds) -> Result<Verb<'_>, Refusal> {
    let [body, mentions, data] = json::fields(object, ["body", "mentions", "data"]);
    if body.is_none() && mentions.is_none() && data.is_none() {
        return Err(invalid("body", "at least one of body, mentions and data"));
    }
    // Whether it may be empty is known where the message is.
    let body = body.map(|body| bounds.body(body, true)).transpose()?;
    let (mentions, data) = (Given::of(mentions), Given::of(data));
    if let Given::Value(users) = mentions {
        bounds.mentions(users)?;
    }
    if let Given::Value(data) = data {
        bounds.data(data)?;
    }
    Ok(Verb::Edit { body, mentions, data })
}

/// What `history` asks for.
pub(crate) fn page_wanted(payload: Payload<'_>) -> Result<(View, From, u32), Refusal> {
    let object = match payload {
        Payload::Json(object) => object,
        Payload::Binary(_) => "{}",
    };
    let names = ["before", "after", "around", "limit", "thread", "pinned"];
    let [before, after, around, limit, thread, pinned] = given(object, names);
    let limit = limit.map_or(Ok(PAGE_MESSAGES_DEFAULT), page_limit)?;
    let offset = |field, offset: &str| {
        json::unsigned(offset).ok_or(invalid(field, "the offset of a message"))
    };
    let from = match (before, after, around) {
        (None, None, None) => From::Latest,
        (Some(before), None, None) => From::Before(offset("before", before)?),
        (None, Some(after), None) => From::After(offset("after", after)?),
        (None, None, Some(around)) => From::Around(offset("around", around)?),
        (Some(_), Some(_), _) => return Err(invalid("after", "not together with before")),
        (_, _, Some(_)) => return Err(invalid("around", "not together with before or after")),
    };
    let is_pinned = match pinned.map(json::boolean) {
        None => false,
        Some(Some(is_pinned)) => is_pinned,
        Some(None) => return Err(invalid("pinned", "true or false")),
    };
    let view = match thread {
        None if is_pinned => View::Pins,
        None => View::Room,
        Some(_) if is_pinned => return Err(invalid("pinned", "not together with thread")),
        Some(thread) => View::Thread(offset("thread", thread)?),
    };
    if view != View::Room && matches!(from, From::Around(_)) {
        return Err(invalid("around", "not together with thread or pinned"));
    }
    Ok((view, from, limit))
}

/// What `msg_search` asks for.
pub(crate) fn search_wanted(payload: Payload<'_>) -> Result<Searched<'_>, Refusal> {
    let Payload::Json(object) = payload else {
        return Err(invalid("query", "a search is JSON"));
    };
    let [query, from, before, limit] = given(object, ["query", "from", "before", "limit"]);
    let is_query = |query: &&str| {
        json::string(query)
            .is_some_and(|query| (QUERY_BYTES_MIN..=QUERY_BYTES_MAX).contains(&query.len()))
    };
    let query = query.filter(is_query).ok_or(invalid("query", "a string of 2 to 128 bytes"))?;
    if from.is_some_and(|from| json::string(from).is_none()) {
        return Err(invalid("from", "a user's id"));
    }
    let before = before
        .map(|before| json::unsigned(before).ok_or(invalid("before", "the offset of a message")))
        .transpose()?;
    let limit = limit.map_or(Ok(SEARCH_MESSAGES_DEFAULT), |limit| {
        number_within(limit, 1..=SEARCH_MESSAGES_MAX, ("limit", "a number from 1 to 50"))
    })?;
    Ok(Searched { query, from, before, limit })
}

/// What `access_token` brings: a token, of so many bytes at most.
pub(crate) fn token_given(payload: Payload<'_>, bytes_max: usize) -> Result<Cow<'_, str>, Refusal> {
    let invalid = invalid("token", "a string");
    let Payload::Json(object) = payload else { return Err(invalid) };
    let [token] = given(object, ["token"]);
    let token = token.and_then(json::string).ok_or(invalid)?;
    if token.len() > bytes_max {
        return Err(Refusal::TooLarge { field: "token", max_bytes: bytes_max });
    }
    Ok(token)
}

/// A cursor as the client keeps it. An epoch that is none of ours is a cursor into nothing, and not
/// an error.
fn cursor(since: &str) -> Result<Option<Cursor>, Refusal> {
    let invalid = invalid(
        "since",
        "an object with an epoch (string), an offset and perhaps a change (numbers)",
    );
    let [epoch, offset, change] = given(since, ["epoch", "offset", "change"]);
    let epoch = epoch.and_then(json::string).ok_or(invalid)?;
    let offset = offset.and_then(json::unsigned).ok_or(invalid)?;
    let change = change.map(|change| json::unsigned(change).ok_or(invalid)).transpose()?;
    // An epoch that does not parse is still an answer to "were you there?": no. Epoch 0 is never
    // given out.
    let epoch = parse_epoch(&epoch).unwrap_or(0);
    Ok(Some(Cursor { epoch, offset, change }))
}

fn page_limit(limit: &str) -> Result<u32, Refusal> {
    number_within(limit, 0..=PAGE_MESSAGES_MAX, ("limit", "a number from 0 to 100"))
}

/// Those of these fields that are there and not null.
pub(super) fn given<'a, const N: usize>(object: &'a str, names: [&str; N]) -> [Option<&'a str>; N] {
    json::fields(object, names).map(|value| value.filter(|value| *value != "null"))
}

/// A custom payload with its sender in it: as it came if it names the sender, else with `user` put
/// in front.
///
/// *Every* `user` in it counts, under any spelling: clients differ in which of two they see.
pub(crate) fn signed<'a>(
    object: &'a str,
    user: &str,
    out: &'a mut Vec<u8>,
) -> Result<&'a str, Refusal> {
    if !json::is_object(object) {
        return Err(invalid("payload", "an object"));
    }
    let mut named = false;
    for (key, value) in json::members(object) {
        if json::string(key).as_deref() == Some("user") {
            named = true;
            if json::string(value).as_deref() != Some(user) {
                return Err(Refusal::UserMismatch);
            }
        }
    }
    if named {
        return Ok(object);
    }
    out.clear();
    out.extend_from_slice(b"{\"user\":");
    json::push_string(out, user);
    let inside = object.trim_start().get(1..).unwrap_or_default();
    if !inside.trim_start().starts_with('}') {
        out.push(b',');
    }
    out.extend_from_slice(inside.as_bytes());
    Ok(std::str::from_utf8(out).expect("JSON and a string are UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::mem::discriminant;

    use super::*;
    use crate::link::topic::VERBS;

    #[test]
    fn a_custom_payload_gets_its_sender_and_keeps_every_other_byte() {
        let signed = |object| signed(object, "bob", &mut Vec::new()).map(str::to_owned);
        assert_eq!(signed("{}").as_deref(), Ok(r#"{"user":"bob"}"#));
        assert_eq!(signed(" { } ").as_deref(), Ok(r#"{"user":"bob" } "#));
        assert_eq!(
            signed(r#"{ "x":1.0e5,"y":"\u00e9"}"#).as_deref(),
            Ok(r#"{"user":"bob", "x":1.0e5,"y":"\u00e9"}"#)
        );
        assert_eq!(signed(r#"{"x":1, "user":"bob"}"#).as_deref(), Ok(r#"{"x":1, "user":"bob"}"#));
        assert_eq!(signed(r#"{"user":"ann"}"#), Err(Refusal::UserMismatch));
        assert_eq!(signed(r#"{"user":"bob","us\u0065r":"ann"}"#), Err(Refusal::UserMismatch));
        assert_eq!(signed(r#"{"user":null}"#), Err(Refusal::UserMismatch));
        assert!(matches!(signed("[1]"), Err(Refusal::Invalid { .. })));
    }

    #[test]
    fn a_cursor_has_a_change_if_its_client_knows_of_changes() {
        let since = |cursor: &str| {
            let payload = format!(r#"{{"since":{cursor}}}"#);
            JoinParams::parse(Payload::Json(&payload)).map(|params| params.since)
        };
        let cursor =
            |change| Some(Cursor { epoch: parse_epoch("a").unwrap_or(0), offset: 3, change });
        assert_eq!(since(r#"{"epoch":"a","offset":3}"#), Ok(cursor(None)));
        assert_eq!(since(r#"{"epoch":"a","offset":3,"change":null}"#), Ok(cursor(None)));
        assert_eq!(since(r#"{"epoch":"a","offset":3,"change":12}"#), Ok(cursor(Some(12))));
        for invalid in [r#"{"epoch":"a","change":1}"#, r#"{"epoch":"a","offset":3,"change":-1}"#] {
            assert!(matches!(since(invalid), Err(Refusal::Invalid { field: "since", .. })));
        }
    }

    const BOUNDS: MessageBounds = MessageBounds { body_bytes: 8, data_bytes: 8, mentions: 2 };

    #[test]
    fn a_verb_says_what_is_wrong_with_it() {
        let wanted = |event, payload| verb_wanted(event, Payload::Json(payload), BOUNDS);
        let edit = Verb::Edit { body: Some("\"b\""), mentions: Given::Nothing, data: Given::Null };
        let edited = wanted(MSG_EDIT, r#"{"offset":3,"body":"b","data":null}"#);
        assert_eq!(edited, Ok((3, edit)));
        assert_eq!(wanted(MSG_DELETE, r#"{"offset":3}"#), Ok((3, Verb::Delete)));
        assert_eq!(wanted(MSG_PIN, r#"{"offset":3}"#), Ok((3, Verb::Pin { on: true })));
        let unpinned = wanted(MSG_PIN, r#"{"offset":3,"on":false}"#);
        assert_eq!(unpinned, Ok((3, Verb::Pin { on: false })));
        for (event, payload, field) in [
            (MSG_DELETE, "{}", "offset"),
            (MSG_DELETE, "[]", "offset"),
            (MSG_DELETE, r#"{"offset":0}"#, "offset"),
            (MSG_DELETE, r#"{"offset":"3"}"#, "offset"),
            (MSG_EDIT, r#"{"offset":3}"#, "body"),
            (MSG_EDIT, r#"{"offset":3,"body":null}"#, "body"),
            (MSG_EDIT, r#"{"offset":3,"data":1}"#, "data"),
            (MSG_PIN, r#"{"offset":3,"on":1}"#, "on"),
        ] {
            let Err(Refusal::Invalid { field: named, .. }) = wanted(event, payload) else {
                panic!("{event} {payload} is invalid")
            };
            assert_eq!(named, field, "{event} {payload}");
        }
    }

    #[test]
    fn each_name_of_a_verb_is_of_another_one() {
        let wanted =
            |event| verb_wanted(event, Payload::Json(r#"{"offset":3,"body":"b"}"#), BOUNDS);
        let verbs = VERBS.map(|event| wanted(event).expect("it has all that it needs"));
        let kinds: HashSet<_> = verbs.iter().map(|(_, verb)| discriminant(verb)).collect();
        assert_eq!(kinds.len(), VERBS.len(), "{verbs:?}");
    }

    #[test]
    fn a_reaction_says_what_is_wrong_with_it() {
        for (payload, emoji, on) in [
            (r#"{"offset":3,"emoji":"\ud83d\udc4d"}"#, "👍", true),
            (r#"{"offset":3,"emoji":"ok","on":false}"#, "ok", false),
        ] {
            let mut desk = String::new();
            let wanted = reaction_wanted(Payload::Json(payload), &mut desk);
            assert_eq!(wanted, Ok((3, Addition::Reaction { emoji, on })));
        }
        let long = format!(r#"{{"offset":3,"emoji":"{}"}}"#, "x".repeat(65));
        for (payload, field) in [
            (r#"{"emoji":"a"}"#, "offset"),
            (r#"{"offset":3}"#, "emoji"),
            (r#"{"offset":3,"emoji":""}"#, "emoji"),
            (r#"{"offset":3,"emoji":"a\tb"}"#, "emoji"),
            (r#"{"offset":3,"emoji":["a"]}"#, "emoji"),
            (&long, "emoji"),
            (r#"{"offset":3,"emoji":"a","on":1}"#, "on"),
        ] {
            let mut desk = String::new();
            let Err(Refusal::Invalid { field: named, .. }) =
                reaction_wanted(Payload::Json(payload), &mut desk)
            else {
                panic!("{payload} is invalid")
            };
            assert_eq!(named, field, "{payload}");
        }
    }

    #[test]
    fn what_is_appended_says_what_is_wrong_with_it() {
        for (payload, text, is_last) in [
            (r#"{"offset":3,"text":"a"}"#, "\"a\"", false),
            (r#"{"offset":3,"text":"a","done":true}"#, "\"a\"", true),
            (r#"{"offset":3,"done":true}"#, "\"\"", true),
        ] {
            let wanted = text_wanted(Payload::Json(payload), BOUNDS);
            assert_eq!(wanted, Ok((3, Addition::Text { text, is_last })), "{payload}");
        }
        for (payload, field) in [
            (r#"{"text":"a"}"#, "offset"),
            (r#"{"offset":3}"#, "text"),
            (r#"{"offset":3,"text":""}"#, "text"),
            (r#"{"offset":3,"text":1,"done":true}"#, "text"),
            (r#"{"offset":3,"text":"a","done":1}"#, "done"),
        ] {
            let Err(Refusal::Invalid { field: named, .. }) =
                text_wanted(Payload::Json(payload), BOUNDS)
            else {
                panic!("{payload} is invalid")
            };
            assert_eq!(named, field, "{payload}");
        }
    }

    #[test]
    fn a_page_says_what_is_wrong_with_it() {
        let wanted = |payload| page_wanted(Payload::Json(payload));
        for (payload, expected) in [
            ("{}", (View::Room, From::Latest, 50)),
            ("[]", (View::Room, From::Latest, 50)),
            (r#"{"before":3,"limit":0}"#, (View::Room, From::Before(3), 0)),
            (r#"{"around":3,"before":null,"pinned":false}"#, (View::Room, From::Around(3), 50)),
            (r#"{"thread":7}"#, (View::Thread(7), From::Latest, 50)),
            (r#"{"thread":7,"after":9}"#, (View::Thread(7), From::After(9), 50)),
            (r#"{"pinned":true,"before":9}"#, (View::Pins, From::Before(9), 50)),
        ] {
            assert_eq!(wanted(payload), Ok(expected), "{payload}");
        }
        assert_eq!(page_wanted(Payload::Binary(b"x")), Ok((View::Room, From::Latest, 50)));
        for (payload, field) in [
            (r#"{"before":1,"after":1}"#, "after"),
            (r#"{"before":1,"around":1}"#, "around"),
            (r#"{"after":1,"around":1}"#, "around"),
            (r#"{"before":-1}"#, "before"),
            (r#"{"after":"1"}"#, "after"),
            (r#"{"around":1.5}"#, "around"),
            (r#"{"limit":101}"#, "limit"),
            (r#"{"thread":true}"#, "thread"),
            (r#"{"thread":1,"around":1}"#, "around"),
            (r#"{"pinned":true,"around":1}"#, "around"),
            (r#"{"pinned":1}"#, "pinned"),
            (r#"{"pinned":true,"thread":1}"#, "pinned"),
        ] {
            let Err(Refusal::Invalid { field: named, .. }) = wanted(payload) else {
                panic!("{payload} is invalid")
            };
            assert_eq!(named, field, "{payload}");
        }
    }

    #[test]
    fn a_token_is_a_string_of_bounded_length() {
        let token = |payload| token_given(Payload::Json(payload), 8);
        assert_eq!(token(r#"{"token":"a.b.c"}"#).as_deref(), Ok("a.b.c"));
        assert_eq!(token(r#"{"token":"a\u002eb.c"}"#).as_deref(), Ok("a.b.c"));
        assert_eq!(token(r#"{"x":1,"token":"12345678"}"#).as_deref(), Ok("12345678"));
        let too_large = Err(Refusal::TooLarge { field: "token", max_bytes: 8 });
        assert_eq!(token(r#"{"token":"123456789"}"#), too_large);
        for payload in ["{}", "[]", r#"["a"]"#, r#"{"token":null}"#, r#"{"token":1}"#] {
            assert!(matches!(token(payload), Err(Refusal::Invalid { field: "token", .. })));
        }
        let binary = token_given(Payload::Binary(b"a.b.c"), 8);
        assert!(matches!(binary, Err(Refusal::Invalid { field: "token", .. })));
    }

    #[test]
    fn a_message_says_what_is_wrong_with_it() {
        let parse = |payload| Publish::parse(Payload::Json(payload), BOUNDS);
        let valid = parse(r#"{"body":"hi","key":"k","reply_to":3,"mentions":["bob"]}"#);
        assert_eq!(valid.expect("valid").message.body, "\"hi\"");
        let data_alone = parse(r#"{"data":{"a":1}}"#).expect("valid").message;
        assert_eq!((data_alone.body, data_alone.data), ("\"\"", Some(r#"{"a":1}"#)));
        let grows = parse(r#"{"stream":true}"#).expect("valid").message;
        assert_eq!((grows.body, grows.stream), ("\"\"", true));
        for (payload, field) in [
            ("{}", "body"),
            ("[]", "body"),
            (r#"{"body":1}"#, "body"),
            (r#"{"body":""}"#, "body"),
            (r#"{"body":"a","key":""}"#, "key"),
            (r#"{"body":"a","key":1}"#, "key"),
            (r#"{"body":"a","reply_to":-1}"#, "reply_to"),
            (r#"{"body":"a","data":[]}"#, "data"),
            (r#"{"body":1,"data":{}}"#, "body"),
            (r#"{"body":"a","stream":1}"#, "stream"),
            (r#"{"body":"","stream":false}"#, "body"),
        ] {
            let Err(Refusal::Invalid { field: named, .. }) = parse(payload) else {
                panic!("{payload} is invalid")
            };
            assert_eq!(named, field, "{payload}");
        }
        for (payload, entry) in [
            (r#"{"body":"a","mentions":"bob"}"#, None),
            (r#"{"body":"a","mentions":[]}"#, None),
            (r#"{"body":"a","mentions":[1]}"#, Some(0)),
            (r#"{"body":"a","mentions":["bob",""]}"#, Some(1)),
            (r#"{"body":"a","mentions":["bob","a\u0001"]}"#, Some(1)),
        ] {
            let refused = parse(payload).err();
            assert_eq!(refused, Some(Refusal::NotMentions { entry, max: 2 }), "{payload}");
        }
        let at_the_limit = parse(r#"{"body":"12345678"}"#).expect("at the limit");
        assert_eq!(at_the_limit.message.body.len(), 10);
        assert!(matches!(
            parse(r#"{"body":"a","data":{"a":1234}}"#),
            Err(Refusal::TooLarge { field: "data", max_bytes: 8 })
        ));
        assert!(matches!(
            parse(r#"{"body":"a","mentions":["a","b","c"]}"#),
            Err(Refusal::TooMany { limit: MENTIONS_LIMIT, max: 2 })
        ));
        assert!(matches!(
            parse(r#"{"body":"123456789"}"#),
            Err(Refusal::TooLarge { field: "body", max_bytes: 8 })
        ));
    }
}
