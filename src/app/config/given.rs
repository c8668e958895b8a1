//! A value as it came, before anybody knows what it is for.

use std::fmt;

use toml::Spanned;
use toml::de::DeValue;

/// A value as it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// From variables and flags: may be meant as anything.
    Text(String),
    /// From the file.
    String(String),
    /// From the file.
    Integer(i128),
    /// From the file.
    Boolean(bool),
    /// From the file.
    Strings(Vec<String>),
    /// From the file: of a type that no key has, by its name.
    Other(&'static str),
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::String(text) => write!(f, "{text:?}"),
            Self::Integer(number) => number.fmt(f),
            Self::Boolean(value) => value.fmt(f),
            Self::Strings(list) => write!(f, "{list:?}"),
            Self::Other(name) => write!(f, "({name})"),
        }
    }
}

impl Given {
    /// A value of the file.
    pub(super) fn of_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::String(text.to_string()),
            DeValue::Boolean(value) => Self::Boolean(*value),
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
                .map_or(Self::Other("integer"), Self::Integer),
            DeValue::Array(list) => {
                let text = |item: &Spanned<DeValue<'_>>| item.get_ref().as_str().map(str::to_owned);
                list.iter()
                    .map(text)
                    .collect::<Option<_>>()
                    .map_or(Self::Other("array"), Self::Strings)
            }
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => {
                Self::Other(value.type_str())
            }
        }
    }
    pub(super) fn as_flag(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_number(&self) -> Option<i128> {
        match self {
            Self::Integer(number) => Some(*number),
            // Underscores as in the file.
            Self::Text(text) => text.replace('_', "").parse().ok(),
            _ => None,
        }
    }

    /// A list, which variables and flags separate by commas.
    pub(super) fn as_list(&self) -> Option<Vec<String>> {
        match self {
            Self::Strings(list) => Some(list.clone()),
            Self::String(text) => Some(vec![text.clone()]),
            Self::Text(text) if text.is_empty() => Some(Vec::new()),
            Self::Text(text) => Some(text.split(',').map(|item| item.trim().to_owned()).collect()),
            Self::Integer(_) | Self::Boolean(_) | Self::Other(_) => None,
        }
    }
}
