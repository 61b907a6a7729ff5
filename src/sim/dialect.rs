//! How batch calls answer where the API varies or is not known.

use http::StatusCode;

use super::batch::MOST;
use crate::ConfigError;

/// How batch calls of contacts answer where HubSpot was seen to vary, or where nobody knows.
///
/// A new one is what the simulator does if nothing is said: what is documented or was recorded most. The rest is for clients that
/// must live with every variant.
///
/// ```
/// use http::StatusCode;
/// use tower_quota::sim::{BatchDialect, NoneFound, Sim, Traces};
///
/// let harsh = BatchDialect::new()
///     .traces(Traces::Ignored)
///     .none_found(NoneFound::NotFound { named: false })
///     .never_in_order(true);
/// let sim = Sim::builder().batches(harsh.clone()).build()?;
/// // From now on ten inputs are all that a batch may have.
/// sim.set_batches(harsh.most(10))?;
/// // And now there are no batch calls.
/// sim.set_batches(BatchDialect::new().absent(StatusCode::METHOD_NOT_ALLOWED))?;
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it does nothing until it is given to a simulator"]
pub struct BatchDialect {
    pub(super) most: usize,
    pub(super) traces: Traces,
    pub(super) none_found: NoneFound,
    pub(super) errors: ErrorItems,
    pub(super) missing_unsaid: bool,
    pub(super) merged_left_out: bool,
    pub(super) archived_shown: bool,
    pub(super) never_in_order: bool,
    pub(super) absent: Option<StatusCode>,
}

/// What becomes of the `objectWriteTraceId` of the inputs of a batch write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Traces {
    /// Errors name them, results do not: so it was recorded. At first.
    Used,
    /// Errors and results name them, as the specification has it.
    Echoed,
    /// As if there were none: one bad input refuses the whole batch, and the answer says what is wrong with the first bad one, but
    /// not which it is.
    Ignored,
    /// The same, but `context` names the first bad one, by its trace id and, if it has one, its id.
    FirstNamed,
}

/// The answer to a batch read of which nothing is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoneFound {
    /// 207 without results. At first.
    MultiStatus,
    /// 404 for the whole.
    NotFound {
        /// Whether `context` names the ids.
        named: bool,
    },
}

/// How many inputs an error of a 207 is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorItems {
    /// Inputs with a trace id have an error each; one error covers all other ids that are missing. At first.
    Recorded,
    /// Each has its own.
    Each,
    /// One error covers all inputs of which it says the same.
    Together,
}

impl BatchDialect {
    /// What the simulator does if nothing is said.
    pub fn new() -> Self {
        Self {
            most: MOST,
            traces: Traces::Used,
            none_found: NoneFound::MultiStatus,
            errors: ErrorItems::Recorded,
            missing_unsaid: false,
            merged_left_out: false,
            archived_shown: false,
            never_in_order: false,
            absent: None,
        }
    }

    /// How many inputs a batch may have; 100 if not said. One that has more is refused with 400, and the answer says how many it
    /// may have. It must not be zero.
    ///
    /// With `propertiesWithHistory` a batch read may never have more than 50.
    pub fn most(mut self, inputs: usize) -> Self {
        self.most = inputs;
        self
    }

    /// What becomes of trace ids; [`Traces::Used`] if not said.
    pub fn traces(mut self, traces: Traces) -> Self {
        self.traces = traces;
        self
    }

    /// The answer to a batch read of which nothing is found; [`NoneFound::MultiStatus`] if not said.
    pub fn none_found(mut self, answer: NoneFound) -> Self {
        self.none_found = answer;
        self
    }

    /// How many inputs an error of a 207 is about; [`ErrorItems::Recorded`] if not said.
    pub fn errors(mut self, items: ErrorItems) -> Self {
        self.errors = items;
        self
    }

    /// Whether inputs whose record is missing are left out of the answer, with no error that names them; off if not said. A read
    /// of which nothing is found is answered as [`none_found`](Self::none_found) says, without an error.
    pub fn missing_unsaid(mut self, unsaid: bool) -> Self {
        self.missing_unsaid = unsaid;
        self
    }

    /// Whether a batch read by the id of a record that was [merged](super::Store::merge) into another one leaves it out, with no
    /// error that names it; off if not said: then it comes back under the id of the other one.
    pub fn merged_left_out(mut self, left_out: bool) -> Self {
        self.merged_left_out = left_out;
        self
    }

    /// Whether a batch read with `archived=true` finds archived records, and only those, as a single read does; off if not said:
    /// then it is as if it had not been said, as was seen.
    pub fn archived_shown(mut self, shown: bool) -> Self {
        self.archived_shown = shown;
        self
    }

    /// Whether several results are never in the order of their inputs; off if not said: then they are shuffled, and may be in
    /// order by chance.
    pub fn never_in_order(mut self, never: bool) -> Self {
        self.never_in_order = never;
        self
    }

    /// There are no batch calls: each is answered with this client error and a page that is not JSON. The API's own body is
    /// unknown.
    pub fn absent(mut self, status: StatusCode) -> Self {
        self.absent = Some(status);
        self
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.most == 0 {
            return Err(ConfigError::new("batches: most", "must not be zero"));
        }
        if self.absent.is_some_and(|status| !status.is_client_error()) {
            let problem = "must be a client error";
            return Err(ConfigError::new("batches: absent", problem));
        }
        Ok(())
    }
}

impl Default for BatchDialect {
    fn default() -> Self {
        Self::new()
    }
}
