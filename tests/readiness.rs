//! Promise: the layers keep the contract of `tower::Service`: the very instance that was made ready is called, nothing is
//! reserved in the inner service while a request waits, its errors reach the caller, asking for readiness costs nothing; and
//! they fit among other people's layers, on any executor. (T45, T58, T59)

mod common;

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use common::{
    FOREVER, Hand, PieceBody, SECOND, Server, TestError, Valve, after, at_once, burst, get, ms,
    patient, response,
};
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::sleep;
use tower::limit::ConcurrencyLimit;
use tower::timeout::TimeoutLayer;
use tower::util::{BoxCloneSyncService, MapRequestLayer, MapResponseLayer};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_quota::body::HeldBody;
use tower_quota::hubspot::SearchPages;
use tower_quota::stack::StackLayer;
use tower_quota::{
    AdaptiveConcurrencyLayer, BoxError, ObserveLayer, PayloadTrimLayer, Quota, RetryAfterLayer,
    TokenLimitLayer,
};

/// Its clones are not ready; readiness takes two polls; a call without it panics.
struct Probe {
    polls: usize,
    is_ready: bool,
    calls: Arc<AtomicUsize>,
    status: u16,
}

impl Probe {
    fn new(status: u16) -> (Self, Arc<AtomicUsize>) {
        let calls = Arc::<AtomicUsize>::default();
        let probe = Self {
            polls: 0,
            is_ready: false,
            calls: calls.clone(),
            status,
        };
        (probe, calls)
    }
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        Self {
            polls: 0,
            is_ready: false,
            calls: self.calls.clone(),
            status: self.status,
        }
    }
}

impl<B> Service<Request<B>> for Probe {
    type Response = Response<PieceBody>;
    type Error = TestError;
    type Future = Ready<Result<Response<PieceBody>, TestError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TestError>> {
        self.polls += 1;
        if self.polls < 3 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        assert!(self.is_ready, "called without having been made ready");
        (self.is_ready, self.polls) = (false, 0);
        self.calls.fetch_add(1, Ordering::SeqCst);
        ready(Ok(response(self.status, &[], PieceBody::whole(""))))
    }
}

type Plain = Request<Full<Bytes>>;

async fn make_ready<S: Service<Plain, Error = BoxError>>(service: &mut S) {
    service.ready().await.unwrap();
}

async fn ready_call<S: Service<Plain, Error = BoxError>>(
    service: &mut S,
) -> Result<S::Response, BoxError> {
    ready_call_with(service, get("t")).await
}

async fn ready_call_with<S: Service<Plain, Error = BoxError>>(
    service: &mut S,
    request: Plain,
) -> Result<S::Response, BoxError> {
    service.ready().await?.call(request).await
}

#[tokio::test(start_paused = true)]
async fn the_instance_that_was_made_ready_is_called() {
    for status in [200, 429, 503] {
        let (probe, calls) = Probe::new(status);
        let quota = Quota::new(burst(2, SECOND));
        let limit = patient(&quota);
        let retry = RetryAfterLayer::new(&quota).max_wait(FOREVER);
        let mut limit = ServiceBuilder::new().layer(limit).service(probe.clone());
        let mut alone = ServiceBuilder::new()
            .layer(retry.clone())
            .service(probe.clone());
        let mut adaptive = ServiceBuilder::new()
            .layer(AdaptiveConcurrencyLayer::new(&quota))
            .service(probe.clone());
        let mut both = ServiceBuilder::new()
            .layer(retry)
            .layer(patient(&quota))
            .service(probe.clone());
        let mut observed = ObserveLayer::new(&quota).layer(probe);
        for _ in 0..3 {
            let ready = ServiceExt::<Plain>::ready(&mut observed).await.unwrap();
            ready.call(get("t")).await.unwrap();
            ready_call(&mut limit).await.unwrap();
            ready_call(&mut alone).await.unwrap();
            ready_call(&mut both).await.unwrap();
            ready_call(&mut adaptive).await.unwrap();
        }
        assert_eq!(
            calls.load(Ordering::SeqCst),
            if status == 200 { 15 } else { 39 }
        );
    }
}

