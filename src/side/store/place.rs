//! Are the files that are open still those at their paths?
//!
//! A folder may be removed, and a file be replaced, under a server that runs. What is written then
//! goes into files that nobody finds again: it must not be told as kept.
//!
//! Deliberately absent: what is done about it (`faults`).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::StoreError;

/// Files that are open, and what the file system calls them: a device and a number.
#[derive(Debug)]
pub(super) struct Place(Vec<(PathBuf, (u64, u64))>);

impl Place {
    /// Of files that have just been opened.
    ///
    /// # Errors
    ///
    /// If one is not there.
    pub(super) fn of(paths: Vec<PathBuf>) -> io::Result<Self> {
        let with_id = |path: PathBuf| id_of(&path).map(|id| (path, id));
        paths.into_iter().map(with_id).collect::<Result<_, _>>().map(Self)
    }

    /// Looks for them.
    ///
    /// # Errors
    ///
    /// With the first that is not there, or is another file; and those of the disk.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        use io::ErrorKind::{NotADirectory, NotFound};
        for (path, was) in &self.0 {
            match id_of(path) {
                Ok(is) if is == *was => {}
                Err(error) if !matches!(error.kind(), NotFound | NotADirectory) => {
                    return Err(error.into());
                }
                _ => return Err(StoreError::Gone { file: path.clone() }),
            }
        }
        Ok(())
    }
}

fn id_of(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::side::store::tests::Folder;

    #[test]
    fn a_file_is_there_as_long_as_it_is_the_same_one() {
        let folder = Folder::new();
        fs::create_dir(&folder.0).unwrap();
        let files = ["a", "b"].map(|name| folder.0.join(name));
        for file in &files {
            fs::write(file, "").unwrap();
        }
        let place = Place::of(files.to_vec()).unwrap();
        fs::write(&files[0], "it may grow").unwrap();
        place.check().unwrap();
        let is_gone = |of: &Path| match place.check() {
            Err(StoreError::Gone { file }) => file == of,
            _ => false,
        };
        fs::rename(&files[1], folder.0.join("c")).unwrap();
        assert!(is_gone(&files[1]));
        fs::write(&files[1], "").unwrap();
        assert!(is_gone(&files[1]), "it is another one");
        fs::rename(folder.0.join("c"), &files[1]).unwrap();
        place.check().unwrap();
        fs::remove_dir_all(&folder.0).unwrap();
        assert!(is_gone(&files[0]));
        fs::write(&folder.0, "").unwrap();
        assert!(is_gone(&files[0]));
        fs::remove_file(&folder.0).unwrap();
    }
}
