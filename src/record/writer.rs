//! The thread that writes.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::file::LogFile;
use super::line::{REPORT, STARTED, Started};
use super::recorder::Recorded;
use crate::Quota;
use crate::clock::Clock;
use crate::event::{EVENTS_WITH_REQUESTS, EventKind, Events, QuotaEvent, Whose};
use crate::quota::WeakQuota;
use crate::report::INTERVAL;

/// Events that follow each other this closely are fetched together: to wake the thread costs those who make them more than all else.
const NAP: Duration = Duration::from_millis(10);
/// The thread looks around so often though nothing has happened.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Lines are on their way no longer than this, and after a failure writing is tried again.
const BREATH: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    log: LogFile,
    /// Whether the file holds nothing but the line that begins it: such a file is not full, however long the next line.
    is_new: bool,
    quota: WeakQuota,
    events: Events,
    clock: Clock,
    report_every: Duration,
    /// When the last report was written, on the clock, or when the log began.
    reported: Duration,
    last_report: Option<SystemTime>,
    ends: Arc<AtomicBool>,
    started: Started,
    /// The line that is being made.
    line: Vec<u8>,
    flushed: Duration,
    /// When writing was tried last, if it has failed since it last worked.
    failing: Option<Duration>,
    /// What has come since, and of which the log does not tell yet.
    lost: u64,
    /// Lines that are on their way.
    pending: u64,
    recorded: Recorded,
}

/// A line that is no event: it has its name in the same place.
#[derive(Serialize)]
struct Named<'a, T> {
    event: &'static str,
    #[serde(flatten)]
    entry: &'a T,
}

impl Writer {
    pub(super) fn new(
        log: LogFile,
        quota: &Quota,
        report_every: Duration,
        ends: Arc<AtomicBool>,
    ) -> Self {
        let clock = quota.clock().clone();
        let now = clock.elapsed();
        Self {
            log,
            is_new: false,
            quota: quota.downgrade(),
            events: quota.events_with_requests(),
            started: Started::new(clock.wall(), quota.plan()),
            report_every,
            reported: now,
            last_report: None,
            ends,
            line: Vec::new(),
            flushed: now,
            failing: None,
            lost: 0,
            pending: 0,
            recorded: Recorded {
                lines: 0,
                missed: 0,
                failure: None,
            },
            clock,
        }
    }

    /// Writes until the log ends.
    pub(super) fn run(mut self) -> Recorded {
        self.begin();
        loop {
            // Read before the events: what came before the end was asked for is in the log.
            let ends = self.ends.load(Ordering::Acquire);
            self.drain();
            if ends || self.elapsed_since(self.reported) >= self.report_every {
                self.report();
            }
            if ends {
                break;
            }
            self.flush();
            thread::park_timeout(NAP);
            if !self.wait() {
                break;
            }
        }
        // Once more for the line that tells of a failure.
        for _ in 0..2 {
            self.failing = None;
            self.flush();
        }
        self.recorded.missed += self.lost + self.pending;
        self.recorded
    }

    fn elapsed_since(&self, moment: Duration) -> Duration {
        self.clock.elapsed().saturating_sub(moment)
    }

    /// Takes what has happened; no more than is kept for a slow reader, so that it ends however much happens meanwhile.
    fn drain(&mut self) {
        for _ in 0..EVENTS_WITH_REQUESTS {
            match self.events.try_next() {
                Some(event) => self.event(&event),
                None => break,
            }
        }
    }

    /// Waits for an event, for a while; `false` when the quota is gone.
    fn wait(&mut self) -> bool {
        if self.ends.load(Ordering::Acquire) {
            return true;
        }
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let event = {
            let mut next = pin!(self.events.next());
            match next.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(event) => event,
                Poll::Pending => {
                    // It wakes as long as it is kept.
                    thread::park_timeout(LONGEST_WAIT.min(self.report_every));
                    return true;
                }
            }
        };
        match event {
            Some(event) => self.event(&event),
            None => return false,
        }
        true
    }

    fn event(&mut self, event: &QuotaEvent) {
        if let EventKind::Missed { events } = event.kind {
            self.recorded.missed += events;
        }
        self.write(event.at, event);
        if self.log.is_full() || self.elapsed_since(self.flushed) >= BREATH {
            self.flush();
        }
    }

    fn report(&mut self) {
        self.reported = self.clock.elapsed();
        let Some(quota) = self.quota.upgrade() else {
            return;
        };
        let mut report = quota.report();
        drop(quota);
        // The interval that was running then has gone on since.
        if let Some(last) = self.last_report.replace(report.at) {
            report.history.retain(|it| it.began + INTERVAL > last);
        }
        let at = report.at;
        let line = Named {
            event: REPORT,
            entry: &report,
        };
        self.write(at, &line);
    }

    fn write(&mut self, at: SystemTime, entry: &impl Serialize) {
        if !self.add(at, entry) {
            self.lost += 1;
        }
    }

    /// Adds a line, in the next file if it does not fit into this one; `false` if it cannot be written.
    fn add(&mut self, at: SystemTime, entry: &impl Serialize) -> bool {
        if self.failing.is_some() {
            return false;
        }
        self.make_line(entry);
        if !self.is_new && !self.log.has_room(self.line.len()) {
            let line = std::mem::take(&mut self.line);
            self.started.continued = true;
            let is_begun = self.rotate(at);
            self.line = line;
            if !is_begun {
                return false;
            }
        }
        self.push_line();
        self.is_new = false;
        true
    }

    /// Says first what a log says first.
    fn begin(&mut self) {
        let at = self.started.at;
        self.make_started(at);
        if self.log.is_empty() || self.log.has_room(self.line.len()) {
            self.is_new = self.log.is_empty();
            self.push_line();
        } else {
            self.rotate(at);
        }
    }

    /// Begins a new file with what happened at that time, if that can be done.
    fn rotate(&mut self, at: SystemTime) -> bool {
        if let Err(error) = self.log.rotate() {
            self.failed(error);
            return false;
        }
        self.recorded.lines += std::mem::take(&mut self.pending);
        self.make_started(at);
        self.push_line();
        self.is_new = true;
        true
    }

    fn make_started(&mut self, at: SystemTime) {
        self.started.at = at;
        let started = self.started.clone();
        self.make_line(&Named {
            event: STARTED,
            entry: &started,
        });
    }

    fn make_line(&mut self, entry: &impl Serialize) {
        self.line.clear();
        // Cannot fail: it goes to memory, and all keys are text.
        let _ = serde_json::to_writer(&mut self.line, entry);
        self.line.push(b'\n');
    }

    fn push_line(&mut self) {
        self.log.push(&self.line);
        self.pending += 1;
    }

    /// Writes what is on its way, unless that has just failed.
    fn flush(&mut self) {
        if self
            .failing
            .is_some_and(|tried| self.elapsed_since(tried) < BREATH)
        {
            return;
        }
        if let Err(error) = self.log.flush() {
            self.failed(error);
            return;
        }
        self.flushed = self.clock.elapsed();
        self.failing = None;
        self.recorded.lines += std::mem::take(&mut self.pending);
        if self.lost > 0 {
            let missed = EventKind::Missed { events: self.lost };
            let at = self.clock.wall();
            if self.add(at, &QuotaEvent::new(at, Whose::ALL, missed)) {
                self.recorded.missed += std::mem::take(&mut self.lost);
            }
        }
    }

    fn failed(&mut self, error: io::Error) {
        self.failing = Some(self.clock.elapsed());
        self.recorded.failure = Some(error);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
