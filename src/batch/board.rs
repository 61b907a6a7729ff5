//! What is gathered and under way, group by group.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::crew::{Call, Crew};
use super::group::Group;
use super::records::Records;

/// So many calls of one group are under way before others wait for one of them to end. With fewer, a call every 50 ms would wait
/// when an answer takes 100 ms; with more, a busy group would send small batches.
const MOST_UNDER_WAY: usize = 4;

/// Batches for so many callers on average are worth waiting for. Where calls come one by one there are no such batches, and nobody
/// waits. When only batches for 25 were, 16 callers took more than twice as many requests for 1,000 records as with this
/// (`cargo run --release --example hubspot_sync -- --batch --records 1000 --concurrency 16`).
const LARGE: usize = 4;

/// All groups that have calls. One that has none left is forgotten.
#[derive(Default)]
pub(super) struct Board(Mutex<State>);

#[derive(Default)]
struct State {
    groups: HashMap<Group, Entries>,
    /// The number of the next batch.
    next: u64,
    /// How many drain.
    draining: usize,
    /// Who wants to know when nothing is left.
    watching: Vec<Waker>,
}

/// What one group has.
#[derive(Default)]
struct Entries {
    /// Who is alone in the group, and waits one turn of the scheduler for company.
    arriving: usize,
    /// The batch that gathers.
    open: Option<Arc<Crew>>,
    /// All batches that are not over, that one included, by number.
    crews: BTreeMap<u64, Arc<Crew>>,
    /// How many calls are under way, single ones and batches, and for how many callers.
    calls: usize,
    callers: usize,
    /// How many have ended.
    landed: u64,
    records: Records,
}

impl Entries {
    fn is_idle(&self) -> bool {
        self.arriving == 0 && self.open.is_none() && self.calls == 0
    }

    fn is_over(&self) -> bool {
        self.is_idle() && self.crews.is_empty() && self.records.is_empty()
    }
}

/// Where a call goes.
pub(super) enum Way {
    /// Nobody else is there: it goes as it is, and counts as under way.
    Lone(Box<Call>),
    /// Into the batch that gathers.
    Seat(Arc<Crew>, usize),
    /// The same, and nobody leads the batch yet.
    Lead(Arc<Crew>, usize),
}

