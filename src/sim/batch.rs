//! Batch calls: many records, one request, and no promise of order.

use std::collections::HashSet;
use std::hash::Hash;

use http::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::answer::{self, Problem, Reply};
use super::calls::{Work, parse};
use super::contacts::{Contacts, Properties, Values, View};
use super::cost::Load;
use super::day::iso;
use super::dialect::{BatchDialect, ErrorItems, NoneFound, Traces};
use super::routes::Batch;

pub(super) const MOST: usize = 100;
const MOST_WITH_HISTORY: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadBody {
    #[serde(default)]
    properties: Vec<String>,
    #[serde(default)]
    properties_with_history: Vec<String>,
    id_property: Option<String>,
    inputs: Vec<Key>,
}

#[derive(Deserialize)]
pub(super) struct Key {
    #[serde(deserialize_with = "text")]
    pub(super) id: String,
}

#[derive(Deserialize)]
struct WriteBody {
    inputs: Vec<Input>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    #[serde(default, deserialize_with = "text")]
    id: String,
    id_property: Option<String>,
    #[serde(default)]
    properties: Map<String, Value>,
    object_write_trace_id: Option<String>,
}

/// Ids come as strings and as numbers.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Number(u64),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::Text(text) => text,
        Either::Number(number) => number.to_string(),
    })
}

/// What holds for all accounts.
pub(super) struct Rules<'a> {
    pub(super) known: &'a Properties,
    pub(super) dialect: &'a BatchDialect,
}

pub(super) fn batch(
    contacts: &mut Contacts,
    rules: &Rules<'_>,
    kind: Batch,
    work: &Work<'_>,
    rng: &mut fastrand::Rng,
) -> Result<Reply, Problem> {
    if let Some(status) = rules.dialect.absent {
        return Ok(answer::page(status));
    }
    match kind {
        Batch::Read => read(contacts, rules, work, rng),
        Batch::Create | Batch::Update | Batch::Upsert => write(contacts, rules, kind, work, rng),
        Batch::Archive => archive(contacts, rules, work),
    }
}

/// A batch that found nothing, as the answer to the associations calls that are not simulated.
pub(super) fn nothing(work: &Work<'_>) -> Reply {
    answer(work, StatusCode::OK, Vec::new(), &[])
}

pub(super) fn answer(
    work: &Work<'_>,
    status: StatusCode,
    results: Vec<Value>,
    errors: &[Problem],
) -> Reply {
    let mut body = json!({
        "status": "COMPLETE",
        "results": results,
        "startedAt": iso(work.started),
        "completedAt": iso(work.now),
    });
    if errors.is_empty() {
        return Reply::json(status, &body);
    }
    body["numErrors"] = errors.len().into();
    body["errors"] = json!(errors);
    Reply::json(StatusCode::MULTI_STATUS, &body)
}

pub(super) fn at_most(most: usize, inputs: usize) -> Result<(), Problem> {
    if inputs <= most {
        return Ok(());
    }
    Err(Problem::invalid(format!(
        "The maximum number of inputs supported in a batch is {most}. Please reduce the number of items and try again"
    )))
}

fn missing(ids: Vec<String>) -> Problem {
    let message = "Could not get some CONTACT objects, they may be deleted or not exist. Check that ids are valid.";
    let problem = Problem::new(StatusCode::NOT_FOUND, "OBJECT_NOT_FOUND", message);
    if ids.is_empty() {
        return problem;
    }
    problem.with("ids", ids)
}

fn parse_read(dialect: &BatchDialect, body: &[u8]) -> Result<ReadBody, Problem> {
    let body: ReadBody = parse(body)?;
    let inputs = body.inputs.len();
    let history = !body.properties_with_history.is_empty();
    if history && inputs > MOST_WITH_HISTORY && dialect.most >= MOST_WITH_HISTORY {
        return Err(Problem::invalid(format!(
            "The maximum number of inputs supported in a batch request for property histories is {MOST_WITH_HISTORY}"
        )));
    }
    at_most(dialect.most, inputs)?;
    Ok(body)
}

/// What a batch read costs, if the server accepts it.
pub(super) fn load(dialect: &BatchDialect, body: &[u8]) -> Result<Load, Problem> {
    let body = parse_read(dialect, body)?;
    Ok(Load {
        units: body.inputs.len(),
        properties: body.properties.len() + body.properties_with_history.len(),
        ..Load::default()
    })
}

