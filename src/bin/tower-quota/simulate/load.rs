//! Requests against the simulated API, in virtual time.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use http::{Method, Request, Response, StatusCode};
use tokio::task::JoinSet;
use tower_layer::Layer;
use tower_quota::clock::Clock;
use tower_quota::hubspot;
use tower_quota::plan::{Assumed, ColdStart, Lane, Limit, Plan, Rule, Scope, Zone};
use tower_quota::request::AccountId;
use tower_quota::sim::{Counted, Latency, Others, Sim, SimBody, SimError, SimService, Stats};
use tower_quota::stack::StackLayer;
use tower_quota::{BoxError, ConfigError, Quota};
use tower_service::Service;

use crate::error::CliError;
use crate::limiter::{Bucket, Limiter, backoff};
use crate::progress::Progress;

/// A midnight, so that the day is whole: 2026-01-05 in UTC.
const BEGINS: Duration = Duration::from_secs(1_767_571_200);
/// Steps of the progress that is shown.
pub(super) const PARTS: u32 = 200;
const ACCOUNT: &str = "one";

/// What is tried.
pub(super) struct Load {
    pub(super) plan: Plan,
    pub(super) tier: hubspot::Tier,
    pub(super) tokens: usize,
    /// Requests per second of each token; `None` for as many as it gets done.
    pub(super) rate: Option<f64>,
    /// Requests of each token at a time, where there is no rate.
    pub(super) tasks: usize,
    pub(super) searches: f64,
    pub(super) latency: Latency,
    pub(super) service_time: Latency,
    pub(super) duration: Duration,
    pub(super) others: Option<f64>,
    pub(super) other_searches: Option<f64>,
    pub(super) lane: Lane,
    pub(super) max_wait: Duration,
    pub(super) seed: u64,
}

/// What has come of it.
pub(super) struct Seen {
    pub(super) stats: Stats,
    /// Requests that were admitted, by anybody, in the order of their times.
    pub(super) admitted: Vec<Counted>,
    /// When somebody was told of a refusal, and whether of a search.
    pub(super) refused: Vec<(Duration, bool)>,
    pub(super) calls: Calls,
}

/// What the callers have met.
#[derive(Default)]
pub(super) struct Calls {
    pub(super) begun: u64,
    pub(super) done: u64,
    /// Ours waits no longer than it may.
    pub(super) gave_up: u64,
    /// From the call to its answer, in seconds.
    pub(super) took: Vec<f64>,
}

/// A limit with a window.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) quota: u32,
    pub(super) length: Duration,
    pub(super) scope: Scope,
}

impl Load {
    /// The rolling limit of this name.
    pub(super) fn window(&self, name: &str) -> Option<Window> {
        let limit: &Limit = self.plan.limit(name)?;
        match limit.rule() {
            Rule::Rolling { quota, window } => Some(Window {
                quota: *quota,
                length: *window,
                scope: limit.get_scope(),
            }),
            _ => None,
        }
    }

    /// How many of it there are for all tokens.
    pub(super) fn copies(&self, window: &Window) -> u64 {
        match window.scope {
            Scope::Token => self.tokens as u64,
            _ => 1,
        }
    }

