//! Promise: searches wait in a place of their own, with slots that bulk work cannot take, and pay once however the layers are
//! stacked; all other requests pass untouched. As for every layer: nothing is lost when a search is given up, nothing inside is
//! reserved while it waits, waiting ends, and answers and errors are those of the service inside.

mod common;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use common::{
    FOREVER, HOUR, Hand, PieceBody, SEARCH_BODY, SECOND, Server, TestError, Valve, at_once,
    fresh_hubspot, get, lock, lost, ms, never, search,
};
use http::{Extensions, Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_quota::body::{HeldBody, PeekBody};
use tower_quota::clock::Clock;
use tower_quota::core::DenialReason;
use tower_quota::plan::{Limit, Plan, RouteClass, Rule, Zone};
use tower_quota::request::{Deadline, Lane};
use tower_quota::search::ClassBudgetLayer;
use tower_quota::sim::{Latency, Sim};
use tower_quota::{
    BoxError, Quota, QuotaError, RetryAfterLayer, SearchBudgetLayer, TokenLimitLayer,
};

type Plain = Request<Full<Bytes>>;
type Api = BoxCloneSyncService<Plain, Response<Full<Bytes>>, BoxError>;

/// HubSpot's five searches per second, and nothing counted by the day.
fn hubspot() -> Quota {
    fresh_hubspot(Zone::UNKNOWN).build()
}

fn with<T: Clone + Send + Sync + 'static>(mut request: Plain, extension: T) -> Plain {
    request.extensions_mut().insert(extension);
    request
}

fn lookup() -> Plain {
    with(search("t"), Lane::Interactive)
}

fn used(quota: &Quota) -> u32 {
    quota.usage("search", &search("t")).unwrap().used
}

fn quota_error(error: &BoxError) -> &QuotaError {
    error.downcast_ref().expect("it is ours")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Search,
    Class,
    Limit,
    Retry,
}

fn erased<S>(service: S) -> Api
where
    S: Service<Plain, Response = Response<Full<Bytes>>, Error = BoxError>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    BoxCloneSyncService::new(service)
}

/// Layers of several quotas around `server`, the first one outside. Nobody waits.
fn stack(parts: &[(Part, &Quota)], server: &Server) -> Api {
    let plain = |response: Response<PieceBody>| async {
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok::<_, TestError>(Response::from_parts(head, Full::new(body)))
    };
    let inner = ServiceBuilder::new().map_err(BoxError::from);
    let mut api = erased(inner.and_then(plain).service(server.clone()));
    for (part, quota) in parts.iter().rev() {
        let outer = ServiceBuilder::new()
            .map_response(|response: Response<PeekBody<_>>| response.map(|_| Full::default()));
        let classes = [RouteClass::Search, RouteClass::Associations];
        let budget = SearchBudgetLayer::new(quota).reserve(0);
        let class = ClassBudgetLayer::new(quota, classes);
        let limit = TokenLimitLayer::new(quota);
        let retry = RetryAfterLayer::new(quota).max_wait(FOREVER);
        let unheld = |request: Request<HeldBody<_>>| request.map(|_| Full::default());
        api = match part {
            Part::Search => erased(outer.layer(budget.max_wait(Duration::ZERO)).service(api)),
            Part::Class => erased(outer.layer(class.max_wait(Duration::ZERO)).service(api)),
            Part::Limit => erased(outer.layer(limit.max_wait(Duration::ZERO)).service(api)),
            Part::Retry => erased(outer.layer(retry).map_request(unheld).service(api)),
        };
    }
    api
}

/// How many searches go at once.
async fn searches(api: &Api) -> usize {
    for nth in 0..20 {
        if let Err(error) = api.clone().oneshot(search("t")).await {
            assert_eq!(quota_error(&error).limit(), "search");
            return nth;
        }
    }
    panic!("no limit");
}

