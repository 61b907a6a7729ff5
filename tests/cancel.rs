//! Promise: a request may be given up at every await point of both layers, and nothing is lost: what was not sent gives its
//! slots back at once, what was sent ages from the moment of giving up, the next in line is woken, and nothing stays in the
//! queue. A panic and a timeout are no different. (T5, T45, T46, T51, T54)

mod common;

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use common::{
    FOREVER, Fate, Hand, Piece, PieceBody, SECOND, Server, TestError, Valve, after, at_once, burst,
    get, lost, ms, never, patient, request, response,
};
use http::{Method, Request};
use tokio::time::sleep;
use tower::timeout::TimeoutLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_quota::{BoxError, Quota, QuotaError, RetryAfterLayer, TokenLimitLayer};

const HUNDREDTH: Duration = Duration::from_millis(10);

/// How many requests of token `t` can go now. Sends them.
async fn free_now(quota: &Quota) -> usize {
    let server = Server::fine();
    let api = ServiceBuilder::new()
        .layer(TokenLimitLayer::new(quota).max_wait(Duration::ZERO))
        .service(server.clone());
    for _ in 0..20 {
        if let Err(error) = api.clone().oneshot(get("t")).await {
            assert!(error.is::<QuotaError>(), "{error}");
            return server.count();
        }
    }
    panic!("no limit");
}

fn used(quota: &Quota) -> u32 {
    quota.usage("burst", &get("t")).unwrap().used
}

/// Nobody waits; and when all windows are over, exactly as many as the limit says can go.
async fn nothing_is_lost(quota: &Quota, limit: usize, context: &str) {
    assert_eq!(quota.waiting(), 0, "{context}");
    sleep(Duration::from_secs(120)).await;
    assert_eq!(used(quota), 0, "{context}");
    assert_eq!(free_now(quota).await, limit, "{context}");
}

/// In line for a slot, after any number of polls, woken or not.
#[tokio::test(start_paused = true)]
async fn in_line() {
    for polls in 0..4 {
        let quota = Quota::new(burst(2, SECOND));
        let api = ServiceBuilder::new()
            .layer(patient(&quota))
            .service(Server::fine());
        assert_eq!(free_now(&quota).await, 2);
        let mut waiting = Hand::new(api.oneshot(get("t")));
        for _ in 0..polls {
            assert!(waiting.poll().is_pending());
        }
        assert_eq!(quota.waiting(), usize::from(polls > 0));
        waiting.cancel();
        sleep(SECOND + ms(1)).await;
        assert_eq!(free_now(&quota).await, 2, "at once, after {polls} polls");
        nothing_is_lost(&quota, 2, &format!("{polls} polls")).await;
    }
}

/// The slot came, the waiter was woken, and is dropped before it looks: the next one gets the slot in the same instant.
#[tokio::test(start_paused = true)]
async fn granted_and_not_yet_looked() {
    let quota = Quota::new(burst(1, SECOND));
    let server = Server::fine();
    let api = ServiceBuilder::new()
        .layer(patient(&quota))
        .service(server.clone());
    assert_eq!(free_now(&quota).await, 1);
    let mut waiters: Vec<_> = (0..4)
        .map(|_| Hand::new(api.clone().oneshot(get("t"))))
        .collect();
    for waiter in &mut waiters {
        assert!(waiter.poll().is_pending());
    }
    sleep(SECOND + ms(1)).await;
    assert!(waiters[0].is_woken());
    for nth in 0..3 {
        waiters[nth].cancel();
        assert!(
            waiters[nth + 1].is_woken(),
            "{nth} was dropped, nobody else was woken"
        );
    }
    assert!(waiters[3].poll().is_ready());
    assert_eq!(server.times(), [1001]);
    nothing_is_lost(&quota, 1, "").await;
}

/// As above, but the slot is handed over by a release that another request's poll has seen.
#[tokio::test(start_paused = true)]
async fn granted_by_a_neighbour() {
    let quota = Quota::new(burst(2, SECOND));
    let server = Server::fine();
    let api = ServiceBuilder::new()
        .layer(patient(&quota))
        .service(server.clone());
    assert_eq!(free_now(&quota).await, 2);
    let mut first = Hand::new(api.clone().oneshot(get("t")));
    let mut second = Hand::new(api.clone().oneshot(get("t")));
    let mut third = Hand::new(api.clone().oneshot(get("t")));
    assert!(first.poll().is_pending() && second.poll().is_pending() && third.poll().is_pending());
    sleep(SECOND + ms(1)).await;
    // Grants the second one, too.
    assert!(first.poll().is_ready());
    assert!(second.is_woken());
    second.cancel();
    assert!(third.is_woken(), "the slot of the second goes to the third");
    assert!(third.poll().is_ready());
    nothing_is_lost(&quota, 2, "").await;
}

