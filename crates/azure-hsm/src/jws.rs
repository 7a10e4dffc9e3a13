//! A compact JWS (RFC 7515) that carries its signer's certificate chain: is it signed by the vault?
//!
//! The token says which algorithm it uses; it does not choose: only algorithms listed here are verified, with the key of
//! a certificate that chains to a pinned root and names the vault's host. Pure; the time is an argument.

use std::sync::Arc;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64URL};
use der::Decode as _;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::Deserialize;
use spki::ObjectIdentifier;

use crate::Roots;

/// Larger than any answer of a vault.
const MAX_LENGTH: usize = 256 << 10;
const MAX_CERTIFICATES: usize = 10;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// A token, taken apart; nothing of it is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jws<'a> {
    algorithm: Algorithm,
    certificates: Vec<Vec<u8>>,
    signed: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// It is none.
    #[error("it is no signed token: {0}")]
    Malformed(String),
    /// Its algorithm is not taken.
    #[error("it is signed with the algorithm {0:?}, which is not accepted (RS, PS or ES, 256 or 384; RS or PS 512)")]
    Algorithm(String),
    /// The chain is not the vault's.
    #[error("its certificate is not the vault's, {host}: {reason}")]
    Certificate {
        /// Who was asked.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// The signature is not the certificate's.
    #[error("its signature is wrong")]
    Signature,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
}

