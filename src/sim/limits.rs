//! What the server enforces: the tiers, and what was chosen instead.

use std::time::Duration;

use super::day::Zone;
use super::window::{Rule, Windows};
use crate::ConfigError;

const TEN_SECONDS: Duration = Duration::from_secs(10);

/// The published limits of HubSpot's tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SimTier {
    /// A private app in a Free or Starter account: 100 per 10 s, 250,000 a day.
    Starter,
    /// A private app in a Professional account: 190 per 10 s, 625,000 a day.
    Professional,
    /// A private app in an Enterprise account: 190 per 10 s, 1,000,000 a day.
    Enterprise,
    /// A public OAuth app in any account: 110 per 10 s, no daily pool.
    PublicOAuth,
}

#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) burst: Option<Rule>,
    pub(super) search: Option<Rule>,
    pub(super) associations: Option<Rule>,
    pub(super) daily: Option<u64>,
    pub(super) zone: Zone,
    pub(super) windows: Windows,
}

/// What a caller said of one window.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    Published,
    Absent,
    Is(u64, Duration),
}

impl Limit {
    /// The rule to enforce, if there is one; `field` names it in errors.
    fn or(
        self,
        field: &str,
        published: u64,
        windows: Windows,
    ) -> Result<Option<Rule>, ConfigError> {
        let (quota, window) = match self {
            Limit::Published => (published, None),
            Limit::Absent => return Ok(None),
            Limit::Is(quota, window) => (quota, Some(window)),
        };
        let published_window = if field == "search" {
            Duration::from_secs(1)
        } else {
            TEN_SECONDS
        };
        let window = window.unwrap_or(published_window);
        if quota == 0 {
            return Err(ConfigError::new(
                format!("{field}: quota"),
                "must not be zero",
            ));
        }
        if window.is_zero() {
            return Err(ConfigError::new(
                format!("{field}: window"),
                "must not be zero",
            ));
        }
        if !windows.fits(window) {
            let problem = "must be whole seconds when windows are one-second buckets";
            return Err(ConfigError::new(format!("{field}: window"), problem));
        }
        Ok(Some(Rule { quota, window }))
    }
}

/// What a caller said of all limits.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) tier: SimTier,
    pub(super) packs: u8,
    pub(super) burst: Limit,
    pub(super) search: Limit,
    pub(super) associations: Limit,
    pub(super) daily: Option<Option<u64>>,
    pub(super) zone: Result<Zone, String>,
    pub(super) windows: Windows,
}

impl Default for Chosen {
    fn default() -> Self {
        Self {
            tier: SimTier::Professional,
            packs: 0,
            burst: Limit::Published,
            search: Limit::Published,
            associations: Limit::Published,
            daily: None,
            zone: Zone::fixed(0),
            windows: Windows::TrueRolling,
        }
    }
}

impl Chosen {
    /// What the server enforces.
    pub(super) fn check(&self) -> Result<Limits, ConfigError> {
        if self.packs > 2 {
            return Err(ConfigError::new("limit_increase", "is 0, 1 or 2 packs"));
        }
        if !self.windows.phase_fits() {
            return Err(ConfigError::new(
                "windows: phase",
                "must be less than one second",
            ));
        }
        let zone = match &self.zone {
            Ok(zone) => zone.clone(),
            Err(problem) => return Err(ConfigError::new("zone", problem.clone())),
        };
        let (mut burst, daily, mut associations) = match self.tier {
            SimTier::Starter => (100, Some(250_000), 100),
            SimTier::Professional => (190, Some(625_000), 150),
            SimTier::Enterprise => (190, Some(1_000_000), 150),
            SimTier::PublicOAuth => (110, None, 100),
        };
        if self.packs > 0 && self.tier != SimTier::PublicOAuth {
            (burst, associations) = (250, 200);
        }
        let published = daily.map(|quota: u64| quota + 1_000_000 * u64::from(self.packs));
        let daily = self.daily.unwrap_or(published);
        if daily == Some(0) {
            return Err(ConfigError::new("daily", "must not be zero"));
        }
        Ok(Limits {
            burst: self.burst.or("burst", burst, self.windows)?,
            search: self.search.or("search", 5, self.windows)?,
            associations: self
                .associations
                .or("associations", associations, self.windows)?,
            daily,
            zone,
            windows: self.windows,
        })
    }
}
