//! Personal data and secrets: where they are in a text.
//!
//! Candidates come from small regular expressions; what decides is arithmetic (Luhn, mod 97, number plans) and the
//! words around. Looked for in the text as written, and again with widths levelled and invisible characters gone.
//! Never more than spans: the text found is not kept.

mod numbers;
mod phone;
mod secrets;

use regex::bytes::{Regex, RegexBuilder};

use crate::error::CompileError;
use crate::finding::Category;
use crate::redact::without_overlaps;
use crate::text::fold::narrow;
use crate::text::{Span, align};

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
}

impl Kind {
    const fn new(id: &'static str, category: Category, score: u8, certainty: u8) -> Self {
        Self { id, category, score, certainty }
    }
}

/// A find and its place in the text.
pub type Found = (Span, Kind);

const EMAIL: Kind = Kind::new("pii.email", Category::Email, 12, 6);

/// Detectors for all kinds, compiled.
#[derive(Debug)]
pub struct PiiDetector {
    email: Regex,
    numbers: numbers::Numbers,
    phones: phone::Phones,
    secrets: secrets::Secrets,
}

impl PiiDetector {
    /// Compile the detectors.
    ///
    /// # Errors
    /// [`CompileError::Pattern`]; the tests see to it that it does not happen.
    pub fn new() -> Result<Self, CompileError> {
        Ok(Self {
            email: expression(
                r"[A-Za-z0-9\x80-\xff!#$%&'*+/=?^_{|}~-][A-Za-z0-9\x80-\xff.!#$%&'*+/=?^_{|}~-]{0,63}@(?:[A-Za-z0-9\x80-\xff](?:[A-Za-z0-9\x80-\xff-]{0,61}[A-Za-z0-9\x80-\xff])?\.){1,8}(?:[A-Za-z]{2,24}|xn--[a-z0-9-]{2,40})\b",
            )?,
            numbers: numbers::Numbers::new()?,
            phones: phone::Phones::new()?,
            secrets: secrets::Secrets::new()?,
        })
    }

    /// Everything found in a text, in order, without overlaps.
    #[must_use]
    pub fn find(&self, text: &str) -> Vec<Found> {
        let mut found = self.candidates(text);
        if let Some(view) = narrow(text) {
            let again = self.candidates(view.text());
            found.extend(again.into_iter().map(|(span, kind)| (view.origin(span), kind)));
        }
        without_overlaps(found, |(span, kind)| (kind.certainty, span.len()))
    }

    fn candidates(&self, text: &str) -> Vec<Found> {
        let mut found = Vec::new();
        if memchr::memchr(b'@', text.as_bytes()).is_some() {
            for hit in self.email.find_iter(text.as_bytes()) {
                found.push((align(text, trim_quotes(text, hit.range())), EMAIL));
            }
        }
        if text.bytes().any(|byte| byte.is_ascii_digit()) {
            self.numbers.find(text, &mut found);
            self.phones.find(text, &mut found);
        } else if memchr::memmem::find(text.as_bytes(), b"::").is_some() {
            self.numbers.find(text, &mut found);
        }
        self.secrets.find(text, &mut found);
        found
    }
}

/// An address in quotes or braces does not begin with them, though the grammar allows it.
fn trim_quotes(text: &str, mut span: Span) -> Span {
    while text.as_bytes().get(span.start).is_some_and(|byte| b"'{|}!#$%&*/=?^~-".contains(byte)) {
        span.start += 1;
    }
    span
}

fn expression(pattern: &str) -> Result<Regex, CompileError> {
    RegexBuilder::new(pattern).unicode(false).build().map_err(|error| CompileError::Pattern(error.to_string()))
}

/// Whether a number stands alone: it is no part of a word, of a longer number or of a dotted or dashed one.
fn stands_alone(text: &str, span: &Span) -> bool {
    let bytes = text.as_bytes();
    let at = |offset: Option<usize>| offset.and_then(|offset| bytes.get(offset)).copied();
    let (before, before2) = (at(span.start.checked_sub(1)), at(span.start.checked_sub(2)));
    let (after, after2) = (at(Some(span.end)), at(Some(span.end + 1)));
    let is_word = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let joins = |byte: Option<u8>| matches!(byte, Some(b'.' | b'-' | b':' | b'/' | b','));
    let goes_on = |sign: Option<u8>, next: Option<u8>| joins(sign) && next.is_some_and(|byte| byte.is_ascii_digit());
    let joined = is_word(before) || is_word(after) || goes_on(before, before2) || goes_on(after, after2);
    !joined
}

/// The words just before a span, in lower case.
fn words_before(text: &str, span: &Span, bytes: usize) -> String {
    let from = align(text, span.start.saturating_sub(bytes)..span.start);
    text.get(from).unwrap_or_default().to_ascii_lowercase()
}

fn contains_any(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

fn digits(text: &str) -> Vec<u8> {
    text.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0').collect()
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
    fn addresses_end_where_they_end() {
        assert_eq!(finds("mail 'ann.lee+x@mail.example.co.uk'."), [("ann.lee+x@mail.example.co.uk", "pii.email")]);
        assert_eq!(finds("jürgen@bücher.de"), [("jürgen@bücher.de", "pii.email")]);
        assert!(finds("@mention user@host a@b npm@10.2.1").is_empty());
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
    fn disguised_digits_do_not_evade() {
        assert_eq!(
            finds("card ４１１１ １１１１ １１１１ １１１１!"),
            [("４１１１ １１１１ １１１１ １１１１", "pii.credit_card")]
        );
        assert_eq!(finds("ann\u{200b}@example.com"), [("ann\u{200b}@example.com", "pii.email")]);
        assert_eq!(finds("ssn 219\u{2011}09\u{2011}9999"), [("219\u{2011}09\u{2011}9999", "pii.ssn")]);
    }
}
