//! The fields that are read of every response.

use super::header::{Fields, Names};

/// Their names, in the order of the places below.
pub(super) static NAMES: Names<6> = Names::new([
    "age",
    "retry-after",
    "x-envoy-upstream-service-time",
    "openai-processing-ms",
    "x-runtime",
    "server-timing",
]);
pub(super) const AGE: usize = 0;
pub(super) const RETRY_AFTER: usize = 1;
pub(super) const ENVOY: usize = 2;
pub(super) const OPENAI: usize = 3;
pub(super) const RUNTIME: usize = 4;
pub(super) const SERVER_TIMING: usize = 5;

pub(super) type StandardFields<'a> = Fields<'a, 6>;
