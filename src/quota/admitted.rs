//! Who has taken the slots of a request already.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use http::{Extensions, Request};

use super::Quota;
use crate::plan::RouteClass;
use crate::request::RequestHead;

/// Request extension: layers further outside hold the slots of this request, each of its own quota.
#[derive(Clone, Debug)]
struct Admitted {
    first: Mark,
    others: Vec<Mark>,
}

/// It counts once: whoever sends a copy of the request again must pay again.
#[derive(Clone, Debug)]
struct Mark {
    quota: NonZeroU64,
    /// What a layer in between makes of the request may be of another class, whose slots nobody has taken.
    class: RouteClass,
    used: Arc<AtomicBool>,
}

impl Admitted {
    fn mark_of(&mut self, quota: NonZeroU64) -> Option<&mut Mark> {
        let mut marks = std::iter::once(&mut self.first).chain(&mut self.others);
        marks.find(|mark| mark.quota == quota)
    }
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
        if self.0.shared_classes.0.load(Ordering::Relaxed) & Shared::bit(class) == 0 {
            return;
        }
        let mark = Mark {
            quota: self.0.number,
            class,
            used: Arc::default(),
        };
        let Some(admitted) = extensions.get_mut::<Admitted>() else {
            let others = Vec::new();
            extensions.insert(Admitted {
                first: mark,
                others,
            });
            return;
        };
        match admitted.mark_of(mark.quota) {
            Some(old) => *old = mark,
            None => admitted.others.push(mark),
        }
    }

    /// Whether a layer of this quota further outside has taken the slots of this request. True once for each mark; the layers
    /// further inside find a new one.
    pub(crate) fn is_admitted<B>(&self, request: &mut Request<B>) -> bool {
        if request.extensions().get::<Admitted>().is_none() {
            return false;
        }
        let class = self.class(&RequestHead::from(&*request));
        let admitted = request.extensions_mut().get_mut::<Admitted>();
        match admitted.and_then(|admitted| admitted.mark_of(self.0.number)) {
            Some(mark) if mark.class == class && !mark.used.swap(true, Ordering::Relaxed) => {
                mark.used = Arc::default();
                true
            }
            _ => false,
        }
    }
}
