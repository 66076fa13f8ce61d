//! Text many bytes at a time: eight are compared at once, the highest bit of each telling the outcome.

/// Whether all bytes are ASCII, without a branch for each of a few of them.
pub(crate) fn is_ascii(text: &str) -> bool {
    text.bytes().fold(0, |any, byte| any | byte).is_ascii()
}

/// Eight bytes from `start` on, zeros after the last.
#[inline]
pub(crate) fn eight(bytes: &[u8], start: usize) -> u64 {
    let rest = bytes.get(start..).unwrap_or_default();
    if let Some(&eight) = rest.first_chunk() {
        return u64::from_le_bytes(eight);
    }
    rest.iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte))
}

/// The first `count` of eight bytes, zeros in place of the others.
#[inline]
pub(crate) const fn first(eight: u64, count: usize) -> u64 {
    if count >= 8 { eight } else { eight & ((1 << (8 * count)) - 1) }
}

/// How many of eight bytes, from the lowest on, are ASCII letters or digits.
#[inline]
pub(crate) const fn letters_and_digits(eight: u64) -> usize {
    let seven = eight & all(0x7F);
    count(within(seven | all(0x20), b'a', b'z') | within(seven, b'0', b'9'), eight)
}

/// How many of eight bytes, from the lowest on, are lower case ASCII letters.
#[inline]
pub(crate) const fn lower_case(eight: u64) -> usize {
    count(within(eight & all(0x7F), b'a', b'z'), eight)
}

#[inline]
const fn all(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The highest bit of each byte says whether it is from `first` to `last`. No byte has more than seven bits; a number
/// less than 128 added to them cannot carry beyond.
#[inline]
const fn within(seven: u64, first: u8, last: u8) -> u64 {
    seven.wrapping_add(all(0x80 - first)) & !seven.wrapping_add(all(0x7F - last))
}

/// How many bytes come before the first that is not accepted, or not ASCII.
#[inline]
const fn count(accepted: u64, eight: u64) -> usize {
    ((!accepted | eight) & all(0x80)).trailing_zeros() as usize / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_a_letter_or_not() {
        for byte in 0..=u8::MAX {
            for (run, accepts) in [
                (letters_and_digits as fn(u64) -> usize, byte.is_ascii_alphanumeric()),
                (lower_case, byte.is_ascii_lowercase()),
            ] {
                let expected = if accepts { 8 } else { 0 };
                assert_eq!(run(u64::from_le_bytes([byte; 8])), expected, "{byte}");
                assert_eq!(run(u64::from_le_bytes([b'z', b'a', byte, 0xFF, 0, 0, 0, 0])), 2 + expected / 8, "{byte}");
            }
        }
    }

    #[test]
    fn one_other_character_is_not_ascii() {
        let plain = "abcdefghij".repeat(7);
        for at in 0..=plain.len() {
            let (before, after) = plain.split_at(at);
            assert!(is_ascii(before) && !is_ascii(&format!("{before}é{after}")));
        }
    }

    #[test]
    fn bytes_are_read_to_the_end_and_no_further() {
        let bytes = b"abcdefghij";
        assert_eq!(eight(bytes, 0).to_le_bytes(), *b"abcdefgh");
        assert_eq!(eight(bytes, 7).to_le_bytes(), *b"hij\0\0\0\0\0");
        assert_eq!(eight(bytes, 11), 0);
        assert_eq!(first(eight(bytes, 0), 2).to_le_bytes(), *b"ab\0\0\0\0\0\0");
        assert_eq!(first(eight(bytes, 0), 8).to_le_bytes(), *b"abcdefgh");
    }
}
