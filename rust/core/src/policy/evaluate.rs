//! Which rule comes first? Total, without allocation.

use super::compiled::{Alternatives, Decision, PolicySet, Rule};

/// What is asked: may this agent do this.
#[derive(Debug, Clone, Copy)]
pub struct AccessRequest<'a> {
    /// Who asks, as verified.
    pub agent_id: &'a str,
    /// What for, such as `tool:execute`.
    pub action: &'a str,
    /// With which tool, where the action has one.
    pub tool: Option<&'a str>,
    /// What else is known about the request. INVARIANT: names are unique; of two equal ones the first would count.
    pub attributes: &'a [(&'a str, &'a str)],
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
    /// The first condition that did not hold: `agentIds`, `actions`, `tools` or `attributes.<name>`. `None` where the
    /// rule matched, and so decided.
    pub failed: Option<String>,
}

/// A condition, named as the document names it.
enum Condition<'p> {
    AgentIds,
    Actions,
    Tools,
    Attribute(&'p str),
}

impl PolicySet {
    /// The first rule that matches decides, the default where none does.
    #[must_use]
    pub fn evaluate(&self, request: &AccessRequest<'_>) -> Evaluation<'_> {
        match self.rules.iter().find(|rule| rule.first_failure(request).is_none()) {
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
        failed.map(|(name, _)| Condition::Attribute(name))
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
        }
    }
}
