//! What the CRM knows, and how it answers when nothing is too much.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// What every answer shows of a record.
const ALWAYS: [&str; 3] = ["createdate", "hs_object_id", "lastmodifieddate"];
/// What is shown besides when no properties are asked for.
const USUAL: [&str; 2] = ["email", "p0"];
const CAP: usize = 10_000;
/// In characters, of a whole body.
pub(crate) const LONGEST_SEARCH: usize = 3_000;

/// How a batch is answered in which all is missing; both were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum AllMissing {
    #[default]
    MultiStatus,
    NotFound,
}

/// What a batch read makes of a record that searches still find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It is missing.
    Gone,
    /// It has another id by now; it is shown with that when it is read alone, and else not at all.
    Merged,
    /// It is never shown nor mentioned.
    Hidden,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    /// By id. A property is `p` and a number, or `email`; one that a record does not have is null.
    pub(crate) records: BTreeMap<u64, BTreeMap<String, Value>>,
    pub(crate) associated: BTreeMap<u64, Vec<u64>>,
    pub(crate) all_missing: AllMissing,
    pub(crate) unread: BTreeMap<u64, Unread>,
    /// A page of a search shows so many records at most, and the next one begins behind them.
    pub(crate) most_shown: Option<usize>,
}

type Answered = Result<(u16, Value), String>;

impl Store {
    /// So many records, with ids from 1.
    pub(crate) fn of(count: u64) -> Self {
        let record = |id: u64| {
            let email = json!(format!("{id}@example.com"));
            let values = [("email", email), ("p1", json!(format!("{id} × ü")))];
            let values = values.map(|(name, value)| (name.to_owned(), value));
            (id, BTreeMap::from(values))
        };
        Self {
            records: (1..=count).map(record).collect(),
            ..Self::default()
        }
    }

    pub(crate) fn answer(&self, path: &str, body: &str) -> (u16, Value) {
        let answered = match serde_json::from_str(body) {
            Err(error) => Err(error.to_string()),
            Ok(body) if path.contains("/associations/") => self.associations(&body),
            Ok(body) if path.ends_with("/batch/read") => self.batch_read(&body),
            Ok(_) if body.chars().count() > LONGEST_SEARCH => Err("too long".to_owned()),
            Ok(body) => self.search(&body),
        };
        answered.unwrap_or_else(|message| {
            let error =
                json!({"status": "error", "category": "VALIDATION_ERROR", "message": message});
            (400, error)
        })
    }

    fn value(&self, id: u64, name: &str) -> Value {
        match name {
            "hs_object_id" => json!(id.to_string()),
            "createdate" => json!("2026-01-01T00:00:00.000Z"),
            "lastmodifieddate" => json!(format!("2026-02-01T00:00:00.{:03}Z", id % 1_000)),
            _ => self.records[&id].get(name).cloned().unwrap_or_default(),
        }
    }

    fn show(&self, id: u64, properties: &[String]) -> Value {
        let usual = if properties.is_empty() {
            &USUAL[..]
        } else {
            &[]
        };
        let fixed = ALWAYS.iter().chain(usual).map(|&name| name.to_owned());
        // What the server does not know it leaves out.
        let names = fixed.chain(properties.iter().filter(|name| is_known(name)).cloned());
        let shown: Map<_, _> = names
            .map(|name| (name.clone(), self.value(id, &name)))
            .collect();
        json!({
            "id": id.to_string(),
            "properties": shown,
            "createdAt": self.value(id, "createdate"),
            "updatedAt": self.value(id, "lastmodifieddate"),
            "archived": false,
        })
    }

