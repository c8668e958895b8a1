//! Values as bytes in a record: how each is written and read again, in one place for all rings.
//!
//! Here are those of the language and those that other parts define. What only messages carry has
//! its form beside it.
//!
//! Deliberately absent: what is wrong with bytes that are no value. Their reader knows whether they
//! may be ([`Field::read`]) or are a bug ([`Field::take`]).

use crate::auth::level::{Inviters, Joiners, Level, Reactors, Restraint, Role, Speakers};
use crate::base::arena::Key;
use crate::link::ids::{Asker, Count, Cursor, Slot, Ticket};
use crate::link::rates::AddressHash;
use crate::wire::phx::Payload;

/// A value that can be part of a record.
pub(crate) trait Field<'a>: Sized {
    /// Appends the value.
    fn put(self, out: &mut Vec<u8>);
    /// Takes a value from the front; `None`, if none stands there. What is left is of no use then.
    fn read(record: &mut &'a [u8]) -> Option<Self>;

    /// Takes a value from the front of a record that this process has written.
    ///
    /// # Panics
    ///
    /// If none stands there: it is a bug.
    #[inline]
    fn take(record: &mut &'a [u8]) -> Self {
        Self::read(record).expect("a record is read as it was written")
    }

    /// A record of this value alone, to be read later.
    fn into_record(self) -> Box<[u8]> {
        let mut record = Vec::new();
        self.put(&mut record);
        record.into()
    }
}

macro_rules! numbers {
    ($($number:ty),*) => { $(
        impl Field<'_> for $number {
            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            #[inline]
            fn read(record: &mut &[u8]) -> Option<Self> {
                let (bytes, rest) = record.split_first_chunk()?;
                *record = rest;
                Some(Self::from_le_bytes(*bytes))
            }
        }
    )* };
}

numbers!(u8, u16, u32, u64, u128);

impl Field<'_> for usize {
    fn put(self, out: &mut Vec<u8>) {
        (self as u64).put(out);
    }

    fn read(record: &mut &[u8]) -> Option<Self> {
        Self::try_from(u64::read(record)?).ok()
    }
}

impl Field<'_> for bool {
    fn put(self, out: &mut Vec<u8>) {
        u8::from(self).put(out);
    }

    fn read(record: &mut &[u8]) -> Option<Self> {
        Some(u8::read(record)? != 0)
    }
}

impl<'a> Field<'a> for &'a [u8] {
    fn put(self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).expect("a message is far below 4 GiB").put(out);
        out.extend_from_slice(self);
    }

    #[inline]
    fn read(record: &mut &'a [u8]) -> Option<Self> {
        let length = u32::read(record)? as usize;
        let (bytes, rest) = record.split_at_checked(length)?;
        *record = rest;
        Some(bytes)
    }
}

impl<'a> Field<'a> for &'a str {
    fn put(self, out: &mut Vec<u8>) {
        self.as_bytes().put(out);
    }

    fn read(record: &mut &'a [u8]) -> Option<Self> {
        simdutf8::basic::from_utf8(Field::read(record)?).ok()
    }
}

impl<'a, T: Field<'a>> Field<'a> for Option<T> {
    fn put(self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(inner) = self {
            inner.put(out);
        }
    }

    fn read(record: &mut &'a [u8]) -> Option<Self> {
        let is_there = bool::read(record)?;
        read_if(is_there, record)
    }
}

impl<T> Field<'_> for Key<T> {
    fn put(self, out: &mut Vec<u8>) {
        self.to_u64().put(out);
    }

    fn read(record: &mut &[u8]) -> Option<Self> {
        u64::read(record).map(Self::from_u64)
    }
}

impl Field<'_> for Slot {
    fn put(self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn read(record: &mut &[u8]) -> Option<Self> {
        u32::read(record).map(Self)
    }
}

impl Field<'_> for AddressHash {
    fn put(self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn read(record: &mut &[u8]) -> Option<Self> {
        u64::read(record).map(Self)
    }
}

/// A value that stands there only if that was said before.
#[expect(clippy::option_option, reason = "the outer one is as with `Field::read`")]
pub(super) fn read_if<'a, T: Field<'a>>(
    is_there: bool,
    record: &mut &'a [u8],
) -> Option<Option<T>> {
    if is_there { T::read(record).map(Some) } else { Some(None) }
}

/// Encodes a structure as its fields, in this order.
macro_rules! struct_fields {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl Field<'_> for $name {
            struct_fields!(@of '_ $($field),*);
        }
    };
    ($name:ident<$life:lifetime> { $($field:ident),* $(,)? }) => {
        impl<$life> Field<$life> for $name<$life> {
            struct_fields!(@of $life $($field),*);
        }
    };
    (@of $life:lifetime $($field:ident),*) => {
        fn put(self, out: &mut Vec<u8>) {
            let Self { $($field),* } = self;
            $($field.put(out);)*
        }

        fn read(record: &mut &$life [u8]) -> Option<Self> {
            Some(Self { $($field: Field::read(record)?),* })
        }
    };
}

pub(crate) use struct_fields;

struct_fields!(Count { present, listed });
struct_fields!(Asker { conn, slot });
struct_fields!(Ticket { shard, key, secret, answer });
struct_fields!(Cursor { epoch, offset, change });

/// Encodes words as their numbers.
macro_rules! word_fields {
    ($($word:ident),*) => { $(
        impl Field<'_> for $word {
            fn put(self, out: &mut Vec<u8>) {
                self.bits().put(out);
            }

            fn read(record: &mut &[u8]) -> Option<Self> {
                Self::from_bits(u8::read(record)?)
            }
        }
    )* };
}

pub(in crate::link) use word_fields;

word_fields!(Level, Role, Joiners, Speakers, Reactors, Inviters, Restraint);

impl<'a> Field<'a> for Payload<'a> {
    fn put(self, out: &mut Vec<u8>) {
        match self {
            Self::Json(text) => {
                0u8.put(out);
                text.put(out);
            }
            Self::Binary(data) => {
                1u8.put(out);
                data.put(out);
            }
        }
    }

    fn read(record: &mut &'a [u8]) -> Option<Self> {
        Some(if u8::read(record)? == 0 {
            Self::Json(Field::read(record)?)
        } else {
            Self::Binary(Field::read(record)?)
        })
    }
}
