//! A quota-enforcing API to test against.
