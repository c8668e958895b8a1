//! How presence is written: the maps of users and metas that `Phoenix.Presence` sends.
//!
//! Deliberately absent: who is in them, and when they are sent.
//!
//! Called by: `room`. Calls: `presence`.

use data_encoding::BASE64URL;

use crate::base::bitset::BitSet;
use crate::link::ids::Slot;
use crate::room::presence::{Member, Presence};
use crate::wire::json::{push_array, push_string, push_unsigned};

/// Appends `{"joins":{...},"leaves":{...}}` of the tick that has been worked out. For `seen` see
/// [`Presence::each_user`].
pub(crate) fn push_diff<P>(
    out: &mut Vec<u8>,
    presence: &Presence<P>,
    refs_from: u64,
    seen: &mut BitSet,
) {
    out.extend_from_slice(b"{\"joins\":{");
    push_users(out, presence, presence.joins(), refs_from, seen);
    out.extend_from_slice(b"},\"leaves\":{");
    push_users(out, presence, presence.leaves(), refs_from, seen);
    out.extend_from_slice(b"}}");
}

/// Appends the users of a set, the inside of an object: `"ann":{"metas":[...]},"bob":...`.
pub(crate) fn push_users<P>(
    out: &mut Vec<u8>,
    presence: &Presence<P>,
    set: &BitSet,
    refs_from: u64,
    seen: &mut BitSet,
) {
    let mut first = true;
    presence.each_user(set, seen, |user, devices| {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        push_user(out, presence, user, devices, refs_from);
    });
}

/// Appends one user with its metas.
pub(crate) fn push_user<'a, P: 'a>(
    out: &mut Vec<u8>,
    presence: &Presence<P>,
    user: &str,
    devices: impl Iterator<Item = (Slot, &'a Member<P>)>,
    refs_from: u64,
) {
    push_string(out, user);
    out.extend_from_slice(b":{\"metas\":");
    push_array(out, devices, |out, (slot, device)| {
        push_meta(out, presence.meta(slot), device, refs_from);
    });
    out.push(b'}');
}

fn push_meta(out: &mut Vec<u8>, meta: Option<&str>, member: &Member<impl Sized>, refs_from: u64) {
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
    // As Phoenix' is, 12 bytes in 16 characters: this life of the room, and which of its joins.
    let mut reference = [0; 12];
    reference[..8]
        .copy_from_slice(&refs_from.wrapping_add(u64::from(member.arrival)).to_be_bytes());
    reference[8..].copy_from_slice(&member.arrival.to_be_bytes());
    let mut text = [0; 16];
    BASE64URL.encode_mut(&reference, &mut text);
    out.extend_from_slice(&text);
    out.extend_from_slice(b"\"}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::identity::{Identity, NEVER_S};
    use crate::limits::PresenceLimits;

    #[test]
    fn a_diff_is_what_phoenix_sends() {
        let mut presence = Presence::default();
        let identity = |user| Identity::new(user, "Ann \"A\"", NEVER_S, None).expect("valid");
        presence.join(identity("ann"), (), Some("{\"x\":1}".into()), 1_795_336_253, true);
        presence.join(identity("ann"), (), None, 1_795_336_254, true);
        presence.tick(&PresenceLimits::default());
        let mut out = Vec::new();
        push_diff(&mut out, &presence, 0, &mut BitSet::new());
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            r#"{"joins":{"ann":{"metas":[{"meta":{"x":1},"name":"Ann \"A\"","online_at":1795336253,"phx_ref":"AAAAAAAAAAEAAAAB"},{"name":"Ann \"A\"","online_at":1795336254,"phx_ref":"AAAAAAAAAAIAAAAC"}]}},"leaves":{}}"#
        );
    }
}
