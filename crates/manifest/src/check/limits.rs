//! What a manifest may cost. Upstream has no limits here: one manifest, which anybody may send to a fresh
//! Coordinator, can make it allocate or compute without end.

use std::collections::BTreeMap;

use super::{Report, Stage, usage};
use crate::model::{Manifest, SecretKind};

/// Most entries of one section.
pub const MAX_ENTRIES: usize = 20_000;
/// Most permissions that users have all together: each resource counts for each action, role and user.
pub const MAX_PERMISSIONS: usize = 1_000_000;
/// Most connections that Marbles have all together: each entry counts for each tag and Marble.
pub const MAX_CONNECTIONS: usize = 1_000_000;
/// Most errors, and most warnings, that are told of one manifest.
pub const MAX_FINDINGS: usize = 1_000;
/// Longest name of an entry in bytes: a name is repeated in whatever is found below it.
pub const MAX_NAME: usize = 4_096;
/// Longest text of a finding in characters.
pub(super) const MAX_TEXT: usize = 4_096;
/// Longest RSA key in bits; generating a longer one takes many minutes.
pub const MAX_RSA_BITS: u64 = 16_384;
/// Most work for the RSA keys that are generated when the manifest is set, in units of a 1024-bit key: it grows with the
/// fourth power of the size. On one core, about a quarter of an hour.
pub const MAX_RSA_WORK: u64 = 100_000;
/// Longest shared symmetric key in bits.
pub const MAX_SHARED_KEY_BITS: u64 = 65_536;
/// Longest symmetric key of one Marble in bits: what HKDF-SHA256 can derive (RFC 5869: 255 blocks of 32 bytes).
pub const MAX_UNSHARED_KEY_BITS: u64 = 255 * 32 * 8;

/// The names, before anything is said with them. If one is refused, that is all there is to tell.
pub(super) fn check_names(manifest: &Manifest, report: &mut Report) {
    fn longest<V>(section: &BTreeMap<String, V>) -> usize {
        section.keys().map(String::len).max().unwrap_or(0)
    }
    for (section, longest) in [
        ("Packages", longest(&manifest.packages)),
        ("Infrastructures", longest(&manifest.infrastructures)),
        ("Marbles", longest(&manifest.marbles)),
        ("Users", longest(&manifest.users)),
        ("Secrets", longest(&manifest.secrets)),
        ("RecoveryKeys", longest(&manifest.recovery_keys)),
        ("Roles", longest(&manifest.roles)),
        ("TLS", longest(&manifest.tls)),
    ] {
        if longest > MAX_NAME {
            let text = format!("{section} has a name of {longest} bytes; at most {MAX_NAME} are supported");
            report.error(Stage::Check, "name-too-long", section, text);
        }
    }
}

pub(super) fn check(manifest: &Manifest, report: &mut Report) {
    for (section, entries) in [
        ("Packages", manifest.packages.len()),
        ("Infrastructures", manifest.infrastructures.len()),
        ("Marbles", manifest.marbles.len()),
        ("Users", manifest.users.len()),
        ("Secrets", manifest.secrets.len()),
        ("RecoveryKeys", manifest.recovery_keys.len()),
        ("Roles", manifest.roles.len()),
        ("TLS", manifest.tls.len()),
    ] {
        if entries > MAX_ENTRIES {
            let text = format!("{section} has {entries} entries; at most {MAX_ENTRIES} are supported");
            report.error(Stage::Check, "too-many-entries", section, text);
        }
    }
    // What refers to what is multiplied where it is resolved.
    let permissions = permissions(manifest);
    if permissions > MAX_PERMISSIONS {
        let text =
            format!("the users have {permissions} permissions together; at most {MAX_PERMISSIONS} are supported");
        report.error(Stage::Check, "too-many-permissions", "Users", text);
    }
    let connections = connections(manifest);
    if connections > MAX_CONNECTIONS {
        let text =
            format!("the Marbles have {connections} connections together; at most {MAX_CONNECTIONS} are supported");
        report.error(Stage::Check, "too-many-connections", "Marbles", text);
    }
    if rsa_work(manifest) > MAX_RSA_WORK {
        let text = "generating the shared RSA keys together would take too long: at most 6,250 keys of 2048 bits are \
                    supported, 1,234 of 3072, or 390 of 4096. Use fewer or shorter ones, or cert-ecdsa";
        report.error(Stage::Check, "too-many-rsa-keys", "Secrets", text);
    }
}

/// Keys of single Marbles are generated when those are activated.
fn rsa_work(manifest: &Manifest) -> u64 {
    let generated = manifest.secrets.values().filter(|secret| secret.shared && !secret.user_defined);
    generated
        .filter(|secret| SecretKind::from_name(&secret.kind) == Some(SecretKind::CertRsa))
        .map(|secret| secret.size.div_ceil(1024).saturating_pow(4))
        .fold(0, u64::saturating_add)
}

fn permissions(manifest: &Manifest) -> usize {
    let roles = manifest.users.values().flat_map(|user| usage::roles(manifest, user));
    roles.map(|role| role.actions.len().saturating_mul(role.resource_names.len())).fold(0, usize::saturating_add)
}

/// Connections of all Marbles together; a tag counts once for each Marble that lists it.
pub(super) fn connections(manifest: &Manifest) -> usize {
    let tags = manifest.marbles.values().flat_map(|marble| &marble.tls).filter_map(|tag| manifest.tls.get(tag));
    tags.map(|tag| tag.incoming.len().saturating_add(tag.outgoing.len())).fold(0, usize::saturating_add)
}
