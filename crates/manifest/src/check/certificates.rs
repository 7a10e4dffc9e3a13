//! Certificates to be generated: what Go's `x509.CreateCertificate` would refuse in the template, in its words, and
//! what it takes but nobody can want.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::{ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512};

use super::x509::Facts;
use super::{CheckEnv, Report, Stage};
use crate::model::{CertFields, CertTemplate, SecretDefinition};
use crate::path;

/// 9999-12-31T23:59:59Z, the last moment a certificate can name (RFC 5280, 4.1.2.5).
const LAST_MOMENT: i64 = 253_402_300_799;
/// 0000-01-01T00:00:00Z, the first one.
const FIRST_MOMENT: i64 = -62_167_219_200;

/// Go's numbers of ECDSA with SHA-256, 384 and 512, which fit the key of the Marble CA; 0 leaves the choice open.
const USABLE_SIGNATURE_ALGORITHMS: [i64; 4] = [0, 10, 11, 12];
/// The largest number Go gives an extended key usage.
const LAST_EXT_KEY_USAGE: i64 = 13;

pub(super) fn check(name: &str, secret: &SecretDefinition, stage: Stage, env: &CheckEnv, report: &mut Report) {
    let base = path::of(["Secrets", name]);
    if end(secret, env).is_none_or(|end| !(FIRST_MOMENT..=LAST_MOMENT).contains(&end)) {
        let text = "asn1: structural error: cannot represent time as GeneralizedTime";
        report.error(stage, "bad-validity", format!("{base}.ValidFor"), text);
    }
    match &secret.cert {
        Some(CertTemplate::Fields(fields)) => {
            let mut faults = Vec::new();
            collect_faults(fields, &mut faults);
            for (code, field, text) in faults {
                report.error(stage, code, format!("{base}.Cert.{field}"), text);
            }
        }
        Some(CertTemplate::Der(der)) => {
            // The algorithm of the given certificate is taken over like every other field of it.
            let usable: [ObjectIdentifier; 3] = [ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512];
            if Facts::read(der).is_none_or(|facts| !usable.contains(&facts.signature)) {
                report.error(stage, "bad-signature-algorithm", format!("{base}.Cert"), MISMATCH);
            }
        }
        None => {}
    }
}

const MISMATCH: &str = "x509: requested SignatureAlgorithm does not match private key type";

/// When the certificate would end, in seconds since the Unix epoch; `None` if that is beyond counting.
fn end(secret: &SecretDefinition, env: &CheckEnv) -> Option<i64> {
    match &secret.cert {
        Some(CertTemplate::Fields(fields)) if fields.not_after.is_some() => fields.not_after,
        Some(CertTemplate::Der(der)) => Facts::read(der).map(|facts| facts.not_after),
        _ => {
            // Go converts the days to a signed number: 2^64 - 1 is a day ago.
            let days = if secret.valid_for == 0 { 365 } else { secret.valid_for.cast_signed() };
            env.now.as_second().checked_add(days.checked_mul(86_400)?)
        }
    }
}

