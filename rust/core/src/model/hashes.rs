//! Hashes of characters, words and concepts. A change here changes the features of every text.

/// Odd constants without structure (from the golden ratio, and from splitmix64).
pub(super) const MIX_A: u64 = 0x9E37_79B9_7F4A_7C15;
pub(super) const MIX_B: u64 = 0xBF58_476D_1CE4_E5B9;
pub(super) const MIX_C: u64 = 0x94D0_49BB_1331_11EB;
pub(super) const MIX_D: u64 = 0xD6E8_FEB8_6659_FD93;

/// A character is a number of so many bits.
pub(super) const CODE_BITS: u32 = 12;

/// Of a hash the part that was mixed best.
#[inline]
pub(super) const fn feature(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// Two words in a row.
#[inline]
pub(super) fn two(last: u64, word: u64) -> u64 {
    last.rotate_left(17).wrapping_add(word).wrapping_mul(MIX_C)
}

/// Three words in a row.
#[inline]
pub(super) fn three(before: u64, last: u64, word: u64) -> u64 {
    before.rotate_left(29).wrapping_add(two(last, word)).wrapping_mul(MIX_D)
}

/// Concepts in a row.
#[inline]
pub(super) fn meaning(concepts: &[u8]) -> u64 {
    concepts.iter().fold(MIX_D, |hash, &concept| (hash ^ u64::from(concept)).wrapping_mul(MIX_B).rotate_left(31))
}

/// The hash by which a folded word is looked up among the concepts: as the reader sees it, and of ideographs and kana
/// the first three.
pub(super) fn word_hash(word: &str) -> u64 {
    let hash = |code: u64| (MIX_A ^ code).wrapping_mul(MIX_B).rotate_left(23);
    let alone: Vec<u64> = word.chars().filter(|&c| stands_alone(c)).map(|c| hash(code(c))).collect();
    match alone.as_slice() {
        [] => word.chars().fold(MIX_A, |hash, c| {
            let code = if c.is_ascii() { c as u64 } else { code(c) };
            (hash ^ code).wrapping_mul(MIX_B).rotate_left(23)
        }),
        [one] => *one,
        [one, other] => two(*one, *other),
        [one, other, third, ..] => three(*one, *other, *third),
    }
}

/// Whether a letter is a word of its own.
pub(super) fn stands_alone(c: char) -> bool {
    matches!(u32::from(c), 0x0E00..=0x0E7F | 0x3005..=0x3007 | 0x3041..=0x30FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF
        | 0xF900..=0xFAFF | 0x20000..=0x323AF)
}

/// A character in 12 bits, never zero.
pub(super) fn code(c: char) -> u64 {
    let mixed = u64::from(c).wrapping_mul(MIX_A) >> (64 - CODE_BITS);
    mixed | 1 << (CODE_BITS - 1)
}
