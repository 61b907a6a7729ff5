//! Many contacts at a time, to the end or until Ctrl-C.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tower_quota::clock::Clock;
use tower_quota::{Quota, hubspot};

use crate::client::Client;
use crate::contacts::{Contact, Sheet};
use crate::report::{Screen, Tally};
use crate::upsert::{Outcome, upsert};
use crate::wire::Wire;

/// So many failures without any success in between mean that the server is gone.
const HOPELESS_IN_A_ROW: u32 = 10;

/// How often the progress bar is drawn.
const TICK: Duration = Duration::from_millis(100);

/// All that a run needs.
pub(crate) struct Job<'a> {
    pub(crate) sheet: &'a Sheet,
    pub(crate) records: u64,
    pub(crate) concurrency: u16,
    pub(crate) client: Client,
    pub(crate) quota: Quota,
    pub(crate) wire: Wire,
    pub(crate) clock: Clock,
}

/// How a run has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Every record was tried.
    Complete,
    /// Ctrl-C.
    Interrupted,
    /// It made no sense to go on.
    Failed(String),
}

/// One record under way.
struct Record {
    index: u64,
    line: u64,
    contact: Contact,
}

/// The first record goes alone: if the token is wrong or nobody is there, that is said once.
#[derive(PartialEq, Eq)]
enum Phase {
    First,
    Open,
    Closing,
}

struct Runner<'a> {
    job: Job<'a>,
    screen: &'a Screen,
    tally: Tally,
    tasks: JoinSet<(Record, Outcome)>,
    next: u64,
    phase: Phase,
    in_a_row: u32,
    end: End,
}

pub(crate) async fn run(job: Job<'_>, screen: &Screen) -> (Tally, End) {
    let runner = Runner {
        tally: Tally::new(job.records),
        job,
        screen,
        tasks: JoinSet::new(),
        next: 0,
        phase: Phase::First,
        in_a_row: 0,
        end: End::Complete,
    };
    runner.run().await
}

impl Runner<'_> {
    async fn run(mut self) -> (Tally, End) {
        let mut interrupts = interrupts();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.fill();
        while !self.tasks.is_empty() {
            tokio::select! {
                Some(done) = self.tasks.join_next() => {
                    match done {
                        Ok((record, outcome)) => self.settle(record, outcome),
                        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                        // It was aborted, and its record stays undecided.
                        Err(_) => {}
                    }
                    self.fill();
                }
                Some(()) = interrupts.recv() => self.interrupt(),
                _ = tick.tick() => self.draw(),
            }
        }
        self.draw();
        self.tally.elapsed = self.job.clock.elapsed();
        (self.tally, self.end)
    }

    /// Begins as many records as may be under way.
    fn fill(&mut self) {
        let most = match self.phase {
            Phase::First => 1,
            Phase::Open => usize::from(self.job.concurrency),
            Phase::Closing => return,
        };
        while self.tasks.len() < most && self.next < self.job.records {
            let index = self.next;
            self.next += 1;
            let (line, contact) = self.job.sheet.record(index);
            match contact {
                Ok(contact) => self.begin(Record {
                    index,
                    line,
                    contact,
                }),
                Err(problem) => {
                    if self.job.sheet.is_first_pass(index) {
                        self.screen.note(&format!("line {line}: {problem}"));
                    }
                    self.tally.broken += 1;
                }
            }
        }
    }

    fn begin(&mut self, record: Record) {
        let client = match self.phase {
            Phase::First => self.job.client.once(),
            _ => self.job.client.clone(),
        };
        self.tasks.spawn(async move {
            let outcome = upsert(&client, &record.contact).await;
            (record, outcome)
        });
    }

    fn settle(&mut self, record: Record, outcome: Outcome) {
        if self.phase == Phase::First {
            match outcome {
                Outcome::Lost(problem) => {
                    let base = self.job.client.base();
                    return self.stop(format!("cannot reach {base}: {problem}"));
                }
                Outcome::Failed(_) => {
                    // Somebody is there and in trouble: that is what the layers are for.
                    self.phase = Phase::Open;
                    self.job.wire.repeats();
                    return self.begin(record);
                }
                _ => self.phase = Phase::Open,
            }
        }
        let line = record.line;
        let problem = match outcome {
            Outcome::Created => {
                self.tally.created += 1;
                self.in_a_row = 0;
                return;
            }
            Outcome::Updated => {
                self.tally.updated += 1;
                self.in_a_row = 0;
                return;
            }
            Outcome::Hopeless(problem) => return self.stop(problem),
            Outcome::Refused(problem) => {
                self.in_a_row = 0;
                problem
            }
            Outcome::Failed(problem) | Outcome::Lost(problem) => {
                self.in_a_row += 1;
                problem
            }
        };
        self.tally.rejected += 1;
        self.tally.unsynced.insert(record.index);
        let email = &record.contact.email;
        self.screen
            .note(&format!("line {line}: {email}: {problem}"));
        if self.in_a_row >= HOPELESS_IN_A_ROW {
            self.stop(format!(
                "{HOPELESS_IN_A_ROW} records in a row have failed, the last one with: {problem}"
            ));
        }
    }

    /// Gives up: the others would fail for the same reason.
    fn stop(&mut self, problem: String) {
        if !matches!(self.end, End::Failed(_)) {
            self.end = End::Failed(problem);
        }
        self.phase = Phase::Closing;
        self.tasks.abort_all();
    }

    fn interrupt(&mut self) {
        if self.phase == Phase::Closing {
            self.tasks.abort_all();
            return;
        }
        self.phase = Phase::Closing;
        self.end = End::Interrupted;
        let open = self.tasks.len();
        self.screen.note(&format!(
            "Stopping: {open} records are under way and will be finished; Ctrl-C once more aborts them."
        ));
    }

    fn draw(&self) {
        let specimen = self.job.client.specimen();
        let usage = self.job.quota.usage(hubspot::BURST, &specimen);
        let paused = usage
            .and_then(|usage| usage.paused_until)
            .map(|until| self.job.quota.until(until));
        self.screen.draw(&crate::report::Now {
            done: self.tally.settled(),
            requests: self.job.wire.requests(),
            elapsed: self.job.clock.elapsed(),
            free: usage.map(|usage| (usage.quota.saturating_sub(usage.used), usage.quota)),
            waiting: self.job.quota.waiting(),
            paused,
        });
    }
}

/// One message for each Ctrl-C.
fn interrupts() -> mpsc::UnboundedReceiver<()> {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() && sender.send(()).is_ok() {}
        // Where Ctrl-C cannot be caught it ends the program as it always did; the channel must not look closed.
        std::future::pending::<()>().await;
    });
    receiver
}
