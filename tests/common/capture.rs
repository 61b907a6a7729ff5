//! Events, written down.

use std::fmt::Write;
use std::sync::{Arc, LazyLock, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::NoSubscriber;
use tracing::{Dispatch, Event, Metadata, Subscriber};

use super::lock;

/// Writes every span and event with all of its fields into a text.
#[derive(Clone)]
pub(crate) struct Capture(Arc<Mutex<String>>);

/// Where there is one subscriber alone, `tracing` asks the thread that first comes to an event whether anybody wants it, and that may
/// be the thread of another test.
static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

impl Default for Capture {
    fn default() -> Self {
        LazyLock::force(&ANOTHER);
        Self(Arc::default())
    }
}

impl Capture {
    pub(crate) fn text(&self) -> String {
        lock(&self.0).clone()
    }

    /// The events with this target, in the order in which they came.
    pub(crate) fn events(&self, target: &str) -> Vec<String> {
        let text = self.text();
        let lines = text.lines().filter(|line| {
            let mut words = line.split(' ');
            words.nth(1) == Some(target)
        });
        lines.map(str::to_owned).collect()
    }
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl Subscriber for Capture {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut text = lock(&self.0);
        let _ = write!(text, "\nspan {}", span.metadata().name());
        span.record(&mut Fields(&mut text));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Fields(&mut lock(&self.0)));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = lock(&self.0);
        let metadata = event.metadata();
        let _ = write!(text, "\n{} {}", metadata.level(), metadata.target());
        event.record(&mut Fields(&mut text));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
