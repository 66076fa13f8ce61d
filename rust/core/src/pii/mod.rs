//! Personal data and secrets: where they are in a text.
//!
//! One pass over the digits, one over the `@`, one over the colons, one for the beginnings of keys: each only finds
//! places, and what stands there is then read by hand. What decides is arithmetic (Luhn, mod 97, number plans) and the
//! words around. Looked for in the text as written, again with widths levelled and invisible characters gone, and in
//! what is there in encoded form; an encoded run in which something is found is found as a whole.
//! Never more than spans: the text found is not kept. Every place is read to a bounded length, or once.

mod card;
mod email;
mod encoded;
mod groups;
mod iban;
mod lexicon;
mod network;
mod phone;
mod secrets;
mod ssn;

use crate::eight::is_ascii;
use crate::error::CompileError;
use crate::finding::Category;
use crate::redact::without_overlaps;
use crate::text::Span;
use crate::text::fold::narrow;
use groups::Groups;

/// One piece of personal data or one secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Id of the detector.
    pub id: &'static str,
    /// What it is.
    pub category: Category,
    /// What finding it says on its own.
    pub score: u8,
    /// Which of two overlapping finds is right.
    certainty: u8,
    /// Whether the words around it made it what it is.
    needs_words: bool,
}

impl Kind {
    const fn new(id: &'static str, category: Category, score: u8, certainty: u8) -> Self {
        Self { id, category, score, certainty, needs_words: false }
    }

    const fn by_words(self) -> Self {
        Self { needs_words: true, ..self }
    }
}

/// A find and its place in the text.
pub type Found = (Span, Kind);

/// Detectors for all kinds, compiled.
#[derive(Debug)]
pub struct PiiDetector {
    secrets: secrets::Secrets,
}

impl PiiDetector {
    /// Compile the detectors.
    ///
    /// # Errors
    /// [`CompileError::Pattern`]; the tests see to it that it does not happen.
    pub fn new() -> Result<Self, CompileError> {
        Ok(Self { secrets: secrets::Secrets::new()? })
    }

    /// Everything found in a text, in order, without overlaps.
    ///
    /// ```
    /// use kalguard_core::pii::PiiDetector;
    /// let found = PiiDetector::new()?.find("mail ann@example.com");
    /// assert_eq!(found.first().map(|(span, kind)| (span.clone(), kind.category.as_str())), Some((5..20, "pii.email")));
    /// # Ok::<(), kalguard_core::error::CompileError>(())
    /// ```
    #[must_use]
    pub fn find(&self, text: &str) -> Vec<Found> {
        let mut found = self.candidates(text);
        if may_hide(text)
            && let Some(view) = narrow(text)
        {
            let again = self.candidates(view.text());
            found.extend(again.into_iter().map(|(span, kind)| (view.origin(span), kind)));
        }
        for view in encoded::views(text) {
            let decoded = self.candidates(view.text());
            found.extend(decoded.into_iter().map(|(span, kind)| (view.origin(span), kind)));
        }
        repeated(text, &mut found);
        without_overlaps(found, |(span, kind)| (kind.certainty, span.len()))
    }

    fn candidates(&self, text: &str) -> Vec<Found> {
        let mut found = Vec::new();
        email::find(text, &mut found);
        network::find_v6(text, &mut found);
        find_numbers(text, &mut found);
        self.secrets.find(text, &mut found);
        found
    }
}

/// What was found by the words around it is found wherever else it stands in the text, too.
fn repeated(text: &str, found: &mut Vec<Found>) {
    /// Each value takes a pass over the text; a text with more of them goes without.
    const MOST: usize = 16;
    let mut values: Vec<(&str, Kind)> = Vec::new();
    for (span, kind) in found.iter() {
        let value = text.get(span.clone()).unwrap_or_default();
        if kind.needs_words
            && value.len() >= 6
            && values.len() < MOST
            && !values.iter().any(|(known, _)| *known == value)
        {
            values.push((value, *kind));
        }
    }
    for (value, kind) in values {
        let alone = |span: &Span| begins(text.as_bytes(), span.start) && !is_word(byte(text.as_bytes(), span.end));
        let places = memchr::memmem::find_iter(text.as_bytes(), value).map(|at| at..at + value.len());
        found.extend(places.filter(alone).map(|span| (span, kind)));
    }
}

/// What has groups of digits. What is surest is tried first; what is found is not looked at again.
fn find_numbers(text: &str, found: &mut Vec<Found>) {
    /// A row with fewer digits is nothing, unless it is an address or the start of an IBAN.
    const FEWEST: usize = 6;
    let bytes = text.as_bytes();
    let mut groups = Groups::new(bytes);
    loop {
        let row = groups.window();
        let Some(first) = row.first() else { break };
        if let Some(span) = iban::at(text, first) {
            let count = row.iter().take_while(|group| group.start < span.end).count();
            found.push((span, iban::IBAN));
            groups.advance(count, true);
            continue;
        }
        let digits: usize = row.iter().map(groups::Group::len).sum();
        if digits < FEWEST && row.len() < 4 {
            groups.advance(1, false);
            continue;
        }
        let read = network::v4(text, row)
            .or_else(|| card::find(text, row))
            .or_else(|| ssn::find(text, row))
            .or_else(|| phone::find(text, row));
        match read {
            Some((count, hit)) => {
                found.extend(hit);
                groups.advance(count, true);
            }
            None => groups.advance(1, false),
        }
    }
}

