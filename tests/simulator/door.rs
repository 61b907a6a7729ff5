//! What is set while it runs, what is turned away at the door, and headers that are not there.

use http::{Method, StatusCode};
use tokio::time::sleep;
use tower::Service;
use tower_quota::sim::{Class, Latency, Others, Sim};

use crate::{ASSOCIATIONS, LIST, MS, SEARCH, SECOND, json, number, request, send, send_as, small};

#[tokio::test(start_paused = true)]
async fn a_window_that_grows_or_shrinks_is_enforced_and_announced_at_once() {
    let sim = small().build().unwrap();
    for _ in 0..5 {
        send(&sim, LIST).await;
    }
    let figures = |sim: Sim, token| async move {
        let answer = send_as(&sim, LIST, token).await;
        let max = number(answer.headers(), "max");
        let left = number(answer.headers(), "remaining");
        (answer.status().as_u16(), max, left)
    };
    assert_eq!(figures(sim.clone(), "pat-1").await, (429, Some(5), Some(0)));
    sim.set_burst(8);
    assert_eq!(figures(sim.clone(), "pat-1").await, (200, Some(8), Some(2)));
    // Fewer than are counted already: all must have aged.
    sim.set_burst(3);
    assert_eq!(figures(sim.clone(), "pat-1").await, (429, Some(3), Some(0)));
    // One that was not known before.
    assert_eq!(figures(sim.clone(), "pat-2").await, (200, Some(3), Some(2)));
    sleep(10 * SECOND).await;
    assert_eq!(figures(sim.clone(), "pat-1").await, (200, Some(3), Some(2)));
    sim.set_search(1);
    sim.set_associations(1);
    let mut statuses = Vec::new();
    for path in [SEARCH, SEARCH, ASSOCIATIONS, ASSOCIATIONS] {
        statuses.push(send(&sim, path).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 429, 200, 429]);
}

#[tokio::test(start_paused = true)]
async fn others_were_under_the_old_quota_until_it_changed() {
    let sim = small().others(Others::burst(100.0)).build().unwrap();
    send(&sim, LIST).await;
    sleep(1_000 * SECOND).await;
    // About 5 in 10 s for 1,000 s, whatever comes later.
    sim.set_burst(1_000_000);
    let before = sim.stats().others_counted();
    assert!((450..=505).contains(&before), "{before}");
    sleep(100 * SECOND).await;
    let after = sim.stats().others_counted() - before;
    assert!((9_500..10_500).contains(&after), "{after}");
}

/// Five at once and a limit of three, for each of two tokens.
#[tokio::test(start_paused = true)]
async fn more_than_so_many_at_a_time_are_turned_away_and_cost_nothing() {
    for status in [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ] {
        let sim = Sim::builder()
            .concurrency(3, status)
            .service_time(Latency::constant(200 * MS))
            .retry_after(2)
            .build()
            .unwrap();
        let call = |token| sim.service().call(request(Method::GET, LIST, token));
        let calls: Vec<_> = (0..5)
            .flat_map(|_| [call("pat-1"), call("pat-2")])
            .collect();
        let mut turned_away = 0;
        for call in calls {
            let answer = call.await.unwrap();
            if answer.status() == StatusCode::OK {
                assert_eq!(sim.elapsed(), 200 * MS);
                continue;
            }
            assert_eq!(answer.status(), status);
            assert_eq!(json(&answer)["category"], "TOO_MANY_IN_WORK");
            assert!(json(&answer).get("policyName").is_none());
            assert_eq!(number(answer.headers(), "remaining"), None);
            let told = answer.headers().contains_key("retry-after");
            assert_eq!(told, status == StatusCode::TOO_MANY_REQUESTS);
            turned_away += 1;
        }
        assert_eq!(turned_away, 4);
        // There is room again, and neither budget has seen them.
        let next = send(&sim, LIST).await;
        assert_eq!(next.status(), StatusCode::OK);
        assert_eq!(number(next.headers(), "remaining"), Some(190 - 4));
        assert_eq!(number(next.headers(), "daily-remaining"), Some(625_000 - 7));
        let stats = sim.stats();
        assert_eq!(stats.general.refused_concurrency, 4);
        assert_eq!((stats.general.arrived, stats.general.counted), (11, 7));
        assert_eq!((stats.general.refused_window, stats.refused()), (0, 4));
    }
}

/// A caller who goes away does not end the work.
#[tokio::test(start_paused = true)]
async fn work_is_in_work_until_its_time_is_over() {
    let sim = Sim::builder()
        .concurrency(1, StatusCode::SERVICE_UNAVAILABLE)
        .service_time(Latency::constant(200 * MS))
        .build()
        .unwrap();
    drop(sim.service().call(request(Method::GET, LIST, "pat-1")));
    sleep(199 * MS).await;
    let early = send(&sim, LIST).await;
    assert_eq!(early.status(), StatusCode::SERVICE_UNAVAILABLE);
    sleep(2 * MS).await;
    assert_eq!(send(&sim, LIST).await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn quota_headers_can_be_left_out() {
    let names = ["max", "remaining", "daily", "daily-remaining"];
    let sim = small().quota_headers(false).build().unwrap();
    for path in [LIST, SEARCH, ASSOCIATIONS] {
        let answer = send(&sim, path).await;
        assert!(
            names
                .iter()
                .all(|name| number(answer.headers(), name).is_none())
        );
        assert!(answer.headers().contains_key("x-hubspot-correlation-id"));
    }
    let sim = small()
        .quota_headers_of(Class::Search, false)
        .build()
        .unwrap();
    let daily = |answer: http::Response<_>| number(answer.headers(), "daily");
    assert_eq!(daily(send(&sim, SEARCH).await), None);
    assert_eq!(daily(send(&sim, LIST).await), Some(625_000));
}
