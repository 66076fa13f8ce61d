//! What KalGuard decides with.
//!
//! What agents send is read first ([`body`]). Three parts judge it, none of which knows the others: the prompt firewall
//! ([`scanner`]), the policy engine ([`policy`]) and tool mediation ([`tools`]). Each is compiled once from what the
//! operator wrote, which may fail, and then asked any number of times, which cannot. A fourth counts calls ([`window`]),
//! in memory that it is given. All are pure: no I/O, no clock, no randomness, no logging. A scanner may remember what held
//! nothing, which changes no answer.
//! `rust/py` carries the answers to Python.

mod abnormality;
pub mod arguments;
mod automaton;
pub mod body;
pub mod detect;
mod eight;
pub mod error;
mod fields;
pub mod finding;
mod glob;
mod mention;
pub mod model;
mod monitor;
pub mod naming;
mod needles;
pub mod patterns;
mod percent;
pub mod phrase;
pub mod pii;
pub mod policy;
mod redact;
pub mod risk;
pub mod scanner;
pub mod text;
pub mod tools;
pub mod window;
