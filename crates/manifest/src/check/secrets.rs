//! Secrets: definitions that can be generated, as far as that shows without generating them.

use super::limits::{MAX_RSA_BITS, MAX_SHARED_KEY_BITS, MAX_UNSHARED_KEY_BITS};
use super::usage::{self, UsedSecrets};
use super::x509::insecure_rsa_size;
use super::{CheckEnv, Report, Stage, certificates};
use crate::model::{CertTemplate, Manifest, SecretDefinition, SecretKind};
use crate::{path, suggest};

const KINDS: [&str; 5] = ["symmetric-key", "cert-rsa", "cert-ecdsa", "cert-ed25519", "plain"];

/// Upstream's check of the definitions; sizes come later, and only where a value is generated.
pub(super) fn check_definitions(manifest: &Manifest, report: &mut Report) {
    for (name, secret) in &manifest.secrets {
        let Some(kind) = SecretKind::from_name(&secret.kind) else {
            let hint = suggest::closest(&secret.kind, &KINDS).map(|known| format!("; is {known} meant?"));
            let text = format!("unknown type: {} for secret: {name}{}", secret.kind, hint.unwrap_or_default());
            report.error(Stage::Check, "unknown-secret-type", path::of(["Secrets", name, "Type"]), text);
            continue;
        };
        if kind.is_certificate() && secret.valid_for != 0 && has_not_after(secret) {
            let text = format!(
                "ambiguous certificate validity duration for secret: {name}, both NotAfter and ValidFor are specified"
            );
            report.error(Stage::Check, "ambiguous-validity", path::of(["Secrets", name, "ValidFor"]), text);
        }
    }
}

fn has_not_after(secret: &SecretDefinition) -> bool {
    match &secret.cert {
        Some(CertTemplate::Fields(fields)) => fields.not_after.is_some(),
        // Every certificate has an end.
        Some(CertTemplate::Der(_)) => true,
        None => false,
    }
}

/// What generation would refuse.
pub(super) fn check_generated(manifest: &Manifest, env: &CheckEnv, report: &mut Report) {
    for (name, secret) in manifest.secrets.iter().filter(|(_, secret)| !secret.user_defined) {
        let Some(kind) = SecretKind::from_name(&secret.kind) else { continue };
        let stage = if secret.shared { Stage::SecretsShared } else { Stage::SecretsPrivate };
        if let Err((code, text)) = check_size(name, kind, secret) {
            let field = if kind == SecretKind::Plain { "UserDefined" } else { "Size" };
            report.error(stage, code, path::of(["Secrets", name, field]), text);
        }
        if kind.is_certificate() {
            certificates::check(name, secret, stage, env, report);
        }
    }
}

fn check_size(name: &str, kind: SecretKind, secret: &SecretDefinition) -> Result<(), (&'static str, String)> {
    let size = secret.size;
    match kind {
        SecretKind::Plain => {
            Err(("plain-not-user-defined", format!("secret {name} is invalid: unsupported secret of type plain")))
        }
        SecretKind::SymmetricKey if size == 0 || !size.is_multiple_of(8) => {
            Err(("bad-secret-size", format!("invalid secret size: {name}")))
        }
        SecretKind::SymmetricKey if !secret.shared && size > MAX_UNSHARED_KEY_BITS => {
            Err(("bad-secret-size", "hkdf: requested key length too large".to_owned()))
        }
        SecretKind::SymmetricKey if size > MAX_SHARED_KEY_BITS => {
            let text = format!("invalid secret size: {name}: at most {MAX_SHARED_KEY_BITS} bits are supported");
            Err(("bad-secret-size", text))
        }
        SecretKind::CertRsa if size < 1024 => Err(("bad-secret-size", insecure_rsa_size(size))),
        SecretKind::CertRsa if size > MAX_RSA_BITS => {
            let text = format!("invalid secret size: {name}: at most {MAX_RSA_BITS} bits are supported for RSA");
            Err(("bad-secret-size", text))
        }
        SecretKind::CertEcdsa if !matches!(size, 224 | 256 | 384 | 521) => {
            let text = format!("invalid secret size: {name}: ECDSA keys have 224, 256, 384 or 521 bits, not {size}");
            Err(("bad-secret-size", text))
        }
        SecretKind::CertEd25519 if size != 0 => {
            Err(("bad-secret-size", format!("invalid secret size: {name}: Ed25519 keys take no Size")))
        }
        _ => Ok(()),
    }
}

pub(super) fn warn(manifest: &Manifest, env: &CheckEnv, report: &mut Report) {
    let used = UsedSecrets::of(manifest);
    let writable = usage::writable_secrets(manifest);
    for (name, secret) in &manifest.secrets {
        let Some(kind) = SecretKind::from_name(&secret.kind) else { continue };
        let at = |field: &str| path::of(["Secrets", name, field]);
        if !used.contains(name) {
            let text = "no template, TLS tag or role mentions this secret";
            report.warn("unused-secret", path::of(["Secrets", name]), text);
        }
        for (field, value) in [("Private", &secret.private), ("Public", &secret.public)] {
            match value {
                Some(_) if secret.user_defined => {
                    let text = "everybody can read the manifest, so this value is public; upload it instead";
                    report.warn("embedded-secret", at(field), text);
                }
                Some(_) => {
                    let text = "this secret is generated; the value given here is lost, but public with the manifest";
                    report.warn("embedded-secret", at(field), text);
                }
                None => {}
            }
        }
        if secret.user_defined {
            warn_user_defined(name, kind, secret, writable.contains(name.as_str()), report);
        } else {
            warn_strength(&at("Size"), kind, secret, report);
        }
        if kind.is_certificate() {
            certificates::warn(name, secret, env, report);
        } else {
            if secret.cert.is_some() {
                report.warn("ignored-field", at("Cert"), "this secret is no certificate, so Cert has no effect");
            }
            if secret.valid_for != 0 {
                report.warn("ignored-field", at("ValidFor"), "this secret is no certificate, so it does not expire");
            }
        }
    }
}

fn warn_user_defined(name: &str, kind: SecretKind, secret: &SecretDefinition, is_writable: bool, report: &mut Report) {
    if kind == SecretKind::SymmetricKey && (secret.size == 0 || !secret.size.is_multiple_of(8)) {
        let text = format!("no uploaded key can have {} bits", secret.size);
        report.warn("bad-secret-size", path::of(["Secrets", name, "Size"]), text);
    }
    let has_value = secret.private.is_some() || secret.public.is_some();
    if !has_value && !is_writable {
        let text = "no user may write this secret, so it stays empty";
        report.warn("nobody-may-write", path::of(["Secrets", name]), text);
    }
}

fn warn_strength(path: &str, kind: SecretKind, secret: &SecretDefinition, report: &mut Report) {
    let size = secret.size;
    let floor = match kind {
        SecretKind::SymmetricKey => 128,
        SecretKind::CertRsa => 2048,
        SecretKind::CertEcdsa => 256,
        SecretKind::CertEd25519 | SecretKind::Plain => return,
    };
    if size < floor {
        let text = format!("{size} bits are weak for a secret of type {}; use {floor} or more", kind.as_str());
        report.warn("weak-secret", path, text);
    }
}
