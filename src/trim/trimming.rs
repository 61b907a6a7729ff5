//! A heavy request on its way: what the job asks for is sent, and what comes back is given to it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, request, response};
use http_body::Body;
use tower_service::Service;

use super::assemble;
use super::error::TrimError;
use super::event::Diary;
use super::job::{Ask, Job, Part};
use super::leg::{Ended, Failure, Leg};
use super::policy::Piece;
use super::shared::Shared;
use crate::BoxError;
use crate::body::{Gathered, HeldBody, Hold};
use crate::request::{Deadline, RequestHead, TooHeavy};

/// What the caller gets.
type Answer<RB> = Result<Response<HeldBody<RB>>, BoxError>;

/// A request that may be heavy.
pub(super) struct Trimming<S, B, RB>
where
    S: Service<Request<HeldBody<B>>>,
    RB: Body,
{
    inner: S,
    /// The clone that the caller has made ready, for the first request.
    ready: Option<S>,
    shared: Arc<Shared>,
    heavy: TooHeavy,
    hold: Pin<Box<Hold<B>>>,
    parts: Option<request::Parts>,
    stage: Stage<S, B, RB>,
}

enum Stage<S, B, RB>
where
    S: Service<Request<HeldBody<B>>>,
    RB: Body,
{
    /// The body is read into memory.
    Hold,
    /// Sent as it came, because it cannot be asked in pieces.
    Pass(Box<Leg<S, B, RB>>),
    Ask(Box<Asking<S, B, RB>>),
    Done,
}

/// A request that is asked in pieces where it must be.
struct Asking<S, B, RB>
where
    S: Service<Request<HeldBody<B>>>,
    RB: Body,
{
    parts: request::Parts,
    body: HeldBody<B>,
    job: Job,
    legs: Vec<Leg<S, B, RB>>,
    /// So many bytes of answers may still be kept.
    left: u64,
    /// The head of the answer that came last.
    last: Option<response::Parts>,
    diary: Diary,
}

impl<S, B, RB> Trimming<S, B, RB>
where
    S: Service<Request<HeldBody<B>>>,
    B: Body,
    RB: Body,
{
    pub(super) fn new(ready: S, shared: Arc<Shared>, request: Request<B>) -> Self
    where
        S: Clone,
    {
        let (parts, body) = request.into_parts();
        Self {
            inner: ready.clone(),
            ready: Some(ready),
            heavy: shared.setup.policy.too_heavy(),
            hold: Box::pin(Hold::new(body, shared.setup.max_body)),
            shared,
            parts: Some(parts),
            stage: Stage::Hold,
        }
    }
}

impl<S, B, RB> Trimming<S, B, RB>
where
    S: Service<Request<HeldBody<B>>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
    RB: Body,
    RB::Error: Into<BoxError>,
{
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Answer<RB>> {
        loop {
            let answer = match &mut self.stage {
                Stage::Hold => {
                    let Poll::Ready(held) = self.hold.as_mut().poll(cx) else {
                        // Nobody keeps the inner service reserved while he waits.
                        self.ready = None;
                        return Poll::Pending;
                    };
                    match (held, self.parts.take()) {
                        (Ok(body), Some(parts)) => {
                            self.stage = self.begin(parts, body);
                            continue;
                        }
                        (Err(error), _) => Err(error.into()),
                        (_, None) => return Poll::Pending,
                    }
                }
                Stage::Pass(leg) => match ready!(leg.poll(cx, &TooHeavy::NEVER, 0)) {
                    Ended::Original(response) => Ok(response.map(HeldBody::stream)),
                    Ended::Lost(error) => Err(error),
                    // Only what is read or judged ends in another way.
                    _ => return Poll::Pending,
                },
                Stage::Ask(asking) => ready!(asking.poll(cx, &self.inner, &self.heavy)),
                // Polled again after it was ready.
                Stage::Done => return Poll::Pending,
            };
            // What is still under way is called off.
            self.stage = Stage::Done;
            return Poll::Ready(answer);
        }
    }

    /// Sends the request as it came, unless it is known to be too heavy so.
    fn begin(&mut self, parts: request::Parts, body: HeldBody<B>) -> Stage<S, B, RB> {
        let inner = self.ready.take().unwrap_or_else(|| self.inner.clone());
        let setup = &self.shared.setup;
        let head = RequestHead::from(&parts);
        let question = body
            .data()
            .and_then(|data| setup.policy.question(&head, data))
            // Of nothing there are no pieces.
            .filter(|question| question.size() > 0);
        let Some(question) = question else {
            let request = Request::from_parts(parts, body);
            return Stage::Pass(Box::new(Leg::new(Ask::all(), inner, request)));
        };
        let account = setup.account.keys(head).account;
        let shared = self.shared.clone();
        let diary = Diary::new(shared, account, question.shape(), question.size());
        let memory = self.shared.memory.clone();
        let mut asking = Asking {
            parts,
            body,
            job: Job::new(memory, account, setup.parallel, question),
            legs: Vec::new(),
            left: setup.max_answer,
            last: None,
            diary,
        };
        if let Some(ask) = asking.job.original() {
            let request = asking.request(&ask, None, &self.heavy);
            asking
                .legs
                .extend(request.map(|request| Leg::new(ask, inner, request)));
        }
        Stage::Ask(Box::new(asking))
    }
}

