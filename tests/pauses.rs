//! Promise: a refusal pauses what its reason names, nothing more and nothing less, from the moment its head has arrived until
//! the later of all deadlines; nobody goes early, whatever state he is in; all go on in order and under the same windows.
//! (T17 to T24, T51, T52)

mod common;

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use common::{
    BURST_BODY, DAILY_BODY, FOREVER, HOUR, Hand, Piece, PieceBody, SEARCH_BODY, SECOND, Server,
    Valve, after, at_once, burst, fresh_hubspot, get, most_in_window, ms, patient, request,
    response, search,
};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use tokio::time::sleep;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::core::DenialReason;
use tower_quota::hubspot::{self, HubspotSignals};
use tower_quota::plan::{Limit, Plan, Zone};
use tower_quota::request::AccountId;
use tower_quota::{Api, BoxError, Quota, QuotaError, RetryAfterLayer};

const TEN_SECONDS: Duration = Duration::from_secs(10);

fn hubspot_quota() -> Quota {
    fresh_hubspot(Zone::UTC).build()
}

/// Both layers, with all the patience in the world.
fn stack(quota: &Quota, server: &Server) -> impl Stack {
    ServiceBuilder::new()
        .layer(RetryAfterLayer::new(quota).max_wait(FOREVER))
        .layer(patient(quota))
        .service(server.clone())
}

type Body = tower_quota::body::PeekBody<tower_quota::body::PeekBody<PieceBody>>;

/// What a stack is.
trait Stack:
    Service<
        Request<Full<Bytes>>,
        Response = http::Response<Body>,
        Error = BoxError,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
}

impl<S> Stack for S where
    S: Service<
            Request<Full<Bytes>>,
            Response = http::Response<Body>,
            Error = BoxError,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

fn quota_error(error: &BoxError) -> &QuotaError {
    error.downcast_ref().unwrap_or_else(|| panic!("{error}"))
}

/// Answers the first attempt with a refusal and all others with 200.
fn refuses_once(
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
) -> Server {
    Server::new(move |nth, _| match nth {
        0 => at_once(status, headers, body),
        _ => at_once(200, &[], "fine"),
    })
}

#[tokio::test(start_paused = true)]
async fn a_refused_search_stops_searches_only() {
    let server = refuses_once(429, &[], SEARCH_BODY);
    let quota = hubspot_quota();
    let api = stack(&quota, &server);
    let first = tokio::spawn(api.clone().oneshot(search("t")));
    tokio::task::yield_now().await;
    assert_eq!(server.count(), 1);
    api.clone().oneshot(get("t")).await.unwrap();
    assert_eq!(server.times()[1], 0, "an ordinary request goes on");
    let second = tokio::spawn(api.clone().oneshot(search("t")));
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    let log = server.log();
    let searches: Vec<_> = log.iter().filter(|seen| seen.is_search()).collect();
    // Without Retry-After: the limit's own window, lengthened by at most a tenth.
    for search in &searches[1..] {
        assert!(
            (1_000..=1_101).contains(&search.at.as_millis()),
            "{:?}",
            search.at
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_search_refused_with_500_is_told_by_its_message() {
    let server = refuses_once(500, &[], SEARCH_BODY);
    let quota = hubspot_quota();
    let api = stack(&quota, &server);
    let refused = tokio::spawn(api.clone().oneshot(search("t")));
    tokio::task::yield_now().await;
    let other = tokio::spawn(api.clone().oneshot(search("t")));
    refused.await.unwrap().unwrap();
    other.await.unwrap().unwrap();
    assert!(
        server.times()[1..]
            .iter()
            .all(|at| (1_000..=1_101).contains(at)),
        "{:?}",
        server.times()
    );
}

#[tokio::test(start_paused = true)]
async fn searches_of_another_token_of_the_account_stop_too() {
    let server = refuses_once(429, &[], SEARCH_BODY);
    let quota = hubspot_quota();
    let api = stack(&quota, &server);
    let of_account = |mut request: Request<Full<Bytes>>, account: &str| {
        request.extensions_mut().insert(AccountId(account.into()));
        request
    };
    let first = tokio::spawn(api.clone().oneshot(of_account(search("a"), "1")));
    tokio::task::yield_now().await;
    let same = tokio::spawn(api.clone().oneshot(of_account(search("b"), "1")));
    api.clone()
        .oneshot(of_account(search("c"), "2"))
        .await
        .unwrap();
    first.await.unwrap().unwrap();
    same.await.unwrap().unwrap();
    let log = server.log();
    let at = |token| log.iter().rfind(|seen| seen.token() == token).unwrap().at;
    assert!(at("a") >= SECOND && at("b") >= SECOND);
    assert_eq!(at("c"), Duration::ZERO, "another account is not concerned");
}

/// 2026-05-20 10:00:00 UTC; midnight of UTC+2 is at 22:00.
const MORNING: u64 = 1_779_271_200;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn an_empty_day_stops_everything_under_the_pool_until_midnight() {
    let zone = Zone::fixed(2 * 3600).unwrap();
    let quota = fresh_hubspot(zone)
        .clock(Clock::starting_at(at(MORNING)))
        .build();
    // A hostile Retry-After that is not believed.
    let server = refuses_once(429, &[("retry-after", "1")], DAILY_BODY);
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota))
        .layer(tower_quota::TokenLimitLayer::new(&quota))
        .service(server.clone());
    // The refused request is given back at once, and not repeated.
    let answer = api.clone().oneshot(get("t")).await.unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        DAILY_BODY
    );
    assert_eq!(server.elapsed(), Duration::ZERO);
    let midnight = at(MORNING + 12 * 3600);
    for request in [
        get("t"),
        search("t"),
        request(Method::PATCH, "/crm/v3/objects/contacts/1", "t"),
    ] {
        let error = api.clone().oneshot(request).await.unwrap_err();
        let error = quota_error(&error);
        assert_eq!(
            (error.limit(), error.reason()),
            (hubspot::DAILY, DenialReason::TooLong)
        );
        assert!(error.is_paused());
        assert!(
            error.retry_at() >= midnight && error.retry_at() <= midnight + SECOND,
            "{error}"
        );
        assert!(error.to_string().contains("`daily`"), "{error}");
    }
    assert_eq!(
        (server.count(), server.elapsed()),
        (1, Duration::ZERO),
        "failed fast"
    );
    // Another account has its own day.
    api.clone().oneshot(get("other")).await.unwrap();
    sleep(12 * HOUR - ms(1)).await;
    api.clone().oneshot(get("t")).await.unwrap();
    let at = *server.times().last().unwrap();
    assert!(
        (12 * 3_600_000..=12 * 3_600_000 + 1_001).contains(&at),
        "{at}"
    );
    sleep(2 * SECOND).await;
    api.oneshot(search("t")).await.unwrap();
}

