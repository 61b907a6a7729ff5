//! The counters: requests, errors and 429s per day, per token and per route.

use tower_quota::event::Level;
use tower_quota::report::{Counts, Report, RouteReport, TokenReport};

use super::super::html::{Html, html};
use super::super::moments::Times;
use super::{bound, count, share, share_of};

/// So many tokens, and so many routes, are shown.
const TOP: usize = 10;

/// How near the day's errors are to what the vendor bears, in one badge.
pub(super) fn level(report: &Report) -> Html {
    let errors = report.errors;
    let mut out = Html::new();
    match errors.level {
        Level::Breach => {
            html!(out; "<span class=\"badge bad\"><span aria-hidden=\"true\">■</span> errors above "
            (bound(errors.breach)) "</span>")
        }
        Level::Warn => {
            html!(out; "<span class=\"badge warning\"><span aria-hidden=\"true\">▲</span> errors above "
            (bound(errors.warn)) "</span>")
        }
        _ => {
            html!(out; "<span class=\"badge good\"><span aria-hidden=\"true\">✓</span> errors below "
            (bound(errors.warn)) "</span>")
        }
    }
    out
}

/// The figures that are looked at first.
pub(super) fn tiles(report: &Report, times: &Times) -> Html {
    let (today, yesterday) = (report.today, report.yesterday);
    let mut out = Html::new();
    html!(out; "<h2 class=\"hidden\">Today</h2><dl class=\"tiles\"><div class=\"tile\"><dt>Requests today</dt><dd>"
        (count(today.requests)) "</dd><dd class=\"sub\">" (before(yesterday, &|it| count(it.requests)))
        "</dd></div><div class=\"tile ");
    out.raw(match report.errors.level {
        Level::Breach => "bad",
        Level::Warn => "warning",
        _ => "good",
    });
    html!(out; "\"><dt>Error responses today</dt><dd>" (count(today.errors)) " <small>" (share(today.error_share()))
        "</small></dd><dd class=\"sub\">warning at " (bound(report.errors.warn)) ", breach at "
        (bound(report.errors.breach)) "</dd></div><div class=\"tile\"><dt>429s today</dt><dd>"
        (count(today.rate_limited)) " <small>" (share(today.rate_limited_share()))
        "</small></dd><dd class=\"sub\">"
        (before(yesterday, &|it| format!("{}, {}", count(it.rate_limited), share(it.rate_limited_share()))))
        "</dd></div>");
    match report.daily.first() {
        Some(daily) => {
            html!(out; "<div class=\"tile ");
            out.raw(match daily.runs_out {
                _ if daily.left == 0 => "bad",
                Some(_) => "warning",
                None => "good",
            });
            let left = share_of(daily.left.into(), daily.quota.into());
            html!(out; "\"><dt>Daily quota left</dt><dd>" (count(daily.left.into())) " <small>" (share(left))
                "</small></dd><dd class=\"sub\">");
            match daily.runs_out {
                _ if daily.left == 0 => html!(out; "used up until " (times.minute(daily.resets))),
                Some(at) => html!(out; "runs out at " (times.minute(at))),
                None => html!(out; "lasts until " (times.minute(daily.resets))),
            }
            html!(out; "</dd></div>");
        }
        None => html!(out; "<div class=\"tile\"><dt>Waiting now</dt><dd>" (count(report.waiting))
            "</dd><dd class=\"sub\">for a slot or the end of a pause</dd></div>"),
    }
    html!(out; "</dl>");
    out
}

/// What is to be said of the day before, if there was one.
fn before(yesterday: Counts, of: &dyn Fn(&Counts) -> String) -> String {
    match yesterday.requests {
        0 => "none known of yesterday".to_owned(),
        _ => format!("yesterday {}", of(&yesterday)),
    }
}

