//! Promise: the time in a group counts like any other wait. Who may not wait so long is told so, alone and in time; the others of
//! his batch notice nothing.

mod common;
mod notes;

use std::time::Duration;

use common::{FOREVER, HOUR, SECOND, Server, Valve, at_once, burst, ms, never, patient};
use notes::server::Notes;
use notes::{Call, Outcome, all, batches, fetch, fetches, saying, spawn, store};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::request::Deadline;
use tower_quota::{Quota, QuotaError};

const WINDOW: Duration = Duration::from_secs(10);

fn by(call: Call, within: Duration) -> Call {
    saying(call, Deadline::within(within))
}

/// That the call is over within so long, and that it says why.
async fn is_refused(call: JoinHandle<Outcome>, within: Duration, context: &str) {
    let got = timeout(within, call).await;
    let got = got.unwrap_or_else(|_| panic!("{context}: it waits longer than it may"));
    let error = got.unwrap().unwrap_err();
    assert!(error.is::<QuotaError>(), "{context}: {error}");
}

/// He may be any of his batch: one of them lends the batch its head.
#[tokio::test(start_paused = true)]
async fn who_may_not_wait_is_told_and_the_others_go_on() {
    for who in 0..5 {
        for knows_quota in [true, false] {
            let context = format!("number {who}, {knows_quota}");
            let notes = Notes::of("a", 6);
            let quota = Quota::new(burst(1, WINDOW));
            let layer = batches().max_wait(FOREVER);
            let layer = match knows_quota {
                true => layer.quota(&quota),
                false => layer,
            };
            let api = layer.layer(patient(&quota).layer(notes.service()));
            all(&api, [fetch("a5")]).await.remove(0).unwrap();
            let mut hurried = None;
            let mut others = Vec::new();
            for (nth, call) in fetches("a", 5).into_iter().enumerate() {
                if nth == who {
                    hurried = Some(spawn(&api, by(call, 3 * SECOND)));
                } else {
                    others.push(spawn(&api, call));
                }
            }
            let hurried = hurried.unwrap();
            if knows_quota {
                is_refused(hurried, 3 * SECOND + ms(2), &context).await;
            } else {
                // Nobody knows here whether the batch is still in a line further inside.
                timeout(2 * WINDOW, hurried)
                    .await
                    .expect("it ends")
                    .unwrap()
                    .ok();
            }
            for other in others {
                let got = timeout(2 * WINDOW, other).await;
                let got = got.unwrap_or_else(|_| panic!("{context}: the others wait for ever"));
                let got = got
                    .unwrap()
                    .unwrap_or_else(|error| panic!("{context}: {error}"));
                assert_eq!(got.status, 200, "{context}");
            }
            let used = quota.usage("burst", &fetch("a0")).unwrap();
            assert_eq!((used.used, used.waiting), (1, 0), "{context}");
        }
    }
}

/// All of one batch, one after the other: nothing is left to be sent.
#[tokio::test(start_paused = true)]
async fn nothing_is_sent_for_those_whose_time_is_over() {
    let quota = Quota::new(burst(1, WINDOW));
    let notes = Notes::of("a", 6);
    let api = batches()
        .quota(&quota)
        .layer(patient(&quota).layer(notes.service()));
    all(&api, [fetch("a5")]).await.remove(0).unwrap();
    let calls: Vec<_> = fetches("a", 5)
        .into_iter()
        .zip([5, 1, 3, 4, 2])
        .map(|(call, seconds)| (seconds, spawn(&api, by(call, seconds * SECOND))))
        .collect();
    for (seconds, call) in calls {
        is_refused(call, seconds * SECOND + ms(2), "one of five").await;
    }
    sleep(2 * WINDOW).await;
    assert_eq!(notes.count(), 1);
    let used = quota.usage("burst", &fetch("a0")).unwrap();
    assert_eq!((used.used, used.waiting), (0, 0));
}

