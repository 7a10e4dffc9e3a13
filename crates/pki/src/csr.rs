//! Certification requests of Marbles. Only subject and DNS and IP names are ever used; the key in the
//! request is not certified, but its owner must have signed it.

use std::net::IpAddr;

use aws_lc_rs::signature::{
    self as aws, ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA384, VerificationAlgorithm,
};
use const_oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME;
use const_oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, ID_EC_PUBLIC_KEY, ID_EXTENSION_REQ, RSA_ENCRYPTION,
    SECP_256_R_1, SECP_384_R_1, SECP_521_R_1, SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION,
    SHA_512_WITH_RSA_ENCRYPTION,
};
use const_oid::db::rfc8410::ID_ED_25519;
use der::{Decode, Encode};
use marblerun_manifest::model::Subject;
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoOwned};
use x509_cert::ext::Extensions;
use x509_cert::request::CertReqInfo;

use crate::alt_name::AltNames;
use crate::certificate::Signed;
use crate::name;

/// A certification request whose self-signature was checked.
#[derive(Debug, Clone)]
pub struct VerifiedCsr {
    pub(crate) subject: Subject,
    pub(crate) dns: Vec<String>,
    pub(crate) ips: Vec<IpAddr>,
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
    pub fn parse(der: &[u8]) -> Result<Self, CsrError> {
        let malformed = |error: &dyn std::fmt::Display| CsrError::Malformed(error.to_string());
        let request = Signed::from_der(der).map_err(|error| malformed(&error))?;
        let signed_bytes = request.contents.to_der().map_err(|error| malformed(&error))?;
        let info = CertReqInfo::from_der(&signed_bytes).map_err(|error| malformed(&error))?;

        let mut names = AltNames::default();
        for attribute in info.attributes.iter().filter(|attribute| attribute.oid == ID_EXTENSION_REQ) {
            for value in attribute.values.iter() {
                let extensions: Extensions = value.decode_as().map_err(|error| malformed(&error))?;
                for extension in extensions.iter().filter(|extension| extension.extn_id == ID_CE_SUBJECT_ALT_NAME) {
                    names = AltNames::from_der(extension.extn_value.as_bytes()).map_err(|error| malformed(&error))?;
                }
            }
        }
        let subject = name::read(&info.subject).map_err(|error| malformed(&error))?;

        let algorithm = verification(&request.algorithm, &info.public_key).ok_or(CsrError::BadSignature)?;
        let signature = request.signature.as_bytes().ok_or(CsrError::BadSignature)?;
        aws::UnparsedPublicKey::new(algorithm, info.public_key.subject_public_key.raw_bytes())
            .verify(&signed_bytes, signature)
            .map_err(|_| CsrError::BadSignature)?;
        Ok(Self { subject, dns: names.dns, ips: names.ips })
    }
}

/// How to verify, if key and algorithm fit and are accepted. SHA-1 is not among them.
fn verification(
    signed_with: &AlgorithmIdentifierRef<'_>,
    key: &SubjectPublicKeyInfoOwned,
) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match key.algorithm.oid {
        ID_EC_PUBLIC_KEY => {
            let curve = key.algorithm.parameters.as_ref()?.decode_as().ok()?;
            match (curve, signed_with.oid) {
                (SECP_256_R_1, ECDSA_WITH_SHA_256) => &ECDSA_P256_SHA256_ASN1,
                (SECP_256_R_1, ECDSA_WITH_SHA_384) => &ECDSA_P256_SHA384_ASN1,
                (SECP_256_R_1, ECDSA_WITH_SHA_512) => &ECDSA_P256_SHA512_ASN1,
                (SECP_384_R_1, ECDSA_WITH_SHA_256) => &ECDSA_P384_SHA256_ASN1,
                (SECP_384_R_1, ECDSA_WITH_SHA_384) => &ECDSA_P384_SHA384_ASN1,
                (SECP_384_R_1, ECDSA_WITH_SHA_512) => &ECDSA_P384_SHA512_ASN1,
                (SECP_521_R_1, ECDSA_WITH_SHA_256) => &ECDSA_P521_SHA256_ASN1,
                (SECP_521_R_1, ECDSA_WITH_SHA_384) => &ECDSA_P521_SHA384_ASN1,
                (SECP_521_R_1, ECDSA_WITH_SHA_512) => &ECDSA_P521_SHA512_ASN1,
                _ => return None,
            }
        }
        RSA_ENCRYPTION => match signed_with.oid {
            SHA_256_WITH_RSA_ENCRYPTION => &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
            SHA_384_WITH_RSA_ENCRYPTION => &RSA_PKCS1_2048_8192_SHA384,
            SHA_512_WITH_RSA_ENCRYPTION => &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
            _ => return None,
        },
        ID_ED_25519 if signed_with.oid == ID_ED_25519 => &ED25519,
        _ => return None,
    })
}
