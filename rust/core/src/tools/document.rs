//! A tools file as written, checked for form. What an argument schema says is checked where it is compiled.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::schema::Formats;
use crate::fields::{Fields, Mistakes, decode, quote};

/// The file.
pub(super) struct ToolsDocument {
    pub(super) denylist: Vec<String>,
    pub(super) command_denylist: Vec<String>,
    pub(super) tools: Vec<ToolDocument>,
    pub(super) formats: Formats,
    /// Digests of definitions that the operator agreed to, by the registered tool's name.
    pub(super) pins: HashMap<String, String>,
}

/// One declared tool.
pub(super) struct ToolDocument {
    pub(super) name: String,
    /// The tool, as messages call it.
    pub(super) place: String,
    pub(super) rate_limit_per_minute: Option<u32>,
    pub(super) argument_schema: Option<Map<String, Value>>,
}

impl ToolsDocument {
    /// Read a file. Mistakes are noted; what could be read is returned, so that more of them can be found.
    pub(super) fn read(document: &[u8], mistakes: &mut Mistakes) -> Result<Self, String> {
        let top = decode(document)?;
        let mut fields = Fields::new(String::new(), "", &top);
        fields.string(mistakes, "version");
        let mut list =
            |name| fields.strings(mistakes, name).unwrap_or_default().into_iter().map(str::to_owned).collect();
        let (denylist, command_denylist) = (list("denylist"), list("commandDenylist"));
        let tools = fields.list(mistakes, "tools").unwrap_or_default();
        let (formats, pins) = (read_formats(&mut fields, mistakes), read_pins(&mut fields, mistakes));
        fields.end(mistakes);
        let tools = read_tools(tools, mistakes);
        for name in tools.iter().map(|tool| &tool.name).filter(|name| pins.contains_key(*name)) {
            mistakes.add(
                &format!("`pins.{}`", quote(name)),
                "the file itself declares this tool: pins are for registered ones",
            );
        }
        Ok(Self { denylist, command_denylist, tools, formats, pins })
    }
}

fn read_formats(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Formats {
    match fields.value("formats").map(Value::as_str) {
        None | Some(Some("annotate")) => return Formats::Annotate,
        Some(Some("enforce")) => return Formats::Enforce,
        Some(_) => fields.wrong(mistakes, "formats", "must be `annotate` or `enforce`"),
    }
    Formats::Annotate
}

fn read_pins(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> HashMap<String, String> {
    let written = fields.object(mistakes, "pins");
    let mut pins = HashMap::new();
    for (name, digest) in written.into_iter().flatten() {
        match digest.as_str().filter(|digest| is_digest(digest)) {
            Some(digest) => drop(pins.insert(name.clone(), digest.to_owned())),
            None => {
                mistakes.add(&format!("`pins.{}`", quote(name)), "must be `sha256:` and 64 hex digits in lower case")
            }
        }
    }
    pins
}

fn is_digest(text: &str) -> bool {
    let is_hex = |digits: &str| digits.len() == 64 && digits.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    text.strip_prefix("sha256:").is_some_and(is_hex)
}

fn read_tools(list: &[Value], mistakes: &mut Mistakes) -> Vec<ToolDocument> {
    let mut seen = BTreeMap::new();
    let mut tools = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        let Some(written) = value.as_object() else {
            mistakes.add(&format!("`tools[{index}]`"), "must be an object");
            continue;
        };
        let tool = read_tool(index, written, mistakes);
        if let Some(first) = seen.insert(tool.name.clone(), index).filter(|_| !tool.name.is_empty()) {
            mistakes.add(&tool.place, format!("`name` is taken by the tool at index {first}"));
        }
        tools.push(tool);
    }
    tools
}

fn read_tool(index: usize, written: &Map<String, Value>, mistakes: &mut Mistakes) -> ToolDocument {
    let place = match written.get("name").and_then(Value::as_str) {
        None | Some("") => format!("tool at index {index}"),
        Some(name) => format!("tool `{}` (index {index})", quote(name)),
    };
    let mut fields = Fields::new(place.clone(), "", written);
    let name = fields.name(mistakes, "name").to_owned();
    if name.contains('*') {
        fields.wrong(mistakes, "name", "must not contain `*`: every tool is declared on its own");
    }
    fields.string(mistakes, "description");
    let rate_limit_per_minute = rate_limit(&mut fields, mistakes);
    let argument_schema = fields.object(mistakes, "argumentSchema").cloned();
    fields.end(mistakes);
    ToolDocument { name, place, rate_limit_per_minute, argument_schema }
}

fn rate_limit(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Option<u32> {
    let value = fields.value("rateLimitPerMinute")?;
    // 30.0 is an integer to JSON Schema, which reads the file before us.
    let whole = value.as_f64().filter(|limit| (1.0..=f64::from(u32::MAX)).contains(limit) && limit.fract() == 0.0);
    if whole.is_none() {
        fields.wrong(mistakes, "rateLimitPerMinute", "must be an integer of at least 1, and below 2^32");
    }
    // Exact: the number is whole and in range.
    whole.map(|limit| limit as u32)
}
