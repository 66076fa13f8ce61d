//! A tools file, ready to be asked.

use std::collections::HashMap;

use super::commands::CommandDenylist;
use super::document::{ToolDocument, ToolsDocument};
use super::refusal::{Check, Refusal};
use super::schema::{AGENT, ArgumentSchema, Formats, OPERATOR};
use crate::arguments::Arguments;
use crate::error::CompileError;
use crate::fields::Mistakes;
use crate::glob::Glob;

/// The tools that exist, and what their calls may hold. Immutable: a changed file is another registry.
///
/// ```
/// use kalguard_core::arguments::Arguments;
/// use kalguard_core::tools::{Check, ToolRegistry};
///
/// let tools = ToolRegistry::compile(br#"{"tools": [
///     {"name": "get_weather", "argumentSchema": {"location": {"type": "string", "required": true}}}
/// ]}"#)?;
/// let (some, none) = (Arguments::parse(br#"{"location": "Bonn"}"#)?, Arguments::default());
/// assert!(tools.check("get_weather", &some).is_ok());
/// assert_eq!(tools.check("get_weather", &none).unwrap_err().check, Check::Schema);
/// assert_eq!(tools.check("get_secrets", &none).unwrap_err().check, Check::Allowlist);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ToolRegistry {
    denylist: Box<[Glob]>,
    /// `None` without a document: then the policy alone says which tools exist.
    tools: Option<HashMap<String, ToolSpec>>,
    commands: CommandDenylist,
    formats: Formats,
    pins: HashMap<String, String>,
    warnings: Vec<String>,
}

/// What somebody who is not the operator registered of a tool.
#[derive(Debug)]
pub struct ToolDefinition(ArgumentSchema);

/// One declared tool.
#[derive(Debug)]
struct ToolSpec {
    rate_limit_per_minute: Option<u32>,
    arguments: Option<ArgumentSchema>,
}

impl ToolRegistry {
    /// Compile a tools file, given as UTF-8 JSON. A file without tools allows none.
    ///
    /// # Errors
    ///
    /// [`CompileError::Tools`] if the file is not JSON, not a tools file, or holds an argument schema that cannot be
    /// enforced in full. It tells the mistakes, each with the tool's name and index and the field.
    pub fn compile(document: &[u8]) -> Result<Self, CompileError> {
        let mut mistakes = Mistakes::default();
        let document = ToolsDocument::read(document, &mut mistakes).map_err(CompileError::Tools)?;
        let commands = CommandDenylist::new(&document.command_denylist, &mut mistakes);
        let (formats, pins) = (document.formats, document.pins);
        let mut warnings = Vec::new();
        let mut compile = |tool| ToolSpec::compile(tool, formats, &mut mistakes, &mut warnings);
        let tools = document.tools.into_iter().map(&mut compile).collect();
        mistakes.end().map_err(CompileError::Tools)?;
        let denylist = document.denylist.iter().map(|pattern| Glob::new(pattern)).collect();
        Ok(Self { denylist, tools: Some(tools), commands, formats, pins, warnings })
    }

    /// The registry of a service without a tools file: every name goes, and only the built-in command denylist applies.
    #[must_use]
    pub fn open() -> Self {
        Self {
            denylist: Box::default(),
            tools: None,
            commands: CommandDenylist::new(&[], &mut Mistakes::default()),
            formats: Formats::Annotate,
            pins: HashMap::new(),
            warnings: Vec::new(),
        }
    }

    /// Compile the argument schema of a tool that is not in the file, given as UTF-8 JSON. The bounds are tighter than
    /// for schemas of the operator's.
    ///
    /// # Errors
    ///
    /// [`CompileError::Tools`] if it is not JSON, or not a schema that can be enforced in full.
    pub fn define(&self, argument_schema: &[u8]) -> Result<ToolDefinition, CompileError> {
        let wrong = |what| CompileError::Tools(format!("`argumentSchema` {what}"));
        let Ok(serde_json::Value::Object(schema)) = serde_json::from_slice(argument_schema) else {
            return Err(wrong("must be an object".to_owned()));
        };
        ArgumentSchema::compile(schema, self.formats, AGENT).map(ToolDefinition).map_err(wrong)
    }

