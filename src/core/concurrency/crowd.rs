//! The requests of one token: those in flight and those who wait.

use std::collections::BTreeMap;

use super::control::Control;
use super::{Place, Settings};
use crate::core::cell::TURNS_OF_INTERACTIVE;
use crate::core::keys::Fingerprint;
use crate::core::queue::Rank;
use crate::core::tick::Tick;
use crate::plan::Lane;

#[derive(Debug)]
pub(super) struct Crowd {
    pub(super) token: Fingerprint,
    pub(super) control: Control,
    pub(super) in_flight: u32,
    /// Those who wait, as the keys of their waiters.
    pub(super) queue: BTreeMap<Rank, u32>,
    /// How many of `Interactive` have gone before those of `Bulk` who wait.
    passed_over: u8,
    /// When somebody came or went.
    pub(super) used: Tick,
}

impl Crowd {
    pub(super) fn new(now: Tick, token: Fingerprint, settings: &Settings) -> Self {
        Self {
            token,
            control: Control::new(now, &settings.bounds),
            in_flight: 0,
            queue: BTreeMap::new(),
            passed_over: 0,
            used: now,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.in_flight < self.control.limit()
    }

    /// One more is in flight.
    pub(super) fn grant(&mut self, now: Tick, crowd: u32, rank: Rank) -> Place {
        self.in_flight += 1;
        self.control.granted(now, self.in_flight);
        Place {
            crowd,
            rank,
            level: self.in_flight,
            round: self.control.round(),
            granted: now,
        }
    }

    /// Takes from the queue whose turn it is.
    pub(super) fn next(&mut self) -> Option<(Rank, u32)> {
        let first = *self.queue.first_key_value()?.0;
        let bulk = self.queue.range(Rank::FIRST_BULK..).next();
        let rank = match bulk.map(|(rank, _)| *rank) {
            Some(bulk)
                if first.lane() == Lane::Bulk || self.passed_over >= TURNS_OF_INTERACTIVE =>
            {
                self.passed_over = 0;
                bulk
            }
            Some(_) => {
                self.passed_over += 1;
                first
            }
            None => {
                self.passed_over = 0;
                first
            }
        };
        self.queue.remove_entry(&rank)
    }
}
