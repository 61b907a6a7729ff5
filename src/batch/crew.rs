//! The callers of one batch, and who of them leads it.
//!
//! A batch is a future that nobody owns: whichever of its callers is polled when it has something to do drives it on. When it has, the
//! one who drove it last is woken. If he does not come before it has something to do again, all are woken, so nobody depends on
//! another one's being polled; and a timer sees to it that it has something to do now and then.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, request};

use super::error::BatchError;
use super::guard::Turn;
use super::policy::Input;
use crate::BoxError;
use crate::body::Gathered;
use crate::clock::Clock;
use crate::quota::Alarm;

/// After so long without news of its own, a batch is driven on all the same. Only if the one who should have driven it does not come
/// are the others held up so long.
const LONGEST_REST: Duration = Duration::from_millis(250);

/// What a caller asks for.
pub(super) struct Call {
    pub(super) parts: request::Parts,
    pub(super) body: Gathered,
    pub(super) input: Input,
    /// Whether calls about the same record share one input.
    pub(super) joins: bool,
    /// Where calls about a record go one at a time: his turn.
    pub(super) turn: Option<Box<Turn>>,
}

/// What becomes of a caller.
pub(super) enum Verdict {
    /// He gets this.
    Answer(Box<Answer>),
    /// He sends his call himself.
    Alone(Box<Call>),
    Lost(BoxError),
}

/// The answer for one caller.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) response: Response<Bytes>,
    pub(super) trailers: Option<Box<HeaderMap>>,
}

/// The callers of one batch.
pub(super) struct Crew {
    number: u64,
    most: usize,
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seats: Vec<Seat>,
    /// How many callers wait.
    present: usize,
    /// How many inputs they make, and hashes of the records of those that are shared: to tell when it is full, that is enough.
    inputs: usize,
    shared: HashSet<u64>,
    is_sealed: bool,
    lead: Option<Lead>,
    /// The name of the batch call.
    label: Cow<'static, str>,
    /// The batch has something to do, and nobody has come yet.
    is_roused: bool,
    /// Who drove it last.
    driver: Option<usize>,
    /// Who drive it without being callers of it.
    watching: Vec<Waker>,
}

enum Seat {
    Waiting {
        call: Option<Box<Call>>,
        waker: Option<Waker>,
    },
    Settled(Verdict),
    Gone,
}

/// The batch itself.
struct Lead {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    alarm: Alarm,
}

/// What a caller leaves behind. Dropped where no lock is held: there may be locks to take in its parts.
#[must_use]
pub(super) struct Left {
    /// Nobody else waits.
    pub(super) is_empty: bool,
    wakers: Vec<Waker>,
    _seat: Option<Seat>,
    _lead: Option<Lead>,
}

impl Left {
    pub(super) fn settle(self) {
        self.wakers.into_iter().for_each(Waker::wake);
    }
}

