//! The catalogue of patterns: what is looked for in folded text, as data.
//!
//! The files in `catalogue/` ship with the crate; an operator adds one of the same format ([`PatternsFile`], described
//! in `docs/detection.md`). Each pattern has an id that is never reused, says how much it means on its own, and brings
//! texts that it must and must not match; the tests below run them. Scores: 70 and more for what nobody writes by
//! accident (it blocks alone), 40 to 65 for what needs company, less for hints. Bounded gaps, not bags of words: most
//! words of an attack are words of ordinary work.

mod document;

use document::Origin;
pub use document::PatternsFile;

use crate::error::CompileError;
use crate::finding::Category;

/// How a pattern is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// A phrase, see [`crate::phrase`]. Looked for in every view of a text.
    Phrase(String),
    /// A regular expression over bytes of folded text, in any case; `regex::bytes` syntax, Unicode off.
    /// No large gaps in it, so that its automaton stays small.
    Shape {
        /// Parts, one of which every match holds. It is run only on texts that hold one; without any, on every text.
        needles: Vec<String>,
        /// The expression.
        regex: String,
    },
}

/// One detector of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Unique, never reused.
    pub id: String,
    /// What it finds.
    pub category: Category,
    /// What a hit says on its own, 0 to 100.
    pub score: u8,
    /// How it is found.
    pub rule: Rule,
    /// It only counts in what a tool returned.
    pub returned_only: bool,
    /// Texts that it must match.
    pub matches: Vec<String>,
    /// Texts that look alike and that it must not match.
    pub not: Vec<String>,
}

/// The files of the catalogue, in the order in which their patterns are reported.
const CATALOGUE: [&str; 5] = [
    include_str!("catalogue/injection.json"),
    include_str!("catalogue/indirect.json"),
    include_str!("catalogue/languages.json"),
    include_str!("catalogue/shapes.json"),
    include_str!("catalogue/harmful.json"),
];

/// Every pattern that ships, in a fixed order.
///
/// # Errors
/// [`CompileError::Pattern`] when a file is not as it should be; a test sees to it that they are.
pub fn catalogue() -> Result<Vec<Pattern>, CompileError> {
    let mut patterns = Vec::new();
    for file in CATALOGUE {
        patterns.extend(document::read(file.as_bytes(), Origin::Shipped).map_err(CompileError::Pattern)?.patterns);
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::detect::Detector;
    use crate::model::Model;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_can_be_read_and_every_id_is_there_once() {
        let patterns = catalogue().unwrap();
        let ids: BTreeSet<_> = patterns.iter().map(|pattern| &pattern.id).collect();
        assert_eq!(ids.len(), patterns.len());
        assert!(patterns.iter().all(|pattern| !pattern.not.is_empty()), "each shows what it leaves alone");
    }

    #[test]
    fn patterns_keep_to_their_examples() {
        let patterns = catalogue().unwrap();
        Detector::new(patterns.clone(), &[], &[], Model::shipped().unwrap())
            .unwrap()
            .check_examples(&patterns)
            .unwrap();
    }
}
