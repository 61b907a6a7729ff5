//! [`TokenLimitLayer`]: no request leaves before every limit of the plan has a slot for it.
//!
//! # What
//!
//! Takes one slot under each limit that governs a request (by token, account or app), all at once or none, and sends the request
//! when it has them. A slot becomes free one window after the response has arrived, which is why the server never refuses a
//! request for a rolling limit of which this is the only user; see [`core`](crate::core) for the proof.
//!
//! # When
//!
//! On every client of an API with known limits. Alone it paces; with [`RetryAfterLayer`](crate::RetryAfterLayer) outside it, what
//! is refused or fails all the same is repeated, and every repetition takes its own slots.
//!
//! # Order in the stack
//!
//! Outside everything that belongs to the sending of one request (timeouts, connections, concurrency limits), inside everything
//! that repeats requests. A timeout layer *outside* it counts the waiting, too; a concurrency limit *outside* it is filled by requests
//! that wait for slots. Where a [`SearchBudgetLayer`](crate::SearchBudgetLayer) of the same quota is further outside, it takes the slots
//! of searches, and this layer those of all other requests; alone, or further outside, this layer takes them all.
//!
//! # Waiting
//!
//! At most [`max_wait`](TokenLimitLayer::max_wait), and not beyond the request's own [`Deadline`](crate::request::Deadline). A
//! wait that is known to be longer fails at once with a [`QuotaError`](crate::QuotaError) that says which limit it is and when the
//! request could go. Waiters are served in the order in which they came, those of
//! [`Lane::Interactive`](crate::request::Lane) before those of `Bulk`.
//!
//! # Readiness
//!
//! The service is always ready. The inner service is made ready after the slots are granted, so nobody holds a place in it while
//! he waits, and only the very instance that was made ready is called. Between the grant and the inner service's readiness the
//! slots are held, for as long as that takes: `max_wait` ends only the wait for slots.
//!
//! # Cancel safety
//!
//! Dropping the future while it waits gives up its place; after the grant and before the send it gives its slots back at once;
//! after the send the slots age as if the request had been counted, because perhaps it was.
//!
//! # Example
//!
//! ```
//! use std::convert::Infallible;
//! use std::time::Duration;
//!
//! use http::{Request, Response};
//! use http_body_util::Empty;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_quota::plan::{Limit, Plan};
//! use tower_quota::{BoxError, Quota, TokenLimitLayer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let plan = Plan::builder("acme").limit(Limit::rolling("burst", 600, Duration::from_secs(60))).build()?;
//! let quota = Quota::new(plan);
//!
//! let client = service_fn(|_: Request<Empty<&'static [u8]>>| async {
//!     Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new()))
//! });
//! let mut api = ServiceBuilder::new()
//!     .layer(TokenLimitLayer::new(&quota).max_wait(Duration::from_secs(30)))
//!     .service(client);
//!
//! let request = Request::get("https://api.example.com/things")
//!     .header("authorization", "Bearer secret")
//!     .body(Empty::new())?;
//! let response = api.ready().await?.call(request).await?;
//! assert_eq!(response.status(), 200);
//! # Ok(())
//! # }
//! ```

mod future;
mod layer;
mod service;

pub use self::future::ResponseFuture;
pub use self::layer::TokenLimitLayer;
pub use self::service::TokenLimit;
