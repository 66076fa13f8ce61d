//! The tests that a document brings along: requests, and what has to be decided.
//!
//! They run whenever the document is compiled. One that fails is a mistake in the document like any other, so a policy
//! that no longer does what its author wrote down is never taken up.

use serde_json::{Map, Value};

use super::compiled::{ACTIONS, Decision, PolicySet};
use super::document::decision;
use super::evaluate::AccessRequest;
use crate::arguments::Arguments;
use crate::fields::{Fields, Mistakes, quote};

/// One test, as written.
pub(super) struct TestDocument {
    place: String,
    agent_id: String,
    action: String,
    tool: Option<String>,
    attributes: Vec<(String, String)>,
    arguments: Option<Arguments>,
    findings: Vec<String>,
    decision: Decision,
    /// `Some(None)`: the default has to decide.
    rule_id: Option<Option<String>>,
}

/// Read the tests. Mistakes are noted.
pub(super) fn read_tests(list: &[Value], mistakes: &mut Mistakes) -> Vec<TestDocument> {
    let mut tests = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        match value.as_object() {
            Some(written) => tests.extend(read_test(index, written, mistakes)),
            None => mistakes.add(&format!("`tests[{index}]`"), "must be an object"),
        }
    }
    tests
}

fn read_test(index: usize, written: &Map<String, Value>, mistakes: &mut Mistakes) -> Option<TestDocument> {
    let place = match written.get("name").and_then(Value::as_str) {
        None | Some("") => format!("test at index {index}"),
        Some(name) => format!("test `{}` (index {index})", quote(name)),
    };
    let mut fields = Fields::new(place.clone(), "", written);
    fields.string(mistakes, "name");
    let request = fields.object(mistakes, "request");
    if !written.contains_key("request") {
        fields.wrong(mistakes, "request", "is missing");
    }
    if !written.contains_key("decision") {
        fields.wrong(mistakes, "decision", "is missing");
    }
    let decision = decision(&mut fields, mistakes, "decision");
    let rule_id = match fields.value("ruleId") {
        None => None,
        Some(Value::Null) => Some(None),
        Some(_) => fields.string(mistakes, "ruleId").map(|id| Some(id.to_owned())),
    };
    fields.end(mistakes);
    let mut test = read_request(place, request?, mistakes);
    test.decision = decision?;
    test.rule_id = rule_id;
    Some(test)
}

fn read_request(place: String, written: &Map<String, Value>, mistakes: &mut Mistakes) -> TestDocument {
    let mut fields = Fields::new(place.clone(), "request.", written);
    let agent_id = fields.name(mistakes, "agentId").to_owned();
    let action = fields.name(mistakes, "action").to_owned();
    if !action.is_empty() && !ACTIONS.contains(&action.as_str()) {
        fields.wrong(mistakes, "action", &format!("must be one of `{}`", ACTIONS.join("`, `")));
    }
    let tool = fields.string(mistakes, "tool").map(str::to_owned);
    if !action.is_empty() && tool.is_some() == (action == "prompt:check") {
        fields.wrong(mistakes, "tool", "goes with `tool:execute` and `tool:register`, and only with them");
    }
    let attributes = attributes(&mut fields, tool.as_deref(), mistakes);
    let arguments = fields.object(mistakes, "arguments").cloned();
    let arguments =
        arguments.and_then(|written| match Arguments::parse(Value::Object(written).to_string().as_bytes()) {
            Ok(arguments) => Some(arguments),
            Err(what) => {
                mistakes.add(&place, what);
                None
            }
        });
    let findings = fields.strings(mistakes, "findings").unwrap_or_default();
    if (arguments.is_some() || !findings.is_empty()) && action != "tool:execute" {
        mistakes.add(&place, "`request.arguments` and `request.findings` go with `tool:execute` only");
    }
    let findings = findings.into_iter().map(str::to_owned).collect();
    fields.end(mistakes);
    let decision = Decision::Deny;
    TestDocument { place, agent_id, action, tool, attributes, arguments, findings, decision, rule_id: None }
}

/// The attributes of a test's request, with those that the service adds.
fn attributes(fields: &mut Fields<'_>, tool: Option<&str>, mistakes: &mut Mistakes) -> Vec<(String, String)> {
    let mut attributes = Vec::new();
    for (name, value) in fields.object(mistakes, "attributes").into_iter().flatten() {
        match value.as_str() {
            Some(text) if name != "toolName" => attributes.push((name.clone(), text.to_owned())),
            Some(_) => fields.wrong(mistakes, "attributes.toolName", "is the request's `tool`: leave it out"),
            None => fields.wrong(mistakes, &format!("attributes.{}", quote(name)), "must be a string"),
        }
    }
    match tool {
        Some(tool) => attributes.push(("toolName".to_owned(), tool.to_owned())),
        None if !attributes.iter().any(|(name, _)| name == "messageCount") => {
            attributes.push(("messageCount".to_owned(), "1".to_owned()));
        }
        None => {}
    }
    attributes
}

/// Ask the policy what its tests ask, and note every answer that is not the one written down.
pub(super) fn run(policy: &PolicySet, tests: &[TestDocument], mistakes: &mut Mistakes) {
    for test in tests {
        let attributes: Vec<_> = test.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let findings: Vec<_> = test.findings.iter().map(String::as_str).collect();
        let none = Arguments::default();
        let calls = test.action == "tool:execute";
        let answer = policy.evaluate(&AccessRequest {
            agent_id: &test.agent_id,
            action: &test.action,
            tool: test.tool.as_deref(),
            attributes: &attributes,
            arguments: test.arguments.as_ref().or(calls.then_some(&none)),
            findings: &findings,
        });
        let by = |rule: Option<&str>| rule.map_or("the default".to_owned(), |id| format!("rule `{}`", quote(id)));
        let (decided, wanted) = (answer.decision.as_str(), test.decision.as_str());
        if answer.decision != test.decision {
            mistakes.add(&test.place, format!("fails: `{decided}` by {}, not `{wanted}`", by(answer.rule_id)));
        } else if let Some(rule) = test.rule_id.as_ref().filter(|rule| rule.as_deref() != answer.rule_id) {
            let (got, wanted) = (by(answer.rule_id), by(rule.as_deref()));
            mistakes.add(&test.place, format!("fails: `{decided}` by {got}, not by {wanted}"));
        }
    }
}
