//! The simulator as a tower service.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{Request, Response, request};
use http_body::Body;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tower_service::Service;

use super::desk::{Incoming, Outcome};
use super::{Journey, Shared, SimBody};

/// The server reads no more of a body than this: 4 MiB. A longer one is answered with 413.
const BODY_LIMIT: usize = 4 << 20;

/// Why there is no response.
#[derive(Debug)]
#[non_exhaustive]
pub enum SimError {
    /// The connection was dropped; whether the request was counted or done is not known.
    ConnectionDropped,
    /// The request's own body failed before it was sent.
    Body(Box<dyn Error + Send + Sync>),
    /// The service was called outside of a tokio runtime, which it needs for its timers.
    NoRuntime,
    /// The runtime is shutting down.
    Stopped,
}

impl fmt::Display for SimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConnectionDropped => "the connection was dropped without an answer",
            Self::Body(_) => "the request body failed",
            Self::NoRuntime => "the simulator was called outside of a tokio runtime",
            Self::Stopped => "the simulator's runtime is shutting down",
        })
    }
}

impl Error for SimError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Body(error) => Some(&**error),
            _ => None,
        }
    }
}

/// The simulated API as a tower service; made by [`Sim::service`](super::Sim::service).
///
/// It must be called within a tokio runtime with timers.
#[derive(Clone, Debug)]
pub struct SimService {
    shared: Arc<Shared>,
}

impl SimService {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl<B> Service<Request<B>> for SimService
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<SimBody>;
    type Error = SimError;
    type Future = SimFuture<B>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), SimError>> {
        Poll::Ready(Ok(()))
    }

    /// Sends the request now: the uplink time runs from here, whenever the future is polled. A body that is not in memory is read
    /// by the future, and the uplink time then runs from its end.
    fn call(&mut self, request: Request<B>) -> SimFuture<B> {
        let (head, body) = request.into_parts();
        let uplink = match Journey::of(&head.extensions) {
            Some(journey) => journey.uplink,
            None => {
                let mut desk = self.shared.desk();
                self.shared.settings.uplink.draw(&mut desk.rng)
            }
        };
        let mut upload = Upload {
            shared: self.shared.clone(),
            head: Some(head),
            body: Box::pin(body),
            collected: Vec::new(),
            length: 0,
            uplink,
        };
        // A body that is in memory is sent at once. For one that is not, the future takes over, and wakes whoever polls it.
        let state = match upload.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(next) => next,
            Poll::Pending => State::Uploading(Box::new(upload)),
        };
        SimFuture { state }
    }
}

/// The answer of a [`SimService`]. Dropping it does not call the request back.
#[must_use = "futures do nothing unless polled, but this request is on its way already"]
pub struct SimFuture<B> {
    state: State<B>,
}

enum State<B> {
    Uploading(Box<Upload<B>>),
    Waiting(oneshot::Receiver<Result<Response<SimBody>, SimError>>),
    Failed(Option<SimError>),
}

impl<B> fmt::Debug for SimFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFuture").finish_non_exhaustive()
    }
}

impl<B> Future for SimFuture<B>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Output = Result<Response<SimBody>, SimError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.state {
                State::Uploading(upload) => match upload.poll(cx) {
                    Poll::Ready(next) => self.state = next,
                    Poll::Pending => return Poll::Pending,
                },
                State::Waiting(answer) => {
                    return Pin::new(answer)
                        .poll(cx)
                        .map(|answer| answer.unwrap_or(Err(SimError::Stopped)));
                }
                State::Failed(error) => {
                    return Poll::Ready(Err(error.take().unwrap_or(SimError::Stopped)));
                }
            }
        }
    }
}

/// A request whose body is being sent.
struct Upload<B> {
    shared: Arc<Shared>,
    head: Option<request::Parts>,
    body: Pin<Box<B>>,
    collected: Vec<Bytes>,
    length: usize,
    uplink: Duration,
}

impl<B> Upload<B>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Reads the body to its end and sends the request off.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<State<B>> {
        while self.length <= BODY_LIMIT {
            let Some(frame) = std::task::ready!(self.body.as_mut().poll_frame(cx)) else {
                break;
            };
            match frame {
                Ok(frame) => {
                    if let Ok(mut data) = frame.into_data() {
                        self.length += data.remaining();
                        self.collected.push(data.copy_to_bytes(data.remaining()));
                    }
                }
                Err(error) => {
                    return Poll::Ready(State::Failed(Some(SimError::Body(error.into()))));
                }
            }
        }
        Poll::Ready(self.send())
    }

    fn send(&mut self) -> State<B> {
        let Some(head) = self.head.take() else {
            return State::Failed(Some(SimError::Stopped));
        };
        let Ok(runtime) = Handle::try_current() else {
            return State::Failed(Some(SimError::NoRuntime));
        };
        let body = match self.collected.pop() {
            Some(only) if self.collected.is_empty() => only,
            last => {
                let mut whole = BytesMut::with_capacity(self.length);
                whole.extend(self.collected.drain(..));
                whole.extend(last);
                whole.freeze()
            }
        };
        let request = Incoming {
            head,
            body,
            too_long: self.length > BODY_LIMIT,
        };
        let (sender, receiver) = oneshot::channel();
        // It arrives when its last byte does.
        let arrival = self.shared.timeline.now() + self.uplink;
        runtime.spawn(exchange(self.shared.clone(), request, arrival, sender));
        State::Waiting(receiver)
    }
}

/// The server's side of one request. It is a task of its own, so that a caller who gives up cannot stop it.
async fn exchange(
    shared: Arc<Shared>,
    request: Incoming,
    arrival: Duration,
    mut caller: oneshot::Sender<Result<Response<SimBody>, SimError>>,
) {
    let (settings, timeline) = (&shared.settings, &shared.timeline);
    timeline.sleep_until(arrival).await;
    // The clock is read while the desk is held, so that requests are counted in the order of their times.
    let ticket = {
        let mut desk = shared.desk();
        desk.arrive(&request, settings, timeline.now())
    };
    timeline.sleep_until(ticket.at + ticket.service).await;
    let (outcome, back) = {
        let mut desk = shared.desk();
        let now = timeline.now();
        let outcome = desk.leave(ticket, &request, settings, now);
        let downlink = match Journey::of(&request.head.extensions) {
            Some(journey) => journey.downlink,
            None => settings.downlink.draw(&mut desk.rng),
        };
        (outcome, now + downlink)
    };
    let answer = match outcome {
        Outcome::Answer(response) => Ok(*response),
        Outcome::Dropped => Err(SimError::ConnectionDropped),
        Outcome::Hangs => {
            caller.closed().await;
            return;
        }
    };
    timeline.sleep_until(back).await;
    // The caller may have gone; that is his business.
    let _ = caller.send(answer);
}
