//! Promise: whoever goes hurts nobody else, at whatever point and in whatever order; nothing that was his stays behind, neither a
//! slot nor a place in a line; and nobody is polled for nothing. (T45, T55, T56)

mod common;
mod notes;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{CountPolls, FOREVER, HOUR, Hand, SECOND, burst, ms, never, patient};
use fastrand::Rng;
use notes::server::{Notes, lines};
use notes::{add, all, batches, call, fetch, fetches, saying, spawn, store};
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceBuilder};
use tower_quota::Quota;
use tower_quota::request::Deadline;
use tower_quota::stack::StackLayer;

/// A program that looks at one of its calls and not at the other, which both are in one batch.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_kept_and_not_polled_holds_up_nobody() {
    for count in [2, 3, 100] {
        for looked_at in [0, 1, count - 1] {
            let notes = Notes::of("a", count).takes(ms(30));
            let api = batches().layer(notes.service());
            let mut calls: Vec<_> = fetches("a", count)
                .into_iter()
                .map(|one| Box::pin(call(api.clone(), one)))
                .collect();
            for call in &mut calls {
                tokio::select! {
                    biased;
                    _ = call => panic!("nobody has answered yet"),
                    () = std::future::ready(()) => {}
                }
            }
            let mut one = calls.remove(looked_at);
            let got = timeout(SECOND, &mut one).await;
            let got = got.unwrap_or_else(|_| panic!("{looked_at} of {count} waits for ever"));
            assert_eq!(got.unwrap().body, format!("a{looked_at}=text"));
            for call in calls {
                let got = timeout(SECOND, call).await;
                assert_eq!(got.expect("it can be looked at later").unwrap().status, 200);
            }
            assert!(notes.count() <= 2, "{:?}", notes.sizes());
        }
    }
}

/// A request on its way that nobody waits for any more is given up, and its connection is free.
#[tokio::test(start_paused = true)]
async fn a_batch_that_nobody_waits_for_is_given_up() {
    struct Flag(Arc<AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let is_given_up = Arc::new(AtomicBool::new(false));
    let notes = Notes::of("a", 10);
    let shown = is_given_up.clone();
    notes.set_hook(move |_, _| {
        let flag = Flag(shown.clone());
        Some(Box::pin(async move {
            let answer = never().await;
            drop(flag);
            answer
        }))
    });
    let api = batches().layer(notes.service());
    let calls: Vec<_> = fetches("a", 10)
        .into_iter()
        .map(|call| spawn(&api, call))
        .collect();
    sleep(SECOND).await;
    for (nth, call) in calls.iter().enumerate() {
        assert_eq!(notes.count(), 1);
        assert!(!is_given_up.load(Ordering::SeqCst), "{nth} have gone");
        call.abort();
        sleep(ms(1)).await;
    }
    assert!(is_given_up.load(Ordering::SeqCst));
}

/// While they wait for quota: nothing is spent on nobody.
#[tokio::test(start_paused = true)]
async fn a_batch_that_nobody_waits_for_is_not_sent() {
    let quota = Quota::new(burst(1, 10 * SECOND));
    let notes = Notes::of("a", 10);
    let api = ServiceBuilder::new()
        .layer(batches().quota(&quota))
        .layer(patient(&quota))
        .service(notes.service());
    all(&api, [fetch("a0")]).await;
    let calls: Vec<_> = fetches("a", 10)
        .into_iter()
        .map(|call| spawn(&api, call))
        .collect();
    sleep(SECOND).await;
    assert_eq!(quota.waiting(), 1);
    for call in calls {
        call.abort();
        let _ = call.await;
    }
    assert_eq!(quota.waiting(), 0);
    sleep(20 * SECOND).await;
    assert_eq!(notes.count(), 1);
    let used = quota.usage("burst", &fetch("a0")).unwrap();
    assert_eq!((used.used, used.waiting), (0, 0));
}

/// Those who are left of a batch are all that is asked for.
#[tokio::test(start_paused = true)]
async fn who_goes_before_the_send_is_left_out() {
    let quota = Quota::new(burst(1, 10 * SECOND));
    let notes = Notes::of("a", 10);
    let api = ServiceBuilder::new()
        .layer(batches().quota(&quota))
        .layer(patient(&quota))
        .service(notes.service());
    all(&api, [fetch("a0")]).await;
    let calls: Vec<_> = fetches("a", 10)
        .into_iter()
        .map(|call| spawn(&api, call))
        .collect();
    sleep(SECOND).await;
    for nth in [0, 3, 9] {
        calls[nth].abort();
    }
    for (nth, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.is_ok(), ![0, 3, 9].contains(&nth));
    }
    let left: HashSet<_> = lines(&notes.log()[1]).into_iter().collect();
    let expected = ["a1", "a2", "a4", "a5", "a6", "a7", "a8"].map(str::to_owned);
    assert_eq!(left, HashSet::from(expected));
    // Of whom one is left: his own call, as it came.
    let calls: Vec<_> = fetches("a", 3)
        .into_iter()
        .map(|call| spawn(&api, call))
        .collect();
    sleep(SECOND).await;
    calls[0].abort();
    calls[2].abort();
    for call in calls {
        let _ = call.await;
    }
    assert_eq!(notes.log()[2].path, "/notes/a1");
}

