//! A ledger whose slots are lent by a store that several processes share.

use super::Ledger;
use crate::core::keys::Keys;
use crate::core::lease::{Answer, Call, Members, Sharing};
use crate::core::place::Subject;
use crate::core::tick::{Now, Tick};

impl Ledger {
    /// From now on a store lends the slots of all limits, except of daily pools whose zone is unknown.
    pub fn share(&mut self, _sharing: Sharing) {}

    /// When [`calls`](Self::calls) will have something to give, as far as that is known; asked after every change, because it may
    /// have become earlier.
    pub fn next_call(&self) -> Option<Tick> {
        None
    }

    /// The calls to the store that are due, `most` at most. For each key one is under way at a time: hand every one of them back by
    /// [`answered`](Self::answered) or [`unanswered`](Self::unanswered).
    pub fn calls(&mut self, _now: Now, _most: usize) -> Vec<Call> {
        Vec::new()
    }

    /// The store has answered. Gives the pauses that others have begun, for the caller to [begin](Self::pause) here.
    pub fn answered(
        &mut self,
        _now: Now,
        _call: Call,
        _answer: Answer,
    ) -> Vec<(Keys, Subject, Tick)> {
        Vec::new()
    }

    /// The store has not answered in time, so that nobody knows whether it has carried the call out. The same call is due again soon.
    pub fn unanswered(&mut self, _now: Now, _call: Call) {}

    /// The store is gone: every key is in the state that [`OnOutage`](crate::core::lease::OnOutage) says, until an answer comes for it.
    /// Calls that are under way may still be answered.
    pub fn store_gone(&mut self, _now: Now) {}

    /// The store is there again: every key that is in use asks it soon.
    pub fn store_back(&mut self, _now: Now) {}

    /// How many processes share the store.
    pub fn set_members(&mut self, _now: Now, _members: Members) {}

    /// What is said last: what is lent and not used goes back.
    pub fn farewell(&mut self, _now: Now) -> Vec<Call> {
        Vec::new()
    }

    /// How the limit at this position may be used while the store's record may lack something.
    pub fn set_shared_first_window(&mut self, _limit: usize, _first: crate::plan::FirstWindow) {}
}