impl Crew {
    /// `most` is how many inputs it takes.
    pub(super) fn new(number: u64, most: usize) -> Self {
        Self {
            number,
            most,
            hasher: RandomState::new(),
            state: Mutex::default(),
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a caller in: the number of the seat, and whether it was the last one.
    pub(super) fn join(&self, call: Box<Call>) -> (usize, bool) {
        let mut state = self.lock();
        let is_new = match call.input.name().filter(|_| call.joins) {
            Some(record) => state.shared.insert(self.hasher.hash_one(record)),
            None => true,
        };
        state.inputs += usize::from(is_new);
        state.present += 1;
        state.seats.push(Seat::Waiting {
            call: Some(call),
            waker: None,
        });
        (state.seats.len() - 1, state.inputs >= self.most)
    }

    /// What leads the batch from now on. When it cannot be made, those learn it who have come in the meantime.
    pub(super) fn begin<F>(self: &Arc<Self>, label: Cow<'static, str>, make: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.lock().label = label;
        let mut broken = Broken(Some(self));
        let lead = Lead {
            future: Box::pin(make()),
            alarm: Alarm::default(),
        };
        broken.0 = None;
        let mut state = self.lock();
        state.lead = Some(lead);
        state.is_roused = true;
    }

    /// The batch has something to do.
    pub(super) fn rouse(&self) {
        let mut state = self.lock();
        let nobody_came = std::mem::replace(&mut state.is_roused, true);
        let wakers = match state.driver.and_then(|driver| state.waker_of(driver)) {
            Some(waker) if !nobody_came => vec![waker],
            _ => state.wakers(),
        };
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// What has become of a caller; drives the batch on if it has something to do.
    pub(super) fn poll(self: &Arc<Self>, seat: usize, cx: &mut Context<'_>) -> Poll<Verdict> {
        let verdict = self.verdict(seat, cx.waker());
        if verdict.is_ready() {
            return verdict;
        }
        self.drive(Some(seat));
        self.verdict(seat, cx.waker())
    }

    /// The verdict on a caller, once. Until then he is told when there is one.
    fn verdict(&self, seat: usize, waker: &Waker) -> Poll<Verdict> {
        let mut state = self.lock();
        let Some(place) = state.seats.get_mut(seat) else {
            return Poll::Pending;
        };
        if let Seat::Waiting { waker: known, .. } = place {
            let is_known = known.as_ref().is_some_and(|known| known.will_wake(waker));
            let retired = match is_known {
                true => None,
                false => known.replace(waker.clone()),
            };
            // The last waker of a task may drop a call that is in this batch.
            drop(state);
            drop(retired);
            return Poll::Pending;
        }
        match std::mem::replace(place, Seat::Gone) {
            Seat::Settled(verdict) => Poll::Ready(verdict),
            _ => Poll::Pending,
        }
    }

    /// Drives the batch on if it has something to do, for somebody who is none of its callers.
    pub(super) fn watch(self: &Arc<Self>, waker: &Waker) {
        let mut state = self.lock();
        if !state.watching.iter().any(|known| known.will_wake(waker)) {
            state.watching.push(waker.clone());
        }
        drop(state);
        self.drive(None);
    }

    fn drive(self: &Arc<Self>, seat: Option<usize>) {
        let mut state = self.lock();
        if !state.is_roused {
            return;
        }
        let Some(mut lead) = state.lead.take() else {
            return;
        };
        state.is_roused = false;
        state.driver = seat;
        drop(state);

        let mut broken = Broken(Some(self));
        let waker = Waker::from(self.clone());
        let mut cx = Context::from_waker(&waker);
        let is_over = lead.future.as_mut().poll(&mut cx).is_ready();
        if !is_over {
            let _ = lead
                .alarm
                .poll_at(Clock::instant_after(LONGEST_REST), &mut cx);
        }
        broken.0 = None;
        if is_over {
            return;
        }
        let mut state = self.lock();
        // Those who are gone have taken nothing with them while it was driven.
        if state.present > 0 {
            state.lead = Some(lead);
        } else {
            drop(state);
            drop(lead);
        }
    }

    /// Takes back what a caller asks for, if it is not too late for that. It is to be dropped where no lock is held.
    pub(super) fn withdraw(&self, seat: usize) -> Option<Box<Call>> {
        let mut state = self.lock();
        if state.is_sealed {
            return None;
        }
        match state.seats.get_mut(seat) {
            Some(Seat::Waiting { call, .. }) => call.take(),
            _ => None,
        }
    }

    /// Nobody else joins: what the callers ask for who are still there.
    pub(super) fn seal(&self) -> Vec<(usize, Box<Call>)> {
        let mut state = self.lock();
        state.is_sealed = true;
        state.shared = HashSet::new();
        let seats = state.seats.iter_mut().enumerate();
        let calls = seats.filter_map(|(place, seat)| match seat {
            Seat::Waiting { call, .. } => call.take().map(|call| (place, call)),
            _ => None,
        });
        calls.collect()
    }

    /// How many seats have been taken so far.
    pub(super) fn seats(&self) -> usize {
        self.lock().seats.len()
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.lock().is_sealed
    }

    /// How many inputs there are.
    pub(super) fn gathered(&self) -> usize {
        let state = self.lock();
        state.inputs.min(state.present)
    }

    pub(super) fn is_full(&self) -> bool {
        self.lock().inputs >= self.most
    }

    /// What the first of the callers asks for.
    pub(super) fn first(&self) -> Option<(request::Parts, Input)> {
        let state = self.lock();
        let mut calls = state.seats.iter().filter_map(|seat| match seat {
            Seat::Waiting { call, .. } => call.as_ref(),
            _ => None,
        });
        calls
            .next()
            .map(|call| (call.parts.clone(), call.input.clone()))
    }

    /// Who waits.
    pub(super) fn present(&self) -> Vec<usize> {
        let state = self.lock();
        let seats = state.seats.iter().enumerate();
        seats
            .filter(|(_, seat)| matches!(seat, Seat::Waiting { .. }))
            .map(|(place, _)| place)
            .collect()
    }

    /// What has become of some of the callers. For those who are gone it is dropped.
    pub(super) fn settle(&self, verdicts: impl IntoIterator<Item = (usize, Verdict)>) {
        // Making them may run code of the caller's or the client's: an answer is cloned with all that it carries.
        let verdicts: Vec<_> = verdicts.into_iter().collect();
        let (mut wakers, mut unwanted, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        let mut state = self.lock();
        for (seat, verdict) in verdicts {
            match state.seats.get_mut(seat) {
                Some(waiting @ Seat::Waiting { .. }) => {
                    let settled = Seat::Settled(verdict);
                    if let Seat::Waiting { call, waker } = std::mem::replace(waiting, settled) {
                        wakers.extend(waker);
                        calls.extend(call);
                    }
                    state.present -= 1;
                }
                _ => unwanted.push(verdict),
            }
        }
        drop(state);
        drop((unwanted, calls));
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A caller does not wait any longer, or has his answer.
    pub(super) fn leave(&self, seat: usize) -> Left {
        let mut state = self.lock();
        let place = state.seats.get_mut(seat);
        let before = place.map(|place| std::mem::replace(place, Seat::Gone));
        if let Some(Seat::Waiting { .. }) = before {
            state.present -= 1;
        }
        let is_empty = state.present == 0;
        let mut wakers = Vec::new();
        if state.driver == Some(seat) {
            state.driver = None;
            // Whatever he was called for, another must see to.
            if !is_empty && state.lead.is_some() {
                state.is_roused = true;
                wakers = state.wakers();
            }
        }
        Left {
            is_empty,
            wakers,
            _seat: before,
            _lead: state.lead.take_if(|_| is_empty),
        }
    }
}

impl State {
    fn waker_of(&self, seat: usize) -> Option<Waker> {
        match self.seats.get(seat) {
            Some(Seat::Waiting { waker, .. }) => waker.clone(),
            _ => None,
        }
    }

    /// All who can drive the batch on. Those who watch leave their wakers anew each time.
    fn wakers(&mut self) -> Vec<Waker> {
        let watching = std::mem::take(&mut self.watching);
        let seats = 0..self.seats.len();
        let callers = seats.filter_map(|seat| self.waker_of(seat));
        callers.chain(watching).collect()
    }
}

impl Wake for Crew {
    fn wake(self: Arc<Self>) {
        self.rouse();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rouse();
    }
}

/// Tells all callers when what they wait for has panicked; the panic itself goes on in the task of the one who drove it.
struct Broken<'a>(Option<&'a Arc<Crew>>);

impl Drop for Broken<'_> {
    fn drop(&mut self) {
        let Some(crew) = self.0 else {
            return;
        };
        let label = crew.lock().label.clone();
        let lost = |seat| {
            let error = BatchError {
                label: label.clone(),
                why: "has panicked".into(),
                client: None,
            };
            (seat, Verdict::Lost(Box::new(error)))
        };
        crew.settle(crew.present().into_iter().map(lost));
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Crew")
            .field("most", &self.most)
            .field("present", &state.present)
            .field("is_sealed", &state.is_sealed)
            .finish_non_exhaustive()
    }
}
