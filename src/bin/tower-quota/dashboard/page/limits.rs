//! Headroom per limit, and concurrency per token.

use tower_quota::plan::Scope;
use tower_quota::report::{ConcurrencyReport, KeyReport, LimitReport, Report};

use super::super::html::{Html, html};
use super::super::moments;
use super::chart::percent;
use super::{count, share_of};

/// So many keys of a limit are shown.
const KEYS: usize = 6;
/// So many limits are shown.
const LIMITS: usize = 32;
/// So many tokens are shown.
const TOKENS: usize = 10;
/// Less headroom than this is little.
const LITTLE: f64 = 0.1;

pub(super) fn section(report: &Report) -> Html {
    let mut out = Html::new();
    html!(out; "<h2>Headroom</h2><p class=\"legend\"><span class=\"key k-used\"></span>used"
        " <span class=\"key k-foreign\"></span>used by others"
        " <span class=\"key k-free\"></span>left</p>");
    if report.limits.is_empty() {
        html!(out; "<p class=\"none\">The plan has no limits.</p>");
    }
    for limit in report.limits.iter().take(LIMITS) {
        html!(out; "<h3>" (&limit.limit) " <small>" (rule(limit)) "</small></h3>");
        if limit.keys.is_empty() {
            html!(out; "<p class=\"none\">Not used yet.</p>");
            continue;
        }
        html!(out; "<ul class=\"bars\">");
        for key in limit.keys.iter().take(KEYS) {
            out.append(&bar(limit, key));
        }
        html!(out; "</ul>");
        let more = limit.keys.len().saturating_sub(KEYS);
        if more > 0 {
            html!(out; "<p class=\"more\">and " (count(more as u64)) " more</p>");
        }
    }
    out
}

fn rule(limit: &LimitReport) -> String {
    let quota = count(limit.quota.into());
    let window = match limit.window {
        Some(window) => format!("per {}", moments::length(window)),
        None => "per day".to_owned(),
    };
    let whose = match limit.scope {
        Scope::Token => "for each token",
        Scope::Account => "for each account",
        Scope::App => "for all together",
        _ => "",
    };
    format!("{quota} {window} {whose}")
}

fn bar(limit: &LimitReport, key: &KeyReport) -> Html {
    let quota = u64::from(key.quota.max(1));
    let (used, foreign) = (
        share_of(key.used.into(), quota).min(1.0),
        share_of(key.foreign.into(), quota).min(1.0),
    );
    let foreign = foreign.min(1.0 - used);
    let mut out = Html::new();
    html!(out; "<li><span class=\"who\">");
    match key.key {
        Some(key) => html!(out; "<code>" (key) "</code>"),
        None => html!(out; "all"),
    }
    if let Some(paused) = key.paused {
        html!(out; " <span class=\"badge bad\"><span aria-hidden=\"true\">❚❚</span> paused for "
            (moments::length(paused)) "</span>");
    } else if share_of(key.headroom.into(), quota) < LITTLE {
        html!(out; " <span class=\"badge warning\"><span aria-hidden=\"true\">▲</span> little left</span>");
    }
    html!(out; "</span><span class=\"figures\"><strong>" (count(key.headroom.into())) "</strong> left of "
        (count(key.quota.into())) " · used " (count(key.used.into())));
    if key.foreign > 0 {
        html!(out; " · others " (count(key.foreign.into())));
    }
    if key.waiting > 0 {
        html!(out; " · " (count(key.waiting.into())) " waiting");
    }
    html!(out; "</span><svg class=\"bar\" role=\"img\" aria-label=\"" (&limit.limit) ": " (count(key.headroom.into()))
        " of " (count(key.quota.into())) " left\"><rect class=\"track\" width=\"100%\" height=\"100%\"/>"
        "<rect class=\"used\" height=\"100%\" width=\"" (percent(used * 100.0)) "\"/>"
        "<rect class=\"foreign\" height=\"100%\" x=\"" (percent(used * 100.0)) "\" width=\""
        (percent(foreign * 100.0)) "\"/></svg></li>");
    out
}

pub(super) fn concurrency(report: &Report) -> Html {
    let mut out = Html::new();
    html!(out; "<h2>Concurrency</h2>");
    if report.concurrency.is_empty() {
        html!(out; "<p class=\"none\">Nobody limits it, or nothing has been sent yet.</p>");
        return out;
    }
    html!(out; "<table><thead><tr><th scope=\"col\">Token</th><th scope=\"col\">In flight</th>"
        "<th scope=\"col\" class=\"n\">Waiting</th><th scope=\"col\">Last change</th></tr></thead><tbody>");
    for token in report.concurrency.iter().take(TOKENS) {
        out.append(&in_flight(token));
    }
    html!(out; "</tbody></table>");
    out
}

fn in_flight(token: &ConcurrencyReport) -> Html {
    let share = share_of(token.in_flight.into(), token.limit.max(1).into()).min(1.0);
    let mut out = Html::new();
    html!(out; "<tr><th scope=\"row\"><code>" (token.token) "</code></th><td><span class=\"of\">"
        (count(token.in_flight.into())) " of " (count(token.limit.into()))
        "</span><svg class=\"bar small\" aria-hidden=\"true\"><rect class=\"track\" width=\"100%\" height=\"100%\"/>"
        "<rect class=\"used\" height=\"100%\" width=\"" (percent(share * 100.0)) "\"/></svg></td><td class=\"n\">"
        (count(token.waiting.into())) "</td><td>" (token.last_change.as_deref().unwrap_or("none")) "</td></tr>");
    out
}
