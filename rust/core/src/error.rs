//! What can go wrong while something is compiled. Nothing can go wrong afterwards.

/// A document or pattern of the operator's that cannot be used.
///
/// The message is one line, lower case, names the place in the document (rule, tool, field) and quotes what was
/// written there in backticks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// A policy document.
    #[error("{0}")]
    Policy(String),
    /// A tools file.
    #[error("{0}")]
    Tools(String),
    /// A pattern or phrase of the firewall, or the weights of its learned scorer.
    #[error("{0}")]
    Pattern(String),
}
