//! Lengths of time as people write them: `90s`, `5m`, `1h 30m`, `30d`.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

/// A length of time. Days have 24 hours; months and years, which vary, are refused.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("must be a length of time such as \"90s\", \"5m\" or \"1h 30m\", is {text:?}");
    let span: Span = text.trim().parse().map_err(|_| wrong())?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours());
    // Negative ones are no lengths.
    length
        .ok()
        .and_then(|length| Duration::try_from(length).ok())
        .ok_or_else(wrong)
}

/// A length of time for people, in its largest two units: `1 h 30 min`, `5.2 s`.
pub(crate) fn text(seconds: f64) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    if seconds < 60.0 {
        // Whole numbers as such.
        let text = format!("{seconds:.1}");
        return format!("{} s", text.strip_suffix(".0").unwrap_or(&text));
    }
    let mut left = seconds.round() as u64;
    let mut parts = Vec::new();
    for (unit, length) in UNITS {
        if left >= length && parts.len() < 2 {
            parts.push(format!("{} {unit}", left / length));
            left %= length;
        } else if !parts.is_empty() {
            break;
        }
    }
    parts.join(" ")
}
