//! Every text of a message, however it is wrapped: its name, its content or the parts of it, parts inside parts (a
//! tool's result), the text of a document, the arguments of tool calls.

use super::json::{Fields, Value, field};
use super::{BadRequest, MAX_TEXTS};
use crate::scanner::Role;

/// Of a message, beside `name` and `content`.
const FIELDS_WITH_TEXT: [&str; 6] =
    ["refusal", "reasoning", "reasoning_content", "thinking", "function_call", "tool_calls"];
/// What is in these, of parts and calls, is no text: names of things, addresses, bytes in base64.
const FIELDS_WITHOUT_TEXT: [&str; 19] = [
    "type",
    "id",
    "index",
    "call_id",
    "tool_call_id",
    "tool_use_id",
    "file_id",
    "url",
    "image_url",
    "data",
    "file_data",
    "input_audio",
    "media_type",
    "mime_type",
    "format",
    "detail",
    "signature",
    "encrypted_content",
    "cache_control",
];
/// What is in these is whatever a tool takes: there names like the ones above mean nothing, and may hold any text.
const FIELDS_OF_TOOLS: [&str; 4] = ["arguments", "args", "input", "parameters"];

/// What is known of a value, and so which of its texts are for nobody to read.
#[derive(Clone, Copy)]
enum Form {
    /// A part: fields that name or encode something hold no text.
    Part,
    /// A call: nor is a text that is called `name` one; it is the function's.
    Call,
    /// Nothing is known: every text counts.
    Free,
}

impl Form {
    fn holds_text(self, name: &str, value: &Value) -> bool {
        match self {
            Self::Free => true,
            Self::Call if name == "name" && matches!(value, Value::Str(_)) => false,
            Self::Part | Self::Call => !FIELDS_WITHOUT_TEXT.contains(&name),
        }
    }

    fn of_field(self, name: &str) -> Self {
        if FIELDS_OF_TOOLS.contains(&name) { Self::Free } else { self }
    }
}

/// Where a text stands: the index of its message, and in each object and list inside it the position of what leads on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) message: usize,
    pub(super) role: Role,
    pub(super) path: Vec<usize>,
}

/// What stands behind a path.
pub(super) fn at<'v>(message: &'v Value, path: &[usize]) -> Option<&'v Value> {
    path.iter().try_fold(message, |value, &step| match value {
        Value::Array(items) => items.get(step),
        Value::Object(fields) => fields.get(step).map(|(_, value)| value),
        _ => None,
    })
}

/// Looks through one message after the other.
pub(super) struct Finder<'v> {
    message: (usize, &'v Value),
    path: Vec<usize>,
    pub(super) slots: Vec<Slot>,
}

type Found = Result<(), BadRequest>;

impl<'v> Finder<'v> {
    pub(super) const fn new() -> Self {
        Self { message: (0, &Value::Null), path: Vec::new(), slots: Vec::new() }
    }

    /// Find the texts of a message in the order in which they stand.
    pub(super) fn look_through(&mut self, index: usize, message: &'v Value, fields: &'v Fields, role: Role) -> Found {
        self.message = (index, message);
        if let Some(Value::Str(_)) = field(fields, "name") {
            self.inside(fields, "name", |finder, _| finder.take(role))?;
        }
        self.inside(fields, "content", |finder, content| match content {
            Value::Str(_) => finder.take(role),
            _ => finder.texts(content, role),
        })?;
        for name in FIELDS_WITH_TEXT {
            self.inside(fields, name, |finder, value| finder.strings(value, role, Form::Call))?;
        }
        Ok(())
    }

