//! From texts to what a model is trained on.

use std::collections::HashSet;

use kalguard_core::model::features::{Sink, extract};
use kalguard_core::model::{Place, read_in};
use kalguard_core::text::fold::fold;

use crate::corpus::{Made, Recipe, make};
use crate::data::{Line, shingles};
use crate::random::Random;

/// A text as the model sees it.
#[derive(Debug, Clone)]
pub struct Example {
    /// An attack.
    pub attack: bool,
    /// How much it counts.
    pub weight: f32,
    /// All features, unit after unit.
    pub features: Vec<u32>,
    /// Where each unit ends in `features`.
    pub ends: Vec<u32>,
    /// First and last unit of the planted instruction.
    pub planted: Option<(usize, usize)>,
}

#[derive(Default)]
struct Collect {
    features: Vec<u32>,
    ends: Vec<u32>,
    places: Vec<(usize, usize)>,
}

impl Sink for Collect {
    fn feature(&mut self, hash: u32) {
        self.features.push(hash);
    }

    fn unit(&mut self, start: usize, end: usize) {
        self.ends.push(self.features.len() as u32);
        self.places.push((start, end));
    }
}

impl Example {
    /// Read a text as the model for `place` does.
    pub fn new(item: &Made, place: Place) -> Self {
        let folded = fold(&item.text);
        let mut collect = Collect::default();
        extract(&read_in(folded.text(), place), &mut collect);
        let planted = item.planted.and_then(|(from, to)| {
            let touches = |&(start, end): &(usize, usize)| {
                let origin = folded.origin(start..end);
                origin.start < to && origin.end > from
            };
            Some((collect.places.iter().position(touches)?, collect.places.iter().rposition(touches)?))
        });
        Self { attack: item.attack, weight: item.weight, features: collect.features, ends: collect.ends, planted }
    }
}

/// What a model for `place` is trained on: `lines`, and what the grammar makes of them.
pub fn build(lines: &[&Line], place: Place, recipe: &Recipe, seed: u64) -> Vec<Example> {
    let mut random = Random::new(seed);
    let mut made = make(lines, place, recipe, &mut random);
    random.shuffle(&mut made);
    made.iter().map(|item| Example::new(item, place)).collect()
}

/// The lines that may be trained on when `left_out` is to be judged: other sources, and no attack that shares six
/// words in a row with one that is left out. Own obfuscations repeat other lines and are never trained on.
pub fn without(lines: &[Line], left_out: Option<usize>) -> Vec<&Line> {
    let known = |line: &&Line| !line.is_unknown() && line.source != "own obfuscation of development attacks";
    let Some(fold) = left_out else { return lines.iter().filter(known).collect() };
    let held: HashSet<u64> = lines
        .iter()
        .filter(|line| line.fold() == fold && line.label == 1)
        .flat_map(|line| shingles(line.planted()))
        .collect();
    lines
        .iter()
        .filter(known)
        .filter(|line| line.fold() != fold)
        .filter(|line| line.label == 0 || shingles(line.planted()).is_disjoint(&held))
        .collect()
}
