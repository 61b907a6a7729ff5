//! HubSpot's calls for one record as calls for many.

mod call;
mod names;
mod problem;
mod results;
mod sent;
mod single;
mod split;

use bytes::Bytes;

use super::routes::One;
use crate::batch::{BatchPolicy, Single};
use crate::request::RequestHead;

/// How HubSpot's calls for single CRM records are made one batch call, and how each caller gets its own answer, for
/// [`BatchLayer`](crate::BatchLayer).
///
/// | request | batch call | inputs at most |
/// |---|---|---|
/// | `GET …/{id}` | `batch/read` | 100; 50 with `propertiesWithHistory` |
/// | `POST …` | `batch/create` | 100 |
/// | `PATCH …/{id}` | `batch/update` | 100 |
/// | `DELETE …/{id}` | `batch/archive` | 100 |
///
/// Every object type, both spellings of a path and every version are understood.
///
/// # What is sent as it came
///
/// * A read that asks for `associations`, or has any parameter but `properties`, `propertiesWithHistory`, `idProperty` and
///   `archived`; an update with another one than `idProperty`; a create or an archive with any.
/// * A record id that is no number, and a value of an `idProperty` with space around it.
/// * A read by another `idProperty` than the e-mail of contacts that does not list its properties: results would not tell which
///   record they are, because only the server knows what it shows then.
/// * A body that is not JSON, or has anything but `properties` (and `associations`, of a create), or a property twice, or one that
///   is neither text, number, boolean nor null.
///
/// # Which share a batch
///
/// Those of one operation at the same path, spelt alike, with the same list of properties in the same order, the same history, id
/// property and archived flag. Creates with associations keep to themselves. Reads and archives of the same record share an input;
/// updates of it are done one after the other.
///
/// # Whose answer is whose
///
/// HubSpot's results come in any order. A result is matched by its id, by the property that the record was asked for by (e-mails
/// of contacts without regard to case, and their further e-mails), by `hs_merged_object_ids` where it shows them, and by the
/// `objectWriteTraceId` if it is echoed; never by its position. A contact that was created is known by its e-mail, anything else by
/// all that was sent of it: creates that sent the very same are interchangeable. Where the server wrote a value in another way than
/// it was sent, the others tell, as long as there is a result for each input. The answer is the result as the server wrote it.
///
/// An error of a 207 is its owner's answer, as the single call would have worded it. A whole batch that is refused for one bad record
/// is asked for again without it. What no result and no error tells of is asked for singly; a create of which nothing is told fails
/// with an error that says so, because it may have been done.
///
/// # Example
///
/// ```
/// use bytes::Bytes;
/// use http::Request;
/// use tower_quota::batch::BatchPolicy;
/// use tower_quota::hubspot::Batches;
/// use tower_quota::request::RequestHead;
///
/// let batches = Batches::default();
/// let read = Request::get("https://api.hubapi.com/crm/v3/objects/contacts/7?properties=email").body(())?;
/// let head = RequestHead::from(&read);
/// assert!(batches.concerns(&head) && batches.single(&head, &Bytes::new()).is_some());
///
/// let list = Request::get("https://api.hubapi.com/crm/v3/objects/contacts?limit=10").body(())?;
/// assert!(!batches.concerns(&RequestHead::from(&list)));
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Batches {}

impl BatchPolicy for Batches {
    fn concerns(&self, request: &RequestHead<'_>) -> bool {
        One::of(request.method, request.uri.path()).is_some()
    }

    fn single(&self, request: &RequestHead<'_>, body: &Bytes) -> Option<Single> {
        single::understand(request, body)
    }
}
