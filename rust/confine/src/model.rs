//! What is asked for, and what is in force.

use std::path::PathBuf;

/// What the kernel does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The call is made.
    Allow,
    /// The call is made, and is in the kernel's log.
    Log,
    /// The call fails with this number.
    Errno(u16),
    /// The process ends by `SIGSYS`, and the kernel's log says so.
    Kill,
}

/// A bound on one argument: it has this value where the mask has ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, from 0 to 5.
    pub index: u8,
    /// The bits that are compared.
    pub mask: u64,
    /// What they have to be.
    pub value: u64,
}

/// A system call by name, under conditions that must all hold; none: always.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name in the kernel's table for the architecture.
    pub name: String,
    /// The bounds on its arguments.
    pub conditions: Vec<Condition>,
}

/// What may be done with a path, and with what is beneath it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Read files, list folders.
    Read,
    /// List folders.
    List,
    /// Write, make, truncate, rename and remove files, folders, links, pipes and sockets.
    Write,
    /// Start programs.
    Execute,
    /// Remove empty folders.
    RemoveDirs,
    /// Send `ioctl` commands to devices.
    Ioctl,
}

/// Paths, and what may be done with each and with what is beneath it.
pub type Rules = [(PathBuf, Vec<Right>)];

/// What is denied apart from files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// The TCP ports that may be bound to; `None`: any.
    pub bind: Option<Vec<u16>>,
    /// The TCP ports that may be connected to; `None`: any.
    pub connect: Option<Vec<u16>>,
    /// No connecting to abstract sockets of processes outside.
    pub abstract_sockets: bool,
    /// No signals to processes outside.
    pub signals: bool,
}

/// How much of a restriction the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Full,
    /// Some of it.
    Partial,
    /// Nothing.
    None,
}

/// What is in force; `None` for what was not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// Files.
    pub files: Extent,
    /// Ports that may be bound to.
    pub tcp_bind: Option<Extent>,
    /// Ports that may be connected to.
    pub tcp_connect: Option<Extent>,
    /// Abstract sockets.
    pub abstract_sockets: Option<Extent>,
    /// Signals.
    pub signals: Option<Extent>,
}
