use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{ASSOCIATIONS, BURST, DAILY, DAILY_ONLY, SEARCH};
use crate::error::ConfigError;
use crate::plan::{Limit, Plan, PlanBuilder, RouteClass, Scope, Zone};

const TEN_SECONDS: Duration = Duration::from_secs(10);
const ONE_SECOND: Duration = Duration::from_secs(1);
/// Object search, for every tier, all apps of an account together.
const SEARCHES_PER_SECOND: u32 = 5;
/// What one API Limit Increase adds to the daily pool.
const INCREASE_PER_DAY: u32 = 1_000_000;

/// The kind of app and the account's tier, which decide how much HubSpot allows.
///
/// "Private" means every app that is not distributed publicly: private apps, static tokens, service keys, and OAuth apps
/// distributed privately. As text (for flags and configuration) the tiers are called `free` or `starter`, `professional`,
/// `enterprise`, each also with `+increase` (one pack) or `+increase2` (two), and `oauth`.
///
/// ```
/// use tower_quota::hubspot::{Packs, Tier};
///
/// let tier: Tier = "professional+increase".parse()?;
/// assert_eq!(tier, Tier::ProfessionalIncreased(Packs::One));
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// A private app in a Free or Starter account: 100 per 10 s, 250,000 a day, associations 100 per 10 s.
    FreeStarter,
    /// A private app in a Professional account: 190 per 10 s, 625,000 a day, associations 150 per 10 s.
    Professional,
    /// A private app in an Enterprise account: 190 per 10 s, 1,000,000 a day, associations 150 per 10 s.
    Enterprise,
    /// [`FreeStarter`](Self::FreeStarter) with the API Limit Increase: 250 per 10 s, 1,000,000 more a day per pack,
    /// associations 200 per 10 s. The figures per 10 s do not grow with a second pack.
    FreeStarterIncreased(Packs),
    /// [`Professional`](Self::Professional) with the API Limit Increase, which does the same as for
    /// [`FreeStarterIncreased`](Self::FreeStarterIncreased).
    ProfessionalIncreased(Packs),
    /// [`Enterprise`](Self::Enterprise) with the API Limit Increase, which does the same as for
    /// [`FreeStarterIncreased`](Self::FreeStarterIncreased).
    EnterpriseIncreased(Packs),
    /// A public (marketplace) OAuth app, in an account of any tier: 110 per 10 s, no daily limit is published, and the API
    /// Limit Increase does not apply. Nothing is published about its associations calls; 100 per 10 s, the least that any
    /// tier has, is assumed.
    PublicOauth,
}

/// How many packs of the API Limit Increase an account has bought; HubSpot sells at most two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packs {
    /// One pack.
    One,
    /// Two packs: more per day, but no more per 10 s.
    Two,
}

const NAMES: &str = "`free`, `starter`, `professional`, `enterprise` (each also with `+increase` or `+increase2`) or `oauth`";

impl Tier {
    /// The same tier with `packs` (1 or 2) packs of the API Limit Increase in place of those it had.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when `packs` is neither 1 nor 2, or for [`Tier::PublicOauth`], whose limits the packs do not raise.
    pub fn with_increase(self, packs: u8) -> Result<Tier, ConfigError> {
        let error = |problem: String| Err(ConfigError::new("tier: API Limit Increase", problem));
        let packs = match packs {
            1 => Packs::One,
            2 => Packs::Two,
            _ => return error(format!("must be 1 or 2 packs, is {packs}")),
        };
        match self.parts() {
            (Base::FreeStarter, _) => Ok(Tier::FreeStarterIncreased(packs)),
            (Base::Professional, _) => Ok(Tier::ProfessionalIncreased(packs)),
            (Base::Enterprise, _) => Ok(Tier::EnterpriseIncreased(packs)),
            (Base::PublicOauth, _) => error("does not apply to a public OAuth app".to_owned()),
        }
    }

