//! TTLS tags: connections that are wrapped in TLS for a Marble.

use std::collections::BTreeSet;

use super::{Report, Stage};
use crate::model::{Manifest, SecretKind, TlsEntry};
use crate::path;

pub(super) fn check(manifest: &Manifest, report: &mut Report) {
    let used = used_tags(manifest);
    for (tag, connections) in &manifest.tls {
        report.each(&connections.incoming, |report, index, entry| {
            let base = format!("{}[{index}]", path::of(["TLS", tag, "Incoming"]));
            check_incoming(manifest, &base, tag, entry, report);
            if used.contains(tag.as_str()) && is_no_certificate(manifest, entry) {
                let text = format!("TLS tag {tag:?} uses secret {:?}, which is no certificate", entry.cert);
                report.error(Stage::Check, "secret-is-no-certificate", format!("{base}.Cert"), text);
            }
        });
        report.each(&connections.outgoing, |report, index, entry| {
            let base = format!("{}[{index}]", path::of(["TLS", tag, "Outgoing"]));
            if entry.addr.is_empty() {
                let text = format!("TLS tag {tag:?} has an Outgoing entry without Addr");
                report.error(Stage::Check, "no-address", format!("{base}.Addr"), text);
            }
            if entry.port.is_empty() {
                let text = format!("TLS tag {tag:?} has an Outgoing entry without Port");
                report.error(Stage::Check, "no-port", format!("{base}.Port"), text);
            }
        });
    }
}

fn check_incoming(manifest: &Manifest, base: &str, tag: &str, entry: &TlsEntry, report: &mut Report) {
    if entry.port.is_empty() {
        let text = format!("TLS tag {tag:?} has an Incoming entry without Port");
        report.error(Stage::Check, "no-port", format!("{base}.Port"), text);
    }
    if entry.cert.is_empty() {
        if entry.disable_client_auth {
            let text = format!("TLS tag {tag:?} has DisableClientAuth without a Cert of its own");
            report.error(Stage::Check, "client-auth-without-cert", format!("{base}.DisableClientAuth"), text);
        }
        return;
    }
    if !manifest.secrets.contains_key(&entry.cert) {
        let text = format!("TLS tag {tag:?} uses secret {:?}, which is not defined", entry.cert);
        report.error(Stage::Check, "undefined-secret", format!("{base}.Cert"), text);
    }
    if !entry.disable_client_auth {
        let text = format!("TLS tag {tag:?} has a Cert of its own, which needs DisableClientAuth");
        report.error(Stage::Check, "cert-with-client-auth", format!("{base}.DisableClientAuth"), text);
    }
}

pub(super) fn warn(manifest: &Manifest, report: &mut Report) {
    let used = used_tags(manifest);
    for (tag, connections) in &manifest.tls {
        if !used.contains(tag.as_str()) {
            report.warn("unused-tls-tag", path::of(["TLS", tag]), "no Marble uses this tag");
        }
        for (index, entry) in connections.incoming.iter().enumerate() {
            let base = format!("{}[{index}]", path::of(["TLS", tag, "Incoming"]));
            warn_port(&base, entry, report);
            if !entry.addr.is_empty() {
                report.warn("ignored-field", format!("{base}.Addr"), "has no effect on incoming connections");
            }
            if !used.contains(tag.as_str()) && is_no_certificate(manifest, entry) {
                let text = "this secret is no certificate, so no Marble can use this tag";
                report.warn("secret-is-no-certificate", format!("{base}.Cert"), text);
            }
        }
        for (index, entry) in connections.outgoing.iter().enumerate() {
            let base = format!("{}[{index}]", path::of(["TLS", tag, "Outgoing"]));
            warn_port(&base, entry, report);
            for (field, is_given) in
                [("Cert", !entry.cert.is_empty()), ("DisableClientAuth", entry.disable_client_auth)]
            {
                if is_given {
                    report.warn("ignored-field", format!("{base}.{field}"), "has no effect on outgoing connections");
                }
            }
        }
    }
}

fn used_tags(manifest: &Manifest) -> BTreeSet<&str> {
    manifest.marbles.values().flat_map(|marble| marble.tls.iter().map(String::as_str)).collect()
}

/// A Marble that is to accept connections with a key, or with a text, could never be activated.
fn is_no_certificate(manifest: &Manifest, entry: &TlsEntry) -> bool {
    let kind = manifest.secrets.get(&entry.cert).and_then(|secret| SecretKind::from_name(&secret.kind));
    kind.is_some_and(|kind| !kind.is_certificate())
}

fn warn_port(base: &str, entry: &TlsEntry, report: &mut Report) {
    let is_number = entry.port.parse::<u16>().is_ok_and(|port| port > 0);
    if !entry.port.is_empty() && !is_number {
        report.warn("bad-port", format!("{base}.Port"), format!("{:?} is no port number", entry.port));
    }
}
