//! One batch call: it is sent, and its answer is split.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::answer;
use super::crew::{Answer, Call, Verdict};
use super::error::{BatchError, Lost};
use super::flight::Flight;
use super::policy::{Input, Part, Split};
use crate::BoxError;
use crate::body::{Collect, CollectError, HeldBody};
use crate::head;
use crate::quota::Reserved;
use crate::request::{Deadline, Effect, Idempotent};

/// The body of an answer must have come so long after the first wait for it. HubSpot itself gives up after 100 s.
const LONGEST_READ: Duration = Duration::from_secs(100);

/// An input, and those who ask for it.
pub(super) struct Member {
    input: Input,
    calls: Vec<(usize, Box<Call>)>,
}

/// What one batch call is to ask for.
pub(super) type Ask = Vec<Member>;

/// The calls, those about the same record together where they share an input.
pub(super) fn members(calls: Vec<(usize, Box<Call>)>) -> Ask {
    let mut members: Ask = Vec::with_capacity(calls.len());
    let mut places: HashMap<Arc<str>, usize> = HashMap::new();
    for (seat, mut call) in calls {
        let name = call.input.record.clone().filter(|_| call.joins);
        let place = name.map(|name| *places.entry(name).or_insert(members.len()));
        match place.and_then(|place| members.get_mut(place)) {
            Some(member) => member.calls.push((seat, call)),
            None => members.push(Member {
                input: std::mem::take(&mut call.input),
                calls: vec![(seat, call)],
            }),
        }
    }
    members
}

/// The same in parts of at most `most`.
pub(super) fn in_parts(mut members: Ask, most: usize) -> Vec<Ask> {
    let mut asks = Vec::new();
    while !members.is_empty() {
        let rest = members.split_off(most.clamp(1, members.len()));
        asks.push(std::mem::replace(&mut members, rest));
    }
    asks
}

/// What is to be asked for again.
#[derive(Default)]
pub(super) struct Again {
    pub(super) asks: Vec<Ask>,
    /// How many the server takes is not known: one part goes first, to learn.
    pub(super) one_first: bool,
}

impl Again {
    fn all(asks: Vec<Ask>) -> Self {
        Self {
            asks,
            one_first: false,
        }
    }
}

/// Sends a batch call, and gives each caller what is his.
pub(super) async fn send<S, B, RB>(
    flight: Arc<Flight>,
    mut inner: S,
    mut members: Ask,
    reserved: Option<Reserved>,
) -> Again
where
    S: Service<Request<HeldBody<B>>, Response = Response<RB>>,
    S::Error: Into<BoxError>,
    B: Body,
    RB: Body,
    RB::Error: Into<BoxError>,
{
    if let Err(error) = poll_fn(|cx| inner.poll_ready(cx)).await {
        flight.lose(members, error.into());
        return Again::default();
    }
    flight.drop_absent(&mut members);
    if members.is_empty() {
        return Again::default();
    }
    let is_alone = members.len() == 1 && members[0].calls.len() == 1;
    let inputs = members
        .iter_mut()
        .map(|member| std::mem::take(&mut member.input));
    let inputs: Vec<Input> = inputs.collect();
    let request = match is_alone {
        true => None,
        false => request(&flight, &members, &inputs, &reserved),
    };
    let Some(request) = request else {
        // The first one may have the slots that were meant for all.
        let first = members
            .first_mut()
            .and_then(|member| member.calls.first_mut());
        if let (Some((_, call)), Some(reserved)) = (first, reserved) {
            call.parts.extensions.insert(reserved);
        }
        flight.leave_alone(members);
        return Again::default();
    };
    drop(reserved);
    flight.diary.asks();
    let response = match inner.call(request).await {
        Ok(response) => response,
        Err(error) => {
            flight.lose(members, error.into());
            return Again::default();
        }
    };
    let (parts, body) = response.into_parts();
    match Collect::new(body, flight.shared.setup.max_answer, LONGEST_READ).await {
        Ok(read) => {
            let answer = Response::from_parts(parts, read.data);
            let split = flight.operation.split(&inputs, &answer);
            for (member, input) in members.iter_mut().zip(inputs) {
                member.input = input;
            }
            flight.answered(members, answer, read.trailers, split)
        }
        Err(error) => {
            let why = match error {
                CollectError::Body(error) => {
                    // What was lost half-way cannot be told from what was lost whole.
                    return flight.cut_off(members, error.into());
                }
                CollectError::TooLarge => "has an answer larger than `max_answer`",
                CollectError::TooSlow => "has an answer that did not come to its end",
            };
            flight.unfit(members, why.into());
            Again::default()
        }
    }
}

