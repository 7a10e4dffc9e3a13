//! What is inside an opened state, for people and programs: everything but values of secrets, for which there is no
//! place here.

use std::collections::BTreeMap;

use marblerun_pki::Secret;
use marblerun_recovery::Scheme;
use marblerun_state::{CounterKey, Phase, State};
use serde::Serialize;
use uuid::Uuid;

/// An opened state without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// `recovery`, `accepting-manifest` or `running`.
    pub phase: &'static str,
    /// SHA-256 of the root certificate.
    pub root_fingerprint: String,
    /// Deployment; of a state of the Go Coordinator, what an import would make of it.
    pub deployment_id: String,
    /// Which life of it.
    pub incarnation: u64,
    /// The manifest in force.
    pub manifest: Option<ManifestFacts>,
    /// Effective packages: after updates of security versions.
    pub packages: Vec<PackageFacts>,
    /// Marble types.
    pub marbles: Vec<MarbleFacts>,
    /// Users.
    pub users: Vec<UserFacts>,
    /// Secrets.
    pub secrets: Vec<SecretFacts>,
    /// Monotonic counters.
    pub counters: Vec<CounterFacts>,
    /// Lines of the update log.
    pub update_log_entries: usize,
    /// A full update that waits for acknowledgements.
    pub pending_update: Option<PendingFacts>,
    /// Who can recover it.
    pub recovery: Vec<RecoveryFacts>,
    /// Store keys of the Go Coordinator that are kept as they were imported.
    pub kept_store_keys: usize,
}

/// The manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestFacts {
    /// SHA-256.
    pub fingerprint: String,
    /// Its size.
    pub bytes: usize,
    /// As written; empty: `ProductKey`.
    pub seal_mode: String,
    /// Switched on.
    pub feature_gates: Vec<String>,
    /// Acknowledgements a full update needs; 0: of all who may update.
    pub update_threshold: u64,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageFacts {
    /// Name.
    pub name: String,
    /// In force.
    pub security_version: Option<u64>,
    /// As the manifest says; differs after an update of the package.
    pub security_version_of_manifest: Option<u64>,
    /// MRSIGNER or empty.
    pub signer_id: String,
    /// MRENCLAVE or empty.
    pub unique_id: String,
    /// Product.
    pub product_id: Option<u64>,
    /// Whether debug enclaves pass.
    pub debug: bool,
}

/// A Marble type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MarbleFacts {
    /// Name of the type.
    pub name: String,
    /// Its package.
    pub package: String,
    /// Activations so far; counted only where there is a limit.
    pub activations: u64,
    /// The limit; 0: none.
    pub max_activations: u64,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserFacts {
    /// Name.
    pub name: String,
    /// SHA-256 of the certificate.
    pub certificate_fingerprint: String,
    /// Permission to the resources it covers.
    pub permissions: BTreeMap<&'static str, Vec<String>>,
}

/// A secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretFacts {
    /// Name.
    pub name: String,
    /// Type, as in the manifest.
    pub r#type: &'static str,
    /// Bits; 0 where it does not apply.
    pub size: u64,
    /// `set`, `unset`, or `per-marble`: made anew for each Marble, so that there is no value.
    pub value: &'static str,
    /// One value for all Marbles.
    pub shared: bool,
    /// Uploaded by a user.
    pub user_defined: bool,
    /// Whether there is a generation before the last change, with a value, and another one.
    pub has_previous: bool,
}

/// A monotonic counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CounterFacts {
    /// Marble type.
    pub marble_type: String,
    /// Marble.
    pub uuid: String,
    /// Name.
    pub name: String,
    /// Value.
    pub value: u64,
}

/// A full update that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingFacts {
    /// SHA-256 of the proposed manifest.
    pub fingerprint: String,
    /// User to "has acknowledged".
    pub users: BTreeMap<String, bool>,
    /// Still needed.
    pub missing_acknowledgments: i64,
}

/// A set of recovery secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryFacts {
    /// `single`, `all` or `threshold`.
    pub scheme: &'static str,
    /// How many parties are needed.
    pub threshold: u32,
    /// Names.
    pub parties: Vec<String>,
}

