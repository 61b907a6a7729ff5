//! The server: what the log says that it answered.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode};
use http_body::{Body, Frame};
use tower_quota::BoxError;
use tower_quota::event::{Ending, Route};
use tower_quota::plan::{Lane, RouteClass};
use tower_quota::signal::{Observed, Outcome, Refusal, ResponseHead, SignalReader, Signals};
use tower_service::Service;

/// Which answer a response is.
const NUMBER: HeaderName = HeaderName::from_static("x-answer");

/// One attempt of a request, as the log tells it.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// Which event of the log tells of it.
    pub(super) nth: usize,
    pub(super) sent: SystemTime,
    pub(super) ended: SystemTime,
    pub(super) token: Option<String>,
    pub(super) account: Option<String>,
    pub(super) class: RouteClass,
    pub(super) lane: Lane,
    pub(super) route: Route,
    pub(super) attempt: u32,
    pub(super) ending: Ending,
    pub(super) status: Option<u16>,
    pub(super) limit: Option<String>,
    pub(super) retry_after: Option<Duration>,
    pub(super) service_time: Option<Duration>,
    pub(super) daily_remaining: Option<u64>,
    /// The pause that it began, if that was told.
    pub(super) pause: Option<Pause>,
    /// Whom it concerns, if it began none because there was one already: only the body said that.
    pub(super) concerns: Option<String>,
}

/// What only the body of a refusal says.
#[derive(Clone, Debug)]
pub(super) struct Pause {
    /// Which event of the log tells of it.
    pub(super) nth: usize,
    pub(super) limit: String,
    pub(super) lasts: Duration,
    /// When the body was read.
    pub(super) at: SystemTime,
}

/// How far an answer has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<AtomicU8>);

impl Progress {
    const HEAD: u8 = 1;
    const BODY: u8 = 2;

    pub(super) fn head(&self) {
        self.0.store(Self::HEAD, Ordering::Release);
    }

    /// All of it has come.
    pub(super) fn body(&self) {
        self.0.store(Self::BODY, Ordering::Release);
    }

    fn has(&self, part: u8) -> bool {
        self.0.load(Ordering::Acquire) >= part
    }
}

/// Request extension: which attempt it is.
#[derive(Clone, Debug)]
pub(super) struct Number(pub(super) usize, pub(super) Progress);

/// Answers when it is told to.
#[derive(Clone)]
pub(super) struct Server(pub(super) Arc<[Attempt]>);

impl<B> Service<Request<B>> for Server {
    type Response = Response<Text>;
    type Error = BoxError;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        let number = request.extensions().get::<Number>().cloned();
        let status = number
            .as_ref()
            .and_then(|Number(number, _)| self.0.get(*number))
            .and_then(|attempt| attempt.status)
            .and_then(|status| StatusCode::from_u16(status).ok());
        Answer { number, status }
    }
}

pub(super) struct Answer {
    number: Option<Number>,
    status: Option<StatusCode>,
}

impl Future for Answer {
    type Output = Result<Response<Text>, BoxError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let (Some(Number(number, progress)), status) = (&self.number, self.status) else {
            return Poll::Ready(Err("the request has no number".into()));
        };
        if !progress.has(Progress::HEAD) {
            return Poll::Pending;
        }
        let Some(status) = status else {
            return Poll::Ready(Err("the connection is lost".into()));
        };
        let mut response = Response::new(Text {
            progress: progress.clone(),
            is_read: false,
        });
        *response.status_mut() = status;
        response.headers_mut().insert(NUMBER, (*number).into());
        Poll::Ready(Ok(response))
    }
}

/// A body that is there when it is told to be.
pub(super) struct Text {
    progress: Progress,
    is_read: bool,
}

impl Body for Text {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !self.progress.has(Progress::BODY) {
            return Poll::Pending;
        }
        let is_over = std::mem::replace(&mut self.is_read, true);
        Poll::Ready((!is_over).then(|| Ok(Frame::data(Bytes::from_static(b"body")))))
    }
}

/// Reads from the log what the responses said.
pub(super) struct Told {
    pub(super) attempts: Arc<[Attempt]>,
    pub(super) daily: Option<String>,
}

impl SignalReader for Told {
    fn wants_body(&self, response: &ResponseHead<'_>) -> bool {
        self.attempt(response)
            .is_some_and(|attempt| attempt.pause.is_some() || attempt.concerns.is_some())
    }

    fn read(&self, response: &ResponseHead<'_>, _: RouteClass, body: &[u8]) -> Signals {
        let Some(attempt) = self.attempt(response) else {
            return Signals::new(Outcome::Answered);
        };
        let pause = attempt.pause.as_ref().filter(|_| !body.is_empty());
        let concerns = attempt.concerns.as_ref().filter(|_| !body.is_empty());
        let limit = pause.map(|pause| &pause.limit).or(concerns);
        let limit = limit.or(attempt.limit.as_ref());
        let refusal = match limit.map(String::as_str) {
            Some("token") => Refusal::Token,
            Some("account") => Refusal::Account,
            Some(limit) => Refusal::Limit(limit.to_owned().into()),
            None => Refusal::Request,
        };
        let mut signals = Signals::new(match attempt.ending {
            Ending::Refused | Ending::Turned => Outcome::Refused(refusal),
            Ending::Answered => Outcome::Answered,
            _ => Outcome::Failed,
        });
        signals.retry_after = pause.map(|pause| pause.lasts).or(attempt.retry_after);
        signals.service_time = attempt.service_time;
        if let (Some(daily), Some(_)) = (&self.daily, attempt.daily_remaining) {
            let mut observed = Observed::new(daily.clone());
            observed.remaining = attempt.daily_remaining;
            signals.observed.push(observed);
        }
        signals
    }
}

impl Told {
    fn attempt(&self, response: &ResponseHead<'_>) -> Option<&Attempt> {
        let number = response.headers.get(NUMBER)?.to_str().ok()?;
        self.attempts.get(number.parse::<usize>().ok()?)
    }
}
