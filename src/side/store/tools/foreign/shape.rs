//! Shapes of JSON in exports: what is not there, or is `null`, is as it is by default.
//!
//! Deliberately absent: what the fields mean (`slack`, `mattermost`, `discord`).

use serde::Deserialize;

/// Structs that are read from JSON. Each field may be absent, or `null`.
macro_rules! shapes {
    ($(
        $(#[$of_struct:meta])*
        struct $name:ident { $($(#[$of_field:meta])* $field:ident: $type:ty,)* }
    )*) => {$(
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        $(#[$of_struct])*
        struct $name {
            $(
                #[serde(deserialize_with = "super::shape::or_default")]
                $(#[$of_field])*
                $field: $type,
            )*
        }
    )*};
}

pub(super) use shapes;

/// What there is, or the default where `null` stands.
pub(super) fn or_default<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
