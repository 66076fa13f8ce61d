//! What takes system calls, files and ports away from this process.

use std::path::PathBuf;

use kalguard_confine::model::{Action, Call, Condition, Extent, Limits, Right};
use kalguard_confine::{Error, abi, install, is_available, program, restrict};
use pyo3::exceptions::{PyNotImplementedError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

/// `(index, mask, value)`.
type Bounds = Vec<(u8, u64, u64)>;

#[pyfunction]
pub(crate) fn landlock_abi() -> u8 {
    abi()
}

#[pyfunction]
pub(crate) fn seccomp_available() -> bool {
    is_available()
}

#[pyfunction]
pub(crate) fn set_no_new_privs() -> PyResult<()> {
    kalguard_confine::set_no_new_privs().map_err(to_python)
}

#[pyfunction]
#[pyo3(signature = (rules, *, bind, connect, scopes))]
pub(crate) fn restrict_access<'py>(
    py: Python<'py>,
    rules: Vec<(PathBuf, Vec<String>)>,
    bind: Option<Vec<u16>>,
    connect: Option<Vec<u16>>,
    scopes: Vec<String>,
) -> PyResult<Bound<'py, PyDict>> {
    let mut limits = Limits { bind, connect, ..Limits::default() };
    for scope in scopes {
        match scope.as_str() {
            "abstract_sockets" => limits.abstract_sockets = true,
            "signals" => limits.signals = true,
            _ => return Err(PyValueError::new_err(format!("unknown scope `{scope}`"))),
        }
    }
    let rules = rules
        .into_iter()
        .map(|(path, rights)| Ok((path, rights.iter().map(|name| right(name)).collect::<PyResult<_>>()?)))
        .collect::<PyResult<Vec<_>>>()?;
    let found = restrict(&rules, &limits).map_err(to_python)?;
    let in_force = PyDict::new(py);
    for (name, extent) in [
        ("files", Some(found.files)),
        ("tcp_bind", found.tcp_bind),
        ("tcp_connect", found.tcp_connect),
        ("abstract_sockets", found.abstract_sockets),
        ("signals", found.signals),
    ] {
        if let Some(extent) = extent {
            in_force.set_item(name, word(extent))?;
        }
    }
    Ok(in_force)
}

#[pyfunction]
#[pyo3(signature = (calls, *, matched, otherwise, arch))]
pub(crate) fn seccomp_program<'py>(
    py: Python<'py>,
    calls: Vec<(String, Bounds)>,
    matched: Asked,
    otherwise: Asked,
    arch: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    let calls: Vec<Call> = calls
        .into_iter()
        .map(|(name, bounds)| Call {
            name,
            conditions: bounds.into_iter().map(|(index, mask, value)| Condition { index, mask, value }).collect(),
        })
        .collect();
    let compiled = program(&calls, matched.action()?, otherwise.action()?, arch).map_err(to_python)?;
    Ok(PyBytes::new(py, &compiled))
}

#[pyfunction]
#[pyo3(signature = (program, /))]
pub(crate) fn install_seccomp(program: &[u8]) -> PyResult<()> {
    install(program).map_err(to_python)
}

/// An action by its name, or the number of an error.
#[derive(FromPyObject)]
pub(crate) enum Asked {
    Errno(u16),
    Named(String),
}

impl Asked {
    fn action(&self) -> PyResult<Action> {
        match self {
            Self::Errno(number) => Ok(Action::Errno(*number)),
            Self::Named(name) => match name.as_str() {
                "allow" => Ok(Action::Allow),
                "log" => Ok(Action::Log),
                "kill" => Ok(Action::Kill),
                _ => Err(PyValueError::new_err(format!("unknown action `{name}`"))),
            },
        }
    }
}

fn right(name: &str) -> PyResult<Right> {
    match name {
        "read" => Ok(Right::Read),
        "list" => Ok(Right::List),
        "write" => Ok(Right::Write),
        "execute" => Ok(Right::Execute),
        "remove_dirs" => Ok(Right::RemoveDirs),
        "ioctl" => Ok(Right::Ioctl),
        _ => Err(PyValueError::new_err(format!("unknown right `{name}`"))),
    }
}

fn word(extent: Extent) -> &'static str {
    match extent {
        Extent::Full => "full",
        Extent::Partial => "partial",
        Extent::None => "none",
    }
}

fn to_python(error: Error) -> PyErr {
    match error {
        Error::Unavailable => PyNotImplementedError::new_err(error.to_string()),
        Error::Invalid(message) => PyValueError::new_err(message),
        Error::System { what, source } => match source.raw_os_error() {
            // With the number, Python picks the class: FileNotFoundError, PermissionError.
            Some(number) => PyOSError::new_err((number, source.to_string(), what)),
            None => PyOSError::new_err(format!("{what}: {source}")),
        },
    }
}
