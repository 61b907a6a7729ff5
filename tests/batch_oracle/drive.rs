//! Lets chains run: each call in its own task, or one call after the other.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::util::BoxCloneService;
use tower::{BoxError, Service, ServiceExt};

use crate::ask::{Ask, Chain, Sort, Step};
use crate::common::SECOND;
use crate::world::{CONTACTS, MADE_ID, TOKEN};

type Answer = (StatusCode, HeaderMap, Bytes);
pub(crate) type Api = BoxCloneService<Request<Full<Bytes>>, Answer, BoxError>;

/// The service, with answers that are read to their end.
pub(crate) fn api<S, B>(service: S) -> Api
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let read = |answer: Response<B>| async {
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(Into::into)?;
        Ok((head.status, head.headers, body.to_bytes()))
    };
    BoxCloneService::new(service.map_err(Into::into).and_then(read))
}

/// What a caller got.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Answered {
        status: u16,
        content_type: String,
        body: Value,
    },
    Failed(String),
    /// Its caller has gone.
    Gone,
}

impl Outcome {
    /// Of an error it keeps the whole chain.
    fn of(result: Result<Answer, BoxError>) -> Self {
        let (status, headers, body) = match result {
            Ok(answer) => answer,
            Err(error) => {
                let mut text = error.to_string();
                let mut source = error.source();
                while let Some(error) = source {
                    text += &format!(": {error}");
                    source = error.source();
                }
                return Self::Failed(text);
            }
        };
        if let Some(length) = headers.get(CONTENT_LENGTH) {
            assert_eq!(length, body.len().to_string().as_str());
        }
        let text = || json!(String::from_utf8_lossy(&body));
        Self::Answered {
            status: status.as_u16(),
            content_type: headers
                .get(CONTENT_TYPE)
                .map_or_else(String::new, |value| value.to_str().unwrap().to_owned()),
            body: serde_json::from_slice(&body).unwrap_or_else(|_| text()),
        }
    }

    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Answered { status, .. } => *status,
            _ => 0,
        }
    }

    /// Whether it is a failure of the kind that is made on purpose.
    pub(crate) fn is_injected(&self) -> bool {
        match self {
            Self::Answered { body, .. } => body
                .as_str()
                .is_some_and(|body| body.starts_with("injected")),
            Self::Failed(text) => text.contains("the connection was dropped"),
            Self::Gone => false,
        }
    }

    /// The id of a contact that was made.
    pub(crate) fn made(&self) -> Option<&str> {
        match self {
            Self::Answered {
                status: 201, body, ..
            } => body["id"].as_str(),
            _ => None,
        }
    }
}

/// The outcomes of the steps of one chain.
pub(crate) type Ran = Vec<Vec<Outcome>>;

fn request(ask: &Ask, made: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(ask.method.clone())
        .uri(format!(
            "https://api.example.com{}",
            ask.target.replace(MADE_ID, made)
        ))
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json")
        .body(Full::from(ask.body.clone()))
        .unwrap()
}

/// The rivals of a step in the order of what they got.
fn sort_rivals(step: &Step, outcomes: &mut [Outcome]) {
    let is_rival = |nth: &usize| step.asks[*nth].sort == Sort::Rival;
    let places: Vec<usize> = (0..outcomes.len()).filter(is_rival).collect();
    let mut rivals: Vec<Outcome> = places.iter().map(|&nth| outcomes[nth].clone()).collect();
    rivals.sort_by_key(Outcome::status);
    for (place, outcome) in places.into_iter().zip(rivals) {
        outcomes[place] = outcome;
    }
}

fn last_made(outcomes: &[Outcome], made: &mut String) {
    if let Some(id) = outcomes.iter().filter_map(Outcome::made).next_back() {
        id.clone_into(made);
    }
}

/// As good as a name of none.
const NONE_YET: &str = "999998";

