//! A Coordinator's certificates: the intermediate, which Marbles' certificates lead to, and the root, which is attested.

use aws_lc_rs::signature;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, EncodePem as _, Header, Reader as _, SliceReader, pem::LineEnding};
use x509_cert::ext::pkix::BasicConstraints;

use crate::ClientError;

/// How far behind the Coordinator's a client's clock may be, in seconds: an update makes a new intermediate, which begins
/// at that moment.
const CLOCK_SKEW: u64 = 300;

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
    let not_before = validity.not_before.to_unix_duration().as_secs();
    if now.saturating_add(CLOCK_SKEW) < not_before || now > validity.not_after.to_unix_duration().as_secs() {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// In the life of the fixtures.
    const NOW: u64 = 1_800_000_000;

    fn refusal(pem: &str, now: u64) -> String {
        let (intermediate, root) = parse_chain(pem.as_bytes()).unwrap();
        check_issued_by(&intermediate, &root, now).unwrap_err().to_string()
    }

    #[test]
    fn an_intermediate_must_be_a_valid_issuer_of_this_root() {
        let good = include_str!("../tests/fixtures/chain.pem");
        let (intermediate, root) = parse_chain(good.as_bytes()).unwrap();
        check_issued_by(&intermediate, &root, NOW).unwrap();
        assert_eq!(chain_pem(&intermediate, &root).unwrap(), good);
        assert!(refusal(good, 1_000_000_000).ends_with("it is not valid now"));
        assert!(refusal(good, 20_000_000_000).ends_with("it is not valid now"));
        let user = include_str!("../tests/fixtures/chain_of_user.pem");
        assert!(refusal(user, NOW).ends_with("it may not issue certificates"), "a user's certificate is none");
        let reversed = chain_pem(&root, &intermediate).unwrap();
        assert!(refusal(&reversed, NOW).ends_with("another issuer is named in it"));
    }

    #[test]
    fn a_chain_of_one_names_what_is_missing() {
        let one = include_str!("../tests/fixtures/golden_root.pem");
        let text = parse_chain(one.as_bytes()).unwrap_err().to_string();
        assert!(text.starts_with("could not parse Coordinator root certificate from PEM data"), "{text}");
        let text = parse_chain(b"nothing").unwrap_err().to_string();
        assert!(text.starts_with("could not parse Coordinator intermediate certificate from PEM data"), "{text}");
    }
}
