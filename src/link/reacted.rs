//! Who has reacted to a message, and with what: one text, in which a store keeps it.
//!
//! ```text
//!   👍 TAB ann TAB bob LF        a line for each emoji, in the order in which they came,
//!   🎉 TAB bob LF                and in it the users, in theirs
//! ```
//!
//! Neither an emoji nor a user's id has control characters, so nothing is escaped, and a user is
//! found without reading the rest. All users are here; members are told how many, and the first of
//! them.
//!
//! Deliberately absent: who may react, and how often (`room::reactions`).
//!
//! Called by: `message`, `room`, `rooms`, `member`, `side::store`. Calls: nothing.

#[cfg(any(test, feature = "store"))]
use std::collections::HashSet;

use memchr::memmem;

use crate::base::name::is_name;
use crate::limits::{EMOJI_BYTES_MAX, REACTORS_TOLD};
use crate::wire::json::{push_array, push_string, push_unsigned};

/// Whether a text may be an emoji: 1 to [`EMOJI_BYTES_MAX`] bytes without control characters.
pub(crate) fn is_emoji(text: &str) -> bool {
    is_name(text) && text.len() <= EMOJI_BYTES_MAX
}

/// The emoji, and for each who has reacted with it. Nothing of a text that is not of this form.
pub(crate) fn by_emoji(reacted: &str) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
    reacted.lines().filter_map(|line| {
        let (emoji, users) = line.split_once('\t')?;
        Some((emoji, users.split('\t')))
    })
}

/// What a user has reacted with.
pub(crate) fn emoji_of<'a>(reacted: &'a str, user: &str) -> impl Iterator<Item = &'a str> {
    let of = if is_in(reacted, user) { reacted } else { "" };
    by_emoji(of)
        .filter_map(move |(emoji, mut users)| users.any(|other| other == user).then_some(emoji))
}

/// Whether a user has reacted at all.
fn is_in(reacted: &str, user: &str) -> bool {
    let bytes = reacted.as_bytes();
    let is_end = |at: usize| matches!(bytes.get(at), Some(b'\t' | b'\n'));
    let mut places = memmem::find_iter(bytes, user.as_bytes());
    places.any(|at| at > 0 && bytes[at - 1] == b'\t' && is_end(at + user.len()))
}

/// Whether a text is of this form: each emoji once, and with it each user.
#[cfg(any(test, feature = "store"))]
pub(crate) fn is_sound(reacted: &str) -> bool {
    let mut emojis = HashSet::new();
    let mut is_line = |line: &str| {
        let Some((emoji, users)) = line.split_once('\t') else { return false };
        let is_new = emojis.insert(emoji.to_owned());
        let mut found = HashSet::new();
        let mut users = users.split('\t');
        is_emoji(emoji) && is_new && users.all(|user| is_name(user) && found.insert(user))
    };
    reacted.ends_with('\n') && reacted.lines().all(&mut is_line)
}

/// Appends what members are told: for each emoji how many, and the first of them.
pub(crate) fn push_reactions(out: &mut Vec<u8>, reacted: &str) {
    out.push(b'{');
    for (at, (emoji, users)) in by_emoji(reacted).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_string(out, emoji);
        let users: Vec<_> = users.collect();
        out.extend_from_slice(b":{\"count\":");
        push_unsigned(out, users.len() as u64);
        out.extend_from_slice(b",\"users\":");
        push_array(out, users.iter().take(REACTORS_TOLD), |out, user| push_string(out, user));
        out.push(b'}');
    }
    out.push(b'}');
}

