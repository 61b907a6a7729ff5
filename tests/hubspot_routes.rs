//! Every HubSpot path is counted against the limiter that HubSpot counts it against, and is repeated only when that is safe.

use std::collections::BTreeMap;

use http::{Method, Request};
use tower_quota::hubspot::{DAILY_ONLY, EXEMPT, HubspotRoutes, OAUTH};
use tower_quota::plan::RouteClass;
use tower_quota::request::{Effect, RequestHead, Routes};

use Effect::{Create, IdempotentWrite as Settles, Read};
use RouteClass::{Associations, General, Search};

fn route(method: &str, path: &str) -> (RouteClass, Effect) {
    let request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(format!("https://api.hubapi.com{path}"))
        .body(())
        .unwrap();
    let head = RequestHead::from(&request);
    (HubspotRoutes.class(&head), HubspotRoutes.effect(&head))
}

/// Each line of the table is a method and a path.
#[track_caller]
fn check(class: RouteClass, effect: Effect, table: &str) {
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        assert_eq!(route(method, path), (class, effect), "{line}");
    }
}

#[test]
fn object_search_in_every_spelling() {
    let table = "
        POST /crm/v3/objects/contacts/search
        POST /crm/v4/objects/0-1/search
        POST /crm/objects/v3/2-3604285/search
        POST /crm/objects/2026-03/p123_car/search
        POST /crm/objects/2026-09-beta/CONTACT/search
        POST /crm/objects/2027-03-BETA/0-410/search
        POST /crm/2026-09/objects/deals/search";
    check(Search, Read, table);
    let types_that_look_like_something_else = "
        POST /crm/v3/objects/v4/search
        POST /crm/v3/objects/search/search
        POST /crm/objects/v3/batch/search";
    check(Search, Read, types_that_look_like_something_else);
    let untidy_but_the_same_resource = "
        POST /crm/v3/objects/contacts/search/
        POST /crm/v3/objects/contacts/search?a=/merge
        POST //crm/v3//objects/contacts/search
        POST /crm/v3/objects/contacts/%73earch
        POST /crm/v3/objects/my%2Ftype/search
        POST /CRM/V3/Objects/Contacts/Search";
    check(Search, Read, untidy_but_the_same_resource);
}

#[test]
fn what_is_called_search_but_is_none() {
    let lists = "
        POST /crm/v3/lists/search
        POST /crm/lists/2026-03/search
        POST /crm/lists/v3/search/";
    check(General, Read, lists);
    let gets = "
        GET /files/v3/files/search
        GET /cms/v3/site-search/search?q=x
        GET /marketing/v3/marketing-events/events/search
        GET /contacts/v1/search/query?q=x
        GET /crm/v3/objects/contacts/search";
    check(General, Read, gets);
    check(General, Settles, "PATCH /crm/v3/objects/contacts/search");
    let too_short_too_long_no_version_or_not_quite_the_word = "
        POST /crm/v3/objects/search
        POST /crm/objects/v3/search
        POST /crm/v3/objects/contacts/search/more
        POST /crm/v3/objects/1/2/3/4/5/6/7/8/9/search
        POST /crm/objects/contacts/search
        POST /crm/v3/objects/contacts/search2
        POST /crm/v3/objects/contacts/searc
        POST /crm/v3/objects/contacts/%73earc
        POST /crm/v3/objects/contacts/%7search
        POST /crm/v3x/objects/contacts/search
        POST /crm/v/objects/contacts/search
        POST /crm/2026-3/objects/contacts/search
        POST /crm/2026-03-alpha/objects/contacts/search
        POST /x/crm/v3/objects/contacts/search";
    check(
        General,
        Create,
        too_short_too_long_no_version_or_not_quite_the_word,
    );
}

