//! Tool calls: personal data and secrets in their arguments.

use std::collections::BTreeMap;

use super::Scanner;
use super::answer::distinct;
use crate::arguments::Arguments;
use crate::finding::{Category, Finding, Part};
use crate::risk::combine;

impl Scanner {
    /// Personal data and secrets in the arguments of a tool call: each category with its score, in the order of the
    /// categories. Each text is a line behind the key it stands under, which often says what it is.
    #[must_use]
    pub fn find_in_arguments(&self, arguments: &Arguments) -> Vec<(Category, u8)> {
        if !self.config.check_pii {
            return Vec::new();
        }
        let mut lines = String::new();
        arguments.for_each_text(|key, text| {
            if !key.is_empty() {
                lines.push_str(key);
                lines.push_str(": ");
            }
            lines.push_str(text);
            lines.push_str("\n\n");
        });
        let mut findings = Vec::new();
        self.find_pii(0, &lines, &mut findings);
        let own = if self.has_own_pii { self.detector.detect(&lines, false) } else { Vec::new() };
        findings.extend(own.into_iter().filter(|found| found.category.part() == Part::Pii).map(|found| Finding {
            id: found.id,
            category: found.category,
            segment: 0,
            span: 0..0,
            score: found.score,
        }));
        let mut by_category: BTreeMap<Category, Vec<u8>> = BTreeMap::new();
        for hit in distinct(&findings) {
            by_category.entry(hit.category).or_default().push(hit.score);
        }
        by_category.into_iter().map(|(category, scores)| (category, combine(scores))).collect()
    }
}
