//! Argument schemas: JSON Schema, draft 7 or 2020-12, in full.
//!
//! `$schema` chooses the dialect; without it, 2020-12 holds. Unknown keywords are an error, in both. Whether `format` is an
//! annotation, as the standard has it, or enforced, is the operator's choice; enforced, a format that is not known is an
//! error. Regular expressions run on an engine that is linear in the text, so look-around and back-references are an
//! error. References stay inside the document, which may have `$id`s and anchors. In 2020-12 `contentEncoding`,
//! `contentMediaType` and `contentSchema` are annotations, as `title` is.

use std::collections::BTreeMap;

use jsonschema::{Draft, PatternOptions, Validator};
use regex_automata::meta;
use serde_json::{Map, Value};

use super::flatten::flatten;
use super::graph;
use super::keywords::Dialect;
use super::places::Places;
use super::short_form;
use super::unique;
use crate::arguments::deeper_than;
use crate::fields::{quote, quote_bounded};

/// How large a schema may be, in bytes of JSON.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// How deep it may be nested.
const MAX_DEPTH: usize = 64;

/// How many regular expressions a schema may have, each of which is compiled.
const MAX_PATTERNS: usize = 64;

/// How many bytes of a compiled regular expression count as much as one schema: what takes time with every character
/// of a text is a state, and one has about this size.
const PATTERN_BYTES_PER_COST: usize = 64;

/// Up to this much work, the place where arguments fail is looked for; collecting what is wrong takes memory, too.
const MAX_WORK_FOR_PLACE: u64 = 4_000_000;

/// How much of the validator's own message is repeated, in characters.
const TOLD_CHARS: usize = 200;

/// What `format` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Formats {
    /// Nothing: it is an annotation, as in the standard.
    Annotate,
    /// Values that have not the format are refused.
    Enforce,
}

/// How much a schema may ask for. Work is the product of a schema's cost and the size of the arguments, in characters and
/// values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pattern_bytes: usize,
    cost: usize,
    work: u64,
}

/// For schemas of operators, who may be careless, but not malicious.
pub(super) const OPERATOR: Bounds = Bounds { pattern_bytes: 4 * 1024 * 1024, cost: 40_000, work: 10_000_000_000 };

/// For schemas of agents, who choose the arguments as well.
pub(super) const AGENT: Bounds = Bounds { pattern_bytes: 256 * 1024, cost: 4_000, work: 50_000_000 };

/// A schema, compiled.
#[derive(Debug)]
pub(super) struct ArgumentSchema {
    validator: Validator,
    recursive: bool,
    cost: u64,
    max_work: u64,
    /// What the schema says and does not mean, or may not mean.
    pub(super) warnings: Vec<String>,
}

impl ArgumentSchema {
    /// Compile a schema, in full or short form. The error says what is wrong with it and where.
    pub(super) fn compile(written: Map<String, Value>, formats: Formats, bounds: Bounds) -> Result<Self, String> {
        let mut schema = Value::Object(written);
        if schema.to_string().len() > MAX_BYTES {
            return Err(format!("is larger than {MAX_BYTES} bytes"));
        }
        if deeper_than(&schema, MAX_DEPTH) {
            return Err(format!("is nested deeper than {MAX_DEPTH} levels"));
        }
        let dialect = match schema.as_object_mut() {
            Some(top) => prepare(top)?,
            None => Dialect::Draft202012,
        };
        let mut places = Places::find(dialect, &schema)?;
        let mut warnings = std::mem::take(&mut places.warnings);
        warnings.extend(places.format().filter(|_| formats == Formats::Annotate));
        let flat = flatten(&places)?;
        let places = Places::find(dialect, &flat)?;
        let graph::Shape { recursive, cost } = graph::inspect(&places, bounds.cost)?;
        let (patterns, pattern_bytes) = measure_patterns(&places, bounds.pattern_bytes)?;
        let validator = build(dialect, &flat, formats, bounds.pattern_bytes, patterns)?;
        let cost = (cost + pattern_bytes / PATTERN_BYTES_PER_COST) as u64;
        Ok(Self { validator, recursive, cost, max_work: bounds.work, warnings })
    }

