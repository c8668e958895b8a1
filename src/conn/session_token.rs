//! The text by which a client names its session of long polling.
//!
//! ```text
//!   shard 2 │ key 8 │ secret 16 │ answer 4                     one server: 40 characters
//!   shard 2 │ key 8 │ secret 16 │ answer 4 │ node 8 │ signature    a cluster: 51 and 43
//! ```
//!
//! As base64url, numbers big endian. The secret proves whose the session is, to the shard that has
//! it. Another node knows nothing of that: it passes a request on only if a node of its cluster has
//! signed the token, so nobody has it talk to whomever he names.
//!
//! A node has another number in each life of its process. So the number says which life it is, too.
//!
//! Deliberately absent: whether there is such a session (`session`).

use data_encoding::BASE64URL_NOPAD;

use crate::auth::session::{SIGNATURE_CHARS, SessionSigner};
use crate::base::arena::Key;
use crate::link::ids::Ticket;
use crate::link::log::NodeId;

/// A ticket's length as bytes, and as text.
const TICKET_BYTES: usize = 30;
/// See [`TICKET_BYTES`].
pub(crate) const TICKET_CHARS: usize = 40;

/// A node's, behind it.
const NODE_BYTES: usize = 8;
/// What is signed, and the whole.
const SIGNED_CHARS: usize = 51;
/// See [`SIGNED_CHARS`].
const NODE_TICKET_CHARS: usize = SIGNED_CHARS + SIGNATURE_CHARS;

/// A session, as its client names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionToken {
    /// The node that it lives at; `None`: this one.
    pub(crate) node: Option<NodeId>,
    pub(crate) ticket: Ticket,
}

impl SessionToken {
    /// Whether a text has the form of one. A user's token may come under the same name, but has
    /// dots in it.
    pub(crate) fn is_one(text: &str) -> bool {
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        matches!(text.len(), TICKET_CHARS | NODE_TICKET_CHARS) && text.bytes().all(is_base64)
    }

    /// Reads what [`SessionToken::is_one`]. `None`, if there is no such session anywhere: it names
    /// another node, and none of the cluster has signed that.
    pub(crate) fn read(text: &str, signer: Option<&SessionSigner>) -> Option<Self> {
        let (ticket, signature) = text.split_at_checked(SIGNED_CHARS.min(text.len()))?;
        let bytes = BASE64URL_NOPAD.decode(ticket.as_bytes()).ok()?;
        let (ticket, node) = bytes.split_first_chunk::<TICKET_BYTES>()?;
        let ticket = ticket_of(ticket)?;
        if node.is_empty() {
            return Some(Self { node: None, ticket });
        }
        let node = NodeId::from_be_bytes(*node.first_chunk::<NODE_BYTES>()?);
        let signer = signer?;
        if signer.node() == node {
            // The secret is as good a proof, and is looked at in any case.
            return Some(Self { node: None, ticket });
        }
        signer.knows(&bytes, signature).then_some(Self { node: Some(node), ticket })
    }

    /// The text that its client is told.
    pub(crate) fn text(self, signer: Option<&SessionSigner>) -> String {
        let Ticket { shard, key, secret, answer } = self.ticket;
        let mut bytes = Vec::with_capacity(TICKET_BYTES + NODE_BYTES);
        bytes.extend_from_slice(&shard.to_be_bytes());
        bytes.extend_from_slice(&key.to_u64().to_be_bytes());
        bytes.extend_from_slice(&secret.to_be_bytes());
        bytes.extend_from_slice(&answer.to_be_bytes());
        let Some(signer) = signer else { return BASE64URL_NOPAD.encode(&bytes) };
        let node = self.node.unwrap_or(signer.node());
        bytes.extend_from_slice(&node.to_be_bytes());
        let signature = signer.sign(&bytes);
        BASE64URL_NOPAD.encode(&bytes) + &signature
    }
}

fn ticket_of(bytes: &[u8; TICKET_BYTES]) -> Option<Ticket> {
    let (shard, rest) = bytes.split_first_chunk()?;
    let (key, rest) = rest.split_first_chunk()?;
    let (secret, answer) = rest.split_first_chunk()?;
    Some(Ticket {
        shard: u16::from_be_bytes(*shard),
        key: Key::from_u64(u64::from_be_bytes(*key)),
        secret: u128::from_be_bytes(*secret),
        answer: u32::from_be_bytes(*answer.first_chunk()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(node: Option<NodeId>) -> SessionToken {
        let key = Key::from_u64(0x0102_0304_0506_0708);
        let ticket = Ticket { shard: 3, key, secret: u128::MAX / 3, answer: 0x0908_0706 };
        SessionToken { node, ticket }
    }

    fn signer(node: NodeId) -> SessionSigner {
        SessionSigner::new(node, &[7; 32])
    }

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is_one() {
        let text = token(None).text(None);
        assert_eq!(text, "AAMBAgMEBQYHCFVVVVVVVVVVVVVVVVVVVVUJCAcG", "as without a cluster");
        assert!(SessionToken::is_one(&text));
        assert_eq!(SessionToken::read(&text, None), Some(token(None)));
        for other in ["", "a.b.c", &text[1..], &format!("{text}A"), &text.replace(&text[..1], "!")]
        {
            assert!(!SessionToken::is_one(other), "{other}");
        }
    }

    #[test]
    fn a_token_names_its_node_wherever_it_is_read_and_written_again() {
        let text = token(None).text(Some(&signer(5)));
        assert!(SessionToken::is_one(&text));
        assert_eq!(SessionToken::read(&text, Some(&signer(5))), Some(token(None)));
        let there = token(Some(5));
        assert_eq!(SessionToken::read(&text, Some(&signer(6))), Some(there));
        assert_eq!(there.text(Some(&signer(6))), text);
    }

    #[test]
    fn what_no_node_of_the_cluster_has_signed_leads_nowhere() {
        let text = token(None).text(Some(&signer(5)));
        let stranger = SessionSigner::new(6, &[8; 32]);
        assert_eq!(SessionToken::read(&text, Some(&stranger)), None);
        assert_eq!(SessionToken::read(&text, None), None, "one server");
        for at in 0..text.len() {
            let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
            let forged = [&text[..at], other, &text[at + 1..]].concat();
            assert!(SessionToken::is_one(&forged));
            assert_eq!(SessionToken::read(&forged, Some(&signer(6))), None, "{forged}");
        }
    }
}
