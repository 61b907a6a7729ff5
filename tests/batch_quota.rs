//! Promise: a batch that waits for quota goes on gathering, takes one slot for all, and holds that slot no longer than it needs.

mod common;
mod notes;

use std::time::Duration;

use common::{FOREVER, SECOND, burst, ms, patient};
use notes::server::Notes;
use notes::{Call, all, batches, fetch, fetches, saying, spawn};
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceBuilder};
use tower_quota::batch::Batch;
use tower_quota::limit::TokenLimit;
use tower_quota::plan::{Limit, Plan, Reserve, RouteClass};
use tower_quota::request::{Effect, Lane, RequestHead, Routes};
use tower_quota::stack::StackLayer;
use tower_quota::{Quota, QuotaError, TokenLimitLayer};

const WINDOW: Duration = Duration::from_secs(10);

type Api = Batch<TokenLimit<common::Server>>;

/// One request per ten seconds, of which the first is spent at once.
async fn spent(notes: &Notes) -> (Quota, Api) {
    let quota = Quota::new(burst(1, WINDOW));
    let api = ServiceBuilder::new()
        .layer(batches().quota(&quota).max_wait(FOREVER))
        .layer(patient(&quota))
        .service(notes.service());
    assert_eq!(
        all(&api, [fetch("a0")]).await[0].as_ref().unwrap().status,
        200
    );
    (quota, api)
}

fn usage(quota: &Quota) -> (u32, u32) {
    let usage = quota.usage("burst", &fetch("a0")).unwrap();
    (usage.used, usage.waiting)
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_gathering_until_its_slot_is_free() {
    let notes = Notes::of("a", 60);
    let (quota, api) = spent(&notes).await;
    let mut calls = Vec::new();
    for key in fetches("a", 60).into_iter().skip(1) {
        calls.push(spawn(&api, key));
        sleep(ms(100)).await;
    }
    assert_eq!(notes.count(), 1);
    assert_eq!(usage(&quota), (1, 1), "one stands in line for all");
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status, 200);
    }
    assert_eq!(notes.sizes(), [1, 59]);
    assert_eq!(usage(&quota), (1, 0));
    let times = notes.times();
    // Times are rounded up to a part of the window.
    assert!((10_000..=10_100).contains(&times[1]), "{times:?}");
}

/// Whoever is alone to the end is sent as he is.
#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_quota_alone_is_not_changed() {
    let notes = Notes::of("a", 2);
    let (quota, api) = spent(&notes).await;
    let got = all(&api, [fetch("a1")]).await;
    assert_eq!(got[0].as_ref().unwrap().told(), (200, "a1=text"));
    assert_eq!(notes.log()[1].path, "/notes/a1");
    assert_eq!((notes.count(), usage(&quota)), (2, (1, 0)));
    // Nothing of it stays behind.
    timeout(ms(1), api.drain())
        .await
        .expect("its group is idle");
}

/// A hundred by ten seconds, and nobody waits longer than for those before him.
#[tokio::test(start_paused = true)]
async fn more_than_one_batch_wait_in_line() {
    let notes = Notes::of("a", 251);
    let (quota, api) = spent(&notes).await;
    let got = all(&api, fetches("a", 251).into_iter().skip(1)).await;
    assert!(got.iter().all(|got| got.as_ref().unwrap().status == 200));
    assert_eq!(notes.sizes(), [1, 100, 100, 50]);
    assert_eq!(usage(&quota), (1, 0));
    assert!(
        notes.elapsed() <= 3 * WINDOW + ms(300),
        "{:?}",
        notes.times()
    );
}

/// What has its slot leaves, though few have come: a slot that is held for company is a slot unused.
#[tokio::test(start_paused = true)]
async fn a_slot_is_not_kept_for_company() {
    let notes = Notes::of("a", 4).takes(SECOND);
    let quota = Quota::new(burst(10, WINDOW));
    let api = ServiceBuilder::new()
        .layer(batches().quota(&quota))
        .layer(patient(&quota))
        .service(notes.service());
    let calls: Vec<_> = fetches("a", 4)
        .into_iter()
        .map(|call| spawn(&api, call))
        .collect();
    sleep(ms(5)).await;
    assert_eq!(notes.sizes(), [4]);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(usage(&quota), (1, 0), "one slot for four");
    sleep(WINDOW + SECOND).await;
    assert_eq!(usage(&quota), (0, 0));
}

