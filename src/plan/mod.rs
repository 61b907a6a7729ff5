//! What the limits of an API are: plain data.
//!
//! A [`Plan`] lists the [`Limit`]s of one API and tier. Each limit has a name, a [`Scope`] (who shares it), a [`Rule`] (how
//! much in which window) and the [`RouteClass`]es it governs. Nothing here knows a clock or a layer.
//!
//! Beside it stands how a program means to use what it has: which [`Lane`] a request is in, how much of a limit is kept for the
//! urgent one ([`Reserve`]), and what is assumed when the process starts ([`ColdStart`]).
//!
//! ```
//! use std::time::Duration;
//! use tower_quota::plan::{Limit, Plan, RouteClass, Scope, Zone};
//!
//! let plan = Plan::builder("acme")
//!     .limit(Limit::rolling("burst", 600, Duration::from_secs(60)).governs([RouteClass::General]))
//!     .limit(Limit::rolling("search", 5, Duration::from_secs(1)).scope(Scope::Account).governs([RouteClass::Search]))
//!     .limit(Limit::daily("day", 50_000, Zone::UTC).scope(Scope::App))
//!     .build()?;
//! assert_eq!(plan.limits().len(), 3);
//! # Ok::<(), tower_quota::ConfigError>(())
//! ```

mod cold;
mod lane;
mod limit;
mod zone;

pub use self::cold::{Assumed, ColdStart, FirstWindow};
pub use self::lane::{Lane, Reserve};
pub use self::limit::{Limit, RouteClass, Rule, Scope};
pub use self::zone::Zone;

use crate::error::ConfigError;

/// How many limits of a plan may govern one route class.
pub const MAX_LIMITS_PER_CLASS: usize = 8;

const MAX_LIMITS: usize = 255;

/// The limits of one API and tier.
///
/// See the [module docs](crate::plan) for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    name: String,
    limits: Vec<Limit>,
}

impl Plan {
    /// Starts a plan; `name` is what events and reports call the API.
    pub fn builder(name: impl Into<String>) -> PlanBuilder {
        PlanBuilder {
            name: name.into(),
            limits: Vec::new(),
        }
    }

    /// A plan without limits.
    pub(crate) fn unlimited() -> Self {
        Self {
            name: "unlimited".to_owned(),
            limits: Vec::new(),
        }
    }

    /// What events and reports call the API.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The limits, in the order in which they were added.
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }

    /// The limit called `name`, if the plan has one.
    pub fn limit(&self, name: &str) -> Option<&Limit> {
        self.limits.iter().find(|limit| limit.name() == name)
    }
}

/// Collects the limits of a [`Plan`]; made by [`Plan::builder`].
#[derive(Clone, Debug)]
pub struct PlanBuilder {
    name: String,
    limits: Vec<Limit>,
}

impl PlanBuilder {
    /// Adds a limit.
    #[must_use]
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limits.push(limit);
        self
    }

    /// Checks the limits and makes the plan. A plan without limits is allowed: pauses still work with it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the limit and the field when a quota is zero, a window is shorter than 1 ms or longer than 366
    /// days, a name is empty or used twice, a limit governs an empty list of classes, more than [`MAX_LIMITS_PER_CLASS`]
    /// limits govern one class, or the plan has more than 255 limits.
    pub fn build(self) -> Result<Plan, ConfigError> {
        if self.limits.len() > MAX_LIMITS {
            return Err(ConfigError::new(
                "limits",
                format!("there are more than {MAX_LIMITS}"),
            ));
        }
        for (position, limit) in self.limits.iter().enumerate() {
            limit.check()?;
            if self.limits[..position]
                .iter()
                .any(|earlier| earlier.name() == limit.name())
            {
                return Err(ConfigError::new(
                    limit.field("name"),
                    "is used by two limits of the plan",
                ));
            }
        }
        let classes = self
            .limits
            .iter()
            .flat_map(|limit| limit.classes().unwrap_or_default().iter().copied());
        for class in classes.chain([RouteClass::General]) {
            if self
                .limits
                .iter()
                .filter(|limit| limit.governs_class(class))
                .count()
                > MAX_LIMITS_PER_CLASS
            {
                let problem = format!(
                    "more than {MAX_LIMITS_PER_CLASS} of them govern the route class `{class}`"
                );
                return Err(ConfigError::new("limits".to_owned(), problem));
            }
        }
        Ok(self.build_trusted())
    }

    /// The plan of a preset whose tests have shown that [`build`](Self::build) accepts it.
    pub(crate) fn build_trusted(self) -> Plan {
        Plan {
            name: self.name,
            limits: self.limits,
        }
    }
}
