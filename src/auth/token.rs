//! From a token to an [`Identity`], and back for guests. **This is the one file to read, and to
//! replace, for another scheme.**
//!
//! A token is a JWT (RFC 7519) in compact form, signed with the one configured algorithm. The
//! signature is `jsonwebtoken`'s business; what is accepted around it is ours, after RFC 8725: the
//! header chooses nothing but a key among the configured ones, and claims are read only once the
//! signature holds. A claim that decides anything has its right type, `null` included. One that
//! only decorates (`name`) or informs (`iat`) refuses nobody.
//!
//! | claim | |
//! |---|---|
//! | `sub` | the user's id, required. An integer is its digits |
//! | `exp` | required; honoured for [`LEEWAY_S`] longer, for clocks that differ; not too far ahead, if that is bounded |
//! | `name` | what others see, cut at [`NAME_BYTES_MAX`]; `sub` where it cannot be shown |
//! | `rooms` | levels by pattern, see [`Rights`]; without it every room is as its own rules say |
//! | `nbf` | must not be in the future, by more than the leeway |
//! | `aud` | must be the configured one; where none is, the token is for somebody else |
//! | `iss` | must be the configured one, if one is |
//! | `guest` | `true` in a token that this server has made for a guest: see [`Verifier::verify_guest`] |
//!
//! Deliberately absent: the clock (it is passed in), a bound of the length (a request's head has
//! one), revocation (keep tokens short-lived), and reasons for the peer. To it all refusals look
//! the same.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::de::{self, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::auth::identity::{Identity, IdentityError, Rights};
use crate::auth::level::Level;
use crate::base::name::is_name;
use crate::limits::NAME_BYTES_MAX;

/// How far the issuer's clock and ours may differ, in seconds.
pub const LEEWAY_S: u64 = 60;

/// The shortest secret, in bytes: as long as the hash (RFC 7518, 3.2; RFC 8725, 3.5). A shorter one
/// can be found by trying.
pub const SECRET_BYTES_MIN: usize = 32;

/// The last second of the year 9999. A later `exp` is not a time but milliseconds taken for
/// seconds, and would never come.
const TIME_MAX_S: u64 = 253_402_300_799;

/// How tokens are signed. There is one for the whole server, and it is never the token's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256: one secret, which signs and verifies.
    Hs256,
    /// RSA (PKCS #1 v1.5) with SHA-256, at least 2,048 bits.
    Rs256,
    /// ECDSA on the curve P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// The name in a token's header (RFC 7518, 3.1; RFC 8037, 3.1).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    const fn of_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// One key that verifies tokens.
#[derive(Clone)]
pub struct Key {
    algorithm: Algorithm,
    /// With an id a key serves the tokens that name it, without one every token.
    kid: Option<Box<str>>,
    decoding: DecodingKey,
}

impl Key {
    /// The key for [`Algorithm::Hs256`].
    ///
    /// # Errors
    ///
    /// [`KeyError::ShortSecret`] below [`SECRET_BYTES_MIN`].
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        check_secret(secret)?;
        Ok(Self {
            algorithm: Algorithm::Hs256,
            kid: None,
            decoding: DecodingKey::from_secret(secret),
        })
    }

    /// A public key in PEM (`BEGIN PUBLIC KEY`, for RSA also `BEGIN RSA PUBLIC KEY`).
    ///
    /// # Errors
    ///
    /// Where `pem` is none, or of another algorithm, or where `algorithm` has no public keys.
    pub fn from_pem(algorithm: Algorithm, kid: Option<&str>, pem: &str) -> Result<Self, KeyError> {
        // The library would take the public half out of a private key, or whatever comes first in a
        // certificate.
        if pem.contains("PRIVATE KEY-----") {
            return Err(KeyError::Private);
        }
        if !pem.contains("PUBLIC KEY-----") {
            return Err(KeyError::Pem);
        }
        let decoding = match algorithm {
            Algorithm::Hs256 => return Err(KeyError::Algorithm),
            Algorithm::Rs256 => DecodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::Es256 => DecodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDsa => DecodingKey::from_ed_pem(pem.as_bytes()),
        }
        .map_err(|_| KeyError::Pem)?;
        let bytes = decoding.try_get_as_bytes().map_or(0, <[u8]>::len);
        // The library looks at curve and size only when it verifies, and every token would then be
        // refused.
        // RFC 7518, 3.3: a key of RSA MUST have 2,048 bits or more.
        let fits = match algorithm {
            Algorithm::Hs256 => false,
            Algorithm::Rs256 => bytes > 256,
            Algorithm::Es256 => bytes == 65,
            Algorithm::EdDsa => bytes == 32,
        };
        if !fits {
            return Err(KeyError::Size);
        }
        Ok(Self { algorithm, kid: kid.map(Box::from), decoding })
    }
}

