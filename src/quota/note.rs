//! What a response does to the ledger.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Response, StatusCode};

use super::{Quota, Ticket};
use crate::body::LONGEST_READ;
use crate::core::{Keys, Ledger, Now, Patience, Subject, Tick};
use crate::event::{EventKind, Whose};
use crate::signal::{Origin, Outcome, Refusal, ResponseHead, Signals};

/// Pause of a token that knows no window, when the response does not say how long.
const PAUSE_WITHOUT_WINDOW: Duration = Duration::from_secs(1);
/// Where others are known to use the limit, what they and we have used is reckoned with anyway: a pause of this part of the window
/// is enough for the next responses to arrive.
const PAUSE_BESIDE_OTHERS: u32 = 10;
/// A pause is lengthened by up to this share of itself if nobody says otherwise, so that several processes do not resume as one.
pub(super) const JITTER: f64 = 0.1;
/// Jitter is never longer than this.
const LONGEST_JITTER: Duration = Duration::from_secs(1);

/// The clock of timers has steps of a millisecond, so the reading of a body may take that much longer than it should.
const MARGIN: Duration = Duration::from_millis(10);

/// What the head of a refusal says holds while its body is read, which may name something else.
///
/// If the reading is given up, the head is all that is known, and its pause begins in full.
#[derive(Debug)]
pub(crate) struct Provisional(Option<Box<(Quota, Ticket, StatusCode, Signals)>>);

impl Provisional {
    /// The body has been read, and what it says noted.
    pub(crate) fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for Provisional {
    fn drop(&mut self) {
        if let Some(head) = self.0.take() {
            let (quota, ticket, status, signals) = *head;
            quota.hold_and_tell(&ticket, status, &signals);
        }
    }
}

impl Quota {
    /// Whether the body of this response is worth reading for its signals.
    pub(crate) fn wants_body(&self, response: &ResponseHead<'_>) -> bool {
        self.0.api.signals.wants_body(response)
    }

    pub(crate) fn read(
        &self,
        ticket: &Ticket,
        response: &ResponseHead<'_>,
        body: &[u8],
    ) -> Signals {
        self.0.api.signals.read(response, ticket.class, body)
    }

