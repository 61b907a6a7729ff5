//! Other programs that spend the same quota.

use std::time::Duration;

use super::quota::Caller;
use super::routes::Class;

/// Other programs that spend the same quota, at random moments and at a steady average rate, one by one or in bursts.
///
/// Their requests stand under the same limits: what does not fit is refused to them. They spend the daily pool too. They begin one
/// window before the first request of the token that they share, but not before the simulator itself. Nothing makes them hold
/// back, and nothing of theirs is tried again.
///
/// ```
/// use tower_quota::sim::{Others, Sim};
///
/// let sim = Sim::builder()
///     .others(Others::burst(5.7).in_bursts_of(20))
///     .others(Others::search(1.5).account(4711))
///     .others(Others::associations(2.0))
///     .build()?;
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Others {
    pub(super) class: Class,
    /// Requests per second.
    pub(super) rate: f64,
    /// How many of them come at once.
    pub(super) at_once: u32,
    pub(super) token: Option<String>,
    pub(super) account: Option<u64>,
}

impl Others {
    fn new(class: Class, rate: f64) -> Self {
        Self {
            class,
            rate,
            at_once: 1,
            token: None,
            account: None,
        }
    }

    /// `rate` requests a second in the burst window of every token.
    pub fn burst(rate: f64) -> Self {
        Self::new(Class::General, rate)
    }

    /// `rate` searches a second in the search window of every account.
    pub fn search(rate: f64) -> Self {
        Self::new(Class::Search, rate)
    }

    /// `rate` association calls (batch and schema) a second in the window that every token has for them.
    pub fn associations(rate: f64) -> Self {
        Self::new(Class::Associations, rate)
    }

    /// `n` requests in the same instant, and so much more rarely that the average rate stays; 1 if not said.
    #[must_use]
    pub fn in_bursts_of(mut self, n: u32) -> Self {
        self.at_once = n;
        self
    }

    /// Only with this token (for searches: in the account of the token).
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Only in this account.
    #[must_use]
    pub fn account(mut self, account: u64) -> Self {
        self.account = Some(account);
        self
    }

    pub(super) fn concern(&self, token: &str, account: u64) -> bool {
        self.token.as_ref().is_none_or(|only| only == token)
            && self.account.is_none_or(|only| only == account)
    }
}

/// One source of foreign requests: a Poisson process, of single requests or of bursts.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) class: Class,
    pub(super) at_once: u32,
    /// Whose quota it spends.
    pub(super) caller: Caller,
    mean_gap: f64,
    rng: fastrand::Rng,
}

impl Stream {
    pub(super) fn new(others: &Others, caller: Caller, seed: u64) -> Self {
        Self {
            class: others.class,
            at_once: others.at_once,
            caller,
            mean_gap: f64::from(others.at_once) / others.rate,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Time until the next request or burst.
    pub(super) fn gap(&mut self) -> Duration {
        let seconds = self.mean_gap * -(1.0 - self.rng.f64()).ln();
        // A nanosecond at least, so that time goes on at any rate.
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(Duration::MAX)
            .clamp(Duration::from_nanos(1), Duration::from_secs(1 << 40))
    }
}
