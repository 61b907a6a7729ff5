//! Charts as SVG. Text keeps its size whatever the width: positions are per cent, only lines are stretched.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::html::{Html, html};
use super::super::moments::{Times, seconds};

/// Marks on the time axis are so far apart, in seconds.
const STEPS: [u32; 9] = [300, 600, 900, 1_800, 3_600, 7_200, 10_800, 14_400, 21_600];
/// There are no more of them.
const MARKS: f64 = 8.0;

/// The time that a chart shows, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: f64,
    pub(super) to: f64,
}

impl Span {
    /// Where `at` is, in per cent of the width.
    pub(super) fn x(self, at: f64) -> f64 {
        ((at - self.from) / (self.to - self.from) * 100.0).clamp(0.0, 100.0)
    }
}

/// The axes of a chart.
pub(super) struct Chart<'a> {
    pub(super) span: Span,
    /// The value at the upper edge; that at the lower one is zero.
    pub(super) top: f64,
    /// What is written at the value axis.
    pub(super) values: Vec<(f64, String)>,
    /// What it shows, for those who do not see it.
    pub(super) label: &'a str,
    /// One that is not so high, and has its times below the next one.
    pub(super) is_low: bool,
}

impl Chart<'_> {
    /// Where `value` is, in per cent of the height from above.
    pub(super) fn y(&self, value: f64) -> f64 {
        (100.0 - value / self.top * 100.0).clamp(0.0, 100.0)
    }

    /// The whole chart, with what `inside` draws.
    pub(super) fn draw(&self, times: &Times, inside: &Html) -> Html {
        let mut out = Html::new();
        out.raw("<div class=\"chart");
        if self.is_low {
            out.raw(" low");
        }
        html!(out; "\"><svg class=\"values\" aria-hidden=\"true\">");
        for (value, text) in &self.values {
            html!(out; "<text x=\"100%\" y=\"" (percent(self.y(*value))) "\">" (text) "</text>");
        }
        html!(out; "</svg><svg class=\"plot\" role=\"img\" aria-label=\"" (self.label) "\">");
        for (value, _) in &self.values {
            level(
                &mut out,
                "<line class=\"grid\" x2=\"100%\" y1=\"",
                self.y(*value),
            );
        }
        html!(out; [inside] "</svg>");
        if self.is_low {
            html!(out; "</div>");
            return out;
        }
        html!(out; "<svg class=\"times\" aria-hidden=\"true\">");
        for (nth, (at, text)) in marks(self.span, times).iter().enumerate() {
            out.raw(if nth % 2 == 0 {
                "<text x=\""
            } else {
                "<text class=\"minor\" x=\""
            });
            html!(out; (percent(self.span.x(*at))) "\" y=\"14\">" (text) "</text>");
        }
        html!(out; "</svg></div>");
        out
    }
}

/// A length or position in per cent.
pub(super) fn percent(value: f64) -> String {
    format!("{value:.2}%")
}

/// A horizontal line: `begins` is its markup up to the first of its heights.
pub(super) fn level(out: &mut Html, begins: &'static str, y: f64) {
    out.raw(begins);
    html!(out; (percent(y)) "\" y2=\"" (percent(y)) "\"/>");
}

/// A vertical line.
pub(super) fn upright(out: &mut Html, begins: &'static str, x: f64) {
    out.raw(begins);
    html!(out; (percent(x)) "\" x2=\"" (percent(x)) "\"/>");
}

/// A line, and the area below it, through points given in per cent; `begins` is the markup up to the points.
pub(super) fn line(out: &mut Html, begins: &'static str, points: &[(f64, f64)]) {
    html!(out; "<svg viewBox=\"0 0 100 100\" preserveAspectRatio=\"none\" width=\"100%\" height=\"100%\">");
    out.raw(begins);
    for (x, y) in points {
        out.text(format_args!("{x:.2},{y:.2} "));
    }
    html!(out; "\"/></svg>");
}

/// The smallest round number that is no smaller than `value` and `least`; half of it is round, too.
pub(super) fn round_up(value: f64, least: f64) -> f64 {
    let value = value.max(least);
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0].map(|step| step * power);
    let fits = steps.into_iter().find(|step| *step >= value * (1.0 - 1e-9));
    fits.unwrap_or(value)
}

/// A number that fits beside an axis, as in `250k`.
pub(super) fn short(number: f64) -> String {
    let with = |number: f64, unit: &str| {
        let digits = format!("{number:.1}");
        format!("{}{unit}", digits.trim_end_matches(".0"))
    };
    match number {
        n if n >= 1e6 => with(n / 1e6, "M"),
        n if n >= 1e3 => with(n / 1e3, "k"),
        n => with(n, ""),
    }
}

/// Round times, in seconds since 1970, as they are written.
fn marks(span: Span, times: &Times) -> Vec<(f64, String)> {
    let long = span.to - span.from;
    let step = STEPS
        .into_iter()
        .find(|step| long / f64::from(*step) <= MARKS);
    let step = f64::from(step.unwrap_or(86_400));
    let moment = |at: f64| {
        let since = Duration::try_from_secs_f64(at).unwrap_or_default();
        UNIX_EPOCH
            .checked_add(since)
            .unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let into = times.since_midnight(moment(span.from)) % step;
    let first = span.from + (step - into) % step;
    let mut marks = Vec::new();
    let mut at = first;
    while at <= span.to && (marks.len() as f64) <= MARKS {
        marks.push((at, times.minute(moment(at))));
        at += step;
    }
    marks
}

/// From `from` to `at`, and at least an hour.
pub(super) fn until(at: SystemTime, from: f64) -> Span {
    let to = seconds(at);
    Span {
        from: from.min(to - 3_600.0),
        to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        let tops = [0.0, 3.0, 20.0, 21.0, 2_600.0].map(|value| round_up(value, 1.0));
        assert_eq!(tops, [1.0, 3.0, 20.0, 30.0, 3_000.0]);
    }

    #[test]
    fn marks_are_round_times_of_the_zone_and_few() {
        // 05:47 to 17:47 in Kathmandu, which is 5 h 45 min ahead.
        let times = Times::new("Asia/Kathmandu").expect("a zone");
        let span = Span {
            from: 120.0 + 86_400.0,
            to: 120.0 + 86_400.0 + 43_200.0,
        };
        let shown: Vec<String> = marks(span, &times).into_iter().map(|mark| mark.1).collect();
        assert_eq!(
            shown,
            ["06:00", "08:00", "10:00", "12:00", "14:00", "16:00"]
        );
    }

    #[test]
    fn numbers_beside_an_axis_are_short() {
        let shown = [0.0, 2.5, 950.0, 1_500.0, 250_000.0, 1e6].map(short);
        assert_eq!(shown, ["0", "2.5", "950", "1.5k", "250k", "1M"]);
    }
}
