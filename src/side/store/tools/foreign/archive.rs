//! The files of an export: in a zip, in a folder, or one alone.
//!
//! Only files of one kind are read. Whatever else is there is passed over, and told; so are links,
//! which are not followed. The rules are the same for a folder and for a zip.
//!
//! Invariants: a file of that kind is read, or is an error that names it. Names are plain paths
//! below the export. What is read of a zip is bounded by the length of the zip, for no two files in
//! it share their bytes.
//!
//! Deliberately absent: what is in the files (`json`), and writing any. A name in a zip is only
//! compared. A link that was followed would let the export choose what is read of this machine.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, File, FileType};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::read::ZipFileEntry;
use zip::result::ZipError;

use crate::side::store::error::StoreError;
use crate::side::store::tools::open_named;

/// What some editors put in front of UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How a zip begins: with a file, or with its end.
const ZIP_BEGINNINGS: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];

/// What a name is of, by the mode that Unix has for it, and by which a zip keeps it.
const MODE_KINDS: u32 = 0o170_000;
const MODE_FILE: u32 = 0o100_000;
const MODE_LINK: u32 = 0o120_000;

/// An export, as its files.
pub(super) struct Archive {
    path: PathBuf,
    /// How the names of files end that are read.
    kind: &'static str,
    /// Of these the names below the export, in order.
    files: Vec<(String, Entry)>,
    /// What is passed over: how much it is, and the first of its names.
    passed: BTreeMap<Passed, (u64, String)>,
    source: Source,
}

enum Source {
    Folder,
    Zip(Box<ZipArchive<BufReader<File>>>),
    /// One file, which is read once: it may be a pipe.
    Alone(Option<Box<dyn Read>>),
}

/// The number of a file in its zip, and none in a folder; or why it cannot be read as it stands.
type Entry = Result<usize, &'static str>;

/// Why something is passed over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Passed {
    /// Its name ends otherwise than what is read.
    Other,
    OfMacos,
    Link,
    Special,
    TooDeep,
}

/// What a name is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    File,
    Link,
    /// Neither a file nor a folder nor a link.
    Special,
}

impl Archive {
    /// Opens what is at `path`, to read files whose names end in `kind`; one that is alone may have
    /// any name.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or if it is a zip in which files share their bytes.
    pub(super) fn open(path: &Path, kind: &'static str) -> Result<Self, StoreError> {
        let mut archive = Self {
            path: path.to_owned(),
            kind,
            files: Vec::new(),
            passed: BTreeMap::new(),
            source: Source::Folder,
        };
        if path.is_dir() {
            archive.list_folder()?;
        } else {
            archive.open_file()?;
        }
        archive.files.sort_unstable();
        for at in 1..archive.files.len() {
            if archive.files[at - 1].0 == archive.files[at].0 {
                archive.files[at - 1].1 = Err("another file has the same name");
                archive.files[at].1 = archive.files[at - 1].1;
            }
        }
        Ok(archive)
    }

    fn open_file(&mut self) -> Result<(), StoreError> {
        let path = self.path.clone();
        let mut file = BufReader::new(open_named(&path)?);
        let mut beginning = Vec::new();
        let read = file.by_ref().take(4).read_to_end(&mut beginning);
        read.map_err(|error| named(&path, &error))?;
        if ZIP_BEGINNINGS.contains(&&*beginning) {
            let mut zip =
                ZipArchive::new(file).map_err(|error| self.place("").unreadable(error))?;
            self.list_zip(&mut zip)?;
            self.source = Source::Zip(Box::new(zip));
        } else {
            self.source = Source::Alone(Some(Box::new(io::Cursor::new(beginning).chain(file))));
        }
        Ok(())
    }

    fn list_zip(&mut self, zip: &mut ZipArchive<BufReader<File>>) -> Result<(), StoreError> {
        let unreadable = |error| Place { path: &self.path, name: "" }.unreadable(error);
        // A few bytes that many files share would be read over and over.
        if zip.has_overlapping_files().map_err(unreadable)? {
            return Err(self.damaged("", "files in it share their bytes"));
        }
        for number in 0..zip.len() {
            let entry =
                zip.by_index_data(number).map_err(|error| self.place("").unreadable(error))?;
            if entry.is_dir() {
                continue;
            }
            // Some programs of Windows write its own separator.
            let name = entry.name().map(|name| name.replace('\\', "/"));
            let is_utf8 = name.is_ok();
            let name = name.unwrap_or_else(|_| String::from_utf8_lossy(entry.name_raw()).into());
            self.list((name, number), is_utf8, Found::in_zip(&entry));
        }
        Ok(())
    }

