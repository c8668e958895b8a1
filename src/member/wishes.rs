//! What the payloads of pushes about a room itself ask for, read and checked: `room_set`,
//! `room_member`, `room_members`, `room_audit`, `room_invite`, `room_meta`, `msg_report`.
//!
//! Deliberately absent: whether it is granted (`room::rights`).

use crate::auth::level::{Inviters, Joiners, Reactors, Restraint, Role, Speakers};
use crate::base::name::{is_name, is_title};
use crate::limits::{
    AUDIT_LINES_DEFAULT, EDIT_FOR_EVER_S, EDIT_S_MAX, INVITE_S_DEFAULT, INVITE_S_MAX,
    KEEP_BYTES_MAX, KEEP_MESSAGES_MAX, KEEP_S_MAX, PAGE_MESSAGES_MAX, REASON_BYTES_MAX,
    REPORT_BYTES_MAX, SLOW_S_MAX, TOPIC_BYTES_MAX,
};
use crate::link::audit::{AuditAct, AuditWanted};
use crate::link::facts::{MemberWish, MembersWanted, Sentence, SettingsWish};
use crate::link::given::Given;
use crate::link::refusal::Refusal;
use crate::member::params::{
    MessageBounds, given, invalid, meta_within, number_within, offset_wanted, text_within,
};
use crate::wire::json;
use crate::wire::phx::Payload;

/// An object, or why it is none that `field` could be in.
fn object<'a>(payload: Payload<'a>, field: &'static str) -> Result<&'a str, Refusal> {
    match payload {
        Payload::Json(object) if json::is_object(object) => Ok(object),
        Payload::Json(_) | Payload::Binary(_) => Err(invalid(field, "in an object of JSON")),
    }
}

/// What `room_set` asks for.
pub(super) fn settings_wanted(
    payload: Payload<'_>,
    bounds: MessageBounds,
) -> Result<SettingsWish<'_>, Refusal> {
    let object = object(payload, "title")?;
    let names = ["topic", "edit_s", "keep_s", "keep_messages", "keep_bytes", "data"];
    let [topic, edit_s, keep_s, keep_messages, keep_bytes, data] =
        json::fields(object, names).map(Given::of);
    let names = ["title", "join", "speak", "react", "slow_s", "links", "invite", "revoke_invites"];
    let [title, join, speak, react, slow_s, links, invite, revoke_invites] = given(object, names);
    let [receipts] = given(object, ["receipts"]);
    if title.is_some_and(|title| !json::string(title).is_some_and(|title| is_title(&title))) {
        return Err(invalid("title", "a string of 1 to 128 bytes without control characters"));
    }
    if let Given::Value(topic) = topic {
        text_within(topic, "topic", TOPIC_BYTES_MAX)?;
    }
    if let Given::Value(data) = data {
        bounds.data(data)?;
    }
    let edit_s = edit_s.try_map(|edit_s| {
        let message = "0 to 1000000000 seconds, -1: for ever, or null: as on the whole server";
        match edit_s {
            "-1" => Ok(EDIT_FOR_EVER_S),
            edit_s => number_within(edit_s, 0..=EDIT_S_MAX, ("edit_s", message)),
        }
    })?;
    let keep_s = keep_s.try_map(|keep_s| {
        let message = "1 to 3153600000 seconds, or null: as on the whole server";
        number_within(keep_s, 1..=KEEP_S_MAX, ("keep_s", message))
    })?;
    let keep_messages = keep_messages.try_map(|most| {
        let message = "1 to 549755813888 messages, or null: as on the whole server";
        number_within(most, 1..=KEEP_MESSAGES_MAX, ("keep_messages", message))
    })?;
    let keep_bytes = keep_bytes.try_map(|most| {
        let message = "1 to 1099511627776 bytes, or null: as on the whole server";
        number_within(most, 1..=KEEP_BYTES_MAX, ("keep_bytes", message))
    })?;
    let slow_s = slow_s
        .map(|slow_s| number_within(slow_s, 0..=SLOW_S_MAX, ("slow_s", "0 to 21600 seconds")));
    let flag = |value: Option<&str>, field| {
        value.map(|value| json::boolean(value).ok_or(invalid(field, "true or false"))).transpose()
    };
    let join = join.map(|join| {
        word(join, Joiners::of).ok_or(invalid("join", "one of \\\"all\\\" and \\\"members\\\""))
    });
    let speak = speak.map(|speak| {
        let message = "one of \\\"all\\\", \\\"members\\\" and \\\"moderators\\\"";
        word(speak, Speakers::of).ok_or(invalid("speak", message))
    });
    let react = react.map(|react| {
        let message = "one of \\\"speakers\\\" and \\\"all\\\"";
        word(react, Reactors::of).ok_or(invalid("react", message))
    });
    let invite = invite.map(|invite| {
        let message = "one of \\\"moderators\\\" and \\\"members\\\"";
        word(invite, Inviters::of).ok_or(invalid("invite", message))
    });
    let wish = SettingsWish {
        title,
        topic,
        join: join.transpose()?,
        speak: speak.transpose()?,
        react: react.transpose()?,
        slow_s: slow_s.transpose()?,
        edit_s,
        keep_s,
        keep_messages,
        keep_bytes,
        receipts: flag(receipts, "receipts")?,
        links: flag(links, "links")?,
        invite: invite.transpose()?,
        revoke_invites: flag(revoke_invites, "revoke_invites")?.unwrap_or_default(),
        data,
    };
    if wish == SettingsWish::default() {
        let message = "at least one of title, topic, join, speak, react, slow_s, edit_s, keep_s, \
                       keep_messages, keep_bytes, receipts, links, invite, revoke_invites and data";
        return Err(invalid("title", message));
    }
    Ok(wish)
}

