//! What the policy vectors cannot say: reasons, explanations, broken documents, and the plain twin of the engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use kalguard_core::policy::{AccessRequest, Decision, PolicySet};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn policy(document: &Value) -> PolicySet {
    PolicySet::compile(document.to_string().as_bytes()).unwrap()
}

fn request<'a>(attributes: &'a [(&'a str, &'a str)]) -> AccessRequest<'a> {
    AccessRequest { agent_id: "agent-1", action: "tool:execute", tool: Some("search"), attributes }
}

#[test]
fn a_denial_says_why_also_where_the_document_does_not() {
    for (decision, reason) in [
        ("deny", "denied by rule `r`"),
        ("allow", "allowed by rule `r`"),
        ("require_approval", "rule `r` requires approval"),
    ] {
        let policy = policy(&json!({"rules": [{"id": "r", "decision": decision}]}));
        assert_eq!(policy.evaluate(&request(&[])).reason, reason);
    }
    assert_eq!(policy(&json!({"rules": []})).evaluate(&request(&[])).reason, "no matching rule");
    let own = policy(&json!({"rules": [], "defaultReason": "ask Ops"}));
    assert_eq!(own.evaluate(&request(&[])).reason, "ask Ops");
    let own = policy(&json!({"rules": [{"id": "r", "decision": "deny", "reason": "not today"}]}));
    assert_eq!(own.evaluate(&request(&[])).reason, "not today");
}

#[test]
fn an_explanation_names_the_first_condition_that_failed() {
    let policy = policy(&json!({"rules": [
        {"id": "a", "decision": "allow", "match": {"agentIds": ["x"], "actions": ["x"]}},
        {"id": "b", "decision": "allow", "match": {"actions": ["x"], "resources": ["x"]}},
        {"id": "c", "decision": "allow", "match": {"resources": ["x"], "metadata": {"e": "x"}}},
        {"id": "d", "decision": "allow", "match": {"metadata": {"e": "x", "f": "x"}}},
        {"id": "e", "decision": "deny"},
        {"id": "never", "decision": "allow"},
    ]}));
    let attributes = [("e", "x")];
    let explained = policy.explain(&request(&attributes));
    let told: Vec<_> = explained.iter().map(|rule| (rule.rule_id, rule.failed.as_deref())).collect();
    let expected = [
        ("a", Some("agentIds")),
        ("b", Some("actions")),
        ("c", Some("tools")),
        ("d", Some("attributes.f")),
        ("e", None),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_document_that_is_not_json_is_refused() {
    for broken in [
        &b""[..],
        b"{",
        b"\xff",
        b"{\"rules\": []} x",
        b"\xef\xbb\xbf{\"rules\": []}",
        b"null",
        b"{\"rules\": [\"\xc3\"]}",
    ] {
        let message = PolicySet::compile(broken).unwrap_err().to_string();
        assert!(message.starts_with("the document"), "{message}");
    }
    let deep = format!("{{\"rules\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(PolicySet::compile(deep.as_bytes()).is_err());
}

#[test]
fn of_a_key_given_twice_the_last_one_counts() {
    let twice = br#"{"rules": [{"id": "r", "decision": "allow", "decision": "deny"}]}"#;
    assert_eq!(PolicySet::compile(twice).unwrap().evaluate(&request(&[])).decision, Decision::Deny);
}

#[test]
fn what_python_needs_to_know_is_told() {
    assert_eq!(policy(&json!({"rules": [], "defaultDecision": "allow"})).default_decision(), Decision::Allow);
    assert_eq!(policy(&json!({"rules": []})).default_decision(), Decision::Deny);
    assert_eq!(policy(&json!({"rules": [{"id": "r", "decision": "deny"}]})).rule_count(), 1);
}

#[test]
fn a_message_is_one_line_whatever_the_document_holds() {
    let document = json!({"rules": [{"id": "a\n`b`\u{2028}", "decision": "x\ny", "k\ney": 1}], "\u{202e}": 1});
    let message = PolicySet::compile(document.to_string().as_bytes()).unwrap_err().to_string();
    assert!(!message.chars().any(|c| c.is_control() || c == '\u{2028}' || c == '\u{202e}'), "{message}");
}

/// The plain twin: what the specification says, word by word, on the document itself.
mod plain {
    use super::{AccessRequest, Value};

    fn glob(pattern: &[char], text: &[char]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some('*'), _) => glob(&pattern[1..], text) || (!text.is_empty() && glob(pattern, &text[1..])),
            (Some(a), Some(b)) if a == b => glob(&pattern[1..], &text[1..]),
            _ => false,
        }
    }

    fn matches(pattern: &Value, text: &str) -> bool {
        let pattern: Vec<char> = pattern.as_str().unwrap().chars().collect();
        glob(&pattern, &text.chars().collect::<Vec<_>>())
    }

    fn any(list: &Value, text: &str) -> bool {
        list.as_array().unwrap().iter().any(|pattern| matches(pattern, text))
    }

    fn rule_matches(rule: &Value, request: &AccessRequest<'_>) -> bool {
        let Some(conditions) = rule.get("match") else { return true };
        conditions.as_object().unwrap().iter().all(|(name, wanted)| match name.as_str() {
            "agentIds" => any(wanted, request.agent_id),
            "actions" => any(wanted, request.action),
            "tools" | "resources" => match request.tool {
                Some(tool) => any(wanted, tool),
                None => wanted.as_array().unwrap().iter().any(|p| p.as_str().unwrap().chars().all(|c| c == '*')),
            },
            _ => wanted.as_object().unwrap().iter().all(|(key, pattern)| {
                request.attributes.iter().any(|(name, value)| name == key && matches(pattern, value))
            }),
        })
    }

    pub(super) fn evaluate(document: &Value, request: &AccessRequest<'_>) -> (String, Option<String>) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        for rule in document["rules"].as_array().unwrap() {
            if rule_matches(rule, request) {
                return (text(&rule["decision"]), Some(text(&rule["id"])));
            }
        }
        (document.get("defaultDecision").map_or("deny".to_owned(), text), None)
    }
}

