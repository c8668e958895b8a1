//! What may name a room or a user.

use crate::limits::NAME_BYTES_MAX;

/// Whether `name` may name a room or a user: 1 to [`NAME_BYTES_MAX`] bytes without control
/// characters.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}