/// k slots that become free at once wake k waiters.
#[tokio::test(start_paused = true)]
async fn as_many_are_woken_as_slots_become_free() {
    let quota = Quota::new(burst(5, SECOND));
    let server = Server::fine();
    let api = ServiceBuilder::new()
        .layer(patient(&quota))
        .service(server.clone());
    assert_eq!(free_now(&quota).await, 5);
    let tasks: Vec<_> = (0..12)
        .map(|_| tokio::spawn(api.clone().oneshot(get("t"))))
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(
        server.times(),
        [
            1001, 1001, 1001, 1001, 1001, 2002, 2002, 2002, 2002, 2002, 3003, 3003
        ]
    );
}

/// Granted, but the inner service is not ready: the slot goes to the next one at once.
#[tokio::test(start_paused = true)]
async fn granted_and_the_inner_service_is_not_ready() {
    let quota = Quota::new(burst(1, SECOND));
    let server = Server::fine();
    let valve = Valve::shut(server.clone());
    let api = ServiceBuilder::new()
        .layer(patient(&quota))
        .service(valve.clone());
    let mut first = Hand::new(api.clone().oneshot(get("t")));
    let mut second = Hand::new(api.clone().oneshot(get("t")));
    for _ in 0..3 {
        assert!(first.poll().is_pending());
        assert!(second.poll().is_pending());
    }
    assert_eq!(used(&quota), 1, "granted");
    sleep(10 * SECOND).await;
    assert_eq!(used(&quota), 1, "and kept");
    first.cancel();
    assert!(second.is_woken());
    valve.set_open(true);
    assert!(
        second.poll().is_ready(),
        "no time has to pass for a request that was never sent"
    );
    assert_eq!(server.count(), 1);
    nothing_is_lost(&quota, 1, "").await;
}

/// On its way: perhaps it was counted, so its slot ages, from the moment of giving up plus the longest round trip seen.
#[tokio::test(start_paused = true)]
async fn sent() {
    for (round_trip, expected) in [
        (ms(1), 300 + 1_000 + 1_000),
        (ms(2_500), 300 + 2_500 + 1_000),
    ] {
        let quota = Quota::new(burst(1, SECOND));
        let server = Server::new(move |nth, _| match nth {
            0 => after(round_trip, at_once(200, &[], "")),
            1 => never(),
            _ => at_once(200, &[], ""),
        });
        let api = ServiceBuilder::new()
            .layer(patient(&quota))
            .service(server.clone());
        api.clone().oneshot(get("t")).await.unwrap();
        sleep(20 * SECOND).await;
        let mut sent = Hand::new(api.clone().oneshot(get("t")));
        assert!(sent.poll().is_pending());
        let began = server.elapsed();
        sleep(ms(300)).await;
        let next = tokio::spawn(api.clone().oneshot(get("t")));
        tokio::task::yield_now().await;
        sent.cancel();
        next.await.unwrap().unwrap();
        let waited = (server.elapsed() - began).as_millis();
        assert!(
            (expected..expected + 3).contains(&waited),
            "{waited} instead of {expected} ms"
        );
        nothing_is_lost(&quota, 1, "").await;
    }
}

/// The inner service fails: the same as given up.
#[tokio::test(start_paused = true)]
async fn failed_without_a_response() {
    let quota = Quota::new(burst(1, SECOND));
    let server = Server::new(|_, _| after(ms(100), lost()));
    let api = ServiceBuilder::new()
        .layer(patient(&quota))
        .service(server.clone());
    for _ in 0..3 {
        api.clone().oneshot(get("t")).await.unwrap_err();
    }
    let times = server.times();
    for pair in times.windows(2) {
        assert!((2_100..2_103).contains(&(pair[1] - pair[0])), "{times:?}");
    }
}

/// While the body of a refusal is read: the slot ages from the head, and the pause stays.
#[tokio::test(start_paused = true)]
async fn reading_the_body_of_a_refusal() {
    let plan = tower_quota::plan::Plan::builder("hubspot")
        .limit(tower_quota::plan::Limit::rolling("burst", 2, SECOND))
        .build()
        .unwrap();
    let api = tower_quota::Api::new(plan).signals(tower_quota::hubspot::HubspotSignals);
    let quota = Quota::new(api);
    let server = Server::new(|nth, _| match nth {
        0 => Box::pin(async {
            Ok(response(
                429,
                &[("retry-after", "5")],
                PieceBody::new([Piece::Hang]),
            ))
        }),
        _ => at_once(200, &[], ""),
    });
    let stack = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota))
        .layer(patient(&quota))
        .service(server.clone());
    let mut reading = Hand::new(stack.clone().oneshot(get("t")));
    assert!(reading.poll().is_pending());
    let other = tokio::spawn(stack.clone().oneshot(get("t")));
    sleep(ms(100)).await;
    assert!(reading.poll().is_pending());
    reading.cancel();
    other.await.unwrap().unwrap();
    let at = server.times()[1];
    assert!(
        (5_000..=5_602).contains(&at),
        "the pause began with the head and stays: {at}"
    );
    nothing_is_lost(&quota, 2, "").await;
}

