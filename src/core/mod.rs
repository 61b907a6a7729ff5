//! When a request may go: the ledger, a pure state machine.
//!
//! Time comes in as an argument ([`Now`]); there is no clock, no runtime and no HTTP in here. The layers drive it through a
//! [`Quota`](crate::Quota); it is public so that it can be tested, simulated and reused with another runtime.
//!
//! # The completion-anchored window
//!
//! The server counts a request at some moment between the send and the response, which the client cannot see. A slot is
//! therefore taken *before* the request is sent and becomes free one window *after its response arrived*.
//!
//! If the server admits N requests per rolling window W, a client that holds at most N slots this way is never refused,
//! whatever the latencies are. Proof: let S be the requests counted in one window (t, t + W], and z the one of them sent last,
//! at s_z <= c_z. For each i in S: s_i <= s_z, and r_i + W >= c_i + W > t + W >= c_z >= s_z. So at s_z every slot of S is held
//! at once, and there are at most N slots.
//!
//! When the response says how long the server worked after it had counted the request, that time is credited: the slot is
//! free at r + W - service, never before s + W. A figure beyond the whole round trip is something else and is not believed.
//!
//! # Others
//!
//! Other programs may spend the same quota, unseen. A response that says how many requests are left ([`Report`]) tells how many the
//! server has counted. What of that we cannot have sent ourselves proves that there are others; as long as all of it can be ours,
//! nothing is ever kept free, so that a sole user loses nothing, however late or out of order responses arrive.
//!
//! Once others are known, their requests in the window are estimated, and so many slots are blocked, with a margin for those who
//! come until the next request arrives: more where they come in bursts. A request of others leaves the window like one of ours,
//! so what is blocked ages by itself, one window after the last response that told of it at the latest. Meanwhile our own
//! requests are spread over the window instead of going all at once, because it is their responses that tell. If others have not
//! been seen for a window, all of this is forgotten.
//!
//! `cargo bench --bench goodput -- strangers` prints what comes of it. Where the window is short against
//! the round trip (5 per 1 s, half a second on the way), what a response tells is too old to help much.
//!
//! # Fairness
//!
//! Waiters of one limit are served in the order in which they came, those of [`Lane::Interactive`](crate::plan::Lane) before those
//! of `Bulk`. After eight of `Interactive` have gone before one of `Bulk` who waits for the same, one of `Bulk` has his turn, if all
//! that he needs is free at that moment. What is reserved for `Interactive` all others together never hold.
//!
//! A waiter stands in the queue of the limit that holds it
//! up; when its turn comes and another limit is full, it moves there, to the place its age gives it. Only when it is sent back
//! and forth does it keep its place in both queues, so that limits which are narrow for different reasons cannot starve those
//! that need both, and no limit lies idle for long for somebody who cannot go yet.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use tower_quota::core::{Admission, Keys, Ledger, Now, Progress, Tick};
//! use tower_quota::plan::{Lane, Limit, Plan, RouteClass};
//!
//! let plan = Plan::builder("acme").limit(Limit::rolling("burst", 1, Duration::from_secs(10))).build()?;
//! let mut ledger = Ledger::new(&plan);
//! let now = |seconds| Now { tick: Tick::from(Duration::from_secs(seconds)), wall: SystemTime::UNIX_EPOCH };
//!
//! let Admission::Granted(mut first) = ledger.admit(now(0), Keys::SHARED, RouteClass::General, Lane::Bulk, Tick::NEVER) else {
//!     unreachable!("the window is empty");
//! };
//! ledger.send(now(0), &mut first, Tick::NEVER).expect("nothing is paused");
//! let Admission::Waiting(second) = ledger.admit(now(0), Keys::SHARED, RouteClass::General, Lane::Bulk, Tick::NEVER) else {
//!     unreachable!("the only slot is held");
//! };
//! // The response arrives after 3 s; the slot is free just after 13 s.
//! ledger.settle(now(3), first, None);
//! let Progress::Waiting { waiter: second, .. } = ledger.poll(now(13), second, None) else {
//!     unreachable!("a slot is free strictly after its window");
//! };
//! assert!(ledger.poll(now(14), second, None).is_granted());
//! # Ok::<(), tower_quota::ConfigError>(())
//! ```

mod cell;
mod claims;
pub mod concurrency;
mod distrust;
mod foreign;
mod keys;
mod kind;
mod learned;
pub mod lease;
mod ledger;
mod network;
mod notice;
mod patience;
mod place;
mod pool;
mod queue;
mod rolling;
mod table;
mod tick;
mod told;
mod window;

pub use self::claims::Claim;
pub use self::keys::{Fingerprint, Keys};
pub use self::ledger::{Admission, Guard, Ledger, News, Permit, Progress, Report};
pub use self::notice::{Event, Notice};
pub use self::patience::Patience;
pub use self::place::Subject;
pub use self::queue::{Denial, DenialReason, WaiterId};
pub use self::table::Usage;
pub use self::tick::{Now, Tick};
pub use self::told::ForeignUse;
