//! What is decided of a room: its settings, and how users stand in it. And the wishes to decide it
//! otherwise, as they come from a member's shard.
//!
//! Settings are one JSON object, in which those with their default values are left out: so they
//! stand in the file of a store and in an export, and so members are told of them.
//!
//! Deliberately absent: who may wish what (`room::rights`).

use crate::auth::level::{
    Inviters, Joiners, NEVER_MS, Reactors, Restraint, Role, Speakers, Standing,
};
use crate::limits::{EDIT_FOR_EVER_S, KEEP_BYTES_MAX, KEEP_MESSAGES_MAX, KEEP_S_MAX, SLOW_S_MAX};
use crate::link::field::{Field, struct_fields};
use crate::link::given::Given;
use crate::wire::json::{self, push_string, push_unsigned};

/// The settings of a room, but for its title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomSettings {
    /// What it is about: a JSON string.
    pub topic: Option<Box<str>>,
    /// Who may join.
    pub join: Joiners,
    /// Who may speak.
    pub speak: Speakers,
    /// Who may react.
    pub react: Reactors,
    /// After a message its author waits so long before the next one, in seconds; 0: not at all.
    pub slow_s: u32,
    /// For how long an author may edit a message, in seconds: up to `EDIT_S_MAX`, or
    /// [`EDIT_FOR_EVER_S`]. `None`: as on the whole server.
    pub edit_s: Option<u64>,
    /// For how long its messages are kept, in seconds; `None`: as on the whole server.
    pub keep_s: Option<u64>,
    /// How many of them a store keeps; `None`: as many as the server says.
    pub keep_messages: Option<u64>,
    /// How many bytes of them a store keeps; `None`: as many as the server says.
    pub keep_bytes: Option<u64>,
    /// Whether members are told how far others have read. It is kept for them: there are no read
    /// marks yet.
    pub receipts: bool,
    /// Whether those who do not look after it may send links.
    pub links: bool,
    /// Who may invite others.
    pub invite: Inviters,
    /// How often all invites were taken back: those made before that are void.
    pub invites: u32,
    /// What its application attaches: a JSON object.
    pub data: Option<Box<str>>,
}

impl Default for RoomSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl RoomSettings {
    /// Those of a room of which nothing was decided.
    pub const DEFAULT: Self = Self {
        topic: None,
        join: Joiners::All,
        speak: Speakers::All,
        react: Reactors::Speakers,
        slow_s: 0,
        edit_s: None,
        keep_s: None,
        keep_messages: None,
        keep_bytes: None,
        receipts: false,
        links: true,
        invite: Inviters::Moderators,
        invites: 0,
        data: None,
    };

    /// Appends those that are not as the default, each behind a comma: the end of an object's
    /// inside.
    pub fn push_fields(&self, out: &mut Vec<u8>) {
        let Self {
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
            invites,
            data,
        } = self;
        let mut field = |name: &str, value: &str| {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            out.extend_from_slice(value.as_bytes());
        };
        if let Some(topic) = topic {
            field("topic", topic);
        }
        if *join != Joiners::All {
            field("join", &format!("\"{}\"", join.as_str()));
        }
        if *speak != Speakers::All {
            field("speak", &format!("\"{}\"", speak.as_str()));
        }
        if *react != Reactors::Speakers {
            field("react", &format!("\"{}\"", react.as_str()));
        }
        if *slow_s > 0 {
            field("slow_s", &slow_s.to_string());
        }
        if let Some(edit_s) = edit_s {
            field("edit_s", &told_seconds(*edit_s));
        }
        let keep =
            [("keep_s", keep_s), ("keep_messages", keep_messages), ("keep_bytes", keep_bytes)];
        for (name, most) in keep {
            if let Some(most) = most {
                field(name, &most.to_string());
            }
        }
        if *receipts {
            field("receipts", "true");
        }
        if !links {
            field("links", "false");
        }
        if *invite != Inviters::Moderators {
            field("invite", &format!("\"{}\"", invite.as_str()));
        }
        if *invites > 0 {
            field("invites", &invites.to_string());
        }
        if let Some(data) = data {
            field("data", data);
        }
    }

    /// As one object; `{}` of those that are as the default.
    #[must_use]
    pub fn json(&self) -> String {
        let mut fields = Vec::new();
        self.push_fields(&mut fields);
        let inside = String::from_utf8_lossy(fields.get(1..).unwrap_or_default());
        format!("{{{inside}}}")
    }

