//! `Arguments`.

use kalguard_core::arguments;
use pyo3::prelude::*;

use crate::error::BadRequest;
use crate::{DETACH_FROM_BYTES, detached_if};

/// The arguments of a tool call, parsed, and whether what looks at them does so detached from the interpreter.
#[pyclass(frozen, module = "kalguard._core")]
pub(crate) struct Arguments(pub(crate) arguments::Arguments, pub(crate) bool);

#[pymethods]
impl Arguments {
    #[new]
    #[pyo3(signature = (document, /))]
    fn new(py: Python<'_>, document: &[u8]) -> PyResult<Self> {
        let is_large = document.len() >= DETACH_FROM_BYTES;
        let parsed = detached_if(is_large, py, || arguments::Arguments::parse(document));
        parsed.map(|parsed| Self(parsed, is_large)).map_err(BadRequest::new_err)
    }
}
