use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::shared::Shared;

/// The future of [`Batch::drain`](super::Batch::drain).
pub struct Drain {
    shared: Option<Arc<Shared>>,
    has_begun: bool,
}

impl Drain {
    pub(super) fn new(shared: Option<Arc<Shared>>) -> Self {
        Self {
            shared,
            has_begun: false,
        }
    }
}

impl Future for Drain {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(shared) = &this.shared else {
            return Poll::Ready(());
        };
        if !std::mem::replace(&mut this.has_begun, true) {
            shared.board.begin_drain();
        }
        let Some(crews) = shared.board.left(cx.waker()) else {
            return Poll::Ready(());
        };
        for crew in crews {
            crew.watch(cx.waker());
        }
        // Some of them may be over now.
        match shared.board.left(cx.waker()) {
            Some(_) => Poll::Pending,
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.as_ref().filter(|_| self.has_begun) {
            shared.board.end_drain();
        }
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").finish_non_exhaustive()
    }
}