    /// Reads what [`RoomSettings::json`] wrote. What is none of it is as the default.
    #[must_use]
    pub fn read(object: &str) -> Self {
        let names = ["topic", "join", "speak", "react", "slow_s", "edit_s", "links", "data"];
        let [topic, join, speak, react, slow_s, edit_s, links, data] = json::fields(object, names);
        let names = ["receipts", "invite", "invites"];
        let [receipts, invite, invites] = json::fields(object, names);
        let count = |value: Option<&str>| u32::try_from(value.and_then(json::unsigned)?).ok();
        let word =
            |value: Option<&str>| value.and_then(json::string).unwrap_or_default().into_owned();
        let RoomKeep { seconds, messages, bytes } = Self::keep_in(object);
        // What is not known lets nobody in.
        let join =
            join.map_or(Joiners::All, |_| Joiners::of(&word(join)).unwrap_or(Joiners::Members));
        let speak = speak
            .map_or(Speakers::All, |_| Speakers::of(&word(speak)).unwrap_or(Speakers::Moderators));
        Self {
            topic: topic.filter(|topic| topic.starts_with('"')).map(Box::from),
            join,
            speak,
            react: Reactors::of(&word(react)).unwrap_or(Reactors::Speakers),
            slow_s: count(slow_s).unwrap_or_default().min(SLOW_S_MAX),
            edit_s: edit_s.and_then(|edit_s| match edit_s {
                "-1" => Some(EDIT_FOR_EVER_S),
                edit_s => json::unsigned(edit_s),
            }),
            keep_s: seconds,
            keep_messages: messages,
            keep_bytes: bytes,
            receipts: receipts.and_then(json::boolean).unwrap_or_default(),
            links: links.and_then(json::boolean).unwrap_or(true),
            invite: Inviters::of(&word(invite)).unwrap_or(Inviters::Moderators),
            invites: count(invites).unwrap_or_default(),
            data: data.filter(|data| json::is_object(data)).map(Box::from),
        }
    }

    /// What is kept of messages, by what [`RoomSettings::json`] wrote. What is no number lets go of
    /// nothing that the server keeps.
    #[must_use]
    pub fn keep_in(object: &str) -> RoomKeep {
        let fields = json::fields(object, ["keep_s", "keep_messages", "keep_bytes"]);
        let [seconds, messages, bytes] = fields.map(|value| {
            let most = value.and_then(json::unsigned);
            most.filter(|most| *most > 0)
        });
        RoomKeep {
            seconds: seconds.map(|most| most.min(KEEP_S_MAX)),
            messages: messages.map(|most| most.min(KEEP_MESSAGES_MAX)),
            bytes: bytes.map(|most| most.min(KEEP_BYTES_MAX)),
        }
    }

    /// What its texts take, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let bytes = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        bytes(&self.topic) + bytes(&self.data)
    }

    /// These, as a wish would have them.
    #[must_use]
    pub(crate) fn with(&self, wish: &SettingsWish<'_>) -> Self {
        let mut next = self.clone();
        wish.topic.set(&mut next.topic);
        wish.data.set(&mut next.data);
        next.join = wish.join.unwrap_or(next.join);
        next.speak = wish.speak.unwrap_or(next.speak);
        next.react = wish.react.unwrap_or(next.react);
        next.slow_s = wish.slow_s.unwrap_or(next.slow_s);
        wish.edit_s.set(&mut next.edit_s);
        wish.keep_s.set(&mut next.keep_s);
        wish.keep_messages.set(&mut next.keep_messages);
        wish.keep_bytes.set(&mut next.keep_bytes);
        next.receipts = wish.receipts.unwrap_or(next.receipts);
        next.links = wish.links.unwrap_or(next.links);
        next.invite = wish.invite.unwrap_or(next.invite);
        next.invites = next.invites.saturating_add(u32::from(wish.revoke_invites));
        next
    }
}

/// What of a room's messages is kept, by its own settings. `None`: as the server says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomKeep {
    /// For how long, in seconds.
    pub seconds: Option<u64>,
    /// How many.
    pub messages: Option<u64>,
    /// How many bytes.
    pub bytes: Option<u64>,
}

