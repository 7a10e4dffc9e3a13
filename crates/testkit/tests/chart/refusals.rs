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
        // Helm makes nothing of the entry before.
        ("tolerations[1].key=confidential", "tolerations"),
    ] {
        let said = refusal(&[value]);
        assert!(said.contains(names) && said.contains("schema"), "{value}: {said}");
    }
}
