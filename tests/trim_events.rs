//! What a request that was too heavy says in events: enough to mend it, and nothing of what it looks for.
//!
//! Alone in its file, because events are written down for the whole process.

mod common;

use common::capture::Capture;
use common::{SECOND, Server, after, at_once, request};
use http::Method;
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};
use tower_quota::{PayloadTrimLayer, hubspot};

const SECRET: &str = "pat-na1-not-to-be-seen";
const EMAIL: &str = "planted@example.org";
const ID: &str = "9007199254740993";

#[tokio::test(start_paused = true)]
async fn events_name_properties_and_sizes_and_no_values() {
    let capture = Capture::default();
    let _guard = tracing::subscriber::set_default(capture.clone());
    let server = Server::new(|nth, _| match nth {
        0..=2 => after(30 * SECOND, at_once(504, &[], "")),
        _ => {
            let record = format!(r#"{{"id":"{ID}","properties":{{"email":"{EMAIL}"}}}}"#);
            let page = format!(r#"{{"total":1,"results":[{record}]}}"#);
            at_once(200, &[("content-type", "application/json")], &page)
        }
    });
    let body = format!(
        r#"{{"limit":200,"query":"{EMAIL}","filterGroups":[{{"filters":[
            {{"propertyName":"notes","operator":"CONTAINS_TOKEN","value":"*{EMAIL}"}},
            {{"propertyName":"hs_object_id","operator":"GT","value":"{ID}"}}]}}]}}"#
    );
    let search = || {
        let search = request(Method::POST, "/crm/v3/objects/contacts/search", SECRET);
        search.map(|_| Full::<bytes::Bytes>::from(body.clone()))
    };
    let layer = || PayloadTrimLayer::new(hubspot::SearchPages::default());
    let response = layer().layer(server).oneshot(search()).await.unwrap();
    let answer = response.into_body().collect().await.unwrap().to_bytes();
    assert!(answer.starts_with(b"{"));

    let failures = capture.events("tower_quota::too_heavy");
    assert_eq!(failures.len(), 3, "{failures:?}");
    let fields = [
        "status=504",
        "timeout=false",
        "asked=200",
        "goes_on=true",
        "seconds=30",
    ];
    for field in fields {
        assert!(failures[0].contains(field), "{field}: {}", failures[0]);
    }
    assert!(failures[2].contains("asked=50") && failures[2].contains("seconds=90"));
    let hints = capture.events("tower_quota::heavy_hint");
    assert!(
        hints
            .iter()
            .any(|hint| hint.contains("CONTAINS_TOKEN") && hint.contains("notes")),
        "{hints:?}"
    );
    let done = capture.events("tower_quota::trimmed");
    assert_eq!(done.len(), 1);
    for field in [
        "asked=200",
        "worked=25",
        "pieces=3",
        "too_heavy=3",
        "seconds=90",
    ] {
        assert!(done[0].contains(field), "{field}: {}", done[0]);
    }
    let hopeless = layer().layer(Server::new(|_, _| at_once(504, &[], "")));
    let response = hopeless.oneshot(search()).await.unwrap();
    assert_eq!(response.status(), 504);
    let failed = capture.events("tower_quota::trim_failed");
    assert_eq!(failed.len(), 1, "{failed:?}");
    for field in ["asked=200", "tried=1", "too_heavy=9", "status=504"] {
        assert!(failed[0].contains(field), "{field}: {}", failed[0]);
    }
    let text = capture.text();
    for planted in [SECRET, EMAIL, ID, "planted"] {
        assert!(!text.contains(planted), "{planted}: {text}");
    }
}