    /// What the file's schemas say without effect, each with the tool's name.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether `format` is enforced.
    #[must_use]
    pub fn enforces_formats(&self) -> bool {
        self.formats == Formats::Enforce
    }

    /// Whether the file forbids this name.
    #[must_use]
    pub fn forbids(&self, tool: &str) -> bool {
        self.denylist.iter().any(|glob| glob.matches(tool))
    }

    /// Whether the file declares this tool.
    #[must_use]
    pub fn declares(&self, tool: &str) -> bool {
        self.tools.as_ref().is_some_and(|tools| tools.contains_key(tool))
    }

    /// The digest of the one definition that the operator agreed to for this tool, `sha256:` and hex.
    #[must_use]
    pub fn pin(&self, tool: &str) -> Option<&str> {
        self.pins.get(tool).map(String::as_str)
    }

    /// How many tools are declared.
    #[must_use]
    pub fn tool_count(&self) -> usize {
        self.tools.as_ref().map_or(0, HashMap::len)
    }

    /// The limit that the file sets for this tool, in calls per agent per minute.
    #[must_use]
    pub fn rate_limit_per_minute(&self, tool: &str) -> Option<u32> {
        self.tools.as_ref()?.get(tool)?.rate_limit_per_minute
    }

    /// Mediate one call.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] by the first check that speaks against the call.
    pub fn check(&self, tool: &str, arguments: &Arguments) -> Result<(), Refusal> {
        self.check_registered(tool, arguments, None)
    }

    /// As [`check`](Self::check), for a tool that somebody registered. What the file declares goes before it.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] by the first check that speaks against the call.
    pub fn check_registered(
        &self,
        tool: &str,
        arguments: &Arguments,
        registered: Option<&ToolDefinition>,
    ) -> Result<(), Refusal> {
        let refuse = |check, what: &str| Err(Refusal::new(check, what));
        if let Some(schema) = self.admit(tool, registered)? {
            schema.check(arguments.value()).or_else(|what| refuse(Check::Schema, &what))?;
        }
        match self.commands.find(arguments.value()) {
            None => Ok(()),
            Some(id) => refuse(Check::Command, &format!("was called with arguments that `{id}` forbids")),
        }
    }

    /// The schema for calls of a tool, if it may be called at all.
    fn admit<'a>(
        &'a self,
        tool: &str,
        registered: Option<&'a ToolDefinition>,
    ) -> Result<Option<&'a ArgumentSchema>, Refusal> {
        if self.forbids(tool) {
            return Err(Refusal::new(Check::Denylist, "is on the denylist"));
        }
        match (self.tools.as_ref().map(|tools| tools.get(tool)), registered) {
            (Some(Some(declared)), _) => Ok(declared.arguments.as_ref()),
            (_, Some(registered)) => Ok(Some(&registered.0)),
            (None, None) => Ok(None),
            (Some(None), None) => Err(Refusal::new(Check::Allowlist, "is not declared in the tools file")),
        }
    }
}

impl ToolSpec {
    fn compile(
        tool: ToolDocument,
        formats: Formats,
        mistakes: &mut Mistakes,
        warnings: &mut Vec<String>,
    ) -> (String, Self) {
        let ToolDocument { name, place, rate_limit_per_minute, argument_schema } = tool;
        let compile = |schema| ArgumentSchema::compile(schema, formats, OPERATOR);
        let compiled = argument_schema.map(compile).transpose();
        let arguments = compiled.unwrap_or_else(|what| {
            mistakes.add(&place, format!("`argumentSchema` {what}"));
            None
        });
        for what in arguments.iter().flat_map(|arguments| &arguments.warnings) {
            warnings.push(format!("{place}: `argumentSchema` {what}"));
        }
        (name, Self { rate_limit_per_minute, arguments })
    }
}
