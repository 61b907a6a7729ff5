//! The server's front desk: what happens to a request when it arrives, and when its answer leaves.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{Response, StatusCode, request};

use super::answer::{self, Problem, Reply};
use super::calls::{Contents, Work};
use super::config::Settings;
use super::cost::{Cost, TooHeavy};
use super::fault::{Answer, Fault, Faults, Kind};
use super::quota::{Caller, Enforcer, Figures, Refusal};
use super::routes::{self, Call, Class, Query};
use super::stats::{Counted, Stats};
use super::{Journey, Parts, ServiceHeader, SimBody};

/// All that changes.
#[derive(Debug)]
pub(super) struct Desk {
    enforcer: Enforcer,
    pub(super) faults: Faults,
    pub(super) cost: Option<Cost>,
    pub(super) contents: Contents,
    pub(super) rng: fastrand::Rng,
    pub(super) stats: Stats,
    pub(super) log: Option<Vec<Counted>>,
    origin: SystemTime,
    in_flight: u64,
    /// The `date` header and the second it is for.
    date: (u64, HeaderValue),
}

/// A request as it arrives.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) head: request::Parts,
    pub(super) body: Bytes,
    /// The body was longer than the server reads.
    pub(super) too_long: bool,
}

/// What was decided about a request when it arrived.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) at: Duration,
    /// How long the server works on it.
    pub(super) service: Duration,
    correlation_id: String,
    figures: Figures,
    next: Next,
}

#[derive(Debug)]
enum Next {
    /// Answered at the door.
    Reply(Reply),
    /// The simulator's own counters, which leave no trace in them.
    Look(Reply),
    Work(Errand),
    Lost,
}

/// What an admitted request wants.
#[derive(Debug)]
struct Errand {
    caller: Caller,
    class: Class,
    call: Call,
    fault: Option<Fault>,
    /// What is answered instead of the work, which is too heavy.
    too_heavy: Option<StatusCode>,
}

/// A request in work.
struct Scene<'a> {
    request: &'a Incoming,
    correlation_id: &'a str,
    at: Duration,
    now: Duration,
}

/// How a request ends.
#[derive(Debug)]
pub(super) enum Outcome {
    Answer(Box<Response<SimBody>>),
    Dropped,
    Hangs,
}

