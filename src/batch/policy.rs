use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderValue;
use http::uri::PathAndQuery;
use http::{Method, Response, StatusCode};

use crate::request::{Effect, RequestHead};

/// What one API says about batch calls: which calls for a single record have one, and how to understand them.
///
/// `hubspot::Batches` is one. The layer does the rest: it gathers, sends, makes smaller what is refused, and gives each caller its
/// answer.
///
/// # Example
///
/// ```
/// use std::borrow::Cow;
/// use std::collections::HashMap;
///
/// use bytes::Bytes;
/// use http::{Method, Response, StatusCode};
/// use tower_quota::BatchLayer;
/// use tower_quota::batch::{BatchPolicy, Input, Joined, Operation, Part, Single, Split, Twice};
/// use tower_quota::request::{Effect, RequestHead};
///
/// /// `GET /sensors/{name}`, of which `POST /sensors:read` does fifty: a name a line, and `name=value` for each that is known.
/// struct Sensors;
///
/// impl BatchPolicy for Sensors {
///     fn concerns(&self, request: &RequestHead<'_>) -> bool {
///         request.method == Method::GET && request.uri.path().starts_with("/sensors/") && request.uri.query().is_none()
///     }
///
///     fn single(&self, request: &RequestHead<'_>, body: &Bytes) -> Option<Single> {
///         let name = request.uri.path().strip_prefix("/sensors/").filter(|_| body.is_empty())?;
///         Some(Single::new(Read, Input::new(name.to_owned()).record(name)))
///     }
/// }
///
/// struct Read;
///
/// impl Operation for Read {
///     fn key(&self) -> Cow<'_, str> {
///         "read".into()
///     }
///
///     fn label(&self) -> Cow<'static, str> {
///         "/sensors:read".into()
///     }
///
///     fn most(&self) -> usize {
///         50
///     }
///
///     fn effect(&self) -> Effect {
///         Effect::Read
///     }
///
///     fn twice(&self) -> Twice {
///         Twice::Join
///     }
///
///     fn join(&self, inputs: &[Input]) -> Option<Joined> {
///         let names: Vec<&str> = inputs.iter().filter_map(Input::name).collect();
///         Some(Joined::post("/sensors:read".parse().ok()?, names.join("\n")))
///     }
///
///     fn split(&self, inputs: &[Input], answer: &Response<Bytes>) -> Split {
///         match answer.status().as_u16() {
///             200 => {}
///             400 => return Split::Refused { suspects: Vec::new() },
///             404 | 405 => return Split::Unsupported,
///             _ => return Split::Whole,
///         }
///         let Ok(text) = std::str::from_utf8(answer.body()) else {
///             return Split::Unfit("is not answered in text".into());
///         };
///         let values: HashMap<_, _> = text.lines().filter_map(|line| line.split_once('=')).collect();
///         let part = |input: &Input| match values.get(input.name().unwrap_or_default()) {
///             Some(value) => Part::Answer(StatusCode::OK, (*value).to_owned().into()),
///             None => Part::Answer(StatusCode::NOT_FOUND, Bytes::new()),
///         };
///         Split::Each(inputs.iter().map(part).collect())
///     }
/// }
///
/// let layer = BatchLayer::new(Sensors);
/// # let _ = layer;
/// ```
pub trait BatchPolicy: Send + Sync + 'static {
    /// Whether a request of this kind may go in a batch at all. Called once per request, on the fast path; the body of a request for
    /// which it says no is never looked at.
    fn concerns(&self, request: &RequestHead<'_>) -> bool;

    /// Understands a request. With `None` it is sent as it is: what no batch call can do, and what the server would refuse anyway.
    fn single(&self, request: &RequestHead<'_>, body: &Bytes) -> Option<Single>;
}

/// A call for a single record, understood.
pub struct Single {
    pub(super) operation: Box<dyn Operation>,
    pub(super) input: Input,
}

impl Single {
    /// The call as one input of a batch of this operation.
    pub fn new(operation: impl Operation + 'static, input: Input) -> Self {
        Self {
            operation: Box::new(operation),
            input,
        }
    }

    /// What is done.
    pub fn operation(&self) -> &dyn Operation {
        &*self.operation
    }

    /// To what.
    pub fn input(&self) -> &Input {
        &self.input
    }
}

impl fmt::Debug for Single {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Single")
            .field("operation", &self.operation.label())
            .field("input", &self.input)
            .finish()
    }
}

/// What one caller asks for, as a part of a batch.
///
/// `Debug` does not show it: there are ids and records in it.
#[derive(Clone, Default)]
pub struct Input {
    pub(super) data: Bytes,
    pub(super) record: Option<Arc<str>>,
}

impl Input {
    /// An input that the operation writes so. The bytes are given back to it as they are, so that their form is its own affair.
    pub fn new(data: impl Into<Bytes>) -> Self {
        Self {
            data: data.into(),
            record: None,
        }
    }