/// The slot that a batch has taken is the one with which it passes the layers inside: it does not take a second.
#[tokio::test(start_paused = true)]
async fn it_takes_one_slot_of_each_limit() {
    let plan = Plan::builder("two")
        .limit(Limit::rolling("short", 2, SECOND))
        .limit(Limit::rolling("long", 3, 100 * SECOND));
    let quota = Quota::new(plan.build().unwrap());
    let notes = Notes::of("a", 300);
    let api = ServiceBuilder::new()
        .layer(batches().quota(&quota).max_wait(FOREVER))
        .layer(patient(&quota))
        .service(notes.service());
    all(&api, fetches("a", 300)).await;
    for limit in ["short", "long"] {
        let used = quota.usage(limit, &fetch("a0")).unwrap();
        assert_eq!(used.waiting, 0, "{limit}");
    }
    assert_eq!(quota.usage("long", &fetch("a0")).unwrap().used, 3);
    assert_eq!(notes.sizes(), [100; 3]);
    assert!(notes.elapsed() < 3 * SECOND, "{:?}", notes.times());
}

/// With the quota of another stack, or none, the layers inside find the slots; each batch waits there as any request.
#[tokio::test(start_paused = true)]
async fn without_a_quota_the_layers_inside_find_the_slots() {
    let notes = Notes::of("a", 251);
    let quota = Quota::new(burst(1, WINDOW));
    let api = ServiceBuilder::new()
        .layer(batches())
        .layer(patient(&quota))
        .service(notes.service());
    let got = all(&api, fetches("a", 251)).await;
    assert!(got.iter().all(|got| got.as_ref().unwrap().status == 200));
    assert_eq!(notes.sizes().iter().sum::<usize>(), 251);
    assert!(notes.count() <= 4, "{:?}", notes.sizes());
    assert_eq!(usage(&quota), (1, 0));
}

/// A lone call pays as any request.
#[tokio::test(start_paused = true)]
async fn every_call_is_counted_once() {
    let notes = Notes::of("a", 10);
    let quota = Quota::new(burst(1_000, WINDOW));
    let api = StackLayer::new(&quota)
        .batch(notes::policy::NoteBatches::default())
        .layer(notes.service());
    for call in fetches("a", 10) {
        all(&api, [call]).await;
    }
    assert_eq!((notes.count(), usage(&quota)), (10, (10, 0)));
    all(&api, fetches("a", 10)).await;
    assert_eq!((notes.count(), usage(&quota)), (11, (11, 0)));
}

/// Bulk batches leave what is reserved to interactive ones.
#[tokio::test(start_paused = true)]
async fn lanes_hold() {
    let quota = Quota::new(burst(4, WINDOW));
    quota.set_reserve("burst", Reserve::Slots(2)).unwrap();
    let notes = Notes::of("a", 500);
    let api = ServiceBuilder::new()
        .layer(batches().quota(&quota).max_wait(FOREVER))
        .layer(patient(&quota))
        .service(notes.service());
    let calls: Vec<Call> = fetches("a", 400)
        .into_iter()
        .map(|call| saying(call, Lane::Bulk))
        .collect();
    let bulk: Vec<_> = calls.into_iter().map(|call| spawn(&api, call)).collect();
    sleep(ms(50)).await;
    assert_eq!(notes.sizes(), [100, 100], "two slots are not theirs");
    let urgent = (400..410).map(|nth| saying(fetch(format!("a{nth}")), Lane::Interactive));
    let got = timeout(ms(50), all(&api, urgent)).await.unwrap();
    assert!(got.iter().all(|got| got.as_ref().unwrap().status == 200));
    for call in bulk {
        assert_eq!(call.await.unwrap().unwrap().status, 200);
    }
    assert_eq!(notes.sizes(), [100, 100, 10, 100, 100]);
}

/// The slot that came to a batch is not given to somebody who came later while the batch is made ready.
#[tokio::test(start_paused = true)]
async fn a_batch_keeps_its_place_in_the_line() {
    let notes = Notes::of("a", 4);
    let (_quota, api) = spent(&notes).await;
    let batch: Vec<_> = fetches("a", 3)
        .into_iter()
        .map(|call| spawn(&api, call))
        .collect();
    sleep(SECOND).await;
    let other = common::request(http::Method::GET, "/shelves", "t");
    let other = spawn(&api, other);
    for call in batch {
        assert_eq!(call.await.unwrap().unwrap().status, 200);
    }
    assert_eq!(other.await.unwrap().unwrap().status, 404);
    assert_eq!(notes.sizes(), [1, 3, 1]);
    let times = notes.times();
    assert!(times[1] <= 10_100 && times[2] >= 20_000, "{times:?}");
}

