//! Who decides when a request goes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tower_quota::clock::Clock;
use tower_quota::plan::Scope;
use tower_quota::sim::Class;

use super::demand::Asked;
use super::server::{Rules, Window};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Limiter {
    Ours,
    TokenBucket,
    None,
}

impl Limiter {
    pub(super) const ALL: [Self; 3] = [Self::Ours, Self::TokenBucket, Self::None];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::TokenBucket => "token-bucket",
            Self::None => "none",
        }
    }
}

/// Buckets of one window's quota that fill evenly, one for each key of each limit. Who finds one empty takes the next token that
/// will come, and goes when it has.
#[derive(Clone)]
pub(super) struct Buckets {
    clock: Clock,
    rules: Rules,
    /// When each bucket is full again.
    full: Arc<Mutex<HashMap<(Class, usize), Duration>>>,
}

impl Buckets {
    pub(super) fn new(rules: &Rules, clock: &Clock) -> Self {
        Self {
            clock: clock.clone(),
            rules: rules.clone(),
            full: Arc::default(),
        }
    }

    /// Takes a token, and waits until it is there.
    pub(super) async fn pass(&self, request: &Asked) {
        let window = match request.class {
            Class::Search => self.rules.search,
            Class::Associations => self.rules.associations,
            _ => self.rules.burst,
        };
        let Some(Window {
            quota,
            window,
            scope,
        }) = window
        else {
            return;
        };
        let key = match scope {
            Scope::Token => request.token,
            Scope::Account => request.account,
            _ => 0,
        };
        let now = self.clock.elapsed();
        let wait = {
            let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
            let full = full.entry((request.class, key)).or_default();
            *full = (*full).max(now) + window / quota.max(1);
            // With a whole window to fill, the last token is taken.
            (*full - now).saturating_sub(window)
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// 500 ms, then twice as long each time up to 8 s, all with a jitter of half of it to either side.
pub(super) fn backoff(attempt: u32, rng: &mut fastrand::Rng) -> Duration {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(8);
    let whole = FIRST * 2_u32.saturating_pow(attempt.min(8));
    whole.min(LONGEST).mul_f64(0.5 + rng.f64())
}
