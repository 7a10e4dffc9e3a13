//! Learning who answers at an address, and whether to believe it.

use std::time::Duration;

use marblerun_api::bytes::Base64;
use marblerun_api::v2;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, EncodePem as _, pem::LineEnding};

use crate::rest::{Data, Rest};
use crate::{ClientError, Endpoint, Trust};

/// What a Coordinator must prove. Field names are those of upstream's era configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EraConfig {
    /// Hex MRENCLAVE.
    #[serde(rename = "UniqueID")]
    pub unique_id: String,
    /// Hex MRSIGNER.
    #[serde(rename = "SignerID")]
    pub signer_id: String,
    /// Least security version.
    pub security_version: u64,
    /// Product id.
    #[serde(rename = "ProductID")]
    pub product_id: u16,
    /// Debug enclaves are accepted.
    pub debug: bool,
}

/// How to verify a Coordinator.
#[derive(Debug, Clone)]
pub struct AttestOptions {
    /// Take whoever answers, without evidence. Its root is still pinned for what follows.
    pub insecure: bool,
    /// Mixed into the evidence; empty = the cached quote.
    pub nonce: Vec<u8>,
    /// Time limit of the call.
    pub timeout: Duration,
}

impl Default for AttestOptions {
    fn default() -> Self {
        Self { insecure: false, nonce: Vec::new(), timeout: Duration::from_secs(30) }
    }
}

/// A Coordinator's certificates and evidence, checked as the options asked.
#[derive(Debug, Clone)]
pub struct Attested {
    /// DER of the root certificate: what to pin.
    pub root: Vec<u8>,
    /// DER of the intermediate certificate; its signature by the root was checked.
    pub intermediate: Vec<u8>,
    /// Evidence as received; `None` in simulation.
    pub quote: Option<Vec<u8>>,
    /// Whether evidence was verified (not with `insecure`).
    pub verified: bool,
}

/// Asks an endpoint for its chain and evidence, and checks them.
///
/// # Errors
/// [`ClientError::Trust`] if the evidence is missing or not acceptable, or if the intermediate
/// certificate was not issued by the root.
pub async fn attest(endpoint: &Endpoint, options: &AttestOptions) -> Result<Attested, ClientError> {
    let rest = Rest::new(endpoint.clone(), &Trust::Anyone, None, options.timeout)?;
    let nonce = base64_url(&options.nonce);
    let query: &[(&str, &str)] = if options.nonce.is_empty() { &[] } else { &[("nonce", &nonce)] };
    let data: Data = match rest.get("/api/v2/quote", query).await {
        Err(error) if error.code() == Some(405) => {
            if !options.nonce.is_empty() {
                return Err(ClientError::Trust(
                    "using custom nonce requires /api/v2, but the Coordinator does not support /api/v2".to_owned(),
                ));
            }
            rest.get("/quote", &[]).await?
        }
        other => other?,
    };
    let answer: v2::Quote = data.object("quote of the Coordinator", &["cert", "quote"])?;
    let (intermediate, root) = parse_chain(answer.cert.as_bytes())?;
    check_issued_by(&intermediate, &root)?;
    let quote = answer.quote.map(|Base64(bytes)| bytes);
    if !options.insecure {
        return Err(ClientError::Trust(match quote {
            None => {
                "verifying Coordinator quote: empty report. The Coordinator runs in simulation and proves nothing; \
                     for a test deployment, say --insecure"
                    .to_owned()
            }
            Some(_) => "verifying Coordinator quote: this build cannot verify hardware evidence yet; --insecure skips \
                        the check, which is for test deployments only"
                .to_owned(),
        }));
    }
    Ok(Attested { root, intermediate, quote, verified: false })
}

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
    let pem = |der: &[u8]| -> Result<String, ClientError> {
        Certificate::from_der(der)
            .and_then(|certificate| certificate.to_pem(LineEnding::LF))
            .map_err(|e| ClientError::protocol("certificate", e))
    };
    Ok(pem(intermediate)? + &pem(root)?)
}

/// Upstream's client hands out the intermediate unchecked; whoever answers could plant one.
fn check_issued_by(intermediate: &[u8], root: &[u8]) -> Result<(), ClientError> {
    use aws_lc_rs::signature;
    let bad = |reason: &str| {
        ClientError::Trust(format!("the Coordinator's intermediate certificate does not belong to its root: {reason}"))
    };
    let issuer = Certificate::from_der(root).map_err(|_| bad("the root is malformed"))?;
    let issued = Certificate::from_der(intermediate).map_err(|_| bad("it is malformed"))?;
    if issued.tbs_certificate().issuer() != issuer.tbs_certificate().subject() {
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
        .map_err(|_| bad("the root did not sign it"))
}

/// The bytes of `tbsCertificate` as they stand in the certificate (re-encoding could differ).
fn signed_part(certificate: &[u8]) -> Option<&[u8]> {
    use x509_cert::der::{Header, Reader as _, SliceReader};
    let mut reader = SliceReader::new(certificate).ok()?;
    Header::decode(&mut reader).ok()?;
    reader.tlv_bytes().ok()
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE.encode(bytes)
}
