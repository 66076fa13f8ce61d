//! Words that mean much the same, in several languages: `disregard`, `olvida` and `забудь` are one concept.
//!
//! An n-gram over concepts is learned from every wording of it, so that an order put in words that no training text
//! holds is still an order. The words stand in `concepts.txt`; what they say is learned like everything else.

use std::sync::LazyLock;

use super::hashes::word_hash;
use crate::text::fold::fold_words;

/// Slots of the table, several for each word: most words of a text have none, and must be told so at the first look.
const SLOTS: usize = 1 << 13;
/// A slot's lower byte is the concept, the rest is what it keeps of the word's hash.
const CONCEPT: u32 = 0xFF;

/// Letters of a stem that stands for all its endings.
pub(super) const STEMS: [u32; 3] = [5, 6, 7];
/// What tells a stem's hash from a word's.
pub(super) const STEM: u64 = 0xA076_1D64_78BD_642F;

/// Looks concepts up by the hash of a word.
#[derive(Debug)]
pub(super) struct Concepts(Box<[u32]>);

/// The concepts that ship.
pub(super) static CONCEPTS: LazyLock<Concepts> = LazyLock::new(|| Concepts::read(include_str!("concepts.txt")));

impl Concepts {
    /// The concept of a word, 0 for none.
    #[inline]
    #[must_use]
    pub(super) fn get(&self, hash: u64) -> u8 {
        let key = (hash >> 32) as u32 & !CONCEPT;
        let mut at = hash as usize % SLOTS;
        loop {
            match self.0.get(at) {
                Some(0) | None => return 0,
                Some(slot) if slot & !CONCEPT == key => return (slot & CONCEPT) as u8,
                Some(_) => at = (at + 1) % SLOTS,
            }
        }
    }

    fn read(source: &str) -> Self {
        let mut concepts = Self(vec![0; SLOTS].into_boxed_slice());
        let mut names: Vec<&str> = Vec::new();
        let lists = source.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
        for (name, words) in lists {
            let index = names.iter().position(|known| *known == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            });
            for word in words.split_whitespace() {
                concepts.add(word, index as u8 + 1);
            }
        }
        concepts
    }

    /// The first meaning counts.
    fn add(&mut self, word: &str, concept: u8) {
        let (stem, is_stem) = word.strip_suffix('*').map_or((word, false), |stem| (stem, true));
        let hash = word_hash(&fold_words(stem)) ^ if is_stem { STEM } else { 0 };
        if self.get(hash) != 0 {
            return;
        }
        let mut at = hash as usize % SLOTS;
        while self.0.get(at).is_some_and(|&slot| slot != 0) {
            at = (at + 1) % SLOTS;
        }
        if let Some(slot) = self.0.get_mut(at) {
            *slot = (hash >> 32) as u32 & !CONCEPT | u32::from(concept);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    /// The concept of a word or of its longest stem.
    fn concept(word: &str) -> u8 {
        let word = &fold_words(word);
        let stem = |length: u32| word_hash(&word.chars().take(length as usize).collect::<String>()) ^ STEM;
        let hashes = [word_hash(word)].into_iter().chain(STEMS.into_iter().rev().map(stem));
        hashes.map(|hash| CONCEPTS.get(hash)).find(|&concept| concept != 0).unwrap_or_default()
    }

    #[test]
    fn every_stem_has_a_length_that_is_looked_up_and_the_table_stays_sparse() {
        let words: Vec<_> = include_str!("concepts.txt")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .flat_map(|line| line.split_once(':').unwrap().1.split_whitespace())
            .collect();
        for stem in words.iter().filter_map(|word| word.strip_suffix('*')) {
            assert!(STEMS.contains(&(fold_words(stem).chars().count() as u32)), "{stem}");
        }
        let used = CONCEPTS.0.iter().filter(|&&slot| slot != 0).count();
        assert!(used > words.len() / 2 && used < SLOTS / 3, "{used} of {}", words.len());
    }

    #[test]
    fn one_meaning_in_several_languages_is_one_concept() {
        assert_ne!(concept("disregard"), 0);
        for word in ["forget", "olvida", "vergiss", "oublie", "забудь", "忽略", "無視"] {
            assert_eq!(concept(word), concept("disregard"), "{word}");
        }
        assert_eq!(concept("tangerine"), 0);
    }
}
