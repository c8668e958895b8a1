//! Values as bytes in a record: how each is written and read again, in one place for all rings.
//!
//! Here are those of the language and those that other parts define. What only messages carry has
//! its form beside it.
//!
//! Deliberately absent: errors. Records never leave the process, so bytes that are no value are a
//! bug.

use crate::auth::level::{Inviters, Joiners, Level, Reactors, Restraint, Role, Speakers};
use crate::base::arena::Key;
use crate::link::ids::{Asker, Count, Cursor, Slot, Ticket};
use crate::link::log::View;
use crate::link::rates::AddressHash;
use crate::wire::phx::Payload;

/// A value that can be part of a record.
pub(crate) trait Field<'a>: Sized {
    /// Appends the value.
    fn put(self, out: &mut Vec<u8>);
    /// Takes a value from the front.
    fn take(record: &mut &'a [u8]) -> Self;

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

            fn take(record: &mut &[u8]) -> Self {
                let (bytes, rest) = record.split_first_chunk().expect("the record goes on");
                *record = rest;
                Self::from_le_bytes(*bytes)
            }
        }
    )* };
}

numbers!(u8, u16, u32, u64, u128);

impl Field<'_> for usize {
    fn put(self, out: &mut Vec<u8>) {
        (self as u64).put(out);
    }

    fn take(record: &mut &[u8]) -> Self {
        Self::try_from(u64::take(record)).expect("it was one before")
    }
}

impl Field<'_> for bool {
    fn put(self, out: &mut Vec<u8>) {
        u8::from(self).put(out);
    }

    fn take(record: &mut &[u8]) -> Self {
        u8::take(record) != 0
    }
}

impl<'a> Field<'a> for &'a [u8] {
    fn put(self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).expect("a message is far below 4 GiB").put(out);
        out.extend_from_slice(self);
    }

    fn take(record: &mut &'a [u8]) -> Self {
        let length = u32::take(record) as usize;
        let (bytes, rest) = record.split_at(length);
        *record = rest;
        bytes
    }
}

impl<'a> Field<'a> for &'a str {
    fn put(self, out: &mut Vec<u8>) {
        self.as_bytes().put(out);
    }

    fn take(record: &mut &'a [u8]) -> Self {
        simdutf8::basic::from_utf8(Field::take(record)).expect("it was a string before")
    }
}

impl<'a, T: Field<'a>> Field<'a> for Option<T> {
    fn put(self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(inner) = self {
            inner.put(out);
        }
    }

    fn take(record: &mut &'a [u8]) -> Self {
        bool::take(record).then(|| T::take(record))
    }
}

impl<T> Field<'_> for Key<T> {
    fn put(self, out: &mut Vec<u8>) {
        self.to_u64().put(out);
    }

    fn take(record: &mut &[u8]) -> Self {
        Self::from_u64(u64::take(record))
    }
}

impl Field<'_> for Slot {
    fn put(self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(record: &mut &[u8]) -> Self {
        Self(u32::take(record))
    }
}

impl Field<'_> for AddressHash {
    fn put(self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(record: &mut &[u8]) -> Self {
        Self(u64::take(record))
    }
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

        fn take(record: &mut &$life [u8]) -> Self {
            Self { $($field: Field::take(record)),* }
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

            fn take(record: &mut &[u8]) -> Self {
                Self::from_bits(u8::take(record)).expect("it was one before")
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

    fn take(record: &mut &'a [u8]) -> Self {
        if u8::take(record) == 0 {
            Self::Json(Field::take(record))
        } else {
            Self::Binary(Field::take(record))
        }
    }
}

impl Field<'_> for View {
    fn put(self, out: &mut Vec<u8>) {
        let (number, root) = match self {
            Self::Room => (0u8, 0),
            Self::Thread(root) => (1, root),
            Self::Pins => (2, 0),
        };
        number.put(out);
        root.put(out);
    }

    fn take(record: &mut &[u8]) -> Self {
        let (number, root) = (u8::take(record), u64::take(record));
        match number {
            0 => Self::Room,
            1 => Self::Thread(root),
            2 => Self::Pins,
            other => unreachable!("no view has the number {other}"),
        }
    }
}
