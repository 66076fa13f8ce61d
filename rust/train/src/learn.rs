//! Logistic regression on windows, by AdaGrad, in a fixed order.
//!
//! A text is as suspicious as its most suspicious window, in training as in scoring: of an attack, the window that is
//! found already is taught; of an ordinary text, the one that looks worst, and one at random.

use kalguard_core::model::{raw_score, windows};

use crate::examples::Example;
use crate::random::Random;

/// How to learn.
#[derive(Debug, Clone)]
pub struct Settings {
    /// 2 to the power of this many weights.
    pub bits: u32,
    /// Passes over the examples.
    pub epochs: usize,
    /// Size of steps.
    pub rate: f32,
    /// Pull towards zero, at each visit.
    pub decay: f32,
    /// Taken off the score for each doubling of the units.
    pub toll: f32,
}

/// Weights not yet in bytes.
#[derive(Debug, Clone)]
pub struct Linear {
    /// Weights.
    pub weights: Vec<f32>,
    /// Added to every score.
    pub bias: f32,
    /// How far to shift a hash.
    pub shift: u32,
    /// As in [`Settings`].
    pub toll: f32,
}

impl Linear {
    fn weight(&self, hash: u32) -> f32 {
        self.weights[(hash >> self.shift) as usize]
    }

    /// Sums up to each unit, and counts.
    fn sums(&self, example: &Example) -> Vec<(f64, u64)> {
        let (mut start, mut sum, mut out) = (0, 0.0f64, vec![(0.0, 0)]);
        for &end in &example.ends {
            for &hash in &example.features[start..end as usize] {
                sum += f64::from(self.weight(hash));
            }
            start = end as usize;
            out.push((sum, u64::from(end)));
        }
        out
    }

    /// The highest score of the windows that `keep` keeps, and which it is. `sums` are those of all units.
    fn best(&self, sums: &[(f64, u64)], keep: impl Fn(usize, usize) -> bool) -> Option<(f32, usize, usize)> {
        let units = sums.len() - 1;
        let toll = (units.max(1) as f32).log2() * self.toll;
        let mut best: Option<(f32, usize, usize)> = None;
        windows(units, |first, last| {
            if !keep(first, last) {
                return;
            }
            let (from, to) = (sums[first], sums[last + 1]);
            let raw = raw_score((to.0 - from.0) as f32, to.1 - from.1) + self.bias - toll;
            if best.is_none_or(|(highest, ..)| raw > highest) {
                best = Some((raw, first, last));
            }
        });
        best
    }
}

/// Learn from examples.
pub fn learn(examples: &[Example], settings: &Settings, seed: u64) -> Linear {
    let size = 1usize << settings.bits;
    let mut linear = Linear { weights: vec![0.0; size], bias: -1.0, shift: 32 - settings.bits, toll: settings.toll };
    let mut squares = vec![1e-2f32; size];
    let mut bias_square = 1.0f32;
    let mut random = Random::new(seed);
    let mut order: Vec<usize> = (0..examples.len()).collect();
    for epoch in 0..settings.epochs {
        random.shuffle(&mut order);
        for &index in &order {
            let example = &examples[index];
            let units = example.ends.len();
            if units == 0 {
                continue;
            }
            let sums = linear.sums(example);
            let mut steps: Vec<(f32, usize, usize)> = Vec::with_capacity(2);
            if example.attack {
                let within = example.planted.unwrap_or((0, units - 1));
                let keep = |first: usize, last: usize| match example.planted {
                    // Most of the window is planted, or the planted part is within it and not drowned.
                    Some((from, to)) => first <= to && last >= from && last - first <= 2 * (to - from) + 2,
                    None => epoch > 0 || last - first + 1 >= units.min(8),
                };
                steps.extend(
                    linear
                        .best(&sums, keep)
                        .or_else(|| linear.best(&sums, |first, last| first <= within.1 && last >= within.0)),
                );
            } else {
                let worst = linear.best(&sums, |_, _| true);
                steps.extend(worst);
                if units > 3 {
                    let first = random.below(units);
                    let last = (first + random.below(5)).min(units - 1);
                    steps.extend(linear.best(&sums, |a, b| a == first && b == last));
                }
            }
            for (raw, first, last) in steps {
                let target = if example.attack { 1.0 } else { 0.0 };
                let error = 1.0 / (1.0 + (-raw).exp()) - target;
                if error.abs() < 0.01 {
                    continue;
                }
                let start = if first == 0 { 0 } else { example.ends[first - 1] as usize };
                let end = example.ends[last] as usize;
                let gradient = error * example.weight * raw_score(1.0, (end - start) as u64);
                for &hash in &example.features[start..end] {
                    let at = (hash >> linear.shift) as usize;
                    let slope = gradient + settings.decay * example.weight * linear.weights[at];
                    squares[at] += slope * slope;
                    linear.weights[at] -= settings.rate * slope / squares[at].sqrt();
                }
                let slope = error * example.weight;
                bias_square += slope * slope;
                linear.bias -= settings.rate * slope / bias_square.sqrt();
            }
        }
    }
    linear
}
