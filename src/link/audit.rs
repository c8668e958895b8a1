//! The audit trail of a room: what those who look after it have done, and what was reported to
//! them.
//!
//! A line belongs to the entry of what was done, and is kept with that or not at all. A report has
//! an entry of its own. Lines have a number each, which grows, and are never changed.
//!
//! Deliberately absent: who may see it (`room::rights`), and where it is kept.

use crate::auth::level::{Inviters, Joiners, Reactors, Speakers, words};
use crate::link::facts::{MemberWish, Sentence, SettingsWish, told_seconds};
use crate::link::field::{Field, struct_fields, word_fields};
use crate::link::given::Given;
use crate::wire::json::{self, push_string, push_unsigned};

words! {
    /// What was done: the event that asked for it.
    AuditAct {
        /// The settings of the room are others.
        RoomSet = "room_set",
        /// A user stands otherwise, was put out, or its messages are deleted.
        RoomMember = "room_member",
        /// A message was deleted by another than its author.
        MsgDelete = "msg_delete",
        /// A message was pinned, or is not any more.
        MsgPin = "msg_pin",
        /// A message was reported.
        MsgReport = "msg_report",
    }
}

/// What a line says of who has become a member by an invite.
pub(crate) const INVITED: &str = "{\"role\":\"member\",\"invite\":true}";

/// A line of a room's audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditLine<'a> {
    /// Its number in the room: from 1 on.
    pub number: u64,
    /// What was done.
    pub act: AuditAct,
    /// By which user.
    pub by: &'a str,
    /// To which user; of a message, its author.
    pub user: Option<&'a str>,
    /// To which message.
    pub offset: Option<u64>,
    /// What was said of it: a JSON string.
    pub text: Option<&'a str>,
    /// What was asked for, by the names of the push: a JSON object.
    pub set: Option<&'a str>,
}

impl<'a> AuditLine<'a> {
    /// Whether anybody can make any number of its kind: reports, and who comes in by an invite.
    pub(crate) fn is_unprivileged(&self) -> bool {
        self.act == AuditAct::MsgReport || self.set == Some(INVITED)
    }

    /// Whether it says that somebody was kicked.
    pub(crate) fn is_of_kick(&self) -> bool {
        self.act == AuditAct::RoomMember
            && self.set.is_some_and(|set| json::field(set, "kick") == Some("true"))
    }

    /// That somebody did something, and no more.
    #[must_use]
    pub fn new(number: u64, act: AuditAct, by: &'a str) -> Self {
        Self { number, act, by, user: None, offset: None, text: None, set: None }
    }

    /// Appends it as it is told: an object.
    pub fn push(&self, out: &mut Vec<u8>, at_ms: u64) {
        let Self { number, act, by, user, offset, text, set } = *self;
        out.extend_from_slice(b"{\"n\":");
        push_unsigned(out, number);
        out.extend_from_slice(b",\"at\":");
        push_unsigned(out, at_ms);
        out.extend_from_slice(b",\"by\":");
        push_string(out, by);
        out.extend_from_slice(b",\"act\":\"");
        out.extend_from_slice(act.as_str().as_bytes());
        out.push(b'"');
        if let Some(user) = user {
            out.extend_from_slice(b",\"user\":");
            push_string(out, user);
        }
        if let Some(offset) = offset {
            out.extend_from_slice(b",\"offset\":");
            push_unsigned(out, offset);
        }
        for (name, value) in [("text", text), ("set", set)] {
            if let Some(value) = value {
                push_field(out, b',', name, value);
            }
        }
        out.push(b'}');
    }
}

/// A line, with memory of its own: [`AuditLine`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "see `AuditLine`")]
pub struct LineText {
    pub number: u64,
    pub act: AuditAct,
    pub by: Box<str>,
    pub user: Option<Box<str>>,
    pub offset: Option<u64>,
    pub text: Option<Box<str>>,
    pub set: Option<Box<str>>,
}

impl LineText {
    /// A copy.
    #[must_use]
    pub fn new(line: &AuditLine<'_>) -> Self {
        let AuditLine { number, act, by, user, offset, text, set } = *line;
        let [user, text, set] = [user, text, set].map(|text| text.map(Box::from));
        Self { number, act, by: by.into(), user, offset, text, set }
    }