#[tokio::test(start_paused = true)]
async fn a_search_pays_once_in_every_order() {
    use Part::{Class, Limit, Search};
    for parts in [
        &[Search] as &[Part],
        &[Class],
        &[Limit],
        &[Search, Limit],
        &[Limit, Search],
        &[Search, Search],
        &[Search, Search, Limit],
        &[Search, Limit, Search],
        &[Limit, Search, Search],
        &[Search, Class, Limit],
        &[Class, Limit, Search, Class],
        &[Search, Limit, Limit],
    ] {
        let quota = hubspot();
        let server = Server::fine();
        let parts: Vec<_> = parts.iter().map(|part| (*part, &quota)).collect();
        let api = stack(&parts, &server);
        for round in 1..=3 {
            assert_eq!(searches(&api).await, 5, "{parts:?}");
            assert_eq!((used(&quota), server.count()), (5, 5 * round), "{parts:?}");
            sleep(SECOND + ms(1)).await;
        }
    }
}

/// The marks of two quotas do not confuse each other: each is paid once.
#[tokio::test(start_paused = true)]
async fn two_quotas_are_each_paid_once() {
    use Part::{Limit, Search};
    let (one, other) = (hubspot(), hubspot());
    for parts in [
        [
            (Search, &one),
            (Search, &other),
            (Limit, &one),
            (Limit, &other),
        ],
        [
            (Search, &one),
            (Search, &other),
            (Limit, &other),
            (Limit, &one),
        ],
        [
            (Search, &one),
            (Limit, &other),
            (Limit, &one),
            (Search, &other),
        ],
        [
            (Limit, &one),
            (Limit, &other),
            (Search, &one),
            (Search, &other),
        ],
    ] {
        let api = stack(&parts, &Server::fine());
        assert_eq!(searches(&api).await, 5, "{parts:?}");
        assert_eq!((used(&one), used(&other)), (5, 5), "{parts:?}");
        sleep(SECOND + ms(1)).await;
    }
}

/// A retry layer anywhere: each attempt that the server sees pays, and none twice.
#[tokio::test(start_paused = true)]
async fn every_attempt_pays() {
    use Part::{Limit, Retry, Search};
    for parts in [
        &[Retry, Search, Limit] as &[Part],
        &[Search, Retry, Limit],
        &[Limit, Retry, Search],
        &[Search, Search, Retry, Limit],
        &[Search, Retry, Search, Limit],
        &[Search, Retry, Limit, Search],
    ] {
        let quota = hubspot();
        // So long that no slot comes back before the end.
        let rule = Rule::Rolling {
            quota: 5,
            window: HOUR,
        };
        quota.set_rule("search", &rule).unwrap();
        let server = Server::new(|nth, _| {
            let status = if nth < 3 { 503 } else { 200 };
            at_once(status, &[("retry-after", "0")], "")
        });
        let parts: Vec<_> = parts.iter().map(|part| (*part, &quota)).collect();
        let api = stack(&parts, &server);
        let response = api.oneshot(search("t")).await.unwrap();
        assert_eq!((response.status().as_u16(), server.count()), (200, 4));
        assert_eq!(used(&quota), 4, "{parts:?}");
    }
}

/// What a layer in between makes of a search is another request, and pays for itself.
#[tokio::test(start_paused = true)]
async fn a_class_never_takes_anothers_slots() {
    let quota = hubspot();
    let into_read = |mut request: Plain| {
        *request.uri_mut() = get("t").uri().clone();
        request
    };
    let api = ServiceBuilder::new()
        .layer(SearchBudgetLayer::new(&quota).reserve(0))
        .map_request(into_read)
        .layer(TokenLimitLayer::new(&quota))
        .service(Server::fine());
    api.oneshot(search("t")).await.unwrap();
    let burst = quota.plan().limits()[0].name().to_owned();
    assert_eq!(quota.usage(&burst, &get("t")).unwrap().used, 1);
}

