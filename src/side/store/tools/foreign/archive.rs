//! The files of an export: in a zip, in a folder, or one alone.
//!
//! Deliberately absent: writing any. A name in a zip is only compared.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use zip::ZipArchive;
use zip::result::ZipError;

use crate::side::store::error::StoreError;
use crate::side::store::tools::open_named;

/// The largest file of an export that is read, in bytes: a zip of a few bytes may hold as much.
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
                let zip = ZipArchive::new(file).map_err(|error| archive.unreadable("", error))?;
                for name in zip.file_names() {
                    let name = name.map_err(|error| archive.unreadable("", error))?;
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

    /// What a file holds; one that is alone has no name. `None` if there is none.
    pub(super) fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let is_alone = self.zip.is_none() && !self.path.is_dir();
        let is_named = self.names.binary_search_by(|known| (**known).cmp(name)).is_ok();
        if !(is_named || is_alone && name.is_empty()) {
            return Ok(None);
        }
        let mut content = Vec::new();
        if let Some(zip) = &mut self.zip {
            let read = zip.by_name(name).map(|file| read_all(file, &mut content));
            read.map_err(|error| self.unreadable(name, error))??;
        } else {
            let path = if is_alone { self.path.clone() } else { self.path.join(name) };
            read_all(File::open(path)?, &mut content)?;
        }
        if content.len() as u64 >= FILE_BYTES_MAX {
            return Err(self.damaged(name, format!("it is longer than {FILE_BYTES_MAX} bytes")));
        }
        Ok(Some(content))
    }

    /// The same, as JSON.
    pub(super) fn json<T: DeserializeOwned>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, StoreError> {
        let Some(content) = self.read(name)? else { return Ok(None) };
        let read = serde_json::from_slice(&content);
        read.map(Some).map_err(|error| self.damaged(name, error.to_string()))
    }

    /// That a file of it is not what it should be.
    pub(super) fn damaged(&self, name: &str, what: impl Into<String>) -> StoreError {
        let what = what.into();
        let what = if name.is_empty() { what } else { format!("{name}: {what}") };
        StoreError::Damaged { file: self.path.clone(), what }
    }

    fn unreadable(&self, name: &str, error: ZipError) -> StoreError {
        match error {
            ZipError::Io(error) => StoreError::Io(error),
            error => self.damaged(name, error.to_string()),
        }
    }
}

/// Whether a file is of a kind, by the end of its name.
pub(super) fn is_of_kind(name: &str, kind: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case(kind))
}

/// Reads as much as a file may have.
fn read_all(file: impl Read, content: &mut Vec<u8>) -> std::io::Result<usize> {
    file.take(FILE_BYTES_MAX).read_to_end(content)
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