/// The server refuses all because of the first one, whom it does not name, and nobody waits for the last one any more.
#[tokio::test(start_paused = true)]
async fn who_goes_while_a_batch_is_refused_is_not_asked_for_again() {
    let notes = Notes::of("a", 0).takes(SECOND);
    notes.keep_silent_about_the_bad();
    let api = batches().layer(notes.service());
    let texts = ["bad", "one", "two", "three"];
    let calls = texts.map(|text| spawn(&api, add(text)));
    sleep(ms(500)).await;
    calls[3].abort();
    let mut statuses = Vec::new();
    for call in calls {
        statuses.push(call.await.ok().map(|got| got.unwrap().status));
    }
    assert_eq!(statuses, [Some(422), Some(201), Some(201), None]);
    let asked = notes.log().into_iter().skip(1);
    let asked: Vec<String> = asked.flat_map(|seen| lines(&seen)).collect();
    assert!(
        !asked.iter().any(|line| line.contains("three")),
        "{asked:?}"
    );
    assert_eq!(notes.added(), 2);
}

/// The panic is its owner's, or nobody's; everybody hears of it.
#[tokio::test(start_paused = true)]
async fn a_panic_inside_leaves_nobody_waiting() {
    for late in [false, true] {
        let notes = Notes::of("a", 10);
        notes.set_hook(move |nth, _| {
            (nth == 0).then(|| -> common::Answer {
                Box::pin(async move {
                    if late {
                        sleep(SECOND).await;
                    }
                    panic!("as it should")
                })
            })
        });
        let api = batches().layer(notes.service());
        let calls: Vec<_> = fetches("a", 10)
            .into_iter()
            .map(|call| spawn(&api, call))
            .collect();
        let mut panics = 0;
        for call in calls {
            match timeout(HOUR, call).await.expect("nobody waits for ever") {
                Ok(got) => assert!(got.is_err(), "{got:?}"),
                Err(_) => panics += 1,
            }
        }
        assert!(panics <= 1, "{panics}");
        let got = timeout(HOUR, all(&api, fetches("a", 10))).await.unwrap();
        assert!(got.iter().all(|got| got.as_ref().unwrap().status == 200));
    }
}

/// The same of a record: the next who wants it gets it.
#[tokio::test(start_paused = true)]
async fn a_panic_inside_frees_records() {
    let notes = Notes::of("a", 10);
    notes.set_hook(move |nth, _| {
        (nth == 0).then(|| -> common::Answer { Box::pin(async { panic!("as it should") }) })
    });
    let api = batches().layer(notes.service());
    let calls = [store("a0", "one"), store("a1", "x"), store("a0", "two")];
    let calls = calls.map(|call| spawn(&api, call));
    for call in calls {
        let _ = timeout(SECOND, call).await.expect("nobody waits for ever");
    }
    assert_eq!(notes.text("a0").as_deref(), Some("two"));
}