/// What was sent is not cut off.
#[tokio::test(start_paused = true)]
async fn a_deadline_does_not_end_what_is_under_way() {
    let notes = Notes::of("a", 3).takes(5 * SECOND);
    let api = batches().layer(notes.service());
    let calls = fetches("a", 3).into_iter().map(|call| by(call, SECOND));
    for got in all(&api, calls).await {
        assert_eq!(got.unwrap().status, 200);
    }
    assert_eq!(notes.sizes(), [3]);
    let got = all(&api, [by(fetch("a0"), SECOND)]).await.remove(0);
    assert_eq!(got.unwrap().status, 200);
}

/// Nor does one that has passed hold back what need not wait.
#[tokio::test(start_paused = true)]
async fn what_need_not_wait_is_sent_whatever_its_deadline() {
    let notes = Notes::of("a", 3);
    let api = batches().layer(notes.service());
    let late = by(fetch("a0"), Duration::ZERO);
    sleep(SECOND).await;
    assert_eq!(all(&api, [late]).await.remove(0).unwrap().status, 200);
}

/// Company is not worth a deadline.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_company_beyond_his_deadline() {
    let notes = Notes::of("a", 3);
    notes.set_hook(|nth, _| (nth == 0).then(never));
    let api = batches().max_linger(HOUR).layer(notes.service());
    let hung = spawn(&api, fetch("a0"));
    sleep(ms(1)).await;
    let clock = Clock::system();
    let hurried = spawn(&api, by(fetch("a1"), 2 * SECOND));
    let got = timeout(HOUR, hurried).await.unwrap().unwrap();
    assert!(
        clock.elapsed() <= 2 * SECOND + ms(2),
        "{:?}",
        clock.elapsed()
    );
    if let Err(error) = got {
        assert!(error.is::<QuotaError>(), "{error}");
    }
    hung.abort();
}

/// Who waits for a record waits in the group.
#[tokio::test(start_paused = true)]
async fn waiting_for_a_record_counts() {
    let notes = Notes::of("a", 3);
    notes.set_hook(|nth, _| (nth == 0).then(never));
    let api = batches().layer(notes.service());
    let hung = spawn(&api, store("a0", "first"));
    sleep(ms(1)).await;
    let hurried = spawn(&api, by(store("a0", "second"), 2 * SECOND));
    let third = spawn(&api, store("a0", "third"));
    is_refused(hurried, 2 * SECOND + ms(2), "behind a record").await;
    hung.abort();
    let got = timeout(SECOND, third).await.unwrap().unwrap().unwrap();
    assert_eq!(got.told(), (200, "a0=third"));
    assert_eq!(notes.text("a0").as_deref(), Some("third"));
    assert_eq!(notes.count(), 2, "the second is not sent");
}

/// The layer's own patience, where nobody has a deadline.
#[tokio::test(start_paused = true)]
async fn no_wait_is_longer_than_the_layer_allows() {
    for (patience, set) in [(60 * SECOND, None), (5 * SECOND, Some(5 * SECOND))] {
        let notes = Notes::of("a", 3);
        notes.set_hook(|nth, _| (nth == 0).then(never));
        let layer = match set {
            Some(set) => batches().max_wait(set),
            None => batches(),
        };
        let api = layer.layer(notes.service());
        let hung = spawn(&api, store("a0", "first"));
        sleep(ms(1)).await;
        let clock = Clock::system();
        let second = spawn(&api, store("a0", "second"));
        is_refused(second, patience + ms(2), "behind a record").await;
        assert!(clock.elapsed() >= patience, "{:?}", clock.elapsed());
        assert_eq!(notes.count(), 1);
        hung.abort();
    }
}

/// When the wait is known to be too long there is no need to wait for the end of it.
#[tokio::test(start_paused = true)]
async fn who_cannot_be_served_in_time_is_told_when_he_could() {
    let quota = Quota::new(burst(1, WINDOW));
    let notes = Notes::of("a", 3);
    let api = ServiceBuilder::new()
        .layer(batches().quota(&quota).max_wait(5 * SECOND))
        .layer(patient(&quota))
        .service(notes.service());
    all(&api, [fetch("a0")]).await.remove(0).unwrap();
    for got in timeout(6 * SECOND, all(&api, fetches("a", 3)))
        .await
        .unwrap()
    {
        let error = got.unwrap_err();
        let error: &QuotaError = error.downcast_ref().unwrap();
        assert_eq!(error.limit(), "burst");
        assert!(error.retry_after() > ms(1), "{error}");
    }
    let used = quota.usage("burst", &fetch("a0")).unwrap();
    assert_eq!((used.used, used.waiting), (1, 0));
    assert_eq!(notes.count(), 1);
}

