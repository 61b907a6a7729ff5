//! Tower layers that keep an HTTP client inside a third party's API quota while using all of it.

pub mod clock;
pub mod core;
mod error;
#[cfg(feature = "hubspot")]
pub mod hubspot;
pub mod plan;
pub mod request;
pub mod signal;
#[cfg(feature = "sim")]
pub mod sim;

pub use self::error::ConfigError;
