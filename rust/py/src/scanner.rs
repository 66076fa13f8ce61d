//! `Scanner` and `Scan`.

use std::collections::BTreeMap;

use kalguard_core::finding::Finding;
use kalguard_core::patterns::PatternsFile;
use kalguard_core::scanner::{self, Role, ScannerConfig, Segment};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use crate::arguments::Arguments;
use crate::body::Conversation;
use crate::detached_if;
use crate::error::to_python;

/// The prompt firewall, compiled for one configuration.
#[pyclass(frozen, module = "kalguard._core")]
pub(crate) struct Scanner(scanner::Scanner);

/// What the firewall found, what follows from it, and the messages as they may pass where they were changed.
#[pyclass(frozen, module = "kalguard._core")]
pub(crate) struct Scan {
    scan: scanner::Scan,
    sanitized: Option<String>,
}

#[pymethods]
impl Scanner {
    #[new]
    #[pyo3(signature = (*, block_threshold, sanitize_threshold, injection_weight, harmful_weight, pii_weight,
        abnormality_weight, check_injection, check_content, check_pii, check_system, blocked_phrases, monitor, patterns, secret))]
    #[expect(clippy::too_many_arguments, reason = "each is a setting with a name")]
    fn new(
        py: Python<'_>,
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
        monitor: bool,
        patterns: Option<&[u8]>,
        secret: [u8; 16],
    ) -> PyResult<Self> {
        let patterns = patterns.map(PatternsFile::read).transpose().map_err(to_python)?.unwrap_or_default();
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
            monitor,
            patterns,
        };
        let made = py.detach(|| scanner::Scanner::new(&config)).map_err(to_python)?;
        Ok(Self(made.remembering(&secret)))
    }

    #[pyo3(signature = (conversation, agent_id, /))]
    fn scan(&self, py: Python<'_>, conversation: &Conversation, agent_id: &str) -> Scan {
        detached_if(conversation.1, py, || {
            let scan = self.0.scan_for(agent_id, &conversation.0.segments());
            let sanitized = (!scan.texts.is_empty()).then(|| conversation.0.with_texts(&scan.texts));
            Scan { scan, sanitized }
        })
    }

    #[pyo3(signature = (segments, /))]
    fn explain<'py>(&self, py: Python<'py>, segments: Vec<PySegment<'py>>) -> PyResult<(Scan, Bound<'py, PyTuple>)> {
        let segments = borrowed(&segments)?;
        let (scan, findings) = py.detach(|| self.0.explain(&segments));
        let evidence = PyTuple::new(py, code_points(&segments, &findings))?;
        Ok((Scan { scan, sanitized: None }, evidence))
    }

    #[pyo3(signature = (arguments, /))]
    fn find_in_arguments<'py>(&self, py: Python<'py>, arguments: &Arguments) -> PyResult<Bound<'py, PyTuple>> {
        let found = self.0.find_in_arguments(&arguments.0);
        PyTuple::new(py, found.into_iter().map(|(category, score)| (category.as_str(), score)))
    }
}

type PySegment<'py> = (usize, Bound<'py, PyString>, Bound<'py, PyString>);

fn borrowed<'a>(segments: &'a [PySegment<'_>]) -> PyResult<Vec<Segment<'a>>> {
    segments
        .iter()
        .map(|(message, role, text)| {
            Ok(Segment { message: *message, role: Role::parse(role.to_str()?), text: text.to_str()? })
        })
        .collect()
}

/// Id, category, segment, start, end, score of each finding; places in code points, as Python counts.
type Evidence<'a> = (&'a str, &'static str, usize, usize, usize, u8);

fn code_points<'a>(segments: &[Segment<'_>], findings: &[Finding<'a>]) -> Vec<Evidence<'a>> {
    let mut places: BTreeMap<(usize, usize), usize> =
        findings.iter().flat_map(|f| [(f.segment, f.span.start), (f.segment, f.span.end)]).map(|at| (at, 0)).collect();
    // In order of segment and offset: each text is counted through once.
    let mut before = (usize::MAX, 0, 0);
    for (&(segment, offset), count) in &mut places {
        let (from, counted) = if before.0 == segment { (before.1, before.2) } else { (0, 0) };
        let text = segments.get(segment).map_or("", |segment| segment.text);
        *count = counted + text.get(from..offset).map_or(0, |between| between.chars().count());
        before = (segment, offset, *count);
    }
    let at = |segment, offset| places.get(&(segment, offset)).copied().unwrap_or_default();
    findings
        .iter()
        .map(|f| {
            let (start, end) = (at(f.segment, f.span.start), at(f.segment, f.span.end));
            (f.id, f.category.as_str(), f.segment, start, end, f.score)
        })
        .collect()
}

#[pymethods]
impl Scan {
    #[getter]
    fn action(&self) -> &'static str {
        self.scan.action.as_str()
    }

    #[getter]
    fn monitored(&self) -> Option<&'static str> {
        self.scan.monitored.map(scanner::Action::as_str)
    }

    #[getter]
    fn score(&self) -> u8 {
        self.scan.assessment.score
    }

    #[getter]
    fn level(&self) -> &'static str {
        self.scan.assessment.level.as_str()
    }

    #[getter]
    fn findings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(
            py,
            self.scan.findings.iter().map(|finding| (finding.category.as_str(), finding.message, finding.score)),
        )
    }

    #[getter]
    fn texts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.scan.texts.iter().map(|text| text.as_deref()))
    }

    #[getter]
    fn sanitized_messages<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.sanitized.as_ref().map(|messages| PyBytes::new(py, messages.as_bytes()))
    }
}
