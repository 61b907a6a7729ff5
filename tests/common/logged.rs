//! A log of a real run against the simulator, with trouble and with secrets in it that must not be found again.

#![allow(dead_code, reason = "every test uses its own part")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::hubspot::{self, HubspotRoutes, HubspotSignals};
use tower_quota::plan::{Assumed, ColdStart, Lane, Limit, Plan, RouteClass, Scope, Zone};
use tower_quota::record::{Recorded, Recorder};
use tower_quota::request::AccountId;
use tower_quota::sim::{Fault, Latency, Sim};
use tower_quota::stack::StackLayer;
use tower_quota::{Api, ObserveLayer, Quota, RetryAfterLayer};

/// What a log must not contain.
pub(crate) const SECRETS: [&str; 8] = [
    "pat-na1-0badcafe",
    "ada.lovelace",
    "example.org",
    "901234567",
    "Bearer",
    "6251500",
    "lovelace%40",
    "hs_secret_property",
];

/// How a run is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) seed: u64,
    /// All layers, so that nothing is refused.
    pub(crate) is_polite: bool,
    /// Repetitions, and with them pauses.
    pub(crate) repeats: bool,
    /// Failures and lost connections.
    pub(crate) has_trouble: bool,
    pub(crate) latency: Latency,
    pub(crate) work: Latency,
    pub(crate) per_second: f64,
    pub(crate) requests: usize,
    /// Requests per 10 s and day.
    pub(crate) burst: u32,
    pub(crate) daily: u32,
}

impl Way {
    /// Nobody holds anything up, and all is repeated: many 429s, pauses, lost requests.
    pub(crate) const RECKLESS: Self = Self {
        seed: 1,
        is_polite: false,
        repeats: true,
        has_trouble: true,
        latency: Latency::WAN,
        work: Latency::uniform(Duration::from_millis(100), Duration::from_millis(400)),
        per_second: 14.0,
        requests: 1_500,
        burst: 40,
        daily: 1_000_000,
    };

    /// Every request is sent once, at once, and takes the same time.
    pub(crate) const BARE: Self = Self {
        repeats: false,
        has_trouble: false,
        latency: Latency::constant(Duration::from_millis(20)),
        work: Latency::constant(Duration::from_millis(100)),
        per_second: 25.0,
        ..Self::RECKLESS
    };
}

fn plan(way: &Way) -> Plan {
    let ten = Duration::from_secs(10);
    let plan = Plan::builder("hubspot")
        .limit(Limit::rolling(hubspot::BURST, way.burst, ten).governs([RouteClass::General]))
        .limit(
            Limit::rolling(hubspot::SEARCH, 5, Duration::from_secs(1))
                .scope(Scope::Account)
                .governs([RouteClass::Search]),
        )
        .limit(Limit::rolling(hubspot::ASSOCIATIONS, 20, ten).governs([RouteClass::Associations]))
        .limit(
            Limit::daily(hubspot::DAILY, way.daily, Zone::UTC)
                .scope(Scope::Account)
                .governs([
                    RouteClass::General,
                    RouteClass::Search,
                    RouteClass::Associations,
                ]),
        );
    plan.build().unwrap()
}

