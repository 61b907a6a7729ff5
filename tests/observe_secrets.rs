//! No token, account, address or id of a record is in anything that is told: neither in what `tracing` gets, at any level, nor in events and
//! reports, in whatever way they are written down. (T42)
//!
//! Alone in its file, because events are written down for the whole process.

mod common;

use bytes::Bytes;
use common::capture::Capture;
use common::{FOREVER, SECOND, Server, after, at_once, fresh_hubspot, lost, ms, so_far};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};
use tower_quota::plan::Zone;
use tower_quota::request::AccountId;
use tower_quota::{Quota, hubspot};

const TOKEN: &str = "pat-na1-planted-token-5e1f";
const ACCOUNT: &str = "planted-portal-204613469876513";
const EMAIL: &str = "planted@example.org";
const ENCODED: &str = "planted%40example.org";
const RECORD: &str = "9007199254740993";
const HUB: &str = "204613469876513";
/// The name of a kind of object is no secret; the number of the account in it is.
const OBJECT: &str = "p204613469876513_car";
const METHOD: &str = "PLANTED-METHOD";

/// All that must not be seen anywhere: parts of a value betray it, too. Numbers are so long that no time is like them.
const PLANTED: [&str; 6] = ["planted", "PLANTED", "example.org", RECORD, HUB, "secret"];

fn call(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(format!(
            "https://secret-user:secret-pass@api.hubapi.com{path}"
        ))
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("x-secret", EMAIL)
        .header("content-type", "application/json")
        .header("content-length", body.len())
        .body(Full::from(body.to_owned()))
        .unwrap();
    request.extensions_mut().insert(AccountId::from(ACCOUNT));
    request
}

fn calls() -> Vec<Request<Full<Bytes>>> {
    let search = format!(
        r#"{{"limit":200,"query":"{EMAIL}","filterGroups":[{{"filters":[
            {{"propertyName":"email","operator":"EQ","value":"{EMAIL}"}}]}}]}}"#
    );
    let create = format!(r#"{{"properties":{{"email":"{EMAIL}","hs_object_id":"{RECORD}"}}}}"#);
    let objects = "/crm/v3/objects/contacts";
    vec![
        call(
            "GET",
            &format!("{objects}/{RECORD}?hapikey=secret-key&email={EMAIL}"),
            "",
        ),
        call("GET", &format!("{objects}/{EMAIL}?idProperty=email"), ""),
        call("GET", &format!("{objects}/{ENCODED}?idProperty=email"), ""),
        call("GET", &format!("/crm/v3/objects/{OBJECT}/{RECORD}"), ""),
        call("PATCH", &format!("{objects}/{RECORD}"), &create),
        call("POST", objects, &create),
        call(
            "DELETE",
            &format!("/contacts/v1/contact/email/{EMAIL}/profile"),
            "",
        ),
        call("GET", &format!("/account-info/v3/{HUB};{EMAIL}/secret"), ""),
        call(METHOD, &format!("{objects}/{RECORD}"), ""),
        call("POST", &format!("{objects}/search"), &search),
        call("POST", &format!("/crm/v3/objects/{OBJECT}/search"), &search),
        call(
            "PUT",
            &format!("/crm/v4/objects/contacts/{RECORD}/associations/default/{OBJECT}/{HUB}"),
            "",
        ),
    ]
}

/// Every kind of trouble, each with as much in it as a server can say.
fn trouble() -> Server {
    let body = format!(
        r#"{{"status":"error","message":"{EMAIL} of {HUB} with {TOKEN}","correlationId":"planted","policyName":"planted {RECORD}","category":"planted"}}"#
    );
    Server::reading(move |nth, seen| {
        let head = |wait: &'static str| {
            [
                ("retry-after", wait),
                ("content-type", "application/json"),
                ("x-secret", EMAIL),
                ("location", "https://example.org/planted"),
                ("x-hubspot-ratelimit-max", "planted"),
                ("x-hubspot-ratelimit-daily-remaining", "500000"),
                ("x-hubspot-ratelimit-daily", "500001"),
            ]
        };
        let answer = |status| at_once(status, &head("1"), &body);
        if seen.is_search() && nth % 2 == 0 {
            return answer(504);
        }
        match nth % 13 {
            0 | 7 => answer(429),
            1 => answer(504),
            2 => answer(500),
            3 => lost(),
            4 => answer(207),
            5 => answer(400),
            6 => answer(423),
            8 => answer(413),
            9 => after(ms(700), answer(503)),
            10 => answer(404),
            11 => answer(477),
            _ => {
                let page = format!(
                    r#"{{"total":1,"results":[{{"id":"{RECORD}","properties":{{"email":"{EMAIL}"}}}}]}}"#
                );
                at_once(200, &[("content-type", "application/json")], &page)
            }
        }
    })
}

async fn drive(quota: &Quota, rounds: usize, max_wait: std::time::Duration) {
    let api = hubspot::stack(quota)
        .max_wait(max_wait)
        .trim(hubspot::SearchPages::default())
        .batch(hubspot::Batches::default())
        .layer(trouble());
    for _ in 0..rounds {
        let mut tasks = JoinSet::new();
        for request in calls() {
            let api = api.clone();
            tasks.spawn(async move {
                if let Ok(answer) = api.oneshot(request).await {
                    let _ = answer.into_body().collect().await;
                }
            });
        }
        // Some are given up.
        tokio::time::sleep(SECOND / 2).await;
        if rounds % 2 == 0 {
            tasks.abort_all();
        }
        while tasks.join_next().await.is_some() {}
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_that_was_planted_is_seen_anywhere() {
    let capture = Capture::default();
    let _guard = tracing::subscriber::set_default(capture.clone());
    let quota = fresh_hubspot(Zone::UTC).build();
    let mut plain = quota.events();
    let mut with_requests = quota.events_with_requests();
    drive(&quota, 15, FOREVER).await;
    drive(&quota, 4, SECOND).await;
    quota.set_enforce(false);
    drive(&quota, 6, FOREVER).await;
    quota.set_enforce(true);
    quota.resume(&calls()[0]);

    let mut told = vec![capture.text()];
    let mut kinds = std::collections::BTreeSet::new();
    let events = so_far(&mut plain).into_iter();
    for event in events.chain(so_far(&mut with_requests)) {
        kinds.insert(event.kind.as_str());
        told.push(format!("{event:?} {event:#?}"));
        told.push(serde_json::to_string(&event).unwrap());
    }
    let report = quota.report_top(1_000);
    told.push(format!("{report} {report:?} {report:#?}"));
    told.push(serde_json::to_string(&report).unwrap());
    told.push(format!("{quota:?} {:?}", quota.plan_check()));

    // Enough has happened for this to mean something.
    for kind in [
        "request",
        "rate_limited",
        "recovered",
        "paused",
        "resumed",
        "repeated",
        "denied",
        "would_wait",
        "error_share",
        "too_heavy",
        "batched",
        "concurrency_changed",
    ] {
        assert!(kinds.contains(kind), "{kind} is not among {kinds:?}");
        let target = format!("tower_quota::{kind}");
        assert!(!capture.events(&target).is_empty(), "{kind}");
    }
    assert!(report.routes.len() >= 8, "{:?}", report.routes);
    for text in told {
        for planted in PLANTED {
            if let Some(at) = text.find(planted) {
                let from = text[..at].rfind('\n').map_or(0, |line| line + 1);
                let seen: String = text[from..].chars().take(400).collect();
                panic!("{planted} is in: {seen}");
            }
        }
    }
}