/// Between two attempts, and at the gate while there is a pause.
#[tokio::test(start_paused = true)]
async fn backing_off_and_at_the_gate() {
    for (status, headers) in [(503, &[][..]), (429, &[("retry-after", "7")][..])] {
        let quota = Quota::new(burst(2, SECOND));
        let server = Server::new(move |nth, _| match nth {
            0 => at_once(status, headers, "no"),
            _ => at_once(200, &[], ""),
        });
        let stack = ServiceBuilder::new()
            .layer(RetryAfterLayer::new(&quota))
            .layer(patient(&quota))
            .service(server.clone());
        let mut first = Hand::new(stack.clone().oneshot(get("t")));
        assert!(first.poll().is_pending());
        assert_eq!(server.count(), 1);
        let mut second = Hand::new(stack.clone().oneshot(get("t")));
        let before = second.poll();
        assert_eq!(
            before.is_pending(),
            status == 429,
            "only a refusal holds others"
        );
        sleep(ms(50)).await;
        first.cancel();
        if before.is_pending() {
            sleep(8 * SECOND).await;
            assert!(second.is_woken(), "the one at the gate behind it");
            assert!(second.poll().is_ready());
        }
        assert_eq!(server.count(), 2, "the first one was not sent again");
        nothing_is_lost(&quota, 2, &status.to_string()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_inside() {
    for (where_from, call_panics) in [("call", true), ("poll", false)] {
        let quota = Quota::new(burst(1, SECOND));
        let server = Server::new(move |nth, _| match nth {
            0 if call_panics => panic!("in call"),
            0 => Box::pin(async { panic!("in the future") }),
            _ => at_once(200, &[], ""),
        });
        let stack = ServiceBuilder::new()
            .layer(RetryAfterLayer::new(&quota))
            .layer(patient(&quota))
            .service(server.clone());
        let panicking = tokio::spawn(stack.clone().oneshot(get("t")));
        let next = tokio::spawn(stack.clone().oneshot(get("t")));
        assert!(panicking.await.unwrap_err().is_panic());
        next.await.unwrap().unwrap();
        assert!(
            (2_000..2_003).contains(&server.times()[1]),
            "{where_from}: {:?}",
            server.times()
        );
        nothing_is_lost(&quota, 1, where_from).await;
    }
}

/// A request that has failed lets go of the inner service and of itself, even if somebody keeps its future.
#[tokio::test(start_paused = true)]
async fn a_finished_future_keeps_nothing() {
    /// Counts its clones, and may fail to become ready.
    #[derive(Clone)]
    struct Counted {
        _count: Arc<()>,
        is_shut: bool,
    }
    impl Service<Request<PieceBody>> for Counted {
        type Response = http::Response<PieceBody>;
        type Error = TestError;
        type Future = Ready<Result<Self::Response, TestError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TestError>> {
            Poll::Ready(if self.is_shut {
                Err(TestError("shut"))
            } else {
                Ok(())
            })
        }

        fn call(&mut self, _: Request<PieceBody>) -> Self::Future {
            ready(Ok(response(200, &[], PieceBody::default())))
        }
    }

    for is_shut in [true, false] {
        let quota = Quota::new(burst(1, SECOND));
        if !is_shut {
            assert_eq!(free_now(&quota).await, 1);
        }
        let (count, fate) = (Arc::new(()), Fate::default());
        let mut api = TokenLimitLayer::new(&quota)
            .max_wait(Duration::ZERO)
            .layer(Counted {
                _count: count.clone(),
                is_shut,
            });
        let request = get("t").map(|_| PieceBody::default().fate(&fate));
        let mut future = std::pin::pin!(api.call(request));
        assert!(future.as_mut().await.is_err());
        assert_eq!(Arc::strong_count(&count), 2, "ours and the service's");
        assert!(fate.is_dropped());
        nothing_is_lost(&quota, 1, "failed").await;
    }
}

/// A timeout outside counts the waiting, too, and gives up the place in line.
#[tokio::test(start_paused = true)]
async fn a_timeout_outside() {
    let quota = Quota::new(burst(1, 10 * SECOND));
    let server = Server::fine();
    let api = ServiceBuilder::new()
        .layer(TimeoutLayer::new(SECOND))
        .layer(RetryAfterLayer::new(&quota))
        .layer(patient(&quota))
        .service(server.clone());
    api.clone().oneshot(get("t")).await.unwrap();
    let error = api.clone().oneshot(get("t")).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>());
    assert!(server.elapsed() < SECOND + ms(3));
    assert_eq!(server.count(), 1);
    nothing_is_lost(&quota, 1, "").await;
}

/// A timeout inside ends one attempt; a read is repeated, and both attempts have paid.
#[tokio::test(start_paused = true)]
async fn a_timeout_inside() {
    let quota = Quota::new(burst(2, 10 * SECOND));
    let server = Server::new(|nth, _| {
        if nth == 0 {
            never()
        } else {
            at_once(200, &[], "")
        }
    });
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota))
        .layer(patient(&quota))
        .layer(TimeoutLayer::new(SECOND))
        .service(server.clone());
    api.clone().oneshot(get("t")).await.unwrap();
    assert_eq!(server.count(), 2);
    assert_eq!(used(&quota), 2);
    // A create is not: its outcome is unknown.
    sleep(60 * SECOND).await;
    let server = Server::new(|_, _| never());
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota))
        .layer(patient(&quota))
        .layer(TimeoutLayer::new(SECOND))
        .service(server.clone());
    let error = api
        .oneshot(request(Method::POST, "/x", "t"))
        .await
        .unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>());
    assert_eq!(server.count(), 1);
    nothing_is_lost(&quota, 2, "").await;
}

