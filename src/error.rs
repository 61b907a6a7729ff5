//! What can go wrong: [`ConfigError`] when something is set up, [`QuotaError`](crate::QuotaError) when a request may not go.

use std::error::Error as StdError;
use std::fmt;
use std::time::{Duration, SystemTime};

use crate::core::{DenialReason, Fingerprint};

/// The error type of the layers: whatever the inner service failed with, or a [`QuotaError`](crate::QuotaError).
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// A plan, handle or layer was given a value that makes no sense.
///
/// The message names the field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    field: String,
    problem: String,
}

impl ConfigError {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }

    /// The field that was wrong, for example ``limit `burst`: quota``.
    pub fn field(&self) -> &str {
        &self.field
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// A request may not go: which limit holds it up, until when, and for which (redacted) token.
///
/// The layers give it as a [`BoxError`]; get it back with `error.downcast_ref::<QuotaError>()`.
#[derive(Debug)]
pub struct QuotaError {
    pub(crate) reason: DenialReason,
    pub(crate) limit: String,
    pub(crate) token: Fingerprint,
    pub(crate) paused: bool,
    pub(crate) retry_after: Duration,
    pub(crate) retry_at: SystemTime,
    pub(crate) source: Option<BoxError>,
}

impl QuotaError {
    /// Why the request may not wait.
    pub fn reason(&self) -> DenialReason {
        self.reason
    }

    /// The name of the limit that holds the request up; `token` or `account` when all of that is paused, `concurrency` when too many
    /// requests are in flight.
    pub fn limit(&self) -> &str {
        &self.limit
    }

    /// The token, redacted: its `Display` is enough to tell two tokens apart and not enough for anything else.
    pub fn token(&self) -> Fingerprint {
        self.token
    }

    /// Whether the limit is paused after a refusal, as opposed to used up by our own requests.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// How long after the error was made the request could go at the earliest, unless somebody before it in line gives up or
    /// is held up by another limit. Zero where nobody can know, as of `concurrency`.
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }

    /// When the request could go at the earliest, on the wall clock.
    pub fn retry_at(&self) -> SystemTime {
        self.retry_at
    }

    /// The same for somebody else who was refused with it. What it stems from is there only once.
    pub(crate) fn again(&self) -> Self {
        Self {
            limit: self.limit.clone(),
            source: None,
            ..*self
        }
    }
}

impl fmt::Display for QuotaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.reason {
            DenialReason::StoreGone => "not available",
            _ if self.paused => "paused",
            _ => "used up",
        };
        let reason = match self.reason {
            DenialReason::TooLong => "longer than this request may wait",
            DenialReason::TimedOut => "this request has waited as long as it may",
            DenialReason::QueueFull => "too many requests wait already",
            DenialReason::StoreGone => "the store that lends its slots cannot be reached",
        };
        let (limit, token) = (&self.limit, self.token);
        write!(f, "quota `{limit}` of token {token} is {state}")?;
        if self.retry_after.is_zero() {
            return write!(f, ": {reason}");
        }
        let seconds = self.retry_after.as_secs_f64();
        write!(f, " for at least {seconds:.1} s")?;
        if let Ok(since) = self.retry_at.duration_since(SystemTime::UNIX_EPOCH) {
            if since.as_secs() < LAST_HTTP_DATE {
                write!(f, " (until {})", httpdate::fmt_http_date(self.retry_at))?;
            }
        }
        write!(f, ": {reason}")
    }
}

/// The end of the year 9999, beyond which an HTTP date cannot be written.
const LAST_HTTP_DATE: u64 = 253_402_300_799;

impl StdError for QuotaError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_ref()
            .map(|source| &**source as &(dyn StdError + 'static))
    }
}

/// What clients say when nobody could be reached: a request that was never sent cannot have been too much.
const NOT_REACHED: [&str; 5] = [
    "(connect)",
    "connect error",
    "connecting",
    "connect time",
    "connection time",
];

/// Whether an error, or one that it stems from, says that the time for an answer is over. Clients have types of their own for that,
/// which only their text gives away.
pub(crate) fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    // What was not sent at all has no time that could be over.
    while let Some(error) = cause.filter(|cause| !cause.is::<QuotaError>()) {
        let text = error.to_string().to_ascii_lowercase();
        if NOT_REACHED.iter().any(|told| text.contains(told)) {
            return false;
        }
        let timed_out = match error.downcast_ref::<std::io::Error>() {
            Some(error) if error.kind() == std::io::ErrorKind::TimedOut => true,
            // Its source is that of the error in it, not that error itself.
            Some(error) => match error.get_ref() {
                Some(inner) => return is_timeout(inner),
                None => false,
            },
            None => {
                error.is::<tokio::time::error::Elapsed>()
                    || text.contains("timed out")
                    || text.contains("timeout")
            }
        };
        if timed_out {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug)]
    struct Said(&'static str, Option<BoxError>);

    impl fmt::Display for Said {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Said {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.1.as_ref().map(|source| &**source as _)
        }
    }

    #[test]
    fn a_timeout_is_known_by_what_it_says_and_not_when_nobody_was_reached() {
        let because = |text, source: BoxError| Said(text, Some(source));
        let silent = || io::Error::from(io::ErrorKind::TimedOut);
        for (error, expected) in [
            (Said("request timed out", None), true),
            (
                because(
                    "error sending request",
                    Box::new(Said("operation timed out", None)),
                ),
                true,
            ),
            (
                because("error reading a body from connection", Box::new(silent())),
                true,
            ),
            (
                Said("connection closed before message completed", None),
                false,
            ),
            (because("client error (Connect)", Box::new(silent())), false),
            (
                because(
                    "tcp connect error",
                    Box::new(Said("deadline has elapsed", None)),
                ),
                false,
            ),
            (
                because(
                    "client error (SendRequest)",
                    Box::new(Said("connection reset", None)),
                ),
                false,
            ),
        ] {
            assert_eq!(is_timeout(&error), expected, "{error:?}");
        }
        let refused = io::Error::other(Said("request timed out", None));
        assert!(is_timeout(&refused));
        let unreachable = io::Error::new(
            io::ErrorKind::TimedOut,
            "Connection timed out (os error 110)",
        );
        assert!(!is_timeout(&unreachable));
    }
}
