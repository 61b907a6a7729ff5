//! What the ledger remembers: nothing of idle keys, everything of keys that are held, cooling, paused, distrusted, waited for
//! or used today; and never more per key than the grid allows.

use std::time::{Duration, UNIX_EPOCH};

use tower_quota::core::{Admission, Fingerprint, Keys, Ledger, Now, Permit, Report, Subject, Tick};
use tower_quota::plan::{Lane, Limit, Plan, RouteClass, Scope, Zone};

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
const GENERAL: RouteClass = RouteClass::General;

fn keys(nth: u64) -> Keys {
    let token = Fingerprint::from_halves(
        nth.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        (nth + 1).wrapping_mul(0xD1B5_4A32_D192_ED03),
    );
    Keys {
        token,
        account: token,
    }
}

fn at(nanos: u64) -> Now {
    Now {
        tick: Tick::from(Duration::from_nanos(nanos)),
        wall: UNIX_EPOCH + Duration::from_nanos(nanos),
    }
}

fn tick(nanos: u64) -> Tick {
    at(nanos).tick
}

fn ledger(limits: impl IntoIterator<Item = Limit>) -> Ledger {
    let plan = limits
        .into_iter()
        .fold(Plan::builder("memory"), |plan, limit| plan.limit(limit));
    Ledger::new(&plan.build().unwrap())
}

fn grant(ledger: &mut Ledger, now: u64, keys: Keys) -> Permit {
    let Admission::Granted(mut permit) =
        ledger.admit(at(now), keys, GENERAL, Lane::Bulk, Tick::NEVER)
    else {
        panic!("there is a slot");
    };
    ledger
        .send(at(now), &mut permit, Tick::NEVER)
        .expect("nothing is paused");
    permit
}

/// Other keys come and go until the ledger has been all around what it remembers.
fn churn(ledger: &mut Ledger, now: u64, rounds: u64) {
    for nth in 0..rounds {
        let permit = grant(ledger, now, keys(1_000_000_000 + nth % 3));
        ledger.refund(at(now), permit);
    }
}

/// As many limits per token as a plan may have: each admission opens more cells than a fixed number of looks could forget.
#[test]
fn memory_follows_the_keys_in_use_not_the_keys_ever_seen() {
    for limits in [1_u64, 2, 3, 8] {
        let mut ledger = ledger(
            (0..limits).map(|nth| Limit::rolling(format!("l{nth}"), 5, Duration::from_secs(1))),
        );
        let mut most = 0;
        // One new token per millisecond, each used once; one in a hundred stays held.
        let mut held = Vec::new();
        for nth in 0..60_000 {
            let now = nth * MS;
            let permit = grant(&mut ledger, now, keys(nth));
            if nth % 100 == 0 {
                held.push(permit);
            } else {
                ledger.settle(at(now), permit, None);
            }
            most = most.max(ledger.cells());
        }
        let needed = (limits * (1_000 + held.len() as u64)) as usize;
        assert!(
            most <= 3 * needed,
            "{limits} limits: {most} cells where {needed} are needed"
        );
    }
}

#[test]
fn a_million_idle_keys_are_forgotten() {
    let mut ledger = ledger([Limit::rolling("burst", 5, Duration::from_secs(1))]);
    for nth in 0..1_000_000 {
        let permit = grant(&mut ledger, S, keys(nth));
        ledger.settle(at(S), permit, None);
    }
    assert_eq!(ledger.cells(), 1_000_000, "all of them are cooling");
    churn(&mut ledger, 3 * S, 1_500_000);
    assert!(ledger.cells() <= 3, "{}", ledger.cells());
}

