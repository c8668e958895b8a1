//! Values in slabs, named by keys that never name a stranger.
//!
//! The slabs are chunks of one size that are never moved: an arena grows without copying what is in
//! it and without a reserve as large as itself, and what a storm of connections needed is given
//! back when they have gone.
//!
//! Invariants:
//!
//! 1. a key finds the value it was given out for, or nothing;
//! 2. a slot's generation goes up with every new occupant and is never 0, so [`Key::NONE`] finds
//!    nothing;
//! 3. the chunks with a vacant slot are exactly those in `roomy`.
//!
//! The generations of all slots come from one counter per arena. After 2^32 insertions it starts
//! over; a key would have to be kept across exactly so many to meet a stranger.
//!
//! Deliberately absent: indexing with `[]`. A stale key is an everyday event here, not a mistake of
//! the caller's.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::num::NonZeroU32;

use slab::Slab;

/// A key into the [`Arena`] that is marked by `T`, and into no other.
///
/// `slab` reuses a freed index at once. A plain `usize` kept across a removal (in a timer, in a
/// queued message from another shard) would then name a stranger. A chat line would reach the wrong
/// person. The generation makes a stale key *miss* instead.
pub struct Key<T> {
    index: u32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// The key that finds nothing, in any arena.
    pub const NONE: Self = Self::new(0, 0);

    const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation, of: PhantomData }
    }

    /// The slot, dense from 0. Two keys may share it, though never at the same time.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }

    /// `generation << 32 | index`, to pass through something that carries numbers (a poll token,
    /// another shard's queue).
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The inverse of [`Key::to_u64`]. Total: a number that is no key finds nothing.
    #[must_use]
    pub const fn from_u64(packed: u64) -> Self {
        let [index @ .., _, _, _, _] = packed.to_le_bytes();
        let [_, _, _, _, generation @ ..] = packed.to_le_bytes();
        Self::new(u32::from_le_bytes(index), u32::from_le_bytes(generation))
    }
}

// Written out, for a derive would ask the same of `T`.
impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Key<T> {}
impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.to_u64() == other.to_u64()
    }
}
impl<T> Eq for Key<T> {}
impl<T> PartialOrd for Key<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
/// By slot, so that sorted keys visit memory in order.
impl<T> Ord for Key<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.index, self.generation).cmp(&(other.index, other.generation))
    }
}
impl<T> Hash for Key<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_u64().hash(state);
    }
}
impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}v{}", self.index, self.generation)
    }
}

/// Slabs whose keys carry a generation. Its keys are marked by `M`: mostly the type of the values,
/// or a type that only marks, where others hold keys and are not to know the values.
#[derive(Debug)]
pub struct Arena<T, M = T> {
    chunks: Vec<Slab<Occupant<T>>>,
    /// The chunks with a vacant slot. The last one is filled first.
    roomy: Vec<u32>,
    len: usize,
    /// What the next occupant gets.
    generation: NonZeroU32,
    of: PhantomData<fn() -> M>,
}

/// `NonZeroU32` leaves a niche in which `slab` marks a slot as vacant: the generation costs no more
/// than the mark would.
#[derive(Debug)]
struct Occupant<T> {
    generation: NonZeroU32,
    value: T,
}

/// How much memory a chunk takes, at most, in bytes: small beside what a server needs, large beside
/// what an allocator adds.
const CHUNK_BYTES_MAX: usize = 32 * 1_024;

impl<T, M> Default for Arena<T, M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, M> Arena<T, M> {
    /// How many bits of an index are the place within a chunk.
    const CHUNK_BITS: u32 = {
        let slots = CHUNK_BYTES_MAX / size_of::<Occupant<T>>();
        if slots == 0 { 0 } else { slots.ilog2() }
    };

    const CHUNK_SLOTS: usize = 1 << Self::CHUNK_BITS;

