//! One request of several that make an answer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response, response};
use http_body::Body;
use tower_service::Service;

use super::job::Ask;
use crate::BoxError;
use crate::body::{Collect, CollectError, Gathered, HeldBody, Peek};
use crate::request::TooHeavy;

/// The body of a piece's answer must have come so long after the first wait for it. HubSpot itself gives up after 100 s.
const LONGEST_READ: Duration = Duration::from_secs(100);

/// A request on its way.
pub(super) struct Leg<S, B, RB>
where
    S: Service<Request<HeldBody<B>>>,
    RB: Body,
{
    pub(super) ask: Ask,
    state: State<S, B, RB>,
}

enum State<S, B, RB>
where
    S: Service<Request<HeldBody<B>>>,
    RB: Body,
{
    /// Waits until the inner service is ready.
    Ready(Option<(S, Request<HeldBody<B>>)>),
    Sent(Pin<Box<S::Future>>),
    /// Reads the answer to a piece.
    Read(Option<response::Parts>, Collect<RB>),
    /// Reads what nobody wants to know, to free the connection.
    Drain(Peek<RB>),
}

/// How a request has ended.
pub(super) enum Ended<RB> {
    /// The answer to the request as it came, unread.
    Original(Response<RB>),
    /// The answer to a piece.
    Piece(response::Parts, Gathered),
    TooHeavy(Failure<RB>),
    /// The failure that was to be drained is.
    Drained,
    Lost(BoxError),
    /// The answer is larger than anything that is kept.
    TooLarge,
}

/// What says that a request was too heavy.
pub(super) enum Failure<RB> {
    Response(Response<RB>),
    Error(BoxError),
}

impl<RB> Ended<RB> {
    fn by(error: BoxError, heavy: &TooHeavy) -> Self {
        match heavy.is_error(&error) {
            true => Self::TooHeavy(Failure::Error(error)),
            false => Self::Lost(error),
        }
    }
}

impl<S, B, RB> Leg<S, B, RB>
where
    S: Service<Request<HeldBody<B>>, Response = Response<RB>>,
    S::Error: Into<BoxError>,
    RB: Body,
    RB::Error: Into<BoxError>,
{
    pub(super) fn new(ask: Ask, inner: S, request: Request<HeldBody<B>>) -> Self {
        Self {
            ask,
            state: State::Ready(Some((inner, request))),
        }
    }

    /// Goes on with reading a failure to its end.
    pub(super) fn drain(&mut self, body: RB) {
        self.state = State::Drain(Peek::new(body));
    }

    /// `left` bytes may be kept.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        heavy: &TooHeavy,
        left: u64,
    ) -> Poll<Ended<RB>> {
        loop {
            match &mut self.state {
                State::Ready(waiting) => {
                    let Some((inner, _)) = waiting else {
                        return Poll::Pending;
                    };
                    if let Err(error) = ready!(inner.poll_ready(cx)) {
                        return Poll::Ready(Ended::Lost(error.into()));
                    }
                    let Some((mut inner, request)) = waiting.take() else {
                        return Poll::Pending;
                    };
                    self.state = State::Sent(Box::pin(inner.call(request)));
                }
                State::Sent(future) => {
                    let response = match ready!(future.as_mut().poll(cx)) {
                        Ok(response) => response,
                        Err(error) => return Poll::Ready(Ended::by(error.into(), heavy)),
                    };
                    if heavy.is_status(response.status()) {
                        return Poll::Ready(Ended::TooHeavy(Failure::Response(response)));
                    }
                    if self.ask.original {
                        return Poll::Ready(Ended::Original(response));
                    }
                    let (parts, body) = response.into_parts();
                    let collect = Collect::new(body, left, LONGEST_READ);
                    self.state = State::Read(Some(parts), collect);
                }
                State::Read(parts, collect) => {
                    let read = ready!(Pin::new(collect).poll(cx));
                    let Some(parts) = parts.take() else {
                        return Poll::Pending;
                    };
                    return Poll::Ready(match read {
                        Ok(body) => Ended::Piece(parts, body),
                        // Where a client bounds the time of the whole exchange, it may be over here, too.
                        Err(CollectError::Body(error)) => Ended::by(error.into(), heavy),
                        Err(CollectError::TooLarge) => Ended::TooLarge,
                        Err(CollectError::TooSlow) => {
                            Ended::TooHeavy(Failure::Error("the answer timed out".into()))
                        }
                    });
                }
                State::Drain(peek) => {
                    ready!(Pin::new(peek).poll(cx));
                    return Poll::Ready(Ended::Drained);
                }
            }
        }
    }
}
