//! The scanner: it answers whatever is said, always the same, and more of it is never less of a risk.
#![no_main]

use kalguard_core::scanner::{Action, Scan, Scanner, Segment};
use kalguard_fuzz::{SHIPPED, STRICT, WATCHING, conversation};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let segments = conversation(&text);
    let shipped = scan(&SHIPPED, &segments);
    for scanner in [&SHIPPED, &STRICT] {
        let fresh = scanner.scan(&segments);
        assert!((0..2).all(|_| scanner.scan_for("ann", &segments) == fresh), "the same answer with a memory, and again");
    }
    assert_eq!(shipped.action == Action::Block, shipped.assessment.score >= 70);
    assert_eq!(shipped.monitored, None);

    let watched = scan(&WATCHING, &segments);
    assert_eq!((watched.action, watched.monitored), (Action::Allow, some_action(shipped.action)));
    assert_eq!((watched.assessment, &watched.findings), (shipped.assessment, &shipped.findings));

    let strict = scan(&STRICT, &segments);
    assert!(strict.monitored.is_none_or(|would| would > strict.action));

    if let Some(last) = segments.last().filter(|last| last.message > 0) {
        let before: Vec<_> = segments.iter().filter(|segment| segment.message < last.message).copied().collect();
        for (scanner, all) in [(&SHIPPED, shipped.assessment.score), (&STRICT, strict.assessment.score)] {
            let less = scanner.scan(&before).assessment.score;
            assert!(less <= all, "{less} without the last message, {all} with it");
        }
    }
});

/// Scan, and check what holds for every scan.
fn scan(scanner: &Scanner, segments: &[Segment<'_>]) -> Scan {
    let (scan, findings) = scanner.explain(segments);
    assert!(scan.assessment.score <= 100);
    for finding in &findings {
        let text = segments.get(finding.segment).expect("a finding is in a segment").text;
        assert!(text.get(finding.span.clone()).is_some(), "{finding:?} is no part of the text");
    }
    assert!(scan.findings.iter().all(|told| findings.iter().any(|finding| finding.category == told.category)));
    if scan.action == Action::Sanitize {
        assert_eq!(scan.texts.len(), segments.len());
        assert!(scan.texts.iter().any(Option::is_some));
        for (segment, changed) in segments.iter().zip(&scan.texts) {
            assert_ne!(Some(segment.text), changed.as_deref(), "what is told to be changed is");
        }
    } else {
        assert!(scan.texts.is_empty());
    }
    scan
}

fn some_action(action: Action) -> Option<Action> {
    (action > Action::Allow).then_some(action)
}