/// Appends who has come and gone between two states: `[["bob","👍",true]]`.
pub(crate) fn push_toggled(out: &mut Vec<u8>, was: &str, now: &str) {
    let mut toggled = Vec::new();
    for (emoji, was_users) in by_emoji(was) {
        // Both are in the order in which they came: who is not next has gone.
        let mut users = users_of(now, emoji).peekable();
        for user in was_users {
            if users.next_if(|next| *next == user).is_none() {
                toggled.push((user, emoji, false));
            }
        }
        toggled.extend(users.map(|user| (user, emoji, true)));
    }
    for (emoji, users) in by_emoji(now).filter(|(emoji, _)| users_of(was, emoji).next().is_none()) {
        toggled.extend(users.map(|user| (user, emoji, true)));
    }
    push_array(out, toggled, |out, (user, emoji, on)| {
        out.push(b'[');
        push_string(out, user);
        out.push(b',');
        push_string(out, emoji);
        out.extend_from_slice(if on { b",true]" } else { b",false]" });
    });
}

/// Who has reacted with an emoji.
fn users_of<'a>(reacted: &'a str, emoji: &str) -> impl Iterator<Item = &'a str> {
    let users = by_emoji(reacted).find(|(of, _)| *of == emoji);
    users.into_iter().flat_map(|(_, users)| users)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::message::text;

    const REACTED: &str = "👍\tann\tbob\n🎉\tbob\n";

    fn told(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        text(&out).to_owned()
    }

    #[test]
    fn members_are_told_how_many_and_the_first_of_them() {
        let expected =
            r#"{"👍":{"count":2,"users":["ann","bob"]},"🎉":{"count":1,"users":["bob"]}}"#;
        assert_eq!(told(|out| push_reactions(out, REACTED)), expected);
        let many: Vec<_> = (0..100).map(|number| format!("u{number}")).collect();
        let many = told(|out| push_reactions(out, &format!("\"\t{}\n", many.join("\t"))));
        assert!(many.starts_with(r#"{"\"":{"count":100,"users":["u0","u1","#), "{many}");
        assert!(many.ends_with(r#","u9"]}}"#), "{many}");
    }

    #[test]
    fn a_user_is_found_by_all_of_its_id_and_by_nothing_else() {
        let of = |user: &str| emoji_of(REACTED, user).collect::<Vec<_>>();
        assert_eq!((of("bob"), of("ann")), (vec!["👍", "🎉"], vec!["👍"]));
        for other in ["bo", "ob", "b", "👍", "cyd"] {
            assert!(of(other).is_empty(), "{other}");
        }
        let emoji_of = |reacted: &str| emoji_of(reacted, "n").count();
        assert_eq!((emoji_of("n\tann\n"), emoji_of("n\tnn\tn\n"), emoji_of("")), (0, 1, 0));
    }

    #[test]
    fn who_came_and_went_is_seen_from_two_states() {
        for (was, now, expected) in [
            ("", "👍\tann\n", r#"[["ann","👍",true]]"#),
            ("👍\tann\n", "", r#"[["ann","👍",false]]"#),
            (REACTED, REACTED, "[]"),
            (
                REACTED,
                "👍\tbob\tcyd\n🐢\tcyd\n",
                r#"[["ann","👍",false],["cyd","👍",true],["bob","🎉",false],["cyd","🐢",true]]"#,
            ),
            ("👍\tann\tbob\n", "👍\tbob\tann\n", r#"[["ann","👍",false],["ann","👍",true]]"#),
        ] {
            assert_eq!(told(|out| push_toggled(out, was, now)), expected, "{was:?} {now:?}");
        }
    }

    #[test]
    fn what_is_of_another_form_is_seen() {
        assert!(is_sound(REACTED) && is_sound("a\tb\n"));
        let long = format!("{}\tann\n", "x".repeat(EMOJI_BYTES_MAX + 1));
        for other in [
            "",
            "\n",
            "👍\n",
            "👍\t\n",
            "\tann\n",
            "👍\tann",
            "👍\tann\tann\n",
            "👍\tann\n👍\tbob\n",
            "👍\ta\u{7}\n",
            &long,
        ] {
            assert!(!is_sound(other), "{other:?}");
        }
    }
}
