//! Is the manifest what the Coordinator with that root key has in force? Its fingerprint is computed here and not
//! believed, and the signature that comes with it must be the root key's.

use anyhow::{Context as _, Result};
use aws_lc_rs::signature::{ECDSA_P384_SHA256_ASN1, UnparsedPublicKey};
use marblerun_api::v2;
use marblerun_client::{Client, Trust};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::failure::Failure;
use crate::manifest_file;
use crate::output::warn;

/// The manifest in force, checked against the root that the client trusts.
pub async fn fetch(client: &Client, trust: &Trust) -> Result<v2::Manifest> {
    let answer = client.manifest().await.context("retrieving Coordinator manifest")?;
    check(&answer, trust)?;
    Ok(answer)
}

fn check(answer: &v2::Manifest, trust: &Trust) -> Result<()> {
    let (raw, signature) = (&answer.manifest.0, &answer.manifest_signature_root_ecdsa.0);
    if raw.is_empty() && answer.manifest_fingerprint.is_empty() {
        // v1 without a manifest; there is nothing to check.
        return Ok(());
    }
    if !answer.manifest_fingerprint.eq_ignore_ascii_case(&manifest_file::fingerprint(raw)) {
        return Err(Failure::trust("the Coordinator's manifest does not have the fingerprint it states"));
    }
    let Trust::Pinned(root) = trust else { return Ok(()) };
    if signature.is_empty() {
        warn("the Coordinator did not sign its manifest (old versions do not)");
        return Ok(());
    }
    let root = Certificate::from_der(root).context("reading the root certificate")?;
    let key = root.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
    UnparsedPublicKey::new(&ECDSA_P384_SHA256_ASN1, key)
        .verify(raw, signature)
        .map_err(|_| Failure::trust("the Coordinator's root did not sign the manifest that was answered"))
}
