//! [`BatchLayer`]: calls for single records that come while others wait leave as one batch call.

mod answer;
mod board;
mod caller;
mod caps;
mod crew;
mod drain;
mod error;
mod event;
mod flight;
mod future;
mod group;
mod guard;
mod layer;
mod leg;
mod policy;
mod records;
mod service;
mod shared;

pub use self::drain::Drain;
pub use self::error::BatchError;
pub use self::future::ResponseFuture;
pub use self::layer::BatchLayer;
pub use self::policy::{BatchPolicy, Input, Joined, Operation, Part, Single, Split, Twice};
pub use self::service::Batch;

/// Response extension: the answer came with that to a batch call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batched {
    /// For how many callers the batch call was.
    pub calls: usize,
}
