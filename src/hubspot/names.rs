//! The names in HubSpot's paths: everything else in them is an id.

/// Whether a segment of a path is one of HubSpot's own names, as its documentation writes it, or a version. Names of custom objects, of
/// properties and of whatever else an account has made are none: who asks for something that is not listed here is shown with
/// `{}` in its place.
pub(super) fn is_name(segment: &str) -> bool {
    let mut slot = hash(segment.as_bytes());
    loop {
        match NAMES.get(usize::from(TABLE[slot])) {
            Some(name) if *name == segment => return true,
            Some(_) => slot = (slot + 1) % SLOTS,
            None => return is_version(segment.as_bytes()),
        }
    }
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

const NAMES: [&str; 275] = [
    "access-tokens",
    "account",
    "account-info",
    "actions",
    "activities",
    "activity",
    "actors",
    "add",
    "add-and-remove",
    "add-from",
    "apply",
    "appointments",
    "approvals",
    "archive",
    "archive-by-email",
    "archived",
    "assets",
    "associations",
    "attributions",
    "audit-logs",
    "authors",
    "automation",
    "batch",
    "batches",
    "between",
    "blog-posts",
    "blogs",
    "business-units",
    "by-id",
    "by-name",
    "by-object-type-id",
    "calendar",
    "calls",
    "campaign",
    "campaigns",
    "cart",
    "carts",
    "channel-accounts",
    "channels",
    "clicks",
    "clone",
    "cms",
    "comments",
    "commerce-payments",
    "communication-preferences",
    "communications",
    "companies",
    "company",
    "completed",
    "completions",
    "contact",
    "contacts",
    "content",
    "contents",
    "contracts",
    "conversations",
    "conversations-visitor-identification-visitor-identification",
    "cost",
    "courses",
    "create",
    "crm",
    "crm-object-schemas",
    "currencies",
    "custom-channels",
    "daily",
    "deal",
    "deals",
    "default",
    "definitions",
    "details",
    "discount",
    "discounts",
    "dispositions",
    "domain",
    "domains",
    "draft",
    "drafts",
    "email",
    "emails",
    "enrollments",
    "event",
    "events",
    "events-completions",
    "exchange-rates",
    "export",
    "exports",
    "extensions",
    "feedback",
    "feedback_submissions",
    "fees",
    "file",
    "files",
    "flows",
    "folders",
    "form",
    "forms",
    "gdpr-delete",
    "generate-schema",
    "goals",
    "group-permissions",
    "groups",
    "high-usage-report",
    "histogram",
    "hubdb",
    "idmapping",
    "import-export",
    "imports",
    "inboxes",
    "integrators",
    "introspect",
    "invoice",
    "invoices",
    "jobs",
    "journal",
    "labels",
    "landing-pages",
    "layouts",
    "lead",
    "leads",
    "limit-tracking",
    "limits",
    "line_item",
    "line_items",
    "links",
    "list-memberships",
    "listings",
    "lists",
    "lists-search",
    "login-activity",
    "logs",
    "marketing",
    "marketing-events",
    "media",
    "meeting-links",
    "meetings",
    "members",
    "memberships",
    "memberships-join-order",
    "merge",
    "messages",
    "metadata",
    "multi-language",
    "names",
    "note",
    "notes",
    "notifications",
    "oauth",
    "object-library",
    "object-type-id",
    "objects",
    "open",
    "opened",
    "orders",
    "orders-fees",
    "outcomes",
    "owners",
    "pages",
    "partner_clients",
    "partner_services",
    "partners",
    "path",
    "payments",
    "pipelines",
    "postal_mail",
    "posts",
    "private-apps",
    "product",
    "products",
    "properties",
    "property-validations",
    "provisioning",
    "public-apps",
    "publish",
    "published",
    "purge",
    "push-live",
    "quote",
    "quotes",
    "read",
    "record-identifier",
    "records",
    "redirects",
    "refresh-tokens",
    "remove",
    "rename",
    "report",
    "reporting",
    "reports",
    "reset",
    "resources",
    "restore",
    "results",
    "revert-to-draft",
    "revision",
    "revisions",
    "roles",
    "rows",
    "schedule",
    "scheduled",
    "scheduler",
    "schemas",
    "search",
    "security",
    "security-history",
    "send",
    "sequences",
    "service",
    "services",
    "settings",
    "single-email",
    "single-send",
    "site-pages",
    "site-search",
    "smtp-tokens",
    "snapshot",
    "snapshots",
    "social",
    "source-code",
    "stages",
    "stat",
    "statistics",
    "stats",
    "status",
    "subscribe",
    "subscription",
    "subscription-types",
    "subscription_payment",
    "subscriptions",
    "subtypes",
    "tables",
    "tags",
    "task",
    "tasks",
    "taxes",
    "teams",
    "template-types",
    "templates",
    "threads",
    "ticket",
    "tickets",
    "timeline",
    "timezone",
    "token",
    "tokens",
    "tracking",
    "transactional",
    "transactional-emails",
    "translate",
    "types",
    "units",
    "unpublish",
    "unsubscribe",
    "unsubscribe-all",
    "update",
    "update-list-filters",
    "update-list-name",
    "upload",
    "uploads",
    "upsert",
    "url-mappings",
    "url-redirects",
    "urls",
    "usage",
    "user-provisioning",
    "users",
    "validate",
    "views",
    "visitor-identification",
    "visitors",
    "webhook",
    "webhooks",
    "webhooks-journal",
    "with-record-ids",
    "workflow",
    "workflows",
];

/// Where the name is in [`NAMES`] that hashes to a slot, or to one before that was taken. Every segment of every request is looked up, so
/// it is made by the compiler. There are three times as many slots as names.
static TABLE: [u16; SLOTS] = table();
const SLOTS: usize = 1024;
const FREE: u16 = u16::MAX;

const fn table() -> [u16; SLOTS] {
    let mut table = [FREE; SLOTS];
    let mut nth = 0;
    while nth < NAMES.len() {
        let mut slot = hash(NAMES[nth].as_bytes());
        while table[slot] != FREE {
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = nth as u16;
        nth += 1;
    }
    table
}

/// FNV-1a, folded; of what is longer than any name only the beginning.
const fn hash(text: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut nth = 0;
    while nth < text.len() && nth < 48 {
        hash = (hash ^ text[nth] as u32).wrapping_mul(0x0100_0193);
        nth += 1;
    }
    ((hash >> 16) ^ hash) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found() {
        assert!(NAMES.is_sorted());
        for name in NAMES {
            assert!(is_name(name), "{name}");
            assert!(
                !is_name(&name[1..]) || NAMES.contains(&&name[1..]),
                "{name}"
            );
            assert!(!is_name(&format!("{name}1")), "{name}");
        }
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
