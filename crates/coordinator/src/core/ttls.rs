//! The configuration of transparent TLS: which connections of a Marble the runtime wraps, and with which
//! keys. Rendered as it is; what stands in an address or port is never executed as a template.

use std::collections::BTreeMap;

use marblerun_manifest::Manifest;
use marblerun_manifest::model::{Marble, SecretKind};
use marblerun_manifest::template::SecretSource;
use marblerun_pki::{Authority, MarbleLeaf, pem};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::core::update_log::go_escaped;

/// The variable it is handed over in.
pub(super) const VARIABLE: &str = "MARBLE_TTLS_CONFIG";

// Names and order of the keys are what runtimes read; maps are sorted.
#[derive(Serialize)]
struct Outer<'a> {
    tls: Tls<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Tls<'a> {
    incoming: BTreeMap<String, Entry<'a>>,
    outgoing: BTreeMap<String, Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    cacrt: &'a str,
    clicrt: Pem<'a>,
    #[serde(rename = "clientAuth", skip_serializing_if = "Option::is_none")]
    client_auth: Option<bool>,
    clikey: Pem<'a>,
}

/// The Marble's own, written once and shared, or that of a secret.
#[derive(Serialize)]
#[serde(untagged)]
enum Pem<'a> {
    Own(&'a str),
    Secret(String),
}

impl Drop for Pem<'_> {
    fn drop(&mut self) {
        if let Self::Secret(text) = self {
            zeroize::Zeroize::zeroize(text);
        }
    }
}

/// The JSON text for a Marble, `None` if it has no TTLS tags.
pub(super) fn config(
    manifest: &Manifest,
    marble: &Marble,
    authority: &Authority,
    leaf: &MarbleLeaf,
    secrets: &dyn SecretSource,
) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    if marble.tls.is_empty() {
        return Ok(None);
    }
    let encode = |label, contents: &[u8]| pem::encode(label, contents).map_err(|error| error.to_string());
    let ca = encode(pem::CERTIFICATE, &authority.marble_root_certificate)?;
    let certificate = encode(pem::CERTIFICATE, &leaf.certificate)?;
    let key = encode(pem::PRIVATE_KEY, &leaf.private_key)?;

    let mut tls = Tls { incoming: BTreeMap::new(), outgoing: BTreeMap::new() };
    for tag in &marble.tls {
        let tag = manifest.tls.get(tag).ok_or_else(|| format!("TLS tag {tag:?} is not defined"))?;
        for connection in &tag.outgoing {
            let entry = Entry { cacrt: &ca, clicrt: Pem::Own(&certificate), client_auth: None, clikey: Pem::Own(&key) };
            tls.outgoing.insert(format!("{}:{}", connection.addr, connection.port), entry);
        }
        for connection in &tag.incoming {
            let entry = if connection.cert.is_empty() {
                Entry { cacrt: &ca, clicrt: Pem::Own(&certificate), client_auth: Some(true), clikey: Pem::Own(&key) }
            } else {
                let (certificate, key) = secret_pair(&connection.cert, secrets)?;
                let client_auth = Some(!connection.disable_client_auth);
                Entry { cacrt: &ca, clicrt: Pem::Secret(certificate), client_auth, clikey: Pem::Secret(key) }
            };
            tls.incoming.insert(format!("*:{}", connection.port), entry);
        }
    }
    let plain = Zeroizing::new(serde_json::to_string(&Outer { tls }).map_err(|error| error.to_string())?);
    Ok(Some(Zeroizing::new(go_escaped(&plain).into_bytes())))
}

/// Certificate and key of a secret, PEM. One without value would leave the port without a certificate.
fn secret_pair(name: &str, secrets: &dyn SecretSource) -> Result<(String, String), String> {
    let secret = secrets.secret(name).ok_or_else(|| format!("secret {name:?} does not exist"))?;
    if !secret.kind.is_some_and(SecretKind::is_certificate) {
        return Err(format!("secret {name:?} is no certificate"));
    }
    let (Some(certificate), Some(key)) = (&secret.cert, &secret.private) else {
        return Err(format!("secret {name:?} has no certificate or no private key yet; a user must upload both"));
    };
    let mut certificate = pem::encode(pem::CERTIFICATE, certificate).map_err(|error| error.to_string())?;
    let mut key = pem::encode(pem::PRIVATE_KEY, key.as_slice()).map_err(|error| error.to_string())?;
    Ok((std::mem::take(&mut certificate), std::mem::take(&mut key)))
}
