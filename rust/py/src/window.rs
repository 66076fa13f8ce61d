//! `CounterTable` and `Window`: counts of calls, in shared memory and in that of this process.

use std::sync::atomic::AtomicU32;

use kalguard_core::naming::Name;
use kalguard_core::window::table::{Full, SLOT_BYTES, Table};
use kalguard_core::window::{self, Now, RING_WORDS, Ring, Taken};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::error::Unavailable;

/// Whether a call was counted, and under each limit what remains and the seconds until it grows.
type Answer = (bool, Vec<(u64, f64)>);

/// A limit of Python's, as much as is needed of it.
#[derive(FromPyObject)]
struct Limit<'py> {
    key: Bound<'py, PyTuple>,
    allowed: u64,
}

/// A table of windows in memory that Python has mapped. Who asks holds the lock on it, and the interpreter's.
#[pyclass(frozen, module = "kalguard._core")]
pub(crate) struct CounterTable {
    memory: PyBuffer<u32>,
    table: Table,
}

#[pymethods]
impl CounterTable {
    #[classattr]
    const SLOT_BYTES: usize = SLOT_BYTES;

    #[new]
    #[pyo3(signature = (memory, secret, /))]
    fn new(py: Python<'_>, memory: PyBuffer<u32>, secret: [u8; 16]) -> PyResult<Self> {
        let words = memory.as_mut_slice(py).map_or(0, <[_]>::len);
        let table = Table::new(words, &secret).ok_or_else(|| PyValueError::new_err("memory holds no table"))?;
        Ok(Self { memory, table })
    }

    #[pyo3(signature = (limits, now, /))]
    fn take(&self, py: Python<'_>, limits: Vec<Limit<'_>>, now: f64) -> PyResult<Answer> {
        let asked = limits.iter().map(|limit| Ok((self.name(&limit.key)?, limit.allowed)));
        let asked = asked.collect::<PyResult<Vec<_>>>()?;
        let memory = self.memory.as_mut_slice(py).unwrap_or_default();
        self.table.take(memory, &asked, Now::at(now)).map(answer).map_err(unavailable)
    }

    #[pyo3(signature = (limits, now, /))]
    fn count(&self, py: Python<'_>, limits: Vec<Limit<'_>>, now: f64) -> PyResult<()> {
        let names = limits.iter().map(|limit| self.name(&limit.key)).collect::<PyResult<Vec<_>>>()?;
        let memory = self.memory.as_mut_slice(py).unwrap_or_default();
        self.table.count(memory, &names, Now::at(now)).map_err(unavailable)
    }
}

impl CounterTable {
    fn name(&self, key: &Bound<'_, PyTuple>) -> PyResult<Name> {
        let mut naming = self.table.naming();
        for part in key {
            naming.add(part.cast::<PyString>()?.to_str()?.as_bytes());
        }
        Ok(naming.name())
    }
}

/// One window, in the memory of this process.
#[pyclass(frozen, module = "kalguard._core")]
pub(crate) struct Window([AtomicU32; RING_WORDS]);

#[pymethods]
impl Window {
    #[new]
    fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU32::new(0)))
    }

    #[pyo3(signature = (now, /))]
    fn advance(&self, now: f64) {
        self.ring().advance(Now::at(now));
    }

    #[pyo3(signature = (now, /))]
    fn is_idle(&self, now: f64) -> bool {
        self.ring().is_idle(Now::at(now))
    }

    fn add(&self) {
        self.ring().add();
    }

    #[staticmethod]
    #[pyo3(signature = (windows, now, /))]
    fn take(windows: Vec<(Bound<'_, Self>, u64)>, now: f64) -> Answer {
        let rings: Vec<_> = windows.iter().map(|(window, allowed)| (window.get().ring(), *allowed)).collect();
        answer(window::take(&rings, Now::at(now)))
    }
}

impl Window {
    fn ring(&self) -> Ring<'_, [AtomicU32]> {
        Ring::new(&self.0, 0)
    }
}

fn answer(taken: Taken) -> Answer {
    (taken.counted, taken.rooms.into_iter().map(|room| (room.remaining, room.reset_seconds)).collect())
}

fn unavailable(full: Full) -> PyErr {
    Unavailable::new_err(format!("limits cannot be counted: {full}"))
}
