//! Tokens: runs of ASCII letters and digits, and all other characters one by one.
//!
//! A token of up to eight bytes is its own key, so that it is recognised without being compared, and the key is read in
//! one go. Most tokens of a text are in no word; one bit of a small filter tells.

use std::collections::BTreeMap;

use crate::eight::{eight, first, letters_and_digits};
use crate::text::lexicon::lexicon;

/// Odd, without structure; the golden ratio, and a prime.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
const SPREAD_LENGTH: u64 = 0xD6E8_FEB8_6659_FD93;
/// Marks the key of a token of more than eight bytes; no shorter one has this bit, its eighth byte being ASCII.
const LONG: u64 = 1 << 63;
/// The filter has 2 to the power of this many bits: 8 KiB.
const FILTER_BITS: u32 = 16;
/// No token of any word.
pub(super) const UNKNOWN: u32 = u32::MAX;

/// The tokens of all words, numbered.
#[derive(Debug)]
pub(super) struct Tokens {
    /// A bit for each key of a token; most other keys have none.
    filter: Vec<u64>,
    /// Open addressing, at most half full.
    slots: Vec<Slot>,
    /// What the spellings of long tokens are compared with.
    spellings: Vec<Box<[u8]>>,
    /// The numbers of ASCII signs.
    signs: Vec<u32>,
    /// The numbers of the words of the lexicon, by their places.
    known: Vec<u32>,
    /// Length of the longest.
    longest: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    key: u64,
    token: u32,
}

impl Tokens {
    pub(super) fn new(vocabulary: &BTreeMap<&[u8], u32>) -> Self {
        let mut tokens = Self {
            filter: vec![0; 1 << (FILTER_BITS - u64::BITS.trailing_zeros())],
            slots: vec![Slot { key: 0, token: UNKNOWN }; (2 * vocabulary.len()).next_power_of_two()],
            spellings: vec![Box::default(); vocabulary.len()],
            signs: vec![UNKNOWN; 128],
            known: Vec::new(),
            longest: vocabulary.keys().map(|token| token.len()).max().unwrap_or(0),
        };
        for (&spelling, &token) in vocabulary {
            tokens.add(spelling, token);
        }
        let known = lexicon().words.iter().map(|word| tokens.read(word.as_bytes(), 0).0);
        tokens.known = known.collect();
        tokens
    }

    /// The tokens that are the words of the lexicon, by their places.
    pub(super) fn known(&self) -> impl Iterator<Item = u32> {
        self.known.iter().copied()
    }

    /// The token that is the word of the lexicon at this place.
    #[inline]
    pub(super) fn of_known(&self, place: usize) -> u32 {
        self.known.get(place).copied().unwrap_or(UNKNOWN)
    }

    fn add(&mut self, spelling: &[u8], token: u32) {
        if let (&[byte], Some(sign)) = (spelling, spelling.first().and_then(|&at| self.signs.get_mut(usize::from(at))))
            && !byte.is_ascii_alphanumeric()
        {
            *sign = token;
            return;
        }
        let key = key(spelling, 0, spelling.len());
        let (word, bit) = filter_bit(key);
        self.filter.iter_mut().skip(word).take(1).for_each(|bits| *bits |= bit);
        let free = self.probe(key).find(|&at| self.slots.get(at).is_some_and(|slot| slot.token == UNKNOWN));
        if let Some(slot) = free.and_then(|free| self.slots.get_mut(free)) {
            *slot = Slot { key, token };
        }
        self.spellings.iter_mut().skip(token as usize).take(1).for_each(|known| *known = spelling.into());
    }

    /// The token at `at`, and where it ends.
    #[inline(always)]
    pub(super) fn read(&self, bytes: &[u8], at: usize) -> (u32, usize) {
        if let Some(&sign @ ..b'0') = bytes.get(at) {
            return (self.signs.get(usize::from(sign)).copied().unwrap_or(UNKNOWN), at + 1);
        }
        let head = eight(bytes, at);
        let length = letters_and_digits(head);
        if length > 0 && length < 8 {
            let end = at + length;
            return (self.number(bytes, at, end, first(head, length)), end);
        }
        self.read_longer(bytes, at, head as u8, length > 0)
    }

