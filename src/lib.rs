//! Tower layers that keep an HTTP client inside a third party's API quota while using all of it.

mod api;
pub mod backoff;
pub mod body;
pub mod clock;
pub mod core;
mod error;
#[cfg(feature = "hubspot")]
pub mod hubspot;
pub mod limit;
mod macros;
pub mod plan;
pub mod quota;
pub mod request;
pub mod signal;
#[cfg(feature = "sim")]
pub mod sim;
pub mod stack;

pub use self::api::Api;
pub use self::backoff::RetryAfterLayer;
pub use self::error::{BoxError, ConfigError, QuotaError};
pub use self::limit::TokenLimitLayer;
pub use self::quota::Quota;
