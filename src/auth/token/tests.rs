//! The token checklist: what is accepted, and a table of what is not.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RsaKeyPair,
};
use data_encoding::BASE64;
use jsonwebtoken::Algorithm as Alg;

use super::*;
use crate::auth::level::Level;

const NOW_S: u64 = 1_800_000_000;
const SECRET: &[u8] = b"an example secret of 32 bytes ..";
const OTHER_SECRET: &[u8] = b"another secret, just as long ...";
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
const CLAIMS: &str = r#"{"sub":"u1","exp":1800000600}"#;

fn verifier() -> Verifier {
    Verifier::new(vec![Key::from_secret(SECRET).unwrap()], Parties::default()).unwrap()
}

fn parties(audience: &str, issuer: &str) -> Parties {
    Parties { audience: Some(audience.into()), issuer: Some(issuer.into()) }
}

/// A token with exactly this text, signed as `alg` says whatever the header says.
fn forge_as(alg: Alg, key: &EncodingKey, header: &str, claims: &str) -> String {
    let message = format!(
        "{}.{}",
        BASE64URL_NOPAD.encode(header.as_bytes()),
        BASE64URL_NOPAD.encode(claims.as_bytes())
    );
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, alg).unwrap();
    format!("{message}.{signature}")
}

fn forge(header: &str, claims: &str) -> String {
    forge_as(Alg::HS256, &EncodingKey::from_secret(SECRET), header, claims)
}

fn with_header(header: &str) -> String {
    forge(header, CLAIMS)
}

