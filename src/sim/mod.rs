//! A quota-enforcing API to test against: HubSpot's limits, headers, errors and contacts, in process or on a socket.
//!
//! # What
//!
//! [`Sim`] judges requests as the real API would: it counts each one at the moment it *arrives*, which the client cannot see; it
//! refuses what is over a limit; and it answers with the headers and bodies of the real thing. Everything takes as long as it is
//! told to: the way there, the work, the way back. What is too heavy times out ([`Cost`]). It shares no arithmetic with the limiter
//! that it judges.
//!
//! Not for production: it keeps contacts in memory, and of other objects only which contacts they are associated with. What it
//! holds can be changed from outside ([`Store`]). Where HubSpot's behaviour is not known it does what is likely, and the item's
//! page says so.
//!
//! # When
//!
//! * In tests, as a tower service: [`Sim::service`]. With `tokio::time::pause` hours pass in milliseconds.
//! * As a server for programs in any language: [`Sim::serve`], or `cargo run --features sim --example hubspot_sim`.
//!
//! # Cancel safety
//!
//! A request is on its way from the moment of `call`. Dropping the future does not call it back: it arrives, is counted, and its
//! work is done, as with a real server. Only a request whose body was not yet sent to its end is lost.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use http::{Request, StatusCode};
//! use tower::ServiceExt;
//! use tower_quota::sim::{Latency, Sim, SimBody, SimTier};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sim = Sim::builder()
//!     .tier(SimTier::Professional)
//!     .burst(2, Duration::from_secs(10))
//!     .latency(Latency::WAN)
//!     .service_time(Latency::uniform(Duration::from_millis(200), Duration::from_millis(600)))
//!     .seed(1)
//!     .build()?;
//! let mut last = StatusCode::OK;
//! for _ in 0..3 {
//!     let request = Request::get("/crm/v3/objects/contacts")
//!         .header("authorization", "Bearer pat-1")
//!         .body(SimBody::default())?;
//!     last = sim.service().oneshot(request).await?.status();
//! }
//! assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
//! assert_eq!(sim.stats().counted(), 2);
//! assert_eq!(sim.stats().refused(), 1);
//! # Ok(())
//! # }
//! ```

mod answer;
mod associations;
mod batch;
mod body;
mod calls;
mod config;
mod contacts;
mod cost;
mod day;
mod desk;
mod dialect;
mod fault;
mod filter;
mod latency;
mod limits;
mod others;
mod quota;
mod routes;
mod search;
mod server;
mod service;
mod stats;
mod store;
mod timeline;
mod window;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

pub use self::body::SimBody;
pub use self::config::{DEFAULT_ACCOUNT, SimBuilder};
use self::config::{Settings, Tokens};
pub use self::cost::Cost;
use self::desk::Desk;
pub use self::dialect::{BatchDialect, ErrorItems, NoneFound, Traces};
use self::fault::Faults;
pub use self::fault::{Fault, Script};
pub use self::filter::Operator;
pub use self::latency::{Journey, Latency};
use self::limits::Limits;
pub use self::limits::SimTier;
pub use self::others::Others;
pub use self::routes::Class;
pub use self::server::SimServer;
pub use self::service::{SimError, SimFuture, SimService};
pub use self::stats::{ClassStats, Counted, Stats};
pub use self::store::Store;
use self::timeline::Timeline;
pub use self::window::Windows;
use crate::ConfigError;
use crate::clock::Clock;

/// The header in which answers tell how long the server worked. The figure is rounded down, so it is never more than the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceHeader {
    /// `x-envoy-upstream-service-time`, whole milliseconds.
    Envoy,
    /// `server-timing: app;dur=`, milliseconds with three digits.
    ServerTiming,
    /// `x-runtime`, seconds with six digits.
    Runtime,
}

/// A simulated API. Clones are handles to the same one.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct Sim {
    shared: Arc<Shared>,
}

/// What all handles share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    timeline: Timeline,
    desk: Mutex<Desk>,
}

/// What a builder hands over once it has checked everything.
struct Parts {
    settings: Settings,
    limits: Limits,
    tokens: Tokens,
    others: Vec<Others>,
    faults: Faults,
    cost: Option<Cost>,
    properties: Vec<String>,
    batches: BatchDialect,
    seed: u64,
    record: bool,
    clock: Clock,
}

impl Sim {
    /// Starts to set up a simulator: a Professional account, true rolling windows, no latency.
    pub fn builder() -> SimBuilder {
        SimBuilder::default()
    }

