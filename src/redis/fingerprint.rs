//! Fingerprints that are the same in all processes.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::core::Fingerprint;

/// Makes fingerprints with a secret that processes share: HMAC-SHA256 (RFC 2104), cut to its first 128 bits as RFC 2104 section 5
/// allows.
#[derive(Clone)]
pub(crate) struct SharedSecret(Hmac<Sha256>);

impl SharedSecret {
    /// `None` for a key that cannot be used, which none is.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        Hmac::new_from_slice(key).ok().map(Self)
    }

    /// `domain` keeps a token and an account of the same name apart.
    pub(crate) fn fingerprint(&self, domain: u8, secret: &[u8]) -> Fingerprint {
        let mut hmac = self.0.clone();
        hmac.update(&[domain]);
        hmac.update(secret);
        let code = hmac.finalize().into_bytes();
        let half = |from: usize| {
            let bytes = code.iter().skip(from).take(8);
            bytes.fold(0, |half, byte| half << 8 | u64::from(*byte))
        };
        Fingerprint::from_halves(half(0), half(8))
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2, with the first letter as the domain.
    #[test]
    fn a_fingerprint_is_the_first_half_of_the_rfcs_code() {
        let secret = SharedSecret::new(b"Jefe").unwrap();
        let fingerprint = secret.fingerprint(b'w', b"hat do ya want for nothing?");
        assert_eq!(fingerprint.to_hex(), "5bdcc146bf60754e6a042426089575c7");
    }

    #[test]
    fn a_token_and_an_account_of_one_name_are_two() {
        let secret = SharedSecret::new(b"secret").unwrap();
        assert_ne!(
            secret.fingerprint(b't', b"x"),
            secret.fingerprint(b'a', b"x")
        );
        let other = SharedSecret::new(b"secreT").unwrap();
        assert_ne!(
            secret.fingerprint(b't', b"x"),
            other.fingerprint(b't', b"x")
        );
    }
}