    fn list_folder(&mut self) -> Result<(), StoreError> {
        let mut folders = vec![(self.path.clone(), String::new(), true)];
        while let Some((folder, prefix, is_utf8)) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::InvalidFilename => {
                    self.pass(Passed::TooDeep, prefix);
                    continue;
                }
                entries => entries.map_err(|error| named(&folder, &error))?,
            };
            for entry in entries {
                let entry = entry.map_err(|error| named(&folder, &error))?;
                let file_name = entry.file_name();
                let is_utf8 = is_utf8 && file_name.to_str().is_some();
                let name = format!("{prefix}{}", file_name.to_string_lossy());
                let kind = entry.file_type().map_err(|error| named(&entry.path(), &error))?;
                if kind.is_dir() {
                    folders.push((entry.path(), format!("{name}/"), is_utf8));
                } else {
                    self.list((name, 0), is_utf8, Found::in_folder(kind));
                }
            }
        }
        Ok(())
    }

    /// Notes a name as that of a file to be read, or passes it over.
    fn list(&mut self, (name, number): (String, usize), is_utf8: bool, found: Found) {
        let passed = match found {
            _ if is_of_macos(&name) => Passed::OfMacos,
            _ if is_of_kind(&name, self.kind) => {
                let entry = match found {
                    Found::Link => Err("it is a link, which is not followed: put the file there"),
                    Found::Special => Err("it is neither a file nor a folder"),
                    Found::File if !is_utf8 => Err("its name is not UTF-8"),
                    Found::File if !is_plain(&name) => Err("its name leads out of the export"),
                    Found::File => Ok(number),
                };
                self.files.push((name, entry));
                return;
            }
            Found::File => Passed::Other,
            Found::Link => Passed::Link,
            Found::Special => Passed::Special,
        };
        self.pass(passed, name);
    }

    fn pass(&mut self, passed: Passed, name: String) {
        let (count, first) = self.passed.entry(passed).or_insert_with(|| (0, name.clone()));
        *count += 1;
        if name < *first {
            *first = name;
        }
    }

    /// What is passed over, to be told: how much of each sort, and the first of it.
    pub(super) fn passed(&self) -> impl Iterator<Item = String> {
        self.passed.iter().map(|(passed, (count, first))| {
            let what = match passed {
                Passed::Other => format!("files that are no .{}", self.kind),
                Passed::OfMacos => "files that macOS has added".to_owned(),
                Passed::Link => "links, which are not followed".to_owned(),
                Passed::Special => "what is neither a file nor a folder".to_owned(),
                Passed::TooDeep => "folders whose path is too long".to_owned(),
            };
            format!("passed over: {what}: {count}, the first is {first:?}")
        })
    }

    /// Whether it is one file alone. Its name is empty.
    pub(super) fn is_alone(&self) -> bool {
        matches!(self.source, Source::Alone(_))
    }

    /// The names of its files, in order; none, if it is one file alone.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(name, _)| &**name)
    }

    /// The names of the files that are in a folder, in order; not of those in folders below it.
    pub(super) fn names_in(&self, folder: &str) -> impl Iterator<Item = &str> {
        let prefix = format!("{folder}/");
        let first = self.files.partition_point(|(name, _)| *name < prefix);
        let below = self.files[first..]
            .iter()
            .map_while(move |(name, _)| name.strip_prefix(&prefix).map(|within| (&**name, within)));
        below.filter(|(_, within)| !within.contains('/')).map(|(name, _)| name)
    }

    /// A file, to be read; one that is alone is there once. `None` if there is none.
    ///
    /// # Errors
    ///
    /// If it cannot be read as it stands: it is a link, its name is not UTF-8 or leads out of the
    /// export, or the disk fails.
    pub(super) fn file(&mut self, name: &str) -> Result<Option<Box<dyn Read + '_>>, StoreError> {
        if let Source::Alone(file) = &mut self.source {
            return Ok(file.take_if(|_| name.is_empty()).map(|file| file as Box<dyn Read>));
        }
        let Ok(at) = self.files.binary_search_by(|(known, _)| (**known).cmp(name)) else {
            return Ok(None);
        };
        let number = self.files[at].1.map_err(|fault| self.damaged(name, fault))?;
        let Source::Zip(zip) = &mut self.source else {
            return Ok(Some(Box::new(open_named(&self.path.join(name))?)));
        };
        let place = Place { path: &self.path, name };
        let file = zip.by_index(number).map_err(|error| place.unreadable(error))?;
        Ok(Some(Box::new(file)))
    }

    /// That something in it is not what it should be; `place` is as [`place`] names it.
    pub(super) fn damaged(&self, place: &str, what: impl Into<String>) -> StoreError {
        self.place(place).damaged(what.into())
    }

    fn place<'a>(&'a self, name: &'a str) -> Place<'a> {
        Place { path: &self.path, name }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Found {
    fn in_folder(kind: FileType) -> Self {
        if kind.is_file() {
            Self::File
        } else if kind.is_symlink() {
            Self::Link
        } else {
            Self::Special
        }
    }

    fn in_zip(entry: &ZipFileEntry<'_>) -> Self {
        match entry.unix_mode().unwrap_or_default() & MODE_KINDS {
            0 | MODE_FILE => Self::File,
            MODE_LINK => Self::Link,
            _ => Self::Special,
        }
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
            ZipError::Io(error) if !is_of_content(&error) => {
                StoreError::Io(named(&self.path.join(self.name), &error))
            }
            // Without the words of the zip, by which it would be an error of the disk.
            ZipError::Io(error) => self.damaged(error.to_string()),
            error => self.damaged(error.to_string()),
        }
    }
}

/// The same error, of this file.
fn named(file: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}

/// Whether a file is of a kind, by the end of its name.
pub(super) fn is_of_kind(name: &str, kind: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case(kind))
}

/// Whether reading failed for what is read, and not for the disk: what is compressed is cut off, is
/// not what its checksum says, or is compressed in a way that is not known.
fn is_of_content(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof, Unsupported};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof | Unsupported)
}

/// Whether macOS has added a file to those that somebody packed.
fn is_of_macos(name: &str) -> bool {
    name.split('/').any(|part| part == "__MACOSX" || part.starts_with("._"))
}

/// Whether a name leads to a place below the export, and nowhere else.
fn is_plain(name: &str) -> bool {
    !name.contains('\0') && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}
