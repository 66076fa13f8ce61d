//! A tool that an agent defines.

use super::json::{Value, read_object, written};
use super::{BadRequest, OBJECT, Place, TEXT, TEXT_OR_NULL, optional, required};

/// The body of a registration, as it was said: whether the name, the description and the schema will do is seen later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The tool.
    pub name: String,
    /// The JSON Schema of its arguments, as JSON.
    pub argument_schema: String,
    /// What it is for, as the agent says.
    pub description: Option<String>,
}

impl Definition {
    /// Read a body.
    ///
    /// # Errors
    /// What is wrong with it, naming the field.
    pub fn read(body: &[u8]) -> Result<Self, BadRequest> {
        let body = read_object(body)?;
        let text = |value: &Value| match value {
            Value::Str(text) => Some(text.clone().into_owned()),
            _ => None,
        };
        let name = text(required(&body, "toolName", Place::Body, TEXT)?).unwrap_or_default();
        let argument_schema = written(required(&body, "argumentSchema", Place::Body, OBJECT)?);
        let description = optional(&body, "description", Place::Body, TEXT_OR_NULL)?.and_then(text);
        Ok(Self { name, argument_schema, description })
    }
}