/// In the order in which Go meets them: code, field, text.
fn collect_faults(fields: &CertFields, faults: &mut Vec<(&'static str, String, String)>) {
    let mut add = |code, field: String, text: String| faults.push((code, field, text));
    if fields.max_path_len < -1 {
        let text = "x509: invalid MaxPathLen, must be greater or equal to -1";
        add("bad-max-path-len", "MaxPathLen".to_owned(), text.to_owned());
    }
    let has_path_len = fields.max_path_len != -1 && (fields.max_path_len != 0 || fields.max_path_len_zero);
    if !fields.is_ca && has_path_len {
        let text = "x509: only CAs are allowed to specify MaxPathLen";
        add("bad-max-path-len", "MaxPathLen".to_owned(), text.to_owned());
    }
    if !USABLE_SIGNATURE_ALGORITHMS.contains(&fields.signature_algorithm) {
        let text = match fields.signature_algorithm {
            // RSA, RSA-PSS and Ed25519.
            2..=6 | 13..=16 => MISMATCH,
            9 => "x509: ECDSA with SHA-1 is not secure",
            _ => "x509: unknown SignatureAlgorithm",
        };
        add("bad-signature-algorithm", "SignatureAlgorithm".to_owned(), text.to_owned());
    }
    for (index, usage) in fields.ext_key_usage.iter().flatten().enumerate() {
        if !(0..=LAST_EXT_KEY_USAGE).contains(usage) {
            let text = "x509: unknown extended key usage".to_owned();
            add("bad-ext-key-usage", format!("ExtKeyUsage[{index}]"), text);
        }
    }
    for (field, arcs) in object_identifiers(fields) {
        if !is_object_identifier(arcs) {
            add("bad-object-identifier", field, "asn1: structural error: invalid object identifier".to_owned());
        }
    }
    for (index, policy) in fields.policies.iter().enumerate() {
        if policy.is_empty() {
            let text = "invalid policy object identifier".to_owned();
            add("bad-object-identifier", format!("Policies[{index}]"), text);
        }
    }
    for (field, texts) in ia5_fields(fields) {
        for (index, text) in texts.iter().enumerate().filter(|(_, text)| !text.is_ascii()) {
            let text = format!("x509: {text:?} cannot be encoded as an IA5String");
            add("not-ascii", format!("{field}[{index}]"), text);
        }
    }
}

fn object_identifiers(fields: &CertFields) -> Vec<(String, &[u64])> {
    let names = fields.subject.extra_names.iter().enumerate();
    let names = names.map(|(index, (arcs, _))| (format!("Subject.ExtraNames[{index}].Type"), arcs.as_slice()));
    let usages = fields.unknown_ext_key_usage.iter().enumerate();
    let usages = usages.map(|(index, arcs)| (format!("UnknownExtKeyUsage[{index}]"), arcs.as_slice()));
    let extensions = fields.extra_extensions.iter().enumerate();
    let extensions =
        extensions.map(|(index, extension)| (format!("ExtraExtensions[{index}].Id"), extension.id.as_slice()));
    names.chain(usages).chain(extensions).collect()
}

fn is_object_identifier(arcs: &[u64]) -> bool {
    matches!(arcs, [0 | 1, 0..=39, ..] | [2, _, ..])
}

/// Fields that certificates hold as ASCII.
fn ia5_fields(fields: &CertFields) -> Vec<(&'static str, &[String])> {
    vec![
        ("DNSNames", fields.dns_names.as_deref().unwrap_or_default()),
        ("EmailAddresses", &fields.email_addresses),
        ("URIs", &fields.uris),
        ("PermittedDNSDomains", &fields.permitted_dns_domains),
        ("PermittedEmailAddresses", &fields.permitted_email_addresses),
        ("PermittedURIDomains", &fields.permitted_uri_domains),
        ("ExcludedDNSDomains", &fields.excluded_dns_domains),
        ("ExcludedEmailAddresses", &fields.excluded_email_addresses),
        ("ExcludedURIDomains", &fields.excluded_uri_domains),
    ]
}

pub(super) fn warn(name: &str, secret: &SecretDefinition, env: &CheckEnv, report: &mut Report) {
    let base = path::of(["Secrets", name]);
    if secret.user_defined {
        return;
    }
    if end(secret, env).is_some_and(|end| end < env.now.as_second()) {
        report.warn("expired-certificate", base.clone(), "this certificate has expired before it is made");
    }
    let Some(CertTemplate::Fields(fields)) = &secret.cert else { return };
    if fields.is_ca {
        let text = "whoever holds this key can issue certificates that all Marbles trust";
        report.warn("certificate-authority", format!("{base}.Cert.IsCA"), text);
    }
    if !(0..512).contains(&fields.key_usage) {
        report.warn("bad-key-usage", format!("{base}.Cert.KeyUsage"), "only the bits 1 to 256 mean anything");
    }
}
