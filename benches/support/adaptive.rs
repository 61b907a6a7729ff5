//! A server that refuses more than it bears, and adaptive limiters in front of it, each as its own documentation says.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use tower::util::BoxCloneService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::plan::Plan;
use tower_quota::{AdaptiveConcurrencyLayer, Quota};
use tower_resilience_adaptive::{
    AdaptiveError, AdaptiveLimiterLayer, Aimd, ConcurrencyAlgorithm, Gradient2, Vegas,
};

pub(crate) type Call = Request<Empty<Bytes>>;

/// A client with a limiter; of an answer only the status is wanted.
pub(crate) type Client = BoxCloneService<Call, StatusCode, BoxError>;

const SERVICE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(400));
pub(crate) const MEAN_SERVICE: Duration = Duration::from_millis(250);

pub(crate) fn call() -> Call {
    let request = Request::get("http://sim/things").header("authorization", "Bearer one");
    request.body(Empty::new()).expect("the request is sound")
}

/// What a request spends on the network each way: at least `base`, and `extra` more on average.
#[derive(Clone, Copy)]
pub(crate) struct Network {
    pub(crate) base: Duration,
    pub(crate) extra: Duration,
}

impl Network {
    pub(crate) const NONE: Network = Network {
        base: Duration::ZERO,
        extra: Duration::ZERO,
    };

    fn draw(self, random: &mut fastrand::Rng) -> Duration {
        self.base + self.extra.mul_f64(-(1.0 - random.f64()).ln())
    }
}

/// Answers in 100 to 400 ms, and refuses at once what is too much at a time.
#[derive(Clone)]
pub(crate) struct Server {
    refusal: StatusCode,
    network: Network,
    cap: fn(u64) -> u32,
    clock: Clock,
    at_work: Arc<AtomicU32>,
    random: Arc<Mutex<fastrand::Rng>>,
}

impl Server {
    pub(crate) fn new(
        refusal: StatusCode,
        network: Network,
        cap: fn(u64) -> u32,
        seed: u64,
    ) -> Self {
        Self {
            refusal,
            network,
            cap,
            clock: Clock::system(),
            at_work: Arc::default(),
            random: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))),
        }
    }

    fn random<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.random.lock().expect("nobody panics"))
    }
}

impl Service<Call> for Server {
    type Response = Response<Empty<Bytes>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Call) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            let (up, work, down) = server.random(|random| {
                let (least, most) = SERVICE;
                let work = least + (most - least).mul_f64(random.f64());
                (
                    server.network.draw(random),
                    work,
                    server.network.draw(random),
                )
            });
            pass(up).await;
            let most = (server.cap)(server.clock.elapsed().as_secs());
            let status = if server.at_work.load(Ordering::Relaxed) < most {
                server.at_work.fetch_add(1, Ordering::Relaxed);
                pass(work).await;
                server.at_work.fetch_sub(1, Ordering::Relaxed);
                StatusCode::OK
            } else {
                server.refusal
            };
            pass(down).await;
            let mut response = Response::new(Empty::new());
            *response.status_mut() = status;
            Ok(response)
        })
    }
}

