//! [`SearchBudgetLayer`]: searches wait in a place of their own, and a backfill cannot starve a lookup.
//!
//! # What
//!
//! Many APIs count searches apart from everything else, and allow few of them: HubSpot five per second for a whole account. This
//! layer takes the slots of searches, and lets all other requests through untouched. A request says how urgent it is with the
//! extension [`Lane`](crate::request::Lane):
//!
//! * `Interactive` goes before `Bulk` wherever both wait. Only after eight in a row one of `Bulk` has its turn, so that neither
//!   starves.
//! * Some slots (one, until [`reserve`](SearchBudgetLayer::reserve) says otherwise) can be held by `Interactive` only. A program
//!   that does nothing but bulk work should reserve none, because it cannot use what is reserved.
//! * A request that does not say is `Bulk`, until [`default_lane`](SearchBudgetLayer::default_lane) says otherwise.
//!
//! [`ClassBudgetLayer`] is the same for other classes, for example HubSpot's associations calls.
//!
//! # When
//!
//! On every client that searches, above all when people wait for some of the answers and a sync for others. Without this layer
//! [`TokenLimitLayer`](crate::TokenLimitLayer) governs searches like everything else; lanes and reservations work there, too.
//!
//! # Order in the stack
//!
//! Outside [`TokenLimitLayer`](crate::TokenLimitLayer) and made from the same [`Quota`](crate::Quota). TokenLimit then leaves the
//! searches to it; whichever of both is further outside takes the slots, so that nothing is paid twice. Inside everything that
//! repeats requests. Further inside, below a concurrency limit, searches that wait would keep others from going.
//!
//! # Waiting, readiness, cancel safety
//!
//! As for [`TokenLimitLayer`](crate::limit).
//!
//! # Example
//!
//! ```
//! use std::convert::Infallible;
//!
//! use http::{Request, Response};
//! use http_body_util::Empty;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_quota::hubspot::{self, Tier};
//! use tower_quota::plan::Zone;
//! use tower_quota::request::Lane;
//! use tower_quota::{BoxError, Quota, SearchBudgetLayer, TokenLimitLayer};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let quota = Quota::new(hubspot::api(Tier::Professional, Zone::UTC));
//! # let client = service_fn(|_: Request<Empty<&'static [u8]>>| async {
//! #     Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new()))
//! # });
//! let mut api = ServiceBuilder::new()
//!     .layer(SearchBudgetLayer::new(&quota).reserve(1))
//!     .layer(TokenLimitLayer::new(&quota))
//!     .service(client);
//!
//! let mut lookup = Request::post("https://api.hubapi.com/crm/v3/objects/contacts/search")
//!     .header("authorization", "Bearer secret")
//!     .body(Empty::new())?;
//! lookup.extensions_mut().insert(Lane::Interactive);
//! let response = api.ready().await?.call(lookup).await?;
//! assert_eq!(response.status(), 200);
//! # Ok(())
//! # }
//! ```

mod layer;
mod service;

pub use self::layer::{ClassBudgetLayer, SearchBudgetLayer};
pub use self::service::ClassBudget;
