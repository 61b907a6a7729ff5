//! Slots that are taken before it is clear what for.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Permit, Quota};
use crate::plan::RouteClass;

/// Request extension: a layer further outside has taken the slots of this request, and hands them over to whoever would take them.
///
/// They count once: whoever sends a copy of the request again must pay again. Dropped unused, they are free at once.
#[derive(Clone, Debug)]
pub(crate) struct Reserved(Arc<Mutex<Option<Permit>>>);

impl Reserved {
    pub(crate) fn new(permit: Permit) -> Self {
        Self(Arc::new(Mutex::new(Some(permit))))
    }

    /// The slots, if they are of this quota and class and nobody has had them yet. Those of another class are of no use, and free
    /// from now on: the request might wait for them.
    pub(super) fn take(&self, quota: &Quota, class: RouteClass) -> Option<Permit> {
        let mut permit = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ours = |permit: &mut Permit| permit.quota().0.number == quota.0.number;
        let taken = permit.take_if(is_ours);
        drop(permit);
        taken.filter(|permit| permit.ticket().class == class)
    }
}
