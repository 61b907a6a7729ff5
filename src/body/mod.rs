//! The bodies of requests and responses on their way through the layers.

mod held;
mod peek;

pub use self::held::HeldBody;
pub(crate) use self::held::Hold;
pub use self::peek::PeekBody;
pub(crate) use self::peek::{LONGEST_READ, Peek};