#[test]
fn associations_have_a_bucket_of_their_own() {
    let reads = "
        POST /crm/v3/associations/contacts/companies/batch/read
        POST /crm/v4/associations/0-1/0-2/batch/read
        POST /crm/associations/2026-03/contacts/companies/batch/read
        GET /crm/v3/associations/contacts/companies/types
        GET /crm/associations/2026-03/contacts/companies/labels
        GET /crm/associations/2026-09-beta/definitions/configurations/all";
    check(Associations, Read, reads);
    let creates = "
        POST /crm/v3/associations/contacts/companies/batch/create
        POST /crm/v4/associations/0-1/0-2/batch/associate/default
        POST /crm/v4/associations/usage/high-usage-report/7
        POST /crm/associations/2026-03/usage/high-usage-report/7
        POST /crm/associations/2026-03/contacts/companies/labels";
    check(Associations, Create, creates);
    let settling = "
        POST /crm/v4/associations/0-1/0-2/batch/archive
        POST /crm/v4/associations/0-1/0-2/batch/labels/archive
        POST /crm/associations/v4/definitions/configurations/a/b/batch/update
        PUT /crm/associations/v4/contacts/companies/labels
        DELETE /crm/associations/2025-09/a/b/labels/7/";
    check(Associations, Settles, settling);
}

#[test]
fn what_is_called_associations_but_is_counted_as_ordinary() {
    let reads = "
        GET /crm/v4/objects/contacts/1/associations/companies
        GET /crm/v4/associations/contacts/companies/labels
        GET /crm/limits/2026-03/associations/records/from
        GET /crm/v3/limits/associations/labels
        GET /crm-associations/v1/associations/1/HUBSPOT_DEFINED/4
        GET /crm/associations
        GET /crm/v3/objects/associations/1";
    check(General, Read, reads);
    let writes = "
        PUT /crm/v4/objects/contacts/1/associations/default/companies/2
        DELETE /crm/objects/2026-03/contacts/1/associations/companies/2
        DELETE /crm/v4/associations/contacts/companies/labels/7";
    check(General, Settles, writes);
    let creates = "
        POST /crm/v4/associations/contacts/companies/labels
        POST /crm-object-schemas/v3/schemas/cars/associations";
    check(General, Create, creates);
}

#[test]
fn ordinary_calls_by_effect() {
    let reads = "
        GET /crm/v3/objects/contacts
        HEAD /crm/v3/objects/contacts/1
        POST /crm/v3/objects/contacts/batch/read?archived=false
        POST /crm/objects/2026-03/contacts/batch/read
        POST /deal-splits/2026-03/batch/read
        POST /crm/v3/properties/contacts/batch/read
        POST /crm/v3/lists/records/memberships/batch/read
        POST /crm/extensions/calling/v3/connection-statuses/batch/read";
    check(General, Read, reads);
    let settling = "
        PATCH /crm/v3/objects/contacts/a%40b.example?idProperty=email
        DELETE /crm/v3/objects/contacts/1
        POST /crm/objects/2026-03/contacts/batch/update
        POST /crm/objects/v3/contacts/batch/upsert/
        POST /crm/v3/objects/contacts/batch/archive
        POST /crm/v3/objects/contacts/gdpr-delete
        POST /crm/objects/v3/deals/splits/batch/upsert
        PATCH /crm/pipelines/2026-03/deals/7
        PUT /crm/v3/lists/7/memberships/add";
    check(General, Settles, settling);
    let creates = "
        POST /crm/v3/objects/contacts
        POST /crm/objects/2026-03/contacts
        POST /crm/v3/objects/contacts/batch/create
        POST /crm/v3/objects/contacts/merge
        POST /crm/v3/properties/contacts
        POST /crm/v3/lists
        POST /crm/v3/imports
        POST /contacts/v1/contact";
    check(General, Create, creates);
    let unknown_so_nothing_is_promised = "
        PATCH /somewhere/v9/else
        POST /
        POST /crm
        PURGE /crm/v3/objects/contacts";
    check(General, Create, unknown_so_nothing_is_promised);
}