    /// Check arguments. The error says where in the schema they failed, and nothing of what they hold.
    pub(super) fn check(&self, arguments: &Value) -> Result<(), String> {
        const REFUSED: &str = "was called with arguments that do not fit its schema";
        let work = self.cost.saturating_mul(size_of(arguments) as u64);
        if work > self.max_work {
            return Err("was called with arguments that are too large for its schema".to_owned());
        }
        if self.validator.is_valid(arguments) {
            return Ok(());
        }
        // Where a schema refers back to itself, looking for the place takes time exponential in the depth of the
        // arguments; the answer alone does not, because the validator remembers what it has seen.
        let look = !self.recursive && work <= MAX_WORK_FOR_PLACE;
        let found = if look { self.validator.validate(arguments).err() } else { None };
        Err(match found.map(|error| error.schema_path().to_string()) {
            Some(place) if !place.is_empty() => format!("{REFUSED} at `{}`", quote_bounded(&place, TOLD_CHARS)),
            _ => REFUSED.to_owned(),
        })
    }
}

/// How large a value is, in values and bytes of text.
fn size_of(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size_of).sum::<usize>(),
        Value::Object(fields) => 1 + fields.iter().map(|(key, field)| key.len() + size_of(field)).sum::<usize>(),
        Value::String(text) => 1 + text.len(),
        _ => 1,
    }
}

/// Find out the dialect, and write out the short form.
fn prepare(top: &mut Map<String, Value>) -> Result<Dialect, String> {
    let dialect = match top.remove("$schema") {
        None => Dialect::Draft202012,
        Some(Value::String(uri)) => Dialect::named(&uri).ok_or_else(|| {
            format!("at `/$schema`: only draft 7 and draft 2020-12 are supported, not `{}`", quote(&uri))
        })?,
        Some(_) => return Err("at `/$schema`: must be a string".to_owned()),
    };
    let id = top.remove("$id");
    *top = short_form::expand(std::mem::take(top));
    accepts_objects(top)?;
    top.extend(id.map(|id| ("$id".to_owned(), id)));
    Ok(dialect)
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

/// How many regular expressions there are, and their size when compiled, all of them together.
fn measure_patterns(places: &Places<'_>, max_bytes: usize) -> Result<(usize, usize), String> {
    let patterns: BTreeMap<&str, &str> = places.patterns().collect();
    if patterns.len() > MAX_PATTERNS {
        return Err(format!("has more than {MAX_PATTERNS} regular expressions"));
    }
    let mut bytes = 0;
    for (pattern, place) in &patterns {
        // What cannot be compiled at all is told by the validator, with its place.
        let Ok(translated) = jsonschema_regex::to_rust_regex(pattern) else { continue };
        let left = max_bytes.saturating_sub(bytes);
        let config = meta::Config::new().nfa_size_limit(Some(left)).hybrid(false).dfa(false).onepass(false);
        match meta::Builder::new().configure(config).build(&translated) {
            Ok(compiled) => bytes += compiled.memory_usage(),
            Err(error) if error.size_limit().is_none() => continue,
            Err(_) => bytes = usize::MAX,
        }
        if bytes > max_bytes {
            let what = format!("regular expressions come to more than {max_bytes} bytes when compiled");
            return Err(format!("at `{}`: {what}", quote(place)));
        }
    }
    Ok((patterns.len(), bytes))
}

fn build(
    dialect: Dialect,
    schema: &Value,
    formats: Formats,
    pattern_bytes: usize,
    patterns: usize,
) -> Result<Validator, String> {
    let draft = match dialect {
        Dialect::Draft7 => Draft::Draft7,
        Dialect::Draft202012 => Draft::Draft202012,
    };
    let enforced = formats == Formats::Enforce;
    // What the engine remembers of a search is bounded, too: for all expressions together.
    let remembered = pattern_bytes / patterns.max(1);
    let options = jsonschema::options()
        .with_draft(draft)
        .offline()
        .should_validate_formats(enforced)
        .should_ignore_unknown_formats(!enforced)
        .with_keyword("uniqueItems", unique::keyword)
        .with_pattern_options(PatternOptions::regex().size_limit(pattern_bytes).dfa_size_limit(remembered));
    options.build(schema).map_err(|error| {
        let what = quote_bounded(&error.to_string(), TOLD_CHARS);
        match error.instance_path().as_str() {
            "" => format!("cannot be used: {what}"),
            place => format!("at `{}`: {what}", quote(place)),
        }
    })
}
