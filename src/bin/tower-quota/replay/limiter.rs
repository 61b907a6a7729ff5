//! Who decides when a request goes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tower_quota::clock::Clock;
use tower_quota::plan::Scope;
use tower_quota::sim::Class;

use super::demand::Asked;
use super::server::{Rules, Window};
use crate::limiter::Bucket;
pub(super) use crate::limiter::{Limiter, backoff};

/// By class, and token or account.
type Known = HashMap<(Class, usize), Arc<Bucket>>;

/// A bucket for each key of each limit.
#[derive(Clone)]
pub(super) struct Buckets {
    clock: Clock,
    rules: Rules,
    buckets: Arc<Mutex<Known>>,
}

impl Buckets {
    pub(super) fn new(rules: &Rules, clock: &Clock) -> Self {
        Self {
            clock: clock.clone(),
            rules: rules.clone(),
            buckets: Arc::default(),
        }
    }

    /// Takes a token, and waits until it is there.
    pub(super) async fn pass(&self, request: &Asked) {
        let window = match request.class {
            Class::Search => self.rules.search,
            Class::Associations => self.rules.associations,
            _ => self.rules.burst,
        };
        let Some(Window {
            quota,
            window,
            scope,
        }) = window
        else {
            return;
        };
        let key = match scope {
            Scope::Token => request.token,
            Scope::Account => request.account,
            _ => 0,
        };
        let bucket = {
            let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
            let bucket = buckets.entry((request.class, key));
            let made = || Arc::new(Bucket::new(&self.clock, quota, window));
            bucket.or_insert_with(made).clone()
        };
        bucket.pass().await;
    }
}
