//! Promise: a call that is alone goes out at once and as it is; calls that come together leave together, in full batches where there
//! are enough of them; and nobody waits long for company. (T38)

mod common;
mod notes;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use common::frames::{Got, frames};
use common::{
    Fate, HOUR, Hand, Piece, PieceBody, SECOND, TestError, after, at_once, lock, lost, ms, never,
    response,
};
use http::{HeaderMap, Request, Version, request};
use http_body::SizeHint;
use notes::policy::NoteBatches;
use notes::server::Notes;
use notes::{Call, add, all, batches, call, fetch, fetches, remove, saying, spawn, store, with};
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::BatchLayer;
use tower_quota::batch::Batched;
use tower_quota::body::HeldBody;
use tower_quota::clock::Clock;
use tower_quota::request::Lane;

/// An extension of somebody else's.
#[derive(Clone, Debug, PartialEq)]
struct Tag(&'static str);

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "17".parse().unwrap());
    trailers
}

fn pieces() -> PieceBody {
    PieceBody::new([
        Piece::Data("one".into()),
        Piece::Wait(SECOND),
        Piece::Data("two".into()),
        Piece::Trailers(trailers()),
    ])
}

fn four_kinds() -> [Call; 4] {
    [fetch("a"), store("a", "x"), add("x"), remove("a")]
}

#[tokio::test(start_paused = true)]
async fn a_lone_call_goes_out_at_once_and_as_it_is() {
    for sent in four_kinds() {
        let (mut head, body) = sent.into_parts();
        head.version = Version::HTTP_2;
        head.headers.append("x-a", "1".parse().unwrap());
        head.headers.append("x-a", "2".parse().unwrap());
        head.extensions.insert(Tag("of the request"));
        let name = format!("{} {}", head.method, head.uri);
        type Wire = (request::Parts, Vec<Got>);
        let wire: Arc<Mutex<Option<Wire>>> = Arc::default();
        let (seen, context) = (wire.clone(), name.clone());
        let client = service_fn(move |request: Request<HeldBody<PieceBody>>| {
            let (seen, context) = (seen.clone(), context.clone());
            async move {
                let (head, body) = request.into_parts();
                let frames = frames(body, &context).await;
                let earlier = lock(&seen).replace((head, frames));
                assert!(earlier.is_none(), "{context}: it is sent once");
                let mut response = response(299, &[("x-b", "1"), ("x-b", "2")], pieces());
                *response.version_mut() = Version::HTTP_3;
                response.extensions_mut().insert(Tag("of the response"));
                Ok::<_, TestError>(response)
            }
        });
        let clock = Clock::system();
        let text = http_body_util::BodyExt::collect(body).await.unwrap();
        let sent = Request::from_parts(head.clone(), PieceBody::whole(text.to_bytes()));
        let answer = batches().layer(client).oneshot(sent).await.unwrap();
        // The answer is here before any of its body.
        assert_eq!(clock.elapsed(), Duration::ZERO, "{name}");
        assert_eq!(answer.status(), 299, "{name}");
        assert_eq!(answer.version(), Version::HTTP_3, "{name}");
        assert_eq!(
            answer.extensions().get(),
            Some(&Tag("of the response")),
            "{name}"
        );
        assert!(answer.extensions().get::<Batched>().is_none(), "{name}");
        assert_eq!(answer.headers().get_all("x-b").iter().count(), 2, "{name}");
        assert_eq!(answer.headers().len(), 2, "{name}");
        assert_eq!(
            frames(answer.into_body(), &name).await,
            frames(pieces(), &name).await,
            "{name}"
        );

        let (seen, got) = lock(&wire).take().unwrap();
        assert_eq!((seen.method, seen.uri), (head.method, head.uri), "{name}");
        assert_eq!(seen.version, head.version, "{name}");
        assert_eq!(seen.headers, head.headers, "{name}");
        assert_eq!(
            seen.extensions.get(),
            Some(&Tag("of the request")),
            "{name}"
        );
        let expected = PieceBody::whole(body_of(&name));
        assert_eq!(got, frames(expected, &name).await, "{name}");
    }
}

fn body_of(name: &str) -> &'static str {
    match name.starts_with('P') {
        true => "x",
        false => "",
    }
}

/// A body of known size that comes bit by bit, with trailers: they are sent, too.
#[tokio::test(start_paused = true)]
async fn the_body_of_a_lone_call_is_sent_to_its_last_frame() {
    let notes = Notes::of("a", 1);
    let body = pieces().hint(SizeHint::with_exact(6));
    let sent = store("a0", "").map(|_| body);
    let api = batches().layer(notes.service());
    let answer = api.oneshot(sent).await.unwrap();
    assert_eq!(answer.status(), 200);
    let seen = notes.log().remove(0);
    assert_eq!(seen.body.unwrap(), "onetwo");
    assert_eq!(seen.trailers, Some(trailers()));
    assert_eq!((notes.count(), &*seen.path), (1, "/notes/a0"));
}

