//! seccomp: which system calls a process may make.

use std::io;

use seccompiler::{BpfProgram, TargetArch, sock_filter};
use serde_json::{Value, json};

use crate::Error;
use crate::model::{Action, Call, Condition};

/// Bytes of one instruction: a code (2), two jumps (1 each), a constant (4).
const INSTRUCTION: usize = 8;
const WORD: u64 = u32::MAX as u64;

/// On x86-64 calls from this number on are those of another interface, x32, which lists of names do not speak of. Load the
/// number; unless it is that high, skip what follows; end the process.
const NO_X32: [sock_filter; 3] = [
    sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 },
    sock_filter { code: 0x35, jt: 0, jf: 1, k: 0x4000_0000 },
    sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x8000_0000 },
];

/// What follows the newest call of the names that there are (`mseal`), on both architectures.
const FIRST_UNNAMED: u32 = 463;

/// A list of what is denied cannot name calls that are newer than the names. As if the kernel did not have them (`ENOSYS`),
/// so that programs take the older ones.
const NO_UNNAMED: [sock_filter; 3] = [
    sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 },
    sock_filter { code: 0x35, jt: 0, jf: 1, k: FIRST_UNNAMED },
    sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x0005_0000 | 38 },
];

/// A program that does `matched` with what `calls` names and `otherwise` with all else. A call for another architecture
/// than `arch` (`x86_64`, `aarch64`), x32 included, ends the process. Several entries of one name are alternatives. Where
/// all else is allowed, calls that are too new to be named fail with `ENOSYS`.
///
/// # Errors
///
/// `Invalid` for a name that the architecture does not have, an unknown architecture, an index above 5, two equal
/// actions, or a name that stands with conditions and without.
pub fn program(calls: &[Call], matched: Action, otherwise: Action, arch: &str) -> Result<Vec<u8>, Error> {
    let target = TargetArch::try_from(arch).map_err(|_| Error::Invalid(format!("unknown architecture `{arch}`")))?;
    if let Some(name) = contradiction(calls) {
        return Err(Error::Invalid(format!("`{name}` is named with conditions and without")));
    }
    let rules: Vec<Value> = calls.iter().map(rule).collect();
    let document = json!({"calls": {
        "mismatch_action": action(otherwise),
        "match_action": action(matched),
        "filter": rules,
    }});
    let compiled = seccompiler::compile_from_json(document.to_string().as_bytes(), target)
        .map_err(|error| Error::Invalid(error.to_string()))?;
    let no_x32: &[sock_filter] = if target == TargetArch::x86_64 { &NO_X32 } else { &[] };
    let no_unnamed: &[sock_filter] = if otherwise == Action::Allow { &NO_UNNAMED } else { &[] };
    let whole = no_x32.iter().chain(no_unnamed).chain(compiled.values().flatten());
    Ok(whole.flat_map(bytes_of).collect())
}

/// Install what [`program`] made, for all threads of this process and what they start. Sets `no_new_privs`. Of several
/// programs the strictest answer holds.
///
/// # Errors
///
/// `Invalid` for bytes that are no program; `System` where the kernel refuses.
pub fn install(program: &[u8]) -> Result<(), Error> {
    let whole = !program.is_empty() && program.len().is_multiple_of(INSTRUCTION);
    let instructions: BpfProgram = program.chunks_exact(INSTRUCTION).filter_map(instruction).collect();
    if !whole {
        return Err(Error::Invalid("not a seccomp program".to_owned()));
    }
    seccompiler::apply_filter_all_threads(&instructions).map_err(|error| match error {
        seccompiler::Error::Prctl(source) => Error::system("no_new_privs", source),
        seccompiler::Error::Seccomp(source) => Error::system("seccomp", source),
        other => Error::system("seccomp", io::Error::other(other.to_string())),
    })
}

/// Whether the kernel has seccomp.
#[must_use]
pub fn is_available() -> bool {
    rustix::thread::secure_computing_mode().is_ok()
}

/// Nothing that this thread starts gets more privileges by being set-user-ID or having capabilities.
///
/// # Errors
///
/// `System` where the kernel refuses.
pub fn set_no_new_privs() -> Result<(), Error> {
    rustix::thread::set_no_new_privs(true).map_err(|error| Error::system("no_new_privs", error))
}

/// A name that is both free and bound: the compiler would take one of the two.
fn contradiction(calls: &[Call]) -> Option<&str> {
    let free = calls.iter().filter(|call| call.conditions.is_empty());
    free.map(|call| call.name.as_str())
        .find(|name| calls.iter().any(|other| other.name == *name && !other.conditions.is_empty()))
}

fn rule(call: &Call) -> Value {
    if call.conditions.is_empty() {
        return json!({"syscall": call.name});
    }
    let conditions: Vec<Value> = call.conditions.iter().map(condition).collect();
    json!({"syscall": call.name, "args": conditions})
}

fn condition(condition: &Condition) -> Value {
    // The kernel reads most arguments as 32 bits: what stands above a mask that short must make no difference.
    let width = if condition.mask <= WORD { "dword" } else { "qword" };
    let operator = json!({"masked_eq": condition.mask});
    json!({"index": condition.index, "type": width, "op": operator, "val": condition.value})
}

fn action(action: Action) -> Value {
    match action {
        Action::Allow => json!("allow"),
        Action::Log => json!("log"),
        Action::Errno(number) => json!({"errno": number}),
        Action::Kill => json!("kill_process"),
    }
}

fn bytes_of(instruction: &sock_filter) -> [u8; INSTRUCTION] {
    let [a, b] = instruction.code.to_ne_bytes();
    let [c, d, e, f] = instruction.k.to_ne_bytes();
    [a, b, instruction.jt, instruction.jf, c, d, e, f]
}

fn instruction(bytes: &[u8]) -> Option<sock_filter> {
    let [a, b, jt, jf, c, d, e, f] = *<&[u8; INSTRUCTION]>::try_from(bytes).ok()?;
    Some(sock_filter { code: u16::from_ne_bytes([a, b]), jt, jf, k: u32::from_ne_bytes([c, d, e, f]) })
}
