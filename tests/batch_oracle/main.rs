//! Promise: each caller gets through the layer what it would have got alone, and no request is sent in vain without a cause. (T38)
//!
//! Many tasks ask at random, through the layer, of one simulator; the same calls are sent one after the other to another simulator
//! with the same contents. Each caller must get the same status, content type and JSON, and at the end both simulators must hold
//! the same contacts.
//!
//! That both can be compared at all is a matter of what is asked, not of how: a task writes only contacts that nobody else
//! writes, one step at a time, and within a step no contact is both read and written. Contacts of all are only read. Updates
//! of one contact by one name may come at one instant: the layer promises their order, and answers tell it. Where an e-mail
//! is taken, it was taken before the first call, apart from creates that are rivals for a new one: of them one must win,
//! whichever. What other tasks write is read, too; there only the status is compared, and later reads by the owner must not be
//! joined to it.
//!
//! Not compared: times, correlation ids, and the ids of contacts that were made (the one of each side stands for that of the other,
//! wherever it occurs). Headers other than the content type; the length, if it is said, must be right.
//!
//! No caller's own call is sent twice, and beyond as many requests as there are calls nothing is sent but batch calls that told
//! nobody anything; where the server does what is usual, there are no more of these than calls that are refused, or that are known to
//! be more than a batch can answer (archived records, ids of merged ones, one record by two names). How many a bad record may cost
//! is shown apart (`batch_bisect`), and where a layer repeats what fails, requests are not counted.
//!
//! In rough scenarios requests fail at random, before or after their work, and callers go. Then a caller has either what it would
//! have got or a failure that was injected, whole; a task ends with the step in which a call failed; all that other tasks did is as
//! it would have been; nothing is made twice, and nothing is made whose failure says that it was not.

mod ask;
#[path = "../common/mod.rs"]
mod common;
mod drive;
mod left;
mod same;
mod scenario;
mod sum;
mod wire;
mod world;

use std::cell::RefCell;

use ask::Mood;
use common::{FOREVER, SECOND, fresh_hubspot, ms};
use drive::{Api, Ran, api, contacts, one_by_one};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use scenario::{Scenario, scenario};
use sum::{Sum, check_economy};
use tower::Layer;
use tower_quota::BatchLayer;
use tower_quota::hubspot::{self, Batches};
use tower_quota::plan::Zone;
use tower_quota::sim::{SimBuilder, Stats};
use wire::{Counts, Wire};
use world::{builder, fill, with_limits};

/// The same calls one after the other: what callers should get, and a way to what is there at the end.
async fn alone(scenario: &Scenario) -> (Vec<Ran>, Api) {
    let sim = builder().build().unwrap();
    fill(&sim, scenario.chains.len());
    let api = api(sim.service());
    (one_by_one(&api, &scenario.chains).await, api)
}

/// What came of a scenario.
struct End {
    ran: Vec<Ran>,
    counts: Counts,
    /// What the simulator saw, before it was asked what it holds.
    stats: Stats,
}

/// Lets the tasks of a scenario run through what `wrap` puts around the simulator, and compares.
async fn run(scenario: &Scenario, builder: SimBuilder, wrap: impl FnOnce(Wire) -> Api) -> End {
    let (expected, alone) = alone(scenario).await;
    let chains = &scenario.chains;
    let sim = scenario.simulator(builder);
    let wire = Wire::new(sim.service());
    let ran = scenario.run(&sim, &wrap(wire.clone())).await;
    same::check_answers(chains, &ran, &expected);
    let (counts, stats) = (wire.counts(), sim.stats());
    // What those who have gone left under way comes to its end.
    tokio::time::sleep(SECOND).await;
    let held = contacts(&api(sim.service())).await;
    let wanted = contacts(&alone).await;
    match scenario.mood {
        Mood::Calm => same::check_contacts((&held, &ran), (&wanted, &expected)),
        Mood::Rough => {
            left::check_made(chains, &ran, &held);
            let whole = left::whole_chains(chains, &ran);
            let held = left::of_chains(&whole, &held, &ran);
            let wanted = left::of_chains(&whole, &wanted, &expected);
            same::check_contacts((&held, &ran), (&wanted, &expected));
        }
    }
    End { ran, counts, stats }
}

async fn through_the_layer(scenario: &Scenario) -> End {
    let layer = BatchLayer::new(Batches::default()).max_linger(ms(scenario.linger.into()));
    let end = run(scenario, builder(), |wire| api(layer.layer(wire))).await;
    check_economy(scenario, &end.ran, &end.counts);
    end
}

async fn through_the_stack(scenario: &Scenario) -> End {
    let quota = fresh_hubspot(Zone::UTC).build();
    let stack = hubspot::stack(&quota).max_wait(FOREVER);
    let stack = stack.batch(Batches::default());
    run(scenario, with_limits(), |wire| api(stack.layer(wire))).await
}

/// Tries many scenarios, and tells what they came to.
fn prove(name: &str, mood: Mood, check: impl AsyncFn(&Scenario) -> End) {
    let cases = std::env::var("PROPTEST_CASES").ok();
    let cases = cases.and_then(|cases| cases.parse().ok()).unwrap_or(40);
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let sum = RefCell::new(Sum::default());
    let proof = TestRunner::new(config).run(&scenario(mood), |scenario| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let end = runtime.block_on(check(&scenario));
        sum.borrow_mut().add(&scenario, &end.ran, &end.counts);
        Ok::<(), TestCaseError>(())
    });
    if let Err(error) = proof {
        panic!("{error}");
    }
    let sum = sum.into_inner();
    println!("{name}: {sum:?}");
    // Of a few scenarios nothing can be said.
    if cases >= 30 {
        sum.check(mood);
    }
}

#[test]
fn each_caller_gets_what_it_would_have_got_alone() {
    prove("the layer, calm", Mood::Calm, through_the_layer);
}

#[test]
fn so_it_is_through_the_whole_stack_and_nothing_is_refused() {
    prove("the stack, calm", Mood::Calm, async |scenario| {
        let end = through_the_stack(scenario).await;
        check_economy(scenario, &end.ran, &end.counts);
        assert_eq!(end.stats.refused(), 0, "{:?}", end.stats);
        end
    });
}

#[test]
fn what_fails_and_who_goes_is_no_matter_to_others() {
    prove("the layer, rough", Mood::Rough, async |scenario| {
        let end = through_the_layer(scenario).await;
        let twice = end.counts.written.iter().find(|(_, times)| **times > 1);
        assert_eq!(twice, None, "written twice");
        end
    });
}

#[test]
fn nor_is_it_through_the_whole_stack() {
    prove("the stack, rough", Mood::Rough, through_the_stack);
}
