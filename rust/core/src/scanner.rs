//! The prompt firewall: from a conversation to an action.
//!
//! [`Scanner::new`] compiles everything once and may fail; [`Scanner::scan`] cannot. Parts of one message are read
//! together, so that an attack cut into parts is whole again; personal data is looked for in each part alone.
//! The scanner decides, but never says what it read: a [`Scan`] holds categories, scores and redacted texts.

mod answer;
mod arguments;
mod config;
mod conversation;
mod sanitize;

pub use answer::{Action, MessageFinding, Scan};
pub use config::ScannerConfig;
pub use conversation::{Role, Segment};

use crate::abnormality::oddities;
use crate::detect::Detector;
use crate::error::CompileError;
use crate::finding::{Category, Finding, Part};
use crate::model::Model;
use crate::monitor::Monitored;
use crate::patterns::catalogue;
use crate::pii::PiiDetector;
use conversation::{Joined, flood};

/// What an instruction in a tool's result adds: a tool has no business giving any.
const INDIRECT_SCORE: u8 = 30;

/// The prompt firewall, compiled for one configuration.
///
/// ```
/// use kalguard_core::scanner::{Action, Role, Scanner, ScannerConfig, Segment};
/// let scanner = Scanner::new(&ScannerConfig::default())?;
/// let scan = scanner.scan(&[Segment { message: 0, role: Role::User, text: "mail ann@example.com" }]);
/// assert_eq!(scan.action, Action::Sanitize);
/// assert_eq!(scan.texts, [Some("mail [EMAIL_REDACTED]".to_owned())]);
/// # Ok::<(), kalguard_core::error::CompileError>(())
/// ```
#[derive(Debug)]
pub struct Scanner {
    config: ScannerConfig,
    detector: Detector,
    pii: PiiDetector,
    monitored: Monitored,
    /// The operator has patterns for personal data or secrets.
    has_own_pii: bool,
}

impl Scanner {
    /// Compile a scanner.
    ///
    /// # Errors
    /// [`CompileError::Pattern`] when a phrase or pattern cannot be compiled, an id is taken, a pattern does not keep to
    /// its examples, or what is to be monitored is not known.
    pub fn new(config: &ScannerConfig) -> Result<Self, CompileError> {
        Self::with_model(config, Model::shipped()?)
    }

    /// As [`Scanner::new`], with another model than the one that ships: training judges sources by models that have
    /// not seen them.
    ///
    /// # Errors
    /// As [`Scanner::new`].
    pub fn with_model(config: &ScannerConfig, model: Model) -> Result<Self, CompileError> {
        let trimmed = |phrases: &'_ [String]| -> Vec<String> {
            phrases.iter().map(|phrase| phrase.trim().to_owned()).filter(|phrase| !phrase.is_empty()).collect()
        };
        let (blocked, allowed) = (trimmed(&config.blocked_phrases), trimmed(&config.patterns.allowed));
        let (own, mut patterns) = (&config.patterns.patterns, catalogue()?);
        if let Some(taken) = own.iter().find(|own| patterns.iter().any(|pattern| pattern.id == own.id)) {
            return Err(CompileError::Pattern(format!(
                "pattern `{}`: `id` is taken by a pattern that ships",
                taken.id
            )));
        }
        patterns.extend(own.iter().cloned());
        let is_pattern = |name: &str| patterns.iter().any(|pattern| pattern.id == name);
        let monitored = Monitored::new(&config.patterns.monitored, is_pattern)?;
        let detector = Detector::new(patterns, &as_strs(&blocked), &as_strs(&allowed), model)?;
        detector.check_examples(own)?;
        let has_own_pii = own.iter().any(|pattern| pattern.category.part() == Part::Pii);
        Ok(Self { config: config.clone(), detector, pii: PiiDetector::new()?, monitored, has_own_pii })
    }

    /// Judge the text parts of one conversation together.
    #[must_use]
    pub fn scan(&self, segments: &[Segment<'_>]) -> Scan {
        self.explain(segments).0
    }

    /// As [`Scanner::scan`], with everything that the answer comes from. Findings lead back to what was said: they are
    /// for the person who said it, not for a log.
    #[must_use]
    pub fn explain(&self, segments: &[Segment<'_>]) -> (Scan, Vec<Finding<'_>>) {
        let mut findings = Vec::new();
        self.find_in_messages(segments, &mut findings);
        if self.config.check_pii {
            for (index, segment) in segments.iter().enumerate() {
                self.find_pii(index, segment.text, &mut findings);
            }
        }
        findings.extend(flood(segments));
        (self.conclude(segments, &findings), findings)
    }

    /// Attacks, harmful content and oddities, message by message.
    fn find_in_messages<'a>(&'a self, segments: &[Segment<'_>], findings: &mut Vec<Finding<'a>>) {
        let mut at = 0;
        for parts in segments.chunk_by(|a, b| a.message == b.message && a.role == b.role) {
            let first = at;
            at += parts.len();
            let Some(Segment { role, .. }) = parts.first() else { continue };
            if !role.is_operator() || self.config.check_system {
                self.find_in_message(first, parts, *role, findings);
            } else if self.has_own_pii && self.config.check_pii {
                // The operator's own words, but no place for what the operator calls personal data or a secret.
                let mut all = Vec::new();
                self.find_in_message(first, parts, *role, &mut all);
                findings.extend(all.into_iter().filter(|finding| finding.category.part() == Part::Pii));
            }
        }
    }

    fn find_in_message<'a>(&'a self, first: usize, parts: &[Segment<'_>], role: Role, findings: &mut Vec<Finding<'a>>) {
        let joined = Joined::new(first, parts);
        let mut indirect = Vec::new();
        let detections =
            if self.needs_detector() { self.detector.detect(joined.text(), role.is_tool()) } else { Vec::new() };
        for detection in detections {
            if !self.is_checked(detection.category.part()) {
                continue;
            }
            let places: Vec<_> = detection.spans.iter().flat_map(|span| joined.places(span)).collect();
            let known = detection.category.part() == Part::Injection && !detection.id.starts_with("learned.");
            if known && role.is_tool() && detection.score >= INDIRECT_SCORE {
                indirect.extend(places.first().cloned());
            }
            findings.extend(places.into_iter().map(|(segment, span)| Finding {
                id: detection.id,
                category: detection.category,
                segment,
                span,
                score: detection.score,
            }));
        }
        if let Some((segment, span)) = indirect.into_iter().next() {
            let (id, category, score) = ("indirect.from_tool", Category::Indirect, INDIRECT_SCORE);
            findings.push(Finding { id, category, segment, span, score });
        }
        for (offset, part) in parts.iter().enumerate() {
            findings.extend(oddities(part.text).into_iter().map(|(id, category, score)| Finding {
                id,
                category,
                segment: first + offset,
                span: 0..0,
                score,
            }));
        }
    }

    fn find_pii(&self, segment: usize, text: &str, findings: &mut Vec<Finding<'_>>) {
        findings.extend(self.pii.find(text).into_iter().map(|(span, kind)| Finding {
            id: kind.id,
            category: kind.category,
            segment,
            span,
            score: kind.score,
        }));
    }

    /// Whether anything that the detector finds would be looked at.
    const fn needs_detector(&self) -> bool {
        let config = &self.config;
        config.check_injection || config.check_content || self.has_own_pii && config.check_pii
    }

    const fn is_checked(&self, part: Part) -> bool {
        match part {
            Part::Injection => self.config.check_injection,
            Part::Harmful => self.config.check_content,
            Part::Pii => self.config.check_pii,
            Part::Abnormality => true,
        }
    }
}

fn as_strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}
