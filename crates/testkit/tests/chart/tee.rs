//! What the trusted execution environment changes, and how a pod is kept from more rights than it needs.

use serde_json::{Value, json};

use crate::helm::{Case, Objects};

#[test]
fn the_default_insists_on_sgx_and_asks_for_its_devices() {
    let objects = Objects::of(&[]);
    assert_eq!(objects.variable("MARBLERUN_TEE").as_deref(), Some("sgx"));
    let limits = json!({ "sgx.intel.com/epc": "10Mi", "sgx.intel.com/enclave": 1, "sgx.intel.com/provision": 1 });
    assert_eq!(objects.container()["resources"]["limits"], limits);
    let toleration = json!({ "key": "sgx.intel.com/epc", "operator": "Exists", "effect": "NoSchedule" });
    assert_eq!(objects.pod()["tolerations"], json!([toleration]));
}

#[test]
fn outside_of_sgx_nothing_waits_for_its_devices() {
    for (value, tee, simulation) in [
        ("coordinator.simulation=true", "simulation", "1"),
        ("coordinator.tee=simulation", "simulation", "1"),
        ("coordinator.tee=tdx", "tdx", "0"),
        ("coordinator.tee=snp", "snp", "0"),
    ] {
        let objects = Objects::of(&[
            value,
            // TDX has no seal key.
            if tee == "tdx" { "coordinator.seal.backends=tpm" } else { "coordinator.seal.backends=" },
            // A list given by index replaces that of the chart.
            "tolerations[0].key=sgx.intel.com/epc",
            "tolerations[1].key=confidential",
            "tolerations[1].operator=Exists",
            r"coordinator.resources.limits.kubernetes\.azure\.com/sgx_epc_mem_in_MiB=10",
            r"coordinator.resources.requests.alibabacloud\.com/sgx_epc_MiB=10",
            "coordinator.resources.limits.memory=1Gi",
        ]);
        assert_eq!(objects.variable("MARBLERUN_TEE").as_deref(), Some(tee), "{value}");
        assert_eq!(objects.variable("OE_SIMULATION").as_deref(), Some(simulation), "{value}");
        let resources = json!({ "limits": { "memory": "1Gi" }, "requests": { "cpu": "100m", "memory": "64Mi" } });
        assert_eq!(objects.container()["resources"], resources, "{value}");
        assert_eq!(objects.pod()["tolerations"], json!([{ "key": "confidential", "operator": "Exists" }]), "{value}");
    }
    let none = Objects::of(&["coordinator.simulation=true", "coordinator.resources=null", "tolerations=null"]);
    assert_eq!((&none.container()["resources"], &none.pod()["tolerations"]), (&Value::Null, &Value::Null));
}

#[test]
fn marbles_get_the_resource_of_the_clusters_plugin_and_none_in_simulation() {
    let asked = |value: &str| {
        let objects = Objects::of(&["marbleInjector.start=true", value]);
        let container = &objects.get("Deployment", "marble-injector")["spec"]["template"]["spec"]["containers"][0];
        let args = container["args"].as_array().unwrap();
        let arg = args.iter().filter_map(|arg| arg.as_str()?.strip_prefix("-sgxResource=")).next();
        arg.unwrap().to_owned()
    };
    assert_eq!(asked("coordinator.tee=sgx"), "sgx.intel.com/epc");
    let azure = "kubernetes.azure.com/sgx_epc_mem_in_MiB";
    assert_eq!(asked(&format!("marbleInjector.resourceKey={azure}")), azure);
    assert_eq!(asked("coordinator.simulation=true"), "");
}

#[test]
fn a_confidential_vm_is_asked_for_by_runtime_and_node() {
    let objects =
        Objects::of(&["coordinator.tee=snp", "coordinator.runtimeClassName=kata-qemu-snp", "nodeSelector.snp=yes"]);
    assert_eq!(objects.pod()["runtimeClassName"], "kata-qemu-snp");
    assert_eq!(objects.pod()["nodeSelector"], json!({ "kubernetes.io/os": "linux", "snp": "yes" }));
}