fn read(
    contacts: &Contacts,
    rules: &Rules<'_>,
    work: &Work<'_>,
    rng: &mut fastrand::Rng,
) -> Result<Reply, Problem> {
    let dialect = rules.dialect;
    let body = parse_read(dialect, work.body)?;
    let archived = dialect.archived_shown && work.query.flag("archived");
    let view = View {
        properties: body.properties,
        history: body.properties_with_history,
        all: false,
    };
    let (mut results, mut absent, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for Key { id: key } in body.inputs {
        let id_property = body.id_property.as_deref();
        let found = contacts.find(&key, id_property)?;
        let found = if archived {
            key.parse().ok().and_then(|id| contacts.get_archived(id))
        } else if dialect.merged_left_out && found != contacts.find_unmerged(&key, id_property)? {
            continue;
        } else {
            found.and_then(|id| contacts.get(id))
        };
        match found {
            Some(contact) if seen.insert(contact.id) => {
                results.push(view.show(contact, rules.known));
            }
            Some(_) => {}
            None => absent.push(key),
        }
    }
    if results.is_empty() && !absent.is_empty() {
        if let NoneFound::NotFound { named } = dialect.none_found {
            let named = named && !dialect.missing_unsaid;
            return Err(missing(if named { absent } else { Vec::new() }));
        }
    }
    shuffle(&mut results, dialect, rng);
    let errors = errors(Vec::new(), absent, dialect);
    Ok(answer(work, StatusCode::OK, results, &errors))
}

fn shuffle(results: &mut Vec<Value>, dialect: &BatchDialect, rng: &mut fastrand::Rng) {
    let before = dialect.never_in_order.then(|| results.clone());
    rng.shuffle(results);
    if results.len() > 1 && before.as_ref() == Some(results) {
        results.rotate_left(1);
    }
}

/// The errors of a 207: those that are there already, and the ones of ids that are missing.
fn errors(mut errors: Vec<Problem>, absent: Vec<String>, dialect: &BatchDialect) -> Vec<Problem> {
    if !dialect.missing_unsaid && !absent.is_empty() {
        match dialect.errors {
            ErrorItems::Each => errors.extend(absent.into_iter().map(|id| missing(vec![id]))),
            ErrorItems::Recorded | ErrorItems::Together => errors.push(missing(absent)),
        }
    }
    if dialect.errors != ErrorItems::Together {
        return errors;
    }
    let mut together: Vec<Problem> = Vec::new();
    for error in errors {
        let mut rest = Some(error);
        for other in &mut together {
            rest = rest.and_then(|error| other.absorb(error));
        }
        together.extend(rest);
    }
    together
}

/// What is to be done with one input.
enum Step {
    Insert(Values),
    Change(u64, Values),
    Missing,
}

fn plan(
    contacts: &Contacts,
    known: &Properties,
    kind: Batch,
    input: &Input,
) -> Result<Step, Problem> {
    match kind {
        Batch::Create => plan_create(contacts, known, input),
        Batch::Update => plan_update(contacts, known, input),
        _ => plan_upsert(contacts, known, input),
    }
}

fn plan_create(contacts: &Contacts, known: &Properties, input: &Input) -> Result<Step, Problem> {
    let values = contacts.check(&input.properties, known)?;
    contacts.conflict(&values, None)?;
    Ok(Step::Insert(values))
}

fn plan_update(contacts: &Contacts, known: &Properties, input: &Input) -> Result<Step, Problem> {
    // Other than a single update this does not know those that were merged into another one.
    let Some(id) = contacts.find_unmerged(&input.id, input.id_property.as_deref())? else {
        return Ok(Step::Missing);
    };
    let values = contacts.check(&input.properties, known)?;
    contacts.conflict(&values, Some(id))?;
    Ok(Step::Change(id, values))
}

fn plan_upsert(contacts: &Contacts, known: &Properties, input: &Input) -> Result<Step, Problem> {
    let found = contacts.find_unmerged(&input.id, input.id_property.as_deref())?;
    let mut values = contacts.check(&input.properties, known)?;
    if let Some(id) = found {
        contacts.conflict(&values, Some(id))?;
        return Ok(Step::Change(id, values));
    }
    let Some(unique) = input
        .id_property
        .as_deref()
        .filter(|&name| name != "hs_object_id")
    else {
        return Ok(Step::Missing);
    };
    let key = Map::from_iter([(unique.to_owned(), Value::from(input.id.as_str()))]);
    for (name, value) in contacts.check(&key, known)? {
        values.entry(name).or_insert(value);
    }
    contacts.conflict(&values, None)?;
    Ok(Step::Insert(values))
}

/// Refuses a batch that cannot be done as a whole: all or nothing, and the first bad input is the one that the answer is about.
fn all_or_nothing(
    contacts: &Contacts,
    rules: &Rules<'_>,
    kind: Batch,
    inputs: &[Input],
) -> Result<(), Problem> {
    let mut emails = HashSet::new();
    for input in inputs {
        let mut planned = plan(contacts, rules.known, kind, input);
        if let Ok(Step::Insert(values) | Step::Change(_, values)) = &planned {
            let email = values.get("email").filter(|email| !email.is_empty());
            if email.is_some_and(|email| !emails.insert(email.clone())) {
                let message = "Contact already exists.";
                planned = Err(Problem::new(StatusCode::CONFLICT, "CONFLICT", message));
            }
        }
        let Err(mut problem) = planned else {
            continue;
        };
        if rules.dialect.traces == Traces::FirstNamed {
            if let Some(trace) = &input.object_write_trace_id {
                problem = problem.with("objectWriteTraceId", vec![trace.clone()]);
            }
            if !input.id.is_empty() {
                problem = problem.with("ids", vec![input.id.clone()]);
            }
        }
        return Err(problem);
    }
    Ok(())
}

fn write(
    contacts: &mut Contacts,
    rules: &Rules<'_>,
    kind: Batch,
    work: &Work<'_>,
    rng: &mut fastrand::Rng,
) -> Result<Reply, Problem> {
    let &Rules { known, dialect } = rules;
    let WriteBody { inputs } = parse(work.body)?;
    at_most(dialect.most, inputs.len())?;
    let success = match kind {
        Batch::Create => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    if kind != Batch::Create {
        unique_ids(contacts, &inputs)?;
    }
    let by_id = |input: &Input| input.id_property.as_deref() == Some("hs_object_id");
    if kind == Batch::Update && inputs.iter().any(by_id) {
        // "Leave `idProperty` out for `hs_object_id`".
        return Err(Problem::invalid("idProperty must not be hs_object_id"));
    }
    let heeded = matches!(dialect.traces, Traces::Used | Traces::Echoed);
    let traced = heeded
        && inputs
            .iter()
            .all(|input| input.object_write_trace_id.is_some())
        && all_differ(inputs.iter().map(|input| &input.object_write_trace_id));
    if !traced {
        all_or_nothing(contacts, rules, kind, &inputs)?;
    }
    let (mut results, mut problems, mut absent) = (Vec::new(), Vec::new(), Vec::new());
    for input in inputs {
        let trace = input
            .object_write_trace_id
            .clone()
            .filter(|_| heeded)
            .into_iter()
            .collect::<Vec<_>>();
        let (id, new) = match plan(contacts, known, kind, &input) {
            Ok(Step::Insert(values)) => (contacts.insert(values, work.now), true),
            Ok(Step::Change(id, values)) => {
                contacts.change(id, values, work.now);
                (id, false)
            }
            Ok(Step::Missing) if trace.is_empty() => {
                absent.push(input.id);
                continue;
            }
            Ok(Step::Missing) if dialect.missing_unsaid => continue,
            Ok(Step::Missing) => {
                problems.push(missing(vec![input.id]).with("objectWriteTraceId", trace));
                continue;
            }
            Err(problem) => {
                problems.push(problem.item().with("objectWriteTraceId", trace));
                continue;
            }
        };
        if let Some(contact) = contacts.get(id) {
            let mut shown = View::all().show(contact, known);
            if kind == Batch::Upsert {
                shown["new"] = new.into();
            }
            if let (Traces::Echoed, Some(trace)) = (dialect.traces, input.object_write_trace_id) {
                shown["objectWriteTraceId"] = trace.into();
            }
            results.push(shown);
        }
    }
    shuffle(&mut results, dialect, rng);
    let problems = errors(problems, absent, dialect);
    Ok(answer(work, success, results, &problems))
}

/// Refuses a batch that names a record twice, by whatever name.
fn unique_ids(contacts: &Contacts, inputs: &[Input]) -> Result<(), Problem> {
    let mut records = HashSet::new();
    let mut keys = HashSet::new();
    let mut twice = Vec::new();
    for input in inputs {
        let record = contacts
            .find_unmerged(&input.id, input.id_property.as_deref())
            .ok()
            .flatten();
        let new_key = keys.insert((input.id_property.as_deref(), input.id.to_lowercase()));
        let new_record = record.is_none_or(|id| records.insert(id));
        let first = new_key && new_record;
        if !first && !twice.contains(&input.id) {
            twice.push(input.id.clone());
        }
    }
    if twice.is_empty() {
        return Ok(());
    }
    let message = format!(
        "Duplicate IDs found in batch input: [{}]. IDs must be unique",
        twice.join(", ")
    );
    Err(Problem::invalid(message).with("ids", twice))
}

fn all_differ<T: Hash + Eq>(items: impl Iterator<Item = T>) -> bool {
    let mut seen = HashSet::new();
    items.into_iter().all(|item| seen.insert(item))
}

/// 204, for what is not there too.
fn archive(contacts: &mut Contacts, rules: &Rules<'_>, work: &Work<'_>) -> Result<Reply, Problem> {
    #[derive(Deserialize)]
    struct Body {
        inputs: Vec<Key>,
    }
    let Body { inputs } = parse(work.body)?;
    at_most(rules.dialect.most, inputs.len())?;
    for Key { id } in inputs {
        if let Some(id) = contacts.find(&id, None)? {
            contacts.archive(id, work.now);
        }
    }
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}
