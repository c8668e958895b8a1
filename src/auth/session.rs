//! What signs the tokens of sessions of long polling, where a session may be asked for at any node.
//!
//! A signature is an HMAC (RFC 2104, with SHA-256) by a key that nothing else is signed with. So
//! what is signed is no token of a user, and no invite.
//!
//! Deliberately absent: what the token says (`conn::session_token`).

use std::fmt;

use jsonwebtoken::crypto::{sign, verify};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

/// What makes the key of sessions out of the nodes' secret.
const PURPOSE: &[u8] = b"chinwag sessions";

/// How many characters of base64url a signature has.
pub const SIGNATURE_CHARS: usize = 43;

/// Signs, and knows what another node has signed.
#[derive(Clone)]
pub struct SessionSigner {
    node: u64,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl fmt::Debug for SessionSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionSigner({:016x})", self.node)
    }
}

impl SessionSigner {
    /// That of a node. Another one with the same secret knows its signatures.
    #[must_use]
    pub fn new(node: u64, secret: &[u8; 32]) -> Self {
        let key = [secret, PURPOSE].concat();
        Self {
            node,
            encoding: EncodingKey::from_secret(&key),
            decoding: DecodingKey::from_secret(&key),
        }
    }

    /// The node whose it is.
    #[must_use]
    pub fn node(&self) -> u64 {
        self.node
    }

    /// The signature of some bytes: [`SIGNATURE_CHARS`] characters.
    ///
    /// # Panics
    ///
    /// Never: HMAC takes any key and any bytes.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> String {
        sign(bytes, &self.encoding, Algorithm::HS256).expect("HMAC cannot fail")
    }

    /// Whether a node with the same secret has signed these bytes. Takes as long for any wrong one.
    #[must_use]
    pub fn knows(&self, bytes: &[u8], signature: &str) -> bool {
        verify(signature, bytes, &self.decoding, Algorithm::HS256).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_its_bytes_and_its_secret() {
        let signer = SessionSigner::new(1, &[7; 32]);
        let signature = signer.sign(b"bytes");
        assert_eq!(signature.len(), SIGNATURE_CHARS);
        assert!(SessionSigner::new(2, &[7; 32]).knows(b"bytes", &signature), "at another node");
        assert!(!SessionSigner::new(1, &[8; 32]).knows(b"bytes", &signature));
        for (bytes, signature) in [
            (&b"byte"[..], &*signature),
            (b"bytes", ""),
            (b"bytes", &signature[1..]),
            (b"bytes", &signer.sign(b"other")),
            (b"bytes", "é"),
        ] {
            assert!(!signer.knows(bytes, signature), "{signature}");
        }
    }
}
