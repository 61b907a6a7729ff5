//! Requests, errors and 429s over time, against the shares that a vendor bears.

use std::time::{Duration, UNIX_EPOCH};

use tower_quota::report::Report;

use super::super::board::{Board, STEP, Sums};
use super::super::html::{Html, html};
use super::super::moments::{Times, seconds};
use super::chart::{self, Chart, Span, percent};
use super::{bound, count, share, share_of};

/// A chart has no more bars.
const BARS: u64 = 96;
/// Shares above so many times the upper threshold are cut off: what lies around the thresholds is to be seen.
const HIGHEST: f64 = 3.0;

/// Neighbouring intervals as one bar.
struct Group {
    began: f64,
    sums: Sums,
}

pub(super) fn section(board: &Board, report: &Report, times: &Times) -> Html {
    let mut out = Html::new();
    html!(out; "<h2>Requests and errors over time</h2>");
    let history: Vec<(u64, Sums)> = board.history().collect();
    let Some((first, _)) = history.first() else {
        html!(out; "<p class=\"none\">Nothing has been sent yet.</p>");
        return out;
    };
    let span = chart::until(report.at, *first as f64);
    let bars = (span.to - span.from) as u64 / STEP;
    let width = STEP
        * [1, 2, 3]
            .into_iter()
            .find(|n| bars / n <= BARS)
            .unwrap_or(6);
    let groups = group(&history, width);
    let day = running(&history, report);
    html!(out; "<h3>Requests in " (width / 60) " minutes</h3>" [requests(&groups, span, width, times)]
        "<h3>Error responses, as a share of these requests</h3><p class=\"legend\"><span class=\"key k-limited\"></span>429s"
        " <span class=\"key k-errors\"></span>other errors"
        " <span class=\"key k-line\"></span>share of all errors in the day so far</p>"
        [shares(&groups, &day, report, span, width, times)]);
    out.append(&table(&groups, width, times));
    out
}

fn group(history: &[(u64, Sums)], width: u64) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (began, sums) in history {
        let began = (began - began % width) as f64;
        match groups.last_mut() {
            Some(last) if last.began == began => last.sums = last.sums.plus(*sums),
            _ => groups.push(Group { began, sums: *sums }),
        }
    }
    groups
}

/// The share of errors since the day began, at the end of each interval.
fn running(history: &[(u64, Sums)], report: &Report) -> Vec<(f64, f64)> {
    let (began, now) = (seconds(report.day_began), seconds(report.at));
    let mut all = Sums::default();
    let mut points = Vec::new();
    for (at, sums) in history.iter().filter(|(at, _)| *at as f64 >= began) {
        all = all.plus(*sums);
        let end = (*at + STEP) as f64;
        points.push((end.min(now), share_of(all.errors, all.requests)));
    }
    points
}

fn requests(groups: &[Group], span: Span, width: u64, times: &Times) -> Html {
    let most = groups.iter().map(|group| group.sums.requests).max();
    let top = chart::round_up(most.unwrap_or(0) as f64, 4.0);
    let label = format!(
        "Requests in {} minutes each: {} at most",
        width / 60,
        count(most.unwrap_or(0))
    );
    let chart = Chart {
        span,
        top,
        values: [0.0, 0.5, 1.0]
            .map(|part| (part * top, chart::short(part * top)))
            .to_vec(),
        label: &label,
        is_low: true,
    };
    let mut inside = Html::new();
    for group in groups {
        let y = chart.y(group.sums.requests as f64);
        inside.raw("<rect class=\"requests\" ");
        bar(&mut inside, group, span, width, y, 100.0 - y);
        html!(inside; "/>");
        hit(&mut inside, group, span, width, times);
    }
    chart.draw(times, &inside)
}

