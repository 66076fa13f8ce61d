//! Argument schemas: JSON Schema, draft 7 or 2020-12, enforced in full or refused.
//!
//! `$schema` chooses the dialect; without it, 2020-12 holds. `format` is enforced in both, and a format that is not known
//! is an error. Regular expressions run on an engine that is linear in the text, so look-around and back-references
//! are an error. References stay inside the document, and `$id` is allowed at the top only, where it changes nothing.
//! In 2020-12 `contentEncoding`, `contentMediaType` and `contentSchema` are annotations, as `title` is.

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Value};

use super::graph;
use super::keywords::Dialect;
use super::short_form;
use crate::arguments::deeper_than;
use crate::fields::{quote, quote_bounded};

/// How large a schema may be, in bytes of JSON.
const MAX_BYTES: usize = 64 * 1024;

/// How deep it may be nested.
const MAX_DEPTH: usize = 64;

/// How large one compiled regular expression may be, in bytes.
const MAX_PATTERN_BYTES: usize = 4 * 1024 * 1024;

/// How much of the validator's own message is repeated, in characters.
const TOLD_CHARS: usize = 200;

/// A schema, compiled.
#[derive(Debug)]
pub(super) struct ArgumentSchema {
    validator: Validator,
    recursive: bool,
}

impl ArgumentSchema {
    /// Compile a schema, in full or short form. The error says what is wrong with it and where.
    pub(super) fn compile(written: Map<String, Value>) -> Result<Self, String> {
        let mut schema = Value::Object(written);
        if schema.to_string().len() > MAX_BYTES {
            return Err(format!("is larger than {MAX_BYTES} bytes"));
        }
        if deeper_than(&schema, MAX_DEPTH) {
            return Err(format!("is nested deeper than {MAX_DEPTH} levels"));
        }
        let mut dialect = Dialect::Draft202012;
        if let Some(top) = schema.as_object_mut() {
            dialect = take_dialect(top)?;
            *top = short_form::expand(std::mem::take(top));
            accepts_objects(top)?;
        }
        let graph::Shape { recursive } = graph::inspect(dialect, &schema)?;
        Ok(Self { validator: build(dialect, &schema)?, recursive })
    }

    /// Check arguments. The error says where in the schema they failed, and nothing of what they hold.
    pub(super) fn check(&self, arguments: &Value) -> Result<(), String> {
        const REFUSED: &str = "was called with arguments that do not fit its schema";
        if self.validator.is_valid(arguments) {
            return Ok(());
        }
        // Where a schema refers back to itself, looking for the place takes time exponential in the depth of the
        // arguments; the answer alone does not, because the validator remembers what it has seen.
        let found = if self.recursive { None } else { self.validator.validate(arguments).err() };
        Err(match found.map(|error| error.schema_path().to_string()) {
            Some(place) if !place.is_empty() => format!("{REFUSED} at `{}`", quote_bounded(&place, TOLD_CHARS)),
            _ => REFUSED.to_owned(),
        })
    }
}

/// Read and remove `$schema`, and `$id` with it: what is left does not depend on where it is kept.
fn take_dialect(top: &mut Map<String, Value>) -> Result<Dialect, String> {
    if top.remove("$id").is_some_and(|id| !id.is_string()) {
        return Err("at `/$id`: must be a string".to_owned());
    }
    let Some(written) = top.remove("$schema") else { return Ok(Dialect::Draft202012) };
    let uri = written.as_str().ok_or("at `/$schema`: must be a string")?;
    let name = uri.strip_prefix("https://").or_else(|| uri.strip_prefix("http://"));
    match name.map(|name| name.strip_suffix('#').unwrap_or(name)) {
        Some("json-schema.org/draft-07/schema") => Ok(Dialect::Draft7),
        Some("json-schema.org/draft/2020-12/schema") => Ok(Dialect::Draft202012),
        _ => Err(format!("at `/$schema`: only draft 7 and draft 2020-12 are supported, not `{}`", quote(uri))),
    }
}

/// Arguments are always an object. A schema that says otherwise was meant for something else.
fn accepts_objects(top: &Map<String, Value>) -> Result<(), String> {
    let accepts = match top.get("type") {
        None => true,
        Some(Value::Array(types)) => types.iter().any(|name| name == "object"),
        Some(name) => name == "object",
    };
    if accepts { Ok(()) } else { Err("at `/type`: must accept `object`, which arguments are".to_owned()) }
}

fn build(dialect: Dialect, schema: &Value) -> Result<Validator, String> {
    let draft = match dialect {
        Dialect::Draft7 => Draft::Draft7,
        Dialect::Draft202012 => Draft::Draft202012,
    };
    let options = jsonschema::options()
        .with_draft(draft)
        .offline()
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN_BYTES));
    options.build(schema).map_err(|error| {
        let what = quote_bounded(&error.to_string(), TOLD_CHARS);
        match error.instance_path().as_str() {
            "" => format!("cannot be used: {what}"),
            place => format!("at `{}`: {what}", quote(place)),
        }
    })
}
