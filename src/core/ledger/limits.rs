//! Changing the limits, and reading how far they are used.

use std::time::Duration;

use super::{Guard, Ledger};
use crate::core::keys::Keys;
use crate::core::kind::Kind;
use crate::core::place::Subject;
use crate::core::table::{Table, Usage};
use crate::core::tick::Now;
use crate::error::ConfigError;
use crate::plan::{Reserve, RouteClass, Rule};

impl Ledger {
    /// Changes how much a limit of the plan allows, for all keys, while requests are in flight.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the rule is impossible, of another kind than before, or there is no such limit.
    pub fn set_rule(&mut self, now: Now, limit: usize, rule: &Rule) -> Result<(), ConfigError> {
        let now = self.advance(now);
        self.table.set_rule(limit, rule)?;
        self.limit_changed(now, limit);
        Ok(())
    }

    /// Keeps a part of a limit for [`Lane::Interactive`](crate::plan::Lane::Interactive), for all keys: all others together never
    /// hold more than the rest. Nothing is kept at first.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the share is not from 0 to 1, or there is no such limit.
    pub fn set_reserve(
        &mut self,
        now: Now,
        limit: usize,
        reserve: Reserve,
    ) -> Result<(), ConfigError> {
        let now = self.advance(now);
        self.table.set_reserve(limit, reserve)?;
        self.limit_changed(now, limit);
        Ok(())
    }

    /// Whether [`set_reserve`](Self::set_reserve) was ever called for a limit.
    pub fn has_reserve(&self, limit: usize) -> bool {
        self.table.has_reserve(limit)
    }

    pub(super) fn limit_changed(&mut self, now: Now, limit: usize) {
        for id in self.table.cells_of_limit(limit) {
            let (cell, kind) = self.table.cell_mut(id);
            cell.change_rule(now, kind);
            self.dirty.push(id);
            self.changed.push(id);
        }
        self.pump(now, None);
    }

    /// Changes the quota of a limit and nothing else of the rule that is in force, as [`set_rule`](Self::set_rule) does.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when `quota` is zero or there is no such limit.
    pub fn set_quota(&mut self, now: Now, limit: usize, quota: u32) -> Result<(), ConfigError> {
        let kind = self.table.kind_of_limit(limit);
        match kind.and_then(|kind| kind.rule_with_quota(quota)) {
            Some(rule) => self.set_rule(now, limit, &rule),
            None => Err(Table::no_limit(limit)),
        }
    }

    /// The position in the plan of the limit called `name`.
    pub fn limit_index(&self, name: &str) -> Option<usize> {
        self.table.limit_index(name)
    }

    /// The window of the rolling limit `limit`; `None` when it is not rolling.
    pub fn window(&self, limit: usize) -> Option<Duration> {
        match self.table.kind_of_limit(limit)? {
            Kind::Rolling(window) => Some(window.length),
            _ => None,
        }
    }

    /// The longest rolling window among the limits that govern `class`.
    pub fn longest_window(&self, class: RouteClass) -> Option<Duration> {
        self.table.longest_window(class)
    }

    /// How far these keys have used a limit; `None` when there is no such limit.
    pub fn usage(&mut self, now: Now, keys: Keys, limit: usize) -> Option<Usage> {
        let now = self.advance(now);
        let kind = self.table.kind_of_limit(limit)?;
        let planned = kind.quota()?;
        let first_reset = match kind {
            Kind::Pool(day) => Some(day.zone.next_reset(now.wall)),
            _ => None,
        };
        let gate = self
            .table
            .closed_gate(now.tick, &keys)
            .map(|(_, until)| until);
        let Some(id) = self
            .place(Subject::Limit(limit))
            .and_then(|place| self.table.find(place, &keys))
        else {
            return Some(Usage {
                quota: planned,
                used: 0,
                foreign: 0,
                waiting: 0,
                paused_until: gate,
                resets: first_reset,
            });
        };
        let (cell, kind) = self.table.cell_mut(id);
        cell.expire(now, kind);
        let paused_until = gate.max(cell.paused_until(now.tick));
        Some(Usage {
            quota: cell.quota(kind).unwrap_or(planned),
            used: cell.used(),
            foreign: cell.used_by_foreign(now.tick, kind),
            waiting: cell.waiting(),
            paused_until,
            resets: cell.pool(kind).map(|(pool, _)| pool.reset()),
        })
    }

    /// How many cells (one key under one limit) are remembered.
    pub fn cells(&self) -> usize {
        self.table.key_count()
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Sets how many may wait in one queue; 65,536 at first.
    pub fn set_max_waiting(&mut self, most: u32) {
        self.max_waiting = most;
    }

    /// Sets what is credited for answers that do not tell their service time; [`Guard::Proven`] at first.
    pub fn set_guard(&mut self, guard: Guard) {
        self.guard = guard;
    }

    /// Whether half of the least time that any response spent on the network is credited like service time; off at first.
    ///
    /// It is not proven: it takes for granted that no pair of uplink and downlink times is ever faster than half of the
    /// fastest round trip among at least 128.
    pub fn credit_network_floor(&mut self, credit: bool) {
        self.credit_floor = credit;
    }
}
