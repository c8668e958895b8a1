//! The files of an export: in a zip, in a folder, or one alone.
//!
//! Deliberately absent: writing any. A name in a zip is only compared.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use zip::ZipArchive;
use zip::result::ZipError;

use crate::side::store::error::StoreError;
use crate::side::store::tools::open_named;

/// The largest file of an export that is read whole, in bytes: a zip of a few bytes may hold as
/// much.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// How deep folders are looked into.
const DEPTH_MAX: u32 = 4;

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
            list(path, "", DEPTH_MAX, &mut archive.names)?;
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

    /// What a file holds.
    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(file) = self.file(name)? else { return Ok(None) };
        let mut content = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut content)?;
        if content.len() as u64 >= FILE_BYTES_MAX {
            return Err(self.damaged(name, format!("it is longer than {FILE_BYTES_MAX} bytes")));
        }
        Ok(Some(content))
    }

    /// What a file holds, as JSON. `None` if there is none.
    pub(super) fn json<T: DeserializeOwned>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, StoreError> {
        let Some(content) = self.read(name)? else { return Ok(None) };
        let read = serde_json::from_slice(&content);
        read.map(Some).map_err(|error| self.damaged(name, error.to_string()))
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
            ZipError::Io(error) => StoreError::Io(error),
            error => self.damaged(error.to_string()),
        }
    }
}

/// Whether a file is of a kind, by the end of its name.
pub(super) fn is_of_kind(name: &str, kind: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case(kind))
}

/// Adds the names of all files below a folder.
fn list(
    folder: &Path,
    prefix: &str,
    depth: u32,
    names: &mut Vec<String>,
) -> Result<(), StoreError> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if !entry.file_type()?.is_dir() {
            names.push(name);
        } else if depth > 0 {
            list(&entry.path(), &format!("{name}/"), depth - 1, names)?;
        }
    }
    Ok(())
}
