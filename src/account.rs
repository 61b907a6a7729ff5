//! Whose data a request asks for, as far as a layer of its own can tell.

use std::time::Duration;

use crate::clock::Clock;
use crate::core::{DenialReason, Fingerprint, Keys};
use crate::event::{EventKind, QuotaEvent, Whose};
use crate::plan::{Lane, RouteClass};
use crate::quota::{Acquire, Patience, Ticket};
use crate::request::{Fingerprinter, RequestHead, TokenSource};
use crate::{Quota, QuotaError};

/// Tells tokens and accounts apart.
#[derive(Clone, Debug)]
pub(crate) enum Account {
    Own(Fingerprinter),
    Of(Quota),
}

impl Default for Account {
    fn default() -> Self {
        Self::Own(Fingerprinter::default())
    }
}

impl Account {
    pub(crate) fn keys(&self, head: RequestHead<'_>) -> Keys {
        match self {
            Self::Own(fingerprinter) => fingerprinter.keys(&TokenSource::default(), head),
            Self::Of(quota) => quota.keys(head),
        }
    }

    pub(crate) fn quota(&self) -> Option<&Quota> {
        match self {
            Self::Own(_) => None,
            Self::Of(quota) => Some(quota),
        }
    }

    /// Whether its quota, if it has one, is not in shadow mode.
    pub(crate) fn enforces(&self) -> bool {
        self.quota().is_none_or(Quota::enforces)
    }

    /// The same, and what a quota must know besides.
    pub(crate) fn ticket(&self, head: RequestHead<'_>) -> Ticket {
        match self {
            Self::Of(quota) => quota.ticket(head),
            Self::Own(_) => Ticket {
                keys: self.keys(head),
                class: RouteClass::General,
                lane: head.extensions.get::<Lane>().copied().unwrap_or_default(),
                sent: None,
            },
        }
    }

    /// The error of a request that has waited as long as it may: for a limit, or else for what is called `other`.
    pub(crate) fn too_late(&self, ticket: &Ticket, other: &str) -> QuotaError {
        let reason = DenialReason::TimedOut;
        let Self::Of(quota) = self else {
            return QuotaError {
                reason,
                limit: other.to_owned(),
                token: ticket.keys.token,
                paused: false,
                retry_after: Duration::ZERO,
                retry_at: Clock::system().wall(),
                source: None,
            };
        };
        let asked = Acquire::at_once(quota, *ticket, Patience::NONE);
        let other = || quota.refusal(ticket, other, reason, Duration::ZERO);
        let error = asked.err().unwrap_or_else(other);
        QuotaError { reason, ..error }
    }
    /// Tells what has happened to one account: `tracing`, and whoever reads the events of the quota, if there is one.
    pub(crate) fn emit(&self, account: Fingerprint, kind: EventKind) {
        let whose = Whose::account(account);
        match self {
            Self::Own(_) => QuotaEvent::new(Clock::system().wall(), whose, kind).trace(),
            Self::Of(quota) => quota.emit(whose, kind),
        }
    }
}