/// A batch has its slots, and then a pause begins which is longer than its callers may wait.
#[tokio::test(start_paused = true)]
async fn a_pause_after_the_slots_were_granted_counts() {
    let quota = Quota::new(burst(10, WINDOW));
    let notes = Notes::of("a", 3);
    let valve = Valve::shut(notes.service());
    let api = ServiceBuilder::new()
        .layer(batches().quota(&quota))
        .layer(patient(&quota))
        .service(valve.clone());
    let calls = fetches("a", 3)
        .into_iter()
        .map(|call| spawn(&api, by(call, 3 * SECOND)));
    let calls: Vec<_> = calls.collect();
    sleep(ms(10)).await;
    let refusal = Server::new(|_, _| at_once(429, &[("retry-after", "30")], ""));
    let refused = patient(&quota).layer(refusal).oneshot(fetch("a0")).await;
    assert_eq!(refused.unwrap().status(), 429);
    valve.set_open(true);
    for call in calls {
        is_refused(call, 3 * SECOND, "one of three").await;
    }
    assert_eq!(notes.count(), 0);
}

/// Nobody knows when there will be quota. Whoever came while others waited has his own time.
#[tokio::test(start_paused = true)]
async fn who_came_later_may_wait_longer() {
    let quota = Quota::new(burst(1, ms(10)));
    let notes = Notes::of("a", 6).takes(7 * SECOND);
    let api = batches()
        .quota(&quota)
        .max_wait(5 * SECOND)
        .layer(patient(&quota).layer(notes.service()));
    let first = spawn(&api, fetch("a0"));
    sleep(ms(10)).await;
    let early = ["a1", "a2"].map(|key| spawn(&api, fetch(key)));
    sleep(3 * SECOND).await;
    let late = ["a3", "a4"].map(|key| spawn(&api, fetch(key)));
    for call in early {
        is_refused(call, 2 * SECOND + ms(10), "an early one").await;
    }
    for call in late {
        assert_eq!(call.await.unwrap().unwrap().status, 200);
    }
    assert_eq!(notes.sizes(), [1, 2]);
    first.await.unwrap().unwrap();
}

/// A closed batch waits further inside as long as one of its callers may wait.
#[tokio::test(start_paused = true)]
async fn a_closed_batch_has_the_latest_deadline_of_its_callers() {
    let within = |seconds: [Option<u32>; 3]| async move {
        let quota = Quota::new(burst(1, WINDOW));
        let notes = Notes::of("a", 3);
        let api = batches().layer(patient(&quota).layer(notes.service()));
        all(&api, [fetch("a0")]).await.remove(0).unwrap();
        let calls = fetches("a", 3).into_iter().zip(seconds);
        let calls = calls.map(|(call, seconds)| match seconds {
            Some(seconds) => by(call, seconds * SECOND),
            None => call,
        });
        let got = all(&api, calls).await;
        got.iter().all(Result::is_ok)
    };
    assert!(within([Some(3), Some(20), Some(4)]).await);
    assert!(within([Some(3), None, Some(4)]).await);
    assert!(!within([Some(3), Some(5), Some(4)]).await);
}

/// Who has less time than others linger is sent by himself.
#[tokio::test(start_paused = true)]
async fn who_has_no_time_for_company_goes_alone() {
    let notes = Notes::of("a", 3).takes(SECOND);
    let api = batches().max_linger(10 * SECOND).layer(notes.service());
    let first = spawn(&api, fetch("a0"));
    sleep(ms(1)).await;
    let hurried = spawn(&api, by(fetch("a1"), 2 * SECOND));
    assert_eq!(hurried.await.unwrap().unwrap().status, 200);
    assert_eq!(notes.times(), [0, 1]);
    first.await.unwrap().unwrap();
}