async fn pass(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// One row of the table.
pub(crate) struct Limiter {
    pub(crate) name: &'static str,
    /// Whether ours is held against it.
    pub(crate) is_peer: bool,
    pub(crate) client: fn(Server) -> Client,
}

const fn limiter(name: &'static str, is_peer: bool, client: fn(Server) -> Client) -> Limiter {
    Limiter {
        name,
        is_peer,
        client,
    }
}

pub(crate) const ALL: [Limiter; 8] = [
    limiter("tower-quota", false, ours),
    // Takes every refusal for a success, so that its limit only rises: no limiter.
    limiter("AIMD", false, |server| peer(server, aimd(), false)),
    limiter("AIMD, refusals as errors", true, |server| {
        peer(server, aimd(), true)
    }),
    limiter("Vegas", true, |server| peer(server, vegas(), false)),
    limiter("Vegas, refusals as errors", true, |server| {
        peer(server, vegas(), true)
    }),
    limiter("Gradient2, refusals as errors", false, |server| {
        peer(server, gradient(), true)
    }),
    limiter("none", false, |server| {
        ServiceBuilder::new()
            .map_response(|response: Response<_>| response.status())
            .service(server)
            .boxed_clone()
    }),
    limiter("12, if it were known", false, |server| {
        ServiceBuilder::new()
            .map_response(|response: Response<_>| response.status())
            .concurrency_limit(12)
            .service(server)
            .boxed_clone()
    }),
];

fn ours(server: Server) -> Client {
    let plan = Plan::builder("unknown")
        .build()
        .expect("a plan may be empty");
    ServiceBuilder::new()
        .map_response(|response: Response<_>| response.status())
        .layer(AdaptiveConcurrencyLayer::new(&Quota::new(plan)))
        .service(server)
        .boxed_clone()
}

/// Defaults, but for the threshold: "Requests taking longer than this are considered a congestion signal". The default of 100 ms
/// would take every answer for one.
fn aimd() -> Aimd {
    Aimd::builder()
        .latency_threshold(Duration::from_secs(1))
        .build()
        .expect("sound")
}

fn vegas() -> Vegas {
    Vegas::builder().build().expect("sound")
}

fn gradient() -> Gradient2 {
    Gradient2::builder().build().expect("sound")
}

/// The crate's own layer. Only the clock of the latency is another: it reads the machine's, which stands still here.
fn peer<A>(server: Server, algorithm: A, refusals_are_errors: bool) -> Client
where
    A: ConcurrencyAlgorithm + 'static,
{
    let latency = Arc::<AtomicU64>::default();
    let timed = Timed {
        server,
        latency: latency.clone(),
        refusals_are_errors,
    };
    let layer = AdaptiveLimiterLayer::new(OnPausedTime { algorithm, latency });
    ServiceBuilder::new()
        .map_result(|result| match result {
            Ok(status) | Err(AdaptiveError::Service(Refused(status))) => Ok(status),
            Err(AdaptiveError::LimitReached) => Err(BoxError::from("the limit is reached")),
        })
        .layer(layer)
        .service(timed)
        .boxed_clone()
}

#[derive(Debug)]
struct Refused(StatusCode);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused: {}", self.0)
    }
}

/// Leaves the latency of each answer for [`OnPausedTime`], which is told of it in the same poll.
#[derive(Clone)]
struct Timed {
    server: Server,
    latency: Arc<AtomicU64>,
    refusals_are_errors: bool,
}

impl Service<Call> for Timed {
    type Response = StatusCode;
    type Error = Refused;
    type Future = Pin<Box<dyn Future<Output = Result<StatusCode, Refused>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let (timed, clock) = (self.clone(), Clock::system());
        let answer = self.server.call(call);
        Box::pin(async move {
            let status = answer.await.expect("the server answers").status();
            let latency = u64::try_from(clock.elapsed().as_nanos()).expect("not that long");
            timed.latency.store(latency, Ordering::Relaxed);
            if timed.refusals_are_errors && !status.is_success() {
                return Err(Refused(status));
            }
            Ok(status)
        })
    }
}

struct OnPausedTime<A> {
    algorithm: A,
    latency: Arc<AtomicU64>,
}

impl<A> OnPausedTime<A> {
    fn latency(&self) -> Duration {
        Duration::from_nanos(self.latency.load(Ordering::Relaxed))
    }
}

impl<A: ConcurrencyAlgorithm> ConcurrencyAlgorithm for OnPausedTime<A> {
    fn record_success(&self, _: Duration) {
        self.algorithm.record_success(self.latency());
    }

    fn record_success_with_load(&self, _: Duration, in_flight: usize) {
        self.algorithm
            .record_success_with_load(self.latency(), in_flight);
    }

    fn record_failure(&self) {
        self.algorithm.record_failure();
    }

    fn record_dropped(&self) {
        self.algorithm.record_dropped();
    }

    fn limit(&self) -> usize {
        self.algorithm.limit()
    }

    fn min_limit(&self) -> usize {
        self.algorithm.min_limit()
    }

    fn max_limit(&self) -> usize {
        self.algorithm.max_limit()
    }
}
