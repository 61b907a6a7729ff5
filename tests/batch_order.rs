//! Promise: calls about the same record are as they would be without batches: reads share what is asked once, and writes are done one
//! after the other, in the order in which they came. (T38)

mod common;
mod notes;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{FOREVER, HOUR, Hand, SECOND, after, at_once, lock, lost, ms, never};
use notes::server::{Notes, lines};
use notes::{Call, add, all, batches, call, fetch, remove, spawn, store, told};
use proptest::prelude::*;
use tokio::time::{sleep, timeout};
use tower::Layer;

#[tokio::test(start_paused = true)]
async fn reads_of_one_record_share_an_input() {
    let notes = Notes::of("a", 3);
    let api = batches().layer(notes.service());
    let keys = ["a0", "a1", "a0", "b", "a0", "b", "a1"];
    let got = all(&api, keys.map(fetch)).await;
    for (key, (status, body)) in keys.iter().zip(told(&got)) {
        assert_eq!(status, if *key == "b" { 404 } else { 200 });
        assert!(body.contains(key));
    }
    assert_eq!(notes.sizes(), [3]);
    // The same without anybody else.
    let got = all(&api, ["a2"; 5].map(fetch)).await;
    assert_eq!(told(&got), [(200, "a2=text"); 5]);
    assert_eq!(notes.sizes(), [3, 1]);
}

/// A thousand who want the same cost one request, although a batch has a hundred inputs.
#[tokio::test(start_paused = true)]
async fn many_may_share_one_input() {
    let notes = Notes::of("a", 2);
    let api = batches().layer(notes.service());
    let got = all(&api, (0..1_000).map(|nth| fetch(format!("a{}", nth % 2)))).await;
    assert!(got.iter().all(|got| got.as_ref().unwrap().status == 200));
    assert_eq!(notes.sizes(), [2]);
}

