//! Which letters commonly follow each other.

/// Pairs of letters that are common in languages written with Latin letters, and rare in their ROT13 and mirror.
const COMMON_PAIRS: &str = "th he in er an re nd at on nt ha es st en ed to it ou is or ti as te et ng of al de se le \
    sa si ar ve ra ld ur me ne ri ro io ic co la li no ho ma us ce em om ch qu ll pr ac ct il ut un ec ry yo rd ow gn \
    ig mp ys sy tr do un ns ei ie ge be sc au ue os ta da da po so mi ad";

#[allow(clippy::indexing_slicing)] // runs in the compiler
const fn pair_bits() -> [u32; 26] {
    let (pairs, mut bits, mut at) = (COMMON_PAIRS.as_bytes(), [0u32; 26], 0);
    while at + 1 < pairs.len() {
        if pairs[at].is_ascii_lowercase() && pairs[at + 1].is_ascii_lowercase() {
            bits[(pairs[at] - b'a') as usize] |= 1 << (pairs[at + 1] - b'a');
        }
        at += 1;
    }
    bits
}

/// For each letter, the letters that commonly follow it.
static PAIRS: [u32; 26] = pair_bits();

pub(super) fn is_common(a: u8, b: u8) -> bool {
    PAIRS.get(usize::from(a - b'a')).is_some_and(|bits| bits >> (b - b'a') & 1 == 1)
}
