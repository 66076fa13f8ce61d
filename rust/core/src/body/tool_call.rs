//! A tool call to be judged.

use super::json::{Value, read_object};
use super::{BadRequest, OBJECT, Place, TEXT, metadata, optional, required};
use crate::arguments::Arguments;

/// Characters of a tool's name.
pub const MAX_TOOL_NAME_LENGTH: usize = 256;

/// The body of a tool check.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The tool, as the agent calls it.
    pub name: String,
    /// What it is to be called with.
    pub arguments: Arguments,
    /// How many arguments there are.
    pub argument_count: usize,
    /// What the agent says about the circumstances, as far as policies can ask for it.
    pub metadata: Vec<(String, String)>,
}

impl ToolCall {
    /// Read a body. `args` is another name for `arguments`; without either there are none.
    ///
    /// # Errors
    /// What is wrong with it, naming the field.
    pub fn read(body: &[u8]) -> Result<Self, BadRequest> {
        let body = read_object(body)?;
        let name = match required(&body, "toolName", Place::Body, TEXT)? {
            Value::Str(name) => name.clone().into_owned(),
            _ => String::new(),
        };
        if !(1..=MAX_TOOL_NAME_LENGTH).contains(&name.chars().count()) {
            return Err(BadRequest(format!("`toolName` must have 1 to {MAX_TOOL_NAME_LENGTH} characters")));
        }
        let [arguments, args] = ["arguments", "args"].map(|field| optional(&body, field, Place::Body, OBJECT));
        let given = match (arguments?, args?) {
            (Some(_), Some(_)) => {
                let both = "`arguments` and `args` are two names for one field: give one of them";
                return Err(BadRequest(both.to_owned()));
            }
            (Some(given), None) | (None, Some(given)) => Some(given),
            (None, None) => None,
        };
        let argument_count = match given {
            Some(Value::Object(fields)) => fields.len(),
            _ => 0,
        };
        let arguments = given.map(Arguments::from_body).transpose()?.unwrap_or_default();
        Ok(Self { name, arguments, argument_count, metadata: metadata(&body)? })
    }
}
