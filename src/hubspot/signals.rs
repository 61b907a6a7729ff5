use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

use super::body::ErrorBody;
use super::{ASSOCIATIONS, BURST, DAILY, OAUTH, SEARCH};
use crate::plan::RouteClass;
use crate::quota::LONGEST_ORDINARY_WAIT;
use crate::signal::header::{Fields, Names};
use crate::signal::{
    Observed, Outcome, Refusal, ResponseHead, SignalReader, Signals, read_standard,
};

/// HubSpot's quota headers, and their places.
static NAMES: Names<5> = Names::new([
    "x-hubspot-ratelimit-max",
    "x-hubspot-ratelimit-remaining",
    "x-hubspot-ratelimit-interval-milliseconds",
    "x-hubspot-ratelimit-daily",
    "x-hubspot-ratelimit-daily-remaining",
]);
const MAX: usize = 0;
const REMAINING: usize = 1;
const INTERVAL: usize = 2;
const PER_DAY: usize = 3;
const LEFT_TODAY: usize = 4;

type QuotaFields<'a> = Fields<'a, 5>;

/// The message of a search refusal, which is often all that tells it.
const SECONDLY_MESSAGE: &str = "You have reached your secondly limit.";
/// The other messages, for bodies without a `policyName`.
const TEN_SECONDLY_MESSAGE: &str = "You have reached your ten_secondly_rolling limit.";
const DAILY_MESSAGE: &str = "You have reached your daily limit.";

const LOCKED: u16 = 423;
/// "Locks will last for 2 seconds."
const LOCK: Duration = Duration::from_secs(2);

const MOVING: u16 = 477;
/// How long to wait for a move between data centres when the response does not say. Moves take up to 24 h; asking every five
/// minutes costs at most 288 refused requests a day.
const MOVE: Duration = Duration::from_secs(5 * 60);

const LONGEST_WINDOW: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Reads HubSpot's quota headers and error bodies, and all that [`StandardSignals`](crate::signal::StandardSignals) reads.
///
/// A refusal (429, and the rare 500 of a search with a search's message) names the limit that pauses:
///
/// | the body says | pause |
/// |---|---|
/// | `policyName` `TEN_SECONDLY_ROLLING` | [`BURST`]; [`ASSOCIATIONS`] for associations requests |
/// | `policyName` `DAILY` | [`DAILY`]; its `Retry-After` is not believed, the pool is filled at midnight |
/// | `policyName` `SECONDLY` of a search, or the message "You have reached your secondly limit." | [`SEARCH`] |
/// | anything else, no JSON, nothing | [`DAILY`] if `Daily-Remaining` is 0; else the whole token if `Retry-After` is more than 60 s, which then is taken for the daily pool where the plan has one; else the limit of the request's class: [`SEARCH`], [`ASSOCIATIONS`], or the whole token |
///
/// A 423 is a lock: that request waits 2 s, or longer if `Retry-After` says so. A 477 is an account on its way to another
/// data centre: the account waits for `Retry-After`, or 5 minutes if the response does not say.
///
/// `X-HubSpot-RateLimit-Max`, `-Remaining` and `-Interval-Milliseconds` are observed for [`BURST`], on
/// [`General`](RouteClass::General) requests only, since a response carries the headers of the limiters that applied to it;
/// `-Daily` and `-Daily-Remaining` are observed for [`DAILY`]. The deprecated `-Secondly` headers mean nothing and are not
/// read. A missing header is unknown, never zero; so is one that is not a plain number, or more than its maximum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubspotSignals;

impl SignalReader for HubspotSignals {
    /// Only the bodies of 429 and 500 tell more than the status.
    fn wants_body(&self, response: &ResponseHead<'_>) -> bool {
        matches!(
            response.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::INTERNAL_SERVER_ERROR
        )
    }

    /// Searches and associations come without figures.
    fn reports(&self, limit: &str) -> bool {
        matches!(limit, BURST | DAILY)
    }

