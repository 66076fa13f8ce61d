//! The arguments of a tool call, parsed once for all that look at them: policy, firewall, tool mediation.

use serde_json::Value;

use crate::body::{self, BadRequest};

/// How deep arguments may be nested. What looks at them recurses, so this bounds the stack it takes.
const MAX_DEPTH: usize = 64;

/// Arguments: a JSON object, nested no deeper than can be looked at.
///
/// ```
/// use kalguard_core::arguments::Arguments;
/// assert!(Arguments::parse(br#"{"location": "Bonn"}"#).is_ok());
/// assert_eq!(Arguments::parse(b"[]").unwrap_err(), "arguments are not a JSON object");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Arguments(Value);

impl Default for Arguments {
    /// No arguments.
    fn default() -> Self {
        Self(Value::Object(serde_json::Map::new()))
    }
}

impl Arguments {
    /// Parse a JSON object, given as UTF-8. Of a key given twice the last value counts.
    ///
    /// # Errors
    ///
    /// What is wrong, with nothing of what was given.
    pub fn parse(json: &[u8]) -> Result<Self, &'static str> {
        let Ok(value @ Value::Object(_)) = serde_json::from_slice::<Value>(json) else {
            return Err("arguments are not a JSON object");
        };
        if deeper_than(&value, MAX_DEPTH) {
            return Err("arguments are nested too deep");
        }
        Ok(Self(value))
    }

    /// Those of a body, which is nested no deeper than that.
    pub(crate) fn from_body(object: &body::Value) -> Result<Self, BadRequest> {
        body::to_serde(object).map(Self)
    }

    /// The object.
    pub(crate) const fn value(&self) -> &Value {
        &self.0
    }

    /// Every text and number with the key it stands under, `""` where there is none, and every key that holds neither.
    pub(crate) fn for_each_text(&self, mut see: impl FnMut(&str, &str)) {
        walk("", &self.0, &mut see);
    }
}

fn walk(key: &str, value: &Value, see: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) => see(key, text),
        Value::Number(number) => see(key, &number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| walk(key, item, see)),
        Value::Object(fields) => {
            for (key, value) in fields {
                if !matches!(value, Value::String(_) | Value::Number(_)) {
                    see("", key);
                }
                walk(key, value, see);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

/// Whether a value has more than `depth` lists and objects inside each other. The parser has bounded them already.
pub(crate) fn deeper_than(value: &Value, depth: usize) -> bool {
    match (value, depth.checked_sub(1)) {
        (Value::Array(_) | Value::Object(_), None) => true,
        (Value::Array(items), Some(left)) => items.iter().any(|item| deeper_than(item, left)),
        (Value::Object(fields), Some(left)) => fields.values().any(|field| deeper_than(field, left)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Arguments;

    #[test]
    fn every_text_is_seen_with_the_key_it_stands_under() {
        let json = br#"{"to": ["a", {"b": 1, "c": [[2.5]]}], "d": null, "e": {"f": "x"}, "g": true}"#;
        let mut seen = Vec::new();
        Arguments::parse(json).unwrap().for_each_text(|key, text| seen.push(format!("{key}={text}")));
        seen.sort();
        assert_eq!(seen, ["=c", "=d", "=e", "=g", "=to", "b=1", "c=2.5", "f=x", "to=a"]);
    }

    #[test]
    fn what_is_nested_too_deep_is_refused() {
        let nested = |depth: usize| format!("{}{}", "{\"a\":".repeat(depth), "1") + &"}".repeat(depth);
        assert!(Arguments::parse(nested(64).as_bytes()).is_ok());
        assert_eq!(Arguments::parse(nested(65).as_bytes()).unwrap_err(), "arguments are nested too deep");
        assert!(Arguments::parse(nested(100_000).as_bytes()).is_err());
    }
}
