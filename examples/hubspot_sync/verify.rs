//! Reads back by search what was synced.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tower_quota::BoxError;
use tower_quota::clock::Clock;

use crate::client::Client;
use crate::contacts::{Contact, Sheet};
use crate::report::Screen;
use crate::upsert::{chain, message};
use crate::wire::Wire;

const SEARCH: &str = "/crm/v3/objects/contacts/search";

/// A list in a filter has at most so many values, and the body of a search at most so many characters.
const MOST_VALUES: usize = 100;
const MOST_CHARACTERS: usize = 2_900;

/// Searches at a time. HubSpot allows five per second, and most answers come within one.
const AT_A_TIME: usize = 5;

/// What was just written may take a few moments to be found; then what is missing is looked for again.
const LOOKS: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// More missing records than these are only counted.
const MOST_NAMED: usize = 20;

/// The figures of a verification, as `--json` prints them.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Verified {
    looked_for: u64,
    found: u64,
    missing: u64,
    /// Found with another value than was sent.
    different: u64,
    /// What the program asked for.
    searches: u64,
    /// Those of them that were put together from pieces.
    trimmed: u64,
    /// What was sent for them.
    http_requests: u64,
    http_429: u64,
    http_5xx: u64,
    elapsed_s: f64,
    pub(crate) stopped_early: bool,
}

impl Verified {
    pub(crate) fn misses(&self) -> bool {
        self.missing > 0
    }

