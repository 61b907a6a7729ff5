//! [`PayloadTrimLayer`]: a request that is too heavy for the server is asked in smaller pieces.

#[cfg(feature = "json")]
mod cursor;
mod layer;
mod policy;

#[cfg(feature = "json")]
pub use self::cursor::{CursorPages, CursorPagesBuilder, NextCursor};
pub use self::layer::PayloadTrimLayer;
pub use self::policy::{Finished, Piece, Question, Shape, Taken, TrimPolicy, Whole};

/// Response extension: what was asked for and left out, because the policy was allowed to. A header of the response says the same,
/// [`DROPPED_HEADER`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped(pub Vec<String>);

/// The response header that names the properties that were left out, separated by commas.
pub const DROPPED_HEADER: http::HeaderName =
    http::HeaderName::from_static("x-tower-quota-dropped-properties");
