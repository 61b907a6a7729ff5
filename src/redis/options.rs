use std::fmt;
use std::time::Duration;

use super::OnOutage;
use crate::core::lease::Sharing;
use crate::error::ConfigError;

/// How a [`RedisLedger`](super::RedisLedger) shares slots: what must be the same in all processes, and what bounds an outage.
///
/// All but the [`key`](Self::key) has a default. [`prefix`](Self::prefix), key, [`lease`](Self::lease) and
/// [`request_timeout`](Self::request_timeout) should be the same in all processes.
#[derive(Clone)]
pub struct RedisOptions {
    key: Vec<u8>,
    prefix: String,
    timeout: Duration,
    lease: Duration,
    request_timeout: Duration,
    on_outage: OnOutage,
    #[cfg(feature = "redis-tls")]
    certificates: Certificates,
}

/// Certificates in PEM.
#[cfg(feature = "redis-tls")]
#[derive(Clone, Default)]
pub(super) struct Certificates {
    pub(super) roots: Option<Vec<u8>>,
    /// The client's, and its key.
    pub(super) client: Option<(Vec<u8>, Vec<u8>)>,
}

#[cfg(feature = "redis-tls")]
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

#[cfg(feature = "redis-tls")]
impl Certificates {
    /// What is no PEM at all would be taken for an empty list.
    fn check(&self) -> Result<(), ConfigError> {
        let is_missing = |pem: &[u8]| {
            let mut texts = pem.windows(CERTIFICATE.len());
            !texts.any(|text| text == CERTIFICATE)
        };
        let wrong = |field: &str| Err(ConfigError::new(field, "has no certificate in PEM"));
        if matches!(&self.roots, Some(roots) if is_missing(roots)) {
            return wrong("RedisOptions::root_certificates");
        }
        if matches!(&self.client, Some((client, _)) if is_missing(client)) {
            return wrong("RedisOptions::client_certificate");
        }
        Ok(())
    }
}

const PREFIX: &str = "tower-quota";
const TIMEOUT: Duration = Duration::from_millis(250);
const LEASE: Duration = Duration::from_secs(6);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

const LONGEST_PREFIX: usize = 256;
const SHORTEST_LEASE: Duration = Duration::from_millis(100);
const LONGEST_TIME: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            key: Vec::new(),
            prefix: PREFIX.to_owned(),
            timeout: TIMEOUT,
            lease: LEASE,
            request_timeout: REQUEST_TIMEOUT,
            on_outage: OnOutage::default(),
            #[cfg(feature = "redis-tls")]
            certificates: Certificates::default(),
        }
    }
}

impl RedisOptions {
    /// The defaults; the [`key`](Self::key) must still be set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the secret with which tokens and accounts are made unrecognizable before they go to Redis; the same in all processes.
    /// Must be set.
    ///
    /// What stands in Redis is the HMAC-SHA256 (RFC 2104) of the token with this key, cut to 128 bits. Whoever reads Redis but
    /// does not know the key can neither read a token there nor try whether a token that he has is one of them. That is as good
    /// as the key is: 32 random bytes are best. A process with another key shares nothing with the others but limits of the whole app.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = key.into();
        self
    }

    /// Sets with what the names of all keys in Redis begin; `tower-quota` at first. One for each API: limits of the same name are
    /// one limit to all who use the same prefix. 1 to 256 bytes without braces.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets how long a call to Redis may take; 250 ms at first, at most half a [`lease`](Self::lease). When two in a row have
    /// failed or taken longer, Redis counts as gone.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long a process that says nothing may keep the slots it was lent; 6 s at first, from 100 ms to a day. Each process
    /// says something that often.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets the longest that a request to the API is under way; 30 s at first, at most a day. What a process had in flight when
    /// it died is free one window and so long after its lease ended. A request that takes longer than this is counted too early
    /// only if its process has died.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Sets what becomes of requests while Redis is gone; [`OnOutage::LocalShare`] at first.
    #[must_use]
    pub fn on_outage(mut self, then: OnOutage) -> Self {
        self.on_outage = then;
        self
    }

    /// Sets who may vouch for a server at a `rediss://` URL: certificates in PEM. At first those that the machine trusts.
    #[cfg(feature = "redis-tls")]
    #[must_use]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.certificates.roots = Some(pem.into());
        self
    }

    /// Sets with what this process identifies itself to a server at a `rediss://` URL: its certificate and the private key to it,
    /// both in PEM. None at first.
    #[cfg(feature = "redis-tls")]
    #[must_use]
    pub fn client_certificate(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.certificates.client = Some((certificate.into(), key.into()));
        self
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |field: &str, problem: &str| Err(ConfigError::new(field, problem));
        if self.key.is_empty() {
            return wrong(
                "RedisOptions::key",
                "is not set: tokens are not written to Redis without a secret that all processes share",
            );
        }
        if self.prefix.is_empty() || self.prefix.len() > LONGEST_PREFIX {
            return wrong("RedisOptions::prefix", "must have 1 to 256 bytes");
        }
        if self.prefix.contains(['{', '}']) {
            return wrong(
                "RedisOptions::prefix",
                "must not contain braces, which decide of the place in a cluster",
            );
        }
        if self.lease < SHORTEST_LEASE || self.lease > LONGEST_TIME {
            return wrong("RedisOptions::lease", "must be from 100 ms to a day");
        }
        if self.timeout.is_zero() || self.timeout > self.lease / 2 {
            return wrong(
                "RedisOptions::timeout",
                "must be more than zero and at most half a lease",
            );
        }
        if self.request_timeout > LONGEST_TIME {
            return wrong("RedisOptions::request_timeout", "must be at most a day");
        }
        #[cfg(feature = "redis-tls")]
        self.certificates.check()?;
        Ok(())
    }

    pub(super) fn secret(&self) -> &[u8] {
        &self.key
    }

    pub(super) fn names(&self) -> &str {
        &self.prefix
    }

    pub(super) fn bound(&self) -> Duration {
        self.timeout
    }

    pub(super) fn sharing(&self) -> Sharing {
        Sharing {
            lease: self.lease,
            request_timeout: self.request_timeout,
            on_outage: self.on_outage,
        }
    }

    #[cfg(feature = "redis-tls")]
    pub(super) fn certificates(&self) -> &Certificates {
        &self.certificates
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .field("lease", &self.lease)
            .field("request_timeout", &self.request_timeout)
            .field("on_outage", &self.on_outage)
            .finish_non_exhaustive()
    }
}
