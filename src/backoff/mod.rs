//! [`RetryAfterLayer`]: repeats what may be repeated, and makes everybody wait who must.
//!
//! # What
//!
//! Honours `Retry-After` (seconds, fractions, HTTP-date), otherwise backs off exponentially with jitter; so it does after a
//! `Retry-After` of zero, for which nobody else has to wait. A refusal pauses what its reason names (one limit, the token, the account) for all requests of the same
//! [`Quota`](crate::Quota), those of other tasks included. When attempts run out, or the wait would be longer than allowed, the
//! caller gets the server's own last answer.
//!
//! | outcome | reads | idempotent writes | creates |
//! |---|---|---|---|
//! | refused (429, 425; HubSpot's 423 and 477) | repeated | repeated | repeated |
//! | refused by a daily pool | given back at once; with [`DailyExhausted::Park`](crate::quota::DailyExhausted::Park) after its reset | same | same |
//! | failed (408, 500, 502, 503, 504, 521, 523, 524, 529), lost connection, timeout inside | repeated | repeated | given back |
//! | all others | given back | same | same |
//!
//! Which status means what is a matter of the API's [`SignalReader`](crate::signal::SignalReader); these are those of
//! [`StandardSignals`](crate::signal::StandardSignals).
//!
//! A request that carries [`TooHeavy`](crate::request::TooHeavy) and ends so is given back at once, whatever the table says: a layer
//! further outside asks for less.
//!
//! Whether a request reads or writes is a matter of the API's [`Routes`](crate::request::Routes), not of its method alone: a search
//! is a read although it is a `POST`. A caller who knows better attaches [`Idempotent`](crate::request::Idempotent).
//!
//! # When
//!
//! With every client of an API that has limits. It governs no window itself: with
//! [`TokenLimitLayer`](crate::TokenLimitLayer) inside, every repetition takes its own slots; without it, all who waited for a
//! pause go at once when it ends.
//!
//! # Order in the stack
//!
//! Outside [`TokenLimitLayer`](crate::TokenLimitLayer) and outside timeouts of single attempts; inside whatever must see only the
//! final answer.
//!
//! # Bodies
//!
//! A request can be repeated when its body says that it is no larger than [`max_body`](RetryAfterLayer::max_body); it is then read
//! into memory before the first attempt. Larger bodies and those of unknown size stream through and are sent once. The inner
//! service gets a [`HeldBody`](crate::body::HeldBody). Of a response that is not passed on, up to 64 KiB are read, so that the
//! connection can be used again.
//!
//! # Outages
//!
//! A budget keeps an outage from being answered with a storm: every answered request earns a fifth of a repetition, at most
//! 100 are saved, and a failed request is repeated only while there is one left. Repetitions after a refusal cost nothing, because
//! the pause keeps them in check already.
//!
//! # Cancel safety
//!
//! Dropping the future drops the attempt that is under way, or the wait, and nothing else.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU32, Ordering};
//!
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_quota::body::HeldBody;
//! use tower_quota::plan::Plan;
//! use tower_quota::{BoxError, Quota, RetryAfterLayer};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! // A server that refuses the first request.
//! let calls = Arc::new(AtomicU32::new(0));
//! let client = service_fn(move |_: Request<HeldBody<Full<Bytes>>>| {
//!     let status = if calls.fetch_add(1, Ordering::Relaxed) == 0 { 429 } else { 200 };
//!     async move { Response::builder().status(status).header("retry-after", "2").body(Full::<Bytes>::default()) }
//! });
//!
//! let quota = Quota::new(Plan::builder("acme").build()?);
//! let mut api = ServiceBuilder::new().layer(RetryAfterLayer::new(&quota).max_attempts(3)?).service(client);
//!
//! let request = Request::get("https://api.example.com/things").body(Full::default())?;
//! let response = api.ready().await?.call(request).await?;
//! assert_eq!(response.status(), 200);
//! # Ok(())
//! # }
//! ```

mod budget;
mod future;
mod layer;
mod policy;
mod service;

pub use self::future::ResponseFuture;
pub use self::layer::RetryAfterLayer;
pub use self::policy::Attempts;
pub use self::service::RetryAfter;
