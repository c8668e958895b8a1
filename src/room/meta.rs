//! How presence is written: the maps of users and metas that `Phoenix.Presence` sends.
//!
//! Deliberately absent: who is in them, and when they are sent.
//!
//! Called by: `room`. Calls: `presence`.

use data_encoding::BASE64URL;

use crate::base::bitset::BitSet;
use crate::link::ids::Slot;
use crate::room::presence::{As, Entry, Member, Presence, Version};
use crate::wire::json::{push_array, push_string, push_unsigned};

/// What the ref of an entry is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// What refs begin with where the member is.
    pub(crate) refs_from: u64,
    /// Which of the entries there it is.
    pub(crate) version: Version,
}

/// Appends `{"joins":{...},"leaves":{...}}` of the tick that has been worked out. For `seen` see
/// [`Presence::each_user`]; `refs` says what an entry of a member in this place is called.
pub(crate) fn push_diff<P>(
    out: &mut Vec<u8>,
    presence: &Presence<P>,
    refs: impl Fn(&P, Version) -> Named + Copy,
    seen: &mut BitSet,
) {
    out.extend_from_slice(b"{\"joins\":{");
    push_users(out, presence, (presence.joins(), As::Present), refs, seen);
    out.extend_from_slice(b"},\"leaves\":{");
    push_users(out, presence, (presence.leaves(), As::Announced), refs, seen);
    out.extend_from_slice(b"}}");
}

/// Appends the users of a set, the inside of an object: `"ann":{"metas":[...]},"bob":...`.
pub(crate) fn push_users<P>(
    out: &mut Vec<u8>,
    presence: &Presence<P>,
    (set, which): (&BitSet, As),
    refs: impl Fn(&P, Version) -> Named + Copy,
    seen: &mut BitSet,
) {
    let mut first = true;
    presence.each_user(set, seen, |user, devices| {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        push_user(out, presence, (user, which), devices, refs);
    });
}

