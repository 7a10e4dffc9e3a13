//! Values that cannot be meant are refused before anything is changed, with what to do.

use crate::helm::{Helm, chart, template};

fn refusal(values: &[&str]) -> String {
    let set: Vec<&str> = values.iter().flat_map(|value| ["--set", value]).collect();
    template("marblerun", &set).fails()
}

#[test]
fn images_come_from_nowhere_by_themselves() {
    let said = Helm::new().args(["template", "marblerun"]).args([chart()]).fails();
    assert!(said.contains("coordinator.repository is not set"), "{said}");
    assert!(said.contains("--set coordinator.repository=registry.example.com/marblerun"), "{said}");
    let said = refusal(&["coordinator.repository=null"]);
    assert!(said.contains("repository"), "{said}");
}

#[test]
fn contradictions_are_told_with_the_way_out() {
    for (values, problem, way_out) in [
        (
            &["coordinator.replicas=2"][..],
            "only one Coordinator can use",
            "Set coordinator.distributedDeployment=true and coordinator.storeBackend=k8s-secret",
        ),
        (
            &["coordinator.replicas=2", "coordinator.distributedDeployment=true", "coordinator.storeBackend="],
            "only one Coordinator can use",
            "coordinator.storeBackend=k8s-secret",
        ),
        (
            &["coordinator.simulation=true", "coordinator.tee=tdx"],
            "coordinator.tee is tdx",
            "Set coordinator.simulation=false",
        ),
        (
            &["coordinator.metrics.serviceMonitor.enabled=true"],
            "there are no metrics",
            "Set coordinator.metrics.enabled=true",
        ),
        (
            &["coordinator.extraEnv[0].name=MARBLERUN_TEE", "coordinator.extraEnv[0].value=auto"],
            "coordinator.extraEnv has MARBLERUN_TEE, which is set already",
            "set that value instead",
        ),
        (
            &["coordinator.extraEnv[0].name=A", "coordinator.extraEnv[1].name=A"],
            "coordinator.extraEnv has A, which is set already",
            "Take it out",
        ),
        (
            &["coordinator.seal.backends=platform+passphrase"],
            "no Secret has it",
            "set coordinator.seal.passphrase.secretName",
        ),
        (&["coordinator.seal.passphrase.secretName=s"], "does not name passphrase", "Add it there"),
        (
            &["coordinator.seal.backends=platform+pkcs11"],
            "no Secret has the configuration of the token",
            "set coordinator.seal.pkcs11.secretName",
        ),
        (
            &["coordinator.seal.backends=platform+pkcs11", "coordinator.seal.pkcs11.secretName=s"],
            "no key of the token",
            "Set coordinator.seal.pkcs11.keyID",
        ),
        (&["coordinator.seal.pkcs11.keyLabel=k"], "does not name pkcs11", "Add it there"),
        (&["coordinator.seal.tpm.pcrs=7"], "does not name tpm", "Add it there"),
        (&["coordinator.seal.backends=azure-hsm"], "names azure-hsm", "set coordinator.azureHSM.keyName"),
        (
            &[
                "coordinator.seal.backends=azure-hsm",
                "coordinator.azureHSM.keyName=k",
                "coordinator.azureHSM.vaultURL=v",
                "coordinator.azureHSM.maaURL=m",
            ],
            "no credentials",
            "coordinator.azureCredentials.secretName",
        ),
        (
            &["coordinator.simulation=true", "coordinator.seal.backends=host-key"],
            "names host-key",
            "MARBLERUN_SIMULATION_HOST_KEY in coordinator.extraEnv",
        ),
        (&["coordinator.seal.backends=platform\\,plain"], "names plain, which is for simulation only", "Take it out"),
        (
            &[
                "coordinator.tee=snp",
                "coordinator.seal.backends=platform\\,passphrase",
                "coordinator.seal.passphrase.secretName=s",
            ],
            "names passphrase, which may not open the state by itself in snp",
            "platform+passphrase",
        ),
        (
            &[
                "coordinator.tee=tdx",
                "coordinator.seal.backends=passphrase",
                "coordinator.seal.passphrase.secretName=s",
            ],
            "may not open the state by itself in tdx",
            "tpm+passphrase",
        ),
        (&["coordinator.tee=tdx"], "no seal key of its own", "Set coordinator.seal.backends"),
        (&["coordinator.tee=tdx", "coordinator.seal.backends=platform"], "no seal key of its own", "such as tpm"),
        (
            &["coordinator.collateral.url=https://p", "coordinator.collateral.configMap=c"],
            "are both set",
            "take the other out",
        ),
        (
            &["coordinator.configfs=true"],
            "coordinator.tee is sgx, which has no use for it",
            "Set coordinator.configfs=false",
        ),
        (
            &["coordinator.tee=snp", "coordinator.devices={/dev/sev-guest}"],
            "a container may not open them",
            "coordinator.securityContext.privileged=true",
        ),
        (
            &["coordinator.seal.backends=platform", "coordinator.extraEnv[0].name=MARBLERUN_SEAL"],
            "coordinator.extraEnv has MARBLERUN_SEAL, which is set already",
            "set that value instead",
        ),
    ] {
        let said = refusal(values);
        assert!(said.contains(problem) && said.contains(way_out), "{values:?}: {said}");
    }
}

#[test]
fn what_is_no_value_of_the_chart_is_refused_by_name() {
    for (value, names) in [
        ("coordinator.replica=3", "replica"),
        ("coordinators.replicas=3", "coordinators"),
        ("coordinator.tee=sev", "tee"),
        ("coordinator.meshServerPort=70000", "meshServerPort"),
        ("coordinator.hash=latest", "hash"),
        ("coordinator.repository=https://registry example", "repository"),
        ("coordinator.offlineGrace=5 minutes", "offlineGrace"),
        ("coordinator.storeBackend=consul", "storeBackend"),
        ("coordinator.replicas=-1", "replicas"),
        ("marbleInjector.failurePolicy=fail", "failurePolicy"),
        ("coordinator.extraEnv[0].value=nameless", "extraEnv"),
        ("coordinator.seal.backends=passphrase\\,", "backends"),
        ("coordinator.seal.backends=auto\\,tpm", "backends"),
        ("coordinator.seal.passphrase.value=secret", "value"),
        ("coordinator.seal.tpm.name=abc", "name"),
        ("coordinator.seal.snp.vmpl=4", "vmpl"),
        ("coordinator.collateral.url=/folder", "url"),
        ("coordinator.collateral.cacheDir=folder", "cacheDir"),
        ("coordinator.devices={/etc/passwd}", "devices"),
        // Helm makes nothing of the entry before.
        ("tolerations[1].key=confidential", "tolerations"),
    ] {
        let said = refusal(&[value]);
        assert!(said.contains(names) && said.contains("schema"), "{value}: {said}");
    }
}