/// What `room_member` asks for. The user's id is written to `desk`.
pub(super) fn member_wanted<'a>(
    payload: Payload<'a>,
    desk: &'a mut String,
) -> Result<MemberWish<'a>, Refusal> {
    let object = object(payload, "user")?;
    let [role] = json::fields(object, ["role"]).map(Given::of);
    let names = ["user", "muted_s", "banned_s", "kick", "purge_s", "purge_before", "reason"];
    let [user, muted_s, banned_s, kick, purge_s, purge_before, reason] = given(object, names);
    let user = user.and_then(json::string).filter(|user| is_name(user));
    let message = "a user's id: a string of 1 to 128 bytes without control characters";
    let user = user.ok_or(invalid("user", message))?;
    let role = role.try_map(|role| {
        let message = "one of \\\"member\\\", \\\"moderator\\\", \\\"owner\\\" and null";
        word(role, Role::of).ok_or(invalid("role", message))
    })?;
    let mute = muted_s.map(|muted_s| sentence(muted_s, "muted_s")).transpose()?;
    let ban = banned_s.map(|banned_s| sentence(banned_s, "banned_s")).transpose()?;
    if role == Given::Value(Role::Owner) {
        let message = "0, or absent: an owner is neither muted nor banned";
        let held = [(mute, "muted_s"), (ban, "banned_s")];
        let held = held.into_iter().find(|(of, _)| of.is_some_and(|of| of != Sentence::Lifted));
        if let Some((_, field)) = held {
            return Err(invalid(field, message));
        }
    }
    let kick = kick.map_or(Some(false), json::boolean).ok_or(invalid("kick", "true or false"))?;
    let purge_s = purge_s
        .map(|purge_s| json::unsigned(purge_s).ok_or(invalid("purge_s", "a number of seconds")))
        .transpose()?;
    let purge_before = purge_before
        .map(|before| match json::unsigned(before) {
            Some(before) if purge_s.is_some() => Ok(before),
            Some(_) => Err(invalid("purge_before", "only together with purge_s")),
            None => Err(invalid("purge_before", "the offset of a message")),
        })
        .transpose()?;
    if let Some(reason) = reason {
        text_within(reason, "reason", REASON_BYTES_MAX)?;
    }
    desk.clear();
    desk.push_str(&user);
    let wish = MemberWish { user: desk, role, mute, ban, kick, purge_s, purge_before, reason };
    if wish.is_role_only() && role == Given::Nothing {
        return Err(invalid("role", "at least one of role, muted_s, banned_s, kick and purge_s"));
    }
    Ok(wish)
}

fn sentence(value: &str, field: &'static str) -> Result<Sentence, Refusal> {
    let message = "a number of seconds, 0 to lift it, or -1: for ever";
    match (value, json::unsigned(value)) {
        ("-1", _) => Ok(Sentence::ForEver),
        (_, Some(0)) => Ok(Sentence::Lifted),
        (_, Some(seconds)) => Ok(Sentence::Seconds(seconds)),
        (_, None) => Err(invalid(field, message)),
    }
}

