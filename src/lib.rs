//! Tower layers that keep an HTTP client inside a third party's API quota while using all of it.
//!
//! # What
//!
//! A program that calls a rate-limited API puts a stack of layers on its HTTP client and from then on is not refused, and yet
//! leaves no quota unused:
//!
//! * [`TokenLimitLayer`] lets no request leave before every limit that governs it has a slot for it: per token, per account or per
//!   app, over several windows at once.
//! * [`RetryAfterLayer`] repeats what may be repeated, honours `Retry-After`, and makes everybody wait who must, not only the
//!   request that was refused.
//! * [`SearchBudgetLayer`] gives searches a place of their own to wait in, so that a backfill cannot starve a lookup.
//! * [`AdaptiveConcurrencyLayer`] sends no more requests at a time than the server bears.
//! * [`PayloadTrimLayer`] asks a search that times out for less at a time, and hands on the whole answer.
//! * [`BatchLayer`] sends calls for single records as batch calls, and gives each caller its own answer.
//! * [`ObserveLayer`] counts what is sent and what comes back, and tells of what somebody should know.
//!
//! All but [`PayloadTrimLayer`] and [`BatchLayer`], which can do without, are made from one [`Quota`], which owns the [`Plan`](plan::Plan) (what the limits are) and the ledger (who holds what).
//! [`hubspot`] is a ready preset for HubSpot's CRM API; any other API is described by data. [`stack::StackLayer`] is all of
//! them in their right order.
//!
//! | a question | the answer |
//! |---|---|
//! | Some requests are urgent. | [`Lane::Interactive`](request::Lane) goes first; [`Quota::set_reserve`] and [`SearchBudgetLayer::reserve`] keep slots for it |
//! | Other programs spend the same quota. | Noticed from the response's quota headers, and left room; a reader of such headers is a [`SignalReader`](signal::SignalReader) |
//! | The process is restarted in mid-window. | [`ColdStart`](plan::ColdStart): it asks before it uses all |
//! | The plan and the server disagree. | The lower figure is kept to; [`Quota::plan_check`] tells |
//! | The daily pool is used up. | [`DailyExhausted`](quota::DailyExhausted): fail or wait for the reset; [`Quota::set_pace`] spreads bulk work over the day, [`Quota::set_next_reset`] tells when the reset is |
//! | One call for each record uses the quota up. | [`BatchLayer`]; for another API than HubSpot, [`batch::BatchPolicy`] says which calls have a batch form |
//! | A search times out however often it is repeated. | [`PayloadTrimLayer`]; for another API than HubSpot, [`trim::TrimPolicy`] says how to ask for less |
//! | Several processes spend the same quota. | `Quota::shared` (feature `redis`): Redis or Valkey lends them its slots |
//! | How does quota stand? | [`Quota::report`]: headroom, what the day has used and when it runs dry, error rates, who uses most |
//! | What happens to it? | [`event`]: `tracing` events with stable names, [`Quota::events`] for programs; `record` writes a log of them (feature `record`), `metrics` feeds an exporter |
//! | The vendor bears 5 % errors a day. | [`ObserveLayer`] counts them as the vendor does, and tells at 3 % and at 5 % |
//! | What would the layers do to a program that works? | [`Quota::set_enforce`]: shadow mode counts what would wait, and holds nothing up |
//! | Will the quota do? | the program `tower-quota` (feature `cli`): `analyze` a plan of syncs or a log, `replay` it, `simulate` |
//! | No response tells how long the server worked. | [`Guard`](core::Guard): the proof, or some more throughput for a refusal now and then |
//!
//! # Why it is not refused
//!
//! A server counts a request at some moment between the send and the response, and the client cannot see which. Limiters that
//! count by the time of sending are refused as soon as the network squeezes requests together. Here a slot is taken before the
//! request is sent and becomes free one window after its *response* arrived: then the server can never have counted more than it
//! allows, whatever the latencies are. Time that the server says it worked is credited, which wins the throughput back. The proof
//! is in [`core`].
//!
//! # Order of the layers
//!
//! ```text
//! caller
//!   -> Batch                  calls for single records leave as one; asked for with `StackLayer::batch`
//!   -> PayloadTrim            what is too heavy for the server is asked in smaller pieces
//!   -> RetryAfter             repeats what may be repeated; every repetition takes its slots again
//!   -> SearchBudget           the slots of searches
//!   -> TokenLimit             the slots of all other requests
//!   -> AdaptiveConcurrency    how many at a time
//!   -> Observe                counts each attempt and what came of it
//!   -> timeouts, connection limits and whatever else belongs to one attempt
//! client
//! ```
//!
//! Another order is allowed and costs something: with `TokenLimit` outside `RetryAfter`, repetitions take no slots and may be
//! refused; with a timeout outside `TokenLimit`, the wait in line counts against it; with `AdaptiveConcurrency` outside `TokenLimit`,
//! requests that wait ten seconds for a slot keep others from going that have one. The page of each layer says more.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_quota::plan::Zone;
//! use tower_quota::request::Deadline;
//! use tower_quota::{Quota, QuotaError, RetryAfterLayer, TokenLimitLayer, hubspot};
//!
//! # use tower_quota::body::HeldBody;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_quota::BoxError> {
//! # let client = tower::service_fn(|_: Request<HeldBody<Full<Bytes>>>| async {
//! #     Ok::<_, std::convert::Infallible>(http::Response::new(Full::<Bytes>::default()))
//! # });
//! let quota = Quota::new(hubspot::api(hubspot::Tier::Professional, Zone::UNKNOWN));
//! let api = ServiceBuilder::new()
//!     .layer(RetryAfterLayer::new(&quota).max_attempts(5)?)
//!     .layer(TokenLimitLayer::new(&quota).max_wait(Duration::from_secs(30)))
//!     .service(client);
//!
//! let mut request = Request::get("https://api.hubapi.com/crm/v3/objects/contacts/1")
//!     .header("authorization", "Bearer my-token")
//!     .body(Full::<Bytes>::default())?;
//! request.extensions_mut().insert(Deadline::within(Duration::from_secs(5)));
//!
//! match api.clone().oneshot(request).await {
//!     Ok(response) => println!("{}", response.status()),
//!     Err(error) => match error.downcast_ref::<QuotaError>() {
//!         Some(quota) => println!("`{}` has nothing left for {:?}", quota.limit(), quota.retry_after()),
//!         None => println!("{error}"),
//!     },
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Runtime
//!
//! Waiting uses tokio's timers: the services must be polled inside a tokio runtime whose time driver is enabled, and panic
//! elsewhere as soon as somebody has to wait. Nothing is spawned, but for the task of a quota that is shared over Redis and
//! the thread that writes a log.
//!
//! # Features
//!
//! | feature | default | what |
//! |---|---|---|
//! | `hubspot` | yes | the HubSpot preset; includes `json` |
//! | `json` | with `hubspot` | `trim::CursorPages`: trimming of JSON APIs that are paged by cursors |
//! | `zones` | no | daily pools in named time zones (`Europe/Berlin`); asking HubSpot for the reset and the use of today |
//! | `metrics` | no | `metrics`: counters, histograms and gauges for whatever exporter a program has |
//! | `record` | no | `record`: a log of all events and requests as JSON lines, and its reader |
//! | `cli` | no | the program `tower-quota`, which plans quota, reads and replays logs, and shows a dashboard |
//! | `sim` | no | a quota-enforcing API to test against, in process and on a socket |
//! | `redis` | no | `Quota::shared`: one quota for many processes, with slots that Redis or Valkey lends; needs Rust 1.88 |
//! | `redis-tls` | no | the same over TLS |
//! | `redis-cluster` | no | the same with a Redis Cluster |

