//! A conversation to be judged.

use std::sync::Arc;

use super::json::{Fields, Value, read_object, written};
use super::texts::{Finder, Slot, at};
use super::{
    BadRequest, CONTENT, LIST, LIST_OR_NULL, OBJECT, Place, TEXT, TEXT_OR_NULL, metadata, optional, require, required,
};
use crate::scanner::{Role, Segment};

/// The body of a prompt check: messages, every text in them, and what the agent says about the circumstances.
///
/// ```
/// use kalguard_core::body::Conversation;
/// let conversation = Conversation::read(br#"{"messages": [{"role": "user", "content": "hello"}]}"#)?;
/// assert_eq!(conversation.segments()[0].text, "hello");
/// # Ok::<(), kalguard_core::body::BadRequest>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    messages: Arc<Vec<Value>>,
    slots: Vec<Slot>,
    metadata: Vec<(String, String)>,
}

impl Conversation {
    /// Read a body.
    ///
    /// # Errors
    /// What is wrong with it, naming the field.
    pub fn read(body: &[u8]) -> Result<Self, BadRequest> {
        let body = read_object(body)?;
        let Value::Array(messages) = required(&body, "messages", Place::Body, LIST)? else {
            return Err(BadRequest("`messages` must be a list".to_owned()));
        };
        if messages.is_empty() {
            return Err(BadRequest("`messages` must hold at least one message".to_owned()));
        }
        let metadata = metadata(&body)?;
        let mut finder = Finder::new();
        for (index, message) in messages.iter().enumerate() {
            let place = Place::Message(index);
            require(message, OBJECT, || place.to_string())?;
            let Value::Object(fields) = message else { continue };
            let role = check_form(fields, place)?;
            finder.look_through(index, message, fields, role)?;
        }
        Ok(Self { slots: finder.slots, messages: Arc::clone(messages), metadata })
    }

    /// How many messages there are.
    #[must_use]
    pub fn message_count(&self) -> usize {
        self.messages.len()
    }

    /// What the agent says about the circumstances, as far as policies can ask for it.
    #[must_use]
    pub fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }

    /// Every text, in the order in which they stand.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment<'_>> {
        let text_of = |slot: &Slot| match self.messages.get(slot.message).and_then(|message| at(message, &slot.path)) {
            Some(Value::Str(text)) => &**text,
            _ => "",
        };
        self.slots.iter().map(|slot| Segment { message: slot.message, role: slot.role, text: text_of(slot) }).collect()
    }

    /// All messages as a JSON list, with `texts[i]` in place of the text of segment `i` unless it is `None`.
    ///
    /// Everything else of a message, fields that we do not know included, stays as it is.
    #[must_use]
    pub fn with_texts(&self, texts: &[Option<String>]) -> String {
        let mut messages = Value::Array(Arc::clone(&self.messages));
        for (slot, text) in self.slots.iter().zip(texts) {
            let Some(text) = text else { continue };
            let path = std::iter::once(slot.message).chain(slot.path.iter().copied());
            if let Some(place) = at_mut(&mut messages, path) {
                *place = Value::Str(text.clone().into());
            }
        }
        written(&messages)
    }
}

/// Refuse a message of another form than messages have. Gives who speaks.
fn check_form(fields: &Fields, place: Place) -> Result<Role, BadRequest> {
    let role = match required(fields, "role", place, TEXT)? {
        Value::Str(role) => Role::parse(role),
        _ => Role::User,
    };
    let content = optional(fields, "content", place, CONTENT)?;
    if let Some(Value::Array(parts)) = content {
        for (position, part) in parts.iter().enumerate() {
            require(part, OBJECT, || format!("{place}.content[{position}]"))?;
        }
    }
    optional(fields, "name", place, TEXT_OR_NULL)?;
    let calls = optional(fields, "tool_calls", place, LIST_OR_NULL)?;
    let has_calls = matches!(calls, Some(Value::Array(calls)) if !calls.is_empty());
    if !has_calls && !matches!(content, Some(Value::Str(_) | Value::Array(_))) {
        return Err(BadRequest(format!("`{place}.content` is missing")));
    }
    Ok(role)
}

fn at_mut(value: &mut Value, path: impl Iterator<Item = usize>) -> Option<&mut Value> {
    let mut place = value;
    for step in path {
        place = match place {
            Value::Array(items) => Arc::make_mut(items).get_mut(step)?,
            Value::Object(fields) => &mut Arc::make_mut(fields).get_mut(step)?.1,
            _ => return None,
        };
    }
    Some(place)
}
