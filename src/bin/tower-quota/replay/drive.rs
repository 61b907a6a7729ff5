//! Making the requests again, in virtual time.

use std::collections::HashSet;
use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use serde::Serialize;
use tokio::task::JoinSet;
use tower_layer::Layer;
use tower_quota::clock::Clock;
use tower_quota::observe::Observe;
use tower_quota::plan::{Assumed, ColdStart, Scope};
use tower_quota::record::Recorder;
use tower_quota::request::{AccountId, Attempt, RouteName};
use tower_quota::sim::{Class, ClassStats, Sim, SimBody, SimService, Stats};
use tower_quota::stack::{Stack, StackLayer};
use tower_quota::{BoxError, ConfigError, ObserveLayer, Quota};
use tower_service::Service;

use super::demand::{Asked, Demand};
use super::limiter::{Buckets, Limiter, backoff};
use super::server::{Rules, Window};
use crate::error::CliError;
use crate::progress::Progress;

/// Nobody gives up here: whoever waits long shows in the wait.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// One replay.
pub(super) struct Run<'a> {
    pub(super) demand: &'a Demand,
    pub(super) rules: &'a Rules,
    pub(super) limiter: Limiter,
    pub(super) attempts: u32,
    pub(super) seed: u64,
    pub(super) record: Option<&'a Path>,
}

/// What came of it. Times are in seconds.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) limiter: Limiter,
    /// Attempts that reached the server.
    pub(super) sent: u64,
    /// Those that a limit refused.
    pub(super) refused: u64,
    pub(super) refused_share: f64,
    /// Requests that were not answered with success in the end.
    pub(super) failed: u64,
    /// The share of the limit that was used most, of all who used it, from the first request to the last.
    pub(super) used: f64,
    pub(super) wait_mean: f64,
    pub(super) wait_p50: f64,
    pub(super) wait_p99: f64,
    pub(super) wait_max: f64,
    pub(super) last_done: f64,
}

/// How one request ended.
struct Done {
    succeeded: bool,
    waited: Duration,
}

