//! The last events.

use super::super::board::Board;
use super::super::happened::{Happened, Tone};
use super::super::html::{Html, html};
use super::super::moments::Times;
use super::count;

/// So many are shown.
const SHOWN: usize = 30;
/// So many of them are everyday ones.
const PLAIN: usize = 10;

pub(super) fn section(board: &Board, times: &Times) -> Html {
    let mut out = Html::new();
    html!(out; "<h2>Recent events</h2>");
    if board.events.is_empty() {
        html!(out; "<p class=\"none\">Nothing has happened: no refusal, no pause, no change.</p>");
        return out;
    }
    html!(out; "<ol class=\"events\">");
    let mut plain = 0;
    let matters = |happened: &&Happened| {
        let is_plain = happened.tone == Tone::Plain;
        plain += usize::from(is_plain);
        !is_plain || plain <= PLAIN
    };
    for happened in board.events.iter().filter(matters).take(SHOWN) {
        out.append(&event(happened, times));
    }
    html!(out; "</ol>");
    out
}

fn event(happened: &Happened, times: &Times) -> Html {
    let mut out = Html::new();
    html!(out; "<li><time datetime=\"" (times.stamp(happened.at)) "\">" (times.second(happened.at)) "</time>");
    out.raw(match happened.tone {
        Tone::Bad => "<span class=\"badge bad\"><span aria-hidden=\"true\">■</span> ",
        Tone::Warning => "<span class=\"badge warning\"><span aria-hidden=\"true\">▲</span> ",
        Tone::Good => "<span class=\"badge good\"><span aria-hidden=\"true\">✓</span> ",
        Tone::Plain => "<span class=\"badge plain\">",
    });
    html!(out; (happened.title()) "</span>");
    if happened.times > 1 {
        html!(out; "<span class=\"times\">" (count(happened.times)) " times</span>");
    }
    html!(out; "<span class=\"details\">");
    if let Some(token) = happened.token {
        html!(out; "<code>" (token) "</code> ");
    }
    html!(out; (&happened.details) "</span></li>");
    out
}
