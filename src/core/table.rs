//! The limits of a plan, ready for use, and the cells of all keys.

use std::time::{Duration, SystemTime};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use slab::Slab;

use super::cell::{Cell, Slots};
use super::claims::Claims;
use super::keys::{APP, Fingerprint, Keys};
use super::kind::Kind;
use super::notice::Notice;
use super::place::{CellId, Cells, Place, Subject};
use super::pool::Day;
use super::tick::{Now, Tick};
use super::window::Cold;
use crate::error::ConfigError;
use crate::plan::{Plan, Reserve, RouteClass, Rule, Scope};

/// So many cells are looked at for eviction with every admission, and with every cell that was made since: more than one, so
/// that the sweep is faster than the growth.
const SWEEP: usize = 2;

/// How far one key has used one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Requests per window or day: what the plan says, or what the server says if that is less.
    pub quota: u32,
    /// Requests in flight or still counted in the window or day.
    pub used: u32,
    /// Requests of other programs in the window or day, as far as responses tell: an estimate, in requests; 0 where nobody else is known
    /// to use the limit. What is left to us is `quota - used - foreign` at most, and a few less because others go on.
    pub foreign: u32,
    /// Requests that wait in line for this limit.
    pub waiting: u32,
    /// Until when nobody sends under this limit, its token or its account.
    pub paused_until: Option<Tick>,
    /// When a daily pool is filled again; `None` for other limits.
    pub resets: Option<SystemTime>,
}

#[derive(Debug)]
struct LimitState {
    name: String,
    scope: Scope,
    kind: Kind,
    /// Nothing, unless somebody said how much.
    reserve: Option<Reserve>,
    paced: bool,
    cold: Option<Cold>,
    claims: Claims,
}

impl LimitState {
    fn reserve(&self) -> Reserve {
        self.reserve.unwrap_or(Reserve::NONE)
    }
}

#[derive(Debug)]
pub(super) struct Table {
    limits: Vec<LimitState>,
    /// Which limits govern the classes that the plan names, and, last, all other classes.
    governing: Vec<(Option<RouteClass>, Vec<u8>)>,
    cells: Slab<Cell>,
    index: HashTable<CellId>,
    gates: u32,
    hand: usize,
    /// Cells made since the last sweep.
    made: usize,
    /// Cells with a lease that have been forgotten, and the members whose they were.
    unleased: Vec<(u32, CellId)>,
}

impl Table {
    pub(super) fn new(plan: &Plan) -> Self {
        let limits = plan.limits().iter().map(|limit| LimitState {
            name: limit.name().to_owned(),
            scope: limit.get_scope(),
            kind: Kind::new(limit.rule(), Reserve::NONE, false),
            reserve: None,
            paced: false,
            cold: None,
            claims: Claims::default(),
        });
        let governing_limits = |class: Option<RouteClass>| {
            let governs = plan.limits().iter().map(|limit| match class {
                Some(class) => limit.governs_class(class),
                None => limit.classes().is_none(),
            });
            governs
                .zip(0..=u8::MAX)
                .filter_map(|(governs, limit)| governs.then_some(limit))
                .collect()
        };
        let mut classes: Vec<Option<RouteClass>> = Vec::new();
        for class in plan
            .limits()
            .iter()
            .flat_map(|limit| limit.classes().unwrap_or_default())
        {
            if !classes.contains(&Some(*class)) {
                classes.push(Some(*class));
            }
        }
        classes.push(None);
        Self {
            limits: limits.collect(),
            governing: classes
                .into_iter()
                .map(|class| (class, governing_limits(class)))
                .collect(),
            cells: Slab::new(),
            index: HashTable::new(),
            gates: 0,
            hand: 0,
            made: 0,
            unleased: Vec::new(),
        }
    }

    pub(super) fn limit_index(&self, name: &str) -> Option<usize> {
        self.limits.iter().position(|limit| limit.name == name)
    }

    pub(super) fn limit_count(&self) -> usize {
        self.limits.len()
    }

