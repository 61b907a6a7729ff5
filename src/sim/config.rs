//! Setting a simulator up.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use http::StatusCode;

use super::cost::Cost;
use super::day::Zone;
use super::dialect::BatchDialect;
use super::fault::{Fault, Faults, Script};
use super::latency::Latency;
use super::limits::{Chosen, Limit, SimTier};
use super::others::Others;
use super::routes::Class;
use super::window::Windows;
use super::{ServiceHeader, Sim};
use crate::ConfigError;
use crate::clock::Clock;

/// The account of every token that nobody has mapped to another one.
pub const DEFAULT_ACCOUNT: u64 = 6_251_500;

/// Which tokens there are and to whom they belong.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens {
    accepted: Option<HashSet<String>>,
    accounts: HashMap<String, u64>,
    apps: HashMap<String, u64>,
}

impl Tokens {
    pub(super) fn accepts(&self, token: &str) -> bool {
        self.accepted
            .as_ref()
            .is_none_or(|accepted| accepted.contains(token))
    }

    pub(super) fn account(&self, token: &str) -> u64 {
        self.accounts.get(token).copied().unwrap_or(DEFAULT_ACCOUNT)
    }

    pub(super) fn app(&self, token: &str) -> Option<u64> {
        self.apps.get(token).copied()
    }
}

/// What does not change once the simulator runs.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) uplink: Latency,
    pub(super) downlink: Latency,
    pub(super) service_time: Latency,
    pub(super) service_header: Option<ServiceHeader>,
    pub(super) retry_after: Option<u64>,
    pub(super) search_body: usize,
    /// Most requests in work for one application, and the answer to those beyond.
    pub(super) concurrency: Option<(u64, StatusCode)>,
    /// Whose answers carry no quota headers.
    pub(super) silent: HashSet<Class>,
}

/// Sets up a [`Sim`]; made by [`Sim::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct SimBuilder {
    limits: Chosen,
    uplink: Latency,
    downlink: Latency,
    service_time: Latency,
    service_header: Option<ServiceHeader>,
    retry_after: Option<u64>,
    faults: Vec<(f64, Fault)>,
    scripts: Vec<Script>,
    cost: Option<Cost>,
    others: Vec<Others>,
    tokens: Tokens,
    properties: Vec<String>,
    batches: BatchDialect,
    search_body: usize,
    concurrency: Option<(u64, StatusCode)>,
    silent: HashSet<Class>,
    seed: u64,
    record: bool,
    clock: Option<Clock>,
}

impl Default for SimBuilder {
    fn default() -> Self {
        Self {
            limits: Chosen::default(),
            uplink: Latency::NONE,
            downlink: Latency::NONE,
            service_time: Latency::NONE,
            service_header: Some(ServiceHeader::Envoy),
            retry_after: None,
            faults: Vec::new(),
            scripts: Vec::new(),
            cost: None,
            others: Vec::new(),
            tokens: Tokens::default(),
            properties: Vec::new(),
            batches: BatchDialect::new(),
            search_body: 3_000,
            concurrency: None,
            silent: HashSet::new(),
            seed: 0,
            record: false,
            clock: None,
        }
    }
}

/// # Limits
impl SimBuilder {
    /// The published limits of a tier; `Professional` if not said. Limits that are set one by one go before it.
    pub fn tier(mut self, tier: SimTier) -> Self {
        self.limits.tier = tier;
        self
    }

    /// So many packs of "API Limit Increase", 0 to 2: 250 per 10 s, 200 association calls per 10 s, and one million a day for each
    /// pack. Without effect on a public OAuth app.
    pub fn limit_increase(mut self, packs: u8) -> Self {
        self.limits.packs = packs;
        self
    }

    /// `quota` requests per rolling `window` for each token (application), searches and associations aside.
    pub fn burst(mut self, quota: u64, window: Duration) -> Self {
        self.limits.burst = Limit::Is(quota, window);
        self
    }

    /// No burst limit.
    pub fn no_burst(mut self) -> Self {
        self.limits.burst = Limit::Absent;
        self
    }

    /// `quota` searches per `window` for each account; 5 per second if not said.
    pub fn search(mut self, quota: u64, window: Duration) -> Self {
        self.limits.search = Limit::Is(quota, window);
        self
    }

    /// No limit of its own for searches. They do not fall under the burst limit instead.
    pub fn no_search(mut self) -> Self {
        self.limits.search = Limit::Absent;
        self
    }

