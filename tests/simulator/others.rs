//! Others who spend the same quota.

use std::collections::BTreeMap;

use http::StatusCode;
use tokio::time::sleep;
use tower_quota::sim::{Class, Others, Sim};

use crate::{ASSOCIATIONS, LIST, SEARCH, SECOND, number, send, send_as, small};

#[tokio::test(start_paused = true)]
async fn others_spend_the_same_quota() {
    let sim = small()
        .burst(100, 10 * SECOND)
        .others(Others::burst(5.0))
        .others(Others::search(1.0).account(4711))
        .build()
        .unwrap();
    let first = send(&sim, LIST).await;
    // At 5 a second about 50 are in the window from the start.
    let remaining = number(first.headers(), "remaining").unwrap();
    sleep(1_000 * SECOND).await;
    let stats = sim.stats();
    assert!(
        (4_700..5_300).contains(&stats.others_counted()),
        "{stats:?}"
    );
    let later = number(send(&sim, LIST).await.headers(), "remaining").unwrap();
    assert!((20..80).contains(&later), "{later}");
    assert_eq!(
        remaining, 99,
        "the first token is seen at time zero, before anybody else"
    );
    assert_eq!(
        sim.log()
            .iter()
            .filter(|entry| entry.token.is_some())
            .count(),
        2
    );
    // By hand, under the same limits; other accounts are not concerned.
    let sim = small().build().unwrap();
    assert_eq!(sim.spend("pat-1", 3), 3);
    assert_eq!(sim.spend("pat-1", 3), 2);
    assert_eq!(
        send(&sim, LIST).await.status(),
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(sim.spend_search("pat-1", 9), 2);
    assert_eq!(
        send(&sim, SEARCH).await.status(),
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(sim.stats().others_refused(), 8);
}

#[tokio::test(start_paused = true)]
async fn bursts_come_at_once_and_at_random_and_keep_the_average_rate() {
    let sim = Sim::builder()
        .no_burst()
        .others(Others::burst(5.0).in_bursts_of(20))
        .record(true)
        .seed(3)
        .build()
        .unwrap();
    send(&sim, LIST).await;
    sleep(40_000 * SECOND).await;
    // 5 a second, in 10,000 bursts that come independently: one standard deviation is 1 %.
    let counted = sim.stats().general.others_counted;
    assert!((194_000..206_000).contains(&counted), "{counted}");
    let mut bursts = BTreeMap::new();
    for entry in sim.log().iter().filter(|entry| entry.token.is_none()) {
        *bursts.entry(entry.at).or_insert(0) += 1;
    }
    assert!(bursts.values().all(|&n| n == 20));
    // Of gaps without memory a share of 1/e is longer than the mean of 4 s.
    let times: Vec<_> = bursts.keys().collect();
    let long = times
        .windows(2)
        .filter(|pair| *pair[1] - *pair[0] > 4 * SECOND)
        .count();
    let share = long as f64 / times.len() as f64;
    assert!((0.34..0.40).contains(&share), "{share}");
}

/// What others sent is either counted or refused, class by class, and the window holds no more than its quota.
#[tokio::test(start_paused = true)]
async fn what_others_lose_is_counted_by_class() {
    let sim = Sim::builder()
        .burst(10, 10 * SECOND)
        .search(2, SECOND)
        .associations(5, 10 * SECOND)
        .others(Others::burst(0.5).in_bursts_of(25))
        .others(Others::search(6.0))
        .others(Others::associations(2.0))
        .record(true)
        .build()
        .unwrap();
    send(&sim, LIST).await;
    sleep(10_000 * SECOND).await;
    let stats = sim.stats();
    // Ours was the only one that was asked for.
    assert_eq!((stats.arrived(), stats.counted()), (1, 1));
    let sent = |class: &tower_quota::sim::ClassStats| class.others_counted + class.others_refused;
    assert!((4_000..6_000).contains(&sent(&stats.general)), "{stats:?}");
    assert!((58_000..62_000).contains(&sent(&stats.search)), "{stats:?}");
    assert!(
        (19_000..21_000).contains(&sent(&stats.associations)),
        "{stats:?}"
    );
    // A burst of 25 finds room for 10 at most.
    assert!(stats.general.others_counted * 25 <= sent(&stats.general) * 10);
    let log = sim.log();
    let logged = |class| log.iter().filter(|entry| entry.class == class).count() as u64;
    assert_eq!(logged(Class::General), stats.general.others_counted + 1);
    assert_eq!(logged(Class::Search), stats.search.others_counted);
    assert_eq!(sim.max_in_window(Class::General, 10 * SECOND), 10);
    assert_eq!(sim.max_in_window(Class::Search, SECOND), 2);
    assert_eq!(sim.max_in_window(Class::Associations, 10 * SECOND), 5);
    let refused =
        [&stats.general, &stats.search, &stats.associations].map(|class| class.others_refused);
    assert_eq!(stats.others_refused(), refused.iter().sum::<u64>());
}

/// Searches are counted by account: however many of its tokens are known, the stranger in it is one.
#[tokio::test(start_paused = true)]
async fn others_search_once_in_an_account_and_call_for_every_token() {
    let sim = Sim::builder()
        .no_search()
        .no_burst()
        .others(Others::search(10.0))
        .others(Others::burst(10.0))
        .build()
        .unwrap();
    for token in ["pat-1", "pat-2", "pat-3"] {
        send_as(&sim, LIST, token).await;
    }
    sleep(1_000 * SECOND).await;
    let stats = sim.stats();
    let searches = stats.search.others_counted;
    assert!((9_500..10_500).contains(&searches), "{stats:?}");
    let calls = stats.general.others_counted;
    assert!((29_000..31_000).contains(&calls), "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn others_use_up_the_daily_pool_whatever_they_call() {
    let sim = small().daily(10).build().unwrap();
    assert_eq!(sim.spend("pat-1", 2), 2);
    assert_eq!(sim.spend_search("pat-1", 2), 2);
    assert_eq!(sim.spend_associations("pat-1", 2), 2);
    let left = |headers: &http::HeaderMap| number(headers, "daily-remaining");
    assert_eq!(left(send(&sim, LIST).await.headers()), Some(3));
    // Two find room in the window; those that do not cost daily quota just the same.
    assert_eq!(sim.spend("pat-1", 3), 2);
    for path in [LIST, SEARCH, ASSOCIATIONS] {
        let refused = send(&sim, path).await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(left(refused.headers()), Some(0));
    }
    let stats = sim.stats();
    assert_eq!((stats.others_counted(), stats.others_refused()), (8, 1));
    assert_eq!(stats.search.refused_daily, 1);
}
