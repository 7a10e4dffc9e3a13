//! A Coordinator's certificates: the intermediate, which Marbles' certificates lead to, and the root, which is attested.

use aws_lc_rs::signature;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, EncodePem as _, Header, Reader as _, SliceReader, pem::LineEnding};
use x509_cert::ext::pkix::BasicConstraints;

use crate::ClientError;

/// Reads a PEM chain: intermediate first, root second (both DER). Further blocks are ignored.
///
/// # Errors
/// [`ClientError::Protocol`] saying which of the two cannot be read.
pub fn parse_chain(pem: &[u8]) -> Result<(Vec<u8>, Vec<u8>), ClientError> {
    let mut blocks = CertificateDer::pem_slice_iter(pem);
    let mut next = |what: &'static str| -> Result<Vec<u8>, ClientError> {
        match blocks.next() {
            Some(Ok(der)) if Certificate::from_der(&der).is_ok() => Ok(der.to_vec()),
            Some(Ok(_)) => Err(ClientError::protocol(what, "the block is not an X.509 certificate")),
            _ => Err(ClientError::protocol(what, "no certificate found in PEM data")),
        }
    };
    let intermediate = next("could not parse Coordinator intermediate certificate from PEM data")?;
    let root = next("could not parse Coordinator root certificate from PEM data")?;
    Ok((intermediate, root))
}

/// Writes the chain as `parse_chain` reads it.
///
/// # Errors
/// [`ClientError::Protocol`] if one is no certificate.
pub fn chain_pem(intermediate: &[u8], root: &[u8]) -> Result<String, ClientError> {
    Ok(certificate_pem(intermediate)? + &certificate_pem(root)?)
}

/// Writes one certificate.
///
/// # Errors
/// [`ClientError::Protocol`] if it is none.
pub(crate) fn certificate_pem(der: &[u8]) -> Result<String, ClientError> {
    Certificate::from_der(der)
        .and_then(|certificate| certificate.to_pem(LineEnding::LF))
        .map_err(|e| ClientError::protocol("certificate", e))
}

/// Upstream's client hands out the intermediate unchecked; whoever answers could plant one.
pub(crate) fn check_issued_by(intermediate: &[u8], root: &[u8], now: u64) -> Result<(), ClientError> {
    let bad = |reason: &str| {
        ClientError::Trust(format!("the Coordinator's intermediate certificate does not belong to its root: {reason}"))
    };
    let issuer = Certificate::from_der(root).map_err(|_| bad("the root is malformed"))?;
    let issued = Certificate::from_der(intermediate).map_err(|_| bad("it is malformed"))?;
    let tbs = issued.tbs_certificate();
    if tbs.issuer() != issuer.tbs_certificate().subject() {
        return Err(bad("another issuer is named in it"));
    }
    let algorithm: &dyn signature::VerificationAlgorithm = match issued.signature_algorithm().oid {
        const_oid::db::rfc5912::ECDSA_WITH_SHA_384 => &signature::ECDSA_P384_SHA384_ASN1,
        const_oid::db::rfc5912::ECDSA_WITH_SHA_256 => &signature::ECDSA_P256_SHA256_ASN1,
        _ => return Err(bad("its signature algorithm is not known")),
    };
    let key = issuer.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
    let message = signed_part(intermediate).ok_or_else(|| bad("it is malformed"))?;
    signature::UnparsedPublicKey::new(algorithm, key)
        .verify(message, issued.signature().raw_bytes())
        .map_err(|_| bad("the root did not sign it"))?;
    if !tbs.get_extension::<BasicConstraints>().is_ok_and(|found| found.is_some_and(|(_, constraints)| constraints.ca))
    {
        return Err(bad("it may not issue certificates"));
    }
    let validity = tbs.validity();
    if now < validity.not_before.to_unix_duration().as_secs() || now > validity.not_after.to_unix_duration().as_secs() {
        return Err(bad("it is not valid now"));
    }
    Ok(())
}

/// The public key of a certificate, as signatures are verified with it.
pub(crate) fn public_key(der: &[u8]) -> Option<Vec<u8>> {
    let certificate = Certificate::from_der(der).ok()?;
    Some(certificate.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes().to_vec())
}

/// The bytes of `tbsCertificate` as they stand in the certificate (re-encoding could differ).
fn signed_part(certificate: &[u8]) -> Option<&[u8]> {
    let mut reader = SliceReader::new(certificate).ok()?;
    Header::decode(&mut reader).ok()?;
    reader.tlv_bytes().ok()
}
