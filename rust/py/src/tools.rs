//! `ToolRegistry` and `ToolRefusal`.

use kalguard_core::tools;
use pyo3::prelude::*;

use crate::arguments::Arguments;
use crate::error::to_python;

/// A tools file, compiled.
#[pyclass(frozen, module = "kalguard._core")]
pub(crate) struct ToolRegistry(tools::ToolRegistry);

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

    #[pyo3(signature = (tool, arguments, /))]
    fn check(&self, tool: &str, arguments: &Arguments) -> Option<ToolRefusal> {
        self.0.check(tool, &arguments.0).err().map(ToolRefusal)
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
