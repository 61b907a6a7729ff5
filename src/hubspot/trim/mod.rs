//! What is heavy at HubSpot, and how to ask it in pieces.

mod answer;
mod by_ids;
mod errors;
mod hints;
mod inputs;

mod pages;
mod reads;
mod search;

use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use self::pages::Pages;
use self::reads::Reads;
use self::search::{MOST_PER_PAGE, Search, Way};
use super::calls::is_json;
use super::routes::Many;
use crate::ConfigError;
use crate::request::RequestHead;
use crate::trim::{Question, TrimPolicy};

/// How HubSpot's heavy reads are asked in smaller pieces, for [`PayloadTrimLayer`](crate::PayloadTrimLayer).
///
/// | request | pieces |
/// |---|---|
/// | object search | pages of fewer records; then ids alone, and the properties by batch read |
/// | `batch/read` of objects | fewer inputs |
/// | `batch/read` of associations | fewer inputs |
///
/// Both spellings of a path and every version are understood. All else, a body that is not JSON and what HubSpot would refuse anyway
/// (more than 200 records, beyond the 10,000th, more than 100 inputs) is sent as it is, and so is a body that says twice what is to be
/// changed in it.
///
/// # A search in pages
///
/// The pieces are the same search with a smaller `limit` and an `after` of their own. The answer has the records in their order, byte
/// for byte as the server wrote them, the `total` of the last piece, and the `paging` of the last piece, which is that of the page
/// that was asked for. HubSpot's pages are numbered by offset, so what is true of paging anywhere is true here: when the index
/// changes between two pieces, a record that moves to a later piece comes twice, of which the first is kept, and one that moves to
/// an earlier piece is missed.
///
/// HubSpot takes at most 3,000 characters: where a page would be longer than that and the caller's search is not, white space goes,
/// and if that is not enough, ids are searched at once.
///
/// # Ids first
///
/// Where [`floor`](Self::floor) records with all their properties are still too heavy, or the properties are
/// [many](Self::many_properties), the search asks for `hs_object_id` alone, and the properties are read with `batch/read` beside
/// it, at most 100 records at a time. The answer shows them as the search would have. They are a moment younger than the search
/// index, and a record that was archived in the meantime is left out. A search without a list of properties is not asked like this:
/// only the server knows which ones it would show.
///
/// # Inputs
///
/// Inputs that name the same id stay in one piece. The results come in any order, as HubSpot's do; errors that differ in their ids
/// alone are one again. Where some pieces answer 404 and others do not, those ids are among the errors of a 207.
///
/// # When it makes no whole
///
/// An answer that has no results, that says twice what it has or what comes next, that ends where it cannot end, that does not
/// mention an id that was found, or that has an object or list of more than 100,000 members where one is looked into makes the
/// request fail with a [`TrimError`](crate::trim::TrimError): a part is never handed out as the whole.
///
/// # Example
///
/// ```
/// use tower_quota::PayloadTrimLayer;
/// use tower_quota::hubspot::SearchPages;
///
/// let policy = SearchPages::default().floor(25)?.many_properties(100)?;
/// let layer = PayloadTrimLayer::new(policy);
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct SearchPages {
    settings: Arc<Settings>,
}

#[derive(Clone, Debug)]
struct Settings {
    floor: usize,
    many_properties: usize,
    keep: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            floor: 10,
            many_properties: 50,
            keep: Vec::new(),
        }
    }
}

impl SearchPages {
    /// Sets the fewest records that a piece asks for with all their properties, from 1 to 200; 10 at first. With fewer it asks for
    /// ids first. A search that cannot ask so goes down to 1.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when it is out of range.
    pub fn floor(mut self, records: usize) -> Result<Self, ConfigError> {
        if !(1..=MOST_PER_PAGE).contains(&records) {
            let problem = format!("must be between 1 and {MOST_PER_PAGE}, is {records}");
            return Err(ConfigError::new("floor", problem));
        }
        Arc::make_mut(&mut self.settings).floor = records;
        Ok(self)
    }

    /// Sets how many properties are many; 50 at first. With so many a search that is too heavy asks for ids first at once, not
    /// for fewer records.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when it is zero.
    pub fn many_properties(mut self, properties: usize) -> Result<Self, ConfigError> {
        if properties == 0 {
            return Err(ConfigError::new("many_properties", "must not be zero"));
        }
        Arc::make_mut(&mut self.settings).many_properties = properties;
        Ok(self)
    }

    /// Sets the properties that are worth having alone; none at first, and then nothing is ever left out.
    ///
    /// This is the last resort, and it **loses data**: when a search is too heavy in every other way, it asks for those of its
    /// properties that are named here, and the caller gets the records without the others. The response says which those are, in
    /// the extension [`Dropped`](crate::trim::Dropped) and the header [`DROPPED_HEADER`](crate::trim::DROPPED_HEADER).
    ///
    /// What is remembered of a search holds for all that are alike in the number of properties and the operators. So that a light one
    /// does not lose what only a heavy one had to, each is first asked for as a whole, once; but not in halves, where the last one
    /// like it had to lose properties.
    #[must_use]
    pub fn keep_properties<I>(mut self, names: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let names = names.into_iter().map(Into::into).collect();
        Arc::make_mut(&mut self.settings).keep = names;
        self
    }
}