impl Run<'_> {
    pub(super) fn figures(&self) -> Result<Figures, CliError> {
        // What the layers draw.
        fastrand::seed(self.seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let runtime = runtime.map_err(|error| CliError::Other(error.to_string()))?;
        runtime.block_on(self.make_all())
    }

    async fn make_all(&self) -> Result<Figures, CliError> {
        let clock = Clock::starting_at(self.demand.began);
        let wrong = |error: ConfigError| CliError::Other(format!("cannot be replayed: {error}"));
        let server = self.rules.server(self.demand, &clock, self.seed);
        let server = server.map_err(wrong)?;
        let quota = Quota::builder(self.rules.api().map_err(wrong)?)
            .clock(clock.clone())
            // The simulated server has counted nothing yet.
            .cold_start(ColdStart::Assume(Assumed::Empty))
            .build();
        let recording = match self.record {
            Some(path) => {
                let recording = Recorder::to(path).start(&quota);
                Some(recording.map_err(|error| CliError::file(path, error))?)
            }
            None => None,
        };
        let client = Client::new(self, &server, &quota, &clock).map_err(wrong)?;
        let mut waits = Vec::with_capacity(self.demand.requests.len());
        let mut failed = 0;
        let mut note = |done: Done| {
            failed += u64::from(!done.succeeded);
            waits.push(done.waited.as_secs_f64());
        };
        let mut tasks = JoinSet::new();
        let progress = Progress::new(self.demand.requests.len(), "requests");
        for (nth, request) in self.demand.requests.iter().enumerate() {
            progress.step();
            let wait = request.after.saturating_sub(clock.elapsed());
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            let rng = fastrand::Rng::with_seed(self.seed ^ (nth as u64).rotate_left(32));
            let made = client.clone().make(*request, self.request(request), rng);
            tasks.spawn(made);
            while let Some(done) = tasks.try_join_next() {
                note(done.map_err(|error| CliError::Other(error.to_string()))?);
            }
        }
        while let Some(done) = tasks.join_next().await {
            note(done.map_err(|error| CliError::Other(error.to_string()))?);
        }
        drop(progress);
        let last_done = clock.elapsed();
        if let (Some(recording), Some(path)) = (recording, self.record) {
            let recorded = recording.finish();
            if let Some(error) = recorded.failure {
                return Err(CliError::file(path, error));
            }
            if recorded.missed > 0 {
                let problem = format!("{} events came too fast to be written", recorded.missed);
                return Err(CliError::input(path, None, problem));
            }
        }
        let stats = server.stats();
        waits.sort_by(f64::total_cmp);
        let quantile = |share: f64| {
            let last = waits.len().saturating_sub(1);
            let index = (share * last as f64).round() as usize;
            waits.get(index).copied().unwrap_or_default()
        };
        let (sent, refused) = (stats.arrived(), stats.refused());
        Ok(Figures {
            limiter: self.limiter,
            sent,
            refused,
            refused_share: refused as f64 / sent.max(1) as f64,
            failed,
            used: self.used(&stats, last_done),
            wait_mean: waits.iter().sum::<f64>() / waits.len().max(1) as f64,
            wait_p50: quantile(0.5),
            wait_p99: quantile(0.99),
            wait_max: quantile(1.0),
            last_done: last_done.as_secs_f64(),
        })
    }

    /// A request of the class, with what the log tells of it.
    fn request(&self, asked: &Asked) -> Request<SimBody> {
        let (method, path, body) = match asked.class {
            Class::Search => (Method::POST, "/crm/v3/objects/contacts/search", "{}"),
            Class::Associations => (
                Method::POST,
                "/crm/v4/associations/contacts/companies/batch/read",
                r#"{"inputs":[]}"#,
            ),
            _ => (Method::GET, "/crm/v3/objects/contacts?limit=1", ""),
        };
        let mut request = Request::new(SimBody::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = http::Uri::from_static(path);
        let names = &self.demand.names;
        // Hexadecimal digits are a header.
        if let Ok(value) = format!("Bearer {}", names[asked.token]).try_into() {
            let headers = request.headers_mut();
            headers.insert(http::header::AUTHORIZATION, value);
        }
        let extensions = request.extensions_mut();
        if asked.account != asked.token {
            extensions.insert(AccountId(names[asked.account].clone()));
        }
        extensions.insert(asked.lane);
        extensions.insert(asked.journey);
        extensions.insert(RouteName(self.demand.routes[asked.route].clone()));
        request
    }

    fn used(&self, stats: &Stats, length: Duration) -> f64 {
        let share = |window: Option<Window>, class: Class, counted: &ClassStats| {
            let Some(Window {
                quota,
                window,
                scope,
            }) = window
            else {
                return 0.0;
            };
            let of_class = |request: &&Asked| request.class == class;
            let key = |request: &Asked| match scope {
                Scope::Token => request.token,
                Scope::Account => request.account,
                _ => 0,
            };
            let requests = self.demand.requests.iter().filter(of_class);
            let keys = requests.map(key).collect::<HashSet<_>>().len();
            let windows = length.as_secs_f64() / window.as_secs_f64();
            let possible = f64::from(quota) * windows * keys as f64;
            match possible > 0.0 {
                true => counted.counted as f64 / possible,
                false => 0.0,
            }
        };
        let rules = self.rules;
        [
            share(rules.burst, Class::General, &stats.general),
            share(rules.search, Class::Search, &stats.search),
            share(rules.associations, Class::Associations, &stats.associations),
        ]
        .into_iter()
        .fold(0.0, f64::max)
    }
}

/// The simulated server behind a limiter.
#[derive(Clone)]
struct Client {
    clock: Clock,
    attempts: u32,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Ours(Box<Stack<SimService>>),
    Other(Observe<SimService>, Option<Arc<Buckets>>),
}

impl Client {
    fn new(run: &Run<'_>, server: &Sim, quota: &Quota, clock: &Clock) -> Result<Self, ConfigError> {
        let observed = || ObserveLayer::new(quota).layer(server.service());
        let kind = match run.limiter {
            Limiter::Ours => {
                let stack = StackLayer::new(quota).max_wait(PATIENCE);
                let stack = stack.max_attempts(run.attempts)?;
                Kind::Ours(Box::new(stack.layer(server.service())))
            }
            Limiter::TokenBucket => {
                let buckets = Buckets::new(run.rules, clock);
                Kind::Other(observed(), Some(Arc::new(buckets)))
            }
            Limiter::None => Kind::Other(observed(), None),
        };
        Ok(Self {
            clock: clock.clone(),
            attempts: run.attempts,
            kind,
        })
    }

    /// Makes a request, and repeats it as the limiter does.
    async fn make(self, asked: Asked, request: Request<SimBody>, rng: fastrand::Rng) -> Done {
        let began = self.clock.elapsed();
        let clock = self.clock.clone();
        let succeeded = match self.kind {
            Kind::Ours(stack) => match call(*stack, request).await {
                Ok(status) => status.is_success(),
                Err(_) => false,
            },
            Kind::Other(server, buckets) => {
                let attempts = self.attempts;
                insist(server, buckets, &asked, request, attempts, rng).await
            }
        };
        let journey = asked.journey;
        let took = journey.uplink + journey.work + journey.downlink;
        Done {
            succeeded,
            waited: clock.elapsed().saturating_sub(began + took),
        }
    }
}

async fn call<S, RB>(mut service: S, request: Request<SimBody>) -> Result<StatusCode, BoxError>
where
    S: Service<Request<SimBody>, Response = http::Response<RB>>,
    S::Error: Into<BoxError>,
{
    let ready = poll_fn(|cx| service.poll_ready(cx)).await;
    ready.map_err(Into::into)?;
    let response = service.call(request).await.map_err(Into::into)?;
    Ok(response.status())
}

/// Makes the request; as long as it is refused, or the server is overloaded, again after a while.
async fn insist(
    server: Observe<SimService>,
    buckets: Option<Arc<Buckets>>,
    asked: &Asked,
    request: Request<SimBody>,
    attempts: u32,
    mut rng: fastrand::Rng,
) -> bool {
    for attempt in 1.. {
        if let Some(buckets) = &buckets {
            buckets.pass(asked).await;
        }
        let mut again = request.clone();
        again.extensions_mut().insert(Attempt(attempt));
        match call(server.clone(), again).await {
            Ok(status) if !matches!(status.as_u16(), 429 | 503) => return status.is_success(),
            _ if attempt >= attempts => return false,
            _ => tokio::time::sleep(backoff(attempt - 1, &mut rng)).await,
        }
    }
    false
}