/// Others go while searches wait, at once and with all that the caller attached.
#[tokio::test(start_paused = true)]
async fn other_requests_pass_untouched() {
    #[derive(Clone, Debug, PartialEq)]
    struct Mine(u32);
    let quota = hubspot();
    let seen = Arc::new(Mutex::new(Vec::<Extensions>::new()));
    let log = seen.clone();
    let api = ServiceBuilder::new()
        .layer(SearchBudgetLayer::new(&quota).max_wait(FOREVER))
        .map_request(move |request: Plain| {
            lock(&log).push(request.extensions().clone());
            request
        })
        .service(Server::fine());
    let mut waiting: Vec<_> = (0..50)
        .map(|_| Hand::new(api.clone().oneshot(search("t"))))
        .collect();
    for search in &mut waiting {
        let _ = search.poll();
    }
    assert_eq!(quota.waiting(), 46);
    lock(&seen).clear();
    for _ in 0..300 {
        let mut other = Hand::new(api.clone().oneshot(with(get("t"), Mine(7))));
        assert!(other.poll().is_ready(), "it need not wait");
    }
    for extensions in lock(&seen).drain(..) {
        assert_eq!(extensions.get(), Some(&Mine(7)));
        assert_eq!(extensions.get::<Lane>(), None, "nothing of ours");
        assert_eq!(extensions.len(), 1);
    }
    let extensions = with(with(search("other"), Mine(8)), Lane::Interactive);
    api.clone().oneshot(extensions).await.unwrap();
    let seen = lock(&seen).pop().unwrap();
    assert_eq!(seen.get(), Some(&Mine(8)));
    assert_eq!(seen.get(), Some(&Lane::Interactive));
}

/// `Bulk` never holds the reserve, `Interactive` may hold all; the limits of other classes keep nothing.
#[tokio::test(start_paused = true)]
async fn some_slots_are_kept_for_interactive() {
    for (reserve, bulk_may) in [(None, 4), (Some(0), 5), (Some(3), 2), (Some(99), 1)] {
        let quota = hubspot();
        let mut layer = SearchBudgetLayer::new(&quota).max_wait(Duration::ZERO);
        if let Some(reserve) = reserve {
            layer = layer.reserve(reserve);
        }
        let api = layer.layer(Server::fine());
        for lanes in [
            [Lane::Bulk, Lane::Interactive],
            [Lane::Interactive, Lane::Bulk],
        ] {
            let mut went = [0, 0];
            for (lane, went) in lanes.iter().zip(&mut went) {
                while api.clone().oneshot(with(search("t"), *lane)).await.is_ok() {
                    *went += 1;
                }
            }
            let expected = match lanes[0] {
                Lane::Bulk => [bulk_may, 5 - bulk_may],
                Lane::Interactive => [5, 0],
            };
            assert_eq!(went, expected, "{reserve:?} {lanes:?}");
            sleep(SECOND + ms(1)).await;
        }
        let others = TokenLimitLayer::new(&quota).max_wait(Duration::ZERO);
        let others = others.layer(Server::fine());
        for _ in 0..190 {
            others.clone().oneshot(get("t")).await.unwrap();
        }
    }
}

/// A limit that governs other classes as well keeps nothing for the layer of one of them.
#[tokio::test(start_paused = true)]
async fn a_reserve_concerns_the_limits_of_its_classes_only() {
    let plan = Plan::builder("mixed")
        .limit(Limit::rolling("all", 6, SECOND))
        .limit(Limit::rolling("some", 9, SECOND).governs([RouteClass::General, RouteClass::Search]))
        .limit(Limit::rolling("search", 5, SECOND).governs([RouteClass::Search]));
    let quota = Quota::new(plan.build().unwrap());
    let api = ServiceBuilder::new()
        .layer(SearchBudgetLayer::new(&quota).max_wait(Duration::ZERO))
        .layer(TokenLimitLayer::new(&quota).max_wait(Duration::ZERO))
        .service(Server::fine());
    for (class, most) in [(RouteClass::Search, 4), (RouteClass::General, 2)] {
        let mut went = 0;
        while api.clone().oneshot(with(get("t"), class)).await.is_ok() {
            went += 1;
        }
        assert_eq!(went, most, "{class}");
    }
}

