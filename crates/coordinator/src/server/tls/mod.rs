//! TLS of the two listeners.
//!
//! Both present a certificate of the Coordinator's own authority, looked up at each handshake, and
//! accept any client certificate whose key signs the handshake; what the certificate means is decided
//! by the use cases. Sessions are not resumed: a client proves its key on every connection.

mod accept;
mod certificate;
mod peer;
mod signature;
mod spki;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite as suite, default_provider, kx_group};
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, version};

pub(in crate::server) use accept::handshake;
use certificate::CurrentCertificate;
pub(in crate::server) use certificate::{AuthoritySource, Identity};
use peer::AnyLeaf;
pub(in crate::server) use peer::peer_certificate;
pub(in crate::server) use spki::is_certificate;

/// HTTP/2 in the ALPN extension.
pub(in crate::server) const H2: &[u8] = b"h2";

/// TLS of the client API: a client certificate is asked for, never demanded.
pub(in crate::server) fn client_api(authority: AuthoritySource) -> Result<ServerConfig, rustls::Error> {
    config(authority, Identity::Root, false)
}

/// TLS of the mesh: a client certificate is demanded.
///
/// `http/1.1` is in the list although nothing speaks it here: such clients, like those that offer nothing,
/// finish the handshake and are then closed; only clients that offer neither get an alert.
pub(in crate::server) fn mesh(authority: AuthoritySource) -> Result<ServerConfig, rustls::Error> {
    config(authority, Identity::MarbleRoot, true)
}

fn config(authority: AuthoritySource, identity: Identity, mandatory: bool) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .with_client_cert_verifier(Arc::new(AnyLeaf { mandatory }))
        .with_cert_resolver(Arc::new(CurrentCertificate::new(authority, identity)));
    config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Suites and groups upstream accepts, in its order, then those it does not. The servers' keys are ECDSA, so no RSA suites.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            suite::TLS13_AES_128_GCM_SHA256,
            suite::TLS13_AES_256_GCM_SHA384,
            suite::TLS13_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::SECP256R1MLKEM768,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
            kx_group::X25519,
        ],
        ..default_provider()
    }
}
