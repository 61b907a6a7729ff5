//! `tower-quota simulate`.

use super::error::CliError;
use super::out::{Out, Verdict};

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments, _: &mut Out) -> Result<Verdict, CliError> {
    Err(CliError::Other("is not built yet".to_owned()))
}
