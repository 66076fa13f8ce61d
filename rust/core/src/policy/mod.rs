//! The policy engine: may this agent do this, with this tool?
//!
//! A document is compiled once ([`PolicySet::compile`]), which refuses whatever could make a rule mean
//! more than it says: unknown keys, empty conditions, wrong types; and whatever does not pass the tests that the document
//! brings. What was compiled is then asked, for each check, which rule comes first ([`PolicySet::evaluate`]). Asking
//! cannot fail.
//!
//! For those who write documents: [`PolicySet::explain`], [`PolicySet::lint`], [`PolicySet::possible`].
//!
//! Rejected: a general policy language. First match over a list is what the documents of this product promise, and what
//! an operator can follow with a finger.

mod address;
mod compiled;
mod document;
mod evaluate;
mod index;
mod lint;
mod path;
mod possible;
mod predicate;
mod readings;
mod selftest;
mod url;

pub use compiled::{ACTIONS, Decision, PolicySet};
pub use evaluate::{AccessRequest, Evaluation, Explained};
pub use possible::{Decided, Recorded};