fn check_secret(secret: &[u8]) -> Result<(), KeyError> {
    if secret.len() < SECRET_BYTES_MIN { Err(KeyError::ShortSecret) } else { Ok(()) }
}

/// Why something is no key. The operator's mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Fewer than [`SECRET_BYTES_MIN`] bytes.
    ShortSecret,
    /// A private key, which has no business here.
    Private,
    /// No public key in PEM, or one of another algorithm.
    Pem,
    /// The right kind of key, but too short or on another curve.
    Size,
    /// The algorithm has no such keys, or not the same as the key before.
    Algorithm,
    /// Not a single key.
    Missing,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShortSecret => "a secret must have at least 32 bytes",
            Self::Private => "this is a private key; only the public one belongs here",
            Self::Pem => "this is no public key of the algorithm, in PEM",
            Self::Size => "RS256 takes at least 2,048 bits, ES256 the curve P-256, EdDSA Ed25519",
            Self::Algorithm => "all keys must be of the one configured algorithm",
            Self::Missing => "there is no key",
        })
    }
}

impl std::error::Error for KeyError {}

/// Whom tokens must name, and who must have made them. None: whoever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parties {
    /// The `aud` that stands for this server.
    pub audience: Option<Box<str>>,
    /// The only `iss` that is trusted.
    pub issuer: Option<Box<str>>,
}

/// Turns tokens into identities.
pub struct Verifier {
    algorithm: Algorithm,
    keys: Vec<Key>,
    parties: Parties,
    /// How long a token may still live, in seconds. 0: as long as it says.
    ttl_max_s: u64,
}

impl Verifier {
    /// A verifier with these keys. A key with a `kid` serves the tokens that name it; the others
    /// serve every token, in order.
    ///
    /// # Errors
    ///
    /// Where there is no key, or keys of different algorithms.
    pub fn new(keys: Vec<Key>, parties: Parties) -> Result<Self, KeyError> {
        // RFC 8725, 3.1: each key MUST be used with exactly one algorithm.
        let algorithm = keys.first().ok_or(KeyError::Missing)?.algorithm;
        if keys.iter().any(|key| key.algorithm != algorithm) {
            return Err(KeyError::Algorithm);
        }
        Ok(Self { algorithm, keys, parties, ttl_max_s: 0 })
    }

    /// The same, that refuses tokens which live longer than `ttl_max_s` seconds from now; 0 for no
    /// bound.
    #[must_use]
    pub fn with_ttl_max(self, ttl_max_s: u64) -> Self {
        Self { ttl_max_s, ..self }
    }

    /// Whom this token names, at the time `now_unix_s` (seconds of Unix time).
    ///
    /// # Errors
    ///
    /// Where the token is not to be honoured. The reason is for logs and metrics; the peer is told
    /// nothing.
    pub fn verify(&self, token: &str, now_unix_s: u64) -> Result<Identity, TokenError> {
        self.verify_any(token, now_unix_s).map(|(identity, _)| identity)
    }

    /// The guest whom this token names, at the time `now_unix_s` (seconds of Unix time): one that
    /// says of itself that it was made for a guest, and restricts nothing. Another user's must not
    /// be exchanged for one without its restrictions.
    #[must_use]
    pub fn verify_guest(&self, token: &str, now_unix_s: u64) -> Option<Identity> {
        let (identity, is_guest) = self.verify_any(token, now_unix_s).ok()?;
        (is_guest && identity.is_unrestricted()).then_some(identity)
    }