/// All chains at once, all calls of a step at once. A chain ends with the step in which a call failed.
pub(crate) async fn at_once(api: &Api, chains: &[Chain]) -> Vec<Ran> {
    let chain = |chain: &Chain| tokio::spawn(run(api.clone(), chain.clone()));
    let running: Vec<_> = chains.iter().map(chain).collect();
    let mut ran = Vec::new();
    for chain in running {
        ran.push(chain.await.unwrap());
    }
    ran
}

async fn run(api: Api, chain: Chain) -> Ran {
    let (mut ran, mut made) = (Ran::new(), NONE_YET.to_owned());
    for step in chain {
        tokio::time::sleep(step.gap).await;
        let call = |ask: &Ask| {
            let (answer, cancel) = (api.clone().oneshot(request(ask, &made)), ask.cancel);
            tokio::spawn(async move {
                match cancel {
                    None => Outcome::of(answer.await),
                    Some(cancel) => match tokio::time::timeout(cancel, answer).await {
                        Ok(result) => Outcome::of(result),
                        Err(_) => Outcome::Gone,
                    },
                }
            })
        };
        let calls: Vec<_> = step.asks.iter().map(call).collect();
        let mut outcomes = Vec::new();
        for call in calls {
            outcomes.push(call.await.unwrap());
        }
        sort_rivals(&step, &mut outcomes);
        last_made(&outcomes, &mut made);
        let has_failed = outcomes.iter().any(Outcome::is_injected);
        ran.push(outcomes);
        if has_failed {
            break;
        }
    }
    ran
}

/// One call after the other.
pub(crate) async fn one_by_one(api: &Api, chains: &[Chain]) -> Vec<Ran> {
    let mut all = Vec::new();
    for chain in chains {
        let (mut ran, mut made) = (Ran::new(), NONE_YET.to_owned());
        for step in chain {
            let mut outcomes = Vec::new();
            for ask in &step.asks {
                let answer = api.clone().oneshot(request(ask, &made)).await;
                outcomes.push(Outcome::of(answer));
            }
            sort_rivals(step, &mut outcomes);
            last_made(&outcomes, &mut made);
            ran.push(outcomes);
        }
        all.push(ran);
    }
    all
}

/// All contacts that there are, with what callers may have written.
pub(crate) async fn contacts(api: &Api) -> Vec<Value> {
    let mut all = Vec::new();
    for archived in [false, true] {
        let mut after = "0".to_owned();
        loop {
            let names = "email,city,zip,rank,state,fax,phone,gender,lastname";
            let path = format!(
                "{CONTACTS}?limit=100&archived={archived}&properties={names}&after={after}"
            );
            let body = loop {
                let list = Request::get(&path)
                    .header("authorization", format!("Bearer {TOKEN}"))
                    .body(Full::default())
                    .unwrap();
                // These requests may fail, too, and no quota is kept for them.
                match api.clone().oneshot(list).await {
                    Ok((StatusCode::OK, _, body)) => break body,
                    _ => tokio::time::sleep(SECOND).await,
                }
            };
            let body: Value = serde_json::from_slice(&body).unwrap();
            all.extend(body["results"].as_array().unwrap().iter().cloned());
            match body["paging"]["next"]["after"].as_str() {
                Some(next) => next.clone_into(&mut after),
                None => break,
            }
        }
    }
    all
}

/// Whose call made a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Maker {
    pub(crate) chain: usize,
    step: usize,
    call: usize,
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "made by {}.{}.{}", self.chain, self.step, self.call)
    }
}

/// By the ids of what was made.
pub(crate) type Makers = HashMap<String, Maker>;

pub(crate) fn makers(ran: &[Ran]) -> Makers {
    let mut makers = Makers::new();
    for (chain, steps) in ran.iter().enumerate() {
        for (step, outcomes) in steps.iter().enumerate() {
            for (call, outcome) in outcomes.iter().enumerate() {
                if let Some(id) = outcome.made() {
                    let maker = Maker { chain, step, call };
                    assert_eq!(
                        makers.insert(id.to_owned(), maker),
                        None,
                        "one contact for two"
                    );
                }
            }
        }
    }
    makers
}
