use std::fmt;

use redis::{ErrorKind, ServerErrorKind};

use crate::error::ConfigError;

/// Redis could not be asked, or its answer was none.
///
/// The text says what happened and never shows a password, a token or the [key](super::RedisOptions::key).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisError {
    kind: RedisErrorKind,
    text: String,
}

/// What kind of trouble there is with Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RedisErrorKind {
    /// An option or the URL makes no sense, or needs a feature of this crate that is off.
    Config,
    /// Nobody listens there, or the connection was lost.
    Unreachable,
    /// There was no answer in time.
    TimedOut,
    /// The password is wrong, or the user may not do what is needed.
    Denied,
    /// The server refuses for another reason, for example because its memory is full.
    Refused,
    /// The server's answer is not understood.
    Malformed,
}

impl RedisErrorKind {
    fn text(self) -> &'static str {
        match self {
            Self::Config => "cannot be used as configured",
            Self::Unreachable => "cannot be reached",
            Self::TimedOut => "does not answer in time",
            Self::Denied => "denies access",
            Self::Refused => "refuses",
            Self::Malformed => "answers something else",
        }
    }
}

impl RedisError {
    pub(super) fn new(kind: RedisErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    /// What was set cannot be used, as redis-rs says before it connects.
    pub(super) fn config(error: &redis::RedisError) -> Self {
        Self::new(RedisErrorKind::Config, harmless(error))
    }

    pub(super) fn timed_out() -> Self {
        Self::new(RedisErrorKind::TimedOut, "")
    }

    pub(super) fn malformed(what: &str) -> Self {
        Self::new(RedisErrorKind::Malformed, what)
    }

    /// What kind of trouble it is.
    pub fn kind(&self) -> RedisErrorKind {
        self.kind
    }
}

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis {}", self.kind.text())?;
        match self.text.as_str() {
            "" => Ok(()),
            text => write!(f, ": {text}"),
        }
    }
}

impl std::error::Error for RedisError {}

impl From<ConfigError> for RedisError {
    fn from(error: ConfigError) -> Self {
        Self::new(RedisErrorKind::Config, error.to_string())
    }
}

impl From<redis::RedisError> for RedisError {
    fn from(error: redis::RedisError) -> Self {
        let kind = match error.kind() {
            ErrorKind::Io if error.is_timeout() => RedisErrorKind::TimedOut,
            ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => RedisErrorKind::Unreachable,
            ErrorKind::AuthenticationFailed => RedisErrorKind::Denied,
            ErrorKind::Server(ServerErrorKind::NoPerm) => RedisErrorKind::Denied,
            ErrorKind::InvalidClientConfig | ErrorKind::Client => RedisErrorKind::Config,
            // So much is left of it where the client library asked by itself.
            _ if error
                .detail()
                .is_some_and(|said| said.contains("no permissions")) =>
            {
                RedisErrorKind::Denied
            }
            ErrorKind::Server(_) => RedisErrorKind::Refused,
            ErrorKind::Extension => match error.code() {
                Some("NOAUTH" | "WRONGPASS") => RedisErrorKind::Denied,
                _ => RedisErrorKind::Refused,
            },
            _ => RedisErrorKind::Malformed,
        };
        match kind {
            RedisErrorKind::TimedOut => Self::timed_out(),
            kind => Self::new(kind, harmless(&error)),
        }
    }
}

/// No more than so many characters of what a server says are repeated.
const LONGEST_TEXT: usize = 300;

/// What the error says without what it was about: a server repeats the arguments of a command that it does not know, which may be
/// a password. Nothing that a terminal would carry out is left in it.
fn harmless(error: &redis::RedisError) -> String {
    let said = match (error.code(), error.detail()) {
        (Some(code), detail) => format!("{code} {}", detail.unwrap_or_default()),
        (None, None) => error.to_string(),
        (None, Some(_)) => error.category().to_owned(),
    };
    let end = said.find(", with args").unwrap_or(said.len());
    let shown = said[..end].trim_end().chars().filter(|c| !c.is_control());
    shown.take(LONGEST_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_a_server_repeats_are_not_shown() {
        let said = "unknown command 'AUTH', with args beginning with: 'swordfish'";
        let kind = ErrorKind::Server(ServerErrorKind::ResponseError);
        let error = RedisError::from(redis::RedisError::from((kind, "x", said.to_owned())));
        assert!(
            !format!("{error} {error:?}").contains("swordfish"),
            "{error}"
        );
        assert_eq!(error.kind(), RedisErrorKind::Refused);
    }
}