fn search_for_many() -> Plain {
    let body = Full::from(r#"{"limit":200}"#);
    common::search("t").map(|_| body)
}

/// Whole or in pieces, the first and all others.
#[tokio::test(start_paused = true)]
async fn also_by_the_layer_that_asks_in_pieces() {
    // 200, 100, 50, 25, 13, 7, 4, 2, 1; what is no search is not made smaller.
    for (status, pieces) in [(200, 1), (504, 9)] {
        let (probe, calls) = Probe::new(status);
        let mut api = ServiceBuilder::new()
            .layer(PayloadTrimLayer::new(SearchPages::default()))
            .service(probe);
        for _ in 0..3 {
            ready_call(&mut api).await.unwrap();
            let whole = ready_call_with(&mut api, search_for_many()).await;
            assert_eq!(whole.unwrap().status(), status);
        }
        assert_eq!(calls.load(Ordering::SeqCst), 3 * (1 + pieces));
    }
}

/// A pause sends a request that was ready to go back to wait; what it goes on with has been made ready again.
#[tokio::test(start_paused = true)]
async fn also_after_a_pause_held_it_back() {
    for retry_alone in [false, true] {
        let (probe, calls) = Probe::new(200);
        let quota = Quota::new(burst(10, SECOND));
        let valve = Valve::shut(probe);
        let refused = Server::new(|_, _| at_once(429, &[("retry-after", "3")], ""));
        let refused = ServiceBuilder::new()
            .layer(patient(&quota))
            .service(refused);
        let held = if retry_alone {
            let api = ServiceBuilder::new()
                .layer(RetryAfterLayer::new(&quota))
                .service(valve.clone());
            tokio::spawn(async move { api.oneshot(get("t")).await.map(drop) })
        } else {
            let api = ServiceBuilder::new()
                .layer(patient(&quota))
                .service(valve.clone());
            tokio::spawn(async move { api.oneshot(get("t")).await.map(drop) })
        };
        sleep(ms(10)).await;
        refused.oneshot(get("t")).await.unwrap();
        valve.set_open(true);
        sleep(SECOND).await;
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        held.await.unwrap().unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }
}

/// A hundred wait for slots, and the only place inside is free all the same.
#[tokio::test(start_paused = true)]
async fn waiting_in_line_reserves_nothing_inside() {
    let quota = Quota::new(burst(1, 100 * SECOND));
    let server = Server::fine();
    let inside = ConcurrencyLimit::new(server.clone(), 1);
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota).max_wait(FOREVER))
        .layer(patient(&quota))
        .service(inside.clone());
    api.clone().oneshot(get("t")).await.unwrap();
    let waiting: Vec<_> = (0..100)
        .map(|_| tokio::spawn(api.clone().oneshot(get("t"))))
        .collect();
    sleep(SECOND).await;
    assert_eq!(quota.waiting(), 100);
    let now = server.elapsed();
    // Another token, and somebody who uses the client without the layers.
    api.clone().oneshot(get("u")).await.unwrap();
    inside.clone().oneshot(get("t")).await.unwrap();
    assert_eq!(server.elapsed(), now);
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Who waits for a pause holds no place inside either, even if he had one before.
#[tokio::test(start_paused = true)]
async fn waiting_for_a_pause_reserves_nothing_inside() {
    for retry_alone in [false, true] {
        let quota = Quota::new(burst(10, SECOND));
        let server = Server::new(|nth, _| match nth {
            0 => after(2 * SECOND, at_once(200, &[], "")),
            _ => at_once(200, &[], ""),
        });
        let inside = ConcurrencyLimit::new(server.clone(), 1);
        let refused = Server::new(|_, _| at_once(429, &[("retry-after", "50")], ""));
        let refused = ServiceBuilder::new()
            .layer(patient(&quota))
            .service(refused);
        // Somebody without the layers has the place for two seconds; we stand at the door when the pause begins.
        let outsider = tokio::spawn(inside.clone().oneshot(get("x")));
        tokio::task::yield_now().await;
        let held = if retry_alone {
            let api = ServiceBuilder::new()
                .layer(RetryAfterLayer::new(&quota))
                .service(inside.clone());
            tokio::spawn(async move { api.oneshot(get("t")).await.map(drop) })
        } else {
            let api = ServiceBuilder::new()
                .layer(patient(&quota))
                .service(inside.clone());
            tokio::spawn(async move { api.oneshot(get("t")).await.map(drop) })
        };
        sleep(SECOND).await;
        refused.oneshot(get("t")).await.unwrap();
        outsider.await.unwrap().unwrap();
        sleep(SECOND).await;
        let now = server.elapsed();
        let entered = tokio::time::timeout(SECOND, inside.clone().oneshot(get("x"))).await;
        assert!(
            entered.is_ok(),
            "the place inside is kept during the pause; retry alone: {retry_alone}"
        );
        assert_eq!(server.elapsed(), now);
        held.await.unwrap().unwrap();
        assert!(server.elapsed() >= 51 * SECOND);
    }
}

/// It is ready in no time, and fails when asked.
#[derive(Clone)]
struct Broken;

