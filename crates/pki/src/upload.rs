//! Values that users upload for user-defined secrets.

use marblerun_manifest::model::SecretKind;
use zeroize::Zeroizing;

use crate::certificate::public_key_of;
use crate::secret::Secret;

/// What a user sends. An empty value is given; an absent one is not.
#[derive(Clone, Default)]
pub struct Upload {
    /// DER certificate.
    pub certificate: Option<Vec<u8>>,
    /// Private key of the certificate, taken as it is.
    pub private: Option<Zeroizing<Vec<u8>>>,
    /// Value of a symmetric key or plain secret.
    pub key: Option<Zeroizing<Vec<u8>>>,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload")
            .field("certificate", &self.certificate.is_some())
            .field("private", &self.private.is_some())
            .field("key", &self.key.is_some())
            .finish()
    }
}

/// Why an upload is refused. Texts are those of upstream's API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// The secret is generated.
    #[error("secret {0} is not writeable")]
    NotWriteable(String),
    /// The declared size of a symmetric key is none.
    #[error("invalid secret size: {0}")]
    InvalidSize(String),
    /// The key is longer or shorter than declared.
    #[error("declared size and actual size don't match: {0}")]
    SizeMismatch(String),
    /// A certificate or private key for a secret that has none.
    #[error("secret {name} is set to be of type {kind} but specified values for a certificate")]
    NoCertificateWanted {
        /// Secret.
        name: String,
        /// Its kind.
        kind: &'static str,
    },
    /// A symmetric key for a certificate.
    #[error("secret {name} is set to be of type {kind} but specified values for a symmetric-key")]
    NoKeyWanted {
        /// Secret.
        name: String,
        /// Its kind.
        kind: &'static str,
    },
    /// No certificate for a secret that needs one.
    #[error("x509: unsupported public key type: <nil>")]
    CertificateMissing,
    /// What should be a certificate is none.
    #[error("x509: malformed certificate")]
    CertificateMalformed,
}

impl Secret {
    /// The secret with an uploaded value in place of the one it had. The certificate's key type and the
    /// private key are not compared with anything, as upstream.
    ///
    /// # Errors
    /// [`UploadError`].
    pub fn from_upload(name: &str, current: &Self, upload: Upload) -> Result<Self, UploadError> {
        if !current.user_defined {
            return Err(UploadError::NotWriteable(name.to_owned()));
        }
        let kind = current.kind.as_str();
        let mut secret = Self { certificate: None, private: None, public: None, ..current.clone() };
        match current.kind {
            SecretKind::SymmetricKey | SecretKind::Plain => {
                if current.kind == SecretKind::SymmetricKey {
                    check_size(name, current.size, upload.key.as_ref().map_or(0, |key| key.len()))?;
                }
                if upload.certificate.is_some() || upload.private.is_some() {
                    return Err(UploadError::NoCertificateWanted { name: name.to_owned(), kind });
                }
                secret.public = upload.key.clone();
                secret.private = upload.key;
            }
            SecretKind::CertRsa | SecretKind::CertEcdsa | SecretKind::CertEd25519 => {
                if upload.key.is_some() {
                    return Err(UploadError::NoKeyWanted { name: name.to_owned(), kind });
                }
                let certificate = upload.certificate.ok_or(UploadError::CertificateMissing)?;
                let public = public_key_of(&certificate).map_err(|_| UploadError::CertificateMalformed)?;
                secret.public = Some(Zeroizing::new(public));
                secret.private = upload.private;
                secret.certificate = Some(certificate);
            }
        }
        Ok(secret)
    }
}

fn check_size(name: &str, bits: u64, bytes: usize) -> Result<(), UploadError> {
    if bits == 0 || !bits.is_multiple_of(8) {
        return Err(UploadError::InvalidSize(name.to_owned()));
    }
    if u64::try_from(bytes) != Ok(bits / 8) {
        return Err(UploadError::SizeMismatch(name.to_owned()));
    }
    Ok(())
}
