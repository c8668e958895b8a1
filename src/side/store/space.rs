//! How much of the disk is free.
//!
//! Deliberately absent: what is done about it (`faults`).

use std::io;
use std::path::Path;

/// How much of the file system that a folder is in may still be used by this process, in bytes.
pub(super) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(folder)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_some_and_nowhere_is_an_error() {
        let free = free_bytes(Path::new("/")).unwrap();
        assert!(free > 0 && free < 1 << 60, "{free}");
        assert!(free_bytes(Path::new("/none/such")).is_err());
    }
}
