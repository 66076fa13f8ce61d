//! Looking words up by all of their letters at once: no hash of letter after letter, and no doubt.

use crate::eight::{eight, first, lower_case};

/// Longer words are not looked up.
pub(crate) const LONGEST: usize = 15;
/// Odd constants without structure.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
const SPREAD_REST: u64 = 0xBF58_476D_1CE4_E5B9;

/// The letters of a word, zeros behind them.
type Key = [u64; 2];

/// Lower case words and their places in a list. In a list with the commonest first, what is mostly asked for lies
/// together in few lines of the cache.
#[derive(Debug)]
pub(crate) struct Dictionary {
    /// Open addressing, at most half full: a place, counted from 1, or 0 for none.
    slots: Vec<u16>,
    /// The words, by their places. Those that are too long have a key that nothing has.
    keys: Vec<Key>,
}

impl Dictionary {
    /// Fewer than 65,536 words of the letters `a` to `z`. Those that are longer than [`LONGEST`] are left out.
    pub(super) fn new(words: &[&str]) -> Self {
        let keys: Vec<Key> = words.iter().map(|word| key(word.as_bytes()).map_or([0; 2], |(key, _)| key)).collect();
        let mut slots = vec![0; (2 * words.len()).next_power_of_two()];
        let mask = slots.len() - 1;
        for (place, &key) in (1..=u16::MAX).zip(&keys).filter(|(_, key)| **key != [0; 2]) {
            let mut at = start(key) & mask;
            while slots.get(at).is_some_and(|&slot| slot != 0) {
                at = (at + 1) & mask;
            }
            slots.iter_mut().skip(at).take(1).for_each(|slot| *slot = place);
        }
        Self { slots, keys }
    }

    /// The place and the length of the lower case letters that `text` begins with, if they are a word.
    #[inline(always)]
    pub(crate) fn find(&self, text: &[u8]) -> Option<(usize, usize)> {
        let (key, length) = key(text)?;
        let mask = self.slots.len() - 1;
        let mut at = start(key) & mask;
        loop {
            let place = usize::from(*self.slots.get(at)?).checked_sub(1)?;
            if self.keys.get(place) == Some(&key) {
                return Some((place, length));
            }
            at = (at + 1) & mask;
        }
    }
}

/// The lower case letters that `text` begins with, and how many they are, if there are some and not too many.
#[inline]
fn key(text: &[u8]) -> Option<(Key, usize)> {
    let head = eight(text, 0);
    let length = lower_case(head);
    if length < 8 {
        return (length > 0).then(|| ([first(head, length), 0], length));
    }
    let rest = eight(text, 8);
    let more = lower_case(rest);
    (8 + more <= LONGEST).then(|| ([head, first(rest, more)], 8 + more))
}

/// Where to look first.
#[inline]
fn start([head, rest]: Key) -> usize {
    (head.wrapping_mul(SPREAD) ^ rest.wrapping_mul(SPREAD_REST)).wrapping_mul(SPREAD).rotate_left(24) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_wherever_they_end_and_nothing_else_is() {
        let words = ["a", "abcdefg", "abcdefgh", "abcdefghi", "abcdefghijklmno", "abcdefghijklmnop"];
        let dictionary = Dictionary::new(&words);
        for (place, word) in words.iter().enumerate() {
            for after in ["", " ", "1", "é", "'s and so on and so on"] {
                let found = dictionary.find(format!("{word}{after}").as_bytes());
                assert_eq!(found, (word.len() <= LONGEST).then_some((place, word.len())), "{word}{after}");
            }
        }
        for other in ["", "b", "A", "ab", "abcdefgi", "abcdefghj", "abcdefghijklmn", "éa", " a"] {
            assert_eq!(dictionary.find(other.as_bytes()), None, "{other}");
        }
    }
}
