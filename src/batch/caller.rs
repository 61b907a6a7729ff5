//! A caller on the way into a batch, and in it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, request};
use http_body::Body;
use tokio::time::Instant;
use tower_service::Service;

use super::board::Way;
use super::crew::{Answer, Call, Verdict};
use super::event::Diary;
use super::flight::Flight;
use super::group::Group;
use super::guard::{Alone, Arrival, Seat, Turn, UnderWay};
use super::policy::{Operation, Single, Twice};
use super::shared::Shared;
use crate::body::{HeldBody, Hold};
use crate::clock::Clock;
use crate::quota::{Acquire, Alarm, Reserved, Ticket};
use crate::request::{Deadline, RequestHead};
use crate::{BoxError, QuotaError};

/// A request that may go in a batch.
pub(super) struct Caller<S, B> {
    pub(super) inner: S,
    shared: Arc<Shared>,
    deadline: Option<Deadline>,
    alarm: Alarm,
    stage: Stage<B>,
}

enum Stage<B> {
    /// The body is read into memory.
    Hold(Box<request::Parts>, Pin<Box<Hold<B>>>),
    /// Waits until no other call about the record is under way.
    Line(Understood, Instant),
    /// One turn of the scheduler will show whether it is alone.
    Arrived(Understood, Arrival),
    /// With the deadline of a caller who has one, and what he is told by.
    Seated(Seat, Option<Box<(Deadline, Ticket)>>),
    Done,
}

/// A call that may go in a batch, and where it belongs.
struct Understood {
    call: Box<Call>,
    operation: Box<dyn Operation>,
    group: Group,
    ticket: Ticket,
}

/// What becomes of a caller.
pub(super) enum Turned<B> {
    /// He sends this himself.
    Alone(Box<Request<HeldBody<B>>>, Alone),
    Answer(Box<Answer>),
    Lost(BoxError),
}

impl<S, B: Body> Caller<S, B> {
    pub(super) fn new(inner: S, shared: Arc<Shared>, request: Request<B>) -> Self {
        let (parts, body) = request.into_parts();
        let hold = Hold::new(body, shared.setup.max_body);
        Self {
            inner,
            shared,
            deadline: parts.extensions.get().copied(),
            alarm: Alarm::default(),
            stage: Stage::Hold(Box::new(parts), Box::pin(hold)),
        }
    }
}

