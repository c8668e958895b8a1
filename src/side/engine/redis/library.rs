//! The functions that the engine runs.
//!
//! An engine keeps each library that it was given, and nodes of several versions share it. So the
//! name of a library ends with a hash of its text, and the names of its functions begin with that:
//! what is called is what this version has, whatever others have loaded beside it.
//!
//! What functions of several versions keep is of all of them: it has a layout, with a number of its
//! own (`keys`).

use std::sync::LazyLock;

use data_encoding::HEXLOWER;
use redis::{Cmd, cmd};
use sha1::{Digest, Sha1};

/// The library, with [`PLACE`] wherever its name belongs.
const TEXT: &str = include_str!("../chinwag_1.lua");

const PLACE: &str = "chinwag_1";

/// So much of the hash is in the name, in bytes.
const HASH_BYTES: usize = 8;

static LIBRARY: LazyLock<Library> = LazyLock::new(|| Library::of(TEXT));

/// A library, as an engine loads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// Its name.
    pub name: Box<str>,
    /// Its text, in which that is.
    pub text: Box<str>,
}

impl Library {
    /// The library of this version.
    #[must_use]
    pub fn ours() -> &'static Self {
        &LIBRARY
    }

    fn of(text: &str) -> Self {
        let hash = HEXLOWER.encode(&Sha1::digest(text)[..HASH_BYTES]);
        let name = format!("{PLACE}_{hash}");
        Self { text: text.replace(PLACE, &name).into(), name: name.into() }
    }

    /// The name of one of its functions.
    #[must_use]
    pub fn function(&self, function: &str) -> String {
        [&self.name, "_", function].concat()
    }
}

/// Begins a call of a function of this version.
pub(super) fn fcall(function: &str) -> Cmd {
    let mut call = cmd("FCALL");
    call.arg(LIBRARY.function(function));
    call
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_a_name_of_its_own_in_all_places_of_it() {
        let ours = Library::ours();
        assert_eq!(ours, &Library::of(TEXT));
        let other = Library::of(&TEXT.replace("local HOUR_S = 3600", "local HOUR_S = 3601"));
        assert_ne!(ours.name, other.name);
        for library in [ours, &other] {
            assert!(library.text.starts_with(&format!("#!lua name={}\n", library.name)));
            assert_eq!(
                library.text.matches(PLACE).count(),
                library.text.matches(&*library.name).count()
            );
            let of_other = if library == ours { &other } else { ours };
            assert!(!library.text.contains(&*of_other.name));
        }
    }
}