    fn read(&self, response: &ResponseHead<'_>, class: RouteClass, body: &[u8]) -> Signals {
        let (mut signals, cached) = read_standard(response);
        let mut empty_pool = false;
        if !cached {
            let fields = NAMES.find(response.headers);
            let daily = daily(&fields);
            empty_pool = daily
                .as_ref()
                .is_some_and(|daily| daily.remaining == Some(0));
            let burst = match class {
                RouteClass::General => burst(&fields),
                _ => None,
            };
            signals.observed.extend(burst.into_iter().chain(daily));
        }
        // Parsed only where it matters: even a failed attempt allocates, and most responses have nothing to parse.
        let body = || match cached {
            true => None,
            false => ErrorBody::parse(body),
        };
        match response.status.as_u16() {
            429 => {
                let named = body().and_then(|body| named(&body, class));
                let refusal = match named {
                    Some(refusal) => refusal,
                    None if empty_pool => limit(DAILY),
                    // Neither the burst nor the searches are ever used up for so long.
                    None if signals.retry_after > Some(LONGEST_ORDINARY_WAIT) => Refusal::Token,
                    None => of_class(class),
                };
                if refusal == limit(DAILY) {
                    signals.retry_after = None;
                }
                signals.outcome = Outcome::Refused(refusal);
            }
            // Only of a search is it certain that nothing was done.
            500 if class == RouteClass::Search
                && body().is_some_and(|body| says(&body.message, SECONDLY_MESSAGE)) =>
            {
                signals.outcome = Outcome::Refused(limit(SEARCH));
            }
            LOCKED => {
                signals.outcome = Outcome::Refused(Refusal::Request);
                signals.retry_after = Some(signals.retry_after.unwrap_or(LOCK).max(LOCK));
            }
            MOVING => {
                signals.outcome = Outcome::Refused(Refusal::Account);
                signals.retry_after = Some(signals.retry_after.unwrap_or(MOVE));
            }
            _ => {}
        }
        signals
    }
}

fn limit(name: &'static str) -> Refusal {
    Refusal::Limit(Cow::Borrowed(name))
}

/// Which limit the body of a 429 names, if it names one.
fn named(body: &ErrorBody<'_>, class: RouteClass) -> Option<Refusal> {
    let ten_secondly = match class {
        RouteClass::Associations => limit(ASSOCIATIONS),
        _ => limit(BURST),
    };
    // The token endpoint has a limit per second of its own.
    let secondly = class != OAUTH && says(&body.message, SECONDLY_MESSAGE);
    match body.policy.as_deref().map(str::trim) {
        Some("TEN_SECONDLY_ROLLING") => Some(ten_secondly),
        Some("DAILY") => Some(limit(DAILY)),
        Some("SECONDLY") if class == RouteClass::Search => Some(limit(SEARCH)),
        _ if secondly => Some(limit(SEARCH)),
        Some("SECONDLY") => Some(Refusal::Token),
        Some(_) => None,
        None if says(&body.message, TEN_SECONDLY_MESSAGE) => Some(ten_secondly),
        None if says(&body.message, DAILY_MESSAGE) => Some(limit(DAILY)),
        None => None,
    }
}

fn of_class(class: RouteClass) -> Refusal {
    match class {
        RouteClass::Search => limit(SEARCH),
        RouteClass::Associations => limit(ASSOCIATIONS),
        _ => Refusal::Token,
    }
}

fn says(text: &Option<Cow<'_, str>>, expected: &str) -> bool {
    text.as_deref().is_some_and(|text| text.trim() == expected)
}

fn burst(fields: &QuotaFields<'_>) -> Option<Observed> {
    let mut observed = observed(fields, BURST, MAX, REMAINING);
    let window = fields.counter(INTERVAL).map(Duration::from_millis);
    observed.window = window.filter(|window| !window.is_zero() && *window <= LONGEST_WINDOW);
    (observed != Observed::new(BURST)).then_some(observed)
}

fn daily(fields: &QuotaFields<'_>) -> Option<Observed> {
    let observed = observed(fields, DAILY, PER_DAY, LEFT_TODAY);
    (observed != Observed::new(DAILY)).then_some(observed)
}

fn observed(
    fields: &QuotaFields<'_>,
    limit: &'static str,
    quota: usize,
    remaining: usize,
) -> Observed {
    let mut observed = Observed::new(limit);
    // A limit of nothing is no limit of HubSpot's.
    observed.quota = fields.counter(quota).filter(|quota| *quota > 0);
    observed.remaining = fields
        .counter(remaining)
        .filter(|remaining| observed.quota.is_none_or(|quota| *remaining <= quota));
    observed
}