/// Nobody knows when the pool is filled again, so one asks. The next one is not let go in the moment between its refusal and the
/// pause, not even when he is as quick as his own waker.
#[tokio::test(start_paused = true)]
async fn a_refused_asker_lets_nobody_slip_through() {
    /// Polls its future as soon as it is woken, by whomever.
    struct Eager(Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>);
    impl Wake for Eager {
        fn wake(self: Arc<Self>) {
            let waker = self.clone().into();
            let Ok(mut slot) = self.0.try_lock() else {
                return;
            };
            if let Some(future) = slot.as_mut() {
                let is_over = future.as_mut().poll(&mut Context::from_waker(&waker));
                slot.take_if(|_| is_over.is_ready());
            }
        }
    }

    let at_length = || -> common::Answer {
        let body = PieceBody::new([Piece::Wait(ms(20)), Piece::Data(DAILY_BODY.into())]);
        let refusal = response(429, &[], body);
        Box::pin(async { Ok(refusal) })
    };
    let answers: [fn() -> common::Answer; 2] = [|| at_once(429, &[], DAILY_BODY), at_length];
    for answer in answers {
        let quota = fresh_hubspot(Zone::UNKNOWN).build();
        let server = Server::new(move |_, _| after(ms(100), answer()));
        let api = ServiceBuilder::new()
            .layer(patient(&quota))
            .service(server.clone());
        api.clone().oneshot(get("t")).await.unwrap();
        let waiters = [(); 3].map(|()| {
            let call = api.clone().oneshot(get("t"));
            let call = Box::pin(async { drop(call.await) });
            let waiter = Arc::new(Eager(Mutex::new(Some(call))));
            waiter.clone().wake();
            waiter
        });
        assert_eq!((quota.waiting(), server.count()), (3, 1));
        // Longer than the head of a refusal holds everybody while its body is read.
        sleep(2 * SECOND).await;
        quota.resume(&get("t"));
        sleep(2 * SECOND).await;
        let counts = (quota.waiting(), server.count());
        for waiter in waiters {
            drop(waiter.0.lock().unwrap().take());
        }
        assert_eq!(counts, (2, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_day_fails_those_who_wait_already() {
    let quota = fresh_hubspot(Zone::UTC)
        .clock(Clock::starting_at(at(MORNING)))
        .build();
    let server = Server::new(|nth, _| match nth {
        0 => common::after(ms(100), at_once(429, &[], DAILY_BODY)),
        _ => at_once(200, &[], ""),
    });
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota))
        .layer(tower_quota::TokenLimitLayer::new(&quota))
        .service(server.clone());
    let first = tokio::spawn(api.clone().oneshot(search("t")));
    let others: Vec<_> = (0..20)
        .map(|_| tokio::spawn(api.clone().oneshot(search("t"))))
        .collect();
    assert_eq!(first.await.unwrap().unwrap().status(), 429);
    let mut failed = 0;
    for other in others {
        if let Err(error) = other.await.unwrap() {
            assert_eq!(quota_error(&error).limit(), hubspot::DAILY);
            failed += 1;
        }
    }
    assert_eq!(failed, 16, "all that were not sent yet");
    assert_eq!(server.elapsed(), ms(100));
    assert_eq!(quota.waiting(), 0);
}

/// Neither has a header that helps.
#[tokio::test(start_paused = true)]
async fn a_burst_is_told_from_an_empty_day_by_the_body_alone() {
    let server = refuses_once(429, &[], BURST_BODY);
    let quota = hubspot_quota();
    let api = stack(&quota, &server);
    let answer = api.clone().oneshot(get("t")).await.unwrap();
    assert_eq!(answer.status(), 200, "repeated after the pause");
    assert!(
        (10_000..=11_001).contains(&server.times()[1]),
        "{:?}",
        server.times()
    );
    // The burst pause concerns neither searches nor other tokens.
    let server = refuses_once(429, &[], BURST_BODY);
    let quota = hubspot_quota();
    let api = stack(&quota, &server);
    let refused = tokio::spawn(api.clone().oneshot(get("t")));
    tokio::task::yield_now().await;
    api.clone().oneshot(search("t")).await.unwrap();
    api.clone().oneshot(get("u")).await.unwrap();
    assert_eq!(server.elapsed(), Duration::ZERO);
    refused.await.unwrap().unwrap();
}

/// Two refusals overlap: the later deadline counts, in whatever order they came.
#[tokio::test(start_paused = true)]
async fn pauses_merge_by_the_later_deadline() {
    for (first, second) in [("2", "7"), ("7", "2")] {
        let server = Server::new(move |nth, _| match nth {
            0 => common::after(ms(100), at_once(429, &[("retry-after", first)], "")),
            1 => common::after(ms(300), at_once(429, &[("retry-after", second)], "")),
            _ => at_once(200, &[], ""),
        });
        let quota = Quota::new(burst(10, SECOND));
        let api = stack(&quota, &server);
        let both = [
            tokio::spawn(api.clone().oneshot(get("t"))),
            tokio::spawn(api.clone().oneshot(get("t"))),
        ];
        sleep(ms(500)).await;
        let third = tokio::spawn(api.clone().oneshot(get("t")));
        for task in both.into_iter().chain([third]) {
            task.await.unwrap().unwrap();
        }
        let end = if first == "7" { 7_100 } else { 7_300 };
        let times = server.times();
        assert_eq!(times.len(), 5);
        assert!(
            times[2..].iter().all(|at| (end..=end + 702).contains(at)),
            "{first}, {second}: {times:?}"
        );
    }
}

/// The timer of a waiter was set for the first deadline; when it fires, the pause has become longer.
#[tokio::test(start_paused = true)]
async fn a_stale_timer_clears_nothing() {
    let server = Server::new(|nth, _| match nth {
        0 => common::after(ms(900), at_once(429, &[("retry-after", "5")], "")),
        1 => at_once(429, &[("retry-after", "1")], ""),
        _ => at_once(200, &[], ""),
    });
    let quota = Quota::new(burst(10, SECOND));
    let api = stack(&quota, &server);
    let tasks: Vec<_> = (0..6)
        .map(|_| tokio::spawn(api.clone().oneshot(get("t"))))
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let times = server.times();
    assert_eq!(times.len(), 8);
    assert!(times[2..].iter().all(|at| *at >= 5_900), "{times:?}");
}

/// Everybody who waits is still waiting 1 ms before the end of the pause, and nobody is forgotten after it.
#[tokio::test(start_paused = true)]
async fn nobody_wakes_early_and_nobody_is_forgotten() {
    for seconds in ["1", "3", "0.25"] {
        let pause = Duration::from_secs_f64(seconds.parse().unwrap());
        let server = Server::new(move |nth, _| match nth {
            0 => at_once(429, &[("retry-after", seconds)], ""),
            _ => at_once(200, &[], ""),
        });
        let quota = Quota::new(burst(50, SECOND));
        let api = stack(&quota, &server);
        let tasks: Vec<_> = (0..200)
            .map(|_| tokio::spawn(api.clone().oneshot(get("t"))))
            .collect();
        sleep(pause - ms(1)).await;
        assert_eq!(server.count(), 1, "1 ms before the end of {seconds} s");
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let times: Vec<_> = server.log().iter().map(|seen| seen.at).collect();
        assert_eq!(times.len(), 201);
        assert!(
            times[1] >= pause && times[1] <= pause.mul_f64(1.1) + ms(1),
            "{:?}",
            times[1]
        );
        // Under the same windows: no stampede.
        assert!(most_in_window(&times, SECOND) <= 50);
        let last = times.last().unwrap();
        assert!(
            *last <= pause.mul_f64(1.1) + 4 * SECOND + ms(10),
            "{last:?}"
        );
    }
}

/// In the order in which they asked, the refused one first.
#[tokio::test(start_paused = true)]
async fn waking_is_first_in_first_out() {
    let server = refuses_once(429, &[("retry-after", "2")], "");
    let quota = Quota::new(burst(3, SECOND));
    // Without repetitions, so that everybody keeps the place he took in the ledger's line.
    let api = ServiceBuilder::new()
        .layer(patient(&quota))
        .service(server.clone());
    let task = |place: usize| {
        let mut request = get("t");
        request.headers_mut().insert("x-place", place.into());
        tokio::spawn(api.clone().oneshot(request))
    };
    let mut tasks = vec![task(0)];
    tokio::task::yield_now().await;
    for place in 1..40 {
        tasks.push(task(place));
        tokio::task::yield_now().await;
    }
    // One that comes in the very instant at which the pause ends does not overtake those who waited.
    sleep(ms(1_999)).await;
    for place in 40..300 {
        sleep(ms(1)).await;
        tasks.push(task(place));
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let places: Vec<usize> = server
        .log()
        .iter()
        .map(|seen| seen.header("x-place").parse().unwrap())
        .collect();
    assert!(places.iter().copied().eq(0..300), "{places:?}");
}

/// Against the simulator with other tenants and a spent window: after the refusals everybody goes on and only a few are refused.
#[tokio::test(start_paused = true)]
async fn going_on_is_no_stampede_at_the_server() {
    use tower_quota::sim::{Class, Latency, Sim};
    let sim = Sim::builder()
        .burst(20, SECOND)
        .no_daily()
        .latency(Latency::uniform(ms(10), ms(60)))
        .service_time(Latency::uniform(ms(50), ms(100)))
        .record(true)
        .build()
        .unwrap();
    sim.spend("t", 20);
    let quota = Quota::new(burst(20, SECOND));
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota).max_wait(FOREVER))
        .layer(patient(&quota))
        .service(sim.service());
    let tasks: Vec<_> = (0..500)
        .map(|_| tokio::spawn(api.clone().oneshot(get("t"))))
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), 200);
    }
    let stats = sim.stats();
    assert!(
        (1..=20).contains(&stats.refused()),
        "only the first ones: {}",
        stats.refused()
    );
    assert!(sim.max_in_window(Class::General, SECOND) <= 20);
}

