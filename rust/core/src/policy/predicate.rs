//! What a rule asks of the arguments of a tool call.
//!
//! A test is read so that doubt never helps the agent: an `allow` rule asks for what is certain, any other rule holds
//! for what may be. In a list an `allow` rule asks it of every element, any other rule of one.

use std::net::IpAddr;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::address::{Network, strictly, widely};
use super::path::Folder;
use super::url;
use crate::glob::Glob;

/// How large one compiled expression may be, in bytes.
const MAX_REGEX_BYTES: usize = 1024 * 1024;

/// A list with more elements than this, those of lists in it included, is looked at no further: it is in doubt.
const MAX_ELEMENTS: usize = 1000;

/// How doubt is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Only what is certain meets a test.
    Strict,
    /// What may be, too.
    Wide,
}

/// What one argument has to be: one of some tests is met.
#[derive(Debug, Clone)]
pub(super) struct ArgumentCondition {
    /// Where the argument is, as a JSON pointer (RFC 6901).
    pub(super) pointer: String,
    tests: Box<[Test]>,
}

#[derive(Debug, Clone)]
enum Test {
    Equals(Value),
    Pattern(Glob, Form),
    Expression(Regex, Form),
    Network(Network),
    Folder(Folder),
}

/// What a pattern asks of the spelling of a text that it matches, where it is read strictly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Nothing.
    Any,
    /// Names a URL, so that the text has to be one that everybody reads alike.
    Url { may_name_user: bool },
}

impl Form {
    fn of(pattern: &str) -> Self {
        let names_url = pattern.contains("://") || pattern.contains(r":\/\/");
        if names_url { Self::Url { may_name_user: pattern.contains('@') } } else { Self::Any }
    }

    /// Whether it admits every text that another form does.
    fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Url { .. }, Self::Any) => false,
            (Self::Url { may_name_user: own }, Self::Url { may_name_user: other }) => own || !other,
        }
    }

    fn admits(self, text: &str, reading: Reading) -> bool {
        match (self, reading) {
            (Self::Url { may_name_user }, Reading::Strict) => url::is_plain(text, may_name_user),
            _ => true,
        }
    }
}

impl ArgumentCondition {
    /// Read the tests of the argument that `pointer` leads to. The error says what is wrong, behind the pointer's name.
    pub(super) fn parse(pointer: &str, written: &Value) -> Result<Self, String> {
        check_pointer(pointer)?;
        let mut tests = Vec::new();
        match written {
            Value::Array(list) if list.is_empty() => {
                return Err("must not be empty: no argument would meet it".to_owned());
            }
            Value::Array(list) => list.iter().try_for_each(|one| parse_test(one, &mut tests))?,
            one => parse_test(one, &mut tests)?,
        }
        Ok(Self { pointer: pointer.to_owned(), tests: tests.into() })
    }

    /// Whether it holds. An argument that is not there meets nothing.
    pub(super) fn holds(&self, arguments: &Value, reading: Reading) -> bool {
        match arguments.pointer(&self.pointer) {
            None => false,
            Some(value) if elements(value) > MAX_ELEMENTS => reading == Reading::Wide,
            Some(value) => self.is_met(value, reading),
        }
    }

    fn is_met(&self, value: &Value, reading: Reading) -> bool {
        if self.tests.iter().any(|test| test.is_met(value, reading)) {
            return true;
        }
        match (value.as_array(), reading) {
            (Some(items), Reading::Strict) => {
                !items.is_empty() && items.iter().all(|item| self.is_met(item, Reading::Strict))
            }
            (Some(items), Reading::Wide) => items.iter().any(|item| self.is_met(item, Reading::Wide)),
            (None, _) => false,
        }
    }

    /// Whether this holds wherever `other` does, both read alike.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let covered = |test: &Test| self.tests.iter().any(|own| own.covers(test));
        self.pointer == other.pointer && other.tests.iter().all(covered)
    }
}

/// How many elements a list has, those of lists in it included, as far as that matters.
fn elements(value: &Value) -> usize {
    let Some(items) = value.as_array() else { return 0 };
    if items.len() > MAX_ELEMENTS {
        return items.len();
    }
    items.iter().fold(items.len(), |count, item| if count > MAX_ELEMENTS { count } else { count + elements(item) })
}

