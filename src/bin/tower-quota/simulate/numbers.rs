//! Figures as they are given on the command line.

use std::time::Duration;

use tower_quota::sim::Latency;

use crate::span;

/// `wan`, `lan`, `none`, or one length, two with `..` between them (anything between), or two with `+` (the second is the mean of an
/// exponential addition).
pub(super) fn latency(text: &str) -> Result<Latency, String> {
    match text.trim() {
        "wan" => return Ok(Latency::WAN),
        "lan" => return Ok(Latency::LAN),
        "none" => return Ok(Latency::NONE),
        _ => {}
    }
    if let Some((low, high)) = text.split_once("..") {
        let (low, high) = (length(low)?, length(high)?);
        return match low <= high {
            true => Ok(Latency::uniform(low, high)),
            false => Err(format!("ends before it begins: {text:?}")),
        };
    }
    if let Some((base, extra)) = text.split_once('+') {
        return Ok(Latency::exponential(length(base)?, length(extra)?));
    }
    length(text).map(Latency::constant)
}

fn length(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(3_600);
    let length = span::parse(text).map_err(|_| {
        format!("must be wan, lan, none, or such as \"50ms\", \"20ms..80ms\" or \"20ms+30ms\", is {text:?}")
    })?;
    match length <= LONGEST {
        true => Ok(length),
        false => Err(format!("must be an hour at most, is {text:?}")),
    }
}

/// Requests per second, more than none.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim().trim_end_matches("/s").parse().ok();
    let range = 1e-4..=1e5;
    let number = number.filter(|number| range.contains(number));
    number.ok_or_else(|| format!("must be 0.0001 to 100,000 requests per second, is {text:?}"))
}

/// A share: `0.1` or `10%`.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let (digits, whole) = match text.trim().strip_suffix('%') {
        Some(digits) => (digits.trim_end(), 100.0),
        None => (text.trim(), 1.0),
    };
    let share: Option<f64> = digits.parse().ok().map(|number: f64| number / whole);
    let share = share.filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("must be a share such as 0.1 or 10%, is {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn latencies_are_read_in_each_form() {
        assert_eq!(latency("wan"), Ok(Latency::WAN));
        assert_eq!(latency("50ms"), Ok(Latency::constant(50 * MS)));
        assert_eq!(
            latency("20ms..1s"),
            Ok(Latency::uniform(20 * MS, 1_000 * MS))
        );
        assert_eq!(
            latency("20ms+30ms"),
            Ok(Latency::exponential(20 * MS, 30 * MS))
        );
        for text in ["", "50", "far", "80ms..20ms", "-5ms", "2h", "20ms.."] {
            assert!(latency(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_and_rates_are_read() {
        assert_eq!(share("0.1"), Ok(0.1));
        assert_eq!(share("10 %"), Ok(0.1));
        assert_eq!(rate("5.5/s"), Ok(5.5));
        for text in ["", "110%", "-1", "NaN", "inf"] {
            assert!(share(text).is_err(), "{text}");
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