/// It has its slots and waits for the inner service when somebody else is refused.
#[tokio::test(start_paused = true)]
async fn granted_and_not_yet_sent_holds_too() {
    let quota = Quota::new(burst(10, SECOND));
    let server = Server::new(|_, _| at_once(200, &[], ""));
    let valve = Valve::shut(server.clone());
    let waiting = ServiceBuilder::new()
        .layer(patient(&quota))
        .service(valve.clone());
    let refused = ServiceBuilder::new()
        .layer(patient(&quota))
        .service(refuses_once(429, &[("retry-after", "4")], ""));
    let mut hands: Vec<_> = (0..3)
        .map(|_| Hand::new(waiting.clone().oneshot(get("t"))))
        .collect();
    for hand in &mut hands {
        assert!(hand.poll().is_pending());
    }
    assert_eq!(quota.usage("burst", &get("t")).unwrap().used, 3);
    refused.oneshot(get("t")).await.unwrap();
    valve.set_open(true);
    for hand in &mut hands {
        assert!(hand.is_woken());
        assert!(hand.poll().is_pending(), "held by the pause");
    }
    assert_eq!(server.count(), 0);
    assert_eq!(
        quota.usage("burst", &get("t")).unwrap().used,
        1,
        "it holds no slot while it is held"
    );
    sleep(ms(3_999)).await;
    assert_eq!(server.count(), 0);
    let tasks: Vec<_> = hands
        .into_iter()
        .map(|mut hand| std::future::poll_fn(move |_| hand.poll()))
        .collect();
    sleep(ms(500)).await;
    for task in tasks {
        let answer = tokio::time::timeout(SECOND, task)
            .await
            .expect("woken after the pause");
        answer.unwrap();
    }
    assert_eq!(server.count(), 3);
}

