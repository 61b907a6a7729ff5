//! What a cell is called: inside the ledger, and outside.

use crate::plan::MAX_LIMITS_PER_CLASS;

/// What can be paused, or what a denial is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The limit at this position in the plan.
    Limit(usize),
    /// The whole token.
    Token,
    /// The whole account.
    Account,
}

/// What a cell is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The limit at this position in the plan.
    Limit(u8),
    /// Pauses of the limit at this position, for those who need no slot of it.
    PauseOf(u8),
    /// Pauses of a whole token.
    TokenGate,
    /// Pauses of a whole account.
    AccountGate,
}

/// Where a cell stands in the table. Stays valid while anything refers to the cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CellId(pub(super) u32);

/// The cells of all limits of one request, and the gates of its token and account.
const MOST_CELLS: usize = MAX_LIMITS_PER_CLASS + 2;

/// A short list of cells without an allocation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cells {
    ids: [CellId; MOST_CELLS],
    len: u8,
}

impl Cells {
    pub(super) fn push(&mut self, cell: CellId) {
        self.ids[usize::from(self.len)] = cell;
        self.len += 1;
    }

    pub(super) fn remove(&mut self, cell: CellId) {
        if let Some(at) = self.iter().position(|id| id == cell) {
            self.len -= 1;
            self.ids.swap(at, usize::from(self.len));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub(super) fn contains(&self, cell: CellId) -> bool {
        self.iter().any(|id| id == cell)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = CellId> + use<> {
        let Cells { ids, len } = *self;
        ids.into_iter().take(usize::from(len))
    }
}
