//! `PolicySet` and `Evaluation`.

use kalguard_core::policy;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

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

    #[pyo3(signature = (agent_id, action, tool, attributes, /))]
    fn evaluate(
        &self,
        py: Python<'_>,
        agent_id: &str,
        action: &str,
        tool: Option<&str>,
        attributes: &Bound<'_, PyDict>,
    ) -> PyResult<Evaluation> {
        let pairs = owned_pairs(attributes)?;
        let attributes = borrowed_pairs(&pairs)?;
        let answer = self.0.evaluate(&policy::AccessRequest { agent_id, action, tool, attributes: &attributes });
        Ok(Evaluation {
            decision: answer.decision,
            rule_id: answer.rule_id.map(|id| PyString::new(py, id).unbind()),
            reason: PyString::new(py, answer.reason).unbind(),
        })
    }

    #[pyo3(signature = (agent_id, action, tool, attributes, /))]
    fn explain<'py>(
        &self,
        py: Python<'py>,
        agent_id: &str,
        action: &str,
        tool: Option<&str>,
        attributes: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let pairs = owned_pairs(attributes)?;
        let attributes = borrowed_pairs(&pairs)?;
        let request = policy::AccessRequest { agent_id, action, tool, attributes: &attributes };
        PyTuple::new(py, self.0.explain(&request).into_iter().map(|step| (step.rule_id, step.failed)))
    }
}

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