/// T17, where the grant came from somebody else's giving up and its owner has not looked yet.
#[tokio::test(start_paused = true)]
async fn granted_unawares_and_not_yet_sent_holds_too() {
    let quota = Quota::new(burst(2, TEN_SECONDS));
    let server = Server::fine();
    let valve = Valve::shut(server.clone());
    let refusal = Server::new(|_, _| after(SECOND, at_once(429, &[("retry-after", "4")], "")));
    let limit = patient(&quota);

    let mut refused = Hand::new(limit.layer(refusal).oneshot(get("t")));
    assert!(refused.poll().is_pending());
    let mut unready = Hand::new(limit.layer(valve).oneshot(get("t")));
    assert!(unready.poll().is_pending());
    let mut waiting = Hand::new(limit.layer(server.clone()).oneshot(get("t")));
    assert!(waiting.poll().is_pending());

    unready.cancel();
    assert!(waiting.is_woken(), "the slot is its own now");
    sleep(SECOND).await;
    assert!(refused.poll().is_ready());
    assert!(waiting.poll().is_pending(), "held by the pause");
    assert_eq!(server.count(), 0);
    sleep(ms(3_999)).await;
    assert!(waiting.poll().is_pending());
    assert_eq!(server.count(), 0);
    sleep(ms(500)).await;
    assert!(waiting.poll().is_ready());
    assert_eq!(server.count(), 1);
}

