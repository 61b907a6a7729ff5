//! What responses say of the limits, and what is assumed before the first one.

use std::time::Duration;

use super::{Ledger, Permit};
use crate::core::cell::Observation;
use crate::core::claims::Claim;
use crate::core::keys::Keys;
use crate::core::kind::Kind;
use crate::core::network::LEAST_LATE_ARRIVAL;
use crate::core::place::Subject;
use crate::core::pool::DAY;
use crate::core::tick::Now;
use crate::core::told::ForeignUse;
use crate::core::window::Cold;
use crate::plan::{FirstWindow, RouteClass};

/// What one response says of one limit. Nothing in it needs to be true.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// How many requests the server allows per window.
    pub quota: Option<u64>,
    /// How many of them were left just after it had counted this one.
    pub remaining: Option<u64>,
    /// The length of the window.
    pub window: Option<Duration>,
    /// How long the server worked after it had counted the request.
    pub service_time: Option<Duration>,
    /// Whether this limit refused the request, so that it was not counted.
    pub refused: bool,
}

/// What was news in a [`Report`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct News {
    /// The server allows another number of requests than planned. Said once for each number, and for eight at most.
    pub learned: Option<u32>,
    /// Others have begun or ceased to use the quota of this key.
    pub foreign: Option<ForeignUse>,
}

impl Ledger {
    /// A response says something of a rolling limit. To be told before the permit of its request is settled. Of other limits, and
    /// of those that do not govern the request, nothing is believed.
    ///
    /// If the server allows less than the plan, the key keeps to that until it says otherwise. If more is used than we can explain,
    /// others use the quota too, and the slots that are theirs are left to them until they have aged: at most one window after
    /// the last response that told of them. What a response says of others never adds to our own count.
    pub fn observe(&mut self, now: Now, permit: &Permit, limit: usize, report: &Report) -> News {
        let now = self.advance(now);
        let mut news = News::default();
        let place = self.place(Subject::Limit(limit));
        let Some(id) = permit
            .cells
            .iter()
            .find(|id| Some(self.table.cell(*id).place) == place)
        else {
            return news;
        };
        let round_trip = permit.round_trip(now.tick);
        let seen = Observation {
            quota: report.quota.map(at_most_u32).filter(|quota| *quota > 0),
            remaining: report.remaining.map(at_most_u32),
            service_time: report.service_time.filter(|time| *time <= round_trip),
            refused: report.refused,
            taken: permit.taken,
            sent: permit.began(),
        };
        // Slots expire now or never, so that both sums count the same.
        for id in permit.cells.iter() {
            let (cell, kind) = self.table.cell_mut(id);
            cell.expire(now, kind);
        }
        let expired = self
            .table
            .expired(&permit.cells)
            .wrapping_sub(permit.expired);
        let (cell, kind) = self.table.cell_mut(id);
        let Kind::Rolling(window) = kind else {
            return news;
        };
        let planned = window.quota;
        news.foreign = cell.observe(now.tick, kind, &seen, expired);
        if cell.waiting() > 0 {
            self.dirty.push(id);
        }
        self.touch(id);
        if let Some(claims) = self.table.claims_mut(limit) {
            let is_new = claims.hear(seen.quota, report.window, planned);
            news.learned = seen.quota.filter(|_| is_new);
        }
        self.pump(now, None);
        news
    }

    /// Whether a refusal by this limit is no surprise, because others are known to use it.
    pub fn explains_refusals(&mut self, now: Now, keys: Keys, limit: usize) -> bool {
        let now = self.advance(now);
        let Some(id) = self
            .place(Subject::Limit(limit))
            .and_then(|place| self.table.find(place, &keys))
        else {
            return false;
        };
        let (cell, kind) = self.table.cell_mut(id);
        cell.explains_refusals(now.tick, kind)
    }

    /// How much of the rolling limits of `class` others are known to use: the largest share, from 0 to 1. `None` while nothing is
    /// known of others.
    pub fn foreign_share(&mut self, now: Now, keys: Keys, class: RouteClass) -> Option<f64> {
        let now = self.advance(now);
        let cells = self.table.find_all(class, &keys);
        let share = |id| {
            let (cell, kind) = self.table.cell_mut(id);
            cell.foreign_share(now.tick, kind)
        };
        cells.iter().filter_map(share).max_by(f64::total_cmp)
    }

    /// What the plan and the server say of a limit; `None` when there is no such limit.
    pub fn claim(&self, limit: usize) -> Option<Claim> {
        let (planned, planned_window) = match self.table.kind_of_limit(limit)? {
            Kind::Rolling(window) => (window.quota, window.length),
            Kind::Pool(day) => (day.quota, DAY),
            Kind::Gate => return None,
        };
        let claims = self.table.claims(limit)?;
        Some(Claim {
            planned,
            learned: claims.quota,
            planned_window,
            learned_window: claims.window,
        })
    }

    /// Sets how a rolling limit may be used by keys that are first used less than one window from now, plus 1 s for what may
    /// still be on its way. At first all of it may be used. Of other limits nothing is assumed.
    pub fn set_first_window(&mut self, now: Now, limit: usize, first: FirstWindow) {
        let now = self.advance(now);
        let Some(window) = self.window(limit) else {
            return;
        };
        let until = now.tick.after(window).after(LEAST_LATE_ARRIVAL);
        let cold = match first {
            FirstWindow::Empty => None,
            FirstWindow::Full => Some(Cold { until, full: true }),
            FirstWindow::Probe => Some(Cold { until, full: false }),
        };
        self.table.set_cold(limit, cold);
    }
}

fn at_most_u32(figure: u64) -> u32 {
    u32::try_from(figure).unwrap_or(u32::MAX)
}
