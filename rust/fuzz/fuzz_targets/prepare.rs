//! Text preparation: every reading can be made of every text, and leads back to where it came from.
#![no_main]

use kalguard_core::text::decode::{MAX_DEPTH, decode, decode_runs};
use kalguard_core::text::disguise::disguises;
use kalguard_core::text::fold::{fold, narrow};
use kalguard_core::text::splice::{splice, unspace};
use kalguard_core::text::survey::Survey;
use kalguard_core::text::{Span, View, align, tag_runs};
use libfuzzer_sys::fuzz_target;

/// All readings of one text together may be this many times as long, or they are not read further.
const READINGS: usize = 16;
/// The readings of one text at one level may be this many times as long.
const WIDEST: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut budget = READINGS * text.len();
    read(&text, 0, &mut budget);
});

fn read(text: &str, depth: usize, budget: &mut usize) {
    let folded = fold(text);
    leads_back(&folded, text);
    keeps_letters(&folded, text, |part| fold(part).text().to_owned());
    blanks(&folded);
    let runs = tag_runs(text);
    runs.iter().for_each(|span| is_on_boundaries(text, span));
    assert!(runs.is_sorted_by(|a, b| a.end <= b.start), "runs of tags are apart, and in order");
    if let Some(view) = narrow(text) {
        leads_back(&view, text);
        keeps_letters(&view, text, |part| narrow(part).map_or(part.to_owned(), |view| view.text().to_owned()));
        assert_ne!(view.text(), text, "a reading that is the text is none");
    }

    let survey = Survey::of(folded.text());
    let spelt = disguises(folded.text(), &survey);
    spelt.iter().for_each(|view| leads_back(view, folded.text()));
    let mut views = decode(text, &survey);
    views.iter().for_each(|view| leads_back(view, text));
    // What the survey does not ask for must work all the same.
    let unasked = decode_runs(text).into_iter().chain(unspace(text)).chain(splice(text));
    unasked.for_each(|view| leads_back(&view, text));

    views.extend(spelt);
    let bytes: usize = views.iter().map(|view| view.text().len()).sum();
    assert!(bytes <= WIDEST * text.len(), "{bytes} bytes read from {}", text.len());
    for view in views.iter().filter(|_| depth + 1 < MAX_DEPTH) {
        if let Some(left) = budget.checked_sub(view.text().len()) {
            *budget = left;
            read(view.text(), depth + 1, budget);
        }
    }
}

/// Each character stands for characters of the source, and a longer stretch for all that its characters stand for.
fn leads_back(view: &View, source: &str) {
    let (mut first, mut last) = (usize::MAX, 0);
    for (at, c) in view.text().char_indices() {
        let from = view.origin(at..at + c.len_utf8());
        is_on_boundaries(source, &from);
        first = first.min(from.start);
        last = last.max(from.end);
        let so_far = view.origin(0..at + c.len_utf8());
        is_on_boundaries(source, &so_far);
        assert_eq!(so_far, first..last, "a stretch stands for what its characters stand for");
    }
}

/// What a character stands for reads as this character.
fn keeps_letters(view: &View, source: &str, reading: impl Fn(&str) -> String) {
    // Quadratic where a text stands for itself as one stretch; a look at the first of it is enough.
    for (at, c) in view.text().char_indices().take(64) {
        let part = source.get(view.origin(at..at + c.len_utf8())).expect("origins are on boundaries");
        assert!(reading(part).contains(c), "{c:?} is not in {part:?}");
    }
}

fn is_on_boundaries(text: &str, span: &Span) {
    assert!(span.start <= span.end && text.get(span.clone()).is_some(), "{span:?} is no part of {text:?}");
}

/// Spans of any kind can be widened to characters and blanked, and nothing moves.
fn blanks(view: &View) {
    let (text, length) = (view.text().to_owned(), view.text().len());
    for at in 0..length.min(32) {
        let span = align(&text, at..at + 2);
        is_on_boundaries(&text, &span);
        assert!(span.start <= at && span.end >= (at + 2).min(length));
    }
    let (third, rest) = (length / 3, length - length / 3);
    let blanked = view.clone().blank(&[0..third, rest..length]);
    assert_eq!(blanked.text().len(), length);
    assert_eq!(blanked.origin(0..length), view.origin(0..length));
}