/// The same with the pausing layer alone.
#[tokio::test(start_paused = true)]
async fn past_the_gate_and_not_yet_sent_holds_too() {
    let quota = Quota::new(Plan::builder("none").build().unwrap());
    let server = Server::new(|_, _| at_once(200, &[], ""));
    let valve = Valve::shut(server.clone());
    let layer = RetryAfterLayer::new(&quota).max_attempts(1).unwrap();
    let waiting = ServiceBuilder::new()
        .layer(layer.clone())
        .service(valve.clone());
    let refused =
        ServiceBuilder::new()
            .layer(layer)
            .service(refuses_once(429, &[("retry-after", "4")], ""));
    let tasks: Vec<_> = (0..3)
        .map(|_| tokio::spawn(waiting.clone().oneshot(get("t"))))
        .collect();
    sleep(ms(10)).await;
    assert_eq!(valve.polls(), 3);
    refused.oneshot(get("t")).await.unwrap();
    valve.set_open(true);
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert!(
        server.times().iter().all(|at| *at >= 4_010),
        "{:?}",
        server.times()
    );
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_an_hour_fails_at_once_and_stays() {
    let server = refuses_once(429, &[("retry-after", "3600")], "come back later");
    let quota = Quota::new(burst(10, SECOND));
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota))
        .layer(tower_quota::TokenLimitLayer::new(&quota))
        .service(server.clone());
    let answer = api.clone().oneshot(get("t")).await.unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "3600");
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "come back later"
    );
    for wait in [Duration::ZERO, 1800 * SECOND, 1700 * SECOND] {
        sleep(wait).await;
        let before = server.elapsed();
        let error = api.clone().oneshot(get("t")).await.unwrap_err();
        let error = quota_error(&error);
        assert_eq!((error.limit(), error.is_paused()), ("token", true));
        let left = 3600 * SECOND - before;
        assert!(
            error.retry_after() >= left && error.retry_after() <= left + SECOND,
            "{error}"
        );
        assert_eq!(server.elapsed(), before, "at once");
    }
    sleep(100 * SECOND + SECOND).await;
    api.oneshot(get("t")).await.unwrap();
    assert_eq!(server.count(), 2);
}

