use crate::error::ConfigError;

/// How urgent a request is. An extension of the request.
///
/// Where both wait, `Interactive` goes first, and some slots of a limit can be reserved for it. A request without this extension
/// is [`Bulk`](Lane::Bulk).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(
    feature = "json",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
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

/// How much of a limit is kept for [`Lane::Interactive`]: all others together never hold more than the rest.
///
/// At least one slot always remains for the others, however much is reserved.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reserve {
    /// So many requests of each window or day.
    Slots(u32),
    /// A share of the quota, from 0 to 1, rounded up to whole requests.
    Share(f64),
}

impl Reserve {
    /// Nothing is kept; so it is for every limit until somebody says otherwise.
    pub const NONE: Reserve = Reserve::Slots(0);

    /// Checks the range; `limit` is named in the error.
    pub(crate) fn check(self, limit: &str) -> Result<(), ConfigError> {
        match self {
            Reserve::Share(share) if !(0.0..=1.0).contains(&share) => Err(ConfigError::new(
                format!("limit `{limit}`: reserved share"),
                format!("must be from 0 to 1, is {share}"),
            )),
            _ => Ok(()),
        }
    }

    /// The requests that are kept of `quota`.
    pub(crate) fn of(self, quota: u32) -> u32 {
        let slots = match self {
            Reserve::Slots(slots) => slots,
            // So that 0.2 of 1,000, which no float is exactly, stays 200.
            Reserve::Share(share) => (f64::from(quota) * share - 1e-6).ceil().max(0.0) as u32,
        };
        slots.min(quota.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_leaves_at_least_one_slot() {
        assert_eq!(Reserve::NONE.of(5), 0);
        assert_eq!(Reserve::Slots(1).of(5), 1);
        assert_eq!(Reserve::Slots(9).of(5), 4);
        assert_eq!(Reserve::Slots(1).of(1), 0);
        assert_eq!(Reserve::Share(0.2).of(1_000), 200);
        assert_eq!(Reserve::Share(0.2).of(4), 1);
        assert_eq!(Reserve::Share(1.0).of(4), 3);
        assert!(Reserve::Share(f64::NAN).check("daily").is_err());
        assert!(Reserve::Share(1.1).check("daily").is_err());
        assert!(Reserve::Share(1.0).check("daily").is_ok());
    }
}
