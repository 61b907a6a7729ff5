//! What the tests of the layers share: a server that is told what to answer, bodies that come in pieces, and a way to poll by
//! hand.

#![allow(dead_code, reason = "every test uses its own part")]

pub(crate) mod capture;
pub(crate) mod frames;
pub(crate) mod redis_server;

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, HeaderMap, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tokio::time::Sleep;
use tower::Service;
use tower_quota::clock::Clock;
use tower_quota::event::{Events, QuotaEvent};
use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::{Assumed, ColdStart, Limit, Plan, Zone};
use tower_quota::quota::QuotaBuilder;
use tower_quota::{Quota, TokenLimitLayer};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const FOREVER: Duration = Duration::from_secs(100_000_000);

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) const DAILY_BODY: &str = r#"{"status":"error","message":"You have reached your daily limit.","errorType":"RATE_LIMIT","correlationId":"c033cdaa-2c40-4a64-ae48-b4cec88dad24","policyName":"DAILY","requestId":"3d3e35b7-0dae-4b9f-a6e3-9c230cbcf8dd"}"#;
pub(crate) const BURST_BODY: &str = r#"{"status":"error","message":"You have reached your ten_secondly_rolling limit.","errorType":"RATE_LIMIT","correlationId":"64f5906e-d941-43a8-88fe-367aa32bf1a7","policyName":"TEN_SECONDLY_ROLLING"}"#;
pub(crate) const SEARCH_BODY: &str = r#"{"status":"error","message":"You have reached your secondly limit.","correlationId":"de61843f-b3ab-4bc1-8c54-358e37eb0621","category":"RATE_LIMITS"}"#;

/// A plan with one rolling limit, `burst`.
pub(crate) fn burst(quota: u32, window: Duration) -> Plan {
    let plan = Plan::builder("test").limit(Limit::rolling("burst", quota, window));
    plan.build().unwrap()
}

/// HubSpot's limits, of which the process before this one has used nothing.
pub(crate) fn fresh_hubspot(zone: Zone) -> QuotaBuilder {
    Quota::builder(hubspot::api(Tier::Professional, zone))
        .cold_start(ColdStart::Assume(Assumed::Empty))
}

/// A layer that waits as long as it must.
pub(crate) fn patient(quota: &Quota) -> TokenLimitLayer {
    TokenLimitLayer::new(quota).max_wait(FOREVER)
}

pub(crate) fn request(method: Method, path: &str, token: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(format!("https://api.example.com{path}"))
        .header("authorization", format!("Bearer {token}"))
        .body(Full::default())
        .unwrap()
}

pub(crate) fn get(token: &str) -> Request<Full<Bytes>> {
    request(Method::GET, "/crm/v3/objects/contacts", token)
}

pub(crate) fn search(token: &str) -> Request<Full<Bytes>> {
    request(Method::POST, "/crm/v3/objects/contacts/search", token)
}

/// The events that have happened since they were read last.
pub(crate) fn so_far(events: &mut Events) -> Vec<QuotaEvent> {
    std::iter::from_fn(|| events.try_next()).collect()
}

