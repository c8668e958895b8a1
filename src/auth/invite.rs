//! Invites: who brings one may become a member of the room that it is for.
//!
//! An invite is a JWT (RFC 7519) behind `inv_`, signed with a key that nothing else is signed with:
//! it is no token, and no token is one (RFC 8725, 3.12). It says all that there is to know, so
//! nothing is kept of it. A room takes back all that were made before by counting on.
//!
//! Deliberately absent: the clock, which is passed in; who may invite, and what an invite is good
//! for (`room::rights`).

use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

/// What an invite begins with.
const PREFIX: &str = "inv_";

/// What makes the key of invites out of the server's secret.
const PURPOSE: &[u8] = b"chinwag invites";

/// An invite to a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// The room's name.
    pub room: String,
    /// The user who has invited.
    pub by: String,
    /// From when on it is void, in seconds of Unix time.
    pub exp: u64,
    /// The epoch that the room began in: another room by the same name began in another.
    pub epoch: u64,
    /// How often the room had taken back all its invites by then.
    pub taken_back: u32,
}

/// Makes invites, and reads them.
#[derive(Clone)]
pub struct Inviter {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl fmt::Debug for Inviter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inviter")
    }
}

impl Inviter {
    /// One whose invites another one with the same secret reads.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        let key = [secret, PURPOSE].concat();
        let mut validation = Validation::new(Algorithm::HS256);
        // By the time that is passed in.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        Self {
            encoding: EncodingKey::from_secret(&key),
            decoding: DecodingKey::from_secret(&key),
            validation,
        }
    }

    /// The text of an invite.
    ///
    /// # Panics
    ///
    /// Never: text and numbers are always JSON, and HMAC takes any key.
    #[must_use]
    pub fn sign(&self, invite: &Invite) -> String {
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), invite, &self.encoding);
        format!("{PREFIX}{}", token.expect("an invite is JSON and HMAC cannot fail"))
    }

    /// What a text says, if it is an invite that is not over.
    #[must_use]
    pub fn read(&self, text: &str, now_s: u64) -> Option<Invite> {
        let token = text.strip_prefix(PREFIX)?;
        let read = jsonwebtoken::decode::<Invite>(token, &self.decoding, &self.validation).ok()?;
        (read.claims.exp > now_s).then_some(read.claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::token::{Claims, Key, Parties, Signer, Verifier};

    const SECRET: [u8; 32] = [7; 32];

    fn invite() -> Invite {
        Invite { room: "té".to_owned(), by: "ann".to_owned(), exp: 100, epoch: 3, taken_back: 1 }
    }

    #[test]
    fn what_is_read_is_what_was_signed_until_it_is_over() {
        let inviter = Inviter::new(&SECRET);
        let text = inviter.sign(&invite());
        assert!(text.starts_with("inv_ey"), "{text}");
        assert_eq!(inviter.read(&text, 99), Some(invite()));
        assert_eq!(inviter.read(&text, 100), None);
        assert_eq!(Inviter::new(&SECRET).read(&text, 0), Some(invite()), "after a restart");
        assert_eq!(Inviter::new(&[8; 32]).read(&text, 0), None);
    }

    #[test]
    fn nothing_else_is_an_invite() {
        let inviter = Inviter::new(&SECRET);
        let text = inviter.sign(&invite());
        let other = inviter.sign(&Invite { room: "other".to_owned(), ..invite() });
        let part = |text: &str, at: usize| text.split('.').nth(at).unwrap_or_default().to_owned();
        let mixed = format!("{}.{}.{}", part(&text, 0), part(&other, 1), part(&text, 2));
        // The header of a token that names no algorithm, with and without a signature.
        let none = format!("inv_eyJhbGciOiJub25lIn0.{}.", part(&text, 1));
        let signed = format!("{none}{}", part(&text, 2));
        let cut = &text[..text.len() - 1];
        for text in ["", "inv_", "inv_a.b.c", &text[4..], cut, &mixed, &none, &signed] {
            assert_eq!(inviter.read(text, 0), None, "{text}");
        }
        assert!(inviter.read(&other, 0).is_some());
    }

    #[test]
    fn an_invite_is_no_token_and_a_token_no_invite() {
        let parties = || Parties { audience: None, issuer: None };
        let key = Key::from_secret(&SECRET).expect("it is long enough");
        let verifier = Verifier::new(vec![key], parties()).expect("a key");
        let signer = Signer::new(&SECRET, parties()).expect("it is long enough");
        let (sub, name, rooms) = ("ann".to_owned(), None, None);
        let claims = Claims { sub, name, exp: 100, iat: 0, rooms, guest: false };
        let token = signer.sign(&claims);
        assert!(verifier.verify(&token, 0).is_ok());
        let inviter = Inviter::new(&SECRET);
        let invite = inviter.sign(&invite());
        assert!(verifier.verify(&invite, 0).is_err() && verifier.verify(&invite[4..], 0).is_err());
        assert_eq!(inviter.read(&format!("inv_{token}"), 0), None);
    }
}
