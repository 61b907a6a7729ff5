//! What a batch says in events: how much it saved, and nothing of whom it was about.
//!
//! Alone in its file, because events are written down for the whole process.

mod common;
mod notes;

use common::capture::Capture;
use common::{SECOND, at_once};
use notes::server::{Notes, is_batch};
use notes::{add, all, batches, fetch, fetches, with};
use tower::Layer;

const SECRET: &str = "Bearer pat-na1-not-to-be-seen";
const KEY: &str = "planted4711";
const TEXT: &str = "planted text";

#[tokio::test(start_paused = true)]
async fn events_tell_how_many_calls_took_how_many_requests() {
    let capture = Capture::default();
    let _guard = tracing::subscriber::set_default(capture.clone());
    let notes = Notes::of("planted", 20).takes(2 * SECOND);
    let api = batches().layer(notes.service());
    let secret = |call| with(call, "authorization", SECRET);
    let calls = fetches("planted", 9).into_iter().chain([fetch(KEY)]);
    all(&api, calls.map(secret)).await;
    let events = capture.events("tower_quota::batched");
    assert_eq!(events.len(), 1, "{events:?}");
    for field in ["calls=10", "requests=1", "seconds=2", "account=", "route="] {
        assert!(events[0].contains(field), "{field}: {}", events[0]);
    }
    assert!(events[0].contains("/notes:fetch"), "{}", events[0]);
    assert!(events[0].starts_with("DEBUG"), "{}", events[0]);

    // One that is bad, named by the server: the batch, the others, and the bad one as it came.
    let bad = format!("bad {TEXT}");
    let texts = [TEXT, &bad, TEXT];
    all(&api, texts.map(|text| secret(add(text)))).await;
    let events = capture.events("tower_quota::batched");
    assert_eq!(events.len(), 2, "{events:?}");
    for field in ["calls=3", "requests=3", "refused=1"] {
        assert!(events[1].contains(field), "{field}: {}", events[1]);
    }

    // A lone call is no batch.
    all(&api, [secret(fetch(KEY))]).await;
    assert_eq!(capture.events("tower_quota::batched").len(), 2);

    // Whatever goes wrong.
    for (status, body) in [(200, "nonsense"), (413, "at most 1"), (405, ""), (500, "")] {
        notes.set_hook(move |_, seen| is_batch(seen).then(|| at_once(status, &[], body)));
        all(&api, fetches("planted", 3).into_iter().map(secret)).await;
    }
    let text = capture.text();
    for planted in ["not-to-be-seen", KEY, TEXT, "planted"] {
        assert!(!text.contains(planted), "{planted}: {text}");
    }
}
