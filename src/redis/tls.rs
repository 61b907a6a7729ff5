//! Certificates, and who does the arithmetic of TLS.

use redis::{ClientTlsConfig, TlsCertificates};
use rustls::crypto::{CryptoProvider, ring};

use super::options::RedisOptions;

pub(super) fn certificates(options: &RedisOptions) -> TlsCertificates {
    // rustls takes that of the process, and panics if there is none and more than one to choose from.
    if CryptoProvider::get_default().is_none() {
        // Fails only if somebody else has done it meanwhile.
        let _ = ring::default_provider().install_default();
    }
    let certificates = options.certificates();
    let client = certificates.client.clone();
    TlsCertificates {
        client_tls: client.map(|(client_cert, client_key)| ClientTlsConfig {
            client_cert,
            client_key,
        }),
        root_cert: certificates.roots.clone(),
    }
}
