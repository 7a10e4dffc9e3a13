//! Recovery keys: RSA public keys whose holders can bring a state back on another host.

use std::collections::BTreeMap;

use super::limits::MAX_RSA_BITS;
use super::x509::{self, NoRsaKey, RsaKey};
use super::{Report, Stage};
use crate::model::Manifest;
use crate::{path, pem};

/// What every path of an error here means, as far as upstream's wording is known.
const NOT_A_PUBLIC_KEY: &str = "given PEM data is not a public key";

pub(super) fn check(manifest: &Manifest, report: &mut Report) {
    for (name, text) in &manifest.recovery_keys {
        if let Err((code, fault)) = read(text) {
            report.error(Stage::RecoveryKeys, code, path::of(["RecoveryKeys", name]), fault);
        }
    }
}

fn read(text: &str) -> Result<(Vec<u8>, RsaKey), (&'static str, String)> {
    let block = pem::first_block(text).filter(|block| block.label == "PUBLIC KEY");
    let block = block.ok_or_else(|| ("recovery-key-not-pem", NOT_A_PUBLIC_KEY.to_owned()))?;
    let key = RsaKey::from_spki(&block.contents).map_err(|fault| match fault {
        NoRsaKey::Malformed => ("recovery-key-malformed", "the PEM block holds no public key in DER form".to_owned()),
        NoRsaKey::OtherKind => ("recovery-key-not-rsa", "unsupported key type: a recovery key must be RSA".to_owned()),
    })?;
    let bits = key.bits;
    if bits < 1024 {
        return Err(("recovery-key-too-short", x509::insecure_rsa_size(bits as u64)));
    }
    if bits as u64 > MAX_RSA_BITS {
        return Err(("recovery-key-too-long", format!("an RSA key of {bits} bits is longer than {MAX_RSA_BITS} bits")));
    }
    if !key.has_usable_exponent {
        return Err(("recovery-key-malformed", "the public exponent of this RSA key cannot be used".to_owned()));
    }
    Ok((block.contents, key))
}

pub(super) fn warn(manifest: &Manifest, report: &mut Report) {
    if manifest.recovery_keys.is_empty() && manifest.config.seal_mode != "Disabled" {
        let text = "without recovery keys the state, and every backup of it, opens on this host only";
        report.warn("no-recovery-keys", "RecoveryKeys", text);
    }
    let mut seen: BTreeMap<Vec<u8>, &str> = BTreeMap::new();
    for (name, text) in &manifest.recovery_keys {
        let Ok((der, key)) = read(text) else { continue };
        let path = path::of(["RecoveryKeys", name]);
        if key.bits < 2048 {
            let text = format!("an RSA key of {} bits can be broken; use 3072 or more", key.bits);
            report.warn("weak-rsa-key", path.clone(), text);
        }
        if let Some(other) = seen.get(&der) {
            let text = format!("this is the key of {other:?} too; one holder then counts as two");
            report.warn("duplicate-recovery-key", path, text);
        } else {
            seen.insert(der, name);
        }
    }
}