mod account;
mod api;
pub mod backoff;
pub mod batch;
pub mod body;
pub mod clock;
pub mod concurrency;
pub mod core;
mod error;
pub mod event;
mod head;
#[cfg(feature = "hubspot")]
pub mod hubspot;
#[cfg(feature = "json")]
mod json;
pub mod limit;
mod macros;
#[cfg(feature = "metrics")]
pub mod metrics;
pub mod observe;
#[cfg(feature = "json")]
mod percent;
pub mod plan;
pub mod quota;
#[cfg(feature = "record")]
pub mod record;
#[cfg(feature = "redis")]
pub mod redis;
pub mod report;
pub mod request;
pub mod search;
#[cfg(feature = "json")]
mod serial;
pub mod signal;
#[cfg(feature = "sim")]
pub mod sim;
pub mod stack;
mod tally;
pub mod trim;

pub use self::api::Api;
pub use self::backoff::RetryAfterLayer;
pub use self::batch::BatchLayer;
pub use self::concurrency::AdaptiveConcurrencyLayer;
pub use self::error::{BoxError, ConfigError, QuotaError};
pub use self::limit::TokenLimitLayer;
pub use self::observe::ObserveLayer;
pub use self::quota::Quota;
pub use self::search::{ClassBudgetLayer, SearchBudgetLayer};
pub use self::trim::PayloadTrimLayer;

/// The examples of the README are compiled with the others.
#[cfg(all(doctest, feature = "hubspot"))]
#[doc = include_str!("../README.md")]
struct Readme;
