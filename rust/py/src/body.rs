//! `Conversation` and `ToolCall`: bodies, read.

use kalguard_core::body;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::arguments::Arguments;
use crate::error::BadRequest;
use crate::{DETACH_FROM_BYTES, detached_if};

/// A conversation to be judged, and whether what looks at it does so detached from the interpreter.
#[pyclass(frozen, module = "kalguard._core")]
pub(crate) struct Conversation(pub(crate) body::Conversation, pub(crate) bool);

/// A tool call to be judged.
#[pyclass(frozen, module = "kalguard._core")]
pub(crate) struct ToolCall {
    #[pyo3(get)]
    name: String,
    #[pyo3(get)]
    arguments: Py<Arguments>,
    #[pyo3(get)]
    argument_count: usize,
    metadata: Vec<(String, String)>,
}

#[pymethods]
impl Conversation {
    #[new]
    #[pyo3(signature = (body, /))]
    fn new(py: Python<'_>, body: &[u8]) -> PyResult<Self> {
        read(py, body, body::Conversation::read).map(|(read, is_large)| Self(read, is_large))
    }

    #[getter]
    fn message_count(&self) -> usize {
        self.0.message_count()
    }

    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        dict(py, self.0.metadata())
    }

    #[getter]
    fn texts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.0.segments().iter().map(|segment| (segment.message, segment.role.as_str(), segment.text)))
    }
}

#[pymethods]
impl ToolCall {
    #[new]
    #[pyo3(signature = (body, /))]
    fn new(py: Python<'_>, body: &[u8]) -> PyResult<Self> {
        let (call, is_large) = read(py, body, body::ToolCall::read)?;
        Ok(Self {
            name: call.name,
            arguments: Py::new(py, Arguments(call.arguments, is_large))?,
            argument_count: call.argument_count,
            metadata: call.metadata,
        })
    }

    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        dict(py, &self.metadata)
    }
}

/// The name, the schema as JSON, and the description of a tool that an agent defines.
#[pyfunction]
#[pyo3(signature = (body, /))]
pub(crate) fn read_definition<'py>(
    py: Python<'py>,
    body: &[u8],
) -> PyResult<(String, Bound<'py, PyBytes>, Option<String>)> {
    let (definition, _) = read(py, body, body::Definition::read)?;
    Ok((definition.name, PyBytes::new(py, definition.argument_schema.as_bytes()), definition.description))
}

/// What a reader makes of a body, and whether that is a large one.
fn read<T: Send>(py: Python<'_>, body: &[u8], reader: fn(&[u8]) -> Result<T, body::BadRequest>) -> PyResult<(T, bool)> {
    let is_large = body.len() >= DETACH_FROM_BYTES;
    let read = detached_if(is_large, py, || reader(body)).map_err(|error| BadRequest::new_err(error.0))?;
    Ok((read, is_large))
}

fn dict<'py>(py: Python<'py>, pairs: &[(String, String)]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    pairs.iter().try_for_each(|(name, text)| dict.set_item(name, text))?;
    Ok(dict)
}
