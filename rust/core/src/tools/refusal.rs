//! Why a call was refused.

/// The check that refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The tool's name matches the denylist.
    Denylist,
    /// There is a tools file, and the tool is not in it.
    Allowlist,
    /// The arguments do not fit the tool's schema.
    Schema,
    /// The arguments hold a command that is on the command denylist.
    Command,
}

impl Check {
    /// The check as it is named in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denylist => "denylist",
            Self::Allowlist => "allowlist",
            Self::Schema => "schema",
            Self::Command => "command",
        }
    }
}

/// A refusal. Its reason holds nothing that the agent wrote, not even the tool's name: it goes on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The check that refused.
    pub check: Check,
    /// One line for whoever wants to know why.
    pub reason: String,
}

impl Refusal {
    pub(super) fn new(check: Check, what: &str) -> Self {
        Self { check, reason: format!("tool {what}") }
    }
}
