//! [`PayloadTrimLayer`]: a request that is too heavy for the server is asked in smaller pieces.
//!
//! # What
//!
//! Some requests time out at the server however often they are repeated: a search over many records with many properties, a batch
//! read of too much. The caller asks once and gets the whole answer; the layer asks for less at a time and puts the answers
//! together.
//!
//! * What ended with a gateway timeout (502, 504, 524, or a timeout of the client; [`TooHeavy`](crate::request::TooHeavy)) is
//!   halved, and halved again. Once a size has worked, the pieces that are left go up to
//!   [four at a time](PayloadTrimLayer::parallel).
//! * When the pieces cannot be made any smaller, there may be another way to ask: HubSpot's searches look for ids only, and the
//!   properties are read in batches.
//! * The size that worked is remembered for each account and [`Shape`], and tried first next time. After 256 pieces without trouble a
//!   larger one is tried once; when that fails, after 512, and so on. Of a request that was given up, or whose deadline passed,
//!   before any size worked, it is remembered how far it came, and the next one goes on from there.
//!   Callers who meet a new shape at the same moment each pay for learning it.
//! * A single failure of a size that is known to work is taken for an accident: that piece alone is asked in halves.
//! * If a piece fails for good, the caller gets that failure as the server sent it; never a part for the whole. What the pieces hold
//!   is checked, and what does not fit together is a [`TrimError`].
//!
//! How a request is split without loss is a matter of the API, and a [`TrimPolicy`] says it: `hubspot::SearchPages` for HubSpot's
//! searches and batch reads, `CursorPages` (feature `json`) for APIs that are paged by a cursor in the query, or one of your own.
//!
//! # When
//!
//! With every client that searches or reads in bulk. Requests that are no concern of the policy pass through untouched, and so do
//! answers that are not too heavy: nothing is read, nothing is delayed.
//!
//! # Order in the stack
//!
//! Outside [`RetryAfterLayer`](crate::RetryAfterLayer) and all that limits, so that each piece takes its own slots and is
//! repeated by itself after a refusal. `RetryAfter` gives a request that was too heavy back at once as long as less can be asked
//! for, and repeats it only then; with this layer inside of it, it would repeat what is trimmed already. Timeouts of single
//! attempts belong further inside; one outside of this layer ends all pieces together.
//!
//! Each piece is the caller's request in all but its body or target: same headers, same extensions, so the same
//! [`Lane`](crate::request::Lane) and [`Deadline`](crate::request::Deadline). After the deadline, what is too heavy is not
//! made smaller, and the caller gets the failure. Signatures over the body must be made further inside. `accept-encoding` is left
//! out of pieces.
//!
//! # What may change between two pieces
//!
//! The pieces are asked one after the other, so they see the data of different moments, as with any paging. A record that comes
//! twice because others were added before it is given once. A record that moves out of a piece that is still to come, into one that is
//! answered already, is missed, as it would be by a caller who pages by hand; so ask in an order that does not change.
//!
//! # What the response says
//!
//! Its head is that of the last piece, its `content-length` is right, and headers that speak of the very bytes (`etag`,
//! `content-encoding`, digests) are gone. The extension [`Trimmed`] tells what it took, and [`Dropped`] what was left out, which
//! happens only where the policy was allowed to.
//!
//! # Events
//!
//! | target | level | fields |
//! |---|---|---|
//! | `tower_quota::too_heavy` | debug | `account`, `route`, `status` or `timeout`, `asked` (units), `goes_on`, `seconds` since the request came |
//! | `tower_quota::heavy_hint` | info | `account`, `route`, `hint`: what makes the request slow; after the first failure of a request |
//! | `tower_quota::trimmed` | info | `account`, `route`, `shape`, `asked`, `worked` (units per piece), `way`, `pieces`, `too_heavy`, `dropped`, `seconds` |
//! | `tower_quota::trim_failed` | info | the same, with `tried` (units per piece at the end) and `status` in place of `worked` and `dropped`; the caller gets the failure |
//!
//! None of them holds a value of a filter, an id or a token.
//!
//! # Readiness, memory, cancel safety
//!
//! The inner service is waited for by each request when it is sent, and is not kept reserved in between. Answers to pieces are
//! kept in memory until all are there, up to [`max_answer`](PayloadTrimLayer::max_answer). Dropping the future drops the pieces
//! that are under way, and nothing else; what was learnt until then stays.
//!
//! # Example
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_quota::body::HeldBody;
//! use tower_quota::trim::Trimmed;
//! use tower_quota::{BoxError, PayloadTrimLayer, hubspot};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! // A server that finds one record, but bears no more than a hundred in one page.
//! let client = service_fn(|request: Request<HeldBody<Full<Bytes>>>| async {
//!     let asked: serde_json::Value = serde_json::from_slice(&request.into_body().collect().await?.to_bytes())?;
//!     let (status, answer) = match asked["limit"].as_u64() {
//!         Some(101..) => (504, ""),
//!         _ => (200, r#"{"total":1,"results":[{"id":"7"}]}"#),
//!     };
//!     Ok::<_, BoxError>(Response::builder().status(status).body(Full::<Bytes>::from(answer))?)
//! });
//! let api = ServiceBuilder::new()
//!     .layer(PayloadTrimLayer::new(hubspot::SearchPages::default()))
//!     .service(client);
//!
//! let search = Request::post("https://api.hubapi.com/crm/v3/objects/contacts/search")
//!     .header("content-type", "application/json")
//!     .body(Full::from(r#"{"limit":200}"#))?;
//! let response = api.oneshot(search).await?;
//! assert_eq!(response.status(), 200);
//! assert_eq!(response.extensions().get::<Trimmed>().map(|trimmed| trimmed.size), Some(100));
//! # Ok(())
//! # }
//! ```

mod assemble;
#[cfg(feature = "json")]
mod cursor;
mod error;
mod event;
mod future;
mod job;
mod layer;
mod leg;
mod memory;
mod policy;
mod service;
mod shared;
mod trimming;

#[cfg(feature = "json")]
pub use self::cursor::{CursorPages, CursorPagesBuilder, NextCursor};
pub use self::error::TrimError;
pub use self::future::ResponseFuture;
pub use self::layer::PayloadTrimLayer;
pub use self::policy::{Finished, Piece, Question, Shape, Taken, TrimPolicy, Whole};
pub use self::service::PayloadTrim;

/// Response extension: the answer was put together from pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trimmed {
    /// How many units (records, inputs) the request asked for.
    pub asked: usize,
    /// How many units the pieces asked for at the end.
    pub size: usize,
    /// How many requests were sent, the one of the caller not counted if it was sent as it came.
    pub pieces: u32,
    /// How many requests were too heavy, the one of the caller counted.
    pub too_heavy: u32,
}

/// Response extension: what was asked for and left out, because the policy was allowed to. A header of the response says the same,
/// [`DROPPED_HEADER`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped(pub Vec<String>);

/// The response header that names the properties that were left out, separated by commas.
pub const DROPPED_HEADER: http::HeaderName =
    http::HeaderName::from_static("x-tower-quota-dropped-properties");
