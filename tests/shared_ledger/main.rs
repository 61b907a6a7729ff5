//! One process beside a store that lends its slots: what it tells, what it gives back, and whom it holds up.
//!
//! The store is played by hand: every test says what is answered.

mod outage;
mod process;
mod told;
