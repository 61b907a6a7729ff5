//! What the API does: the calls behind the desk.

/// What the accounts hold.
#[derive(Debug)]
pub(super) struct Contents {}

impl Contents {
    pub(super) fn new(_properties: Vec<String>, _search_body: usize) -> Self {
        Self {}
    }
}