    pub(crate) fn table(&self) -> String {
        let mut rows = vec![
            (
                "verified",
                format!("{} of {} found by search", self.found, self.looked_for),
            ),
            ("  missing", self.missing.to_string()),
            ("  different", self.different.to_string()),
        ];
        if self.stopped_early {
            let open = self.looked_for - self.found;
            rows.push(("  not done", open.to_string()));
        }
        rows.extend([
            (
                "searches",
                format!(
                    "{} ({} of them asked in smaller pieces)",
                    self.searches, self.trimmed
                ),
            ),
            ("  requests", self.http_requests.to_string()),
            ("  429", self.http_429.to_string()),
            ("  5xx", self.http_5xx.to_string()),
            ("  elapsed", format!("{:.1} s", self.elapsed_s)),
        ]);
        let line = |(name, value): &(&str, String)| format!("{name:<16}{value}");
        rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// All that a verification needs.
pub(crate) struct Job<'a> {
    pub(crate) sheet: &'a Sheet,
    /// The records that were synced, by their place in the sheet.
    pub(crate) synced: Vec<u64>,
    pub(crate) client: Client,
    pub(crate) wire: Wire,
}

/// One search and those it looks for.
struct Page {
    wanted: Vec<Contact>,
}

/// What a search has found.
struct Found {
    wanted: Vec<Contact>,
    records: HashMap<String, Map<String, Value>>,
    trimmed: bool,
}

/// Looks for every record until it is found or has been looked for often enough, or until Ctrl-C.
pub(crate) async fn verify(job: Job<'_>, screen: &Screen) -> Result<Verified, String> {
    let clock = Clock::system();
    let (requests, refused, failed) = (job.wire.requests(), job.wire.refused(), job.wire.failed());
    let mut verified = Verified {
        looked_for: job.synced.len() as u64,
        ..Verified::default()
    };
    screen.note(&format!(
        "Reading {} records back by search.",
        job.synced.len()
    ));
    let mut missing: Vec<Contact> = Vec::new();
    let mut look = 0;
    let looks = async {
        let contact = |index: &u64| job.sheet.record(*index).1.ok();
        let mut wanted: Box<dyn Iterator<Item = Contact> + '_> =
            Box::new(job.synced.iter().filter_map(contact));
        loop {
            look += 1;
            missing = look_for(&job, wanted, &mut verified, screen, &clock).await?;
            if missing.is_empty() || look == LOOKS {
                return Ok(());
            }
            screen.note(&format!(
                "{} records are not found yet; looking again in {} s.",
                missing.len(),
                BETWEEN_LOOKS.as_secs()
            ));
            tokio::time::sleep(BETWEEN_LOOKS).await;
            wanted = Box::new(std::mem::take(&mut missing).into_iter());
        }
    };
    let stopped: Result<bool, String> = tokio::select! {
        looked = looks => looked.map(|()| false),
        _ = tokio::signal::ctrl_c() => Ok(true),
    };
    verified.stopped_early = stopped?;
    verified.missing = match verified.stopped_early {
        true => 0,
        false => missing.len() as u64,
    };
    for contact in missing.iter().take(MOST_NAMED) {
        screen.note(&format!("{}: not found", contact.email));
    }
    verified.http_requests = job.wire.requests() - requests;
    verified.http_429 = job.wire.refused() - refused;
    verified.http_5xx = job.wire.failed() - failed;
    verified.elapsed_s = (clock.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    Ok(verified)
}

/// Those that are not found.
async fn look_for(
    job: &Job<'_>,
    wanted: impl Iterator<Item = Contact>,
    verified: &mut Verified,
    screen: &Screen,
    clock: &Clock,
) -> Result<Vec<Contact>, String> {
    let columns = job.sheet.columns();
    let mut pages = Pages {
        wanted: wanted.peekable(),
        columns: json!(columns).to_string().len(),
    };
    let mut searches = JoinSet::new();
    let mut missing = Vec::new();
    // The first goes alone: what the layers learn from it the others need not.
    let mut at_a_time = 1;
    loop {
        while searches.len() < at_a_time {
            let Some(page) = pages.next() else { break };
            verified.searches += 1;
            let (client, columns) = (job.client.clone(), columns.to_vec());
            searches.spawn(async move { search(&client, page, &columns).await });
        }
        let Some(found) = searches.join_next().await else {
            return Ok(missing);
        };
        let found = found.map_err(|error| error.to_string())??;
        at_a_time = AT_A_TIME;
        verified.trimmed += u64::from(found.trimmed);
        for contact in found.wanted {
            match found.records.get(&contact.email.to_lowercase()) {
                None => missing.push(contact),
                Some(record) => {
                    verified.found += 1;
                    verified.different += u64::from(!is_same(&contact, record));
                }
            }
        }
        screen.verified(verified.found, clock.elapsed());
    }
}

/// Cuts what is looked for into searches that HubSpot takes.
struct Pages<I: Iterator> {
    wanted: std::iter::Peekable<I>,
    /// So long is the list of properties.
    columns: usize,
}

impl<I: Iterator<Item = Contact>> Iterator for Pages<I> {
    type Item = Page;

    fn next(&mut self) -> Option<Page> {
        let mut page = vec![self.wanted.next()?];
        let mut length = self.columns + 200 + quoted(&page[0].email);
        while page.len() < MOST_VALUES {
            let next = self
                .wanted
                .next_if(|contact| length + quoted(&contact.email) <= MOST_CHARACTERS);
            let Some(next) = next else { break };
            length += quoted(&next.email);
            page.push(next);
        }
        Some(Page { wanted: page })
    }
}

/// The length of a value in a JSON list, the comma included.
fn quoted(text: &str) -> usize {
    json!(text).to_string().len() + 1
}

async fn search(client: &Client, page: Page, columns: &[String]) -> Result<Found, String> {
    #[derive(Deserialize)]
    struct Results {
        results: Vec<Record>,
    }
    #[derive(Deserialize)]
    struct Record {
        properties: Map<String, Value>,
    }
    // Lists find lower-case values only.
    let emails: Vec<String> = page
        .wanted
        .iter()
        .map(|contact| contact.email.to_lowercase())
        .collect();
    let body = json!({
        "filterGroups": [{ "filters": [{ "propertyName": "email", "operator": "IN", "values": emails }] }],
        "sorts": [{ "propertyName": "hs_object_id", "direction": "ASCENDING" }],
        "properties": columns,
        "limit": emails.len(),
    });
    let problem =
        |error: BoxError| format!("the search for what was synced failed: {}", chain(&error));
    let answer = client.search(SEARCH, &body).await.map_err(problem)?;
    if !answer.status.is_success() {
        return Err(format!(
            "the search for what was synced failed: {}",
            message(client, &answer)
        ));
    }
    let results: Results = serde_json::from_slice(&answer.body)
        .map_err(|error| format!("the answer to a search is not understood: {error}"))?;
    let records = results.results.into_iter().filter_map(|record| {
        let email = record.properties.get("email")?.as_str()?.to_lowercase();
        Some((email, record.properties))
    });
    Ok(Found {
        wanted: page.wanted,
        records: records.collect(),
        trimmed: answer.trimmed,
    })
}

/// Whether HubSpot has what was sent. It keeps addresses in lower case.
fn is_same(contact: &Contact, record: &Map<String, Value>) -> bool {
    let mut sent = contact.properties.as_object().into_iter().flatten();
    sent.all(|(name, value)| {
        let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_lowercase();
        record
            .get(name)
            .is_some_and(|kept| text(kept) == text(value))
    })
}
