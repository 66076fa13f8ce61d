//! What the policy vectors cannot say: reasons, explanations, broken documents, and the plain twin of the engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;

use kalguard_core::arguments::Arguments;
use kalguard_core::policy::{AccessRequest, Decided, Decision, PolicySet, Recorded};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

fn policy(document: &Value) -> PolicySet {
    PolicySet::compile(document.to_string().as_bytes()).unwrap()
}

fn request<'a>(attributes: &'a [(&'a str, &'a str)]) -> AccessRequest<'a> {
    AccessRequest {
        agent_id: "agent-1",
        action: "tool:execute",
        tool: Some("search"),
        attributes,
        ..Default::default()
    }
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
fn what_is_likely_a_mistake_is_told() {
    let lint = |rules: Value| policy(&json!({"rules": rules})).lint();
    let never = |rules: Value| lint(rules).iter().any(|line| line.contains("never decides"));
    let rule =
        |id: &str, decision: &str, conditions: Value| json!({"id": id, "decision": decision, "match": conditions});
    assert!(never(json!([{"id": "a", "decision": "deny"}, {"id": "b", "decision": "allow"}])));
    for (wide, narrow) in [
        (json!({"tools": ["a*"]}), json!({"tools": ["ab", "a*c"], "agentIds": ["x"]})),
        (json!({"attributes": {"e": "*"}}), json!({"metadata": {"e": "x", "f": "y"}})),
        (
            json!({"arguments": {"/p": {"pathPrefix": "/a"}}}),
            json!({"arguments": {"/p": {"pathPrefix": ["/a/b", "/a/c"]}}}),
        ),
        (
            json!({"arguments": {"/p": {"cidr": "10.0.0.0/8"}}}),
            json!({"arguments": {"/p": {"cidr": "10.1.0.0/16"}, "/q": 1}}),
        ),
        (json!({"arguments": {"/p": ["x*", 1]}}), json!({"arguments": {"/p": [1.0, "xy", {"equals": "xz"}]}})),
        (json!({"findings": ["pii.*"]}), json!({"findings": ["pii.email"]})),
        (json!({"tools": ["*"]}), json!({"agentIds": ["x"]})),
    ] {
        assert!(never(json!([rule("wide", "deny", wide.clone()), rule("narrow", "allow", narrow.clone())])), "{wide}");
        assert!(!never(json!([rule("narrow", "deny", narrow), rule("wide", "deny", wide.clone())])), "{wide}");
    }
    // An allowance is read strictly: a denial after it still has work to do.
    let condition = json!({"arguments": {"/p": {"pathPrefix": "/a"}}});
    assert!(!never(json!([rule("a", "allow", condition.clone()), rule("b", "deny", condition)])));
    for (conditions, named) in [
        (json!({"actions": ["tool:exec"]}), "match.actions"),
        (json!({"actions": ["prompt:*"], "tools": ["x"]}), "match.tools"),
        (json!({"actions": ["prompt:check"], "arguments": {"/a": 1}}), "match.arguments"),
        (json!({"actions": ["tool:register"], "findings": ["pii.*"]}), "match.findings"),
        (json!({"attributes": {"messageCount": "1", "toolName": "x"}}), "match.attributes.messageCount"),
        (json!({"findings": ["pii.mail"]}), "match.findings"),
    ] {
        let told = lint(json!([rule("r", "deny", conditions.clone())]));
        assert!(told.len() == 1 && told[0].starts_with("rule `r` (index 0)") && told[0].contains(named), "{told:?}");
    }
    let fine = [
        rule("a", "deny", json!({"tools": ["x"]})),
        rule("b", "allow", json!({"actions": ["tool:*"], "arguments": {"/a": 1}, "findings": ["pii.email"]})),
        rule("c", "allow", json!({"actions": ["prompt:check"], "attributes": {"messageCount": "1"}})),
    ];
    assert_eq!(lint(json!(fine)), [""; 0]);
}

