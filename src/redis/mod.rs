//! One quota for many processes: a ledger whose slots are lent by Redis or Valkey.

mod connection;
mod count;
mod driver;
mod error;
mod fingerprint;
mod health;
mod ledger;
mod members;
mod options;
mod script;
#[cfg(feature = "redis-tls")]
mod tls;

pub(crate) use self::count::Count;
pub use self::count::SharedCalls;
pub use self::error::{RedisError, RedisErrorKind};
pub(crate) use self::fingerprint::SharedSecret;
pub use self::ledger::RedisLedger;
pub use self::options::RedisOptions;
pub use crate::core::lease::OnOutage;