    /// Which cells with a lease have been forgotten since this was asked last.
    pub(super) fn take_unleased(&mut self) -> Vec<(u32, CellId)> {
        std::mem::take(&mut self.unleased)
    }

    pub(super) fn kind_of_limit(&self, limit: usize) -> Option<&Kind> {
        self.limits.get(limit).map(|limit| &limit.kind)
    }

    /// The longest rolling window among the limits of `class`.
    pub(super) fn longest_window(&self, class: RouteClass) -> Option<Duration> {
        let windows = self.governing[self.class_index(class)]
            .1
            .iter()
            .filter_map(|limit| match &self.limits[usize::from(*limit)].kind {
                Kind::Rolling(window) => Some(window.length),
                _ => None,
            });
        windows.max()
    }

    fn class_index(&self, class: RouteClass) -> usize {
        let others = self.governing.len() - 1;
        self.governing[..others]
            .iter()
            .position(|(named, _)| *named == Some(class))
            .unwrap_or(others)
    }

    /// The cells that a request needs.
    pub(super) fn open_all(&mut self, class: RouteClass, keys: &Keys) -> Cells {
        let class = self.class_index(class);
        let mut cells = Cells::default();
        for nth in 0..self.governing[class].1.len() {
            let limit = self.governing[class].1[nth];
            cells.push(self.open(Place::Limit(limit), keys));
        }
        cells
    }

    /// The cells of the limits of a class, as far as there are any.
    pub(super) fn find_all(&self, class: RouteClass, keys: &Keys) -> Cells {
        let mut cells = Cells::default();
        for limit in &self.governing[self.class_index(class)].1 {
            if let Some(cell) = self.find(Place::Limit(*limit), keys) {
                cells.push(cell);
            }
        }
        cells
    }

    /// The gates at which a request that needs no slot waits for pauses of its limits.
    pub(super) fn find_gates(&self, class: RouteClass, keys: &Keys) -> Cells {
        let mut gates = Cells::default();
        if self.gates > 0 {
            for limit in &self.governing[self.class_index(class)].1 {
                if let Some(gate) = self.find(Place::PauseOf(*limit), keys) {
                    gates.push(gate);
                }
            }
        }
        gates
    }

    pub(super) fn key(&self, place: Place, keys: &Keys) -> Fingerprint {
        match place {
            Place::TokenGate => keys.token,
            Place::AccountGate => keys.account,
            Place::Limit(limit) | Place::PauseOf(limit) => {
                match self.limits[usize::from(limit)].scope {
                    Scope::Token => keys.token,
                    Scope::Account => keys.account,
                    Scope::App => APP,
                }
            }
        }
    }

    /// Whether both have the same cell there.
    pub(super) fn shares(&self, place: Place, one: &Keys, other: &Keys) -> bool {
        self.key(place, one) == self.key(place, other)
    }

    /// Whether the limit at `place` governs `class`.
    pub(super) fn governs(&self, class: RouteClass, place: Place) -> bool {
        match place {
            Place::Limit(limit) | Place::PauseOf(limit) => {
                self.governing[self.class_index(class)].1.contains(&limit)
            }
            Place::TokenGate | Place::AccountGate => false,
        }
    }

