//! A policy document as written, checked for form.
//!
//! `match` has to narrow: an empty object or list in it is an error and not "everything", because a template that
//! renders `[]` must not widen a rule. To match everything, a rule has no `match`.

use serde_json::{Map, Value};

use super::compiled::Decision;
use super::predicate::ArgumentCondition;
use super::selftest::{TestDocument, read_tests};
use crate::fields::{Fields, Mistakes, decode, quote};

const DECISIONS: &str = "`allow`, `deny`, `require_approval`";

/// The document.
pub(super) struct PolicyDocument {
    pub(super) default_decision: Decision,
    pub(super) default_reason: Option<String>,
    pub(super) rules: Vec<RuleDocument>,
    pub(super) tests: Vec<TestDocument>,
}

/// One rule of it.
pub(super) struct RuleDocument {
    pub(super) id: String,
    pub(super) decision: Decision,
    pub(super) reason: Option<String>,
    pub(super) conditions: MatchDocument,
}

/// What a rule asks for. `None` and no attributes: nothing.
#[derive(Default)]
pub(super) struct MatchDocument {
    pub(super) agent_ids: Option<Vec<String>>,
    pub(super) actions: Option<Vec<String>>,
    pub(super) tools: Option<Vec<String>>,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) arguments: Vec<ArgumentCondition>,
    pub(super) findings: Option<Vec<String>>,
}

impl PolicyDocument {
    /// Read a document. The error tells all mistakes, each with rule and field.
    pub(super) fn read(document: &[u8]) -> Result<Self, String> {
        let top = decode(document)?;
        let mut mistakes = Mistakes::default();
        let mut fields = Fields::new(String::new(), "", &top);
        fields.string(&mut mistakes, "version");
        let default_decision = decision(&mut fields, &mut mistakes, "defaultDecision");
        let default_reason = fields.string(&mut mistakes, "defaultReason").map(str::to_owned);
        let rules = rules(&mut fields, &mut mistakes);
        let tests = fields.list(&mut mistakes, "tests").unwrap_or_default();
        let tests = read_tests(tests, &mut mistakes);
        fields.end(&mut mistakes);
        mistakes.end()?;
        Ok(Self { default_decision: default_decision.unwrap_or(Decision::Deny), default_reason, rules, tests })
    }
}

fn rules(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Vec<RuleDocument> {
    let Some(value) = fields.value("rules") else {
        fields.wrong(mistakes, "rules", "is missing");
        return Vec::new();
    };
    let Some(list) = value.as_array() else {
        fields.wrong(mistakes, "rules", "must be a list");
        return Vec::new();
    };
    let mut seen = std::collections::BTreeMap::new();
    let mut rules = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        let Some(written) = value.as_object() else {
            mistakes.add(&format!("`rules[{index}]`"), "must be an object");
            continue;
        };
        let rule = rule(index, written, mistakes);
        if let Some(first) = seen.insert(rule.id.clone(), index).filter(|_| !rule.id.is_empty()) {
            mistakes.add(&place_of(index, &rule.id), format!("`id` is taken by the rule at index {first}"));
        }
        rules.push(rule);
    }
    rules
}

fn rule(index: usize, written: &Map<String, Value>, mistakes: &mut Mistakes) -> RuleDocument {
    let id = written.get("id").and_then(Value::as_str).unwrap_or_default();
    let mut fields = Fields::new(place_of(index, id), "", written);
    let id = fields.name(mistakes, "id").to_owned();
    fields.string(mistakes, "description");
    if !written.contains_key("decision") {
        fields.wrong(mistakes, "decision", "is missing");
    }
    let decision = decision(&mut fields, mistakes, "decision").unwrap_or(Decision::Deny);
    let reason = fields.string(mistakes, "reason").map(str::to_owned);
    let conditions = match fields.object(mistakes, "match") {
        Some(written) => conditions(fields.place(), written, mistakes),
        None => MatchDocument::default(),
    };
    fields.end(mistakes);
    RuleDocument { id, decision, reason, conditions }
}

