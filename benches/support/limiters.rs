//! Ours and other people's limiters in front of a server, each as its own documentation says.

// Every bench compiles its own copy and uses a part of it.
#![allow(dead_code)]

use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use governor::Jitter;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Empty;
use throttle_net::tower::ThrottleLayer;
use throttle_net::{SlidingWindowLog, Throttle, TokioClock};
use tower::util::BoxCloneService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_quota::Quota;
use tower_quota::clock::Clock;
use tower_quota::plan::{Limit, Plan};
use tower_quota::sim::{SimBody, SimService};
use tower_quota::stack::StackLayer;
use tower_resilience_ratelimiter::{RateLimiterLayer, WindowType};

pub(crate) type Call = Request<Empty<Bytes>>;

/// What the limiters stand in front of.
#[derive(Clone)]
pub(crate) enum Server {
    Sim(SimService),
    /// Answers at once.
    Ready(fn() -> Response<SimBody>),
}

impl<B> Service<Request<B>> for Server
where
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<SimBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<SimBody>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self {
            Server::Sim(sim) => {
                let answer = sim.call(request);
                Box::pin(async { Ok(answer.await?) })
            }
            Server::Ready(answer) => Box::pin(std::future::ready(Ok(answer()))),
        }
    }
}

/// A client with a limiter; of an answer only the status is wanted.
pub(crate) type Client = BoxCloneService<Call, StatusCode, BoxError>;

/// `quota` requests per `window`: what every limiter is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    pub(crate) quota: u32,
    pub(crate) window: Duration,
}

