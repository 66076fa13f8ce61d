//! What is odd about a text whatever it says: size, control characters, entropy, repetition.
//!
//! Small scores: none of it is an attack, all of it is usual in one. Each is looked for at a few places that it cannot
//! avoid, and counted only if it may be there.

use crate::finding::Category;

const LONG_TEXT: usize = 20_000;
const VERY_LONG_TEXT: usize = 200_000;
const CONTROL_CHARACTERS: usize = 4;
const LONG_TOKEN: usize = 256;
const DENSE_BITS_PER_BYTE: f64 = 5.0;
const REPEATED_CHARACTER: usize = 100;
const REPEATED_WORD: usize = 50;
/// Bytes that are looked at together.
const CHUNK: usize = 64;

/// One oddity: which detector, what kind, how much it says.
pub(crate) type Oddity = (&'static str, Category, u8);

/// Everything odd about one text.
pub(crate) fn oddities(text: &str) -> Vec<Oddity> {
    let mut found = Vec::new();
    if text.len() > VERY_LONG_TEXT {
        found.push(("abnormal.very_long", Category::Length, 8));
    } else if text.len() > LONG_TEXT {
        found.push(("abnormal.long", Category::Length, 4));
    }
    let bytes = text.as_bytes();
    if holds(bytes, is_control, CONTROL_CHARACTERS) {
        found.push(("abnormal.control", Category::ControlCharacters, 10));
    }
    if may_hold_long_token(bytes) && text.split_ascii_whitespace().any(is_dense) {
        found.push(("abnormal.entropy", Category::Entropy, 4));
    }
    let a_byte = || repeats(bytes.iter(), REPEATED_CHARACTER);
    let a_word = || repeats(text.split_ascii_whitespace(), REPEATED_WORD);
    if may_repeat_a_byte(bytes) && a_byte() || may_repeat_a_word(bytes) && a_word() {
        found.push(("abnormal.repetition", Category::Repetition, 6));
    }
    found
}

fn is_control(byte: u8) -> bool {
    (byte < 0x20) & (byte != b'\t') & (byte != b'\n') & (byte != b'\r') & (byte != 0x0C) | (byte == 0x7F)
}

/// Whether at least `count` bytes are accepted. Hardly any is: chunks are passed over as a whole, without a branch for
/// each byte.
fn holds(bytes: &[u8], accepts: fn(u8) -> bool, count: usize) -> bool {
    let some = bytes.chunks(CHUNK).filter(|chunk| chunk.iter().fold(false, |any, &byte| any | accepts(byte)));
    some.flatten().filter(|&&byte| accepts(byte)).take(count).count() == count
}

/// Whether a token is long and as unordered as encrypted or packed bytes.
fn is_dense(token: &str) -> bool {
    token.len() >= LONG_TOKEN && entropy(token.as_bytes()) >= DENSE_BITS_PER_BYTE
}

/// Shannon entropy in bits per byte.
pub(crate) fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for &byte in bytes {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let total = bytes.len().max(1) as f64;
    counts.iter().filter(|&&count| count > 0).map(|&count| f64::from(count) / total).map(|p| -p * p.log2()).sum()
}

fn repeats<T: PartialEq>(items: impl Iterator<Item = T>, times: usize) -> bool {
    let (mut last, mut run) = (None, 0);
    for item in items {
        run = if last.as_ref() == Some(&item) { run + 1 } else { 1 };
        if run >= times {
            return true;
        }
        last = Some(item);
    }
    false
}

/// Whether there may be a long token: it fills one of the chunks.
fn may_hold_long_token(bytes: &[u8]) -> bool {
    let is_full = |chunk: &[u8]| !chunk.iter().any(u8::is_ascii_whitespace);
    bytes.chunks_exact(LONG_TOKEN / 2).any(is_full)
}

/// Whether there may be a run of one byte: it fills one of the chunks.
fn may_repeat_a_byte(bytes: &[u8]) -> bool {
    let is_one = |chunk: &[u8]| chunk.first() == chunk.last() && chunk.iter().all(|byte| chunk.first() == Some(byte));
    bytes.chunks_exact(REPEATED_CHARACTER / 2).any(is_one)
}

/// Whether there may be a run of one word: somewhere in each stretch of half as many bytes as it has at least, two
/// words are compared.
fn may_repeat_a_word(bytes: &[u8]) -> bool {
    let mut at = 0;
    while at + REPEATED_WORD < bytes.len() {
        let (_, part_end) = word_at(bytes, at);
        let (first, first_end) = word_at(bytes, part_end);
        let (second, second_end) = word_at(bytes, first_end);
        if first == second && !first.is_empty() {
            return true;
        }
        at = second_end.max(at + REPEATED_WORD);
    }
    false
}

/// The word at `at` or after it, and where it ends.
fn word_at(bytes: &[u8], at: usize) -> (&[u8], usize) {
    let rest = bytes.get(at..).unwrap_or_default();
    let start = at + rest.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(rest.len());
    let rest = bytes.get(start..).unwrap_or_default();
    let length = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
    (rest.get(..length).unwrap_or_default(), start + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<&'static str> {
        oddities(text).iter().map(|oddity| oddity.0).collect()
    }

    #[test]
    fn ordinary_text_is_not_odd() {
        assert!(ids("How do I bake bread?\n\n----------\nThanks").is_empty());
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]
        #[test]
        fn what_is_counted_is_never_passed_over(
            before in "[ab \n]{0,120}",
            word in "[ab]{1,9}",
            between in "[ \n\t]{1,3}",
            times in 45..55usize,
            byte in "[a \u{1}]",
            bytes in 90..110usize,
            after in "[ab \u{1}]{0,120}",
        ) {
            let words = (word + &between).repeat(times);
            for text in [format!("{before}{words}{after}"), format!("{before}{}{after}", byte.repeat(bytes))] {
                let repeated = repeats(text.bytes(), REPEATED_CHARACTER)
                    || repeats(text.split_ascii_whitespace(), REPEATED_WORD);
                let controls = text.bytes().filter(|&byte| is_control(byte)).count();
                proptest::prop_assert_eq!(ids(&text).contains(&"abnormal.repetition"), repeated);
                proptest::prop_assert_eq!(ids(&text).contains(&"abnormal.control"), controls >= CONTROL_CHARACTERS);
            }
        }
    }

    #[test]
    fn odd_text_is() {
        assert_eq!(ids(&"word and ".repeat(5_000)), ["abnormal.long"]);
        assert_eq!(ids(&"x ".repeat(200_000)), ["abnormal.very_long", "abnormal.repetition"]);
        assert_eq!(ids("a\u{1}\u{2}\u{3}\u{4}"), ["abnormal.control"]);
        assert_eq!(ids(&"=".repeat(100)), ["abnormal.repetition"]);
        assert_eq!(ids(&format!("{}{}", "-".repeat(99), "=".repeat(99))), [""; 0]);
        assert_eq!(ids(&format!("ab {} cd", "=".repeat(100))), ["abnormal.repetition"]);
        assert_eq!(ids(&"no ".repeat(49)), [""; 0]);
        assert_eq!(ids(&"no\n".repeat(50)), ["abnormal.repetition"]);
        assert_eq!(ids(" a".repeat(50).trim()), ["abnormal.repetition"]);
        let dense: String =
            (1..600u32).map(|i| char::from(b'0' + (i.wrapping_mul(2_654_435_761) >> 16) as u8 % 75)).collect();
        assert!(ids(&dense).contains(&"abnormal.entropy"));
    }
}
