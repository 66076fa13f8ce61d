//! The writer of the audit log.

use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use kalguard_audit::chain::{Chain, Link, Record};
use kalguard_audit::file::LogFile;
use kalguard_audit::stream::{Stream, WAIT};
use kalguard_audit::target::Target;
use kalguard_audit::writer::{Outcome, Writer};
use pyo3::prelude::*;

use crate::error::AuditUnavailable;

#[pyclass(frozen, module = "kalguard._core")]
pub(crate) struct AuditWriter {
    writer: Writer,
}

#[pymethods]
impl AuditWriter {
    #[staticmethod]
    #[pyo3(signature = (path, *, chain, key, depth, sync))]
    fn file(path: PathBuf, chain: &str, key: Option<[u8; 32]>, depth: usize, sync: bool) -> PyResult<Self> {
        Self::start(chain, key, depth, Target::File { file: LogFile::new(&path), sync })
    }

    #[staticmethod]
    #[pyo3(signature = (*, chain, key, depth))]
    fn stdout(chain: &str, key: Option<[u8; 32]>, depth: usize) -> PyResult<Self> {
        let fd = rustix::io::dup(rustix::stdio::stdout()).map_err(std::io::Error::from)?;
        Self::start(chain, key, depth, Target::Stream(Stream::new(fd, WAIT)))
    }

    #[pyo3(signature = (record, sign, /))]
    fn submit(&self, record: &[u8], sign: bool) -> PyResult<u64> {
        self.writer.submit(record, sign).map_err(|refused| AuditUnavailable::new_err(refused.to_string()))
    }

    #[pyo3(signature = (through, /))]
    fn withdraw(&self, through: u64) {
        self.writer.withdraw(through);
    }

    fn outcomes(&self) -> Vec<(u64, usize, Option<String>, f64)> {
        let row = |outcome: Outcome| (outcome.through, outcome.count, outcome.problem, outcome.took.as_secs_f64());
        self.writer.outcomes().into_iter().map(row).collect()
    }

    fn fileno(&self) -> i32 {
        self.writer.signal().as_raw_fd()
    }

    fn is_working(&self) -> bool {
        self.writer.is_working()
    }

    #[getter]
    fn queued(&self) -> usize {
        self.writer.queued()
    }

    #[getter]
    fn unsigned(&self) -> u64 {
        self.writer.unsigned()
    }

    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.writer.sync())?)
    }

    #[pyo3(signature = (seconds, /))]
    fn close(&self, py: Python<'_>, seconds: f64) -> bool {
        let limit = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        py.detach(|| self.writer.close(limit))
    }
}

impl AuditWriter {
    fn start(chain: &str, key: Option<[u8; 32]>, depth: usize, target: Target) -> PyResult<Self> {
        Ok(Self { writer: Writer::start(Chain::new(chain, key), depth, target)? })
    }
}

/// The same chain without a thread, for records that stay in memory.
#[pyclass(frozen, module = "kalguard._core")]
pub(crate) struct AuditChain {
    chain: Chain,
    depth: usize,
    link: Mutex<Link>,
}

#[pymethods]
impl AuditChain {
    #[new]
    #[pyo3(signature = (*, chain, key, depth))]
    fn new(chain: &str, key: Option<[u8; 32]>, depth: usize) -> Self {
        Self { chain: Chain::new(chain, key), depth, link: Mutex::default() }
    }

    #[pyo3(signature = (record, sign, /))]
    fn seal(&self, record: &[u8], sign: bool) -> PyResult<Vec<u8>> {
        let problem = |problem: String| AuditUnavailable::new_err(problem);
        let record = Record::new(record.to_vec(), self.depth, sign).map_err(|error| problem(error.to_string()))?;
        let mut link = self.link.lock().map_err(|error| problem(error.to_string()))?;
        let (line, next) = self.chain.seal(*link, &record, None);
        *link = next;
        Ok(line)
    }
}
