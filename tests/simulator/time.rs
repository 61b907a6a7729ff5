//! What takes how long, and what happens to a request whose caller has gone.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Body, Frame};
use tokio::time::sleep;
use tower::Service;
use tower_quota::clock::Clock;
use tower_quota::sim::{
    Fault, Latency, Others, ServiceHeader, Sim, SimBody, SimError, SimFuture, SimService, Windows,
};

use crate::{LIST, MS, SECOND, json, request, send, small};

#[tokio::test(start_paused = true)]
async fn requests_are_counted_on_arrival_and_take_their_time() {
    let sim = small()
        .uplink(Latency::constant(30 * MS))
        .service_time(Latency::constant(200 * MS))
        .downlink(Latency::constant(50 * MS))
        .build()
        .unwrap();
    let future = sim.service().call(request(Method::GET, LIST, "pat-1"));
    // Polled late, sent at once.
    sleep(100 * MS).await;
    let response = future.await.unwrap();
    assert_eq!(sim.elapsed(), 280 * MS);
    assert_eq!(sim.log()[0].at, 30 * MS);
    assert_eq!(response.headers()["x-envoy-upstream-service-time"], "200");
}

#[tokio::test(start_paused = true)]
async fn the_service_time_is_never_exaggerated() {
    for header in [
        ServiceHeader::Envoy,
        ServiceHeader::ServerTiming,
        ServiceHeader::Runtime,
    ] {
        let sim = Sim::builder()
            .service_time(Latency::uniform(MS, 20 * MS))
            .service_header(Some(header))
            .build()
            .unwrap();
        for _ in 0..50 {
            let before = sim.elapsed();
            let response = send(&sim, LIST).await;
            let told = match header {
                ServiceHeader::Envoy => {
                    let text = response.headers()["x-envoy-upstream-service-time"]
                        .to_str()
                        .unwrap();
                    Duration::from_millis(text.parse().unwrap())
                }
                ServiceHeader::ServerTiming => {
                    let text = response.headers()["server-timing"].to_str().unwrap();
                    let text = text.strip_prefix("app;dur=").unwrap();
                    Duration::from_secs_f64(text.parse::<f64>().unwrap() / 1_000.0)
                }
                _ => {
                    let text = response.headers()["x-runtime"].to_str().unwrap();
                    Duration::from_secs_f64(text.parse().unwrap())
                }
            };
            assert!(told <= sim.elapsed() - before + Duration::from_nanos(1) && !told.is_zero());
        }
    }
    let sim = Sim::builder().service_header(None).build().unwrap();
    assert!(
        !send(&sim, LIST)
            .await
            .headers()
            .contains_key("x-envoy-upstream-service-time")
    );
}

#[tokio::test(start_paused = true)]
async fn a_dropped_future_does_not_call_the_request_back() {
    let sim = small().uplink(Latency::constant(30 * MS)).build().unwrap();
    let body = r#"{"properties":{"email":"a@b.org"}}"#;
    let mut create = request(Method::POST, LIST, "pat-1");
    *create.body_mut() = SimBody::from(body);
    drop(sim.service().call(create));
    assert_eq!(sim.stats().counted(), 0);
    sleep(40 * MS).await;
    assert_eq!(sim.stats().counted(), 1);
    assert_eq!(sim.log()[0].at, 30 * MS);
    let list = send(&sim, LIST).await;
    assert_eq!(json(&list)["results"][0]["properties"]["email"], "a@b.org");
}

#[tokio::test(start_paused = true)]
async fn equal_seeds_give_equal_runs() {
    let run = |seed| async move {
        let sim = small()
            .latency(Latency::WAN)
            .service_time(Latency::uniform(200 * MS, 600 * MS))
            .others(Others::burst(0.2))
            .fault(0.1, Fault::status(StatusCode::BAD_GATEWAY))
            .seed(seed)
            .build()
            .unwrap();
        let calls = (0..50).map(|_| sim.service().call(request(Method::GET, LIST, "pat-1")));
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap();
        }
        (sim.log(), sim.stats().statuses)
    };
    assert_eq!(run(3).await, run(3).await);
    assert_ne!(run(3).await, run(4).await);
}

/// The seed alone says where the seconds begin, not the moment at which the machine starts.
#[tokio::test(start_paused = true)]
async fn equal_seeds_give_equal_seconds_at_any_time_of_day() {
    let run = |millis, seed| async move {
        let sim = small()
            .windows(Windows::OneSecondBuckets { phase: None })
            .clock(Clock::starting_at(UNIX_EPOCH + millis * MS))
            .seed(seed)
            .build()
            .unwrap();
        let mut admitted = Vec::new();
        for _ in 0..400 {
            admitted.push(send(&sim, LIST).await.status() == StatusCode::OK);
            sleep(70 * MS).await;
        }
        admitted
    };
    assert_eq!(run(1_000, 3).await, run(1_370, 3).await);
    assert_ne!(run(1_000, 3).await, run(1_000, 4).await);
}

/// A body whose only piece takes its time.
struct Slow(Pin<Box<tokio::time::Sleep>>, Option<Bytes>);

impl Body for Slow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        ready!(self.0.as_mut().poll(cx));
        Poll::Ready(self.1.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_streaming_body_is_read_and_one_that_is_cut_off_never_arrives() {
    let sim = small().uplink(Latency::constant(30 * MS)).build().unwrap();
    let create = || {
        let body = Bytes::from_static(br#"{"properties":{"firstname":"Ada"}}"#);
        let slow = Slow(Box::pin(sleep(100 * MS)), Some(body));
        request(Method::POST, LIST, "pat-1").map(|_| slow)
    };
    drop(sim.service().call(create()));
    sleep(SECOND).await;
    assert_eq!(sim.stats().counted(), 0);
    let response = sim.service().call(create()).await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(sim.log()[0].at, SECOND + 130 * MS);
}

#[test]
fn outside_of_a_runtime_there_is_an_error_and_no_panic() {
    let sim = small().build().unwrap();
    let mut future = pin!(sim.service().call(request(Method::GET, LIST, "pat-1")));
    let answer = future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(answer, Poll::Ready(Err(SimError::NoRuntime))));
}

#[test]
fn handles_and_futures_can_be_sent_and_shared() {
    fn sendable<T: Send + 'static>() {}
    fn shareable<T: Send + Sync + Clone + 'static>() {}
    shareable::<Sim>();
    shareable::<SimService>();
    sendable::<SimFuture<SimBody>>();
}
