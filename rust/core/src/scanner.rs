//! The prompt firewall: from a conversation to an action.
//!
//! [`Scanner::new`] compiles everything once and may fail; [`Scanner::scan`] cannot. Parts of one message are read
//! together, so that an attack cut into parts is whole again; personal data is looked for in each part alone.
//! The scanner decides, but never says what it read: a [`Scan`] holds categories, scores and redacted texts.

use std::collections::BTreeMap;

use crate::abnormality::oddities;
use crate::arguments::Arguments;
use crate::detect::Detector;
use crate::error::CompileError;
use crate::finding::{Category, Finding, Part};
use crate::model::Model;
use crate::monitor::Monitored;
use crate::patterns::{PatternsFile, catalogue};
use crate::pii::PiiDetector;
use crate::redact::{merge, replace};
use crate::risk::{RiskAssessment, Weights, assess, combine};
use crate::text::Span;

/// What an instruction in a tool's result adds: a tool has no business giving any.
const INDIRECT_SCORE: u8 = 30;
/// Replacing can bring two halves of a number together; this often is looked again.
const REDACTION_ROUNDS: usize = 8;
/// More messages than this are a flood.
const MANY_MESSAGES: usize = 500;

/// What the operator chose.
#[derive(Debug, Clone)]
pub struct ScannerConfig {
    /// A score from which on a conversation is blocked.
    pub block_threshold: u8,
    /// A score from which on injected spans are removed.
    pub sanitize_threshold: u8,
    /// Factor for `injection.*`; 1.0 changes nothing.
    pub injection_weight: f64,
    /// Factor for `harmful.*`.
    pub harmful_weight: f64,
    /// Factor for `pii.*`.
    pub pii_weight: f64,
    /// Factor for `abnormality.*`.
    pub abnormality_weight: f64,
    /// Look for injection.
    pub check_injection: bool,
    /// Look for harmful content and blocked phrases.
    pub check_content: bool,
    /// Look for personal data and secrets.
    pub check_pii: bool,
    /// Look for everything in system and developer messages too.
    pub check_system: bool,
    /// Phrases that block, in any case and spelling. They match as whole words.
    pub blocked_phrases: Vec<String>,
    /// Find and report everything, and let everything pass as it is.
    pub monitor: bool,
    /// Patterns of the operator's, what of all that is found has no effect, and what is not looked at.
    pub patterns: PatternsFile,
}

impl Default for ScannerConfig {
    fn default() -> Self {
        Self {
            block_threshold: 70,
            sanitize_threshold: 50,
            injection_weight: 1.0,
            harmful_weight: 1.0,
            pii_weight: 1.0,
            abnormality_weight: 1.0,
            check_injection: true,
            check_content: true,
            check_pii: true,
            check_system: false,
            blocked_phrases: Vec::new(),
            monitor: false,
            patterns: PatternsFile::default(),
        }
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum Role {
    System,
    Developer,
    Assistant,
    Tool,
    Function,
    User,
}

impl Role {
    /// Read a role as it stands on the wire. An unknown one counts as the user: nobody gains trust by a new name.
    #[must_use]
    pub fn parse(role: &str) -> Self {
        match role {
            "system" => Self::System,
            "developer" => Self::Developer,
            "assistant" => Self::Assistant,
            "tool" => Self::Tool,
            "function" => Self::Function,
            _ => Self::User,
        }
    }

    const fn is_operator(self) -> bool {
        matches!(self, Self::System | Self::Developer)
    }

    const fn is_tool(self) -> bool {
        matches!(self, Self::Tool | Self::Function)
    }
}

/// One text part of one message.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// Index of the message.
    pub message: usize,
    /// Who wrote it.
    pub role: Role,
    /// The text.
    pub text: &'a str,
}

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

