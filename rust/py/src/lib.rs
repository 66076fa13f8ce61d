//! `kalguard._core`: the core for Python. Every line here translates; none decides.
//!
//! What is compiled is frozen and shared. Text is borrowed from Python for the length of a call; what comes back is a
//! small frozen object. The contract, with every argument explained, is `python/kalguard/_core.pyi`.

mod arguments;
mod audit;
mod body;
mod confine;
mod error;
mod policy;
mod scanner;
mod tools;
mod window;

/// From this many bytes of text on, other Python threads may run meanwhile. Below it, letting go of the interpreter and
/// getting it back costs more than the scan.
const DETACH_FROM_BYTES: usize = 4 * 1024;

/// Do something, and let other Python threads run meanwhile if it is about something large.
fn detached_if<T: Send>(is_large: bool, py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    if is_large { py.detach(work) } else { work() }
}

use kalguard_core::body::{MAX_DEPTH, MAX_METADATA, MAX_TOOL_NAME_LENGTH};
use kalguard_core::finding::Category;
use kalguard_core::policy::ACTIONS;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

#[pymodule(gil_used = true)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    let categories = Category::ALL.map(|category| (category.as_str(), category.meaning()));
    module.add("CATEGORIES", PyTuple::new(module.py(), categories)?)?;
    module.add("PanicException", module.py().get_type::<PanicException>())?;
    module.add("ACTIONS", PyTuple::new(module.py(), ACTIONS)?)?;
    module.add_class::<arguments::Arguments>()?;
    module.add_class::<audit::AuditChain>()?;
    module.add_class::<audit::AuditWriter>()?;
    module.add("MAX_DEPTH", MAX_DEPTH)?;
    module.add("MAX_METADATA", MAX_METADATA)?;
    module.add("MAX_TOOL_NAME_LENGTH", MAX_TOOL_NAME_LENGTH)?;
    module.add_class::<body::Conversation>()?;
    module.add_class::<body::ToolCall>()?;
    module.add_function(wrap_pyfunction!(body::read_definition, module)?)?;
    module.add_class::<scanner::Scanner>()?;
    module.add_class::<scanner::Scan>()?;
    module.add_class::<policy::PolicySet>()?;
    module.add_class::<policy::Evaluation>()?;
    module.add_class::<tools::ToolRegistry>()?;
    module.add_class::<tools::ToolDefinition>()?;
    module.add_class::<tools::ToolRefusal>()?;
    module.add_class::<window::CounterTable>()?;
    module.add_class::<window::Window>()?;
    module.add_function(wrap_pyfunction!(confine::landlock_abi, module)?)?;
    module.add_function(wrap_pyfunction!(confine::seccomp_available, module)?)?;
    module.add_function(wrap_pyfunction!(confine::set_no_new_privs, module)?)?;
    module.add_function(wrap_pyfunction!(confine::restrict_access, module)?)?;
    module.add_function(wrap_pyfunction!(confine::seccomp_program, module)?)?;
    module.add_function(wrap_pyfunction!(confine::install_seccomp, module)?)
}