/// What is kept of each room, unless it has its own. 0: no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// For how long, in seconds.
    pub seconds: u64,
    /// How many messages.
    pub messages: u64,
    /// How many bytes: of a message its text, its author, its key, who has reacted, and 32.
    pub bytes: u64,
}

impl Keep {
    /// Whether anything is bounded.
    #[must_use]
    pub fn is_bound(self) -> bool {
        self != Self::default()
    }

    /// Before when a message is too old, in milliseconds of Unix time; 0, if none is.
    #[must_use]
    pub fn too_old_before(self, now_ms: u64) -> u64 {
        if self.seconds == 0 {
            return 0;
        }
        now_ms.saturating_sub(self.seconds.saturating_mul(1_000))
    }

    /// What is kept of a room that has bounds of its own. Its own time goes before that of all
    /// rooms, whichever is longer; of its own number of messages or bytes, and that of all rooms,
    /// the less counts.
    #[must_use]
    pub fn of_room(self, own: RoomKeep) -> Self {
        let less = |own: Option<u64>, of_all: u64| match own {
            Some(own) if of_all == 0 || own < of_all => own,
            _ => of_all,
        };
        Self {
            seconds: own.seconds.unwrap_or(self.seconds),
            messages: less(own.messages, self.messages),
            bytes: less(own.bytes, self.bytes),
        }
    }
}

/// What `room_set` asks for; what it does not name stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SettingsWish<'a> {
    /// What the room is called: a JSON string.
    pub(crate) title: Option<&'a str>,
    pub(crate) topic: Given<&'a str>,
    pub(crate) join: Option<Joiners>,
    pub(crate) speak: Option<Speakers>,
    pub(crate) react: Option<Reactors>,
    pub(crate) slow_s: Option<u32>,
    /// `Null`: as on the whole server.
    pub(crate) edit_s: Given<u64>,
    /// `Null`: as on the whole server.
    pub(crate) keep_s: Given<u64>,
    /// `Null`: as many as the server says.
    pub(crate) keep_messages: Given<u64>,
    /// `Null`: as many as the server says.
    pub(crate) keep_bytes: Given<u64>,
    pub(crate) receipts: Option<bool>,
    pub(crate) links: Option<bool>,
    pub(crate) invite: Option<Inviters>,
    /// Whether all invites that were made are void from now on.
    pub(crate) revoke_invites: bool,
    pub(crate) data: Given<&'a str>,
}

impl SettingsWish<'_> {
    /// What members are sent of it, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.title.map_or(0, str::len) + self.topic.bytes() + self.data.bytes()
    }

    /// Whether it asks how long, or how much, is to be kept.
    pub(crate) fn is_of_keeping(&self) -> bool {
        [self.keep_s, self.keep_messages, self.keep_bytes].iter().any(|of| *of != Given::Nothing)
    }

    /// Whether it asks for a title, and nothing else.
    pub(crate) fn is_title_only(&self) -> bool {
        self.title.is_some() && Self { title: None, ..*self } == SettingsWish::default()
    }
}

/// What `room_member` asks for: what is to become of a user in the room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemberWish<'a> {
    /// The user's id.
    pub(crate) user: &'a str,
    /// `Null`: it is to be no member any more.
    pub(crate) role: Given<Role>,
    /// For how long it may not speak.
    pub(crate) mute: Option<Sentence>,
    /// For how long it is kept out.
    pub(crate) ban: Option<Sentence>,
    /// Whether it is put out, and may come back.
    pub(crate) kick: bool,
    /// Its messages of the last so many seconds are deleted.
    pub(crate) purge_s: Option<u64>,
    /// Those before this offset alone: where the answer to an earlier purge has ended.
    pub(crate) purge_before: Option<u64>,
    /// Why, as it is told: a JSON string.
    pub(crate) reason: Option<&'a str>,
}

impl MemberWish<'_> {
    /// Whether it asks for nothing that is remembered of the user.
    pub(crate) fn is_kick_or_purge_only(&self) -> bool {
        self.role == Given::Nothing && self.mute.is_none() && self.ban.is_none()
    }

    /// Whether it mutes or bans.
    pub(crate) fn restrains(&self) -> bool {
        [self.mute, self.ban].into_iter().flatten().any(|of| of != Sentence::Lifted)
    }

    /// Whether it asks for nothing but a role, and that a mute or a ban is lifted.
    pub(crate) fn is_role_or_lifting(&self) -> bool {
        !self.restrains() && !self.kick && self.purge_s.is_none()
    }

    /// Whether it asks for nothing but a role.
    pub(crate) fn is_role_only(&self) -> bool {
        self.mute.is_none() && self.ban.is_none() && !self.kick && self.purge_s.is_none()
    }
}