/// `claims` beside a good `sub` and `exp`.
fn with_claims(claims: &str) -> String {
    forge(HEADER, &format!(r#"{{"sub":"u1","exp":1800000600,{claims}}}"#))
}

#[track_caller]
fn check(verifier: &Verifier, token: &str, expected: Result<(), TokenError>) {
    assert_eq!(verifier.verify(token, NOW_S).map(|_| ()), expected, "{token}");
}

#[test]
fn a_good_token_says_who_it_is() {
    let identity = verifier().verify(&forge(HEADER, CLAIMS), NOW_S).unwrap();
    assert_eq!((identity.user(), identity.name()), ("u1", "u1"));
    assert_eq!(identity.expires_at_s(), NOW_S + 600 + LEEWAY_S);
    assert!(identity.is_unrestricted());

    let token =
        with_claims(r#""name":"Ann","rooms":{"team-*":"speak","news":"join"},"scope":["ignored"]"#);
    let identity = verifier().verify(&token, NOW_S).unwrap();
    assert_eq!(identity.name(), "Ann");
    assert!(identity.may_speak("team-a") && identity.may_join("news"));
    assert!(!identity.may_speak("news") && !identity.may_join("tea"));
    let levels = Level::ALL.map(|level| format!(r#""{0}":"{0}""#, level.as_str())).join(",");
    let token = with_claims(&format!(r#""rooms":{{{levels}}}"#));
    let identity = verifier().verify(&token, NOW_S).unwrap();
    assert!(Level::ALL.iter().all(|level| identity.level_in(level.as_str()) == *level));
    assert!(identity.may_speak("own") && identity.may_speak("moderate"));
}

#[test]
fn forged_tokens_are_refused() {
    let verifier = verifier();
    let good = forge(HEADER, CLAIMS);
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        unreachable!()
    };
    let other_key = EncodingKey::from_secret(OTHER_SECRET);
    let same_key = EncodingKey::from_secret(SECRET);
    let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let unsigned = |alg: &str| format!("{}.{claims}.", encode(&format!(r#"{{"alg":"{alg}"}}"#)));
    let last = signature.chars().last().unwrap();
    // 32 bytes are 43 characters, of which the last has two bits too many: another one decodes to
    // the same bytes.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let sibling = alphabet.chars().nth(alphabet.find(last).unwrap() ^ 1).unwrap();
    let uncanonical = format!("{header}.{claims}.{}{sibling}", &signature[..signature.len() - 1]);
    let deep = format!(r#"{{"alg":"HS256","x":{}}}"#, "[".repeat(1_000));

    let table = [
        // The algorithm is never the token's choice.
        (unsigned("none"), TokenError::Shape),
        (format!("{}{signature}", unsigned("none")), TokenError::Algorithm),
        (format!("{}{signature}", unsigned("None")), TokenError::Algorithm),
        (format!("{}{signature}", unsigned("NONE")), TokenError::Algorithm),
        (format!("{}{signature}", unsigned("nOnE")), TokenError::Algorithm),
        (format!("{}{signature}", unsigned("")), TokenError::Algorithm),
        (with_header(r#"{"typ":"JWT"}"#), TokenError::Algorithm),
        (with_header(r#"{"alg":"hs256"}"#), TokenError::Algorithm),
        (with_header(r#"{"alg":"HS256 "}"#), TokenError::Algorithm),
        (with_header(r#"{"alg":["HS256"]}"#), TokenError::Header),
        (with_header(r#"{"alg":null}"#), TokenError::Header),
        (with_header(r#"{"alg":"none","alg":"HS256"}"#), TokenError::Header),
        (forge_as(Alg::HS384, &same_key, r#"{"alg":"HS384"}"#, CLAIMS), TokenError::Algorithm),
        (forge_as(Alg::HS512, &same_key, r#"{"alg":"HS512"}"#, CLAIMS), TokenError::Algorithm),
        (forge_as(Alg::HS384, &same_key, HEADER, CLAIMS), TokenError::Signature),
        (with_header(r#"{"alg":"RS256"}"#), TokenError::Algorithm),
        // The signature covers all of it.
        (forge_as(Alg::HS256, &other_key, HEADER, CLAIMS), TokenError::Signature),
        (
            format!("{header}.{}.{signature}", encode(r#"{"sub":"admin","exp":1800000600}"#)),
            TokenError::Signature,
        ),
        (format!("{}.{claims}.{signature}", encode(r#"{"alg":"HS256"}"#)), TokenError::Signature),
        (format!("{header}.{claims}.{}", encode("x")), TokenError::Signature),
        (format!("{header}.{claims}.{}", &signature[..40]), TokenError::Signature),
        (format!("{header}.{claims}.{signature}AAAA"), TokenError::Signature),
        // Three parts of canonical base64url, no more and no less.
        (String::new(), TokenError::Shape),
        ("..".into(), TokenError::Shape),
        ("...".into(), TokenError::Shape),
        (format!("{header}.{claims}"), TokenError::Shape),
        (format!("{header}.{claims}."), TokenError::Shape),
        (format!(".{claims}.{signature}"), TokenError::Shape),
        (format!("{header}..{signature}"), TokenError::Shape),
        (format!("{good}.{signature}"), TokenError::Shape),
        (format!("{good}."), TokenError::Shape),
        (format!(".{good}"), TokenError::Shape),
        (format!("{good}="), TokenError::Shape),
        (format!("{good}\n"), TokenError::Shape),
        (format!(" {good}"), TokenError::Shape),
        (format!("Bearer {good}"), TokenError::Shape),
        (good.replacen('.', "%2e", 1), TokenError::Shape),
        (format!("{header}.{claims}.{}+/", &signature[..41]), TokenError::Shape),
        (uncanonical, TokenError::Shape),
        (format!("{header}.{claims}é.{signature}"), TokenError::Shape),
        (format!("{good}{}", "A".repeat(4_000)), TokenError::Signature),
        ("A".repeat(1 << 20), TokenError::Shape),
        // The header brings no key and no extension, not even an empty one, and the type of no
        // other kind of token.
        (with_header(r#"{"alg":"HS256","jku":"https://evil.example/keys"}"#), TokenError::Header),
        (with_header(r#"{"alg":"HS256","x5u":"https://evil.example/cert"}"#), TokenError::Header),
        (with_header(r#"{"alg":"HS256","x5c":["AAAA"]}"#), TokenError::Header),
        (with_header(r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}"#), TokenError::Header),
        (with_header(r#"{"alg":"HS256","crit":["exp"]}"#), TokenError::Header),
        (with_header(r#"{"alg":"HS256","crit":[]}"#), TokenError::Header),
        (with_header(r#"{"alg":"HS256","crit":null}"#), TokenError::Header),
        (with_header(r#"{"alg":"HS256","zip":"DEF"}"#), TokenError::Header),
        (with_header(r#"{"alg":"HS256","enc":"A128GCM"}"#), TokenError::Header),
        (with_header(r#"{"alg":"HS256","typ":"dpop+jwt"}"#), TokenError::Header),
        (with_header(r#"{"alg":"HS256","typ":1}"#), TokenError::Header),
        (with_header(r#"{"alg":"HS256","kid":{}}"#), TokenError::Header),
        (with_header(r#"{"alg":"HS256","kid":null}"#), TokenError::Header),
        (with_header(r#""HS256""#), TokenError::Header),
        (with_header(r#"["HS256","JWT"]"#), TokenError::Header),
        (with_header("{}{}"), TokenError::Header),
        (with_header(""), TokenError::Shape),
        (with_header(&deep), TokenError::Header),
    ];
    for (token, expected) in table {
        check(&verifier, &token, Err(expected));
    }
}

#[test]
fn signed_tokens_with_bad_claims_are_refused() {
    let verifier = verifier();
    let long = "x".repeat(129);
    let whole = [
        forge(HEADER, "null"),
        forge(HEADER, "{"),
        forge(HEADER, r#"["u1",1800000600]"#),
        forge(HEADER, r#"{"sub":"u1","exp":1800000600} {}"#),
        forge(HEADER, r#"{"sub":"u1","exp":1,"exp":1800000600}"#),
        with_claims(r#""sub":"u2""#),
        with_claims(r#""name":"a","name":"b""#),
    ];
    for token in whole {
        check(&verifier, &token, Err(TokenError::Claims));
    }
    let exp = [
        forge(HEADER, r#"{"sub":"u1"}"#),
        forge(HEADER, r#"{"sub":"u1","exp":null}"#),
        forge(HEADER, r#"{"sub":"u1","exp":"1800000600"}"#),
        forge(HEADER, r#"{"sub":"u1","exp":-1}"#),
        forge(HEADER, r#"{"sub":"u1","exp":-1.5}"#),
        forge(HEADER, r#"{"sub":"u1","exp":1e300}"#),
        forge(HEADER, r#"{"sub":"u1","exp":1800000600000}"#),
        forge(HEADER, r#"{"sub":"u1","exp":253402300800}"#),
        forge(HEADER, r#"{"sub":"u1","exp":18446744073709551615}"#),
        forge(HEADER, r#"{"sub":"u1","exp":18446744073709551616}"#),
        forge(HEADER, r#"{"sub":"u1","exp":true}"#),
        forge(HEADER, r#"{"sub":"u1","exp":[1800000600]}"#),
    ];
    let nbf =
        [with_claims(r#""nbf":"1""#), with_claims(r#""nbf":null"#), with_claims(r#""nbf":-1"#)];
    let sub = [
        forge(HEADER, r#"{"exp":1800000600}"#),
        forge(HEADER, r#"{"sub":null,"exp":1800000600}"#),
        forge(HEADER, r#"{"sub":true,"exp":1800000600}"#),
        forge(HEADER, r#"{"sub":7.0,"exp":1800000600}"#),
        forge(HEADER, r#"{"sub":7e1,"exp":1800000600}"#),
        forge(HEADER, r#"{"sub":18446744073709551616,"exp":1800000600}"#),
        forge(HEADER, r#"{"sub":["u1"],"exp":1800000600}"#),
        forge(HEADER, r#"{"sub":"","exp":1800000600}"#),
        forge(HEADER, r#"{"sub":"a\nb","exp":1800000600}"#),
        forge(HEADER, r#"{"sub":"a\u0000","exp":1800000600}"#),
        forge(HEADER, r#"{"sub":"\ud800","exp":1800000600}"#),
        forge(HEADER, &format!(r#"{{"sub":"{long}","exp":1800000600}}"#)),
        forge(HEADER, &format!(r#"{{"sub":"{long}","name":"Ann","exp":1800000600}}"#)),
    ];
    let rooms = [
        with_claims(r#""rooms":null"#),
        with_claims(r#""rooms":"*""#),
        with_claims(r#""rooms":["tea"]"#),
        with_claims(r#""rooms":{"tea":true}"#),
        with_claims(r#""rooms":{"tea":"admin"}"#),
        with_claims(r#""rooms":{"tea":"Speak"}"#),
        with_claims(r#""rooms":{"tea":"owner"}"#),
        with_claims(r#""rooms":{"tea":4}"#),
        with_claims(r#""rooms":{"tea":{"speak":null}}"#),
        with_claims(r#""rooms":{"tea":"none","tea":"speak"}"#),
        with_claims(r#""rooms":{"":"speak"}"#),
        with_claims(r#""rooms":{"a*b":"speak"}"#),
        with_claims(r#""rooms":{"a\n":"speak"}"#),
    ];
    let aud = [with_claims(r#""aud":7"#), with_claims(r#""aud":null"#)];
    for (claim, tokens) in [
        (Claim::Exp, &exp[..]),
        (Claim::Nbf, &nbf),
        (Claim::Sub, &sub),
        (Claim::Rooms, &rooms),
        (Claim::Aud, &aud),
    ] {
        for token in tokens {
            check(&verifier, token, Err(TokenError::Claim(claim)));
        }
        assert_eq!(TokenError::Claim(claim).claim(), Some(claim.as_str()));
    }
    let wanted = TokenError::Claim(Claim::Rooms).wanted().expect("it says what is allowed");
    assert!(Level::ALL.iter().all(|level| wanted.contains(&format!("`{}`", level.as_str()))));
}

#[test]
fn a_name_refuses_nobody() {
    // 44 letters of 3 bytes, of which 42 fit; 128 bytes and one; a letter that lies across the end.
    let thai = "ก".repeat(44);
    let long = "x".repeat(129);
    let across = format!("{}é", "x".repeat(127));
    for (name, shown) in [
        (r#""Ann""#, "Ann"),
        (&format!("\"{thai}\""), &thai[..126]),
        (&format!("\"{long}\""), &long[..128]),
        (&format!("\"{across}\""), &across[..127]),
        (r#""é😀""#, "é😀"),
        ("null", "u1"),
        ("7", "u1"),
        ("true", "u1"),
        (r#""""#, "u1"),
        (r#"["Ann"]"#, "u1"),
        (r#"{"first":"Ann"}"#, "u1"),
        (r#""\u001b[2J""#, "u1"),
        (r#""a\nb""#, "u1"),
        // Half a character, as `slice` leaves it in JavaScript.
        (r#""Ann\ud83d""#, "u1"),
    ] {
        let identity =
            verifier().verify(&with_claims(&format!(r#""name":{name}"#)), NOW_S).unwrap();
        assert_eq!((identity.user(), identity.name()), ("u1", shown), "{name}");
    }
}

#[test]
fn an_integer_is_a_user_by_its_digits() {
    for sub in ["0", "42", "-7", "18446744073709551615", "-9223372036854775808"] {
        let token = forge(HEADER, &format!(r#"{{"sub":{sub},"exp":1800000600}}"#));
        let identity = verifier().verify(&token, NOW_S).unwrap();
        assert_eq!((identity.user(), identity.name()), (sub, sub));
    }
}

#[test]
fn what_standards_allow_and_libraries_do_is_accepted() {
    for token in [
        with_header(r#"{"alg":"HS256"}"#),
        with_header(r#"{ "typ" : "jwt", "alg" : "HS256" }"#),
        with_header(r#"{"typ":"at+jwt","alg":"HS256"}"#),
        with_header(r#"{"typ":"application/at+jwt","alg":"HS256"}"#),
        with_header(r#"{"alg":"HS256","cty":"JWT","vendor":{"x":1}}"#),
        with_header(r#"{"alg":"HS256","kid":"whatever, our key has no id"}"#),
        with_header(r#"{"\u0061lg":"HS256"}"#),
        forge(HEADER, r#"{"sub":"u1","exp":1800000600.75}"#),
        forge(HEADER, r#"{"sub":"u1","exp":1.8000006e9}"#),
        forge(HEADER, r#"{"sub":"u1","exp":253402300799}"#),
        forge(HEADER, r#"{"sub":"ü 😀","exp":1800000600}"#),
        with_claims(r#""rooms":{}"#),
        with_claims(r#""nbf":1799999999.5,"iat":0"#),
        with_claims(r#""iat":1800000300"#),
        with_claims(r#""iat":{}"#),
        with_claims(r#""iat":null,"iat":"yesterday""#),
        with_claims(r#""iss":["anybody"]"#),
        with_claims(r#""iss":"anybody""#),
    ] {
        check(&verifier(), &token, Ok(()));
    }
}

/// The second opinion: neither our code nor our library made these. `PyJWT` 2.15 (with a fraction
/// in `exp`) and npm jsonwebtoken 9.0.
#[test]
fn tokens_of_other_libraries_are_accepted() {
    for token in [
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1MSIsIm5hbWUiOiJBbm4iLCJleHAiOjE4MDAwMDM2MDAuMCwicm9vbXMiOnsidGVhb\
         S03LSoiOiJzcGVhayIsIm5ld3MiOiJqb2luIn19.NlNqts3x4vE0iMqk3Fkd9y4FH8t9toXjurXCtHu4sfs",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1MSIsIm5hbWUiOiJBbm4iLCJyb29tcyI6eyJ0ZWFtLTctKiI6InNwZWFrIiwibmV3c\
         yI6ImpvaW4ifSwiaWF0IjoxODAwMDAwMDAwLCJleHAiOjE4MDAwMDM2MDB9.VMvyHl6bSUkWCe8DpbHzMjW4EiCLjWxPa0FEBQwZ_qM",
    ] {
        let identity = verifier().verify(token, NOW_S).unwrap();
        assert_eq!((identity.user(), identity.name()), ("u1", "Ann"));
        assert_eq!(identity.expires_at_s(), NOW_S + 3_600 + LEEWAY_S);
        assert!(
            identity.may_speak("team-7-a")
                && identity.may_join("news")
                && !identity.may_speak("news")
        );
    }
}

#[test]
fn a_long_token_is_as_good_as_a_short_one() {
    // What an identity provider puts into it is its own business.
    let roles = vec!["\"a role of many\""; 4_000].join(",");
    check(&verifier(), &with_claims(&format!(r#""realm_access":{{"roles":[{roles}]}}"#)), Ok(()));
}

#[test]
fn times_are_honoured_to_the_second_of_the_leeway() {
    let at = |claims: &str, now_s: u64| verifier().verify(&with_claims(claims), now_s).map(|_| ());
    let plain = r#""x":0"#;
    assert_eq!(at(plain, NOW_S + 600 + LEEWAY_S - 1), Ok(()));
    assert_eq!(at(plain, NOW_S + 600 + LEEWAY_S), Err(TokenError::Expired));
    assert_eq!(at(plain, u64::MAX), Err(TokenError::Expired));
    assert_eq!(at(plain, 0), Ok(()));
    let future = format!(r#""nbf":{NOW_S}"#);
    assert_eq!(at(&future, NOW_S - LEEWAY_S), Ok(()));
    assert_eq!(at(&future, NOW_S - LEEWAY_S - 1), Err(TokenError::NotYet));
    // When it was made is not looked at.
    assert_eq!(at(&format!(r#""iat":{NOW_S}"#), 0), Ok(()));
    check(&verifier(), &forge(HEADER, r#"{"sub":"u1","exp":0}"#), Err(TokenError::Expired));
}

#[test]
fn audience_and_issuer_must_be_the_configured_ones() {
    let keys = || vec![Key::from_secret(SECRET).unwrap()];
    let ours = Verifier::new(keys(), parties("chat", "me")).unwrap();
    for (claims, expected) in [
        (r#""aud":"chat","iss":"me""#, Ok(())),
        (r#""aud":["mail","chat"],"iss":"me""#, Ok(())),
        (r#""aud":"mail","iss":"me""#, Err(TokenError::Audience)),
        (r#""aud":["mail"],"iss":"me""#, Err(TokenError::Audience)),
        (r#""aud":[],"iss":"me""#, Err(TokenError::Audience)),
        (r#""aud":"chat2","iss":"me""#, Err(TokenError::Audience)),
        (r#""aud":"Chat","iss":"me""#, Err(TokenError::Audience)),
        (r#""iss":"me""#, Err(TokenError::Audience)),
        (r#""aud":"chat""#, Err(TokenError::Issuer)),
        (r#""aud":"chat","iss":"me ""#, Err(TokenError::Issuer)),
        (r#""aud":"chat","iss":"""#, Err(TokenError::Issuer)),
        (r#""aud":["chat",7],"iss":"me""#, Err(TokenError::Claim(Claim::Aud))),
        (r#""aud":"chat","iss":["me"]"#, Err(TokenError::Issuer)),
        (r#""aud":"chat","iss":null"#, Err(TokenError::Issuer)),
    ] {
        check(&ours, &with_claims(claims), expected);
    }
    check(&verifier(), &with_claims(r#""aud":"chat""#), Err(TokenError::Audience));
    check(&verifier(), &with_claims(r#""aud":[]"#), Err(TokenError::Audience));
}

#[test]
fn a_former_secret_still_verifies() {
    let keys = vec![Key::from_secret(OTHER_SECRET).unwrap(), Key::from_secret(SECRET).unwrap()];
    let verifier = Verifier::new(keys, Parties::default()).unwrap();
    check(&verifier, &forge(HEADER, CLAIMS), Ok(()));
    let other = forge_as(Alg::HS256, &EncodingKey::from_secret(OTHER_SECRET), HEADER, CLAIMS);
    check(&verifier, &other, Ok(()));
    let third = forge_as(Alg::HS256, &EncodingKey::from_secret(&[7; 32]), HEADER, CLAIMS);
    check(&verifier, &third, Err(TokenError::Signature));
}

/// A key pair of each asymmetric algorithm, made for this run.
struct Pair {
    algorithm: Algorithm,
    alg: Alg,
    private: EncodingKey,
    public_pem: String,
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

fn public_pem(key: &impl AsDer<PublicKeyX509Der<'static>>) -> String {
    pem("PUBLIC KEY", key.as_der().unwrap().as_ref())
}

fn pkcs8(key: &impl AsDer<Pkcs8V1Der<'static>>) -> Vec<u8> {
    key.as_der().unwrap().as_ref().to_vec()
}

fn pairs() -> [Pair; 3] {
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let ed = Ed25519KeyPair::generate().unwrap();
    [
        Pair {
            algorithm: Algorithm::Rs256,
            alg: Alg::RS256,
            private: EncodingKey::from_rsa_pem(pem("PRIVATE KEY", &pkcs8(&rsa)).as_bytes())
                .unwrap(),
            public_pem: public_pem(rsa.public_key()),
        },
        Pair {
            algorithm: Algorithm::Es256,
            alg: Alg::ES256,
            private: EncodingKey::from_ec_der(ec.to_pkcs8v1().unwrap().as_ref()),
            public_pem: public_pem(ec.public_key()),
        },
        Pair {
            algorithm: Algorithm::EdDsa,
            alg: Alg::EdDSA,
            private: EncodingKey::from_ed_der(&pkcs8(&ed)),
            public_pem: public_pem(ed.public_key()),
        },
    ]
}

fn header_of(algorithm: Algorithm) -> String {
    format!(r#"{{"alg":"{}","typ":"JWT"}}"#, algorithm.as_str())
}

#[test]
fn each_algorithm_accepts_its_own_tokens_and_nobody_elses() {
    let pairs = pairs();
    for ours in &pairs {
        let key = Key::from_pem(ours.algorithm, None, &ours.public_pem).unwrap();
        let verifier = Verifier::new(vec![key], Parties::default()).unwrap();
        for theirs in &pairs {
            let honest =
                forge_as(theirs.alg, &theirs.private, &header_of(theirs.algorithm), CLAIMS);
            let disguised =
                forge_as(theirs.alg, &theirs.private, &header_of(ours.algorithm), CLAIMS);
            let same = ours.algorithm == theirs.algorithm;
            check(&verifier, &honest, if same { Ok(()) } else { Err(TokenError::Algorithm) });
            check(&verifier, &disguised, if same { Ok(()) } else { Err(TokenError::Signature) });
        }
        // The public key is public: nobody may sign with it.
        for secret in [ours.public_pem.as_bytes(), ours.public_pem.trim().as_bytes()] {
            let secret = EncodingKey::from_secret(secret);
            check(
                &verifier,
                &forge_as(Alg::HS256, &secret, HEADER, CLAIMS),
                Err(TokenError::Algorithm),
            );
            let disguised = forge_as(Alg::HS256, &secret, &header_of(ours.algorithm), CLAIMS);
            check(&verifier, &disguised, Err(TokenError::Signature));
        }
        let zero = format!(
            "{}.{}.{}",
            BASE64URL_NOPAD.encode(header_of(ours.algorithm).as_bytes()),
            BASE64URL_NOPAD.encode(CLAIMS.as_bytes()),
            BASE64URL_NOPAD.encode(&[0; 64])
        );
        check(&verifier, &zero, Err(TokenError::Signature));
    }
}

#[test]
fn a_kid_picks_among_the_configured_keys_only() {
    let key = |kid| {
        let pair = Ed25519KeyPair::generate().unwrap();
        let public = public_pem(pair.public_key());
        (
            EncodingKey::from_ed_der(&pkcs8(&pair)),
            Key::from_pem(Algorithm::EdDsa, kid, &public).unwrap(),
        )
    };
    let (old_private, old) = key(Some("old"));
    let (new_private, new) = key(Some("new"));
    let verifier = Verifier::new(vec![old, new], Parties::default()).unwrap();
    let token = |private: &EncodingKey, kid: &str| {
        forge_as(Alg::EdDSA, private, &format!(r#"{{"alg":"EdDSA"{kid}}}"#), CLAIMS)
    };
    check(&verifier, &token(&old_private, r#","kid":"old""#), Ok(()));
    check(&verifier, &token(&new_private, r#","kid":"new""#), Ok(()));
    check(&verifier, &token(&new_private, r#","kid":"old""#), Err(TokenError::Signature));
    for kid in ["", "New", "new ", "../../dev/null", "' OR 1=1", "0", "https://evil.example/key"] {
        check(&verifier, &token(&new_private, &format!(r#","kid":"{kid}""#)), Err(TokenError::Key));
    }
    check(&verifier, &token(&new_private, ""), Err(TokenError::Key));
    check(&verifier, &token(&new_private, r#","kid":"new","kid":"old""#), Err(TokenError::Header));
}

#[test]
fn only_good_public_keys_are_keys() {
    let [rsa, ec, ed] = pairs();
    for (algorithm, text) in [
        (Algorithm::Rs256, &ec.public_pem),
        (Algorithm::Es256, &ed.public_pem),
        (Algorithm::EdDsa, &rsa.public_pem),
        (Algorithm::EdDsa, &String::new()),
        (Algorithm::EdDsa, &pem("PUBLIC KEY", b"nonsense")),
        (Algorithm::EdDsa, &pem("CERTIFICATE", b"nonsense")),
    ] {
        assert_eq!(Key::from_pem(algorithm, None, text).err(), Some(KeyError::Pem), "{text}");
    }
    let private = pem("PRIVATE KEY", &pkcs8(&Ed25519KeyPair::generate().unwrap()));
    assert_eq!(Key::from_pem(Algorithm::EdDsa, None, &private).err(), Some(KeyError::Private));
    let p384 =
        public_pem(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap().public_key());
    assert_eq!(Key::from_pem(Algorithm::Es256, None, &p384).err(), Some(KeyError::Size));
    assert_eq!(
        Key::from_pem(Algorithm::Hs256, None, &ed.public_pem).err(),
        Some(KeyError::Algorithm)
    );
    assert_eq!(Key::from_secret(&SECRET[..31]).err(), Some(KeyError::ShortSecret));

    let mixed = vec![
        Key::from_secret(SECRET).unwrap(),
        Key::from_pem(Algorithm::EdDsa, None, &ed.public_pem).unwrap(),
    ];
    assert_eq!(Verifier::new(mixed, Parties::default()).err(), Some(KeyError::Algorithm));
    assert_eq!(Verifier::new(Vec::new(), Parties::default()).err(), Some(KeyError::Missing));
}

#[test]
fn a_weak_rsa_key_is_no_key() {
    // 1,024 bits: SEQUENCE { INTEGER modulus, INTEGER 65537 }, which no library of ours would still
    // make.
    let mut der = vec![0x30, 0x81, 0x89, 0x02, 0x81, 0x81, 0x00];
    der.extend([0xc5; 128]);
    der.extend([0x02, 0x03, 0x01, 0x00, 0x01]);
    let text = pem("RSA PUBLIC KEY", &der);
    assert_eq!(Key::from_pem(Algorithm::Rs256, None, &text).err(), Some(KeyError::Size));
}

#[test]
fn what_the_signer_signs_the_verifier_accepts() {
    let claims = Claims {
        sub: "g_7f3a".into(),
        name: Some("Ann \"<&é".into()),
        exp: NOW_S + 60,
        iat: NOW_S,
        rooms: Some([("team-*".into(), Level::Speak), ("news".into(), Level::Join)].into()),
        guest: false,
    };
    for parties in [Parties::default(), parties("chat", "me")] {
        let signer = Signer::new(SECRET, parties.clone()).unwrap();
        let verifier = Verifier::new(vec![Key::from_secret(SECRET).unwrap()], parties).unwrap();
        let identity = verifier.verify(&signer.sign(&claims), NOW_S).unwrap();
        assert_eq!((identity.user(), identity.name()), ("g_7f3a", "Ann \"<&é"));
        assert!(identity.may_speak("team-1") && !identity.may_speak("news"));

        let plain = Claims { name: None, rooms: None, ..claims.clone() };
        let identity = verifier.verify(&signer.sign(&plain), NOW_S).unwrap();
        assert!(identity.name() == "g_7f3a" && identity.is_unrestricted());
    }
    assert_eq!(Signer::new(&SECRET[..31], Parties::default()).err(), Some(KeyError::ShortSecret));
}

#[test]
fn only_a_token_that_was_made_for_a_guest_is_a_guests() {
    let claims = Claims {
        sub: "g_7f3a".into(),
        name: Some("Ann".into()),
        exp: NOW_S + 60,
        iat: NOW_S,
        rooms: None,
        guest: true,
    };
    let signed = |claims: &Claims| {
        Signer::new(SECRET, Parties::default()).expect("long enough").sign(claims)
    };
    let guest = |token: &str, now_s| {
        verifier().verify_guest(token, now_s).map(|identity| identity.user().to_owned())
    };
    let token = signed(&claims);
    assert_eq!(guest(&token, NOW_S).as_deref(), Some("g_7f3a"));
    assert!(verifier().verify(&token, NOW_S).is_ok(), "and it is a token as others are");
    assert_eq!(guest(&token, NOW_S + 60 + LEEWAY_S), None, "it is over");
    assert_eq!(guest(&signed(&Claims { guest: false, ..claims.clone() }), NOW_S), None);
    let rooms = Some([("news".into(), Level::Join)].into());
    assert_eq!(guest(&signed(&Claims { rooms, ..claims.clone() }), NOW_S), None);
    let stranger = Signer::new(OTHER_SECRET, Parties::default()).expect("long enough");
    assert_eq!(guest(&stranger.sign(&claims), NOW_S), None);
    for value in ["false", "null", "1", r#""true""#, "[true]"] {
        let token = with_claims(&format!(r#""guest":{value}"#));
        assert_eq!(guest(&token, NOW_S), None, "{value}");
        check(&verifier(), &token, Ok(()));
    }
}

#[test]
fn a_token_that_lives_too_long_is_refused_and_one_that_has_become_old_enough_is_not() {
    let short = verifier().with_ttl_max(600);
    let lives = |ttl_s: u64| forge(HEADER, &format!(r#"{{"sub":"u1","exp":{}}}"#, NOW_S + ttl_s));
    check(&short, &lives(600), Ok(()));
    check(&short, &lives(600 + LEEWAY_S), Ok(()));
    check(&short, &lives(601 + LEEWAY_S), Err(TokenError::TooLong));
    assert_eq!(TokenError::TooLong.claim(), Some("exp"));
    assert!(short.verify(&lives(3_600), NOW_S + 3_000).is_ok());
    // Bounded by nothing, and by more than there is.
    let far = forge(HEADER, r#"{"sub":"u1","exp":253402300799}"#);
    for ttl_max_s in [0, u64::MAX] {
        check(&verifier().with_ttl_max(ttl_max_s), &far, Ok(()));
    }
}
