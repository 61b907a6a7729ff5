//! The work on one contact.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tower_quota::{BoxError, QuotaError};

use crate::client::{Answer, Client};
use crate::contacts::{Contact, path_segment};

const CONTACTS: &str = "/crm/v3/objects/contacts";

/// What became of a contact.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It was new.
    Created,
    /// It was there already.
    Updated,
    /// The server does not want it, and says why.
    Refused(String),
    /// The server cannot do it now: a 5xx or 429 to the very last.
    Failed(String),
    /// No answer.
    Lost(String),
    /// No other contact will fare better.
    Hopeless(String),
}

/// Updates the contact, or creates it if the server does not know it.
pub(crate) async fn upsert(client: &Client, contact: &Contact) -> Outcome {
    match try_upsert(client, contact).await {
        Ok(outcome) => outcome,
        Err(error) => match error.downcast_ref::<QuotaError>() {
            Some(quota) => Outcome::Hopeless(quota.to_string()),
            None => Outcome::Lost(chain(&error)),
        },
    }
}

async fn try_upsert(client: &Client, contact: &Contact) -> Result<Outcome, BoxError> {
    let email = path_segment(&contact.email);
    let update = format!("{CONTACTS}/{email}?idProperty=email");
    let body = json!({ "properties": contact.properties });
    // Twice, because somebody else may create the contact just after we were told that it does not exist.
    let mut conflict = None;
    for _ in 0..2 {
        let answer = client.send(Method::PATCH, &update, &body).await?;
        if answer.status != StatusCode::NOT_FOUND {
            return Ok(judge(client, &answer, Outcome::Updated));
        }
        let answer = client.send(Method::POST, CONTACTS, &body).await?;
        match answer.status {
            StatusCode::CONFLICT => conflict = Some(answer),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                let problem = format!(
                    "{}{CONTACTS} does not exist (status {}): is --base-url right?",
                    client.base(),
                    answer.status.as_u16()
                );
                return Ok(Outcome::Hopeless(problem));
            }
            _ => return Ok(judge(client, &answer, Outcome::Created)),
        }
    }
    Ok(match conflict {
        Some(answer) => Outcome::Refused(message(client, &answer)),
        None => Outcome::Refused("appears and disappears".to_owned()),
    })
}

fn judge(client: &Client, answer: &Answer, success: Outcome) -> Outcome {
    let status = answer.status;
    match status.as_u16() {
        200..=299 => success,
        300..=399 => Outcome::Hopeless(format!(
            "{} answers with a redirection ({}): is --base-url right?",
            client.base(),
            status.as_u16()
        )),
        401 => Outcome::Hopeless(format!(
            "the server does not accept the token: {}",
            message(client, answer)
        )),
        403 => Outcome::Hopeless(format!(
            "the token may not write contacts: {}",
            message(client, answer)
        )),
        429 | 500.. => Outcome::Failed(message(client, answer)),
        _ => Outcome::Refused(message(client, answer)),
    }
}

/// The server's own words, with the status.
pub(crate) fn message(client: &Client, answer: &Answer) -> String {
    const LONGEST: usize = 300;
    let json: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let details = json.as_ref().and_then(|json| {
        // The message of a validation error is JSON once more; its details say the same for people.
        let details = json.get("errors")?.as_array()?.iter();
        let details: Vec<&str> = details
            .filter_map(|detail| detail.get("message")?.as_str())
            .collect();
        (!details.is_empty()).then(|| details.join("; "))
    });
    let message = details.or_else(|| Some(json.as_ref()?.get("message")?.as_str()?.to_owned()));
    // An answer that is not HubSpot's own is a page of HTML: nobody wants to read it here.
    let text = message.unwrap_or_else(|| "without a message".to_owned());
    // What a server says goes to a terminal: one line, and no control characters.
    let text: String = client
        .redact(&text)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST)
        .collect();
    format!("{text} (status {})", answer.status.as_u16())
}

/// An error with all that caused it.
pub(crate) fn chain(error: &BoxError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
