use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::{BoxError, QuotaError};

/// A call that left in a batch has no answer of its own.
///
/// The message says why and, of a create, that it may have been done: it is not repeated. Where the client itself has failed, its
/// error is the [`source`](StdError::source).
#[derive(Clone, Debug)]
pub struct BatchError {
    pub(super) label: Cow<'static, str>,
    pub(super) why: Cow<'static, str>,
    pub(super) client: Option<Arc<BoxError>>,
}

impl BatchError {
    /// The name of the batch call, without ids.
    pub fn label(&self) -> &str {
        &self.label
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the batch call `{}` {}", self.label, self.why)
    }
}

impl StdError for BatchError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.client.as_ref().map(|client| &***client as _)
    }
}

/// One failure for several callers.
pub(super) enum Lost {
    Quota(QuotaError),
    Other(BatchError),
}

impl Lost {
    pub(super) fn new(error: BoxError, label: Cow<'static, str>) -> Self {
        match error.downcast::<QuotaError>() {
            Ok(error) => Self::Quota(*error),
            Err(error) => Self::Other(BatchError {
                label,
                why: "was not answered".into(),
                client: Some(Arc::new(error)),
            }),
        }
    }

    /// The error for so many callers. The last one gets what others cannot have, too: what the error stems from.
    pub(super) fn share(self, callers: usize) -> Vec<BoxError> {
        let again = |n: usize, make: &dyn Fn() -> BoxError| (1..n).map(|_| make()).collect();
        let mut errors: Vec<BoxError> = match &self {
            Self::Quota(error) => again(callers, &|| Box::new(error.again())),
            Self::Other(error) => again(callers, &|| Box::new(error.clone())),
        };
        errors.push(match self {
            Self::Quota(error) => Box::new(error),
            Self::Other(error) => Box::new(error),
        });
        errors
    }
}
