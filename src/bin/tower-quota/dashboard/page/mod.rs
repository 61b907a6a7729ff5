//! The page: every part of it is made here, and the same whether it is loaded, brought up to date or written to a file.

mod chart;
mod counters;
mod daily;
mod errors;
mod events;
mod limits;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tower_quota::report::Report;

use super::super::out::{grouped as count, percent as share};
use super::board::Board;
use super::html::{Html, html};
use super::moments::{self, Times};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("live.js");

/// A source that says nothing for so long has fallen silent: reports come every minute.
pub(super) const SILENT: Duration = Duration::from_secs(150);

/// How the page is seen.
#[derive(Debug)]
pub(super) struct View {
    pub(super) times: Times,
    pub(super) source: Source,
}

/// Where the figures come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A log that is followed.
    Log(String),
    /// Programs that post them to this address.
    Posts(String),
    /// A log that was read once.
    Once(String),
}

/// A part of the page that changes as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// The `id` of its element.
    pub(super) id: &'static str,
    pub(super) html: String,
}

/// The parts, in the order in which they stand on the page.
pub(super) fn sections(board: &Board, view: &View, now: SystemTime) -> Vec<Section> {
    let times = &view.times;
    let mut all = vec![
        ("headline", headline(board, times)),
        ("status", status(board, view, now)),
    ];
    let nothing = Html::new;
    match &board.report {
        Some(report) => all.extend([
            ("counters", counters::tiles(report, times)),
            ("errors", errors::section(board, report, times)),
            ("daily", daily::section(board, report, times)),
            ("limits", limits::section(report)),
            ("days", counters::days(report)),
            ("tokens", counters::tokens(report)),
            ("routes", counters::routes(report)),
            ("concurrency", limits::concurrency(report)),
        ]),
        None => all.extend([
            ("counters", nothing_yet(view)),
            ("errors", nothing()),
            ("daily", nothing()),
            ("limits", nothing()),
            ("days", nothing()),
            ("tokens", nothing()),
            ("routes", nothing()),
            ("concurrency", nothing()),
        ]),
    }
    all.push(("events", events::section(board, times)));
    let section = |(id, html): (&'static str, Html)| Section {
        id,
        html: html.into_string(),
    };
    all.into_iter().map(section).collect()
}

fn headline(board: &Board, times: &Times) -> Html {
    let mut out = Html::new();
    let report = board.report.as_ref();
    let api = report.map(|report| &report.api).or(board.api.as_ref());
    html!(out; "<h1>" (api.map_or("tower-quota", |api| api)) "</h1>");
    let Some(report) = report else {
        return out;
    };
    out.append(&counters::level(report));
    if !report.enforced {
        html!(out; "<span class=\"badge warning\"><span aria-hidden=\"true\">◌</span> shadow mode: nothing is held up</span>");
    }
    if report.waiting > 0 {
        html!(out; "<span class=\"badge plain\">" (count(report.waiting)) " waiting</span>");
    }
    html!(out; "<p class=\"as-of\">Figures of <time datetime=\"" (times.stamp(report.at)) "\">"
        (times.full(report.at)) "</time> (" (times.zone()) ")</p>");
    out
}

fn status(board: &Board, view: &View, now: SystemTime) -> Html {
    let mut out = Html::new();
    if let Source::Once(name) = &view.source {
        html!(out; "<p>Read once from <code>" (name) "</code>.");
    } else {
        match board.news {
            None => {
                html!(out; "<p><span class=\"dot waiting\" aria-hidden=\"true\"></span>Waiting for the first line.")
            }
            Some(news) => {
                let silent = now.duration_since(news).unwrap_or_default();
                if silent >= SILENT {
                    html!(out; "<p class=\"silent\"><span aria-hidden=\"true\">▲</span> No news since "
                        (view.times.day(news)) " (" (moments::length(whole_minutes(silent))) " ago).");
                } else {
                    html!(out; "<p><span class=\"dot live\" aria-hidden=\"true\"></span>Live, last news at "
                        (view.times.second(news)) ".");
                }
            }
        }
    }
    if board.has_ended {
        html!(out; " The log has ended.");
    }
    if board.skipped > 0 {
        html!(out; " Lines skipped: " (count(board.skipped)));
        if let Some(problem) = &board.problem {
            html!(out; " (" (problem) ")");
        }
        html!(out; ".");
    }
    html!(out; "</p>");
    out
}

fn whole_minutes(length: Duration) -> Duration {
    Duration::from_secs(length.as_secs() / 60 * 60)
}

/// What is shown before there is a report.
fn nothing_yet(view: &View) -> Html {
    let mut out = Html::new();
    html!(out; "<div class=\"card empty-state\"><h2>No report yet</h2>");
    match &view.source {
        Source::Log(name) | Source::Once(name) => html!(out; "<p>There is none in <code>" (name)
            "</code>. The recorder writes one every minute.</p>"),
        Source::Posts(address) => html!(out; "<p>Send lines that a recorder has written:</p><pre>"
            "curl -H 'content-type: application/x-ndjson' \\\n     --data-binary @log.jsonl "
            (address) "/log</pre><p>or start the dashboard with <code>--log FILE</code>.</p>"),
    }
    html!(out; "</div>");
    out
}

