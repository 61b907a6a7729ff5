//! What size worked last time.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

use super::policy::Shape;
use crate::core::Fingerprint;

/// So many pieces in a row must have worked before a larger size is tried. One that fails then costs one request in 257, and at
/// the five searches per second of some APIs one wait in a minute.
const RUN: u32 = 256;
/// After a larger size has worked the next one is tried sooner, and after it has failed later.
const SHORTEST_RUN: u32 = 16;
const LONGEST_RUN: u32 = 16_384;

/// The sizes that worked, by account and shape. Only shapes that were once too heavy are in it.
#[derive(Debug)]
pub(super) struct Memory {
    hasher: RandomState,
    most: usize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    sizes: HashMap<u64, Record>,
    /// Counts the looks, to tell what was of no use for long.
    looks: u64,
}

#[derive(Debug)]
struct Record {
    /// Zero where no size worked, and the question was asked in another way.
    size: usize,
    /// That size has worked. Otherwise it is only known that larger ones have not.
    is_proved: bool,
    run: u32,
    wanted: u32,
    /// Somebody tries a larger size right now.
    probed: bool,
    last_look: u64,
}

/// The place of one account's shape in the memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry(u64);

/// What the memory knows of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recalled {
    /// It was never too heavy.
    Nothing,
    /// Ask for so many units at a time; more than what is proved to work, if `probe`, or if nothing is proved.
    Size {
        size: usize,
        proved: usize,
        probe: bool,
    },
    /// It was too heavy in any size. With `probe` it is time to see whether it goes whole by now.
    Instead { probe: bool },
}

impl Memory {
    pub(super) fn new(most: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            most,
            known: Mutex::default(),
        }
    }

    pub(super) fn entry(&self, account: Fingerprint, shape: &Shape) -> Entry {
        Entry(self.hasher.hash_one((account, shape)))
    }

    /// What is known about a request that asks for `whole` units.
    pub(super) fn recall(&self, entry: &Entry, whole: usize) -> Recalled {
        let mut known = self.known();
        known.looks += 1;
        let looks = known.looks;
        let Some(record) = known.sizes.get_mut(&entry.0) else {
            return Recalled::Nothing;
        };
        record.last_look = looks;
        if !record.is_proved {
            return Recalled::Size {
                size: record.size.min(whole),
                proved: 0,
                probe: false,
            };
        }
        let proved = record.size;
        let probe = proved < whole && record.run >= record.wanted && !record.probed;
        record.probed |= probe;
        match (proved, probe) {
            (0, probe) => Recalled::Instead { probe },
            (_, true) => Recalled::Size {
                size: proved.saturating_mul(2).min(whole),
                proved,
                probe,
            },
            (_, false) => Recalled::Size {
                size: proved.min(whole),
                proved,
                probe,
            },
        }
    }

    /// What others have learnt in the meantime.
    pub(super) fn known_size(&self, entry: &Entry) -> Option<usize> {
        let known = self.known();
        let record = known.sizes.get(&entry.0);
        record
            .filter(|record| record.is_proved)
            .map(|record| record.size)
    }

    /// This size works, and a larger one does not.
    pub(super) fn learn(&self, entry: &Entry, size: usize) {
        self.note(entry, size, true);
    }

    /// Larger sizes than this do not work. It was to be tried next, and was not, or nobody waited for the answer.
    pub(super) fn suspect(&self, entry: &Entry, size: usize) {
        self.note(entry, size, false);
    }

    fn note(&self, entry: &Entry, size: usize, is_proved: bool) {
        if self.most == 0 {
            return;
        }
        let mut known = self.known();
        let looks = known.looks;
        if let Some(record) = known.sizes.get_mut(&entry.0) {
            if !is_proved && size >= record.size {
                // Others have come further.
                return;
            }
            if record.size != size {
                // What is known of larger sizes was learnt at another one.
                record.wanted = RUN;
            }
            (record.size, record.is_proved, record.run) = (size, is_proved, 0);
            return;
        }
        if known.sizes.len() >= self.most {
            // Rare: only shapes that are too heavy come here, and only when they are met for the first time.
            let oldest = known
                .sizes
                .iter()
                .min_by_key(|(_, record)| record.last_look);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                known.sizes.remove(&oldest);
            }
        }
        let record = Record {
            size,
            is_proved,
            run: 0,
            wanted: RUN,
            probed: false,
            last_look: looks,
        };
        known.sizes.insert(entry.0, record);
    }

    /// A piece was answered.
    pub(super) fn worked(&self, entry: &Entry) {
        self.change(entry, |record| record.run = record.run.saturating_add(1));
    }

    /// A piece was too heavy although its size is known to work.
    pub(super) fn stumbled(&self, entry: &Entry) {
        self.change(entry, |record| record.run = 0);
    }

    /// A larger size was tried; `works` is that size if it does.
    pub(super) fn probed(&self, entry: &Entry, works: Option<usize>) {
        self.change(entry, |record| {
            (record.probed, record.run) = (false, 0);
            record.wanted = match works {
                Some(size) => {
                    (record.size, record.is_proved) = (size, true);
                    (record.wanted / 2).max(SHORTEST_RUN)
                }
                None => record.wanted.saturating_mul(2).min(LONGEST_RUN),
            };
        });
    }

    /// A larger size was to be tried, and nothing is known of it. If it `was_sent`, it may have taken longer than the caller waits:
    /// the next one is tried after another run, for whoever comes next may wait no longer.
    pub(super) fn unprobed(&self, entry: &Entry, was_sent: bool) {
        self.change(entry, |record| {
            record.probed = false;
            if was_sent {
                record.run = 0;
            }
        });
    }

    pub(super) fn len(&self) -> usize {
        self.known().sizes.len()
    }

    fn change(&self, entry: &Entry, change: impl FnOnce(&mut Record)) {
        if let Some(record) = self.known().sizes.get_mut(&entry.0) {
            change(record);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
