//! The tools vectors that Rust and Python share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use kalguard_core::arguments::Arguments;
use kalguard_core::error::CompileError;
use kalguard_core::tools::ToolRegistry;
use serde_json::Value;

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/tools.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_call_is_mediated_as_the_vectors_say() {
    let vectors = vectors();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() >= 40);
    for case in cases {
        let registry = match &case["tools"] {
            Value::Null => ToolRegistry::open(),
            tools => ToolRegistry::compile(tools.to_string().as_bytes())
                .unwrap_or_else(|error| panic!("{}: {error}", case["name"])),
        };
        let (tool, arguments) = (case["call"]["toolName"].as_str().unwrap(), &case["call"]["arguments"]);
        let answer = Arguments::parse(arguments.to_string().as_bytes()).map(|given| registry.check(tool, &given));
        let check = match &answer {
            Ok(answer) => answer.as_ref().err().map(|refusal| refusal.check.as_str()),
            Err(_) => Some("arguments"),
        };
        assert_eq!(check, case["check"].as_str(), "{}: {answer:?}", case["name"]);
    }
}

#[test]
fn every_invalid_file_is_refused_by_name_of_tool_and_field() {
    let vectors = vectors();
    let cases = vectors["invalid"].as_array().unwrap();
    assert!(cases.len() >= 20);
    for case in cases {
        let refused = ToolRegistry::compile(case["tools"].to_string().as_bytes());
        let Err(CompileError::Tools(message)) = refused else { panic!("accepted: {}", case["name"]) };
        for part in case["error"].as_array().unwrap() {
            let part = part.as_str().unwrap();
            assert!(message.contains(part), "{}: `{part}` is not in: {message}", case["name"]);
        }
        assert!(!message.contains('\n') && message.chars().next().is_some_and(|c| !c.is_uppercase()), "{message}");
    }
}
