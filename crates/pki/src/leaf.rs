//! Marble leaf certificates.

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::{Authority, PkiError};

/// A certification request whose self-signature was checked. Only its subject and its DNS and IP
/// names are ever used; the key in it is not certified.
#[derive(Debug, Clone)]
pub struct VerifiedCsr {
    _private: (),
}

/// Why a certification request is refused.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// Not a PKCS#10 request.
    #[error("parsing CSR: {0}")]
    Malformed(String),
    /// The signature does not verify under the key in the request.
    #[error("signature over CSR is invalid")]
    BadSignature,
}

impl VerifiedCsr {
    /// Parses DER and checks the self-signature (ECDSA P-256/384/521, RSA >= 1024 with SHA-256/384/512, Ed25519; SHA-1 refused).
    ///
    /// # Errors
    /// [`CsrError`].
    pub fn parse(_der: &[u8]) -> Result<Self, CsrError> {
        todo!()
    }
}

/// What a Marble gets.
pub struct MarbleLeaf {
    /// DER.
    pub certificate: Vec<u8>,
    /// PKCS#8 DER of a fresh P-384 key.
    pub private_key: Zeroizing<Vec<u8>>,
    /// SubjectPublicKeyInfo DER.
    pub public_key: Vec<u8>,
}

/// Issues a leaf for a fresh P-384 key: subject from the request with CN := `uuid` and without O,
/// names from the request, Marble type in extension 1.3.9903.2.1 (raw bytes).
///
/// # Errors
/// If a name cannot be encoded or the random source fails.
pub fn issue_marble_leaf(
    _authority: &Authority,
    _csr: &VerifiedCsr,
    _uuid: &str,
    _marble_type: &str,
    _now: Timestamp,
) -> Result<MarbleLeaf, PkiError> {
    todo!()
}