    /// Whom this token names, and whether that is a guest.
    fn verify_any(&self, token: &str, now_unix_s: u64) -> Result<(Identity, bool), TokenError> {
        let parts = Parts::decode(token)?;
        // RFC 8725, 3.7: only UTF-8 is JSON; `serde_json` takes nothing else.
        let header: Header = object(&parts.header).ok_or(TokenError::Header)?;
        // RFC 8725, 3.1: no other algorithm than the caller's MUST be used. RFC 8725, 3.2: `none`
        // is another one.
        if header.alg != self.algorithm.as_str() {
            return Err(TokenError::Algorithm);
        }
        if !header.is_plain() {
            return Err(TokenError::Header);
        }
        // RFC 8725, 3.3: where the signature does not hold, the whole token MUST be rejected.
        self.verify_signature(&parts, header.kid.as_deref())?;
        let claims = PresentedClaims::read(&parts.claims)?;
        self.check_parties(&claims)?;
        let expires_at_s = check_times(&claims, now_unix_s)?;
        // The issuer's clock may be ahead by as much as is honoured behind `exp`.
        let ttl_max_s = if self.ttl_max_s == 0 { u64::MAX } else { self.ttl_max_s };
        if expires_at_s > now_unix_s.saturating_add(ttl_max_s).saturating_add(2 * LEEWAY_S) {
            return Err(TokenError::TooLong);
        }
        let name = claims.name.as_deref().unwrap_or(&claims.sub);
        let identity = Identity::new(&claims.sub, name, expires_at_s, claims.rights);
        let identity = identity.map_err(|error| match error {
            // A name is the id where it is not good by itself.
            IdentityError::User | IdentityError::Name => TokenError::Claim(Claim::Sub),
            IdentityError::Pattern | IdentityError::PatternTwice => TokenError::Claim(Claim::Rooms),
        })?;
        Ok((identity, claims.is_guest))
    }

    fn verify_signature(&self, parts: &Parts<'_>, kid: Option<&str>) -> Result<(), TokenError> {
        let mut error = TokenError::Key;
        // RFC 8725, 3.10: a `kid` is only compared, and never looked up anywhere.
        for key in self.keys.iter().filter(|key| key.kid.is_none() || key.kid.as_deref() == kid) {
            // The library's `decode` would read header and claims twice more, and has nothing else
            // to say than what is checked here.
            let algorithm = self.algorithm.of_library();
            match jsonwebtoken::crypto::verify(
                parts.signature,
                parts.signed,
                &key.decoding,
                algorithm,
            ) {
                Ok(true) => return Ok(()),
                Ok(false) | Err(_) => error = TokenError::Signature,
            }
        }
        Err(error)
    }

    fn check_parties(&self, claims: &PresentedClaims) -> Result<(), TokenError> {
        let audience_fits = match (&self.parties.audience, &claims.aud) {
            (None, None) => true,
            (Some(ours), Some(AudienceClaim::One(theirs))) => **ours == **theirs,
            (Some(ours), Some(AudienceClaim::Many(theirs))) => {
                theirs.iter().any(|theirs| **ours == **theirs)
            }
            // RFC 7519, 4.1.3: one who does not find itself in an `aud` that is present MUST
            // reject. RFC 8725, 3.9: so MUST one that expects an `aud` where there is none.
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !audience_fits {
            return Err(TokenError::Audience);
        }
        // RFC 8725, 3.8: the keys MUST be the issuer's. They are configured together.
        match &self.parties.issuer {
            Some(ours) if claims.iss.as_deref() != Some(ours) => Err(TokenError::Issuer),
            _ => Ok(()),
        }
    }
}

/// Until when a token counts, leeway included, or why it does not now.
fn check_times(claims: &PresentedClaims, now_unix_s: u64) -> Result<u64, TokenError> {
    let latest_s = now_unix_s.saturating_add(LEEWAY_S);
    // RFC 7519, 4.1.5: before `nbf` a token MUST NOT be accepted. `iat` only says how old it is
    // (RFC 7519, 4.1.6).
    if claims.nbf.is_some_and(|NumericDate(from_s)| from_s > latest_s) {
        return Err(TokenError::NotYet);
    }
    // RFC 7519, 4.1.4: on or after `exp` a token MUST NOT be accepted, but for some leeway.
    let NumericDate(exp_s) = claims.exp;
    let expires_at_s = exp_s + LEEWAY_S;
    if now_unix_s >= expires_at_s { Err(TokenError::Expired) } else { Ok(expires_at_s) }
}

/// Why a token is not honoured. For logs and metrics: a peer that is told learns how to forge a
/// better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Not three parts in unpadded, canonical base64url.
    Shape,
    /// A header that is no object, of another type than a JWT, or asks for what we do not do
    /// (`crit`, `jwk`, `zip`, ...).
    Header,
    /// Signed, or said to be, with another algorithm than the configured one.
    Algorithm,
    /// It names a key that is not configured, or none where it would have to.
    Key,
    /// The signature is not ours.
    Signature,
    /// Claims that are no object, or one of them twice.
    Claims,
    /// This claim is missing, of the wrong type, or over its bounds.
    Claim(Claim),
    /// For another audience.
    Audience,
    /// From another issuer.
    Issuer,
    /// `nbf` in the future.
    NotYet,
    /// `exp` in the past.
    Expired,
    /// `exp` further in the future than the server allows.
    TooLong,
}

