//! Eight bytes looked at as one number, in a few operations without a branch for each: for texts so
//! short that a vector routine costs more to call than it saves.
//!
//! What is found is told as a mask: the lowest set bit stands in the first byte that was looked
//! for. Bits above it mean nothing, since a subtraction carries into later bytes; so only the first
//! is to be asked for ([`first`]).
//!
//! Deliberately absent: the search of long texts, which `memchr` does faster.

/// How many bytes a word has.
pub const BYTES: usize = 8;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The first eight bytes as a word, or `None` if there are fewer.
#[must_use]
#[inline]
pub fn first_of(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|word| u64::from_le_bytes(*word))
}

/// The first and the last four bytes as a word, which may be some twice; `None` if there are fewer.
#[must_use]
#[inline]
pub fn ends_of(bytes: &[u8]) -> Option<u64> {
    let half = |bytes: &[u8; BYTES / 2]| u64::from(u32::from_le_bytes(*bytes));
    Some(half(bytes.first_chunk()?) | half(bytes.last_chunk()?) << 32)
}

/// Marks the first byte less than `bound`, which is at most 128.
#[must_use]
#[inline]
pub fn less(word: u64, bound: u8) -> u64 {
    debug_assert!(bound <= 128);
    word.wrapping_sub(ONES.wrapping_mul(u64::from(bound))) & !word & HIGHS
}

/// Marks the first byte that is this one.
#[must_use]
#[inline]
pub fn equal(word: u64, byte: u8) -> u64 {
    less(word ^ ONES.wrapping_mul(u64::from(byte)), 1)
}

/// Which byte is the first that a mask marks, from 0 on; `None` if it marks none.
#[must_use]
#[inline]
pub fn first(mask: u64) -> Option<usize> {
    if mask == 0 { None } else { Some(mask.trailing_zeros() as usize / BYTES) }
}

/// A number as sixteen hexadecimal digits, in lower case.
#[must_use]
#[inline]
pub fn hex(number: u64) -> [u8; 16] {
    let digits = [number >> 32, number & 0xFFFF_FFFF].map(eight_digits);
    (u128::from(digits[0]) << 64 | u128::from(digits[1])).to_be_bytes()
}

/// A number below 2^32 as eight digits, the first of them in the highest byte.
fn eight_digits(number: u64) -> u64 {
    // Each step moves the upper half of a piece away from the lower one.
    let pairs = (number | number << 16) & 0x0000_FFFF_0000_FFFF;
    let bytes = (pairs | pairs << 8) & 0x00FF_00FF_00FF_00FF;
    let digits = (bytes | bytes << 4) & (ONES * 0x0F);
    // Ten and more have the fifth bit set after six are added.
    let letters = (digits + ONES * 6) >> 4 & ONES;
    digits + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place, beside others that are next to what is looked for.
    #[test]
    fn the_first_byte_that_is_looked_for_is_found_whatever_is_beside_it() {
        for beside in [0x00, 0x1F, 0x20, 0x21, b'"', b'#', 0x7F, 0x80, 0xA2, 0xFF] {
            for at in 0..BYTES {
                for byte in 0..=u8::MAX {
                    let mut bytes = [beside; BYTES];
                    bytes[at] = byte;
                    let word = first_of(&bytes).expect("eight bytes");
                    let place =
                        |is_found: &dyn Fn(u8) -> bool| bytes.iter().position(|b| is_found(*b));
                    assert_eq!(first(less(word, 0x20)), place(&|b| b < 0x20), "{bytes:?}");
                    assert_eq!(first(less(word, 128)), place(&|b| b < 128), "{bytes:?}");
                    assert_eq!(first(equal(word, b'"')), place(&|b| b == b'"'), "{bytes:?}");
                    assert_eq!(first(equal(word, 0)), place(&|b| b == 0), "{bytes:?}");
                    let either = less(word, 0x20) | equal(word, b'"');
                    assert_eq!(first(either), place(&|b| b < 0x20 || b == b'"'), "{bytes:?}");
                }
            }
        }
        assert_eq!(first_of(&[1; 7]), None);
    }

    #[test]
    fn the_ends_of_few_bytes_have_all_of_them() {
        for (bytes, ends) in [(&b"abcd"[..], b"abcdabcd"), (b"abcde", b"abcdbcde")] {
            assert_eq!(ends_of(bytes), Some(u64::from_le_bytes(*ends)));
        }
        assert_eq!(ends_of(b"abcdefgh"), first_of(b"abcdefgh"));
        assert_eq!(ends_of(b"abc"), None);
    }

    #[test]
    fn a_number_has_the_digits_that_the_library_gives_it() {
        let mut numbers: Vec<u64> = (0..64).flat_map(|bit| [1 << bit, !(1 << bit)]).collect();
        numbers.extend([0, u64::MAX, 0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210]);
        for number in numbers {
            assert_eq!(hex(number), *format!("{number:016x}").as_bytes());
        }
    }
}
