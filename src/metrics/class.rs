//! What is counted with every request: looked up once, because the facade looks up by all labels each time.

use std::sync::OnceLock;

use ::metrics::{Counter, Histogram, SharedString, counter, histogram};

use super::{OTHER, Over, names, shared};
use crate::event::Ending;

const MOST: usize = 32;
const OUTCOMES: usize = 6;
const STATUSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The first classes that are seen, and one for all others.
#[derive(Debug, Default)]
pub(super) struct Classes {
    known: [OnceLock<Box<Class>>; MOST],
    other: OnceLock<Box<Class>>,
}

impl Classes {
    pub(super) fn get(&self, api: &SharedString, name: &str) -> &Class {
        let mut known = self.known.iter();
        let found = known.find_map(|slot| {
            let class = slot.get_or_init(|| Box::new(Class::new(api, name)));
            (&*class.name == name).then_some(class)
        });
        found.unwrap_or_else(|| self.other.get_or_init(|| Box::new(Class::new(api, OTHER))))
    }
}

/// The requests of one class.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) name: SharedString,
    requests: [[OnceLock<Counter>; STATUSES.len()]; OUTCOMES],
    errors: OnceLock<Counter>,
    waited: Histogram,
    took: Histogram,
}

impl Class {
    fn new(api: &SharedString, name: &str) -> Self {
        let name = shared(name);
        let labels = [("api", api.clone()), ("class", name.clone())];
        Self {
            name,
            requests: Default::default(),
            errors: OnceLock::new(),
            waited: histogram!(names::WAIT_SECONDS, &labels),
            took: histogram!(names::REQUEST_SECONDS, &labels),
        }
    }

    pub(super) fn count(&self, api: &SharedString, over: &Over) {
        let (outcome, word) = outcome(over.ending);
        let status = usize::from(over.status.unwrap_or(0) / 100);
        let status = if status < STATUSES.len() { status } else { 0 };
        let requests = self.requests[outcome][status].get_or_init(|| {
            let labels = [
                ("api", api.clone()),
                ("class", self.name.clone()),
                ("outcome", word.into()),
                ("status", STATUSES[status].into()),
            ];
            counter!(names::REQUESTS, &labels)
        });
        requests.increment(1);
        if over.ending == Ending::Refused || over.status.is_some_and(|status| status >= 400) {
            let errors = self.errors.get_or_init(|| {
                let labels = [("api", api.clone()), ("class", self.name.clone())];
                counter!(names::ERRORS, &labels)
            });
            errors.increment(1);
        }
        self.waited.record(over.waited.as_secs_f64());
        self.took.record(over.took.as_secs_f64());
    }
}

fn outcome(ending: Ending) -> (usize, &'static str) {
    match ending {
        Ending::Answered => (0, "answered"),
        Ending::Refused => (1, "refused"),
        Ending::Turned => (2, "turned"),
        Ending::Failed => (3, "failed"),
        Ending::Lost => (4, "lost"),
        Ending::Dropped => (5, "dropped"),
    }
}
