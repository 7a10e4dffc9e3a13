//! Values for [`Client::set_secrets`](crate::Client::set_secrets).

use marblerun_api::v2::UserSecret;

/// A value for a secret of type `symmetric-key` (of exactly the declared size) or `plain`.
#[must_use]
pub fn value(value: &[u8]) -> UserSecret {
    UserSecret { key: Some(value.into()), ..UserSecret::default() }
}

/// A certificate (DER) with its private key (PKCS#8 DER) for a secret of one of the types `cert-*`.
#[must_use]
pub fn certificate(certificate: &[u8], private_key: &[u8]) -> UserSecret {
    UserSecret { cert: Some(certificate.into()), private: Some(private_key.into()), key: None }
}