/// T52: throttle-net TN-011 gave a limited key a fresh allowance when it evicted it.
#[test]
fn nothing_that_matters_is_ever_forgotten() {
    let day = Limit::daily("day", 100, Zone::UTC).governs([RouteClass::Search]);
    let mut ledger = ledger([
        Limit::rolling("burst", 2, Duration::from_secs(10)).governs([GENERAL]),
        day,
    ]);
    let [
        held,
        cooling,
        paused,
        token,
        account,
        distrusted,
        waited,
        used,
    ] = std::array::from_fn(|nth| keys(nth as u64));

    let held_permits = [grant(&mut ledger, 0, held), grant(&mut ledger, 0, held)];
    for _ in 0..2 {
        let permit = grant(&mut ledger, 0, cooling);
        ledger.settle(at(0), permit, None);
    }
    ledger.pause(at(0), paused, Subject::Limit(0), tick(9 * S));
    ledger.pause(at(0), token, Subject::Token, tick(9 * S));
    ledger.pause(at(0), account, Subject::Account, tick(9 * S));
    assert_eq!(ledger.distrust(at(0), distrusted, 0), Some(50));
    ledger.pause(at(0), waited, Subject::Limit(0), tick(8 * S));
    let Admission::Waiting(waiter) = ledger.admit(at(0), waited, GENERAL, Lane::Bulk, Tick::NEVER)
    else {
        panic!("it is paused");
    };
    for _ in 0..100 {
        let Admission::Granted(permit) =
            ledger.admit(at(0), used, RouteClass::Search, Lane::Bulk, Tick::NEVER)
        else {
            panic!("it is the first request of the day");
        };
        ledger.settle(at(0), permit, None);
    }

    churn(&mut ledger, 8 * S, 10_000);
    let denied = |ledger: &mut Ledger, keys, class| {
        let now = 8 * S + 500 * MS;
        matches!(
            ledger.admit(at(now), keys, class, Lane::Bulk, tick(now)),
            Admission::Denied(_)
        )
    };
    assert_eq!(ledger.usage(at(8 * S), held, 0).unwrap().used, 2);
    assert!(denied(&mut ledger, cooling, GENERAL), "cooling until 10 s");
    for (name, keys) in [("limit", paused), ("token", token), ("account", account)] {
        assert!(
            denied(&mut ledger, keys, GENERAL),
            "a paused {name} was forgotten"
        );
    }
    assert!(
        denied(&mut ledger, used, RouteClass::Search),
        "the day is used up"
    );
    assert!(
        ledger.poll(at(8 * S), waiter, None).is_granted(),
        "the one who waited"
    );
    for permit in held_permits {
        ledger.settle(at(9 * S), permit, None);
    }
    assert_eq!(
        ledger.distrust(at(9 * S), distrusted, 0),
        Some(50),
        "refusals of one window are one piece of evidence"
    );
    churn(&mut ledger, 10 * S, 10_000);
    assert_eq!(
        ledger.distrust(at(10 * S), distrusted, 0),
        Some(25),
        "distrust was forgotten"
    );

    // And once it is over, it is forgotten.
    let two_days = 2 * 24 * 3600 * S;
    churn(&mut ledger, two_days, 200);
    assert!(
        ledger.cells() <= 4,
        "{} cells are left; one is the granted waiter's",
        ledger.cells()
    );
}

/// Others who use the quota of a key are remembered until what they used has aged, and a little longer; then the key is
/// blank.
#[test]
fn what_is_known_of_others_is_forgotten_in_its_time() {
    let mut ledger = ledger([Limit::rolling("burst", 100, Duration::from_secs(10))]);
    let permit = grant(&mut ledger, 20 * S, keys(7));
    let mut said = Report::default();
    (said.quota, said.remaining) = (Some(100), Some(50));
    ledger.observe(at(20 * S), &permit, 0, &said);
    ledger.settle(at(20 * S), permit, None);
    churn(&mut ledger, 29 * S, 200);
    let mut others = |at| ledger.usage(at, keys(7), 0).unwrap().foreign;
    // Nobody knows when they came.
    assert!((45..=50).contains(&others(at(29 * S))));
    assert_eq!(others(at(31 * S)), 0);
    churn(&mut ledger, 100 * S, 200);
    assert!(ledger.cells() <= 3, "{}", ledger.cells());
    // A key that is used alone has nothing of the kind.
    let permit = grant(&mut ledger, 100 * S, keys(8));
    let empty = format!("{ledger:?}");
    said.remaining = Some(99);
    ledger.observe(at(100 * S), &permit, 0, &said);
    assert_eq!(
        empty.matches("told: None").count(),
        format!("{ledger:?}").matches("told: None").count()
    );
}

/// The largest quota neither costs memory nor time; checked by what one key adds to the process.
#[test]
fn a_key_costs_the_same_for_any_quota() {
    for quota in [1, 256, 257, 10_000, 1_000_000_u32] {
        let mut ledger =
            ledger([Limit::rolling("burst", quota, Duration::from_secs(10)).scope(Scope::App)]);
        let mut now = 0;
        for nth in 0..u64::from(quota) {
            now = nth * 10 * S / u64::from(quota) / 2;
            let permit = grant(&mut ledger, now, keys(nth % 7));
            ledger.settle(at(now), permit, None);
        }
        assert_eq!(ledger.usage(at(now), keys(0), 0).unwrap().used, quota);
        let shown = format!("{ledger:?}");
        let entries = shown.matches("anchor").count();
        assert!(
            entries <= 257.min(quota as usize),
            "{entries} entries for a quota of {quota}"
        );
        assert_eq!(ledger.cells(), 1);
        let full = matches!(
            ledger.admit(at(now), keys(0), GENERAL, Lane::Bulk, tick(now)),
            Admission::Denied(_)
        );
        assert!(full, "quota {quota}");
        assert_eq!(ledger.usage(at(30 * S), keys(0), 0).unwrap().used, 0);
    }
}
