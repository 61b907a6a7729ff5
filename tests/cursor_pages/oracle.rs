//! Random stores and requests: the answer through the layer is what the same server answers when nothing is too heavy for it.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};
use tower_quota::PayloadTrimLayer;
use tower_quota::trim::Trimmed;

use crate::toy::{
    DEFAULT_SIZE, JsonApi, Nested, Stripe, Thing, Toy, Trouble, cursor_at, encoded, id_at,
};

#[derive(Clone, Debug)]
struct Case {
    toy: Toy,
    target: String,
    size: usize,
}

fn case(troubled: bool) -> impl Strategy<Value = Case> {
    let thing = (
        0..3_u8,
        prop::option::of(any::<prop::sample::Index>()),
        any::<bool>(),
    )
        .prop_map(|(kind, friend, is_red)| Thing {
            kind,
            friend,
            is_red,
        });
    let things = prop::collection::vec(thing, 0..90).prop_map(|mut things| {
        // Two that share an id differ in type.
        for at in (1..things.len()).step_by(2) {
            if things[at].kind == things[at - 1].kind {
                things[at].kind = 3;
            }
        }
        things
    });
    let trouble = (
        prop::collection::hash_set(1..40_usize, 0..4),
        prop::collection::vec(0..12_usize, 0..90),
    );
    (
        prop::sample::select(vec![JsonApi, Stripe, Nested]),
        things,
        prop::option::of(2..=100_usize),
        prop::option::of(any::<prop::sample::Index>()),
        1..30_usize,
        trouble,
        any::<[bool; 5]>(),
    )
        .prop_map(
            move |(dialect, things, own_size, start, most, (accidents, short), flags)| {
                let [omits, filter, include, encodes, size_first] = flags;
                let name = |name: &str| {
                    if encodes {
                        encoded(name)
                    } else {
                        name.to_owned()
                    }
                };
                let mut parameters = vec!["fields=%61,b".to_owned(), String::new()];
                if filter {
                    parameters.push("filter=red%2Conly".to_owned());
                }
                if include {
                    parameters.push("include=friend".to_owned());
                }
                if let (Some(start), false) = (start, things.is_empty()) {
                    let at = start.index(things.len());
                    let cursor = match dialect {
                        Stripe => id_at(at),
                        _ => cursor_at(at),
                    };
                    let parameter = name(dialect.cursor_parameter());
                    parameters.push(format!("{parameter}={}", encoded(&cursor)));
                }
                if let Some(size) = own_size {
                    let place = if size_first { 0 } else { parameters.len() };
                    let parameter = name(dialect.size_parameter());
                    parameters.insert(place, format!("{parameter}={size}"));
                }
                let mut trouble = Trouble {
                    most: Some(most),
                    ..Trouble::default()
                };
                if troubled {
                    (trouble.accidents, trouble.short) = (accidents, short);
                }
                let toy = Toy {
                    dialect,
                    things,
                    omits,
                    trouble,
                    log: Arc::default(),
                };
                Case {
                    toy,
                    target: format!("/v1/acme/things?{}", parameters.join("&")),
                    size: own_size.unwrap_or(DEFAULT_SIZE),
                }
            },
        )
}