#[test]
fn whoever_makes_evidence_through_configfs_is_root_without_capabilities_unless_told_otherwise() {
    let of = |values: &[&str]| Objects::of(&[&["coordinator.tee=snp"], values].concat());
    let objects = of(&["coordinator.configfs=true"]);
    let expected = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": false,
        "runAsUser": 0,
    });
    assert_eq!(objects.container()["securityContext"], expected);
    assert_eq!(objects.pod()["securityContext"]["runAsUser"], 10001);
    let volumes = objects.pod()["volumes"].as_array().unwrap();
    let path = json!({ "path": "/sys/kernel/config", "type": "Directory" });
    assert!(volumes.iter().any(|volume| volume["hostPath"] == path), "{volumes:?}");
    let objects = of(&["coordinator.configfs=true", "coordinator.securityContext.runAsUser=5"]);
    assert_eq!(objects.container()["securityContext"]["runAsUser"], 5);
    let objects = of(&[]);
    assert_eq!(objects.container()["securityContext"]["runAsUser"], Value::Null);
    assert!(!objects.pod().to_string().contains("hostPath"));
}

#[test]
fn only_a_distributed_coordinator_has_a_token() {
    for (distributed, injector) in [(true, false), (false, false), (false, true)] {
        let objects = Objects::of(&[
            &format!("coordinator.distributedDeployment={distributed}"),
            &format!("marbleInjector.start={injector}"),
        ]);
        assert_eq!(objects.pod()["automountServiceAccountToken"], distributed);
        for account in objects.0.iter().filter(|object| object["kind"] == "ServiceAccount") {
            assert_eq!(account["automountServiceAccountToken"], false, "{account}");
        }
        if injector {
            let pod = &objects.get("Deployment", "marble-injector")["spec"]["template"]["spec"];
            assert_eq!(pod["automountServiceAccountToken"], false);
            assert_eq!(pod["serviceAccountName"], "marble-injector");
        }
    }
}

#[test]
fn a_single_coordinator_ends_before_the_next_begins_and_distributed_ones_are_never_fewer() {
    assert_eq!(Objects::of(&[]).coordinator()["spec"]["strategy"], json!({ "type": "Recreate" }));
    let distributed = Objects::of(&["coordinator.distributedDeployment=true"]);
    let rolling = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } });
    assert_eq!(distributed.coordinator()["spec"]["strategy"], rolling);
    let files = Objects::of(&["coordinator.distributedDeployment=true", "coordinator.storeBackend="]);
    assert_eq!(files.coordinator()["spec"]["strategy"], json!({ "type": "Recreate" }));
    assert!(files.find("PersistentVolumeClaim", "coordinator-pv-claim").is_some());
}

#[test]
fn the_key_port_is_open_to_coordinators_of_this_release_alone() {
    for case in Case::all() {
        let objects = Objects::parse(&case.render("elsewhere"));
        let policy = objects.get("NetworkPolicy", "marblerun-coordinator");
        let rules = policy["spec"]["ingress"].as_array().unwrap();
        let key = objects.container()["ports"].as_array().unwrap().iter().find(|port| port["name"] == "key");
        let Some(key) = key else {
            continue;
        };
        let open: Vec<&Value> = rules.iter().filter(|rule| rule["ports"][0]["port"] == key["containerPort"]).collect();
        let pods = json!({
            "edgeless.systems/control-plane-component": "coordinator",
            "edgeless.systems/control-plane-ns": "elsewhere",
        });
        let expected = json!({
            "ports": [{ "port": key["containerPort"] }],
            "from": [{ "podSelector": { "matchLabels": pods } }],
        });
        assert_eq!(open, [&expected], "{}", case.name);
        assert!(rules.iter().all(|rule| rule["ports"].is_array()), "a rule without ports opens all: {}", case.name);
    }
}

#[test]
fn probes_ask_whether_it_lives_and_whether_it_is_ready() {
    let objects = Objects::of(&["coordinator.probes.readiness.successThreshold=2"]);
    let container = objects.container();
    for (probe, path) in [("livenessProbe", "healthz"), ("startupProbe", "healthz"), ("readinessProbe", "readyz")] {
        let get = json!({ "scheme": "HTTPS", "path": format!("/api/v3/{path}"), "port": "http" });
        assert_eq!(container[probe]["httpGet"], get, "{probe}");
    }
    assert_eq!(container["readinessProbe"]["successThreshold"], 2);
    let startup = &container["startupProbe"];
    let budget = startup["failureThreshold"].as_u64().unwrap() * startup["periodSeconds"].as_u64().unwrap();
    assert!(budget >= 300, "a slow quote provider is no reason to start again");
}
