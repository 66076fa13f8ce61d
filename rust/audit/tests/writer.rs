//! The writer against real files, pipes and devices.

use std::error::Error;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kalguard_audit::chain::{Chain, digest};
use kalguard_audit::file::LogFile;
use kalguard_audit::stream::Stream;
use kalguard_audit::target::Target;
use kalguard_audit::writer::{Outcome, Refused, Writer};

type Tested = Result<(), Box<dyn Error>>;

fn to_file(path: &Path) -> Result<Writer, std::io::Error> {
    Writer::start(Chain::new("c", None), 1, Target::File { file: LogFile::new(path), sync: false })
}

fn to_stream(fd: OwnedFd) -> Result<Writer, std::io::Error> {
    let stream = Stream::new(fd, Duration::from_millis(20));
    Writer::start(Chain::new("c", None), 1, Target::Stream(stream))
}

/// Wait for what becomes of a ticket.
fn outcome(writer: &Writer, ticket: u64) -> Result<Outcome, &'static str> {
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        if let Some(found) = writer.outcomes().into_iter().find(|outcome| outcome.through >= ticket) {
            return Ok(found);
        }
        sleep(Duration::from_millis(1));
    }
    Err("nothing became of it")
}

fn written(writer: &Writer, json: &str) -> Result<Outcome, Box<dyn Error>> {
    let ticket = writer.submit(json.as_bytes(), false)?;
    Ok(outcome(writer, ticket)?)
}

fn lines(path: &Path) -> Result<Vec<String>, std::io::Error> {
    Ok(fs::read_to_string(path)?.lines().map(str::to_owned).collect())
}

/// What a disk that hangs is to the writer.
fn locked(path: &Path) -> Result<File, Box<dyn Error>> {
    let file = File::open(path)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(file)
}

fn eventually(is_so: impl Fn() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        if Instant::now() > until {
            return false;
        }
        sleep(Duration::from_millis(1));
    }
    true
}

#[test]
fn a_record_that_cannot_be_written_fails_and_the_next_is_tried() -> Tested {
    let full = to_file(Path::new("/dev/full"))?;
    assert_eq!(written(&full, "{}")?.problem.as_deref(), Some("No space left on device"));
    assert!(!full.is_working());
    let folder = tempfile::tempdir()?;
    let late = to_file(&folder.path().join("late/audit"))?;
    assert!(written(&late, "{}")?.problem.is_some() && !late.is_working());
    fs::create_dir(folder.path().join("late"))?;
    assert!(eventually(|| late.is_working()), "it is looked at without a record");
    assert_eq!(written(&late, "{}")?.problem, None);
    assert!(lines(&folder.path().join("late/audit"))?.concat().contains(r#""seq":1,"#), "what failed has no number");
    Ok(())
}

#[test]
fn what_is_no_record_is_not_taken() -> Tested {
    let folder = tempfile::tempdir()?;
    let writer = to_file(&folder.path().join("audit"))?;
    assert!(matches!(writer.submit(b"{\"a\":\"\n\"}", false), Err(Refused::NotARecord(_))));
    assert!(writer.close(Duration::from_secs(5)));
    assert_eq!(writer.submit(b"{}", false), Err(Refused::Closed));
    Ok(())
}

#[test]
fn what_waits_is_bounded_shares_a_write_and_can_be_withdrawn() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("audit");
    let writer = to_file(&path)?;
    written(&writer, "{}")?;
    let other = locked(&path)?;
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(1 << 20));
    let taken = (0..20).take_while(|_| writer.submit(large.as_bytes(), false).is_ok()).count();
    assert_eq!((taken, writer.queued()), (15, 15));
    writer.withdraw(1 + 13);
    let last = writer.submit(b"{}", false)?;
    assert_eq!(writer.queued(), 3);
    rustix::fs::flock(&other, rustix::fs::FlockOperation::Unlock)?;
    let done = outcome(&writer, last)?;
    assert_eq!((done.problem, done.through), (None, last));
    assert_eq!(lines(&path)?.len(), 1 + 3);
    Ok(())
}

#[test]
fn a_writer_whose_records_were_all_withdrawn_says_that_it_goes_on() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("audit");
    let writer = to_file(&path)?;
    written(&writer, "{}")?;
    let other = locked(&path)?;
    let ticket = writer.submit(b"{}", false)?;
    sleep(Duration::from_millis(20));
    writer.withdraw(ticket);
    rustix::fs::flock(&other, rustix::fs::FlockOperation::Unlock)?;
    assert!(eventually(|| writer.outcomes().iter().any(|outcome| outcome.count == 0 && outcome.problem.is_none())));
    assert_eq!(lines(&path)?.len(), 1);
    Ok(())
}

