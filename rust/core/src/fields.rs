//! Reads a document of the operator's strictly: every key is known, every value has its type, all mistakes are told.
//!
//! Written by hand and not derived, because a mistake must name the rule or tool and the field it is in, in the
//! operator's words. A key given twice counts with its last value: that is how the document was decoded before.

use serde_json::{Map, Value};

/// How many mistakes one message tells.
const MISTAKES_TOLD: usize = 8;

/// How many characters of the operator's text are repeated in a message.
const QUOTED_CHARS: usize = 80;

/// What is wrong with a document.
#[derive(Debug, Default)]
pub(crate) struct Mistakes(Vec<String>);

impl Mistakes {
    pub(crate) fn add(&mut self, place: &str, what: impl AsRef<str>) {
        let what = what.as_ref();
        self.0.push(if place.is_empty() { what.to_owned() } else { format!("{place}: {what}") });
    }

    /// One line with what was found; an error if anything was.
    pub(crate) fn end(self) -> Result<(), String> {
        if self.0.is_empty() {
            return Ok(());
        }
        let more = self.0.len().saturating_sub(MISTAKES_TOLD);
        let mut told = self.0.into_iter().take(MISTAKES_TOLD).collect::<Vec<_>>().join("; ");
        if more > 0 {
            told.push_str(&format!("; and {more} more"));
        }
        Err(told)
    }
}

/// One object of a document, read key by key. What was not asked for is unknown.
pub(crate) struct Fields<'a> {
    place: String,
    path: &'static str,
    fields: &'a Map<String, Value>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The keys of `fields`. `place` says where the object is, `path` what its keys are written after (`match.`).
    pub(crate) fn new(place: String, path: &'static str, fields: &'a Map<String, Value>) -> Self {
        Self { place, path, fields, known: Vec::new() }
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Note a mistake in a field of this object.
    pub(crate) fn wrong(&self, mistakes: &mut Mistakes, name: &str, what: &str) {
        mistakes.add(&self.place, format!("`{}{name}` {what}", self.path));
    }

    /// The value of a key, whatever it is.
    pub(crate) fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        self.fields.get(name)
    }

    pub(crate) fn string(&mut self, mistakes: &mut Mistakes, name: &'static str) -> Option<&'a str> {
        let value = self.value(name)?;
        if !value.is_string() {
            self.wrong(mistakes, name, "must be a string");
        }
        value.as_str()
    }

    /// A string that must be there and not be empty. The empty string stands for one that is not: a mistake was noted.
    pub(crate) fn name(&mut self, mistakes: &mut Mistakes, name: &'static str) -> &'a str {
        match self.value(name) {
            None => self.wrong(mistakes, name, "is missing"),
            Some(Value::String(text)) if !text.is_empty() => return text,
            Some(Value::String(_)) => self.wrong(mistakes, name, "must not be empty"),
            Some(_) => self.wrong(mistakes, name, "must be a string"),
        }
        ""
    }

    pub(crate) fn object(&mut self, mistakes: &mut Mistakes, name: &'static str) -> Option<&'a Map<String, Value>> {
        let value = self.value(name)?;
        if !value.is_object() {
            self.wrong(mistakes, name, "must be an object");
        }
        value.as_object()
    }

    pub(crate) fn list(&mut self, mistakes: &mut Mistakes, name: &'static str) -> Option<&'a [Value]> {
        let value = self.value(name)?;
        if !value.is_array() {
            self.wrong(mistakes, name, "must be a list");
        }
        value.as_array().map(Vec::as_slice)
    }

    /// A list of strings, none of them empty.
    pub(crate) fn strings(&mut self, mistakes: &mut Mistakes, name: &'static str) -> Option<Vec<&'a str>> {
        let list = self.list(mistakes, name)?;
        let mut strings = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            match value.as_str() {
                Some("") => self.wrong(mistakes, &format!("{name}[{index}]"), "must not be empty"),
                Some(text) => strings.push(text),
                None => self.wrong(mistakes, &format!("{name}[{index}]"), "must be a string"),
            }
        }
        Some(strings)
    }

    /// Note every key that nobody asked for.
    pub(crate) fn end(self, mistakes: &mut Mistakes) {
        for key in self.fields.keys().filter(|key| !self.known.contains(&key.as_str())) {
            let what = format!("unknown key `{}{}`, known are {}", self.path, quote(key), list_of(&self.known));
            mistakes.add(&self.place, what);
        }
    }
}

/// Decode a document whose top is an object.
pub(crate) fn decode(document: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(document) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err("the document must be an object".to_owned()),
        Err(error) => Err(format!("the document is not valid JSON: {error}")),
    }
}

/// A text of somebody else's, fit for a message: bounded, on one line, unable to end the backticks it stands in.
pub(crate) fn quote(text: &str) -> String {
    quote_bounded(text, QUOTED_CHARS)
}

/// As [`quote`], with a bound of one's own, in characters.
pub(crate) fn quote_bounded(text: &str, bound: usize) -> String {
    let mut quoted = String::with_capacity(text.len().min(bound));
    for c in text.chars().take(bound) {
        match c {
            '`' => quoted.push_str("\\u{60}"),
            '"' | '\'' => quoted.push(c),
            _ => quoted.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(bound).is_some() {
        quoted.push_str("...");
    }
    quoted
}

fn list_of(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{quote, quote_bounded};

    #[test]
    fn a_quoted_text_stays_on_one_line_and_inside_its_backticks() {
        assert_eq!(quote("a\nb`c\u{202e}\u{2028}\0"), "a\\nb\\u{60}c\\u{202e}\\u{2028}\\0");
        assert_eq!(quote("it's \"é\""), "it's \"é\"");
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(quote_bounded("ééé", 2), "éé...");
        assert_eq!(quote_bounded("éé", 2), "éé");
    }
}
