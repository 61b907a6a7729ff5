//! What a response says of the server's load.

use std::time::Duration;

use http::{Response, StatusCode};

use crate::core::concurrency::{Evidence, Headroom, Left};
use crate::plan::{Limit, Rule};
use crate::quota::{Quota, Ticket};
use crate::request::TooHeavy;
use crate::signal::{Observed, Outcome, Refusal, Signals};
use crate::{BoxError, QuotaError};

/// Of the response itself, because a 429 is no error to the layers inside. Status and fields are enough; they are read only once,
/// and whoever notes what the response says reads its body.
pub(super) fn of_response<B>(
    quota: &Quota,
    ticket: &Ticket,
    headroom: Headroom,
    heavy: Option<TooHeavy>,
    response: &mut Response<B>,
) -> Evidence {
    if let Some(signals) = quota.attached(response) {
        return of_signals(quota, ticket, headroom, heavy, response.status(), signals);
    }
    let signals = quota.read_once(ticket, response);
    let evidence = of_signals(quota, ticket, headroom, heavy, response.status(), &signals);
    quota.attach(signals, response);
    evidence
}

fn of_signals(
    quota: &Quota,
    ticket: &Ticket,
    headroom: Headroom,
    heavy: Option<TooHeavy>,
    status: StatusCode,
    signals: &Signals,
) -> Evidence {
    // What somebody further outside answers by asking for less is the request's own weight.
    if heavy.is_some_and(|heavy| heavy.is_status(status)) {
        return Evidence::Nothing;
    }
    match &signals.outcome {
        Outcome::Answered => Evidence::Answered {
            service_time: signals.service_time,
            left: match headroom {
                Headroom::Unexplained => unexplained(quota, ticket),
                Headroom::Literal => literal(quota, signals),
            },
        },
        Outcome::Refused(refusal) if is_load(quota, ticket, refusal) => Evidence::Overloaded,
        Outcome::Failed if is_overload(status) => Evidence::Overloaded,
        _ => Evidence::Nothing,
    }
}

/// An error counts as a timeout, unless it comes from a layer of this crate: then the request was never sent. A timeout that
/// somebody further outside answers by asking for less is the request's own weight.
pub(super) fn of_error(error: &BoxError, heavy: Option<TooHeavy>) -> Evidence {
    let is_heavy = heavy.is_some_and(|heavy| heavy.is_error(error));
    if is_heavy || error.is::<QuotaError>() {
        Evidence::Nothing
    } else {
        Evidence::Overloaded
    }
}

/// A locked record, a moved account, a day that is used up, a window that others are known to use and one that governs only some
/// classes are refusals, too, but not for load that concerns all requests of the token.
fn is_load(quota: &Quota, ticket: &Ticket, refusal: &Refusal) -> bool {
    match refusal {
        // It may have been any of them.
        Refusal::Token => {
            let limits = quota.plan().limits().iter();
            !limits
                .filter(|limit| limit.governs_class(ticket.class))
                .any(|limit| quota.explains_refusals(ticket, limit.name()))
        }
        Refusal::Limit(name) => {
            let limit = quota.plan().limit(name);
            let is_narrow = |limit: &Limit| {
                limit.classes().is_some() || matches!(limit.rule(), Rule::Calendar { .. })
            };
            !limit.is_some_and(is_narrow) && !quota.explains_refusals(ticket, name)
        }
        Refusal::Account | Refusal::Request => false,
    }
}

/// Refused or given up because there was too much to do: 408, 503, 504, and the 524 and 529 of some edges. A 500 or 502 may be a
/// fault of any kind.
fn is_overload(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 503 | 504 | 524 | 529)
}

fn unexplained(quota: &Quota, ticket: &Ticket) -> Option<Left> {
    let share = 1.0 - quota.foreign_share(ticket)?;
    let limits = quota.plan().limits().iter();
    let windows = limits.filter(|limit| limit.governs_class(ticket.class));
    let window = windows.filter_map(|limit| window(limit.rule())).max()?;
    Some(Left { share, window })
}

/// The least that is left of any rolling limit that the response tells of.
fn literal(quota: &Quota, signals: &Signals) -> Option<Left> {
    let left = |observed: &Observed| {
        let window = window(quota.plan().limit(&observed.limit)?.rule())?;
        let (allowed, remaining) = (observed.quota?, observed.remaining?);
        let share = (allowed > 0).then(|| remaining as f64 / allowed as f64)?;
        Some(Left { share, window })
    };
    let known = signals.observed.iter().filter_map(left);
    known.min_by(|one, other| one.share.total_cmp(&other.share))
}

fn window(rule: &Rule) -> Option<Duration> {
    match rule {
        Rule::Rolling { window, .. } => Some(*window),
        Rule::Calendar { .. } => None,
    }
}
