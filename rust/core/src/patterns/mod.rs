//! The catalogue of patterns: what is looked for in folded text, as data.
//!
//! Each pattern has an id that is never reused, says how much it means on its own, and brings texts that it must and
//! must not match; the tests below run them. Scores: 70 and more for what nobody writes by accident (it blocks
//! alone), 40 to 65 for what needs company, less for hints. Bounded gaps, not bags of words: most words of an
//! attack are words of ordinary work.

mod harmful;
mod indirect;
mod injection;
mod languages;
mod shapes;

use crate::finding::Category;

/// How a pattern is written.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// A phrase, see [`crate::phrase`]. Looked for in every view of a text.
    Phrase(&'static str),
    /// A phrase that only counts in what a tool returned.
    ToolPhrase(&'static str),
    /// A regular expression over bytes of folded text. Run only on texts that hold one of `needles`.
    /// No large gaps in it, so that its automaton stays small.
    Shape {
        /// Parts, one of which every match holds.
        needles: &'static [&'static str],
        /// The expression; `regex::bytes` syntax, Unicode off.
        regex: &'static str,
    },
}

/// One detector of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Pattern {
    /// Unique, never reused.
    pub id: &'static str,
    /// What it finds.
    pub category: Category,
    /// What a hit says on its own, 0 to 100.
    pub score: u8,
    /// How it is found.
    pub rule: Rule,
    /// Texts that it must match.
    pub matches: &'static [&'static str],
    /// Texts that look alike and that it must not match.
    pub not: &'static [&'static str],
}

/// Every pattern, in a fixed order.
pub fn catalogue() -> impl Iterator<Item = &'static Pattern> {
    [injection::PATTERNS, indirect::PATTERNS, languages::PATTERNS, shapes::PATTERNS, harmful::PATTERNS]
        .into_iter()
        .flatten()
}

/// A pattern in one line of data.
const fn phrase(
    id: &'static str,
    category: Category,
    score: u8,
    words: &'static str,
    matches: &'static [&'static str],
    not: &'static [&'static str],
) -> Pattern {
    Pattern { id, category, score, rule: Rule::Phrase(words), matches, not }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::detect::Detector;
    use std::collections::BTreeSet;

    fn fires(detector: &Detector, pattern: &Pattern, text: &str) -> bool {
        let tool = matches!(pattern.rule, Rule::ToolPhrase(_));
        detector.detect(text, tool).iter().any(|hit| hit.id == pattern.id)
    }

    #[test]
    fn ids_are_unique_and_scores_are_scores() {
        let mut ids = BTreeSet::new();
        for pattern in catalogue() {
            assert!(ids.insert(pattern.id), "{} is there twice", pattern.id);
            assert!((1..=100).contains(&pattern.score), "{}", pattern.id);
            assert!(!pattern.matches.is_empty(), "{} has no example", pattern.id);
        }
        assert!(ids.len() >= 70, "{}", ids.len());
    }

    #[test]
    fn patterns_keep_to_their_examples() {
        let detector = Detector::new(&[]).unwrap();
        let mut wrong = Vec::new();
        for pattern in catalogue() {
            wrong.extend(
                pattern
                    .matches
                    .iter()
                    .filter(|text| !fires(&detector, pattern, text))
                    .map(|text| ("misses", pattern.id, text)),
            );
            wrong.extend(
                pattern
                    .not
                    .iter()
                    .filter(|text| fires(&detector, pattern, text))
                    .map(|text| ("matches", pattern.id, text)),
            );
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