impl TokenError {
    /// One word for a metric's label or a log's field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shape => "shape",
            Self::Header => "header",
            Self::Algorithm => "algorithm",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Claim(_) => "claim",
            Self::Audience => "audience",
            Self::Issuer => "issuer",
            Self::NotYet => "not_yet",
            Self::Expired => "expired",
            Self::TooLong => "too_long",
        }
    }

    /// What the claim must be that is not, where it is no matter of whose it is.
    #[must_use]
    pub const fn wanted(self) -> Option<&'static str> {
        if let Self::Claim(claim) = self { Some(claim.wanted()) } else { None }
    }

    /// The claim that is at fault, where it is one.
    #[must_use]
    pub const fn claim(self) -> Option<&'static str> {
        match self {
            Self::Claim(claim) => Some(claim.as_str()),
            Self::Audience => Some("aud"),
            Self::Issuer => Some("iss"),
            Self::NotYet => Some("nbf"),
            Self::Expired | Self::TooLong => Some("exp"),
            Self::Shape
            | Self::Header
            | Self::Algorithm
            | Self::Key
            | Self::Signature
            | Self::Claims => None,
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for TokenError {}

/// A claim that is looked at, and can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The user's id.
    Sub,
    /// The end.
    Exp,
    /// The beginning.
    Nbf,
    /// Rights by pattern.
    Rooms,
    /// The audience.
    Aud,
}

impl Claim {
    /// Its name in a token.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sub => "sub",
            Self::Exp => "exp",
            Self::Nbf => "nbf",
            Self::Rooms => "rooms",
            Self::Aud => "aud",
        }
    }

    /// What it must be, for the log.
    #[must_use]
    pub const fn wanted(self) -> &'static str {
        match self {
            Self::Sub => "text of 1 to 128 bytes without control characters, or an integer",
            Self::Exp | Self::Nbf => "a number of seconds of Unix time",
            Self::Rooms => {
                "an object of `none`, `join`, `speak`, `moderate` or `own` by pattern: a room's name, \
                 with at most one `*`, at its end"
            }
            Self::Aud => "text, or an array of texts",
        }
    }
}

/// Makes tokens for guests, for the command line and for tests: always [`Algorithm::Hs256`].
pub struct Signer {
    key: EncodingKey,
    parties: Parties,
}

impl Signer {
    /// A signer whose tokens a [`Verifier`] with the same secret and parties accepts.
    ///
    /// # Errors
    ///
    /// [`KeyError::ShortSecret`] below [`SECRET_BYTES_MIN`].
    pub fn new(secret: &[u8], parties: Parties) -> Result<Self, KeyError> {
        check_secret(secret)?;
        Ok(Self { key: EncodingKey::from_secret(secret), parties })
    }

