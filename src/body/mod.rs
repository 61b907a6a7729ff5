//! The bodies of requests and responses on their way through the layers.

mod collect;
mod flat;
mod gather;
mod held;
mod peek;

pub(crate) use self::collect::{Collect, CollectError};
pub use self::flat::Flat;
pub(crate) use self::gather::Gathered;
pub use self::held::HeldBody;
pub(crate) use self::held::Hold;
pub use self::peek::PeekBody;
pub(crate) use self::peek::{LONGEST_READ, Peek};
