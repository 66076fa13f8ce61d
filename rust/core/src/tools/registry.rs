//! A tools file, ready to be asked.

use std::collections::HashMap;

use super::commands::CommandDenylist;
use super::document::{ToolDocument, ToolsDocument};
use super::refusal::{Check, Refusal};
use super::schema::ArgumentSchema;
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
}

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
        let tools = document.tools.into_iter().map(|tool| ToolSpec::compile(tool, &mut mistakes)).collect();
        mistakes.end().map_err(CompileError::Tools)?;
        let denylist = document.denylist.iter().map(|pattern| Glob::new(pattern)).collect();
        Ok(Self { denylist, tools: Some(tools), commands })
    }

    /// The registry of a service without a tools file: every name goes, and only the built-in command denylist applies.
    #[must_use]
    pub fn open() -> Self {
        Self { denylist: Box::default(), tools: None, commands: CommandDenylist::new(&[], &mut Mistakes::default()) }
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
        let refuse = |check, what: &str| Err(Refusal::new(check, what));
        if self.denylist.iter().any(|glob| glob.matches(tool)) {
            return refuse(Check::Denylist, "is on the denylist");
        }
        let spec = self.tools.as_ref().map(|tools| tools.get(tool));
        if matches!(spec, Some(None)) {
            return refuse(Check::Allowlist, "is not declared in the tools file");
        }
        if let Some(schema) = spec.flatten().and_then(|spec| spec.arguments.as_ref()) {
            schema.check(arguments.value()).or_else(|what| refuse(Check::Schema, &what))?;
        }
        match self.commands.find(arguments.value()) {
            None => Ok(()),
            Some(id) => refuse(Check::Command, &format!("was called with arguments that `{id}` forbids")),
        }
    }
}

impl ToolSpec {
    fn compile(tool: ToolDocument, mistakes: &mut Mistakes) -> (String, Self) {
        let ToolDocument { name, place, rate_limit_per_minute, argument_schema } = tool;
        let compiled = argument_schema.map(ArgumentSchema::compile).transpose();
        let arguments = compiled.unwrap_or_else(|what| {
            mistakes.add(&place, format!("`argumentSchema` {what}"));
            None
        });
        (name, Self { rate_limit_per_minute, arguments })
    }
}
