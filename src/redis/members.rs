//! Who shares the store: a heartbeat, as a script.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::Value;

use super::error::RedisError;
use crate::core::lease::Members;

/// What the script does; it wants a clock before it.
pub(super) const BEAT: &str = include_str!("members.lua");

/// The key under which the members are. What is in braces decides of the hash slot in a cluster.
pub(super) fn record(prefix: &str) -> String {
    format!("{prefix}:{{members}}")
}

/// The arguments of the script. For `joined` see [`Membership`].
pub(super) fn arguments(member: &str, lease: Duration, joined: u64, leaves: bool) -> Vec<Vec<u8>> {
    let figures = [lease.as_micros().to_string(), joined.to_string()];
    let [lease, joined] = figures.map(String::into_bytes);
    let leaves = if leaves { b"1" } else { b"0" };
    vec![member.as_bytes().to_vec(), lease, joined, leaves.to_vec()]
}

/// What the store says of all members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beat {
    /// The store's clock.
    pub(super) time: SystemTime,
    count: u32,
    rank: u32,
    /// When this member joined, in microseconds since 1970.
    joined: u64,
    /// How long this member has been one.
    known_for: Duration,
    /// How long the store has kept the list.
    kept_for: Duration,
    /// The longest lease of all members: each of them asks that often.
    lease: Duration,
    /// Whether the list may take the place of one that was lost.
    is_second: bool,
}

impl Beat {
    /// Reads what the script has answered.
    pub(super) fn read(value: Value) -> Result<Self, RedisError> {
        let figures: Option<Vec<u64>> = match value {
            Value::Array(items) => items.into_iter().map(figure).collect(),
            _ => None,
        };
        let Some(&[now, count, rank, joined, begun, lease, survivors]) = figures.as_deref() else {
            return Err(RedisError::malformed("a heartbeat"));
        };
        let since = |then: u64| Duration::from_micros(now.saturating_sub(then));
        Ok(Self {
            time: UNIX_EPOCH + Duration::from_micros(now),
            count: u32::try_from(count).unwrap_or(u32::MAX),
            rank: u32::try_from(rank).unwrap_or(u32::MAX),
            joined,
            known_for: since(joined),
            kept_for: since(begun),
            lease: Duration::from_micros(lease),
            is_second: survivors > 0,
        })
    }
}

/// What this process knows of itself as a member, from one heartbeat to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Membership {
    /// When it joined, in microseconds since 1970, if all others must know it; zero otherwise. Told to a store that has lost its
    /// list.
    pub(super) joined: u64,
    members: Option<Members>,
    /// When the store answered last, by its clock, and since when it has done so without a break.
    heard: Option<SystemTime>,
    back: Option<SystemTime>,
}

impl Membership {
    /// Gives who shares the store, if that has changed.
    ///
    /// All ask once in a lease, and a little later if one call fails: after two leases a list is whole, and all know of a member.
    /// Until a list is whole that may have been begun because the last one was lost, what was known before counts. So a member
    /// that joined meanwhile waits one lease more, for all to turn to the new list. It is the same after a break: perhaps nobody
    /// could ask, and those whose time on the list has run out will come again.
    pub(super) fn hear(&mut self, beat: &Beat) -> Option<Members> {
        let known_after = beat.lease * if beat.is_second { 3 } else { 2 };
        let known = beat.known_for >= known_after;
        // One that is alone on such a list is perhaps the first to come again.
        let least = if beat.is_second && !known { 2 } else { 1 };
        let present = Members {
            count: beat.count.max(least),
            rank: beat.rank,
            known,
        };
        let since = |then: Option<SystemTime>| {
            let then = then.unwrap_or(UNIX_EPOCH);
            beat.time.duration_since(then).unwrap_or_default()
        };
        if self.heard.is_some() && since(self.heard) > beat.lease * 2 {
            self.back = Some(beat.time);
        }
        self.heard = Some(beat.time);
        let is_whole = beat.kept_for.min(since(self.back)) >= beat.lease * 2;
        let members = match self.members.filter(|before| before.known && !is_whole) {
            Some(before) => before,
            None => present,
        };
        self.joined = if members.known { beat.joined } else { 0 };
        let before = self.members.replace(members);
        Some(members).filter(|members| before != Some(*members))
    }
}

fn figure(value: Value) -> Option<u64> {
    match value {
        Value::Int(figure) => u64::try_from(figure).ok(),
        _ => None,
    }
}
