//! The thread that writes, and the queue before it.
//!
//! Whoever hands over a record gets a ticket. [`Writer::outcomes`] says up to which ticket records are where a killed
//! process leaves them (or on disk, where that was asked for), or why they are not; the descriptor of [`Writer::signal`]
//! becomes readable when there is something new to say. What nobody waits for any more can be withdrawn as long as it
//! is only queued. A failure is for those records it met; the next ones are tried again.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use crate::chain::{Chain, Link, NotARecord, Record};
use crate::target::{Before, Target};

/// Records that may wait, in bytes. Beyond, no more are taken.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// What is written at once, in bytes.
const GROUP_BYTES: usize = 1024 * 1024;
/// How often it is looked whether lines could be taken, while there are none.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What became of the records up to a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The last ticket that this is about; 0 if it is about none.
    pub through: u64,
    /// How many records it is about.
    pub count: usize,
    /// Why they were not written; `None` if they were.
    pub problem: Option<String>,
    /// How long the write took, waiting for the lock and the disk included.
    pub took: Duration,
}

/// A record was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too much waits already.
    #[error("too many records wait")]
    Full,
    /// The writer was closed.
    #[error("it is closed")]
    Closed,
    /// It is none.
    #[error(transparent)]
    NotARecord(#[from] NotARecord),
}

/// Hands records to its thread.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    depth: usize,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    signal: OwnedFd,
    is_working: AtomicBool,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(u64, Record)>,
    queued_bytes: usize,
    last_ticket: u64,
    outcomes: Vec<Outcome>,
    unsigned: u64,
    file: Option<OwnedFd>,
    /// Somebody wants to know whether writing goes on.
    is_asked: bool,
    is_closing: bool,
    is_done: bool,
}

impl Writer {
    /// Start the thread. `depth` is where the chain's members go ([`Record::new`]). Fails if the system has no more
    /// threads or descriptors.
    pub fn start(chain: Chain, depth: usize, target: Target) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
            signal: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            is_working: AtomicBool::new(true),
        });
        let mut work = Work { shared: Arc::clone(&shared), chain, link: Link::default(), target };
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || work.run())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)), depth })
    }

    /// Hand over a record; gives its ticket. `sign`: whether its line is to be signed, where there is a key.
    pub fn submit(&self, json: &[u8], sign: bool) -> Result<u64, Refused> {
        let record = Record::new(json.to_vec(), self.depth, sign)?;
        let mut state = self.shared.lock();
        if state.is_closing {
            return Err(Refused::Closed);
        }
        if state.queued_bytes + record.size() > QUEUE_BYTES {
            return Err(Refused::Full);
        }
        state.last_ticket += 1;
        state.queued_bytes += record.size();
        let ticket = state.last_ticket;
        state.queue.push_back((ticket, record));
        drop(state);
        self.shared.wake.notify_all();
        Ok(ticket)
    }

    /// Withdraw what is queued up to a ticket. Of what is being written already, the outcome will come; and in any case one
    /// that is about no record, once it is known that writing goes on.
    pub fn withdraw(&self, through: u64) {
        let mut state = self.shared.lock();
        while state.queue.front().is_some_and(|(ticket, _)| *ticket <= through) {
            state.pop();
        }
        state.is_asked = true;
        drop(state);
        self.shared.wake.notify_all();
    }

    /// What became of records since the last call, in order.
    pub fn outcomes(&self) -> Vec<Outcome> {
        let mut count = [0; 8];
        rustix::io::read(&self.shared.signal, &mut count).unwrap_or(0); // nothing to read is nothing new
        std::mem::take(&mut self.shared.lock().outcomes)
    }

    /// Becomes readable when there are outcomes.
    pub fn signal(&self) -> BorrowedFd<'_> {
        self.shared.signal.as_fd()
    }

    /// Whether the next record can be expected to be taken.
    pub fn is_working(&self) -> bool {
        self.shared.is_working.load(Ordering::Relaxed)
    }

    /// Records that wait to be written.
    pub fn queued(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// Records since the last signed one; 0 without a key.
    pub fn unsigned(&self) -> u64 {
        self.shared.lock().unsigned
    }

    /// Force to disk what was written to a file. Holds up no other call.
    pub fn sync(&self) -> io::Result<()> {
        let file = self.shared.lock().file.as_ref().map(OwnedFd::try_clone).transpose()?;
        file.map_or(Ok(()), |fd| Ok(rustix::io::retry_on_intr(|| rustix::fs::fdatasync(&fd))?))
    }

    /// Write what waits and end; no record is taken any more. Gives whether it came to an end within `limit`.
    pub fn close(&self, limit: Duration) -> bool {
        let mut state = self.shared.lock();
        state.is_closing = true;
        self.shared.wake.notify_all();
        let until = Instant::now() + limit;
        while !state.is_done {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false; // it hangs on the disk; the process need not
            }
            state = self.shared.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        thread.is_none_or(|thread| thread.join().is_ok())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pop(&mut self) -> Option<(u64, Record)> {
        let next = self.queue.pop_front()?;
        self.queued_bytes -= next.1.size();
        Some(next)
    }
}

enum Next {
    Write,
    Look,
    End,
}

/// Says at the end of the thread, however that came, that nothing will be written any more.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_closing = true;
        state.is_done = true;
        drop(state);
        self.0.is_working.store(false, Ordering::Relaxed);
        self.0.wake.notify_all();
    }
}

