//! The bodies of requests and responses on their way through the layers.

mod held;
mod peek;

pub use self::held::HeldBody;
pub(crate) use self::held::Hold;
pub(crate) use self::peek::Peek;
pub use self::peek::PeekBody;
