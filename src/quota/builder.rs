use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::note::JITTER;
#[cfg(feature = "redis")]
use super::shared;
use super::{DailyExhausted, Quota, Shared, admitted, daily};
use crate::api::Api;
use crate::clock::Clock;
use crate::core::{Guard, Ledger};
use crate::error::ConfigError;
use crate::event::Hub;
use crate::plan::{Assumed, ColdStart, Rule, Zone};
use crate::request::TokenSource;
use crate::tally::{Tally, Thresholds};

/// Collects what differs from the defaults of a [`Quota`]; made by [`Quota::builder`].
#[derive(Debug)]
pub struct QuotaBuilder {
    api: Api,
    clock: Option<Clock>,
    source: TokenSource,
    network_floor: bool,
    guard: Guard,
    cold_start: Option<ColdStart>,
    max_waiting: Option<u32>,
    daily_exhausted: DailyExhausted,
    pause_jitter: f64,
    thresholds: Thresholds,
    enforce: bool,
    #[cfg(feature = "redis")]
    pub(super) shared: Option<crate::redis::RedisLedger>,
}

impl QuotaBuilder {
    pub(super) fn new(api: Api) -> Self {
        Self {
            api,
            clock: None,
            source: TokenSource::default(),
            network_floor: false,
            guard: Guard::Proven,
            cold_start: None,
            max_waiting: None,
            daily_exhausted: DailyExhausted::default(),
            pause_jitter: JITTER,
            thresholds: Thresholds::default(),
            enforce: true,
            #[cfg(feature = "redis")]
            shared: None,
        }
    }

    /// Sets where a request carries its token; the `Authorization` header at first.
    #[must_use]
    pub fn token_source(mut self, source: TokenSource) -> Self {
        self.source = source;
        self
    }

    /// Sets where time is read; the machine's clocks at first.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sets whether half of the least time that any response spent on the network is credited like service time; see
    /// [`Ledger::credit_network_floor`]. Off at first.
    #[must_use]
    pub fn network_floor(mut self, credit: bool) -> Self {
        self.network_floor = credit;
        self
    }

    /// Sets what is credited for answers that do not tell their service time; [`Guard::Proven`] at first.
    #[must_use]
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// Sets what is assumed of the process before this one, which may have used the quota until a moment ago.
    ///
    /// [`ColdStart::Probe`] at first for an [`Api`] whose responses somebody can read ([`Api::signals`]); for a bare [`Plan`](crate::plan::Plan) nothing is
    /// assumed.
    #[must_use]
    pub fn cold_start(mut self, cold_start: ColdStart) -> Self {
        self.cold_start = Some(cold_start);
        self
    }

    /// Sets how many requests may wait for one limit of one key; 65,536 at first. With 0 nobody waits.
    #[must_use]
    pub fn max_waiting(mut self, most: u32) -> Self {
        self.max_waiting = Some(most);
        self
    }

    /// Sets what becomes of requests that find a daily pool exhausted; [`DailyExhausted::Fail`] at first.
    ///
    /// A pool is exhausted when its last request is granted, when a response says that nothing is left, or when a refusal names
    /// it, or names nothing and says to wait for more than a minute. That is told once, by an event with the target
    /// `tower_quota::daily_exhausted`; `tower_quota::daily_resumed` follows when the first request is granted after it.
    #[must_use]
    pub fn daily_exhausted(mut self, then: DailyExhausted) -> Self {
        self.daily_exhausted = then;
        self
    }

    /// Sets by which share of itself, from 0 to 1, a pause is lengthened at most, at random and never by more than a second; 0.1 at first,
    /// so that several processes do not resume as one. A figure beyond is taken for the nearest one.
    #[must_use]
    pub fn pause_jitter(mut self, share: f64) -> Self {
        self.pause_jitter = if share > 0.0 { share.min(1.0) } else { 0.0 };
        self
    }

