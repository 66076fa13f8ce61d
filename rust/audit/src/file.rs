//! A file that several processes append to. Each holds a lock while it writes, so that lines never mix. Of a write that
//! was cut short (a full disk) what is not a whole line is taken back; what a killed process left of one is closed off by
//! whoever writes next. A file that was renamed away, as rotation does, is made anew.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    FallocateFlags, FileType, FlockOperation, Mode, OFlags, fallocate, fdatasync, flock, fstat, fstatvfs, ftruncate,
    open, stat,
};
use rustix::io::{Errno, pread, retry_on_intr, write};

use crate::chain::{Digest, digest};
use crate::target::Before;

/// A last line that is longer than this is not read back: no record is.
const LAST_LINE_MAX: u64 = 1024 * 1024;

/// More than a record takes.
const ROOM: u64 = 16 * 1024;

/// A path, and what is open there.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    fd: OwnedFd,
    /// Length of the file after the last line of ours; 0 before there is one.
    our_end: u64,
    is_handed_out: bool,
}

impl LogFile {
    /// Open nothing yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), open: None }
    }

    /// Take the lock, waiting for it, and look where the file ends. [`end`](Self::end) gives it back.
    pub fn begin(&mut self) -> io::Result<Before> {
        let open = self.current()?;
        retry_on_intr(|| flock(&open.fd, FlockOperation::LockExclusive))?;
        look(open).inspect_err(|_| unlock(&open.fd))
    }

    /// Append whole lines. On an error, the number of bytes that were written before it comes with it.
    pub fn append(&mut self, data: &[u8]) -> Result<(), (usize, io::Error)> {
        let Some(open) = self.open.as_ref() else { return Err((0, io::ErrorKind::NotConnected.into())) };
        let mut written = 0;
        while let Some(rest) = data.get(written..).filter(|rest| !rest.is_empty()) {
            written += retry_on_intr(|| write(&open.fd, rest)).map_err(|error| (written, error.into()))?;
        }
        Ok(())
    }

    /// Take back the last bytes that were appended, those of a line cut short, and give the lock back. `wrote`: a whole
    /// line of ours was appended.
    pub fn end(&mut self, surplus: usize, wrote: bool) {
        let Some(open) = self.open.as_mut() else { return };
        if let Some(size) = regular_size(&open.fd).filter(|_| wrote || surplus > 0) {
            let end = size.saturating_sub(surplus as u64);
            let is_clean = surplus == 0 || ftruncate(&open.fd, end).is_ok();
            if wrote {
                open.our_end = if is_clean { end } else { 0 }; // what is not taken back is closed off like anybody else's
            }
        }
        unlock(&open.fd);
    }

    /// Force what was written to disk.
    pub fn sync(&self) -> io::Result<()> {
        self.open.as_ref().map_or(Ok(()), |open| Ok(retry_on_intr(|| fdatasync(&open.fd))?))
    }

    /// A descriptor for forcing the file to disk elsewhere, once for each file that is opened.
    pub fn new_descriptor(&mut self) -> Option<OwnedFd> {
        let open = self.open.as_mut().filter(|open| !open.is_handed_out)?;
        let copy = open.fd.try_clone().ok()?;
        open.is_handed_out = true;
        Some(copy)
    }

    /// Whether the file can be opened now, and, unless `working` says that the last line was taken, has room.
    pub fn is_ready(&mut self, working: bool) -> bool {
        self.current().is_ok_and(|open| working || has_room(&open.fd))
    }

    /// What has the path now.
    fn current(&mut self) -> io::Result<&mut Open> {
        let kept = match self.open.take() {
            Some(open) if is_at(&open.fd, &self.path)? => open,
            replaced => {
                if let Some(old) = replaced {
                    fdatasync(&old.fd).unwrap_or(()); // nobody will do it later
                }
                // Not blocking: what is no ordinary file must not hold up the writer; an ordinary one knows no difference.
                let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let fd = retry_on_intr(|| open(&self.path, flags, Mode::RUSR | Mode::WUSR))?;
                if FileType::from_raw_mode(fstat(&fd)?.st_mode) == FileType::Fifo {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe")); // what is in it is lost with it
                }
                Open { fd, our_end: 0, is_handed_out: false }
            }
        };
        Ok(self.open.insert(kept))
    }
}

fn unlock(fd: &OwnedFd) {
    flock(fd, FlockOperation::Unlock).unwrap_or(()); // a descriptor that is open can be unlocked
}

fn is_at(fd: impl AsFd, path: &Path) -> io::Result<bool> {
    let ours = fstat(fd)?;
    match stat(path) {
        Ok(there) => Ok((there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn look(open: &Open) -> io::Result<Before> {
    let Some(size) = regular_size(&open.fd) else { return Ok(Before { torn: false, after: None }) };
    if size == 0 {
        return Ok(Before { torn: false, after: Some(None) });
    }
    if size == open.our_end {
        return Ok(Before { torn: false, after: None });
    }
    let torn = read_back(&open.fd, size - 1, size)? != b"\n";
    Ok(Before { torn, after: Some(Some(last_line(&open.fd, size, torn)?)) })
}

/// Length of an ordinary file; `None` for anything else.
fn regular_size(fd: &OwnedFd) -> Option<u64> {
    let status = fstat(fd).ok()?;
    let is_regular = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
    if is_regular { u64::try_from(status.st_size).ok() } else { None }
}

/// Digest of the last line, whole or not.
fn last_line(fd: &OwnedFd, size: u64, torn: bool) -> io::Result<Digest> {
    let end = if torn { size } else { size - 1 };
    let mut reach = 4096;
    loop {
        let start = end.saturating_sub(reach);
        let tail = read_back(fd, start, end)?;
        match tail.iter().rposition(|&byte| byte == b'\n') {
            Some(feed) => return Ok(digest(tail.get(feed + 1..).unwrap_or_default())),
            None if start == 0 || reach >= LAST_LINE_MAX => return Ok(digest(&tail)),
            None => reach *= 4,
        }
    }
}

fn read_back(fd: &OwnedFd, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match retry_on_intr(|| pread(fd, &mut *rest, start + filled as u64))? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
    }
    Ok(bytes)
}

/// Whether a line could be taken: room for one is reserved behind the end, where the file system can do that.
fn has_room(fd: &OwnedFd) -> bool {
    let Some(size) = regular_size(fd) else { return false };
    match retry_on_intr(|| fallocate(fd, FallocateFlags::KEEP_SIZE, size, ROOM)) {
        Ok(()) => true,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => fstatvfs(fd).is_ok_and(|system| system.f_bavail > 0),
        Err(_) => false,
    }
}
