//! Users: a certificate that is theirs alone, and roles that exist.

use std::collections::BTreeMap;

use super::x509::{Facts, UserCertificateError, user_certificate};
use super::{CheckEnv, Report, Stage, usage};
use crate::model::Manifest;
use crate::{path, pem};

pub(super) fn check_entries(manifest: &Manifest, report: &mut Report) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, user) in &manifest.users {
        let certificate_path = path::of(["Users", name, "Certificate"]);
        if user.certificate.is_empty() {
            let text = format!("user {name:?} has no Certificate");
            report.error(Stage::Check, "no-certificate", certificate_path.clone(), text);
        }
        report.each(&user.roles, |report, index, role| {
            if !manifest.roles.contains_key(role) {
                let path = format!("{}[{index}]", path::of(["Users", name, "Roles"]));
                let text = format!("user {name:?} has role {role:?}, which is not defined");
                report.error(Stage::Check, "undefined-role", path, text);
            }
        });
        if user.certificate.is_empty() {
            continue;
        }
        if let Some(other) = seen.get(user.certificate.as_str()) {
            let text = format!("users {other:?} and {name:?} have the same Certificate");
            report.error(Stage::Check, "duplicate-certificate", certificate_path, text);
        } else {
            seen.insert(&user.certificate, name);
        }
    }
}

pub(super) fn check_certificates(manifest: &Manifest, env: &CheckEnv, report: &mut Report) {
    // Certificates that differ as text only: upstream accepts them and takes one user or the other for each request.
    let mut seen: BTreeMap<Vec<u8>, (&str, &str)> = BTreeMap::new();
    for (name, user) in &manifest.users {
        let path = path::of(["Users", name, "Certificate"]);
        let der = match user_certificate(&user.certificate) {
            Ok(der) => der,
            Err(UserCertificateError::NotPem) if user.certificate.is_empty() => continue,
            Err(UserCertificateError::NotPem) => {
                let text = format!("received invalid certificate for user {name}");
                report.error(Stage::Users, "certificate-not-pem", path, text);
                continue;
            }
            Err(error @ UserCertificateError::NotX509) => {
                report.error(Stage::Users, "certificate-not-x509", path, error.to_string());
                continue;
            }
        };
        warn_about_certificate(&path, &user.certificate, &der, env, report);
        match seen.get(&der) {
            Some((other, text)) if *text != user.certificate => {
                let text = format!("this is the certificate of user {other:?} too; who is meant in a request is open");
                report.warn("duplicate-certificate", path, text);
            }
            Some(_) => {}
            None => {
                seen.insert(der, (name, &user.certificate));
            }
        }
    }
}

fn warn_about_certificate(path: &str, text: &str, der: &[u8], env: &CheckEnv, report: &mut Report) {
    let Some(facts) = Facts::read(der) else { return };
    let now = env.now.as_second();
    if facts.not_after < now {
        report.warn("expired-certificate", path, "this certificate has expired; it is accepted all the same");
    }
    if facts.not_before > now {
        report.warn(
            "certificate-not-yet-valid",
            path,
            "this certificate is not valid yet; it is accepted all the same",
        );
    }
    if let Some(bits) = facts.rsa_bits.filter(|bits| *bits < 2048) {
        report.warn("weak-rsa-key", path, format!("an RSA key of {bits} bits can be broken; use 2048 or more"));
    }
    if pem::has_several(text) {
        report.warn("several-pem-blocks", path, "only the first PEM block counts");
    }
    if pem::first_block(text).is_some_and(|block| block.label != "CERTIFICATE") {
        report.warn("wrong-pem-label", path, "the PEM block holds a certificate but is not labelled CERTIFICATE");
    }
}

pub(super) fn warn(manifest: &Manifest, report: &mut Report) {
    for (name, user) in &manifest.users {
        if user.roles.is_empty() {
            report.warn("user-without-roles", path::of(["Users", name, "Roles"]), "this user may do nothing");
        }
    }
    if usage::updaters(manifest).next().is_none() {
        let text = "no user may update the manifest, so it can never be replaced without losing the state";
        report.warn("nobody-may-update", "Users", text);
    }
}
