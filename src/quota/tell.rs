//! What was sent, counted, and what of it is worth an event.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use http::{Response, StatusCode};

use super::daily::is_daily;
use super::{Quota, Ticket};
use crate::core::{Fingerprint, Keys, Subject, Tick};
use crate::event::{Ending, EventKind, Level, Whose};
use crate::plan::{Limit, RouteClass, Scope};
use crate::report::Counts;
use crate::request::{Attempt, RequestHead};
use crate::signal::{Outcome, Refusal, Signals};
use crate::tally::{Over, Resumption, RouteId, Tally, Template};

/// Request extension: so long have layers further outside held the request up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited(pub(crate) Duration);

impl Waited {
    /// Adds to what the request has waited already. Mostly it is nothing, and then nothing is attached.
    pub(crate) fn add(waited: Duration, extensions: &mut http::Extensions) {
        if !waited.is_zero() {
            let before = extensions.get::<Self>().map_or(Duration::ZERO, |it| it.0);
            extensions.insert(Self(before.saturating_add(waited)));
        }
    }
}

/// Request extension: a layer further outside would have held the request up, and has told it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WouldWait;

/// A request that is on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    ticket: Ticket,
    route: RouteId,
    attempt: u32,
    waited: Duration,
    at: Tick,
}

/// How it ended.
struct End<'a> {
    ending: Ending,
    status: Option<StatusCode>,
    signals: Option<&'a Signals>,
}

impl Quota {
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.0.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is about to be sent.
    pub(crate) fn sends(&self, head: RequestHead<'_>) -> Sent {
        let ticket = self.ticket(head);
        let template = Template::of(&head, &*self.0.api.routes);
        let attempt = head.extensions.get::<Attempt>();
        let waited = head.extensions.get::<Waited>();
        let at = self.now();
        let mut tally = self.tally();
        let route = tally.route(&template);
        let resumed = match tally.has_pauses() {
            true => tally.resumed(at, self.subjects(ticket.keys, Some(ticket.class))),
            false => Vec::new(),
        };
        drop(tally);
        self.tell_resumed(resumed);
        Sent {
            ticket,
            route,
            attempt: attempt.map_or(1, |attempt| attempt.0),
            waited: waited.map_or(Duration::ZERO, |waited| waited.0),
            at,
        }
    }

    /// The head of a response has arrived. What it says is read, unless somebody further inside has, and attached for those further
    /// outside.
    pub(crate) fn note_answer<B>(&self, sent: &Sent, response: &mut Response<B>) {
        let status = response.status();
        if let Some(signals) = self.attached(response) {
            return self.answered(sent, status, signals);
        }
        let signals = self.read_once(&sent.ticket, response);
        self.answered(sent, status, &signals);
        self.attach(signals, response);
    }

    fn answered(&self, sent: &Sent, status: StatusCode, signals: &Signals) {
        let ending = match &signals.outcome {
            _ if status == StatusCode::TOO_MANY_REQUESTS => Ending::Refused,
            Outcome::Answered => Ending::Answered,
            Outcome::Refused(Refusal::Limit(_) | Refusal::Token) => Ending::Refused,
            Outcome::Refused(Refusal::Account | Refusal::Request) => Ending::Turned,
            Outcome::Failed => Ending::Failed,
        };
        let end = End {
            ending,
            status: Some(status),
            signals: Some(signals),
        };
        self.over(sent, &end);
    }

    /// No response has come: the client says so, or the caller has given up.
    pub(crate) fn unanswered(&self, sent: &Sent, ending: Ending) {
        let end = End {
            ending,
            status: None,
            signals: None,
        };
        self.over(sent, &end);
    }

    fn over(&self, sent: &Sent, end: &End<'_>) {
        let Ticket { keys, class, .. } = sent.ticket;
        let now = self.0.clock.now(true);
        let over = Over {
            keys,
            class,
            route: sent.route,
            sent: sent.at,
            ending: end.ending,
            status: end.status,
            pool: self.pool_of(&sent.ticket),
        };
        #[cfg(feature = "metrics")]
        self.0.metrics.request(&crate::metrics::Over {
            class: class.as_str(),
            waited: sent.waited,
            took: now.tick.since(sent.at),
            ending: end.ending,
            status: end.status.map(|status| status.as_u16()),
        });
        let is_worth_a_name = end.ending == Ending::Refused || self.wants_requests();
        let mut tally = self.tally();
        let news = tally.over(now, &over);
        let route = (is_worth_a_name || news.recovery.is_some())
            .then(|| tally.route_name(sent.route).clone());
        drop(tally);
        self.tell_level(news.cleared);
        let Some(route) = route else {
            return self.tell_level(news.level);
        };
        if self.wants_requests() {
            self.emit(keys, self.request(sent, end, now.tick, route.clone()));
        }
        if let (Ending::Refused, Some(status), Some(signals)) =
            (end.ending, end.status, end.signals)
        {
            let refused = EventKind::RateLimited {
                limit: self
                    .refused_by(signals)
                    .unwrap_or("token")
                    .to_owned()
                    .into(),
                class: class.as_str().into(),
                route: route.clone(),
                status: status.as_u16(),
                attempt: sent.attempt,
                retry_after: signals.retry_after,
                daily_remaining: self.daily_remaining(signals),
            };
            self.emit(keys, refused);
        }
        if let Some(recovery) = news.recovery {
            let recovered = EventKind::Recovered {
                class: class.as_str().into(),
                route,
                attempt: sent.attempt,
                refusals: recovery.refusals,
                recovered_after: recovery.after,
            };
            self.emit(keys, recovered);
        }
        self.tell_level(news.level);
    }

