//! What the tools vectors cannot say: reasons, limits of time and stack, broken documents, rate limits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::time::{Duration, Instant};

use kalguard_core::arguments::Arguments;
use kalguard_core::tools::{Check, Refusal, ToolRegistry};
use proptest::prelude::*;
use serde_json::{Value, json};

fn registry(document: &Value) -> ToolRegistry {
    ToolRegistry::compile(document.to_string().as_bytes()).unwrap()
}

fn with_schema(schema: &Value) -> ToolRegistry {
    registry(&json!({"tools": [{"name": "t", "argumentSchema": schema}]}))
}

fn refusal(registry: &ToolRegistry, arguments: &Value) -> Refusal {
    registry.check("t", &args(arguments.to_string().as_bytes())).unwrap_err()
}

fn args(json: impl AsRef<[u8]>) -> Arguments {
    Arguments::parse(json.as_ref()).unwrap()
}

fn nested(depth: usize, inner: Value) -> Value {
    (0..depth).fold(inner, |inner, _| json!({"x": inner, "y": 1}))
}

#[test]
fn a_refusal_names_the_place_in_the_schema_and_nothing_of_the_arguments() {
    let schema = json!({
        "properties": {"location": {"type": "string"}, "a/b": {"maximum": 3}, "list": {"items": {"pattern": "^x"}}},
        "additionalProperties": false,
        "propertyNames": {"maxLength": 20},
        "dependentRequired": {"list": ["location"]},
    });
    let tools = with_schema(&schema);
    let of = |arguments| refusal(&tools, &arguments).reason;
    assert_eq!(
        of(json!({"location": 4711})),
        "tool was called with arguments that do not fit its schema at `/properties/location/type`"
    );
    assert!(of(json!({"a/b": 4711})).ends_with("`/properties/a~1b/maximum`"));
    for secret in [
        json!({"hunter2": 1}),
        json!({"hunter2 hunter2 hunter2 hunter2": 1}),
        json!({"location": ["hunter2"]}),
        json!({"list": ["hunter2"]}),
        json!({"list": []}),
        json!({"location": "$(hunter2)"}),
    ] {
        let refused = refusal(&tools, &secret);
        assert!(!refused.reason.contains("hunter2"), "{}", refused.reason);
    }
}

#[test]
fn a_refusal_does_not_repeat_the_tool_s_name() {
    let tools = registry(&json!({"tools": []}));
    let refused = tools.check("ann@example.org", &args(b"{}")).unwrap_err();
    assert_eq!((refused.check, refused.reason.as_str()), (Check::Allowlist, "tool is not declared in the tools file"));
}

#[test]
fn a_command_is_named_by_its_id_and_a_phrase_by_its_index() {
    let tools = registry(&json!({"tools": [{"name": "t"}], "commandDenylist": ["rm -rf", "drop table"]}));
    assert!(refusal(&tools, &json!({"a": "x | sh"})).reason.contains("`pipe.shell`"));
    assert!(refusal(&tools, &json!({"a": "drop table x"})).reason.contains("`commandDenylist[1]`"));
}

#[test]
fn arguments_that_are_not_json_are_refused() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    for broken in [
        &b""[..],
        b"{",
        b"\xff",
        b"{} x",
        b"{\"a\":\"\xed\xa0\x80\"}",
        b"{\"a\":1e999}",
        b"{\"a\":NaN}",
        deep.as_bytes(),
    ] {
        assert!(Arguments::parse(broken).is_err());
    }
}

