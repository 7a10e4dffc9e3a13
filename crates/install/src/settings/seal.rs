//! What the state is sealed with and evidence is verified with, and what the pod gets of its node for that.

use serde::Deserialize;

use super::form::text;
use super::{Coordinator, Named, Settings, Tee};
use crate::values::ValuesError;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Seal {
    pub(crate) backends: String,
    pub(crate) passphrase: Passphrase,
    pub(crate) pkcs11: Pkcs11,
    pub(crate) tpm: Tpm,
    pub(crate) snp: Snp,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Passphrase {
    pub(crate) secret_name: String,
    pub(crate) secret_key: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Pkcs11 {
    pub(crate) secret_name: String,
    #[serde(rename = "keyID")]
    pub(crate) key_id: String,
    pub(crate) key_label: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Tpm {
    pub(crate) path: String,
    #[serde(deserialize_with = "text")]
    pub(crate) pcrs: String,
    #[serde(rename = "uniquePCRs", deserialize_with = "text")]
    pub(crate) unique_pcrs: String,
    pub(crate) name: String,
    pub(crate) counter: String,
    pub(crate) owner_password_secret_name: String,
    pub(crate) owner_password_secret_key: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Snp {
    pub(crate) product_key: String,
    #[serde(deserialize_with = "text")]
    pub(crate) vmpl: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Collateral {
    pub(crate) url: String,
    pub(crate) config_map: String,
    #[serde(rename = "kdsURL")]
    pub(crate) kds_url: String,
    pub(crate) cache_dir: String,
}

const BACKENDS: [&str; 7] = ["platform", "tpm", "pkcs11", "azure-hsm", "passphrase", "host-key", "plain"];
/// Backends that give a key only to who can prove what runs.
const PROVING: [&str; 3] = ["platform", "tpm", "azure-hsm"];
const OF_SIMULATION: [&str; 2] = ["host-key", "plain"];

impl Seal {
    /// Backends in order; those that stand together are all needed. Empty: as fits the machine.
    fn slots(&self) -> Vec<Vec<&str>> {
        match self.backends.as_str() {
            "" | "auto" => Vec::new(),
            backends => backends.split(',').map(|slot| slot.split('+').collect()).collect(),
        }
    }
}

/// Values that contradict each other, in the order and the words of the chart.
pub(super) fn check(settings: &Settings) -> Result<(), ValuesError> {
    let (c, tee) = (&settings.coordinator, settings.tee());
    let seal = &c.seal;
    let slots = seal.slots();
    let refused = |text: String| Err(ValuesError::Type(text));
    let uses = |backend: &str| slots.iter().flatten().any(|used| *used == backend);
    if let Some(unknown) = slots.iter().flatten().find(|name| !BACKENDS.contains(name)) {
        return refused(format!(
            "coordinator.seal.backends names {unknown:?}: expected auto, or some of {}, separated by commas, or joined \
             by + where all are needed",
            BACKENDS.join(", ")
        ));
    }
    for (backend, part, is_set) in [
        ("passphrase", "coordinator.seal.passphrase.secretName", !seal.passphrase.secret_name.is_empty()),
        ("pkcs11", "coordinator.seal.pkcs11", seal.pkcs11.is_set()),
        ("tpm", "coordinator.seal.tpm", seal.tpm.is_set()),
    ] {
        if is_set && !uses(backend) {
            return refused(format!(
                "{part} is set, but coordinator.seal.backends does not name {backend}; add it there, or take {part} out"
            ));
        }
    }
    if uses("passphrase") && seal.passphrase.secret_name.is_empty() {
        return refused(
            "coordinator.seal.backends names passphrase, but no Secret has it; make one ('kubectl create secret generic \
             NAME --from-file=passphrase') and name it with --seal-passphrase-secret"
                .to_owned(),
        );
    }
    if uses("pkcs11") && seal.pkcs11.secret_name.is_empty() {
        return refused(
            "coordinator.seal.backends names pkcs11, but no Secret has the configuration of the token; make one ('kubectl \
             create secret generic NAME --from-file=token.json --from-file=pin') and name it with --seal-pkcs11-secret"
                .to_owned(),
        );
    }
    if uses("pkcs11") && seal.pkcs11.key_id.is_empty() && seal.pkcs11.key_label.is_empty() {
        return refused(
            "coordinator.seal.backends names pkcs11, but no key of the token; set coordinator.seal.pkcs11.keyID, \
             coordinator.seal.pkcs11.keyLabel, or both"
                .to_owned(),
        );
    }
    if uses("azure-hsm") {
        check_azure(c)?;
    }
    if uses("host-key") && !has_variable(c, "MARBLERUN_SIMULATION_HOST_KEY") {
        return refused(
            "coordinator.seal.backends names host-key; name the file that plays the host, as \
             MARBLERUN_SIMULATION_HOST_KEY in coordinator.extraEnv"
                .to_owned(),
        );
    }
    if matches!(tee, Tee::Sgx | Tee::Tdx | Tee::Snp) {
        slots.iter().try_for_each(|slot| check_slot(slot, tee))?;
    }
    let has_no_choice = slots.is_empty() && !has_variable(c, "MARBLERUN_SEAL");
    if tee == Tee::Tdx && (has_no_choice || uses("platform")) {
        return refused(
            "coordinator.tee is tdx, which has no seal key of its own; name what to seal with instead, such as --seal tpm"
                .to_owned(),
        );
    }
    Ok(())
}

/// What makes evidence and devices reach the container, and where collateral comes from.
pub(super) fn check_hardware(settings: &Settings) -> Result<(), ValuesError> {
    let (c, tee) = (&settings.coordinator, settings.tee());
    let refused = |text: String| Err(ValuesError::Type(text));
    if !c.collateral.url.is_empty() && !c.collateral.config_map.is_empty() {
        return refused(
            "coordinator.collateral.url and coordinator.collateral.configMap are both set; collateral comes from one of \
             them"
                .to_owned(),
        );
    }
    if c.configfs && !matches!(tee, Tee::Tdx | Tee::Snp | Tee::Auto) {
        return refused(format!(
            "coordinator.configfs is set, but coordinator.tee is {}, which has no use for it; set \
             coordinator.configfs=false",
            tee.name()
        ));
    }
    let is_privileged = c.security_context.as_ref().and_then(|context| context.privileged) == Some(true);
    if !c.devices.is_empty() && c.runtime_class_name.is_empty() && !is_privileged {
        return refused(
            "coordinator.devices are mounted, but a container may not open them; have a device plugin give them instead \
             (coordinator.resources.limits), or set coordinator.securityContext.privileged=true and \
             coordinator.securityContext.allowPrivilegeEscalation=true"
                .to_owned(),
        );
    }
    Ok(())
}

fn check_azure(c: &Coordinator) -> Result<(), ValuesError> {
    let (hsm, azure) = (&c.azure_hsm, &c.azure_credentials);
    if [&hsm.key_name, &hsm.vault_url, &hsm.maa_url].iter().any(|text| text.is_empty()) {
        return Err(ValuesError::Type(
            "coordinator.seal.backends names azure-hsm; set coordinator.azureHSM.keyName, coordinator.azureHSM.vaultURL \
             and coordinator.azureHSM.maaURL"
                .to_owned(),
        ));
    }
    if azure.secret_name.is_empty() && !azure.enable_workload_identity && !azure.is_whole() {
        return Err(ValuesError::Type(
            "coordinator.seal.backends names azure-hsm, but there are no credentials for it; set \
             coordinator.azureCredentials.secretName, or coordinator.azureCredentials.enableWorkloadIdentity=true"
                .to_owned(),
        ));
    }
    Ok(())
}

/// In a trusted execution environment a slot must say who can have made the state.
fn check_slot(slot: &[&str], tee: Tee) -> Result<(), ValuesError> {
    let (name, tee_name) = (slot.join("+"), tee.name());
    if slot.iter().any(|part| OF_SIMULATION.contains(part)) {
        return Err(ValuesError::Type(format!(
            "coordinator.seal.backends names {name}, which is for simulation only, but coordinator.tee is {tee_name}; \
             take it out"
        )));
    }
    if !slot.iter().any(|part| PROVING.contains(part)) {
        let proving = if tee == Tee::Tdx { "tpm" } else { "platform" };
        return Err(ValuesError::Type(format!(
            "coordinator.seal.backends names {name}, which may not open the state by itself in {tee_name}, as anyone could \
             have made that state; join it to a backend that proves what runs: {proving}+{name}"
        )));
    }
    Ok(())
}

/// Objects that others must have made.
pub(super) fn named(c: &Coordinator) -> Vec<Named<'_>> {
    let (seal, tpm) = (&c.seal, &c.seal.tpm);
    let secret = |value, name, key| Named { kind: "Secret", name, key: Some(key), value };
    let all = [
        secret("coordinator.seal.passphrase.secretName", &seal.passphrase.secret_name, &seal.passphrase.secret_key),
        secret("coordinator.seal.pkcs11.secretName", &seal.pkcs11.secret_name, "token.json"),
        secret(
            "coordinator.seal.tpm.ownerPasswordSecretName",
            &tpm.owner_password_secret_name,
            &tpm.owner_password_secret_key,
        ),
        Named {
            kind: "ConfigMap",
            name: &c.collateral.config_map,
            key: None,
            value: "coordinator.collateral.configMap",
        },
    ];
    all.into_iter().filter(|named| !named.name.is_empty()).collect()
}

fn has_variable(c: &Coordinator, name: &str) -> bool {
    c.extra_env.iter().any(|variable| variable.name == name)
}

impl Pkcs11 {
    fn is_set(&self) -> bool {
        [&self.secret_name, &self.key_id, &self.key_label].iter().any(|text| !text.is_empty())
    }
}

impl Tpm {
    fn is_set(&self) -> bool {
        let all =
            [&self.path, &self.pcrs, &self.unique_pcrs, &self.name, &self.counter, &self.owner_password_secret_name];
        all.iter().any(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;

    #[test]
    fn a_backend_has_what_it_needs_where_it_is_believed() {
        let pkcs11 = "pkcs11: {secretName: s, keyLabel: k}";
        for seal in [
            "{backends: auto}".to_owned(),
            "{backends: 'platform,platform+passphrase', passphrase: {secretName: s}}".to_owned(),
            format!("{{backends: platform+pkcs11, {pkcs11}}}"),
            "{backends: tpm, tpm: {pcrs: 7}}".to_owned(),
        ] {
            read(&format!("coordinator: {{seal: {seal}}}")).unwrap_or_else(|error| panic!("{seal}: {error}"));
        }
        read("coordinator: {simulation: true, seal: {backends: passphrase, passphrase: {secretName: s}}}").unwrap();
        read("coordinator: {tee: tdx, seal: {backends: tpm}}").unwrap();
        read("coordinator: {tee: tdx, extraEnv: [{name: MARBLERUN_SEAL, value: tpm}]}").unwrap();
    }

    #[test]
    fn contradictions_are_told_with_the_way_out() {
        for (coordinator, told) in [
            ("seal: {backends: platfrom}", "expected auto, or some of platform"),
            ("seal: {backends: platform+passphrase}", "--seal-passphrase-secret"),
            ("seal: {passphrase: {secretName: s}}", "does not name passphrase"),
            ("seal: {backends: platform+pkcs11}", "--seal-pkcs11-secret"),
            ("seal: {backends: platform+pkcs11, pkcs11: {secretName: s}}", "keyLabel"),
            ("seal: {pkcs11: {keyLabel: k}}", "does not name pkcs11"),
            ("seal: {tpm: {pcrs: 7}}", "does not name tpm"),
            ("seal: {backends: azure-hsm}", "coordinator.azureHSM.vaultURL"),
            (
                "seal: {backends: azure-hsm}, azureHSM: {keyName: k, vaultURL: v, maaURL: m}",
                "azureCredentials.secretName",
            ),
            ("simulation: true, seal: {backends: host-key}", "MARBLERUN_SIMULATION_HOST_KEY"),
            ("seal: {backends: 'platform,plain'}", "simulation only"),
            ("seal: {backends: passphrase, passphrase: {secretName: s}}", "platform+passphrase"),
            ("tee: tdx, seal: {backends: passphrase, passphrase: {secretName: s}}", "tpm+passphrase"),
            ("tee: tdx", "--seal tpm"),
            ("tee: tdx, seal: {backends: 'tpm,platform'}", "no seal key"),
            ("collateral: {url: 'https://p', configMap: c}", "from one of them"),
            ("configfs: true", "coordinator.configfs=false"),
            ("devices: [/dev/tpmrm0]", "securityContext.privileged=true"),
        ] {
            let error = read(&format!("coordinator: {{{coordinator}}}")).unwrap_err().to_string();
            assert!(error.contains(told), "{coordinator}: {error}");
        }
    }
}