fn request(rng: &mut fastrand::Rng) -> Request<Full<Bytes>> {
    let id = 901_234_567_000 + rng.u64(..50);
    let (method, path, body) = match rng.u32(..10) {
        0 | 1 => (
            Method::POST,
            "/crm/v3/objects/contacts/search".to_owned(),
            r#"{"filterGroups":[{"filters":[{"propertyName":"email","operator":"EQ","value":"ada.lovelace@example.org"}]}]}"#.to_owned(),
        ),
        2 => (
            Method::POST,
            "/crm/v4/associations/contacts/companies/batch/read".to_owned(),
            format!(r#"{{"inputs":[{{"id":"{id}"}}]}}"#),
        ),
        3 => (
            Method::GET,
            "/crm/v3/objects/contacts/ada.lovelace%40example.org?idProperty=email".to_owned(),
            String::new(),
        ),
        4 => (
            Method::PATCH,
            format!("/crm/v3/objects/contacts/{id}"),
            r#"{"properties":{"hs_secret_property":"ada.lovelace@example.org"}}"#.to_owned(),
        ),
        _ => (
            Method::GET,
            format!("/crm/v3/objects/contacts/{id}?properties=hs_secret_property"),
            String::new(),
        ),
    };
    let token = rng.u32(..3);
    let mut request = Request::builder()
        .method(method)
        .uri(format!("https://api.example.org{path}"))
        .header("authorization", format!("Bearer pat-na1-0badcafe-{token}"))
        .header("content-type", "application/json")
        .body(Full::from(body))
        .unwrap();
    let extensions = request.extensions_mut();
    extensions.insert(AccountId("6251500".into()));
    if rng.bool() {
        extensions.insert(Lane::Bulk);
    }
    request
}

/// Makes a run in paused time and writes its log.
pub(crate) fn run(path: &Path, way: Way) -> Recorded {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let mut runtime = { runtime };
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    fastrand::seed(way.seed);
    runtime.block_on(make(path, way))
}

async fn make(path: &Path, way: Way) -> Recorded {
    // A whole number of milliseconds, some minutes before midnight.
    let clock = Clock::starting_at(UNIX_EPOCH + Duration::from_secs(1_763_855_700));
    let mut sim = Sim::builder()
        .clock(clock.clone())
        .seed(way.seed)
        .burst(way.burst.into(), Duration::from_secs(10))
        .associations(20, Duration::from_secs(10))
        .daily(way.daily.into())
        .latency(way.latency)
        .service_time(way.work);
    if way.has_trouble {
        sim = sim
            .fault(0.02, Fault::status(StatusCode::INTERNAL_SERVER_ERROR))
            .fault(
                0.01,
                Fault::status(StatusCode::SERVICE_UNAVAILABLE).retry_after(2),
            )
            .fault(0.01, Fault::drop_after_counting())
            .fault(0.01, Fault::drop_before_counting());
    }
    let sim = sim.build().unwrap();
    let api = Api::new(plan(&way))
        .routes(HubspotRoutes)
        .signals(HubspotSignals);
    let quota = Quota::builder(api)
        .clock(clock.clone())
        .cold_start(ColdStart::Assume(Assumed::Empty))
        .build();
    // The thread that writes lives in real time: no report is asked for at a moment that nobody can know.
    let recorder = Recorder::to(path).report_every(Duration::from_secs(86_400));
    let recording = recorder.start(&quota).unwrap();
    let polite = StackLayer::new(&quota).layer(sim.service());
    let reckless =
        RetryAfterLayer::new(&quota).layer(ObserveLayer::new(&quota).layer(sim.service()));
    let bare = ObserveLayer::new(&quota).layer(sim.service());
    let mut rng = fastrand::Rng::with_seed(way.seed);
    let mut tasks = JoinSet::new();
    for nth in 0..way.requests {
        let gap = -(1.0 - rng.f64()).ln() / way.per_second;
        tokio::time::sleep(Duration::from_millis((gap * 1_000.0) as u64)).await;
        let request = request(&mut rng);
        let (polite, reckless, bare) = (polite.clone(), reckless.clone(), bare.clone());
        tasks.spawn(async move {
            // Some callers do not wait for the answer.
            let patience = match (way.has_trouble, nth % 40) {
                (true, 0) => Duration::from_millis(150),
                _ => Duration::from_secs(10_000),
            };
            let answer = async {
                match way {
                    Way {
                        is_polite: true, ..
                    } => drop(polite.oneshot(request).await),
                    Way { repeats: true, .. } => drop(reckless.oneshot(request).await),
                    _ => drop(bare.oneshot(request).await),
                }
            };
            let _ = tokio::time::timeout(patience, answer).await;
        });
    }
    while tasks.join_next().await.is_some() {}
    recording.finish()
}

/// A directory that is removed at the end.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tower-quota-log-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("log.jsonl")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program, with these arguments.
pub(crate) fn program<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tower-quota"));
    command.args(arguments);
    command
}

/// Its exit code, and what it prints and complains of.
pub(crate) fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}
