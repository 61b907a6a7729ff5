//! One batch from its first caller to its last answer: it gathers, waits for its slots, is sent, and is sent again in parts where the
//! server wants that.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::board::Leave;
use super::crew::{Call, Crew, Verdict};
use super::error::Lost;
use super::event::Diary;
use super::group::Group;
use super::guard::UnderWay;
use super::leg::{self, Again};
use super::policy::Operation;
use super::shared::Shared;
use crate::BoxError;
use crate::body::HeldBody;
use crate::clock::Clock;
use crate::core::DenialReason;
use crate::head;
use crate::quota::{Acquire, Alarm, Quota, Reserved};
use crate::request::{Deadline, Lane, RequestHead};

/// Nobody is held back for longer than this because of calls that are under way: one of them may hang.
const LONGEST_HOLD: Duration = Duration::from_secs(1);

/// What all calls of a batch have in common.
pub(super) struct Flight {
    pub(super) shared: Arc<Shared>,
    pub(super) group: Group,
    pub(super) crew: Arc<Crew>,
    pub(super) operation: Box<dyn Operation>,
    pub(super) lane: Lane,
    pub(super) diary: Diary,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.shared.board.ends(self.group, &self.crew);
    }
}

type Leg = Pin<Box<dyn Future<Output = Again> + Send>>;

impl Flight {
    /// Through `inner`, which is that of the caller who began the batch.
    pub(super) async fn lead<S, B, RB>(self, inner: S)
    where
        S: Service<Request<HeldBody<B>>, Response = Response<RB>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        RB: Body + Send + 'static,
        RB::Error: Into<BoxError>,
    {
        self.gather().await;
        let reserved = match self.shared.setup.account.quota() {
            Some(quota) => self.reserve(quota).await,
            None => None,
        };
        let calls = self.shared.board.seal(self.group, &self.crew);
        let _under_way = UnderWay::known(&self.shared, self.group, calls.len());
        Arc::new(self).send(inner, calls, reserved).await;
    }

    /// Waits until the batch is full, or may leave as it is.
    async fn gather(&self) {
        let (board, crew) = (&self.shared.board, &self.crew);
        let linger = self.shared.setup.max_linger;
        let latest = Clock::instant_after(LONGEST_HOLD);
        let must_go = || crew.is_full() || board.is_draining();
        let mut alarm = Alarm::default();
        let can_wait = self.lane == Lane::Bulk;
        loop {
            let due = Clock::instant_after(linger);
            let mut has_yielded = false;
            poll_fn(|cx| {
                if must_go() {
                    return Poll::Ready(());
                }
                // Whoever is woken at this moment may come along, however short the time.
                if !std::mem::replace(&mut has_yielded, true) {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                match linger.is_zero() {
                    true => Poll::Ready(()),
                    false => alarm.poll_at(due, cx),
                }
            })
            .await;
            let leave = board.may_leave(self.group, crew.gathered(), can_wait);
            let Leave::After(landed) = leave else {
                return;
            };
            let must_go = poll_fn(|cx| {
                if must_go() || alarm.poll_at(latest, cx).is_ready() {
                    return Poll::Ready(true);
                }
                match board.has_landed(self.group, landed) {
                    true => Poll::Ready(false),
                    false => Poll::Pending,
                }
            });
            if must_go.await {
                return;
            }
        }
    }

    /// Takes the slots of the batch, while it goes on gathering.
    async fn reserve(&self, quota: &Quota) -> Option<Reserved> {
        let (mut parts, input) = self.crew.first()?;
        let joined = self.operation.join(std::slice::from_ref(&input))?;
        parts.method = joined.method;
        head::retarget(&mut parts, joined.target)?;
        // Each caller sees to his own.
        parts.extensions.remove::<Deadline>();
        let ticket = quota.ticket(RequestHead::from(&parts));
        let patience = quota.patience(self.shared.setup.max_wait, RequestHead::from(&parts));
        loop {
            let seats = self.crew.seats();
            match Acquire::slots(quota.clone(), ticket, patience).await {
                Ok(permit) => return Some(Reserved::new(permit)),
                Err(error) => {
                    let mut fail = self.crew.present();
                    if error.reason() == DenialReason::TimedOut {
                        // Who came later has not waited as long as he may.
                        fail.retain(|seat| *seat < seats);
                    }
                    let errors = Lost::Quota(error).share(fail.len());
                    let errors = errors.into_iter().map(Verdict::Lost);
                    self.crew.settle(fail.into_iter().zip(errors));
                }
            }
            if self.crew.present().is_empty() {
                return None;
            }
        }
    }

    async fn send<S, B, RB>(
        self: Arc<Self>,
        inner: S,
        calls: Vec<(usize, Box<Call>)>,
        mut reserved: Option<Reserved>,
    ) where
        S: Service<Request<HeldBody<B>>, Response = Response<RB>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        RB: Body + Send + 'static,
        RB::Error: Into<BoxError>,
    {
        let callers = calls.len();
        let mut asks = VecDeque::from([leg::members(calls)]);
        let mut legs: Vec<Leg> = Vec::new();
        let mut one_first = false;
        let flight = self.clone();
        poll_fn(move |cx| {
            loop {
                while !one_first || legs.is_empty() {
                    let Some(ask) = asks.pop_front() else {
                        break;
                    };
                    let mut parts = leg::in_parts(ask, flight.most()).into_iter();
                    let Some(ask) = parts.next() else {
                        continue;
                    };
                    parts.rev().for_each(|part| asks.push_front(part));
                    let leg = leg::send(flight.clone(), inner.clone(), ask, reserved.take());
                    legs.push(Box::pin(leg));
                }
                let mut has_ended = false;
                legs.retain_mut(|leg| match leg.as_mut().poll(cx) {
                    Poll::Ready(again) => {
                        one_first = again.one_first;
                        asks.extend(again.asks);
                        has_ended = true;
                        false
                    }
                    Poll::Pending => true,
                });
                if asks.is_empty() && legs.is_empty() {
                    return Poll::Ready(());
                }
                if !has_ended {
                    return Poll::Pending;
                }
            }
        })
        .await;
        self.diary.over(callers);
    }

    /// How many inputs the server takes, as far as is known.
    fn most(&self) -> usize {
        let caps = &self.shared.setup.caps;
        caps.most(&self.operation.label(), self.operation.most())
    }
}
