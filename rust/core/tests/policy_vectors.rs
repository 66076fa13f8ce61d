//! The policy vectors that Rust and Python share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use kalguard_core::arguments::Arguments;
use kalguard_core::error::CompileError;
use kalguard_core::policy::{AccessRequest, PolicySet};
use serde_json::Value;

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/policy.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn with_request<T>(case: &Value, ask: impl FnOnce(&AccessRequest<'_>) -> T) -> T {
    let request = &case["request"];
    let attributes: Vec<(&str, &str)> =
        request["attributes"].as_object().unwrap().iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap())).collect();
    let arguments = request.get("arguments").map(|given| Arguments::parse(given.to_string().as_bytes()).unwrap());
    let findings: Vec<&str> =
        request.get("findings").and_then(Value::as_array).into_iter().flatten().map(|f| f.as_str().unwrap()).collect();
    ask(&AccessRequest {
        agent_id: request["agentId"].as_str().unwrap(),
        action: request["action"].as_str().unwrap(),
        tool: request["tool"].as_str(),
        attributes: &attributes,
        arguments: arguments.as_ref(),
        findings: &findings,
    })
}

#[test]
fn every_request_is_decided_as_the_vectors_say() {
    let vectors = vectors();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() >= 40);
    for case in cases {
        let policy = PolicySet::compile(&serde_json::to_vec(&case["policy"]).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
        with_request(case, |request| {
            let answer = policy.evaluate(request);
            assert_eq!(answer.decision.as_str(), case["decision"], "{}", case["name"]);
            assert_eq!(answer.rule_id, case["ruleId"].as_str(), "{}", case["name"]);
            assert!(!answer.reason.is_empty());
        });
    }
}

#[test]
fn an_explanation_ends_with_the_rule_that_decided() {
    for case in vectors()["cases"].as_array().unwrap() {
        let policy = PolicySet::compile(&serde_json::to_vec(&case["policy"]).unwrap()).unwrap();
        with_request(case, |request| {
            let explained = policy.explain(request);
            let decided: Vec<_> = explained.iter().filter(|rule| rule.failed.is_none()).collect();
            assert_eq!(decided.first().map(|rule| rule.rule_id), case["ruleId"].as_str(), "{}", case["name"]);
            assert!(decided.len() <= 1);
            match decided.first() {
                Some(rule) => assert_eq!(explained.last(), Some(*rule)),
                None => assert_eq!(explained.len(), policy.rule_count()),
            }
        });
    }
}

#[test]
fn every_invalid_policy_is_refused_by_name_of_rule_and_field() {
    let vectors = vectors();
    let cases = vectors["invalid"].as_array().unwrap();
    assert!(cases.len() >= 20);
    for case in cases {
        let refused = PolicySet::compile(&serde_json::to_vec(&case["policy"]).unwrap());
        let Err(CompileError::Policy(message)) = refused else { panic!("accepted: {}", case["name"]) };
        for part in case["error"].as_array().unwrap() {
            let part = part.as_str().unwrap();
            assert!(message.contains(part), "{}: `{part}` is not in: {message}", case["name"]);
        }
        assert!(!message.contains('\n') && message.chars().next().is_some_and(|c| !c.is_uppercase()), "{message}");
    }
}
