//! [`AdaptiveConcurrencyLayer`]: no more requests of a token at a time than the server bears.

mod body;
mod evidence;
mod future;
mod layer;
mod permit;
mod service;
mod shared;

pub use self::body::InFlightBody;
pub use self::future::ResponseFuture;
pub use self::layer::AdaptiveConcurrencyLayer;
pub use self::service::AdaptiveConcurrency;
pub use self::shared::Release;
pub use crate::core::concurrency::{Change, Concurrency, Headroom, Reason};
