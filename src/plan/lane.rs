/// How urgent a request is. An extension of the request.
///
/// Where both wait, `Interactive` goes first, and some slots of a limit can be reserved for it. A request without this extension
/// is [`Bulk`](Lane::Bulk).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Somebody waits for the answer.
    Interactive,
    /// Work that may take its time: a backfill, a sync.
    #[default]
    Bulk,
}

impl std::fmt::Display for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Lane::Interactive => "interactive",
            Lane::Bulk => "bulk",
        })
    }
}