    pub(super) fn run(&self, limiter: Limiter, progress: &Progress) -> Result<Seen, CliError> {
        // What the layers draw.
        fastrand::seed(self.seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let runtime = runtime.map_err(|error| CliError::Other(error.to_string()))?;
        let seen = runtime.block_on(self.make(limiter, progress));
        seen.map_err(|error| CliError::Other(format!("cannot be simulated: {error}")))
    }

    async fn make(&self, limiter: Limiter, progress: &Progress) -> Result<Seen, ConfigError> {
        let clock = Clock::starting_at(SystemTime::UNIX_EPOCH + BEGINS);
        let sim = self.server(&clock)?;
        let refused = Arc::<Mutex<Vec<_>>>::default();
        let tap = Tap {
            sim: sim.service(),
            clock: clock.clone(),
            refused: refused.clone(),
        };
        let client = Client {
            gate: self.gate(limiter, &clock),
            server: match limiter {
                Limiter::Ours => Arc::new(stacked(self.stack(&clock), tap)),
                _ => Arc::new(bare(tap)),
            },
            clock: clock.clone(),
            lane: self.lane,
            calls: Arc::default(),
        };
        let mut tasks = JoinSet::new();
        let mut random = fastrand::Rng::with_seed(self.seed ^ 0x5eed);
        for token in 0..self.tokens {
            let client = client.clone();
            match self.rate {
                Some(rate) => {
                    let (searches, random) = (self.searches, random.fork());
                    tasks.spawn(offer(client, token, rate, searches, random));
                }
                None => {
                    let searching = (self.tasks as f64 * self.searches).ceil() as usize;
                    for task in 0..self.tasks {
                        let (client, random) = (client.clone(), random.fork());
                        tasks.spawn(insist(client, token, task < searching, random));
                    }
                }
            }
        }
        for part in 1..=PARTS {
            let until = self.duration * part / PARTS;
            tokio::time::sleep(until.saturating_sub(clock.elapsed())).await;
            progress.step();
        }
        let stats = sim.stats();
        let admitted = sim.log();
        tasks.abort_all();
        Ok(Seen {
            stats,
            admitted,
            refused: taken(&refused),
            calls: taken(&client.calls),
        })
    }

    fn server(&self, clock: &Clock) -> Result<Sim, ConfigError> {
        let mut sim = Sim::builder()
            .latency(self.latency)
            .service_time(self.service_time)
            .seed(self.seed)
            .record(true)
            .clock(clock.clone());
        sim = match self.window(hubspot::BURST) {
            Some(window) => sim.burst(u64::from(window.quota), window.length),
            None => sim.no_burst(),
        };
        sim = match self.window(hubspot::SEARCH) {
            Some(window) => sim.search(u64::from(window.quota), window.length),
            None => sim.no_search(),
        };
        sim = match self.plan.limit(hubspot::DAILY) {
            Some(limit) => sim.daily(u64::from(limit.rule().quota())),
            None => sim.no_daily(),
        };
        if self
            .window(hubspot::BURST)
            .is_some_and(|window| self.copies(&window) == 1)
        {
            for token in 0..self.tokens {
                sim = sim.app(name(token), 1);
            }
        }
        if let Some(rate) = self.others {
            sim = sim.others(Others::burst(rate));
        }
        if let Some(rate) = self.other_searches {
            sim = sim.others(Others::search(rate));
        }
        sim.build()
    }

    fn stack(&self, clock: &Clock) -> StackLayer {
        let quota = Quota::builder(hubspot::api(self.tier, Zone::UTC))
            .clock(clock.clone())
            .max_waiting(u32::MAX);
        // The simulated server has counted nothing of ours before, but it may have of others.
        let quota = match (self.others, self.other_searches) {
            (None, None) => quota.cold_start(ColdStart::Assume(Assumed::Empty)),
            _ => quota,
        };
        hubspot::stack(&quota.build()).max_wait(self.max_wait)
    }

    /// What each request passes before it is sent: a bucket for each limit and whoever has it.
    fn gate(&self, limiter: Limiter, clock: &Clock) -> Arc<Gate> {
        let buckets = |name| match (limiter, self.window(name)) {
            (Limiter::TokenBucket, Some(window)) => (0..self.copies(&window))
                .map(|_| Bucket::new(clock, window.quota, window.length))
                .collect(),
            _ => Vec::new(),
        };
        Arc::new(Gate {
            burst: buckets(hubspot::BURST),
            search: buckets(hubspot::SEARCH),
        })
    }
}

fn taken<T: Default>(shared: &Mutex<T>) -> T {
    std::mem::take(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner))
}

fn name(token: usize) -> String {
    format!("token-{}", token + 1)
}

/// The buckets of all tokens, or the one that they share. Empty for limiters without.
struct Gate {
    burst: Vec<Bucket>,
    search: Vec<Bucket>,
}

