//! The core's errors as the exceptions that `kalguard.errors` declares.

use kalguard_core::error::CompileError;
use pyo3::prelude::*;

pyo3::import_exception!(kalguard.errors, AuditUnavailable);
pyo3::import_exception!(kalguard.errors, BadRequest);
pyo3::import_exception!(kalguard.errors, PatternError);
pyo3::import_exception!(kalguard.errors, PolicyError);
pyo3::import_exception!(kalguard.errors, ToolsError);
pyo3::import_exception!(kalguard.errors, Unavailable);

/// The Python exception for an error of the core.
pub(crate) fn to_python(error: CompileError) -> PyErr {
    match error {
        CompileError::Policy(message) => PolicyError::new_err(message),
        CompileError::Tools(message) => ToolsError::new_err(message),
        CompileError::Pattern(message) => PatternError::new_err(message),
    }
}
