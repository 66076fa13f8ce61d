//! `Scanner` and `Scan`.

use kalguard_core::scanner::{self, Role, ScannerConfig, Segment};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::DETACH_FROM_BYTES;
use crate::error::to_python;

/// The prompt firewall, compiled for one configuration.
#[pyclass(frozen, module = "kalguard._core")]
pub(crate) struct Scanner(scanner::Scanner);

/// What the firewall found, and what follows from it.
#[pyclass(frozen, module = "kalguard._core")]
pub(crate) struct Scan(scanner::Scan);

#[pymethods]
impl Scanner {
    #[new]
    #[pyo3(signature = (*, block_threshold, sanitize_threshold, injection_weight, harmful_weight, pii_weight,
        abnormality_weight, check_injection, check_content, check_pii, check_system, blocked_phrases))]
    #[expect(clippy::too_many_arguments, reason = "each is a setting with a name")]
    fn new(
        block_threshold: u8,
        sanitize_threshold: u8,
        injection_weight: f64,
        harmful_weight: f64,
        pii_weight: f64,
        abnormality_weight: f64,
        check_injection: bool,
        check_content: bool,
        check_pii: bool,
        check_system: bool,
        blocked_phrases: Vec<String>,
    ) -> PyResult<Self> {
        let config = ScannerConfig {
            block_threshold,
            sanitize_threshold,
            injection_weight,
            harmful_weight,
            pii_weight,
            abnormality_weight,
            check_injection,
            check_content,
            check_pii,
            check_system,
            blocked_phrases,
        };
        scanner::Scanner::new(&config).map(Self).map_err(to_python)
    }

    #[pyo3(signature = (segments, /))]
    fn scan(&self, py: Python<'_>, segments: Vec<(usize, Bound<'_, PyString>, Bound<'_, PyString>)>) -> PyResult<Scan> {
        let segments: Vec<Segment<'_>> = segments
            .iter()
            .map(|(message, role, text)| {
                Ok(Segment { message: *message, role: Role::parse(role.to_str()?), text: text.to_str()? })
            })
            .collect::<PyResult<_>>()?;
        let size: usize = segments.iter().map(|segment| segment.text.len()).sum();
        Ok(Scan(if size < DETACH_FROM_BYTES { self.0.scan(&segments) } else { py.detach(|| self.0.scan(&segments)) }))
    }
}

#[pymethods]
impl Scan {
    #[getter]
    fn action(&self) -> &'static str {
        self.0.action.as_str()
    }

    #[getter]
    fn score(&self) -> u8 {
        self.0.assessment.score
    }

    #[getter]
    fn level(&self) -> &'static str {
        self.0.assessment.level.as_str()
    }

    #[getter]
    fn findings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(
            py,
            self.0.findings.iter().map(|finding| (finding.category.as_str(), finding.message, finding.score)),
        )
    }

    #[getter]
    fn texts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.texts.iter().map(|text| text.as_deref()))
    }
}
