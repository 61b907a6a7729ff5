//! Giving the answers once more.

use std::collections::HashMap;
use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, SystemTime};

use http::Request;
use serde_json::Value;
use tower_layer::Layer;
use tower_quota::clock::Clock;
use tower_quota::core::Fingerprint;
use tower_quota::event::{Ending, EventKind, Events, QuotaEvent};
use tower_quota::plan::{Assumed, ColdStart, Limit, Plan, RouteClass};
use tower_quota::record::{Entry, Line, PlannedLimit, Started};
use tower_quota::report::ErrorShare;
use tower_quota::request::{AccountId, Attempt as Nth, RouteName};
use tower_quota::sim::SimBody;
use tower_quota::{Api, ConfigError, ObserveLayer, Quota, TokenLimitLayer};
use tower_service::Service;

use super::answers::{Attempt, Number, Pause, Progress, Server, Told as SignalsOfLog};
use super::compare::Told;
use crate::error::CliError;
use crate::replay::server::zone_called;

/// A line is written within this time of what it tells of, so a pause that is taken from the log ends so much earlier: nothing was sent then.
const MOMENT: Duration = Duration::from_millis(1);
/// Windows hold nobody up here: what was sent is known.
const ENDLESS: u32 = 1_000_000_000;
/// The answer that began a pause is among the last so many.
const NEAR: usize = 4_096;
/// A log may name so many classes of its own.
const MOST_CLASSES: usize = 64;

/// What one program has written.
#[derive(Default)]
pub(super) struct Program {
    pub(super) started: Option<Started>,
    thresholds: Option<ErrorShare>,
    /// Lines that were read.
    lines: usize,
    /// When the counters were looked at, or something else than an answer was counted: that may begin a new day.
    looks: Vec<(SystemTime, usize)>,
    pub(super) attempts: Vec<Attempt>,
    /// The events that follow from answers.
    pub(super) told: Vec<Told>,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The head of an answer comes, or its end without one.
    Head,
    /// The body of a refusal has been read.
    Body,
    Send,
    /// Somebody looks at the counters.
    Look,
}

impl Program {
    pub(super) fn read(&mut self, line: Line) {
        self.lines += 1;
        match line.entry {
            Entry::Started(started) => {
                self.started.get_or_insert(started);
            }
            Entry::Report(report) => {
                self.looks.push((report.at, self.lines));
                self.thresholds.get_or_insert(report.errors);
            }
            Entry::Event(event) => {
                let place = format!("{}:{}", line.file.display(), line.number);
                self.event(event, place);
            }
            _ => {}
        }
    }

    fn event(&mut self, event: QuotaEvent, place: String) {
        let nth = self.lines;
        if let EventKind::Denied { .. } | EventKind::WouldWait { .. } = event.kind {
            self.looks.push((event.at, nth));
        }
        let (token, account) = (
            event.token.map(Fingerprint::to_hex),
            event.account.map(Fingerprint::to_hex),
        );
        if let EventKind::Paused {
            limit,
            class,
            status,
            lasts,
        } = &event.kind
        {
            let began = |attempt: &&mut Attempt| {
                attempt.token == token
                    && attempt.class.as_str() == class
                    && attempt.status == Some(*status)
                    && attempt.pause.is_none()
            };
            let mut last = self.attempts.iter_mut().rev().take(NEAR);
            if let Some(attempt) = last.find(began) {
                attempt.pause = Some(Pause {
                    nth,
                    limit: limit.clone().into_owned(),
                    lasts: lasts.saturating_sub(MOMENT),
                    at: event.at.max(attempt.ended),
                });
            }
        }
        if let EventKind::Request {
            class,
            route,
            lane,
            attempt,
            took,
            ending,
            status,
            limit,
            retry_after,
            service_time,
            daily_remaining,
            ..
        } = event.kind
        {
            self.attempts.push(Attempt {
                nth,
                sent: event.at.checked_sub(took).unwrap_or(event.at),
                ended: event.at,
                token,
                account,
                class: class_called(&class),
                lane,
                route,
                attempt,
                ending,
                status,
                limit: limit.map(|limit| limit.into_owned()),
                retry_after,
                service_time,
                daily_remaining,
                pause: None,
                concerns: None,
            });
        } else if let Some(told) = told(&event, Some(place), token, account) {
            self.told.push(told);
        }
    }

