//! Schemas and arguments that somebody chose together so that they take long, or take the stack: none may.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::time::{Duration, Instant};

use kalguard_core::arguments::Arguments;
use kalguard_core::tools::ToolRegistry;
use serde_json::{Value, json};

fn registry(document: &Value) -> ToolRegistry {
    ToolRegistry::compile(document.to_string().as_bytes()).unwrap()
}

fn with_schema(schema: &Value) -> ToolRegistry {
    registry(&json!({"tools": [{"name": "t", "argumentSchema": schema}]}))
}

fn args(json: &str) -> Arguments {
    Arguments::parse(json.as_bytes()).unwrap()
}

const SOON: Duration = Duration::from_secs(4);

fn soon<T>(what: &str, step: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = step();
    assert!(begun.elapsed() < SOON, "{what} took {:?}", begun.elapsed());
    done
}

/// Define a tool as an agent would, and call it, if that is allowed.
fn attack(what: &str, schema: &Value, arguments: &Value) {
    let registry = ToolRegistry::open();
    let schema = schema.to_string();
    let defined = soon(&format!("{what}: definition"), || registry.define(schema.as_bytes()));
    if let Ok(tool) = defined {
        let Ok(arguments) = Arguments::parse(arguments.to_string().as_bytes()) else { return };
        let _ = soon(&format!("{what}: check"), || registry.check_registered("t", &arguments, Some(&tool)));
    }
}

fn nest(depth: usize, inner: Value, wrap: impl Fn(Value) -> Value) -> Value {
    (0..depth).fold(inner, |inner, _| wrap(inner))
}

#[test]
fn lists_that_hash_alike() {
    // All shapes of nested empty lists with a given number of brackets.
    fn shapes(pairs: usize) -> Vec<String> {
        let mut all: Vec<Vec<String>> = vec![vec![String::new()]];
        for n in 1..=pairs {
            let mut row = Vec::new();
            for first in 0..n {
                for inner in &all[first] {
                    row.extend(all[n - 1 - first].iter().map(|rest| format!("[{inner}],{rest}")));
                }
            }
            all.push(row);
        }
        all.pop().unwrap().iter().map(|s| format!("[{}]", s.replace(",]", "]").trim_end_matches(','))).collect()
    }
    let text = format!("{{\"a\":[{}]}}", shapes(11).join(","));
    let tools = with_schema(&json!({"properties": {"a": {"uniqueItems": true}}}));
    assert!(soon("unique lists", || tools.check("t", &args(&text))).is_ok());
}

#[test]
fn unevaluated_inside_unevaluated() {
    for keyword in ["anyOf", "allOf", "oneOf", "if", "not", "then"] {
        for depth in [3, 4, 6, 8, 12, 15, 31] {
            let wrap = |inner: Value| match keyword {
                "if" | "not" | "then" => {
                    json!({keyword: inner, "unevaluatedProperties": true, "unevaluatedItems": true})
                }
                _ => json!({keyword: [inner], "unevaluatedProperties": true}),
            };
            let schema = nest(depth, json!({"properties": {"x": true}}), wrap);
            attack(&format!("unevaluated in {keyword}, {depth}"), &schema, &json!({"x": 1, "y": {"x": 1}}));
        }
    }
}

#[test]
fn errors_of_nested_alternatives() {
    for keyword in ["anyOf", "oneOf"] {
        let wrap = |inner: Value| json!({keyword: [inner, false]});
        attack(keyword, &nest(30, json!({"properties": {"x": false}}), wrap), &json!({"x": 1}));
        let many = json!({keyword: (0..1000).map(|_| json!({"additionalProperties": false})).collect::<Vec<_>>()});
        let object: Value = (0..30_000).map(|i| (i.to_string(), json!(1))).collect::<serde_json::Map<_, _>>().into();
        attack(keyword, &many, &object);
    }
}

#[test]
fn a_list_compared_with_many_values() {
    let values: Vec<Value> = (0..3_500).map(|i| json!(i)).collect();
    let list = vec![json!(-1); 10_000];
    attack("enum", &json!({"properties": {"a": {"items": {"not": {"enum": values}}}}}), &json!({"a": list}));
    let constants: Vec<Value> = (0..1_900).map(|i| json!({"const": i})).collect();
    attack("const", &json!({"properties": {"a": {"items": {"not": {"anyOf": constants}}}}}), &json!({"a": list}));
    attack(
        "small",
        &json!({"properties": {"a": {"items": {"not": {"anyOf": [{"const": 1}]}}}}}),
        &json!({"a": vec![json!(-1); 1_000_000]}),
    );
}