    fn from_parts(parts: Parts) -> Self {
        let timeline = Timeline::new(parts.clock.clone());
        let settings = parts.settings.clone();
        let desk = Mutex::new(Desk::new(parts, timeline.origin()));
        let shared = Shared {
            settings,
            timeline,
            desk,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The API as a tower service. It is always ready, and cheap to clone.
    pub fn service(&self) -> SimService {
        SimService::new(self.shared.clone())
    }

    /// What has been seen so far.
    pub fn stats(&self) -> Stats {
        let mut desk = self.shared.desk();
        let now = self.shared.timeline.now();
        desk.let_others(now);
        desk.stats.clone()
    }

    /// Time since the simulator was built: the scale of [`Stats::last_admitted`] and of the [log](Self::log).
    pub fn elapsed(&self) -> Duration {
        self.shared.timeline.now()
    }

    /// Every request that was counted, in order; empty unless built with [`SimBuilder::record`].
    pub fn log(&self) -> Vec<Counted> {
        self.shared.desk().log.clone().unwrap_or_default()
    }

    /// The most requests of `class` that were counted in any `(t - window, t]` within the scope of its limit: application and
    /// account, for searches the account. Counted naively from the [log](Self::log); zero without one.
    pub fn max_in_window(&self, class: Class, window: Duration) -> usize {
        stats::most_in_window(&self.log(), class, window)
    }

    /// The contents of the account of `token`, to be changed without a request. The token need not be good.
    pub fn store(&self, token: &str) -> Store {
        let account = self.shared.desk().account_of(token);
        Store::new(self.shared.clone(), account)
    }

    /// Lets somebody else with the same token make `n` general requests now; returns how many of them were admitted.
    pub fn spend(&self, token: &str, n: u64) -> u64 {
        self.shared.spend(token, Class::General, n)
    }

    /// Lets somebody else in the account of `token` make `n` searches now; returns how many of them were admitted.
    pub fn spend_search(&self, token: &str, n: u64) -> u64 {
        self.shared.spend(token, Class::Search, n)
    }

    /// Lets somebody else with the same token make `n` association calls now; returns how many of them were admitted.
    pub fn spend_associations(&self, token: &str, n: u64) -> u64 {
        self.shared.spend(token, Class::Associations, n)
    }

    /// Another quota for the burst of every token from now on, as after a change of tier; headers say so at once. What was counted
    /// stays counted. Without effect if there is no such limit.
    pub fn set_burst(&self, quota: u64) {
        self.shared.set_window(Class::General, quota);
    }

    /// The same for the searches of every account.
    pub fn set_search(&self, quota: u64) {
        self.shared.set_window(Class::Search, quota);
    }

    /// The same for the association calls of every token.
    pub fn set_associations(&self, quota: u64) {
        self.shared.set_window(Class::Associations, quota);
    }

    /// The same for the daily pool of every account: today's and those to come.
    pub fn set_daily(&self, quota: u64) {
        let mut desk = self.shared.desk();
        let now = self.shared.timeline.now();
        desk.set_daily(quota, now);
    }

    /// How heavy a request may be from now on; `None` for as heavy as it likes. What is in work already is judged.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] as of [`SimBuilder::build`]; all stays as it was.
    pub fn set_cost(&self, cost: Option<Cost>) -> Result<(), ConfigError> {
        cost.iter().try_for_each(Cost::check)?;
        self.shared.desk().cost = cost;
        Ok(())
    }

    /// How batch calls answer from now on; what is in work already, too.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] as of [`SimBuilder::build`]; all stays as it was.
    pub fn set_batches(&self, dialect: BatchDialect) -> Result<(), ConfigError> {
        dialect.check()?;
        self.shared.desk().contents.dialect = dialect;
        Ok(())
    }

    /// Adds faults for the next requests, after the scripts that are still there.
    pub fn script(&self, script: Script) {
        self.shared.desk().faults.add(script);
    }
}

impl Shared {
    /// A panic elsewhere does not spoil the counters, so a poisoned lock is used as it is.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The desk, and what the wall clock says.
    fn desk_and_wall(&self) -> (MutexGuard<'_, Desk>, SystemTime) {
        let desk = self.desk();
        let wall = self.timeline.origin() + self.timeline.now();
        (desk, wall)
    }

    fn set_window(&self, class: Class, quota: u64) {
        let mut desk = self.desk();
        let now = self.timeline.now();
        desk.set_window(class, quota, now);
    }

    fn spend(&self, token: &str, class: Class, n: u64) -> u64 {
        let mut desk = self.desk();
        let now = self.timeline.now();
        desk.spend(token, class, n, now)
    }
}
