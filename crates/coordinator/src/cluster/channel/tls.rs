//! TLS of the peer channel: version 1.3 alone, certificates that mean nothing, no resumption.

use std::sync::Arc;

use jiff::Timestamp;
use marblerun_attestation::tls::{Anyone, ServerVerifier};
use marblerun_pki::{Authority, SubjectAltNames};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, Error, ServerConfig, version};

/// Nobody else's protocol: a connection that means something else ends in the handshake.
const ALPN: &[u8] = b"marblerun-peer/1";

/// Both ends of the channel.
pub(in crate::cluster) struct TlsConfigs {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl TlsConfigs {
    /// With a certificate made for this process.
    pub(in crate::cluster) fn new(now: Timestamp) -> Result<Self, Error> {
        let general = |error: &dyn std::fmt::Display| Error::General(error.to_string());
        let provider = Arc::new(default_provider());
        let own = Authority::generate(&SubjectAltNames::default(), now).map_err(|error| general(&error))?;
        let certificate = CertificateDer::from(own.root_certificate.clone());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.root_key.to_pkcs8_der().to_vec()));

        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        // Who is there is proved by evidence.
        let verifier = Arc::new(ServerVerifier::new(Anyone, &provider));
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        client.enable_sni = false;

        let name = ServerName::try_from("marblerun-peer").map_err(|error| general(&error))?;
        Ok(Self { server: Arc::new(server), client: Arc::new(client), name })
    }
}