impl Gate {
    async fn pass(&self, token: usize, is_search: bool) {
        let buckets = if is_search { &self.search } else { &self.burst };
        if let Some(bucket) = buckets.get(token).or(buckets.first()) {
            bucket.pass().await;
        }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<StatusCode, BoxError>> + Send>>;

/// Makes calls, and takes note of them.
#[derive(Clone)]
struct Client {
    gate: Arc<Gate>,
    server: Arc<dyn Fn(Request<SimBody>) -> Answer + Send + Sync>,
    clock: Clock,
    lane: Lane,
    calls: Arc<Mutex<Calls>>,
}

impl Client {
    fn note(&self, note: impl FnOnce(&mut Calls)) {
        note(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Makes one call; as long as it is refused it is repeated after a backoff. Whether it was answered in the end.
    async fn call(&self, token: usize, is_search: bool, random: &mut fastrand::Rng) -> bool {
        let began = self.clock.elapsed();
        self.note(|calls| calls.begun += 1);
        for attempt in 0.. {
            self.gate.pass(token, is_search).await;
            match (self.server)(request(token, is_search, self.lane)).await {
                Ok(StatusCode::TOO_MANY_REQUESTS) => {
                    tokio::time::sleep(backoff(attempt, random)).await;
                }
                Ok(_) => {
                    let took = self.clock.elapsed() - began;
                    self.note(|calls| {
                        calls.done += 1;
                        calls.took.push(took.as_secs_f64());
                    });
                    return true;
                }
                Err(_) => {
                    self.note(|calls| calls.gave_up += 1);
                    return false;
                }
            }
        }
        false
    }
}

fn request(token: usize, is_search: bool, lane: Lane) -> Request<SimBody> {
    let (method, path, body) = match is_search {
        true => (Method::POST, "/crm/v3/objects/contacts/search", "{}"),
        false => (Method::GET, "/crm/v3/owners", ""),
    };
    let mut request = Request::new(SimBody::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = http::Uri::from_static(path);
    if let Ok(value) = format!("Bearer {}", name(token)).try_into() {
        let headers = request.headers_mut();
        headers.insert(http::header::AUTHORIZATION, value);
    }
    let extensions = request.extensions_mut();
    extensions.insert(AccountId::from(ACCOUNT));
    extensions.insert(lane);
    request
}

/// Calls at random moments, whether those before are answered or not.
async fn offer(client: Client, token: usize, rate: f64, searches: f64, mut random: fastrand::Rng) {
    let mut tasks = JoinSet::new();
    let mut at = 0.0;
    loop {
        at += -(1.0 - random.f64()).ln() / rate;
        let wait = Duration::from_secs_f64(at).saturating_sub(client.clock.elapsed());
        tokio::time::sleep(wait).await;
        let is_search = random.f64() < searches;
        let (client, mut random) = (client.clone(), random.fork());
        tasks.spawn(async move {
            client.call(token, is_search, &mut random).await;
        });
        while tasks.try_join_next().is_some() {}
    }
}

/// One call after the other.
async fn insist(client: Client, token: usize, is_search: bool, mut random: fastrand::Rng) {
    loop {
        let pause = match client.call(token, is_search, &mut random).await {
            true => Duration::from_millis(1),
            // One that fails at once takes no time; asked for each millisecond, nothing else would be done.
            false => backoff(0, &mut random),
        };
        tokio::time::sleep(pause).await;
    }
}

/// The layers of this crate in front of the server.
fn stacked(layers: StackLayer, tap: Tap) -> impl Fn(Request<SimBody>) -> Answer + Send + Sync {
    let service = layers.layer(tap);
    move |request| answer(service.clone(), request)
}

fn bare(tap: Tap) -> impl Fn(Request<SimBody>) -> Answer + Send + Sync {
    move |request| answer(tap.clone(), request)
}

fn answer<S, B>(mut service: S, request: Request<SimBody>) -> Answer
where
    S: Service<Request<SimBody>, Response = Response<B>> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: 'static,
{
    Box::pin(async move {
        let ready = poll_fn(|context| service.poll_ready(context)).await;
        ready.map_err(Into::into)?;
        let response = service.call(request).await.map_err(Into::into)?;
        Ok(response.status())
    })
}

/// The server, with somebody who takes note of refusals.
#[derive(Clone)]
struct Tap {
    sim: SimService,
    clock: Clock,
    refused: Arc<Mutex<Vec<(Duration, bool)>>>,
}

impl<B> Service<Request<B>> for Tap
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<SimBody>;
    type Error = SimError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<SimBody>, SimError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SimError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_search = request.uri().path().ends_with("/search");
        let (clock, refused) = (self.clock.clone(), self.refused.clone());
        let answer = self.sim.call(request);
        Box::pin(async move {
            let response = answer.await?;
            if response.status() == StatusCode::TOO_MANY_REQUESTS {
                let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
                refused.push((clock.elapsed(), is_search));
            }
            Ok(response)
        })
    }
}
