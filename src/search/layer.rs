use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::ClassBudget;
use crate::Quota;
use crate::plan::{Lane, Reserve, RouteClass};
use crate::quota::DEFAULT_MAX_WAIT;

/// Slots of the search limit that are kept for [`Lane::Interactive`] when nobody says otherwise.
const DEFAULT_SEARCH_RESERVE: u32 = 1;

/// What a [`ClassBudget`] must know besides its quota.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) classes: Arc<[RouteClass]>,
    pub(super) default_lane: Lane,
    pub(super) max_wait: Duration,
}

/// Gives certain route classes a place of their own to wait in, and slots that bulk work cannot take.
///
/// See the [module docs](crate::search) for what it is for; [`SearchBudgetLayer`] is the same for searches.
#[derive(Clone, Debug)]
pub struct ClassBudgetLayer {
    quota: Quota,
    settings: Settings,
}

impl ClassBudgetLayer {
    /// A layer for requests of these classes, with the ledger of `quota`. Nothing is reserved until [`reserve`](Self::reserve)
    /// says so.
    pub fn new(quota: &Quota, classes: impl IntoIterator<Item = RouteClass>) -> Self {
        let classes: Arc<[RouteClass]> = classes.into_iter().collect();
        quota.share_classes(&classes);
        Self {
            quota: quota.clone(),
            settings: Settings {
                classes,
                default_lane: Lane::default(),
                max_wait: DEFAULT_MAX_WAIT,
            },
        }
    }

    /// Keeps so many slots for [`Lane::Interactive`], for every key and at once: bulk requests never hold the last `slots` of them.
    /// At least one slot always remains for bulk. It applies to the limits that govern these classes and no others, wherever
    /// the quota is used; [`Quota::set_reserve`] does it for any limit.
    #[must_use]
    pub fn reserve(self, slots: u32) -> Self {
        self.quota
            .reserve_of_classes(&self.settings.classes, Reserve::Slots(slots));
        self
    }

    /// Sets the lane of requests that carry no [`Lane`]; [`Lane::Bulk`] at first.
    #[must_use]
    pub fn default_lane(mut self, lane: Lane) -> Self {
        self.settings.default_lane = lane;
        self
    }

    /// Sets how long a request may wait for its slots; 60 s at first. With zero a request that cannot go at once fails.
    #[must_use]
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.settings.max_wait = max_wait;
        self
    }
}

impl<S> Layer<S> for ClassBudgetLayer {
    type Service = ClassBudget<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ClassBudget::new(inner, self.quota.clone(), self.settings.clone())
    }
}

/// Gives searches a place of their own to wait in, and a slot that bulk work cannot take.
///
/// See the [module docs](crate::search) for an example.
#[derive(Clone, Debug)]
pub struct SearchBudgetLayer(ClassBudgetLayer);

impl SearchBudgetLayer {
    /// A layer for requests of the class [`Search`](RouteClass::Search), with the ledger of `quota`. One slot is reserved,
    /// unless somebody has said already how many are.
    pub fn new(quota: &Quota) -> Self {
        let layer = ClassBudgetLayer::new(quota, [RouteClass::Search]);
        let reserve = Reserve::Slots(DEFAULT_SEARCH_RESERVE);
        quota.reserve_by_default(&layer.settings.classes, reserve);
        Self(layer)
    }

    /// Keeps so many slots of the search limit for [`Lane::Interactive`]; 1 at first. See [`ClassBudgetLayer::reserve`].
    #[must_use]
    pub fn reserve(self, slots: u32) -> Self {
        Self(self.0.reserve(slots))
    }

    /// Sets the lane of searches that carry no [`Lane`]; [`Lane::Bulk`] at first.
    #[must_use]
    pub fn default_lane(self, lane: Lane) -> Self {
        Self(self.0.default_lane(lane))
    }

    /// Sets how long a search may wait for its slots; 60 s at first. With zero a search that cannot go at once fails.
    #[must_use]
    pub fn max_wait(self, max_wait: Duration) -> Self {
        Self(self.0.max_wait(max_wait))
    }
}

impl<S> Layer<S> for SearchBudgetLayer {
    type Service = ClassBudget<S>;

    fn layer(&self, inner: S) -> Self::Service {
        self.0.layer(inner)
    }
}
