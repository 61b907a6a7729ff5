//! What happens to members, their requests and their calls; and the limits that they share.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Heard,
    AnswerLost,
    CallLost,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Call {
        member: usize,
        want: [Slots; 2],
        back: u32,
        fate: Fate,
    },
    /// An old call comes again.
    Again {
        member: usize,
        which: Index,
    },
    Send {
        member: usize,
        limit: usize,
        count: usize,
    },
    /// Requests are over that were counted so long before.
    Over {
        member: usize,
        limit: usize,
        count: usize,
        ago: u64,
    },
    Die(usize),
    Lose,
    SetBack(u64),
    Wait(u64),
}

fn slots() -> impl Strategy<Value = Slots> {
    let some = || prop_oneof![2 => Just(0), 3 => 1..4_u32, 1 => 1..30_u32];
    (some(), some()).prop_map(|(bulk, interactive)| Slots { bulk, interactive })
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let fate =
        prop_oneof![8 => Just(Fate::Heard), 1 => Just(Fate::AnswerLost), 1 => Just(Fate::CallLost)];
    let member = || 0..4_usize;
    prop_oneof![
        12 => (member(), [slots(), slots()], prop_oneof![3 => Just(0), 1 => 1..4_u32], fate)
            .prop_map(|(member, want, back, fate)| Op::Call { member, want, back, fate }),
        1 => (member(), any::<Index>()).prop_map(|(member, which)| Op::Again { member, which }),
        6 => (member(), 0..2_usize, 1..9_usize).prop_map(|(member, limit, count)| Op::Send { member, limit, count }),
        6 => (member(), 0..2_usize, 1..9_usize, 0..S).prop_map(|(member, limit, count, ago)| Op::Over { member, limit, count, ago }),
        1 => member().prop_map(Op::Die),
        1 => Just(Op::Lose),
        1 => (1..3_600 * S).prop_map(Op::SetBack),
        8 => (0..600 * MS).prop_map(Op::Wait),
        2 => (0..8 * S).prop_map(Op::Wait),
    ]
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) quota: u32,
    reserve: u32,
    pub(super) window: u64,
}

impl Rule {
    pub(super) fn unreserved(&self) -> u32 {
        self.quota - self.reserve.min(self.quota - 1)
    }
}

pub(super) fn rules() -> impl Strategy<Value = [Rule; 2]> {
    let rule = || {
        let quota = prop_oneof![3 => 1..8_u32, 2 => 1..60_u32, 1 => 255..400_u32];
        let window = prop::sample::select(vec![300 * MS, S, 4 * S]);
        (quota, 0..3_u32, window).prop_map(|(quota, reserve, window)| Rule {
            quota,
            reserve,
            window,
        })
    };
    [rule(), rule()]
}
