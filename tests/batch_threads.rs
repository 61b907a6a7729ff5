//! Promise: what holds for one thread holds for several. Callers on all threads, some of whom go in the middle: nobody waits for ever,
//! each gets his own answer, and nothing stays behind. (T45, T55)

mod common;
mod notes;

use std::time::Duration;

use common::{FOREVER, burst, ms};
use fastrand::Rng;
use notes::server::Notes;
use notes::{batches, call, fetch, fetches, store};
use tokio::task::yield_now;
use tokio::time::timeout;
use tower::ServiceBuilder;
use tower_quota::{Quota, TokenLimitLayer};

/// A test that waits so long has failed.
const MINUTE: Duration = Duration::from_secs(60);

/// What a caller does with a call that he has begun: he may poll it so often and then let it go.
async fn begin<F: Future>(future: F, polls: Option<u32>) -> Option<F::Output> {
    let Some(polls) = polls else {
        return Some(future.await);
    };
    let mut future = Box::pin(future);
    for _ in 0..polls {
        tokio::select! {
            biased;
            output = &mut future => return Some(output),
            () = yield_now() => {}
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_on_many_threads() {
    const CALLERS: usize = 64;
    const EACH: usize = 150;
    let notes = Notes::of("a", CALLERS).takes(ms(1));
    let quota = Quota::new(burst(50, ms(20)));
    let api = ServiceBuilder::new()
        .layer(batches().quota(&quota).max_wait(FOREVER))
        .layer(TokenLimitLayer::new(&quota).max_wait(FOREVER))
        .service(notes.service());
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let api = api.clone();
            tokio::spawn(async move {
                let mut rng = Rng::with_seed(caller as u64);
                let mut answered = 0;
                for nth in 0..EACH {
                    // Each has a note of its own, and all share two.
                    let key = match rng.u8(0..4) {
                        0 => format!("a{}", rng.usize(0..2)),
                        _ => format!("a{caller}"),
                    };
                    let one = match rng.bool() {
                        true => fetch(&key),
                        false => store(&key, &format!("text{nth}")),
                    };
                    let polls = (rng.u8(0..4) == 0).then(|| rng.u32(0..6));
                    let got = begin(call(api.clone(), one), polls).await;
                    let Some(got) = got else {
                        continue;
                    };
                    let got = got.unwrap();
                    assert_eq!(got.status, 200);
                    assert!(got.body.starts_with(&format!("{key}=")), "{}", got.body);
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    let mut answered = 0;
    for caller in callers {
        let caller = timeout(MINUTE, caller).await;
        answered += caller.expect("nobody waits for ever").unwrap();
    }
    timeout(MINUTE, api.drain()).await.expect("nothing is left");
    println!("{answered} answers in {} requests", notes.count());
    assert!(answered >= CALLERS * EACH / 2);
    assert_eq!(quota.waiting(), 0);
    // The groups are idle again.
    let before = notes.count();
    call(api.clone(), fetches("a", 1).remove(0)).await.unwrap();
    assert_eq!(notes.log()[before].path, "/notes/a0");
}
