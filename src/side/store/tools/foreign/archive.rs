//! The files of an export: in a zip, in a folder, or one alone.
//!
//! Deliberately absent: writing any. A name in a zip is only compared. Links in a folder are not
//! followed: whoever made the export would choose what is read of this machine.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use zip::ZipArchive;
use zip::result::ZipError;

use crate::side::store::error::StoreError;
use crate::side::store::tools::open_named;

/// The largest file of an export that is read as one, in bytes: a zip of a few bytes may hold as
/// much.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// How deep folders are looked into.
const DEPTH_MAX: u32 = 4;

/// What some editors put in front of UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An export, as its files.
pub(super) struct Archive {
    path: PathBuf,
    /// The names of its files below it, in order.
    names: Vec<String>,
    zip: Option<ZipArchive<BufReader<File>>>,
}

impl Archive {
    /// # Errors
    ///
    /// If it cannot be read.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let mut archive = Self { path: path.to_owned(), names: Vec::new(), zip: None };
        if path.is_dir() {
            list((path, path), "", DEPTH_MAX, &mut archive.names)?;
        } else {
            let mut file = BufReader::new(open_named(path)?);
            let mut magic = Vec::new();
            file.by_ref().take(4).read_to_end(&mut magic)?;
            if magic == *b"PK\x03\x04" {
                let unreadable = |error| Place { path, name: "" }.unreadable(error);
                let zip = ZipArchive::new(file).map_err(unreadable)?;
                for name in zip.file_names() {
                    let name = name.map_err(unreadable)?;
                    archive.names.push(name.into_owned());
                }
                archive.zip = Some(zip);
            }
        }
        archive.names.retain(|name| !is_of_macos(name));
        archive.names.sort_unstable();
        Ok(archive)
    }

    /// The names of its files, in order; none, if it is one file alone.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The names of its files in a folder and below it, in order.
    pub(super) fn names_below(&self, folder: &str) -> &[String] {
        let prefix = format!("{folder}/");
        let names = &self.names[self.names.partition_point(|name| *name < prefix)..];
        &names[..names.partition_point(|name| name.starts_with(&prefix))]
    }

    /// A file, to be read; one that is alone has no name. `None` if there is none.
    pub(super) fn file(&mut self, name: &str) -> Result<Option<Box<dyn Read + '_>>, StoreError> {
        let is_alone = self.zip.is_none() && !self.path.is_dir();
        let is_named = self.names.binary_search_by(|known| (**known).cmp(name)).is_ok();
        if !(is_named || is_alone && name.is_empty()) {
            return Ok(None);
        }
        let Some(zip) = &mut self.zip else {
            let path = if is_alone { self.path.clone() } else { self.path.join(name) };
            return Ok(Some(Box::new(File::open(path)?)));
        };
        let place = Place { path: &self.path, name };
        let file = zip.by_name(name).map_err(|error| place.unreadable(error))?;
        Ok(Some(Box::new(file)))
    }

    /// What a file holds, as JSON; `None` if there is none. What is not taken of it is not kept in
    /// memory.
    pub(super) fn json<T: DeserializeOwned>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, StoreError> {
        let path = self.path.clone();
        let Some(file) = self.file(name)? else { return Ok(None) };
        let unreadable = |error| unreadable(&path, name, error);
        let damaged = |what| Place { path: &path, name }.damaged(what);
        let mut file = BufReader::new(file.take(FILE_BYTES_MAX));
        let mut first = Vec::new();
        let mark_bytes = BYTE_ORDER_MARK.len() as u64;
        file.by_ref().take(mark_bytes).read_to_end(&mut first).map_err(unreadable)?;
        if first == BYTE_ORDER_MARK {
            first.clear();
        }
        let read = serde_json::from_reader(first.chain(&mut file));
        if file.get_ref().limit() == 0 {
            return Err(damaged(format!("it is longer than {FILE_BYTES_MAX} bytes")));
        }
        read.map(Some).map_err(|error| {
            if error.is_io() { unreadable(error.into()) } else { damaged(error.to_string()) }
        })
    }

    /// That something in it is not what it should be; `place` is as [`place`] names it.
    pub(super) fn damaged(&self, place: &str, what: impl Into<String>) -> StoreError {
        Place { path: &self.path, name: place }.damaged(what.into())
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// A place within a file, as errors name it: by its line, or by its path in JSON.
pub(super) fn place(name: &str, within: impl Display) -> String {
    if name.is_empty() { within.to_string() } else { format!("{name}: {within}") }
}

/// Why a file of an export, or a place in it, cannot be read: what it holds, or else the disk.
pub(super) fn unreadable(export: &Path, name: &str, error: io::Error) -> StoreError {
    Place { path: export, name }.unreadable(ZipError::Io(error))
}

/// Where in an export something is.
struct Place<'a> {
    path: &'a Path,
    name: &'a str,
}

impl Place<'_> {
    fn damaged(&self, what: String) -> StoreError {
        StoreError::Damaged { file: self.path.to_owned(), what: place(self.name, what) }
    }

    fn unreadable(&self, error: ZipError) -> StoreError {
        match error {
            ZipError::Io(error) if !is_of_content(&error) => StoreError::Io(error),
            error => self.damaged(error.to_string()),
        }
    }
}

/// Whether a file is of a kind, by the end of its name.
pub(super) fn is_of_kind(name: &str, kind: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case(kind))
}

/// Whether reading failed for what is read, and not for the disk: what is compressed is cut off, or
/// is not what its checksum says.
fn is_of_content(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

/// Whether macOS has added a file to those that somebody packed.
fn is_of_macos(name: &str) -> bool {
    name.split('/').any(|part| part == "__MACOSX" || part.starts_with("._"))
}

/// Adds the names of all files below a folder of an export. It is an error if some cannot be added.
fn list(
    (export, folder): (&Path, &Path),
    prefix: &str,
    depth: u32,
    names: &mut Vec<String>,
) -> Result<(), StoreError> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let name = format!("{prefix}{}", file_name.to_string_lossy());
        let fault = |what: &str| Place { path: export, name: &name }.damaged(what.to_owned());
        let kind = entry.file_type()?;
        if file_name.to_str().is_none() {
            return Err(fault("its name is not UTF-8"));
        } else if kind.is_file() {
            names.push(name);
        } else if !kind.is_dir() {
            return Err(fault("it is neither a file nor a folder"));
        } else if depth == 0 {
            return Err(fault("it is too deep within other folders"));
        } else {
            list((export, &entry.path()), &format!("{name}/"), depth - 1, names)?;
        }
    }
    Ok(())
}