#[test]
fn several_writers_share_a_file_and_each_has_its_chain() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("audit");
    let writers = [to_file(&path)?, to_file(&path)?, to_file(&path)?];
    std::thread::scope(|scope| {
        for writer in &writers {
            scope.spawn(move || (0..500).all(|_| writer.submit(br#"{"a":"b"}"#, false).is_ok()));
        }
    });
    assert!(writers.iter().all(|writer| writer.close(Duration::from_secs(10))));
    let lines = lines(&path)?;
    assert_eq!(lines.len(), 1500);
    assert!(lines.iter().all(|line| line.starts_with(r#"{"a":"b","chain":"c","seq":"#) && line.ends_with('}')));
    for seq in [1, 250, 500] {
        assert_eq!(lines.iter().filter(|line| line.contains(&format!(r#""seq":{seq},"#))).count(), 3);
    }
    assert_eq!(fs::metadata(&path)?.mode() & 0o777, 0o600);
    Ok(())
}

#[test]
fn a_file_that_was_renamed_away_is_made_anew_and_the_chain_goes_on() -> Tested {
    let folder = tempfile::tempdir()?;
    let (path, old) = (folder.path().join("audit"), folder.path().join("audit.1"));
    fs::write(&path, "before\n")?;
    let writer = to_file(&path)?;
    written(&writer, "{}")?;
    written(&writer, "{}")?;
    fs::rename(&path, &old)?;
    written(&writer, "{}")?;
    let (first, second) = (lines(&old)?, lines(&path)?);
    let hex = |line: &str| digest(line.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!((first.len(), second.len()), (3, 1));
    assert!(first.iter().any(|line| line.contains(&format!(
        r#""seq":1,"prev":"{}","after":"{}""#,
        "0".repeat(64),
        hex("before")
    ))));
    let last = first.last().map(String::as_str).unwrap_or_default();
    assert!(second.concat().contains(&format!(r#""seq":3,"prev":"{}","after":null"#, hex(last))));
    Ok(())
}

#[test]
fn a_line_is_tied_to_the_one_before_it_whoever_wrote_that() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("audit");
    let (one, other) = (to_file(&path)?, to_file(&path)?);
    for writer in [&one, &one, &other, &other, &one] {
        written(writer, "{}")?;
    }
    let lines = lines(&path)?;
    let hex = |line: &String| digest(line.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let after: Vec<_> = lines.iter().map(|line| line.split_once(r#""after":"#).map(|(_, value)| value)).collect();
    let expected = |number: usize| lines.get(number).map(|line| format!(r#""{}"}}"#, hex(line)));
    assert_eq!(after, [Some("null}"), None, expected(1).as_deref(), None, expected(3).as_deref()]);
    Ok(())
}

#[test]
fn a_write_that_failed_leaves_the_next_tied_and_whole() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("audit");
    let (one, other) = (to_file(&path)?, to_file(&path)?);
    written(&one, "{}")?;
    written(&other, "{}")?;
    fs::write(&path, [fs::read(&path)?, b"{\"half".to_vec()].concat())?;
    let held = locked(&path)?;
    let withdrawn = one.submit(b"{}", false)?;
    one.withdraw(withdrawn); // it takes its place, and has nothing to write
    rustix::fs::flock(&held, rustix::fs::FlockOperation::Unlock)?;
    assert!(eventually(|| one.outcomes().iter().any(|outcome| outcome.count == 0)));
    written(&one, "{}")?;
    let lines = lines(&path)?;
    assert_eq!((lines.len(), lines.get(2).map(String::as_str)), (4, Some("{\"half")));
    assert!(lines.last().is_some_and(|line| line.contains(r#""seq":2,"#) && line.contains(r#""after":""#)));
    Ok(())
}

#[test]
fn whoever_withdrew_is_told_that_it_goes_on() -> Tested {
    let folder = tempfile::tempdir()?;
    let writer = to_file(&folder.path().join("audit"))?;
    writer.withdraw(0);
    assert!(eventually(|| writer.outcomes().iter().any(|outcome| outcome.problem.is_none())));
    Ok(())
}

#[test]
fn a_pipe_is_no_file() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )?;
    let writer = to_file(&path)?;
    assert_eq!(written(&writer, "{}")?.problem.as_deref(), Some("it is a pipe"));
    Ok(())
}

#[test]
fn half_a_line_left_by_a_killed_process_spoils_no_other() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("audit");
    let fragment = format!("{{\"a\":\"{}", "x".repeat(10_000));
    fs::write(&path, format!("{{}}\n{fragment}"))?;
    let writer = to_file(&path)?;
    written(&writer, "{}")?;
    let lines = lines(&path)?;
    assert_eq!((lines.len(), lines.get(1)), (3, Some(&fragment)));
    let after: String = digest(fragment.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(lines.concat().contains(&format!(r#""after":"{after}""#)));
    Ok(())
}

#[test]
fn a_stream_takes_whole_lines_and_one_that_nobody_reads_is_an_error() -> Tested {
    let (mut reader, end) = std::io::pipe()?;
    let writer = to_stream(end.into())?;
    let json = format!(r#"{{"a":"{}"}}"#, "x".repeat(3000));
    let mut taken = 0;
    let problem = loop {
        match written(&writer, &json)?.problem {
            None => taken += 1,
            Some(problem) => break problem,
        }
    };
    assert_eq!(problem, "nobody reads it");
    assert!(!writer.is_working());
    let drained = std::thread::spawn(move || -> std::io::Result<String> {
        let mut text = String::new();
        reader.read_to_string(&mut text)?;
        Ok(text)
    });
    assert!(eventually(|| writer.is_working()), "it is looked at without a record");
    assert_eq!(written(&writer, r#"{"last":1}"#)?.problem, None);
    assert!(writer.close(Duration::from_secs(5)));
    drop(writer);
    let text = drained.join().map_err(|_| "reader")??;
    let whole = text.lines().filter(|line| line.ends_with('}')).count();
    assert_eq!(whole, taken + 1);
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with(&format!(r#"{{"last":1,"chain":"c","seq":{},"#, taken + 1)), "{last}");
    Ok(())
}

#[test]
fn a_stream_that_was_closed_is_an_error() -> Tested {
    let (reader, end) = std::io::pipe()?;
    drop(reader);
    let writer = to_stream(end.into())?;
    assert!(written(&writer, "{}")?.problem.is_some() && !writer.is_working());
    Ok(())
}