/// One request that goes through every state of both layers, given up after every number of polls.
#[tokio::test(start_paused = true)]
async fn at_every_poll_of_a_long_way() {
    let run = async |most_polls: usize| -> (bool, usize) {
        let quota = Quota::new(
            tower_quota::Api::new(burst(3, SECOND)).signals(tower_quota::hubspot::HubspotSignals),
        );
        let slowly = |status: u16, headers: &'static [(&'static str, &'static str)]| {
            let body = PieceBody::new([
                Piece::Data("{".into()),
                Piece::Wait(ms(30)),
                Piece::Data("}".into()),
                Piece::Wait(ms(30)),
            ]);
            after(
                ms(25),
                Box::pin(async move { Ok(response(status, headers, body)) }),
            )
        };
        let server = Server::new(move |nth, _| match nth {
            0 => slowly(500, &[]),
            1 => slowly(429, &[("retry-after", "0.5")]),
            2 => after(ms(25), lost()),
            3 => slowly(503, &[("retry-after", "1")]),
            _ => slowly(200, &[]),
        });
        let valve = Valve::shut(server.clone());
        let api = ServiceBuilder::new()
            .layer(RetryAfterLayer::new(&quota))
            .layer(patient(&quota))
            .service(valve.clone());
        let first = free_now(&quota).await;
        assert_eq!(first, 3);
        let mut hand = Hand::new(api.clone().oneshot(get("t")));
        let mut is_done = false;
        for nth in 0..most_polls {
            if let Poll::Ready(answer) = hand.poll() {
                assert_eq!(answer.unwrap().status(), 200);
                is_done = true;
                break;
            }
            valve.set_open(nth % 5 == 4);
            sleep(HUNDREDTH).await;
        }
        hand.cancel();
        valve.set_open(true);
        let polls = server.count();
        // Whoever comes next is served, too.
        let next = ServiceBuilder::new()
            .layer(patient(&quota))
            .service(Server::fine());
        next.oneshot(get("t")).await.unwrap();
        nothing_is_lost(&quota, 3, &format!("{most_polls} polls")).await;
        (is_done, polls)
    };
    let mut most_sent = 0;
    for polls in 0..2_000 {
        let (is_done, sent) = run(polls).await;
        most_sent = most_sent.max(sent);
        if is_done {
            assert_eq!(most_sent, 5);
            return;
        }
    }
    panic!("it never came through");
}

/// The same for many at once, given up at random times, against one limit.
#[tokio::test(start_paused = true)]
async fn many_at_random() {
    let quota = Quota::new(burst(7, SECOND));
    let server = Server::new(|nth, _| match nth % 11 {
        3 => after(ms(40), at_once(503, &[], "down")),
        5 => after(ms(90), lost()),
        7 => at_once(429, &[("retry-after", "0.3")], "slow down"),
        _ => after(ms((nth as u64 * 37) % 300), at_once(200, &[], "")),
    });
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota).max_wait(FOREVER))
        .layer(patient(&quota))
        .service(server.clone());
    let tasks: Vec<_> = (0..600_u64)
        .map(|nth| {
            let api = api.clone();
            tokio::spawn(async move {
                sleep(ms(nth * 7)).await;
                let patience = ms((nth * 7919) % 60_000);
                let answer: Result<Result<_, BoxError>, _> =
                    tokio::time::timeout(patience, api.oneshot(get("t"))).await;
                drop(answer);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let times: Vec<_> = server.log().iter().map(|seen| seen.at).collect();
    assert!(common::most_in_window(&times, SECOND) <= 7);
    nothing_is_lost(&quota, 7, "").await;
}
