//! Standard output, for a collector that reads it. One that stops reading is an error after a second.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{retry_on_intr, write};

/// How long a reader may take to make room.
pub const WAIT: Duration = Duration::from_secs(1);

/// What can surely be written to a pipe that has room at all (`PIPE_BUF`), in one piece.
const PIECE: usize = 4096;

/// An open stream.
#[derive(Debug)]
pub struct Stream {
    fd: OwnedFd,
    is_torn: bool,
    wait: Duration,
}

impl Stream {
    /// Write to `fd`, and wait that long for whoever reads it.
    pub fn new(fd: OwnedFd, wait: Duration) -> Self {
        Self { fd, is_torn: false, wait }
    }

    /// Whether the last line was cut short.
    pub fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Write whole lines, a piece at a time, none longer than a pipe takes without mixing it with others' unless a line is.
    /// On an error, the number of bytes that were written before it comes with it.
    pub fn append(&mut self, data: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while let Some(rest) = data.get(written..).filter(|rest| !rest.is_empty()) {
            written += self.write_piece(piece(rest)).map_err(|error| (written, error))?;
            self.is_torn = data.get(written - 1) != Some(&b'\n');
        }
        Ok(())
    }

    /// Whether something could be written now.
    pub fn is_ready(&self) -> bool {
        self.has_room(Duration::ZERO).unwrap_or(false)
    }

    fn write_piece(&self, piece: &[u8]) -> io::Result<usize> {
        if !self.has_room(self.wait)? {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it"));
        }
        Ok(retry_on_intr(|| write(&self.fd, piece))?)
    }

    fn has_room(&self, wait: Duration) -> io::Result<bool> {
        let until = Instant::now() + wait;
        let mut asked = [PollFd::new(&self.fd, PollFlags::OUT)];
        retry_on_intr(|| {
            let left = until.saturating_duration_since(Instant::now());
            poll(&mut asked, Some(&Timespec::try_from(left).unwrap_or_default()))
        })?;
        Ok(asked.iter().all(|asked| asked.revents() == PollFlags::OUT))
    }
}

/// As many whole lines as fit, or the beginning of one that does not.
fn piece(data: &[u8]) -> &[u8] {
    let Some((piece, _)) = data.split_at_checked(PIECE) else { return data };
    let lines = piece.iter().rposition(|&byte| byte == b'\n').and_then(|feed| piece.get(..=feed));
    lines.unwrap_or(piece)
}