/// A request that does not say is `Bulk`, or what the layer was told; the own word of a request counts more.
#[tokio::test(start_paused = true)]
async fn the_default_lane_can_be_set() {
    for (default, none, said_bulk) in [(Lane::Bulk, 4, 4), (Lane::Interactive, 5, 4)] {
        for (request, most) in [
            (search("t"), none),
            (with(search("t"), Lane::Bulk), said_bulk),
        ] {
            let quota = hubspot();
            let layer = SearchBudgetLayer::new(&quota).default_lane(default);
            let api = layer.max_wait(Duration::ZERO).layer(Server::fine());
            let mut went = 0;
            while api.clone().oneshot(request.clone()).await.is_ok() {
                went += 1;
            }
            assert_eq!(went, most, "{default}");
        }
    }
}

/// Those of `Interactive` go first, and within a lane whoever came first.
#[tokio::test(start_paused = true)]
async fn lanes_are_served_in_order() {
    let quota = hubspot();
    let server = Server::fine();
    let api = SearchBudgetLayer::new(&quota)
        .max_wait(FOREVER)
        .layer(server.clone());
    let mut tasks = JoinSet::new();
    for nth in 0..20 {
        let lane = if nth % 4 == 3 {
            Lane::Interactive
        } else {
            Lane::Bulk
        };
        let mut request = with(search("t"), lane);
        let name = format!("{lane}-{nth:02}").parse().unwrap();
        request.headers_mut().insert("x-name", name);
        let api = api.clone();
        tasks.spawn(async move { api.oneshot(request).await.unwrap() });
        tokio::task::yield_now().await;
    }
    tasks.join_all().await;
    let waited: Vec<_> = server.log().into_iter().skip(5).collect();
    for lane in ["interactive", "bulk"] {
        let names = waited.iter().map(|seen| seen.header("x-name").to_owned());
        let names: Vec<_> = names.filter(|name| name.starts_with(lane)).collect();
        assert!(names.is_sorted(), "{names:?}");
    }
    let (lookups, bulk): (Vec<_>, Vec<_>) = waited
        .iter()
        .partition(|seen| seen.header("x-name").starts_with("interactive"));
    let last = lookups.iter().map(|seen| seen.at).max().unwrap();
    assert!(bulk.iter().all(|seen| seen.at >= last), "lookups go first");
}

/// Given up at any moment: what was not sent is free at once, what was sent ages, and nobody else waits longer for it.
#[tokio::test(start_paused = true)]
async fn a_search_can_be_given_up_at_any_moment() {
    for lane in [Lane::Interactive, Lane::Bulk] {
        let quota = hubspot();
        let valve = Valve::shut(Server::new(|_, _| never()));
        let api = ServiceBuilder::new()
            .layer(SearchBudgetLayer::new(&quota).max_wait(FOREVER))
            .layer(TokenLimitLayer::new(&quota).max_wait(FOREVER))
            .service(valve.clone());
        let most = if lane == Lane::Bulk { 4 } else { 5 };
        let hand = || Hand::new(api.clone().oneshot(with(search("t"), lane)));
        let mut unsent: Vec<_> = (0..most).map(|_| hand()).collect();
        let mut waiting: Vec<_> = (0..3).map(|_| hand()).collect();
        unsent.iter_mut().chain(&mut waiting).for_each(|search| {
            assert!(search.poll().is_pending());
        });
        assert_eq!((used(&quota), quota.waiting()), (most, 3));
        waiting[0].cancel();
        assert_eq!((used(&quota), quota.waiting()), (most, 2));
        valve.set_open(true);
        unsent.iter_mut().for_each(|search| drop(search.poll()));
        unsent.iter_mut().for_each(Hand::cancel);
        assert_eq!(used(&quota), most, "they were sent, and perhaps counted");
        sleep(ms(1_999)).await;
        waiting
            .iter_mut()
            .skip(1)
            .for_each(|search| drop(search.poll()));
        assert_eq!(quota.waiting(), 2);
        sleep(ms(2)).await;
        waiting
            .iter_mut()
            .skip(1)
            .for_each(|search| drop(search.poll()));
        assert_eq!((used(&quota), quota.waiting()), (2, 0));
        drop(waiting);
        sleep(ms(2_001)).await;
        assert_eq!(used(&quota), 0);
    }
}

