//! What is likely a mistake in a policy that can be used: rules that never decide, conditions that never hold.

use super::compiled::{ACTIONS, Alternatives, PolicySet, Rule};
use super::predicate::Reading;
use crate::fields::quote;
use crate::finding::{Category, Part};
use crate::glob::Glob;

const TOOL_ACTIONS: [&str; 2] = ["tool:execute", "tool:register"];

impl PolicySet {
    /// What is likely a mistake, one line each, naming the rule. An empty list is no proof that there is none.
    ///
    /// ```
    /// use kalguard_core::policy::PolicySet;
    /// let policy = PolicySet::compile(br#"{"rules": [
    ///     {"id": "all", "decision": "allow"}, {"id": "none", "decision": "deny", "match": {"tools": ["rm"]}}
    /// ]}"#)?;
    /// assert_eq!(policy.lint(), ["rule `none` (index 1): never decides: rule `all` (index 0) matches whatever it matches"]);
    /// # Ok::<(), kalguard_core::error::CompileError>(())
    /// ```
    #[must_use]
    pub fn lint(&self) -> Vec<String> {
        let mut told = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let place = |index: usize, rule: &Rule| format!("rule `{}` (index {index})", quote(&rule.id));
            let tell = |what: String| format!("{}: {what}", place(index, rule));
            if let Some(what) = rule.impossible() {
                told.push(tell(what));
                continue;
            }
            let earlier = self.rules.iter().take(index).enumerate().find(|(_, earlier)| earlier.covers(rule));
            if let Some((at, earlier)) = earlier {
                told.push(tell(format!("never decides: {} matches whatever it matches", place(at, earlier))));
            }
        }
        told
    }
}

impl Rule {
    /// Whether this rule matches every request that `other` matches. `false` may mean that it cannot be told.
    pub(super) fn covers(&self, other: &Self) -> bool {
        covers(self.agent_ids.as_ref(), other.agent_ids.as_ref())
            && covers(self.actions.as_ref(), other.actions.as_ref())
            && covers(self.tools.as_ref(), other.tools.as_ref())
            && self
                .attributes
                .iter()
                .all(|(name, wide)| other.attributes.iter().any(|(given, narrow)| given == name && wide.covers(narrow)))
            && self.covers_arguments(other)
            && match (&self.findings, &other.findings) {
                (None, _) => true,
                (Some(own), Some(other)) => own.cover(other),
                (Some(_), None) => false,
            }
    }

    fn covers_arguments(&self, other: &Self) -> bool {
        let read_alike = self.reading() == Reading::Wide || other.reading() == Reading::Strict;
        self.arguments.is_empty()
            || read_alike
                && self.arguments.iter().all(|own| other.arguments.iter().any(|condition| own.covers(condition)))
    }

    /// Why no request can meet all conditions, if none can.
    fn impossible(&self) -> Option<String> {
        let asked = |action: &&str| self.actions.as_ref().is_none_or(|actions| actions.hold_for(action));
        let actions: Vec<_> = ACTIONS.iter().copied().filter(asked).collect();
        if actions.is_empty() {
            return Some(format!("`match.actions` names no action: there are `{}`", ACTIONS.join("`, `")));
        }
        let conditions = [
            ("tools", self.tools.as_ref().is_some_and(|tools| !tools.hold_for_nothing()), &TOOL_ACTIONS[..]),
            ("attributes.toolName", self.names_attribute("toolName"), &TOOL_ACTIONS),
            ("attributes.messageCount", self.names_attribute("messageCount"), &["prompt:check"]),
            ("arguments", !self.arguments.is_empty(), &["tool:execute"]),
            ("findings", self.findings.is_some(), &["tool:execute"]),
        ];
        let mut left = actions;
        for (name, asked, with) in conditions {
            left.retain(|action| !asked || with.contains(action));
            if left.is_empty() {
                let with = with.join("`, `");
                return Some(format!("never matches: `match.{name}` goes with `{with}` only, and the rest does not"));
            }
        }
        let found = Category::ALL.into_iter().filter(|category| category.part() == Part::Pii);
        let names_none = |glob: &&Glob| !found.clone().any(|category| glob.matches(category.as_str()));
        self.findings.as_ref()?.globs().iter().find(names_none)?;
        Some("`match.findings` has a value that names no `pii` category: nothing else is found in arguments".to_owned())
    }

    fn names_attribute(&self, name: &str) -> bool {
        self.attributes.iter().any(|(given, _)| given == name)
    }
}

fn covers(own: Option<&Alternatives>, other: Option<&Alternatives>) -> bool {
    match (own, other) {
        (None, _) => true,
        (Some(own), Some(other)) => own.cover(other),
        (Some(own), None) => own.hold_for_nothing(),
    }
}
