//! A policy of 1,000 rules whose last one matches, beside Cedar; and what the core spends on one tool call.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use kalguard_core::arguments::Arguments;
use kalguard_core::policy::{AccessRequest, Decision, PolicySet};
use kalguard_core::scanner::{Scanner, ScannerConfig};
use kalguard_core::tools::ToolRegistry;
use kalguard_yardsticks::{ASKED, Cedar, document, rules};

fn policies(c: &mut Criterion) {
    for (name, begun) in [("names that begin differently", true), ("names that only end differently", false)] {
        let rules = rules(begun);
        let ours = PolicySet::compile(&document(&rules)).expect("a good document");
        let cedar = Cedar::new(&rules).expect("good policies");
        let request =
            AccessRequest { agent_id: ASKED.0, action: "tool:execute", tool: Some(ASKED.1), ..Default::default() };
        assert_eq!(ours.evaluate(&request).rule_id, Some("r999"));
        assert!(cedar.allows());
        let mut group = c.benchmark_group(format!("1,000 rules, {name}"));
        group.bench_function("kalguard", |b| {
            b.iter(|| assert_eq!(ours.evaluate(black_box(&request)).decision, Decision::Allow));
        });
        group.bench_function("cedar", |b| b.iter(|| assert!(cedar.allows())));
        group.finish();
    }
}

fn tool_call(c: &mut Criterion) {
    let policy = PolicySet::compile(
        br#"{"rules": [
            {"id": "secrets", "decision": "deny", "match": {"findings": ["pii.secret"]}},
            {"id": "files", "decision": "allow", "match": {"tools": ["read_file"], "arguments": {"/path": {"pathPrefix": "/srv"}}}}
        ]}"#,
    )
    .expect("a good document");
    let tools = ToolRegistry::compile(
        br#"{"tools": [{"name": "read_file", "argumentSchema": {"type": "object", "additionalProperties": false,
            "required": ["path"], "properties": {"path": {"type": "string", "maxLength": 200}, "lines": {"type": "integer"}}}}]}"#,
    )
    .expect("a good file");
    let scanner = Scanner::new(&ScannerConfig::default()).expect("the shipped catalogue");
    let body: &[u8] = br#"{"path": "/srv/data/reports/2026/october.txt", "lines": 40}"#;
    c.bench_function("tool call: parse, findings, policy, schema, commands", |b| {
        b.iter(|| {
            let arguments = Arguments::parse(black_box(body)).expect("an object");
            let found: Vec<_> = scanner.find_in_arguments(&arguments).into_iter().map(|(c, _)| c.as_str()).collect();
            let answer = policy.evaluate(&AccessRequest {
                agent_id: "agent-1",
                action: "tool:execute",
                tool: Some("read_file"),
                attributes: &[("toolName", "read_file")],
                arguments: Some(&arguments),
                findings: &found,
            });
            assert_eq!(answer.rule_id, Some("files"));
            assert!(tools.check("read_file", &arguments).is_ok());
        });
    });
}

criterion_group!(benches, policies, tool_call);
criterion_main!(benches);
