//! Why a server cannot begin, and the exit codes of what fails outside it.
//!
//! Codes are those of sysexits.h. That of a configuration is in `cli`, which tells it apart from a
//! mistake in the arguments.

/// Something outside failed: the address, the descriptors (`EX_OSERR`).
pub(super) const EXIT_OS: u8 = 71;
/// A shard panicked again and again, or could not begin anew (`EX_SOFTWARE`).
pub(super) const EXIT_SOFTWARE: u8 = 70;

/// Why a server cannot begin.
pub(super) struct Failure {
    /// The process' exit code.
    pub(super) code: u8,
    /// For people.
    pub(super) message: String,
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self { code: EXIT_OS, message }
    }
}