/// How many groups of a row belong together, and what they are if it is of interest.
type Read = Option<(usize, Option<Found>)>;

/// Whether levelling widths and dropping the invisible could make a difference to what is found: whether something of
/// that kind touches a digit, a letter or a sign.
fn may_hide(text: &str) -> bool {
    if is_ascii(text) {
        return false;
    }
    let bytes = text.as_bytes();
    text.char_indices().any(|(at, c)| match u32::from(c) {
        0..=0x7F => false,
        0xFF10..=0xFF5A | 0x660..=0x669 | 0x6F0..=0x6F9 | 0x966..=0x96F | 0x1D7CE..=0x1D7FF => true,
        0xA0
        | 0xAD
        | 0x61C
        | 0x1680..=0x180F
        | 0x2000..=0x206F
        | 0x2212
        | 0x3000
        | 0xFE00..=0xFE6F
        | 0xFEFF
        | 0xFF01..=0xFF0F => {
            let joins =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'@' | b'.' | b'(' | b')' | b'+' | b'-');
            joins(byte(bytes, at.wrapping_sub(1))) && joins(byte(bytes, at + c.len_utf8()))
        }
        0xE0000..=0xE0FFF => true,
        _ => false,
    })
}

/// The byte at an offset; 0, which nothing accepts, outside the text.
fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or_default()
}

/// The byte so many before an offset.
fn byte_before(bytes: &[u8], at: usize, back: usize) -> u8 {
    at.checked_sub(back).map_or(0, |at| byte(bytes, at))
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether a number begins here and is no part of a word. `\n` before it, written out, is not one.
fn begins(bytes: &[u8], at: usize) -> bool {
    let (last, last2) = (byte_before(bytes, at, 1), byte_before(bytes, at, 2));
    !is_word(last) || last2 == b'\\' && matches!(last, b'n' | b'r' | b't')
}

/// The digits of a stretch of text.
fn digits(bytes: &[u8]) -> impl Iterator<Item = u8> + Clone {
    bytes.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::string_slice)]
    use super::*;

    fn finds(text: &str) -> Vec<(&str, &'static str)> {
        let found = PiiDetector::new().unwrap().find(text);
        found.into_iter().map(|(span, kind)| (&text[span], kind.category.as_str())).collect()
    }

    #[test]
    fn numbers_of_other_things_are_left_alone() {
        for text in [
            "Version 11.7.5 was released on 2024-02-11.",
            "Order 452631774 shipped in 592 boxes.",
            "Timestamp 1747729681, duration 190.480 ms.",
            "ISBN 978-3-16-148410-1, part no. 165-875-111",
            "id 550e8400-e29b-41d4-a716-446655440000",
            "at 2024-05-06T12:30:45.123Z and 01.02.2024 10:30",
            "Section 3.8.1.2 of std::vec::Vec, lat 52.368279, 13.162304",
            "card 4111111111111112 fails, 000-12-3456 and 900-12-3456 too",
        ] {
            assert_eq!(finds(text), [], "{text}");
        }
    }

    #[test]
    fn what_words_made_known_is_found_everywhere() {
        let text = "Call 9747 6578. PW: password=hunter2Zq9! On 9747 6578 say hunter2Zq9! and not 9747 65789.";
        let found: Vec<_> = finds(text).into_iter().map(|(value, _)| value).collect();
        assert_eq!(found, ["9747 6578", "hunter2Zq9!", "9747 6578", "hunter2Zq9!"]);
    }

    #[test]
    fn encoded_runs_are_found_whole() {
        assert_eq!(
            finds("run cGFzc3dvcmQ9aHVudGVyMlpxOSF4 and write to ann%40example.com"),
            [("cGFzc3dvcmQ9aHVudGVyMlpxOSF4", "pii.secret"), ("ann%40example.com", "pii.email")]
        );
        assert_eq!(finds("x 616e6e406578616d706c652e636f6d y"), [("616e6e406578616d706c652e636f6d", "pii.email")]);
    }

    #[test]
    fn disguised_digits_do_not_evade() {
        assert_eq!(
            finds("card ４１１１ １１１１ １１１１ １１１１!"),
            [("４１１１ １１１１ １１１１ １１１１", "pii.credit_card")]
        );
        assert_eq!(finds("ann\u{200b}@example.com"), [("ann\u{200b}@example.com", "pii.email")]);
        assert_eq!(finds("ssn 219\u{2011}09\u{2011}9999"), [("219\u{2011}09\u{2011}9999", "pii.ssn")]);
        assert_eq!(
            finds("+33\u{a0}1\u{a0}71\u{a0}78\u{a0}63\u{a0}39"),
            [("+33\u{a0}1\u{a0}71\u{a0}78\u{a0}63\u{a0}39", "pii.phone")]
        );
    }
}