/// Appends one user with its metas.
pub(crate) fn push_user<'a, P: 'a>(
    out: &mut Vec<u8>,
    presence: &Presence<P>,
    (user, which): (&str, As),
    devices: impl Iterator<Item = (Slot, &'a Member<P>)>,
    refs: impl Fn(&P, Version) -> Named + Copy,
) {
    push_string(out, user);
    out.extend_from_slice(b":{\"metas\":");
    push_array(out, devices, |out, (slot, device)| {
        let entry = presence.entry(slot, which);
        push_meta(out, entry, device, refs(&device.place, entry.version));
    });
    out.push(b'}');
}

fn push_meta(out: &mut Vec<u8>, entry: Entry<'_>, member: &Member<impl Sized>, named: Named) {
    let Entry { meta, version: _ } = entry;
    let Named { refs_from, version: Version { number, replaces } } = named;
    out.push(b'{');
    if let Some(meta) = meta {
        out.extend_from_slice(b"\"meta\":");
        out.extend_from_slice(meta.as_bytes());
        out.push(b',');
    }
    out.extend_from_slice(b"\"name\":");
    push_string(out, member.identity.name());
    out.extend_from_slice(b",\"online_at\":");
    push_unsigned(out, u64::from(member.online_at_s));
    out.extend_from_slice(b",\"phx_ref\":\"");
    out.extend_from_slice(&reference(number, refs_from));
    if let Some(replaces) = replaces {
        out.extend_from_slice(b"\",\"phx_ref_prev\":\"");
        out.extend_from_slice(&reference(replaces, refs_from));
    }
    out.extend_from_slice(b"\"}");
}

/// The ref of an entry. As Phoenix' is, 12 bytes in 16 characters: this life of the room, and which
/// of its joins.
fn reference(number: u32, refs_from: u64) -> [u8; 16] {
    let mut reference = [0; 12];
    reference[..8].copy_from_slice(&refs_from.wrapping_add(u64::from(number)).to_be_bytes());
    reference[8..].copy_from_slice(&number.to_be_bytes());
    let mut text = [0; 16];
    BASE64URL.encode_mut(&reference, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::identity::{Identity, NEVER_S};
    use crate::limits::PresenceLimits;

    fn identity(user: &str) -> Identity {
        Identity::new(user, "A", NEVER_S, None).expect("valid")
    }

    /// All entries are of this node.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "places are passed so")]
    fn named((): &(), version: Version) -> Named {
        Named { refs_from: 0, version }
    }

    /// The diff of a tick; empty, if there is no news.
    fn diff(presence: &mut Presence<()>) -> String {
        let mut out = Vec::new();
        if presence.tick(&PresenceLimits::default()) {
            push_diff(&mut out, presence, named, &mut BitSet::new());
            presence.announce();
        }
        String::from_utf8(out).expect("UTF-8")
    }

    /// The list that a newcomer is sent.
    fn list(presence: &Presence<()>) -> String {
        let mut out = Vec::new();
        let announced = (presence.announced(), As::Announced);
        push_users(&mut out, presence, announced, named, &mut BitSet::new());
        String::from_utf8(out).expect("UTF-8")
    }

    fn entry(meta: &str, reference: &str, prev: &str) -> String {
        let prev =
            if prev.is_empty() { String::new() } else { format!(r#","phx_ref_prev":"{prev}""#) };
        format!(
            r#""ann":{{"metas":[{{{meta}"name":"A","online_at":7,"phx_ref":"{reference}"{prev}}}]}}"#
        )
    }

    const REFS: [&str; 3] = ["AAAAAAAAAAEAAAAB", "AAAAAAAAAAIAAAAC", "AAAAAAAAAAMAAAAD"];

    #[test]
    fn another_meta_is_a_leave_and_a_join_in_one_diff_as_phoenix_sends_it() {
        let mut presence = Presence::default();
        let slot = presence.join(identity("ann"), (), Some("{\"x\":1}".into()), 7, true);
        let before = entry(r#""meta":{"x":1},"#, REFS[0], "");
        assert_eq!(diff(&mut presence), format!(r#"{{"joins":{{{before}}},"leaves":{{}}}}"#));
        assert!(presence.set_meta(slot, Some("{\"x\":2}".into())));
        // Those who come now are told what the others know.
        assert_eq!(list(&presence), before);
        let then = entry(r#""meta":{"x":2},"#, REFS[1], REFS[0]);
        let expected = format!(r#"{{"joins":{{{then}}},"leaves":{{{before}}}}}"#);
        assert_eq!(diff(&mut presence), expected);
        assert_eq!(list(&presence), then, "and it keeps what it replaced");
        assert!(!presence.set_meta(slot, Some("{\"x\":2}".into())), "it is so already");
        assert!(presence.set_meta(slot, None));
        let bare = entry("", REFS[2], REFS[1]);
        let expected = format!(r#"{{"joins":{{{bare}}},"leaves":{{{then}}}}}"#);
        assert_eq!(diff(&mut presence), expected);
        assert_eq!(diff(&mut presence), "");
    }

    #[test]
    fn of_metas_that_are_collected_only_the_last_one_is_seen() {
        let mut presence = Presence::default();
        let slot = presence.join(identity("ann"), (), None, 7, true);
        assert!(!presence.set_meta(slot, Some("{}".into())), "nobody knows of it yet");
        let first = entry(r#""meta":{},"#, REFS[0], "");
        assert_eq!(diff(&mut presence), format!(r#"{{"joins":{{{first}}},"leaves":{{}}}}"#));
        for meta in ["{\"x\":1}", "{\"x\":2}"] {
            assert!(presence.set_meta(slot, Some(meta.into())));
        }
        let last = entry(r#""meta":{"x":2},"#, REFS[2], REFS[0]);
        let expected = format!(r#"{{"joins":{{{last}}},"leaves":{{{first}}}}}"#);
        assert_eq!(diff(&mut presence), expected);
    }

    #[test]
    fn whoever_leaves_leaves_the_entry_that_the_others_know_and_no_memory() {
        let mut presence = Presence::default();
        let slot = presence.join(identity("ann"), (), None, 7, true);
        diff(&mut presence);
        assert!(presence.set_meta(slot, Some("{}".into())));
        presence.leave(slot);
        let known = entry("", REFS[0], "");
        assert_eq!(diff(&mut presence), format!(r#"{{"joins":{{}},"leaves":{{{known}}}}}"#));
        assert_eq!(presence.meta_bytes(), 0);
        assert!(!presence.set_meta(slot, Some("{}".into())), "it is gone");
        let next = presence.join(identity("ann"), (), None, 7, true);
        assert_eq!((next, presence.entry(next, As::Present).version.replaces), (slot, None));
    }

    #[test]
    fn a_diff_is_what_phoenix_sends() {
        let mut presence = Presence::default();
        let identity = |user| Identity::new(user, "Ann \"A\"", NEVER_S, None).expect("valid");
        presence.join(identity("ann"), (), Some("{\"x\":1}".into()), 1_795_336_253, true);
        presence.join(identity("ann"), (), None, 1_795_336_254, true);
        presence.tick(&PresenceLimits::default());
        let mut out = Vec::new();
        push_diff(&mut out, &presence, named, &mut BitSet::new());
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            r#"{"joins":{"ann":{"metas":[{"meta":{"x":1},"name":"Ann \"A\"","online_at":1795336253,"phx_ref":"AAAAAAAAAAEAAAAB"},{"name":"Ann \"A\"","online_at":1795336254,"phx_ref":"AAAAAAAAAAIAAAAC"}]}},"leaves":{}}"#
        );
    }
}
