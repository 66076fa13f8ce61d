//! `Arguments`.

use kalguard_core::arguments;
use pyo3::prelude::*;

use crate::DETACH_FROM_BYTES;
use crate::error::BadRequest;

/// The arguments of a tool call, parsed.
#[pyclass(frozen, module = "kalguard._core")]
pub(crate) struct Arguments(pub(crate) arguments::Arguments);

#[pymethods]
impl Arguments {
    #[new]
    #[pyo3(signature = (document, /))]
    fn new(py: Python<'_>, document: &[u8]) -> PyResult<Self> {
        let parsed = if document.len() < DETACH_FROM_BYTES {
            arguments::Arguments::parse(document)
        } else {
            py.detach(|| arguments::Arguments::parse(document))
        };
        parsed.map(Self).map_err(BadRequest::new_err)
    }
}