    /// `quota` association calls (batch and schema) per `window` for each token.
    pub fn associations(mut self, quota: u64, window: Duration) -> Self {
        self.limits.associations = Limit::Is(quota, window);
        self
    }

    /// No limit for association calls.
    pub fn no_associations(mut self) -> Self {
        self.limits.associations = Limit::Absent;
        self
    }

    /// `quota` requests a day for each account.
    pub fn daily(mut self, quota: u64) -> Self {
        self.limits.daily = Some(Some(quota));
        self
    }

    /// No daily pool, hence no `Daily` headers.
    pub fn no_daily(mut self) -> Self {
        self.limits.daily = Some(None);
        self
    }

    /// The zone of the IANA database at whose midnight the daily pool is filled, for example `Europe/Berlin`; UTC if not said.
    pub fn zone(mut self, name: &str) -> Self {
        self.limits.zone = Zone::named(name);
        self
    }

    /// The same as a fixed distance from UTC in seconds, positive to the east, at most 14 hours.
    pub fn zone_offset(mut self, seconds_east: i32) -> Self {
        self.limits.zone = Zone::fixed(seconds_east);
        self
    }

    /// How windows move; [`Windows::TrueRolling`], the stricter one, if not said.
    pub fn windows(mut self, windows: Windows) -> Self {
        self.limits.windows = windows;
        self
    }

    /// Sends `Retry-After` with so many seconds on every 429. Off if not said, as HubSpot was seen to do.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// At most `most` requests of a token (application) are worked on at a time; one more is answered with `status` at once, a 429
    /// or a 503 with an error body that names no limit. Nothing counts such a request: it costs neither the windows nor the daily
    /// pool. Off if not said.
    pub fn concurrency(mut self, most: u64, status: StatusCode) -> Self {
        self.concurrency = Some((most, status));
        self
    }

    /// Whether answers carry quota headers, on if not said. Without them a client is on its own, as with an API that has none.
    pub fn quota_headers(self, send: bool) -> Self {
        let classes = [Class::General, Class::Search, Class::Associations];
        classes
            .into_iter()
            .fold(self, |builder, class| builder.quota_headers_of(class, send))
    }

    /// The same for the answers to requests of one class.
    pub fn quota_headers_of(mut self, class: Class, send: bool) -> Self {
        if send {
            self.silent.remove(&class);
        } else {
            self.silent.insert(class);
        }
        self
    }

    /// Other programs that spend the same quota. May be called several times; of several that concern the same window the first
    /// is taken.
    pub fn others(mut self, others: Others) -> Self {
        self.others.push(others);
        self
    }
}

/// # Time
impl SimBuilder {
    /// How long a request takes to reach the server, where it is counted. Nothing if not said.
    pub fn uplink(mut self, latency: Latency) -> Self {
        self.uplink = latency;
        self
    }

    /// How long an answer takes to reach the caller. Nothing if not said.
    pub fn downlink(mut self, latency: Latency) -> Self {
        self.downlink = latency;
        self
    }

    /// The same latency each way, drawn anew for each.
    pub fn latency(self, latency: Latency) -> Self {
        self.uplink(latency).downlink(latency)
    }

    /// How long the server works on a request after it has counted it; a refused request costs no time. Nothing if not said.
    pub fn service_time(mut self, latency: Latency) -> Self {
        self.service_time = latency;
        self
    }

    /// How answers tell the service time: [`ServiceHeader::Envoy`] if not said, `None` for not at all.
    pub fn service_header(mut self, header: Option<ServiceHeader>) -> Self {
        self.service_header = header;
        self
    }

    /// The clock to read; the machine's clocks if not said. With [`Clock::starting_at`] a simulation plays on a certain day.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The seed of everything that is drawn; 0 if not said. With one thread and paused time, runs of one seed are equal.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// # Trouble
impl SimBuilder {
    /// A request meets `fault` with this probability (0.0..=1.0). Probabilities of several faults add up, to 1.0 at most.
    pub fn fault(mut self, probability: f64, fault: Fault) -> Self {
        self.faults.push((probability, fault));
        self
    }

    /// How heavy a search or a batch read may be; as heavy as it likes if not said. [`Sim::set_cost`] changes it later.
    pub fn cost(mut self, cost: Cost) -> Self {
        self.cost = Some(cost);
        self
    }