/// For how long something is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sentence {
    /// It is lifted.
    Lifted,
    /// So many seconds from now on.
    Seconds(u64),
    /// For ever.
    ForEver,
}

impl Sentence {
    /// Until when, in milliseconds of Unix time; 0, if it is lifted.
    pub(crate) fn until_ms(self, now_ms: u64) -> u64 {
        match self {
            Self::Lifted => 0,
            Self::Seconds(s) => now_ms.saturating_add(s.saturating_mul(1_000)).min(NEVER_MS),
            Self::ForEver => NEVER_MS,
        }
    }
}

/// What `room_members` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MembersWanted<'a> {
    /// Those who are held to this now; `None`: those with a role.
    pub(crate) restraint: Option<Restraint>,
    /// Users behind this id.
    pub(crate) after: &'a str,
    /// So many at most.
    pub(crate) limit: u32,
}

/// Appends a time until which something holds, as clients are told it: 0, if that is for ever.
pub(crate) fn push_until(out: &mut Vec<u8>, until_ms: u64) {
    push_unsigned(out, told_until(until_ms));
}

/// A time until which something holds, as clients are told it: 0, if that is for ever.
pub(crate) const fn told_until(until_ms: u64) -> u64 {
    if until_ms >= NEVER_MS { 0 } else { until_ms }
}

/// A time in seconds as clients are told it: -1, if it has no end.
pub(crate) fn told_seconds(seconds: u64) -> String {
    if seconds == EDIT_FOR_EVER_S { "-1".to_owned() } else { seconds.to_string() }
}

/// Appends how a user stands, as members are told: an object without its end.
pub(crate) fn push_standing(out: &mut Vec<u8>, user: &str, standing: Standing, now_ms: u64) {
    out.extend_from_slice(b"{\"user\":");
    push_string(out, user);
    push_role_and_mute(out, standing, now_ms);
    if standing.is_banned(now_ms) {
        out.extend_from_slice(b",\"banned_until\":");
        push_until(out, standing.banned_until_ms);
    }
}

/// Appends what a user is told of how it stands itself: fields, each behind a comma.
pub(crate) fn push_role_and_mute(out: &mut Vec<u8>, standing: Standing, now_ms: u64) {
    if let Some(role) = standing.role {
        out.extend_from_slice(b",\"role\":\"");
        out.extend_from_slice(role.as_str().as_bytes());
        out.push(b'"');
    }
    if standing.is_muted(now_ms) {
        out.extend_from_slice(b",\"muted_until\":");
        push_until(out, standing.muted_until_ms);
    }
}