    fn search(&self, body: &Value) -> Answered {
        let limit = number_or(&body["limit"], 10)?;
        let after = number_or(&body["after"], 0)?;
        if !(1..=200).contains(&limit) || after.saturating_add(limit) > CAP {
            return Err("beyond what a search shows".to_owned());
        }
        let mut groups = Vec::new();
        for group in list(&body["filterGroups"]) {
            groups.push(list(&group["filters"]));
        }
        if !list(&body["filters"]).is_empty() {
            groups.push(list(&body["filters"]));
        }
        let mut found = Vec::new();
        for &id in self.records.keys() {
            let mut fits = groups.is_empty();
            for group in &groups {
                let mut all = true;
                for filter in group {
                    all &= self.holds(id, filter)?;
                }
                fits |= all;
            }
            if fits && self.mentions(id, &text(&body["query"])) {
                found.push(id);
            }
        }
        if let Some(sort) = list(&body["sorts"]).first() {
            let (name, descending) = match sort.as_str() {
                Some(short) => (short.trim_start_matches('-'), short.starts_with('-')),
                None => (
                    sort["propertyName"].as_str().unwrap_or_default(),
                    sort["direction"] == "DESCENDING",
                ),
            };
            // Records without a value come last, and equal ones in the order of their ids.
            let mut keyed: Vec<_> = found.iter().map(|&id| (self.value(id, name), id)).collect();
            keyed.sort_by(|(a, _), (b, _)| match (a, b) {
                (Value::Null, Value::Null) => Ordering::Equal,
                (Value::Null, _) => Ordering::Greater,
                (_, Value::Null) => Ordering::Less,
                (a, b) if descending => compare(b, a),
                (a, b) => compare(a, b),
            });
            found = keyed.into_iter().map(|(_, id)| id).collect();
        }
        let properties = names(&body["properties"]);
        let upto = after + limit.min(self.most_shown.unwrap_or(limit));
        let page = found.iter().take(upto).skip(after);
        let results: Vec<_> = page
            .map(|&id| {
                let mut shown = self.show(id, &properties);
                // Batch reads do not have it.
                shown["url"] = json!(format!("https://app.example.com/record/{id}"));
                shown
            })
            .collect();
        let mut answer = json!({"total": found.len(), "results": results});
        if upto < found.len() {
            answer["paging"] = json!({"next": {"after": upto.to_string()}});
        }
        Ok((200, answer))
    }

    fn holds(&self, id: u64, filter: &Value) -> Result<bool, String> {
        let actual = self.value(id, filter["propertyName"].as_str().unwrap_or_default());
        let (is_there, wanted) = (!actual.is_null(), &filter["value"]);
        Ok(match filter["operator"].as_str().unwrap_or_default() {
            "HAS_PROPERTY" => is_there,
            "NOT_HAS_PROPERTY" => !is_there,
            "EQ" => is_there && compare(&actual, wanted).is_eq(),
            "NEQ" => !is_there || compare(&actual, wanted).is_ne(),
            "GT" => is_there && compare(&actual, wanted).is_gt(),
            "LTE" => is_there && compare(&actual, wanted).is_le(),
            "IN" => names(&filter["values"]).contains(&text(&actual).to_lowercase()),
            "CONTAINS_TOKEN" => is_there && text(&actual).contains(&text(wanted)),
            other => return Err(format!("there is no operator {other}")),
        })
    }

    fn mentions(&self, id: u64, word: &str) -> bool {
        let values = self.records[&id].values();
        word.is_empty() || values.map(text).any(|value| value.contains(word))
    }

