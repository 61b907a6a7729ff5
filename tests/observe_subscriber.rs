//! Whoever is told of an event may ask for a report, there and then: nothing is locked while it is told.
//!
//! Alone in its file, because its subscriber is that of the whole process.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Server, at_once, fresh_hubspot, get, search};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};
use tower_quota::plan::Zone;
use tower_quota::{Quota, hubspot};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Asks for everything that can be asked for.
struct Curious {
    quota: Quota,
    asked: Arc<AtomicUsize>,
}

impl Subscriber for Curious {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tower_quota")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        let report = self.quota.report();
        let usage = self.quota.usage(hubspot::BURST, &get("a"));
        assert_eq!((report.limits.len(), usage.is_some()), (4, true));
        self.quota.set_enforce(self.quota.enforces());
        self.asked.fetch_add(1, Ordering::SeqCst);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_may_ask_for_a_report() {
    let quota = fresh_hubspot(Zone::UTC).build();
    let asked = Arc::<AtomicUsize>::default();
    let curious = Curious {
        quota: quota.clone(),
        asked: asked.clone(),
    };
    let _guard = tracing::subscriber::set_default(curious);
    for enforce in [true, false] {
        quota.set_enforce(enforce);
        let server = Server::new(|nth, _| match nth % 4 {
            0 => at_once(429, &[("retry-after", "1")], ""),
            1 => at_once(503, &[], ""),
            _ => at_once(200, &[], ""),
        });
        let api = hubspot::stack(&quota).layer(server);
        for _ in 0..20 {
            for call in [get("a"), search("a")] {
                let answer = api.clone().oneshot(call).await.unwrap();
                answer.into_body().collect().await.unwrap();
                quota.report();
            }
        }
    }
    assert!(asked.load(Ordering::SeqCst) > 100);
}
