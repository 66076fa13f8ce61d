//! What agents send: the bodies of checks, from bytes to what is judged.
//!
//! A body is read whole, so that nothing in it stays unexamined. What RFC 8259 rules out, text that is not Unicode,
//! nesting beyond [`MAX_DEPTH`] and numbers that no reader can hold are refused, and so is whatever has another form than
//! the endpoint takes. Of a key given twice the last value counts, for us and for whoever gets back what was judged.

mod conversation;
mod definition;
mod json;
mod texts;
mod tool_call;

pub use conversation::Conversation;
pub use definition::Definition;
pub use json::MAX_DEPTH;
pub use tool_call::{MAX_TOOL_NAME_LENGTH, ToolCall};

use std::borrow::Cow;
use std::fmt;

use json::{Fields, field};
pub(crate) use json::{Value, to_serde};

/// Texts of one conversation; every text costs something, however short.
const MAX_TEXTS: usize = 10_000;
/// Entries of `context.metadata`.
pub const MAX_METADATA: usize = 256;

/// Why a body is refused: a sentence that names the field, for whoever has to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRequest(pub String);

/// What a value must be to stand in a field, as messages call it.
type Expected = (&'static str, fn(&Value) -> bool);

const TEXT: Expected = ("text", |value| matches!(value, Value::Str(_)));
const TEXT_OR_NULL: Expected = ("text | null", |value| matches!(value, Value::Str(_) | Value::Null));
const LIST: Expected = ("list", |value| matches!(value, Value::Array(_)));
const LIST_OR_NULL: Expected = ("list | null", |value| matches!(value, Value::Array(_) | Value::Null));
const OBJECT: Expected = ("object", |value| matches!(value, Value::Object(_)));
const OBJECT_OR_NULL: Expected = ("object | null", |value| matches!(value, Value::Object(_) | Value::Null));
const CONTENT: Expected =
    ("text | list | null", |value| matches!(value, Value::Str(_) | Value::Array(_) | Value::Null));

/// An object with fields of a form that we know, as messages call it.
#[derive(Debug, Clone, Copy)]
enum Place {
    Body,
    Context,
    Message(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body => Ok(()),
            Self::Context => write!(out, "context"),
            Self::Message(index) => write!(out, "messages[{index}]"),
        }
    }
}

/// The value of a field, if it is there.
fn optional<'v>(
    fields: &'v Fields,
    name: &str,
    place: Place,
    expected: Expected,
) -> Result<Option<&'v Value>, BadRequest> {
    let found = field(fields, name);
    if let Some(value) = found {
        require(value, expected, || match place {
            Place::Body => name.to_owned(),
            _ => format!("{place}.{name}"),
        })?;
    }
    Ok(found)
}

/// The value of a field that must be there.
fn required<'v>(fields: &'v Fields, name: &str, place: Place, expected: Expected) -> Result<&'v Value, BadRequest> {
    optional(fields, name, place, expected)?.ok_or_else(|| {
        let missing = format!("object missing required field `{name}`");
        BadRequest(match place {
            Place::Body => missing,
            _ => format!("`{place}`: {missing}"),
        })
    })
}

fn require(value: &Value, (expected, holds): Expected, place: impl Fn() -> String) -> Result<(), BadRequest> {
    if holds(value) {
        return Ok(());
    }
    Err(BadRequest(format!("`{}`: expected `{expected}`, got `{}`", place(), json::kind(value))))
}

/// `context.metadata` as policies can ask for it: values that are text, and booleans and whole numbers as they are
/// written in JSON. Any other value cannot meet a condition.
fn metadata(body: &Fields) -> Result<Vec<(String, String)>, BadRequest> {
    let Some(Value::Object(context)) = optional(body, "context", Place::Body, OBJECT_OR_NULL)? else {
        return Ok(Vec::new());
    };
    let Some(Value::Object(given)) = optional(context, "metadata", Place::Context, OBJECT_OR_NULL)? else {
        return Ok(Vec::new());
    };
    if given.len() > MAX_METADATA {
        return Err(BadRequest(format!("`context.metadata` holds more than {MAX_METADATA} entries")));
    }
    let as_text = |(name, value): &(Cow<'static, str>, Value)| {
        let text = match value {
            Value::Str(text) => text.clone().into_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::BigInt(value) => value.to_string(),
            _ => return None,
        };
        Some((name.clone().into_owned(), text))
    };
    Ok(given.iter().filter_map(as_text).collect())
}
