//! The atomics of this folder: the standard library's, or those of `loom`, which tries all the
//! orders that the memory model allows.
//!
//! `cargo test --release --no-default-features --features loom --lib loom_`

pub(super) use std::sync::atomic::Ordering;

#[cfg(feature = "loom")]
pub(super) use loom::sync::atomic::{AtomicBool, AtomicU64};
#[cfg(not(feature = "loom"))]
pub(super) use std::sync::atomic::{AtomicBool, AtomicU64};

/// Stores a word of a ring. This orders nothing; the ring's indices do.
pub(super) fn store_word(word: &AtomicU64, value: u64) {
    word.store(value, Ordering::Relaxed);
}

/// Loads a word of a ring. This orders nothing; the ring's indices do.
#[cfg(not(feature = "loom"))]
pub(super) fn load_word(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

/// Under `loom`, a load that is not ordered with every store to the word fails the test. A relaxed
/// one would not: `loom` does not model loads that happen late, and so would not miss the order
/// that keeps a word from being overwritten too soon.
#[cfg(feature = "loom")]
#[expect(unsafe_code, reason = "loom's check for races; not part of the server")]
pub(super) fn load_word(word: &AtomicU64) -> u64 {
    // SAFETY: `loom` panics if this races with a store.
    unsafe { word.unsync_load() }
}

/// So many words of 0, in memory that is not touched before it is used: of rings between shards
/// that hardly talk, the kernel never provides more than the first pages.
#[cfg(not(feature = "loom"))]
pub(super) fn zeroed(words: usize) -> Box<[AtomicU64]> {
    use zerocopy::FromZeros;
    <[AtomicU64]>::new_box_zeroed_with_elems(words).expect("memory for a ring")
}

#[cfg(feature = "loom")]
pub(super) fn zeroed(words: usize) -> Box<[AtomicU64]> {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}