    /// An empty arena, without an allocation.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            roomy: Vec::new(),
            len: 0,
            generation: NonZeroU32::MIN,
            of: PhantomData,
        }
    }

    /// An empty arena in which no key of another one, which has had its time, finds anything.
    #[must_use]
    pub fn following(other: &Self) -> Self {
        Self { generation: other.generation, ..Self::new() }
    }

    /// Puts a value in, in a slot that was freed or in a new one.
    ///
    /// # Panics
    ///
    /// If there are 2^32 values already.
    pub fn insert(&mut self, value: T) -> Key<M> {
        let key = self.vacant_key();
        let (chunk, place) = Self::place(key.index);
        if chunk == self.chunks.len() {
            self.chunks.push(Slab::new());
            self.roomy.push(key.index >> Self::CHUNK_BITS);
        }
        let slots = &mut self.chunks[chunk];
        if slots.capacity() == 0 {
            *slots = Slab::with_capacity(Self::CHUNK_SLOTS);
        }
        let taken = slots.insert(Occupant { generation: self.generation, value });
        debug_assert_eq!(taken, place);
        if slots.len() == Self::CHUNK_SLOTS {
            self.roomy.pop();
        }
        self.len += 1;
        self.generation = self.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        key
    }

    /// The key that the next [`Arena::insert`] will return, for a value that must know its own.
    ///
    /// # Panics
    ///
    /// If there are 2^32 values already.
    #[must_use]
    pub fn vacant_key(&self) -> Key<M> {
        let (chunk, place) = match self.roomy.last() {
            Some(&chunk) => (chunk as usize, self.chunks[chunk as usize].vacant_key()),
            None => (self.chunks.len(), 0),
        };
        key_of(chunk << Self::CHUNK_BITS | place, self.generation)
    }

    /// Takes a value out. Its key, and every copy of it, finds nothing from now on.
    pub fn remove(&mut self, key: Key<M>) -> Option<T> {
        self.get(key)?;
        let (chunk, place) = Self::place(key.index);
        let slots = &mut self.chunks[chunk];
        if slots.len() == Self::CHUNK_SLOTS {
            self.roomy.push(key.index >> Self::CHUNK_BITS);
        }
        let occupant = slots.remove(place);
        if slots.is_empty() && self.roomy.len() > 1 {
            // There is room elsewhere, so that one who comes and goes does not allocate each time.
            *slots = Slab::new();
        }
        self.len -= 1;
        Some(occupant.value)
    }

    /// The value that this key was given out for.
    #[must_use]
    pub fn get(&self, key: Key<M>) -> Option<&T> {
        let occupant = self.occupant(key.index)?;
        (occupant.generation.get() == key.generation).then_some(&occupant.value)
    }

    /// The value that this key was given out for, to change.
    pub fn get_mut(&mut self, key: Key<M>) -> Option<&mut T> {
        let occupant = self.occupant_mut(key.index)?;
        (occupant.generation.get() == key.generation).then_some(&mut occupant.value)
    }

    /// Whether this key still finds its value.
    #[must_use]
    pub fn contains(&self, key: Key<M>) -> bool {
        self.get(key).is_some()
    }

    /// The key of a slot's current occupant.
    #[must_use]
    pub fn key_at(&self, index: u32) -> Option<Key<M>> {
        self.occupant(index).map(|occupant| Key::new(index, occupant.generation.get()))
    }

    /// A slot's current occupant of any generation, to change.
    pub fn get_at_mut(&mut self, index: u32) -> Option<&mut T> {
        self.occupant_mut(index).map(|occupant| &mut occupant.value)
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All values, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (Key<M>, &T)> {
        self.chunks.iter().enumerate().flat_map(|(chunk, slots)| {
            slots.iter().map(move |(place, occupant)| {
                (key_of(chunk << Self::CHUNK_BITS | place, occupant.generation), &occupant.value)
            })
        })
    }

    /// All values, in the order of their slots, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key<M>, &mut T)> {
        self.chunks.iter_mut().enumerate().flat_map(|(chunk, slots)| {
            slots.iter_mut().map(move |(place, occupant)| {
                (
                    key_of(chunk << Self::CHUNK_BITS | place, occupant.generation),
                    &mut occupant.value,
                )
            })
        })
    }

    fn occupant(&self, index: u32) -> Option<&Occupant<T>> {
        let (chunk, place) = Self::place(index);
        self.chunks.get(chunk)?.get(place)
    }

    fn occupant_mut(&mut self, index: u32) -> Option<&mut Occupant<T>> {
        let (chunk, place) = Self::place(index);
        self.chunks.get_mut(chunk)?.get_mut(place)
    }

    /// The chunk of an index, and the place in there.
    const fn place(index: u32) -> (usize, usize) {
        let index = index as usize;
        (index >> Self::CHUNK_BITS, index & (Self::CHUNK_SLOTS - 1))
    }
}