/// What `room_members` asks for. The id that it begins behind is written to `desk`.
pub(super) fn members_wanted<'a>(
    payload: Payload<'_>,
    desk: &'a mut String,
) -> Result<MembersWanted<'a>, Refusal> {
    let object = object(payload, "after")?;
    let [after, limit, state] = given(object, ["after", "limit", "state"]);
    let after = after.map(|after| json::string(after).ok_or(invalid("after", "a user's id")));
    let after = after.transpose()?.unwrap_or_default();
    let limit = limit.map_or(Ok(PAGE_MESSAGES_MAX), |limit| {
        number_within(limit, 1..=PAGE_MESSAGES_MAX, ("limit", "a number from 1 to 100"))
    })?;
    let message = "one of \\\"banned\\\" and \\\"muted\\\"";
    let restraint = state
        .map(|state| word(state, Restraint::of).ok_or(invalid("state", message)))
        .transpose()?;
    desk.clear();
    desk.push_str(&after);
    Ok(MembersWanted { restraint, after: desk, limit })
}

/// What `room_audit` asks for.
pub(super) fn audit_wanted(payload: Payload<'_>) -> Result<AuditWanted, Refusal> {
    let object = object(payload, "before")?;
    let [before, limit, act] = given(object, ["before", "limit", "act"]);
    let before = before.map(|before| json::unsigned(before).ok_or(invalid("before", "a number")));
    let limit = limit.map_or(Ok(AUDIT_LINES_DEFAULT), |limit| {
        number_within(limit, 1..=PAGE_MESSAGES_MAX, ("limit", "a number from 1 to 100"))
    })?;
    let message = "one of \\\"room_set\\\", \\\"room_member\\\", \\\"msg_delete\\\", \
                   \\\"msg_pin\\\" and \\\"msg_report\\\"";
    let act = act.map(|act| word(act, AuditAct::of).ok_or(invalid("act", message)));
    Ok(AuditWanted {
        before: before.transpose()?.unwrap_or(u64::MAX),
        limit,
        act: act.transpose()?,
    })
}

/// For how many seconds `room_invite` wants an invite.
pub(super) fn invite_wanted(payload: Payload<'_>) -> Result<u64, Refusal> {
    let object = object(payload, "for_s")?;
    let [for_s] = given(object, ["for_s"]);
    for_s.map_or(Ok(INVITE_S_DEFAULT), |for_s| {
        number_within(for_s, 1..=INVITE_S_MAX, ("for_s", "1 to 31536000 seconds"))
    })
}

/// Which meta `room_meta` attaches to a presence; none, if it is to have none.
pub(super) fn meta_wanted(payload: Payload<'_>) -> Result<Option<&str>, Refusal> {
    let object = object(payload, "meta")?;
    let [meta] = json::fields(object, ["meta"]);
    match Given::of(meta) {
        Given::Nothing => Err(invalid("meta", "an object, or null")),
        Given::Null => Ok(None),
        Given::Value(meta) => meta_within(meta).map(Some),
    }
}

/// What `msg_report` says, and of which message.
pub(super) fn report_wanted(payload: Payload<'_>) -> Result<(u64, Option<&str>), Refusal> {
    let (object, offset) = offset_wanted(payload)?;
    let [text] = given(object, ["text"]);
    if let Some(text) = text {
        text_within(text, "text", REPORT_BYTES_MAX)?;
    }
    Ok((offset, text))
}