    /// The events that come out.
    pub(super) fn play(self, path: &Path) -> Result<Vec<Told>, CliError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let runtime = runtime.map_err(|error| CliError::Other(error.to_string()))?;
        let played = runtime.block_on(self.play_all());
        played.map_err(|error| {
            let problem = format!("its limits make no sense: {error}");
            CliError::input(path, None, problem)
        })
    }

    async fn play_all(mut self) -> Result<Vec<Told>, ConfigError> {
        self.name_those_concerned();
        let steps = self.steps();
        let Some((began, ..)) = steps.first() else {
            return Ok(Vec::new());
        };
        let clock = Clock::starting_at(*began);
        let attempts: Arc<[Attempt]> = self.attempts.into();
        let quota = quota(&self.started, self.thresholds, &attempts, &clock)?;
        let mut played = Played {
            events: quota.events_with_requests(),
            names: HashMap::new(),
            told: Vec::new(),
        };
        let observed = ObserveLayer::new(&quota).layer(Server(attempts.clone()));
        let limited = TokenLimitLayer::new(&quota).layer(observed.clone());
        // Refusals without a pause: the program had only the layer that counts.
        let is_paused = |told: &Told| told.name == "paused";
        let is_refused = |attempt: &Attempt| attempt.ending == Ending::Refused;
        let is_bare = !self.told.iter().any(is_paused) && attempts.iter().any(is_refused);
        let mut context = Context::from_waker(Waker::noop());
        let mut under_way = HashMap::new();
        for (at, step, index) in steps {
            let wait = at.duration_since(clock.wall()).unwrap_or_default();
            tokio::time::advance(wait).await;
            let Some(attempt) = attempts.get(index).filter(|_| step != Step::Look) else {
                drop(quota.report_top(0));
                played.take(None);
                continue;
            };
            match step {
                Step::Send => {
                    let progress = Progress::default();
                    let request = request(attempt, index, progress.clone());
                    let mut call = match is_bare {
                        true => made(observed.clone(), request),
                        false => made(limited.clone(), request),
                    };
                    if call.as_mut().poll(&mut context).is_pending() {
                        under_way.insert(index, (call, progress));
                    }
                }
                Step::Head if attempt.ending == Ending::Dropped => drop(under_way.remove(&index)),
                Step::Head | Step::Body | Step::Look => {
                    let Some((call, progress)) = under_way.get_mut(&index) else {
                        continue;
                    };
                    match step {
                        Step::Head if attempt.pause.is_some() => progress.head(),
                        _ => progress.body(),
                    }
                    if call.as_mut().poll(&mut context).is_ready() {
                        under_way.remove(&index);
                    }
                }
            }
            played.take(Some(attempt));
        }
        Ok(played.told)
    }

    /// A refusal that began no pause came while there was one already, for the same limit, of the same class: of the token,
    /// else of its account, else of all.
    fn name_those_concerned(&mut self) {
        type Key = (Option<String>, Option<String>, &'static str);
        let keys = |attempt: &Attempt| -> [Key; 3] {
            let class = attempt.class.as_str();
            [
                (attempt.token.clone(), None, class),
                (None, attempt.account.clone(), class),
                (None, None, class),
            ]
        };
        let mut pauses: HashMap<Key, (SystemTime, String)> = HashMap::new();
        let refused = |attempt: &&mut Attempt| attempt.ending == Ending::Refused;
        for attempt in self.attempts.iter_mut().filter(refused) {
            if let Some(pause) = &attempt.pause {
                // Nobody tells of a pause that is longer by less than a fifth.
                let until = pause.at + pause.lasts.mul_f64(1.2);
                for key in keys(attempt) {
                    pauses.insert(key, (until, pause.limit.clone()));
                }
            } else {
                let keys = keys(attempt).into_iter();
                let known = keys.filter_map(|key| pauses.get(&key));
                let mut known = known.filter(|(until, _)| *until >= attempt.ended);
                attempt.concerns = known.next().map(|(_, limit)| limit.clone());
            }
        }
    }

    /// In the order of time. At one moment answers come in the order of the log, and before what is sent, which may have waited for
    /// them.
    fn steps(&self) -> Vec<(SystemTime, Step, usize)> {
        let mut steps = Vec::with_capacity(2 * self.attempts.len());
        for (index, attempt) in self.attempts.iter().enumerate() {
            let Attempt {
                nth, sent, ended, ..
            } = *attempt;
            // What took no time is not answered before it is sent.
            let is_instant = sent == ended;
            steps.push(((sent, !is_instant, nth), Step::Send, index));
            steps.push(((ended, false, nth), Step::Head, index));
            if let Some(pause) = &attempt.pause {
                steps.push(((pause.at, false, pause.nth), Step::Body, index));
            }
        }
        for (at, nth) in &self.looks {
            steps.push(((*at, false, *nth), Step::Look, 0));
        }
        steps.sort_by_key(|(order, ..)| *order);
        let steps = steps.into_iter();
        steps
            .map(|((at, ..), step, index)| (at, step, index))
            .collect()
    }
}

/// What comes out, with the names that the log has for those whom it concerns.
struct Played {
    events: Events,
    names: HashMap<Fingerprint, Option<String>>,
    told: Vec<Told>,
}

