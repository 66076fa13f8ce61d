//! What KalGuard decides with.
//!
//! Three parts, none of which knows the others: the prompt firewall ([`scanner`]), the policy engine ([`policy`]) and
//! tool mediation ([`tools`]). All are pure: no I/O, no clock, no randomness, no logging. Each is compiled once from
//! what the operator wrote, which may fail, and then asked any number of times, which cannot.
//! `rust/py` carries the answers to Python.

pub mod error;
mod glob;
pub mod policy;
pub mod tools;
