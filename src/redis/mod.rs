//! One quota for many processes: a ledger whose slots are lent by Redis or Valkey.

mod script;
#[cfg(test)]
mod tests;
