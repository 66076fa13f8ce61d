//! Secrets: keys with a known form, private keys, and values assigned to names that say secret.
//!
//! All beginnings are found in one pass over the text; what follows each is then read by hand.

mod assigned;
mod formats;
mod shapes;

use super::{Found, Kind, email};
use crate::error::CompileError;
use crate::finding::Category;
use crate::needles::Needles;
use crate::text::{Span, align};
pub(super) use formats::Body;
use formats::FORMATS;

const KNOWN_SCORE: u8 = 35;
const KNOWN_CERTAINTY: u8 = 10;
const ASSIGNED: Kind = Kind::new("secret.assigned", Category::Secret, 30, 5).by_words();

/// What stands at a beginning.
#[derive(Debug, Clone, Copy)]
enum Reader {
    /// A form of the table, by its index.
    Format(usize),
    /// A form with a rule of its own, and the id of its detector.
    Shape(&'static str, fn(&str, Span) -> Option<Span>),
    /// A name that says secret.
    Name(assigned::Name),
    /// `(at)` in an address.
    AtSign,
}

/// Finder of all secrets, compiled.
#[derive(Debug)]
pub(super) struct Secrets {
    beginnings: Needles,
    readers: Vec<Reader>,
}

impl Secrets {
    pub(super) fn new() -> Result<Self, CompileError> {
        let formats = FORMATS.iter().enumerate().map(|(index, format)| (format.prefix, Reader::Format(index)));
        let shapes = shapes::SHAPES.iter().map(|&(part, id, read)| (part, Reader::Shape(id, read)));
        let names = assigned::NAMES.iter().map(|&(part, name)| (part, Reader::Name(name)));
        let signs = ["(at)", "[at]", "{at}", "[@]"].into_iter().map(|part| (part, Reader::AtSign));
        let (parts, readers): (Vec<_>, Vec<_>) = formats.chain(shapes).chain(names).chain(signs).unzip();
        let beginnings = Needles::new(&parts).map_err(|error| CompileError::Pattern(error.to_string()))?;
        Ok(Self { beginnings, readers })
    }

    pub(super) fn find(&self, text: &str, found: &mut Vec<Found>) {
        let mut read_to = 0;
        self.beginnings.find(text, |part, at| {
            let Some(reader) = self.readers.get(part).filter(|_| at.start >= read_to) else { return };
            let hit = match *reader {
                Reader::Format(index) => FORMATS.get(index).and_then(|format| {
                    let kind = Kind::new(format.id, Category::Secret, KNOWN_SCORE, KNOWN_CERTAINTY);
                    format.read(text, at).map(|span| (span, kind))
                }),
                Reader::Shape(id, read) => {
                    read(text, at).map(|span| (span, Kind::new(id, Category::Secret, KNOWN_SCORE, KNOWN_CERTAINTY)))
                }
                Reader::Name(name) => assigned::read(text, at, name).map(|span| (span, ASSIGNED)),
                Reader::AtSign => email::spelled_out(text, at),
            };
            if let Some((span, kind)) = hit {
                read_to = span.end;
                found.push((align(text, span), kind));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::string_slice)]
    use super::*;

    fn finds(text: &str) -> Vec<&str> {
        let mut found = Vec::new();
        Secrets::new().unwrap().find(text, &mut found);
        found.into_iter().map(|(span, _)| &text[span]).collect()
    }

    #[test]
    fn several_secrets_in_one_text_are_all_found() {
        let (first, second) = ("a1B2c3D4e5F6g7H8".repeat(2), "0123456789abcdef".repeat(2));
        let text = format!("PASSWORD=hunter2Zq9!x gh{}{first} and dapi{second}, ann (at) example (dot) org", "p_");
        assert_eq!(
            finds(&text),
            [
                "hunter2Zq9!x".to_owned(),
                format!("gh{}{first}", "p_"),
                format!("dapi{second}"),
                "ann (at) example (dot) org".to_owned()
            ]
        );
    }

    #[test]
    fn hashes_identifiers_and_packages_are_no_secrets() {
        for text in [
            "commit 9e7d850a5a7707e5ca0911d33380a131c58ed918",
            "id 550e8400-e29b-41d4-a716-446655440000",
            "\"integrity\": \"sha512-q8Zt21kLmX03q8Zt21kLmX03q8Zt21kLmX03q8Zt21kLmX03q8Zt21kLmX03q8Zt21kLmX03q8Zt2w==\"",
            "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4",
            "task-based risk-averse desk-2 asked",
            "see docs/passwords2.md and tokens_per_second=4096",
        ] {
            assert_eq!(finds(text), Vec::<&str>::new(), "{text}");
        }
    }
}
