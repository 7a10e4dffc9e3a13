//! `Config`: thresholds, seal mode, optional features.

use super::{CheckEnv, Report, Stage, usage};
use crate::model::Manifest;
use crate::suggest;

const SEAL_MODES: [&str; 3] = ["ProductKey", "UniqueKey", "Disabled"];
const FEATURES: [&str; 3] = ["SignQuoteEndpoint", "MonotonicCounter", "AzureHSMSealing"];

/// Variables the Azure feature needs, in the order upstream names them.
const AZURE_VARIABLES: [&str; 5] =
    ["EDG_MAA_URL", "EDG_AZURE_HSM_VAULT_URL", "EDG_AZURE_HSM_KEY_NAME", "EDG_AZURE_CLIENT_ID", "EDG_AZURE_TENANT_ID"];
const AZURE_SECRET: &str = "EDG_AZURE_CLIENT_SECRET";
const AZURE_FEDERATION: [&str; 2] = ["EDG_AZURE_AUTHORITY_HOST", "EDG_AZURE_FEDERATED_TOKEN_FILE"];

pub(super) fn check(manifest: &Manifest, env: &CheckEnv, report: &mut Report) {
    let config = &manifest.config;
    let updaters = usage::updaters(manifest).count() as u64;
    if config.update_threshold > updaters {
        let text = format!(
            "UpdateThreshold is {}, but only {updaters} users may update the manifest",
            config.update_threshold
        );
        report.error(Stage::Check, "update-threshold-too-high", "Config.UpdateThreshold", text);
    }
    if !config.seal_mode.is_empty() && !SEAL_MODES.contains(&config.seal_mode.as_str()) {
        let hint = suggest::closest(&config.seal_mode, &SEAL_MODES).map(|known| format!("; is {known} meant?"));
        let text = format!("unknown SealMode {:?}{}", config.seal_mode, hint.unwrap_or_default());
        report.error(Stage::Check, "unknown-seal-mode", "Config.SealMode", text);
    }
    for (index, gate) in config.feature_gates.iter().enumerate() {
        let path = format!("Config.FeatureGates[{index}]");
        if !FEATURES.iter().any(|known| known.eq_ignore_ascii_case(gate)) {
            if report.has_room_for_errors() {
                let hint = suggest::closest(gate, &FEATURES).map(|known| format!("; is {known} meant?"));
                let text = format!("unknown feature {gate:?}{}", hint.unwrap_or_default());
                report.error(Stage::Check, "unknown-feature", path, text);
            }
        } else if gate.eq_ignore_ascii_case("AzureHSMSealing") {
            check_azure(path, env, report);
        }
    }
    let (threshold, keys) = (config.recovery_threshold, manifest.recovery_keys.len() as u64);
    if threshold > keys {
        let text = format!("RecoveryThreshold is {threshold}, but there are only {keys} RecoveryKeys");
        report.error(Stage::Check, "recovery-threshold-too-high", "Config.RecoveryThreshold", text);
    }
    if threshold == 1 {
        let text = "RecoveryThreshold must not be 1; it is 0 (all keys) or at least 2";
        report.error(Stage::Check, "recovery-threshold-one", "Config.RecoveryThreshold", text);
    }
}

fn check_azure(path: String, env: &CheckEnv, report: &mut Report) {
    let Some(variables) = &env.variables else {
        let text = "the Coordinator needs the EDG_MAA_URL and EDG_AZURE_* variables for this";
        return report.warn("azure-variables", path, text);
    };
    let is_missing = |name: &&str| !variables.contains(*name);
    let mut missing: Vec<&str> = AZURE_VARIABLES.into_iter().filter(is_missing).collect();
    let has_federation = !AZURE_FEDERATION.iter().any(is_missing);
    if !variables.contains(AZURE_SECRET) && !has_federation {
        missing.push(AZURE_SECRET);
        missing.extend(AZURE_FEDERATION.into_iter().filter(is_missing));
    }
    if !missing.is_empty() {
        let text = format!(
            "manifest enables sealing with Azure HSM key, but required environment variables are not set: [{}]",
            missing.join(" ")
        );
        report.error(Stage::Check, "azure-variables", path, text);
    }
}

pub(super) fn warn(manifest: &Manifest, report: &mut Report) {
    let config = &manifest.config;
    if config.seal_mode == "Disabled" {
        let text = "the state is kept in memory only: a restart loses it, and there is nothing to back up";
        report.warn("sealing-disabled", "Config.SealMode", text);
    }
    if config.rotate_root_secret {
        let text = "the root secret is rotated at every full update, and only one earlier generation of keys derived from it is kept";
        report.warn("root-secret-rotates", "Config.RotateRootSecret", text);
    }
}
