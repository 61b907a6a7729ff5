//! Promise: every caller gets the answer that its own call would have got, whatever became of the batch; each part of an answer goes
//! to whom it is about; and no create is ever done twice. (T38)

mod common;
mod notes;

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{
    Answer, FOREVER, Piece, PieceBody, SECOND, TestError, after, at_once, burst, lost, ms, patient,
    response,
};
use fastrand::Rng;
use notes::server::{Notes, bad, is_batch, lines, missing};
use notes::{Call, Outcome, add, all, batches, call, fetch, fetches, remove, saying, store, told};
use tower::{Layer, ServiceBuilder};
use tower_quota::batch::{BatchError, Batched};
use tower_quota::core::DenialReason;
use tower_quota::request::Idempotent;
use tower_quota::{Quota, QuotaError, RetryAfterLayer, TokenLimitLayer};

/// A quota with which nobody waits.
fn plenty() -> Quota {
    Quota::new(burst(u32::MAX, SECOND))
}

#[tokio::test(start_paused = true)]
async fn everyone_gets_his_own() {
    let notes = Notes::of("a", 40);
    let api = batches().layer(notes.service());
    // Half of the notes are not there; some of those are named in the answer and some are left out.
    let got = all(&api, fetches("a", 80)).await;
    for (nth, got) in told(&got).into_iter().enumerate() {
        let key = format!("a{nth}");
        let (status, body) = match nth < 40 {
            true => (200, format!("{key}=text")),
            false => missing(&key),
        };
        assert_eq!(got, (status, &*body));
    }
    assert_eq!(notes.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn all_operations_answer_as_alone() {
    let notes = Notes::of("a", 10);
    let api = batches().layer(notes.service());
    let got = all(&api, [store("a1", "x"), store("a2", "y"), store("b1", "z")]).await;
    let none = missing("b1").1;
    assert_eq!(told(&got), [(200, "a1=x"), (200, "a2=y"), (404, &*none)]);
    let got = all(&api, [add("same"), add("same"), add("other")]).await;
    for (got, text) in told(&got).into_iter().zip(["same", "same", "other"]) {
        let (key, added) = got.1.split_once('=').unwrap();
        assert_eq!((got.0, added), (201, text));
        assert_eq!(notes.text(key).as_deref(), Some(text));
    }
    let got = all(&api, [remove("a1"), remove("a3"), remove("b1")]).await;
    assert_eq!(told(&got), [(204, ""); 3]);
    assert_eq!((notes.text("a1"), notes.text("a3")), (None, None));
    assert_eq!(notes.sizes(), [3, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn heads_are_those_of_the_batch_with_the_length_of_the_part() {
    #[derive(Clone, Debug, PartialEq)]
    struct Tag(usize);
    let notes = Notes::of("long", 3);
    notes.set_hook(|nth, seen| {
        let done = lines(seen).into_iter().map(|key| match &*key {
            "b" => "b!".to_owned(),
            _ => format!("{key}=text"),
        });
        let done: Vec<_> = done.collect();
        let body = PieceBody::whole(done.join("\n"));
        let headers = [
            ("content-type", "text/plain"),
            ("content-length", "999"),
            ("etag", "\"of the batch\""),
            ("x-left", "17"),
        ];
        let status = if seen.path == "/notes:remove" {
            204
        } else {
            200
        };
        let mut response = response(status, &headers, body);
        response.extensions_mut().insert(Tag(nth));
        Some(Box::pin(async { Ok(response) }))
    });
    let api = batches().layer(notes.service());
    let got = all(&api, [fetch("long0"), fetch("b"), fetch("long1")]).await;
    for got in got.iter().map(|got| got.as_ref().unwrap()) {
        assert_eq!(got.header("x-left"), Some("17"));
        assert_eq!(got.header("etag"), None, "it is of other bytes");
        let length = got.body.len().to_string();
        assert_eq!(got.header("content-length"), Some(&*length));
        assert_eq!(got.header("content-type"), Some("text/plain"));
        assert_eq!(got.extensions.get(), Some(&Tag(0)));
        let batched = got.extensions.get::<Batched>().unwrap();
        assert_eq!(batched.calls, 3);
    }
    let got = all(&api, [remove("long0"), remove("b")]).await;
    for got in got.iter().map(|got| got.as_ref().unwrap()) {
        assert_eq!(got.told(), (204, ""));
        assert_eq!(got.header("content-type"), None);
        assert_eq!(got.header("content-length").unwrap_or("0"), "0");
        assert_eq!(got.header("x-left"), Some("17"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_about_all_goes_to_all_as_it_is() {
    for status in [401, 403, 429, 500, 503] {
        let notes = Notes::of("a", 10);
        notes.set_hook(move |_, _| {
            let headers = [("retry-after", "7"), ("content-type", "text/html")];
            Some(at_once(status, &headers, "<p>no</p>"))
        });
        let api = batches().layer(notes.service());
        for calls in [fetches("a", 10), (0..10).map(|_| add("x")).collect()] {
            for got in all(&api, calls).await {
                let got = got.unwrap();
                assert_eq!(got.told(), (status, "<p>no</p>"));
                assert_eq!(got.header("retry-after"), Some("7"));
                assert_eq!(got.header("content-type"), Some("text/html"));
            }
        }
        assert_eq!(notes.sizes(), [10, 10], "{status}");
    }
}

/// How often a create was sent in whatever form, by its text.
fn sent(notes: &Notes) -> BTreeMap<String, usize> {
    let mut sent = BTreeMap::new();
    for seen in notes.log() {
        let texts = match is_batch(&seen) {
            true => lines(&seen),
            false => vec![String::from_utf8_lossy(seen.body.as_ref().unwrap()).into_owned()],
        };
        for text in texts {
            let text = text.split_once('=').map_or(&*text, |(_, text)| text);
            *sent.entry(text.to_owned()).or_default() += 1;
        }
    }
    sent
}

fn adds(count: usize) -> impl Iterator<Item = Call> {
    (0..count).map(|nth| add(&format!("text{nth}")))
}

fn garbled() -> Answer {
    at_once(200, &[("content-type", "text/plain")], "what?")
}

fn broken() -> Answer {
    let body = PieceBody::new([Piece::Data("0=added".into()), Piece::Fail]);
    let answer = response(201, &[("content-type", "text/plain")], body);
    Box::pin(async { Ok(answer) })
}

fn too_long() -> Answer {
    at_once(201, &[("content-type", "text/plain")], &"x".repeat(5_000))
}

type Ending = (&'static str, fn() -> Answer);

/// Ways in which a batch can end that leave open what was done.
const UNKNOWN: [Ending; 8] = [
    ("500", || at_once(500, &[], "")),
    ("502", || at_once(502, &[], "")),
    ("504", || at_once(504, &[], "")),
    ("lost", lost),
    ("lost later", || after(SECOND, lost())),
    ("no sense", garbled),
    ("broken off", broken),
    ("too long", too_long),
];

#[tokio::test(start_paused = true)]
async fn creates_are_never_sent_twice() {
    for (name, answer) in UNKNOWN {
        for (repeats, vouches) in [
            (false, None),
            (true, None),
            (true, Some(0)),
            (true, Some(9)),
        ] {
            let notes = Notes::of("a", 0);
            notes.set_hook(move |_, _| Some(answer()));
            let retry = RetryAfterLayer::new(&plenty());
            let layer = batches().max_answer(1_000);
            let mut calls: Vec<Call> = adds(10).collect();
            if let Some(nth) = vouches {
                // One caller bears that his is done twice. The others have not said so.
                calls[nth] = saying(calls[nth].clone(), Idempotent);
            }
            let got = match repeats {
                true => all(&layer.layer(retry.layer(notes.service())), calls).await,
                false => all(&layer.layer(notes.service()), calls).await,
            };
            let context = format!("{name}, {repeats}, {vouches:?}");
            for (nth, got) in got.iter().enumerate() {
                match got {
                    // He is alone in his group.
                    _ if vouches == Some(nth) => {}
                    Ok(got) => assert!(got.status >= 500, "{context}: {got:?}"),
                    Err(error) => assert!(error.is::<BatchError>(), "{context}: {error}"),
                }
            }
            let vouched = vouches.map(|nth| format!("text{nth}"));
            for (text, times) in sent(&notes) {
                let may_be_repeated = vouched.as_ref() == Some(&text);
                assert!(times == 1 || may_be_repeated, "{context}: {text}");
            }
        }
    }
}

/// Reads and writes that may be done twice are asked one by one where the answer to the batch makes no sense.
#[tokio::test(start_paused = true)]
async fn what_may_be_done_twice_is_asked_alone() {
    for (name, answer) in [
        ("no sense", garbled as fn() -> Answer),
        ("too long", too_long),
    ] {
        let notes = Notes::of("a", 10);
        notes.set_hook(move |_, seen| is_batch(seen).then(answer));
        let api = batches().max_answer(1_000).layer(notes.service());
        let got = all(&api, fetches("a", 10)).await;
        let all_well = |got: &[Outcome]| {
            let well = |got: &Outcome| got.as_ref().is_ok_and(|got| got.status < 300);
            got.iter().all(well)
        };
        assert!(all_well(&got), "{name}: {got:?}");
        assert_eq!(
            notes.sizes(),
            [[10].as_slice(), &[1; 10]].concat(),
            "{name}"
        );
        let got = all(&api, (0..10).map(|nth| store(&format!("a{nth}"), "x"))).await;
        assert!(all_well(&got), "{name}: {got:?}");
        assert_eq!(notes.text("a9").as_deref(), Some("x"), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_batch_is_an_error_to_everyone_with_the_clients_as_its_source() {
    for calls in [fetches("a", 10), adds(10).collect()] {
        let notes = Notes::of("a", 10);
        notes.set_hook(|_, _| Some(lost()));
        let api = batches().layer(notes.service());
        for got in all(&api, calls).await {
            let error = got.unwrap_err();
            let error: &BatchError = error.downcast_ref().unwrap();
            let source = error.source().unwrap();
            let expected = TestError("the connection is lost");
            assert_eq!(source.downcast_ref(), Some(&expected));
            assert!(!error.to_string().is_empty());
        }
        assert_eq!(notes.sizes(), [10]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_is_an_error_to_everyone() {
    let notes = Notes::of("a", 10);
    notes.set_hook(|_, _| Some(broken()));
    let api = batches().layer(notes.service());
    for got in all(&api, adds(10)).await {
        let error = got.unwrap_err();
        let error: &BatchError = error.downcast_ref().unwrap();
        let source = error.source().unwrap();
        assert_eq!(source.downcast_ref(), Some(&TestError("the body broke")));
    }
}

/// What may be done twice is asked again, by everybody for himself.
#[tokio::test(start_paused = true)]
async fn reads_whose_answer_breaks_off_are_asked_alone() {
    let notes = Notes::of("a", 10);
    notes.set_hook(|nth, _| (nth == 0).then(broken));
    let api = batches().layer(notes.service());
    let got = all(&api, fetches("a", 10)).await;
    assert!(got.iter().all(|got| got.as_ref().unwrap().status == 200));
    assert_eq!(notes.count(), 11);
}

/// Whoever looks for it in the errors of single calls finds it in those of batches.
#[tokio::test(start_paused = true)]
async fn a_quota_error_stays_one() {
    let quota = Quota::new(burst(1, 10 * SECOND));
    let notes = Notes::of("a", 10);
    // The layer does not know the quota; it is refused inside.
    let api = ServiceBuilder::new()
        .layer(batches())
        .layer(TokenLimitLayer::new(&quota).max_wait(SECOND))
        .service(notes.service());
    call(api.clone(), fetch("a0")).await.unwrap();
    for got in all(&api, fetches("a", 10)).await {
        let error = got.unwrap_err();
        let error: &QuotaError = error.downcast_ref().unwrap();
        assert_eq!(error.limit(), "burst");
        assert_eq!(error.reason(), DenialReason::TooLong);
        assert!(error.retry_after() > 9 * SECOND);
    }
    assert_eq!(notes.count(), 1);
}

/// Where one bad text makes the server refuse a whole batch.
#[tokio::test(start_paused = true)]
async fn only_the_owner_of_what_is_bad_is_refused() {
    for (count, of_these) in [(2, 1), (100, 1), (100, 3), (100, 100)] {
        for names in [true, false] {
            let notes = Notes::of("a", 0);
            if !names {
                notes.keep_silent_about_the_bad();
            }
            let mut rng = Rng::with_seed(3);
            let mut is_bad = vec![false; count];
            is_bad[..of_these].fill(true);
            rng.shuffle(&mut is_bad);
            let text = |nth: usize| match is_bad[nth] {
                true => format!("bad{nth}"),
                false => format!("good{nth}"),
            };
            let api = batches().layer(notes.service());
            let got = all(&api, (0..count).map(|nth| add(&text(nth)))).await;
            for (nth, got) in told(&got).into_iter().enumerate() {
                let (status, body) = bad(&text(nth));
                if is_bad[nth] {
                    assert_eq!(got, (status, &*body), "its own answer");
                } else {
                    assert_eq!(got.0, 201, "{got:?}");
                    assert!(got.1.ends_with(&format!("={}", text(nth))), "{got:?}");
                }
            }
            assert_eq!(notes.added(), count - of_these, "each once");
            let more = notes.count() - 1;
            println!("{of_these} of {count} bad, named {names}: {more} requests more");
            let log = (count as f64).log2();
            let most = match names {
                // The others together, and each of these alone.
                true => of_these + 1,
                false => (2.0 + 2.0 * log * of_these as f64) as usize,
            };
            // Where all are bad it does not matter that they are named.
            let most = if of_these == count { 2 * count } else { most };
            assert!(more <= most, "{more} more, {names}");
        }
    }
}

/// Random calls, once through the layer and once one at a time. No two of one round are about the same note, so that all orders are
/// right.
#[tokio::test(start_paused = true)]
async fn random_calls_are_answered_as_alone() {
    for seed in 0..40 {
        let mut rng = Rng::with_seed(seed);
        let (ours, theirs) = (Notes::of("a", 150), Notes::of("a", 150));
        for notes in [&ours, &theirs] {
            notes.set_most([100, 7, 1][seed as usize % 3], rng.bool());
            if seed % 2 == 0 {
                notes.keep_silent_about_the_bad();
            }
        }
        let api = batches().layer(ours.service());
        for round in 0..4 {
            let calls: Vec<Call> = (0..200)
                .filter_map(|nth| {
                    let key = format!("a{nth}");
                    let text = match rng.u8(0..20) {
                        0 => format!("bad{nth}"),
                        _ => format!("text{nth}r{round}"),
                    };
                    match rng.u8(0..10) {
                        0..4 => Some(fetch(key)),
                        4..7 => Some(store(&key, &text)),
                        7 => Some(add(&text)),
                        8 => Some(remove(&key)),
                        _ => None,
                    }
                })
                .collect();
            let got = all(&api, calls.clone()).await;
            for (got, one) in got.iter().zip(calls) {
                let adds = one.uri().path() == "/notes";
                let alone = call(batches().layer(theirs.service()), one).await.unwrap();
                let got = got.as_ref().unwrap();
                // Which name a new note gets depends on who comes first.
                let own = |body: &str| match (adds, body.split_once('=')) {
                    (true, Some((_, text))) => text.to_owned(),
                    _ => body.to_owned(),
                };
                assert_eq!(
                    (got.status, own(&got.body)),
                    (alone.status, own(&alone.body))
                );
            }
        }
        assert_eq!(ours.added(), theirs.added());
        for nth in 0..200 {
            let key = format!("a{nth}");
            assert_eq!(ours.text(&key), theirs.text(&key), "{key}");
        }
        if seed % 3 == 0 {
            println!("{} requests instead of {}", ours.count(), theirs.count());
            assert!(ours.count() * 2 < theirs.count());
        }
    }
}

/// Refusals are repeated inside as they always are: the batch was not done, and its callers need not know.
#[tokio::test(start_paused = true)]
async fn refused_batches_are_repeated_inside() {
    for calls in [fetches("a", 10), adds(10).collect()] {
        let notes = Notes::of("a", 10);
        notes.set_hook(|nth, _| (nth < 2).then(|| at_once(429, &[("retry-after", "1")], "")));
        let quota = plenty();
        let api = ServiceBuilder::new()
            .layer(batches().quota(&quota))
            .layer(RetryAfterLayer::new(&quota).max_wait(FOREVER))
            .layer(patient(&quota))
            .service(notes.service());
        for got in all(&api, calls).await {
            assert!(got.unwrap().status < 300);
        }
        assert_eq!(notes.sizes(), [10; 3]);
    }
}

/// What a batch does decides who repeats it, not that it is a `POST`.
#[tokio::test(start_paused = true)]
async fn lost_reads_and_idempotent_writes_are_repeated_inside() {
    let stores: Vec<Call> = (0..10).map(|nth| store(&format!("a{nth}"), "x")).collect();
    for calls in [fetches("a", 10), stores] {
        let notes = Notes::of("a", 10);
        notes.set_hook(|nth, _| (nth == 0).then(|| at_once(502, &[], "")));
        let api = batches().layer(RetryAfterLayer::new(&plenty()).layer(notes.service()));
        for got in all(&api, calls).await {
            assert_eq!(got.unwrap().status, 200);
        }
        assert_eq!(notes.sizes(), [10, 10]);
    }
}

/// The owner of a batch whose answer takes long waits no longer than the others.
#[tokio::test(start_paused = true)]
async fn all_are_answered_at_one_instant() {
    let notes = Notes::of("a", 100).takes(ms(100));
    let api = batches().layer(notes.service());
    let ends = Arc::new(AtomicUsize::new(0));
    let clock = tower_quota::clock::Clock::system();
    let tasks: Vec<_> = fetches("a", 100)
        .into_iter()
        .map(|one| {
            let (api, ends, clock) = (api.clone(), ends.clone(), clock.clone());
            tokio::spawn(async move {
                call(api, one).await.unwrap();
                assert_eq!(clock.elapsed(), ms(100));
                ends.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect();
    tokio::time::sleep(ms(100) + Duration::from_millis(1)).await;
    assert_eq!(ends.load(Ordering::SeqCst), 100);
    for task in tasks {
        task.await.unwrap();
    }
}
