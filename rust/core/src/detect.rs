//! Running the catalogue over every reading of a text.
//!
//! A text is read plainly, in disguise and decoded, where one survey of its words asks for it, up to
//! [`MAX_DEPTH`] levels deep; each reading is one pass of one automaton. What is only found in a reading that a
//! person would not see is hidden as well, and says more.

use std::collections::{BTreeMap, BTreeSet};

use regex::bytes::{Regex, RegexBuilder};

use crate::error::CompileError;
use crate::fields::quote;
use crate::finding::{Category, Part};
use crate::mention::is_mention;
use crate::model::{Model, Place, Verdict};
use crate::patterns::{Pattern, Rule};
use crate::phrase::{Phrases, Reading, Source};
use crate::redact::merge;
use crate::text::decode::{MAX_DEPTH, decode};
use crate::text::disguise::disguises;
use crate::text::fold::fold;
use crate::text::known::KnownWords;
use crate::text::splice::unspace;
use crate::text::survey::{Survey, holds_words};
use crate::text::{Span, View, align, tag_runs};

/// What finding something only in a disguised or decoded reading says on its own.
const HIDDEN_SCORE: u8 = 40;
/// What text in tag characters says: it shows nothing, and nothing ordinary writes it.
const TAGS_SCORE: u8 = 70;
/// A pattern that says this much blocks alone.
const CERTAIN_SCORE: u8 = 70;
/// Below this the learned scorer says nothing: it is no evidence.
const LEARNED_MIN: u8 = 20;
/// All further readings of a text hold at most this many times its bytes, with some more for short ones.
const READINGS: usize = 8;
const SHORT: usize = 256;
/// The automaton of a shape may take this much; all of them stay small, this only keeps it so.
const SHAPE_BYTES: usize = 1 << 20;

/// One detector's hits in one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detection<'a> {
    /// Id of the pattern.
    pub id: &'a str,
    /// What was found.
    pub category: Category,
    /// What it says on its own.
    pub score: u8,
    /// Where, in the text as written; sorted, not overlapping.
    pub spans: Vec<Span>,
}

/// The catalogue, compiled.
#[derive(Debug)]
pub struct Detector {
    /// The catalogue's, then the operator's.
    patterns: Vec<Pattern>,
    /// Those of the patterns, then the operator's blocked phrases.
    phrases: Phrases,
    /// What is not looked at.
    allowed: Option<Phrases>,
    shapes: Vec<Option<Regex>>,
    /// Which patterns are shapes.
    shaped: Vec<usize>,
    /// For each pattern, whether it is a shape without needles.
    ungated: Vec<bool>,
    model: Model,
}

impl Detector {
    /// Compile patterns (see [`crate::patterns::catalogue`]), phrases of the operator's that are
    /// [`Category::BlockedPhrase`], and phrases that are not looked at.
    ///
    /// # Errors
    /// [`CompileError::Pattern`] when a pattern cannot be compiled, or a phrase is to be both.
    pub fn new(patterns: Vec<Pattern>, blocked: &[&str], allowed: &[&str], model: Model) -> Result<Self, CompileError> {
        let shapes = patterns.iter().map(shape).collect::<Result<Vec<_>, _>>()?;
        let phrases = {
            let needles: Vec<Vec<&str>> = patterns.iter().map(needles).collect();
            let sources = patterns.iter().zip(&needles).map(|(pattern, needles)| match &pattern.rule {
                Rule::Phrase(words) => Source::Phrase(words),
                Rule::Shape { .. } => Source::Literals(needles),
            });
            Phrases::new(&sources.chain(blocked.iter().copied().map(Source::Words)).collect::<Vec<_>>())?
        };
        let ungated = patterns.iter().map(is_ungated).collect();
        let shaped = (0..).zip(&shapes).filter(|(_, shape)| shape.is_some()).map(|(index, _)| index).collect();
        let mut detector = Self { patterns, phrases, allowed: None, shapes, shaped, ungated, model };
        if let Some(phrase) = allowed.iter().find(|phrase| detector.blocks(phrase)) {
            return Err(CompileError::Pattern(format!("`allow` holds `{}`, which is blocked", quote(phrase))));
        }
        if !allowed.is_empty() {
            let exempt: Vec<_> = allowed.iter().copied().map(Source::Words).collect();
            detector.allowed = Some(Phrases::new(&exempt)?);
        }
        Ok(detector)
    }

