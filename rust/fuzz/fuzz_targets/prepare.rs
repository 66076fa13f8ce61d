//! Text preparation: every reading can be made of every text, and leads back to where it came from.
#![no_main]

use kalguard_core::text::decode::{MAX_DEPTH, decode};
use kalguard_core::text::disguise::{backwards, suspect, unleet, unrot13, unspace};
use kalguard_core::text::fold::{fold, narrow};
use kalguard_core::text::{Span, View, align, tag_runs};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    read(&text, 0);
});

fn read(text: &str, depth: usize) {
    let folded = fold(text);
    leads_back(&folded, text);
    keeps_letters(&folded, text, |part| fold(part).text().to_owned());
    same_length(folded.text());
    let runs = tag_runs(text);
    runs.iter().for_each(|span| is_on_boundaries(text, span));
    assert!(runs.is_sorted_by(|a, b| a.end <= b.start), "runs of tags are apart, and in order");
    blanks(&folded);

    if let Some(view) = narrow(text) {
        leads_back(&view, text);
        keeps_letters(&view, text, |part| narrow(part).map_or(part.to_owned(), |view| view.text().to_owned()));
        assert_ne!(view.text(), text, "a reading that is the text is none");
    }
    if let Some(view) = unspace(text) {
        leads_back(&view, text);
        leads_back(&fold(view.text()), view.text());
    }
    if depth < MAX_DEPTH {
        let views = decode(text);
        let bytes: usize = views.iter().map(|view| view.text().len()).sum();
        assert!(bytes <= 4 * text.len(), "{bytes} bytes decoded from {}", text.len());
        for view in views {
            leads_back(&view, text);
            read(view.text(), depth + 1);
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

/// Disguises of a folded text keep its length, so that places stay what they are.
fn same_length(folded: &str) {
    let turned = unrot13(folded);
    assert_eq!(unrot13(&turned), folded);
    let mirrored = backwards(folded);
    assert_eq!(backwards(&mirrored), folded);
    let letters = unleet(folded);
    for other in [&turned, &mirrored].into_iter().chain(&letters) {
        assert_eq!(other.len(), folded.len());
        let _ = suspect(other);
    }
    if let Some(letters) = letters {
        assert!(folded.char_indices().map(|(at, _)| at).eq(letters.char_indices().map(|(at, _)| at)));
    }
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
