use std::sync::Arc;

use super::policy::TrimPolicy;

/// Asks requests that are too heavy in smaller pieces.
///
/// See the [module docs](crate::trim) for an example.
#[derive(Clone)]
pub struct PayloadTrimLayer {
    policy: Option<Arc<dyn TrimPolicy>>,
}

impl PayloadTrimLayer {
    /// A layer for the requests that `policy` understands.
    pub fn new(policy: impl TrimPolicy) -> Self {
        Self {
            policy: Some(Arc::new(policy)),
        }
    }
}
