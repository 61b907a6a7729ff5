//! The rule of a rolling window, ready for use.

use std::time::Duration;

use super::Tick;
use crate::plan::Reserve;

/// Up to this quota every slot keeps its own time; above it the times are rounded up to a grid of this many steps per window,
/// so that a window never needs more entries than this, whatever its quota.
const GRID: u32 = 256;

/// The rule of a rolling window, ready for use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) quota: u32,
    pub(super) length: Duration,
    /// What is kept for `Interactive`.
    reserve: Reserve,
    pub(super) grain: Duration,
    pub(super) cold: Option<Cold>,
}

/// How far a key may be used that is new while the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cold {
    /// From then on nothing of the process before is in the window.
    pub(super) until: Tick,
    /// Not at all; otherwise by one request at a time, until one tells how far the quota is used.
    pub(super) full: bool,
}

impl Window {
    pub(super) fn new(quota: u32, length: Duration) -> Self {
        let grain = if quota > GRID {
            length / GRID
        } else {
            Duration::ZERO
        };
        Self {
            quota,
            length,
            reserve: Reserve::NONE,
            grain,
            cold: None,
        }
    }

    pub(super) fn with_cold(self, cold: Option<Cold>) -> Self {
        Self { cold, ..self }
    }

    pub(super) fn with_reserve(self, reserve: Reserve) -> Self {
        Self { reserve, ..self }
    }

    pub(super) fn has_reserve(&self) -> bool {
        self.reserve.of(self.quota) > 0
    }

    /// What all but `Interactive` may hold together of this quota: one at least.
    pub(super) fn unreserved(&self, quota: u32) -> u32 {
        quota - self.reserve.of(quota)
    }

    /// A slot is free strictly after its window, which is right for servers that count the edge as inside, too.
    pub(super) fn release(&self, anchor: Tick) -> Tick {
        anchor.after(self.length).next()
    }
}
