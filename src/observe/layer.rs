use tower_layer::Layer;

use super::Observe;
use crate::Quota;
use crate::plan::Plan;

/// Counts what is sent and what comes back, and tells of what somebody should know.
///
/// See the [module docs](crate::observe) for an example.
#[derive(Clone, Debug)]
pub struct ObserveLayer {
    quota: Quota,
}

impl ObserveLayer {
    /// A layer that counts for the reports of `quota`.
    pub fn new(quota: &Quota) -> Self {
        Self {
            quota: quota.clone(),
        }
    }
}

impl From<Plan> for ObserveLayer {
    /// A layer with a quota of its own.
    fn from(plan: Plan) -> Self {
        Self::new(&Quota::new(plan))
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Observe::new(inner, self.quota.clone())
    }
}
