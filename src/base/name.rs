//! What may name a room or a user, and what may be a room's title.

use crate::limits::{NAME_BYTES_MAX, TITLE_GIVEN_BYTES_MAX};

/// Whether `name` may name a room or a user: 1 to [`NAME_BYTES_MAX`] bytes without control
/// characters.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// Whether a room may be given this title: 1 to [`TITLE_GIVEN_BYTES_MAX`] bytes without control
/// characters.
#[must_use]
pub fn is_title(title: &str) -> bool {
    (1..=TITLE_GIVEN_BYTES_MAX).contains(&title.len()) && !title.chars().any(char::is_control)
}