impl<S, B, RB> Asking<S, B, RB>
where
    S: Service<Request<HeldBody<B>>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
    B: Body,
    RB: Body,
    RB::Error: Into<BoxError>,
{
    fn poll(&mut self, cx: &mut Context<'_>, inner: &S, heavy: &TooHeavy) -> Poll<Answer<RB>> {
        loop {
            if let Some(answer) = self.conclude() {
                return Poll::Ready(answer);
            }
            while let Some((ask, piece)) = self.job.next() {
                let Some(request) = self.request(&ask, Some(piece), heavy) else {
                    return Poll::Ready(Err(self.unfit("a piece has no valid target".into())));
                };
                self.legs.push(Leg::new(ask, inner.clone(), request));
            }
            if self.job.is_stuck() {
                return Poll::Ready(Err(self.unfit("the next piece cannot be asked".into())));
            }
            let mut has_ended = false;
            let mut at = 0;
            while at < self.legs.len() {
                match self.legs[at].poll(cx, heavy, self.left) {
                    Poll::Pending => at += 1,
                    Poll::Ready(ended) => {
                        has_ended = true;
                        if let Some(answer) = self.ended(at, ended) {
                            let status = answer.as_ref().map(Response::status).ok();
                            self.diary.failed(&self.job, status);
                            return Poll::Ready(answer);
                        }
                        // It is another one now, or none.
                        break;
                    }
                }
            }
            if !has_ended {
                return Poll::Pending;
            }
        }
    }

    /// The request for a piece; the original one without.
    fn request(
        &self,
        ask: &Ask,
        piece: Option<Piece>,
        heavy: &TooHeavy,
    ) -> Option<Request<HeldBody<B>>> {
        let mut parts = self.parts.clone();
        if ask.can_shrink {
            parts.extensions.insert(*heavy);
        }
        let body = match piece {
            None => self.body.again()?,
            Some(piece) => assemble::piece(&mut parts, piece, &self.body)?,
        };
        Some(Request::from_parts(parts, body))
    }

    /// What the caller gets, if that is clear now.
    fn ended(&mut self, at: usize, ended: Ended<RB>) -> Option<Answer<RB>> {
        match ended {
            Ended::Original(response) => {
                self.job.original_answered(response.status().is_success());
                Some(Ok(response.map(HeldBody::stream)))
            }
            Ended::Piece(parts, body) => {
                let leg = self.legs.swap_remove(at);
                self.answered(&leg.ask, parts, body)
            }
            Ended::TooHeavy(failure) => self.too_heavy(at, failure),
            Ended::Drained => {
                self.less(at);
                None
            }
            Ended::Lost(error) => Some(Err(error)),
            Ended::TooLarge => Some(Err(self.too_large())),
        }
    }

    fn too_heavy(&mut self, at: usize, failure: Failure<RB>) -> Option<Answer<RB>> {
        let ask = &self.legs[at].ask;
        let deadline = self.parts.extensions.get::<Deadline>();
        let in_time = deadline.is_none_or(|deadline| !deadline.has_passed());
        let can_go_on = self.job.goes_on(ask);
        let goes_on = in_time && can_go_on;
        self.diary
            .too_heavy(&failure, ask, goes_on, self.job.question());
        match can_go_on {
            // For whoever asks next.
            true if !in_time => self.job.too_heavy(ask),
            true => {}
            false => self.job.failed(),
        }
        match failure {
            Failure::Response(response) if !goes_on => Some(Ok(response.map(HeldBody::stream))),
            Failure::Error(error) if !goes_on => Some(Err(error)),
            Failure::Response(response) => {
                self.legs[at].drain(response.into_body());
                None
            }
            Failure::Error(_) => {
                self.less(at);
                None
            }
        }
    }

    /// Asks for less than what was too heavy.
    fn less(&mut self, at: usize) {
        let leg = self.legs.swap_remove(at);
        self.job.too_heavy(&leg.ask);
        let job = &self.job;
        self.legs.retain(|leg| job.wants(&leg.ask));
    }

    fn answered(
        &mut self,
        ask: &Ask,
        parts: response::Parts,
        body: Gathered,
    ) -> Option<Answer<RB>> {
        // Others that came at the same time may have used up what was left.
        let Some(left) = self.left.checked_sub(body.data.len() as u64) else {
            return Some(Err(self.too_large()));
        };
        self.left = left;
        let answer = Response::from_parts(parts, body.data);
        let part = self.job.answered(ask, &answer);
        let (parts, data) = answer.into_parts();
        match part {
            Part::Taken => {
                self.last = Some(parts);
                None
            }
            Part::Foreign => {
                let body = HeldBody::held(data, body.trailers);
                Some(Ok(Response::from_parts(parts, body)))
            }
            Part::Unfit(why) => Some(Err(self.unfit(why))),
        }
    }

    /// The whole answer, once all pieces are here.
    fn conclude(&mut self) -> Option<Answer<RB>> {
        let whole = match self.job.conclude()? {
            Ok(whole) => whole,
            Err(why) => {
                self.diary.failed(&self.job, None);
                return Some(Err(self.unfit(why)));
            }
        };
        let parts = self.last.take()?;
        let trimmed = self.diary.done(&self.job, &whole);
        Some(Ok(assemble::whole(parts, whole, trimmed)))
    }

    fn too_large(&self) -> BoxError {
        self.unfit("the answers are larger than `max_answer`".into())
    }

    fn unfit(&self, why: std::borrow::Cow<'static, str>) -> BoxError {
        let route = self.diary.route();
        Box::new(TrimError { route, why })
    }
}