fn place_of(index: usize, id: &str) -> String {
    if id.is_empty() { format!("rule at index {index}") } else { format!("rule `{}` (index {index})", quote(id)) }
}

fn conditions(place: &str, written: &Map<String, Value>, mistakes: &mut Mistakes) -> MatchDocument {
    if written.is_empty() {
        mistakes.add(place, "`match` must not be empty: leave `match` out to match everything");
    }
    let mut fields = Fields::new(place.to_owned(), "match.", written);
    let agent_ids = patterns(&mut fields, mistakes, "agentIds");
    let actions = patterns(&mut fields, mistakes, "actions");
    let tools = patterns(&mut fields, mistakes, "tools");
    let resources = patterns(&mut fields, mistakes, "resources");
    let attributes = attributes(&mut fields, mistakes, "attributes");
    let metadata = self::attributes(&mut fields, mistakes, "metadata");
    let arguments = arguments(&mut fields, mistakes);
    let findings = patterns(&mut fields, mistakes, "findings");
    for (name, other) in [("tools", "resources"), ("attributes", "metadata")] {
        if written.contains_key(name) && written.contains_key(other) {
            let what = format!("and `match.{other}` are one condition under two names: keep one");
            fields.wrong(mistakes, name, &what);
        }
    }
    fields.end(mistakes);
    MatchDocument {
        agent_ids,
        actions,
        tools: tools.or(resources),
        attributes: attributes.or(metadata).unwrap_or_default(),
        arguments,
        findings,
    }
}

fn patterns(fields: &mut Fields<'_>, mistakes: &mut Mistakes, name: &'static str) -> Option<Vec<String>> {
    let patterns = fields.strings(mistakes, name)?;
    if fields.value(name).and_then(Value::as_array).is_some_and(Vec::is_empty) {
        fields.wrong(mistakes, name, "must not be empty: leave it out to match everything");
    }
    Some(patterns.into_iter().map(str::to_owned).collect())
}

fn attributes(fields: &mut Fields<'_>, mistakes: &mut Mistakes, name: &'static str) -> Option<Vec<(String, String)>> {
    let written = fields.object(mistakes, name)?;
    if written.is_empty() {
        fields.wrong(mistakes, name, "must not be empty: leave it out to match everything");
    }
    let mut attributes = Vec::with_capacity(written.len());
    for (key, value) in written {
        let path = format!("{name}.{}", quote(key));
        match value.as_str() {
            _ if key.is_empty() => fields.wrong(mistakes, name, "has an attribute without a name"),
            Some(text) => attributes.push((key.clone(), text.to_owned())),
            None => fields.wrong(mistakes, &path, "must be a string"),
        }
    }
    Some(attributes)
}

fn arguments(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Vec<ArgumentCondition> {
    let Some(written) = fields.object(mistakes, "arguments") else { return Vec::new() };
    if written.is_empty() {
        fields.wrong(mistakes, "arguments", "must not be empty: leave it out to match everything");
    }
    let mut conditions = Vec::with_capacity(written.len());
    for (pointer, tests) in written {
        match ArgumentCondition::parse(pointer, tests) {
            Ok(condition) => conditions.push(condition),
            Err(what) => fields.wrong(mistakes, &format!("arguments.{}", quote(pointer)), &what),
        }
    }
    conditions
}

/// Read a decision. `None` if there is none, or (with a mistake noted) none that is known.
pub(super) fn decision(fields: &mut Fields<'_>, mistakes: &mut Mistakes, name: &'static str) -> Option<Decision> {
    let written = fields.string(mistakes, name)?;
    let decision = Decision::parse(written);
    if decision.is_none() {
        fields.wrong(mistakes, name, &format!("must be one of {DECISIONS}, not `{}`", quote(written)));
    }
    decision
}
