use std::fmt;
use std::time::Duration;

use super::Zone;
use crate::error::ConfigError;

const SHORTEST_WINDOW: Duration = Duration::from_millis(1);
const LONGEST_WINDOW: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Which of the server's limiters governs a request.
///
/// An API's [`Routes`](crate::request::Routes) say which class a request has; a limit says which classes it governs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RouteClass {
    /// Everything that has no limiter of its own.
    General,
    /// Searches, which many APIs count apart.
    Search,
    /// Calls on the links between records.
    Associations,
    /// A class of the user's own.
    Named(&'static str),
}

impl RouteClass {
    /// Its name, for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            RouteClass::General => "general",
            RouteClass::Search => "search",
            RouteClass::Associations => "associations",
            RouteClass::Named(name) => name,
        }
    }
}

impl fmt::Display for RouteClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who shares a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "json",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Scope {
    /// Every token has its own.
    Token,
    /// All tokens of one account share it. A request without an [`AccountId`](crate::request::AccountId) counts its token as
    /// its account.
    Account,
    /// Everything that goes through one [`Quota`](crate::Quota) shares it.
    App,
}

/// How much is allowed in which window.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// At most `quota` requests in any interval of length `window`.
    Rolling {
        /// Requests per window, at least 1.
        quota: u32,
        /// Length of the window, 1 ms to 366 days.
        window: Duration,
    },
    /// A pool of `quota` requests that is filled again at midnight of `zone`.
    Calendar {
        /// Requests per day, at least 1.
        quota: u32,
        /// The zone whose midnight counts.
        zone: Zone,
    },
}

impl Rule {
    /// The number of requests that the rule allows per window or day.
    pub fn quota(&self) -> u32 {
        match self {
            Rule::Rolling { quota, .. } | Rule::Calendar { quota, .. } => *quota,
        }
    }

    /// Checks the ranges of the rule; `limit` is named in the error.
    pub(crate) fn check(&self, limit: &str) -> Result<(), ConfigError> {
        let field = |name: &str| format!("limit `{limit}`: {name}");
        if self.quota() == 0 {
            return Err(ConfigError::new(field("quota"), "must be at least 1"));
        }
        if let Rule::Rolling { window, .. } = self {
            if *window < SHORTEST_WINDOW {
                return Err(ConfigError::new(
                    field("window"),
                    format!("must be at least 1 ms, is {window:?}"),
                ));
            }
            if *window > LONGEST_WINDOW {
                return Err(ConfigError::new(
                    field("window"),
                    format!("must be at most 366 days, is {window:?}"),
                ));
            }
        }
        Ok(())
    }
}

/// One limit of an API: its name, who shares it, how much it allows, and what it governs.
///
/// Ranges are checked when the [`Plan`](super::Plan) is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    name: String,
    scope: Scope,
    rule: Rule,
    classes: Option<Vec<RouteClass>>,
}

impl Limit {
    /// At most `quota` requests (at least 1) in any interval of length `window` (1 ms to 366 days). The scope is
    /// [`Scope::Token`] and every class is governed until [`scope`](Self::scope) and [`governs`](Self::governs) say otherwise.
    pub fn rolling(name: impl Into<String>, quota: u32, window: Duration) -> Self {
        Self::new(name, Rule::Rolling { quota, window })
    }

    /// A pool of `quota` requests (at least 1) that is filled again at midnight of `zone`. Scope and classes start as for
    /// [`rolling`](Self::rolling).
    pub fn daily(name: impl Into<String>, quota: u32, zone: Zone) -> Self {
        Self::new(name, Rule::Calendar { quota, zone })
    }

    fn new(name: impl Into<String>, rule: Rule) -> Self {
        Self {
            name: name.into(),
            scope: Scope::Token,
            rule,
            classes: None,
        }
    }

    /// Sets who shares the limit.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Sets the classes that the limit governs; without this call it governs all of them.
    #[must_use]
    pub fn governs(mut self, classes: impl IntoIterator<Item = RouteClass>) -> Self {
        self.classes = Some(classes.into_iter().collect());
        self
    }

    /// What events, errors and reports call the limit.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who shares the limit.
    pub fn get_scope(&self) -> Scope {
        self.scope
    }

    /// How much the limit allows in which window.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// The classes that the limit governs; `None` means all.
    pub fn classes(&self) -> Option<&[RouteClass]> {
        self.classes.as_deref()
    }

    /// Whether the limit governs requests of `class`.
    pub fn governs_class(&self, class: RouteClass) -> bool {
        self.classes
            .as_ref()
            .is_none_or(|classes| classes.contains(&class))
    }

    pub(super) fn field(&self, name: &str) -> String {
        format!("limit `{}`: {name}", self.name)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.name.is_empty() {
            return Err(ConfigError::new(
                "limit: name".to_owned(),
                "must not be empty",
            ));
        }
        if self.classes.as_ref().is_some_and(Vec::is_empty) {
            return Err(ConfigError::new(
                self.field("governs"),
                "must name at least one route class",
            ));
        }
        self.rule.check(&self.name)
    }
}
