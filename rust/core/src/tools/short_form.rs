//! The short form of an argument schema: `{"location": {"type": "string", "required": true}}`.
//!
//! A schema is in short form if it has at least one key, each value is an object with a string as its `type`, and no key
//! starts with `$` or names a keyword whose value may be an object (`properties`, `items`, `not`, `const`, `default`,
//! ...). So an argument called `title` or `format` can be declared in short form, and one called `items` cannot.
//! Each key is then an argument, each value its schema (2020-12) with one more key: `required`, `true` or `false`, absent
//! means false. Arguments that are not named are refused.

use serde_json::{Map, Value, json};

use super::keywords::may_hold_an_object;

/// The full form of a schema in short form; any other schema as it is.
pub(super) fn expand(written: Map<String, Value>) -> Map<String, Value> {
    if !is_short(&written) {
        return written;
    }
    let mut required = Vec::new();
    let mut properties = Map::new();
    for (name, mut schema) in written {
        // A list here is the keyword of that name, about the keys of an object.
        if let Some(Value::Bool(wanted)) = schema.get("required") {
            if *wanted {
                required.push(Value::from(name.as_str()));
            }
            schema.as_object_mut().and_then(|schema| schema.remove("required"));
        }
        properties.insert(name, schema);
    }
    let full = [
        ("type", json!("object")),
        ("properties", Value::Object(properties)),
        ("required", Value::Array(required)),
        ("additionalProperties", json!(false)),
    ];
    full.into_iter().map(|(keyword, value)| (keyword.to_owned(), value)).collect()
}

fn is_short(written: &Map<String, Value>) -> bool {
    let named = |name: &str| !name.starts_with('$') && !may_hold_an_object(name);
    !written.is_empty()
        && written.iter().all(|(name, value)| named(name) && value.get("type").is_some_and(Value::is_string))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use serde_json::{Value, json};

    fn expand(written: Value) -> Value {
        super::expand(written.as_object().unwrap().clone()).into()
    }

    #[test]
    fn the_short_form_is_written_out() {
        let written =
            json!({"location": {"type": "string", "required": true}, "days": {"type": "integer", "required": false}});
        let full = json!({
            "type": "object",
            "properties": {"location": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["location"],
            "additionalProperties": false,
        });
        assert_eq!(expand(written), full);
    }

    #[test]
    fn an_argument_may_be_called_like_a_keyword_that_holds_no_object() {
        for name in ["title", "format", "type", "pattern", "description", "required"] {
            assert_eq!(expand(json!({name: {"type": "string"}}))["properties"], json!({name: {"type": "string"}}));
        }
    }

    #[test]
    fn required_inside_an_object_argument_stays_its_own() {
        let inner = json!({"type": "object", "properties": {"a": {}}, "required": ["a"]});
        assert_eq!(expand(json!({"filter": inner}))["properties"]["filter"], inner);
    }

    #[test]
    fn what_may_be_a_full_schema_is_left_alone() {
        for full in [
            json!({}),
            json!({"type": "object"}),
            json!({"type": "object", "location": {"type": "string"}}),
            json!({"properties": {"type": "string"}}),
            json!({"not": {"type": "string"}}),
            json!({"const": {"type": "string"}}),
            json!({"default": {"type": "string"}}),
            json!({"$defs": {"type": "string"}}),
            json!({"items": {"type": "string"}}),
            json!({"location": {"type": ["string"]}}),
            json!({"location": {"required": true}}),
            json!({"a": {"type": "string"}, "b": true}),
        ] {
            assert_eq!(expand(full.clone()), full);
        }
    }
}
