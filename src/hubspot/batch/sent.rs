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
    pub(super) fn of(properties: &'a Object<'a>, are_contacts: bool) -> Self {
        let value = |name: &str, value: &'a RawValue| match name {
            EMAIL if are_contacts => text_of(value).map(email),
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

    /// The values of a property: one, but of odd objects.
    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let first = self.0.partition_point(|pair| pair.0 < name);
        let values = self.0[first..].iter();
        let values = values.take_while(move |pair| pair.0 == name);
        values.map(|pair| &*pair.1)
    }

    fn email(&self) -> Option<&str> {
        self.values(EMAIL).next()
    }

    /// Whether it shows something that is not this, however it was written.
    fn denies(&self, (name, value): &Pair<'_>) -> bool {
        let mut shown = self.values(name).peekable();
        shown.peek().is_some() && shown.all(|shown| is_another(value, shown))
    }
}

/// Whether no server would write the one value for the other. A date may be a number and a text.
fn is_another(sent: &str, shown: &str) -> bool {
    let number = |text: &str| text.trim().parse().ok().filter(|n: &f64| n.is_finite());
    let begins_with_digit = |text: &str| text.trim().starts_with(|c: char| c.is_ascii_digit());
    let letters = |text: &str| -> String {
        let letters = text.chars().filter(|c| c.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect()
    };
    match (number(sent), number(shown)) {
        (Some(sent), Some(shown)) => sent != shown,
        (None, None) if begins_with_digit(sent) && begins_with_digit(shown) => false,
        (None, None) => {
            let (sent, shown) = (letters(sent), letters(shown));
            !sent.contains(&shown) && !shown.contains(&sent)
        }
        _ => false,
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
    /// No two of the records have the same e-mail.
    pub(super) are_contacts: bool,
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
    if rule.are_contacts {
        matching.by_email();
    }
    matching.by_all();
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

/// Inputs that sent the very same.
struct Alike<'a> {
    places: Vec<usize>,
    /// What some result shows: the server writes it so, and theirs show it, too.
    seen: Vec<&'a Pair<'a>>,
    /// What none shows. The server writes it in another way, or did nothing with it.
    unseen: Vec<&'a Pair<'a>>,
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

    /// All that was sent.
    fn by_all(&mut self) {
        let results = self.results;
        let free: Vec<usize> = (0..results.len())
            .filter(|nth| self.is_free[*nth])
            .collect();
        if free.is_empty() {
            return;
        }
        let mut groups = self.groups();
        if !self.rule.is_create && groups.iter().any(|group| !group.unseen.is_empty()) {
            return;
        }
        let fits = self.fits(&groups, &free);
        self.settle(&mut groups, &free, &fits);
    }

    fn groups(&self) -> Vec<Alike<'a>> {
        let seen: HashSet<&Pair<'_>> = self.results.iter().flat_map(|result| &result.0).collect();
        let mut by_sent: HashMap<&Sent<'_>, usize> = HashMap::new();
        let mut groups: Vec<Alike<'a>> = Vec::new();
        for (place, sent) in self.inputs.iter().enumerate() {
            if self.found[place].is_some() {
                continue;
            }
            let group = *by_sent.entry(sent).or_insert(groups.len());
            if let Some(group) = groups.get_mut(group) {
                group.places.push(place);
                continue;
            }
            let (seen, unseen) = sent.0.iter().partition(|pair| seen.contains(pair));
            groups.push(Alike {
                places: vec![place],
                seen,
                unseen,
            });
        }
        groups
    }

    /// For each result the groups whose it may be: those of which it shows all that was sent, but what the server may have written in
    /// another way. Where some inputs have no result, that is not everything.
    fn fits(&self, groups: &[Alike<'_>], free: &[usize]) -> Vec<Vec<usize>> {
        // Each group is looked for by the pair that it shares with the fewest others.
        let mut shared: HashMap<&Pair<'_>, usize> = HashMap::new();
        for pair in groups.iter().flat_map(|group| &group.seen) {
            *shared.entry(pair).or_default() += 1;
        }
        let mut by_pair: HashMap<&Pair<'_>, Vec<usize>> = HashMap::new();
        let mut without = Vec::new();
        for (place, group) in groups.iter().enumerate() {
            match group.seen.iter().min_by_key(|pair| shared[**pair]) {
                Some(pair) => by_pair.entry(pair).or_default().push(place),
                None => without.push(place),
            }
        }
        let fits = |result: &usize| {
            let result = &self.results[*result];
            let is_excluded = |pair: &&Pair<'_>| match pair.0 == EMAIL && self.rule.are_contacts {
                true => !result.has(pair),
                false => result.denies(pair),
            };
            let may_be = |group: &&usize| {
                let group = &groups[**group];
                group.seen.iter().all(|pair| result.has(pair))
                    && (self.rule.is_whole || !group.unseen.iter().any(is_excluded))
            };
            let pairs = result.0.iter();
            let candidates = pairs.filter_map(|pair| by_pair.get(pair)).flatten();
            let candidates = candidates.chain(&without);
            candidates.filter(may_be).copied().collect()
        };
        free.iter().map(fits).collect()
    }

    /// Gives each group the results that can be no other's, and those without which it would have too few; then goes on with what
    /// is left.
    fn settle(&mut self, groups: &mut [Alike<'_>], free: &[usize], fits: &[Vec<usize>]) {
        loop {
            // What fits a group, and what fits no other.
            let mut fitting: Vec<Vec<usize>> = vec![Vec::new(); groups.len()];
            let mut claims = fitting.clone();
            for (&result, fits) in free.iter().zip(fits) {
                if !self.is_free[result] {
                    continue;
                }
                let is_open = |group: &&usize| !groups[**group].places.is_empty();
                let open: Vec<usize> = fits.iter().filter(is_open).copied().collect();
                open.iter().for_each(|group| fitting[*group].push(result));
                if let [group] = open[..] {
                    claims[group].push(result);
                }
            }
            if self.rule.is_whole {
                self.add_needed(groups, &fitting, &mut claims);
            }
            let mut has_given = false;
            for (group, claims) in groups.iter_mut().zip(claims) {
                has_given |= self.give_all(group, claims);
            }
            if !has_given {
                return;
            }
        }
    }

    /// A group with no more fitting results than inputs needs them all, unless another one does.
    fn add_needed(&self, groups: &[Alike<'_>], fitting: &[Vec<usize>], claims: &mut [Vec<usize>]) {
        let needs = |group: usize| {
            let open = groups[group].places.len();
            open > 0 && fitting[group].len() == open
        };
        let needy: Vec<usize> = (0..groups.len()).filter(|group| needs(*group)).collect();
        let mut wanted = vec![0; self.results.len()];
        for result in needy.iter().flat_map(|group| &fitting[*group]) {
            wanted[*result] += 1;
        }
        for group in needy {
            if fitting[group].iter().all(|result| wanted[*result] == 1) {
                claims[group].clone_from(&fitting[group]);
            }
        }
    }

    /// Gives the inputs of a group these results, if there are not more of them: then some are of others.
    fn give_all(&mut self, group: &mut Alike<'_>, results: Vec<usize>) -> bool {
        let is_one = self.rule.is_create || group.places.len() == 1;
        if results.is_empty() || results.len() > group.places.len() || !is_one {
            return false;
        }
        // Nobody gets a contact that shows another e-mail than was sent; and where some have no result, only what shows all.
        let is_email = |pair: &&Pair<'_>| pair.0 == EMAIL && self.rule.are_contacts;
        let is_sure = match self.rule.is_whole {
            true => !group.unseen.iter().any(is_email),
            false => group.unseen.is_empty(),
        };
        for (place, result) in group.places.drain(..results.len()).zip(results) {
            match is_sure {
                true => self.give(place, result),
                false => self.is_free[result] = false,
            }
        }
        true
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

/// Whether results would tell what is whose: inputs that sent the very same and are associated with others cannot be told apart.
pub(super) fn can_be_told_apart(inputs: &[Input], are_contacts: bool) -> bool {
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
            let sent = Sent::of(properties, are_contacts);
            *associated.entry(sent).or_insert(with) == with
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
            are_contacts: true,
        };
        let inputs: Vec<_> = inputs.iter().map(parse).collect();
        let results: Vec<_> = results.iter().map(parse).collect();
        let sent = |properties| Sent::of(properties, true);
        let inputs: Vec<_> = inputs.iter().map(sent).collect();
        let results: Vec<_> = results.iter().map(sent).collect();
        match_up(&inputs, &results, rule)
    }

    #[test]
    fn values_are_compared_as_the_server_writes_them() {
        let sent = r#"{"n":5,"b":true,"none":null,"empty":"","email":" A@B.org ","t":"\u0061"}"#;
        let shown = r#"{"more":"1","t":"a","email":"a@b.org","n":"5","b":"true","empty":null}"#;
        let (sent, shown) = (Object::parse(sent).unwrap(), Object::parse(shown).unwrap());
        let (sent, shown) = (Sent::of(&sent, true), Sent::of(&shown, true));
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

    #[test]
    fn a_result_that_two_need_is_given_to_neither() {
        let inputs = [r#"{"a":1,"b":1}"#, r#"{"a":1,"c":1}"#];
        let results = [r#"{"a":1,"b":1,"c":1}"#, r#"{"d":1}"#];
        assert_eq!(matched(&inputs, &results, true), [None; 2]);
    }

    #[test]
    fn another_value_is_one_that_is_no_way_to_write_it() {
        for (sent, shown, expected) in [
            ("5.0", "5", false),
            ("5.0", "6", true),
            (" Ann", "ann", false),
            ("Ann", "Bob", true),
            ("b.org", "http://b.org", false),
            ("14.11.2023", "2023-11-14", false),
            ("1699920000000", "2023-11-14T00:00:00Z", false),
            ("five", "5", false),
            ("NaN", "nan", false),
            ("-", "Ann", false),
        ] {
            assert_eq!(is_another(sent, shown), expected, "{sent} {shown}");
            assert_eq!(is_another(shown, sent), expected, "{shown} {sent}");
        }
    }
}