impl Allowance {
    /// The time between two requests at an even pace.
    pub(crate) fn spacing(self) -> Duration {
        self.window / self.quota
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limiter {
    pub(crate) name: &'static str,
    /// Whether it is this crate's.
    pub(crate) ours: bool,
    /// Whether the server tells its service time.
    pub(crate) header: bool,
    pub(crate) client: fn(Server, Allowance) -> Client,
}

impl Limiter {
    const fn ours(name: &'static str, client: fn(Server, Allowance) -> Client) -> Self {
        Self {
            name,
            ours: true,
            header: true,
            client,
        }
    }

    const fn peer(name: &'static str, client: fn(Server, Allowance) -> Client) -> Self {
        Self {
            name,
            ours: false,
            header: true,
            client,
        }
    }

    const fn without_header(mut self) -> Self {
        self.header = false;
        self
    }
}

pub(crate) const OURS: Limiter = Limiter::ours("tower-quota", ours);
pub(crate) const OURS_WITHOUT_HEADER: Limiter =
    Limiter::ours("tower-quota, no service-time header", ours).without_header();
pub(crate) const OURS_WITH_FLOOR: Limiter =
    Limiter::ours("tower-quota, network floor", ours_with_floor);

pub(crate) const TOWER: Limiter = Limiter::peer("tower Buffer + RateLimit", tower_rate_limit);

pub(crate) const ALL: [Limiter; 13] = [
    OURS,
    OURS_WITHOUT_HEADER,
    OURS_WITH_FLOOR,
    Limiter::peer("none, exponential backoff", no_limiter),
    Limiter::peer("token bucket from blog posts", blog_bucket),
    Limiter::peer("governor, burst N (emulated)", governor_burst),
    Limiter::peer("governor, burst 1 (emulated)", governor_even),
    Limiter::peer("leaky-bucket", leaky_bucket),
    TOWER,
    Limiter::peer("tower-resilience, sliding log", resilience),
    Limiter::peer("throttle-net Throttle", throttle),
    Limiter::peer("throttle-net smooth", throttle_smooth),
    Limiter::peer("throttle-net SlidingWindowLog", throttle_log),
];

fn quota(allowance: Allowance, network_floor: bool) -> Quota {
    let limit = Limit::rolling("burst", allowance.quota, allowance.window);
    let plan = Plan::builder("sim").limit(limit).build();
    Quota::builder(plan.expect("the plan is sound"))
        .network_floor(network_floor)
        .build()
}

pub(crate) fn ours(server: Server, allowance: Allowance) -> Client {
    stacked(server, &quota(allowance, false))
}

fn ours_with_floor(server: Server, allowance: Allowance) -> Client {
    stacked(server, &quota(allowance, true))
}

pub(crate) fn stacked(server: Server, quota: &Quota) -> Client {
    ServiceBuilder::new()
        .map_response(|response: Response<_>| response.status())
        .layer(StackLayer::new(quota))
        .service(server)
        .boxed_clone()
}

fn no_limiter(server: Server, _: Allowance) -> Client {
    gated(server, || std::future::ready(()))
}

/// Waits for `pass` before every call.
pub(crate) fn gated<F, P>(server: Server, pass: F) -> Client
where
    F: Fn() -> P + Clone + Send + 'static,
    P: Future<Output = ()> + Send + 'static,
{
    let call = move |request: Call| {
        let (pass, server) = (pass(), server.clone());
        async move {
            pass.await;
            let response = server.oneshot(request).await?;
            Ok::<_, BoxError>(response.status())
        }
    };
    tower::service_fn(call).boxed_clone()
}

/// "A token bucket per portal": N tokens, filled up every W. Who finds it empty sleeps until then and goes; so does everybody
/// else who has slept.
fn blog_bucket(server: Server, allowance: Allowance) -> Client {
    struct Bucket {
        tokens: u32,
        filled: Duration,
    }
    impl Bucket {
        fn fill(&mut self, now: Duration, allowance: Allowance) {
            if now >= self.filled + allowance.window {
                (self.tokens, self.filled) = (allowance.quota, now);
            }
        }
    }
    let clock = Clock::system();
    let bucket = Arc::new(Mutex::new(Bucket {
        tokens: allowance.quota,
        filled: clock.elapsed(),
    }));
    gated(server, move || {
        let (clock, bucket) = (clock.clone(), bucket.clone());
        async move {
            let wait = {
                let mut bucket = bucket.lock().expect("nobody panics");
                bucket.fill(clock.elapsed(), allowance);
                match bucket.tokens.checked_sub(1) {
                    Some(left) => {
                        bucket.tokens = left;
                        None
                    }
                    None => {
                        Some((bucket.filled + allowance.window).saturating_sub(clock.elapsed()))
                    }
                }
            };
            if let Some(wait) = wait {
                tokio::time::sleep(wait).await;
                let mut bucket = bucket.lock().expect("nobody panics");
                bucket.fill(clock.elapsed(), allowance);
                bucket.tokens = bucket.tokens.saturating_sub(1);
            }
        }
    })
}

/// governor's clock on tokio's time. Its own clocks and its `until_ready` use the real time only.
#[derive(Clone)]
pub(crate) struct TokioTime(pub(crate) Clock);

impl governor::clock::Clock for TokioTime {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

pub(crate) type Governor =
    governor::RateLimiter<NotKeyed, InMemoryState, TokioTime, NoOpMiddleware<Nanos>>;

/// governor's `until_ready_with_jitter`, which its documentation advises for many waiters, line by line, but with tokio's timer.
pub(crate) async fn until_ready_with_jitter(governor: Arc<Governor>, jitter: Jitter) {
    while let Err(not_until) = governor.check() {
        let wait = not_until.wait_time_from(governor.clock().now());
        tokio::time::sleep(jitter + wait).await;
    }
}

fn governor(server: Server, allowance: Allowance, burst: u32) -> Client {
    let quota = governor::Quota::with_period(allowance.spacing())
        .expect("the spacing is not zero")
        .allow_burst(NonZeroU32::new(burst).expect("the burst is not zero"));
    let clock = TokioTime(Clock::system());
    let limiter = Arc::new(Governor::direct_with_clock(quota, clock));
    let jitter = Jitter::up_to(allowance.spacing());
    gated(server, move || {
        until_ready_with_jitter(limiter.clone(), jitter)
    })
}

/// N at once and then one every W/N: what `Quota::per_second(N)` means for a window of one second.
pub(crate) fn governor_burst(server: Server, allowance: Allowance) -> Client {
    governor(server, allowance, allowance.quota)
}

fn governor_even(server: Server, allowance: Allowance) -> Client {
    governor(server, allowance, 1)
}

pub(crate) fn leaky_bucket(server: Server, allowance: Allowance) -> Client {
    let limiter = leaky_bucket::RateLimiter::builder()
        .max(allowance.quota as usize)
        .initial(allowance.quota as usize)
        .refill(1)
        .interval(allowance.spacing())
        .build();
    let limiter = Arc::new(limiter);
    gated(server, move || limiter.clone().acquire_owned(1))
}

pub(crate) fn tower_rate_limit(server: Server, allowance: Allowance) -> Client {
    ServiceBuilder::new()
        .map_response(|response: Response<_>| response.status())
        .buffer(1024)
        .rate_limit(u64::from(allowance.quota), allowance.window)
        .service(server)
        .boxed_clone()
}

/// In backpressure mode, "ideal for client-side rate limiting against external APIs".
pub(crate) fn resilience(server: Server, allowance: Allowance) -> Client {
    let layer = RateLimiterLayer::builder()
        .limit_for_period(allowance.quota as usize)
        .refresh_period(allowance.window)
        .window_type(WindowType::SlidingLog)
        .backpressure()
        .build();
    ServiceBuilder::new()
        .map_response(|response: Response<_>| response.status())
        .map_err(|error| Box::new(error) as BoxError)
        .layer(layer.expect("the limit is sound"))
        .service(server)
        .boxed_clone()
}

pub(crate) fn throttle(server: Server, allowance: Allowance) -> Client {
    let throttle = Throttle::per_duration(allowance.quota, allowance.window);
    throttled(
        server,
        ThrottleLayer::new(throttle.with_clock(TokioClock::new())),
    )
}

fn throttle_smooth(server: Server, allowance: Allowance) -> Client {
    let throttle = Throttle::smooth(allowance.quota, allowance.window);
    throttled(
        server,
        ThrottleLayer::new(throttle.with_clock(TokioClock::new())),
    )
}

fn throttle_log(server: Server, allowance: Allowance) -> Client {
    let log = SlidingWindowLog::new(allowance.quota, allowance.window);
    throttled(
        server,
        ThrottleLayer::new(log.with_clock(TokioClock::new())),
    )
}

fn throttled(server: Server, layer: ThrottleLayer) -> Client {
    ServiceBuilder::new()
        .map_response(|response: Response<_>| response.status())
        .layer(layer)
        .service(server)
        .boxed_clone()
}