impl<B> Service<Request<B>> for Broken {
    type Response = Response<PieceBody>;
    type Error = TestError;
    type Future = Ready<Result<Response<PieceBody>, TestError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TestError>> {
        Poll::Ready(Err(TestError("no connection can be made")))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        unreachable!("it is never ready")
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_inner_readiness_reaches_the_caller() {
    let quota = Quota::new(burst(2, SECOND));
    let mut limit = ServiceBuilder::new().layer(patient(&quota)).service(Broken);
    let mut retry = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota))
        .service(Broken);
    let mut observed = ObserveLayer::new(&quota).layer(Broken);
    let error = ServiceExt::<Plain>::ready(&mut observed).await.err();
    let error = error.unwrap();
    assert_eq!(error, TestError("no connection can be made"));
    for _ in 0..10 {
        let error = ready_call(&mut limit).await.unwrap_err();
        assert_eq!(
            error.downcast_ref(),
            Some(&TestError("no connection can be made"))
        );
        let error = ready_call(&mut retry).await.unwrap_err();
        assert_eq!(
            error.downcast_ref(),
            Some(&TestError("no connection can be made"))
        );
    }
    assert_eq!(
        quota.usage("burst", &get("t")).unwrap().used,
        0,
        "nothing was sent"
    );
    // Both together: nothing has gone wrong with either layer, and the next request works.
    let both = StackLayer::new(&quota);
    let error = ServiceBuilder::new()
        .layer(&both)
        .service(Broken)
        .oneshot(get("t"))
        .await
        .unwrap_err();
    assert!(error.is::<TestError>());
    ServiceBuilder::new()
        .layer(&both)
        .service(Server::fine())
        .oneshot(get("t"))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn asking_for_readiness_takes_no_slot() {
    let quota = Quota::new(burst(5, SECOND));
    let server = Server::fine();
    let api = ServiceBuilder::new()
        .layer(StackLayer::new(&quota))
        .service(server.clone());
    for _ in 0..5 {
        let mut asked = api.clone();
        make_ready(&mut asked).await;
        drop(asked);
    }
    // Not even a call that is never polled.
    for _ in 0..5 {
        drop(api.clone().call(get("t")));
    }
    assert_eq!((quota.waiting(), quota.remembered()), (0, 0));
    for _ in 0..5 {
        api.clone().oneshot(get("t")).await.unwrap();
    }
    assert_eq!((server.count(), server.elapsed()), (5, Duration::ZERO));
}

/// A future that is polled again after its end does nothing.
#[tokio::test(start_paused = true)]
async fn polling_after_the_end_does_not_panic() {
    let quota = Quota::new(burst(5, SECOND));
    let mut api = ServiceBuilder::new()
        .layer(StackLayer::new(&quota).trim(SearchPages::default()))
        .service(Server::fine());
    for request in [get("t"), search_for_many()] {
        let mut hand = Hand::new(api.call(request));
        assert!(hand.poll().is_ready());
        assert!(hand.poll().is_pending());
    }
}

fn is_send<T: Send>(value: T) -> T {
    value
}

fn is_shared<T: Clone + Send + Sync + 'static>(value: T) -> T {
    value
}

#[tokio::test(start_paused = true)]
async fn layers_services_and_futures_can_be_sent() {
    let quota = is_shared(Quota::new(burst(100, SECOND)));
    let limit = is_shared(TokenLimitLayer::new(&quota));
    let retry = is_shared(RetryAfterLayer::new(&quota));
    let both = is_shared(StackLayer::new(&quota));
    let observe = is_shared(ObserveLayer::new(&quota));
    // `Server` is `Send`, `Sync` and `Clone`.
    let server = is_shared(Server::fine());
    let mut limited = is_shared(ServiceBuilder::new().layer(limit).service(server.clone()));
    let mut repeating = is_shared(ServiceBuilder::new().layer(retry).service(server.clone()));
    let mut stacked = is_shared(ServiceBuilder::new().layer(both).service(server));
    let trim = is_shared(PayloadTrimLayer::new(is_shared(SearchPages::default())));
    let mut trimmed = is_shared(ServiceBuilder::new().layer(trim).service(Server::fine()));
    let mut observed = is_shared(ServiceBuilder::new().layer(observe).service(Server::fine()));
    is_send(observed.call(get("t"))).await.unwrap();
    is_send(trimmed.call(search_for_many())).await.unwrap();
    is_send(limited.call(get("t"))).await.unwrap();
    is_send(repeating.call(get("t"))).await.unwrap();
    let answer = is_send(stacked.call(get("t"))).await.unwrap();
    is_send(answer);
}

