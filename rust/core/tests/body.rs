//! Bodies: what is read, what is found in it, and what is refused in which words.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use kalguard_core::body::{Conversation, Definition, ToolCall};
use kalguard_core::scanner::Role;

fn read(messages: &str) -> Result<Conversation, String> {
    Conversation::read(format!("{{\"messages\": {messages}}}").as_bytes()).map_err(|error| error.0)
}

fn texts(messages: &str) -> Vec<(usize, Role, String)> {
    let conversation = read(messages).unwrap();
    conversation.segments().iter().map(|found| (found.message, found.role, found.text.to_owned())).collect()
}

fn refused(messages: &str) -> String {
    read(messages).unwrap_err()
}

#[test]
fn every_text_of_a_message_is_found_in_its_order() {
    let found = texts(
        r#"[{"role": "assistant", "content": "c", "name": "n", "refusal": "r", "reasoning": ["a", {"text": "b", "id": "-"}],
            "tool_calls": [{"id": "-", "function": {"name": "-", "arguments": "{\"id\": 1}"}}],
            "function_call": {"name": "-", "arguments": {"name": "f", "id": "g"}}}]"#,
    );
    let said: Vec<_> = found.iter().map(|(_, _, text)| text.as_str()).collect();
    assert_eq!(said, ["n", "c", "r", "a", "b", "f", "g", "{\"id\": 1}"]);
    assert!(found.iter().all(|(message, role, _)| (*message, *role) == (0, Role::Assistant)));
}

#[test]
fn what_a_tool_says_inside_a_part_is_the_tools() {
    let found = texts(
        r#"[{"role": "user", "content": "x"}, {"role": "user", "content": [
            {"type": "text", "text": "mine"},
            {"type": "tool_result", "tool_use_id": "-", "text": "also mine", "content": ["its", {"type": "text", "text": "own"}]},
            {"type": "document", "source": {"type": "text", "media_type": "-", "data": "read"}, "title": "t"},
            {"type": "document", "source": {"type": "base64", "data": "-"}, "input": {"data": "free"}}]}]"#,
    );
    let said: Vec<_> = found.iter().map(|(message, role, text)| (*message, *role, text.as_str())).collect();
    assert_eq!(
        said,
        [
            (0, Role::User, "x"),
            (1, Role::User, "mine"),
            (1, Role::User, "also mine"),
            (1, Role::Tool, "its"),
            (1, Role::Tool, "own"),
            (1, Role::User, "read"),
            (1, Role::User, "t"),
            (1, Role::User, "free"),
        ]
    );
}