/// What a JSON string stands for, if it is one of some words.
fn word<T>(value: &str, of: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    of(&json::string(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::META_BYTES_MAX;

    #[track_caller]
    fn field_of<T: std::fmt::Debug>(read: Result<T, Refusal>) -> &'static str {
        match read.expect_err("it is refused") {
            Refusal::Invalid { field, .. } | Refusal::TooLarge { field, .. } => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_time_for_edits_is_seconds_or_for_ever_or_the_servers() {
        let bounds = MessageBounds { body_bytes: 8, data_bytes: 8, mentions: 1 };
        let wanted = |edit_s: &str| {
            let object = format!(r#"{{"links":true,"edit_s":{edit_s}}}"#);
            settings_wanted(Payload::Json(&object), bounds).map(|wish| wish.edit_s)
        };
        assert_eq!(wanted("0"), Ok(Given::Value(0)));
        assert_eq!(wanted("1000000000"), Ok(Given::Value(EDIT_S_MAX)));
        assert_eq!(wanted("-1"), Ok(Given::Value(EDIT_FOR_EVER_S)));
        assert_eq!(wanted("null"), Ok(Given::Null));
        for edit_s in ["1000000001", "18446744073709551615", "-2", "1.5", "\"9\""] {
            assert_eq!(field_of(wanted(edit_s)), "edit_s", "{edit_s}");
        }
    }

    #[test]
    fn a_title_is_given_in_128_bytes() {
        let bounds = MessageBounds { body_bytes: 8, data_bytes: 8, mentions: 1 };
        let wanted = |bytes: usize| {
            let object = format!(r#"{{"title":"{}"}}"#, "é".repeat(bytes / 2));
            settings_wanted(Payload::Json(&object), bounds).map(|wish| wish.title.is_some())
        };
        assert_eq!(wanted(128), Ok(true));
        assert_eq!(field_of(wanted(130)), "title");
    }

    #[test]
    fn whoever_is_made_an_owner_is_not_muted_or_banned_in_the_same_push() {
        let wanted = |rest: &str| {
            let object = format!(r#"{{"user":"zed",{rest}}}"#);
            let mut desk = String::new();
            let wish = member_wanted(Payload::Json(&object), &mut desk);
            wish.map(|wish| wish.role)
        };
        let owner = Ok(Given::Value(Role::Owner));
        assert_eq!(wanted(r#""role":"owner","muted_s":0,"banned_s":0"#), owner);
        assert_eq!(wanted(r#""role":"owner","banned_s":null"#), owner);
        for until in ["-1", "5"] {
            for field in ["muted_s", "banned_s"] {
                let holds = |role| wanted(&format!(r#""role":"{role}","{field}":{until}"#));
                assert_eq!(field_of(holds("owner")), field);
                assert_eq!(holds("moderator"), Ok(Given::Value(Role::Moderator)));
            }
        }
    }

    #[test]
    fn who_is_no_user_is_told_what_one_is() {
        let long = "x".repeat(129);
        for user in ["", "a\\u0001", &long] {
            let object = format!(r#"{{"user":"{user}","kick":true}}"#);
            let mut desk = String::new();
            match member_wanted(Payload::Json(&object), &mut desk) {
                Err(Refusal::Invalid { field: "user", message }) => {
                    assert!(message.contains("1 to 128 bytes without control characters"));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn lines_of_the_trail_are_wanted_by_number_and_act() {
        let wanted = |object| audit_wanted(Payload::Json(object));
        let all = AuditWanted { before: u64::MAX, limit: AUDIT_LINES_DEFAULT, act: None };
        assert_eq!(wanted("{}"), Ok(all));
        let reports = r#"{"before":9,"limit":100,"act":"msg_report"}"#;
        let expected = AuditWanted { before: 9, limit: 100, act: Some(AuditAct::MsgReport) };
        assert_eq!(wanted(reports), Ok(expected));
        for (object, field) in [
            ("[]", "before"),
            (r#"{"before":-1}"#, "before"),
            (r#"{"limit":0}"#, "limit"),
            (r#"{"limit":101}"#, "limit"),
            (r#"{"act":"sing"}"#, "act"),
            (r#"{"act":1}"#, "act"),
        ] {
            assert_eq!(field_of(wanted(object)), field, "{object}");
        }
    }

    #[test]
    fn a_meta_is_an_object_or_null_and_bounded() {
        let wanted = |object| meta_wanted(Payload::Json(object));
        assert_eq!(wanted(r#"{"meta":{"a":[1]}}"#), Ok(Some(r#"{"a":[1]}"#)));
        assert_eq!(wanted(r#"{"meta":null}"#), Ok(None));
        let long = format!(r#"{{"meta":{{"a":"{}"}}}}"#, "x".repeat(META_BYTES_MAX));
        for object in ["{}", "[]", r#"{"meta":1}"#, r#"{"meta":[]}"#, &long] {
            assert_eq!(field_of(wanted(object)), "meta", "{object}");
        }
        assert_eq!(field_of(meta_wanted(Payload::Binary(b"{}"))), "meta");
    }

    #[test]
    fn a_report_is_of_a_message_and_may_say_why() {
        let wanted = |object| report_wanted(Payload::Json(object));
        assert_eq!(wanted(r#"{"offset":3}"#), Ok((3, None)));
        assert_eq!(wanted(r#"{"offset":3,"text":null}"#), Ok((3, None)));
        assert_eq!(wanted(r#"{"offset":3,"text":"\u00e9"}"#), Ok((3, Some(r#""\u00e9""#))));
        let long = format!(r#"{{"offset":3,"text":"{}"}}"#, "x".repeat(REPORT_BYTES_MAX + 1));
        for (object, field) in
            [("{}", "offset"), (r#"{"offset":3,"text":1}"#, "text"), (&long, "text")]
        {
            assert_eq!(field_of(report_wanted(Payload::Json(object))), field, "{object}");
        }
    }
}