/// What a batch that has gathered long enough may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    Now,
    /// When one of those under way has ended; so many have so far.
    After(u64),
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the group has nobody; then the caller is counted as arriving.
    pub(super) fn arrives(&self, group: Group) -> bool {
        let mut state = self.lock();
        let entries = state.groups.entry(group).or_default();
        let is_idle = entries.is_idle();
        entries.arriving += usize::from(is_idle);
        is_idle
    }

    /// Who has arrived is not there any more.
    pub(super) fn departs(&self, group: Group) {
        let mut state = self.lock();
        let Some(entries) = state.groups.get_mut(&group) else {
            return;
        };
        entries.arriving = entries.arriving.saturating_sub(1);
        let woken = state.forget(group);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Gives the call a way. `has_arrived` says that it was counted so before. A batch takes at most `most` inputs.
    pub(super) fn place(
        &self,
        group: Group,
        has_arrived: bool,
        call: Box<Call>,
        most: usize,
    ) -> Way {
        let mut guard = self.lock();
        let state = &mut *guard;
        let entries = state.groups.entry(group).or_default();
        if has_arrived {
            entries.arriving = entries.arriving.saturating_sub(1);
        }
        if most <= 1 || has_arrived && entries.is_idle() {
            entries.calls += 1;
            entries.callers += 1;
            return Way::Lone(call);
        }
        let (crew, is_new) = match &entries.open {
            Some(crew) => (crew.clone(), false),
            None => {
                let crew = Arc::new(Crew::new(state.next, most));
                state.next += 1;
                entries.open = Some(crew.clone());
                entries.crews.insert(crew.number(), crew.clone());
                (crew, true)
            }
        };
        let (seat, is_full) = crew.join(call);
        if is_full {
            entries.open = None;
        }
        // Whoever drains must know of it.
        let woken = match is_new {
            true => std::mem::take(&mut state.watching),
            false => Vec::new(),
        };
        drop(guard);
        woken.into_iter().for_each(Waker::wake);
        if is_full {
            crew.rouse();
        }
        match is_new {
            true => Way::Lead(crew, seat),
            false => Way::Seat(crew, seat),
        }
    }

    /// A single call is under way.
    pub(super) fn goes_alone(&self, group: Group) {
        let mut state = self.lock();
        let entries = state.groups.entry(group).or_default();
        entries.calls += 1;
        entries.callers += 1;
    }

    /// Whether a batch of `gathered` may leave.
    ///
    /// One that would be small leaves where the others are small, too. Beside large ones it waits for one of them to end, if it can
    /// wait, and looks again: the callers of that come back at the same moment, and fill it.
    pub(super) fn may_leave(&self, group: Group, gathered: usize, can_wait: bool) -> Leave {
        let state = self.lock();
        let Some(entries) = state.groups.get(&group) else {
            return Leave::Now;
        };
        let Entries { calls, callers, .. } = *entries;
        let others_are_large = callers >= calls * LARGE;
        let is_small = gathered * calls < callers;
        let wants_company = can_wait && others_are_large && is_small;
        let is_free = calls == 0 || calls < MOST_UNDER_WAY && !wants_company;
        match is_free {
            true => Leave::Now,
            false => Leave::After(entries.landed),
        }
    }

    /// Whether more than so many calls of the group have ended.
    pub(super) fn has_landed(&self, group: Group, before: u64) -> bool {
        let state = self.lock();
        let landed = state.groups.get(&group).map(|entries| entries.landed);
        landed != Some(before)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.lock().draining > 0
    }

    /// Nobody else joins the batch; its callers' calls are under way.
    pub(super) fn seal(&self, group: Group, crew: &Arc<Crew>) -> Vec<(usize, Box<Call>)> {
        let mut state = self.lock();
        let entries = state.groups.entry(group).or_default();
        entries.open.take_if(|open| Arc::ptr_eq(open, crew));
        let calls = crew.seal();
        entries.calls += 1;
        entries.callers += calls.len();
        calls
    }

    /// A call for so many callers has ended.
    pub(super) fn lands(&self, group: Group, callers: usize) {
        let mut state = self.lock();
        let Some(entries) = state.groups.get_mut(&group) else {
            return;
        };
        entries.calls = entries.calls.saturating_sub(1);
        entries.callers = entries.callers.saturating_sub(callers);
        entries.landed = entries.landed.wrapping_add(1);
        let open = entries.open.clone();
        let woken = state.forget(group);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        if let Some(open) = open {
            open.rouse();
        }
    }

    /// The batch is over, or has nobody left.
    pub(super) fn ends(&self, group: Group, crew: &Arc<Crew>) {
        let mut state = self.lock();
        let Some(entries) = state.groups.get_mut(&group) else {
            return;
        };
        entries.open.take_if(|open| Arc::ptr_eq(open, crew));
        entries.crews.remove(&crew.number());
        let woken = state.forget(group);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    /// A caller gives up his seat. What he leaves behind must be dropped where no lock is held.
    pub(super) fn leaves(&self, group: Group, crew: &Arc<Crew>, seat: usize) {
        // Nobody can join between the look at who is left and the end of the batch.
        let mut state = self.lock();
        let left = crew.leave(seat);
        let mut woken = Vec::new();
        if left.is_empty {
            if let Some(entries) = state.groups.get_mut(&group) {
                entries.open.take_if(|open| Arc::ptr_eq(open, crew));
                entries.crews.remove(&crew.number());
            }
            woken = state.forget(group);
        }
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        left.settle();
    }

    /// `None` when the record was free; otherwise the number in its line.
    pub(super) fn enters(&self, group: Group, record: &str) -> Option<u64> {
        let mut state = self.lock();
        state.groups.entry(group).or_default().records.enter(record)
    }

    /// Whether the turn in the line of a record has come.
    pub(super) fn has_turn(&self, group: Group, record: &str, id: u64, waker: &Waker) -> bool {
        let mut state = self.lock();
        let records = &mut state.groups.entry(group).or_default().records;
        let has_turn = records.poll(record, id, waker);
        let retired = records.take_retired();
        drop(state);
        drop(retired);
        has_turn
    }

    /// The record is free, or with a number the place in its line.
    pub(super) fn frees(&self, group: Group, record: &str, id: Option<u64>) {
        let mut state = self.lock();
        let Some(entries) = state.groups.get_mut(&group) else {
            return;
        };
        let next = match id {
            None => entries.records.release(record),
            Some(id) => entries.records.leave(record, id),
        };
        let retired = entries.records.take_retired();
        let woken = state.forget(group);
        drop(state);
        drop(retired);
        woken.into_iter().chain(next).for_each(Waker::wake);
    }

    /// From now on whatever is gathered leaves at once; undone by [`end_drain`](Self::end_drain).
    pub(super) fn begin_drain(&self) {
        let mut state = self.lock();
        state.draining += 1;
        let crews = state.crews();
        drop(state);
        crews.iter().for_each(|crew| crew.rouse());
    }

    pub(super) fn end_drain(&self) {
        let mut state = self.lock();
        state.draining = state.draining.saturating_sub(1);
    }

    /// The batches that are not over yet; the waker is told when there may be fewer calls. `None` when there are none, single ones
    /// included.
    pub(super) fn left(&self, waker: &Waker) -> Option<Vec<Arc<Crew>>> {
        let mut state = self.lock();
        if state.groups.is_empty() {
            return None;
        }
        if !state.watching.iter().any(|known| known.will_wake(waker)) {
            state.watching.push(waker.clone());
        }
        Some(state.crews())
    }
}

impl State {
    fn crews(&self) -> Vec<Arc<Crew>> {
        let crews = self
            .groups
            .values()
            .flat_map(|entries| entries.crews.values());
        crews.cloned().collect()
    }

    /// Forgets a group that has nothing left. Whoever watches is to be woken.
    #[must_use]
    fn forget(&mut self, group: Group) -> Vec<Waker> {
        if let Entry::Occupied(entries) = self.groups.entry(group) {
            if entries.get().is_over() {
                entries.remove();
            }
        }
        std::mem::take(&mut self.watching)
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = self.lock().groups.len();
        f.debug_struct("Board").field("groups", &groups).finish()
    }
}