impl Algorithm {
    fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            _ => return None,
        })
    }

    /// Which kind of key it needs, and how it is verified.
    fn verification(self) -> (ObjectIdentifier, &'static dyn VerificationAlgorithm) {
        match self {
            Self::Rs256 => (RSA_ENCRYPTION, &signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => (RSA_ENCRYPTION, &signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => (RSA_ENCRYPTION, &signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => (RSA_ENCRYPTION, &signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => (RSA_ENCRYPTION, &signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => (RSA_ENCRYPTION, &signature::RSA_PSS_2048_8192_SHA512),
            Self::Es256 => (EC_PUBLIC_KEY, &signature::ECDSA_P256_SHA256_FIXED),
            Self::Es384 => (EC_PUBLIC_KEY, &signature::ECDSA_P384_SHA384_FIXED),
        }
    }
}

/// The header's fields that count.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    x5c: Vec<String>,
    crit: Option<serde::de::IgnoredAny>,
    b64: Option<serde::de::IgnoredAny>,
}

impl<'a> Jws<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`JwsError::Malformed`], [`JwsError::Algorithm`].
    pub fn parse(token: &'a str) -> Result<Self, JwsError> {
        let malformed = |what: &str| JwsError::Malformed(what.to_owned());
        if token.len() > MAX_LENGTH {
            return Err(malformed("it is too long"));
        }
        let parts = || {
            let (signed, signature) = token.rsplit_once('.')?;
            let (header, payload) = signed.split_once('.')?;
            (!payload.contains('.')).then_some((signed, header, payload, signature))
        };
        let (signed, header, payload, signature) = parts().ok_or_else(|| malformed("it has not three parts"))?;
        let decode = |part: &str| BASE64URL.decode(part).map_err(|_| malformed("a part is no base64url"));
        let header: Header =
            serde_json::from_slice(&decode(header)?).map_err(|_| malformed("its header is not understood"))?;
        if header.crit.is_some() || header.b64.is_some() {
            return Err(malformed("its header has extensions that are not understood"));
        }
        let algorithm = Algorithm::of_name(&header.alg)
            .ok_or_else(|| JwsError::Algorithm(header.alg.chars().take(20).collect()))?;
        if header.x5c.is_empty() || header.x5c.len() > MAX_CERTIFICATES {
            return Err(malformed("it carries no certificates, or too many"));
        }
        let certificate = |text: &String| STANDARD.decode(text).map_err(|_| malformed("a certificate is no base64"));
        Ok(Self {
            algorithm,
            certificates: header.x5c.iter().map(certificate).collect::<Result<_, _>>()?,
            signed,
            payload: decode(payload)?,
            signature: decode(signature)?,
        })
    }

    /// The payload, if the token is signed by a certificate of that host, at that time.
    ///
    /// # Errors
    /// [`JwsError::Certificate`], [`JwsError::Signature`].
    pub fn verify(&self, roots: &Roots, host: &str, now: UnixTime) -> Result<&[u8], JwsError> {
        let refused = |reason: String| JwsError::Certificate { host: host.to_owned(), reason };
        let chain: Vec<CertificateDer<'_>> =
            self.certificates.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let (leaf, intermediates) = chain.split_first().ok_or_else(|| refused("there is none".to_owned()))?;
        let name = ServerName::try_from(host).map_err(|error| refused(error.to_string()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots.0.clone()), provider)
            .build()
            .map_err(|error| refused(error.to_string()))?
            .verify_server_cert(leaf, intermediates, &name, &[], now)
            .map_err(|error| refused(error.to_string()))?;

        let certificate = x509_cert::Certificate::from_der(leaf).map_err(|error| refused(error.to_string()))?;
        let key = certificate.tbs_certificate().subject_public_key_info();
        let (kind, algorithm) = self.algorithm.verification();
        if key.algorithm.oid != kind {
            return Err(refused("its key is of another kind than the signature's algorithm".to_owned()));
        }
        UnparsedPublicKey::new(algorithm, key.subject_public_key.raw_bytes())
            .verify(self.signed.as_bytes(), &self.signature)
            .map_err(|_| JwsError::Signature)?;
        Ok(&self.payload)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn token(header: &Value) -> String {
        let encode = |bytes: &str| BASE64URL.encode(bytes);
        format!("{}.{}.{}", encode(&header.to_string()), encode("{}"), encode("signature"))
    }

    #[test]
    fn only_algorithms_of_the_list_are_taken() {
        for name in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384"] {
            assert!(Jws::parse(&token(&json!({"alg": name, "x5c": ["AAAA"]}))).is_ok(), "{name}");
        }
        for name in ["", "none", "None", "HS256", "RS1", "rs256", "ES512", "ES256K", "EdDSA"] {
            let error = Jws::parse(&token(&json!({"alg": name, "x5c": ["AAAA"]}))).unwrap_err();
            assert_eq!(error, JwsError::Algorithm(name.to_owned()));
        }
    }

    #[test]
    fn a_token_of_another_shape_is_malformed() {
        let good = token(&json!({"alg": "RS256", "x5c": ["AAAA"]}));
        let too_many: Vec<&str> = vec!["AAAA"; MAX_CERTIFICATES + 1];
        for bad in [
            String::new(),
            "..".to_owned(),
            good.replacen('.', "", 1),
            format!("{good}.AAAA"),
            format!("{good}="),
            "A".repeat(MAX_LENGTH + 1),
            token(&json!({"x5c": ["AAAA"]})),
            token(&json!({"alg": "RS256"})),
            token(&json!({"alg": "RS256", "x5c": []})),
            token(&json!({"alg": "RS256", "x5c": too_many})),
            token(&json!({"alg": "RS256", "x5c": ["!"]})),
            token(&json!({"alg": "RS256", "x5c": ["AAAA"], "crit": ["exp"]})),
            token(&json!({"alg": "RS256", "x5c": ["AAAA"], "b64": false})),
        ] {
            assert!(matches!(Jws::parse(&bad), Err(JwsError::Malformed(_))), "{:.80}", bad);
        }
    }

    #[test]
    fn a_certificate_that_is_none_is_not_the_vaults() {
        let token = token(&json!({"alg": "RS256", "x5c": ["AAAA"]}));
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
        let refused =
            |host| Jws::parse(&token).unwrap().verify(&Roots::pinned().unwrap(), host, now).map(<[u8]>::to_vec);
        assert!(matches!(refused("hsm.example"), Err(JwsError::Certificate { .. })));
        assert!(matches!(refused("not a host"), Err(JwsError::Certificate { .. })));
    }
}