struct_fields!(SettingsWish<'a> {
    title, topic, join, speak, react, slow_s, edit_s, keep_s, keep_messages, keep_bytes,
    receipts, links, invite, revoke_invites, data,
});
struct_fields!(MemberWish<'a> { user, role, mute, ban, kick, purge_s, purge_before, reason });
struct_fields!(MembersWanted<'a> { restraint, after, limit });
struct_fields!(Standing { role, muted_until_ms, banned_until_ms });

impl Field<'_> for Sentence {
    fn put(self, out: &mut Vec<u8>) {
        let seconds = match self {
            Self::Lifted => 0,
            Self::Seconds(seconds) => seconds,
            Self::ForEver => u64::MAX,
        };
        seconds.put(out);
    }

    fn read(record: &mut &[u8]) -> Option<Self> {
        Some(match u64::read(record)? {
            0 => Self::Lifted,
            u64::MAX => Self::ForEver,
            seconds => Self::Seconds(seconds),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rich() -> RoomSettings {
        RoomSettings {
            topic: Some("\"t\\\"é\"".into()),
            join: Joiners::Members,
            speak: Speakers::Moderators,
            react: Reactors::All,
            slow_s: 5,
            edit_s: Some(0),
            keep_s: Some(86_400),
            keep_messages: Some(7),
            keep_bytes: Some(8),
            receipts: true,
            links: false,
            invite: Inviters::Members,
            invites: 3,
            data: Some("{\"join\":\"all\"}".into()),
        }
    }

    #[test]
    fn settings_are_read_as_they_were_written() {
        assert_eq!(RoomSettings::default().json(), "{}");
        let json = rich().json();
        assert_eq!(
            json,
            r#"{"topic":"t\"é","join":"members","speak":"moderators","react":"all","slow_s":5,"edit_s":0,"keep_s":86400,"keep_messages":7,"keep_bytes":8,"receipts":true,"links":false,"invite":"members","invites":3,"data":{"join":"all"}}"#
        );
        assert_eq!(RoomSettings::read(&json), rich());
        let other = r#"{"slow_s":-1,"links":"no","receipts":1,"topic":7,"data":[]}"#;
        assert_eq!(RoomSettings::read(other), RoomSettings::default());
        let unknown = RoomSettings::read(r#"{"slow_s":99999,"join":"nobody","speak":7}"#);
        let closed = (unknown.join, unknown.speak, unknown.slow_s);
        assert_eq!(closed, (Joiners::Members, Speakers::Moderators, SLOW_S_MAX));
    }

    #[test]
    fn a_time_for_edits_may_have_no_end() {
        let settings = RoomSettings { edit_s: Some(EDIT_FOR_EVER_S), ..RoomSettings::default() };
        assert_eq!(settings.json(), r#"{"edit_s":-1}"#);
        assert_eq!(RoomSettings::read(r#"{"edit_s":-1}"#), settings);
    }

    #[test]
    fn what_is_no_time_to_keep_messages_for_lets_go_of_none() {
        for (keep_s, expected) in [
            ("1", Some(1)),
            ("3153600000", Some(KEEP_S_MAX)),
            ("18446744073709551615", Some(KEEP_S_MAX)),
            ("18446744073709551616", None),
            ("0", None),
            ("-1", None),
            ("1.5", None),
            ("\"1\"", None),
            ("null", None),
        ] {
            let read =
                RoomSettings::read(&format!(r#"{{"data":{{"keep_s":7}},"keep_s":{keep_s}}}"#));
            assert_eq!(read.keep_s, expected, "{keep_s}");
        }
        assert_eq!(RoomSettings::read(r#"{"data":{"keep_s":7}}"#).keep_s, None, "an application's");
        let most = RoomSettings::keep_in(r#"{"keep_messages":999999999999,"keep_bytes":0}"#);
        assert_eq!(most, RoomKeep { messages: Some(KEEP_MESSAGES_MAX), ..RoomKeep::default() });
    }

    #[test]
    fn a_wish_changes_what_it_names() {
        let nothing = SettingsWish::default();
        assert_eq!(rich().with(&nothing), rich());
        let wish = SettingsWish {
            topic: Given::Null,
            speak: Some(Speakers::All),
            edit_s: Given::Null,
            keep_s: Given::Value(60),
            keep_messages: Given::Null,
            keep_bytes: Given::Value(70),
            ..nothing
        };
        let expected = RoomSettings {
            topic: None,
            speak: Speakers::All,
            edit_s: None,
            keep_s: Some(60),
            keep_messages: None,
            keep_bytes: Some(70),
            ..rich()
        };
        assert_eq!(rich().with(&wish), expected);
        assert!(SettingsWish { title: Some("\"T\""), ..nothing }.is_title_only());
        assert!(!SettingsWish { title: Some("\"T\""), ..wish }.is_title_only());
    }

    #[test]
    fn a_sentence_ends_at_its_time_or_never() {
        assert_eq!(Sentence::Lifted.until_ms(7), 0);
        assert_eq!(Sentence::Seconds(2).until_ms(7), 2_007);
        assert_eq!(Sentence::Seconds(u64::MAX - 1).until_ms(7), NEVER_MS);
        assert_eq!(told_until(Sentence::ForEver.until_ms(7)), 0);
        assert_eq!(told_until(9), 9);
    }

    #[test]
    fn a_standing_is_told_without_what_is_over() {
        let standing =
            Standing { role: Some(Role::Member), muted_until_ms: 9, banned_until_ms: NEVER_MS };
        let told = |now_ms| {
            let mut out = Vec::new();
            push_standing(&mut out, "é", standing, now_ms);
            String::from_utf8(out).expect("UTF-8")
        };
        let whole = r#"{"user":"é","role":"member","muted_until":9,"banned_until":0"#;
        assert_eq!(told(8), whole);
        assert_eq!(told(9), whole.replace(r#","muted_until":9"#, ""));
    }
}