/// The batch call. Its head is that of the first caller.
fn request<B>(
    flight: &Flight,
    members: &Ask,
    inputs: &[Input],
    reserved: &Option<Reserved>,
) -> Option<Request<HeldBody<B>>> {
    let joined = flight.operation.join(inputs)?;
    let calls = || members.iter().flat_map(|member| &member.calls);
    let (_, first) = calls().next()?;
    let mut parts = first.parts.clone();
    parts.method = joined.method;
    head::retarget(&mut parts, joined.target)?;
    head::for_a_layer(&mut parts.headers);
    head::rebody(&mut parts.headers, joined.body.len());
    parts.headers.insert(CONTENT_TYPE, joined.content_type);
    // As long as anybody waits, it is not in vain.
    let deadlines = calls().map(|(_, call)| call.parts.extensions.get::<Deadline>().copied());
    let latest = deadlines
        .collect::<Option<Vec<_>>>()
        .and_then(|all| all.into_iter().max_by_key(|deadline| deadline.0));
    match latest {
        Some(latest) => parts.extensions.insert(latest),
        None => parts.extensions.remove(),
    };
    // Whoever repeats requests knows a batch of reads only as a `POST`.
    if flight.operation.effect() != Effect::Create {
        parts.extensions.insert(Idempotent);
    }
    if let Some(reserved) = reserved {
        parts.extensions.insert(reserved.clone());
    }
    Some(Request::from_parts(
        parts,
        HeldBody::held(joined.body, None),
    ))
}

impl Flight {
    /// What the answer means for each of the callers.
    fn answered(
        &self,
        members: Ask,
        answer: Response<Bytes>,
        trailers: Option<Box<HeaderMap>>,
        split: Split,
    ) -> Again {
        match split {
            Split::Each(parts) => {
                self.each(members, &answer, parts);
                Again::default()
            }
            Split::Whole => {
                let callers = callers(&members);
                let whole = |seat| {
                    let own = Answer {
                        response: answer::whole(&answer, callers),
                        trailers: trailers.clone(),
                    };
                    (seat, Verdict::Answer(Box::new(own)))
                };
                self.crew.settle(seats(&members).map(whole));
                Again::default()
            }
            Split::Refused { suspects } => {
                self.diary.refused();
                self.without(members, suspects)
            }
            Split::TooMany(most) => {
                self.diary.refused();
                let fewer = most.unwrap_or(members.len() / 2).max(1);
                if fewer >= members.len() {
                    // It is no matter of how many.
                    return self.without(members, Vec::new());
                }
                self.learn(fewer);
                Again {
                    asks: vec![members],
                    one_first: most.is_none(),
                }
            }
            Split::Unsupported => {
                self.diary.refused();
                self.shared.setup.caps.stop(self.operation.label());
                self.diary.learnt(1);
                self.leave_alone(members);
                Again::default()
            }
            Split::Unfit(why) => {
                self.unfit(members, why);
                Again::default()
            }
        }
    }