    /// The token that says this. Whether it is short enough and says what a [`Verifier`] accepts is
    /// the caller's business.
    ///
    /// # Panics
    ///
    /// Never: text, numbers and a map of them are always JSON, and HMAC takes any key.
    #[must_use]
    pub fn sign(&self, claims: &Claims) -> String {
        let claims = SignedClaims {
            claims,
            aud: self.parties.audience.as_deref(),
            iss: self.parties.issuer.as_deref(),
        };
        let header = jsonwebtoken::Header::new(Algorithm::Hs256.of_library());
        jsonwebtoken::encode(&header, &claims, &self.key)
            .expect("claims are JSON and HMAC cannot fail")
    }
}

/// What a token of ours says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// The user's id.
    pub sub: String,
    /// What others see. None: the id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// From when on it is void, in seconds of Unix time.
    pub exp: u64,
    /// When it was made, in seconds of Unix time.
    pub iat: u64,
    /// Levels by pattern. None: `speak` everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rooms: Option<BTreeMap<String, Level>>,
    /// Whether it is a guest's, who may have another under another name.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub guest: bool,
}

#[derive(Serialize)]
struct SignedClaims<'a> {
    #[serde(flatten)]
    claims: &'a Claims,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A token taken apart (RFC 7515, 7.1).
struct Parts<'a> {
    header: Vec<u8>,
    claims: Vec<u8>,
    /// In base64url.
    signature: &'a str,
    /// What the signature is of: header and claims as they came.
    signed: &'a [u8],
}

impl<'a> Parts<'a> {
    /// All three parts must be there, in base64url without padding (RFC 7519, 7.2), and in no other
    /// way than the one in which it is written: the library might be more lenient.
    fn decode(token: &'a str) -> Result<Self, TokenError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Shape)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Shape)?;
        if header.is_empty() || claims.is_empty() || signature.is_empty() {
            return Err(TokenError::Shape);
        }
        // A fourth part would be in the claims, and a full stop is no base64url.
        let decode =
            |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| TokenError::Shape);
        decode(signature)?;
        Ok(Self {
            header: decode(header)?,
            claims: decode(claims)?,
            signature,
            signed: signed.as_bytes(),
        })
    }
}

/// What `json` says as an object, which it MUST be (RFC 7519, 7.2). An array of the values alone,
/// in the order of the fields, would be as good to `serde`.
fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    let is_object = json.trim_ascii_start().starts_with(b"{");
    if is_object { serde_json::from_slice(json).ok() } else { None }
}

/// The header (RFC 7515, 4.1). It is the attacker's text: nobody has verified it yet.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "present")]
    typ: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "present")]
    kid: Option<Cow<'a, str>>,
    // What would make the token choose its own key (RFC 8725, 3.10), be packed (RFC 8725, 3.6) or
    // ask for an extension: none is understood, so none is ignored (RFC 7515, 4.1.11).
    crit: IsPresent,
    enc: IsPresent,
    jku: IsPresent,
    jwk: IsPresent,
    x5c: IsPresent,
    x5u: IsPresent,
    zip: IsPresent,
}

impl Header<'_> {
    /// Whether this is an ordinary JWT: without extensions, and of no type made for another purpose
    /// (RFC 8725, 3.11 and 2.8).
    fn is_plain(&self) -> bool {
        let typ = self.typ.as_deref().unwrap_or("JWT");
        let typ = typ.strip_prefix("application/").unwrap_or(typ);
        let is_jwt = ["JWT", "at+jwt"].iter().any(|known| known.eq_ignore_ascii_case(typ));
        let extensions =
            [&self.crit, &self.enc, &self.jku, &self.jwk, &self.x5c, &self.x5u, &self.zip];
        is_jwt && !extensions.iter().any(|extension| extension.0)
    }
}

/// Whether a field is there, be it `null`.
#[derive(Default)]
struct IsPresent(bool);

impl<'de> Deserialize<'de> for IsPresent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer)?;
        Ok(Self(true))
    }
}

/// For an optional field whose `null` is a mistake: taking `"rooms": null` for no `rooms` would
/// open every room.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The claims that are looked at, as text. Others MUST be ignored (RFC 7519, 4), and each of these
/// MUST be there only once.
///
/// They are read one by one, so that it can be said which of them is wrong.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ClaimTexts<'a> {
    #[serde(borrow, deserialize_with = "present")]
    sub: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    exp: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    name: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    rooms: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    nbf: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    aud: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    iss: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    guest: Option<&'a RawValue>,
}