impl Contents {
    /// Reads a state.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let active = state.manifest();
        let declared = active.map(|active| &active.manifest);
        Self {
            phase: match state.phase() {
                Phase::Recovery => "recovery",
                Phase::AcceptingManifest => "accepting-manifest",
                Phase::AcceptingMarbles => "running",
            },
            root_fingerprint: fingerprint(&state.authority().root_certificate),
            deployment_id: hex::encode(state.lineage().deployment_id),
            incarnation: state.lineage().incarnation,
            manifest: active.map(|active| ManifestFacts {
                fingerprint: hex::encode(active.fingerprint),
                bytes: active.raw.len(),
                seal_mode: active.manifest.config.seal_mode.clone(),
                feature_gates: active.manifest.config.feature_gates.clone(),
                update_threshold: active.manifest.config.update_threshold,
            }),
            packages: state
                .packages()
                .map(|(name, package)| PackageFacts {
                    name: name.to_owned(),
                    security_version: package.security_version,
                    security_version_of_manifest: declared
                        .and_then(|manifest| manifest.packages.get(name))
                        .and_then(|package| package.security_version),
                    signer_id: package.signer_id.clone(),
                    unique_id: package.unique_id.clone(),
                    product_id: package.product_id,
                    debug: package.debug,
                })
                .collect(),
            marbles: declared
                .iter()
                .flat_map(|manifest| &manifest.marbles)
                .map(|(name, marble)| MarbleFacts {
                    name: name.clone(),
                    package: marble.package.clone(),
                    activations: state.activations(name),
                    max_activations: marble.max_activations,
                })
                .collect(),
            users: active
                .iter()
                .flat_map(|active| active.users.values())
                .map(|user| UserFacts {
                    name: user.name.clone(),
                    certificate_fingerprint: fingerprint(&user.certificate),
                    permissions: user
                        .permissions
                        .iter()
                        .map(|(permission, names)| (permission.as_str(), names.iter().cloned().collect()))
                        .collect(),
                })
                .collect(),
            secrets: state.secrets().map(|(name, secret)| secret_facts(state, name, secret)).collect(),
            counters: state
                .counters()
                .map(|(CounterKey { marble_type, uuid, name }, value)| CounterFacts {
                    marble_type: marble_type.clone(),
                    uuid: Uuid::from_bytes(*uuid).to_string(),
                    name: name.clone(),
                    value,
                })
                .collect(),
            update_log_entries: state.update_log().count(),
            pending_update: state.pending_update().map(|update| PendingFacts {
                fingerprint: fingerprint(&update.raw),
                users: update.required_users.clone(),
                missing_acknowledgments: update.missing_acknowledgments,
            }),
            recovery: state
                .recovery()
                .iter()
                .map(|entry| RecoveryFacts {
                    scheme: scheme_name(entry.set.scheme),
                    threshold: entry.set.threshold,
                    parties: entry.set.parties.iter().map(|party| party.name.clone()).collect(),
                })
                .collect(),
            kept_store_keys: state.extra().count(),
        }
    }
}

/// Stable word for a scheme.
#[must_use]
pub fn scheme_name(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Single => "single",
        Scheme::Xor => "all",
        Scheme::Shamir => "threshold",
    }
}

fn secret_facts(state: &State, name: &str, secret: &Secret) -> SecretFacts {
    let has_value =
        |secret: &Secret| secret.private.is_some() || secret.public.is_some() || secret.certificate.is_some();
    SecretFacts {
        name: name.to_owned(),
        r#type: secret.kind.as_str(),
        size: secret.size,
        value: match (secret.shared || secret.user_defined, has_value(secret)) {
            (false, _) => "per-marble",
            (true, true) => "set",
            (true, false) => "unset",
        },
        shared: secret.shared,
        user_defined: secret.user_defined,
        has_previous: state.previous_secret(name).is_some_and(|old| **old != *secret && has_value(old)),
    }
}

fn fingerprint(bytes: &[u8]) -> String {
    hex::encode(crate::digest::sha256(&[bytes]))
}