/// A service whose futures stay on one thread, and whose errors are boxes already.
#[tokio::test(start_paused = true)]
async fn an_inner_service_need_not_be_send() {
    let quota = Quota::new(burst(1, SECOND));
    let shared = std::rc::Rc::new(std::cell::Cell::new(0));
    let counter = shared.clone();
    let service = tower::service_fn(move |_: Request<HeldBody<Full<Bytes>>>| {
        let counter = counter.clone();
        async move {
            counter.set(counter.get() + 1);
            Ok::<_, BoxError>(Response::new(Full::<Bytes>::from("local")))
        }
    });
    let api = ServiceBuilder::new()
        .layer(StackLayer::new(&quota))
        .service(service);
    api.clone().oneshot(get("t")).await.unwrap();
    api.clone().oneshot(get("t")).await.unwrap();
    api.oneshot(search_for_many()).await.unwrap();
    assert_eq!(shared.get(), 3);
}

/// Among timeouts, maps, spans and boxes.
#[tokio::test(start_paused = true)]
async fn it_fits_into_a_service_builder() {
    let quota = Quota::new(burst(2, SECOND));
    let server = Server::new(|nth, _| at_once(if nth == 0 { 503 } else { 200 }, &[], "hello"));
    let seen = Arc::new(AtomicUsize::new(0));
    let trace = MapResponseLayer::new({
        let seen = seen.clone();
        move |response| {
            seen.fetch_add(1, Ordering::SeqCst);
            response
        }
    });
    let service = ServiceBuilder::new()
        .layer(trace)
        .layer(TimeoutLayer::new(60 * SECOND))
        .layer(MapRequestLayer::new(|mut request: Request<Full<Bytes>>| {
            request.headers_mut().insert("x-mapped", 1.into());
            request
        }))
        .layer(RetryAfterLayer::new(&quota))
        .layer(TimeoutLayer::new(50 * SECOND))
        .layer(TokenLimitLayer::new(&quota))
        .layer(TimeoutLayer::new(20 * SECOND))
        .concurrency_limit(3)
        .service(server.clone());
    let boxed: BoxCloneSyncService<Request<Full<Bytes>>, _, BoxError> =
        BoxCloneSyncService::new(service);
    let boxed = is_shared(boxed);
    let tasks: Vec<_> = (0..10)
        .map(|_| tokio::spawn(boxed.clone().oneshot(get("t"))))
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(seen.load(Ordering::SeqCst), 10);
    assert_eq!(server.count(), 11);
    assert!(
        server
            .log()
            .iter()
            .all(|seen| seen.header("x-mapped") == "1")
    );
    // A box inside.
    let inner: BoxCloneSyncService<Request<HeldBody<Full<Bytes>>>, Response<PieceBody>, BoxError> =
        BoxCloneSyncService::new(
            ServiceBuilder::new()
                .map_err(BoxError::from)
                .service(Server::fine()),
        );
    let api = ServiceBuilder::new()
        .layer(StackLayer::new(&quota))
        .service(inner);
    let error_is_boxed: Result<_, BoxError> = api.oneshot(get("u")).await;
    error_is_boxed.unwrap();
}

/// `tower::buffer` and `load_shed` outside, as people have them.
#[tokio::test(start_paused = true)]
async fn it_works_behind_a_buffer() {
    let quota = Quota::new(burst(3, SECOND));
    let server = Server::fine();
    let api = ServiceBuilder::new()
        .buffer(100)
        .layer(StackLayer::new(&quota))
        .service(server.clone());
    let tasks: Vec<_> = (0..30)
        .map(|_| tokio::spawn(api.clone().oneshot(get("t"))))
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let times: Vec<_> = server.log().iter().map(|seen| seen.at).collect();
    assert_eq!(common::most_in_window(&times, SECOND), 3);
}

/// Nested twice by mistake, or on purpose with another plan: both limits hold.
#[tokio::test(start_paused = true)]
async fn two_quotas_one_inside_the_other() {
    let slow = Quota::new(burst(5, 10 * SECOND));
    let fast = Quota::new(burst(2, SECOND));
    let server = Server::new(|nth, _| match nth {
        0 => at_once(429, &[("retry-after", "2")], ""),
        _ => at_once(200, &[], ""),
    });
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&slow).max_wait(FOREVER))
        .layer(patient(&slow))
        .layer(patient(&fast))
        .service(server.clone());
    let tasks: Vec<_> = (0..20)
        .map(|_| tokio::spawn(api.clone().oneshot(get("t"))))
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), 200);
    }
    let times: Vec<_> = server.log().iter().map(|seen| seen.at).collect();
    assert!(common::most_in_window(&times, 10 * SECOND) <= 5);
    assert!(common::most_in_window(&times, SECOND) <= 2);
    assert!(times[2] >= 2 * SECOND, "{times:?}");
}
