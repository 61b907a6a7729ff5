//! What a response says about quota.
//!
//! [`Signals`] is read once per response, by whichever layer is innermost, and travels outward as an extension of the
//! response. A [`SignalReader`] knows one API's dialect; [`StandardSignals`] reads what is standard.
//!
//! Headers are evidence, not truth: what is missing, duplicated, malformed or hostile is *unknown* (`None`), never zero and
//! never unlimited.

mod fields;
pub(crate) mod header;
mod retry_after;
mod service_time;
mod standard;

use std::borrow::Cow;
use std::num::NonZeroU64;
use std::time::Duration;

use http::{HeaderMap, Response, StatusCode};

pub use self::standard::StandardSignals;
#[cfg(feature = "hubspot")]
pub(crate) use self::standard::read as read_standard;
use crate::plan::RouteClass;

/// What one response says about quota. An extension of every response that passed a layer of this crate.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Signals {
    /// What the response means for the request.
    pub outcome: Outcome,
    /// How long to wait before the next request, when the response says so: at most 366 days.
    pub retry_after: Option<Duration>,
    /// How long the server worked after it had counted the request.
    pub service_time: Option<Duration>,
    /// What the response says of single limits.
    pub observed: Vec<Observed>,
    pub(crate) origin: Origin,
}

/// Which quota has read signals, and whether they have been noted in its ledger. It is no part of what the response says, so
/// signals that differ only in this are equal.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Origin {
    pub(crate) quota: Option<NonZeroU64>,
    pub(crate) noted: bool,
}

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Signals {
    /// Signals that say nothing but what the response means; a reader fills in the rest.
    pub fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            retry_after: None,
            service_time: None,
            observed: Vec::new(),
            origin: Origin::default(),
        }
    }
}

/// What a response means for the request it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The answer stands: success, or an error that a repetition would not mend.
    Answered,
    /// The server refused the request before doing anything: any request may be repeated when the pause is over.
    Refused(Refusal),
    /// The server failed and may have acted: only what does no harm when done twice may be repeated.
    Failed,
}

/// Who must pause after a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Everybody under the limit of the plan with this name.
    Limit(Cow<'static, str>),
    /// Everybody who uses the token.
    Token,
    /// Everybody who uses the account.
    Account,
    /// Only this request (a locked record, say).
    Request,
}

/// What a response says of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observed {
    /// The name of the limit in the plan.
    pub limit: Cow<'static, str>,
    /// How much the limit allows, in requests.
    pub quota: Option<u64>,
    /// How much of it is left, in requests.
    pub remaining: Option<u64>,
    /// The length of its window.
    pub window: Option<Duration>,
}

impl Observed {
    /// An observation of the limit called `limit` in the plan, about which nothing is known yet.
    pub fn new(limit: impl Into<Cow<'static, str>>) -> Self {
        Self {
            limit: limit.into(),
            quota: None,
            remaining: None,
            window: None,
        }
    }
}

/// The head of a response, without its body.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: &'a HeaderMap,
}

impl<'a, B> From<&'a Response<B>> for ResponseHead<'a> {
    fn from(response: &'a Response<B>) -> Self {
        Self {
            status: response.status(),
            headers: response.headers(),
        }
    }
}

impl<'a> From<&'a http::response::Parts> for ResponseHead<'a> {
    fn from(parts: &'a http::response::Parts) -> Self {
        Self {
            status: parts.status,
            headers: &parts.headers,
        }
    }
}

/// Reads one API's dialect. Implemented by a preset; [`StandardSignals`] when there is none.
///
/// ```
/// use tower_quota::plan::RouteClass;
/// use tower_quota::signal::{Observed, ResponseHead, SignalReader, Signals, StandardSignals};
///
/// /// Acme says in one header how much is left of the plan's limit "burst".
/// struct AcmeSignals;
///
/// impl SignalReader for AcmeSignals {
///     fn read(&self, response: &ResponseHead<'_>, class: RouteClass, body: &[u8]) -> Signals {
///         let mut signals = StandardSignals.read(response, class, body);
///         let left = response.headers.get("acme-left").and_then(|value| value.to_str().ok());
///         let mut burst = Observed::new("burst");
///         burst.remaining = left.and_then(|left| left.parse().ok());
///         signals.observed.push(burst);
///         signals
///     }
/// }
/// ```
pub trait SignalReader: Send + Sync + 'static {
    /// Whether the body is needed to understand the response. At most 64 KiB of it are then read before the caller gets the
    /// response, unchanged.
    fn wants_body(&self, response: &ResponseHead<'_>) -> bool {
        response.status == StatusCode::TOO_MANY_REQUESTS || response.status.is_server_error()
    }

    /// Whether answers to requests that are governed by the limit called `limit` say how much of it is left
    /// ([`Observed::remaining`]), as a rule. A process then asks at its start ([`ColdStart`](crate::plan::ColdStart)); where this is
    /// false, as it is if not said, it waits for one window.
    fn reports(&self, limit: &str) -> bool {
        let _ = limit;
        false
    }

    /// Reads the signals. `class` is that of the request; `body` is the beginning of the response's body, empty when it was
    /// not asked for or did not come in time. Must not panic, whatever the server sends.
    fn read(&self, response: &ResponseHead<'_>, class: RouteClass, body: &[u8]) -> Signals;
}