    /// Finds or makes a cell.
    pub(super) fn open(&mut self, place: Place, keys: &Keys) -> CellId {
        let key = self.key(place, keys);
        let cells = &self.cells;
        let is_it = |id: &CellId| is_cell(&cells[id.0 as usize], place, key);
        let rehash = |id: &CellId| hash(cells[id.0 as usize].place, cells[id.0 as usize].key);
        match self.index.entry(hash(place, key), is_it, rehash) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let kind = match place {
                    Place::Limit(limit) => &self.limits[usize::from(limit)].kind,
                    _ => &Kind::Gate,
                };
                let id = CellId(u32::try_from(self.cells.vacant_key()).unwrap_or(u32::MAX));
                entry.insert(id);
                self.cells.insert(Cell::new(place, key, kind));
                self.gates += u32::from(matches!(kind, Kind::Gate));
                self.made += 1;
                id
            }
        }
    }

    pub(super) fn find(&self, place: Place, keys: &Keys) -> Option<CellId> {
        let key = self.key(place, keys);
        let is_it = |id: &CellId| is_cell(&self.cells[id.0 as usize], place, key);
        self.index.find(hash(place, key), is_it).copied()
    }

    /// The gate that holds the request up, and until when.
    pub(super) fn closed_gate(&self, now: Tick, keys: &Keys) -> Option<(CellId, Tick)> {
        let closed = |id| Some((id, self.cell(id).paused_until(now)?));
        self.gates(keys)
            .filter_map(closed)
            .max_by_key(|(_, until)| *until)
    }

    /// The gates of the token and of the account, as far as there are any.
    pub(super) fn gates(&self, keys: &Keys) -> impl Iterator<Item = CellId> + use<> {
        let find = |place| (self.gates > 0).then(|| self.find(place, keys)).flatten();
        let gates = [find(Place::TokenGate), find(Place::AccountGate)];
        gates.into_iter().flatten()
    }

    pub(super) fn cell(&self, id: CellId) -> &Cell {
        &self.cells[id.0 as usize]
    }

    /// The cell together with the rule it obeys.
    pub(super) fn cell_mut(&mut self, id: CellId) -> (&mut Cell, &Kind) {
        let cell = &mut self.cells[id.0 as usize];
        let kind = match cell.place {
            Place::Limit(limit) => &self.limits[usize::from(limit)].kind,
            _ => &Kind::Gate,
        };
        (cell, kind)
    }

    /// Whether it is a daily pool, or the gate of those who need no slot of one.
    pub(super) fn is_pool(&self, id: CellId) -> bool {
        match self.cell(id).place {
            Place::Limit(limit) | Place::PauseOf(limit) => {
                matches!(self.limits[usize::from(limit)].kind, Kind::Pool(_))
            }
            Place::TokenGate | Place::AccountGate => false,
        }
    }

    pub(super) fn subject(&self, id: CellId) -> Subject {
        match self.cell(id).place {
            Place::Limit(limit) | Place::PauseOf(limit) => Subject::Limit(usize::from(limit)),
            Place::TokenGate => Subject::Token,
            Place::AccountGate => Subject::Account,
        }
    }

    pub(super) fn cells_of_limit(&self, limit: usize) -> Vec<CellId> {
        let of_limit =
            |cell: &Cell| matches!(cell.place, Place::Limit(place) if usize::from(place) == limit);
        self.cells
            .iter()
            .filter(|(_, cell)| of_limit(cell))
            .map(|(id, _)| CellId(id as u32))
            .collect()
    }

    pub(super) fn no_limit(limit: usize) -> ConfigError {
        ConfigError::new("limit", format!("number {limit} is not in the plan"))
    }

    /// Gives a limit another rule of the same kind.
    pub(super) fn set_rule(&mut self, limit: usize, rule: &Rule) -> Result<(), ConfigError> {
        let Some(state) = self.limits.get_mut(limit) else {
            return Err(Self::no_limit(limit));
        };
        rule.check(&state.name)?;
        let kind = Kind::new(rule, state.reserve(), state.paced).with_cold(state.cold);
        if std::mem::discriminant(&kind) != std::mem::discriminant(&state.kind) {
            let field = format!("limit `{}`: rule", state.name);
            return Err(ConfigError::new(
                field,
                "must stay of the same kind (rolling or daily)",
            ));
        }
        state.kind = kind;
        Ok(())
    }

    /// Whether anybody has said how much of a limit is kept for `Interactive`.
    pub(super) fn has_reserve(&self, limit: usize) -> bool {
        let state = self.limits.get(limit);
        state.is_some_and(|state| state.reserve.is_some())
    }

    /// Keeps so much of a limit for `Interactive`.
    pub(super) fn set_reserve(
        &mut self,
        limit: usize,
        reserve: Reserve,
    ) -> Result<(), ConfigError> {
        let Some(state) = self.limits.get_mut(limit) else {
            return Err(Self::no_limit(limit));
        };
        reserve.check(&state.name)?;
        state.reserve = Some(reserve);
        if let Some(rule) = state.kind.rule() {
            state.kind = Kind::new(&rule, reserve, state.paced).with_cold(state.cold);
        }
        Ok(())
    }

    /// The rule of a daily pool.
    pub(super) fn day(&mut self, limit: usize) -> Result<&Day, ConfigError> {
        let Some(state) = self.limits.get(limit) else {
            return Err(Self::no_limit(limit));
        };
        match &state.kind {
            Kind::Pool(day) => Ok(day),
            _ => Err(not_daily(&state.name)),
        }
    }

    /// Whether `Bulk` is spread over the rest of the day.
    pub(super) fn set_pace(&mut self, limit: usize, paced: bool) -> Result<(), ConfigError> {
        let Some(state) = self.limits.get_mut(limit) else {
            return Err(Self::no_limit(limit));
        };
        let Kind::Pool(day) = &mut state.kind else {
            return Err(not_daily(&state.name));
        };
        (day.paced, state.paced) = (paced, paced);
        Ok(())
    }

    /// How far keys may be used that are made from now on.
    pub(super) fn set_cold(&mut self, limit: usize, cold: Option<Cold>) {
        let Some(state) = self.limits.get_mut(limit) else {
            return;
        };
        state.cold = cold;
        if let Some(rule) = state.kind.rule() {
            state.kind = Kind::new(&rule, state.reserve(), state.paced).with_cold(cold);
        }
    }

    pub(super) fn claims(&self, limit: usize) -> Option<&Claims> {
        self.limits.get(limit).map(|limit| &limit.claims)
    }

    pub(super) fn claims_mut(&mut self, limit: usize) -> Option<&mut Claims> {
        self.limits.get_mut(limit).map(|limit| &mut limit.claims)
    }

    /// How many slots these cells have forgotten because their window was over; begins again at 0 after the last number.
    pub(super) fn expired(&self, cells: &Cells) -> u32 {
        let expired = cells.iter().map(|id| match &self.cell(id).slots {
            Slots::Rolling(slots) => slots.expired(),
            _ => 0,
        });
        expired.fold(0, u32::wrapping_add)
    }

    pub(super) fn key_count(&self) -> usize {
        self.cells.len()
    }

    /// Forgets a few of the cells that a fresh one would equal. Goes round over all of them in turn.
    pub(super) fn sweep(&mut self, now: Now, news: &mut Vec<Notice>) {
        let looks = SWEEP * (1 + std::mem::take(&mut self.made));
        for _ in 0..looks.min(self.cells.len()) {
            self.hand = if self.hand >= self.cells.capacity() {
                0
            } else {
                self.hand + 1
            };
            let id = CellId(self.hand as u32);
            if !self.cells.contains(self.hand) {
                continue;
            }
            let (cell, kind) = self.cell_mut(id);
            if !cell.is_blank(now, kind) {
                continue;
            }
            let cell = self.cells.remove(self.hand);
            let member = cell.lease.as_ref().map(|lease| lease.member());
            self.unleased.extend(member.map(|member| (member, id)));
            news.extend(cell.last_notice(now.tick));
            self.gates -= u32::from(matches!(cell.slots, Slots::Gate));
            if let Ok(entry) = self
                .index
                .find_entry(hash(cell.place, cell.key), |other| *other == id)
            {
                entry.remove();
            }
        }
    }
}

fn not_daily(limit: &str) -> ConfigError {
    ConfigError::new(format!("limit `{limit}`"), "is no daily pool")
}

fn is_cell(cell: &Cell, place: Place, key: Fingerprint) -> bool {
    cell.place == place && cell.key == key
}

fn hash(place: Place, key: Fingerprint) -> u64 {
    let place = match place {
        Place::Limit(limit) => u64::from(limit),
        Place::PauseOf(limit) => 0x100 + u64::from(limit),
        Place::TokenGate => 0x200,
        Place::AccountGate => 0x201,
    };
    // Fibonacci hashing spreads the place over all bits; the key is spread already.
    key.low() ^ (place + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
