//! Which record was created for which input: what was sent of it tells.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::value::RawValue;

use super::names::{EMAIL, email};
use crate::batch::Input;
use crate::hubspot::json::{as_text, utf8};
use crate::json::Object;

/// A property and its value as HubSpot writes it.
type Pair<'a> = (&'a str, Cow<'a, str>);

/// Properties that have a value, in the order of their names.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Sent<'a>(Vec<Pair<'a>>);

impl<'a> Sent<'a> {
    pub(super) fn of(properties: &'a Object<'a>) -> Self {
        let value = |name: &str, value: &'a RawValue| match name {
            EMAIL => text_of(value).map(email),
            _ => text_of(value),
        };
        let pairs = properties.iter();
        let pairs = pairs.filter_map(|(name, raw)| Some((name, value(name, raw)?)));
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort_unstable();
        pairs.dedup();
        Self(pairs)
    }

    fn has(&self, pair: &Pair<'_>) -> bool {
        self.0.binary_search(pair).is_ok()
    }

    fn email(&self) -> Option<&str> {
        let place = self.0.binary_search_by_key(&EMAIL, |(name, _)| name);
        place.ok().map(|place| &*self.0[place].1)
    }
}

/// Whether a value can be written as HubSpot writes all of them: as text.
pub(super) fn is_plain(value: &RawValue) -> bool {
    matches!(value.get(), "null" | "true" | "false") || as_text(value).is_some()
}

/// A value as HubSpot writes it: numbers and booleans as their text; null and an empty text are no value.
pub(super) fn text_of(value: &RawValue) -> Option<Cow<'_, str>> {
    let text = match value.get() {
        "true" => "true".into(),
        "false" => "false".into(),
        _ => as_text(value)?,
    };
    (!text.is_empty()).then_some(text)
}

/// How sure one can be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// Each input has one of the results, and each result is of one of them.
    pub(super) is_whole: bool,
    /// The records are new: inputs that sent the very same may have each other's. Others can be asked for singly, so that all must
    /// be plain, or nothing is believed.
    pub(super) is_create: bool,
}

/// For each input the place of its result, as far as that is certain. There are not more results than inputs.
pub(super) fn match_up(
    inputs: &[Sent<'_>],
    results: &[Sent<'_>],
    rule: Rule,
) -> Vec<Option<usize>> {
    let mut matching = Matching {
        inputs,
        results,
        rule,
        found: vec![None; inputs.len()],
        is_free: vec![true; results.len()],
    };
    matching.by_email();
    matching.by_all(false);
    if rule.is_whole && rule.is_create {
        matching.by_all(true);
    }
    let is_whole = matching.found.iter().all(Option::is_some);
    if !rule.is_create && !is_whole {
        return vec![None; inputs.len()];
    }
    matching.found
}

struct Matching<'a> {
    inputs: &'a [Sent<'a>],
    results: &'a [Sent<'a>],
    rule: Rule,
    found: Vec<Option<usize>>,
    is_free: Vec<bool>,
}

/// Inputs that sent the very same, and what their results must show.
struct Alike<'a> {
    places: Vec<usize>,
    pairs: Vec<&'a Pair<'a>>,
}

impl<'a> Matching<'a> {
    fn give(&mut self, place: usize, result: usize) {
        self.found[place] = Some(result);
        self.is_free[result] = false;
    }

    /// An e-mail that one input has sent, and that one result shows.
    fn by_email(&mut self) {
        let senders = only(self.inputs.iter().map(Sent::email));
        let shown = only(self.results.iter().map(Sent::email));
        for (email, result) in shown {
            let sender = senders.get(email).copied().flatten();
            if let (Some(place), Some(result)) = (sender, result) {
                self.give(place, result);
            }
        }
    }

