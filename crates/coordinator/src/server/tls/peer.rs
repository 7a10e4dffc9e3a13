//! Who is at the other end of a TLS connection: the leaf certificate whose key the handshake proved.
//!
//! Chains are never looked at. A user is a certificate the manifest names and a Marble one the
//! Coordinator issued or measured; both are decided later, by the use case, from the leaf alone.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, SignatureScheme};

use super::signature::{self, SCHEMES, Version};
use super::spki::subject_public_key;
use crate::core::PeerCertificate;

/// The leaf of a finished handshake, if the client presented one.
pub(in crate::server) fn peer_certificate(connection: &rustls::ServerConnection) -> Option<PeerCertificate> {
    let leaf = connection.peer_certificates()?.first()?;
    Some(PeerCertificate(Arc::new(leaf.as_ref().to_vec())))
}

/// Asks for a certificate and accepts any whose key signs the handshake.
#[derive(Debug)]
pub(super) struct AnyLeaf {
    /// Whether clients without a certificate are refused.
    pub(super) mandatory: bool,
}

impl ClientCertVerifier for AnyLeaf {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    /// Empty: a client with one certificate keeps it back if the list is not empty and does not name its issuer.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match subject_public_key(end_entity) {
            Some(_) => Ok(ClientCertVerified::assertion()),
            None => Err(CertificateError::BadEncoding.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify(Version::Tls12, message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify(Version::Tls13, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

fn verify(
    version: Version,
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    if !SCHEMES.contains(&signed.scheme) {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    let key = subject_public_key(certificate).ok_or(Error::from(CertificateError::BadEncoding))?;
    if signature::verifies(version, &key, signed.scheme, message, signed.signature()) {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(CertificateError::BadSignature.into())
    }
}
