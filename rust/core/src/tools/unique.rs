//! `uniqueItems` in linear time.
//!
//! The validator's own hashes a list by what is in it and not by its shape, so that all lists of empty lists hash the
//! same, and a call with a hundred thousand of them takes hours.

use std::collections::HashSet;

use jsonschema::paths::Location;
use jsonschema::{Keyword, ValidationError};
use serde_json::{Map, Value};

struct UniqueItems;

/// Makes the keyword. The signature is the validator's.
pub(super) fn keyword<'a>(
    _: &'a Map<String, Value>,
    value: &'a Value,
    _: Location,
) -> Result<Box<dyn for<'i> Keyword<'i>>, ValidationError<'a>> {
    Ok(if value == &Value::Bool(true) { Box::new(UniqueItems) } else { Box::new(Anything) })
}

impl<'i> Keyword<'i> for UniqueItems {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        if is_unique(instance) { Ok(()) } else { Err(ValidationError::custom("items are not unique")) }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        is_unique(instance)
    }
}

/// What `"uniqueItems": false` asks for.
struct Anything;

impl<'i> Keyword<'i> for Anything {
    fn validate(&self, _: &'i Value) -> Result<(), ValidationError<'i>> {
        Ok(())
    }

    fn is_valid(&self, _: &'i Value) -> bool {
        true
    }
}

fn is_unique(instance: &Value) -> bool {
    let Value::Array(items) = instance else { return true };
    let mut seen = HashSet::with_capacity(items.len());
    items.iter().all(|item| {
        let mut form = Vec::new();
        write(item, &mut form);
        seen.insert(form)
    })
}

/// A form in which two values are the same bytes exactly when JSON Schema calls them equal.
fn write(value: &Value, form: &mut Vec<u8>) {
    match value {
        Value::Null => form.push(b'n'),
        Value::Bool(value) => form.push(if *value { b't' } else { b'f' }),
        Value::Number(number) => write_number(number, form),
        Value::String(text) => write_text(text, form),
        Value::Array(items) => {
            form.push(b'[');
            items.iter().for_each(|item| write(item, form));
            form.push(b']');
        }
        Value::Object(fields) => {
            form.push(b'{');
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            for (key, value) in sorted {
                write_text(key, form);
                write(value, form);
            }
            form.push(b'}');
        }
    }
}

fn write_text(text: &str, form: &mut Vec<u8>) {
    form.push(b'"');
    form.extend(text.len().to_le_bytes());
    form.extend(text.as_bytes());
}

/// 1 and 1.0 are one number, and so are 0 and -0.0.
fn write_number(number: &serde_json::Number, form: &mut Vec<u8>) {
    /// Beyond it, a float is no integer that could be written as one here.
    const INTEGERS_END: f64 = 18_446_744_073_709_551_616.0;
    let float = number.as_f64().unwrap_or_default();
    let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    let whole = || (float.fract() == 0.0 && float.abs() < INTEGERS_END).then_some(float as i128);
    match integer.or_else(whole) {
        Some(integer) => {
            form.push(b'i');
            form.extend(integer.to_le_bytes());
        }
        None => {
            form.push(b'd');
            form.extend(float.to_bits().to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    fn is_unique(instance: Value) -> bool {
        super::is_unique(&instance)
    }

    #[test]
    fn equal_items_are_found_however_they_are_written() {
        for same in [
            json!([1, 1.0]),
            json!([0, -0.0]),
            json!([1e3, 1000]),
            json!([18_446_744_073_709_549_568_u64, 18_446_744_073_709_549_568.0]),
            json!([{"a": 1, "b": [2]}, {"b": [2.0], "a": 1}]),
            json!(["a", "b", "a"]),
            json!([[], [[]], []]),
            json!([null, null]),
        ] {
            assert!(!is_unique(same.clone()), "{same}");
        }
    }

    #[test]
    fn items_of_another_type_or_shape_are_others() {
        for other in [
            json!([1, "1", true, [1], {"1": 1}, null, 1.5]),
            json!([0, false, "", [], {}, null]),
            json!([[], [[]], [[], []], [[[]]]]),
            json!([["a", "b"], ["ab"], ["a\"b"]]),
            json!([18_446_744_073_709_551_615_u64, 18_446_744_073_709_551_614_u64]),
            json!([{"a": {}}, {"a": []}, {"a": {"a": {}}}]),
            json!("aa"),
        ] {
            assert!(is_unique(other.clone()), "{other}");
        }
    }
}
