//! JSON, strictly. The parser is jiter's; here is what it leaves to its users.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use jiter::{JsonErrorType, JsonObject, JsonValue, PartialMode};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::value::RawValue;

use super::BadRequest;

/// Objects and lists inside one another, the body itself included.
pub const MAX_DEPTH: usize = 64;
/// Of so many names it is seen without a table whether one is given twice.
const FEW: usize = 16;

pub(crate) type Value = JsonValue<'static>;
pub(super) type Fields = [(Cow<'static, str>, Value)];

/// Read a body that is an object.
pub(super) fn read_object(body: &[u8]) -> Result<JsonObject<'static>, BadRequest> {
    if std::str::from_utf8(body).is_err() {
        return Err(BadRequest("body is not UTF-8".to_owned()));
    }
    let mut value = JsonValue::parse_owned(body, false, PartialMode::Off).map_err(|error| {
        if error.error_type == JsonErrorType::RecursionLimitExceeded {
            return too_deep();
        }
        BadRequest(format!("body cannot be read: {}", error.description(body)))
    })?;
    tidy(&mut value, MAX_DEPTH)?;
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(BadRequest("body must be a JSON object".to_owned())),
    }
}

/// A field, if it is there.
pub(super) fn field<'v>(fields: &'v Fields, name: &str) -> Option<&'v Value> {
    fields.iter().find(|(given, _)| given == name).map(|(_, value)| value)
}

/// What a value is, as messages call it.
pub(super) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Int(_) | Value::BigInt(_) | Value::Float(_) => "number",
        Value::Str(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// Of a name that is given twice keep the last value, and refuse what is nested too deep.
fn tidy(value: &mut Value, depth_left: usize) -> Result<(), BadRequest> {
    match value {
        Value::Array(items) if !items.is_empty() => {
            let left = depth_left.checked_sub(1).ok_or_else(too_deep)?;
            Arc::make_mut(items).iter_mut().try_for_each(|item| tidy(item, left))
        }
        Value::Object(fields) if !fields.is_empty() => {
            let left = depth_left.checked_sub(1).ok_or_else(too_deep)?;
            let fields = Arc::make_mut(fields);
            keep_last(fields);
            fields.iter_mut().try_for_each(|(_, value)| tidy(value, left))
        }
        Value::Array(_) | Value::Object(_) if depth_left == 0 => Err(too_deep()),
        Value::Float(number) if !number.is_finite() => {
            Err(BadRequest("body cannot be read: number out of range".to_owned()))
        }
        _ => Ok(()),
    }
}

fn keep_last(fields: &mut Vec<(Cow<'static, str>, Value)>) {
    let is_repeated = if fields.len() <= FEW {
        fields.iter().enumerate().any(|(at, (name, _))| fields.iter().skip(at + 1).any(|(other, _)| other == name))
    } else {
        let names: HashSet<&str> = fields.iter().map(|(name, _)| &**name).collect();
        names.len() < fields.len()
    };
    if is_repeated {
        let mut seen = HashSet::new();
        fields.reverse();
        fields.retain(|(name, _)| seen.insert(name.clone()));
        fields.reverse();
    }
}

fn too_deep() -> BadRequest {
    BadRequest(format!("body is nested deeper than {MAX_DEPTH} levels"))
}

/// A value as JSON: numbers with all their digits, names in their order.
pub(super) fn written(value: &Value) -> String {
    // Maps have text for names and numbers are finite: there is nothing that could fail.
    serde_json::to_string(&Written(value)).unwrap_or_else(|_| "null".to_owned())
}

struct Written<'v>(&'v Value);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::BigInt(value) => {
                let digits = RawValue::from_string(value.to_string()).map_err(serde::ser::Error::custom)?;
                digits.serialize(serializer)
            }
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Str(text) => serializer.serialize_str(text),
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(&Written(item)))?;
                list.end()
            }
            Value::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                fields.iter().try_for_each(|(name, value)| map.serialize_entry(name, &Written(value)))?;
                map.end()
            }
        }
    }
}

/// The same value for those who know serde's. Whole numbers beyond 64 bits become floats there.
pub(crate) fn to_serde(value: &Value) -> Result<serde_json::Value, BadRequest> {
    Ok(match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::BigInt(value) => serde_json::from_str(&value.to_string())
            .map_err(|_| BadRequest("body cannot be read: number out of range".to_owned()))?,
        Value::Float(value) => (*value).into(),
        Value::Str(text) => serde_json::Value::String(text.clone().into_owned()),
        Value::Array(items) => serde_json::Value::Array(items.iter().map(to_serde).collect::<Result<_, _>>()?),
        Value::Object(fields) => serde_json::Value::Object(
            fields
                .iter()
                .map(|(name, value)| Ok((name.clone().into_owned(), to_serde(value)?)))
                .collect::<Result<_, BadRequest>>()?,
        ),
    })
}
