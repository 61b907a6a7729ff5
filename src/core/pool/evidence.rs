//! What responses say of a daily pool, and what follows from it about others who use it, too.

use crate::core::tick::Tick;

/// What responses have said of one pool today.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// What the server says the pool holds; zero when it has not said.
    quota: u32,
    /// When the request was sent whose response said so.
    quota_sent: Tick,
    /// The most that the server has counted today.
    counted: u32,
    /// When the response arrived that said so, and what we had counted and had in flight by then.
    arrived: Tick,
    own: u32,
    in_flight: u32,
    /// What others have used, at the least.
    foreign: u32,
    /// Whether that may be a figure of yesterday.
    provisional: bool,
    /// When the request was sent that told of a new day; those before it may still tell of the old one.
    anew: Tick,
}

/// One response, seen from our own count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) sent: Tick,
    pub(super) arrived: Tick,
    /// What the server has counted today.
    pub(super) counted: u32,
    /// What we have counted today, those in flight included.
    pub(super) own: u32,
    pub(super) in_flight: u32,
    /// Whether it may be a figure of yesterday.
    pub(super) provisional: bool,
}

impl Evidence {
    /// The server's figure for the whole pool. Of two figures that of the later request counts.
    pub(super) fn learn_quota(&mut self, sent: Tick, quota: u32) {
        if sent >= self.quota_sent {
            self.quota = quota;
            self.quota_sent = sent;
        }
    }

    /// What the server says the pool holds.
    pub(super) fn quota(&self) -> Option<u32> {
        (self.quota > 0).then_some(self.quota)
    }

    /// The most that the server has counted today.
    pub(super) fn counted(&self) -> u32 {
        self.counted
    }

    /// What others have used of `quota`. What the server allows beyond that is used first.
    pub(super) fn foreign(&self, quota: u32) -> u32 {
        let beyond = self.quota.saturating_sub(quota);
        self.foreign.saturating_sub(beyond)
    }

    /// Notes what the server has counted. What is more than all that we may have counted by then is foreign: requests in flight
    /// and late or overtaken responses can only make that too little, never too much.
    ///
    /// The figure of one day never falls. When a request that was sent after the earlier figure had arrived tells a clearly smaller
    /// one, the server's day has begun anew, or another counter has answered: the newer one is believed. Then gives what we
    /// may have counted at most.
    pub(super) fn note(&mut self, sample: Sample) -> Option<u32> {
        let Sample { counted, own, .. } = sample;
        if sample.sent < self.anew {
            return None;
        }
        let clearly_less = counted < self.counted - self.counted / 8;
        let most = if counted >= self.counted {
            self.foreign = self.foreign.max(counted.saturating_sub(own));
            None
        } else if clearly_less && sample.sent > self.arrived {
            // Whatever was over when the earlier figure arrived is part of this one.
            let since = self.in_flight + own.saturating_sub(self.own);
            let most = own.min(counted.saturating_add(since));
            self.foreign = counted.saturating_sub(most);
            self.anew = sample.sent;
            Some(most)
        } else {
            return None;
        };
        self.counted = counted;
        self.arrived = sample.arrived;
        self.own = most.unwrap_or(own);
        self.in_flight = sample.in_flight;
        self.provisional = sample.provisional;
        most
    }

    /// A new day begins.
    pub(super) fn forget_use(&mut self) {
        *self = Self {
            quota: self.quota,
            quota_sent: self.quota_sent,
            ..Self::default()
        };
    }

    /// Whether all that it says of others may be of yesterday.
    pub(super) fn is_provisional(&self) -> bool {
        self.provisional && self.foreign > 0
    }
}