pub(crate) fn names(events: &[QuotaEvent]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

/// The most of `times` (sorted) that lie in any `(t - window, t]`.
pub(crate) fn most_in_window(times: &[Duration], window: Duration) -> usize {
    let in_window = |(nth, at): (usize, &Duration)| {
        let before = times[..=nth].iter().rev();
        before.take_while(|time| **time + window > *at).count()
    };
    times.iter().enumerate().map(in_window).max().unwrap_or(0)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestError(pub(crate) &'static str);

impl fmt::Display for TestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for TestError {}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One piece of a body.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    Wait(Duration),
    Hang,
    Fail,
    FailWith(&'static str),
}

/// What became of a body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(Arc<(AtomicBool, AtomicBool)>);

impl Fate {
    /// Whether it was read to its end: its connection can be used again.
    pub(crate) fn is_read(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.0.1.load(Ordering::SeqCst)
    }
}

/// A body that comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct PieceBody {
    pieces: VecDeque<Piece>,
    sleep: Option<Pin<Box<Sleep>>>,
    hint: SizeHint,
    /// Whether it tells its end before it is asked for a further frame.
    pub(crate) tells_end: bool,
    pub(crate) fate: Fate,
}

impl PieceBody {
    pub(crate) fn new(pieces: impl IntoIterator<Item = Piece>) -> Self {
        let mut body = Self::default();
        body.pieces.extend(pieces);
        body
    }

    /// One frame of known size, as `Full` would be.
    pub(crate) fn whole(text: impl Into<Bytes>) -> Self {
        let text = text.into();
        let mut body = Self::new((!text.is_empty()).then(|| Piece::Data(text.clone())));
        body.tells_end = true;
        body.hint = SizeHint::with_exact(text.len() as u64);
        body
    }

    pub(crate) fn hint(mut self, hint: SizeHint) -> Self {
        self.hint = hint;
        self
    }

    pub(crate) fn fate(mut self, fate: &Fate) -> Self {
        self.fate = fate.clone();
        self
    }
}

impl Drop for PieceBody {
    fn drop(&mut self) {
        self.fate.0.1.store(true, Ordering::SeqCst);
    }
}

impl Body for PieceBody {
    type Data = Bytes;
    type Error = TestError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TestError>>> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                ready!(sleep.as_mut().poll(cx));
                self.sleep = None;
            }
            let frame = match self.pieces.pop_front() {
                None => {
                    self.fate.0.0.store(true, Ordering::SeqCst);
                    return Poll::Ready(None);
                }
                Some(Piece::Wait(time)) => {
                    self.sleep = Some(Box::pin(tokio::time::sleep(time)));
                    continue;
                }
                Some(Piece::Hang) => {
                    self.pieces.push_front(Piece::Hang);
                    return Poll::Pending;
                }
                Some(Piece::Data(data)) => Ok(Frame::data(data)),
                Some(Piece::Trailers(trailers)) => Ok(Frame::trailers(trailers)),
                Some(Piece::Fail) => Err(TestError("the body broke")),
                Some(Piece::FailWith(error)) => Err(TestError(error)),
            };
            if self.pieces.is_empty() && self.tells_end {
                self.fate.0.0.store(true, Ordering::SeqCst);
            }
            return Poll::Ready(Some(frame));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.tells_end && self.pieces.is_empty() && self.sleep.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.hint.exact().is_none() {
            return self.hint;
        }
        let left = self.pieces.iter().map(|piece| match piece {
            Piece::Data(data) => data.len() as u64,
            _ => 0,
        });
        SizeHint::with_exact(left.sum())
    }
}

/// What the server saw of one attempt.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Duration,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) extensions: Extensions,
    pub(crate) body: Option<Bytes>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Seen {
    pub(crate) fn token(&self) -> &str {
        self.header("authorization")
            .strip_prefix("Bearer ")
            .unwrap_or("")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn is_search(&self) -> bool {
        self.path.ends_with("/search")
    }
}

pub(crate) type Reply = Result<Response<PieceBody>, TestError>;
pub(crate) type Answer = Pin<Box<dyn Future<Output = Reply> + Send>>;
type Answering = dyn Fn(usize, &Seen) -> Answer + Send + Sync;

/// A server that sees a request at the moment of `call` and answers as it is told.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) clock: Clock,
    log: Arc<Mutex<Vec<Seen>>>,
    answer: Arc<Answering>,
    reads_first: bool,
}

impl Server {
    /// `answer` is given the number of the attempt, from 0, and what was seen of it.
    pub(crate) fn new(answer: impl Fn(usize, &Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            clock: Clock::system(),
            log: Arc::default(),
            answer: Arc::new(answer),
            reads_first: false,
        }
    }

    /// The same, but it decides when it has read the body, which `answer` is given, too.
    pub(crate) fn reading(answer: impl Fn(usize, &Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            reads_first: true,
            ..Self::new(answer)
        }
    }

    /// Answers at once, always with 200.
    pub(crate) fn fine() -> Self {
        Self::new(|_, _| at_once(200, &[], ""))
    }

    pub(crate) fn log(&self) -> Vec<Seen> {
        lock(&self.log).clone()
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.log).len()
    }

    /// When the requests came, in milliseconds.
    pub(crate) fn times(&self) -> Vec<u128> {
        lock(&self.log)
            .iter()
            .map(|seen| seen.at.as_millis())
            .collect()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }
}