    fn parts(self) -> (Base, u32) {
        let count = |packs| match packs {
            Packs::One => 1,
            Packs::Two => 2,
        };
        match self {
            Tier::FreeStarter => (Base::FreeStarter, 0),
            Tier::Professional => (Base::Professional, 0),
            Tier::Enterprise => (Base::Enterprise, 0),
            Tier::FreeStarterIncreased(packs) => (Base::FreeStarter, count(packs)),
            Tier::ProfessionalIncreased(packs) => (Base::Professional, count(packs)),
            Tier::EnterpriseIncreased(packs) => (Base::Enterprise, count(packs)),
            Tier::PublicOauth => (Base::PublicOauth, 0),
        }
    }
}

#[derive(Clone, Copy)]
enum Base {
    FreeStarter,
    Professional,
    Enterprise,
    PublicOauth,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (base, packs) = self.parts();
        f.write_str(match base {
            Base::FreeStarter => "free",
            Base::Professional => "professional",
            Base::Enterprise => "enterprise",
            Base::PublicOauth => "oauth",
        })?;
        f.write_str(match packs {
            0 => "",
            1 => "+increase",
            _ => "+increase2",
        })
    }
}

impl FromStr for Tier {
    type Err = ConfigError;

    /// Reads a name as listed at [`Tier`], in any case; `starter` and `free` are the same tier.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || ConfigError::new("tier", format!("must be {NAMES}, is {text:?}"));
        let lower = text.trim().to_ascii_lowercase();
        let (base, packs) = match lower.split_once('+') {
            None => (lower.as_str(), 0),
            Some((base, "increase")) => (base, 1),
            Some((base, "increase2")) => (base, 2),
            Some(_) => return Err(unknown()),
        };
        let tier = match base {
            "free" | "starter" => Tier::FreeStarter,
            "professional" => Tier::Professional,
            "enterprise" => Tier::Enterprise,
            "oauth" => Tier::PublicOauth,
            _ => return Err(unknown()),
        };
        match packs {
            0 => Ok(tier),
            packs => tier.with_increase(packs),
        }
    }
}

/// The limits of HubSpot's API for `tier`; `zone` is the time zone set in the HubSpot account, at whose midnight the daily
/// pool is filled again. Cannot fail: the figures are HubSpot's own, and tests hold them against [`PlanBuilder::build`].
///
/// | limit | scope | allows | governs |
/// |---|---|---|---|
/// | [`BURST`] | token; account for public OAuth apps | 100, 110, 190 or 250 per 10 s | [`General`](RouteClass::General) |
/// | [`SEARCH`] | account | 5 per 1 s | [`Search`](RouteClass::Search) |
/// | [`ASSOCIATIONS`] | as the burst | 100, 150 or 200 per 10 s | [`Associations`](RouteClass::Associations) |
/// | [`DAILY`] | account | see [`Tier`]; not for public OAuth apps | these three and [`DAILY_ONLY`] |
///
/// HubSpot counts the burst per app and account. The token of a private app belongs to one app and one account and does not change,
/// so that is the token. Those of an OAuth app are renewed again and again: attach an
/// [`AccountId`](crate::request::AccountId) to every request of such an app, and make one quota for each app; without it, a new
/// access token starts afresh here but not at HubSpot.
///
/// With [`Zone::UNKNOWN`] own requests are not counted against the daily pool until its reset is told (with feature `zones`,
/// `daily_usage` asks HubSpot); a refusal still pauses it.
pub fn plan(tier: Tier, zone: Zone) -> Plan {
    limits(tier, zone).build_trusted()
}

