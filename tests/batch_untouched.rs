//! Promise: what the layer cannot put in a batch passes it as it is, and what a server says of its batch calls is believed within
//! reason.

mod common;
mod notes;

use std::sync::{Arc, Mutex};

use common::{HOUR, Piece, PieceBody, SECOND, at_once, lock, ms, request};
use http::{Method, Request};
use http_body::SizeHint;
use http_body_util::BodyExt;
use notes::server::{Notes, is_batch, size};
use notes::{Call, add, all, batches, fetch, fetches, saying, spawn, store, told};
use tokio::time::sleep;
use tower::{Layer, ServiceExt};
use tower_quota::BatchLayer;
use tower_quota::plan::RouteClass;

type Make = dyn Fn(usize) -> Call;

/// Each of these ten times at one instant, through a layer that would let a batch of ten wait for an hour.
#[tokio::test(start_paused = true)]
async fn what_has_no_batch_call_is_sent_as_it_is() {
    let large = "x".repeat(1_000);
    let unlike: [(&str, Box<Make>); 6] = [
        (
            "elsewhere",
            Box::new(|_| request(Method::GET, "/shelves", "t")),
        ),
        ("a list", Box::new(|_| request(Method::GET, "/notes", "t"))),
        (
            "a batch",
            Box::new(|_| request(Method::POST, "/notes:fetch", "t")),
        ),
        ("two lines", Box::new(|_| add("one\ntwo"))),
        (
            "too large",
            Box::new(move |nth| store(&format!("a{nth}"), &large)),
        ),
        (
            "of a class",
            Box::new(|nth| saying(fetch(format!("a{nth}")), RouteClass::Search)),
        ),
    ];
    for (name, make) in unlike {
        let notes = Notes::of("a", 10).takes(SECOND);
        let api = batches()
            .max_linger(HOUR)
            .max_body(999)
            .layer(notes.service());
        let sent: Vec<Call> = (0..10).map(&make).collect();
        all(&api, sent.clone()).await;
        assert_eq!(notes.elapsed(), SECOND, "{name}");
        let log = notes.log();
        assert_eq!(log.len(), 10, "{name}");
        for (seen, sent) in log.into_iter().zip(sent) {
            assert_eq!(seen.method, *sent.method(), "{name}");
            assert_eq!(seen.path, sent.uri().path(), "{name}");
            assert_eq!(&seen.headers, sent.headers(), "{name}");
            let class = sent.extensions().get::<RouteClass>();
            assert_eq!(seen.extensions.get::<RouteClass>(), class, "{name}");
            let body = sent.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(seen.body.unwrap(), body, "{name}");
        }
    }
}

fn streamed(key: &str, hint: SizeHint) -> Request<PieceBody> {
    let pieces = [
        Piece::Data("te".into()),
        Piece::Wait(SECOND),
        Piece::Data("xt".into()),
    ];
    store(key, "").map(|_| PieceBody::new(pieces).hint(hint))
}

/// A body of unknown size streams, and so does one that may be too large.
#[tokio::test(start_paused = true)]
async fn a_body_of_unknown_size_streams() {
    let mut larger = SizeHint::new();
    larger.set_upper(1_000_000_000);
    for hint in [SizeHint::new(), larger] {
        let notes = Notes::of("a", 3);
        let api = batches().layer(notes.service());
        let calls = (0..3).map(|nth| api.clone().oneshot(streamed(&format!("a{nth}"), hint)));
        let calls: Vec<_> = calls.map(tokio::spawn).collect();
        sleep(ms(1)).await;
        assert_eq!(notes.count(), 3, "none is read before it is sent");
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap().status(), 200);
        }
        assert_eq!(notes.sizes(), [1; 3]);
        assert_eq!(notes.text("a2").as_deref(), Some("text"));
    }
}

