//! The server's side: how many requests are in each window.

use std::collections::VecDeque;

use super::super::{MS, S};

/// A rolling window that counts both of its edges.
pub(super) struct Window {
    pub(super) quota: usize,
    pub(super) length: u64,
    counted: VecDeque<u64>,
}

impl Window {
    pub(super) fn new(quota: usize, length: u64) -> Self {
        Self {
            quota,
            length,
            counted: VecDeque::new(),
        }
    }

    fn is_full(&mut self, now: u64) -> bool {
        while self
            .counted
            .front()
            .is_some_and(|at| at + self.length < now)
        {
            self.counted.pop_front();
        }
        self.counted.len() >= self.quota
    }

    fn used(&self) -> u32 {
        u32::try_from(self.counted.len()).unwrap()
    }
}

/// All windows of the server: one for every request, a narrow one for searches only.
pub(super) struct Judge {
    pub(super) windows: [Window; 2],
    /// When requests were refused.
    pub(super) refused: Vec<u64>,
}

impl Judge {
    pub(super) fn new() -> Self {
        Self {
            windows: [Window::new(100, 10 * S), Window::new(5, 1_000 * MS)],
            refused: Vec::new(),
        }
    }

    /// A request arrives. Gives how far each window is used then.
    pub(super) fn count(&mut self, now: u64, is_search: bool) -> [u32; 2] {
        let windows = match is_search {
            true => &mut self.windows[..],
            false => &mut self.windows[..1],
        };
        let mut is_full = false;
        for window in windows.iter_mut() {
            is_full |= window.is_full(now);
        }
        match is_full {
            true => self.refused.push(now),
            false => windows
                .iter_mut()
                .for_each(|window| window.counted.push_back(now)),
        }
        [self.windows[0].used(), self.windows[1].used()]
    }
}
