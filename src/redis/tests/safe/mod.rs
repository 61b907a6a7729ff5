//! Whatever members do and whatever becomes of their calls: what the script lends is safe.
//!
//! A model in true time knows of every slot from when to when it is in use: from the moment at which it may be used until one
//! window after the latest moment at which the server can have counted its request. At the moment at which a slot that is lent may be
//! used, there are no more in use than the quota, and no more of `Bulk` than is not reserved.
//!
//! While a lost record recovers, nobody can keep to the reserve: a member's right to what it had is a right for both lanes.

mod events;
mod world;

use proptest::prelude::*;

use self::events::{op, rules};
use self::world::World;
use super::*;

/// No request takes longer, nor comes later.
const TIMEOUT: u64 = S;
const LEASE: u64 = 2 * S;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: std::env::var("PROPTEST_CASES")
            .ok()
            .and_then(|cases| cases.parse().ok())
            .unwrap_or(256),
        max_shrink_iters: 4_000,
        // What failed once is a named test among the promises.
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_lent_is_safe(rules in rules(), ops in prop::collection::vec(op(), 1..150)) {
        let mut world = World::new(rules);
        for op in ops {
            world.happens(op)?;
        }
        world.ends_free()?;
    }
}
