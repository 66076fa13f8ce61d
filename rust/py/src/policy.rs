//! `PolicySet` and `Evaluation`.

use kalguard_core::policy;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::arguments::Arguments;
use crate::error::to_python;

/// A policy document, compiled.
#[pyclass(frozen, module = "kalguard._core")]
pub(crate) struct PolicySet(policy::PolicySet);

/// The answer of a policy, and the rule that gave it.
#[pyclass(frozen, module = "kalguard._core")]
pub(crate) struct Evaluation {
    decision: policy::Decision,
    #[pyo3(get)]
    rule_id: Option<Py<PyString>>,
    #[pyo3(get)]
    reason: Py<PyString>,
}

#[pymethods]
impl PolicySet {
    #[new]
    #[pyo3(signature = (document, /))]
    fn new(py: Python<'_>, document: &[u8]) -> PyResult<Self> {
        py.detach(|| policy::PolicySet::compile(document)).map(Self).map_err(to_python)
    }

    #[getter]
    fn rule_count(&self) -> usize {
        self.0.rule_count()
    }

    #[pyo3(signature = (agent_id, action, tool, attributes, call, /))]
    fn evaluate(
        &self,
        py: Python<'_>,
        agent_id: &str,
        action: &str,
        tool: Option<&str>,
        attributes: &Bound<'_, PyDict>,
        call: Option<PyCall<'_>>,
    ) -> PyResult<Evaluation> {
        let (pairs, found) = (owned_pairs(attributes)?, found_in(call.as_ref())?);
        let (attributes, findings) = (borrowed_pairs(&pairs)?, borrowed(&found)?);
        let arguments = call.as_ref().map(|(given, _)| &given.get().0);
        let answer = self.0.evaluate(&policy::AccessRequest {
            agent_id,
            action,
            tool,
            attributes: &attributes,
            arguments,
            findings: &findings,
        });
        Ok(Evaluation {
            decision: answer.decision,
            rule_id: answer.rule_id.map(|id| PyString::new(py, id).unbind()),
            reason: PyString::new(py, answer.reason).unbind(),
        })
    }

    #[pyo3(signature = (agent_id, action, tool, attributes, call, /))]
    fn explain<'py>(
        &self,
        py: Python<'py>,
        agent_id: &str,
        action: &str,
        tool: Option<&str>,
        attributes: &Bound<'py, PyDict>,
        call: Option<PyCall<'py>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let (pairs, found) = (owned_pairs(attributes)?, found_in(call.as_ref())?);
        let (attributes, findings) = (borrowed_pairs(&pairs)?, borrowed(&found)?);
        let arguments = call.as_ref().map(|(given, _)| &given.get().0);
        let request =
            policy::AccessRequest { agent_id, action, tool, attributes: &attributes, arguments, findings: &findings };
        PyTuple::new(py, self.0.explain(&request).into_iter().map(|step| (step.rule_id, step.failed)))
    }

    fn lint(&self) -> Vec<String> {
        self.0.lint()
    }

    #[pyo3(signature = (asked, attributes, findings, decided, /))]
    fn possible<'py>(
        &self,
        py: Python<'py>,
        asked: (String, String, Option<String>),
        attributes: &Bound<'py, PyDict>,
        findings: Option<&Bound<'py, PyTuple>>,
        decided: Option<(Bound<'py, Self>, Option<String>)>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let (agent_id, action, tool) = (&asked.0, &asked.1, asked.2.as_deref());
        let pairs = owned_pairs(attributes)?;
        let attributes = &borrowed_pairs(&pairs)?;
        let found = findings.map(owned).transpose()?;
        let found = found.as_deref().map(borrowed).transpose()?;
        let decided = decided
            .as_ref()
            .map(|(policy, rule)| policy::Decided { policy: &policy.get().0, rule_id: rule.as_deref() });
        let recorded = policy::Recorded { agent_id, action, tool, attributes, findings: found.as_deref(), decided };
        PyTuple::new(py, self.0.possible(&recorded).into_iter().map(policy::Decision::as_str))
    }
}

/// What a tool is to be called with, and the categories of what was found in it.
type PyCall<'py> = (Bound<'py, Arguments>, Bound<'py, PyTuple>);

#[pymethods]
impl Evaluation {
    #[getter]
    fn decision(&self) -> &'static str {
        self.decision.as_str()
    }
}

type Pair<'py> = (Bound<'py, PyString>, Bound<'py, PyString>);

fn owned_pairs<'py>(attributes: &Bound<'py, PyDict>) -> PyResult<Vec<Pair<'py>>> {
    attributes.iter().map(|(name, value)| Ok((name.cast_into()?, value.cast_into()?))).collect()
}

fn borrowed_pairs<'a>(pairs: &'a [Pair<'_>]) -> PyResult<Vec<(&'a str, &'a str)>> {
    pairs.iter().map(|(name, value)| Ok((name.to_str()?, value.to_str()?))).collect()
}

fn found_in<'py>(call: Option<&PyCall<'py>>) -> PyResult<Vec<Bound<'py, PyString>>> {
    call.map_or_else(|| Ok(Vec::new()), |(_, findings)| owned(findings))
}

fn owned<'py>(texts: &Bound<'py, PyTuple>) -> PyResult<Vec<Bound<'py, PyString>>> {
    texts.iter().map(|text| Ok(text.cast_into()?)).collect()
}

fn borrowed<'a>(texts: &'a [Bound<'_, PyString>]) -> PyResult<Vec<&'a str>> {
    texts.iter().map(|text| text.to_str()).collect()
}
