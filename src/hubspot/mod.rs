//! All that is HubSpot's: its limits, its paths, and what its responses say.
//!
//! # What
//!
//! * [`plan`] gives the limits of a [`Tier`] as plain data.
//! * [`HubspotRoutes`] tells by method and path which limiter governs a request and whether it may be repeated.
//! * [`HubspotSignals`] reads HubSpot's quota headers and both dialects of its 429 bodies.
//! * [`SearchPages`] asks searches and batch reads that are too heavy in smaller pieces.
//! * [`Batches`] makes calls for single records one batch call, and gives each caller its own answer.
//!
//! * With feature `zones`, `daily_usage` asks HubSpot when the daily pool is filled again and how much of it is used.
//!
//! # When
//!
//! For programs that call `api.hubapi.com`. The layers themselves know nothing of HubSpot: they are given the first
//! three, which [`api`] puts together, and [`stack`] adds the fourth.
//!
//! Three things about HubSpot's limits surprise most programs:
//!
//! * Object search has its own limit of 5 per second, shared by **all** apps of the account, and its responses carry no burst
//!   headers.
//! * Every 429 uses up the daily pool, and more than 5 % errors a day endanger the listing of a marketplace app.
//! * The daily pool is filled again at midnight in the time zone that is set in the **account**.
//!
//! # Example
//!
//! ```
//! use http::Request;
//! use tower_quota::hubspot::{self, HubspotRoutes, Tier};
//! use tower_quota::plan::{RouteClass, Zone};
//! use tower_quota::request::{Effect, RequestHead, Routes};
//!
//! let plan = hubspot::plan(Tier::Professional, Zone::UTC);
//! assert_eq!(plan.limit(hubspot::BURST).map(|limit| limit.rule().quota()), Some(190));
//!
//! let search = Request::post("https://api.hubapi.com/crm/v3/objects/contacts/search").body(())?;
//! let head = RequestHead::from(&search);
//! assert_eq!(HubspotRoutes.class(&head), RouteClass::Search);
//! assert_eq!(HubspotRoutes.effect(&head), Effect::Read);
//! # Ok::<(), http::Error>(())
//! ```

mod answer;
mod batch;
mod body;
mod calls;
mod json;
mod names;
mod routes;
mod signals;
mod tier;
mod trim;
#[cfg(feature = "zones")]
mod usage;

pub use self::batch::Batches;
pub use self::routes::HubspotRoutes;
pub use self::signals::HubspotSignals;
pub use self::tier::{Packs, Tier, plan};
pub use self::trim::SearchPages;
#[cfg(feature = "zones")]
pub use self::usage::{DailyUsage, UsageError, daily_usage};

use crate::plan::{RouteClass, Zone};
use crate::stack::StackLayer;
use crate::{Api, Quota};

/// All that a [`Quota`] must know of HubSpot: the limits of `tier`, its paths and its responses. `zone` is the time zone set in
/// the account, see [`plan()`].
///
/// A process that starts cannot know what the one before it has used ([`ColdStart`](crate::plan::ColdStart)): each token's first
/// request goes alone and asks how much of the burst is left, and searches and association calls, which never say so, begin 2 s and
/// 11 s after the start.
pub fn api(tier: Tier, zone: Zone) -> Api {
    Api::new(plan(tier, zone))
        .routes(HubspotRoutes)
        .signals(HubspotSignals)
}

/// The layers for HubSpot in their right order, with the ledger of `quota`, which is made from [`api`]. Searches and batch reads that
/// are too heavy are asked in smaller pieces, see [`SearchPages`].
pub fn stack(quota: &Quota) -> StackLayer {
    StackLayer::new(quota).trim(SearchPages::default())
}

/// The limit of ordinary requests: per token, 100 to 250 per 10 s.
pub const BURST: &str = "burst";

/// The limit of object search: per account, 5 per second.
pub const SEARCH: &str = "search";

/// The limit of associations calls: per token, 100 to 200 per 10 s.
pub const ASSOCIATIONS: &str = "associations";

/// The daily pool: per account, filled again at the account's midnight. Plans of public OAuth apps have none.
pub const DAILY: &str = "daily";

/// The class of the OAuth token endpoint, which has a limit of its own whose figure HubSpot does not publish: no limit of the
/// plan governs it.
pub const OAUTH: RouteClass = RouteClass::Named("oauth");

/// The class of calls that use up neither the burst nor the daily pool: event completions, transactional and single-send
/// e-mail, the webhooks journal. No limit of the plan governs it.
pub const EXEMPT: RouteClass = RouteClass::Named("exempt");

/// The class of calls that use up the daily pool but not the burst: CMS source code, automation flow writes, publishing
/// marketing e-mail. Only [`DAILY`] governs it.
pub const DAILY_ONLY: RouteClass = RouteClass::Named("daily-only");
