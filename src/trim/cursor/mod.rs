mod api;
mod builder;
mod document;
mod query;
mod question;
mod stitch;

use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use self::api::Api;
pub use self::builder::{CursorPagesBuilder, NextCursor};
use self::question::PageQuestion;
use super::policy::{Question, TrimPolicy};
use crate::request::RequestHead;

/// Pages of a JSON API that takes a page size and a cursor in the query: JSON:API, Stripe, Klaviyo, Zendesk and many others.
///
/// A page that is too heavy is asked for in smaller pages, one after the other, because only each tells where the next one
/// begins. What is set, and what it is unless set, is described at [`CursorPagesBuilder`].
///
/// ```
/// use tower_quota::PayloadTrimLayer;
/// use tower_quota::trim::{CursorPages, NextCursor};
///
/// // JSON:API as Klaviyo speaks it: `page[size]`, `page[cursor]`, and the next cursor in the URL in `links.next`.
/// let klaviyo = CursorPages::builder(["/api/profiles", "/api/lists/{id}/profiles"])
///     .size_parameter("page[size]", 20, 100)
///     .build()?;
///
/// // Stripe: the next page starts after the last record.
/// let stripe = CursorPages::builder(["/v1/customers", "/v1/invoices"])
///     .size_parameter("limit", 10, 100)
///     .cursor_parameter("starting_after")
///     .not_with(["ending_before"])
///     .next_cursor(NextCursor::last_id("has_more"))
///     .build()?;
///
/// let layer = PayloadTrimLayer::new(klaviyo);
/// # let _ = (stripe, layer);
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
///
/// # What is split
///
/// A `GET` of one of the paths, for two records or more, at most as many as the API gives at a time. It is sent as it is, and
/// never in pieces, when it
///
/// * is paged by number or by offset, or backwards ([`not_with`](CursorPagesBuilder::not_with)). Page 3 of 100 records is no page
///   of 25 records: to stitch by number, while the size changes, loses and repeats records;
/// * says its size or its cursor twice, or a size that is no number;
/// * does not say its size, and what size that means is not known;
/// * asks for a range of bytes.
///
/// A piece is the original request with another size and, from the second piece on, another cursor in its query. All other
/// parameters stay as they are written and where they are, also in pieces that follow a link: of a link only the cursor is taken.
///
/// # What the caller gets
///
/// One page with the records of all pieces, byte for byte and in order:
///
/// * the lists of what is [included](CursorPagesBuilder::included) put together, each entry once, and none that is a record of
///   the page;
/// * what the *first* piece says of where the page starts (`links.self`, `first`, `prev`, `last`);
/// * all else from the *last* piece, above all where the next page begins;
/// * the caller's own size in links, not the size of a piece. Where the caller did not say a size, links do not either;
/// * the size and the number of records where the answer repeats them, if it is [said](CursorPagesBuilder::size_member) where.
///
/// Not adapted are other figures about a page, links other than those named, links inside records, and a size that is hidden in a
/// cursor: with such a cursor the next page may be as small as a piece was. White space between the members of an object that
/// has been changed is lost. A list of what is included stays, empty, when all that is in it are records of the page.
///
/// A piece with fewer records than asked for is no end as long as it names a next one; the rest is asked for from there. A piece
/// that names a next one and has no new record ends the page early, since there may be any number of those: the caller gets fewer
/// records than asked for, and the cursor at which to go on. Like every page that names a next one it is not the last. A record
/// that an earlier piece had, because the order changed meanwhile, is left out.
///
/// An answer with `errors` or `error` in the place of records goes to the caller as it is, like every status but 2xx. The caller
/// gets an error when a piece has more records than asked for, is no JSON object, has no list of records, has errors beside
/// them, says where the next page begins in a way not described, names itself as the next, or has an object or list of more than 100,000
/// members.
#[derive(Clone, Debug)]
pub struct CursorPages {
    api: Arc<Api>,
}

impl CursorPages {
    /// Starts the description of an API. `paths` are those of its collections, from the slash after the host on; a segment in
    /// braces stands for any: `/v1/lists/{id}/members`. Events call the route so, too.
    pub fn builder<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> CursorPagesBuilder {
        CursorPagesBuilder::new(paths.into_iter().map(Into::into).collect())
    }
}

impl TrimPolicy for CursorPages {
    fn concerns(&self, request: &RequestHead<'_>) -> bool {
        let path = request.uri.path();
        request.method == Method::GET && self.api.routes.iter().any(|route| route.matches(path))
    }

    fn question(&self, request: &RequestHead<'_>, _: &Bytes) -> Option<Box<dyn Question>> {
        let question = PageQuestion::new(&self.api, request)?;
        Some(Box::new(question))
    }
}
