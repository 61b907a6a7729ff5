//! [`BatchLayer`]: calls for single records that come while others wait leave as one batch call.
//!
//! # What
//!
//! A batch call for a hundred records costs as much quota as a call for one. Callers go on asking for one record each; the layer
//! gathers what may go together, sends the batch call, and gives each caller the answer that he would have got alone: his own
//! record, his own 404, his own error.
//!
//! * A call that is alone leaves at once and unchanged.
//! * While calls of a kind are under way, more of the kind gather. A full batch leaves at once, another one after
//!   [a millisecond](BatchLayer::max_linger) while fewer than four calls are under way. Beside large batches a small one of
//!   [`Lane::Bulk`](crate::request::Lane) waits for them to end, because their callers come back at that moment and fill it; for a
//!   second at most.
//! * With a [`Quota`](BatchLayer::quota), what waits for quota goes on gathering until the slots are granted, and a batch takes the
//!   slots of one request.
//! * Calls about the same record share an input or go one after the other, as the [operation](Operation::twice) demands.
//! * When the server refuses a whole batch because of some of its inputs, those that it names are sent by themselves, or else the
//!   batch is halved, and halved again: one that is bad costs about 2 log2(n) requests, and only its owner gets an error.
//! * When the server takes fewer inputs than was thought, that is learnt, and kept to from then on.
//!
//! Which calls have a batch form is a matter of the API, and a [`BatchPolicy`] says it: `hubspot::Batches` for HubSpot's CRM
//! objects, or one of your own.
//!
//! # When
//!
//! Where many tasks read or write single records at the same time: a sync, an enrichment job, a server that looks records up. Where
//! one task makes one call after the other nothing ever gathers. The more tasks, the fuller the batches: 10,000 contacts, half of them
//! new, take 15,000 requests without the layer, 200 with it and 400 tasks, 582 with 64 (`cargo bench --bench batch_sync`).
//!
//! # Each gets his own
//!
//! The status and the body are those of the record. The headers are those of the answer to the batch: quota headers, correlation
//! id. The extension [`Batched`] tells for how many callers it was. What concerns all of a batch alike (a token that is
//! refused, a 429, a 5xx) goes to all of them as it is.
//!
//! Calls share a batch only if the policy says so, and if server, token, account, [`Lane`](crate::request::Lane) and all headers are the
//! same, those aside that speak of the body or the program or trace a single call. Other extensions, and those headers, are those of
//! one of the callers, so credentials must be where the [`TokenSource`](crate::request::TokenSource) of the quota finds them, in the
//! extension [`Token`](crate::request::Token), or in headers.
//!
//! Bodies that are larger than [`max_body`](BatchLayer::max_body) or of unknown size, calls that name their own
//! [`RouteClass`](crate::plan::RouteClass), and all that the policy does not understand pass through untouched.
//!
//! # What is never done twice
//!
//! A batch of creates whose outcome is unknown (it was lost, or its answer makes no sense) is not sent again, and each of its callers
//! gets a [`BatchError`]. Reads and idempotent writes are then sent one by one. A 5xx goes to all of the batch, after
//! [`RetryAfterLayer`](crate::RetryAfterLayer) further inside has repeated what may be repeated.
//!
//! # Order in the stack
//!
//! Outermost, so that what leaves is trimmed, repeated, limited and counted as the one request that it is. A layer around it sees
//! every call by itself; with [`TokenLimitLayer`](crate::TokenLimitLayer) around it each call takes slots of its own, and nothing is
//! saved. [`StackLayer::batch`](crate::stack::StackLayer::batch) puts it there.
//!
//! The time in a batch counts against the caller's [`Deadline`](crate::request::Deadline): when it passes before the batch is closed,
//! he gets a [`QuotaError`](crate::QuotaError), and the others go on. A closed batch has the latest deadline of its callers. Without a
//! quota, that is one that waits for its slots further inside, too.
//!
//! # Events
//!
//! | target | level | fields |
//! |---|---|---|
//! | `tower_quota::batched` | debug | `account`, `route` (the batch call), `calls`, `requests` that it took, `refused` of them, `seconds` since the first caller came |
//! | `tower_quota::batch_limit` | info | `account`, `route`, `most`: the inputs that the server takes; 1 means that there are no batches for ten minutes |
//!
//! None of them holds an id or a token.
//!
//! # Readiness, memory, cancel safety
//!
//! Nothing is spawned: a batch is driven on by whichever of its callers is polled, and nobody in it depends on another one. Only a call
//! that waits for its turn at a record needs the one before it to be polled or dropped, so poll them together. A caller may be dropped
//! at any time. Before its batch is closed its call goes with it; later the others do not notice. A batch whose callers are
//! all gone is given up. [`Batch::drain`] sends what is gathered and waits for it.
//!
//! The inner service is waited for when a batch is sent, and is not kept reserved in between. The client, its futures and bodies must
//! be `Send` and `'static`, because a batch moves from caller to caller. Each caller that waits keeps its request, a clone of the
//! service inside, and a few hundred bytes.
//!
//! # Example
//!
//! ```
//! use bytes::Bytes;
//! use http::{Method, Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_quota::batch::Batched;
//! use tower_quota::body::HeldBody;
//! use tower_quota::{BatchLayer, BoxError, hubspot};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! // A server that knows all contacts but number 3.
//! let client = service_fn(|request: Request<HeldBody<Full<Bytes>>>| async {
//!     assert_eq!(request.uri().path(), "/crm/v3/objects/contacts/batch/read");
//!     let asked: serde_json::Value = serde_json::from_slice(&request.into_body().collect().await?.to_bytes())?;
//!     let ids = asked["inputs"].as_array().into_iter().flatten().map(|input| &input["id"]);
//!     let results: Vec<_> = ids.filter(|id| *id != "3").map(|id| serde_json::json!({ "id": id, "properties": {} })).collect();
//!     let answer = serde_json::json!({
//!         "status": "COMPLETE",
//!         "results": results,
//!         "errors": [{ "category": "OBJECT_NOT_FOUND", "context": { "ids": ["3"] } }],
//!     });
//!     Ok::<_, BoxError>(Response::builder().status(207).body(Full::<Bytes>::from(answer.to_string()))?)
//! });
//! let api = ServiceBuilder::new().layer(BatchLayer::new(hubspot::Batches::default())).service(client);
//!
//! let read = |id: u32| {
//!     let request = Request::get(format!("https://api.hubapi.com/crm/v3/objects/contacts/{id}"));
//!     api.clone().oneshot(request.body(Full::default()).unwrap())
//! };
//! let (two, three) = tokio::join!(read(2), read(3));
//! assert_eq!((two?.status().as_u16(), three?.status().as_u16()), (200, 404));
//! # Ok(())
//! # }
//! ```

mod answer;
mod board;
mod caller;
mod caps;
mod crew;
mod drain;
mod error;
mod event;
mod flight;
mod future;
mod group;
mod guard;
mod layer;
mod leg;
mod policy;
mod records;
mod service;
mod shared;

pub use self::drain::Drain;
pub use self::error::BatchError;
pub use self::future::ResponseFuture;
pub use self::layer::BatchLayer;
pub use self::policy::{BatchPolicy, Input, Joined, Operation, Part, Single, Split, Twice};
pub use self::service::Batch;

/// Response extension: the answer came with that to a batch call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batched {
    /// For how many callers the batch call was.
    pub calls: usize,
}
