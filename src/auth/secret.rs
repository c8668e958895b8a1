//! Whether a secret was thought up, or copied from a page, where it should come from a generator.
//!
//! Who guesses the secret of `HS256` signs tokens for anybody, and it can be guessed from one
//! token, at home. Its length says nothing: 32 times `a` is long enough. What a generator writes
//! (hexadecimal, base64, UUIDs, letters alone) is never taken for something else but by a chance of
//! one in a hundred thousand or less.
//!
//! Deliberately absent: a measure of strength, and a list of words. A secret that somebody has
//! disguised with care is let through.

use std::fmt;

use super::token::SECRET_BYTES_MIN;

/// Fewer different characters than this are none of a generator's: half of those of hexadecimal.
const DIFFERENT_MIN: usize = 8;

/// The letters that most often follow each other in English, nearly all pairs of which are usual in
/// other languages of Western Europe too. They make up four of five pairs in a text, and one of
/// five where letters are random.
const USUAL_PAIRS: &str = "\
    thheineranreonatenndtiesorteofedisitalarsttontngsehaasouiolevecomedehiriroicne\
    earacelichllbemasiomureccaellatansdifohopeusprunsstriletacemadwisonorspowhmoee\
    utwootgelyiekeailoolshowweuliridayammimyyeyopaabblimcrfidospopeyoockigghhtevtt\
    agbybugoniiaokueup";

/// Neighbours on keyboards, beside those of the alphabet and of the digits.
const KEYBOARD: &str = "qwertyuiop asdfghjkl zxcvbnm qwertz azerty";

/// Why a secret is none of a generator's. The operator's mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// Something that is too short by itself, over and over.
    Repeated {
        /// How many characters that has.
        chars: usize,
    },
    /// Hardly any different characters.
    Uniform {
        /// How many there are.
        different: usize,
    },
    /// Characters in the order of the alphabet, of numbers, or of a keyboard.
    Row,
    /// Something that can be read, as the placeholder of an example.
    Words,
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeated { chars: 1 } => f.write_str("is one character again and again"),
            Self::Repeated { chars } => write!(f, "is the same {chars} characters again and again"),
            Self::Uniform { different } => write!(f, "has only {different} different characters"),
            Self::Row => f.write_str("follows the alphabet, numbers, or the rows of a keyboard"),
            Self::Words => f.write_str("is made of words, perhaps those of an example"),
        }
    }
}

/// What makes a secret easy to guess, if something does.
#[must_use]
pub fn weakness(secret: &str) -> Option<Weakness> {
    let chars: Vec<char> = secret.to_lowercase().chars().collect();
    if let Some(period) = period(&chars) {
        return Some(Weakness::Repeated { chars: period });
    }
    let different = different(secret);
    if different < DIFFERENT_MIN {
        return Some(Weakness::Uniform { different });
    }
    // What stands between words says nothing of them.
    let pairs = || chars.windows(2).filter(|pair| pair.iter().all(|char| !is_separator(*char)));
    let are_most = |is_such: fn(char, char) -> bool| {
        let such = pairs().filter(|pair| is_such(pair[0], pair[1])).count();
        5 * such > 3 * pairs().count()
    };
    if are_most(is_row) {
        return Some(Weakness::Row);
    }
    are_most(is_usual).then_some(Weakness::Words)
}

/// After how many characters everything comes again, if these are no secret by themselves.
fn period(chars: &[char]) -> Option<usize> {
    let periods = 1..=(chars.len() / 2).min(SECRET_BYTES_MIN - 1);
    periods.into_iter().find(|period| chars[*period..] == chars[..chars.len() - period])
}

fn different(text: &str) -> usize {
    let mut chars: Vec<char> = text.chars().collect();
    chars.sort_unstable();
    chars.dedup();
    chars.len()
}

fn is_separator(char: char) -> bool {
    char.is_whitespace() || "-_.,:;!?'\"".contains(char)
}

/// Whether these two stand side by side in the alphabet, among the digits, or on a keyboard, or are
/// the same.
fn is_row(first: char, second: char) -> bool {
    let is_beside = |row: &[u8]| {
        let beside = (char::from(row[0]), char::from(row[1]));
        beside == (first, second) || beside == (second, first)
    };
    first.is_alphanumeric() && u32::from(first).abs_diff(u32::from(second)) <= 1
        || matches!((first, second), ('9', '0') | ('0', '9'))
        || KEYBOARD.as_bytes().windows(2).any(is_beside)
}

