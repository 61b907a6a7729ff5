//! `BatchLayer`: calls for single records that come while others wait leave as one batch call.

mod policy;

pub use self::policy::{BatchPolicy, Input, Joined, Operation, Part, Single, Split, Twice};