fn key_of<M>(index: usize, generation: NonZeroU32) -> Key<M> {
    Key::new(u32::try_from(index).expect("an arena holds fewer than 2^32 values"), generation.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::SplitMix64;

    #[test]
    fn a_key_kept_after_removal_misses_the_slots_next_owner() {
        let mut arena: Arena<_> = Arena::new();
        let ann = arena.insert("Ann");
        assert_eq!(arena.remove(ann), Some("Ann"));
        let bob = arena.insert("Bob");
        assert_eq!(ann.index(), bob.index(), "the slot is reused");
        assert_eq!(arena.get(ann), None);
        assert_eq!(arena.get_mut(ann), None);
        assert_eq!(arena.remove(ann), None);
        assert_eq!(arena.get(bob), Some(&"Bob"));
    }

    #[test]
    fn a_generation_goes_up_with_every_occupant() {
        let mut arena: Arena<_> = Arena::new();
        let mut last = 0;
        for _ in 0..10 {
            let key = arena.insert(());
            assert_eq!(key.index(), 0);
            assert!(key.to_u64() >> 32 > last);
            last = key.to_u64() >> 32;
            arena.remove(key);
        }
    }

    #[test]
    fn generations_start_over_at_one() {
        let mut arena: Arena<u8> = Arena { generation: NonZeroU32::MAX, ..Arena::new() };
        let last = arena.insert(1);
        let first = arena.insert(2);
        assert_eq!(last.to_u64() >> 32, u64::from(u32::MAX));
        assert_eq!(first.to_u64() >> 32, 1);
        assert_eq!(arena.get(first), Some(&2));
    }

    #[test]
    fn the_key_of_zeros_finds_nothing() {
        let mut arena: Arena<_> = Arena::new();
        let first = arena.insert(7);
        assert_eq!(first.index(), 0);
        assert_ne!(first, Key::NONE);
        assert_eq!(Key::<i32>::from_u64(0), Key::NONE);
        assert_eq!(arena.get(Key::NONE), None);
    }

    #[test]
    fn a_key_survives_packing() {
        let mut arena: Arena<_> = Arena::new();
        arena.insert('a');
        let key = arena.insert('b');
        assert_eq!(key.to_u64(), 2 << 32 | 1);
        assert_eq!(Key::from_u64(key.to_u64()), key);
        assert_eq!(format!("{key:?}"), "1v2");
    }

    #[test]
    fn the_vacant_key_is_the_next_one() {
        let mut arena: Arena<_> = Arena::new();
        let keys: Vec<_> = (0..4).map(|n| arena.insert(n)).collect();
        arena.remove(keys[2]);
        arena.remove(keys[1]);
        for n in 0..4 {
            let promised = arena.vacant_key();
            assert_eq!(arena.get(promised), None);
            assert_eq!(arena.insert(n), promised);
        }
    }

    #[test]
    fn slots_tell_their_current_occupant() {
        let mut arena: Arena<_> = Arena::new();
        let ann = arena.insert("Ann");
        let bob = arena.insert("Bob");
        arena.remove(ann);
        assert_eq!((arena.key_at(0), arena.get_at_mut(0)), (None, None));
        assert_eq!((arena.key_at(1), arena.get_at_mut(1)), (Some(bob), Some(&mut "Bob")));
        assert_eq!(arena.key_at(u32::MAX), None);
        *arena.get_at_mut(1).unwrap() = "Eve";
        assert_eq!(arena.iter().collect::<Vec<_>>(), [(bob, &"Eve")]);
        for (key, name) in arena.iter_mut() {
            assert_eq!(key, bob);
            *name = "Bob";
        }
        assert_eq!((arena.get(bob), arena.len(), arena.is_empty()), (Some(&"Bob"), 1, false));
    }

    #[test]
    fn values_stay_found_across_chunks_however_they_come_and_go() {
        // 64 to a chunk.
        type Large = [u64; 60];
        let mut arena: Arena<Large> = Arena::new();
        let mut held: Vec<(Key<Large>, u64)> = Vec::new();
        let mut rng = SplitMix64::new(1);
        for number in 0..20_000 {
            // It fills, empties, and fills again.
            let wanted = if (number / 5_000) % 2 == 0 { 500 } else { 3 };
            if held.len() < wanted {
                let promised = arena.vacant_key();
                let key = arena.insert([number; 60]);
                assert_eq!(key, promised);
                held.push((key, number));
            } else {
                let at = usize::try_from(rng.below(held.len() as u64)).expect("small");
                let (key, value) = held.swap_remove(at);
                assert_eq!(arena.remove(key), Some([value; 60]));
                assert_eq!(arena.get(key), None);
                assert_eq!(arena.remove(key), None);
            }
            let roomy =
                |chunk: u32| arena.chunks[chunk as usize].len() < Arena::<Large>::CHUNK_SLOTS;
            let chunks = u32::try_from(arena.chunks.len()).expect("few");
            let mut listed = arena.roomy.clone();
            listed.sort_unstable();
            assert_eq!(listed, (0..chunks).filter(|chunk| roomy(*chunk)).collect::<Vec<_>>());
            assert_eq!(arena.len(), held.len());
        }
        held.sort_unstable();
        assert_eq!(arena.iter().map(|(key, value)| (key, value[0])).collect::<Vec<_>>(), held);
        let chunks = arena.chunks.iter().filter(|slots| slots.capacity() > 0).count();
        assert!(chunks <= held.len() + 1, "memory of those who have gone is given back");
    }

    #[test]
    fn the_generation_costs_no_more_than_the_mark_of_a_vacant_slot() {
        // The shape of a slot in `slab`.
        #[expect(dead_code, reason = "only its size matters")]
        enum Slot<T> {
            Vacant(usize),
            Occupied(T),
        }
        assert_eq!(size_of::<Slot<Occupant<[u64; 4]>>>(), size_of::<Slot<[u64; 4]>>());
    }
}