#[test]
fn what_is_wrong_with_a_conversation_is_said_with_its_place() {
    assert_eq!(Conversation::read(b"{}").unwrap_err().0, "object missing required field `messages`");
    assert_eq!(Conversation::read(b"[]").unwrap_err().0, "body must be a JSON object");
    assert_eq!(Conversation::read(b"{\"a\": \"\xff\"}").unwrap_err().0, "body is not UTF-8");
    for (messages, problem) in [
        ("1", "`messages`: expected `list`, got `number`"),
        ("[]", "`messages` must hold at least one message"),
        ("[true]", "`messages[0]`: expected `object`, got `boolean`"),
        ("[{}]", "`messages[0]`: object missing required field `role`"),
        (r#"[{"role": null}]"#, "`messages[0].role`: expected `text`, got `null`"),
        (r#"[{"role": "user"}]"#, "`messages[0].content` is missing"),
        (r#"[{"role": "user", "tool_calls": []}]"#, "`messages[0].content` is missing"),
        (r#"[{"role": "user", "content": 1}]"#, "`messages[0].content`: expected `text | list | null`, got `number`"),
        (r#"[{"role": "user", "content": ["x"]}]"#, "`messages[0].content[0]`: expected `object`, got `text`"),
        (r#"[{"role": "user", "content": [{"type": 1}]}]"#, "`messages[0].content[0].type` must be text"),
        (r#"[{"role": "user", "content": [{"type": "text"}]}]"#, "`messages[0].content[0].text` must be text"),
        (
            r#"[{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "x", "text": {}}]}]}]"#,
            "`messages[0].content[0].content[0].text` must be text",
        ),
        (r#"[{"role": "user", "content": "x", "name": []}]"#, "`messages[0].name`: expected `text | null`, got `list`"),
    ] {
        assert_eq!(refused(messages), problem);
    }
    let many = format!("[{}]", vec![r#"{"role": "user", "content": ""}"#; 10_001].join(","));
    assert_eq!(refused(&many), "`messages` hold more than 10000 texts");
}

#[test]
fn of_a_name_that_is_given_twice_the_last_value_counts_however_many_there_are() {
    assert_eq!(texts(r#"[{"role": "system", "role": "user", "content": "a", "content": "b"}]"#)[0].2, "b");
    let many: String = (0..40).map(|n| format!("\"k{n}\": \"v\", ")).collect();
    let found = read(&format!(r#"[{{"role": "user", "content": "a", {many} "content": "b", "k3": "w"}}]"#)).unwrap();
    assert_eq!(found.segments()[0].text, "b");
    let written = found.with_texts(&[Some("c".to_owned())]);
    assert!(!written.contains("\"a\"") && written.contains("\"k3\":\"w\"") && written.matches("content").count() == 1);
}

#[test]
fn what_is_nested_too_deep_is_refused_and_no_depth_is_a_crash() {
    let nested = |depth: usize| {
        let inner = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        read(&format!(r#"[{{"role": "user", "content": "x", "y": {inner}}}]"#)).map(|_| ())
    };
    assert_eq!(nested(61), Ok(())); // the body, the list of messages and the message come first
    for depth in [62, 63, 200, 500_000] {
        assert_eq!(nested(depth).unwrap_err(), "body is nested deeper than 64 levels");
    }
}

#[test]
fn what_is_not_changed_is_written_as_it_was() {
    let messages =
        r#"[{"role":"user","content":"a","x":[1,-0.5,1.5e-7,1180591620717411303424,true,null,{"a":{},"b":[]}]}]"#;
    assert_eq!(read(messages).unwrap().with_texts(&[None]), messages);
    let changed = read(messages).unwrap().with_texts(&[Some("\"é\n".to_owned())]);
    assert_eq!(changed, messages.replace("\"a\",\"x\"", "\"\\\"é\\n\",\"x\""));
}

#[test]
fn a_tool_call_is_read_and_what_is_wrong_with_it_is_named() {
    let call = ToolCall::read(
        br#"{"toolName": "t", "args": {"a": 1}, "context": {"metadata": {"n": 1, "b": true, "l": []}}}"#,
    );
    let call = call.unwrap();
    assert_eq!((call.name.as_str(), call.argument_count), ("t", 1));
    assert_eq!(call.metadata, [("n".to_owned(), "1".to_owned()), ("b".to_owned(), "true".to_owned())]);
    assert_eq!(ToolCall::read(br#"{"toolName": "t", "context": null}"#).unwrap().argument_count, 0);
    for (body, problem) in [
        (r#"{"arguments": {}}"#, "object missing required field `toolName`"),
        (r#"{"toolName": ""}"#, "`toolName` must have 1 to 256 characters"),
        (r#"{"toolName": "t", "arguments": null}"#, "`arguments`: expected `object`, got `null`"),
        (
            r#"{"toolName": "t", "arguments": {}, "args": {}}"#,
            "`arguments` and `args` are two names for one field: give one of them",
        ),
        (r#"{"toolName": "t", "arguments": {"a": 1e999}}"#, "body cannot be read: number out of range"),
        (r#"{"toolName": "t", "context": []}"#, "`context`: expected `object | null`, got `list`"),
        (
            r#"{"toolName": "t", "context": {"metadata": 1}}"#,
            "`context.metadata`: expected `object | null`, got `number`",
        ),
    ] {
        assert_eq!(ToolCall::read(body.as_bytes()).unwrap_err().0, problem);
    }
}

#[test]
fn a_definition_is_read_and_its_schema_written_again() {
    let body = br#"{"toolName": "t", "argumentSchema": {"b": 1.0, "a": 18446744073709551616}, "description": null}"#;
    let definition = Definition::read(body).unwrap();
    assert_eq!(definition.argument_schema, r#"{"b":1.0,"a":18446744073709551616}"#);
    assert_eq!(definition.description, None);
    let missing = Definition::read(br#"{"toolName": "t"}"#).unwrap_err().0;
    assert_eq!(missing, "object missing required field `argumentSchema`");
}

/// Were the texts found before looked at again with each message, this would take minutes.
#[test]
fn as_many_texts_and_messages_as_a_body_can_hold_are_read() {
    let texts = vec![r#"{"role":"user","content":"x"}"#; 9_990];
    let calls = vec![r#"{"role":"assistant","tool_calls":[{"name":"f"}]}"#; 90_000];
    let read = read(&format!("[{},{}]", texts.join(","), calls.join(","))).unwrap();
    assert_eq!((read.message_count(), read.segments().len()), (99_990, 9_990));
}

#[test]
fn names_of_functions_are_no_texts_however_many_there_are() {
    let calls = vec![r#"{"function":{"name":"f","arguments":"{}"}}"#; 5_000];
    let bare = vec![r#"{"name":"f"}"#; 20_000];
    let body = format!(r#"[{{"role":"assistant","tool_calls":[{},{}]}}]"#, calls.join(","), bare.join(","));
    assert_eq!(read(&body).unwrap().segments().len(), 5_000);
}