impl Desk {
    pub(super) fn new(parts: Parts, origin: SystemTime) -> Self {
        let enforcer = Enforcer::new(parts.limits, parts.tokens, parts.others, origin, parts.seed);
        Self {
            enforcer,
            faults: parts.faults,
            cost: parts.cost,
            contents: Contents::new(parts.properties, parts.settings.search_body, parts.batches),
            rng: fastrand::Rng::with_seed(parts.seed),
            stats: Stats::default(),
            log: parts.record.then(Vec::new),
            origin,
            in_flight: 0,
            date: (0, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT")),
        }
    }

    /// The account that a token belongs to, whether it has been seen or not.
    pub(super) fn account_of(&self, token: &str) -> u64 {
        self.enforcer.account_of(token)
    }

    pub(super) fn let_others(&mut self, now: Duration) {
        let (stats, log) = (&mut self.stats, &mut self.log);
        self.enforcer.let_others(now, |foreign| {
            stats.note_others(foreign.class, foreign.counted);
            if let (Some(log), true) = (&mut *log, foreign.counted) {
                log.push(Counted {
                    at: foreign.at,
                    class: foreign.class,
                    token: None,
                    app: foreign.app,
                    account: foreign.account,
                });
            }
        });
    }

    pub(super) fn spend(&mut self, token: &str, class: Class, n: u64, now: Duration) -> u64 {
        self.let_others(now);
        let Some(caller) = self.enforcer.identify(token, now) else {
            return 0;
        };
        let mut admitted = 0;
        for _ in 0..n {
            let counted = self.enforcer.count(&caller, class, now, true).is_none();
            admitted += u64::from(counted);
            self.stats.note_others(class, counted);
            if counted {
                self.note(now, class, &caller, false);
            }
        }
        admitted
    }

    pub(super) fn set_window(&mut self, class: Class, quota: u64, now: Duration) {
        // What the others did until now was under the old quota.
        self.let_others(now);
        self.enforcer.set_window(class, quota);
    }

    pub(super) fn set_daily(&mut self, quota: u64, now: Duration) {
        self.let_others(now);
        self.enforcer.set_daily(quota);
    }

    fn note(&mut self, at: Duration, class: Class, caller: &Caller, own: bool) {
        if let Some(log) = &mut self.log {
            let (app, account) = self.enforcer.ids(caller);
            log.push(Counted {
                at,
                class,
                token: own.then(|| caller.token.clone()),
                app,
                account,
            });
        }
    }

    /// Admits, counts or refuses a request that arrives at `now`.
    pub(super) fn arrive(
        &mut self,
        request: &Incoming,
        settings: &Settings,
        now: Duration,
    ) -> Ticket {
        self.let_others(now);
        let mut ticket = Ticket {
            at: now,
            service: Duration::ZERO,
            correlation_id: answer::correlation_id(&mut self.rng),
            figures: Figures::default(),
            next: Next::Lost,
        };
        let head = &request.head;
        let path = head.uri.path();
        let (class, call) = routes::route(&head.method, path);
        if call == Call::Stats {
            ticket.next = Next::Look(Reply::json(StatusCode::OK, &self.stats));
            return ticket;
        }
        self.in_flight += 1;
        self.stats.most_in_flight = self.stats.most_in_flight.max(self.in_flight);
        let pick = self.faults.pick(&head.method, path, &mut self.rng);
        if let Some(pick) = &pick {
            if matches!(pick.fault.kind, Kind::DropBefore) {
                self.faults.spend(pick);
                self.stats.faults += 1;
                ticket.service = pick.fault.delay;
                return ticket;
            }
        }
        let Some(caller) = bearer(head).and_then(|token| self.enforcer.identify(token, now)) else {
            self.stats.unauthorized += 1;
            ticket.next = Next::Reply(Problem::unauthorized().reply(&ticket.correlation_id));
            return ticket;
        };
        if let Some(status) = self.turned_away(&caller, class, settings) {
            let mut reply = answer::busy(status, &ticket.correlation_id);
            if status == StatusCode::TOO_MANY_REQUESTS {
                reply.retry_after = settings.retry_after;
            }
            ticket.next = Next::Reply(reply);
            return ticket;
        }
        let windows = pick.as_ref().is_none_or(|pick| pick.fault.counts());
        let refused = self.admit(&caller, class, now, windows);
        if !settings.silent.contains(&class) {
            ticket.figures = self.enforcer.figures(&caller, class, now);
        }
        if let Some(refusal) = refused {
            ticket.next = Next::Reply(self.refuse(refusal, class, &caller, &ticket, settings));
            return ticket;
        }
        if let Some(pick) = &pick {
            self.faults.spend(pick);
            self.stats.faults += 1;
        }
        let fault = pick.map(|pick| pick.fault);
        let works = windows && fault.as_ref().is_none_or(Fault::works);
        let too_heavy = works
            .then(|| self.too_heavy(class, &call, request))
            .flatten();
        if let Some((wait, _)) = too_heavy {
            ticket.service = wait;
        } else if windows {
            ticket.service = match Journey::of(&head.extensions) {
                Some(journey) => journey.work,
                None => settings.service_time.draw(&mut self.rng),
            };
        }
        if let Some(in_work) = self.enforcer.in_work(&caller, class) {
            *in_work += 1;
        }
        ticket.service += fault.as_ref().map_or(Duration::ZERO, |fault| fault.delay);
        ticket.next = Next::Work(Errand {
            caller,
            class,
            call,
            fault,
            too_heavy: too_heavy.map(|(_, status)| status),
        });
        ticket
    }

    /// The answer to a request that comes while too many are in work.
    fn turned_away(
        &mut self,
        caller: &Caller,
        class: Class,
        settings: &Settings,
    ) -> Option<StatusCode> {
        let (most, status) = settings.concurrency?;
        if *self.enforcer.in_work(caller, class)? < most {
            return None;
        }
        let stats = self.stats.of(class)?;
        stats.arrived += 1;
        stats.refused_concurrency += 1;
        Some(status)
    }

    fn admit(
        &mut self,
        caller: &Caller,
        class: Class,
        now: Duration,
        windows: bool,
    ) -> Option<Refusal> {
        if class == Class::Free {
            self.stats.free += 1;
            return None;
        }
        let refused = self.enforcer.count(caller, class, now, windows);
        if let Some(stats) = self.stats.of(class) {
            stats.arrived += 1;
            match refused {
                Some(Refusal::Window) => stats.refused_window += 1,
                Some(Refusal::Daily) => stats.refused_daily += 1,
                None => stats.counted += u64::from(windows),
            }
        }
        if refused.is_none() && windows {
            self.stats.last_admitted = Some(now);
            self.note(now, class, caller, true);
        }
        refused
    }

    /// How long the server works in vain on a request that is too heavy for it, and what it answers then.
    fn too_heavy(
        &mut self,
        class: Class,
        call: &Call,
        request: &Incoming,
    ) -> Option<(Duration, StatusCode)> {
        let cost = self.cost.as_ref().filter(|_| !request.too_long)?;
        let load = self.contents.load(call, &request.body)?;
        let why = cost.judge(&load, &mut self.rng)?;
        if let Some(stats) = self.stats.of(class) {
            stats.too_heavy += 1;
            stats.too_heavy_by_chance += u64::from(why == TooHeavy::ByChance);
        }
        Some((cost.wait, cost.status))
    }

    fn refuse(
        &mut self,
        refusal: Refusal,
        class: Class,
        caller: &Caller,
        ticket: &Ticket,
        settings: &Settings,
    ) -> Reply {
        let ids = self.enforcer.ids(caller);
        let id = &ticket.correlation_id;
        let mut reply = answer::refusal(refusal, class, ids, id, &mut self.rng);
        reply.retry_after = settings.retry_after;
        reply
    }

    /// Does the work of a request whose service time is over, and says how it ends.
    pub(super) fn leave(
        &mut self,
        ticket: Ticket,
        request: &Incoming,
        settings: &Settings,
        now: Duration,
    ) -> Outcome {
        let Ticket {
            at,
            correlation_id,
            figures,
            next,
            ..
        } = ticket;
        if let Next::Work(errand) = &next {
            if let Some(in_work) = self.enforcer.in_work(&errand.caller, errand.class) {
                *in_work -= 1;
            }
        }
        let looked = matches!(next, Next::Look(_));
        self.in_flight -= u64::from(!looked);
        let scene = Scene {
            request,
            correlation_id: &correlation_id,
            at,
            now,
        };
        let mut extra = Vec::new();
        let reply = match next {
            Next::Lost => return self.lose(),
            Next::Reply(reply) | Next::Look(reply) => reply,
            Next::Work(errand) => match errand.fault.as_ref().map(|fault| &fault.kind) {
                None => self.work(&errand, &scene),
                Some(Kind::DropBefore | Kind::DropAfter { worked: false }) => return self.lose(),
                Some(Kind::DropAfter { worked: true }) => {
                    self.work(&errand, &scene);
                    return self.lose();
                }
                Some(Kind::Hang) => {
                    self.stats.hung += 1;
                    return Outcome::Hangs;
                }
                Some(Kind::Answer(answer)) => {
                    let mut reply = self.twist(answer, &errand, &scene);
                    if reply.status == StatusCode::TOO_MANY_REQUESTS {
                        reply.retry_after = reply.retry_after.or(settings.retry_after);
                    }
                    extra.clone_from(&answer.headers);
                    reply
                }
            },
        };
        if !looked {
            let status = reply.status.as_u16();
            *self.stats.statuses.entry(status).or_default() += 1;
        }
        let date = self.date(now);
        let service = settings
            .service_header
            .map(|header| service_header(header, now - at));
        let mut response = reply.into_response(&correlation_id, &figures, date, service);
        for (name, value) in extra {
            response.headers_mut().insert(name, value);
        }
        Outcome::Answer(Box::new(response))
    }

    fn lose(&mut self) -> Outcome {
        self.stats.dropped += 1;
        Outcome::Dropped
    }

    /// The answer that a fault makes of a request.
    fn twist(&mut self, fault: &Answer, errand: &Errand, scene: &Scene<'_>) -> Reply {
        let own = (fault.worked || fault.status.is_none()).then(|| self.work(errand, scene));
        let mut reply = match (fault.status, own) {
            (Some(status), _) => self.trouble(status, errand, scene),
            (None, own) => own.unwrap_or_else(|| Reply::empty(StatusCode::OK)),
        };
        if let Some(body) = &fault.body {
            reply.body = body.clone();
        }
        reply.retry_after = fault.retry_after;
        reply.quota_headers &= fault.quota_headers;
        reply
    }

    fn trouble(&mut self, status: StatusCode, errand: &Errand, scene: &Scene<'_>) -> Reply {
        let ids = self.enforcer.ids(&errand.caller);
        let id = scene.correlation_id;
        answer::trouble(status, errand.class, ids, id, &mut self.rng)
    }

    fn work(&mut self, errand: &Errand, scene: &Scene<'_>) -> Reply {
        if let Some(status) = errand.too_heavy {
            return self.trouble(status, errand, scene);
        }
        let wall = self.origin + scene.now;
        let done = match &errand.call {
            _ if scene.request.too_long => Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "VALIDATION_ERROR",
                "The request body is too large",
            )),
            Call::AccountDetails => Ok(self.enforcer.details(&errand.caller, wall)),
            Call::DailyUsage => Ok(self.enforcer.usage(&errand.caller, wall)),
            call => {
                let work = Work {
                    account: self.enforcer.ids(&errand.caller).1,
                    call,
                    query: Query::new(scene.request.head.uri.query()),
                    body: &scene.request.body,
                    started: self.origin + scene.at,
                    now: wall,
                };
                self.contents.perform(&work, &mut self.rng)
            }
        };
        done.unwrap_or_else(|problem| problem.reply(scene.correlation_id))
    }

    fn date(&mut self, now: Duration) -> HeaderValue {
        let wall = self.origin + now;
        let second = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        if self.date.0 != second {
            if let Ok(value) = HeaderValue::from_str(&httpdate::fmt_http_date(wall)) {
                self.date = (second, value);
            }
        }
        self.date.1.clone()
    }
}

fn bearer(head: &request::Parts) -> Option<&str> {
    let value = head.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// All figures are cut, never rounded up: a client may rely on "at least so long ago".
fn service_header(header: ServiceHeader, spent: Duration) -> (HeaderName, HeaderValue) {
    let micros = spent.as_micros() as u64;
    let text = match header {
        ServiceHeader::Envoy => {
            let name = HeaderName::from_static("x-envoy-upstream-service-time");
            return (name, (micros / 1_000).into());
        }
        ServiceHeader::ServerTiming => {
            format!("app;dur={}.{:03}", micros / 1_000, micros % 1_000)
        }
        ServiceHeader::Runtime => {
            format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
        }
    };
    let name = match header {
        ServiceHeader::Runtime => "x-runtime",
        _ => "server-timing",
    };
    let value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0"));
    (HeaderName::from_static(name), value)
}
