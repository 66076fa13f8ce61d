//! The policy engine: may this agent do this, with this tool?
//!
//! A document is compiled once ([`PolicySet::compile`]), which refuses whatever could make a rule mean
//! more than it says: unknown keys, empty conditions, wrong types. What was compiled is then asked, for each check,
//! which rule comes first ([`PolicySet::evaluate`]). Asking cannot fail and does not allocate.
//!
//! Rejected: a general policy language. First match over a list is what the documents of this product promise, and what
//! an operator can follow with a finger.

mod compiled;
mod document;
mod evaluate;

pub use compiled::{Decision, PolicySet};
pub use evaluate::{AccessRequest, Evaluation, Explained};
