//! `ToolRegistry` and `ToolRefusal`.

use kalguard_core::tools;
use pyo3::prelude::*;

use crate::arguments::Arguments;
use crate::detached_if;
use crate::error::to_python;

/// A tools file, compiled.
#[pyclass(frozen, module = "kalguard._core")]
pub(crate) struct ToolRegistry(tools::ToolRegistry);

/// What was registered of a tool, compiled.
#[pyclass(frozen, module = "kalguard._core")]
pub(crate) struct ToolDefinition(tools::ToolDefinition);

/// Why a tool call was refused.
#[pyclass(frozen, module = "kalguard._core")]
pub(crate) struct ToolRefusal(tools::Refusal);

#[pymethods]
impl ToolRegistry {
    #[new]
    #[pyo3(signature = (document, /))]
    fn new(py: Python<'_>, document: Option<&[u8]>) -> PyResult<Self> {
        match document {
            Some(document) => py.detach(|| tools::ToolRegistry::compile(document)).map(Self).map_err(to_python),
            None => Ok(Self(tools::ToolRegistry::open())),
        }
    }

    #[getter]
    fn tool_count(&self) -> usize {
        self.0.tool_count()
    }

    #[pyo3(signature = (tool, /))]
    fn rate_limit_per_minute(&self, tool: &str) -> Option<u32> {
        self.0.rate_limit_per_minute(tool)
    }

    #[getter]
    fn enforces_formats(&self) -> bool {
        self.0.enforces_formats()
    }

    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.0.warnings().to_vec()
    }

    #[pyo3(signature = (tool, /))]
    fn forbids(&self, tool: &str) -> bool {
        self.0.forbids(tool)
    }

    #[pyo3(signature = (tool, /))]
    fn declares(&self, tool: &str) -> bool {
        self.0.declares(tool)
    }

    #[pyo3(signature = (tool, /))]
    fn pin(&self, tool: &str) -> Option<&str> {
        self.0.pin(tool)
    }

    #[pyo3(signature = (argument_schema, /))]
    fn define(&self, py: Python<'_>, argument_schema: &[u8]) -> PyResult<ToolDefinition> {
        py.detach(|| self.0.define(argument_schema)).map(ToolDefinition).map_err(to_python)
    }

    // What an agent registered may take long for small arguments, too.
    #[pyo3(signature = (tool, arguments, /, registered = None))]
    fn check(
        &self,
        py: Python<'_>,
        tool: &str,
        arguments: &Arguments,
        registered: Option<&Bound<'_, ToolDefinition>>,
    ) -> Option<ToolRefusal> {
        let registered = registered.map(|registered| &registered.get().0);
        let is_large = arguments.1 || registered.is_some();
        let answer = detached_if(is_large, py, || self.0.check_registered(tool, &arguments.0, registered));
        answer.err().map(ToolRefusal)
    }
}

#[pymethods]
impl ToolRefusal {
    #[getter]
    fn check(&self) -> &'static str {
        self.0.check.as_str()
    }

    #[getter]
    fn reason(&self) -> &str {
        &self.0.reason
    }
}