impl Played {
    /// Takes what has happened with the last step, which was one of `attempt` if of any.
    fn take(&mut self, attempt: Option<&Attempt>) {
        while let Some(event) = self.events.try_next() {
            if let (EventKind::Request { .. }, Some(attempt)) = (&event.kind, attempt) {
                let names = [
                    (event.token, &attempt.token),
                    (event.account, &attempt.account),
                ];
                for (key, name) in names {
                    if let Some(key) = key {
                        self.names.insert(key, name.clone());
                    }
                }
            }
            let name = |key: Option<Fingerprint>| self.names.get(&key?).cloned().flatten();
            let (token, account) = (name(event.token), name(event.account));
            self.told.extend(told(&event, None, token, account));
        }
    }
}

/// `None` for an event that does not follow from answers alone.
fn told(
    event: &QuotaEvent,
    place: Option<String>,
    token: Option<String>,
    account: Option<String>,
) -> Option<Told> {
    match &event.kind {
        EventKind::RateLimited { .. }
        | EventKind::Recovered { .. }
        | EventKind::Paused { .. }
        | EventKind::Resumed { .. }
        | EventKind::DailyExhausted { .. }
        | EventKind::DailyResumed { .. }
        | EventKind::ErrorShare { .. } => {}
        _ => return None,
    }
    let Ok(Value::Object(mut fields)) = serde_json::to_value(&event.kind) else {
        return None;
    };
    fields.remove("event");
    Some(Told {
        at: event.at,
        place,
        token,
        account,
        name: event.kind.as_str(),
        fields,
    })
}

fn quota(
    started: &Option<Started>,
    thresholds: Option<ErrorShare>,
    attempts: &Arc<[Attempt]>,
    clock: &Clock,
) -> Result<Quota, ConfigError> {
    let limits: &[PlannedLimit] = started.as_ref().map_or(&[], |started| &started.limits);
    let mut plan = Plan::builder("playback");
    let mut daily = None;
    for planned in limits {
        let limit = match planned.window {
            Some(window) => Limit::rolling(planned.limit.clone(), ENDLESS, window),
            None => {
                daily.get_or_insert_with(|| planned.limit.clone());
                let zone = zone_called(planned.zone.as_deref().unwrap_or("UTC"))?;
                Limit::daily(planned.limit.clone(), planned.quota, zone)
            }
        };
        let limit = limit.scope(planned.scope);
        plan = plan.limit(match &planned.classes {
            Some(classes) => limit.governs(classes.iter().map(|class| class_called(class))),
            None => limit,
        });
    }
    let signals = SignalsOfLog {
        attempts: attempts.clone(),
        daily,
    };
    let mut quota = Quota::builder(Api::new(plan.build()?).signals(signals))
        .clock(clock.clone())
        .cold_start(ColdStart::Assume(Assumed::Empty))
        .pause_jitter(0.0)
        .enforce(false);
    if let Some(shares) = thresholds {
        quota = quota.error_share(shares.warn, shares.breach, shares.least_requests)?;
    }
    Ok(quota.build())
}

/// The request, sent when it is first polled.
fn made<S>(mut service: S, request: Request<SimBody>) -> Pin<Box<dyn Future<Output = ()>>>
where
    S: Service<Request<SimBody>> + 'static,
{
    Box::pin(async move {
        if poll_fn(|context| service.poll_ready(context)).await.is_ok() {
            drop(service.call(request).await);
        }
    })
}

fn request(attempt: &Attempt, index: usize, progress: Progress) -> Request<SimBody> {
    let mut request = Request::new(SimBody::default());
    // Hexadecimal digits are a header.
    let token = attempt.token.as_deref().unwrap_or("none");
    if let Ok(value) = format!("Bearer {token}").try_into() {
        let headers = request.headers_mut();
        headers.insert(http::header::AUTHORIZATION, value);
    }
    let extensions = request.extensions_mut();
    if let Some(account) = attempt
        .account
        .clone()
        .filter(|_| attempt.account != attempt.token)
    {
        extensions.insert(AccountId(account));
    }
    extensions.insert(attempt.class);
    extensions.insert(attempt.lane);
    extensions.insert(RouteName(attempt.route.clone()));
    extensions.insert(Nth(attempt.attempt));
    extensions.insert(Number(index, progress));
    request
}

/// Classes live as long as the program, so there are not many.
fn class_called(name: &str) -> RouteClass {
    static NAMES: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    let known = [
        RouteClass::General,
        RouteClass::Search,
        RouteClass::Associations,
    ];
    if let Some(class) = known.into_iter().find(|class| class.as_str() == name) {
        return class;
    }
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = names.iter().find(|known| **known == name).copied();
    RouteClass::Named(known.unwrap_or_else(|| {
        if names.len() >= MOST_CLASSES {
            return "other";
        }
        let name: &'static str = Box::leak(name.into());
        names.push(name);
        name
    }))
}
