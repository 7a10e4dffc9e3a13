//! The client API v3: what is ours alone. Health for probes, status for people and programs.

mod audit;
mod cluster;
mod openapi;
mod seal;
mod update;

use std::collections::BTreeMap;

use http::StatusCode;
use marblerun_api::bytes::Base64;
use marblerun_api::v3;
use marblerun_manifest::check::Finding;
use marblerun_recovery::Scheme;
use marblerun_state::Phase;
use marblerun_store::StoreMode;

use crate::core::{AttestationAnswer, off_thread};
use crate::server::http::dialect::Refusal;
use crate::server::http::envelope::{self, Answer};
use crate::server::http::guard::UserPass;
use crate::server::http::router::Call;
use crate::server::http::{nonce, query};
use crate::server::ready;

pub(super) use audit::{audit, backup, head as audit_head};
pub(in crate::server) use cluster::answer_of;
pub(super) use cluster::{accept_restore, cluster, reject_restore, rotate_kek};
pub(super) use openapi::openapi;
pub(super) use seal::{add_slot, remove_slot, rotate_slots, slots, test_slots};
pub(super) use update::{acknowledge_update, update};

type Result = std::result::Result<Answer, Refusal>;

/// Whether the process answers.
#[utoipa::path(
    get,
    path = "/api/v3/healthz",
    responses((status = 200, description = "The process answers.", body = v3::Health))
)]
pub(super) async fn healthz(_call: Call<()>) -> Result {
    Ok(envelope::json(StatusCode::OK, &ready::health()))
}

/// Whether requests should be sent to this instance.
#[utoipa::path(
    get,
    path = "/api/v3/readyz",
    responses(
        (status = 200, description = "Ready.", body = v3::Readiness),
        (status = 503, description = "Not ready.", body = v3::Readiness),
    )
)]
pub(super) async fn readyz(call: Call<()>) -> Result {
    let (status, readiness) = ready::readiness(call.coordinator());
    Ok(envelope::json(status, &readiness))
}

/// What this instance is, what it can do, and how its state is kept.
#[utoipa::path(get, path = "/api/v3/status", responses((status = 200, description = "The status.", body = v3::Status)))]
pub(super) async fn status(call: Call<()>) -> Result {
    let (coordinator, facts) = (call.coordinator(), &call.app.facts);
    let state = coordinator.snapshot();
    let store = coordinator.store_status();
    let shared = coordinator.cluster_view();
    let (code, message) = coordinator.status();
    let authority = coordinator.authority();
    let root = sha256(&authority.root_certificate);
    // After a change of manifest its checks run once more, templates and all.
    let asked = coordinator.clone();
    let warnings = off_thread(move || Ok(asked.warnings())).await?;
    Ok(envelope::json(
        StatusCode::OK,
        &v3::Status {
            phase: phase(state.phase()),
            code,
            message: message.into_owned(),
            tee: facts.tee.clone(),
            version: facts.version.clone(),
            deployment: hex::encode(state.lineage().deployment_id),
            incarnation: state.lineage().incarnation,
            root_fingerprint: hex::encode(root),
            manifest_fingerprint: state.manifest().map(|manifest| hex::encode(manifest.fingerprint)),
            store: v3::Store {
                sequence: store.sequence,
                head: store.head.map(hex::encode),
                bytes: store.file_bytes,
                slots: store.slots,
                validated_ms_ago: shared.as_ref().and_then(|view| cluster::validated_ms_ago(view)),
                divergence: shared.as_ref().and_then(|view| cluster::divergence(view)),
                ..mode(store.mode)
            },
            warnings,
        },
    ))
}

