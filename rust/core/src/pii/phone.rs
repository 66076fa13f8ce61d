//! Telephone numbers: by number plan where the form is telling, by the words around where it is not.

use regex::bytes::Regex;

use super::{Found, Kind, contains_any, digits, expression, stands_alone, words_before};
use crate::error::CompileError;
use crate::finding::Category;
use crate::text::Span;

const PHONE: Kind = Kind::new("pii.phone", Category::Phone, 12, 4);
const PHONE_IN_CONTEXT: Kind = Kind::new("pii.phone_in_context", Category::Phone, 12, 3);

/// Words that make a number a telephone number.
const PHONE_WORDS: &[&str] = &[
    "phone",
    "tel",
    "mobile",
    "cell",
    "call",
    "fax",
    "whatsapp",
    "answering at",
    "reach me",
    "reach us",
    "text me",
    "ring ",
    "dial",
    "sms",
    "hotline",
    "handy",
    "móvil",
    "mobil",
    "numéro",
    "contact number",
    "number is",
];
/// Words after it that do.
const PHONE_SUFFIXES: &[&str] = &["-office", "-fax", "-mobile", "-home", "-cell", "-work"];
/// Words that make it a number of something else.
const OTHER_WORDS: &[&str] = &[
    "order",
    "invoice",
    "isbn",
    "issn",
    "part no",
    "version",
    "build",
    "timestamp",
    "ticket",
    "serial",
    "tracking",
    "sku",
    "commit",
    "case n",
    "ref.",
    "reference",
    "account",
    "card",
    "ssn",
    "social security",
    "passport",
    "date",
    "born",
    "licen",
    "coordinates",
    "zip",
    "policy",
    "id:",
    " id ",
    "row",
    "port",
    "pid",
    "error code",
    "customer n",
    "flight",
    "iban",
];

#[derive(Debug)]
pub(super) struct Phones {
    /// Forms that nothing else has, with the least and the most digits.
    telling: Vec<(Regex, usize, usize)>,
    /// Any short group of digits.
    plain: Regex,
}

impl Phones {
    pub(super) fn new() -> Result<Self, CompileError> {
        const EXTENSION: &str = r"(?: ?(?:x|ext\.?|extension) ?\d{1,6})?";
        let telling = [
            (
                format!(r"\+\d{{1,3}}[ .-]?(?:\(\d{{1,4}}\)[ .-]?)?\d{{1,5}}(?:[ ./-]?\d{{2,5}}){{1,5}}{EXTENSION}"),
                8,
                15,
            ),
            (format!(r"\b00\d{{1,3}}[ .-]\d{{2,4}}(?:[ .-]?\d{{2,4}}){{1,4}}{EXTENSION}"), 10, 16),
            (format!(r"(?:\b1[ .-]?)?\(\d{{3}}\) ?\d{{3}}[ .-]\d{{4}}{EXTENSION}"), 10, 11),
            (
                format!(
                    r"\b(?:1[ .-])?[2-9]\d{{2}}(?:-\d{{3}}-|\.\d{{3}}\.| \d{{3}} |-\d{{3}} |-\d{{3}}\.)\d{{4}}{EXTENSION}"
                ),
                10,
                11,
            ),
            (r"\(0?\d{1,4}\) ?\d{3,5}[ -]\d{3,4}(?:[ -]\d{2,4})?".to_owned(), 8, 12),
            (r"\b0\d{1,4}[ /-]\d{2,8}(?:[ -]\d{2,4}){0,4}".to_owned(), 9, 11),
            (r"\b0\d(?:[. -]\d\d){4}".to_owned(), 10, 10),
        ];
        let telling = telling
            .iter()
            .map(|(form, least, most)| Ok((expression(form)?, *least, *most)))
            .collect::<Result<_, CompileError>>()?;
        Ok(Self {
            telling,
            plain: expression(r"\d{2,4}(?:[ -]\d{2,8}){1,4}|\d{7,11}|\(\d{2,4}\) ?\d{2,4}[ -]\d{2,4}")?,
        })
    }

    pub(super) fn find(&self, text: &str, found: &mut Vec<Found>) {
        let bytes = text.as_bytes();
        for (form, least, most) in &self.telling {
            for span in form.find_iter(bytes).map(|hit| hit.range()) {
                let count = text.get(span.clone()).map_or(0, number_of_digits);
                if (*least..=*most).contains(&count)
                    && is_free(text, &span)
                    && !is_date(text, &span)
                    && !is_other(text, &span)
                {
                    found.push((span, PHONE));
                }
            }
        }
        for span in self.plain.find_iter(bytes).map(|hit| hit.range()) {
            let count = text.get(span.clone()).map_or(0, number_of_digits);
            if (6..=12).contains(&count)
                && is_called_phone(text, &span)
                && is_free(text, &span)
                && !is_date(text, &span)
            {
                found.push((span, PHONE_IN_CONTEXT));
            }
        }
    }
}

/// Digits before an extension.
fn number_of_digits(written: &str) -> usize {
    let main = written.find(['x', 'e']).and_then(|at| written.get(..at)).unwrap_or(written);
    digits(main).len()
}

/// Whether a number that begins with 0 goes on from the digits before it.
fn goes_on(text: &str, span: &Span) -> bool {
    let bytes = text.as_bytes();
    let before = |back: usize| span.start.checked_sub(back).and_then(|at| bytes.get(at));
    bytes.get(span.start) == Some(&b'0') && before(1) == Some(&b' ') && before(2).is_some_and(u8::is_ascii_digit)
}

/// A label such as `-Office` may follow; a further digit group may not.
fn is_free(text: &str, span: &Span) -> bool {
    let groups = text.get(span.clone()).unwrap_or_default().split(['-', ' ']).map(str::len);
    if groups.eq([3, 2, 4]) {
        return false; // the form of a social security number, valid or not
    }
    let before = text.as_bytes().get(span.start.wrapping_sub(1)).copied();
    stands_alone(text, span) && !goes_on(text, span) && !matches!(before, Some(b'-' | b'.' | b'#' | b'$'))
}

fn is_other(text: &str, span: &Span) -> bool {
    let before = words_before(text, span, 24);
    contains_any(&before, OTHER_WORDS) && !contains_any(&before, PHONE_WORDS)
}

fn is_called_phone(text: &str, span: &Span) -> bool {
    let after: String =
        text.get(span.end..).unwrap_or_default().chars().take(8).collect::<String>().to_ascii_lowercase();
    let before = words_before(text, span, 32);
    let called = contains_any(&before, PHONE_WORDS) && !contains_any(&before, OTHER_WORDS);
    called || contains_any(&after, PHONE_SUFFIXES) || after.starts_with(" (tel") || after.starts_with(" (phone")
}

/// Whether what looks like a number starts as a date does.
fn is_date(text: &str, span: &Span) -> bool {
    let Some(written) = text.get(span.clone()) else { return true };
    let groups: Vec<&str> = written.split(['-', '/', '.', ' ']).collect();
    let number = |group: Option<&&str>, len: usize| {
        group.filter(|group| group.len() == len).and_then(|group| group.parse::<u32>().ok())
    };
    let year_first = number(groups.first(), 4).is_some_and(|year| (1900..=2100).contains(&year))
        && number(groups.get(1), 2).is_some_and(|month| month <= 12)
        && number(groups.get(2), 2).is_some_and(|day| day <= 31);
    let year_last = number(groups.get(2), 4).is_some_and(|year| (1900..=2100).contains(&year))
        && number(groups.first(), 2).is_some_and(|day| day <= 31)
        && number(groups.get(1), 2).is_some_and(|month| month <= 31);
    year_first || year_last
}