    /// A token that is not less than eight letters.
    #[inline(never)]
    fn read_longer(&self, bytes: &[u8], at: usize, lead: u8, is_letter: bool) -> (u32, usize) {
        if is_letter {
            let end = run_end(bytes, at + 8);
            let known = end - at <= self.longest;
            (if known { self.number(bytes, at, end, key(bytes, at, end)) } else { UNKNOWN }, end)
        } else if lead.is_ascii() {
            (self.signs.get(usize::from(lead)).copied().unwrap_or(UNKNOWN), at + 1)
        } else {
            let end = at + width(lead);
            (self.number(bytes, at, end, key(bytes, at, end)), end)
        }
    }

    #[inline]
    fn number(&self, bytes: &[u8], start: usize, end: usize, key: u64) -> u32 {
        let (word, bit) = filter_bit(key);
        if self.filter.get(word).is_none_or(|bits| bits & bit == 0) {
            UNKNOWN
        } else {
            self.look_up(bytes, start, end, key)
        }
    }

    fn look_up(&self, bytes: &[u8], start: usize, end: usize, key: u64) -> u32 {
        for slot in self.probe(key).map_while(|at| self.slots.get(at)) {
            if slot.token == UNKNOWN {
                break;
            }
            let equal = || self.spellings.get(slot.token as usize).map(|known| &**known) == bytes.get(start..end);
            if slot.key == key && (key & LONG == 0 || equal()) {
                return slot.token;
            }
        }
        UNKNOWN
    }

    /// The slots in which a key may be, the likeliest first.
    fn probe(&self, key: u64) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len().saturating_sub(1);
        let first = (spread(key) >> 44) as usize;
        (0..=mask).map(move |next| first.wrapping_add(next) & mask)
    }
}

/// A number for a token: its bytes, if they fit.
#[inline]
fn key(bytes: &[u8], start: usize, end: usize) -> u64 {
    let length = end - start;
    if length <= 8 {
        return first(eight(bytes, start), length);
    }
    let (head, tail) = (eight(bytes, start), eight(bytes, end - 8));
    (spread(head).rotate_left(29) ^ tail).wrapping_add((length as u64).wrapping_mul(SPREAD_LENGTH)) | LONG
}

#[inline]
const fn spread(key: u64) -> u64 {
    key.wrapping_mul(SPREAD)
}

/// Which number of the filter a key is in, and its bit there.
#[inline]
const fn filter_bit(key: u64) -> (usize, u64) {
    let bit = spread(key) >> (u64::BITS - FILTER_BITS);
    ((bit >> 6) as usize, 1 << (bit & 63))
}

/// Where the run of ASCII letters and digits that `at` lies in or after ends.
#[inline]
fn run_end(bytes: &[u8], mut at: usize) -> usize {
    loop {
        let length = letters_and_digits(eight(bytes, at));
        at += length;
        if length < 8 {
            return at;
        }
    }
}

/// Bytes of the character that begins with `lead`, which is not ASCII.
#[inline]
const fn width(lead: u8) -> usize {
    match lead {
        0xF0.. => 4,
        0xE0.. => 3,
        _ => 2,
    }
}

/// The tokens of a word.
pub(super) fn split(word: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let &byte = word.get(at)?;
        let end = match byte {
            _ if byte.is_ascii_alphanumeric() => run_end(word, at),
            _ if byte.is_ascii() => at + 1,
            _ => at + width(byte),
        };
        let token = word.get(at..end);
        at = end;
        token
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_known_wherever_they_stand() {
        let words = ["a", "abcdefg", "abcdefgh", "abcdefghi", "abcdefghijklmnopqrstuvwxyz", "é", "忽", "𝐈", "-"];
        let vocabulary = words.iter().zip(0..).map(|(word, token)| (word.as_bytes(), token)).collect();
        let tokens = Tokens::new(&vocabulary);
        for (word, token) in words.iter().zip(0..) {
            for (before, after) in [("", ""), ("", " and so on and so on"), (".. ", ""), ("x ", "!")] {
                let text = format!("{before}{word}{after}");
                let end = before.len() + word.len();
                assert_eq!(tokens.read(text.as_bytes(), before.len()), (token, end), "{text}");
            }
        }
        for other in ["b", "abcdefgi", "abcdefghj", "abcdefghijklmnopqrstuvwxyzz", "è", "忾", "+"] {
            assert_eq!(tokens.read(other.as_bytes(), 0), (UNKNOWN, other.len()), "{other}");
        }
    }
}