/// Proof of who this Coordinator is and which life of its deployment it serves: a quote made for this question.
#[utoipa::path(
    get,
    path = "/api/v3/attestation",
    params(("nonce" = String, Query, description = "16 to 64 random bytes, URL-safe base64 with padding.")),
    responses(
        (
            status = 200,
            description = "The quote's report data is the SHA-256 of: `marblerun attestation v1` and a zero byte; the DER of \
                           the root certificate and then the nonce, each behind its length in 8 bytes (big endian); 1, \
                           the incarnation in 8 bytes (big endian) and its id, or 25 zero bytes if it is not known.",
            body = v3::Attestation
        ),
        (status = 400, description = "The nonce is missing, too short, too long or no base64.", body = v3::Problem),
        (status = 500, description = "The hardware gives no quote.", body = v3::Problem),
    )
)]
pub(super) async fn attestation(call: Call<()>) -> Result {
    let nonce = query::values(&call.query, "nonce").into_iter().next().unwrap_or_default();
    let AttestationAnswer { quote, incarnation } = call.coordinator().attestation(&nonce::decode(&nonce)?).await?;
    Ok(envelope::json(
        StatusCode::OK,
        &v3::Attestation {
            cert: quote.cert,
            quote: quote.quote.map(Base64),
            tee: call.app.facts.tee.clone(),
            incarnation: incarnation.map(|life| life.number),
            incarnation_id: incarnation.map(|life| hex::encode(life.id)),
        },
    ))
}

/// What would be said about the posted manifest, byte for byte as it would be set. Nothing is changed.
#[utoipa::path(
    post,
    path = "/api/v3/manifest/check",
    request_body(content = String, content_type = "application/json", description = "The raw manifest."),
    responses(
        (status = 200, description = "Every finding.", body = v3::ManifestCheck),
        (status = 413, description = "The manifest is too large.", body = v3::Problem),
        (status = 503, description = "Another manifest is being checked.", body = v3::Problem),
    )
)]
pub(super) async fn check_manifest(mut call: Call<()>) -> Result {
    let raw = std::mem::take(&mut *call.body);
    let fingerprint = hex::encode(sha256(&raw));
    let report = call.coordinator().check_manifest(raw).await?;
    let finding = |severity| {
        move |finding: Finding| v3::Finding {
            severity,
            code: finding.code.to_owned(),
            stage: finding.stage.as_str().to_owned(),
            path: finding.path,
            message: finding.text,
        }
    };
    let accepted = report.is_accepted();
    let errors = report.errors.into_iter().map(finding(v3::Severity::Error));
    let warnings = report.warnings.into_iter().map(finding(v3::Severity::Warning));
    let findings = errors.chain(warnings).collect();
    Ok(envelope::json(StatusCode::OK, &v3::ManifestCheck { accepted, fingerprint, findings }))
}

/// Whether a sealed state waits for its key holders, why, and how far they have come.
#[utoipa::path(
    get,
    path = "/api/v3/recovery",
    responses((status = 200, description = "The progress.", body = v3::Recovery))
)]
pub(super) async fn recovery(call: Call<()>) -> Result {
    let coordinator = call.coordinator();
    let progress = coordinator.recovery_progress().await;
    let v3::Store { code, message, .. } = match coordinator.store_status().mode {
        waiting @ StoreMode::Recovery { .. } => mode(waiting),
        other => v3::Store { code: None, message: None, ..mode(other) },
    };
    let needed = coordinator.snapshot().phase() == Phase::Recovery;
    let parties = progress.iter().flat_map(|progress| &progress.parties);
    Ok(envelope::json(
        StatusCode::OK,
        &v3::Recovery {
            needed,
            code,
            message,
            remaining: progress.as_ref().and_then(|progress| u64::try_from(progress.remaining).ok()),
            parties: parties
                .map(|(name, accepted)| v3::RecoveryParty { name: name.clone(), accepted: *accepted })
                .collect(),
        },
    ))
}

