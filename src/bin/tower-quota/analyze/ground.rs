//! Who shares which limit of a plan.

use std::collections::HashMap;

use tower_quota::plan::{Plan, Rule, Scope};

/// A rolling limit as one token, one account or everybody has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Window {
    pub(super) limit: String,
    /// `None` for everybody.
    pub(super) whose: Option<(Scope, String)>,
    pub(super) quota: u64,
    /// In seconds.
    pub(super) length: f64,
}

/// The limits of a plan for the tokens and accounts that have been asked for.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    plan: &'a Plan,
    pub(super) accounts: Vec<String>,
    pub(super) windows: Vec<Window>,
    known: HashMap<(usize, String), usize>,
}

impl<'a> Ground<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            accounts: Vec::new(),
            windows: Vec::new(),
            known: HashMap::new(),
        }
    }

    /// The daily pool of an account, and its name.
    pub(super) fn pool(&self) -> Option<(&'a str, u64)> {
        self.plan.limits().iter().find_map(|limit| {
            let Rule::Calendar { quota, .. } = limit.rule() else {
                return None;
            };
            Some((limit.name(), u64::from(*quota)))
        })
    }

    pub(super) fn account(&mut self, name: &str) -> usize {
        let known = self.accounts.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            self.accounts.push(name.to_owned());
            self.accounts.len() - 1
        })
    }

    /// The rolling limits that govern a class of requests.
    pub(super) fn windows(&mut self, token: &str, account: &str, class: &str) -> Vec<usize> {
        let mut found = Vec::new();
        for (nth, limit) in self.plan.limits().iter().enumerate() {
            let Rule::Rolling { quota, window } = limit.rule() else {
                continue;
            };
            if !governs(limit, class) {
                continue;
            }
            let scope = limit.get_scope();
            let whose = match scope {
                Scope::Token => token,
                Scope::Account => account,
                _ => "",
            };
            let index = *self
                .known
                .entry((nth, whose.to_owned()))
                .or_insert_with(|| {
                    self.windows.push(Window {
                        limit: limit.name().to_owned(),
                        whose: (scope != Scope::App).then(|| (scope, whose.to_owned())),
                        quota: u64::from(*quota),
                        length: window.as_secs_f64(),
                    });
                    self.windows.len() - 1
                });
            found.push(index);
        }
        found
    }

    /// Whether the daily pool governs a class of requests.
    pub(super) fn is_pooled(&self, class: &str) -> bool {
        let daily =
            |limit: &&tower_quota::plan::Limit| matches!(limit.rule(), Rule::Calendar { .. });
        let mut pools = self.plan.limits().iter().filter(daily);
        // Where there is no pool, all is counted.
        pools.next().is_none_or(|limit| governs(limit, class))
    }
}

fn governs(limit: &tower_quota::plan::Limit, class: &str) -> bool {
    limit
        .classes()
        .is_none_or(|classes| classes.iter().any(|governed| governed.as_str() == class))
}
