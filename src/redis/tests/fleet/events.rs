//! What may happen, and what comes next.

use std::cmp::Ordering;

use super::super::*;

/// What there is to happen. Zero means never.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) processes: usize,
    pub(super) seconds: u64,
    /// Whether some of the requests are searches, which need a slot of a narrow limit, too.
    pub(super) searches: bool,
    /// Whether there is a store.
    pub(super) shared: bool,
    /// How long each waits between two requests, on average.
    pub(super) think: u64,
    /// So often one dies, and another one comes.
    pub(super) kills: u64,
    /// Requests that are given up, before or after they were sent.
    pub(super) cancels: f64,
    /// Responses that begin a pause.
    pub(super) pauses: f64,
    /// Whether responses tell what is left.
    pub(super) figures: bool,
    /// Calls or answers that are lost.
    pub(super) lost: f64,
    /// So often the store is gone for some seconds.
    pub(super) outages: u64,
    /// What is sent to a store that is gone reaches it when it is back.
    pub(super) freezes: bool,
    /// So often the store loses everything.
    pub(super) losses: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            processes: 1,
            seconds: 60,
            searches: true,
            shared: true,
            think: 0,
            kills: 0,
            cancels: 0.0,
            pauses: 0.0,
            figures: false,
            lost: 0.0,
            outages: 0,
            freezes: false,
            losses: 0,
        }
    }
}
/// What happens.
#[derive(Debug)]
pub(super) enum Event {
    Look {
        process: usize,
    },
    Admit {
        process: usize,
        worker: usize,
    },
    Cancel {
        process: usize,
        worker: usize,
        turn: u32,
    },
    Abandon {
        process: usize,
        worker: usize,
        turn: u32,
    },
    Count {
        process: usize,
        worker: usize,
        turn: u32,
        is_search: bool,
        service: u64,
        down: u64,
    },
    Response {
        process: usize,
        worker: usize,
        turn: u32,
        service: u64,
        used: [u32; 2],
    },
    Call {
        process: usize,
        seq: u64,
        key: Fingerprint,
        arguments: Vec<Vec<u8>>,
    },
    Answer {
        process: usize,
        seq: u64,
        value: Value,
    },
    CallLost {
        process: usize,
        seq: u64,
    },
    Beat {
        process: usize,
    },
    BeatOver {
        process: usize,
        value: Value,
    },
    BeatLost {
        process: usize,
    },
    Start,
    Kill,
    Outage,
    Loss,
}
/// Something that will happen; the greatest is the next.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) at: u64,
    /// Orders what happens at the same time.
    pub(super) count: u64,
    pub(super) event: Event,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.count).cmp(&(self.at, self.count))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}
