use std::borrow::Cow;
use std::fmt;

/// The pieces of a request make no whole answer.
///
/// The layer gives it as a [`BoxError`](crate::BoxError), because to hand out a part as the whole would lose records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrimError {
    pub(super) route: Cow<'static, str>,
    pub(super) why: Cow<'static, str>,
}

impl TrimError {
    /// The route, with nothing in it that only one request has.
    pub fn route(&self) -> &str {
        &self.route
    }
}

impl fmt::Display for TrimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (route, why) = (&self.route, &self.why);
        write!(f, "the pieces of `{route}` make no whole answer: {why}")
    }
}

impl std::error::Error for TrimError {}
