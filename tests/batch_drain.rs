//! Promise: `drain` sends what is gathered and comes back when all of it is answered. Nothing is lost when a program ends, and the
//! service works on. (T38)

mod common;
mod notes;

use std::time::Duration;

use common::{FOREVER, HOUR, Hand, SECOND, after, at_once, burst, lost, ms, never, patient};
use notes::server::Notes;
use notes::{all, batches, call, fetch, fetches, spawn, store, told};
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceBuilder};
use tower_quota::{BatchLayer, Quota};

#[tokio::test(start_paused = true)]
async fn a_service_with_nothing_to_do_is_drained_at_once() {
    let notes = Notes::of("a", 3);
    for layer in [batches(), BatchLayer::off()] {
        let api = layer.layer(notes.service());
        assert!(Hand::new(api.drain()).poll().is_ready());
        all(&api, fetches("a", 3)).await;
        assert!(Hand::new(api.drain()).poll().is_ready());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_gathered_is_sent_at_once_and_answered() {
    let notes = Notes::of("a", 20).takes(SECOND);
    let api = batches().max_linger(HOUR).layer(notes.service());
    let mut calls = vec![spawn(&api, fetch("a0"))];
    sleep(ms(1)).await;
    calls.extend(
        fetches("a", 20)
            .into_iter()
            .skip(1)
            .map(|call| spawn(&api, call)),
    );
    sleep(ms(1)).await;
    assert_eq!(notes.sizes(), [1], "the others wait for company");
    api.drain().await;
    assert_eq!(notes.sizes(), [1, 19]);
    assert_eq!(
        notes.elapsed(),
        SECOND + ms(2),
        "sent at once, and answered"
    );
    for (nth, call) in calls.into_iter().enumerate() {
        let got = timeout(ms(1), call).await.unwrap().unwrap().unwrap();
        assert_eq!(got.told(), (200, &*format!("a{nth}=text")));
    }
}

/// Lone calls are answered, too.
#[tokio::test(start_paused = true)]
async fn it_waits_for_lone_calls_and_batches_under_way() {
    let notes = Notes::of("a", 200).takes(SECOND);
    for calls in [1, 100, 200] {
        let before = notes.elapsed();
        let api = batches().layer(notes.service());
        let calls: Vec<_> = fetches("a", calls)
            .into_iter()
            .map(|call| spawn(&api, call))
            .collect();
        sleep(ms(10)).await;
        api.drain().await;
        assert_eq!(notes.elapsed() - before, SECOND);
        for call in calls {
            timeout(ms(1), call).await.unwrap().unwrap().unwrap();
        }
    }
}

/// Writes of one record still go one after the other, and none waits for company.
#[tokio::test(start_paused = true)]
async fn those_who_wait_for_a_record_have_their_turn() {
    let notes = Notes::of("a", 2).takes(SECOND);
    let api = batches().max_linger(HOUR).layer(notes.service());
    let mut calls = vec![spawn(&api, store("a0", "first"))];
    sleep(ms(1)).await;
    let texts = ["second", "third", "fourth"];
    calls.extend(texts.map(|text| spawn(&api, store("a0", text))));
    calls.push(spawn(&api, store("a1", "x")));
    sleep(ms(1)).await;
    timeout(10 * SECOND, api.drain()).await.expect("it ends");
    assert_eq!(notes.text("a0").as_deref(), Some("fourth"));
    assert_eq!(notes.text("a1").as_deref(), Some("x"));
    for call in calls {
        let got = timeout(ms(1), call).await.unwrap().unwrap();
        assert_eq!(got.unwrap().status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_quota_as_the_calls_would() {
    let quota = Quota::new(burst(1, 10 * SECOND));
    let notes = Notes::of("a", 150);
    let api = ServiceBuilder::new()
        .layer(batches().quota(&quota).max_wait(FOREVER))
        .layer(patient(&quota))
        .service(notes.service());
    let calls: Vec<_> = fetches("a", 150)
        .into_iter()
        .map(|call| spawn(&api, call))
        .collect();
    sleep(ms(1)).await;
    api.drain().await;
    assert_eq!(notes.sizes(), [100, 50]);
    for call in calls {
        assert_eq!(
            timeout(ms(1), call).await.unwrap().unwrap().unwrap().status,
            200
        );
    }
}

/// The callers are alive, and nobody polls them: whoever drains does their work.
#[tokio::test(start_paused = true)]
async fn it_does_the_work_of_callers_who_are_not_polled() {
    let notes = Notes::of("a", 10).takes(SECOND);
    let api = batches().max_linger(HOUR).layer(notes.service());
    let lone = spawn(&api, fetch("a9"));
    sleep(ms(1)).await;
    let mut calls: Vec<_> = fetches("a", 5)
        .into_iter()
        .map(|one| Hand::new(call(api.clone(), one)))
        .collect();
    for call in &mut calls {
        assert!(call.poll().is_pending());
    }
    timeout(10 * SECOND, api.drain()).await.expect("it ends");
    assert_eq!(notes.sizes(), [1, 5]);
    for call in &mut calls {
        let std::task::Poll::Ready(got) = call.poll() else {
            panic!("its answer is there");
        };
        assert_eq!(got.unwrap().status, 200);
    }
    lone.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_service_works_on() {
    let notes = Notes::of("a", 100).takes(SECOND);
    let api = batches().layer(notes.service());
    for round in 0..3 {
        let calls: Vec<_> = fetches("a", 30)
            .into_iter()
            .map(|call| spawn(&api, call))
            .collect();
        tokio::task::yield_now().await;
        api.drain().await;
        for call in calls {
            call.await.unwrap().unwrap();
        }
        let before = notes.count();
        let got = all(&api, fetches("a", 100)).await;
        assert!(told(&got).iter().all(|(status, _)| *status == 200));
        assert_eq!(notes.sizes().split_off(before), [100], "{round}");
    }
    // And calls of an idle group are alone again, unchanged.
    let before = notes.count();
    all(&api, [fetch("a0")]).await;
    assert_eq!(notes.log()[before].path, "/notes/a0");
}

#[tokio::test(start_paused = true)]
async fn it_may_be_given_up_and_asked_by_several() {
    let notes = Notes::of("a", 10).takes(SECOND);
    let api = batches().max_linger(HOUR).layer(notes.service());
    let lone = spawn(&api, fetch("a9"));
    sleep(ms(1)).await;
    let calls: Vec<_> = fetches("a", 5)
        .into_iter()
        .map(|call| spawn(&api, call))
        .collect();
    sleep(ms(1)).await;
    let mut first = Hand::new(api.drain());
    assert!(first.poll().is_pending());
    first.cancel();
    let drains: Vec<_> = (0..3)
        .map(|_| {
            let api = api.clone();
            tokio::spawn(async move { api.drain().await })
        })
        .collect();
    for drain in drains {
        timeout(10 * SECOND, drain).await.unwrap().unwrap();
    }
    assert_eq!(notes.sizes(), [1, 5]);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    lone.await.unwrap().unwrap();
    // Nobody drains any more: what comes waits for company again.
    let lone = spawn(&api, fetch("a9"));
    sleep(ms(1)).await;
    let call = spawn(&api, fetch("a0"));
    let before = notes.count();
    sleep(ms(500)).await;
    assert_eq!(notes.count(), before);
    call.abort();
    lone.abort();
}

/// What falls back to single calls is sent, too: that of a bad text, and all of those for which there is no batch call after all.
#[tokio::test(start_paused = true)]
async fn what_must_be_asked_alone_is_answered_before_it_ends() {
    for has_batches in [true, false] {
        for drains_first in [true, false] {
            let notes = Notes::of("a", 10).takes(SECOND);
            if !has_batches {
                notes.have_no_batches();
            }
            let api = batches().layer(notes.service());
            let stores =
                (0..10).map(|nth| store(&format!("a{nth}"), if nth == 3 { "bad" } else { "good" }));
            let calls: Vec<_> = stores.map(|call| spawn(&api, call)).collect();
            if !drains_first {
                sleep(ms(10)).await;
            } else {
                tokio::task::yield_now().await;
            }
            timeout(10 * SECOND, api.drain()).await.expect("it ends");
            for (nth, call) in calls.into_iter().enumerate() {
                let got = timeout(ms(1), call).await;
                let got = got.unwrap_or_else(|_| panic!("{has_batches}, {drains_first}: {nth}"));
                let status = if nth == 3 { 422 } else { 200 };
                assert_eq!(got.unwrap().unwrap().status, status);
            }
        }
    }
}

/// Batches that fail are over, and so are those whose callers have gone.
#[tokio::test(start_paused = true)]
async fn failures_and_callers_who_go_do_not_hold_it_up() {
    let notes = Notes::of("a", 10);
    notes.set_hook(|nth, _| Some(if nth == 0 { never() } else { lost() }));
    let api = batches().max_linger(HOUR).layer(notes.service());
    let hung = spawn(&api, fetch("a0"));
    sleep(ms(1)).await;
    let calls: Vec<_> = fetches("a", 5)
        .into_iter()
        .map(|call| spawn(&api, call))
        .collect();
    sleep(ms(1)).await;
    let drain = {
        let api = api.clone();
        tokio::spawn(async move { api.drain().await })
    };
    sleep(ms(1)).await;
    assert!(!drain.is_finished());
    hung.abort();
    timeout(SECOND, drain).await.expect("it ends").unwrap();
    for call in calls {
        assert!(call.await.unwrap().is_err());
    }
    assert_eq!(notes.elapsed(), Duration::from_millis(3));
}

/// Whoever drains does the work of those who are not polled, even when somebody else has drained for a while.
#[tokio::test(start_paused = true)]
async fn who_gives_up_to_drain_holds_up_no_other() {
    for given_up in [0, 1] {
        let notes = Notes::of("a", 10).takes(SECOND);
        let api = batches().max_linger(HOUR).layer(notes.service());
        let mut calls: Vec<_> = fetches("a", 5)
            .into_iter()
            .map(|one| Hand::new(call(api.clone(), one)))
            .collect();
        for _ in 0..2 {
            for call in &mut calls {
                assert!(call.poll().is_pending());
            }
        }
        let mut drains = [Hand::new(api.drain()), Hand::new(api.drain())];
        for nth in [0, 1, 0, 1] {
            assert!(drains[nth].poll().is_pending());
        }
        drains[given_up].cancel();
        let stays = &mut drains[1 - given_up];
        let mut is_over = false;
        for _ in 0..5_000 {
            sleep(ms(1)).await;
            is_over = is_over || stays.is_woken() && stays.poll().is_ready();
        }
        assert!(is_over, "{given_up} holds up the other");
        assert_eq!(notes.sizes(), [5]);
    }
}

/// What comes in the meantime, waits for quota, and is not polled again is driven, too, whatever else is under way.
#[tokio::test(start_paused = true)]
async fn what_comes_while_it_drains_is_driven() {
    let quota = Quota::new(burst(2, 10 * SECOND));
    let notes = Notes::of("a", 10).takes(SECOND);
    notes.set_hook(|nth, _| (nth == 0).then(|| after(30 * SECOND, at_once(200, &[], ""))));
    let api = ServiceBuilder::new()
        .layer(batches().quota(&quota))
        .layer(patient(&quota))
        .service(notes.service());
    let lone = spawn(&api, store("a9", "x"));
    sleep(ms(1)).await;
    call(api.clone(), fetch("a8")).await.unwrap();
    let mut drain = Hand::new(api.drain());
    assert!(drain.poll().is_pending());
    let mut calls: Vec<_> = fetches("a", 6)
        .into_iter()
        .map(|one| Hand::new(call(api.clone(), one)))
        .collect();
    for call in &mut calls {
        assert!(call.poll().is_pending());
    }
    // Who was there first has waited for the others.
    assert!(calls[0].poll().is_pending());
    let mut is_over = false;
    for _ in 0..32_000 {
        sleep(ms(1)).await;
        is_over = is_over || drain.is_woken() && drain.poll().is_ready();
    }
    assert!(is_over);
    assert_eq!(notes.sizes(), [1, 1, 6]);
    assert!(notes.times()[2] < 12_000, "{:?}", notes.times());
    for call in &mut calls {
        assert!(call.poll().is_ready());
    }
    lone.await.unwrap().unwrap();
}