    fn request(
        &self,
        sent: &Sent,
        end: &End<'_>,
        now: Tick,
        route: crate::event::Route,
    ) -> EventKind {
        let limit = end.signals.and_then(|signals| self.refused_by(signals));
        EventKind::Request {
            class: sent.ticket.class.as_str().into(),
            route,
            lane: sent.ticket.lane,
            attempt: sent.attempt,
            waited: sent.waited,
            took: now.since(sent.at),
            ending: end.ending,
            status: end.status.map(|status| status.as_u16()),
            limit: limit.map(|limit| limit.to_owned().into()),
            retry_after: end.signals.and_then(|signals| signals.retry_after),
            service_time: end.signals.and_then(|signals| signals.service_time),
            daily_remaining: end
                .signals
                .and_then(|signals| self.daily_remaining(signals)),
        }
    }

    /// Whether anybody wants an event for each request.
    fn wants_requests(&self) -> bool {
        self.0.hub.wants_requests()
            || tracing::enabled!(target: "tower_quota::request", tracing::Level::TRACE)
    }

    /// The key under the first daily pool that governs the request, if one does.
    fn pool_of(&self, ticket: &Ticket) -> Option<Fingerprint> {
        if !self.0.counts_days {
            return None;
        }
        let mut limits = self.plan().limits().iter();
        let governs = |limit: &&Limit| is_daily(limit) && limit.governs_class(ticket.class);
        let limit = limits.find(governs)?;
        Some(key_in(limit.get_scope(), ticket.keys))
    }

    /// Who refused a request, as far as the head of the response says. What is no limit of the plan may be anything that the server
    /// wrote, and is not repeated.
    fn refused_by(&self, signals: &Signals) -> Option<&str> {
        match &signals.outcome {
            Outcome::Refused(Refusal::Limit(name)) => {
                Some(self.plan().limit(name).map_or("token", Limit::name))
            }
            Outcome::Refused(Refusal::Token) => Some("token"),
            Outcome::Refused(Refusal::Account) => Some("account"),
            _ => None,
        }
    }

    fn daily_remaining(&self, signals: &Signals) -> Option<u64> {
        let is_daily = |limit: &str| {
            let limit = self.plan().limit(limit);
            limit.is_some_and(is_daily)
        };
        let mut observed = signals.observed.iter();
        observed
            .find(|observed| is_daily(&observed.limit))?
            .remaining
    }

    /// Whatever can be paused for these keys: all of it, or what concerns requests of one class.
    fn subjects(
        &self,
        keys: Keys,
        class: Option<RouteClass>,
    ) -> impl Iterator<Item = (Subject, Fingerprint)> {
        let gates = [
            (Subject::Token, keys.token),
            (Subject::Account, keys.account),
        ];
        let limits = self.plan().limits().iter().enumerate();
        let concerned = limits
            .filter(move |(_, limit)| class.is_none_or(|class| limit.governs_class(class)))
            .map(move |(index, limit)| (Subject::Limit(index), key_in(limit.get_scope(), keys)));
        gates.into_iter().chain(concerned)
    }

    /// Whose a pause is.
    fn key_of(&self, subject: Subject, keys: Keys) -> Fingerprint {
        match subject {
            Subject::Token => keys.token,
            Subject::Account => keys.account,
            Subject::Limit(limit) => {
                let limit = self.plan().limits().get(limit);
                limit.map_or(keys.token, |limit| key_in(limit.get_scope(), keys))
            }
        }
    }

    /// A pause has begun. Gives whether that is news.
    pub(super) fn is_news(&self, ticket: &Ticket, subject: Subject, lasts: Duration) -> bool {
        let key = self.key_of(subject, ticket.keys);
        let now = self.now();
        let until = now.after(lasts);
        self.tally().paused(now, (subject, key), ticket.keys, until)
    }

    /// Somebody has ended all pauses of these keys.
    pub(super) fn tell_end_of_pauses(&self, keys: Keys) {
        let subjects = self.subjects(keys, None);
        let resumed = self.tally().end_pauses(self.now(), subjects);
        self.tell_resumed(resumed);
    }

    /// In shadow mode a request could not have gone at once.
    pub(crate) fn tell_would_wait(&self, ticket: &Ticket, limit: &str) {
        let kind = EventKind::WouldWait {
            limit: limit.to_owned().into(),
            class: ticket.class.as_str().into(),
        };
        self.emit(ticket.keys, kind);
    }

    fn tell_resumed(&self, resumed: Vec<Resumption>) {
        for Resumption {
            subject,
            keys,
            after,
        } in resumed
        {
            let limit = self.subject_name(subject).to_owned().into();
            self.emit(keys, EventKind::Resumed { limit, after });
        }
    }

    pub(super) fn tell_level(&self, level: Option<(Level, Counts)>) {
        if let Some((level, counts)) = level {
            let share = EventKind::ErrorShare {
                level,
                requests: counts.requests,
                errors: counts.errors,
                rate_limited: counts.rate_limited,
            };
            self.emit(Whose::ALL, share);
        }
    }
}

/// The key of a limit of this scope.
pub(super) fn key_in(scope: Scope, keys: Keys) -> Fingerprint {
    match scope {
        Scope::Token => keys.token,
        Scope::Account => keys.account,
        Scope::App => Keys::SHARED.token,
    }
}