#[test]
fn calls_outside_the_burst() {
    let tokens = "
        POST /oauth/v1/token
        POST /oauth/2026-03/token
        POST /oauth/2026-03/token/introspect";
    check(OAUTH, Create, tokens);
    check(General, Read, "GET /oauth/v1/access-tokens/abc");

    let sends = "
        POST /events/v3/send
        POST /events/2026-03/send/batch
        POST /marketing/v3/transactional/single-email/send
        POST /marketing/transactional/2026-03/single-email/send
        POST /marketing/v4/email/single-send
        POST /marketing/email-campaigns/2026-03/single-send
        POST /webhooks-journal/snapshots/2026-03/crm";
    check(EXEMPT, Create, sends);
    check(
        EXEMPT,
        Read,
        "GET /webhooks-journal/journal/2026-03/earliest",
    );
    let beside_them = "
        GET /events/v3/events
        GET /webhooks/v3/7/subscriptions
        GET /marketing/v3/emails/7
        GET /cms/v3/blogs/posts";
    check(General, Read, beside_them);
    check(
        General,
        Create,
        "POST /marketing/v3/transactional/smtp-tokens",
    );

    let files = "
        GET /cms/v3/source-code/published/content/a/b/c/d/e/f/g.html
        GET /cms/source-code/2026-03/draft/metadata/a.html";
    check(DAILY_ONLY, Read, files);
    let file = "PUT /cms/source-code/2026-03/draft/content/a.html";
    check(DAILY_ONLY, Settles, file);
    check(
        General,
        Create,
        "POST /cms/source-code/2026-03/extract/async",
    );
    let publishing = "
        POST /marketing/v3/emails/7/publish
        POST /marketing/emails/2026-03/7/unpublish";
    check(DAILY_ONLY, Create, publishing);
}

#[test]
fn automation_flows_follow_the_marks_of_the_specification() {
    check(DAILY_ONLY, Create, "POST /automation/v4/flows");
    let update = "PUT /automation/v4/2027-03-beta/flows/7";
    check(DAILY_ONLY, Settles, update);
    let reads = "
        GET /automation/v4/flows
        GET /automation/v4/flows/7
        POST /automation/v4/flows/batch/read";
    check(General, Read, reads);
    check(
        General,
        Settles,
        "DELETE /automation/v4/2027-03-beta/flows/7",
    );
}

/// What the class column of the table says about the effect.
fn expected_effect(method: &str, path: &str, column: &str) -> Effect {
    match (method, column) {
        ("GET", _) | (_, "batch-read" | "single-read" | "list" | "search") => Read,
        ("PUT" | "DELETE" | "PATCH", _) => Settles,
        _ if path.ends_with("/batch/read") => Read,
        _ if path.ends_with("/batch/create") => Create,
        (_, "batch-write") => Settles,
        _ => match path.rsplit('/').next() {
            Some("archive" | "gdpr-delete" | "upsert" | "update" | "purge" | "delete") => Settles,
            _ => Create,
        },
    }
}

/// The vendor's own marks, where the table of them is at hand: one line per operation with method, path, exemptions, kind.
#[test]
fn agrees_with_the_vendors_marks() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/facts/hubspot-operations.tsv"
    );
    let Ok(table) = std::fs::read_to_string(file) else {
        println!("{file} is not there: nothing was checked");
        return;
    };
    let mut counts = BTreeMap::<_, usize>::new();
    let mut wrong = Vec::new();
    for line in table.lines().skip(1) {
        let [method, path, exempt, column] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("not four columns: {line}");
        };
        // A template's parameter stands for any id or name.
        let fill = |part| {
            if str::starts_with(part, "{") {
                "0-123"
            } else {
                part
            }
        };
        let filled: Vec<_> = path.split('/').map(fill).collect();
        let (class, effect) = route(method, &filled.join("/"));
        let expected = match (exempt, column) {
            ("-|ten-secondly", _) => None,
            ("ten-secondly", "search") => Some(Search),
            // Labels, types and configurations are called schema, and are in the same bucket.
            ("ten-secondly", _) => Some(Associations),
            ("-", _) => Some(General),
            _ => panic!("an unknown mark: {line}"),
        };
        *counts
            .entry((exempt, column, class.to_string()))
            .or_default() += 1;
        if expected.is_some_and(|expected| expected != class) {
            wrong.push(format!("{line}: {class}"));
        }
        if effect != expected_effect(method, path, column) {
            wrong.push(format!("{line}: {effect:?}"));
        }
    }
    for ((exempt, column, class), count) in &counts {
        println!("{count:5}  {exempt:15} {column:18} {class}");
    }
    println!("{:5}  operations", counts.values().sum::<usize>());
    assert!(
        wrong.is_empty(),
        "{} rows:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
