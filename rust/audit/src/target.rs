//! Where lines go, as the writer sees it.

use std::io;
use std::os::fd::OwnedFd;

use crate::chain::Digest;
use crate::file::LogFile;
use crate::stream::Stream;

/// Where lines go.
#[derive(Debug)]
pub enum Target {
    /// A file. `sync`: forced to disk before its records count as written.
    File {
        /// The file.
        file: LogFile,
        /// Whether it is forced to disk after each write.
        sync: bool,
    },
    /// Standard output.
    Stream(Stream),
}

/// What stands before the lines that are to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    /// The last line was cut short.
    pub torn: bool,
    /// Where that is not the writer's own last line: its digest, if there is a line.
    pub after: Option<Option<Digest>>,
}

impl Target {
    /// Take the place for a write, and look what stands before it. `end` gives it back.
    pub(crate) fn begin(&mut self) -> io::Result<Before> {
        match self {
            Self::File { file, .. } => file.begin(),
            Self::Stream(stream) => Ok(Before { torn: stream.is_torn(), after: None }),
        }
    }

    /// Append whole lines. On an error, the number of bytes that were written before it comes with it.
    pub(crate) fn append(&mut self, data: &[u8]) -> Result<(), (usize, io::Error)> {
        match self {
            Self::File { file, .. } => file.append(data),
            Self::Stream(stream) => stream.append(data),
        }
    }

    /// Take back the last bytes that were appended, those of a line cut short, and give the place back.
    /// `wrote`: a whole line was appended.
    pub(crate) fn end(&mut self, surplus: usize, wrote: bool) {
        if let Self::File { file, .. } = self {
            file.end(surplus, wrote);
        }
    }

    /// Force what was written to disk, where that is wanted.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self {
            Self::File { file, sync: true } => file.sync(),
            _ => Ok(()),
        }
    }

    /// The file's descriptor, if it is a new one.
    pub(crate) fn descriptor(&mut self) -> Option<OwnedFd> {
        match self {
            Self::File { file, .. } => file.new_descriptor(),
            Self::Stream(_) => None,
        }
    }

    /// Whether the next line can be expected to be taken; `working`: the last one was.
    pub(crate) fn is_ready(&mut self, working: bool) -> bool {
        match self {
            Self::File { file, .. } => file.is_ready(working),
            Self::Stream(stream) => working || stream.is_ready(),
        }
    }
}