struct Work {
    shared: Arc<Shared>,
    chain: Chain,
    link: Link,
    target: Target,
}

/// Lines that are to be written together.
#[derive(Default)]
struct Group {
    data: Vec<u8>,
    /// For each line: where it ends, and how far the chain is then.
    lines: Vec<(usize, Link)>,
}

impl Group {
    /// How many lines stand whole in what was written.
    fn whole(&self, written: usize) -> usize {
        self.lines.iter().take_while(|(end, _)| *end <= written).count()
    }
}

impl Work {
    fn run(&mut self) {
        let _ended = Ended(Arc::clone(&self.shared));
        self.look();
        loop {
            match self.next() {
                Next::Write => self.write(),
                Next::Look => self.look(),
                Next::End => break,
            }
        }
    }

    fn next(&self) -> Next {
        let mut state = self.shared.lock();
        let until = Instant::now() + LOOK_EVERY;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match (state.queue.is_empty(), state.is_closing, state.is_asked, left.is_zero()) {
                (false, ..) | (true, false, true, _) => return Next::Write,
                (true, true, ..) => return Next::End,
                (true, false, false, true) => return Next::Look,
                (true, false, false, false) => {
                    state = self.shared.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn look(&mut self) {
        let working = self.shared.is_working.load(Ordering::Relaxed);
        let ready = self.target.is_ready(working);
        self.shared.is_working.store(ready, Ordering::Relaxed);
    }

    /// Write what waits. What is handed over while the lock is waited for is taken along.
    fn write(&mut self) {
        let began = Instant::now();
        let before = self.target.begin();
        let (tickets, records): (Vec<u64>, Vec<Record>) = self.take().into_iter().unzip();
        let (whole, problem) = match before {
            Ok(before) => self.append(&records, before),
            Err(error) => (0, Some(error)),
        };
        let unsynced = if whole > 0 { self.target.sync().err() } else { None };
        let (done, failed) = tickets.split_at_checked(whole).unwrap_or((&tickets, &[]));
        let mut outcomes = Vec::new();
        if !done.is_empty() {
            outcomes.push(outcome(done, unsynced, began));
        }
        if !failed.is_empty() || done.is_empty() {
            outcomes.push(outcome(failed, problem, began)); // also where nothing was left to write: it goes on
        }
        self.report(outcomes);
    }

    /// Append the lines of records; gives how many stand whole, and why not all. Gives the lock back.
    fn append(&mut self, records: &[Record], before: Before) -> (usize, Option<io::Error>) {
        let group = self.seal(records, before);
        let (written, problem) = match self.target.append(&group.data) {
            Ok(()) => (group.data.len(), None),
            Err((written, error)) => (written, Some(error)),
        };
        let whole = group.whole(written);
        let last = whole.checked_sub(1).and_then(|last| group.lines.get(last));
        if let Some((_, link)) = last {
            self.link = *link;
        }
        self.target.end(written - last.map_or(0, |(end, _)| *end), whole > 0);
        (whole, problem)
    }

    fn seal(&self, records: &[Record], before: Before) -> Group {
        let mut group = Group::default();
        let (mut link, mut after) = (self.link, before.after);
        if before.torn {
            group.data.push(b'\n');
        }
        for record in records {
            let (line, next) = self.chain.seal(link, record, after.take());
            group.data.extend(line);
            group.data.push(b'\n');
            group.lines.push((group.data.len(), next));
            link = next;
        }
        if records.is_empty() {
            group.data.clear();
        }
        group
    }

    fn take(&self) -> Vec<(u64, Record)> {
        let mut state = self.shared.lock();
        state.is_asked = false;
        let (mut taken, mut size) = (Vec::new(), 0);
        while size < GROUP_BYTES
            && let Some(next) = state.pop()
        {
            size += next.1.size();
            taken.push(next);
        }
        taken
    }

    fn report(&mut self, outcomes: Vec<Outcome>) {
        let works = outcomes.iter().all(|outcome| outcome.problem.is_none());
        self.shared.is_working.store(works, Ordering::Relaxed);
        let file = self.target.descriptor();
        let mut state = self.shared.lock();
        state.outcomes.extend(outcomes);
        state.unsigned = self.link.unsigned;
        if let Some(file) = file {
            state.file = Some(file);
        }
        drop(state);
        rustix::io::write(&self.shared.signal, &1_u64.to_ne_bytes()).unwrap_or(0); // a full counter is readable already
    }
}

fn outcome(tickets: &[u64], problem: Option<io::Error>, began: Instant) -> Outcome {
    Outcome {
        through: tickets.last().copied().unwrap_or(0),
        count: tickets.len(),
        problem: problem.map(|error| described(&error)),
        took: began.elapsed(),
    }
}

/// An error in the system's words, without its number.
fn described(error: &io::Error) -> String {
    let words = error.to_string();
    words.split_once(" (os error").map_or(words.clone(), |(words, _)| words.to_owned())
}