    fn each(&self, members: Ask, answer: &Response<Bytes>, parts: Vec<Part>) {
        let callers = callers(&members);
        let (mut answers, mut alone) = (Vec::with_capacity(callers), Vec::new());
        let mut parts = parts.into_iter();
        for member in members {
            match parts.next() {
                Some(Part::Answer(status, body)) => {
                    let own = Answer {
                        response: answer::own(answer, status, body, callers),
                        trailers: None,
                    };
                    let own = |(seat, _)| (seat, Verdict::Answer(Box::new(own.clone())));
                    answers.extend(member.calls.into_iter().map(own));
                }
                Some(Part::Alone) => alone.push(member),
                Some(Part::Unknown(why)) => self.fail(vec![member], why),
                None => self.unfit(vec![member], "has an answer that leaves some out".into()),
            }
        }
        // All at one instant, so that their next calls come together, too.
        self.crew.settle(answers);
        self.leave_alone(alone);
    }

    /// Nothing was done, because of some of them.
    fn without(&self, members: Ask, suspects: Vec<usize>) -> Again {
        if members.len() == 1 {
            self.leave_alone(members);
            return Again::default();
        }
        let many = members.len();
        let mut is_suspect = vec![false; many];
        for place in suspects {
            if let Some(suspect) = is_suspect.get_mut(place) {
                *suspect = true;
            }
        }
        if !is_suspect.contains(&true) {
            return Again::all(in_parts(members, many.div_ceil(2)));
        }
        let mut is_suspect = is_suspect.into_iter();
        let (suspects, others) = members
            .into_iter()
            .partition(|_| is_suspect.next().unwrap_or_default());
        // They are refused once more, each for itself.
        self.leave_alone(suspects);
        Again::all(vec![others])
    }

    /// Nobody knows what was done.
    fn unfit(&self, members: Ask, why: Cow<'static, str>) {
        match self.may_be_done_twice(&members) {
            true => self.leave_alone(members),
            false => self.fail(members, why),
        }
    }

    /// The answer was cut off in the middle.
    fn cut_off(&self, members: Ask, error: BoxError) -> Again {
        match self.may_be_done_twice(&members) {
            true => self.leave_alone(members),
            false => self.lose(members, error),
        }
        Again::default()
    }

    fn may_be_done_twice(&self, members: &Ask) -> bool {
        let vouched = |call: &Call| call.parts.extensions.get::<Idempotent>().is_some();
        let mut calls = members.iter().flat_map(|member| &member.calls);
        self.operation.effect() != Effect::Create || calls.all(|(_, call)| vouched(call))
    }

    /// Each caller sends his own call.
    fn leave_alone(&self, members: Ask) {
        self.diary.leaves_alone(callers(&members));
        let calls = members.into_iter().flat_map(|member| member.calls);
        self.crew
            .settle(calls.map(|(seat, call)| (seat, Verdict::Alone(call))));
    }

    fn lose(&self, members: Ask, error: BoxError) {
        let errors = Lost::new(error, self.operation.label()).share(callers(&members));
        let errors = errors.into_iter().map(Verdict::Lost);
        self.crew.settle(seats(&members).zip(errors));
    }

    fn fail(&self, members: Ask, why: Cow<'static, str>) {
        let error = BatchError {
            label: self.operation.label(),
            why,
            client: None,
        };
        let lost = |seat| (seat, Verdict::Lost(Box::new(error.clone())));
        self.crew.settle(seats(&members).map(lost));
    }

    /// Lets those go who do not wait any longer.
    fn drop_absent(&self, members: &mut Ask) {
        let present = self.crew.present();
        for member in &mut *members {
            let is_present = |seat: &usize| present.binary_search(seat).is_ok();
            member.calls.retain(|(seat, _)| is_present(seat));
        }
        members.retain(|member| !member.calls.is_empty());
    }

    fn learn(&self, most: usize) {
        let label = self.operation.label();
        self.shared.setup.caps.learn(label.clone(), most);
        self.diary.learnt(most);
    }
}

fn callers(members: &Ask) -> usize {
    members.iter().map(|member| member.calls.len()).sum()
}

fn seats(members: &Ask) -> impl Iterator<Item = usize> {
    let calls = members.iter().flat_map(|member| &member.calls);
    calls.map(|(seat, _)| *seat)
}
