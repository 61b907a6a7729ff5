//! What a call costs, and a record. Prints figures:
//!
//! ```text
//! cargo test --release --lib --all-features redis::tests::figures -- --ignored --nocapture
//! ```

use super::*;

const W: u64 = 10 * S;
const CALLS: u64 = 2_000;

/// A store on a server of its own, which counts the time of all scripts.
fn alone() -> (Store, RedisServer) {
    let server = RedisServer::start();
    let mut store = Store::new();
    let client = redis::Client::open(server.url()).unwrap();
    store.connection = client.get_connection().unwrap();
    (store, server)
}

/// Microseconds of the server per script since the last time.
fn cost(server: &RedisServer) -> f64 {
    let stats = server.cli(&["INFO", "commandstats"]);
    server.cli(&["CONFIG", "RESETSTAT"]);
    let line = stats.lines().find(|line| line.contains("evalsha"));
    let cost = line.and_then(|line| line.split_once("usec_per_call="));
    let cost = cost.and_then(|(_, rest)| rest.split(',').next());
    cost.unwrap().parse().unwrap()
}

fn bytes(store: &mut Store) -> i64 {
    let key = store.record();
    let mut usage = redis::cmd("MEMORY");
    usage.arg("USAGE").arg(key);
    usage.query(&mut store.connection).unwrap()
}

/// A full window of `quota`, whose slots become free one after the other, and `members` who take turns: five slots a call.
fn full(name: &str, quota: u32, members: usize) {
    let (mut store, server) = alone();
    let mut members: Vec<_> = (0..members)
        .map(|nth| Member::new(nth.to_string()))
        .collect();
    let limit = || rolling(quota, W);
    let part = quota / u32::try_from(members.len()).unwrap();
    let five = (quota / 200).max(1) * 5;
    let step = W * u64::from(five) / u64::from(quota);
    let mut now = BEGIN;
    for member in &mut members {
        member.says(&mut store, now, limit().wants(bulk(part)));
        let gap = W / u64::from(quota);
        let all =
            (0..u64::from(part)).fold(limit(), |call, nth| call.settles(now + nth * gap, bulk(1)));
        now += u64::from(part) * gap;
        member.says(&mut store, now, all);
    }
    cost(&server);
    for nth in 0..CALLS as usize {
        now += step;
        let count = members.len();
        let member = &mut members[nth % count];
        let held = |call: LimitCall| call.wants(bulk(five)).own(part).soon(part - five.min(part));
        let over = (0..5).fold(limit(), |call, nth| {
            call.settles(now - step / 5 * nth, bulk(five / 5))
        });
        let answer = member.asks(&mut store, now, vec![held(over)]);
        if answer.outcome == Outcome::Rejoin {
            member.join = Join::Again;
        }
    }
    println!(
        "{name:<44} {:>6.0} us {:>8} bytes",
        cost(&server),
        bytes(&mut store)
    );
}

#[test]
#[ignore = "prints figures"]
fn print() {
    let (mut store, server) = alone();
    let limit = || rolling(100, W);
    store
        .run(
            BEGIN,
            &store.arguments(BEGIN, "one", &Member::new("one").next(BEGIN, vec![limit()])),
        )
        .unwrap();
    cost(&server);
    for nth in 0..CALLS {
        store.key = Fingerprint::from_halves(nth, nth);
        Member::new("one").says(&mut store, BEGIN, limit().wants(bulk(1)));
    }
    println!(
        "{:<44} {:>6.0} us {:>8} bytes",
        "a new key, one slot lent",
        cost(&server),
        bytes(&mut store)
    );
    for nth in 0..CALLS {
        store.key = Fingerprint::from_halves(nth, nth);
        let mut one = Member::new("one");
        (one.seq, one.last, one.answered) = (1, 1, tick(BEGIN));
        (one.born, one.join) = (CLOCK, Join::Member);
        one.says(&mut store, BEGIN, limit().settles(BEGIN, bulk(1)));
    }
    println!(
        "{:<44} {:>6.0} us {:>8} bytes",
        "the same, one slot cools",
        cost(&server),
        bytes(&mut store)
    );
    full("100 per window, full, 1 member", 100, 1);
    full("190 per window, full, 1 member", 190, 1);
    full("190 per window, full, 10 members", 190, 10);
    full("10,000 per window, full, 1 member", 10_000, 1);
    full("10,000 per window, full, 10 members", 10_000, 10);
}
