//! Whose the results of a batch are, and whose its errors.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::value::RawValue;

use super::call::Call;
use super::names::{Places, TRACE};
use super::problem::Problem;
use super::sent::{self, Rule, Sent};
use crate::batch::{Input, Part, Split};
use crate::hubspot::answer::Answered;
use crate::hubspot::json::{as_text, slice, utf8};
use crate::hubspot::routes::Deed;
use crate::json::Object;

/// An answer that has results, and what became of each input so far.
pub(super) struct Results<'a> {
    call: &'a Call,
    inputs: &'a [Input],
    answer: &'a Response<Bytes>,
    answered: &'a Answered<'a>,
    places: Places<'a>,
    fates: Vec<Fate>,
    /// The results that were nobody's so far, by their place.
    left: Vec<usize>,
    /// The errors that name nobody, by their place.
    unnamed: Vec<usize>,
}

/// What became of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing tells of it.
    Open,
    Failed(Part),
    /// The result at this place is its own.
    Found(usize),
    /// The answer says different things of it.
    Torn,
}

impl<'a> Results<'a> {
    pub(super) fn new(
        call: &'a Call,
        inputs: &'a [Input],
        answer: &'a Response<Bytes>,
        answered: &'a Answered<'a>,
    ) -> Self {
        Self {
            call,
            inputs,
            answer,
            answered,
            places: Places::new(call, inputs),
            fates: vec![Fate::Open; inputs.len()],
            left: Vec::new(),
            unnamed: Vec::new(),
        }
    }

    pub(super) fn split(mut self) -> Split {
        self.take_errors();
        self.take_results();
        self.take_others();
        self.take_by_what_was_sent();
        self.take_the_last_error();
        let found = |fate: &Fate| matches!(fate, Fate::Found(_));
        if self.call.options.archived && !self.fates.iter().any(found) {
            // Batch reads were seen to show nothing that is archived.
            return Split::Unsupported;
        }
        Split::Each(self.fates.iter().map(|fate| self.part(fate)).collect())
    }

    fn take_errors(&mut self) {
        for (nth, error) in self.answered.errors.iter().enumerate() {
            let Some(problem) = Problem::read(error.get()) else {
                self.unnamed.push(nth);
                continue;
            };
            let named = problem.named(&self.places);
            if named.is_empty() {
                self.unnamed.push(nth);
                continue;
            }
            let part = problem.part(self.call, self.answer);
            for place in named {
                let fate = &mut self.fates[place];
                *fate = match fate {
                    Fate::Open => Fate::Failed(part.clone()),
                    Fate::Failed(other) if *other == part => continue,
                    // Only a single call says all that is wrong with it in one answer.
                    _ => Fate::Failed(Part::Alone),
                };
            }
        }
    }

    fn take_results(&mut self) {
        let shown = self.shown();
        let mut left = Vec::new();
        for (nth, raw) in self.answered.results.iter().enumerate() {
            match self.owner(raw, &shown) {
                Some(place) => self.claim(place, nth),
                None => left.push(nth),
            }
        }
        self.left = left;
    }