    /// Whether a text holds what blocks whatever the score, wherever it is said.
    fn blocks(&self, text: &str) -> bool {
        [false, true]
            .into_iter()
            .any(|tool| self.detect(text, tool).iter().any(|detection| detection.category == Category::BlockedPhrase))
    }

    /// Whether each of these patterns, which are among those compiled, finds what it must and leaves alone what it must.
    ///
    /// # Errors
    /// [`CompileError::Pattern`] with the first that does not.
    pub fn check_examples(&self, patterns: &[Pattern]) -> Result<(), CompileError> {
        for pattern in patterns {
            let fires = |text: &str| self.detect(text, pattern.returned_only).iter().any(|hit| hit.id == pattern.id);
            let missed = pattern.matches.iter().find(|text| !fires(text)).map(|text| ("does not match", text));
            let wrong = missed.or_else(|| pattern.not.iter().find(|text| fires(text)).map(|text| ("matches", text)));
            if let Some((what, text)) = wrong {
                return Err(CompileError::Pattern(format!(
                    "pattern `{}` {what} its example `{}`",
                    pattern.id,
                    quote(text)
                )));
            }
        }
        Ok(())
    }

    /// Everything the catalogue finds in a text, in the order of the catalogue. `tool` says that a tool returned it.
    #[must_use]
    pub fn detect(&self, text: &str, tool: bool) -> Vec<Detection<'_>> {
        let place = if tool { Place::Returned } else { Place::Said };
        let (plain, disguised) = (Places::default(), Places::default());
        let budget = READINGS * (text.len() + SHORT);
        let mut found = Found { place, learned: None, plain, disguised, tags: tag_runs(text), budget };
        self.read_all(text, &[], 0, &mut found);
        self.report(text, &found, tool)
    }

    /// Read a text in every way. `trail` leads back to the text as written, which is `depth` levels up.
    fn read_all(&self, text: &str, trail: &[&View], depth: usize, found: &mut Found) {
        let folded = self.without_allowed(fold(text));
        let seen = if depth == 0 { &mut found.plain } else { &mut found.disguised };
        let words = KnownWords::of(folded.text());
        self.read(folded.text(), &words, seen, |span| lead_back(trail, folded.origin(span)));
        let survey = (depth < MAX_DEPTH).then(|| Survey::with(folded.text(), &words));
        let holds_words = || survey.as_ref().map_or_else(|| holds_words(folded.text(), &words), |survey| survey.words);
        // The learned scorer was not taught to tell noise from words, and a wrong reading is noise.
        if depth == 0 || holds_words() {
            self.learn(folded.text(), &words, found, |span| lead_back(trail, folded.origin(span)));
        }
        let Some(survey) = survey else { return };
        let joined = survey.spaced.then(|| unspace(text)).flatten();
        if let Some(joined) = &joined {
            let lower = fold(joined.text());
            self.read_joined(lower.text(), &mut found.disguised, |span| {
                lead_back(trail, joined.origin(lower.origin(span)))
            });
        }
        let written = joined.into_iter().chain(decode(text, &survey)).map(|view| (view, None, depth + 1));
        // A spelling game is the last layer: what is spelt out is not spelt out again, which saves most of the readings.
        let spelt = disguises(folded.text(), &survey).into_iter().map(|view| (view, Some(&folded), MAX_DEPTH));
        for (view, over, depth) in written.chain(spelt) {
            let deeper: Vec<&View> = trail.iter().copied().chain(over).chain([&view]).collect();
            if let Some(left) = found.budget.checked_sub(view.text().len()) {
                found.budget = left;
                self.read_all(view.text(), &deeper, depth, found);
            }
        }
    }

    /// A folded text without the phrases that are not looked at. Where they stood is blank, so that what they cut apart
    /// is no nearer to each other than it was.
    fn without_allowed(&self, folded: View) -> View {
        let Some(allowed) = &self.allowed else { return folded };
        let mut spans = Vec::new();
        allowed.find(folded.text(), Reading::Words, |hit| spans.push(hit.span));
        folded.blank(&spans)
    }

    /// One reading, by the learned scorer. The most suspicious reading counts.
    fn learn(&self, folded: &str, words: &KnownWords, found: &mut Found, origin: impl Fn(Span) -> Span) {
        if let Some(Verdict { score, span }) = self.model.score_with(folded, words, found.place)
            && score >= LEARNED_MIN
            && found.learned.as_ref().is_none_or(|(highest, _)| score > *highest)
        {
            found.learned = Some((score, origin(span)));
        }
    }

    /// Joined letters, by phrases only: what the word list does not know cannot be told apart.
    fn read_joined(&self, text: &str, seen: &mut Places, origin: impl Fn(Span) -> Span) {
        self.phrases.find(text, Reading::Joined, |hit| {
            if !matches!(self.shapes.get(hit.phrase), Some(Some(_))) {
                seen.add(hit.phrase, origin(hit.span));
            }
        });
    }

    /// One reading, by phrases and by shapes.
    fn read(&self, folded: &str, words: &KnownWords, seen: &mut Places, origin: impl Fn(Span) -> Span) {
        let mut gates = self.ungated.clone();
        self.phrases.find_words(folded, words, |hit| match self.shapes.get(hit.phrase) {
            Some(Some(_)) => {
                if let Some(gate) = gates.get_mut(hit.phrase) {
                    *gate = true;
                }
            }
            _ => seen.add(hit.phrase, origin(hit.span)),
        });
        for &index in self.shaped.iter().filter(|&&index| gates.get(index) == Some(&true)) {
            let shape = self.shapes.get(index).and_then(Option::as_ref);
            for hit in shape.iter().flat_map(|shape| shape.find_iter(folded.as_bytes())) {
                seen.add(index, origin(align(folded, hit.range())));
            }
        }
    }

    fn report(&self, text: &str, found: &Found, tool: bool) -> Vec<Detection<'_>> {
        let mut detections = Vec::new();
        if found.is_nothing() {
            return detections;
        }
        let mut hidden: Vec<Span> = Vec::new();
        let touched: BTreeSet<usize> = found.plain.0.keys().chain(found.disguised.0.keys()).copied().collect();
        for index in touched {
            let Some(pattern) = self.patterns.get(index).filter(|pattern| tool || !pattern.returned_only) else {
                continue;
            };
            let (plain, disguised) = (found.plain.get(index), found.disguised.get(index));
            let injects = pattern.category.part() == Part::Injection;
            if injects {
                hidden.extend(disguised.iter().filter(|span| !overlaps(plain, span)).cloned());
            }
            let spans = merge(plain.iter().chain(disguised).cloned().collect());
            let mentioned = injects && !tool && disguised.is_empty() && plain.iter().all(|span| is_mention(text, span));
            let score = if mentioned { pattern.score / 2 } else { pattern.score };
            let (id, category) = (pattern.id.as_str(), pattern.category);
            detections.push(Detection { id, category, score, spans });
        }
        let phrases = self.patterns.len()..;
        let blocked: Vec<_> =
            [&found.plain, &found.disguised].iter().flat_map(|places| places.0.range(phrases.clone())).collect();
        if !blocked.is_empty() {
            let spans = merge(blocked.into_iter().flat_map(|(_, spans)| spans.iter().cloned()).collect());
            detections.push(Detection { id: "blocked_phrase", category: Category::BlockedPhrase, score: 100, spans });
        }
        detections.extend(learned(found, &detections));
        if !found.tags.is_empty() {
            let (id, spans) = ("hidden.tag_characters", found.tags.clone());
            detections.push(Detection { id, category: Category::Hidden, score: TAGS_SCORE, spans });
        }
        if !hidden.is_empty() {
            let spans = merge(hidden);
            detections.push(Detection {
                id: "hidden.disguised",
                category: Category::Hidden,
                score: HIDDEN_SCORE,
                spans,
            });
        }
        detections
    }
}