/// (value of the header, least pause, longest pause), in milliseconds, for a limit of 10 per 2 s.
#[tokio::test(start_paused = true)]
async fn values_of_retry_after() {
    const DATE: &str = "Wed, 20 May 2026 10:00:00 GMT";
    let whole_window = (2_000, 2_201);
    for (value, date, (least, most)) in [
        // No pause for others, and no repetition in the same instant.
        ("0", None, (500, 751)),
        ("0.25", None, (250, 276)),
        ("3", None, (3_000, 3_301)),
        ("2.5", None, (2_500, 2_751)),
        // Both dates are cut to whole seconds; the local clock is not asked.
        ("Wed, 20 May 2026 10:00:05 GMT", Some(DATE), (5_000, 6_601)),
        // Nothing that can be believed: the window of the limit.
        ("Wed, 20 May 2026 10:00:05 GMT", None, whole_window),
        ("-1", None, whole_window),
        ("NaN", None, whole_window),
        ("inf", None, whole_window),
        ("1e308", None, whole_window),
        ("5,000", None, whole_window),
        ("", None, whole_window),
        ("99999999999999999999999999", None, whole_window),
        ("31622401", None, whole_window),
        ("soon", None, whole_window),
    ] {
        let server = Server::new(move |nth, _| match (nth, date) {
            (0, Some(date)) => at_once(429, &[("retry-after", value), ("date", date)], ""),
            (0, None) => at_once(429, &[("retry-after", value)], ""),
            _ => at_once(200, &[], ""),
        });
        let quota = Quota::new(burst(10, 2 * SECOND));
        let api = stack(&quota, &server);
        let answer = api.oneshot(get("t")).await.unwrap();
        assert_eq!(answer.status(), 200, "{value}");
        let at = server.times()[1];
        assert!(
            (least..=most).contains(&at),
            "{value:?}: {at} ms instead of {least}..={most}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_retry_after_the_pause_is_the_window_with_jitter_upward_only() {
    let mut waits = Vec::new();
    for _ in 0..60 {
        let server = refuses_once(429, &[], "");
        let quota = Quota::new(burst(10, TEN_SECONDS));
        stack(&quota, &server).oneshot(get("t")).await.unwrap();
        waits.push(server.times()[1]);
    }
    assert!(
        waits.iter().all(|wait| (10_000..=11_001).contains(wait)),
        "{waits:?}"
    );
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 20, "not all at the same instant: {waits:?}");
}

/// A failure that says when to come back holds everybody; one that does not holds nobody else.
#[tokio::test(start_paused = true)]
async fn a_503_with_retry_after_pauses_the_token() {
    let server = refuses_once(503, &[("retry-after", "6")], "");
    let quota = Quota::new(burst(10, SECOND));
    let api = stack(&quota, &server);
    let first = tokio::spawn(api.clone().oneshot(get("t")));
    tokio::task::yield_now().await;
    let second = tokio::spawn(api.clone().oneshot(get("t")));
    api.clone().oneshot(get("u")).await.unwrap();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    let log = server.log();
    assert_eq!((log[1].token(), log[1].at), ("u", Duration::ZERO));
    assert!(
        log[2..].iter().all(|seen| seen.at >= 6 * SECOND),
        "{:?}",
        server.times()
    );

    let server = refuses_once(503, &[], "");
    let quota = Quota::new(burst(10, SECOND));
    let api = stack(&quota, &server);
    let first = tokio::spawn(api.clone().oneshot(get("t")));
    tokio::task::yield_now().await;
    api.clone().oneshot(get("t")).await.unwrap();
    assert_eq!(server.elapsed(), Duration::ZERO);
    first.await.unwrap().unwrap();
    assert!(
        (500..=751).contains(&server.times()[2]),
        "{:?}",
        server.times()
    );
}

/// 477: the account is moving to another data centre. All of its tokens wait.
#[tokio::test(start_paused = true)]
async fn a_moving_account_pauses_all_its_tokens() {
    let server = refuses_once(477, &[("retry-after", "20")], "");
    let quota = hubspot_quota();
    let api = stack(&quota, &server);
    let of = |token: &str, account: &str| {
        let mut request = get(token);
        request.extensions_mut().insert(AccountId(account.into()));
        request
    };
    let first = tokio::spawn(api.clone().oneshot(of("a", "1")));
    tokio::task::yield_now().await;
    let same = tokio::spawn(api.clone().oneshot(of("b", "1")));
    api.clone().oneshot(of("a", "2")).await.unwrap();
    assert_eq!(
        server.elapsed(),
        Duration::ZERO,
        "another account of the same token goes on"
    );
    first.await.unwrap().unwrap();
    same.await.unwrap().unwrap();
    assert!(
        server.times()[2..]
            .iter()
            .all(|at| (20_000..=21_001).contains(at)),
        "{:?}",
        server.times()
    );

    // For hours: the caller gets the answer, others an error that names the account.
    let server = refuses_once(477, &[("retry-after", "86400")], "");
    let quota = hubspot_quota();
    let api = ServiceBuilder::new()
        .layer(hubspot::stack(&quota))
        .service(server.clone());
    assert_eq!(
        api.clone().oneshot(of("a", "1")).await.unwrap().status(),
        477
    );
    let error = api.oneshot(of("b", "1")).await.unwrap_err();
    assert_eq!(quota_error(&error).limit(), "account");
    assert_eq!(server.elapsed(), Duration::ZERO);
}

/// 423: a record is locked for two seconds. Only the request that met the lock waits.
#[tokio::test(start_paused = true)]
async fn a_locked_record_holds_its_request_only() {
    let server = refuses_once(423, &[], "");
    let quota = hubspot_quota();
    let api = stack(&quota, &server);
    let locked = tokio::spawn(api.clone().oneshot(request(
        Method::POST,
        "/crm/v3/objects/contacts",
        "t",
    )));
    tokio::task::yield_now().await;
    api.clone().oneshot(get("t")).await.unwrap();
    assert_eq!(server.elapsed(), Duration::ZERO);
    assert_eq!(locked.await.unwrap().unwrap().status(), 200);
    assert!(
        (2_000..=3_001).contains(&server.times()[2]),
        "{:?}",
        server.times()
    );
}

/// The pause begins at the head, not when the body is there; the caller has his response after a second at the latest, and
/// its body is whole.
#[tokio::test(start_paused = true)]
async fn a_body_that_hangs_or_trickles_delays_neither_the_pause_nor_the_caller() {
    let trickle = || (0..100).flat_map(|_| [Piece::Wait(ms(100)), Piece::Data("ab".into())]);
    for hangs in [true, false] {
        let server = Server::new(move |nth, _| match nth {
            0 => Box::pin(async move {
                let pieces: Vec<_> = if hangs {
                    vec![Piece::Data("abab".into()), Piece::Hang]
                } else {
                    trickle().collect()
                };
                Ok(response(429, &[], PieceBody::new(pieces)))
            }),
            _ => at_once(200, &[], ""),
        });
        let plan = burst(10, TEN_SECONDS);
        let quota = Quota::new(Api::new(plan).signals(HubspotSignals));
        let api = ServiceBuilder::new()
            .layer(RetryAfterLayer::new(&quota).max_attempts(1).unwrap())
            .layer(patient(&quota))
            .service(server.clone());
        let first = tokio::spawn(tokio::time::timeout(
            ms(1_100),
            api.clone().oneshot(get("t")),
        ));
        tokio::task::yield_now().await;
        let other = tokio::spawn(api.clone().oneshot(get("t")));
        let answer = first.await.unwrap().expect("within about a second");
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 429);
        assert_eq!(server.count(), 1, "the pause began with the head");
        let mut body = answer.into_body();
        let mut text = Vec::new();
        let wanted = if hangs { 4 } else { 200 };
        while text.len() < wanted {
            let frame = tokio::time::timeout(HOUR, body.frame())
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            text.extend_from_slice(&frame.into_data().unwrap());
        }
        assert_eq!(text, "ab".repeat(wanted / 2).as_bytes());
        other.await.unwrap().unwrap();
        assert!(
            (10_000..=12_001).contains(&server.times()[1]),
            "{:?}",
            server.times()
        );
    }
}