    /// Personal data and secrets in the arguments of a tool call: each category with its score, in the order of the
    /// categories. Each text is a line behind the key it stands under, which often says what it is.
    #[must_use]
    pub fn find_in_arguments(&self, arguments: &Arguments) -> Vec<(Category, u8)> {
        if !self.config.check_pii {
            return Vec::new();
        }
        let mut lines = String::new();
        arguments.for_each_text(|key, text| {
            if !key.is_empty() {
                lines.push_str(key);
                lines.push_str(": ");
            }
            lines.push_str(text);
            lines.push_str("\n\n");
        });
        let mut findings = Vec::new();
        self.find_pii(0, &lines, &mut findings);
        let own = if self.has_own_pii { self.detector.detect(&lines, false) } else { Vec::new() };
        findings.extend(own.into_iter().filter(|found| found.category.part() == Part::Pii).map(|found| Finding {
            id: found.id,
            category: found.category,
            segment: 0,
            span: 0..0,
            score: found.score,
        }));
        let mut by_category: BTreeMap<Category, Vec<u8>> = BTreeMap::new();
        for hit in distinct(&findings) {
            by_category.entry(hit.category).or_default().push(hit.score);
        }
        by_category.into_iter().map(|(category, scores)| (category, combine(scores))).collect()
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

    fn conclude(&self, segments: &[Segment<'_>], findings: &[Finding<'_>]) -> Scan {
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

    fn sanitize(
        &self,
        segments: &[Segment<'_>],
        findings: &[Finding<'_>],
        remove_injected: bool,
    ) -> (Action, Vec<Option<String>>) {
        let mut edits: BTreeMap<usize, Vec<&Finding<'_>>> = BTreeMap::new();
        for finding in findings.iter().filter(|finding| !finding.span.is_empty()) {
            match finding.category.part() {
                Part::Pii => edits.entry(finding.segment).or_default().push(finding),
                Part::Injection if remove_injected => edits.entry(finding.segment).or_default().push(finding),
                _ => {}
            }
        }
        let changed = |(index, segment): (usize, &Segment<'_>)| {
            edits.get(&index).map(|edits| self.redact(segment.text, edits)).filter(|text| text != segment.text)
        };
        let texts: Vec<_> = segments.iter().enumerate().map(changed).collect();
        if texts.iter().any(Option::is_some) { (Action::Sanitize, texts) } else { (Action::Allow, Vec::new()) }
    }

    /// Replace what was found. What is left is looked at again, since it is a different text.
    fn redact(&self, text: &str, findings: &[&Finding<'_>]) -> String {
        let spans = |part: Part| findings.iter().filter(move |finding| finding.category.part() == part);
        let injected = merge(spans(Part::Injection).map(|finding| finding.span.clone()).collect());
        let personal = spans(Part::Pii).map(|finding| (finding.span.clone(), finding.category.placeholder()));
        let covered = |span: &Span| {
            let next = injected.partition_point(|by| by.end < span.end);
            injected.get(next).is_some_and(|by| by.start <= span.start)
        };
        let mut edits: Vec<_> = personal.filter(|(span, _)| !covered(span)).collect();
        edits.extend(injected.iter().map(|span| (span.clone(), "[REDACTED]")));
        let mut redacted = replace(text, edits);
        for _ in 0..REDACTION_ROUNDS {
            let again = if self.config.check_pii { self.pii.find(&redacted) } else { Vec::new() };
            if again.is_empty() {
                break;
            }
            redacted =
                replace(&redacted, again.into_iter().map(|(span, kind)| (span, kind.category.placeholder())).collect());
        }
        redacted
    }
}

fn as_strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// A find of one detector in one segment, wherever and how often.
struct DistinctHit {
    category: Category,
    segment: usize,
    score: u8,
}

/// One hit for each detector in each segment: saying it twice does not make it twice as bad.
fn distinct(findings: &[Finding<'_>]) -> Vec<DistinctHit> {
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

/// Odd distributions of roles: instructions of the operator after others have spoken, floods of messages.
fn flood(segments: &[Segment<'_>]) -> Option<Finding<'static>> {
    let others = segments.iter().position(|segment| !segment.role.is_operator());
    let late = others
        .and_then(|at| segments.iter().skip(at).position(|segment| segment.role.is_operator()).map(|late| at + late));
    let flooded = (segments.len() > MANY_MESSAGES).then_some(0);
    let segment = late.or(flooded)?;
    Some(Finding { id: "abnormal.roles", category: Category::RoleDistribution, segment, span: 0..0, score: 3 })
}

/// The parts of a message as one text.
struct Joined<'a> {
    first: usize,
    parts: &'a [Segment<'a>],
    /// Where each part starts in the joined text.
    starts: Vec<usize>,
    text: Option<String>,
}

impl<'a> Joined<'a> {
    fn new(first: usize, parts: &'a [Segment<'a>]) -> Self {
        let text = (parts.len() > 1).then(|| parts.iter().map(|part| part.text).collect::<Vec<_>>().join("\n"));
        let starts = parts.iter().scan(0, |next, part| {
            let start = *next;
            *next = start + part.text.len() + 1;
            Some(start)
        });
        Self { first, parts, starts: starts.collect(), text }
    }

    fn text(&self) -> &str {
        match &self.text {
            Some(text) => text,
            None => self.parts.first().map_or("", |part| part.text),
        }
    }

    /// What a span covers of each part, with the part's index among all segments.
    fn places(&self, span: &Span) -> impl Iterator<Item = (usize, Span)> {
        let from = self.starts.partition_point(|start| *start <= span.start).saturating_sub(1);
        let parts = self.parts.iter().zip(&self.starts).enumerate().skip(from);
        parts.take_while(|(_, (_, start))| **start < span.end).filter_map(|(offset, (part, &start))| {
            let end = start + part.text.len();
            let place = span.start.max(start) - start..span.end.min(end).saturating_sub(start);
            (place.start < place.end).then_some((self.first + offset, place))
        })
    }
}
