//! From findings to one number.
//!
//! Evidence is combined by noisy-or: every piece is a probability that something is wrong, and the result is the
//! probability that at least one of them is right. More evidence never lowers it. Hits of one category count half as
//! much each time, best first, because patterns of one category see much the same words.

use std::collections::BTreeMap;

use crate::finding::{Category, Part};

/// The most that personal data can add: it is a reason to redact, not to refuse.
const PII_CAP: u8 = 40;

/// Bands of the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RiskLevel {
    /// Below 40.
    Low,
    /// Below 60.
    Medium,
    /// Below 80.
    High,
    /// 80 and above.
    Critical,
}

impl RiskLevel {
    /// The band of a score.
    #[must_use]
    pub const fn of(score: u8) -> Self {
        match score {
            0..40 => Self::Low,
            40..60 => Self::Medium,
            60..80 => Self::High,
            _ => Self::Critical,
        }
    }

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// How risky a conversation is, as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RiskAssessment {
    /// 0 to 100.
    pub score: u8,
    /// The score's band.
    pub level: RiskLevel,
}

/// Factors for each part of the risk; 1.0 changes nothing.
#[derive(Debug, Clone, Copy)]
pub struct Weights {
    /// For `injection.*`.
    pub injection: f64,
    /// For `harmful.*`.
    pub harmful: f64,
    /// For `pii.*`.
    pub pii: f64,
    /// For `abnormality.*`.
    pub abnormality: f64,
}

impl Weights {
    const fn of(&self, part: Part) -> f64 {
        match part {
            Part::Injection => self.injection,
            Part::Harmful => self.harmful,
            Part::Pii => self.pii,
            Part::Abnormality => self.abnormality,
        }
    }
}

/// Assess scored evidence.
///
/// INVARIANT: personal data alone stays below `block_threshold`, whatever the weights; a blocked phrase scores 100.
#[must_use]
pub fn assess(evidence: &[(Category, u8)], weights: &Weights, block_threshold: u8) -> RiskAssessment {
    let mut by_category: BTreeMap<Category, Vec<u8>> = BTreeMap::new();
    for &(category, score) in evidence {
        by_category.entry(category).or_default().push(score);
    }
    if by_category.contains_key(&Category::BlockedPhrase) {
        return of(100);
    }
    let (mut clear, mut pii_clear) = (1.0, 1.0);
    for (category, scores) in by_category {
        let part = category.part();
        let remains = 1.0 - diminish(scores, weights.of(part));
        if part == Part::Pii { pii_clear *= remains } else { clear *= remains }
    }
    let cap = f64::from(PII_CAP.min(block_threshold.saturating_sub(1))) / 100.0;
    let pii = (1.0 - pii_clear).min(cap);
    of(((1.0 - clear * (1.0 - pii)) * 100.0).round().clamp(0.0, 100.0) as u8)
}

/// What several scores of one category come to, 0 to 100.
#[must_use]
pub fn combine(scores: Vec<u8>) -> u8 {
    (diminish(scores, 1.0) * 100.0).round().clamp(0.0, 100.0) as u8
}

fn diminish(mut scores: Vec<u8>, weight: f64) -> f64 {
    scores.sort_unstable_by(|a, b| b.cmp(a));
    let mut share = weight.max(0.0);
    let mut clear = 1.0;
    for score in scores {
        clear *= 1.0 - (f64::from(score) / 100.0 * share).min(1.0);
        share /= 2.0;
    }
    1.0 - clear
}

const fn of(score: u8) -> RiskAssessment {
    RiskAssessment { score, level: RiskLevel::of(score) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVEN: Weights = Weights { injection: 1.0, harmful: 1.0, pii: 1.0, abnormality: 1.0 };

    fn score(evidence: &[(Category, u8)]) -> u8 {
        assess(evidence, &EVEN, 70).score
    }

    #[test]
    fn independent_evidence_adds_up() {
        assert_eq!(score(&[]), 0);
        assert_eq!(score(&[(Category::Jailbreak, 50)]), 50);
        assert_eq!(score(&[(Category::Jailbreak, 50), (Category::Hidden, 50)]), 75);
        assert_eq!(score(&[(Category::Jailbreak, 50), (Category::Jailbreak, 50)]), 63);
    }

    #[test]
    fn weights_scale_and_switch_off() {
        let weights = Weights { injection: 0.5, harmful: 0.0, ..EVEN };
        assert_eq!(assess(&[(Category::Jailbreak, 80), (Category::Violence, 90)], &weights, 70).score, 40);
        assert_eq!(assess(&[(Category::BlockedPhrase, 100)], &weights, 100).score, 100);
    }

    #[test]
    fn bands_start_where_the_specification_says() {
        let levels: Vec<_> = [39, 40, 59, 60, 79, 80].map(|score| RiskLevel::of(score).as_str()).into();
        assert_eq!(levels, ["low", "medium", "medium", "high", "high", "critical"]);
    }

    fn evidence() -> impl Strategy<Value = Vec<(Category, u8)>> {
        prop::collection::vec((prop::sample::select(&Category::ALL[..]), 0..=100u8), 0..12)
    }

    proptest! {
        #[test]
        fn more_evidence_never_lowers_the_score(mut all in evidence(), more in evidence(), at in 1..=100u8) {
            let before = assess(&all, &EVEN, at).score;
            all.extend(more);
            prop_assert!(assess(&all, &EVEN, at).score >= before);
        }

        #[test]
        fn personal_data_alone_never_blocks(all in evidence(), pii in 0.0..1e9f64, at in 1..=100u8) {
            let all: Vec<_> = all.into_iter().filter(|(category, _)| category.part() == Part::Pii).collect();
            let weights = Weights { pii, ..EVEN };
            prop_assert!(assess(&all, &weights, at).score < at);
        }
    }
}