impl<S, B> Caller<S, B>
where
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    pub(super) fn poll<RB>(&mut self, cx: &mut Context<'_>) -> Poll<Turned<B>>
    where
        S: Service<Request<HeldBody<B>>, Response = Response<RB>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        RB: Body + Send + 'static,
        RB::Error: Into<BoxError>,
    {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Hold(parts, mut hold) => match hold.as_mut().poll(cx) {
                    Poll::Pending => {
                        self.stage = Stage::Hold(parts, hold);
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Turned::Lost(error.into())),
                    Poll::Ready(Ok(body)) => match self.understand(*parts, body) {
                        Ok(understood) => self.stage = Stage::Line(understood, self.line_ends()),
                        Err(request) => {
                            return Poll::Ready(Turned::Alone(request, Alone::default()));
                        }
                    },
                },
                Stage::Line(mut understood, ends) => {
                    let turn = understood.call.turn.as_mut();
                    if turn.is_some_and(|turn| turn.poll(cx).is_pending()) {
                        if self.alarm.poll_at(ends, cx).is_ready() {
                            return Poll::Ready(Turned::Lost(self.too_late(&understood.ticket)));
                        }
                        self.stage = Stage::Line(understood, ends);
                        return Poll::Pending;
                    }
                    let group = understood.group;
                    if self.most(&*understood.operation) <= 1 || self.is_urgent() {
                        let under_way = UnderWay::single(&self.shared, group);
                        return Poll::Ready(alone(understood.call, under_way));
                    }
                    match Arrival::new(&self.shared, group) {
                        Some(arrival) => {
                            self.stage = Stage::Arrived(understood, arrival);
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                        None => {
                            if let Some(turned) = self.sit(understood, None) {
                                return Poll::Ready(turned);
                            }
                        }
                    }
                }
                Stage::Arrived(understood, arrival) => {
                    if let Some(turned) = self.sit(understood, Some(arrival)) {
                        return Poll::Ready(turned);
                    }
                }
                Stage::Seated(seat, hurry) => {
                    if let Poll::Ready(verdict) = seat.poll(cx) {
                        return Poll::Ready(self.settle(verdict, seat.group()));
                    }
                    if let Some(hurry) = &hurry {
                        let (deadline, ticket) = &**hurry;
                        if seat.is_gathering()
                            && self.alarm.poll_at(deadline.0, cx).is_ready()
                            && seat.withdraw()
                        {
                            return Poll::Ready(Turned::Lost(self.too_late(ticket)));
                        }
                    }
                    self.stage = Stage::Seated(seat, hurry);
                    return Poll::Pending;
                }
                // Polled again after it was ready.
                Stage::Done => return Poll::Pending,
            }
        }
    }

    /// Where the call belongs, if it has a batch form.
    fn understand(
        &self,
        parts: request::Parts,
        body: HeldBody<B>,
    ) -> Result<Understood, Box<Request<HeldBody<B>>>> {
        let setup = &self.shared.setup;
        let head = RequestHead::from(&parts);
        let understood = body.gathered().and_then(|body| {
            let single = setup.policy.single(&head, &body.data)?;
            Some((body, single))
        });
        let Some((body, Single { operation, input })) = understood else {
            return Err(Box::new(Request::from_parts(parts, body)));
        };
        let ticket = setup.account.ticket(head);
        let group = Group::of(&setup.fingerprinter, &head, ticket.keys, &*operation);
        let twice = operation.twice();
        let record = input.record.clone().filter(|_| twice == Twice::InOrder);
        let turn = record.map(|record| Box::new(Turn::new(&self.shared, group, record)));
        Ok(Understood {
            call: Box::new(Call {
                parts,
                body,
                input,
                joins: twice == Twice::Join,
                turn,
            }),
            operation,
            group,
            ticket,
        })
    }

    fn most(&self, operation: &dyn Operation) -> usize {
        let caps = &self.shared.setup.caps;
        caps.most(&operation.label(), operation.most())
    }

    /// Takes a seat, unless the call is alone.
    fn sit<RB>(&mut self, understood: Understood, arrival: Option<Arrival>) -> Option<Turned<B>>
    where
        S: Service<Request<HeldBody<B>>, Response = Response<RB>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        RB: Body + Send + 'static,
        RB::Error: Into<BoxError>,
    {
        let most = self.most(&*understood.operation);
        let label = understood.operation.label();
        let Understood {
            call,
            operation,
            group,
            ticket,
        } = understood;
        let shared = &self.shared;
        let has_arrived = arrival.map(Arrival::over).is_some();
        let mut way = shared.board.place(group, has_arrived, call, most);
        if let Way::Lone(mut call) = way {
            let under_way = UnderWay::known(shared, group, 1);
            match self.goes_at_once(&mut call, ticket) {
                Ok(true) => return Some(alone(call, under_way)),
                Ok(false) => {}
                Err(error) => return Some(Turned::Lost(error.into())),
            }
            // It waits for quota, and others may come until it need not any more.
            drop(under_way);
            way = shared.board.place(group, false, call, most);
        }
        let (crew, seat, is_first) = match way {
            Way::Lone(call) => return Some(alone(call, UnderWay::known(shared, group, 1))),
            Way::Seat(crew, seat) => (crew, seat, false),
            Way::Lead(crew, seat) => (crew, seat, true),
        };
        let seat = Seat::new(shared, group, crew.clone(), seat);
        if is_first {
            let flight = Flight {
                shared: shared.clone(),
                group,
                crew: crew.clone(),
                diary: Diary::new(shared.clone(), ticket.keys.account, label.clone()),
                operation,
                lane: ticket.lane,
            };
            crew.begin(label, || flight.lead(self.inner.clone()));
        }
        let hurry = self.deadline.map(|deadline| Box::new((deadline, ticket)));
        self.stage = Stage::Seated(seat, hurry);
        None
    }

    /// Whether a call that is alone need not wait for quota.
    fn goes_at_once(&self, call: &mut Call, ticket: Ticket) -> Result<bool, QuotaError> {
        let setup = &self.shared.setup;
        let Some(quota) = setup.account.quota() else {
            return Ok(true);
        };
        let patience = quota.patience(setup.max_wait, RequestHead::from(&call.parts));
        let permit = Acquire::at_once(quota, ticket, patience)?;
        let reserved = permit.map(Reserved::new);
        let is_granted = reserved.is_some();
        if let Some(reserved) = reserved {
            call.parts.extensions.insert(reserved);
        }
        Ok(is_granted)
    }

    fn settle(&self, verdict: Verdict, group: Group) -> Turned<B> {
        match verdict {
            Verdict::Answer(answer) => Turned::Answer(answer),
            Verdict::Alone(call) => alone(call, UnderWay::single(&self.shared, group)),
            Verdict::Lost(error) => Turned::Lost(error),
        }
    }

    /// When a wait that begins now must be over.
    fn line_ends(&self) -> Instant {
        let latest = Clock::instant_after(self.shared.setup.max_wait);
        self.deadline
            .map_or(latest, |deadline| deadline.0.min(latest))
    }

    /// Whether there is no time to wait for company.
    fn is_urgent(&self) -> bool {
        let linger = self.shared.setup.max_linger;
        self.deadline
            .is_some_and(|deadline| deadline.0 <= Clock::instant_after(linger))
    }

    fn too_late(&self, ticket: &Ticket) -> BoxError {
        Box::new(self.shared.setup.account.too_late(ticket, "batch"))
    }
}

/// The call as it came.
fn alone<B>(mut call: Box<Call>, under_way: UnderWay) -> Turned<B> {
    let alone = Alone::new(under_way, &mut call);
    let Call { parts, body, .. } = *call;
    let body = HeldBody::held(body.data, body.trailers);
    Turned::Alone(Box::new(Request::from_parts(parts, body)), alone)
}
