use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Response, StatusCode};

use crate::request::{RequestHead, TooHeavy};

/// What one API says about heavy requests: how to recognise one, and how to ask for the same answer in smaller pieces.
///
/// `hubspot::SearchPages` is one, `trim::CursorPages` another. The layer does the rest: it halves, remembers, sends the pieces, and hands
/// a failure back.
///
/// # Example
///
/// ```
/// use std::collections::BTreeMap;
/// use std::ops::Range;
///
/// use bytes::Bytes;
/// use http::{Response, StatusCode};
/// use tower_quota::PayloadTrimLayer;
/// use tower_quota::request::RequestHead;
/// use tower_quota::trim::{Finished, Piece, Question, Shape, Taken, TrimPolicy, Whole};
///
/// /// `GET /readings?of=a,b,c` answers one line for each sensor, in the order in which they are named.
/// struct Readings;
///
/// impl TrimPolicy for Readings {
///     fn concerns(&self, request: &RequestHead<'_>) -> bool {
///         request.method == http::Method::GET && request.uri.path() == "/readings"
///     }
///
///     fn question(&self, request: &RequestHead<'_>, _body: &Bytes) -> Option<Box<dyn Question>> {
///         let sensors = request.uri.query()?.strip_prefix("of=")?.split(',').map(str::to_owned).collect();
///         Some(Box::new(Asked { sensors, lines: BTreeMap::new() }))
///     }
/// }
///
/// struct Asked {
///     sensors: Vec<String>,
///     /// By the first sensor that they answer.
///     lines: BTreeMap<usize, String>,
/// }
///
/// impl Question for Asked {
///     fn shape(&self) -> Shape {
///         Shape::new("GET /readings", "")
///     }
///
///     fn size(&self) -> usize {
///         self.sensors.len()
///     }
///
///     fn piece(&self, span: Range<usize>) -> Option<Piece> {
///         let target = format!("/readings?of={}", self.sensors[span].join(","));
///         Some(Piece::new().target(target.parse().ok()?))
///     }
///
///     fn take(&mut self, span: Range<usize>, answer: &Response<Bytes>) -> Taken {
///         if answer.status() != StatusCode::OK {
///             return Taken::Foreign;
///         }
///         let text = String::from_utf8_lossy(answer.body()).into_owned();
///         if text.lines().count() != span.len() {
///             return Taken::Unfit("not one line for each sensor".into());
///         }
///         self.lines.insert(span.start, text);
///         Taken::UpTo(span.end)
///     }
///
///     fn finish(self: Box<Self>) -> Finished {
///         let body: String = self.lines.into_values().collect();
///         Finished::Answer(Whole { status: StatusCode::OK, body: body.into(), dropped: Vec::new() })
///     }
/// }
///
/// let layer = PayloadTrimLayer::new(Readings);
/// # let _ = layer;
/// ```
pub trait TrimPolicy: Send + Sync + 'static {
    /// Whether a request of this kind may be heavy at all. Called once per request, on the fast path; the body of a request for
    /// which it says no is never looked at.
    fn concerns(&self, request: &RequestHead<'_>) -> bool;

    /// Understands a request. With `None` it is sent as it is and its answer is not looked at: what cannot be split without loss
    /// and what the server would refuse anyway.
    fn question(&self, request: &RequestHead<'_>, body: &Bytes) -> Option<Box<dyn Question>>;

    /// Which endings mean that a request was too heavy; [`TooHeavy::GATEWAY_TIMEOUT`] unless said.
    fn too_heavy(&self) -> TooHeavy {
        TooHeavy::GATEWAY_TIMEOUT
    }
}

/// A request that can be asked in pieces, and the answers to the pieces so far.
///
/// What is asked for is counted in units (records, inputs), from 0 to [`size`](Self::size). The layer asks for spans of units that
/// do not overlap and together make the whole, each as one request, in any order and several at a time.
pub trait Question: Send + Sync {
    /// What the size that worked is remembered for.
    fn shape(&self) -> Shape;

    /// How many units the request asks for, 1 or more. A request that asks for none is sent as it is.
    fn size(&self) -> usize;

    /// How many units one request may ask for; all unless said.
    fn most(&self) -> usize {
        self.size()
    }

    /// The fewest units that a piece asks for, 1 unless said. With less the layer asks [`instead`](Self::instead), so it is more
    /// than 1 only where there is another way to ask.
    fn floor(&self) -> usize {
        1
    }

    /// How many units there are to be asked for, as far as the answers so far tell; at most [`size`](Self::size), and this unless
    /// said. No piece begins beyond.
    fn expected(&self) -> usize {
        self.size()
    }

    /// The request for the units of `span`. `None` when it cannot be made yet, because an answer to the span before it is
    /// needed; then the layer asks again after each answer.
    fn piece(&self, span: Range<usize>) -> Option<Piece>;

    /// Takes the answer to a piece, of any status that is not too heavy.
    fn take(&mut self, span: Range<usize>, answer: &Response<Bytes>) -> Taken;

    /// Puts the answers together. Called once, when all units are answered.
    fn finish(self: Box<Self>) -> Finished;

    /// Another way to ask the same, for when pieces of the floor's size still fail. The answers so far are dropped.
    fn instead(&self) -> Option<Box<dyn Question>> {
        None
    }

    /// Whether the answer lacks something that was asked for. Then the size that worked is not enough to ask so at once: each request
    /// is first asked for as a whole in the way before, once.
    fn is_lossy(&self) -> bool {
        false
    }

    /// What makes the request slow, as far as it shows; for people. No values, only names: filters hold personal data.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The request for one piece: the original with this instead.
///
/// `Debug` does not show what is asked for: there are filters in it, and ids.
#[derive(Clone, Default)]
pub struct Piece {
    pub(super) target: Option<PathAndQuery>,
    pub(super) body: Option<Bytes>,
}

impl Piece {
    /// The original request.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this body, of the original's content type.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// With this path and query; scheme and host stay. Where the path is another one, a
    /// [`RouteClass`](crate::plan::RouteClass) that the caller attached does not go along.
    #[must_use]
    pub fn target(mut self, target: PathAndQuery) -> Self {
        self.target = Some(target);
        self
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Piece")
            .field("has_target", &self.target.is_some())
            .field("body", &self.body.as_ref().map(Bytes::len))
            .finish()
    }
}

/// What became of the answer to a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The units of the span up to this one, counted from 0, are answered, at least one; the rest of it is asked for again.
    UpTo(usize),
    /// The span is answered, and nothing comes after it.
    End,
    /// It is no part of an answer (an error, for example): the caller gets it as it is.
    Foreign,
    /// It looks like a part, and does not fit. The caller gets an error that says so, because to guess would lose records.
    Unfit(Cow<'static, str>),
}

/// What all parts together make.
pub enum Finished {
    /// The whole answer.
    Answer(Whole),
    /// More must be asked.
    Ask(Box<dyn Question>),
    /// They make nothing whole; the caller gets an error that says so.
    Unfit(Cow<'static, str>),
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(whole) => f.debug_tuple("Answer").field(whole).finish(),
            Self::Ask(question) => f.debug_tuple("Ask").field(&question.shape()).finish(),
            Self::Unfit(why) => f.debug_tuple("Unfit").field(why).finish(),
        }
    }
}

/// The answer that the caller gets. Its headers are those of the last piece.
///
/// `Debug` does not show the body: there are records in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Whole {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
    /// The properties that were asked for and left out, for policies that were allowed to; see [`Dropped`](super::Dropped).
    pub dropped: Vec<String>,
}

impl fmt::Debug for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Whole")
            .field("status", &self.status)
            .field("body", &self.body.len())
            .field("dropped", &self.dropped)
            .finish()
    }
}

/// What requests are alike in how heavy they are.
///
/// For each shape and account the layer remembers what size worked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The route, with nothing in it that only one request has: it is a field of events.
    pub route: Cow<'static, str>,
    /// What else makes them alike: how many properties, which operators. A field of events, too.
    pub detail: Cow<'static, str>,
}

impl Shape {
    /// A shape of these two.
    pub fn new(route: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            route: route.into(),
            detail: detail.into(),
        }
    }
}