    /// All that was sent. Where `only_seen`, a value that no result shows was written in another way than it was sent, and tells
    /// nothing; an e-mail is not.
    fn by_all(&mut self, only_seen: bool) {
        let free: Vec<usize> = (0..self.results.len())
            .filter(|result| self.is_free[*result])
            .collect();
        if free.is_empty() {
            return;
        }
        let seen: HashSet<&Pair<'_>> = match only_seen {
            true => free
                .iter()
                .flat_map(|free| &self.results[*free].0)
                .collect(),
            false => HashSet::new(),
        };
        let counts = |pair: &&Pair<'_>| !only_seen || pair.0 == EMAIL || seen.contains(pair);
        let mut by_sent: HashMap<&Sent<'_>, usize> = HashMap::new();
        let mut groups: Vec<Alike<'a>> = Vec::new();
        for (place, sent) in self.inputs.iter().enumerate() {
            if self.found[place].is_some() {
                continue;
            }
            let group = *by_sent.entry(sent).or_insert(groups.len());
            match groups.get_mut(group) {
                Some(group) => group.places.push(place),
                None => groups.push(Alike {
                    places: vec![place],
                    pairs: sent.0.iter().filter(counts).collect(),
                }),
            }
        }
        let fits = fits(&groups, free.iter().map(|free| &self.results[*free]));
        self.settle(&mut groups, &free, &fits);
    }

    /// Gives each group the results that fit no other, and where all have one, goes on with the others: of each result that fits
    /// several, those that have theirs are out.
    fn settle(&mut self, groups: &mut [Alike<'_>], free: &[usize], fits: &[Vec<usize>]) {
        loop {
            let mut claims: Vec<Vec<usize>> = vec![Vec::new(); groups.len()];
            for (result, fits) in free.iter().zip(fits) {
                let mut open = fits
                    .iter()
                    .filter(|group| !groups[**group].places.is_empty());
                if let (true, Some(group), None) = (self.is_free[*result], open.next(), open.next())
                {
                    claims[*group].push(*result);
                }
            }
            let mut has_given = false;
            for (group, claims) in groups.iter_mut().zip(claims) {
                let is_one = self.rule.is_create || group.places.len() == 1;
                // More results than inputs: some are of others.
                if claims.is_empty() || claims.len() > group.places.len() || !is_one {
                    continue;
                }
                for (place, result) in group.places.drain(..claims.len()).zip(claims) {
                    self.give(place, result);
                }
                has_given = true;
            }
            if !has_given || !self.rule.is_whole {
                return;
            }
        }
    }
}

/// The places of values that come once; `None` for those that come more often.
fn only<'a>(values: impl Iterator<Item = Option<&'a str>>) -> HashMap<&'a str, Option<usize>> {
    let mut places = HashMap::new();
    for (place, value) in values.enumerate() {
        if let Some(value) = value {
            let entry = places.entry(value);
            entry
                .and_modify(|place| *place = None)
                .or_insert(Some(place));
        }
    }
    places
}

/// For each result the groups of which it shows all that was sent.
fn fits<'a>(groups: &[Alike<'_>], results: impl Iterator<Item = &'a Sent<'a>>) -> Vec<Vec<usize>> {
    // Each group is looked for by the pair that it shares with the fewest others.
    let mut shared: HashMap<&Pair<'_>, usize> = HashMap::new();
    for pair in groups.iter().flat_map(|group| &group.pairs) {
        *shared.entry(pair).or_default() += 1;
    }
    let mut by_pair: HashMap<&Pair<'_>, Vec<usize>> = HashMap::new();
    let mut without = Vec::new();
    for (place, group) in groups.iter().enumerate() {
        match group.pairs.iter().min_by_key(|pair| shared[**pair]) {
            Some(pair) => by_pair.entry(pair).or_default().push(place),
            None => without.push(place),
        }
    }
    let fits = |result: &Sent<'_>| {
        let candidates = result
            .0
            .iter()
            .filter_map(|pair| by_pair.get(pair))
            .flatten();
        let all = |group: &&usize| groups[**group].pairs.iter().all(|pair| result.has(pair));
        let mut fits: Vec<usize> = candidates.filter(all).copied().collect();
        fits.extend(&without);
        fits
    };
    results.map(fits).collect()
}

