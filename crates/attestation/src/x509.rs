//! The little of X.509 that evidence needs: who signed a certificate, and whether it is valid now. Extensions are read
//! where their meaning is known.

use aws_lc_rs::signature::{UnparsedPublicKey, VerificationAlgorithm};
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _, Header, Reader as _, SliceReader};

/// `id-ce-cRLNumber`.
const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");

/// A certificate with the bytes that it was read from. Serial numbers may be 0, as AMD's are.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    der: Vec<u8>,
    parsed: CertificateInner<Raw>,
}

impl Certificate {
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, String> {
        let parsed = CertificateInner::from_der(der).map_err(|error| error.to_string())?;
        Ok(Self { der: der.to_vec(), parsed })
    }

    /// Names whoever issued it; DER.
    pub(crate) fn issuer(&self) -> Vec<u8> {
        self.parsed.tbs_certificate().issuer().to_der().unwrap_or_default()
    }

    /// Its own name; DER.
    pub(crate) fn subject(&self) -> Vec<u8> {
        self.parsed.tbs_certificate().subject().to_der().unwrap_or_default()
    }

    /// Its number among those of its issuer.
    pub(crate) fn serial(&self) -> &[u8] {
        self.parsed.tbs_certificate().serial_number().as_bytes()
    }

    /// The public key as signatures are verified with it.
    pub(crate) fn key(&self) -> &[u8] {
        self.parsed.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes()
    }

    /// Whether that one issued it, by name and signature.
    pub(crate) fn is_issued_by(&self, issuer: &Self, algorithm: &'static dyn VerificationAlgorithm) -> bool {
        let signed = signed_part(&self.der);
        self.issuer() == issuer.subject()
            && signed.is_some_and(|signed| {
                let signature = self.parsed.signature().raw_bytes();
                UnparsedPublicKey::new(algorithm, issuer.key()).verify(signed, signature).is_ok()
            })
    }

    /// Seconds since the epoch from which, and until which, it is valid.
    pub(crate) fn validity(&self) -> (u64, u64) {
        let validity = self.parsed.tbs_certificate().validity();
        (validity.not_before.to_unix_duration().as_secs(), validity.not_after.to_unix_duration().as_secs())
    }

    /// The content of an extension that must stand there no more than once.
    pub(crate) fn extension(&self, oid: ObjectIdentifier) -> Option<&[u8]> {
        let mut found = self.parsed.tbs_certificate().extensions()?.iter().filter(|found| found.extn_id == oid);
        let only = found.next()?.extn_value.as_bytes();
        found.next().is_none().then_some(only)
    }
}

/// A list of revoked certificates whose signature was checked.
#[derive(Debug, Clone)]
pub(crate) struct RevocationList(CertificateList<Raw>);

impl RevocationList {
    /// Reads one that this key signed.
    pub(crate) fn from_der(
        der: &[u8],
        issuer: &Certificate,
        algorithm: &'static dyn VerificationAlgorithm,
    ) -> Result<Self, String> {
        let list = CertificateList::from_der(der).map_err(|error| error.to_string())?;
        let signed = signed_part(der).ok_or("it is malformed")?;
        UnparsedPublicKey::new(algorithm, issuer.key())
            .verify(signed, list.signature.raw_bytes())
            .map_err(|_| "its issuer did not sign it".to_owned())?;
        Ok(Self(list))
    }

    /// Seconds since the epoch from which it is valid, and until which if it says so.
    pub(crate) fn validity(&self) -> (u64, Option<u64>) {
        let list = &self.0.tbs_cert_list;
        let until = list.next_update.as_ref().map(|time| time.to_unix_duration().as_secs());
        (list.this_update.to_unix_duration().as_secs(), until)
    }

    /// Its number among those of its issuer, if it has one (RFC 5280, section 5.2.3) that 64 bits hold.
    pub(crate) fn number(&self) -> Option<u64> {
        let extensions = self.0.tbs_cert_list.crl_extensions.as_ref()?;
        let found = extensions.iter().find(|found| found.extn_id == CRL_NUMBER)?;
        u64::from_der(found.extn_value.as_bytes()).ok()
    }

    /// Whether it names the certificate.
    pub(crate) fn revokes(&self, certificate: &Certificate) -> bool {
        let revoked = self.0.tbs_cert_list.revoked_certificates.as_deref().unwrap_or_default();
        revoked.iter().any(|entry| entry.serial_number.as_bytes() == certificate.serial())
    }
}

/// Until when a list of revoked certificates is good, without a look at its signature.
pub(crate) fn list_validity(der: &[u8]) -> Option<(u64, Option<u64>)> {
    CertificateList::from_der(der).ok().map(|list| RevocationList(list).validity())
}

/// The signed bytes as they stand in a certificate or list (re-encoding could differ).
fn signed_part(der: &[u8]) -> Option<&[u8]> {
    let mut reader = SliceReader::new(der).ok()?;
    Header::decode(&mut reader).ok()?;
    reader.tlv_bytes().ok()
}
