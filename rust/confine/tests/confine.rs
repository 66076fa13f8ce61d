//! What is taken away is gone, for the thread that asked and for nobody else. seccomp holds for all threads of a process,
//! this one's too, so that what it refuses is shown from Python, in processes of their own.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;

use kalguard_confine::model::{Action, Call, Condition, Extent, Limits, Right};
use kalguard_confine::{Error, abi, program, restrict};

/// Runs in a thread of its own, which alone is confined.
fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(work).join().unwrap()
}

fn named(name: &str, conditions: &[(u8, u64, u64)]) -> Call {
    let conditions = conditions.iter().map(|&(index, mask, value)| Condition { index, mask, value }).collect();
    Call { name: name.to_owned(), conditions }
}

fn allowing(calls: &[Call], arch: &str) -> Result<Vec<u8>, Error> {
    program(calls, Action::Allow, Action::Errno(38), arch)
}

#[test]
fn only_what_is_named_can_be_read_and_written() {
    if abi() == 0 {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [open, closed] = ["open", "closed"].map(|name| folder.path().join(name));
    for path in [&open, &closed] {
        fs::create_dir(path).unwrap();
        fs::write(path.join("file"), "text").unwrap();
    }
    let rules = vec![(open.clone(), vec![Right::Read])];
    let (inside, outside, written) = apart(move || {
        restrict(&rules, &Limits::default()).unwrap();
        (
            fs::read_to_string(open.join("file")),
            fs::read_to_string(closed.join("file")),
            fs::write(open.join("new"), "text"),
        )
    });
    assert_eq!(inside.unwrap(), "text");
    assert_eq!(outside.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    assert!(folder.path().join("closed/file").exists());
}

#[test]
fn a_second_call_takes_away_and_gives_nothing() {
    if abi() == 0 {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    fs::write(path.join("file"), "text").unwrap();
    let read = apart(move || {
        restrict(&[], &Limits::default()).unwrap();
        let _ = restrict(&[(PathBuf::from("/"), vec![Right::Read])], &Limits::default());
        fs::read_to_string(path.join("file"))
    });
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
}

#[test]
fn only_the_ports_that_are_named_can_be_used() {
    if abi() < 4 {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let [allowed, denied] = [&listener, &other].map(|socket| socket.local_addr().unwrap());
    let limits = Limits { bind: Some(vec![]), connect: Some(vec![allowed.port()]), ..Limits::default() };
    let (in_force, good, bad, bound) = apart(move || {
        let in_force = restrict(&[], &limits).unwrap();
        (in_force, TcpStream::connect(allowed), TcpStream::connect(denied), TcpListener::bind("127.0.0.1:0"))
    });
    assert_eq!((in_force.tcp_bind, in_force.tcp_connect), (Some(Extent::Full), Some(Extent::Full)));
    assert!(good.is_ok());
    assert_eq!(bad.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    assert_eq!(bound.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
}

#[test]
fn what_was_not_asked_for_is_not_said_to_be_in_force() {
    let in_force = apart(|| restrict(&[(PathBuf::from("/"), vec![Right::Read])], &Limits::default())).unwrap();
    assert_eq!((in_force.tcp_bind, in_force.signals, in_force.abstract_sockets), (None, None, None));
    assert_eq!(in_force.files == Extent::None, abi() == 0);
}

#[test]
fn a_path_that_is_not_there_is_named() {
    let error = apart(|| restrict(&[(PathBuf::from("/nowhere/at/all"), vec![Right::Read])], &Limits::default()));
    match error.unwrap_err() {
        Error::System { what, source } => {
            assert_eq!((what.as_str(), source.kind()), ("/nowhere/at/all", std::io::ErrorKind::NotFound));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_program_is_made_for_either_architecture() {
    let calls = [named("read", &[]), named("clone", &[(0, 0x1_0000, 0x1_0000)]), named("clone", &[(0, 0x100, 0x100)])];
    for arch in ["x86_64", "aarch64"] {
        let bytes = allowing(&calls, arch).unwrap();
        assert!(bytes.len() > 8 * calls.len());
        assert!(bytes.len().is_multiple_of(8));
    }
    assert!(allowing(&[named("open", &[])], "x86_64").is_ok());
}

#[test]
fn what_makes_no_sense_is_refused_and_named() {
    let refused = |calls: &[Call], arch: &str| match allowing(calls, arch) {
        Err(Error::Invalid(message)) => message,
        other => panic!("{other:?}"),
    };
    assert!(refused(&[named("open", &[])], "aarch64").contains("open"));
    assert!(refused(&[named("no_such_call", &[])], "x86_64").contains("no_such_call"));
    assert!(refused(&[named("read", &[])], "mips").contains("mips"));
    assert!(refused(&[named("read", &[]), named("read", &[(0, 1, 1)])], "x86_64").contains("read"));
    assert!(!refused(&[named("read", &[(6, 1, 1)])], "x86_64").is_empty());
    assert!(program(&[named("read", &[])], Action::Allow, Action::Allow, "x86_64").is_err());
}

#[test]
fn bytes_that_are_no_program_are_refused() {
    for bytes in [&b""[..], b"1234567", b"123456789"] {
        assert!(matches!(kalguard_confine::install(bytes), Err(Error::Invalid(_))));
    }
}

#[test]
fn calls_that_are_newer_than_the_names_are_as_if_absent_where_all_else_is_allowed() {
    // Unless the number is 463 or higher, skip one: fail with ENOSYS.
    let unnamed: [u8; 16] = [[0x35_u16, 0x0100, 463, 0], [0x06, 0, 38, 0x0005]]
        .concat()
        .into_iter()
        .flat_map(u16::to_le_bytes)
        .collect::<Vec<u8>>()
        .try_into()
        .unwrap();
    for arch in ["x86_64", "aarch64"] {
        let denying = program(&[named("ptrace", &[])], Action::Errno(1), Action::Allow, arch).unwrap();
        assert!(denying.windows(16).any(|bytes| bytes == unnamed));
        assert!(!allowing(&[named("read", &[])], arch).unwrap().windows(16).any(|bytes| bytes == unnamed));
        // The newest name, and those that would follow: when the names grow, so must the number.
        assert!(allowing(&[named("mseal", &[])], arch).is_ok());
        for name in ["setxattrat", "getxattrat", "listxattrat", "removexattrat", "open_tree_attr", "file_getattr"] {
            assert!(allowing(&[named(name, &[])], arch).is_err());
        }
    }
}