impl Test {
    fn is_met(&self, value: &Value, reading: Reading) -> bool {
        match (self, value.as_str(), reading) {
            (Self::Equals(wanted), ..) => same(wanted, value),
            (Self::Network(net), None, Reading::Wide) => number(value).into_iter().any(|ip| net.contains(ip)),
            (_, None, _) => false,
            (Self::Pattern(glob, form), Some(text), _) => glob.matches(text) && form.admits(text, reading),
            (Self::Expression(regex, form), Some(text), _) => regex.is_match(text) && form.admits(text, reading),
            (Self::Network(net), Some(text), Reading::Strict) => {
                strictly(text).is_some_and(|ip| net.surely_contains(ip))
            }
            (Self::Network(net), Some(text), Reading::Wide) => widely(text).into_iter().any(|ip| net.contains(ip)),
            (Self::Folder(folder), Some(text), Reading::Strict) => folder.holds_strictly(text),
            (Self::Folder(folder), Some(text), Reading::Wide) => folder.holds_widely(text),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Pattern(own, form), Self::Pattern(other, asked)) => own.covers(other) && form.covers(*asked),
            (Self::Expression(own, _), Self::Expression(other, _)) => own.as_str() == other.as_str(),
            (Self::Network(own), Self::Network(other)) => own.covers(other),
            (Self::Folder(own), Self::Folder(other)) => own.covers(other),
            (own, Self::Equals(value)) if !value.is_array() => own.is_met(value, Reading::Strict),
            (Self::Equals(own), Self::Equals(other)) => same(own, other),
            _ => false,
        }
    }
}

/// The addresses that a number may be. 2130706433.0 is written without the point.
fn number(value: &Value) -> Vec<IpAddr> {
    value.as_f64().map_or_else(Vec::new, |number| widely(&number.to_string()))
}

fn check_pointer(pointer: &str) -> Result<(), String> {
    let escapes = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if pointer.starts_with('/') && escapes {
        return Ok(());
    }
    Err("is no JSON pointer: it starts with `/`, and `~` is written `~0`, `/` inside a name `~1`".to_owned())
}

fn parse_test(written: &Value, tests: &mut Vec<Test>) -> Result<(), String> {
    let fields = match written {
        Value::String(pattern) => {
            tests.push(Test::Pattern(Glob::new(pattern), Form::of(pattern)));
            return Ok(());
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            tests.push(Test::Equals(written.clone()));
            return Ok(());
        }
        Value::Array(_) => {
            return Err("must not hold a list in a list: `{\"equals\": [...]}` means the list".to_owned());
        }
        Value::Object(fields) => fields,
    };
    let mut fields = fields.iter();
    let (Some((kind, value)), None) = (fields.next(), fields.next()) else {
        return Err(TESTS.to_owned());
    };
    match kind.as_str() {
        "equals" => tests.push(Test::Equals(value.clone())),
        "regex" => {
            let written = text(kind, value)?;
            tests.push(Test::Expression(expression(written)?, Form::of(written)));
        }
        "cidr" => each(kind, value, |text| Network::parse(text).map(Test::Network), tests)?,
        "pathPrefix" => each(kind, value, |text| Folder::parse(text).map(Test::Folder), tests)?,
        _ => return Err(TESTS.to_owned()),
    }
    Ok(())
}

const TESTS: &str = "must be a value, or an object with one key: `equals`, `regex`, `cidr` or `pathPrefix`";

fn text<'a>(kind: &str, value: &'a Value) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| format!("has a `{kind}` that is no string"))
}

fn each(
    kind: &str,
    value: &Value,
    read: impl Fn(&str) -> Result<Test, String>,
    tests: &mut Vec<Test>,
) -> Result<(), String> {
    let one = std::slice::from_ref(value);
    let list = value.as_array().map_or(one, Vec::as_slice);
    if list.is_empty() {
        return Err(format!("has an empty `{kind}`: no argument would meet it"));
    }
    for value in list {
        let test = read(text(kind, value)?).map_err(|what| format!("has a `{kind}` that {what}"))?;
        tests.push(test);
    }
    Ok(())
}

/// The whole text has to match, and `.` is any character: a line feed must not help around a rule.
fn expression(written: &str) -> Result<Regex, String> {
    let build = |pattern: &str| {
        RegexBuilder::new(pattern).dot_matches_new_line(true).size_limit(MAX_REGEX_BYTES).build().map_err(|error| {
            let told = error.to_string();
            format!("has a `regex` that cannot be used: {}", told.lines().last().unwrap_or_default().trim())
        })
    };
    // Alone first: a bracket that closes the group it is about to stand in must not make another expression of it.
    build(written)?;
    build(&format!(r"\A(?:{written})\z"))
}

/// Whether two JSON values are the same: 1 and 1.0 are one number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() != b.is_f64() => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}