/// The inner service is asked for readiness after the grant and not before, and the slot is given back when it fails.
#[tokio::test(start_paused = true)]
async fn waiting_reserves_nothing_inside() {
    let quota = hubspot();
    let valve = Valve::shut(Server::fine());
    let layer = SearchBudgetLayer::new(&quota).max_wait(FOREVER);
    let api = layer.layer(valve.clone());
    let mut first: Vec<_> = (0..5)
        .map(|_| Hand::new(api.clone().oneshot(lookup())))
        .collect();
    let mut second = Hand::new(api.clone().oneshot(lookup()));
    first
        .iter_mut()
        .for_each(|search| assert!(search.poll().is_pending()));
    let polls = valve.polls();
    assert_eq!(polls, 5);
    assert!(second.poll().is_pending());
    assert_eq!(valve.polls(), polls, "it has no slot yet");
    first[0].cancel();
    assert!(second.is_woken(), "the slot was never used");
    assert!(second.poll().is_pending());
    assert_eq!(valve.polls(), polls + 1);
    valve.set_open(true);
    assert!(second.poll().is_ready());
}

/// What is called is what was made ready, with every layer around it.
#[tokio::test(start_paused = true)]
async fn the_instance_that_was_made_ready_is_called() {
    struct Picky(bool);
    impl Clone for Picky {
        fn clone(&self) -> Self {
            Self(false)
        }
    }
    impl Service<Plain> for Picky {
        type Response = Response<PieceBody>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Response<PieceBody>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            self.0 = true;
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Plain) -> Self::Future {
            assert!(std::mem::take(&mut self.0), "called without being ready");
            std::future::ready(Ok(Response::new(PieceBody::whole(""))))
        }
    }
    let quota = hubspot();
    let mut api = ServiceBuilder::new()
        .layer(SearchBudgetLayer::new(&quota))
        .layer(TokenLimitLayer::new(&quota))
        .layer(ClassBudgetLayer::new(&quota, [RouteClass::Search]))
        .service(Picky(false));
    for _ in 0..12 {
        for request in [search("t"), get("t")] {
            api.ready().await.unwrap().call(request).await.unwrap();
        }
    }
}

/// A search that was granted and waits for the service inside is held by a pause like every other, also through a layer that leaves
/// the slots to the one outside.
#[tokio::test(start_paused = true)]
async fn a_pause_holds_what_was_granted_and_not_sent() {
    for both in [false, true] {
        let quota = hubspot();
        let valve = Valve::shut(Server::fine());
        let layer = SearchBudgetLayer::new(&quota).max_wait(FOREVER);
        let mut held: Hand<_> = if both {
            let limit = TokenLimitLayer::new(&quota).max_wait(FOREVER);
            let api = ServiceBuilder::new().layer(limit).service(valve.clone());
            let api = ServiceBuilder::new()
                .map_response(|response: Response<_>| response.map(drop))
                .layer(layer.clone())
                .service(api);
            Hand::new(BoxCloneSyncService::new(api).oneshot(search("t")))
        } else {
            let api = ServiceBuilder::new()
                .map_response(|response: Response<_>| response.map(drop))
                .layer(layer.clone())
                .service(valve.clone());
            Hand::new(BoxCloneSyncService::new(api).oneshot(search("t")))
        };
        assert!(held.poll().is_pending());
        let refused = Server::new(|_, _| at_once(429, &[("retry-after", "3")], SEARCH_BODY));
        layer.layer(refused).oneshot(search("t")).await.unwrap();
        valve.set_open(true);
        assert!(held.poll().is_pending(), "sent under a pause, both: {both}");
        sleep(ms(3_900)).await;
        assert!(held.poll().is_ready(), "the pause is over");
    }
}

