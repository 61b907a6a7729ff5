//! [`AdaptiveConcurrencyLayer`]: no more requests of a token at a time than the server bears.
//!
//! # What
//!
//! Many servers refuse or collapse when too much is asked of them at once, and none says where that begins. This layer finds it: it
//! limits how many requests of one token are in flight, lowers the limit when the server is overloaded, and raises it while all is
//! well. A request beyond the limit waits for its turn.
//!
//! # When
//!
//! With every API whose answers take long or that answers 429, 503 or 504 to too many requests at once. Where the quota is what
//! limits, it costs next to nothing.
//!
//! # Order in the stack
//!
//! Inside [`TokenLimitLayer`](crate::TokenLimitLayer): somebody who has a slot may wait a moment for his turn, but somebody who has his
//! turn must not wait ten seconds for a slot while others could go. Outside timeouts of single attempts: a timeout *inside* it is
//! an overload; one *outside* it counts the wait and looks like a caller who gave up. While it waits a request holds its slots, so a
//! [`max`](AdaptiveConcurrencyLayer::max) far below what a window allows costs throughput at the start: with 190 requests per 10 s and
//! answers that take 2 s, the default of 64 uses 0.9 points less of the quota over 6,000 requests, and 190 uses
//! 0.3 less (`cargo bench --bench goodput -- stack`).
//!
//! # How the limit moves
//!
//! | what | is taken for |
//! |---|---|
//! | 429, 503, 504 (408, 524, 529), a refusal of the token or of a rolling limit for all classes | overload |
//! | an error from inside: a timeout, a lost connection | overload |
//! | a gateway timeout or timeout of a request that somebody further outside answers by asking for less ([`TooHeavy`](crate::request::TooHeavy)) | nothing: it is the request's own weight |
//! | a refusal of a rolling limit that governs some classes only, as of searches: its pause is enough, the others go on | nothing |
//! | a refusal by a window that others are known to use | nothing |
//! | 423, 425, 500, 502, a daily pool that is used up, the moved account of HubSpot's 477 | nothing |
//! | a caller who gives up | nothing |
//! | all other answers | support, when the request filled the limit |
//!
//! **Overload** halves the limit, once per round trip: all that was granted before the decrease tells of the same overload. When the
//! level has held before, and the last overload is 2 s ago or more, that is all: it was a rate, a fault, or a stray, and the limit
//! comes back at once. Otherwise it tells of the level that the server bears.
//!
//! **Slow start.** Until an overload tells of a level the limit doubles when it was reached and a request that filled it is answered. It does
//! not wait for slow answers: who refuses for overload does so at once, so a full crowd of whom nobody has been refused for twice the
//! time on the network (150 ms while that is not known) has been accepted. The plain rule, to double after two good windows, would
//! need more than a minute to reach what 19 requests per second of 2 s each want.
//!
//! **After that** it searches instead of doubling, because doubling from 8 to 16 against a cap of 12 is a burst of
//! errors. It remembers the highest level that held for a round trip and the lowest that was refused, returns to the first within a
//! round trip or two, and from there halves the distance to the second, one step per round trip (the binary increase of BIC-TCP, Xu,
//! Harfoush and Rhee 2004). One below the refused level it stays. That level is tried again 2 s after the overload, then after 4, 8,
//! and at most every 16 s; when it holds for sixteen round trips, larger and larger steps follow, until the next overload.
//!
//! **Headroom.** With less than 20 % of a rolling limit left to us by others the limit is halved, once per window; between 20 % and
//! 70 % it grows by one per round trip; above, or when nothing is known, as said. What our own requests use is no reason to slow
//! down, because the quota governs that already; see [`Headroom`].
//!
//! A limit that is not reached does not grow. It may shrink below what is in flight: then nobody is granted until enough have ended.
//! Latency is not looked at, so that slow endpoints are not mistaken for overloaded ones.
//!
//! # Waiting
//!
//! First come, first served, in two lanes: [`Lane::Interactive`](crate::request::Lane) goes before `Bulk`, but at most eight in a row
//! while one of `Bulk` waits. A wait ends after [`max_wait`](AdaptiveConcurrencyLayer::max_wait) or at the request's
//! [`Deadline`](crate::request::Deadline), with a [`QuotaError`](crate::QuotaError) whose limit is `concurrency`. Who waits while a
//! pause begins does not go into it: when his turn comes he gives it away, and stands where he stood when the pause is over. The
//! slots that he has taken further outside stay his, also while he [parks](crate::quota::DailyExhausted::Park) for hours.
//!
//! # Readiness
//!
//! The service is always ready. The inner service is made ready after the turn has come, and only the very instance that was made
//! ready is called.
//!
//! # Memory
//!
//! A token that is idle for ten minutes is forgotten, and begins anew when it comes back; one whose limit never moved after one
//! minute. At most [`max_waiting`](AdaptiveConcurrencyLayer::max_waiting) requests of a token wait.
//!
//! # Events
//!
//! Every change is told as a `tracing` event with target `tower_quota::concurrency_changed` and the fields `token` (redacted), `from`,
//! `to` and `reason`; the last one is found in [`Concurrency::last_change`], too.
//!
//! # Cancel safety
//!
//! Dropping the future gives up its place in the line or among those in flight, and nothing is learnt from it.
//!
//! # Example
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Empty;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_quota::concurrency::Reason;
//! use tower_quota::plan::Plan;
//! use tower_quota::{AdaptiveConcurrencyLayer, BoxError, Quota};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let quota = Quota::new(Plan::builder("acme").build()?);
//! let layer = AdaptiveConcurrencyLayer::new(&quota).start(4).max(64);
//!
//! // A server that is overloaded.
//! let client = service_fn(|_: Request<Empty<Bytes>>| async {
//!     Response::builder().status(503).body(Empty::<Bytes>::new())
//! });
//! let mut api = ServiceBuilder::new().layer(&layer).service(client);
//!
//! let request = || Request::get("https://api.example.com/things").body(Empty::new());
//! api.ready().await?.call(request()?).await?;
//!
//! let concurrency = layer.concurrency(&request()?);
//! assert_eq!(concurrency.limit, 2);
//! assert_eq!(concurrency.last_change.map(|change| change.reason), Some(Reason::Overload));
//! # Ok(())
//! # }
//! ```

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
