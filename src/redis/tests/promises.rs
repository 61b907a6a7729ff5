//! What is lent, and when it is free again.

use super::*;

const W: u64 = 10 * S;

#[test]
fn no_more_is_lent_than_the_quota() {
    let (mut store, mut one, mut two) = (Store::new(), Member::new("one"), Member::new("two"));
    let wants = || rolling(100, W).wants(bulk(70));
    assert_eq!(one.says(&mut store, BEGIN, wants()).now(), 70);
    let answer = two.says(&mut store, BEGIN, wants());
    assert_eq!((answer.now(), answer.used), (30, 100));
    assert_eq!(one.says(&mut store, BEGIN, wants().own(70)).now(), 0);
}