#[test]
fn what_the_log_holds_narrows_down_what_a_policy_would_have_said() {
    let old = policy(&json!({"rules": [
        {"id": "prod", "decision": "deny", "match": {"attributes": {"env": "prod"}}},
        {"id": "web", "decision": "allow", "match": {"tools": ["web_*"], "arguments": {"/q": "*"}}},
    ]}));
    let new = policy(&json!({"rules": [
        {"id": "other", "decision": "require_approval", "match": {"attributes": {"env": "prod"}}},
        {"id": "web", "decision": "allow", "match": {"tools": ["web_*"]}},
    ]}));
    let asked = |policy: &PolicySet, decided| {
        let request = Recorded {
            agent_id: "a",
            action: "tool:execute",
            tool: Some("web_get"),
            attributes: &[],
            findings: None,
            decided,
        };
        policy.possible(&request).into_iter().map(Decision::as_str).collect::<Vec<_>>()
    };
    assert_eq!(asked(&new, None), ["allow", "require_approval"]);
    assert_eq!(asked(&new, Some(Decided { policy: &old, rule_id: Some("web") })), ["allow"]);
    assert_eq!(asked(&new, Some(Decided { policy: &old, rule_id: Some("prod") })), ["require_approval"]);
    assert_eq!(asked(&new, Some(Decided { policy: &old, rule_id: None })), ["allow"]);
    assert_eq!(asked(&new, Some(Decided { policy: &old, rule_id: Some("gone") })), ["allow", "require_approval"]);
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

    /// Patterns and constants only: what an address or a path means has tests of its own.
    fn meets(test: &Value, value: &Value, strict: bool) -> bool {
        let one = |test: &Value| match test {
            Value::String(_) => value.as_str().is_some_and(|text| matches(test, text)),
            test => test == value,
        };
        let tests = test.as_array().cloned().unwrap_or_else(|| vec![test.clone()]);
        let in_list = value.as_array().is_some_and(|items| match strict {
            true => !items.is_empty() && items.iter().all(|item| meets(test, item, true)),
            false => items.iter().any(|item| meets(test, item, false)),
        });
        tests.iter().any(one) || in_list
    }

    fn rule_matches(rule: &Value, request: &AccessRequest<'_>, arguments: &Value) -> bool {
        let Some(conditions) = rule.get("match") else { return true };
        conditions.as_object().unwrap().iter().all(|(name, wanted)| match name.as_str() {
            "agentIds" => any(wanted, request.agent_id),
            "actions" => any(wanted, request.action),
            "tools" | "resources" => match request.tool {
                Some(tool) => any(wanted, tool),
                None => wanted.as_array().unwrap().iter().any(|p| p.as_str().unwrap().chars().all(|c| c == '*')),
            },
            "findings" => request.findings.iter().any(|found| any(wanted, found)),
            "arguments" => wanted.as_object().unwrap().iter().all(|(pointer, test)| {
                let strict = rule["decision"] == "allow";
                arguments.get(pointer.trim_start_matches('/')).is_some_and(|value| meets(test, value, strict))
            }),
            _ => wanted.as_object().unwrap().iter().all(|(key, pattern)| {
                request.attributes.iter().any(|(name, value)| name == key && matches(pattern, value))
            }),
        })
    }

    pub(super) fn evaluate(
        document: &Value,
        request: &AccessRequest<'_>,
        arguments: &Value,
    ) -> (String, Option<String>) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        for rule in document["rules"].as_array().unwrap() {
            if rule_matches(rule, request, arguments) {
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
    let tests = prop::collection::btree_map("/[xyz]", test(), 1..3);
    let parts = (
        prop::option::of(list()),
        prop::option::of(list()),
        prop::option::of((list(), any::<bool>())),
        prop::option::of((attributes, any::<bool>())),
        prop::option::weighted(0.3, tests),
        prop::option::weighted(0.3, list()),
    );
    parts.prop_map(|(agents, actions, tools, attributes, arguments, findings)| {
        let mut conditions = Map::new();
        conditions.extend(agents.map(|list| ("agentIds".to_owned(), list)));
        conditions.extend(actions.map(|list| ("actions".to_owned(), list)));
        conditions.extend(tools.map(|(list, alias)| (if alias { "resources" } else { "tools" }.to_owned(), list)));
        conditions.extend(
            attributes.map(|(map, alias)| (if alias { "metadata" } else { "attributes" }.to_owned(), json!(map))),
        );
        conditions.extend(arguments.map(|tests| ("arguments".to_owned(), json!(tests))));
        conditions.extend(findings.map(|list| ("findings".to_owned(), list)));
        Value::Object(conditions)
    })
}

fn test() -> impl Strategy<Value = Value> {
    let one = prop_oneof![pattern().prop_map(Value::from), Just(json!(1)), Just(json!(true)), Just(Value::Null)];
    prop_oneof![one.clone(), prop::collection::vec(one, 1..3).prop_map(Value::from)]
}

fn argument() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![text().prop_map(Value::from), Just(json!(1)), Just(json!(true)), Just(Value::Null)];
    leaf.prop_recursive(2, 6, 3, |inner| prop::collection::vec(inner, 0..3).prop_map(Value::from))
}

fn decision() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["allow", "deny", "require_approval"])
}

