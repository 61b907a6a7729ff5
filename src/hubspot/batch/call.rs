//! A batch call: what its inputs have in common, and how it is written.

use std::borrow::Cow;

use bytes::Bytes;
use http::Response;
use http::uri::PathAndQuery;

use super::names::{By, TRACE, trace_id};
use super::{sent, split};
use crate::batch::{Input, Joined, Operation, Split, Twice};
use crate::hubspot::calls::{MOST_INPUTS, MOST_WITH_HISTORY, label};
use crate::hubspot::routes::{Deed, One};
use crate::request::Effect;

/// One kind of batch call, with all that its inputs have in common.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) deed: Deed,
    pub(super) by: By,
    pub(super) options: Options,
    pub(super) are_contacts: bool,
    /// The target, one space or two, and what the inputs have in common besides: of reads a part of the body.
    key: String,
    /// So much of the key is the path of the object type, so much the target.
    objects: usize,
    target: usize,
}

/// What else makes calls different.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// Archived records are asked for.
    pub(super) archived: bool,
    /// Former values are asked for.
    pub(super) history: bool,
    /// The callers did not ask for the property that they name records by: it is not shown to them.
    pub(super) added: bool,
    /// The records are associated with others at once.
    pub(super) associated: bool,
}

impl Call {
    /// `common` is what comes before the inputs in the body of a read; of other calls anything that tells their inputs apart.
    pub(super) fn new(one: &One<'_>, by: By, options: Options, common: &str) -> Self {
        let mut key = String::with_capacity(one.objects.len() + common.len() + 32);
        key.push_str(one.objects);
        key.push_str(tail(one.deed));
        if options.archived {
            key.push_str("?archived=true");
        }
        let target = key.len();
        key.push_str(if options.added { "  " } else { " " });
        key.push_str(common);
        Self {
            deed: one.deed,
            by,
            options,
            are_contacts: one.is_of_contacts(),
            key,
            objects: one.objects.len(),
            target,
        }
    }

    fn common(&self) -> &str {
        self.key[self.target..].trim_start_matches(' ')
    }

    /// Whether the inputs have trace ids, with which one bad record does not refuse the whole batch.
    pub(super) fn is_traced(&self) -> bool {
        matches!(self.deed, Deed::Create | Deed::Update)
    }

    fn body(&self, inputs: &[Input]) -> Option<Vec<u8>> {
        let data = inputs.iter().map(|input| input.data().len() + TRACE.len());
        let mut body = Vec::with_capacity(data.sum::<usize>() + self.key.len() + 16 * inputs.len());
        body.push(b'{');
        if self.deed == Deed::Read {
            body.extend_from_slice(self.common().as_bytes());
        }
        body.extend_from_slice(b"\"inputs\":[");
        for (place, input) in inputs.iter().enumerate() {
            if place > 0 {
                body.push(b',');
            }
            if !self.is_traced() {
                body.extend_from_slice(input.data());
                continue;
            }
            body.extend_from_slice(input.data().strip_suffix(b"}")?);
            for part in [",\"", TRACE, "\":\"", &trace_id(place), "\"}"] {
                body.extend_from_slice(part.as_bytes());
            }
        }
        body.extend_from_slice(b"]}");
        Some(body)
    }
}

fn tail(deed: Deed) -> &'static str {
    match deed {
        Deed::Read => "/batch/read",
        Deed::Create => "/batch/create",
        Deed::Update => "/batch/update",
        Deed::Archive => "/batch/archive",
    }
}

impl Operation for Call {
    fn key(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.key)
    }

    /// What has a cap of its own, or may be missing alone, has a name of its own.
    fn label(&self) -> Cow<'static, str> {
        let mut label = label(&self.key[..self.objects]);
        label.push_str(tail(self.deed));
        if self.options.archived {
            label.push_str("?archived=true");
        }
        if self.options.history {
            label.push_str(", history");
        }
        label.into()
    }

    fn most(&self) -> usize {
        match self.options.history {
            true => MOST_WITH_HISTORY,
            false => MOST_INPUTS,
        }
    }

    fn effect(&self) -> Effect {
        match self.deed {
            Deed::Read => Effect::Read,
            Deed::Create => Effect::Create,
            Deed::Update | Deed::Archive => Effect::IdempotentWrite,
        }
    }

    fn twice(&self) -> Twice {
        match self.deed {
            Deed::Read | Deed::Archive => Twice::Join,
            Deed::Create | Deed::Update => Twice::InOrder,
        }
    }

    fn join(&self, inputs: &[Input]) -> Option<Joined> {
        if self.options.associated && !sent::can_be_told_apart(inputs, self.are_contacts) {
            return None;
        }
        let target = PathAndQuery::try_from(&self.key[..self.target]).ok()?;
        Some(Joined::post(target, self.body(inputs)?))
    }

    fn split(&self, inputs: &[Input], answer: &Response<Bytes>) -> Split {
        split::split(self, inputs, answer)
    }
}