    /// Names the record that it is about, in such a way that two names are equal when they mean the same record. Inputs without a
    /// name are about records of their own.
    #[must_use]
    pub fn record(mut self, name: impl Into<Arc<str>>) -> Self {
        self.record = Some(name.into());
        self
    }

    /// What was given to [`new`](Self::new).
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// What was given to [`record`](Self::record).
    pub fn name(&self) -> Option<&str> {
        self.record.as_deref()
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("data", &self.data.len())
            .field("has_record", &self.record.is_some())
            .finish()
    }
}

/// One kind of call that has a batch form, with all that the calls of one batch have in common.
///
/// Calls share a batch when their operations have the same [`key`](Self::key), and token, account, lane, server and headers are the
/// same. Of the operations of a batch one is asked for all.
pub trait Operation: Send + Sync {
    /// Tells apart what must not share a batch. It is kept in memory only for as long as calls are gathered or under way.
    fn key(&self) -> Cow<'_, str>;

    /// The name of the batch call, with nothing in it that only one call has: it is a field of events, and what is learnt of the
    /// call is remembered by it.
    fn label(&self) -> Cow<'static, str>;

    /// How many inputs one batch may have, as far as is known; from 1 on.
    fn most(&self) -> usize;

    /// What a batch does at the server: decides what becomes of calls whose batch was answered in a way that tells nothing.
    fn effect(&self) -> Effect;

    /// What to do with calls about the same record.
    fn twice(&self) -> Twice;

    /// The batch call for these inputs, at least one and at most [`most`](Self::most), no two of them about the same record.
    /// `None` when it cannot be made; then each caller's call is sent as it came.
    fn join(&self, inputs: &[Input]) -> Option<Joined>;

    /// What the answer to the batch call for these inputs, which are as they were given to [`join`](Self::join), means for each of
    /// them. Called for every answer that could be read whole, whatever its status.
    fn split(&self, inputs: &[Input], answer: &Response<Bytes>) -> Split;
}

/// What to do with calls of one operation that are about the same record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twice {
    /// They share one input, and its answer.
    Join,
    /// One after the other, in the order in which they came, each when the one before it is answered.
    InOrder,
}

/// A batch call: the request of one of the callers with this instead.
///
/// `Debug` does not show the body: there are records in it.
#[derive(Clone)]
pub struct Joined {
    pub(super) method: Method,
    pub(super) target: PathAndQuery,
    pub(super) content_type: HeaderValue,
    pub(super) body: Bytes,
}

impl Joined {
    /// A `POST` of JSON to this path and query, at the same server.
    pub fn post(target: PathAndQuery, json: impl Into<Bytes>) -> Self {
        Self {
            method: Method::POST,
            target,
            content_type: HeaderValue::from_static("application/json"),
            body: json.into(),
        }
    }

    /// The path and query that it is sent to.
    pub fn target(&self) -> &PathAndQuery {
        &self.target
    }

    /// What is sent.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// With another method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// With another content type.
    #[must_use]
    pub fn content_type(mut self, content_type: HeaderValue) -> Self {
        self.content_type = content_type;
        self
    }
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joined")
            .field("method", &self.method)
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What the answer to a batch call means for its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Split {
    /// So much for each input, in their order. Inputs beyond the last part are treated like those of [`Unfit`](Self::Unfit).
    Each(Vec<Part>),
    /// Every caller gets the answer as it is: it is about all of them alike (a refusal of the token, a 429, a 5xx).
    Whole,
    /// The batch was refused as a whole because of some of its inputs, and nothing was done. Those that the answer names are sent as
    /// they came, and the others are asked for again without them; when it names none, each half is asked for by itself.
    Refused {
        /// The places of those that the answer names; empty when it names none.
        suspects: Vec<usize>,
    },
    /// The batch was refused because it has too many inputs, and nothing was done. From now on no batch of this
    /// [`label`](Operation::label) has more than this; half as many as this one had if the server does not say. With 1 it is as with
    /// [`Unsupported`](Self::Unsupported).
    TooMany(Option<usize>),
    /// There is no such batch call, and nothing was done: each call is sent as it came, and so are those of the next ten minutes that
    /// have the same [`label`](Operation::label).
    Unsupported,
    /// It makes no sense. Reads and idempotent writes are sent as they came; the callers of creates get an error that says so,
    /// because nobody knows what was done.
    Unfit(Cow<'static, str>),
}

/// What the answer to a batch call means for one input.
#[derive(Clone, PartialEq, Eq)]
pub enum Part {
    /// The caller gets this. Its headers are those of the answer to the batch.
    Answer(StatusCode, Bytes),
    /// Nothing was done, or it may be done twice: the caller's call is sent as it came.
    Alone,
    /// Something may have been done, and the answer does not tell what. The caller gets an error that says so.
    Unknown(Cow<'static, str>),
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(status, body) => f
                .debug_tuple("Answer")
                .field(status)
                .field(&body.len())
                .finish(),
            Self::Alone => f.write_str("Alone"),
            Self::Unknown(why) => f.debug_tuple("Unknown").field(why).finish(),
        }
    }
}