impl<B> Service<Request<B>> for Server
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: fmt::Debug,
{
    type Response = Response<PieceBody>;
    type Error = TestError;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TestError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        let (head, body) = request.into_parts();
        let seen = Seen {
            at: self.clock.elapsed(),
            method: head.method,
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            headers: head.headers,
            extensions: head.extensions,
            body: None,
            trailers: None,
        };
        let nth = {
            let mut log = lock(&self.log);
            log.push(seen.clone());
            log.len() - 1
        };
        let answer = (!self.reads_first).then(|| (self.answer)(nth, &seen));
        let server = self.clone();
        Box::pin(async move {
            let Ok(body) = body.collect().await else {
                return Err(TestError("the request's body broke"));
            };
            let seen = {
                let seen = &mut lock(&server.log)[nth];
                seen.trailers = body.trailers().cloned();
                seen.body = Some(body.to_bytes());
                seen.clone()
            };
            match answer {
                Some(answer) => answer.await,
                None => (server.answer)(nth, &seen).await,
            }
        })
    }
}

pub(crate) fn response(
    status: u16,
    headers: &[(&str, &str)],
    body: PieceBody,
) -> Response<PieceBody> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body).unwrap()
}

pub(crate) fn at_once(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let response = response(status, headers, PieceBody::whole(body.to_owned()));
    Box::pin(async { Ok(response) })
}

pub(crate) fn after(wait: Duration, answer: Answer) -> Answer {
    Box::pin(async move {
        tokio::time::sleep(wait).await;
        answer.await
    })
}

pub(crate) fn lost() -> Answer {
    Box::pin(async { Err(TestError("the connection is lost")) })
}

pub(crate) fn never() -> Answer {
    Box::pin(std::future::pending())
}

/// A service that is ready when the valve is open, and counts who waits at it.
#[derive(Clone)]
pub(crate) struct Valve<S> {
    inner: S,
    state: Arc<Mutex<ValveState>>,
}

#[derive(Default)]
struct ValveState {
    is_shut: bool,
    wakers: Vec<Waker>,
    polls: usize,
}

impl<S> Valve<S> {
    pub(crate) fn shut(inner: S) -> Self {
        let state = ValveState {
            is_shut: true,
            ..ValveState::default()
        };
        Self {
            inner,
            state: Arc::new(Mutex::new(state)),
        }
    }

    pub(crate) fn set_open(&self, open: bool) {
        let mut state = lock(&self.state);
        state.is_shut = !open;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn polls(&self) -> usize {
        lock(&self.state).polls
    }
}

impl<S: Service<R>, R> Service<R> for Valve<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let mut state = lock(&self.state);
        state.polls += 1;
        if state.is_shut {
            state.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.inner.call(request)
    }
}

/// A future that is polled by hand.
pub(crate) struct Hand<F> {
    future: Option<Pin<Box<F>>>,
    wakes: Arc<Wakes>,
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl<F: Future> Hand<F> {
    pub(crate) fn new(future: F) -> Self {
        Self {
            future: Some(Box::pin(future)),
            wakes: Arc::default(),
        }
    }

    pub(crate) fn poll(&mut self) -> Poll<F::Output> {
        self.wakes.0.store(0, Ordering::SeqCst);
        let waker = Waker::from(self.wakes.clone());
        let future = self.future.as_mut().unwrap();
        future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Whether it was woken since it was polled last.
    pub(crate) fn is_woken(&self) -> bool {
        self.wakes.0.load(Ordering::SeqCst) > 0
    }

    pub(crate) fn cancel(&mut self) {
        self.future = None;
    }
}

/// Counts the polls of a future.
pub(crate) struct CountPolls<F> {
    future: Pin<Box<F>>,
    polls: usize,
}

impl<F> CountPolls<F> {
    pub(crate) fn new(future: F) -> Self {
        Self {
            future: Box::pin(future),
            polls: 0,
        }
    }
}

impl<F: Future> Future for CountPolls<F> {
    type Output = (F::Output, usize);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.polls += 1;
        let output = ready!(self.future.as_mut().poll(cx));
        Poll::Ready((output, self.polls))
    }
}
