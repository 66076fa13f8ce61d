//! What is only watched: found, reported, and without effect.

use std::collections::BTreeSet;

use crate::error::CompileError;
use crate::fields::quote;
use crate::finding::{Category, Finding};

/// Ids of the learned scorer's evidence, which belongs to no pattern.
const LEARNED: [&str; 2] = ["learned.said", "learned.returned"];

/// What is only watched.
#[derive(Debug, Default)]
pub(crate) struct Monitored {
    categories: BTreeSet<Category>,
    ids: BTreeSet<String>,
}

impl Monitored {
    /// Read names of parts (`harmful`), categories (`injection.delimiter`) and patterns; `is_pattern` knows the latter.
    pub(crate) fn new(names: &[String], is_pattern: impl Fn(&str) -> bool) -> Result<Self, CompileError> {
        let mut monitored = Self::default();
        for name in names {
            // A phrase that the operator blocks goes on blocking when all that is harmful is watched.
            let in_part =
                |category: &Category| category.part().as_str() == name && *category != Category::BlockedPhrase;
            let named = |category: &Category| category.as_str() == name || in_part(category);
            let categories: Vec<_> = Category::ALL.into_iter().filter(named).collect();
            if categories.is_empty() && !is_pattern(name) && !LEARNED.contains(&name.as_str()) {
                let what = format!("`modes.{}` is no part, no category and no pattern", quote(name));
                return Err(CompileError::Pattern(what));
            }
            if categories.is_empty() {
                monitored.ids.insert(name.clone());
            }
            monitored.categories.extend(categories);
        }
        Ok(monitored)
    }

    /// Whether anything is.
    pub(crate) fn is_empty(&self) -> bool {
        self.categories.is_empty() && self.ids.is_empty()
    }

    /// Whether this finding has an effect.
    pub(crate) fn enforces(&self, finding: &Finding<'_>) -> bool {
        !self.categories.contains(&finding.category) && !self.ids.contains(finding.id)
    }
}