/// A slow body of known size is read while others go on.
#[tokio::test(start_paused = true)]
async fn whose_body_is_slow_holds_up_nobody() {
    let notes = Notes::of("a", 5);
    let api = batches().layer(notes.service());
    let stuck = PieceBody::new([Piece::Hang]).hint(SizeHint::with_exact(4));
    let stuck = tokio::spawn(api.clone().oneshot(store("a0", "").map(|_| stuck)));
    let slow = streamed("a1", SizeHint::with_exact(4));
    let slow = tokio::spawn(api.clone().oneshot(slow));
    sleep(ms(1)).await;
    let quick = store("a2", "").map(|_| PieceBody::whole("text"));
    let quick = api.clone().oneshot(quick);
    let quick = tokio::time::timeout(ms(10), quick).await.unwrap();
    assert_eq!(quick.unwrap().status(), 200);
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    assert_eq!(notes.text("a1").as_deref(), Some("text"));
    stuck.abort();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_is_its_owners_error() {
    let notes = Notes::of("a", 5);
    let api = batches().layer(notes.service());
    let calls: Vec<_> = (0..4)
        .map(|nth| {
            let body = match nth {
                1 => PieceBody::new([Piece::Data("te".into()), Piece::Fail])
                    .hint(SizeHint::with_exact(4)),
                2 => PieceBody::new([Piece::Data("longer".into())]).hint(SizeHint::with_exact(4)),
                _ => PieceBody::whole("text"),
            };
            let call = store(&format!("a{nth}"), "").map(|_| body);
            tokio::spawn(api.clone().oneshot(call))
        })
        .collect();
    for (nth, call) in calls.into_iter().enumerate() {
        let got = call.await.unwrap();
        match nth {
            1 => assert_eq!(got.unwrap_err().to_string(), "the body broke"),
            // It is longer than it says, though not too long: nobody is hurt.
            2 => drop(got),
            _ => assert_eq!(got.unwrap().status(), 200),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_off_changes_nothing() {
    let notes = Notes::of("a", 10);
    let api = BatchLayer::off().layer(notes.service());
    let got = all(&api, fetches("a", 10)).await;
    assert!(got.iter().all(|got| got.as_ref().unwrap().status == 200));
    assert_eq!(notes.sizes(), [1; 10]);
    assert!(notes.log().iter().all(|seen| !is_batch(seen)));
}

/// What the server bears is learnt from its refusal, which costs one request; from then on nothing larger is sent.
#[tokio::test(start_paused = true)]
async fn a_smaller_cap_is_learnt_once() {
    for (tells, most) in [(true, 30), (false, 30), (true, 1), (false, 1)] {
        let notes = Notes::of("a", 100);
        notes.set_most(most, tells);
        let api = batches().layer(notes.service());
        let mut refused = 0;
        for round in 0..3 {
            let before = notes.count();
            let got = all(&api, fetches("a", 100)).await;
            for (nth, told) in told(&got).into_iter().enumerate() {
                assert_eq!(told, (200, &*format!("a{nth}=text")));
            }
            let sizes = notes.sizes().split_off(before);
            let too_large = sizes.iter().filter(|size| **size > most).count();
            if round == 0 {
                refused = too_large;
            } else {
                assert_eq!(too_large, 0, "{tells}, {most}: {sizes:?}");
                if tells {
                    assert_eq!(sizes.len(), 100_usize.div_ceil(most), "{sizes:?}");
                }
            }
        }
        println!("at most {most}, told {tells}: {refused} refused");
        // Where it is not told, both halves are asked for at the same time.
        let most_refused = if tells { 1 } else { 100 / most };
        assert!(refused <= most_refused, "{tells}, {most}: {refused}");
    }
}

/// Other calls are not held to it.
#[tokio::test(start_paused = true)]
async fn a_cap_is_remembered_for_its_call_only() {
    let notes = Notes::of("a", 100);
    notes.set_hook(|_, seen| {
        let too_many = seen.path == "/notes:fetch" && size(seen) > 10;
        too_many.then(|| at_once(413, &[], "at most 10"))
    });
    let api = batches().layer(notes.service());
    all(&api, fetches("a", 100)).await;
    assert_eq!(notes.sizes(), [[100].as_slice(), &[10; 10]].concat());
    let before = notes.count();
    all(&api, (0..100).map(|nth| store(&format!("a{nth}"), "x"))).await;
    assert_eq!(notes.sizes().split_off(before), [100]);
}

/// A server that talks nonsense about its caps is asked a bounded number of times, and everybody is answered.
#[tokio::test(start_paused = true)]
async fn senseless_caps_do_no_harm() {
    for told in [
        "0",
        "1",
        "99",
        "100",
        "101",
        "18446744073709551615",
        "-5",
        "1e9",
        "",
    ] {
        // It refuses every batch, whatever its size.
        let notes = Notes::of("a", 100);
        let text = format!("at most {told}");
        notes.set_hook(move |_, seen| is_batch(seen).then(|| at_once(413, &[], &text)));
        let api = batches().layer(notes.service());
        let got = all(&api, fetches("a", 100)).await;
        for (nth, got) in notes::told(&got).into_iter().enumerate() {
            assert_eq!(got, (200, &*format!("a{nth}=text")), "{told}");
        }
        let asked = notes.log().iter().filter(|seen| is_batch(seen)).count();
        println!("at most {told}: {asked} batches refused");
        assert!(asked <= 200, "{told}: {asked}");
    }
}

/// No batch call there: found out once.
#[tokio::test(start_paused = true)]
async fn a_missing_batch_call_is_remembered() {
    let notes = Notes::of("a", 100);
    notes.have_no_batches();
    let api = batches().layer(notes.service());
    for _ in 0..2 {
        let got = all(&api, fetches("a", 100)).await;
        for (nth, told) in told(&got).into_iter().enumerate() {
            assert_eq!(told, (200, &*format!("a{nth}=text")));
        }
    }
    assert_eq!(notes.log().iter().filter(|seen| is_batch(seen)).count(), 1);
    assert_eq!(notes.count(), 201);
    // With nothing to hope for nobody waits for company.
    let before = notes.elapsed();
    let calls: Vec<_> = fetches("a", 3)
        .into_iter()
        .map(|call| spawn(&api, call))
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(notes.elapsed(), before);
}

/// Ever new calls do not fill the memory, and are served whether anything is remembered of them or not.
#[tokio::test(start_paused = true)]
async fn what_is_remembered_is_bounded() {
    const LABELS: usize = 10_000;
    let notes = Notes::of("a", 4);
    let sizes: Arc<Mutex<Vec<usize>>> = Arc::default();
    let seen = sizes.clone();
    notes.set_hook(move |_, asked| {
        lock(&seen).push(size(asked));
        (size(asked) > 2).then(|| at_once(413, &[], "at most 2"))
    });
    let api = batches().layer(notes.service());
    let ask = async |nth: usize| {
        let calls = fetches("a", 4).into_iter().map(|call| {
            let (mut head, body) = call.into_parts();
            head.uri = format!("{}?in=language{nth}", head.uri).parse().unwrap();
            Request::from_parts(head, body)
        });
        let got = all(&api, calls).await;
        assert!(told(&got).iter().all(|(status, _)| *status == 200));
        std::mem::take(&mut *lock(&sizes))
    };
    for nth in 0..LABELS {
        assert_eq!(ask(nth).await, [4, 2, 2]);
    }
    assert_eq!(ask(LABELS - 1).await, [2, 2], "the last one is remembered");
    assert_eq!(ask(0).await, [4, 2, 2], "the first one is forgotten");
}

/// What seemed to be missing may be there later.
#[tokio::test(start_paused = true)]
async fn a_missing_batch_call_is_looked_for_again_after_ten_minutes() {
    let notes = Notes::of("a", 10);
    notes.have_no_batches();
    let api = batches().layer(notes.service());
    for (minutes, batches) in [(9, 1), (2, 1), (0, 2)] {
        all(&api, fetches("a", 10)).await;
        let asked = notes.log().iter().filter(|seen| is_batch(seen)).count();
        assert_eq!(asked, batches);
        sleep(60 * minutes * SECOND).await;
    }
}

/// The server does not say how many it takes: one part of a batch finds out for the others.
#[tokio::test(start_paused = true)]
async fn a_cap_that_is_not_told_is_found_with_one_request_a_step() {
    let notes = Notes::of("a", 100);
    notes.set_most(10, false);
    let api = batches().layer(notes.service());
    let got = all(&api, fetches("a", 100)).await;
    assert!(got.iter().all(|got| got.as_ref().unwrap().status == 200));
    let mut sizes = notes.sizes();
    assert_eq!(sizes[..4], [100, 50, 25, 12]);
    let parts = sizes.split_off(4);
    assert!(
        parts.len() <= 20 && parts.iter().all(|size| *size <= 6),
        "{parts:?}"
    );
}