/// The learned scorer's evidence. It knows attacks, not their kinds: it is of the kind of the strongest pattern that
/// fired, else an override where a person speaks and indirect where a tool does. What it would take out is its whole
/// window, unless a pattern that is certain says more exactly where in that window the attack is.
fn learned(found: &Found, known: &[Detection<'_>]) -> Option<Detection<'static>> {
    let (score, window) = found.learned.clone()?;
    let (id, usual) = match found.place {
        Place::Said => ("learned.said", Category::InstructionOverride),
        Place::Returned => ("learned.returned", Category::Indirect),
    };
    let injections = || known.iter().filter(|detection| detection.category.part() == Part::Injection);
    let category = injections().rev().max_by_key(|detection| detection.score).map_or(usual, |hit| hit.category);
    let certain = injections().filter(|detection| detection.score >= CERTAIN_SCORE).flat_map(|hit| &hit.spans);
    let exact: Vec<_> = certain.filter(|span| span.start < window.end && window.start < span.end).cloned().collect();
    let spans = if exact.is_empty() { vec![window] } else { merge(exact) };
    Some(Detection { id, category, score, spans })
}

fn needles(pattern: &Pattern) -> Vec<&str> {
    match &pattern.rule {
        Rule::Phrase(_) => Vec::new(),
        Rule::Shape { needles, .. } => needles.iter().map(String::as_str).collect(),
    }
}

fn is_ungated(pattern: &Pattern) -> bool {
    matches!(&pattern.rule, Rule::Shape { needles, .. } if needles.is_empty())
}

fn shape(pattern: &Pattern) -> Result<Option<Regex>, CompileError> {
    let Rule::Shape { regex, .. } = &pattern.rule else { return Ok(None) };
    let mut builder = RegexBuilder::new(regex);
    builder.unicode(false).case_insensitive(true).size_limit(SHAPE_BYTES).dfa_size_limit(SHAPE_BYTES);
    let refused = |why: &str| CompileError::Pattern(format!("pattern `{}`: `regex` {why}", pattern.id));
    let built = builder.build().map_err(|error| {
        let told = error.to_string();
        refused(&format!(
            "cannot be compiled: {}",
            told.lines().last().unwrap_or_default().trim_start_matches("error: ")
        ))
    })?;
    if built.is_match(b"") { Err(refused("matches where there is nothing")) } else { Ok(Some(built)) }
}

fn lead_back(trail: &[&View], span: Span) -> Span {
    trail.iter().rev().fold(span, |span, view| view.origin(span))
}

/// Spans for each pattern; neighbours that touch are one, so that repetition does not pile up.
#[derive(Debug, Default)]
struct Places(BTreeMap<usize, Vec<Span>>);

impl Places {
    fn add(&mut self, index: usize, span: Span) {
        let spans = self.0.entry(index).or_default();
        match spans.last_mut() {
            Some(last) if span.start <= last.end && span.end >= last.start => {
                *last = last.start.min(span.start)..last.end.max(span.end);
            }
            _ => spans.push(span),
        }
    }

    fn get(&self, index: usize) -> &[Span] {
        self.0.get(&index).map_or(&[], Vec::as_slice)
    }
}

#[derive(Debug)]
struct Found {
    place: Place,
    /// What the learned scorer makes of the most suspicious reading.
    learned: Option<(u8, Span)>,
    plain: Places,
    disguised: Places,
    /// Runs of tag characters.
    tags: Vec<Span>,
    /// Bytes of further readings that may still be read.
    budget: usize,
}

impl Found {
    fn is_nothing(&self) -> bool {
        self.plain.0.is_empty() && self.disguised.0.is_empty() && self.learned.is_none() && self.tags.is_empty()
    }
}

/// Whether `span` touches any of `spans`.
fn overlaps(spans: &[Span], span: &Span) -> bool {
    let after = spans.partition_point(|other| other.end <= span.start);
    spans.get(after).is_some_and(|other| other.start < span.end)
}