impl TrimPolicy for SearchPages {
    fn concerns(&self, request: &RequestHead<'_>) -> bool {
        request.method == Method::POST && Many::of(request.uri.path()).is_some()
    }

    fn question(&self, request: &RequestHead<'_>, body: &Bytes) -> Option<Box<dyn Question>> {
        if !is_json(request) {
            return None;
        }
        match Many::of(request.uri.path())? {
            Many::Search => {
                let search = Search::understand(request, body, &self.settings)?;
                Some(Box::new(Pages::new(Arc::new(search), Way::Whole)))
            }
            many => Some(Box::new(Reads::understand(request, body, many)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Uri};

    use super::*;
    use crate::hubspot::calls::LONGEST_PATH;

    fn request(method: Method, path: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn what_asks_for_many_records_is_recognised() {
        use Many::{Associations, Objects, Search};
        for (path, expected) in [
            ("/crm/v3/objects/contacts/search", Some(Search)),
            ("/crm/objects/2026-09-beta/0-1/search", Some(Search)),
            ("/crm/v3/objects/contacts/%73earch/", Some(Search)),
            ("/crm/v3/objects/contacts/searc%68", Some(Search)),
            ("/CRM/V3/Objects/p1_car/SEARCH", Some(Search)),
            ("/crm/v3/objects/contacts/batch/read", Some(Objects)),
            ("/crm/objects/v3/2-3604285/batch/read", Some(Objects)),
            ("/crm/v3/objects/contacts/BATCH/READ/", Some(Objects)),
            (
                "/crm/v3/associations/contacts/companies/batch/read",
                Some(Associations),
            ),
            (
                "/crm/v4/associations/0-1/0-2/batch/read",
                Some(Associations),
            ),
            (
                "/crm/associations/2026-03/0-1/0-2/batch/read",
                Some(Associations),
            ),
            ("/crm/v3/lists/search", None),
            ("/crm/lists/2026-03/search", None),
            ("/crm/v3/properties/contacts/batch/read", None),
            ("/crm/v3/lists/memberships/batch/read", None),
            ("/crm/objects/2026-03/deals/splits/batch/read", None),
            ("/crm/v3/objects/contacts/1/search", None),
            ("/crm/v3/objects/contacts/batch/update", None),
            ("/crm/v4/associations/a/b/c/batch/read", None),
            ("/crm/v4/associations/a/batch/read", None),
            ("/files/v3/files/search", None),
            ("/search", None),
            ("/", None),
        ] {
            let uri: Uri = format!("https://api.hubapi.com{path}?limit=5")
                .parse()
                .unwrap();
            assert_eq!(Many::of(uri.path()), expected, "{path}");
            let concerned =
                |method| SearchPages::default().concerns(&(&request(method, path, &[])).into());
            assert_eq!(concerned(Method::POST), expected.is_some(), "{path}");
            assert!(!concerned(Method::GET), "{path}");
        }
    }

    #[test]
    fn only_json_that_can_be_read_is_understood() {
        for (headers, expected) in [
            (&[][..], true),
            (&[("content-type", "application/json")], true),
            (&[("content-type", "Application/JSON; charset=utf-8")], true),
            (&[("content-type", "application/vnd.api+json")], true),
            (&[("content-encoding", "identity")], true),
            (&[("content-type", "text/plain")], false),
            (&[("content-type", "application/jsonx")], false),
            (&[("content-encoding", "gzip")], false),
            (
                &[("content-encoding", "identity"), ("content-encoding", "br")],
                false,
            ),
        ] {
            let request = request(Method::POST, "/crm/v3/objects/contacts/search", headers);
            let question = SearchPages::default().question(&(&request).into(), &Bytes::from("{}"));
            assert_eq!(question.is_some(), expected, "{headers:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for floor in [0, 201] {
            let error = SearchPages::default().floor(floor).unwrap_err();
            assert_eq!(error.field(), "floor");
        }
        assert!(SearchPages::default().floor(200).is_ok());
        let error = SearchPages::default().many_properties(0).unwrap_err();
        assert_eq!(error.field(), "many_properties");
    }

    #[test]
    fn a_shape_is_bounded_and_has_no_values() {
        let path = format!("/crm/v3/objects/{}/search", "long".repeat(100));
        let request = request(Method::POST, &path, &[]);
        let groups =
            vec![r#"{"filters":[{"propertyName":"email","operator":"EQ","value":"secret"}]}"#; 500];
        let body = format!(
            r#"{{"filterGroups":[{}],"query":"secret"}}"#,
            groups.join(",")
        );
        let question = SearchPages::default().question(&(&request).into(), &Bytes::from(body));
        let shape = question.unwrap().shape();
        assert_eq!(shape.route.len(), "POST ".len() + LONGEST_PATH);
        assert_eq!(shape.detail, "pages, usual properties, 9 groups EQ, query");
    }
}
