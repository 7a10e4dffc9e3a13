//! Who is at the other end of a TLS connection? That the server holds the key of the certificate it shows is a matter of
//! the handshake; whom to believe is another, and each client has its own answer. Here is the first, once.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

/// What a server showed in a handshake.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// The certificate whose key signs the handshake.
    pub end_entity: &'a CertificateDer<'a>,
    /// The others, in the order they came.
    pub intermediates: &'a [CertificateDer<'a>],
    /// The name under which the server was called.
    pub server_name: &'a ServerName<'a>,
    /// A stapled OCSP response (DER); empty if there is none.
    pub ocsp_response: &'a [u8],
    /// The time of this machine.
    pub now: UnixTime,
}

/// Whom a client believes.
pub trait Judge: std::fmt::Debug + Send + Sync {
    /// Whether the client goes on with this server. That it holds the key is checked besides.
    ///
    /// # Errors
    /// Why not; the handshake fails with it.
    fn judge(&self, shown: &Shown<'_>) -> Result<(), rustls::Error>;
}

/// Believes anyone: who it is is decided elsewhere (by evidence, by what is signed inside), or is of no matter.
#[derive(Debug, Clone, Copy)]
pub struct Anyone;

impl Judge for Anyone {
    fn judge(&self, _: &Shown<'_>) -> Result<(), rustls::Error> {
        Ok(())
    }
}

/// Goes on with a server that its [`Judge`] believes and that holds the key of its certificate (RFC 8446, section 4.4.3;
/// RFC 5246, section 7.4.3).
#[derive(Debug)]
pub struct ServerVerifier<J> {
    judge: J,
    algorithms: WebPkiSupportedAlgorithms,
}

impl<J: Judge> ServerVerifier<J> {
    /// With the signature algorithms of that provider.
    pub const fn new(judge: J, provider: &CryptoProvider) -> Self {
        Self { judge, algorithms: provider.signature_verification_algorithms }
    }
}

impl<J: Judge> ServerCertVerifier for ServerVerifier<J> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge.judge(&Shown { end_entity, intermediates, server_name, ocsp_response, now })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