/// The encrypted recovery secrets, for users who may update the manifest.
#[utoipa::path(
    get,
    path = "/api/v3/recovery/secrets",
    responses(
        (status = 200, description = "The secrets of each set in force.", body = v3::RecoverySecrets),
        (status = 401, description = "The client certificate is no user's.", body = v3::Problem),
        (status = 403, description = "This user may not update the manifest.", body = v3::Problem),
    )
)]
pub(super) async fn recovery_secrets(call: Call<UserPass>) -> Result {
    let sets = call.coordinator().recovery_secrets(Some(&call.pass.certificate)).await?;
    let sets = sets.into_iter().map(|set| v3::RecoverySet {
        scheme: match set.scheme {
            Scheme::Single => v3::RecoveryScheme::Single,
            Scheme::Xor => v3::RecoveryScheme::Xor,
            Scheme::Shamir => v3::RecoveryScheme::Shamir,
        },
        threshold: set.threshold,
        epoch: hex::encode(set.epoch),
        // A state that was imported without its recovery data has parties whose secret nobody knows.
        secrets: set
            .parties
            .into_iter()
            .filter(|party| !party.encrypted_secret.is_empty())
            .map(|party| (party.name, Base64(party.encrypted_secret)))
            .collect(),
    });
    Ok(envelope::json(StatusCode::OK, &v3::RecoverySecrets { sets: sets.collect() }))
}

/// The packages in force.
#[utoipa::path(get, path = "/api/v3/packages", responses((status = 200, description = "The packages.", body = v3::Packages)))]
pub(super) async fn packages(call: Call<()>) -> Result {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let state = call.coordinator().snapshot();
    let packages = state.packages().map(|(name, package)| {
        (
            name.to_owned(),
            v3::Package {
                debug: package.debug,
                unique_id: given(&package.unique_id),
                signer_id: given(&package.signer_id),
                product_id: package.product_id,
                security_version: package.security_version,
                accepted_tcb_statuses: match package.accepted_tcb_statuses.as_slice() {
                    [] => vec!["SWHardeningNeeded".to_owned()],
                    given => given.to_vec(),
                },
                accepted_advisories: package.accepted_advisories.clone(),
                tdx: package.tdx.as_ref().map(|vm| given_fields(&vm.fields())),
                snp: package.snp.as_ref().map(|vm| v3::SnpPackage {
                    fields: given_fields(&vm.fields()),
                    policy: vm.policy,
                    vmpl: vm.vmpl.unwrap_or_default(),
                    min_tcb: vm
                        .min_tcb
                        .unwrap_or_default()
                        .components()
                        .into_iter()
                        .filter_map(|(name, version)| Some((name.to_owned(), version?)))
                        .collect(),
                    products: vm.products.clone(),
                    pcrs: vm.pcrs.clone(),
                }),
            },
        )
    });
    Ok(envelope::json(StatusCode::OK, &v3::Packages { packages: packages.collect() }))
}

/// What is asked of a VM, by name.
fn given_fields(fields: &[(&'static str, &str, usize)]) -> BTreeMap<String, String> {
    let given = fields.iter().filter(|(_, value, _)| !value.is_empty());
    given.map(|(name, value, _)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn sha256(bytes: &[u8]) -> impl AsRef<[u8]> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes)
}

fn phase(phase: Phase) -> v3::Phase {
    match phase {
        Phase::Recovery => v3::Phase::Recovery,
        Phase::AcceptingManifest => v3::Phase::AcceptingManifest,
        Phase::AcceptingMarbles => v3::Phase::AcceptingMarbles,
    }
}

/// Mode with its cause; the other fields are empty.
fn mode(mode: StoreMode) -> v3::Store {
    let (mode, code, message) = match mode {
        StoreMode::Volatile => (v3::Mode::Volatile, None, None),
        StoreMode::Durable => (v3::Mode::Durable, None, None),
        StoreMode::Recovery { code, message } => (v3::Mode::Recovery, Some(code.to_owned()), Some(message)),
        StoreMode::Superseded => (v3::Mode::Superseded, None, None),
        StoreMode::Diverged { reason } => (v3::Mode::Diverged, None, Some(reason)),
        StoreMode::ReadOnly { reason } => (v3::Mode::ReadOnly, None, Some(reason)),
    };
    v3::Store {
        mode,
        code,
        message,
        sequence: 0,
        head: None,
        bytes: 0,
        slots: Vec::new(),
        validated_ms_ago: None,
        divergence: None,
    }
}