/// The body comes a little after the head, as on most real connections: what it names is paused, and only that. Until it has
/// been read, at most a second, the head alone counts.
#[tokio::test(start_paused = true)]
async fn a_body_that_comes_late_does_not_widen_the_pause() {
    for alone in [false, true] {
        let server = Server::new(|nth, _| match nth {
            0 => Box::pin(async {
                let body = PieceBody::new([Piece::Wait(ms(50)), Piece::Data(BURST_BODY.into())]);
                Ok(response(429, &[], body))
            }),
            _ => at_once(200, &[], ""),
        });
        let quota = hubspot_quota();
        let retry = RetryAfterLayer::new(&quota).max_wait(FOREVER);
        let both = ServiceBuilder::new()
            .layer(retry.clone())
            .layer(patient(&quota))
            .service(server.clone());
        let single = ServiceBuilder::new().layer(retry).service(server.clone());
        let send = |request| {
            let (both, single) = (both.clone(), single.clone());
            tokio::spawn(async move {
                match alone {
                    true => drop(single.oneshot(request).await.unwrap()),
                    false => drop(both.oneshot(request).await.unwrap()),
                }
            })
        };
        let tasks = [send(get("t"))];
        sleep(ms(10)).await;
        let others = [send(get("t")), send(search("t"))];
        sleep(ms(10)).await;
        assert_eq!(
            server.count(),
            1,
            "nobody goes before the body has been read"
        );
        for task in tasks.into_iter().chain(others) {
            task.await.unwrap();
        }
        let log = server.log();
        let (searched, got): (Vec<_>, Vec<_>) = log[1..].iter().partition(|seen| seen.is_search());
        assert!(searched[0].at <= ms(1_020), "{:?}", searched[0].at);
        assert!(
            got.iter()
                .all(|seen| seen.at >= 10 * SECOND && seen.at <= ms(11_060)),
            "{got:?}"
        );
    }
}