/// What waits for nothing does not wait: the layers inside have no other line than this one.
#[tokio::test(start_paused = true)]
async fn calls_that_pass_the_layer_by_are_not_overtaken_for_ever() {
    let notes = Notes::of("a", 2_000);
    let (_quota, api) = spent(&notes).await;
    let flood: Vec<_> = fetches("a", 1_000)
        .into_iter()
        .map(|call| spawn(&api, call))
        .collect();
    sleep(ms(10)).await;
    // No note, so that it is not for the policy.
    let other = common::request(http::Method::GET, "/shelves", "t");
    let other = spawn(&api, other);
    let got = timeout(12 * WINDOW, other).await.expect("it is served");
    assert_eq!(got.unwrap().unwrap().status, 404);
    for call in flood {
        call.await.unwrap().unwrap();
    }
}

/// Nobody may wait at all: whoever does not go at once is told when.
#[tokio::test(start_paused = true)]
async fn impatient_layers_inside_are_heard() {
    let notes = Notes::of("a", 20);
    let quota = Quota::new(burst(1, WINDOW));
    let api = ServiceBuilder::new()
        .layer(batches().quota(&quota).max_wait(Duration::ZERO))
        .layer(TokenLimitLayer::new(&quota).max_wait(Duration::ZERO))
        .service(notes.service());
    all(&api, [fetch("a0")]).await;
    let got = timeout(SECOND, all(&api, fetches("a", 10))).await.unwrap();
    for got in got {
        let error = got.unwrap_err();
        let error = error.downcast_ref::<QuotaError>();
        assert_eq!(error.expect("it is about quota").limit(), "burst");
    }
    assert_eq!(usage(&quota), (1, 0));
}

/// The single call is of another class than the batch call, and of the batch one caller is left: the slot that was meant for the
/// batch is not in the way.
#[tokio::test(start_paused = true)]
async fn a_slot_of_another_class_is_given_back() {
    #[derive(Debug)]
    struct ByPath;
    impl Routes for ByPath {
        fn class(&self, request: &RequestHead<'_>) -> RouteClass {
            match request.uri.path().contains(':') {
                true => RouteClass::Named("batches"),
                false => RouteClass::General,
            }
        }

        fn effect(&self, request: &RequestHead<'_>) -> Effect {
            Effect::of_method(request.method)
        }
    }
    let quota = Quota::new(tower_quota::Api::new(burst(1, WINDOW)).routes(ByPath));
    let notes = Notes::of("a", 3);
    let api = ServiceBuilder::new()
        .layer(batches().quota(&quota))
        .layer(patient(&quota))
        .service(notes.service());
    all(&api, [fetch("a0")]).await;
    let gone = spawn(&api, fetch("a1"));
    let stays = spawn(&api, fetch("a2"));
    sleep(SECOND).await;
    gone.abort();
    let got = timeout(2 * WINDOW, stays).await.expect("it has a slot");
    assert_eq!(got.unwrap().unwrap().status, 200);
    assert_eq!(notes.log()[1].path, "/notes/a2");
}

/// The slots that were waited for are those that are used: whoever stood in line behind does not go first.
#[tokio::test(start_paused = true)]
async fn the_slots_are_handed_over() {
    for left in [1, 3] {
        let notes = Notes::of("a", 4);
        let (quota, api) = spent(&notes).await;
        let calls: Vec<_> = ["a1", "a2", "a3"].map(|key| spawn(&api, fetch(key))).into();
        sleep(SECOND).await;
        let behind = spawn(&patient(&quota).layer(notes.service()), fetch("a0"));
        sleep(SECOND).await;
        calls[left..]
            .iter()
            .for_each(tokio::task::JoinHandle::abort);
        assert!(behind.await.unwrap().is_ok());
        assert_eq!(notes.sizes(), [1, left, 1]);
        assert!(lines_or_path(&notes, 1).contains("a1"));
        assert!(lines_or_path(&notes, 2).contains("a0"));
    }
}

fn lines_or_path(notes: &Notes, nth: usize) -> String {
    let seen = &notes.log()[nth];
    format!("{} {:?}", seen.path, notes::server::lines(seen))
}
