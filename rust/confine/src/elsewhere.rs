//! The same functions where there is no Linux: nothing is available, and nothing pretends to be.

use crate::Error;
use crate::model::{Action, Call, InForce, Limits, Rules};

/// There is no Landlock.
#[must_use]
pub fn abi() -> u8 {
    0
}

/// There is no seccomp.
#[must_use]
pub fn is_available() -> bool {
    false
}

/// # Errors
///
/// `Unavailable`, always.
pub fn restrict(_rules: &Rules, _limits: &Limits) -> Result<InForce, Error> {
    Err(Error::Unavailable)
}

/// # Errors
///
/// `Unavailable`, always.
pub fn program(_calls: &[Call], _matched: Action, _otherwise: Action, _arch: &str) -> Result<Vec<u8>, Error> {
    Err(Error::Unavailable)
}

/// # Errors
///
/// `Unavailable`, always.
pub fn install(_program: &[u8]) -> Result<(), Error> {
    Err(Error::Unavailable)
}

/// # Errors
///
/// `Unavailable`, always.
pub fn set_no_new_privs() -> Result<(), Error> {
    Err(Error::Unavailable)
}
