//! A policy document, ready to be asked.

use super::document::{MatchDocument, PolicyDocument, RuleDocument};
use super::index::Index;
use super::predicate::{ArgumentCondition, Reading};
use super::selftest;
use crate::error::CompileError;
use crate::fields::Mistakes;
use crate::glob::Glob;

/// What an agent can ask for.
pub const ACTIONS: [&str; 3] = ["prompt:check", "tool:execute", "tool:register"];

/// What a rule, or the default, says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// The request may go on.
    Allow,
    /// It may not.
    Deny,
    /// A person has to say so first. Until then it may not.
    RequireApproval,
}

impl Decision {
    /// The decision as it is written in documents and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::RequireApproval => "require_approval",
        }
    }

    pub(super) fn parse(written: &str) -> Option<Self> {
        [Self::Allow, Self::Deny, Self::RequireApproval].into_iter().find(|decision| decision.as_str() == written)
    }
}

/// A policy document, compiled. Immutable: a changed document is another set.
///
/// ```
/// use kalguard_core::policy::{AccessRequest, Decision, PolicySet};
///
/// let policy = PolicySet::compile(br#"{"rules": [
///     {"id": "search", "decision": "allow", "match": {"actions": ["tool:execute"], "tools": ["search_*"]}}
/// ]}"#)?;
/// let request = AccessRequest { agent_id: "a", action: "tool:execute", tool: Some("search_web"), ..Default::default() };
/// assert_eq!(policy.evaluate(&request).decision, Decision::Allow);
/// let request = AccessRequest { tool: Some("delete"), ..request };
/// assert_eq!(policy.evaluate(&request).decision, Decision::Deny);
/// # Ok::<(), kalguard_core::error::CompileError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PolicySet {
    pub(super) rules: Box<[Rule]>,
    pub(super) index: Index,
    pub(super) default_decision: Decision,
    pub(super) default_reason: String,
}

#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) decision: Decision,
    pub(super) reason: String,
    pub(super) agent_ids: Option<Alternatives>,
    pub(super) actions: Option<Alternatives>,
    pub(super) tools: Option<Alternatives>,
    pub(super) attributes: Box<[(String, Glob)]>,
    pub(super) arguments: Box<[ArgumentCondition]>,
    pub(super) findings: Option<Alternatives>,
}

/// The values of one list, one of which has to match.
#[derive(Debug, Clone)]
pub(super) struct Alternatives(Box<[Glob]>);

impl Alternatives {
    fn new(patterns: &[String]) -> Self {
        Self(patterns.iter().map(|pattern| Glob::new(pattern)).collect())
    }

    pub(super) fn globs(&self) -> &[Glob] {
        &self.0
    }

    /// Whether these hold wherever `other` does.
    pub(super) fn cover(&self, other: &Self) -> bool {
        other.0.iter().all(|narrow| self.0.iter().any(|wide| wide.covers(narrow)))
    }

    pub(super) fn hold_for(&self, text: &str) -> bool {
        self.0.iter().any(|glob| glob.matches(text))
    }

    /// Whether they hold where there is nothing to look at: only if one of them asks for nothing in particular.
    pub(super) fn hold_for_nothing(&self) -> bool {
        self.0.iter().any(Glob::is_any)
    }
}

impl PolicySet {
    /// Compile a document, given as UTF-8 JSON.
    ///
    /// # Errors
    ///
    /// [`CompileError::Policy`] if the document is not JSON, not a policy, or does not pass its own tests. It tells the
    /// mistakes, each with the rule's (or test's) id and index and the field.
    pub fn compile(document: &[u8]) -> Result<Self, CompileError> {
        let document = PolicyDocument::read(document).map_err(CompileError::Policy)?;
        let rules: Box<[Rule]> = document.rules.into_iter().map(Rule::new).collect();
        let policy = Self {
            index: Index::new(&rules),
            rules,
            default_decision: document.default_decision,
            default_reason: document.default_reason.unwrap_or_else(|| "no matching rule".to_owned()),
        };
        let mut mistakes = Mistakes::default();
        selftest::run(&policy, &document.tests, &mut mistakes);
        mistakes.end().map_err(CompileError::Policy)?;
        Ok(policy)
    }

    /// How many rules there are.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }

    /// What is decided where no rule matches.
    #[must_use]
    pub fn default_decision(&self) -> Decision {
        self.default_decision
    }
}

impl Rule {
    fn new(written: RuleDocument) -> Self {
        let RuleDocument { id, decision, reason, conditions } = written;
        let MatchDocument { agent_ids, actions, tools, attributes, arguments, findings } = conditions;
        Self {
            reason: reason.unwrap_or_else(|| default_reason(&id, decision)),
            id,
            decision,
            agent_ids: agent_ids.as_deref().map(Alternatives::new),
            actions: actions.as_deref().map(Alternatives::new),
            tools: tools.as_deref().map(Alternatives::new),
            attributes: attributes.into_iter().map(|(name, pattern)| (name, Glob::new(&pattern))).collect(),
            arguments: arguments.into(),
            findings: findings.as_deref().map(Alternatives::new),
        }
    }

    /// How this rule counts doubt about an argument: never for the agent.
    pub(super) fn reading(&self) -> Reading {
        if self.decision == Decision::Allow { Reading::Strict } else { Reading::Wide }
    }
}

fn default_reason(id: &str, decision: Decision) -> String {
    match decision {
        Decision::Allow => format!("allowed by rule `{id}`"),
        Decision::Deny => format!("denied by rule `{id}`"),
        Decision::RequireApproval => format!("rule `{id}` requires approval"),
    }
}
