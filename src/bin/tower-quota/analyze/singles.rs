//! Calls for single records, which could leave as batch calls.

use std::collections::BTreeMap;

use super::work::MOST_BATCHED;

/// Whether a call of this route concerns one record and has a batch form: the object APIs, in both spellings.
pub(super) fn is_single(route: &str) -> bool {
    let Some((method, path)) = route.split_once(' ') else {
        return false;
    };
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let before = parts.by_ref().take_while(|part| *part != "objects").last();
    // `/crm/objects/{version}/{type}` has the version behind.
    let skip = usize::from(before == Some("crm"));
    let mut tail = parts.skip(skip);
    match (tail.next(), tail.next(), tail.next()) {
        (Some(_), Some("{}"), None) => matches!(method, "GET" | "PATCH" | "DELETE"),
        (Some(_), None, None) => method == "POST",
        _ => false,
    }
}

/// Counts the batch calls that calls of the same kind in the same second would be.
pub(super) struct Batches {
    /// For each kind the second, the calls in it, and the series.
    open: Vec<(f64, u64, usize)>,
    /// For each series calls and batch calls.
    closed: BTreeMap<usize, (u64, u64)>,
}

impl Batches {
    pub(super) fn new(kinds: usize) -> Self {
        Self {
            open: vec![(f64::NAN, 0, 0); kinds],
            closed: BTreeMap::new(),
        }
    }

    pub(super) fn count(&mut self, kind: usize, series: usize, at: f64) {
        if self.open[kind].0 != at.floor() {
            self.close(kind);
            self.open[kind] = (at.floor(), 0, series);
        }
        self.open[kind].1 += 1;
    }

    fn close(&mut self, kind: usize) {
        let (_, calls, series) = self.open[kind];
        if calls > 0 {
            let (all, batches) = self.closed.entry(series).or_default();
            *all += calls;
            *batches += calls.div_ceil(MOST_BATCHED);
        }
    }

    pub(super) fn end(mut self) -> BTreeMap<usize, (u64, u64)> {
        for kind in 0..self.open.len() {
            self.close(kind);
        }
        self.closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_for_single_records_are_told() {
        for (route, expected) in [
            ("GET /crm/v3/objects/contacts/{}", true),
            ("PATCH /crm/objects/2026-03/contacts/{}", true),
            ("POST /crm/v3/objects/contacts", true),
            ("POST /crm/objects/2026-03/contacts", true),
            ("GET /crm/v3/objects/contacts", false),
            ("POST /crm/v3/objects/contacts/search", false),
            ("POST /crm/v3/objects/contacts/batch/read", false),
            ("GET /crm/v3/owners", false),
            ("other routes", false),
        ] {
            assert_eq!(is_single(route), expected, "{route}");
        }
    }
}
