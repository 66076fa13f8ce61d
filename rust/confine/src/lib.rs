//! Takes from a process what it does not need: system calls (seccomp), files, TCP ports and signals (Landlock), and the
//! privileges of programs that it starts (`no_new_privs`). What is taken cannot be had back, and children inherit it.
//!
//! - `calls`: a list of system calls becomes a program for the kernel, and is installed for all threads.
//! - `access`: what the calling thread, and what it starts, may do with files, ports and signals.
//!
//! The kernel's interfaces are spoken by the crates `seccompiler` and `landlock`. An old kernel is not an error: what
//! is asked of Landlock comes back with how much of it is in force. Elsewhere than on Linux each function says that it is
//! not available.

pub mod model;

mod error;

#[cfg(target_os = "linux")]
mod access;
#[cfg(target_os = "linux")]
mod calls;
#[cfg(not(target_os = "linux"))]
mod elsewhere;

#[cfg(target_os = "linux")]
pub use access::{abi, restrict};
#[cfg(target_os = "linux")]
pub use calls::{install, is_available, program, set_no_new_privs};
#[cfg(not(target_os = "linux"))]
pub use elsewhere::{abi, install, is_available, program, restrict, set_no_new_privs};
pub use error::Error;