fn pattern() -> impl Strategy<Value = String> {
    prop_oneof!["[ab*é]{1,4}", "\\PC{1,2}", Just("*".to_owned())]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[abé]{0,4}", "\\PC{0,2}"]
}

fn list() -> impl Strategy<Value = Value> {
    prop::collection::vec(pattern(), 1..3).prop_map(|list| json!(list))
}

fn conditions() -> impl Strategy<Value = Value> {
    let attributes = prop::collection::btree_map("[xyz]", prop_oneof![pattern(), Just(String::new())], 1..3);
    let parts = (
        prop::option::of(list()),
        prop::option::of(list()),
        prop::option::of((list(), any::<bool>())),
        prop::option::of((attributes, any::<bool>())),
    );
    parts.prop_map(|(agents, actions, tools, attributes)| {
        let mut conditions = Map::new();
        conditions.extend(agents.map(|list| ("agentIds".to_owned(), list)));
        conditions.extend(actions.map(|list| ("actions".to_owned(), list)));
        conditions.extend(tools.map(|(list, alias)| (if alias { "resources" } else { "tools" }.to_owned(), list)));
        conditions.extend(
            attributes.map(|(map, alias)| (if alias { "metadata" } else { "attributes" }.to_owned(), json!(map))),
        );
        Value::Object(conditions)
    })
}

fn decision() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["allow", "deny", "require_approval"])
}

fn document() -> impl Strategy<Value = Value> {
    let rules = prop::collection::vec((conditions(), decision()), 0..5);
    (rules, prop::option::of(decision())).prop_map(|(rules, default)| {
        let rules = rules.into_iter().enumerate().map(|(index, (conditions, decision))| {
            let mut rule = json!({"id": format!("r{index}"), "decision": decision});
            if conditions != json!({}) {
                rule["match"] = conditions;
            }
            rule
        });
        let mut document = json!({"rules": rules.collect::<Vec<_>>()});
        if let Some(default) = default {
            document["defaultDecision"] = json!(default);
        }
        document
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn the_engine_agrees_with_its_plain_twin(
        document in document(),
        agent in text(),
        action in text(),
        tool in prop::option::of(text()),
        attributes in prop::collection::btree_map("[xyz]", text(), 0..3),
    ) {
        let attributes: Vec<(&str, &str)> = attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let request = AccessRequest { agent_id: &agent, action: &action, tool: tool.as_deref(), attributes: &attributes };
        let policy = policy(&document);
        let answer = policy.evaluate(&request);
        let (decision, rule) = plain::evaluate(&document, &request);
        prop_assert_eq!(answer.decision.as_str(), decision);
        prop_assert_eq!(answer.rule_id.map(str::to_owned), rule);
    }

    #[test]
    fn compiling_anything_never_panics(document in "\\PC{0,60}", key in "\\PC{0,5}", value in "\\PC{0,5}") {
        let _ = PolicySet::compile(document.as_bytes());
        let mut nested = json!({"rules": [{"id": "r", "decision": "deny", "match": {}}]});
        nested["rules"][0]["match"][&key] = json!(value);
        let _ = PolicySet::compile(nested.to_string().as_bytes());
    }
}
