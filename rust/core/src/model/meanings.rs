//! What concepts weigh beside each other: they are few, so that all pairs of them lie together in little memory, where
//! features are spread over all of a table.

use super::Table;
use super::features::{MARK, MARKS, concept_features, together_feature};

/// INVARIANT: there are fewer concepts than this; a unit has a bit for each of them.
const CONCEPTS: usize = 64;
/// Concepts and marks.
const MEANT: usize = CONCEPTS + MARKS as usize;

/// What the features of concepts weigh in one table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Meanings {
    /// For each concept what it weighs after each concept or mark.
    after: Vec<After>,
    /// For each concept what it weighs together with each other.
    together: Vec<i8>,
}

/// What a concept weighs, and how much more right after another, after one between and after two between.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct After {
    alone: i8,
    one: i8,
    two: i8,
    three: i8,
}

impl Meanings {
    pub(super) fn of(table: &Table) -> Self {
        let concepts = || 0..CONCEPTS as u8;
        let after = |concept: u8, meant: u8| {
            let [alone, one, two, three, _] = concept_features(concept, [meant; 3]).map(|hash| table.weight(hash));
            After { alone, one, two, three }
        };
        let meant = || concepts().chain((0..MARKS).map(|mark| MARK + mark));
        let together = |one: u8, other: u8| table.weight(together_feature(one, other));
        Self {
            after: concepts().flat_map(|concept| meant().map(move |meant| after(concept, meant))).collect(),
            together: concepts().flat_map(|one| concepts().map(move |other| together(one, other))).collect(),
        }
    }

    /// What all but the last of the features of a concept sum up to.
    #[inline]
    pub(super) fn concept(&self, concept: u8, [last, before, first]: [u8; 3]) -> i64 {
        let after = |meant: u8| {
            let meant = if meant < MARK { meant } else { meant - MARK + CONCEPTS as u8 };
            self.after.get(usize::from(concept) * MEANT + usize::from(meant)).copied().unwrap_or_default()
        };
        let (last, before, first) = (after(last), after(before), after(first));
        i64::from(last.alone) + i64::from(last.one) + i64::from(before.two) + i64::from(first.three)
    }

    /// What the feature of two concepts of one unit weighs.
    #[inline]
    pub(super) fn together(&self, one: u8, other: u8) -> i64 {
        self.together.get(usize::from(one) * CONCEPTS + usize::from(other)).copied().map_or(0, i64::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Model, Place};

    #[test]
    fn pairs_weigh_what_their_features_do() -> Result<(), crate::error::CompileError> {
        let model = Model::shipped()?;
        for place in [Place::Said, Place::Returned] {
            let (table, meanings) = (&model.scorer(place).table, &model.scorer(place).meanings);
            let weight = |hash: u32| i64::from(table.weight(hash));
            let meant = || (0..CONCEPTS as u8).chain(MARK..MARK + MARKS);
            for concept in 0..CONCEPTS as u8 {
                for other in 0..CONCEPTS as u8 {
                    assert_eq!(meanings.together(concept, other), weight(together_feature(concept, other)));
                }
                for (last, before) in meant().flat_map(|last| meant().map(move |before| (last, before))) {
                    let meant = [last, before, last];
                    let [features @ .., _] = concept_features(concept, meant);
                    let sum: i64 = features.into_iter().map(weight).sum();
                    assert_eq!(meanings.concept(concept, meant), sum, "{concept} {meant:?}");
                }
            }
        }
        Ok(())
    }
}
