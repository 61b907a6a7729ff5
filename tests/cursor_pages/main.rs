//! Through the layer, a page of an API that is paged by a cursor is what the server would have answered if it were not too heavy.

mod answers;
mod ask;
mod oracle;
mod requests;
mod toy;
mod trouble;
