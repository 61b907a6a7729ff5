//! The daily pools: what happens when one is exhausted.

#[cfg(doc)]
use crate::request::Deadline;

/// What becomes of requests that find a daily pool exhausted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DailyExhausted {
    /// They wait for its reset no longer than for anything else: where that is later than the layer's `max_wait` they fail at
    /// once, and the error says when the pool is filled again.
    #[default]
    Fail,
    /// They wait for its reset until their own [`Deadline`], or as long as it takes if they have none, whatever `max_wait` is.
    /// Neither does `max_wait` end the wait for other limits that follows, because all who have waited for the same reset go one
    /// after the other.
    Park,
}

/// Request extension: it has waited for a daily pool further outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parked;
