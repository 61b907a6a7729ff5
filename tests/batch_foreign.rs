//! Promise: code that is not the layer's own (a policy, a service, a waker) may panic, or be dropped and cloned with side effects: it
//! runs where no lock is held, and what it does to one caller leaves no other one waiting. (T45, T55)

mod common;
mod notes;

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use common::{HOUR, Hand, SECOND, burst, lock, ms, patient};
use http::Response;
use notes::policy::NoteBatches;
use notes::server::Notes;
use notes::{Call, Outcome, all, batches, call, fetch, fetches, spawn, store};
use tokio::time::{sleep, timeout};
use tower::{Layer, Service};
use tower_quota::batch::{BatchPolicy, Input, Joined, Operation, Single, Split, Twice};
use tower_quota::request::{Effect, RequestHead};
use tower_quota::{BatchLayer, Quota};

/// Panics when it is burnt for the last time.
#[derive(Clone, Debug)]
struct Fuse(Arc<AtomicUsize>);

impl Fuse {
    fn new(after: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(after)))
    }

    fn burn(&self) {
        let left = self.0.load(Ordering::SeqCst);
        self.0.store(left.saturating_sub(1), Ordering::SeqCst);
        assert!(left != 1, "as it should");
    }

    fn is_burnt(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

/// The policy of the notes, with a fuse in each of its functions.
struct Fused(Fuse);

struct FusedLines(Fuse, Single);

impl BatchPolicy for Fused {
    fn concerns(&self, request: &RequestHead<'_>) -> bool {
        self.0.burn();
        NoteBatches::default().concerns(request)
    }

    fn single(&self, request: &RequestHead<'_>, body: &Bytes) -> Option<Single> {
        self.0.burn();
        let single = NoteBatches::default().single(request, body)?;
        let input = single.input().clone();
        Some(Single::new(FusedLines(self.0.clone(), single), input))
    }
}

impl FusedLines {
    fn lines(&self) -> &dyn Operation {
        self.0.burn();
        self.1.operation()
    }
}

impl Operation for FusedLines {
    fn key(&self) -> Cow<'_, str> {
        self.lines().key()
    }

    fn label(&self) -> Cow<'static, str> {
        self.lines().label()
    }

    fn most(&self) -> usize {
        self.lines().most()
    }

    fn effect(&self) -> Effect {
        self.lines().effect()
    }

    fn twice(&self) -> Twice {
        self.lines().twice()
    }

    fn join(&self, inputs: &[Input]) -> Option<Joined> {
        assert!(!inputs.is_empty(), "a batch of nobody");
        self.lines().join(inputs)
    }

    fn split(&self, inputs: &[Input], answer: &Response<Bytes>) -> Split {
        self.lines().split(inputs, answer)
    }
}

/// A service whose clones are made with a fuse.
#[derive(Debug)]
struct FusedClone<S>(Fuse, S);

impl<S: Clone> Clone for FusedClone<S> {
    fn clone(&self) -> Self {
        self.0.burn();
        Self(self.0.clone(), self.1.clone())
    }
}

impl<S: Service<R>, R> Service<R> for FusedClone<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.burn();
        self.1.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.burn();
        self.1.call(request)
    }
}

fn mixed() -> [Call; 6] {
    [
        fetch("a0"),
        fetch("a1"),
        fetch("a0"),
        store("a0", "one"),
        store("a1", "two"),
        store("a0", "three"),
    ]
}

/// Every call of its functions panics once.
#[tokio::test(start_paused = true)]
async fn a_panic_in_a_policy_or_service_leaves_nobody_waiting() {
    let mut after = 0;
    loop {
        after += 1;
        let fuse = Fuse::new(after);
        let notes = Notes::of("a", 3).takes(ms(5));
        let quota = Quota::new(burst(1_000, SECOND));
        let inner = FusedClone(fuse.clone(), patient(&quota).layer(notes.service()));
        let layer = BatchLayer::new(Fused(fuse.clone())).quota(&quota);
        let api = Mutex::new(layer.layer(inner));
        let spawn = |request: Call| {
            let calls = || spawn(&*lock(&api), request);
            catch_unwind(AssertUnwindSafe(calls)).ok()
        };
        let calls = mixed().map(spawn);
        for (nth, call) in calls.into_iter().enumerate() {
            let Some(call) = call else { continue };
            let got = timeout(10 * SECOND, call).await;
            let _ = got.unwrap_or_else(|_| panic!("{after}: {nth} waits for ever"));
        }
        let is_burnt = fuse.is_burnt();
        fuse.0.store(0, Ordering::SeqCst);
        // Nothing is left of them: no group, and no slot.
        let drain = lock(&api).drain();
        let drained = timeout(SECOND, drain).await;
        drained.unwrap_or_else(|_| panic!("{after}: something is left"));
        sleep(HOUR).await;
        let used = quota.usage("burst", &fetch("a0")).unwrap();
        assert_eq!((used.used, used.waiting), (0, 0), "{after}");
        if !is_burnt {
            break;
        }
    }
    println!("{after} calls");
    assert!(after > 50, "{after}");
}