    fn batch_read(&self, body: &Value) -> Answered {
        let inputs = inputs(body);
        let history = names(&body["propertiesWithHistory"]);
        let most = if history.is_empty() { 100 } else { 50 };
        if inputs.len() > most {
            return Err(format!("more than {most} inputs"));
        }
        let properties = names(&body["properties"]);
        let (mut results, mut missing, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        let is_alone = inputs.len() == 1;
        for key in inputs {
            let found = match body["idProperty"].as_str() {
                None | Some("hs_object_id") => key.parse().ok(),
                Some("email") => self.by_email(&key),
                Some(other) => return Err(format!("{other} is not unique")),
            };
            let found = found.filter(|id| self.records.contains_key(id));
            let unread = found.and_then(|id| self.unread.get(&id));
            match found.filter(|_| unread != Some(&Unread::Gone)) {
                Some(id) if seen.contains(&id) => {}
                Some(_) if unread == Some(&Unread::Hidden) => {}
                Some(_) if unread == Some(&Unread::Merged) && !is_alone => {}
                Some(id) => {
                    seen.push(id);
                    let mut shown = self.show(id, &properties);
                    if unread == Some(&Unread::Merged) {
                        shown["id"] = json!((id + 1_000_000).to_string());
                    }
                    if !history.is_empty() {
                        let versions = history.iter().map(|name| {
                            let versions = json!([{"value": self.value(id, name)}]);
                            (name.clone(), versions)
                        });
                        shown["propertiesWithHistory"] = Value::Object(versions.collect());
                    }
                    results.push(shown);
                }
                None => missing.push(key),
            }
        }
        Ok(self.batch(results, missing))
    }

    fn by_email(&self, key: &str) -> Option<u64> {
        let mut records = self.records.iter();
        let key = json!(key.to_lowercase());
        let (&id, _) = records.find(|(_, values)| values.get("email") == Some(&key))?;
        Some(id)
    }

    /// What has no associations is left out.
    fn associations(&self, body: &Value) -> Answered {
        let inputs = inputs(body);
        if inputs.len() > 1_000 {
            return Err("more than 1,000 inputs".to_owned());
        }
        let mut results = Vec::new();
        for key in inputs {
            let id = key.parse().unwrap_or(0);
            let Some(others) = self.associated.get(&id) else {
                continue;
            };
            let to: Vec<_> = others
                .iter()
                .map(|other| {
                    let kinds =
                        json!([{"category": "HUBSPOT_DEFINED", "typeId": 1, "label": null}]);
                    json!({"toObjectId": other, "associationTypes": kinds})
                })
                .collect();
            results.push(json!({"from": {"id": key}, "to": to}));
        }
        Ok(self.batch(results, Vec::new()))
    }

    /// No order is promised, so there is a strange one.
    fn batch(&self, mut results: Vec<Value>, missing: Vec<String>) -> (u16, Value) {
        results.sort_by_key(|result| {
            let id = number(&result["id"]).or_else(|| number(&result["from"]["id"]));
            id.unwrap_or(0).wrapping_mul(7_919) % 1_009
        });
        let message = "Could not get some CONTACT objects, they may be deleted or not exist. Check that ids are valid.";
        let error = json!({
            "status": "error",
            "category": "OBJECT_NOT_FOUND",
            "message": message,
            "context": {"ids": missing},
        });
        if results.is_empty() && !missing.is_empty() && self.all_missing == AllMissing::NotFound {
            return (404, error);
        }
        let mut answer = json!({
            "status": "COMPLETE",
            "results": results,
            "startedAt": "2026-03-01T00:00:00.000Z",
            "completedAt": "2026-03-01T00:00:00.100Z",
        });
        if missing.is_empty() {
            return (200, answer);
        }
        // One error covers all that is missing.
        answer["numErrors"] = json!(1);
        answer["errors"] = json!([error]);
        (207, answer)
    }
}

fn is_known(name: &str) -> bool {
    let number = name
        .strip_prefix('p')
        .and_then(|rest| rest.parse::<u32>().ok());
    number.is_some() || name == "email" || ALWAYS.contains(&name)
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn names(value: &Value) -> Vec<String> {
    list(value).iter().map(text).collect()
}

/// The ids of a batch read: texts or numbers.
pub(crate) fn inputs(body: &Value) -> Vec<String> {
    let inputs = list(&body["inputs"]);
    inputs.iter().map(|input| text(&input["id"])).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A number that may come as a text.
pub(crate) fn number(value: &Value) -> Option<usize> {
    text(value).parse().ok()
}

fn number_or(value: &Value, default: usize) -> Result<usize, String> {
    if text(value).is_empty() {
        return Ok(default);
    }
    number(value).ok_or_else(|| format!("{value} is no number"))
}

/// Numbers by value and before all texts.
fn compare(a: &Value, b: &Value) -> Ordering {
    let number = |value: &Value| text(value).parse::<f64>().ok().filter(|n| n.is_finite());
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (None, None) => text(a).cmp(&text(b)),
        (a, _) => a.is_none().cmp(&a.is_some()),
    }
}
