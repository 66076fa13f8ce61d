//! Reading a text the way a model reads it, while remembering where every letter came from.
//!
//! A model understands `Ｉｇｎｏｒｅ`, `i g n o r e` and base64 as well as plain words, so detection works on *views* of a
//! text: [`fold`] for the plain reading, [`disguise`] for spelling games, [`decode`] for encoded runs. Each view maps
//! its bytes back to the original, because what is removed later must be removed from the original.
//! Everything here is linear in the input and never fails.

mod cipher;
mod codes;
mod confusables;
pub mod decode;
pub(crate) mod dictionary;
pub mod disguise;
pub(crate) mod escapes;
pub mod fold;
pub(crate) mod known;
mod leet;
pub(crate) mod lexicon;
mod lookalikes;
mod pairs;
mod rewrite;
pub mod splice;
pub mod survey;
mod surveyor;

use std::ops::Range;

use crate::eight::is_ascii;

/// Byte offsets, end exclusive, on character boundaries of the text that they refer to.
pub type Span = Range<usize>;

/// A stretch of a view and the stretch of the source that it stands for.
///
/// Some views have one for each character, so a byte here is another for each byte of a text: places are of 32 bits.
/// No text is longer than 4 GiB.
#[derive(Debug, Clone, Copy)]
struct Run {
    at: u32,
    from: u32,
    to: u32,
    /// Byte `at + i` of the view is byte `from + i` of the source; otherwise the run stands for its source as a whole.
    linear: bool,
}

impl Run {
    fn new(at: usize, origin: Span, linear: bool) -> Self {
        Self { at: place(at), from: place(origin.start), to: place(origin.end), linear }
    }

    const fn start(self) -> usize {
        self.from as usize
    }

    const fn end(self) -> usize {
        self.to as usize
    }

    /// Where byte `offset` of the view, which is in this run, or one that ends there, is in the source.
    const fn linear_place(self, offset: usize) -> usize {
        self.start() + (offset - self.at as usize)
    }
}

fn place(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// A rewritten text with an exact map back to its source.
///
/// The map holds runs, not bytes: an ordinary text, whatever its length, needs a handful of them.
///
/// ```
/// let view = kalguard_core::text::fold::fold("Ｉgn\u{200b}ore  THIS");
/// assert_eq!(view.text(), "ignore this");
/// assert_eq!(view.origin(0..6), 0..11);
/// ```
#[derive(Debug, Clone, Default)]
pub struct View {
    text: String,
    runs: Vec<Run>,
}

impl View {
    fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), runs: Vec::new() }
    }

    /// Append one character which stands for `origin` in the source.
    fn push(&mut self, c: char, origin: Span) {
        let (at, linear) = (self.text.len(), c.len_utf8() == origin.len());
        self.text.push(c);
        if let Some(last) = self.runs.last_mut() {
            if linear && last.linear && last.end() == origin.start {
                last.to = place(origin.end);
                return;
            }
            if !linear && !last.linear && last.start() == origin.start && last.end() == origin.end {
                return;
            }
        }
        self.runs.push(Run::new(at, origin, linear));
    }

    /// Append ASCII which stands byte for byte for what starts at `from` in the source, in lower case.
    fn push_lowered(&mut self, ascii: &str, from: usize) {
        let at = self.text.len();
        self.push_copied(ascii, from);
        if let Some(added) = self.text.get_mut(at..) {
            added.make_ascii_lowercase();
        }
    }

    /// Append what starts at `from` in the source, as it is.
    fn push_copied(&mut self, text: &str, from: usize) {
        let (at, to) = (self.text.len(), from + text.len());
        self.text.push_str(text);
        match self.runs.last_mut() {
            Some(last) if last.linear && last.end() == from => last.to = place(to),
            _ => self.runs.push(Run::new(at, from..to, true)),
        }
    }

    /// A text of the same length, some of whose ASCII stands for other ASCII.
    fn same_length(text: &str, read: impl Fn(u8) -> u8) -> Self {
        let read = |c: char| if c.is_ascii() { char::from(read(c as u8)) } else { c };
        let run = Run::new(0, 0..text.len(), true);
        Self { text: text.chars().map(read).collect(), runs: vec![run] }
    }

    /// The rewritten text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Put spaces in place of spans of this view. Places stay what they were.
    #[must_use]
    pub fn blank(mut self, spans: &[Span]) -> Self {
        for span in spans {
            let span = align(&self.text, span.clone());
            self.text.replace_range(span.clone(), &" ".repeat(span.len()));
        }
        self
    }

    /// The smallest span of the source that holds everything `span` of this view came from.
    #[must_use]
    pub fn origin(&self, span: Span) -> Span {
        let (Some(first), Some(last)) = (self.run_at(span.start), self.run_at(span.end.saturating_sub(1))) else {
            return 0..0;
        };
        if last.from < first.from {
            // A mirrored view runs the other way, and each of its runs is one character.
            return last.start()..first.end();
        }
        let start = if first.linear { first.linear_place(span.start) } else { first.start() };
        let end = if last.linear { last.linear_place(span.end) } else { last.end() };
        start..end.max(start)
    }

    fn run_at(&self, offset: usize) -> Option<Run> {
        let next = self.runs.partition_point(|run| run.at as usize <= offset);
        self.runs.get(next.checked_sub(1)?).copied()
    }
}

/// Widen a span to character boundaries. Byte-wise matching can end inside a character; nothing else may.
#[must_use]
pub fn align(text: &str, span: Span) -> Span {
    let (mut start, mut end) = (span.start.min(text.len()), span.end.min(text.len()));
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

/// Fewer tag characters than this name a region's flag.
const HIDDEN_TAGS: usize = 8;

/// Runs of Unicode tag characters long enough to carry a text.
#[must_use]
pub fn tag_runs(text: &str) -> Vec<Span> {
    let mut runs = Vec::new();
    if is_ascii(text) {
        return runs;
    }
    let (mut start, mut count) = (0, 0);
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        if confusables::tag(c).is_some() {
            start = if count == 0 { at } else { start };
            count += 1;
            continue;
        }
        if count >= HIDDEN_TAGS {
            runs.push(start..at);
        }
        count = 0;
    }
    runs
}