    /// As it is said.
    #[must_use]
    pub fn line(&self) -> AuditLine<'_> {
        let Self { number, act, by, user, offset, text, set } = self;
        let [user, text, set] = [user, text, set].map(Option::as_deref);
        AuditLine { number: *number, act: *act, by, user, offset: *offset, text, set }
    }
}

/// Which lines of an audit trail are wanted, the newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditWanted {
    /// Those before this number.
    pub before: u64,
    /// So many at most.
    pub limit: u32,
    /// Those of this act only.
    pub act: Option<AuditAct>,
}

/// The answer to `room_audit`, as it is written: lines, the newest first.
#[derive(Debug)]
pub struct AuditPage {
    json: Vec<u8>,
    count: u32,
}

impl Default for AuditPage {
    fn default() -> Self {
        Self { json: b"{\"acts\":[".to_vec(), count: 0 }
    }
}

impl AuditPage {
    /// How many lines it has.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How long it is, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.json.len()
    }

    /// Appends a line.
    pub fn push(&mut self, push: impl FnOnce(&mut Vec<u8>)) {
        if self.count > 0 {
            self.json.push(b',');
        }
        self.count += 1;
        push(&mut self.json);
    }

    /// The whole answer. `more`: whether there are older ones.
    #[must_use]
    pub fn end(mut self, more: bool) -> Vec<u8> {
        self.json.extend_from_slice(if more { b"],\"more\":true}" } else { b"],\"more\":false}" });
        self.json
    }
}

/// Appends a field of an object, with a value that is JSON, behind `before`.
fn push_field(out: &mut Vec<u8>, before: u8, name: &str, value: &str) {
    out.push(before);
    push_string(out, name);
    out.push(b':');
    out.extend_from_slice(value.as_bytes());
}

/// An object that is written field by field.
#[derive(Default)]
struct Object(Vec<u8>);

impl Object {
    fn field(&mut self, name: &str, value: &str) {
        let before = if self.0.is_empty() { b'{' } else { b',' };
        push_field(&mut self.0, before, name, value);
    }

    fn maybe(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }

    /// `json` makes of a value what it is in JSON.
    fn given<T>(&mut self, name: &str, value: Given<T>, json: impl FnOnce(T) -> String) {
        match value {
            Given::Nothing => {}
            Given::Null => self.field(name, "null"),
            Given::Value(value) => self.field(name, &json(value)),
        }
    }

    fn word(&mut self, name: &str, word: Option<&str>) {
        if let Some(word) = word {
            self.field(name, &format!("\"{word}\""));
        }
    }

    fn number(&mut self, name: &str, number: Option<u64>) {
        if let Some(number) = number {
            self.field(name, &number.to_string());
        }
    }

    /// The object; none, if nothing is in it.
    fn end(mut self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        self.0.push(b'}');
        Some(String::from_utf8(self.0).expect("names and JSON are UTF-8"))
    }
}

impl SettingsWish<'_> {
    /// What it asks for, as its trail says it.
    pub(crate) fn audited(&self) -> Option<String> {
        let Self {
            title,
            topic,
            join,
            speak,
            react,
            slow_s,
            edit_s,
            keep_s,
            keep_messages,
            keep_bytes,
            receipts,
            links,
            invite,
            revoke_invites,
            data,
        } = *self;
        let mut set = Object::default();
        set.maybe("title", title);
        set.given("topic", topic, str::to_owned);
        set.word("join", join.map(Joiners::as_str));
        set.word("speak", speak.map(Speakers::as_str));
        set.word("react", react.map(Reactors::as_str));
        set.number("slow_s", slow_s.map(u64::from));
        set.given("edit_s", edit_s, told_seconds);
        set.given("keep_s", keep_s, told_seconds);
        set.given("keep_messages", keep_messages, |most| most.to_string());
        set.given("keep_bytes", keep_bytes, |most| most.to_string());
        let flag = |is_on| if is_on { "true" } else { "false" };
        set.maybe("receipts", receipts.map(flag));
        set.maybe("links", links.map(flag));
        set.word("invite", invite.map(Inviters::as_str));
        set.maybe("revoke_invites", revoke_invites.then_some("true"));
        set.given("data", data, str::to_owned);
        set.end()
    }
}

