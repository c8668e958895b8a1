//! A value for each small number, one behind the other: what is known of every connection by its
//! index.
//!
//! The values lie in chunks that are never moved. A vector that doubles copies all that is in it,
//! and keeps a reserve as large as itself. What it had before it leaves in the allocator's hands,
//! in sizes that nobody else asks for.
//!
//! Invariant: every chunk but the last one is full.
//!
//! Deliberately absent: shrinking. The indices are those of an arena, which gives out again what
//! was freed.

use std::ops::{Index, IndexMut};

/// Values by index, dense from 0.
#[derive(Debug)]
pub struct Dense<T> {
    chunks: Vec<Vec<T>>,
}

/// How many bits of an index are the place within a chunk.
const CHUNK_BITS: u32 = 12;

const CHUNK_VALUES: usize = 1 << CHUNK_BITS;

impl<T> Default for Dense<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Dense<T> {
    /// None yet, without an allocation.
    #[must_use]
    pub const fn new() -> Self {
        Self { chunks: Vec::new() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK_VALUES + last.len())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Grows to at least `len` values, each new one made by `value`.
    pub fn grow(&mut self, len: usize, mut value: impl FnMut() -> T) {
        for _ in self.len()..len {
            match self.chunks.last_mut() {
                Some(last) if last.len() < CHUNK_VALUES => last.push(value()),
                _ => {
                    let mut chunk = Vec::with_capacity(CHUNK_VALUES);
                    chunk.push(value());
                    self.chunks.push(chunk);
                }
            }
        }
    }

    /// The value at an index, if there is one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index >> CHUNK_BITS)?.get(index & (CHUNK_VALUES - 1))
    }

    /// The value at an index to change, if there is one.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.chunks.get_mut(index >> CHUNK_BITS)?.get_mut(index & (CHUNK_VALUES - 1))
    }

    /// Takes all values, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.chunks).into_iter().flatten()
    }
}

impl<T> Index<usize> for Dense<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        &self.chunks[index >> CHUNK_BITS][index & (CHUNK_VALUES - 1)]
    }
}

impl<T> IndexMut<usize> for Dense<T> {
    fn index_mut(&mut self, index: usize) -> &mut T {
        &mut self.chunks[index >> CHUNK_BITS][index & (CHUNK_VALUES - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_where_they_are_however_many_follow() {
        let mut values = Dense::new();
        assert_eq!((values.len(), values.is_empty(), values.get(0)), (0, true, None));
        let mut next = 0..;
        for len in [1, 5, 5, 3, CHUNK_VALUES, CHUNK_VALUES + 1, 3 * CHUNK_VALUES] {
            let before = values.len();
            let first: Option<*const i32> = values.get(0).map(|first| &raw const *first);
            values.grow(len, || next.next().expect("endless"));
            assert_eq!(values.len(), before.max(len));
            assert!(first.is_none_or(|first| first == &raw const values[0]));
        }
        for index in 0..values.len() {
            assert_eq!(usize::try_from(values[index]), Ok(index));
            values[index] += 1;
        }
        assert_eq!((values.get(values.len()), values.get(3)), (None, Some(&4)));
        assert_eq!(values.get_mut(values.len()), None);
        let all: Vec<_> = values.drain().collect();
        assert_eq!((all.len(), all[CHUNK_VALUES], values.len()), (3 * CHUNK_VALUES, 4_097, 0));
    }
}