/// What the claims say.
struct PresentedClaims {
    sub: String,
    exp: NumericDate,
    /// `None` where it cannot be shown.
    name: Option<String>,
    rights: Option<Rights>,
    nbf: Option<NumericDate>,
    aud: Option<AudienceClaim>,
    /// `None` also where it is no text, and so nobody's.
    iss: Option<String>,
    is_guest: bool,
}

impl PresentedClaims {
    fn read(json: &[u8]) -> Result<Self, TokenError> {
        let texts: ClaimTexts<'_> = object(json).ok_or(TokenError::Claims)?;
        let SubClaim(sub) = read(texts.sub, Claim::Sub)?.ok_or(TokenError::Claim(Claim::Sub))?;
        let exp = read(texts.exp, Claim::Exp)?.ok_or(TokenError::Claim(Claim::Exp))?;
        let rooms: Option<RoomsClaim> = read(texts.rooms, Claim::Rooms)?;
        Ok(Self {
            sub,
            exp,
            name: texts.name.and_then(shown_name),
            rights: rooms.as_ref().map(RoomsClaim::rights).transpose()?,
            nbf: read(texts.nbf, Claim::Nbf)?,
            aud: read(texts.aud, Claim::Aud)?,
            iss: texts.iss.and_then(|text| serde_json::from_str(text.get()).ok()),
            is_guest: texts.guest.is_some_and(|guest| guest.get() == "true"),
        })
    }
}

fn read<T: DeserializeOwned>(
    text: Option<&RawValue>,
    claim: Claim,
) -> Result<Option<T>, TokenError> {
    text.map(|text| serde_json::from_str(text.get()))
        .transpose()
        .map_err(|_| TokenError::Claim(claim))
}

/// The name as others may see it, cut behind a character. `None` where there is nothing to see, or
/// something that may not be: a name only decorates, and refuses nobody.
fn shown_name(text: &RawValue) -> Option<String> {
    let mut name: String = serde_json::from_str(text.get()).ok()?;
    name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
    Some(name).filter(|name| is_name(name))
}

/// The user's id. Many issuers write the number of a row in their database, against RFC 7519,
/// 4.1.2; its digits say the same. A number with a fraction or beyond 64 bits is no id: it has
/// already lost digits.
struct SubClaim(String);

impl<'de> Deserialize<'de> for SubClaim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Sub {
            Text(String),
            Positive(u64),
            Negative(i64),
        }

        Ok(Self(match Sub::deserialize(deserializer)? {
            Sub::Text(text) => text,
            Sub::Positive(number) => number.to_string(),
            Sub::Negative(number) => number.to_string(),
        }))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AudienceClaim {
    One(String),
    Many(Vec<String>),
}

/// Seconds of Unix time. A fraction is allowed (RFC 7519, 2) and dropped.
#[derive(Clone, Copy)]
struct NumericDate(u64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A number of any kind and nothing else; below zero, infinite and beyond all bounds fail
        // here.
        let seconds = serde_json::Number::deserialize(deserializer)?;
        let whole = match (seconds.as_u64(), seconds.as_f64()) {
            (Some(whole), _) => Some(whole),
            (None, Some(float)) => {
                Duration::try_from_secs_f64(float).ok().map(|time| time.as_secs())
            }
            (None, None) => None,
        };
        match whole {
            Some(seconds @ ..=TIME_MAX_S) => Ok(Self(seconds)),
            _ => Err(de::Error::custom("not a time")),
        }
    }
}

/// The pairs of `rooms` in their order, so that a pattern that is there twice can still be seen.
struct RoomsClaim(Vec<(String, Level)>);

impl RoomsClaim {
    fn rights(&self) -> Result<Rights, TokenError> {
        let rules = self.0.iter().map(|(pattern, level)| (pattern.as_str(), *level));
        Rights::new(rules).map_err(|_| TokenError::Claim(Claim::Rooms))
    }
}

impl<'de> Deserialize<'de> for RoomsClaim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = RoomsClaim;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of levels by pattern")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RoomsClaim, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(RoomsClaim(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests;
