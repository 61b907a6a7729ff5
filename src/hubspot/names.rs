//! The names in HubSpot's paths: everything else in them is an id.

/// Whether a segment of a path is one of HubSpot's own names, as its documentation writes it, or a version. Names of custom objects, of
/// properties and of whatever else an account has made are none: who asks for something that is not listed here is shown with
/// `{}` in its place.
pub(super) fn is_name(segment: &str) -> bool {
    of_length(segment.len()).contains(&segment) || is_version(segment.as_bytes())
}

/// `v1` to `v99`, or a year and month, perhaps with `-beta`.
fn is_version(segment: &[u8]) -> bool {
    match segment {
        [b'v', one] => one.is_ascii_digit(),
        [b'v', ten, one] => ten.is_ascii_digit() && one.is_ascii_digit(),
        [b'2', b'0', y3, y4, b'-', m1, m2, beta @ ..] => {
            let digits = [y3, y4, m1, m2];
            digits.into_iter().all(u8::is_ascii_digit) && (beta.is_empty() || beta == b"-beta")
        }
        _ => false,
    }
}

/// Those of one length, so that few are compared.
fn of_length(length: usize) -> &'static [&'static str] {
    match length {
        3 => &["add", "cms", "crm"],
        4 => &[
            "cart", "cost", "deal", "fees", "file", "form", "jobs", "lead", "logs", "note", "open",
            "path", "read", "rows", "send", "stat", "tags", "task", "urls",
        ],
        5 => &[
            "apply", "batch", "blogs", "by-id", "calls", "carts", "clone", "daily", "deals",
            "draft", "email", "event", "files", "flows", "forms", "goals", "hubdb", "leads",
            "links", "lists", "media", "merge", "names", "notes", "oauth", "pages", "posts",
            "purge", "quote", "reset", "roles", "stats", "tasks", "taxes", "teams", "token",
            "types", "units", "usage", "users", "views",
        ],
        6 => &[
            "actors", "assets", "clicks", "create", "domain", "drafts", "emails", "events",
            "export", "groups", "labels", "limits", "opened", "orders", "owners", "quotes",
            "remove", "rename", "report", "search", "social", "stages", "status", "tables",
            "ticket", "tokens", "update", "upload", "upsert",
        ],
        7 => &[
            "account", "actions", "archive", "authors", "batches", "between", "by-name", "company",
            "contact", "content", "courses", "default", "details", "domains", "exports", "folders",
            "imports", "inboxes", "invoice", "journal", "layouts", "members", "objects", "product",
            "publish", "records", "reports", "restore", "results", "schemas", "service", "threads",
            "tickets", "uploads", "webhook",
        ],
        8 => &[
            "activity", "add-from", "archived", "calendar", "campaign", "channels", "comments",
            "contacts", "contents", "discount", "feedback", "invoices", "listings", "meetings",
            "messages", "metadata", "outcomes", "partners", "payments", "products", "revision",
            "schedule", "security", "services", "settings", "snapshot", "subtypes", "timeline",
            "timezone", "tracking", "validate", "visitors", "webhooks", "workflow",
        ],
        9 => &[
            "approvals",
            "campaigns",
            "companies",
            "completed",
            "contracts",
            "discounts",
            "histogram",
            "idmapping",
            "line_item",
            "marketing",
            "pipelines",
            "published",
            "push-live",
            "redirects",
            "reporting",
            "resources",
            "revisions",
            "scheduled",
            "scheduler",
            "sequences",
            "snapshots",
            "subscribe",
            "templates",
            "translate",
            "unpublish",
            "workflows",
        ],
        10 => &[
            "activities",
            "audit-logs",
            "automation",
            "blog-posts",
            "currencies",
            "extensions",
            "introspect",
            "line_items",
            "properties",
            "site-pages",
            "statistics",
        ],
        11 => &[
            "completions",
            "definitions",
            "enrollments",
            "gdpr-delete",
            "integrators",
            "memberships",
            "orders-fees",
            "postal_mail",
            "public-apps",
            "single-send",
            "site-search",
            "smtp-tokens",
            "source-code",
            "unsubscribe",
        ],
        12 => &[
            "account-info",
            "appointments",
            "associations",
            "attributions",
            "dispositions",
            "lists-search",
            "private-apps",
            "provisioning",
            "single-email",
            "subscription",
            "url-mappings",
        ],
        13 => &[
            "access-tokens",
            "conversations",
            "import-export",
            "landing-pages",
            "meeting-links",
            "notifications",
            "subscriptions",
            "transactional",
            "url-redirects",
        ],
        14 => &[
            "add-and-remove",
            "business-units",
            "communications",
            "exchange-rates",
            "limit-tracking",
            "login-activity",
            "multi-language",
            "object-library",
            "object-type-id",
            "refresh-tokens",
            "template-types",
        ],
        15 => &[
            "custom-channels",
            "generate-schema",
            "partner_clients",
            "revert-to-draft",
            "unsubscribe-all",
            "with-record-ids",
        ],
        16 => &[
            "archive-by-email",
            "channel-accounts",
            "list-memberships",
            "marketing-events",
            "partner_services",
            "security-history",
            "update-list-name",
            "webhooks-journal",
        ],
        17 => &[
            "by-object-type-id",
            "commerce-payments",
            "group-permissions",
            "high-usage-report",
            "record-identifier",
            "user-provisioning",
        ],
        18 => &[
            "crm-object-schemas",
            "events-completions",
            "subscription-types",
        ],
        19 => &["update-list-filters"],
        20 => &[
            "feedback_submissions",
            "property-validations",
            "subscription_payment",
            "transactional-emails",
        ],
        22 => &["memberships-join-order", "visitor-identification"],
        25 => &["communication-preferences"],
        59 => &["conversations-visitor-identification-visitor-identification"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_where_it_is_looked_for() {
        let mut names = 0;
        for length in 0..100 {
            for name in of_length(length) {
                assert_eq!(name.len(), length, "{name}");
                assert!(is_name(name));
                names += 1;
            }
        }
        assert!(names > 200);
    }

    #[test]
    fn ids_are_no_names() {
        for id in [
            "",
            "1",
            "12",
            "512",
            "4711",
            "0-1",
            "2-3456",
            "p_car",
            "p123_car",
            "CONTACTS",
            "a@b.c",
            "a%40b.c",
            "ada",
            "v",
            "v3x",
            "v123",
            "vip",
            "2026",
            "2026-1",
            "2026-13-01",
            "1999-03",
            "pat-na1-11111111",
            "contacts ",
            "contacts.json",
        ] {
            assert!(!is_name(id), "{id}");
        }
        for version in ["v1", "v3", "v4", "v12", "2026-03", "2026-09-beta"] {
            assert!(is_name(version), "{version}");
        }
    }
}