/// Without TokenLimit: all tasks of the token wait for the pause, those of others do not.
#[tokio::test(start_paused = true)]
async fn alone_it_pauses_all_tasks_of_the_token_and_no_others() {
    for quota in [
        Quota::new(Plan::builder("none").build().unwrap()),
        Quota::new(burst(1, SECOND)),
        Quota::new(
            Plan::builder("other")
                .limit(Limit::daily("day", 1, Zone::UTC))
                .build()
                .unwrap(),
        ),
    ] {
        let server = refuses_once(429, &[("retry-after", "5")], "");
        let api = ServiceBuilder::new()
            .layer(RetryAfterLayer::new(&quota))
            .service(server.clone());
        let mut tasks = vec![tokio::spawn(api.clone().oneshot(get("t")))];
        tokio::task::yield_now().await;
        tasks.extend((0..10).map(|_| tokio::spawn(api.clone().oneshot(get("t")))));
        for _ in 0..3 {
            api.clone().oneshot(get("u")).await.unwrap();
        }
        assert_eq!(
            server.elapsed(),
            Duration::ZERO,
            "another token goes on, and takes no slots"
        );
        for task in tasks {
            assert_eq!(task.await.unwrap().unwrap().status(), 200);
        }
        let log = server.log();
        let own: Vec<_> = log
            .iter()
            .filter(|seen| seen.token() == "t")
            .map(|seen| seen.at)
            .collect();
        assert_eq!(own.len(), 12);
        assert!(
            own[1..]
                .iter()
                .all(|at| *at >= 5 * SECOND && *at <= ms(5_502)),
            "{own:?}"
        );
        assert_eq!(quota.waiting(), 0);
    }
}

/// Ten thousand other tokens come and go; the paused one stays paused, the used one used.
#[tokio::test(start_paused = true)]
async fn a_paused_or_used_token_is_not_forgotten() {
    let server = Server::new(|_, seen| match seen.token() {
        "paused" if seen.at < SECOND => at_once(429, &[("retry-after", "50")], ""),
        _ => at_once(200, &[], ""),
    });
    let quota = Quota::new(burst(1, 50 * SECOND));
    let api = ServiceBuilder::new()
        .layer(tower_quota::TokenLimitLayer::new(&quota).max_wait(SECOND))
        .service(server.clone());
    api.clone().oneshot(get("paused")).await.unwrap();
    api.clone().oneshot(get("used")).await.unwrap();
    for nth in 0..10_000 {
        let token = format!("token-{nth}");
        api.clone().oneshot(get(&token)).await.unwrap();
        if nth % 250 == 0 {
            sleep(SECOND).await;
            for token in ["paused", "used"] {
                let error = api.clone().oneshot(get(token)).await.unwrap_err();
                assert_eq!(quota_error(&error).is_paused(), token == "paused");
            }
        }
    }
    // Those whose windows are over are forgotten bit by bit.
    sleep(60 * SECOND).await;
    for _ in 0..20_000 {
        drop(api.clone().oneshot(get("one")).await);
    }
    assert!(quota.remembered() < 100, "{}", quota.remembered());
}

/// An operator knows better.
#[tokio::test(start_paused = true)]
async fn resume_wakes_everybody() {
    let server = refuses_once(429, &[("retry-after", "3000")], "");
    let quota = Quota::new(burst(5, SECOND));
    let api = ServiceBuilder::new()
        .layer(patient(&quota))
        .service(server.clone());
    api.clone().oneshot(get("t")).await.unwrap();
    let tasks: Vec<_> = (0..20)
        .map(|_| tokio::spawn(api.clone().oneshot(get("t"))))
        .collect();
    sleep(20 * SECOND).await;
    assert_eq!((server.count(), quota.waiting()), (1, 20));
    quota.resume(&get("t"));
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let times = server.times();
    assert_eq!(times[1..=5], [20_000; 5], "{times:?}");
    assert!(*times.last().unwrap() <= 23_004);
}
