//! From what was found to what follows.

use std::collections::BTreeMap;

use super::{Scanner, Segment};
use crate::finding::{Category, Finding};
use crate::risk::{RiskAssessment, Weights, assess, combine};

/// What follows from a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Nothing to do.
    Allow,
    /// Use the changed texts.
    Sanitize,
    /// Refuse.
    Block,
}

impl Action {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Sanitize => "sanitize",
            Self::Block => "block",
        }
    }
}

/// What was found in one message, of one category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageFinding {
    /// What was found.
    pub category: Category,
    /// Index of the message.
    pub message: usize,
    /// What its hits come to, before weights.
    pub score: u8,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// What follows.
    pub action: Action,
    /// What would follow if nothing were only monitored, where that is more.
    pub monitored: Option<Action>,
    /// How risky the conversation is, by all that was found.
    pub assessment: RiskAssessment,
    /// One for each category in each message, highest score first, then by message and category.
    pub findings: Vec<MessageFinding>,
    /// What to use instead of each segment's text; `None` where nothing changed. Empty unless sanitised.
    pub texts: Vec<Option<String>>,
}

impl Scanner {
    pub(super) fn conclude(&self, segments: &[Segment<'_>], findings: &[Finding<'_>]) -> Scan {
        let hits = distinct(findings);
        let assessment = self.assess(&hits);
        let (action, texts) = self.answer(segments, findings, &hits, assessment.score);
        let findings_of = by_message(segments, &hits);
        if self.config.monitor {
            let monitored = (action > Action::Allow).then_some(action);
            return Scan { action: Action::Allow, monitored, assessment, findings: findings_of, texts: Vec::new() };
        }
        if self.monitored.is_empty() {
            return Scan { action, monitored: None, assessment, findings: findings_of, texts };
        }
        let enforced: Vec<_> = findings.iter().filter(|finding| self.monitored.enforces(finding)).cloned().collect();
        let hits = distinct(&enforced);
        let (done, texts) = self.answer(segments, &enforced, &hits, self.assess(&hits).score);
        let monitored = (action > done).then_some(action);
        Scan { action: done, monitored, assessment, findings: findings_of, texts }
    }

    fn assess(&self, hits: &[DistinctHit]) -> RiskAssessment {
        let config = &self.config;
        let weights = Weights {
            injection: config.injection_weight,
            harmful: config.harmful_weight,
            pii: config.pii_weight,
            abnormality: config.abnormality_weight,
        };
        let evidence: Vec<_> = hits.iter().map(|hit| (hit.category, hit.score)).collect();
        assess(&evidence, &weights, config.block_threshold)
    }

    fn answer(
        &self,
        segments: &[Segment<'_>],
        findings: &[Finding<'_>],
        hits: &[DistinctHit],
        score: u8,
    ) -> (Action, Vec<Option<String>>) {
        let forbidden = hits.iter().any(|hit| hit.category == Category::BlockedPhrase);
        if forbidden || score >= self.config.block_threshold {
            (Action::Block, Vec::new())
        } else {
            self.sanitize(segments, findings, score >= self.config.sanitize_threshold)
        }
    }
}

/// A find of one detector in one segment, wherever and how often.
pub(super) struct DistinctHit {
    pub(super) category: Category,
    segment: usize,
    pub(super) score: u8,
}

/// One hit for each detector in each segment: saying it twice does not make it twice as bad.
pub(super) fn distinct(findings: &[Finding<'_>]) -> Vec<DistinctHit> {
    let mut seen = BTreeMap::new();
    for finding in findings {
        seen.entry((finding.segment, finding.id)).or_insert((finding.category, finding.score));
    }
    seen.into_iter().map(|((segment, _), (category, score))| DistinctHit { category, segment, score }).collect()
}

fn by_message(segments: &[Segment<'_>], hits: &[DistinctHit]) -> Vec<MessageFinding> {
    let mut grouped: BTreeMap<(usize, Category), Vec<u8>> = BTreeMap::new();
    for hit in hits {
        let message = segments.get(hit.segment).map_or(0, |segment| segment.message);
        grouped.entry((message, hit.category)).or_default().push(hit.score);
    }
    let mut findings: Vec<_> = grouped
        .into_iter()
        .map(|((message, category), scores)| MessageFinding { category, message, score: combine(scores) })
        .collect();
    findings.sort_by_key(|finding| (std::cmp::Reverse(finding.score), finding.message, finding.category));
    findings
}
