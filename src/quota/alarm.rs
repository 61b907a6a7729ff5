use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

/// A timer that can be set again. Made only when there is something to wait for.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready when it is `instant`.
    pub(crate) fn poll_at(&mut self, instant: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(instant)));
        if sleep.deadline() != instant || sleep.is_elapsed() {
            sleep.as_mut().reset(instant);
        }
        sleep.as_mut().poll(cx)
    }
}