    /// Sets from which share of error responses among the requests of a day on it is told that somebody must know
    /// ([`ErrorShare`](crate::event::EventKind::ErrorShare)): `warn` and `breach`, from 0 to 1, and with how many requests of the day at least; 0.03,
    /// 0.05 and 100 at first, because HubSpot and others bear 5 %. Each is told once, and once more when the share has fallen below
    /// nine tenths of it or a new day begins. [`ObserveLayer`](crate::ObserveLayer) counts.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a share is not from 0 to 1, or `warn` is larger than `breach`.
    pub fn error_share(
        mut self,
        warn: f64,
        breach: f64,
        least_requests: u64,
    ) -> Result<Self, ConfigError> {
        for (field, share) in [("warn", warn), ("breach", breach)] {
            if !(0.0..=1.0).contains(&share) {
                let field = format!("error share: {field}");
                return Err(ConfigError::new(
                    field,
                    format!("must be from 0 to 1, is {share}"),
                ));
            }
        }
        if warn > breach {
            let problem = format!("must not be larger than breach ({breach}), is {warn}");
            return Err(ConfigError::new("error share: warn", problem));
        }
        self.thresholds = Thresholds {
            warn,
            breach,
            least_requests,
        };
        Ok(self)
    }

    /// Sets whether requests are held up where they must be; `true` at first. See [`Quota::set_enforce`].
    #[must_use]
    pub fn enforce(mut self, enforce: bool) -> Self {
        self.enforce = enforce;
        self
    }

    /// Makes the handle.
    pub fn build(self) -> Quota {
        let mut ledger = Ledger::new(self.api.plan());
        ledger.credit_network_floor(self.network_floor);
        ledger.set_guard(self.guard);
        if let Some(most) = self.max_waiting {
            ledger.set_max_waiting(most);
        }
        let clock = self.clock.unwrap_or_else(Clock::system);
        #[cfg(feature = "redis")]
        let clock = shared::prepare(self.shared.as_ref(), &mut ledger, clock);
        let cold_start = self.cold_start.unwrap_or(match self.api.has_reader {
            true => ColdStart::Probe,
            false => ColdStart::Assume(Assumed::Empty),
        });
        let now = clock.now(false);
        for (index, limit) in self.api.plan().limits().iter().enumerate() {
            if let Rule::Rolling { window, .. } = limit.rule() {
                let reports = self.api.signals.reports(limit.name());
                let first = cold_start.first_window(*window, reports);
                #[cfg(feature = "redis")]
                if self.shared.is_some() {
                    ledger.set_shared_first_window(index, first);
                    continue;
                }
                ledger.set_first_window(now, index, first);
            }
        }
        let zones = self
            .api
            .plan()
            .limits()
            .iter()
            .filter_map(|limit| match limit.rule() {
                Rule::Calendar { zone, .. } => Some(zone.clone()),
                Rule::Rolling { .. } => None,
            });
        let zone = zones.into_iter().next().unwrap_or(Zone::UTC);
        let tally = Tally::new(zone, clock.wall(), self.thresholds);
        static QUOTAS: AtomicU64 = AtomicU64::new(0);
        let number = QUOTAS.fetch_add(1, Ordering::Relaxed);
        let quota = Quota(Arc::new(Shared {
            number: NonZeroU64::MIN.saturating_add(number),
            #[cfg(feature = "metrics")]
            metrics: crate::metrics::Metrics::new(self.api.plan()),
            counts_days: self.api.plan().limits().iter().any(daily::is_daily),
            daily_exhausted: self.daily_exhausted,
            pause_jitter: self.pause_jitter,
            api: self.api,
            clock,
            source: self.source,
            #[cfg(feature = "redis")]
            fingerprinter: shared::fingerprinter(self.shared.as_ref()),
            #[cfg(not(feature = "redis"))]
            fingerprinter: crate::request::Fingerprinter::default(),
            ledger: Mutex::new(ledger),
            last_pause: AtomicU64::new(0),
            pauses: AtomicU64::new(0),
            has_seen_others: AtomicBool::new(false),
            shared_classes: admitted::Shared::default(),
            hub: Hub::default(),
            tally: Mutex::new(tally),
            crowds: Mutex::default(),
            enforces: AtomicBool::new(self.enforce),
            #[cfg(feature = "redis")]
            lent: self.shared.is_some().then(shared::Lent::new),
        }));
        #[cfg(feature = "redis")]
        if let Some(ledger) = self.shared {
            ledger.serve(&quota);
        }
        quota
    }
}
