/// What a process assumes when it starts of what the one before it has used, which it cannot know.
///
/// It matters for rolling limits only, and only for one window (plus 1 s for what is still on its way): what is older counts no
/// more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColdStart {
    /// Asks: of a limit whose figures the API reports, one request of each key goes at a time until an answer has brought them;
    /// if none does, that is so for one window. A limit whose figures are never reported counts as full for its first window, as
    /// far as that is not longer than 10 s (HubSpot's searches begin 2 s after the start); a longer one counts as empty, because
    /// nobody wants to wait for an hour at the start.
    #[default]
    Probe,
    /// Does not ask, and assumes this of all limits.
    Assume(Assumed),
}

/// What is assumed of a limit when the process starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Assumed {
    /// Nothing has been used: right for the first start ever, and when the last one is long ago. Otherwise the server may refuse.
    Empty,
    /// All has been used just now: nothing goes for one window, however long it is.
    Full,
}

/// How a rolling limit may be used in the first window of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FirstWindow {
    /// All of it.
    #[default]
    Empty,
    /// Not at all.
    Full,
    /// By one request at a time, until one has told how far it is used.
    Probe,
}

/// A limit that never reports its figures counts as full in its first window if that is not longer than this.
const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(10);

impl ColdStart {
    /// How the first window of a limit of this length may be used whose figures the API reports, or not.
    pub(crate) fn first_window(self, window: std::time::Duration, reports: bool) -> FirstWindow {
        match self {
            ColdStart::Assume(Assumed::Empty) => FirstWindow::Empty,
            ColdStart::Assume(Assumed::Full) => FirstWindow::Full,
            ColdStart::Probe if reports => FirstWindow::Probe,
            ColdStart::Probe if window <= LONGEST_WAIT => FirstWindow::Full,
            ColdStart::Probe => FirstWindow::Empty,
        }
    }
}
