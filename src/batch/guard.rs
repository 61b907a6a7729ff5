//! What is given back when it is dropped.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::crew::{Call, Crew, Verdict};
use super::group::Group;
use super::shared::Shared;

/// Somebody has come to a group in which nobody was.
pub(super) struct Arrival {
    shared: Arc<Shared>,
    group: Group,
    is_over: bool,
}

impl Arrival {
    /// `None` when others are there.
    pub(super) fn new(shared: &Arc<Shared>, group: Group) -> Option<Self> {
        shared.board.arrives(group).then(|| Self {
            shared: shared.clone(),
            group,
            is_over: false,
        })
    }

    /// The board has been told otherwise.
    pub(super) fn over(mut self) {
        self.is_over = true;
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if !self.is_over {
            self.shared.board.departs(self.group);
        }
    }
}

/// A call that is under way.
pub(super) struct UnderWay {
    shared: Arc<Shared>,
    group: Group,
    callers: usize,
}

impl UnderWay {
    /// The board knows of it already.
    pub(super) fn known(shared: &Arc<Shared>, group: Group, callers: usize) -> Self {
        Self {
            shared: shared.clone(),
            group,
            callers,
        }
    }

    /// For a single call.
    pub(super) fn single(shared: &Arc<Shared>, group: Group) -> Self {
        shared.board.goes_alone(group);
        Self::known(shared, group, 1)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.shared.board.lands(self.group, self.callers);
    }
}

/// A seat in a batch.
pub(super) struct Seat {
    shared: Arc<Shared>,
    group: Group,
    crew: Arc<Crew>,
    seat: usize,
}

impl Seat {
    pub(super) fn new(shared: &Arc<Shared>, group: Group, crew: Arc<Crew>, seat: usize) -> Self {
        Self {
            shared: shared.clone(),
            group,
            crew,
            seat,
        }
    }

    pub(super) fn group(&self) -> Group {
        self.group
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Verdict> {
        self.crew.poll(self.seat, cx)
    }

    /// Whether the call may still be taken back.
    pub(super) fn is_gathering(&self) -> bool {
        !self.crew.is_sealed()
    }

    /// Takes the call back. `false` when it is on its way by now.
    pub(super) fn withdraw(&self) -> bool {
        self.crew.withdraw(self.seat).is_some()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.board.leaves(self.group, &self.crew, self.seat);
    }
}

/// The right to be the only call about a record, or a place in the line for it.
pub(super) struct Turn {
    shared: Arc<Shared>,
    group: Group,
    record: Arc<str>,
    /// The number in the line; `None` once the turn has come.
    waits: Option<u64>,
}

impl Turn {
    pub(super) fn new(shared: &Arc<Shared>, group: Group, record: Arc<str>) -> Self {
        Self {
            shared: shared.clone(),
            group,
            waits: shared.board.enters(group, &record),
            record,
        }
    }

    /// Ready when the turn has come.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let board = &self.shared.board;
        if let Some(id) = self.waits {
            if !board.has_turn(self.group, &self.record, id, cx.waker()) {
                return Poll::Pending;
            }
            self.waits = None;
        }
        Poll::Ready(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.shared
            .board
            .frees(self.group, &self.record, self.waits);
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("waits", &self.waits.is_some())
            .finish_non_exhaustive()
    }
}

/// A single call on its way to the client, and what it holds until it is answered.
///
/// Boxed, because every future has room for it, also those of callers who wait in a batch.
#[derive(Default)]
pub(super) struct Alone {
    _held: Option<Box<(UnderWay, Option<Box<Turn>>)>>,
}

impl Alone {
    pub(super) fn new(under_way: UnderWay, call: &mut Call) -> Self {
        Self {
            _held: Some(Box::new((under_way, call.turn.take()))),
        }
    }
}