impl MemberWish<'_> {
    /// What it asks for, but for whom and why, as its trail says it.
    pub(crate) fn audited(&self) -> Option<String> {
        let Self { user: _, role, mute, ban, kick, purge_s, purge_before, reason: _ } = *self;
        let mut set = Object::default();
        set.given("role", role, |role| format!("\"{}\"", role.as_str()));
        let sentence = |sentence| match sentence {
            Sentence::Lifted => "0".to_owned(),
            Sentence::Seconds(seconds) => seconds.to_string(),
            Sentence::ForEver => "-1".to_owned(),
        };
        set.maybe("muted_s", mute.map(sentence).as_deref());
        set.maybe("banned_s", ban.map(sentence).as_deref());
        set.maybe("kick", kick.then_some("true"));
        set.number("purge_s", purge_s);
        set.number("purge_before", purge_before);
        set.end()
    }
}

word_fields!(AuditAct);
struct_fields!(AuditLine<'a> { number, act, by, user, offset, text, set });
struct_fields!(AuditWanted { before, limit, act });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::level::Role;
    use crate::limits::EDIT_FOR_EVER_S;

    fn told(line: AuditLine<'_>) -> String {
        let mut out = Vec::new();
        line.push(&mut out, 7);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_line_tells_what_it_has_and_no_more() {
        let plain = AuditLine::new(1, AuditAct::RoomSet, "a\"");
        assert_eq!(told(plain), r#"{"n":1,"at":7,"by":"a\"","act":"room_set"}"#);
        let rich = AuditLine {
            act: AuditAct::MsgReport,
            user: Some("é"),
            offset: Some(3),
            text: Some("\"why\""),
            set: Some("{}"),
            ..plain
        };
        let whole = r#"{"n":1,"at":7,"by":"a\"","act":"msg_report","user":"é","offset":3,"text":"why","set":{}}"#;
        assert_eq!(told(rich), whole);
    }

    #[test]
    fn what_was_asked_for_is_said_by_the_names_of_the_push() {
        assert_eq!(SettingsWish::default().audited(), None);
        let wish = SettingsWish {
            title: Some("\"T\""),
            topic: Given::Null,
            join: Some(Joiners::Members),
            speak: Some(Speakers::Moderators),
            slow_s: Some(5),
            edit_s: Given::Value(EDIT_FOR_EVER_S),
            keep_s: Given::Null,
            keep_messages: Given::Value(9),
            keep_bytes: Given::Null,
            receipts: Some(true),
            links: Some(false),
            invite: Some(Inviters::Members),
            revoke_invites: true,
            data: Given::Value("{\"a\":1}"),
            ..SettingsWish::default()
        };
        let whole = r#"{"title":"T","topic":null,"join":"members","speak":"moderators","slow_s":5,"edit_s":-1,"keep_s":null,"keep_messages":9,"keep_bytes":null,"receipts":true,"links":false,"invite":"members","revoke_invites":true,"data":{"a":1}}"#;
        assert_eq!(wish.audited().as_deref(), Some(whole));
        let nothing = MemberWish { user: "bob", reason: Some("\"x\""), ..MemberWish::default() };
        assert_eq!(nothing.audited(), None);
        let wish = MemberWish {
            role: Given::Value(Role::Member),
            mute: Some(Sentence::Lifted),
            ban: Some(Sentence::ForEver),
            kick: true,
            purge_s: Some(60),
            purge_before: Some(9),
            ..nothing
        };
        let whole = r#"{"role":"member","muted_s":0,"banned_s":-1,"kick":true,"purge_s":60,"purge_before":9}"#;
        assert_eq!(wish.audited().as_deref(), Some(whole));
        let wish = MemberWish { role: Given::Null, ban: Some(Sentence::Seconds(3)), ..nothing };
        assert_eq!(wish.audited().as_deref(), Some(r#"{"role":null,"banned_s":3}"#));
    }

    #[test]
    fn a_page_is_whole_with_any_number_of_lines() {
        let page = |count: u32, more| {
            let mut page = AuditPage::default();
            (0..count).for_each(|_| page.push(|out| out.extend_from_slice(b"{}")));
            assert_eq!(page.count(), count);
            String::from_utf8(page.end(more)).expect("UTF-8")
        };
        assert_eq!(page(0, false), r#"{"acts":[],"more":false}"#);
        assert_eq!(page(2, true), r#"{"acts":[{},{}],"more":true}"#);
    }
}
