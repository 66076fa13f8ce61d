//! Writes the audit log. A record is handed over as a JSON object; a thread of its own seals it into the chain of this
//! writer and appends it, together with whatever else waits, in one write. So checks that run side by side share a
//! write, a slow disk holds up nobody who does not need it, and the order is that in which records were handed over.
//!
//! - [`chain`]: a record becomes a line that names the line before it. No I/O.
//! - [`file`](mod@file), [`stream`], and both as one [`target`]: where lines go.
//! - [`writer`]: the thread, and who waits for it.
//!
//! Unlike the core this crate does I/O; it decides nothing about a check.

pub mod chain;
pub mod file;
pub mod stream;
pub mod target;
pub mod writer;