fn shares(
    groups: &[Group],
    day: &[(f64, f64)],
    report: &Report,
    span: Span,
    width: u64,
    times: &Times,
) -> Html {
    let errors = report.errors;
    let busiest = groups.iter().map(|group| group.sums.requests).max();
    // Where hardly anything was sent, one error is a large share. It does not set the scale.
    let counts = groups
        .iter()
        .filter(|group| group.sums.requests >= busiest.unwrap_or(0) / 20);
    let highest = counts.map(|group| share_of(group.sums.errors, group.sums.requests));
    let highest = highest.chain(day.iter().map(|(_, share)| *share));
    let highest = highest.fold(errors.breach * 1.2, f64::max);
    let highest = highest.min(errors.breach * HIGHEST).clamp(0.01, 1.0);
    let step = [0.01, 0.02, 0.05]
        .into_iter()
        .find(|step| highest / step <= 6.5);
    let step = step.unwrap_or(0.1);
    let top = (highest / step).ceil() * step;
    let label = format!(
        "Share of error responses: {} of the day's requests so far, of which {} were 429s. {} is the warning, {} the breach",
        share(errors.share),
        share(report.today.rate_limited_share()),
        bound(errors.warn),
        bound(errors.breach)
    );
    let mut values = Vec::new();
    let mut value = 0.0;
    while value <= top + step / 2.0 {
        values.push((value, format!("{:.0} %", value * 100.0)));
        value += step;
    }
    let chart = Chart {
        span,
        top,
        values,
        label: &label,
        is_low: false,
    };
    let mut inside = Html::new();
    for group in groups {
        let sums = group.sums;
        let limited = chart.y(share_of(sums.rate_limited, sums.requests));
        let all = chart.y(share_of(sums.errors, sums.requests));
        inside.raw("<rect class=\"limited\" ");
        bar(&mut inside, group, span, width, limited, 100.0 - limited);
        inside.raw("/><rect class=\"errors\" ");
        bar(&mut inside, group, span, width, all, limited - all);
        html!(inside; "/>");
        if share_of(sums.errors, sums.requests) > top {
            let middle = span.x(group.began + width as f64 / 2.0);
            html!(inside; "<text class=\"cut\" x=\"" (percent(middle)) "\" y=\"-3\">▲</text>");
        }
    }
    let bounds = [
        (
            errors.warn,
            "<line class=\"warn\" x2=\"100%\" y1=\"",
            "warning",
        ),
        (
            errors.breach,
            "<line class=\"breach\" x2=\"100%\" y1=\"",
            "breach",
        ),
    ];
    for (value, begins, name) in bounds {
        let y = chart.y(value);
        chart::level(&mut inside, begins, y);
        html!(inside; "<text class=\"bound\" x=\"100%\" dx=\"-4\" dy=\"-4\" y=\"" (percent(y)) "\">"
            (bound(value)) " " (name) "</text>");
    }
    let points: Vec<(f64, f64)> = day
        .iter()
        .map(|(at, share)| (span.x(*at), chart.y(*share)))
        .collect();
    chart::line(&mut inside, "<polyline class=\"day\" points=\"", &points);
    for group in groups {
        hit(&mut inside, group, span, width, times);
    }
    chart.draw(times, &inside)
}

/// Position and size of a bar, as attributes.
fn bar(out: &mut Html, group: &Group, span: Span, width: u64, y: f64, height: f64) {
    let (from, to) = edges(group, span, width);
    // A little room between bars.
    let gap = (to - from) * 0.12;
    html!(out; "x=\"" (percent(from + gap / 2.0)) "\" width=\"" (percent((to - from - gap).max(0.05)))
        "\" y=\"" (percent(y)) "\" height=\"" (percent(height.max(0.0))) "\"");
}

fn edges(group: &Group, span: Span, width: u64) -> (f64, f64) {
    (span.x(group.began), span.x(group.began + width as f64))
}

/// Where the pointer finds the figures of a group.
fn hit(out: &mut Html, group: &Group, span: Span, width: u64, times: &Times) {
    let (from, to) = edges(group, span, width);
    html!(out; "<rect class=\"hit\" height=\"100%\" x=\"" (percent(from)) "\" width=\"" (percent(to - from))
        "\"><title>" (range(group, width, times)) ": " (count(group.sums.requests)) " requests, "
        (count(group.sums.errors)) " errors (" (share(share_of(group.sums.errors, group.sums.requests)))
        "), " (count(group.sums.rate_limited)) " of them 429s</title></rect>");
}

fn range(group: &Group, width: u64, times: &Times) -> String {
    let began = UNIX_EPOCH + Duration::from_secs_f64(group.began);
    let ended = began + Duration::from_secs(width);
    format!("{} to {}", times.minute(began), times.minute(ended))
}

fn table(groups: &[Group], width: u64, times: &Times) -> Html {
    let mut out = Html::new();
    html!(out; "<details id=\"errors-table\"><summary>The same as a table</summary>"
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Requests and errors over time\">"
        "<table><thead><tr><th scope=\"col\">Time</th><th scope=\"col\" class=\"n\">Requests</th>"
        "<th scope=\"col\" class=\"n\">Errors</th><th scope=\"col\" class=\"n\">429s</th>"
        "<th scope=\"col\" class=\"n\">Error share</th></tr></thead><tbody>");
    for group in groups.iter().rev() {
        let sums = group.sums;
        html!(out; "<tr><th scope=\"row\">" (range(group, width, times)) "</th><td class=\"n\">"
            (count(sums.requests)) "</td><td class=\"n\">" (count(sums.errors)) "</td><td class=\"n\">"
            (count(sums.rate_limited)) "</td><td class=\"n\">" (share(share_of(sums.errors, sums.requests)))
            "</td></tr>");
    }
    html!(out; "</tbody></table></div></details>");
    out
}
