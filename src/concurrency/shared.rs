use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use crate::Quota;
use crate::core::concurrency::{Concurrency, Crowds, Settings};
use crate::core::{Fingerprint, Tick};
use crate::event::{EventKind, Whose};
use crate::quota::{Crowded, DEFAULT_MAX_WAIT};
use crate::request::RequestHead;

/// When a request ceases to count as in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Release {
    /// When the head of its response has arrived.
    #[default]
    Head,
    /// When the body of its response has been read to its end, failed, or was dropped. A caller who keeps bodies and reads none keeps
    /// their places.
    Body,
}

/// How a layer is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) settings: Settings,
    pub(super) max_wait: Duration,
    pub(super) release: Release,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            max_wait: DEFAULT_MAX_WAIT,
            release: Release::default(),
        }
    }
}

/// What all services of one layer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) quota: Quota,
    pub(super) setup: Setup,
    crowds: Mutex<Crowds>,
}

impl Crowded for Shared {
    fn concurrency_of(&self, token: Fingerprint) -> Option<Concurrency> {
        self.crowds(|crowds, now| crowds.known(now, token))
    }

    fn wake_all(&self) {
        self.crowds(|crowds, _| crowds.wake_all());
    }
}

impl Shared {
    pub(super) fn new(quota: Quota, setup: Setup) -> Arc<Self> {
        let shared = Arc::new(Self {
            quota,
            setup,
            crowds: Mutex::new(Crowds::new(setup.settings)),
        });
        // Named before it is handed over, because only so does it become one of any kind.
        let crowded: Weak<Self> = Arc::downgrade(&shared);
        shared.quota.ask_for_concurrency(crowded);
        shared
    }

    /// Runs `change`, then tells and wakes whom it concerns. Time is read before the lock is taken.
    pub(super) fn crowds<T>(&self, change: impl FnOnce(&mut Crowds, Tick) -> T) -> T {
        let now = self.quota.now();
        // It does not panic; should it ever, its state is still the best there is.
        let mut crowds = self.crowds.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut crowds, now);
        let (wakers, retired) = (crowds.take_wakers(), crowds.take_retired());
        let changes = crowds.take_changes();
        drop(crowds);
        drop(retired);
        for (token, change) in changes {
            self.quota.emit(
                Whose::token(token),
                EventKind::ConcurrencyChanged {
                    from: change.from,
                    to: change.to,
                    reason: change.reason.as_str().into(),
                },
            );
        }
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    pub(super) fn concurrency(&self, head: RequestHead<'_>) -> Concurrency {
        let token = self.quota.ticket(head).keys.token;
        self.crowds(|crowds, now| crowds.concurrency(now, token))
    }
}
