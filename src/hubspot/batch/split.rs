//! What the answer to a batch call means for its inputs.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::call::Call;
use super::names::Places;
use super::problem::Problem;
use super::results::Results;
use crate::batch::{Input, Part, Split};
use crate::hubspot::answer::{Answered, Unread};
use crate::hubspot::routes::Deed;

/// So few are asked for singly rather than as a batch of their own, which with that of the others would be as many calls.
const FEW: usize = 2;

pub(super) fn split(call: &Call, inputs: &[Input], answer: &Response<Bytes>) -> Split {
    match answer.status().as_u16() {
        // For missing records, too, as a single archive.
        204 if call.deed == Deed::Archive => {
            let done = Part::Answer(StatusCode::NO_CONTENT, Bytes::new());
            Split::Each(vec![done; inputs.len()])
        }
        200..=299 => done(call, inputs, answer),
        404 => missing(call, inputs, answer),
        405 | 415 | 501 => Split::Unsupported,
        // Of the token, the account or the way to the server: the same for each caller.
        401 | 403 | 407 | 408 | 423 | 429 | 477 | 500..=599 => Split::Whole,
        400..=499 => refused(call, inputs, answer),
        _ => Split::Unfit("the answer to a batch is neither a success nor an error".into()),
    }
}

/// The parts of an answer that has results. One that is not `COMPLETE` was never seen: what it shows counts, and the rest is left
/// open.
fn done(call: &Call, inputs: &[Input], answer: &Response<Bytes>) -> Split {
    if call.deed == Deed::Archive {
        return Split::Unfit("an archive has an answer".into());
    }
    match Answered::read(answer.body()) {
        Ok(answered) => Results::new(call, inputs, answer, &answered).split(),
        Err(Unread::Error) => Split::Unfit("a success is an error".into()),
        Err(Unread::Unfit(why)) => Split::Unfit(why.into()),
    }
}

/// 404: records that are missing, or a path.
fn missing(call: &Call, inputs: &[Input], answer: &Response<Bytes>) -> Split {
    let places = Places::new(call, inputs);
    let problem = problem(answer).filter(|problem| problem.is_of_missing_records(&places));
    let Some(problem) = problem else {
        return Split::Unsupported;
    };
    let named = problem.named(&places);
    let are_all = named.is_empty() || named.len() == inputs.len();
    if call.options.archived && are_all {
        // What is archived is seen by a single read.
        return Split::Unsupported;
    }
    if named.is_empty() || inputs.len() - named.len() > FEW {
        return Split::Refused { suspects: named };
    }
    let mut parts = vec![Part::Alone; inputs.len()];
    let part = problem.part(call, answer);
    for place in named {
        parts[place] = part.clone();
    }
    Split::Each(parts)
}

/// Another 4xx: nothing was done.
fn refused(call: &Call, inputs: &[Input], answer: &Response<Bytes>) -> Split {
    let Some(problem) = problem(answer) else {
        return Split::Refused {
            suspects: Vec::new(),
        };
    };
    if let Some(most) = problem.most_inputs() {
        // A cap that this batch keeps to is none.
        return Split::TooMany(most.filter(|most| (1..inputs.len()).contains(most)));
    }
    let suspects = problem.named(&Places::new(call, inputs));
    Split::Refused { suspects }
}

fn problem(answer: &Response<Bytes>) -> Option<Problem<'_>> {
    Problem::read(std::str::from_utf8(answer.body()).ok()?)
}
