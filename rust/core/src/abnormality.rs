//! What is odd about a text whatever it says: size, control characters, entropy, repetition.
//!
//! Small scores: none of it is an attack, all of it is usual in one. Computed in one pass each.

use crate::finding::Category;

const LONG_TEXT: usize = 20_000;
const VERY_LONG_TEXT: usize = 200_000;
const CONTROL_CHARACTERS: usize = 4;
const LONG_TOKEN: usize = 256;
const DENSE_BITS_PER_BYTE: f64 = 5.0;
const REPEATED_CHARACTER: usize = 100;
const REPEATED_WORD: usize = 50;

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
    if text.bytes().filter(|&byte| is_control(byte)).take(CONTROL_CHARACTERS).count() == CONTROL_CHARACTERS {
        found.push(("abnormal.control", Category::ControlCharacters, 10));
    }
    if text.split_ascii_whitespace().any(is_dense) {
        found.push(("abnormal.entropy", Category::Entropy, 4));
    }
    if repeats(text.as_bytes().iter(), REPEATED_CHARACTER) || repeats(text.split_ascii_whitespace(), REPEATED_WORD) {
        found.push(("abnormal.repetition", Category::Repetition, 6));
    }
    found
}

fn is_control(byte: u8) -> bool {
    byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0C) || byte == 0x7F
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

    #[test]
    fn odd_text_is() {
        assert_eq!(ids(&"word and ".repeat(5_000)), ["abnormal.long"]);
        assert_eq!(ids(&"x ".repeat(200_000)), ["abnormal.very_long", "abnormal.repetition"]);
        assert_eq!(ids("a\u{1}\u{2}\u{3}\u{4}"), ["abnormal.control"]);
        assert_eq!(ids(&"=".repeat(100)), ["abnormal.repetition"]);
        let dense: String =
            (1..600u32).map(|i| char::from(b'0' + (i.wrapping_mul(2_654_435_761) >> 16) as u8 % 75)).collect();
        assert!(ids(&dense).contains(&"abnormal.entropy"));
    }
}
