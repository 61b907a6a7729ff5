//! Promise: each caller gets through the layer what it would have got alone, and not one request more is sent than it takes. (T38)
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

use ask::Mood;
use common::{FOREVER, fresh_hubspot, ms};
use drive::{Api, Ran, api, contacts, one_by_one};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use scenario::{Scenario, scenario};
use sum::{Sum, check_economy};
use tower::Layer;
use tower_quota::BatchLayer;
use tower_quota::hubspot::{self, Batches};
use tower_quota::plan::Zone;
use tower_quota::sim::{Sim, SimBuilder};
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
    sim: Sim,
    ran: Vec<Ran>,
    counts: Counts,
}

async fn calm(scenario: &Scenario, builder: SimBuilder, wrap: impl FnOnce(Wire) -> Api) -> End {
    let (expected, alone) = alone(scenario).await;
    let sim = scenario.simulator(builder);
    let wire = Wire::new(sim.service());
    let ran = scenario.run(&sim, &wrap(wire.clone())).await;
    same::check_answers(&scenario.chains, &ran, &expected, false);
    let counts = wire.counts();
    check_economy(scenario, &ran, &counts);
    let end = End { sim, ran, counts };
    let held = contacts(&api(end.sim.service())).await;
    same::check_contacts((&held, &end.ran), (&contacts(&alone).await, &expected));
    end
}

async fn rough(scenario: &Scenario, builder: SimBuilder, wrap: impl FnOnce(Wire) -> Api) -> End {
    let (expected, alone) = alone(scenario).await;
    let sim = scenario.simulator(builder);
    let wire = Wire::new(sim.service());
    let ran = scenario.run(&sim, &wrap(wire.clone())).await;
    same::check_answers(&scenario.chains, &ran, &expected, true);
    let counts = wire.counts();
    // What those who have gone left under way comes to its end.
    tokio::time::sleep(ms(1_000)).await;
    let held = contacts(&api(sim.service())).await;
    left::check_made(scenario, &ran, &held);
    let got = left::of_whole_chains(scenario, &ran, &held, &ran);
    let all = contacts(&alone).await;
    let wanted = left::of_whole_chains(scenario, &ran, &all, &expected);
    same::check_contacts((&got, &ran), (&wanted, &expected));
    End { sim, ran, counts }
}

fn batches(scenario: &Scenario, wire: Wire) -> Api {
    let layer = BatchLayer::new(Batches::default()).max_linger(ms(scenario.linger.into()));
    api(layer.layer(wire))
}

fn whole_stack(_: &Scenario, wire: Wire) -> Api {
    let quota = fresh_hubspot(Zone::UTC).build();
    let stack = hubspot::stack(&quota).max_wait(FOREVER);
    api(stack.batch(Batches::default()).layer(wire))
}

/// Tries many scenarios, and prints what they came to.
fn prove(name: &str, mood: Mood, check: impl AsyncFn(&Scenario) -> End) -> Sum {
    let cases = std::env::var("PROPTEST_CASES").ok();
    let config = ProptestConfig {
        cases: cases.and_then(|cases| cases.parse().ok()).unwrap_or(60),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let sum = std::cell::RefCell::new(Sum::default());
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
    let sum = sum.into_inner();
    println!("{name}: {sum:?}");
    if let Err(error) = proof {
        panic!("{error}");
    }
    sum
}

#[test]
fn each_caller_gets_what_it_would_have_got_alone() {
    let sum = prove("the layer", Mood::Calm, async |scenario| {
        calm(scenario, builder(), |wire| batches(scenario, wire)).await
    });
    assert!(sum.requests < sum.calls, "{sum:?}");
}

#[test]
fn each_caller_gets_it_through_the_whole_stack_which_is_never_refused() {
    prove("the stack", Mood::Calm, async |scenario| {
        let end = calm(scenario, with_limits(), |wire| whole_stack(scenario, wire)).await;
        assert_eq!(end.sim.stats().refused(), 0);
        end
    });
}

#[test]
fn what_fails_and_who_goes_is_no_matter_to_others() {
    prove("the layer", Mood::Rough, async |scenario| {
        let end = rough(scenario, builder(), |wire| batches(scenario, wire)).await;
        check_economy(scenario, &end.ran, &end.counts);
        let twice = end.counts.written.iter().find(|(_, times)| **times > 1);
        assert_eq!(twice, None, "written twice");
        end
    });
}

#[test]
fn nor_is_it_through_the_whole_stack() {
    prove("the stack", Mood::Rough, async |scenario| {
        rough(scenario, with_limits(), |wire| whole_stack(scenario, wire)).await
    });
}
