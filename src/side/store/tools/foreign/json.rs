//! Files of JSON in an export, of which one element of a list is in memory at a time.
//!
//! ```text
//!   file ── Bounded ── serde_json ─┬─ Each ── element, element, ...
//!                                  └─ what else the file has
//! ```
//!
//! Invariant: of one element, and between two of them, no more than [`ELEMENT_BYTES_MAX`] is read.
//! So a file of a few bytes in a zip fills no memory, however much it unpacks to.
//!
//! Deliberately absent: lines of JSON (`mattermost`).

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, BufReader, Read};
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, SeqAccess, Visitor};

use super::archive::{Archive, BYTE_ORDER_MARK, unreadable};
use crate::side::store::error::StoreError;

/// The largest element of an export, in bytes. For Mattermost it is a line: a post has all its
/// replies.
pub(super) const ELEMENT_BYTES_MAX: u64 = 64 << 20;

/// A file that is read.
pub(super) struct Reading {
    /// The largest element, in bytes.
    bytes_max: u64,
    /// How many bytes of the element may still come; `None`, once there were more.
    left: Cell<Option<u64>>,
    /// Why reading has ended early, where that is not for the JSON.
    failure: RefCell<Option<StoreError>>,
}

impl Reading {
    pub(super) fn new() -> Self {
        Self::bounded(ELEMENT_BYTES_MAX)
    }

    fn bounded(bytes_max: u64) -> Self {
        Self { bytes_max, left: Cell::new(Some(bytes_max)), failure: RefCell::default() }
    }

    /// Reads a file as `seed` does. Returns false if there is none.
    ///
    /// # Errors
    ///
    /// If it cannot be read, if it is not the JSON that is expected, or what [`Self::fail`] was
    /// given.
    pub(super) fn read(
        &self,
        archive: &mut Archive,
        name: &str,
        seed: impl DeserializeSeed<'static, Value = ()>,
    ) -> Result<bool, StoreError> {
        let path = archive.path().to_owned();
        let Some(file) = archive.file(name)? else { return Ok(false) };
        let unreadable = |error| unreadable(&path, name, error);
        let mut file = BufReader::new(file);
        let mut first = Vec::new();
        let mark_bytes = BYTE_ORDER_MARK.len() as u64;
        file.by_ref().take(mark_bytes).read_to_end(&mut first).map_err(unreadable)?;
        if first == BYTE_ORDER_MARK {
            first.clear();
        }
        let file = Bounded { file: first.chain(file), reading: self };
        let mut json = serde_json::Deserializer::from_reader(file);
        let read = seed.deserialize(&mut json).and_then(|()| json.end());
        drop(json);
        read.map(|()| true).map_err(|error| match self.failure.take() {
            Some(failure) => failure,
            None if self.left.get().is_none() => {
                let what = format!("a part of it is longer than {} bytes", self.bytes_max);
                archive.damaged(name, what)
            }
            None if error.is_io() => unreadable(error.into()),
            None => archive.damaged(name, error.to_string()),
        })
    }

    /// Ends reading for this reason.
    pub(super) fn fail<E: serde::de::Error>(&self, failure: StoreError) -> E {
        *self.failure.borrow_mut() = Some(failure);
        E::custom("it is not read to its end")
    }
}

/// Gives each element of a file that is a list to `take`, with its place in that. Returns false if
/// there is no such file.
///
/// # Errors
///
/// As [`Reading::read`]; and what `take` returns.
pub(super) fn each<T: DeserializeOwned>(
    archive: &mut Archive,
    name: &str,
    mut take: impl FnMut(usize, T) -> Result<(), StoreError>,
) -> Result<bool, StoreError> {
    let reading = Reading::new();
    reading.read(archive, name, Each::new(&reading, &mut take))
}

/// Takes a list element by element. `null` is an empty one.
pub(super) struct Each<'a, T, F> {
    reading: &'a Reading,
    take: F,
    of: PhantomData<T>,
}

impl<'a, T, F: FnMut(usize, T) -> Result<(), StoreError>> Each<'a, T, F> {
    pub(super) fn new(reading: &'a Reading, take: F) -> Self {
        Self { reading, take, of: PhantomData }
    }
}

impl<'de, T, F> DeserializeSeed<'de> for Each<'_, T, F>
where
    T: DeserializeOwned,
    F: FnMut(usize, T) -> Result<(), StoreError>,
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, T, F> Visitor<'de> for Each<'_, T, F>
where
    T: DeserializeOwned,
    F: FnMut(usize, T) -> Result<(), StoreError>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        for at in 0.. {
            self.reading.left.set(Some(self.reading.bytes_max));
            let Some(element) = list.next_element()? else { break };
            (self.take)(at, element).map_err(|failure| self.reading.fail::<A::Error>(failure))?;
        }
        self.reading.left.set(Some(self.reading.bytes_max));
        Ok(())
    }
}

/// A file, of which no more is read than may still come.
struct Bounded<'a, R> {
    file: R,
    reading: &'a Reading,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        let left = self.reading.left.get().and_then(|left| left.checked_sub(read as u64));
        self.reading.left.set(left);
        left.map(|_| read).ok_or_else(|| io::ErrorKind::FileTooLarge.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::side::store::tests::Folder;

    /// Reads a file of so many bytes for an element at most. Returns what came of it, and the error
    /// if there was one.
    fn read(text: &str, bytes_max: u64) -> (Vec<String>, Option<String>) {
        let folder = Folder::new();
        fs::create_dir_all(&folder.0).unwrap();
        fs::write(folder.0.join("a.json"), text).unwrap();
        let mut archive = Archive::open(&folder.0, "json").unwrap();
        let (reading, mut came) = (Reading::bounded(bytes_max), Vec::new());
        let take = |at, element: String| {
            if element == "bad" {
                return Err(StoreError::Refused(format!("{at} is bad")));
            }
            came.push(element);
            Ok(())
        };
        let read = reading.read(&mut archive, "a.json", Each::new(&reading, take));
        (came, read.err().map(|error| error.to_string()))
    }

    #[test]
    fn elements_come_while_the_file_is_read() {
        let texts =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(read(r#"["a","b"]"#, 99), (texts(&["a", "b"]), None));
        assert_eq!(read("null", 99), (vec![], None));
        let (came, error) = read(r#"["a","b","#, 99);
        assert_eq!(came, ["a", "b"]);
        assert!(error.unwrap().contains("a.json: EOF"), "it is named");
        // What is behind it is not looked at.
        let failed = read(r#"["a","bad",]"#, 99);
        assert_eq!(failed, (texts(&["a"]), Some("1 is bad".to_owned())));
        for text in ["{}", "7", r#"["a"] ["b"]"#] {
            assert!(read(text, 99).1.unwrap().contains("a.json: "), "{text}");
        }
    }

    #[test]
    fn the_bytes_of_an_element_are_bounded_and_those_of_a_file_are_not() {
        let text = |count: usize| format!("[{}]", vec![r#""12345""#; count].join(", "));
        let (came, error) = read(&text(50), 12);
        assert_eq!((came.len(), error), (50, None));
        let (came, error) = read(r#"["12345", "12345678901"]"#, 12);
        assert_eq!(came.len(), 1);
        let error = error.unwrap();
        assert!(error.contains("a.json: a part of it is longer than 12 bytes"), "{error}");
    }
}
