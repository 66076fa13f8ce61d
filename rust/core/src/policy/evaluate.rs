//! Which rule comes first? Total, and without allocation but where an argument is read widely.

use super::compiled::{Alternatives, Decision, PolicySet, Rule};
use crate::arguments::Arguments;

/// What is asked: may this agent do this.
#[derive(Debug, Clone, Copy, Default)]
pub struct AccessRequest<'a> {
    /// Who asks, as verified.
    pub agent_id: &'a str,
    /// What for, such as `tool:execute`.
    pub action: &'a str,
    /// With which tool, where the action has one.
    pub tool: Option<&'a str>,
    /// What else is known about the request. INVARIANT: names are unique; of two equal ones the first would count.
    pub attributes: &'a [(&'a str, &'a str)],
    /// What the tool is to be called with, where it is.
    pub arguments: Option<&'a Arguments>,
    /// Categories of what was found in the arguments, such as `pii.email`.
    pub findings: &'a [&'a str],
}

/// The answer, and the rule that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evaluation<'p> {
    /// What was decided.
    pub decision: Decision,
    /// The rule that decided; `None` where the default did.
    pub rule_id: Option<&'p str>,
    /// The rule's reason, or one made from its id.
    pub reason: &'p str,
}

/// What became of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained<'p> {
    /// The rule.
    pub rule_id: &'p str,
    /// The first condition that did not hold: `agentIds`, `actions`, `tools`, `attributes.<name>`,
    /// `arguments.<pointer>` or `findings`. `None` where the rule matched, and so decided.
    pub failed: Option<String>,
}

/// A condition, named as the document names it.
enum Condition<'p> {
    AgentIds,
    Actions,
    Tools,
    Attribute(&'p str),
    Argument(&'p str),
    Findings,
}

impl PolicySet {
    /// The first rule that matches decides, the default where none does.
    #[must_use]
    pub fn evaluate(&self, request: &AccessRequest<'_>) -> Evaluation<'_> {
        match self.index.first(&self.rules, request, |rule| rule.first_failure(request).is_none()) {
            Some(rule) => Evaluation { decision: rule.decision, rule_id: Some(&rule.id), reason: &rule.reason },
            None => Evaluation { decision: self.default_decision, rule_id: None, reason: &self.default_reason },
        }
    }

    /// What became of each rule, in order, up to the one that decided.
    #[must_use]
    pub fn explain(&self, request: &AccessRequest<'_>) -> Vec<Explained<'_>> {
        let mut explained = Vec::new();
        for rule in &self.rules {
            let failed = rule.first_failure(request).map(|condition| condition.name());
            let decided = failed.is_none();
            explained.push(Explained { rule_id: &rule.id, failed });
            if decided {
                break;
            }
        }
        explained
    }
}

impl Rule {
    /// `None` where all conditions hold. The dear ones come last.
    fn first_failure(&self, request: &AccessRequest<'_>) -> Option<Condition<'_>> {
        if !holds(self.agent_ids.as_ref(), Some(request.agent_id)) {
            return Some(Condition::AgentIds);
        }
        if !holds(self.actions.as_ref(), Some(request.action)) {
            return Some(Condition::Actions);
        }
        if !holds(self.tools.as_ref(), request.tool) {
            return Some(Condition::Tools);
        }
        let failed = self.attributes.iter().find(|(name, pattern)| {
            // An attribute that the request lacks fails its condition: what is not known must not pass for known.
            !request.attributes.iter().find(|(given, _)| given == name).is_some_and(|(_, value)| pattern.matches(value))
        });
        if let Some((name, _)) = failed {
            return Some(Condition::Attribute(name));
        }
        if self.findings.as_ref().is_some_and(|kinds| !request.findings.iter().any(|found| kinds.hold_for(found))) {
            return Some(Condition::Findings);
        }
        let failed = self.arguments.iter().find(|condition| {
            !request.arguments.is_some_and(|arguments| condition.holds(arguments.value(), self.reading()))
        });
        failed.map(|condition| Condition::Argument(&condition.pointer))
    }
}

fn holds(condition: Option<&Alternatives>, given: Option<&str>) -> bool {
    match (condition, given) {
        (None, _) => true,
        (Some(alternatives), Some(text)) => alternatives.hold_for(text),
        (Some(alternatives), None) => alternatives.hold_for_nothing(),
    }
}

impl Condition<'_> {
    fn name(&self) -> String {
        match self {
            Self::AgentIds => "agentIds".to_owned(),
            Self::Actions => "actions".to_owned(),
            Self::Tools => "tools".to_owned(),
            Self::Attribute(name) => format!("attributes.{name}"),
            Self::Argument(pointer) => format!("arguments.{pointer}"),
            Self::Findings => "findings".to_owned(),
        }
    }
}