/// Whether the second letter often follows the first one. Generators write ASCII: all others are
/// of words.
fn is_usual(first: char, second: char) -> bool {
    let is_foreign = |char: char| char.is_alphabetic() && !char.is_ascii();
    let is_this = |pair: &[u8]| (char::from(pair[0]), char::from(pair[1])) == (first, second);
    is_foreign(first) || is_foreign(second) || USUAL_PAIRS.as_bytes().chunks_exact(2).any(is_this)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::SplitMix64;

    /// Secrets, each with what is wrong with it.
    const WEAK: &[(&str, Weakness)] = &[
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Weakness::Repeated { chars: 1 }),
        ("abcabcabcabcabcabcabcabcabcabcabcab", Weakness::Repeated { chars: 3 }),
        ("Password123password123PASSWORD123", Weakness::Repeated { chars: 11 }),
        ("0123456789abcdef0123456789abcdef", Weakness::Repeated { chars: 16 }),
        ("fJ3!kq9fJ3!kq9fJ3!kq9fJ3!kq9fJ3!kq9", Weakness::Repeated { chars: 7 }),
        ("aababbbaabaabbbbabaaababababbbaab", Weakness::Uniform { different: 2 }),
        ("00000000000000000000000000000001", Weakness::Uniform { different: 2 }),
        ("55512341352452413524513245124355", Weakness::Uniform { different: 5 }),
        ("abcdefghijklmnopqrstuvwxyz0123456789", Weakness::Row),
        ("qwertyuiopasdfghjklzxcvbnm1234567890", Weakness::Row),
        ("zyxwvutsrqponmlkjihgfedcba9876543210", Weakness::Row),
        ("abcdefgh-12345678-qwertyui-87654321", Weakness::Row),
        ("at least 32 bytes, the same that signs...", Weakness::Words),
        ("a secret of at least 32 bytes ...", Weakness::Words),
        ("your-secret-key-change-me-in-production", Weakness::Words),
        ("REPLACE_WITH_A_RANDOM_STRING_OF_32_CHARS", Weakness::Words),
        ("mySuperSecretJwtSigningKeyForDevelopment", Weakness::Words),
        ("correct horse battery staple something", Weakness::Words),
        ("das ist ein geheimer schluessel fuer alle", Weakness::Words),
        ("ceci est un secret pour mon serveur de chat", Weakness::Words),
        ("секретный ключ для подписи токенов", Weakness::Words),
    ];

    /// What generators write, one of each.
    const GENERATED: &[&str] = &[
        "7f3a91c04be2d8651f0c9a37e4b8d265", // openssl rand -hex 16
        "8bb03a1f6f4c27de915e7a0c3b58d24fe6190ca5b3748d2f1e60c97ab5d3481e", // openssl rand -hex 32
        "9GkXo0fXcQm1mUqv3T2bJ7yqkq8WcR5hZ4nVtA6sLpE=", // openssl rand -base64 32
        "aEQYTpD+4wEPCQEcH206uMvn2CwlK1Y9EWjSjA7hz6AdyfTIG1cl/SN1bYkQPh7L", // -base64 48
        "3f2b8c1e-9d47-4a6b-8e05-c71f2a9d4b38", // uuidgen
        "KRUGKIDROVUWG2ZAMJZG653OEBTG66BA", // base32
        "wqzkfjxvbnpmtrhgycldsaoeiuqxzjwk", // letters alone
        "84019375628104956372810593746201", // digits alone
        "v8#Kq!2zR@7mW$5nT%9bY^4cX&6dL*1p", // a manager of passwords
    ];

    #[test]
    fn what_somebody_thought_up_is_told_from_what_a_generator_wrote() {
        for (secret, expected) in WEAK {
            assert!(secret.len() >= SECRET_BYTES_MIN, "{secret} would be refused as too short");
            assert_eq!(weakness(secret), Some(*expected), "{secret}");
        }
        for secret in GENERATED {
            assert_eq!(weakness(secret), None, "{secret}");
        }
    }

    #[test]
    fn a_secret_of_full_length_may_be_written_twice() {
        let twice = GENERATED[0].repeat(2);
        assert_eq!(weakness(&twice), None);
    }

    #[test]
    fn no_secret_of_a_generator_is_refused() {
        let mut rng = SplitMix64::new(7);
        for alphabet in [
            "0123456789abcdef",
            "abcdefghijklmnopqrstuvwxyz",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
        ] {
            for _ in 0..2_000 {
                let mut any = || usize::try_from(rng.below(alphabet.len() as u64)).unwrap();
                let secret: String =
                    (0..SECRET_BYTES_MIN).map(|_| char::from(alphabet.as_bytes()[any()])).collect();
                assert_eq!(weakness(&secret), None, "{secret}");
            }
        }
    }
}
