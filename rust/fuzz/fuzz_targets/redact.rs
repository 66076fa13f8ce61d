//! Redaction: what was found is gone, nothing of its kind comes about by taking it out, and the rest stays.
#![no_main]

use std::collections::BTreeSet;

use kalguard_core::finding::{Category, Finding, Part};
use kalguard_core::pii::PiiDetector;
use kalguard_core::scanner::{Scan, Segment};
use kalguard_core::text::Span;
use kalguard_fuzz::{SHIPPED, conversation};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static PII: LazyLock<PiiDetector> = LazyLock::new(|| PiiDetector::new().expect("the detectors compile"));

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let segments = conversation(&text);
    let (scan, findings) = SHIPPED.explain(&segments);
    if scan.texts.is_empty() {
        return;
    }
    for (index, segment) in segments.iter().enumerate() {
        let spans = removed(&scan, &findings, index);
        match scan.texts.get(index).and_then(Option::as_deref) {
            Some(sanitized) => keeps_the_rest(segment.text, sanitized, &spans),
            None => assert!(spans.is_empty(), "what was found at {spans:?} is still there"),
        }
    }
    nothing_is_left(&segments, &scan, &findings);
});

/// What has to be taken out of a segment, each with its placeholder, in order.
fn removed(scan: &Scan, findings: &[Finding<'_>], segment: usize) -> Vec<(Span, &'static str)> {
    let goes = |finding: &&Finding<'_>| match finding.category.part() {
        Part::Pii => true,
        Part::Injection => scan.assessment.score >= 50,
        _ => false,
    };
    let here = findings.iter().filter(|finding| finding.segment == segment && !finding.span.is_empty());
    let mut spans: Vec<_> =
        here.filter(goes).map(|finding| (finding.span.clone(), finding.category.placeholder())).collect();
    spans.sort_by_key(|(span, _)| (span.start, span.end));
    spans
}

/// Scanning what came out finds no more personal data of the kinds that were replaced.
fn nothing_is_left(segments: &[Segment<'_>], scan: &Scan, findings: &[Finding<'_>]) {
    let replaced: BTreeSet<Category> =
        findings.iter().map(|finding| finding.category).filter(|category| category.part() == Part::Pii).collect();
    let texts = segments.iter().zip(&scan.texts);
    let sanitized: Vec<_> =
        texts.map(|(segment, text)| Segment { text: text.as_deref().unwrap_or(segment.text), ..*segment }).collect();
    for left in SHIPPED.explain(&sanitized).1.iter().filter(|finding| replaced.contains(&finding.category)) {
        let text = sanitized[left.segment].text;
        panic!("{} in {text:?} after redaction: {:?}", left.id, text.get(left.span.clone()));
    }
}

/// What stands between placeholders stood in the text, in this order, outside what was found.
fn keeps_the_rest(text: &str, sanitized: &str, spans: &[(Span, &'static str)]) {
    let kept = pieces(text, &outside(text, spans));
    let mut rest = kept.as_slice();
    let mut at = 0;
    for piece in without_placeholders(sanitized) {
        let found = loop {
            let (first, others) =
                rest.split_first().unwrap_or_else(|| panic!("{piece:?} in {sanitized:?} is not from {text:?}"));
            if let Some(place) = first.get(at..).and_then(|first| first.find(piece)) {
                break at + place + piece.len();
            }
            (rest, at) = (others, 0);
        };
        at = found;
    }
    let whole: String = kept.concat();
    let sum: usize = without_placeholders(sanitized).map(str::len).sum();
    if sum < without_placeholders(&whole).map(str::len).sum() {
        let first = placed(text, spans);
        assert!(!PII.find(&first).is_empty(), "{sanitized:?} lacks more of {text:?} than was found");
    }
}

/// The text with a placeholder where something was found, once.
fn placed(text: &str, spans: &[(Span, &'static str)]) -> String {
    let (mut out, mut at) = (String::new(), 0);
    for (span, placeholder) in spans {
        if span.end > at {
            out.push_str(text.get(at..span.start).unwrap_or_default());
            out.push_str(placeholder);
            at = span.end;
        }
    }
    out + &text[at..]
}

/// The spans between those that were found.
fn outside(text: &str, spans: &[(Span, &'static str)]) -> Vec<Span> {
    let (mut outside, mut at) = (Vec::new(), 0);
    for (span, _) in spans {
        if span.start > at {
            outside.push(at..span.start);
        }
        at = at.max(span.end);
    }
    outside.push(at..text.len());
    outside
}

/// What stands in these spans; placeholders that somebody wrote are no part of it.
fn pieces<'a>(text: &'a str, spans: &[Span]) -> Vec<&'a str> {
    spans.iter().flat_map(|span| without_placeholders(text.get(span.clone()).expect("on boundaries"))).collect()
}

fn without_placeholders(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    let placeholders: BTreeSet<_> = Category::ALL.iter().map(|category| category.placeholder()).collect();
    std::iter::from_fn(move || {
        let left = rest?;
        let first = placeholders.iter().filter_map(|placeholder| Some((left.find(placeholder)?, placeholder.len())));
        match first.min() {
            Some((at, length)) => {
                rest = Some(&left[at + length..]);
                Some(&left[..at])
            }
            None => rest.take(),
        }
    })
    .filter(|piece| !piece.is_empty())
}