fn limits(tier: Tier, zone: Zone) -> PlanBuilder {
    let (base, packs) = tier.parts();
    let (burst, associations, daily) = match base {
        Base::FreeStarter => (100, 100, Some(250_000)),
        Base::Professional => (190, 150, Some(625_000)),
        Base::Enterprise => (190, 150, Some(1_000_000)),
        Base::PublicOauth => (110, 100, None),
    };
    // HubSpot counts by app and account. The tokens of an OAuth app are renewed every half hour and must not start afresh.
    let scope = match base {
        Base::PublicOauth => Scope::Account,
        _ => Scope::Token,
    };
    let (burst, associations) = match packs {
        0 => (burst, associations),
        _ => (250, 200),
    };
    let plan = Plan::builder("hubspot")
        .limit(
            Limit::rolling(BURST, burst, TEN_SECONDS)
                .scope(scope)
                .governs([RouteClass::General]),
        )
        .limit(
            Limit::rolling(SEARCH, SEARCHES_PER_SECOND, ONE_SECOND)
                .scope(Scope::Account)
                .governs([RouteClass::Search]),
        )
        .limit(
            Limit::rolling(ASSOCIATIONS, associations, TEN_SECONDS)
                .scope(scope)
                .governs([RouteClass::Associations]),
        );
    match daily {
        None => plan,
        Some(daily) => plan.limit(
            Limit::daily(DAILY, daily + packs * INCREASE_PER_DAY, zone)
                .scope(Scope::Account)
                .governs([
                    RouteClass::General,
                    RouteClass::Search,
                    RouteClass::Associations,
                    DAILY_ONLY,
                ]),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Tier; 10] = [
        Tier::FreeStarter,
        Tier::Professional,
        Tier::Enterprise,
        Tier::FreeStarterIncreased(Packs::One),
        Tier::FreeStarterIncreased(Packs::Two),
        Tier::ProfessionalIncreased(Packs::One),
        Tier::ProfessionalIncreased(Packs::Two),
        Tier::EnterpriseIncreased(Packs::One),
        Tier::EnterpriseIncreased(Packs::Two),
        Tier::PublicOauth,
    ];

    #[test]
    fn every_plan_passes_the_checks() {
        for tier in ALL {
            for zone in [Zone::UTC, Zone::UNKNOWN] {
                assert_eq!(
                    limits(tier, zone.clone()).build().as_ref(),
                    Ok(&plan(tier, zone))
                );
            }
        }
    }

    #[test]
    fn figures_are_those_that_hubspot_publishes() {
        let table = [
            ("free", 100, 100, Some(250_000)),
            ("starter", 100, 100, Some(250_000)),
            ("professional", 190, 150, Some(625_000)),
            ("enterprise", 190, 150, Some(1_000_000)),
            ("starter+increase", 250, 200, Some(1_250_000)),
            ("professional+increase", 250, 200, Some(1_625_000)),
            ("professional+increase2", 250, 200, Some(2_625_000)),
            ("enterprise+increase2", 250, 200, Some(3_000_000)),
            ("oauth", 110, 100, None),
        ];
        for (name, burst, associations, daily) in table {
            let plan = plan(name.parse().unwrap(), Zone::UTC);
            let quota = |limit: &str| plan.limit(limit).map(|limit| limit.rule().quota());
            assert_eq!(quota(BURST), Some(burst), "{name}");
            assert_eq!(quota(ASSOCIATIONS), Some(associations), "{name}");
            assert_eq!(quota(SEARCH), Some(5), "{name}");
            assert_eq!(quota(DAILY), daily, "{name}");
        }
    }

    #[test]
    fn every_class_has_its_own_limits() {
        let plan = plan(Tier::Professional, Zone::UTC);
        let governing = |class| -> Vec<&str> {
            let limits = plan.limits().iter();
            limits
                .filter(|limit| limit.governs_class(class))
                .map(|limit| limit.name())
                .collect()
        };
        assert_eq!(governing(RouteClass::General), [BURST, DAILY]);
        assert_eq!(governing(RouteClass::Search), [SEARCH, DAILY]);
        assert_eq!(governing(RouteClass::Associations), [ASSOCIATIONS, DAILY]);
        assert_eq!(governing(DAILY_ONLY), [DAILY]);
        assert!(governing(super::super::OAUTH).is_empty());
        assert!(governing(super::super::EXEMPT).is_empty());
    }

    #[test]
    fn names_come_back_and_wrong_ones_are_told_the_right_ones() {
        for tier in ALL {
            assert_eq!(tier.to_string().parse(), Ok(tier));
        }
        assert_eq!(
            " Professional+Increase2 ".parse(),
            Tier::Professional.with_increase(2)
        );
        for wrong in [
            "",
            "pro",
            "professional+",
            "enterprise+increase3",
            "+increase",
        ] {
            let message = wrong.parse::<Tier>().unwrap_err().to_string();
            assert!(
                message.contains("`professional`") && message.contains("`oauth`"),
                "{message}"
            );
        }
        assert!("oauth+increase".parse::<Tier>().is_err());
        for packs in [0, 3, 255] {
            assert!(Tier::Enterprise.with_increase(packs).is_err());
        }
    }
}
