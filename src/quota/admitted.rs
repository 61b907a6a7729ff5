//! Who has taken the slots of a request already.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use http::Extensions;

use super::Quota;
use crate::plan::RouteClass;

/// Request extension: a layer further outside holds the slots of this request.
///
/// It counts once: whoever sends a copy of the request again must pay again.
#[derive(Clone, Debug)]
struct Admitted {
    quota: NonZeroU64,
    used: Arc<AtomicBool>,
}

/// The classes that a layer of their own governs.
#[derive(Debug, Default)]
pub(super) struct Shared(AtomicU8);

impl Shared {
    /// All classes that a user has named count as one: to mark too many requests does no harm.
    fn bit(class: RouteClass) -> u8 {
        match class {
            RouteClass::General => 1,
            RouteClass::Search => 2,
            RouteClass::Associations => 4,
            RouteClass::Named(_) => 8,
        }
    }
}

impl Quota {
    /// From now on a layer of this quota governs these classes, and perhaps another one as well.
    pub(crate) fn share_classes(&self, classes: &[RouteClass]) {
        for class in classes {
            let bit = Shared::bit(*class);
            self.0.shared_classes.0.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Tells the layers further inside that the slots of a request of this class are taken.
    pub(crate) fn mark_admitted(&self, class: RouteClass, extensions: &mut Extensions) {
        if self.0.shared_classes.0.load(Ordering::Relaxed) & Shared::bit(class) != 0 {
            extensions.insert(Admitted {
                quota: self.0.number,
                used: Arc::default(),
            });
        }
    }

    /// Whether a layer of this quota further outside has taken the slots of this request. True once for each mark.
    pub(crate) fn is_admitted(&self, extensions: &Extensions) -> bool {
        extensions.get::<Admitted>().is_some_and(|admitted| {
            admitted.quota == self.0.number && !admitted.used.swap(true, Ordering::Relaxed)
        })
    }
}
