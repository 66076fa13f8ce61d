//! Tool mediation: does anything speak against this call?
//!
//! A tools file is compiled once ([`ToolRegistry::compile`]) and then asked for each call ([`ToolRegistry::check`]), in
//! this order: denylist, allowlist, argument schema, command denylist. The first that refuses is the answer. The policy
//! has allowed the call before, and whoever calls counts it against the tool's rate limit afterwards.
//!
//! Must never: repeat in a reason what the agent wrote; ignore a part of a schema.

mod commands;
mod document;
mod flatten;
mod fold;
mod graph;
mod keywords;
mod places;
mod refusal;
mod registry;
mod schema;
mod short_form;
mod unique;

pub use refusal::{Check, Refusal};
pub use registry::{ToolDefinition, ToolRegistry};