fn document() -> impl Strategy<Value = Value> {
    let rules = prop::collection::vec((conditions(), decision()), 0..7);
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

/// A request that owns what it is made of.
#[derive(Debug, Clone)]
struct Asked {
    agent: String,
    action: String,
    tool: Option<String>,
    attributes: BTreeMap<String, String>,
    arguments: BTreeMap<String, Value>,
    findings: Vec<String>,
}

fn asked() -> impl Strategy<Value = Asked> {
    let attributes = prop::collection::btree_map("[xyz]", text(), 0..3);
    let arguments = prop::collection::btree_map("[xyz]", argument(), 0..3);
    let findings = prop::collection::vec(text(), 0..2);
    (text(), text(), prop::option::of(text()), attributes, arguments, findings).prop_map(
        |(agent, action, tool, attributes, arguments, findings)| Asked {
            agent,
            action,
            tool,
            attributes,
            arguments,
            findings,
        },
    )
}

type Answer = (String, Option<String>);

/// What the engine says about one document, and the twin about another.
fn both(engine: &Value, twin: &Value, asked: &Asked) -> (Answer, Answer) {
    let attributes: Vec<_> = asked.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let findings: Vec<&str> = asked.findings.iter().map(String::as_str).collect();
    let arguments = json!(asked.arguments);
    let parsed = Arguments::parse(arguments.to_string().as_bytes()).unwrap();
    let request = AccessRequest {
        agent_id: &asked.agent,
        action: &asked.action,
        tool: asked.tool.as_deref(),
        attributes: &attributes,
        arguments: Some(&parsed),
        findings: &findings,
    };
    let policy = policy(engine);
    let answer = policy.evaluate(&request);
    let answer = (answer.decision.as_str().to_owned(), answer.rule_id.map(str::to_owned));
    (answer, plain::evaluate(twin, &request, &arguments))
}

/// That the comparison with the twin would notice a condition which the engine passes over.
#[test]
fn a_condition_that_is_dropped_makes_a_difference() {
    let mut runner = TestRunner::deterministic();
    let names = ["agentIds", "actions", "tools", "resources", "attributes", "metadata", "arguments", "findings"];
    for dropped in names {
        let found = (0..3_000).any(|_| {
            let (document, asked) = (document(), asked()).new_tree(&mut runner).unwrap().current();
            let mut without = document.clone();
            for rule in without["rules"].as_array_mut().unwrap() {
                let Some(conditions) = rule.get_mut("match").and_then(Value::as_object_mut) else { continue };
                conditions.remove(dropped);
                if conditions.is_empty() {
                    rule.as_object_mut().unwrap().remove("match");
                }
            }
            let (engine, twin) = both(&without, &document, &asked);
            engine != twin
        });
        assert!(found, "nobody misses `{dropped}`");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn the_engine_agrees_with_its_plain_twin(document in document(), asked in asked()) {
        let (engine, twin) = both(&document, &document, &asked);
        prop_assert_eq!(engine, twin);
    }

    #[test]
    fn a_rule_that_is_said_never_to_decide_does_not(document in document(), asked in asked()) {
        let lint = policy(&document).lint();
        let ((_, decided), _) = both(&document, &document, &asked);
        if let Some(id) = decided {
            let accused = lint.iter().any(|line| line.starts_with(&format!("rule `{id}`")) && line.contains("never decides"));
            prop_assert!(!accused, "{:?}", lint);
        }
    }

    #[test]
    fn what_is_on_record_never_rules_out_what_was_decided(
        old in document(), new in document(), asked in asked(), knows_findings: bool, shared in 0..5_usize,
    ) {
        // The new document has some rules of the old one, as an edited document has.
        let mut new = new;
        let kept: Vec<Value> = old["rules"].as_array().unwrap().iter().take(shared).cloned().collect();
        for mut rule in kept {
            rule["id"] = json!(format!("kept-{}", rule["id"].as_str().unwrap()));
            new["rules"].as_array_mut().unwrap().push(rule);
        }
        // Only an action of tools has arguments; to others the log's silence says that there were none.
        let asked = Asked { action: "tool:execute".to_owned(), ..asked };
        let ((_, rule), _) = both(&old, &old, &asked);
        let ((decision, _), _) = both(&new, &new, &asked);
        let (old, new) = (policy(&old), policy(&new));
        let findings: Vec<&str> = asked.findings.iter().map(String::as_str).collect();
        let decided = Some(Decided { policy: &old, rule_id: rule.as_deref() });
        for decided in [decided, None] {
            let possible = new.possible(&Recorded {
                agent_id: &asked.agent,
                action: &asked.action,
                tool: asked.tool.as_deref(),
                attributes: &[],
                findings: knows_findings.then_some(&findings),
                decided,
            });
            prop_assert!(possible.iter().any(|one| one.as_str() == decision), "{possible:?}");
        }
    }

    #[test]
    fn compiling_anything_never_panics(document in "\\PC{0,60}", key in "\\PC{0,5}", value in "\\PC{0,5}") {
        let _ = PolicySet::compile(document.as_bytes());
        let mut nested = json!({"rules": [{"id": "r", "decision": "deny", "match": {}}]});
        nested["rules"][0]["match"][&key] = json!(value);
        let _ = PolicySet::compile(nested.to_string().as_bytes());
    }
}