/// What is under way may be older than the record is now: a read that comes later asks again.
#[tokio::test(start_paused = true)]
async fn a_read_does_not_join_what_is_under_way() {
    let notes = Notes::of("a", 2).takes(SECOND);
    let api = batches().layer(notes.service());
    let first = spawn(&api, fetch("a0"));
    sleep(ms(10)).await;
    call(api.clone(), fetch("a0")).await.unwrap();
    assert_eq!(notes.sizes(), [1, 1]);
    first.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn writes_of_one_record_are_done_in_order() {
    let notes = Notes::of("a", 3).takes(SECOND);
    let api = batches().layer(notes.service());
    let calls = [
        store("a0", "first"),
        store("a1", "x"),
        store("a0", "second"),
        store("a0", "third"),
        store("a2", "y"),
        store("a1", "z"),
    ];
    let got = all(&api, calls).await;
    let expected = ["a0=first", "a1=x", "a0=second", "a0=third", "a2=y", "a1=z"];
    assert_eq!(told(&got), expected.map(|text| (200, text)));
    assert_eq!(notes.text("a0").as_deref(), Some("third"));
    assert_eq!(notes.text("a1").as_deref(), Some("z"));
    assert_eq!(notes.sizes(), [3, 2, 1], "{:?}", notes.times());
    each_after_the_answer_before(&notes, "a0", SECOND);
}

/// Writes of a record never overlap: each comes when the one before it was answered.
fn each_after_the_answer_before(notes: &Notes, key: &str, takes: Duration) {
    let times = notes.log().into_iter().filter_map(|seen| {
        let named = |line: &String| line.split('=').next() == Some(key);
        let single = seen.path == format!("/notes/{key}");
        (single || lines(&seen).iter().any(named)).then_some(seen.at)
    });
    let times: Vec<_> = times.collect();
    let is_after = times.windows(2).all(|pair| pair[1] >= pair[0] + takes);
    assert!(is_after, "{key}: {times:?}");
}

/// Later answers may be the quicker ones.
#[tokio::test(start_paused = true)]
async fn a_quick_server_does_not_change_the_order() {
    let notes = Notes::of("a", 1);
    let texts: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen_texts = texts.clone();
    notes.set_hook(move |nth, seen| {
        let body = String::from_utf8_lossy(seen.body.as_ref().unwrap()).into_owned();
        let text = body.trim().trim_start_matches("a0=").to_owned();
        lock(&seen_texts).push(text.clone());
        let slow = ms(1_000 >> nth.min(9));
        let headers = [("content-type", "text/plain")];
        Some(after(slow, at_once(200, &headers, &format!("a0={text}"))))
    });
    let api = batches().layer(notes.service());
    let texts_sent: Vec<String> = (0..10).map(|nth| format!("text{nth}")).collect();
    let got = all(&api, texts_sent.iter().map(|text| store("a0", text))).await;
    for (text, got) in texts_sent.iter().zip(told(&got)) {
        assert_eq!(got, (200, &*format!("a0={text}")));
    }
    assert_eq!(*lock(&texts), texts_sent);
}

#[tokio::test(start_paused = true)]
async fn a_write_waits_for_a_lone_one_before_it() {
    let notes = Notes::of("a", 2).takes(SECOND);
    let api = batches().layer(notes.service());
    let first = spawn(&api, store("a0", "first"));
    sleep(ms(100)).await;
    let second = spawn(&api, store("a0", "second"));
    sleep(ms(100)).await;
    // Another record has nothing to do with it.
    let other = timeout(SECOND + ms(10), call(api.clone(), store("a1", "x"))).await;
    assert_eq!(other.unwrap().unwrap().status, 200);
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(notes.text("a0").as_deref(), Some("second"));
    each_after_the_answer_before(&notes, "a0", SECOND);
}

/// A write whose batch fails is over; the next one goes on.
#[tokio::test(start_paused = true)]
async fn a_write_that_fails_does_not_block_the_next() {
    let notes = Notes::of("a", 2).takes(ms(10));
    notes.set_hook(|nth, _| match nth {
        0 => Some(lost()),
        1 => Some(at_once(503, &[], "")),
        _ => None,
    });
    let api = batches().layer(notes.service());
    let texts = ["one", "two", "three", "bad", "five"];
    let got = timeout(HOUR, all(&api, texts.map(|text| store("a0", text)))).await;
    let got = got.unwrap();
    assert!(got[0].is_err());
    let statuses = got[1..].iter().map(|got| got.as_ref().unwrap().status);
    assert_eq!(statuses.collect::<Vec<_>>(), [503, 200, 422, 200]);
    assert_eq!(notes.text("a0").as_deref(), Some("five"));
}

/// Who goes while he waits for his turn gives it to the next one.
#[tokio::test(start_paused = true)]
async fn those_who_go_while_they_wait_are_left_out() {
    let notes = Notes::of("a", 2).takes(SECOND);
    let api = batches().layer(notes.service());
    let calls: Vec<_> = (0..6)
        .map(|nth| spawn(&api, store("a0", &format!("text{nth}"))))
        .collect();
    sleep(ms(10)).await;
    for nth in [1, 3, 4] {
        calls[nth].abort();
    }
    for (nth, call) in calls.into_iter().enumerate() {
        let got = timeout(HOUR, call).await.unwrap();
        assert_eq!(got.is_ok(), ![1, 3, 4].contains(&nth));
    }
    let texts = notes.log().into_iter().map(|seen| {
        let body = String::from_utf8_lossy(seen.body.as_ref().unwrap()).into_owned();
        body.trim().trim_start_matches("a0=").to_owned()
    });
    assert_eq!(texts.collect::<Vec<_>>(), ["text0", "text2", "text5"]);
    assert!(notes.elapsed() <= 3 * SECOND + ms(10));
}

/// Who holds a record and goes frees it, whether he was alone or in a batch, gathered or under way.
#[tokio::test(start_paused = true)]
async fn who_goes_frees_the_record() {
    for company in [0, 1] {
        for wait in [0, 1, 500] {
            let notes = Notes::of("a", 2);
            notes.set_hook(|nth, _| (nth == 0).then(|| after(5 * SECOND, lost())));
            let api = batches().layer(notes.service());
            let first = spawn(&api, store("a0", "first"));
            let others: Vec<_> = (0..company)
                .map(|_| spawn(&api, store("a1", "x")))
                .collect();
            tokio::task::yield_now().await;
            let second = spawn(&api, store("a0", "second"));
            sleep(ms(wait)).await;
            first.abort();
            let got = timeout(6 * SECOND, second).await;
            let got = got.unwrap_or_else(|_| panic!("{company}, {wait}: it is never freed"));
            // Before the first was sent it was the second that went to the server that loses it.
            if wait == 500 {
                assert_eq!(got.unwrap().unwrap().told(), (200, "a0=second"));
            } else {
                let _ = got.unwrap();
            }
            for other in others {
                let _ = timeout(6 * SECOND, other).await.unwrap();
            }
        }
    }
}

/// A record whose write is never answered is free when its caller goes.
#[tokio::test(start_paused = true)]
async fn a_hung_write_is_over_when_its_caller_goes() {
    let notes = Notes::of("a", 1);
    notes.set_hook(|nth, _| (nth == 0).then(never));
    let api = batches().layer(notes.service());
    let first = spawn(&api, store("a0", "first"));
    sleep(SECOND).await;
    let second = spawn(&api, store("a0", "second"));
    sleep(SECOND).await;
    assert_eq!(notes.count(), 1);
    first.abort();
    let got = timeout(SECOND, second).await.unwrap().unwrap().unwrap();
    assert_eq!(got.told(), (200, "a0=second"));
}

/// Creates have no record before they are done: the same text twice is two notes, in one batch.
#[tokio::test(start_paused = true)]
async fn creates_do_not_wait_for_each_other() {
    let notes = Notes::of("a", 0);
    let api = batches().layer(notes.service());
    all(&api, (0..50).map(|_| add("same"))).await;
    assert_eq!((notes.sizes(), notes.added()), (vec![50], 50));
}

#[derive(Clone, Debug)]
struct Step {
    key: u8,
    removes: bool,
    pause: u64,
    /// The caller goes after so long.
    patience: Option<u64>,
}

fn step() -> impl Strategy<Value = Step> {
    let pause = prop_oneof![4 => Just(0), 2 => 1..5_u64, 1 => 10..200_u64];
    let patience = proptest::option::weighted(0.3, 0..300_u64);
    (0..4_u8, any::<bool>(), pause, patience).prop_map(|(key, removes, pause, patience)| Step {
        key,
        removes: removes && key == 3,
        pause,
        patience,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever comes when and whoever goes when: the server sees the writes of each record in the order in which they came, one
    /// at a time, each once at most, and all whose callers stay.
    #[test]
    fn in_order_whoever_goes(steps in proptest::collection::vec(step(), 1..40), most in 1_usize..6) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(check(steps, most));
    }
}

async fn check(steps: Vec<Step>, most: usize) {
    let notes = Notes::of("k", 3).takes(ms(40));
    let layer = tower_quota::BatchLayer::new(notes::policy::NoteBatches { most });
    let api = layer.layer(notes.service());
    let mut calls = Vec::new();
    for (nth, step) in steps.iter().enumerate() {
        sleep(ms(step.pause)).await;
        let key = format!("k{}", step.key);
        let one: Call = match step.removes {
            true => remove(&key),
            false => store(&key, &format!("t{nth}")),
        };
        let patience = step.patience.map_or(FOREVER, ms);
        calls.push(tokio::spawn(timeout(patience, call(api.clone(), one))));
        // Who comes first is first polled.
        tokio::task::yield_now().await;
    }
    let mut done = Vec::new();
    for (step, call) in steps.iter().zip(calls) {
        let got = timeout(HOUR, call).await.expect("nobody waits for ever");
        let got = got.unwrap();
        assert!(got.is_ok() || step.patience.is_some());
        done.push(got.is_ok());
    }
    for key in 0..3 {
        let name = format!("k{key}");
        let mut seen = Vec::new();
        for asked in notes.log() {
            let body = String::from_utf8_lossy(asked.body.as_ref().unwrap()).into_owned();
            if asked.path == format!("/notes/{name}") {
                seen.push(body);
            } else {
                let of_key = body.lines().filter_map(|line| line.split_once('='));
                let of_key = of_key.filter(|(of, _)| *of == name);
                seen.extend(of_key.map(|(_, text)| text.to_owned()));
            }
        }
        let number = |text: &String| text[1..].parse::<usize>().unwrap();
        let seen: Vec<usize> = seen.iter().map(number).collect();
        assert!(
            seen.windows(2).all(|pair| pair[0] < pair[1]),
            "{name}: {seen:?}"
        );
        for (nth, step) in steps.iter().enumerate() {
            if step.key == key && done[nth] {
                assert!(seen.contains(&nth), "{name}: {nth} of {seen:?}");
            }
        }
    }
}

/// His turn has come, and he goes before he hears of it: the next one has it.
#[tokio::test(start_paused = true)]
async fn who_goes_when_his_turn_has_come_passes_it_on() {
    let notes = Notes::of("a", 1).takes(SECOND);
    let api = batches().layer(notes.service());
    let first = spawn(&api, store("a0", "first"));
    sleep(ms(10)).await;
    let mut goes = Hand::new(call(api.clone(), store("a0", "second")));
    assert!(goes.poll().is_pending());
    let stays = spawn(&api, store("a0", "third"));
    first.await.unwrap().unwrap();
    assert!(goes.is_woken());
    goes.cancel();
    let got = timeout(2 * SECOND, stays).await.expect("it has its turn");
    assert_eq!(got.unwrap().unwrap().told(), (200, "a0=third"));
}
