//! Who decides when a request goes, and what others than this crate do.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tower_quota::clock::Clock;

/// Who decides when a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Limiter {
    /// The stack of this crate
    Ours,
    /// A bucket of one window's quota that fills evenly
    TokenBucket,
    /// Nobody: what is refused is repeated after a while
    None,
}

impl Limiter {
    pub(crate) const ALL: [Self; 3] = [Self::Ours, Self::TokenBucket, Self::None];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::TokenBucket => "token-bucket",
            Self::None => "none",
        }
    }
}

/// A bucket of one window's quota that fills evenly, as most describe it. Who finds it empty takes the next token that will come, and
/// goes when it has.
pub(crate) struct Bucket {
    clock: Clock,
    quota: u32,
    window: Duration,
    /// When it is full again.
    full: Mutex<Duration>,
}

impl Bucket {
    /// A full one.
    pub(crate) fn new(clock: &Clock, quota: u32, window: Duration) -> Self {
        Self {
            clock: clock.clone(),
            quota: quota.max(1),
            window,
            full: Mutex::default(),
        }
    }

    /// Takes a token, and waits until it is there.
    pub(crate) async fn pass(&self) {
        let now = self.clock.elapsed();
        let wait = {
            let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
            *full = (*full).max(now) + self.window / self.quota;
            // With a whole window to fill, the last token is taken.
            (*full - now).saturating_sub(self.window)
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// 500 ms, then twice as long each time up to 8 s, all with a jitter of half of it to either side.
pub(crate) fn backoff(attempt: u32, random: &mut fastrand::Rng) -> Duration {
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(8);
    let whole = FIRST * 2_u32.saturating_pow(attempt.min(8));
    whole.min(LONGEST).mul_f64(0.5 + random.f64())
}