#[test]
fn expressions_that_throw_the_engine_out_of_its_tables() {
    let text = "ab".repeat(500_000);
    for pattern in [
        "(a|b)*a(a|b){1000}c",
        "[ab]*a[ab]{100}c",
        "(x+x+)+y",
        "(?:a{0,50}){0,50}c",
        "^(\\w+\\s?)*$",
        "(.*a){20}c",
        "\\p{L}{30}c",
    ] {
        attack(pattern, &json!({"properties": {"a": {"pattern": pattern}}}), &json!({"a": text}));
        for length in [3_000, 30_000, 100_000] {
            let short: String = text.chars().take(length).collect();
            attack(
                &format!("{pattern} on {length}"),
                &json!({"properties": {"a": {"pattern": pattern}}}),
                &json!({"a": short}),
            );
        }
    }
    let many: serde_json::Map<String, Value> =
        (0..64).map(|i| (format!("[ab]*a[ab]{{{}}}c", 40 + i), json!(false))).collect();
    attack("many", &json!({"patternProperties": many}), &json!({text.chars().take(10_000).collect::<String>(): 1}));
}

#[test]
fn dynamic_references_between_many_documents() {
    for count in [5, 10, 20, 40] {
        let resource = |i: usize| {
            let leads: serde_json::Map<String, Value> =
                (0..count).map(|j| (format!("p{j}"), json!({"$ref": format!("http://a/r{j}")}))).collect();
            json!({"$id": format!("http://a/r{i}"), "$defs": {"d": {"$dynamicAnchor": format!("d{i}")}},
                   "properties": leads, "items": {"$dynamicRef": format!("http://a/r{i}#d{i}")}})
        };
        let all: serde_json::Map<String, Value> = (0..count).map(|i| (format!("r{i}"), resource(i))).collect();
        attack(
            &format!("{count} documents"),
            &json!({"$defs": all, "$ref": "http://a/r0"}),
            &json!({"p1": {"p2": {}}}),
        );
        let plain = Value::Object(all).to_string().replace("$dynamicRef", "$ref");
        let plain: Value = serde_json::from_str(&plain).unwrap();
        attack(
            &format!("{count} plain documents"),
            &json!({"$defs": plain, "$ref": "http://a/r0"}),
            &json!({"p1": {"p2": {}}}),
        );
    }
}

#[test]
fn dynamic_references_that_lead_back() {
    let node = json!({"$id": "http://a/tree", "$dynamicAnchor": "node", "properties": {
        "kids": {"items": {"$dynamicRef": "#node"}}, "a": {"$dynamicRef": "#node"}, "b": {"$dynamicRef": "#node"}}});
    let strict =
        json!({"$id": "http://a/strict", "$dynamicAnchor": "node", "$ref": "tree", "unevaluatedProperties": false});
    let schema = json!({"$ref": "http://a/strict", "$defs": {"a": node, "b": strict}});
    let deep = nest(55, json!({}), |inner| json!({"a": inner.clone(), "kids": [1]}));
    attack("tree", &schema, &deep);
    let wide = nest(12, json!({}), |inner| json!({"a": inner.clone(), "b": inner}));
    attack("wide tree", &schema, &wide);
    attack("itself", &json!({"$dynamicAnchor": "n", "$dynamicRef": "#n"}), &json!({}));
    attack(
        "itself in another scope",
        &json!({"$id": "http://a/a", "$dynamicAnchor": "n", "$ref": "b", "$defs": {
        "b": {"$id": "b", "$dynamicAnchor": "n", "allOf": [{"$dynamicRef": "#n"}]}}}),
        &json!({}),
    );
}

#[test]
fn references_that_lead_back_beside_unevaluated() {
    let visit = json!({"properties": {"x": {"$ref": "#/$defs/t"}}});
    for keyword in ["anyOf", "allOf", "oneOf"] {
        let node = json!({"properties": {"x": {"$ref": "#/$defs/t"}}, keyword: [visit, {"if": visit, "then": visit}],
            "unevaluatedProperties": {"$ref": "#/$defs/t"}, "unevaluatedItems": false});
        let schema = json!({"$ref": "#/$defs/t", "$defs": {"t": node}});
        for inner in [json!({}), json!(1), json!({"y": {"z": {"x": {}}}})] {
            attack(keyword, &schema, &nest(58, inner, |inner| json!({"x": inner, "y": 1})));
        }
    }
}

