//! [`PayloadTrimLayer`]: a request that is too heavy for the server is asked in smaller pieces.

mod assemble;
#[cfg(feature = "json")]
mod cursor;
mod error;
mod event;
mod future;
mod job;
mod layer;
mod leg;
mod memory;
mod policy;
mod service;
mod shared;
mod trimming;

#[cfg(feature = "json")]
pub use self::cursor::{CursorPages, CursorPagesBuilder, NextCursor};
pub use self::error::TrimError;
pub use self::future::ResponseFuture;
pub use self::layer::PayloadTrimLayer;
pub use self::policy::{Finished, Piece, Question, Shape, Taken, TrimPolicy, Whole};
pub use self::service::PayloadTrim;

/// Response extension: the answer was put together from pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trimmed {
    /// How many units (records, inputs) the request asked for.
    pub asked: usize,
    /// How many units the pieces asked for at the end.
    pub size: usize,
    /// How many requests were sent, the one of the caller not counted if it was sent as it came.
    pub pieces: u32,
    /// How many requests were too heavy, the one of the caller counted.
    pub too_heavy: u32,
}

/// Response extension: what was asked for and left out, because the policy was allowed to. A header of the response says the same,
/// [`DROPPED_HEADER`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped(pub Vec<String>);

/// The response header that names the properties that were left out, separated by commas.
pub const DROPPED_HEADER: http::HeaderName =
    http::HeaderName::from_static("x-tower-quota-dropped-properties");