    /// Faults for the next requests; more can be added later with [`Sim::script`].
    pub fn script(mut self, script: Script) -> Self {
        self.scripts.push(script);
        self
    }
}

/// # Tokens, contents, observation
impl SimBuilder {
    /// Accepts this bearer token and, from now on, only those named so. If none is named, every token is good.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.tokens
            .accepted
            .get_or_insert_default()
            .insert(token.into());
        self
    }

    /// The account that a token belongs to; [`DEFAULT_ACCOUNT`] if not said. Accounts have their own contacts, search window and
    /// daily pool.
    pub fn account(mut self, token: impl Into<String>, account: u64) -> Self {
        self.tokens.accounts.insert(token.into(), account);
        self
    }

    /// The application that a token belongs to; one of its own if not said. Tokens of one application in one account share the
    /// burst, as a refreshed OAuth token does with its predecessor.
    pub fn app(mut self, token: impl Into<String>, app: u64) -> Self {
        self.tokens.apps.insert(token.into(), app);
        self
    }

    /// Adds a property that contacts may have, beyond the usual ones. All others are refused with 400.
    pub fn property(mut self, name: impl Into<String>) -> Self {
        self.properties.push(name.into());
        self
    }

    /// How batch calls answer where the API varies. [`Sim::set_batches`] changes it later.
    pub fn batches(mut self, dialect: BatchDialect) -> Self {
        self.batches = dialect;
        self
    }

    /// The largest body of a search in bytes; 3,000 if not said, the documented limit.
    pub fn search_body(mut self, bytes: usize) -> Self {
        self.search_body = bytes;
        self
    }

    /// Keeps a [log](Sim::log) of every counted request. Off if not said.
    pub fn record(mut self, record: bool) -> Self {
        self.record = record;
        self
    }

    /// Builds the simulator; its time begins now.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] that names the field: a zero quota or window, a window that is not whole seconds with one-second buckets, an
    /// unknown zone, a probability outside 0.0..=1.0, a latency that makes no sense, a rate that is not positive, a burst
    /// of nobody, a concurrency of zero or a refusal that is no error, a cost with a budget of zero, a wait of more than a day or
    /// a status that is no gateway timeout, batches of no inputs or ones that are absent with a status that is no client error.
    pub fn build(self) -> Result<Sim, ConfigError> {
        let limits = self.limits.check()?;
        let latencies = [
            ("uplink", &self.uplink),
            ("downlink", &self.downlink),
            ("service_time", &self.service_time),
        ];
        for (field, latency) in latencies {
            if let Some(flaw) = latency.flaw() {
                return Err(ConfigError::new(field, format!("makes no sense: {flaw}")));
            }
        }
        let mut sum = 0.0;
        for (probability, _) in &self.faults {
            sum += probability;
            if !(0.0..=1.0).contains(probability) {
                return Err(ConfigError::new(
                    "fault: probability",
                    "must be within 0.0..=1.0",
                ));
            }
        }
        // Sums of decimal fractions may miss 1.0 by a rounding error.
        if sum > 1.0 + 1e-9 {
            return Err(ConfigError::new(
                "fault: probability",
                "add up to more than 1.0",
            ));
        }
        if let Some((most, status)) = self.concurrency {
            if most == 0 {
                return Err(ConfigError::new("concurrency: most", "must not be zero"));
            }
            if !status.is_client_error() && !status.is_server_error() {
                return Err(ConfigError::new("concurrency: status", "must be an error"));
            }
        }
        self.cost.iter().try_for_each(Cost::check)?;
        self.batches.check()?;
        for others in &self.others {
            if !(others.rate.is_finite() && others.rate > 0.0) {
                return Err(ConfigError::new(
                    "others: rate",
                    "must be positive and finite",
                ));
            }
            if others.at_once == 0 {
                return Err(ConfigError::new("others: in_bursts_of", "must not be zero"));
            }
        }
        let settings = Settings {
            uplink: self.uplink,
            downlink: self.downlink,
            service_time: self.service_time,
            service_header: self.service_header,
            retry_after: self.retry_after,
            search_body: self.search_body,
            concurrency: self.concurrency,
            silent: self.silent,
        };
        let mut faults = Faults {
            scripts: Vec::new(),
            chances: self.faults,
        };
        for script in self.scripts {
            faults.add(script);
        }
        let parts = super::Parts {
            settings,
            limits,
            tokens: self.tokens,
            others: self.others,
            faults,
            cost: self.cost,
            properties: self.properties,
            batches: self.batches,
            seed: self.seed,
            record: self.record,
            clock: self.clock.unwrap_or_else(Clock::system),
        };
        Ok(Sim::from_parts(parts))
    }
}