#[test]
fn long_names_with_much_beneath_them() {
    let many: serde_json::Map<String, Value> = (0..2_000).map(|i| (i.to_string(), json!({}))).collect();
    attack("long name", &json!({"properties": {"x".repeat(30_000): {"properties": many}}}), &json!({}));
    let refer: serde_json::Map<String, Value> = (0..1_200).map(|i| (i.to_string(), json!({"$ref": "#a"}))).collect();
    let defined = json!({"x".repeat(30_000): {"$anchor": "a"}});
    let registry = ToolRegistry::open();
    let refused = registry.define(json!({"$defs": defined, "properties": refer}).to_string().as_bytes());
    assert!(refused.unwrap_err().to_string().contains("once its references are written out"));
}

#[test]
fn a_copied_document_is_bounded() {
    let values: Vec<Value> = (0..3_000).map(|i| json!(format!("value {i}"))).collect();
    let users: serde_json::Map<String, Value> = (0..60)
        .map(|i| {
            (
                format!("u{i}"),
                json!({"$id": format!("http://a/u{i}"), "$defs": {"n": {"$dynamicAnchor": "n"}}, "$ref": "big"}),
            )
        })
        .collect();
    let mut all = users.clone();
    all.insert("big".to_owned(), json!({"$id": "http://a/big", "enum": values, "properties": {"x": {"$dynamicRef": "#n"}}, "$defs": {"n": {"$dynamicAnchor": "n"}}}));
    let uses: serde_json::Map<String, Value> =
        users.keys().map(|name| (name.clone(), json!({"$ref": format!("http://a/{name}")}))).collect();
    attack("copies", &json!({"$defs": all, "properties": uses}), &json!({"u1": {"x": 1}}));
}

#[test]
fn schemas_that_take_long_to_compile() {
    attack(
        "many properties",
        &json!({"properties": (0..3_900).map(|i| (i.to_string(), json!({}))).collect::<serde_json::Map<_, _>>()}),
        &json!({}),
    );
    attack(
        "many alternatives",
        &json!({"anyOf": (0..3_900).map(|_| json!({"maxProperties": 0})).collect::<Vec<_>>()}),
        &json!({"a": 1}),
    );
    attack(
        "nested",
        &nest(61, json!({}), |inner| json!({"properties": {"a": inner}})),
        &nest(60, json!({}), |inner| json!({"a": inner})),
    );
    attack("chain of allOf", &nest(40, json!({}), |inner| json!({"allOf": [inner]})), &json!({}));
    attack(
        "multiples",
        &json!({"properties": {"a": {"multipleOf": 1e-300}, "b": {"multipleOf": 5e-324}, "c": {"multipleOf": 1e300}}}),
        &json!({"a": 1e308, "b": 1e308, "c": 1e-308}),
    );
    attack(
        "counts",
        &json!({"properties": {"a": {"minLength": 1e300, "maxItems": 1e300, "minContains": 1e300, "contains": {}}}}),
        &json!({"a": [1]}),
    );
    attack(
        "huge repetition",
        &json!({"properties": {"a": {"pattern": "((((a{1000}){1000}){1000}){1000})"}}}),
        &json!({}),
    );
    attack(
        "deep groups",
        &json!({"properties": {"a": {"pattern": format!("{}a{}", "(".repeat(30_000), ")".repeat(30_000))}}}),
        &json!({}),
    );
    let classes: serde_json::Map<String, Value> = (0..64)
        .map(|i| (format!("p{i}"), json!({"pattern": format!("[\\p{{L}}\\p{{N}}]{{{}}}\\P{{Lu}}", i + 1)})))
        .collect();
    attack("large classes", &json!({"properties": classes}), &json!({"p1": "x"}));
}

#[test]
fn formats_on_long_texts() {
    let known = [
        "date",
        "time",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "uri",
        "uri-reference",
        "iri",
        "iri-reference",
        "uuid",
        "uri-template",
        "json-pointer",
        "relative-json-pointer",
        "regex",
    ];
    for format in known {
        let schema = json!({"properties": {"a": {"format": format}}});
        let document = json!({"formats": "enforce", "tools": [{"name": "t", "argumentSchema": schema}]});
        let tools = registry(&document);
        for unit in [
            "(", "[", "{", "a", "a.", "a@", "\u{e9}.", "%41", "(?:", "a*", "1", ":", "/~0", "xn--a.", "{a}", "[a-",
            "\\", "(?<a>", "1:", "P1Y", "\u{200d}",
        ] {
            let text = unit.repeat(300_000 / unit.len());
            let arguments = json!({"a": text}).to_string();
            let begun = Instant::now();
            let _ = tools.check("t", &args(&arguments));
            assert!(begun.elapsed() < SOON, "{format} on {unit:?} took {:?}", begun.elapsed());
        }
    }
}
