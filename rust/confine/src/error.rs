//! What can go wrong.

use std::io;

/// Why a process is not restricted as was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This operating system has nothing of the kind.
    #[error("not available on this operating system")]
    Unavailable,
    /// What was asked for makes no sense; the message says what.
    #[error("{0}")]
    Invalid(String),
    /// The kernel refused.
    #[error("{what}: {source}")]
    System {
        /// The call, or the path that it was about.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl Error {
    #[cfg(target_os = "linux")]
    pub(crate) fn system(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System { what: what.into(), source: source.into() }
    }
}