/// A wait that is too long fails at once, names the limit and says when; the time is a lower bound.
#[tokio::test(start_paused = true)]
async fn waiting_has_an_end() {
    for (lane, first_wait) in [(Lane::Bulk, 4), (Lane::Interactive, 5)] {
        let quota = hubspot();
        let server = Server::fine();
        let layer = SearchBudgetLayer::new(&quota);
        let api = layer.clone().max_wait(Duration::ZERO).layer(server.clone());
        let patient = layer.max_wait(FOREVER).layer(server.clone());
        for _ in 0..first_wait {
            api.clone().oneshot(with(search("t"), lane)).await.unwrap();
        }
        let begin = server.elapsed();
        let error = api
            .clone()
            .oneshot(with(search("t"), lane))
            .await
            .unwrap_err();
        let error = quota_error(&error);
        assert_eq!(error.limit(), "search");
        assert_eq!(error.reason(), DenialReason::TooLong);
        assert!(!error.is_paused());
        let told = error.retry_after();
        assert!(told > ms(900) && told <= ms(1_001), "{told:?}");
        let soon = with(with(search("t"), lane), Deadline::within(ms(500)));
        let error = patient.clone().oneshot(soon).await.unwrap_err();
        assert_eq!(quota_error(&error).limit(), "search");
        assert_eq!(server.elapsed(), begin, "it fails at once");
        patient
            .clone()
            .oneshot(with(search("t"), lane))
            .await
            .unwrap();
        let waited = server.elapsed() - begin;
        assert!(waited >= told, "a lower bound");
        assert!(waited <= ms(1_002), "{waited:?}");
    }
}

/// Bodies, refusals and errors are those of the service inside; a lost connection leaves its slot to age.
#[tokio::test(start_paused = true)]
async fn answers_and_errors_are_unchanged() {
    let quota = hubspot();
    let server = Server::new(|nth, _| match nth {
        0 => at_once(200, &[("x-mine", "1")], "found"),
        1 => at_once(429, &[("retry-after", "1")], SEARCH_BODY),
        _ => lost(),
    });
    let api = ServiceBuilder::new()
        .layer(SearchBudgetLayer::new(&quota).max_wait(FOREVER))
        .layer(TokenLimitLayer::new(&quota))
        .service(server);
    for (status, text) in [(200, "found"), (429, SEARCH_BODY)] {
        let response = api.clone().oneshot(search("t")).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers().contains_key("x-mine"), status == 200);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, text.as_bytes());
    }
    for request in [search("t"), get("t")] {
        let error = api.clone().oneshot(request).await.unwrap_err();
        let error = error.downcast_ref::<TestError>();
        assert_eq!(error, Some(&TestError("the connection is lost")));
    }
    assert_eq!(used(&quota), 1);
}

/// What came of a backfill that always has more to do.
struct Outcome {
    /// How long each lookup waited until it reached the service inside, sorted.
    waits: Vec<Duration>,
    bulk: u32,
    refused: u64,
}

/// When a request reached the service inside.
#[derive(Clone, Debug, Default)]
struct Sent(Arc<Mutex<Option<Duration>>>);