/// While a batch is halved some callers go: nobody asks for a batch of nobody.
#[tokio::test(start_paused = true)]
async fn what_nobody_wants_is_not_joined() {
    let notes = Notes::of("a", 8).takes(SECOND);
    notes.set_most(4, false);
    let valve = common::Valve::shut(notes.service());
    valve.set_open(true);
    let api = BatchLayer::new(Fused(Fuse::new(0))).layer(valve.clone());
    let calls: Vec<_> = fetches("a", 8)
        .into_iter()
        .map(|call| spawn(&api, call))
        .collect();
    sleep(ms(500)).await;
    valve.set_open(false);
    sleep(SECOND).await;
    // One half waits for the service. Who was there first has waited for company, and has the last seat.
    calls[1..5].iter().for_each(tokio::task::JoinHandle::abort);
    sleep(ms(1)).await;
    valve.set_open(true);
    let mut answered = 0;
    for call in calls {
        if let Ok(got) = call.await {
            assert_eq!(got.unwrap().status, 200);
            answered += 1;
        }
    }
    assert_eq!(answered, 4);
    assert_eq!(notes.sizes(), [8, 4]);
}

type Waiting = Hand<Pin<Box<dyn Future<Output = Outcome> + Send>>>;

/// The waker of a task that is gone when nobody can wake it any more, with a call of its own.
struct Task {
    _call: Mutex<Waiting>,
}

impl Task {
    /// It has looked at its call once.
    fn with(call: impl Future<Output = Outcome> + Send + 'static) -> Waker {
        let mut call = Waiting::new(Box::pin(call));
        assert!(call.poll().is_pending());
        let task = Self {
            _call: Mutex::new(call),
        };
        Waker::from(Arc::new(task))
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

/// The last waker of a task is dropped when another one takes its place, and with it a call that is in the same batch or line.
#[test]
fn a_waker_may_own_another_call() {
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            for request in [fetch as fn(&'static str) -> Call, |key| store(key, "x")] {
                let notes = Notes::of("a", 9).takes(SECOND);
                let api = batches().max_linger(HOUR).layer(notes.service());
                // Another call is under way, so that these gather.
                let first = spawn(&api, request("a0"));
                sleep(ms(1)).await;
                for key in ["a1", "a2", "a0", "a0"] {
                    let waker = Task::with(call(api.clone(), request(key)));
                    let mut waiting = Box::pin(call(api.clone(), request(key)));
                    let mut cx = Context::from_waker(&waker);
                    assert!(waiting.as_mut().poll(&mut cx).is_pending());
                    drop(waker);
                    let mut waiting = Hand::new(waiting);
                    assert!(waiting.poll().is_pending());
                }
                // The same of whoever drains.
                let waker = Task::with(call(api.clone(), request("a5")));
                let mut drain = Box::pin(api.drain());
                assert!(
                    drain
                        .as_mut()
                        .poll(&mut Context::from_waker(&waker))
                        .is_pending()
                );
                drop(waker);
                let mut drain = Hand::new(drain);
                assert!(drain.poll().is_pending());
                drop(drain);
                let _ = first.await.unwrap().unwrap();
                let got = timeout(2 * HOUR, all(&api, fetches("a", 9))).await.unwrap();
                assert!(got.iter().all(|got| got.as_ref().unwrap().status == 200));
            }
        });
        let _ = done.send(());
    });
    let is_done = is_done.recv_timeout(10 * SECOND);
    is_done.expect("it locks itself up, or fails");
}
