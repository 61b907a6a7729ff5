//! How many calls a run of a sync makes.

use tower_quota::plan::RouteClass;

/// Records in one batch call.
pub(super) const MOST_BATCHED: u64 = 100;
/// Results on one page of a search.
pub(super) const MOST_PAGED: u64 = 200;
/// Records whose associations one call reads or writes.
pub(super) const MOST_ASSOCIATED: u64 = 2_000;
/// Results of one search; for more of them the search is asked again from where it ended.
const MOST_FOUND: u64 = 10_000;

/// What one run does, as far as it costs calls. The figures of the API are those that HubSpot documents: a batch call is one call, a
/// search ends after 10,000 results.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Work {
    /// Records that are written or read in batches.
    pub(super) records: u64,
    pub(super) batch: u64,
    /// Records that are written or read one by one.
    pub(super) singles: u64,
    /// How many of them leave as one call, if there is something that collects them.
    pub(super) collected: u64,
    /// Other calls, however many records there are.
    pub(super) reads: u64,
    pub(super) searches: u64,
    /// Results of each search.
    pub(super) found: u64,
    pub(super) page: u64,
    /// Records whose associations are read or written.
    pub(super) associations: u64,
    pub(super) association_batch: u64,
}

/// The calls of one run, by what governs them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Calls {
    pub(super) general: u64,
    pub(super) search: u64,
    pub(super) associations: u64,
}

impl Calls {
    pub(super) fn all(self) -> u64 {
        self.general + self.search + self.associations
    }

    pub(super) fn by_class(self) -> [(RouteClass, u64); 3] {
        [
            (RouteClass::General, self.general),
            (RouteClass::Search, self.search),
            (RouteClass::Associations, self.associations),
        ]
    }
}

impl Work {
    /// The calls of a run that has `factor` times as much to do as usual.
    pub(super) fn calls(&self, factor: f64) -> Calls {
        let scaled = |count: u64| (count as f64 * factor).round() as u64;
        let batches = scaled(self.records).div_ceil(self.batch);
        let associations = scaled(self.associations).div_ceil(self.association_batch);
        Calls {
            general: batches + scaled(self.singles).div_ceil(self.collected) + self.reads,
            search: self.searches * pages(scaled(self.found), self.page),
            associations,
        }
    }
}

/// Calls for one search with so many results. One that finds nothing is a call, too.
fn pages(found: u64, page: u64) -> u64 {
    let whole = found / MOST_FOUND * MOST_FOUND.div_ceil(page);
    (whole + (found % MOST_FOUND).div_ceil(page)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_example_makes_102_calls_per_run() {
        let work = Work {
            records: 10_000,
            batch: 100,
            singles: 0,
            collected: 1,
            reads: 2,
            searches: 0,
            found: 200,
            page: 200,
            associations: 0,
            association_batch: 1_000,
        };
        assert_eq!(work.calls(1.0).all(), 102);
        assert_eq!(work.calls(1.5).all(), 152);
    }

    #[test]
    fn searches_are_paged_and_end_after_ten_thousand_results() {
        assert_eq!(pages(0, 200), 1);
        assert_eq!(pages(200, 200), 1);
        assert_eq!(pages(201, 200), 2);
        assert_eq!(pages(10_000, 200), 50);
        assert_eq!(pages(10_001, 200), 51);
        // Pages of 150 do not fit into 10,000: 67 of them each time.
        assert_eq!(pages(20_150, 150), 67 + 67 + 1);
    }
}