    /// The signals that a layer of the same quota further inside has read and noted already.
    pub(crate) fn noted<'a, B>(&self, response: &'a Response<B>) -> Option<&'a Signals> {
        let signals = response.extensions().get::<Signals>()?;
        let Origin { quota, noted } = signals.origin;
        (quota == Some(self.0.number) && noted).then_some(signals)
    }

    /// Attaches signals that were read from the head of the response, for a layer further outside to note.
    pub(crate) fn attach<B>(&self, mut signals: Signals, response: &mut Response<B>) {
        signals.origin.quota = Some(self.0.number);
        response.extensions_mut().insert(signals);
    }

    /// What a layer further inside has read from the head of the response, noted or not.
    pub(crate) fn attached<'a, B>(&self, response: &'a Response<B>) -> Option<&'a Signals> {
        let signals = response.extensions().get::<Signals>()?;
        (signals.origin.quota == Some(self.0.number)).then_some(signals)
    }

    /// What the head of the response says, read by a layer further inside or now.
    pub(crate) fn read_once<B>(&self, ticket: &Ticket, response: &mut Response<B>) -> Signals {
        match response.extensions_mut().remove::<Signals>() {
            Some(signals) if signals.origin.quota == Some(self.0.number) => signals,
            _ => self.read(ticket, &ResponseHead::from(&*response), &[]),
        }
    }

    /// Acts on the signals and attaches them to the response.
    pub(crate) fn note<B>(
        &self,
        ticket: &Ticket,
        mut signals: Signals,
        response: &mut Response<B>,
    ) {
        self.hold_and_tell(ticket, response.status(), &signals);
        self.distrust(ticket, &signals);
        signals.origin.noted = true;
        self.attach(signals, response);
    }

    /// Pauses whom the head of a response concerns, for as long as its body is read.
    pub(crate) fn hold_while_reading(
        &self,
        ticket: &Ticket,
        response: &ResponseHead<'_>,
    ) -> Provisional {
        let signals = self.read(ticket, response, &[]);
        if let Some(subject) = self.concerned(ticket, &signals) {
            self.ledger(|ledger, now| {
                let until = now.tick.after(LONGEST_READ + MARGIN);
                self.pause_until(ledger, now, ticket.keys, subject, until);
            });
        }
        let held = (self.clone(), *ticket, response.status, signals);
        Provisional(Some(Box::new(held)))
    }

    /// Pauses whom the response concerns, and tells that if it is news.
    fn hold_and_tell(&self, ticket: &Ticket, status: StatusCode, signals: &Signals) {
        let Some((subject, lasts)) = self.hold(ticket, signals) else {
            return;
        };
        if self.is_news(ticket, subject, lasts) {
            self.emit(
                ticket.keys,
                EventKind::Paused {
                    limit: self.subject_name(subject).to_owned().into(),
                    class: ticket.class.as_str().into(),
                    status: status.as_u16(),
                    lasts,
                },
            );
        }
    }

    /// Pauses whom a refusal, or a failure that says when to come back, concerns. Gives whom and for how long.
    fn hold(&self, ticket: &Ticket, signals: &Signals) -> Option<(Subject, Duration)> {
        let subject = self.concerned(ticket, signals)?;
        let wait = match (subject, &signals.outcome) {
            // A pool that is named is empty until its reset, whatever the response says.
            (Subject::Limit(limit), Outcome::Refused(Refusal::Limit(_)))
                if self.is_daily(limit) =>
            {
                None
            }
            _ => signals.retry_after,
        };
        let length = self.pause(ticket, subject, wait)?;
        Some((subject, length))
    }

    fn concerned(&self, ticket: &Ticket, signals: &Signals) -> Option<Subject> {
        let subject = match &signals.outcome {
            Outcome::Refused(Refusal::Account) => Subject::Account,
            Outcome::Refused(Refusal::Token) => self
                .meant_pool(ticket, signals.retry_after)
                .map_or(Subject::Token, Subject::Limit),
            // A limit that the plan does not know: all of the token, to be safe.
            Outcome::Refused(Refusal::Limit(name)) => self
                .limit_index(name)
                .map_or(Subject::Token, Subject::Limit),
            Outcome::Failed if signals.retry_after.is_some() => Subject::Token,
            _ => return None,
        };
        Some(subject)
    }

    pub(super) fn limit_index(&self, name: &str) -> Option<usize> {
        self.plan()
            .limits()
            .iter()
            .position(|limit| limit.name() == name)
    }

    /// Gives for how long, unless a daily pool is meant that has been filled again since the request was sent.
    fn pause(
        &self,
        ticket: &Ticket,
        subject: Subject,
        retry_after: Option<Duration>,
    ) -> Option<Duration> {
        let Ticket {
            keys, class, sent, ..
        } = *ticket;
        self.ledger(|ledger, now| {
            let length = match subject {
                Subject::Limit(limit) if self.is_daily(limit) => {
                    let sent = sent.unwrap_or(now.tick);
                    let until = ledger.exhaust(now, keys, limit, sent, retry_after)?;
                    until.since(now.tick)
                }
                Subject::Limit(limit) if ledger.explains_refusals(now, keys, limit) => retry_after
                    .or(ledger
                        .window(limit)
                        .map(|window| window / PAUSE_BESIDE_OTHERS))
                    .unwrap_or(PAUSE_WITHOUT_WINDOW),
                Subject::Limit(limit) => retry_after
                    .or(ledger.window(limit))
                    .unwrap_or(PAUSE_WITHOUT_WINDOW),
                _ => retry_after
                    .or(ledger.longest_window(class))
                    .unwrap_or(PAUSE_WITHOUT_WINDOW),
            };
            let length = jittered(length, self.0.pause_jitter);
            self.pause_until(ledger, now, keys, subject, now.tick.after(length));
            Some(length)
        })
    }

    pub(super) fn pause_until(
        &self,
        ledger: &mut Ledger,
        now: Now,
        keys: Keys,
        subject: Subject,
        until: Tick,
    ) {
        self.0
            .last_pause
            .fetch_max(millis_rounded_up(until), Ordering::AcqRel);
        self.0.pauses.fetch_add(1, Ordering::AcqRel);
        ledger.pause(now, keys, subject, until);
    }

    /// What refuses us although we hold no more than it allows does not count as we assume.
    fn distrust(&self, ticket: &Ticket, signals: &Signals) {
        let Outcome::Refused(refusal) = &signals.outcome else {
            return;
        };
        if matches!(self.concerned(ticket, signals), Some(Subject::Limit(limit)) if self.is_daily(limit))
        {
            // An empty day says nothing of how requests are counted in a window.
            return;
        }
        for (index, limit) in self.plan().limits().iter().enumerate() {
            let is_meant = match refusal {
                Refusal::Limit(name) => limit.name() == name,
                // It may have been any of them.
                Refusal::Token => limit.governs_class(ticket.class),
                // Locked, or on its way elsewhere: that says nothing of how requests are counted.
                Refusal::Account | Refusal::Request => false,
            };
            if !is_meant {
                continue;
            }
            let share = self.ledger(|ledger, now| {
                match ledger.explains_refusals(now, ticket.keys, index) {
                    true => None,
                    false => ledger.distrust(now, ticket.keys, index),
                }
            });
            if let Some(percent) = share {
                self.emit(
                    Whose::token(ticket.keys.token),
                    EventKind::CreditHalved {
                        limit: limit.name().to_owned().into(),
                        percent,
                    },
                );
            }
        }
    }

    pub(crate) fn subject_name(&self, subject: Subject) -> &str {
        match subject {
            Subject::Limit(limit) => self
                .plan()
                .limits()
                .get(limit)
                .map_or("unknown", |limit| limit.name()),
            Subject::Token => "token",
            Subject::Account => "account",
        }
    }

    /// Whether a request with this ticket may wait until all pauses that hold it up are over.
    pub(crate) fn can_wait_for_pauses(&self, ticket: &Ticket, patience: Patience) -> bool {
        self.ledger(|ledger, now| {
            ledger.can_wait_for_pauses(now, ticket.keys, ticket.class, patience)
        })
    }

    /// Until when a request with this ticket may not be sent because of pauses.
    pub(crate) fn paused_until(&self, ticket: &Ticket) -> Option<Tick> {
        self.ledger(|ledger, now| ledger.paused_until(now, ticket.keys, ticket.class))
    }
}

/// Lengthened at random by up to `share` of itself; never shortened.
fn jittered(length: Duration, share: f64) -> Duration {
    let jitter = length.mul_f64(share).min(LONGEST_JITTER);
    length.saturating_add(jitter.mul_f64(fastrand::f64()))
}

fn millis_rounded_up(tick: Tick) -> u64 {
    u64::try_from(tick.since_origin().as_millis()).unwrap_or(u64::MAX - 1) + 1
}
