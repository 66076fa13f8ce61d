//! What a policy would have said about a request of which not everything is on record.
//!
//! The audit log holds who asked for what, and neither attributes nor arguments. So a rule may match, or not, or it
//! cannot be told; what the log says about the policy of then helps to tell.

use std::collections::BTreeSet;

use super::compiled::{Alternatives, Decision, PolicySet, Rule};

/// What is on record of a request.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// Who asked, as verified.
    pub agent_id: &'a str,
    /// What for.
    pub action: &'a str,
    /// With which tool. `None` for a tool action: with one whose name is not on record.
    pub tool: Option<&'a str>,
    /// Attributes that are known. That others are not given does not mean that there were none.
    pub attributes: &'a [(&'a str, &'a str)],
    /// What was found in the arguments, where that is on record.
    pub findings: Option<&'a [&'a str]>,
    /// What decided then.
    pub decided: Option<Decided<'a>>,
}

/// The policy that decided then, and by which rule.
#[derive(Debug, Clone, Copy)]
pub struct Decided<'a> {
    /// The policy.
    pub policy: &'a PolicySet,
    /// The rule; `None` where the default decided.
    pub rule_id: Option<&'a str>,
}

/// Whether a rule matched, as far as can be told: `None` is that it cannot.
type Told = Option<bool>;

impl PolicySet {
    /// The decisions that this policy may come to: one, where everything that matters is on record.
    #[must_use]
    pub fn possible(&self, request: &Recorded<'_>) -> BTreeSet<Decision> {
        let facts = request.decided.map(|decided| Facts::new(&decided)).unwrap_or_default();
        let mut possible = BTreeSet::new();
        for rule in &self.rules {
            match facts.tell(rule).or_else(|| rule.told(request)) {
                Some(false) => {}
                None => {
                    possible.insert(rule.decision);
                }
                Some(true) => {
                    possible.insert(rule.decision);
                    return possible;
                }
            }
        }
        possible.insert(self.default_decision);
        possible
    }
}

/// What follows from which rule decided: it matched, and none before it did.
#[derive(Default)]
struct Facts<'a> {
    matched: Option<&'a Rule>,
    failed: &'a [Rule],
}

impl<'a> Facts<'a> {
    fn new(decided: &Decided<'a>) -> Self {
        let rules = &decided.policy.rules;
        let Some(id) = decided.rule_id else { return Self { matched: None, failed: rules } };
        match rules.iter().position(|rule| rule.id == id) {
            Some(at) => Self { matched: rules.get(at), failed: rules.get(..at).unwrap_or_default() },
            None => Self::default(),
        }
    }

    fn tell(&self, rule: &Rule) -> Told {
        if self.matched.is_some_and(|matched| rule.covers(matched)) {
            return Some(true);
        }
        self.failed.iter().any(|failed| failed.covers(rule)).then_some(false)
    }
}

impl Rule {
    fn told(&self, request: &Recorded<'_>) -> Told {
        let attribute =
            |name: &str| request.attributes.iter().find(|(given, _)| *given == name).map(|(_, value)| *value);
        let attributes =
            self.attributes.iter().map(|(name, pattern)| attribute(name).map(|value| pattern.matches(value)));
        let no_arguments = (request.action != "tool:execute").then_some(false);
        let findings = self.findings.as_ref().map(|kinds| match request.findings {
            Some(found) => Some(found.iter().any(|found| kinds.hold_for(found))),
            None => no_arguments,
        });
        let all = [
            told(self.agent_ids.as_ref(), Some(request.agent_id), true),
            told(self.actions.as_ref(), Some(request.action), true),
            told(self.tools.as_ref(), request.tool, request.action == "prompt:check"),
        ];
        let arguments = self.arguments.iter().map(|_| no_arguments);
        let all: Vec<Told> = all.into_iter().chain(attributes).chain(findings).chain(arguments).collect();
        if all.contains(&Some(false)) {
            return Some(false);
        }
        all.iter().all(|told| *told == Some(true)).then_some(true)
    }
}

/// `known`: that nothing is given means that there was nothing.
fn told(condition: Option<&Alternatives>, given: Option<&str>, known: bool) -> Told {
    match (condition, given) {
        (None, _) => Some(true),
        (Some(alternatives), Some(text)) => Some(alternatives.hold_for(text)),
        (Some(alternatives), None) if known || alternatives.hold_for_nothing() => Some(alternatives.hold_for_nothing()),
        (Some(_), None) => None,
    }
}