/// The answer through the layer, and how it was put together.
fn through(
    layer: &PayloadTrimLayer,
    toy: &Toy,
    target: &str,
) -> (StatusCode, Bytes, Option<Trimmed>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let toy = toy.clone();
    let client = tower::service_fn(move |request: Request<_>| {
        let (status, body) = toy.respond(&request.uri().to_string());
        let response = Response::builder().status(status);
        let response = response.body(Full::new(Bytes::from(body))).unwrap();
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let request = Request::get(format!("https://api.example.com{target}"));
    let request = request.body(Full::<Bytes>::default()).unwrap();
    runtime.block_on(async {
        let response = layer.layer(client).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let trimmed = parts.extensions.get().copied();
        (
            parts.status,
            body.collect().await.unwrap().to_bytes(),
            trimmed,
        )
    })
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: std::env::var("PROPTEST_CASES")
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(300),
        max_shrink_iters: 3_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn value(body: &[u8]) -> Value {
    let mut value: Value = serde_json::from_slice(body).unwrap();
    // Whether a server writes an empty list, the pieces do not tell.
    if value.get("included").is_some_and(|list| *list == json!([])) {
        value.as_object_mut().unwrap().remove("included");
    }
    value
}

/// How often a size is halved until it works.
fn halvings(size: usize, most: usize) -> usize {
    let mut size = size;
    let mut halvings = 0;
    while size > most {
        size = size.div_ceil(2);
        halvings += 1;
    }
    halvings
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_pieces_make_the_page_that_was_too_heavy(case in case(false)) {
        let oracle = Toy { trouble: Trouble::default(), log: Arc::default(), ..case.toy.clone() };
        let (_, whole) = oracle.respond(&case.target);
        let layer = PayloadTrimLayer::new(case.toy.dialect.pages());
        let most = case.toy.trouble.most.unwrap();
        let (status, body, trimmed) = through(&layer, &case.toy, &case.target);
        prop_assert_eq!(status, 200);
        prop_assert_eq!(value(&body), value(whole.as_bytes()));

        prop_assert_eq!(trimmed.is_some(), case.size > most);
        if let Some(trimmed) = trimmed {
            let records = value(whole.as_bytes());
            let records = records.pointer("/data").or(records.pointer("/result/items"));
            let records = records.unwrap().as_array().unwrap().len();
            let halvings = halvings(case.size, most);
            let mut works = case.size;
            (0..halvings).for_each(|_| works = works.div_ceil(2));
            prop_assert_eq!(trimmed.too_heavy as usize, halvings);
            let pieces = records.div_ceil(works).max(1);
            prop_assert!(case.toy.log.lock().unwrap().len() <= pieces + 2 * halvings);

            // The next time nothing is too heavy.
            let (_, body, trimmed) = through(&layer, &case.toy, &case.target);
            prop_assert_eq!(value(&body), value(whole.as_bytes()));
            prop_assert_eq!(trimmed.unwrap().too_heavy, 0);
        }
    }

    #[test]
    fn short_pages_and_accidents_lose_nothing(case in case(true)) {
        let oracle = Toy { trouble: Trouble::default(), log: Arc::default(), ..case.toy.clone() };
        let layer = PayloadTrimLayer::new(case.toy.dialect.pages());
        let (status, body, trimmed) = through(&layer, &case.toy, &case.target);
        prop_assert_eq!(status, 200);
        // Without pieces it is the server's own answer, which may be short.
        if trimmed.is_some() {
            let (_, whole) = oracle.respond(&case.target);
            prop_assert_eq!(value(&body), value(whole.as_bytes()));
        }
    }
}

#[test]
fn paging_through_all_records_is_too_heavy_once() {
    let thing = |at: usize| Thing {
        kind: (at % 2) as u8,
        friend: None,
        is_red: false,
    };
    let toy = Toy {
        dialect: JsonApi,
        things: (0..3_000).map(thing).collect(),
        omits: true,
        trouble: Trouble {
            most: Some(13),
            ..Trouble::default()
        },
        log: Arc::default(),
    };
    let layer = PayloadTrimLayer::new(JsonApi.pages());
    let mut target = "/v1/acme/things?page[size]=100".to_owned();
    let (mut places, mut too_heavy) = (Vec::new(), Vec::new());
    loop {
        let (_, body, trimmed) = through(&layer, &toy, &target);
        let page = value(&body);
        let records = page["data"].as_array().unwrap();
        places.extend(
            records
                .iter()
                .map(|record| record["attributes"]["place"].clone()),
        );
        too_heavy.push(trimmed.unwrap().too_heavy);
        match page["links"]["next"].as_str() {
            Some(next) => target = next.replace("https://api.example.com", ""),
            None => break,
        }
    }
    let all: Vec<Value> = (0..3_000).map(Value::from).collect();
    assert_eq!(places, all);
    // 100, 50 and 25 fail, 13 works; 29 more pages of 100 follow, and nobody forgets.
    let mut expected = vec![0; 30];
    expected[0] = 3;
    assert_eq!(too_heavy, expected);
    // 30 pages in 8 pieces each, and those three.
    assert_eq!(toy.log.lock().unwrap().len(), 243);
}