/// What became of the requests of today and of yesterday.
pub(super) fn days(report: &Report) -> Html {
    let (today, yesterday) = (report.today, report.yesterday);
    let mut out = Html::new();
    html!(out; "<h2>Per day</h2><table><thead><tr><th scope=\"col\">Counted</th><th scope=\"col\" class=\"n\">Today</th>"
        "<th scope=\"col\" class=\"n\">Yesterday</th></tr></thead><tbody>");
    let mut row = |name: &str, of: &dyn Fn(&Counts) -> String| {
        html!(out; "<tr><th scope=\"row\">" (name) "</th><td class=\"n\">" (of(&today)) "</td><td class=\"n\">"
            (of(&yesterday)) "</td></tr>");
    };
    row("Requests", &|counts| count(counts.requests));
    row("Error responses", &|counts| count(counts.errors));
    row("Error share", &|counts| share(counts.error_share()));
    row("429s", &|counts| count(counts.rate_limited));
    row("429 share", &|counts| share(counts.rate_limited_share()));
    row("No response", &|counts| count(counts.lost));
    row("Denied, not sent", &|counts| count(counts.denied));
    if !report.enforced || today.would_wait > 0 {
        row("Would have waited", &|counts| count(counts.would_wait));
    }
    html!(out; "</tbody></table>");
    out
}

const HEADINGS: &str = "</th><th scope=\"col\" class=\"n\">Requests</th><th scope=\"col\" class=\"n\">Errors</th>\
    <th scope=\"col\" class=\"n\">429s</th><th scope=\"col\" class=\"n\">429 rate</th></tr></thead><tbody>";

/// The tokens with most refusals and those with most requests.
pub(super) fn tokens(report: &Report) -> Html {
    let mut tokens: Vec<&TokenReport> = Vec::new();
    // The lists begin with those that matter.
    let (refused, busy) = (report.refused_tokens.iter(), report.tokens.iter());
    for token in refused.take(TOP).chain(busy.take(TOP)) {
        if tokens.iter().all(|known| known.token != token.token) {
            tokens.push(token);
        }
    }
    tokens.sort_by_key(|token| std::cmp::Reverse((token.rate_limited, token.requests)));
    let mut out = Html::new();
    html!(out; "<h2>429 rate per token, today</h2>");
    if tokens.is_empty() {
        html!(out; "<p class=\"none\">Nothing has been sent yet.</p>");
        return out;
    }
    html!(out; "<table><thead><tr><th scope=\"col\">Token");
    out.raw(HEADINGS);
    for token in tokens.iter().take(TOP) {
        html!(out; "<tr><th scope=\"row\"><code>" (token.token) "</code></th>");
        // Among very many tokens some of the requests may be others'.
        let most = if token.uncertain > 0 { "≤ " } else { "" };
        figures(
            &mut out,
            most,
            token.requests,
            token.errors,
            token.rate_limited,
        );
    }
    html!(out; "</tbody></table>");
    out
}

/// The routes with most refusals and those with most requests.
pub(super) fn routes(report: &Report) -> Html {
    let mut routes: Vec<&RouteReport> = report.routes.iter().collect();
    routes.sort_by_key(|route| std::cmp::Reverse((route.rate_limited, route.requests)));
    let mut out = Html::new();
    html!(out; "<h2>429 rate per route, today</h2>");
    if routes.is_empty() {
        html!(out; "<p class=\"none\">Nothing has been sent yet.</p>");
        return out;
    }
    html!(out; "<table class=\"stacked\"><thead><tr><th scope=\"col\">Route");
    out.raw(HEADINGS);
    for route in routes.iter().take(TOP) {
        html!(out; "<tr><th scope=\"row\">" (&route.route) "</th>");
        figures(
            &mut out,
            "",
            route.requests,
            route.errors,
            route.rate_limited,
        );
    }
    html!(out; "</tbody></table>");
    out
}

fn figures(out: &mut Html, most: &str, requests: u64, errors: u64, rate_limited: u64) {
    html!(out; "<td class=\"n\">" (most) (count(requests)) "</td><td class=\"n\">" (count(errors))
        "</td><td class=\"n\">" (count(rate_limited)) "</td><td class=\"n\">"
        (share(share_of(rate_limited, requests))) "</td></tr>");
}