    /// Go into a field, if it is there.
    fn inside(&mut self, fields: &'v Fields, name: &str, look: impl FnOnce(&mut Self, &'v Value) -> Found) -> Found {
        match fields.iter().enumerate().find(|(_, (given, _))| given == name) {
            Some((position, (_, value))) => self.step(position, |finder| look(finder, value)),
            None => Ok(()),
        }
    }

    fn step(&mut self, position: usize, look: impl FnOnce(&mut Self) -> Found) -> Found {
        self.path.push(position);
        let found = look(self);
        if found.is_ok() {
            self.path.pop(); // else it names the place
        }
        found
    }

    fn take(&mut self, role: Role) -> Found {
        if self.slots.len() == MAX_TEXTS {
            return Err(BadRequest(format!("`messages` hold more than {MAX_TEXTS} texts")));
        }
        self.slots.push(Slot { message: self.message.0, role, path: self.path.clone() });
        Ok(())
    }

    /// The texts of a content.
    fn texts(&mut self, content: &'v Value, role: Role) -> Found {
        let Value::Array(items) = content else { return self.strings(content, role, Form::Free) };
        let is_inner = self.path.len() > 1;
        items.iter().enumerate().try_for_each(|(position, part)| {
            self.step(position, |finder| match part {
                Value::Str(_) if is_inner => finder.take(role),
                _ => finder.texts_of_part(part, role),
            })
        })
    }

    /// The texts of a part, whatever it calls itself: a type that we do not know hides no text from the check.
    fn texts_of_part(&mut self, part: &'v Value, role: Role) -> Found {
        let Value::Object(fields) = part else { return Err(self.must_be_text("type")) };
        let Some(Value::Str(kind)) = field(fields, "type") else { return Err(self.must_be_text("type")) };
        match field(fields, "text") {
            Some(Value::Str(_)) => {}
            None | Some(Value::Null) if kind != "text" => {}
            _ => return Err(self.must_be_text("text")),
        }
        let inner_role = if kind == "tool_result" { Role::Tool } else { role };
        for (position, (name, value)) in fields.iter().enumerate() {
            if FIELDS_WITHOUT_TEXT.contains(&&**name) {
                continue;
            }
            self.step(position, |finder| match (&**name, value) {
                ("content", _) => finder.texts(value, inner_role),
                ("source", Value::Object(source)) => finder.texts_of_source(source, inner_role),
                ("text", _) => finder.strings(value, role, Form::Part),
                _ => finder.strings(value, inner_role, Form::Part.of_field(name)),
            })?;
        }
        Ok(())
    }

    /// The texts of a document. One that is given as bytes or by its address has none that could be read.
    fn texts_of_source(&mut self, source: &'v Fields, role: Role) -> Found {
        if matches!(field(source, "type"), Some(Value::Str(kind)) if kind == "text") {
            self.inside(source, "data", |finder, data| finder.strings(data, role, Form::Part))?;
        }
        self.inside(source, "content", |finder, content| finder.texts(content, role))
    }

    /// Every text in a value, at any depth.
    fn strings(&mut self, value: &'v Value, role: Role, form: Form) -> Found {
        match value {
            Value::Str(_) => self.take(role),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .try_for_each(|(position, item)| self.step(position, |finder| finder.strings(item, role, form))),
            Value::Object(fields) => fields.iter().enumerate().try_for_each(|(position, (name, value))| {
                if !form.holds_text(name, value) {
                    return Ok(());
                }
                self.step(position, |finder| finder.strings(value, role, form.of_field(name)))
            }),
            _ => Ok(()),
        }
    }

    fn must_be_text(&self, name: &str) -> BadRequest {
        let mut place = format!("messages[{}]", self.message.0);
        for (step, name) in self.path.iter().zip(names(self.message.1, &self.path)) {
            place.push_str(&name.map_or_else(|| format!("[{step}]"), |name| format!(".{name}")));
        }
        BadRequest(format!("`{place}.{name}` must be text"))
    }
}

/// The names on the way to a place; `None` for a position in a list.
fn names<'v>(message: &'v Value, path: &[usize]) -> Vec<Option<&'v str>> {
    let mut value = message;
    let mut names = Vec::with_capacity(path.len());
    for &step in path {
        value = match value {
            Value::Object(fields) => {
                let Some((name, inner)) = fields.get(step) else { break };
                names.push(Some(&**name));
                inner
            }
            Value::Array(items) => {
                names.push(None);
                items.get(step).unwrap_or(&Value::Null)
            }
            _ => break,
        };
    }
    names
}