    /// How results show the records of the inputs. `None` where two would be shown alike.
    fn shown(&self) -> HashMap<Cow<'a, str>, Option<usize>> {
        let mut shown = HashMap::with_capacity(self.inputs.len());
        for (place, input) in self.inputs.iter().enumerate() {
            // An update that sets what the record is named by gives it another name, unless it failed.
            let is_renamed = self.call.deed == Deed::Update && self.fates[place] == Fate::Open;
            let set = match self.call.by.property() {
                Some(property) if is_renamed => set(input, property),
                _ => None,
            };
            let name = match set {
                Some(value) => value.map(|value| self.call.by.name(value)),
                None => input.name().map(Cow::Borrowed),
            };
            if let Some(name) = name {
                let place = Some(place);
                shown
                    .entry(name)
                    .and_modify(|other| *other = None)
                    .or_insert(place);
            }
        }
        shown
    }

    /// The input that a result is for.
    fn owner(&self, raw: &RawValue, shown: &HashMap<Cow<'_, str>, Option<usize>>) -> Option<usize> {
        let result = self.result(raw)?;
        let trace = result.value(TRACE).ok()?;
        let traced = trace.and_then(|trace| self.places.traced(&as_text(trace)?));
        let name = match self.call.deed {
            Deed::Create => None,
            _ => self.call.by.of_result(&result),
        };
        let named = name.and_then(|name| *shown.get(&name)?);
        match (traced, named) {
            (Some(traced), Some(named)) => (traced == named).then_some(named),
            (traced, named) => traced.or(named),
        }
    }

    /// A result that can be an answer: of what is not archived, or only of what is, as it was asked.
    fn result(&self, raw: &'a RawValue) -> Option<Object<'a>> {
        let result = Object::parse(raw.get())?;
        let archived = result.value("archived").ok()?;
        let is_archived = archived.is_some_and(|archived| archived.get() == "true");
        (is_archived == self.call.options.archived).then_some(result)
    }

    fn claim(&mut self, place: usize, nth: usize) {
        let raw = |nth: usize| self.answered.results[nth].get();
        let fate = &self.fates[place];
        let next = match fate {
            Fate::Open => Fate::Found(nth),
            Fate::Found(other) if raw(*other) == raw(nth) => return,
            _ => Fate::Torn,
        };
        self.fates[place] = next;
    }

    fn is_open(&self, place: usize) -> bool {
        self.fates[place] == Fate::Open
    }

    fn open(&self) -> Vec<usize> {
        let places = 0..self.inputs.len();
        places.filter(|place| self.is_open(*place)).collect()
    }

    /// What was merged into another record is shown under the id of that, and further e-mails find a contact, too. An update of it
    /// was done when its result is nobody else's: a batch update may leave it out, and show what was done for another one.
    fn take_others(&mut self) {
        let others = self.call.by.others();
        let Some(others) = others.filter(|_| self.call.deed != Deed::Create) else {
            return;
        };
        if !self.fates.contains(&Fate::Open) {
            return;
        }
        let is_update = self.call.deed == Deed::Update;
        let results: Vec<usize> = match is_update {
            true => self.left.clone(),
            false => (0..self.answered.results.len()).collect(),
        };
        let mut claims = Vec::new();
        for nth in results {
            let properties = self
                .result(self.answered.results[nth])
                .and_then(|result| result.object("properties"));
            let Some(all) = properties.and_then(|properties| properties.text(others)) else {
                continue;
            };
            let places = all
                .split(';')
                .filter_map(|name| self.places.of(name.trim().into()));
            let places: Vec<usize> = places.filter(|place| self.is_open(*place)).collect();
            if is_update && places.len() > 1 {
                continue;
            }
            claims.extend(places.into_iter().map(|place| (place, nth)));
        }
        for &(place, nth) in &claims {
            self.claim(place, nth);
        }
        let claimed: HashSet<usize> = claims.into_iter().map(|(_, nth)| nth).collect();
        self.left.retain(|nth| !claimed.contains(nth));
    }

    /// What was created is known by what was sent of it, and so is a record whose result does not show what it was named by.
    fn take_by_what_was_sent(&mut self) {
        let is_create = match self.call.deed {
            Deed::Create => true,
            Deed::Update if self.call.by.property().is_some() => false,
            _ => return,
        };
        let open = self.open();
        // With more of them than inputs nobody knows which are anybody's.
        if self.left.is_empty() || self.left.len() > open.len() {
            return;
        }
        let inputs = open
            .iter()
            .map(|place| properties(utf8(self.inputs[*place].data())));
        let Some(inputs) = inputs.collect::<Option<Vec<_>>>() else {
            return;
        };
        let read = |nth: &usize| {
            self.result(self.answered.results[*nth])?
                .object("properties")
        };
        let results = self.left.iter().filter_map(|nth| Some((*nth, read(nth)?)));
        let (left, results): (Vec<_>, Vec<_>) = results.unzip();
        let is_whole = self.is_complete() && self.unnamed.is_empty() && open.len() == left.len();
        if !is_create && !is_whole {
            return;
        }
        let rule = Rule {
            is_whole,
            is_create,
            are_contacts: self.call.are_contacts,
        };
        let sent = |properties| Sent::of(properties, rule.are_contacts);
        let inputs: Vec<_> = inputs.iter().map(sent).collect();
        let results: Vec<_> = results.iter().map(sent).collect();
        let found = sent::match_up(&inputs, &results, rule);
        let found = open.into_iter().zip(found);
        let found: Vec<_> = found
            .filter_map(|(place, result)| Some((place, left[result?])))
            .collect();
        for &(place, nth) in &found {
            self.fates[place] = Fate::Found(nth);
        }
        let found: HashSet<usize> = found.into_iter().map(|(_, nth)| nth).collect();
        self.left.retain(|nth| !found.contains(nth));
    }

    fn is_complete(&self) -> bool {
        let status = self.answered.object.text("status");
        let is_complete = status.is_some_and(|status| status == "COMPLETE");
        is_complete && self.answer.status() != StatusCode::ACCEPTED
    }

    /// An error that names nobody is of the only create that nothing tells of.
    fn take_the_last_error(&mut self) {
        let (&[place], &[nth]) = (&*self.open(), &*self.unnamed) else {
            return;
        };
        let is_it = self.call.deed == Deed::Create && self.left.is_empty() && self.is_complete();
        let problem = Problem::read(self.answered.errors[nth].get());
        if let Some(problem) = problem.filter(|_| is_it) {
            self.fates[place] = Fate::Failed(problem.part(self.call, self.answer));
        }
    }

    fn part(&self, fate: &Fate) -> Part {
        let is_create = self.call.deed == Deed::Create;
        let body = match fate {
            Fate::Failed(part) => return part.clone(),
            Fate::Found(nth) => self.shown_to_caller(self.answered.results[*nth]),
            Fate::Open | Fate::Torn => None,
        };
        match body {
            Some(body) if is_create => Part::Answer(StatusCode::CREATED, body),
            Some(body) => Part::Answer(StatusCode::OK, body),
            None if is_create => {
                Part::Unknown("the answer does not tell what became of the record".into())
            }
            None => Part::Alone,
        }
    }

    /// The result without what the caller did not ask for.
    fn shown_to_caller(&self, raw: &RawValue) -> Option<Bytes> {
        let body = self.answer.body();
        let result = Object::parse(raw.get())?;
        let added = self.call.by.property().filter(|_| self.call.options.added);
        let has_trace = result.has(TRACE);
        if added.is_none() && !has_trace {
            return Some(slice(body, raw));
        }
        let mut members = result.members(body);
        members.remove(TRACE);
        if let Some(added) = added {
            let mut properties = result.object("properties")?.members(body);
            properties.remove(added);
            members.set("properties", properties.write());
        }
        Some(members.write().into())
    }
}

/// What an update sets this property to, if it does; `Some(None)` when nothing is shown of it then.
fn set<'a>(input: &'a Input, property: &str) -> Option<Option<Cow<'a, str>>> {
    let value = properties(utf8(input.data()))?.get(property).ok()??;
    Some(sent::text_of(value))
}

/// The properties of what was sent.
fn properties(input: &str) -> Option<Object<'_>> {
    Object::parse(input)?.object("properties")
}
