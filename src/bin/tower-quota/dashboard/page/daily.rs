//! The daily pools: what was left when, and what will be.

use std::time::Duration;

use tower_quota::report::{DailyReport, Report};

use super::super::board::Board;
use super::super::html::{Html, html};
use super::super::moments::{self, Times, seconds};
use super::chart::{self, Chart, Span, percent};
use super::{count, share_of};

/// So many pools are drawn; all are in the table.
const DRAWN: usize = 2;

pub(super) fn section(board: &Board, report: &Report, times: &Times) -> Html {
    let mut out = Html::new();
    html!(out; "<h2>Daily quota</h2>");
    if report.daily.is_empty() {
        html!(out; "<p class=\"none\">No daily pool has been used yet.</p>");
        return out;
    }
    html!(out; "<p class=\"legend\"><span class=\"key k-left\"></span>left"
        " <span class=\"key k-projection\"></span>projection at the present rate</p>");
    for daily in report.daily.iter().take(DRAWN) {
        html!(out; "<h3>" (name(daily)) "</h3>");
        out.append(&verdict(report, daily, times));
        out.append(&burn_down(board, report, daily, times));
    }
    out.append(&table(report, times));
    out
}

fn name(daily: &DailyReport) -> String {
    match daily.key {
        Some(key) => format!("{} of {key}", daily.limit),
        None => daily.limit.clone(),
    }
}

/// What is between two moments; nothing when they are in the other order.
fn between(from: std::time::SystemTime, to: std::time::SystemTime) -> Duration {
    to.duration_since(from).unwrap_or_default()
}

fn verdict(report: &Report, daily: &DailyReport, times: &Times) -> Html {
    let mut out = Html::new();
    let resets = between(report.at, daily.resets);
    match daily.runs_out {
        _ if daily.left == 0 => {
            html!(out; "<p class=\"verdict bad\"><span aria-hidden=\"true\">■</span> Used up. Filled again at "
            (times.minute(daily.resets)) ", in " (moments::length(resets)) ".</p>")
        }
        Some(at) => {
            html!(out; "<p class=\"verdict warning\"><span aria-hidden=\"true\">▲</span> Runs out at <strong>"
            (times.minute(at)) "</strong>, in " (moments::length(between(report.at, at))) ": "
            (moments::length(between(at, daily.resets))) " before it is filled again.</p>")
        }
        None => {
            html!(out; "<p class=\"verdict good\"><span aria-hidden=\"true\">✓</span> Lasts until it is filled again at "
            (times.minute(daily.resets)) ", in " (moments::length(resets)) ".</p>")
        }
    }
    out
}

/// When the day of the pool began, in seconds since 1970. A day of 25 hours is one, too.
fn began(report: &Report, daily: &DailyReport) -> f64 {
    let (began, resets) = (seconds(report.day_began), seconds(daily.resets));
    if (82_000.0..=90_100.0).contains(&(resets - began)) {
        began
    } else {
        resets - 86_400.0
    }
}

/// What was left when, in seconds since 1970 and requests: as reports have told, and before the first of them as the requests
/// since then tell. Where several pools share the requests nobody knows which were whose.
fn left(board: &Board, report: &Report, daily: &DailyReport, began: f64) -> Vec<(f64, f64)> {
    let told = board.left(daily);
    let mut points: Vec<(f64, f64)> = told
        .iter()
        .map(|(at, left)| (*at, (*left).into()))
        .collect();
    let Some((first, left)) = points.first().copied() else {
        return points;
    };
    let mut earlier = Vec::new();
    if report.daily.len() == 1 {
        let mut left = left;
        let history: Vec<_> = board.history().collect();
        let known = history.iter().rev();
        let known = known.filter(|(at, _)| (began..first).contains(&(*at as f64)));
        for (at, sums) in known {
            left = (left + sums.daily as f64).min(daily.quota.into());
            earlier.push((*at as f64, left));
        }
    }
    earlier.reverse();
    earlier.append(&mut points);
    earlier.retain(|(at, _)| *at >= began);
    earlier
}