/// Whether results would tell what is whose: inputs that sent the very same and are associated with others cannot be told apart.
pub(super) fn can_be_told_apart(inputs: &[Input]) -> bool {
    let objects = inputs.iter().map(|input| Object::parse(utf8(input.data())));
    let objects: Option<Vec<_>> = objects.collect();
    let objects = objects.unwrap_or_default();
    let properties = objects.iter().map(|object| object.object("properties"));
    let properties: Option<Vec<_>> = properties.collect();
    let properties = properties.unwrap_or_default();
    let mut associated = HashMap::new();
    properties.len() == inputs.len()
        && objects.iter().zip(&properties).all(|(object, properties)| {
            let with = object.get("associations").ok().flatten();
            let with = with.map(RawValue::get);
            *associated.entry(Sent::of(properties)).or_insert(with) == with
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Matches properties written in JSON.
    fn matched(
        inputs: &[&'static str],
        results: &[&'static str],
        is_create: bool,
    ) -> Vec<Option<usize>> {
        let parse = |text: &&'static str| Object::parse(text).unwrap();
        let rule = Rule {
            is_whole: inputs.len() == results.len(),
            is_create,
        };
        let inputs: Vec<_> = inputs.iter().map(parse).collect();
        let results: Vec<_> = results.iter().map(parse).collect();
        let inputs: Vec<_> = inputs.iter().map(Sent::of).collect();
        let results: Vec<_> = results.iter().map(Sent::of).collect();
        match_up(&inputs, &results, rule)
    }

    #[test]
    fn values_are_compared_as_the_server_writes_them() {
        let sent = r#"{"n":5,"b":true,"none":null,"empty":"","email":" A@B.org ","t":"\u0061"}"#;
        let shown = r#"{"more":"1","t":"a","email":"a@b.org","n":"5","b":"true","empty":null}"#;
        let (sent, shown) = (Object::parse(sent).unwrap(), Object::parse(shown).unwrap());
        let (sent, shown) = (Sent::of(&sent), Sent::of(&shown));
        assert_eq!(sent.0.len(), 4);
        assert!(sent.0.iter().all(|pair| shown.has(pair)));
        assert_eq!(sent.email(), Some("a@b.org"));
    }

    #[test]
    fn those_that_have_theirs_leave_room_for_the_others() {
        let inputs = [r#"{"a":1}"#, r#"{"a":1,"b":1}"#, r#"{"a":1,"b":1,"c":1}"#];
        let results = [inputs[2], inputs[0], inputs[1]];
        for is_create in [true, false] {
            let found = matched(&inputs, &results, is_create);
            assert_eq!(found, [Some(1), Some(2), Some(0)]);
        }
        // One result fewer, and two of them may be of several.
        let found = matched(&inputs, &results[..2], true);
        assert_eq!(found, [Some(1), None, None]);
    }

    #[test]
    fn only_new_records_are_interchangeable_or_told_by_what_remains() {
        let (one, other) = (r#"{"a":1}"#, r#"{"a":2}"#);
        let alike = [one, one, other];
        assert_eq!(
            matched(&alike, &[other, one, one], true),
            [Some(1), Some(2), Some(0)]
        );
        assert_eq!(matched(&alike, &[other, one, one], false), [None; 3]);
        let rewritten = [r#"{"a":"one"}"#, other];
        assert_eq!(matched(&[one, other], &rewritten, true), [Some(0), Some(1)]);
        assert_eq!(matched(&[one, other], &rewritten, false), [None; 2]);
    }

    #[test]
    fn more_results_than_inputs_of_a_kind_are_not_shared_out() {
        let (one, other) = (r#"{"a":1}"#, r#"{"a":2}"#);
        assert_eq!(matched(&[one, other], &[one, one], true), [None; 2]);
        assert_eq!(
            matched(&[one, other, other], &[one, one, other], true)[0],
            None
        );
    }
}