/// A part in a whole, from 0 to 1; 0 of nothing.
fn share_of(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        _ => part as f64 / whole as f64,
    }
}

/// A threshold in per cent, as in `3 %` or `2.5 %`.
fn bound(share: f64) -> String {
    let percent = format!("{:.1}", share * 100.0);
    format!("{} %", percent.trim_end_matches(".0"))
}

/// The parts that are cards.
const CARDS: [&str; 8] = [
    "errors",
    "daily",
    "limits",
    "days",
    "tokens",
    "routes",
    "concurrency",
    "events",
];

/// What a page is besides its parts.
pub(super) struct Frame<'a> {
    /// What the Content-Security-Policy lets styles and scripts through by.
    pub(super) nonce: &'a str,
    /// Where news come from; `None` for a page that stays as it is.
    pub(super) live: Option<&'a str>,
    /// Names of the other programs, and whether it is this one.
    pub(super) programs: &'a [(String, bool)],
}

/// What a page may load and do: nothing but its own styles, its own script, and news from where it came.
pub(super) fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
    )
}

/// The whole page.
pub(super) fn page(
    sections: &[Arc<Section>],
    report: Option<&Report>,
    frame: &Frame<'_>,
) -> String {
    let mut out = Html::new();
    let nonce = frame.nonce;
    html!(out; "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
        "<meta name=\"color-scheme\" content=\"light dark\"><meta name=\"referrer\" content=\"no-referrer\">");
    if frame.live.is_none() {
        html!(out; "<meta http-equiv=\"Content-Security-Policy\" content=\"");
        // Longer than a text may be.
        for part in policy(nonce).split_inclusive(';') {
            out.text(part);
        }
        html!(out; "\">");
    }
    let api = report.map_or("tower-quota", |report| &report.api);
    html!(out; "<title>" (api) " · quota</title><link rel=\"icon\" href=\"data:,\">"
        "<style nonce=\"" (nonce) "\">");
    out.raw(STYLE);
    html!(out; "</style></head><body");
    if let Some(events) = frame.live {
        html!(out; " data-events=\"" (events) "\"");
    }
    html!(out; "><svg class=\"patterns\" aria-hidden=\"true\"><defs>"
        "<pattern id=\"stripes\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">"
        "<rect class=\"foreign-ground\" width=\"6\" height=\"6\"/><rect class=\"foreign-stripe\" width=\"3\" height=\"6\"/></pattern>"
        "<pattern id=\"dots\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\">"
        "<rect class=\"errors-ground\" width=\"5\" height=\"5\"/><circle class=\"errors-dot\" cx=\"2.5\" cy=\"2.5\" r=\"1.3\"/></pattern>"
        "</defs></svg><header><p class=\"product\">tower-quota</p>");
    if frame.programs.len() > 1 {
        html!(out; "<nav aria-label=\"Programs\">");
        for (name, is_this) in frame.programs {
            let shown = if name.is_empty() { "unnamed" } else { name };
            html!(out; "<a href=\"/?from=" (name));
            out.raw(if *is_this {
                "\" aria-current=\"page\">"
            } else {
                "\">"
            });
            html!(out; (shown) "</a>");
        }
        html!(out; "</nav>");
    }
    let part = |out: &mut Html, id: &str| {
        if let Some(part) = sections.iter().find(|section| section.id == id) {
            out.section(part);
        }
    };
    html!(out; "<div id=\"headline\">");
    part(&mut out, "headline");
    html!(out; "</div><div id=\"status\" role=\"status\">");
    part(&mut out, "status");
    html!(out; "</div><p id=\"lost\" role=\"alert\" hidden>No connection to the dashboard; trying again.</p>"
        "</header><main><div id=\"counters\">");
    part(&mut out, "counters");
    html!(out; "</div><div class=\"cards\">");
    for id in CARDS {
        html!(out; "<section class=\"card\" id=\"" (id) "\">");
        part(&mut out, id);
        html!(out; "</section>");
    }
    html!(out; "</div></main>");
    if frame.live.is_some() {
        html!(out; "<noscript><p class=\"note\">Without scripts the page stays as it is: load it again for news.</p></noscript>"
            "<script nonce=\"" (nonce) "\">");
        out.raw(SCRIPT);
        html!(out; "</script>");
    }
    html!(out; "</body></html>\n");
    out.into_string()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_source_that_says_nothing_is_said_to_be_silent() {
        let view = View {
            times: Times::new("UTC").expect("a zone"),
            source: Source::Log("log.jsonl".to_owned()),
        };
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let mut board = Board::default();
        let said = |board: &Board, now| status(board, &view, at(now)).into_string();
        assert!(said(&board, 0).contains("Waiting for the first line"));
        board.news = Some(at(43_200));
        assert!(said(&board, 43_349).contains("Live, last news at 12:00:00."));
        let silent = said(&board, 43_430);
        assert!(
            silent.contains("No news since 1 Jan, 12:00 (3 min ago)."),
            "{silent}"
        );
        // The clock was set back.
        assert!(said(&board, 0).contains("Live"));
    }
}
