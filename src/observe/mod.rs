//! [`ObserveLayer`]: what is sent and what comes back, counted and told.
//!
//! # What
//!
//! Counts every attempt of every request that reaches the client, and every response that is an error: per app and day, per
//! token, per route. What it counts is in [`Quota::report`](crate::Quota::report). It tells, by [events](crate::event), of
//!
//! * every refusal ([`RateLimited`](crate::event::EventKind::RateLimited)), and of the first answer after it
//!   ([`Recovered`](crate::event::EventKind::Recovered)),
//! * the end of every pause ([`Resumed`](crate::event::EventKind::Resumed)), when the first request is sent after it,
//! * a share of errors among the requests of the day that comes near to what vendors bear, and of its end
//!   ([`ErrorShare`](crate::event::EventKind::ErrorShare)): 3 % and 5 % unless [set otherwise](crate::quota::QuotaBuilder::error_share). HubSpot, for one, counts all error
//!   responses and not only 429s.
//!
//! Nothing is held up, and nothing of the request or response is changed; what the head of the response says of quota is read once and attached
//! for the layers further outside ([`Signals`](crate::signal::Signals)).
//!
//! # When
//!
//! Always; [`StackLayer`](crate::stack::StackLayer) contains it. Without one the other layers work, and the counts of a report stay at zero.
//!
//! # Order in the stack
//!
//! Innermost, around what sends one attempt: further outside it would not see repetitions, and would count the time that a
//! request waits as time of the server. What a 429 says in its body is not known there; which limit is paused for it, the event
//! [`Paused`](crate::event::EventKind::Paused) of the layers further outside tells.
//!
//! Once: two of them with the same quota, one inside the other, count everything twice.
//!
//! # Cancel safety
//!
//! A request whose future is dropped counts, as one to which no response came.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use tower::ServiceBuilder;
//! use tower_quota::plan::{Limit, Plan};
//! use tower_quota::{ObserveLayer, Quota, TokenLimitLayer};
//!
//! let plan = Plan::builder("acme").limit(Limit::rolling("burst", 600, Duration::from_secs(60))).build()?;
//! let quota = Quota::new(plan);
//! # let client = ();
//! let api = ServiceBuilder::new()
//!     .layer(TokenLimitLayer::new(&quota))
//!     .layer(ObserveLayer::new(&quota))
//!     .service(client);
//!
//! // Every minute, say:
//! println!("{}", quota.report());
//! # Ok::<(), tower_quota::ConfigError>(())
//! ```

mod future;
mod layer;
mod service;

pub use self::future::ResponseFuture;
pub use self::layer::ObserveLayer;
pub use self::service::Observe;
