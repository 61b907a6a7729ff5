//! Setting a log up, and ending it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, Thread};
use std::time::Duration;

use super::file::LogFile;
use super::writer::Writer;
use crate::Quota;

/// How long a log that is dropped is waited for.
const FAREWELL: Duration = Duration::from_secs(1);
const SHORTEST_FILE: u64 = 4 << 10;

/// Sets a log up.
///
/// See the [module docs](super) for an example.
#[derive(Clone, Debug)]
#[must_use = "nothing is written before it is started"]
pub struct Recorder {
    path: PathBuf,
    max_bytes: u64,
    keep: u32,
    report_every: Duration,
}

impl Recorder {
    /// A log at `path`. A file that is there already is appended to. Only one recorder may write to a path at a time, and no
    /// other program may rename or cut what it writes. A pipe or a device is written to, but never renamed.
    pub fn to(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            max_bytes: 64 << 20,
            keep: 8,
            report_every: Duration::from_secs(60),
        }
    }

    /// Begins a new file before one is longer than `bytes`; 64 MiB if not said, at least 4 KiB. Lines are never torn; a line that is longer than a file
    /// may be has one for itself.
    ///
    /// A request takes 300 to 400 bytes.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes.max(SHORTEST_FILE);
        self
    }

    /// Keeps so many files, the one that is written included; 8 if not said, at least 1. `log.jsonl` becomes `log.jsonl.1`, that one
    /// `log.jsonl.2`, and so on.
    pub fn keep(mut self, files: u32) -> Self {
        self.keep = files.max(1);
        self
    }

    /// Writes a [`Report`](crate::report::Report) so often; every minute if not said, at most ten times a second.
    pub fn report_every(mut self, every: Duration) -> Self {
        self.report_every = every.max(Duration::from_millis(100));
        self
    }

    /// Begins to write what happens to `quota` from now on, in a thread of its own, which does not keep the quota alive.
    ///
    /// Inside a runtime of tokio the thread reads the time of that runtime, so that time may be paused in tests.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or made, or the thread cannot be started.
    pub fn start(self, quota: &Quota) -> io::Result<Recording> {
        let log = LogFile::open(self.path, self.max_bytes, self.keep)?;
        let ends = Arc::new(AtomicBool::new(false));
        let writer = Writer::new(log, quota, self.report_every, ends.clone());
        let (sender, recorded) = mpsc::sync_channel(1);
        let runtime = tokio::runtime::Handle::try_current().ok();
        let thread = thread::Builder::new().name("tower-quota-log".to_owned());
        let thread = thread.spawn(move || {
            let _entered = runtime.as_ref().map(tokio::runtime::Handle::enter);
            // Nobody need be interested.
            let _ = sender.send(writer.run());
        })?;
        Ok(Recording {
            thread: thread.thread().clone(),
            ends,
            recorded,
        })
    }
}

/// A log that is being written; made by [`Recorder::start`].
///
/// It ends when the quota is gone, and when this is dropped; what has happened until then is written. Dropping it waits for that, but no longer
/// than a second. [`finish`](Self::finish) tells how it went.
///
/// When the disk is full, or writing fails in another way, what happens meanwhile is not kept. Writing is tried again every
/// second; when it works again, a [`missed`](crate::event::EventKind::Missed) line says how much is missing.
#[must_use = "the log ends when this is dropped"]
pub struct Recording {
    thread: Thread,
    ends: Arc<AtomicBool>,
    recorded: Receiver<Recorded>,
}

/// What became of a log.
#[derive(Debug)]
#[non_exhaustive]
pub struct Recorded {
    /// Lines that were written.
    pub lines: u64,
    /// Events and reports that are not in the log: because they came faster than they could be written, or because writing failed.
    pub missed: u64,
    /// Why writing failed the last time it did; `None` if it never did.
    pub failure: Option<io::Error>,
}

impl Recording {
    /// Writes what is left and a last report, and ends the log. Blocks the thread for as long as that takes; on a runtime of tokio
    /// call it from `spawn_blocking`, or at the end of the program.
    pub fn finish(self) -> Recorded {
        self.end();
        self.recorded.recv().unwrap_or_else(|_| Recorded {
            lines: 0,
            missed: 0,
            failure: Some(io::Error::other("the log's thread has ended early")),
        })
    }

    fn end(&self) {
        self.ends.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.end();
        // A disk that hangs must not hang the program.
        let _ = self.recorded.recv_timeout(FAREWELL);
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").finish_non_exhaustive()
    }
}
