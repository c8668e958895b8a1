//! A field of what somebody asks for, which may be left as it is, removed, or set.

use crate::link::field::Field;

/// A field that may be left as it is, removed, or set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Given<T> {
    /// It stays as it is.
    #[default]
    Nothing,
    /// It is removed.
    Null,
    /// It is set to this. A text is JSON.
    Value(T),
}

impl<T> Given<T> {
    /// What is given by another value, if that is one.
    ///
    /// # Errors
    ///
    /// That of `map`.
    pub(crate) fn try_map<U, E>(self, map: impl FnOnce(T) -> Result<U, E>) -> Result<Given<U>, E> {
        match self {
            Self::Nothing => Ok(Given::Nothing),
            Self::Null => Ok(Given::Null),
            Self::Value(value) => map(value).map(Given::Value),
        }
    }

    /// Sets what is given, and leaves the rest as it is.
    pub(crate) fn set<U>(self, field: &mut Option<U>)
    where
        T: Into<U>,
    {
        match self {
            Self::Nothing => {}
            Self::Null => *field = None,
            Self::Value(value) => *field = Some(value.into()),
        }
    }
}

impl<'a> Given<&'a str> {
    /// What a field of an object is that may be null.
    pub(crate) fn of(value: Option<&'a str>) -> Self {
        match value {
            None => Self::Nothing,
            Some("null") => Self::Null,
            Some(value) => Self::Value(value),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Nothing | Self::Null => 0,
            Self::Value(value) => value.len(),
        }
    }
}

impl<'a, T: Field<'a>> Field<'a> for Given<T> {
    fn put(self, out: &mut Vec<u8>) {
        match self {
            Self::Nothing => 0_u8.put(out),
            Self::Null => 1_u8.put(out),
            Self::Value(value) => {
                2_u8.put(out);
                value.put(out);
            }
        }
    }

    fn read(record: &mut &'a [u8]) -> Option<Self> {
        Some(match u8::read(record)? {
            0 => Self::Nothing,
            1 => Self::Null,
            2 => Self::Value(Field::read(record)?),
            _ => return None,
        })
    }
}