#[test]
fn of_an_argument_given_twice_the_last_one_counts() {
    let tools = with_schema(&json!({"properties": {"a": {"type": "string"}}}));
    assert!(tools.check("t", &args(br#"{"a": 1, "a": "x"}"#)).is_ok());
    assert_eq!(tools.check("t", &args(br#"{"a": "x", "a": 1}"#)).unwrap_err().check, Check::Schema);
    assert!(tools.check("t", &args(br#"{"a": "$(id)", "a": "x"}"#)).is_ok());
}

#[test]
fn rate_limits_are_told_per_tool() {
    let tools = registry(&json!({"tools": [{"name": "a", "rateLimitPerMinute": 30}, {"name": "b"}]}));
    assert_eq!(tools.rate_limit_per_minute("a"), Some(30));
    assert_eq!(tools.rate_limit_per_minute("b"), None);
    assert_eq!(tools.rate_limit_per_minute("c"), None);
    assert_eq!(ToolRegistry::open().rate_limit_per_minute("a"), None);
    assert_eq!((tools.tool_count(), ToolRegistry::open().tool_count()), (2, 0));
}

#[test]
fn a_file_that_is_not_json_is_refused() {
    for broken in [&b""[..], b"{", b"\xff", b"[]", b"{} {}", b"null"] {
        let message = ToolRegistry::compile(broken).unwrap_err().to_string();
        assert!(message.starts_with("the document"), "{message}");
    }
}

/// The longest chain of references that is allowed, at every level of the deepest arguments that are allowed.
#[test]
fn the_deepest_schema_on_the_deepest_arguments_fits_a_small_stack() {
    let mut definitions: serde_json::Map<String, Value> =
        (0..14).map(|i| (format!("d{i}"), json!({"allOf": [{"$ref": format!("#/$defs/d{}", i + 1)}]}))).collect();
    definitions.insert("d14".to_owned(), json!({"properties": {"x": {"$ref": "#/$defs/d0"}}, "required": ["y"]}));
    let schema = json!({"$ref": "#/$defs/d0", "$defs": definitions});
    let check = move || {
        let tools = with_schema(&schema);
        assert!(tools.check("t", &args(nested(62, json!({"y": 1})).to_string().as_bytes())).is_ok());
        assert_eq!(refusal(&tools, &nested(62, json!({}))).check, Check::Schema);
    };
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(check).unwrap().join().unwrap();
}

#[test]
fn a_schema_of_many_references_one_after_the_other_compiles_on_a_small_stack() {
    let leads_to = |i: usize| json!({"properties": {"x": {"$ref": format!("#/$defs/d{i}")}}});
    let mut definitions: serde_json::Map<String, Value> =
        (0..1_100).map(|i| (format!("d{i}"), leads_to(i + 1))).collect();
    definitions.insert("d1100".to_owned(), json!(false));
    let mut schema = leads_to(0);
    schema["$defs"] = Value::Object(definitions);
    let check = move || {
        let tools = with_schema(&schema);
        assert!(tools.check("t", &args(nested(60, json!(1)).to_string().as_bytes())).is_ok());
    };
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(check).unwrap().join().unwrap();
}

#[test]
fn a_schema_that_visits_a_value_twice_at_every_level_ends_soon() {
    let twice = |keyword: &str| {
        let visit = json!({"properties": {"x": {"$ref": "#/$defs/t"}}});
        json!({"$ref": "#/$defs/t", "$defs": {"t": {keyword: [visit, visit], "required": ["y"]}}})
    };
    let begun = Instant::now();
    for keyword in ["allOf", "anyOf"] {
        let tools = with_schema(&twice(keyword));
        assert!(tools.check("t", &args(nested(60, json!({"y": 1})).to_string().as_bytes())).is_ok());
        assert_eq!(refusal(&tools, &nested(60, json!({}))).check, Check::Schema);
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn texts_made_to_take_long_end_soon() {
    let tools = registry(&json!({"tools": [{"name": "t"}], "commandDenylist": ["a a a b"]}));
    let begun = Instant::now();
    for unit in [
        "sh ",
        "sh -",
        "| sudo ",
        "` ",
        "cmd /",
        "curl |",
        "$ifs",
        "'\\\"",
        "a\u{301}\u{327}",
        "\u{fdfa}",
        "a ",
        "/bin/",
    ] {
        let text = unit.repeat(1_000_000 / unit.len());
        let _ = tools.check("t", &args(json!({"a": text}).to_string().as_bytes()));
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn many_words_in_nested_lists_are_looked_at_once_more_and_not_more_often() {
    let tools = ToolRegistry::open();
    let arguments = (0..60).fold(json!(vec!["word"; 20_000]), |inner, _| json!(["a", "b", inner]));
    let begun = Instant::now();
    assert!(tools.check("t", &args(json!({"a": arguments}).to_string().as_bytes())).is_ok());
    assert!(begun.elapsed() < Duration::from_secs(10));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn a_command_is_found_however_it_is_dressed(
        before in "[ a-z;]{0,5}",
        spaces in "[ \t\n\u{a0}\u{3000}]{1,4}",
        hidden in prop::sample::select(vec!["", "''", "\"\"", "\\", "\u{200b}", "\u{2060}", "^", "\u{ad}"]),
        upper: bool,
        wide: bool,
        depth in 0_usize..40,
    ) {
        let mut command = format!("ba{hidden}sh{spaces}-c{spaces}id");
        if upper {
            command = command.to_uppercase();
        }
        if wide {
            command = command.chars().map(|c| match c {
                'a'..='z' | 'A'..='Z' => char::from_u32(u32::from(c) + 0xfee0).unwrap(),
                _ => c,
            }).collect();
        }
        let arguments = nested(depth, json!({"a": format!("{before} {command}")}));
        let refused = ToolRegistry::open().check("t", &args(arguments.to_string().as_bytes()));
        prop_assert_eq!(refused.unwrap_err().check, Check::Command);
    }

    #[test]
    fn nothing_makes_a_check_or_a_compilation_panic(text in "\\PC{0,40}", key in "\\PC{0,6}", number: f64) {
        let tools = ToolRegistry::open();
        let _ = Arguments::parse(text.as_bytes());
        let _ = tools.check(&key, &args(json!({&key: [text, number, {&text: null}]}).to_string().as_bytes()));
        let _ = ToolRegistry::compile(text.as_bytes());
        let schema = json!({&key: {&text: number}, "pattern": text, "$ref": format!("#{key}"), "format": key});
        let _ = ToolRegistry::compile(json!({"tools": [{"name": "t", "argumentSchema": schema}]}).to_string().as_bytes());
    }
}