/// The head of the answer is handed on before there is a body.
#[tokio::test(start_paused = true)]
async fn the_answer_to_a_lone_call_is_not_read() {
    let fate = Fate::default();
    let notes = Notes::of("a", 1);
    let shown = fate.clone();
    notes.set_hook(move |_, _| {
        let body = PieceBody::new([Piece::Data("a0=".into()), Piece::Hang]).fate(&shown);
        let answer = response(200, &[], body);
        Some(Box::pin(async { Ok(answer) }))
    });
    let answer = batches().layer(notes.service()).oneshot(fetch("a0"));
    let answer = timeout(SECOND, answer).await.unwrap().unwrap();
    assert!(!fate.is_read() && !fate.is_dropped());
    drop(answer);
    assert!(fate.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_lone_call_is_the_clients_own() {
    let notes = Notes::of("a", 1);
    notes.set_hook(|_, _| Some(lost()));
    let api = batches().layer(notes.service());
    for sent in four_kinds() {
        let error = call(api.clone(), sent).await.unwrap_err();
        let expected = TestError("the connection is lost");
        assert_eq!(error.downcast_ref(), Some(&expected));
    }
    assert_eq!(notes.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_lone_call_does_not_wait_for_other_groups() {
    let notes = Notes::of("a", 200);
    notes.set_hook(|_, seen| (seen.token() == "busy").then(never));
    let api = batches().max_linger(HOUR).layer(notes.service());
    let busy = with(fetch("b"), "authorization", "Bearer busy");
    let first = spawn(&api, busy.clone());
    sleep(ms(1)).await;
    // These wait for company.
    let others: Vec<_> = (0..50).map(|_| spawn(&api, busy.clone())).collect();
    sleep(ms(1)).await;
    let clock = Clock::system();
    let got = call(api.clone(), fetch("a0")).await.unwrap();
    assert_eq!(got.told(), (200, "a0=text"));
    assert_eq!(clock.elapsed(), Duration::ZERO);
    first.abort();
    others.iter().for_each(|other| other.abort());
}

/// One after the other is never company.
#[tokio::test(start_paused = true)]
async fn calls_one_after_the_other_are_all_alone() {
    let notes = Notes::of("a", 20).takes(ms(30));
    let api = batches().max_linger(HOUR).layer(notes.service());
    for sent in fetches("a", 20) {
        call(api.clone(), sent).await.unwrap();
    }
    assert_eq!(notes.elapsed(), 20 * ms(30));
    assert!(notes.log().iter().all(|seen| seen.path != "/notes:fetch"));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_at_one_instant_make_one_full_batch_at_once() {
    let notes = Notes::of("a", 100);
    let api = batches().max_linger(HOUR).layer(notes.service());
    let got = all(&api, fetches("a", 100)).await;
    assert!(got.iter().all(|got| got.as_ref().unwrap().status == 200));
    assert_eq!(notes.sizes(), [100]);
    assert_eq!(notes.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn more_make_as_few_batches_as_can_be() {
    let notes = Notes::of("a", 1_250).takes(SECOND);
    let api = batches().layer(notes.service());
    all(&api, fetches("a", 1_250)).await;
    let mut sizes = notes.sizes();
    sizes.sort_unstable();
    assert_eq!(sizes, [[50].as_slice(), &[100; 12]].concat());
    // Full ones leave at once, however many are under way; the rest has waited for company.
    let late = notes.log().iter().filter(|seen| seen.at > ms(0)).count();
    assert!(late <= 1, "{:?}", notes.times());
}

#[tokio::test(start_paused = true)]
async fn no_batch_has_more_than_the_policy_says() {
    let notes = Notes::of("a", 100);
    let api = BatchLayer::new(NoteBatches { most: 7 }).layer(notes.service());
    all(&api, fetches("a", 100)).await;
    let sizes = notes.sizes();
    assert_eq!((sizes.len(), sizes.iter().max()), (15, Some(&7)));
}

/// Each of so many callers fetches note after note, and thinks for up to `think` between. Returns how many notes a request was
/// about on the whole, and how long a call took in the mean.
async fn callers(count: usize, each: usize, think: Duration, takes: Duration) -> (f64, Duration) {
    let notes = Notes::of("a", count * each);
    let rng = Mutex::new(fastrand::Rng::with_seed(5));
    notes.set_hook(move |_, seen| {
        let lines = notes::server::lines(seen);
        let lines: String = lines.iter().map(|key| format!("{key}=text\n")).collect();
        let latency = takes.mul_f64(0.5 + lock(&rng).f64());
        let text = [("content-type", "text/plain")];
        Some(after(latency, at_once(200, &text, &lines)))
    });
    let api = batches().layer(notes.service());
    let callers: Vec<_> = (0..count)
        .map(|caller| {
            let api = api.clone();
            tokio::spawn(async move {
                let mut rng = fastrand::Rng::with_seed(caller as u64);
                let mut took = Duration::ZERO;
                for nth in 0..each {
                    sleep(think.mul_f64(rng.f64())).await;
                    let clock = Clock::system();
                    let key = fetch(format!("a{}", caller * each + nth));
                    assert_eq!(call(api.clone(), key).await.unwrap().status, 200);
                    took += clock.elapsed();
                }
                took
            })
        })
        .collect();
    let mut took = Duration::ZERO;
    for caller in callers {
        took += caller.await.unwrap();
    }
    let calls = count * each;
    (calls as f64 / notes.count() as f64, took / calls as u32)
}

/// Each batch that is answered wakes as many as were in it, who call again at one instant.
#[tokio::test(start_paused = true)]
async fn four_hundred_callers_in_a_loop_make_full_batches() {
    for think in [0, 5, 50] {
        let (size, took) = callers(400, 50, ms(think), ms(100)).await;
        println!("400 callers who think for up to {think} ms: {size:.1} a batch, {took:?} a call");
        // Four batches are under way, one of which ends in each fourth of a round trip; a call that comes alone waits for that.
        assert!(size >= 80.0, "{think} ms: {size} a batch");
        assert!(took <= ms(125), "{think} ms: {took:?}");
    }
}

/// A call each 50 ms, with answers that take 100: two are under way at any time.
#[tokio::test(start_paused = true)]
async fn under_light_load_the_median_rises_by_two_milliseconds_at_most() {
    let notes = Notes::of("a", 1_000).takes(ms(100));
    let api = batches().layer(notes.service());
    let mut calls = Vec::new();
    for key in fetches("a", 1_000) {
        let api = api.clone();
        calls.push(tokio::spawn(async move {
            let clock = Clock::system();
            call(api, key).await.unwrap();
            clock.elapsed()
        }));
        sleep(ms(50)).await;
    }
    let mut took = Vec::new();
    for call in calls {
        took.push(call.await.unwrap());
    }
    took.sort_unstable();
    let (median, most) = (took[500], took[999]);
    println!("light load: median {median:?}, most {most:?}");
    assert!(median <= ms(102), "{median:?}");
    // The timers of tokio round up to a millisecond.
    assert!(most <= ms(103), "{most:?}");
}

#[tokio::test(start_paused = true)]
async fn without_linger_only_those_of_one_instant_share_a_batch() {
    let notes = Notes::of("a", 30).takes(ms(100));
    let api = batches().max_linger(Duration::ZERO).layer(notes.service());
    let mut calls = vec![spawn(&api, fetch("a0"))];
    sleep(ms(1)).await;
    calls.extend(
        fetches("a", 30)
            .into_iter()
            .skip(1)
            .take(2)
            .map(|call| spawn(&api, call)),
    );
    sleep(ms(1)).await;
    calls.push(spawn(&api, fetch("a3")));
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status, 200);
    }
    assert_eq!(
        (notes.sizes(), notes.times()),
        (vec![1, 2, 1], vec![0, 1, 2])
    );
}

/// The server leaves so many calls without an answer for ever; then it is well again.
#[tokio::test(start_paused = true)]
async fn calls_that_hang_hold_up_nobody() {
    for hung in [1, 2, 5, 20] {
        let notes = Notes::of("a", 1);
        let is_ill = Arc::new(AtomicBool::new(true));
        let shown = is_ill.clone();
        notes.set_hook(move |_, _| shown.load(Ordering::SeqCst).then(never));
        let api = batches().layer(notes.service());
        let mut calls = Vec::new();
        for nth in 0..hung {
            calls.push(spawn(&api, fetch(format!("hung{nth}"))));
            sleep(SECOND).await;
        }
        is_ill.store(false, Ordering::SeqCst);
        let clock = Clock::system();
        let got = timeout(HOUR, call(api.clone(), fetch("a0"))).await;
        let got = got.unwrap_or_else(|_| panic!("it waits for {hung} that hang"));
        assert_eq!(got.unwrap().told(), (200, "a0=text"));
        println!("behind {hung} that hang: {:?}", clock.elapsed());
        assert!(clock.elapsed() <= SECOND, "{hung}: {:?}", clock.elapsed());
        calls.iter().for_each(|call| call.abort());
    }
}

/// A full batch leaves although nothing that was sent before is answered.
#[tokio::test(start_paused = true)]
async fn a_full_batch_leaves_whatever_is_under_way() {
    let notes = Notes::of("a", 1);
    notes.set_hook(|_, _| Some(never()));
    let api = batches().max_linger(HOUR).layer(notes.service());
    let mut calls = Vec::new();
    for round in 0..10 {
        calls.extend(
            fetches(&format!("b{round}x"), 100)
                .into_iter()
                .map(|call| spawn(&api, call)),
        );
        sleep(ms(1)).await;
        assert_eq!(notes.sizes(), vec![100; round + 1]);
    }
    // One at a time, until they are enough.
    let before = notes.count();
    for nth in 0..100 {
        assert_eq!(notes.count(), before, "{nth}");
        calls.push(spawn(&api, fetch(format!("c{nth}"))));
        sleep(ms(1)).await;
    }
    assert_eq!(notes.sizes(), [100; 11]);
    calls.iter().for_each(|call| call.abort());
}

/// Four are as many as go at a time when none is full; the fifth goes when one of them ends.
#[tokio::test(start_paused = true)]
async fn a_batch_that_is_held_back_leaves_when_another_ends() {
    let notes = Notes::of("a", 300).takes(ms(100));
    let api = batches().layer(notes.service());
    let mut calls = Vec::new();
    for sixty in fetches("a", 300).chunks(60) {
        calls.extend(sixty.iter().map(|call| spawn(&api, call.clone())));
        sleep(ms(5)).await;
    }
    sleep(ms(60)).await;
    assert_eq!(notes.sizes(), [60; 4]);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status, 200);
    }
    assert_eq!(notes.sizes(), [60; 5]);
    let times = notes.times();
    let wait = times[4] - (times[0] + 100);
    assert!(wait <= 3, "{times:?}");
}

/// Beside a batch of twenty on its way, whose callers would fill the next one. Those for whose answer somebody waits do not wait.
#[tokio::test(start_paused = true)]
async fn a_straggler_waits_for_the_end_of_larger_batches_unless_it_is_interactive() {
    for (lane, latest) in [(Lane::Bulk, 103), (Lane::Interactive, 13)] {
        let notes = Notes::of("a", 60).takes(ms(100));
        let api = batches().layer(notes.service());
        let say = |call: Call| saying(call, lane);
        let mut calls = vec![spawn(&api, say(fetch("a0")))];
        sleep(ms(1)).await;
        let twenty = fetches("a", 21).into_iter().skip(1);
        calls.extend(twenty.map(|call| spawn(&api, say(call))));
        sleep(ms(9)).await;
        calls.push(spawn(&api, say(fetch("a30"))));
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap().status, 200);
        }
        assert_eq!(notes.sizes(), [1, 20, 1], "{lane}");
        let left = notes.times()[2];
        assert!((10..=latest).contains(&left), "{lane}: {left}");
    }
}

/// Nothing is sent before the scheduler had a turn, and nothing but that is waited for.
#[tokio::test(start_paused = true)]
async fn a_lone_call_waits_for_one_turn_of_the_scheduler() {
    let notes = Notes::of("a", 1);
    let api = batches().layer(notes.service());
    let mut hand = Hand::new(call(api, fetch("a0")));
    let mut polls = 0;
    loop {
        polls += 1;
        match hand.poll() {
            Poll::Ready(got) => break assert_eq!(got.unwrap().status, 200),
            Poll::Pending => assert!(hand.is_woken(), "it waits for something else"),
        }
    }
    assert_eq!(polls, 2);
}

/// Beside a large batch only a small one waits: another large one would not grow much by it.
#[tokio::test(start_paused = true)]
async fn a_large_batch_does_not_wait_for_another_one() {
    let notes = Notes::of("a", 50).takes(SECOND);
    let api = batches().layer(notes.service());
    for (count, waits) in [(20, 4), (30, 4), (5, 1_004)] {
        let before = notes.count();
        for call in fetches("a", count) {
            drop(spawn(&api, call));
        }
        sleep(ms(waits)).await;
        assert_eq!(notes.count(), before + 1, "{count}");
    }
    assert_eq!(notes.sizes(), [20, 30, 5]);
    let times = notes.times();
    assert!(times[2] - times[1] > 900, "a small one waits: {times:?}");
}

/// The callers of what has ended come back at that moment, and whoever has waited for them goes along.
#[tokio::test(start_paused = true)]
async fn who_waits_beside_a_large_batch_leaves_when_it_ends() {
    let notes = Notes::of("a", 50).takes(ms(300));
    let api = batches().layer(notes.service());
    let large: Vec<_> = fetches("a", 20)
        .into_iter()
        .map(|call| spawn(&api, call))
        .collect();
    sleep(ms(100)).await;
    let small: Vec<_> = fetches("a", 5)
        .into_iter()
        .map(|call| spawn(&api, call))
        .collect();
    for call in large.into_iter().chain(small) {
        call.await.unwrap().unwrap();
    }
    assert_eq!(notes.sizes(), [20, 5]);
    let times = notes.times();
    assert!((300..310).contains(&(times[1] - times[0])), "{times:?}");
}
