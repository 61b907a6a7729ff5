use std::fmt;

/// What is left of a token or an account's name inside this crate: 128 bits, keyed.
///
/// The credential itself is never stored. `Debug` and `Display` show eight hexadecimal digits, enough to tell two tokens apart
/// in a log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u64; 2]);

impl Fingerprint {
    /// A fingerprint from its two halves, which must come from a keyed hash.
    pub const fn from_halves(high: u64, low: u64) -> Self {
        Self([high, low])
    }

    /// All of it, as 32 hexadecimal digits: for the key of a record that processes share, and for logs that programs read.
    #[cfg(any(feature = "redis", feature = "json"))]
    pub fn to_hex(self) -> String {
        let [high, low] = self.0;
        format!("{high:016x}{low:016x}")
    }

    /// Spread well enough to index a hash table, because the fingerprint is a hash already.
    pub(super) fn low(self) -> u64 {
        self.0[1]
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0[0] >> 32)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// All of it, as 32 hexadecimal digits, of which `Display` shows the first eight.
#[cfg(feature = "json")]
impl serde::Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

#[cfg(feature = "json")]
impl<'de> serde::Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits
            .then(|| u128::from_str_radix(&text, 16).ok())
            .flatten();
        let number = number.ok_or_else(|| {
            serde::de::Error::custom("a fingerprint is written as 32 hexadecimal digits")
        })?;
        Ok(Self([(number >> 64) as u64, number as u64]))
    }
}

/// Whose limits a request uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Keys {
    /// The token.
    pub token: Fingerprint,
    /// The account; equal to the token when the caller named none.
    pub account: Fingerprint,
}

impl Keys {
    /// The keys of every request that carries no token.
    pub const SHARED: Keys = Keys {
        token: APP,
        account: APP,
    };
}

/// The key of limits that all requests share.
pub(super) const APP: Fingerprint = Fingerprint([0, 0]);
