//! The prompt firewall: from a conversation to an action.
//!
//! [`Scanner::new`] compiles everything once and may fail; [`Scanner::scan`] cannot. Parts of one message are read
//! together, so that an attack cut into parts is whole again; personal data is looked for in each part alone.
//! The scanner decides, but never says what it read: a [`Scan`] holds categories, scores and redacted texts.

mod answer;
mod arguments;
mod config;
mod conversation;
mod memory;
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
use memory::{Memory, Recall};

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
    memory: Option<Memory>,
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
        Ok(Self { config: config.clone(), detector, pii: PiiDetector::new()?, monitored, has_own_pii, memory: None })
    }

    /// Remember messages in which nothing was found, for [`Scanner::scan_for`]. They are known by hashes under a secret,
    /// which nobody else may know.
    #[must_use]
    pub fn remembering(mut self, secret: &[u8; 16]) -> Self {
        self.memory = Some(Memory::new(secret));
        self
    }

    /// Judge the text parts of one conversation together.
    #[must_use]
    pub fn scan(&self, segments: &[Segment<'_>]) -> Scan {
        self.explain(segments).0
    }

    /// As [`Scanner::scan`], of a conversation that an agent may have sent a part of before: a message of its own in
    /// which nothing was found is not read again while it is remembered. The answer is the same.
    #[must_use]
    pub fn scan_for(&self, agent: &str, segments: &[Segment<'_>]) -> Scan {
        let recall = self.memory.as_ref().map(|memory| memory.of(agent));
        self.conclude(segments, &self.find(segments, recall.as_ref()))
    }

    /// As [`Scanner::scan`], with everything that the answer comes from. Findings lead back to what was said: they are
    /// for the person who said it, not for a log.
    #[must_use]
    pub fn explain(&self, segments: &[Segment<'_>]) -> (Scan, Vec<Finding<'_>>) {
        let findings = self.find(segments, None);
        (self.conclude(segments, &findings), findings)
    }

    fn find(&self, segments: &[Segment<'_>], recall: Option<&Recall<'_>>) -> Vec<Finding<'_>> {
        let (mut findings, mut personal) = (Vec::new(), Vec::new());
        let mut at = 0;
        for parts in segments.chunk_by(|a, b| a.message == b.message && a.role == b.role) {
            let first = at;
            at += parts.len();
            let name = recall.map(|recall| (recall, recall.name(parts)));
            if name.is_none_or(|(recall, name)| !recall.holds(name)) {
                let before = (findings.len(), personal.len());
                self.find_in_message(first, parts, &mut findings);
                self.find_pii_in_message(first, parts, &mut personal);
                if let Some((recall, name)) = name
                    && before == (findings.len(), personal.len())
                {
                    recall.keep(name);
                }
            }
            self.find_oddities(first, parts, &mut findings);
        }
        findings.append(&mut personal);
        findings.extend(flood(segments));
        findings
    }

    /// Attacks and harmful content, and what the operator calls personal data.
    fn find_in_message<'a>(&'a self, first: usize, parts: &[Segment<'_>], findings: &mut Vec<Finding<'a>>) {
        let Some(Segment { role, .. }) = parts.first() else { return };
        let is_own = !self.is_read(*role);
        if is_own && !(self.has_own_pii && self.config.check_pii) || !self.needs_detector() {
            return;
        }
        let joined = Joined::new(first, parts);
        let mut indirect = None;
        for detection in self.detector.detect(joined.text(), role.is_tool()) {
            let part = detection.category.part();
            // The operator's own words, but no place for what the operator calls personal data or a secret.
            if !self.is_checked(part) || is_own && part != Part::Pii {
                continue;
            }
            let places: Vec<_> = detection.spans.iter().flat_map(|span| joined.places(span)).collect();
            let known = part == Part::Injection && !detection.id.starts_with("learned.");
            if known && role.is_tool() && detection.score >= INDIRECT_SCORE && indirect.is_none() {
                indirect = places.first().cloned();
            }
            findings.extend(places.into_iter().map(|(segment, span)| Finding {
                id: detection.id,
                category: detection.category,
                segment,
                span,
                score: detection.score,
            }));
        }
        if let Some((segment, span)) = indirect {
            let (id, category, score) = ("indirect.from_tool", Category::Indirect, INDIRECT_SCORE);
            findings.push(Finding { id, category, segment, span, score });
        }
    }

    fn find_oddities(&self, first: usize, parts: &[Segment<'_>], findings: &mut Vec<Finding<'_>>) {
        for (segment, part) in (first..).zip(parts).filter(|(_, part)| self.is_read(part.role)) {
            let odd = oddities(part.text).into_iter();
            findings.extend(odd.map(|(id, category, score)| Finding { id, category, segment, span: 0..0, score }));
        }
    }

    fn find_pii_in_message(&self, first: usize, parts: &[Segment<'_>], findings: &mut Vec<Finding<'_>>) {
        if self.config.check_pii {
            (first..).zip(parts).for_each(|(index, part)| self.find_pii(index, part.text, findings));
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

    /// Whether all that a message holds counts, and not personal data alone.
    const fn is_read(&self, role: Role) -> bool {
        !role.is_operator() || self.config.check_system
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