fn burn_down(board: &Board, report: &Report, daily: &DailyReport, times: &Times) -> Html {
    let span = Span {
        from: began(report, daily),
        to: seconds(daily.resets),
    };
    let top = f64::from(daily.quota.max(1));
    let label = format!(
        "{}: {} of {} requests are left, used up at {} per hour",
        name(daily),
        count(daily.left.into()),
        count(daily.quota.into()),
        count(daily.per_hour.max(0.0).round() as u64)
    );
    let chart = Chart {
        span,
        top,
        values: [0.0, 0.25, 0.5, 0.75, 1.0]
            .map(|part| (part * top, chart::short(part * top)))
            .to_vec(),
        label: &label,
        is_low: false,
    };
    let now = seconds(report.at);
    let place = |(at, left): (f64, f64)| (span.x(at), chart.y(left));
    let points = left(board, report, daily, span.from);
    let mut inside = Html::new();
    // Before anything is known the pool was full when its day began.
    if let Some(first) = points.first() {
        let unknown = [place((span.from, top)), place(*first)];
        chart::line(
            &mut inside,
            "<polyline class=\"unknown\" points=\"",
            &unknown,
        );
        let line: Vec<(f64, f64)> = points.iter().copied().map(place).collect();
        let (from, to) = (line[0].0, line[line.len() - 1].0);
        let mut area = line.clone();
        area.extend([(to, 100.0), (from, 100.0)]);
        chart::line(&mut inside, "<polygon class=\"left\" points=\"", &area);
        chart::line(
            &mut inside,
            "<polyline class=\"left-line\" points=\"",
            &line,
        );
    }
    let end = match daily.runs_out {
        Some(at) => (seconds(at), 0.0),
        None => {
            let hours = (span.to - now).max(0.0) / 3_600.0;
            let left = f64::from(daily.left) - daily.per_hour.max(0.0) * hours;
            (span.to, left.max(0.0))
        }
    };
    let projection = [place((now, daily.left.into())), place(end)];
    chart::line(
        &mut inside,
        "<polyline class=\"projection\" points=\"",
        &projection,
    );
    let x = span.x(now);
    chart::upright(&mut inside, "<line class=\"now\" y2=\"100%\" x1=\"", x);
    // On the side where there is room.
    inside.raw(if x < 50.0 {
        "<text class=\"at\" dx=\"4\" y=\"12\" x=\""
    } else {
        "<text class=\"at end\" dx=\"-4\" y=\"12\" x=\""
    });
    html!(inside; (percent(x)) "\">" (times.minute(report.at)) "</text>");
    if daily.runs_out.is_some() && daily.left > 0 {
        let x = percent(span.x(end.0));
        html!(inside; "<circle class=\"empty\" r=\"5\" cy=\"100%\" cx=\"" (x) "\"/>");
    }
    chart.draw(times, &inside)
}

fn table(report: &Report, times: &Times) -> Html {
    let mut out = Html::new();
    html!(out; "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Daily pools\"><table class=\"stacked five\"><thead><tr>"
        "<th scope=\"col\">Pool</th><th scope=\"col\" class=\"n\">Used</th><th scope=\"col\" class=\"n\">Others</th>"
        "<th scope=\"col\" class=\"n\">Left</th><th scope=\"col\" class=\"n\">Per hour</th>"
        "<th scope=\"col\" class=\"n\">Runs out</th></tr></thead><tbody>");
    for daily in &report.daily {
        let left = share_of(daily.left.into(), daily.quota.into());
        html!(out; "<tr><th scope=\"row\">" (name(daily)) "</th><td class=\"n\">" (count(daily.used.into()))
            "</td><td class=\"n\">" (count(daily.foreign.into())) "</td><td class=\"n\">" (count(daily.left.into()))
            " <small>(" (super::share(left)) ")</small></td><td class=\"n\">"
            (count(daily.per_hour.max(0.0).round() as u64)) "</td><td class=\"n\">");
        match daily.runs_out {
            _ if daily.left == 0 => html!(out; "used up"),
            Some(at) => html!(out; (times.minute(at))),
            None => html!(out; "no"),
        }
        html!(out; "</td></tr>");
    }
    html!(out; "</tbody></table></div>");
    out
}