async fn backfill(seed: u64, reserve: u32, lookups: bool) -> Outcome {
    let sim = Sim::builder()
        .no_daily()
        .latency(Latency::exponential(ms(20), ms(30)).tail(0.02, ms(1_500)))
        .service_time(Latency::uniform(ms(50), ms(150)))
        .seed(seed)
        .build()
        .unwrap();
    let clock = Clock::system();
    let quota = hubspot();
    let layer = SearchBudgetLayer::new(&quota).reserve(reserve);
    let api = ServiceBuilder::new()
        .layer(layer.max_wait(FOREVER))
        .layer(TokenLimitLayer::new(&quota))
        .map_request({
            let clock = clock.clone();
            move |request: Plain| {
                if let Some(sent) = request.extensions().get::<Sent>() {
                    *lock(&sent.0) = Some(clock.elapsed());
                }
                request
            }
        })
        .service(sim.service());
    let body = |request: Plain| {
        let mut request = request.map(|_| Full::from(r#"{"limit":1}"#));
        let json = "application/json".parse().unwrap();
        request.headers_mut().insert("content-type", json);
        request
    };
    let end = 300 * SECOND;
    let bulk = Arc::new(Mutex::new(0));
    let waits = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let (api, bulk, clock) = (api.clone(), bulk.clone(), clock.clone());
        tasks.spawn(async move {
            while clock.elapsed() < end {
                let response = api.clone().oneshot(body(search("t"))).await.unwrap();
                assert_eq!(response.status(), 200);
                *lock(&bulk) += 1;
            }
        });
    }
    let mut random = seed;
    while lookups && clock.elapsed() < end {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        sleep(ms((random >> 33) % 2_000)).await;
        let (api, waits, clock) = (api.clone(), waits.clone(), clock.clone());
        tasks.spawn(async move {
            let (asked, sent) = (clock.elapsed(), Sent::default());
            let request = with(body(lookup()), sent.clone());
            assert_eq!(api.oneshot(request).await.unwrap().status(), 200);
            let sent = lock(&sent.0).unwrap();
            lock(&waits).push(sent - asked);
        });
    }
    tasks.join_all().await;
    let mut waits = std::mem::take(&mut *lock(&waits));
    waits.sort_unstable();
    Outcome {
        waits,
        bulk: *lock(&bulk),
        refused: sim.stats().refused(),
    }
}

/// A saturating backfill, and one lookup per second at random: p99 of the wait of a lookup is at most one window and one round
/// trip, nothing is refused, and what bulk loses against a backfill alone is what is kept and what the lookups take.
#[tokio::test(start_paused = true)]
async fn a_backfill_does_not_starve_lookups() {
    // The fastest that the simulator knows.
    const ROUND_TRIP: Duration = Duration::from_millis(90);
    for seed in 1..=3 {
        let alone = backfill(seed, 0, false).await;
        for reserve in [0, 1, 2] {
            let Outcome {
                waits,
                bulk,
                refused,
            } = backfill(seed, reserve, true).await;
            let lookups = waits.len();
            let [p50, p99] = [50, 99].map(|percent| waits[lookups * percent / 100]);
            println!(
                "reserve {reserve}, seed {seed}: {lookups} lookups wait p50 {p50:?}, p99 {p99:?}, at most {:?}; {bulk} of bulk, \
                 {} without lookups and reserve; {refused} refused",
                waits[lookups - 1],
                alone.bulk,
            );
            assert_eq!((refused, alone.refused), (0, 0));
            assert!(p99 <= SECOND + ROUND_TRIP, "{p99:?}");
            let lost = alone.bulk - bulk;
            // A second without a lookup leaves the reserve idle; a second with several takes more than that.
            let kept = alone.bulk * reserve / 5;
            assert!(lost <= lookups as u32 + kept, "{lost} lost");
            if reserve == 0 {
                assert!(lost <= lookups as u32 * 102 / 100, "{lost} lost");
            }
        }
    }
}
