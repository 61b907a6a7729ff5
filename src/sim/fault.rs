//! What can go wrong on purpose.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};

/// Something that goes wrong with a request.
///
/// Give it to [`SimBuilder::fault`](super::SimBuilder::fault) with a probability, or put it into a [`Script`].
///
/// ```
/// use http::StatusCode;
/// use tower_quota::sim::Fault;
///
/// let moving = Fault::status(StatusCode::from_u16(477).unwrap()).retry_after(30);
/// let lost = Fault::drop_after_work();
/// assert_ne!(moving, lost);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub(super) kind: Kind,
    pub(super) delay: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    DropBefore,
    DropAfter { worked: bool },
    Hang,
    Answer(Answer),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// `None` for the answer that the request would have got anyway.
    pub(super) status: Option<StatusCode>,
    pub(super) quota_headers: bool,
    pub(super) retry_after: Option<u64>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Option<Bytes>,
    pub(super) worked: bool,
}

impl Fault {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            delay: Duration::ZERO,
        }
    }

    /// The connection is lost on the way to the server: nothing is counted, nothing is done.
    pub fn drop_before_counting() -> Self {
        Self::new(Kind::DropBefore)
    }

    /// The connection is lost after the request was counted and before it was worked on.
    pub fn drop_after_counting() -> Self {
        Self::new(Kind::DropAfter { worked: false })
    }

    /// The connection is lost on the way back: counted, and the work is done.
    pub fn drop_after_work() -> Self {
        Self::new(Kind::DropAfter { worked: true })
    }

    /// The request is counted and never answered; the work is not done.
    pub fn hang() -> Self {
        Self::new(Kind::Hang)
    }

    /// The request is counted and answered with `status` instead of being worked on.
    ///
    /// Without a [`body`](Self::body) 502 and 52x carry an HTML page and no quota headers, as answers of the edge do, and the
    /// others a JSON error. A 429 is treated as a refusal: it costs daily quota and is not counted in the windows.
    pub fn status(status: StatusCode) -> Self {
        Self::answer(Some(status))
    }

    /// The request is worked on and answered as usual, apart from what is said with [`header`](Self::header),
    /// [`without_quota_headers`](Self::without_quota_headers), [`body`](Self::body) and [`delay`](Self::delay).
    pub fn own_answer() -> Self {
        Self::answer(None)
    }

    fn answer(status: Option<StatusCode>) -> Self {
        Self::new(Kind::Answer(Answer {
            status,
            quota_headers: true,
            retry_after: None,
            headers: Vec::new(),
            body: None,
            worked: false,
        }))
    }

    /// Sends `Retry-After` with so many seconds. Only with an answer; without effect otherwise.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        if let Kind::Answer(answer) = &mut self.kind {
            answer.retry_after = Some(seconds);
        }
        self
    }

    /// Adds a header, or replaces the simulator's own one of that name. Only with an answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if let Kind::Answer(answer) = &mut self.kind {
            answer.headers.push((name, value));
        }
        self
    }

    /// Leaves the quota headers out, as the API does when it fails to gather them. Only with an answer.
    #[must_use]
    pub fn without_quota_headers(mut self) -> Self {
        if let Kind::Answer(answer) = &mut self.kind {
            answer.quota_headers = false;
        }
        self
    }

    /// The body to answer with. Only with an answer.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        if let Kind::Answer(answer) = &mut self.kind {
            answer.body = Some(body.into());
        }
        self
    }

    /// The work is done although the answer says otherwise, as with a 504. Only with an answer.
    #[must_use]
    pub fn after_work(mut self) -> Self {
        if let Kind::Answer(answer) = &mut self.kind {
            answer.worked = true;
        }
        self
    }

    /// Happens so much later than the answer would have come: a 524 comes after 100 s.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Whether the work is done, whatever the answer then says.
    pub(super) fn works(&self) -> bool {
        match &self.kind {
            Kind::DropBefore | Kind::Hang => false,
            Kind::DropAfter { worked } => *worked,
            Kind::Answer(answer) => answer.worked || answer.status.is_none(),
        }
    }

    /// Whether the windows count the request: not if it never arrives, and not if it is refused.
    pub(super) fn counts(&self) -> bool {
        match &self.kind {
            Kind::DropBefore => false,
            Kind::Answer(answer) => answer.status != Some(StatusCode::TOO_MANY_REQUESTS),
            _ => true,
        }
    }
}

/// A [`Fault`] for the next requests that match.
///
/// ```
/// use http::{Method, StatusCode};
/// use tower_quota::sim::{Fault, Script};
///
/// // The next three searches are answered with 504.
/// let script = Script::new(Fault::status(StatusCode::GATEWAY_TIMEOUT))
///     .times(3)
///     .method(Method::POST)
///     .path("/search");
/// ```
#[derive(Clone, Debug)]
pub struct Script {
    fault: Fault,
    times: u64,
    method: Option<Method>,
    path: Option<String>,
}

impl Script {
    /// `fault` for the next request, whatever it is.
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            times: 1,
            method: None,
            path: None,
        }
    }

    /// For the next `times` requests; 1 if not said.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Only requests with this method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Only requests whose path contains `part`.
    #[must_use]
    pub fn path(mut self, part: impl Into<String>) -> Self {
        self.path = Some(part.into());
        self
    }

    fn matches(&self, method: &Method, path: &str) -> bool {
        self.method.as_ref().is_none_or(|wanted| wanted == method)
            && self
                .path
                .as_ref()
                .is_none_or(|part| path.contains(part.as_str()))
    }
}

/// Scripts first, in the order they were given, then chance.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) scripts: Vec<Script>,
    pub(super) chances: Vec<(f64, Fault)>,
}

/// A fault that was found for a request, and the script it comes from.
#[derive(Clone, Debug)]
pub(super) struct Pick {
    pub(super) fault: Fault,
    script: Option<usize>,
}

impl Faults {
    /// The fault that is due for this request. It stays due until it is [spent](Self::spend), so that a request that is refused
    /// anyway does not use up a script.
    pub(super) fn pick(
        &self,
        method: &Method,
        path: &str,
        rng: &mut fastrand::Rng,
    ) -> Option<Pick> {
        let script = self
            .scripts
            .iter()
            .position(|script| script.matches(method, path));
        if let Some(index) = script {
            let fault = self.scripts[index].fault.clone();
            return Some(Pick { fault, script });
        }
        if self.chances.is_empty() {
            return None;
        }
        let mut draw = rng.f64();
        for (probability, fault) in &self.chances {
            if draw < *probability {
                let fault = fault.clone();
                return Some(Pick { fault, script });
            }
            draw -= probability;
        }
        None
    }

    pub(super) fn spend(&mut self, pick: &Pick) {
        if let Some(index) = pick.script {
            self.scripts[index].times -= 1;
            if self.scripts[index].times == 0 {
                self.scripts.remove(index);
            }
        }
    }

    /// A script that is to happen no time at all is left out, so that `spend` may count down.
    pub(super) fn add(&mut self, script: Script) {
        if script.times > 0 {
            self.scripts.push(script);
        }
    }
}
