//! What the simulated server enforces.

use std::path::Path;
use std::time::Duration;

use tower_quota::clock::Clock;
use tower_quota::hubspot::{self, HubspotRoutes, HubspotSignals, Tier};
use tower_quota::plan::{Limit, Plan, RouteClass, Rule, Scope, Zone};
use tower_quota::record::{PlannedLimit, Started};
use tower_quota::sim::{Sim, SimBuilder};
use tower_quota::{Api, ConfigError};

use super::demand::Demand;
use crate::error::CliError;
use crate::out;

/// A limit, and for which class it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) quota: u32,
    pub(super) window: Duration,
    pub(super) scope: Scope,
}

/// The limits that a replay is made against, in the roles that the simulator knows.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) burst: Option<Window>,
    pub(super) search: Option<Window>,
    pub(super) associations: Option<Window>,
    daily: Option<(u32, String)>,
}

impl Rules {
    pub(super) fn of_tier(tier: Tier) -> Self {
        let plan = hubspot::plan(tier, Zone::UTC);
        let window = |name: &str| {
            let limit = plan.limit(name)?;
            match limit.rule() {
                Rule::Rolling { quota, window } => Some(Window {
                    quota: *quota,
                    window: *window,
                    scope: limit.get_scope(),
                }),
                _ => None,
            }
        };
        Self {
            burst: window(hubspot::BURST),
            search: window(hubspot::SEARCH),
            associations: window(hubspot::ASSOCIATIONS),
            daily: plan
                .limit(hubspot::DAILY)
                .map(|limit| (limit.rule().quota(), "UTC".to_owned())),
        }
    }

    /// The limits that the log names first. Of several for one class the first counts.
    pub(super) fn of_log(started: &Option<Started>, path: &Path) -> Result<Self, CliError> {
        let Some(started) = started else {
            let problem = "does not name its limits (a line `started`): give --tier";
            return Err(CliError::input(path, None, problem));
        };
        let governing = |class: RouteClass| {
            let governs = |limit: &&PlannedLimit| {
                let classes = limit.classes.as_ref();
                classes.is_none_or(|classes| classes.iter().any(|it| it == class.as_str()))
            };
            let mut limits = started.limits.iter().filter(governs);
            limits.find_map(|limit| {
                Some(Window {
                    quota: limit.quota,
                    window: limit.window?,
                    scope: limit.scope,
                })
            })
        };
        let daily = started.limits.iter().find(|limit| limit.window.is_none());
        let rules = Self {
            burst: governing(RouteClass::General),
            search: governing(RouteClass::Search),
            associations: governing(RouteClass::Associations),
            daily: daily.map(|limit| {
                let zone = limit.zone.as_deref().unwrap_or("UTC");
                (limit.quota, zone.to_owned())
            }),
        };
        match rules.api() {
            Ok(_) => Ok(rules),
            Err(error) => {
                let problem = format!("its limits make no sense: {error}");
                Err(CliError::input(path, None, problem))
            }
        }
    }

    /// The same for the layers.
    pub(super) fn api(&self) -> Result<Api, ConfigError> {
        let mut plan = Plan::builder("replay");
        let windows = [
            (hubspot::BURST, self.burst, RouteClass::General),
            (hubspot::SEARCH, self.search, RouteClass::Search),
            (
                hubspot::ASSOCIATIONS,
                self.associations,
                RouteClass::Associations,
            ),
        ];
        for (name, window, class) in windows {
            if let Some(window) = window {
                let limit = Limit::rolling(name, window.quota, window.window);
                plan = plan.limit(limit.scope(window.scope).governs([class]));
            }
        }
        if let Some((quota, zone)) = &self.daily {
            let limit = Limit::daily(hubspot::DAILY, *quota, zone_called(zone)?);
            plan = plan.limit(limit.scope(Scope::Account));
        }
        let api = Api::new(plan.build()?);
        Ok(api.routes(HubspotRoutes).signals(HubspotSignals))
    }

    /// One text for each.
    pub(super) fn texts(&self) -> Vec<String> {
        let windows = [
            ("burst", self.burst),
            ("search", self.search),
            ("associations", self.associations),
        ];
        let text = |(name, window): (&str, Option<Window>)| {
            let Window { quota, window, .. } = window?;
            Some(format!("{name} {quota} per {} s", window.as_secs_f64()))
        };
        let daily = self.daily.as_ref();
        let daily = daily
            .map(|(quota, zone)| format!("daily {} ({zone})", out::grouped(u64::from(*quota))));
        windows.into_iter().filter_map(text).chain(daily).collect()
    }

    /// The simulator, with the accounts of the demand.
    pub(super) fn server(
        &self,
        demand: &Demand,
        clock: &Clock,
        seed: u64,
    ) -> Result<Sim, ConfigError> {
        let mut sim = Sim::builder().clock(clock.clone()).seed(seed);
        let of = |window: Window| (u64::from(window.quota), window.window);
        sim = match self.burst.map(of) {
            Some((quota, window)) => sim.burst(quota, window),
            None => sim.no_burst(),
        };
        sim = match self.search.map(of) {
            Some((quota, window)) => sim.search(quota, window),
            None => sim.no_search(),
        };
        sim = match self.associations.map(of) {
            Some((quota, window)) => sim.associations(quota, window),
            None => sim.no_associations(),
        };
        sim = match &self.daily {
            Some((quota, zone)) => in_zone(sim.daily(u64::from(*quota)), zone),
            None => sim.no_daily(),
        };
        let shares = self.burst.map_or(Scope::Token, |window| window.scope);
        for request in &demand.requests {
            let token = demand.names[request.token].as_str();
            let account = match shares {
                Scope::App => 1,
                _ => 1 + request.account as u64,
            };
            sim = sim.account(token, account);
            if shares != Scope::Token {
                sim = sim.app(token, 1);
            }
        }
        sim.build()
    }
}

/// `UTC+05:30` and the like, as seconds to the east.
fn offset(zone: &str) -> Option<i32> {
    let text = zone.strip_prefix("UTC")?;
    let Some((hours, minutes)) = text.split_once(':') else {
        return text.is_empty().then_some(0);
    };
    let (sign, hours) = match (hours.strip_prefix('+'), hours.strip_prefix('-')) {
        (Some(hours), _) => (1, hours),
        (_, Some(hours)) => (-1, hours),
        _ => return None,
    };
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    Some(sign * (hours.min(99) * 3_600 + minutes.min(99) * 60))
}

/// The zone that a log calls so. One that nobody knew is taken for UTC.
pub(super) fn zone_called(name: &str) -> Result<Zone, ConfigError> {
    match offset(name) {
        Some(east) => Zone::fixed(east),
        None if name == Zone::UNKNOWN.to_string() => Ok(Zone::UTC),
        None => Zone::named(name),
    }
}

fn in_zone(sim: SimBuilder, name: &str) -> SimBuilder {
    match offset(name) {
        Some(east) => sim.zone_offset(east),
        None if name == Zone::UNKNOWN.to_string() => sim,
        None => sim.zone(name),
    }
}