/// Polls are counted while a batch gathers, waits for quota for ten seconds, and is under way.
#[tokio::test(start_paused = true)]
async fn nobody_is_polled_for_nothing() {
    for (count, quota_each) in [(100, 1_000), (1_000, 1_000), (1_000, 1)] {
        let quota = Quota::new(burst(quota_each, 10 * SECOND));
        let notes = Notes::of("a", count).takes(ms(100));
        let api = ServiceBuilder::new()
            .layer(batches().quota(&quota).max_wait(FOREVER))
            .layer(patient(&quota))
            .service(notes.service());
        let calls: Vec<_> = fetches("a", count)
            .into_iter()
            .map(|one| tokio::spawn(CountPolls::new(call(api.clone(), one))))
            .collect();
        let mut polls = Vec::new();
        for call in calls {
            let (got, polled) = call.await.unwrap();
            assert_eq!(got.unwrap().status, 200);
            polls.push(polled);
        }
        let (sum, most) = (polls.iter().sum::<usize>(), *polls.iter().max().unwrap());
        let mean = sum as f64 / count as f64;
        println!(
            "{count} callers, {quota_each} per 10 s: {mean:.1} polls in the mean, {most} at most"
        );
        // Who drives a batch that waits looks after it four times a second.
        let looks = 4 * notes.elapsed().as_secs() as usize;
        assert!(mean <= 6.0 && most <= 20 + looks, "{mean}, {most}");
    }
}

/// Many callers of a whole stack, with trouble of all kinds and callers who go at any time.
#[tokio::test(start_paused = true)]
async fn many_at_random() {
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let quota = Quota::new(burst(rng.u32(1..20), SECOND));
        let most = rng.usize(1..30);
        let stack = StackLayer::new(&quota).max_wait(FOREVER);
        let batched = stack.clone().batch(notes::policy::NoteBatches { most });
        let notes = Notes::of("a", 30).takes(ms(rng.u64(0..300)));
        notes.set_most(rng.usize(1..40), rng.bool());
        let mut moods = rng.fork();
        notes.set_hook(move |_, _| match moods.u32(0..20) {
            0 => Some(common::lost()),
            1 => Some(common::at_once(503, &[], "")),
            2 => Some(common::at_once(200, &[], "nonsense")),
            _ => None,
        });
        let api = batched.layer(notes.service());
        let calls: Vec<_> = (0..150)
            .map(|nth| {
                let key = format!("a{}", rng.usize(0..40));
                let one = match rng.u8(0..4) {
                    0 => add(if nth % 7 == 0 { "bad" } else { "good" }),
                    1 => store(&key, "x"),
                    2 => notes::remove(&key),
                    _ => fetch(key),
                };
                let one = match rng.u8(0..6) {
                    0 => saying(one, Deadline::within(ms(rng.u64(0..20_000)))),
                    _ => one,
                };
                let patience = match rng.bool() {
                    true => ms(rng.u64(0..8_000)),
                    false => FOREVER,
                };
                let (api, start) = (api.clone(), ms(rng.u64(0..5_000)));
                tokio::spawn(async move {
                    sleep(start).await;
                    timeout(patience, call(api, one)).await.is_ok() || patience < FOREVER
                })
            })
            .collect();
        for call in calls {
            let is_right = timeout(10 * HOUR, call).await;
            let is_right = is_right.unwrap_or_else(|_| panic!("{seed}: somebody waits for ever"));
            assert!(is_right.unwrap(), "{seed}");
        }
        assert_eq!(quota.waiting(), 0, "{seed}");
        let concurrency = stack.concurrency(&fetch("a0"));
        assert_eq!(
            (concurrency.in_flight, concurrency.waiting),
            (0, 0),
            "{seed}"
        );
        sleep(HOUR).await;
        let used = quota.usage("burst", &fetch("a0")).unwrap();
        assert_eq!((used.used, used.waiting), (0, 0), "{seed}");
        timeout(SECOND, api.drain()).await.expect("nothing is left");
    }
}

/// Who was called to take the answer in goes instead: another one is called at that moment.
#[tokio::test(start_paused = true)]
async fn when_the_one_who_is_called_goes_another_is_called() {
    let notes = Notes::of("a", 5).takes(ms(100));
    let api = batches().layer(notes.service());
    let mut calls: Vec<_> = fetches("a", 5)
        .into_iter()
        .map(|one| Hand::new(call(api.clone(), one)))
        .collect();
    let mut is_first = true;
    while notes.count() == 0 {
        for call in &mut calls {
            if is_first || call.is_woken() {
                assert!(call.poll().is_pending());
            }
        }
        is_first = false;
        sleep(ms(1)).await;
    }
    sleep(ms(101)).await;
    let called = calls.iter().position(Hand::is_woken).unwrap();
    calls.remove(called).cancel();
    assert!(calls.iter().any(Hand::is_woken));
    while !calls.is_empty() {
        let next = calls.iter().position(Hand::is_woken);
        let got = calls.remove(next.expect("somebody is called")).poll();
        assert!(got.is_ready());
    }
}
