//! From what was found to texts without it.

use std::collections::BTreeMap;

use super::{Action, Scanner, Segment};
use crate::finding::{Finding, Part};
use crate::redact::{merge, replace};
use crate::text::Span;

/// Replacing can bring two halves of a number together; this often is looked again.
const REDACTION_ROUNDS: usize = 8;

impl Scanner {
    pub(super) fn sanitize(
        &self,
        segments: &[Segment<'_>],
        findings: &[Finding<'_>],
        remove_injected: bool,
    ) -> (Action, Vec<Option<String>>) {
        let mut edits: BTreeMap<usize, Vec<&Finding<'_>>> = BTreeMap::new();
        for finding in findings.iter().filter(|finding| !finding.span.is_empty()) {
            match finding.category.part() {
                Part::Pii => edits.entry(finding.segment).or_default().push(finding),
                Part::Injection if remove_injected => edits.entry(finding.segment).or_default().push(finding),
                _ => {}
            }
        }
        let changed = |(index, segment): (usize, &Segment<'_>)| {
            edits.get(&index).map(|edits| self.redact(segment.text, edits)).filter(|text| text != segment.text)
        };
        let texts: Vec<_> = segments.iter().enumerate().map(changed).collect();
        if texts.iter().any(Option::is_some) { (Action::Sanitize, texts) } else { (Action::Allow, Vec::new()) }
    }

    /// Replace what was found. What is left is looked at again, since it is a different text.
    fn redact(&self, text: &str, findings: &[&Finding<'_>]) -> String {
        let spans = |part: Part| findings.iter().filter(move |finding| finding.category.part() == part);
        let injected = merge(spans(Part::Injection).map(|finding| finding.span.clone()).collect());
        let personal = spans(Part::Pii).map(|finding| (finding.span.clone(), finding.category.placeholder()));
        let covered = |span: &Span| {
            let next = injected.partition_point(|by| by.end < span.end);
            injected.get(next).is_some_and(|by| by.start <= span.start)
        };
        let mut edits: Vec<_> = personal.filter(|(span, _)| !covered(span)).collect();
        edits.extend(injected.iter().map(|span| (span.clone(), "[REDACTED]")));
        let mut redacted = replace(text, edits);
        for _ in 0..REDACTION_ROUNDS {
            let again = if self.config.check_pii { self.pii.find(&redacted) } else { Vec::new() };
            if again.is_empty() {
                break;
            }
            redacted =
                replace(&redacted, again.into_iter().map(|(span, kind)| (span, kind.category.placeholder())).collect());
        }
        redacted
    }
}
