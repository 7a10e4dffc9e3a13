//! What nodes offer. These tests have a control plane of their own, as nodes are everybody's.

use marblerun_testkit::kube::ControlPlane;
use serde_json::{Value, json};

use crate::person::Person;

fn makes_node(plane: &ControlPlane, name: &str, capacity: &Value, labels: &Value) {
    let mut labels = labels.clone();
    labels["kubernetes.io/os"] = json!("linux");
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}});
    plane.kubectl_with_input(["apply", "-f", "-"], &node.to_string()).unwrap().ok().unwrap();
    let ready = json!([{"type": "Ready", "status": "True", "reason": "Test", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]);
    let status = json!({"status": {"capacity": capacity, "allocatable": capacity, "conditions": ready}}).to_string();
    let patch = ["patch", "node", name, "--subresource=status", "--type=merge", "-p", &status];
    plane.kubectl(patch).unwrap().ok().unwrap();
    // Of a new node the API server does not believe that it is ready.
    let trust = ["taint", "node", name, "node.kubernetes.io/not-ready:NoSchedule-"];
    plane.kubectl(trust).unwrap().ok().unwrap();
}

#[test]
fn the_device_plugin_of_the_nodes_decides_what_the_coordinator_asks_for() {
    let plane = ControlPlane::builder().start().unwrap();
    let person = Person::in_plane(plane.clone());
    let said = person.types("precheck").succeeds();
    assert!(
        said.stdout.starts_with("Cluster does not support SGX, you may still run MarbleRun in simulation mode\n"),
        "{said:?}"
    );
    let said = person.installs("--dry-run").succeeds();
    assert!(said.stderr.contains("no node offers SGX"), "{said:?}");

    makes_node(&plane, "a-plain", &json!({"cpu": "4"}), &json!({}));
    makes_node(&plane, "b-azure", &json!({"kubernetes.azure.com/sgx_epc_mem_in_MiB": "10"}), &json!({}));
    makes_node(&plane, "c-azure", &json!({"kubernetes.azure.com/sgx_epc_mem_in_MiB": "10"}), &json!({}));
    makes_node(
        &plane,
        "d-snp",
        &json!({}),
        &json!({"feature.node.kubernetes.io/cpu-security.sev.snp.enabled": "true"}),
    );
    let said = person.types("precheck").succeeds();
    assert!(
        said.stdout.starts_with("Cluster supports SGX on 2 nodes\nTo install MarbleRun run [marblerun install]\n"),
        "{said:?}"
    );
    assert!(said.stdout.contains("AMD SEV-SNP on 1 node"), "{said:?}");
    let value = person.types("precheck -o json").succeeds().json();
    assert_eq!((&value["sgx"], &value["snp"], &value["tdx"]), (&json!(2), &json!(1), &json!(0)));
    assert_eq!(value["resourceKey"], "kubernetes.azure.com/sgx_epc_mem_in_MiB");

    person.installs("").succeeds();
    let pod = person.get("deployment/marblerun-coordinator")["spec"]["template"]["spec"].clone();
    let limits = &pod["containers"][0]["resources"]["limits"];
    assert_eq!(limits, &json!({"kubernetes.azure.com/sgx_epc_mem_in_MiB": "10"}));
    let keys: Vec<&Value> =
        pod["tolerations"].as_array().unwrap().iter().map(|toleration| &toleration["key"]).collect();
    assert!(keys.contains(&&json!("kubernetes.azure.com/sgx_epc_mem_in_MiB")), "{keys:?}");
    let arguments =
        person.get("deployment/marble-injector")["spec"]["template"]["spec"]["containers"][0]["args"].clone();
    assert!(arguments.to_string().contains("-sgxResource=kubernetes.azure.com/sgx_epc_mem_in_MiB"), "{arguments}");

    let finding = |check: &str| {
        let value = person.types("doctor -o json").json();
        let all = value["findings"].as_array().unwrap().clone();
        all.into_iter().find(|finding| finding["check"] == check).unwrap()
    };
    assert_eq!(finding("nodes")["text"], "2 of 4 nodes can take a Coordinator");
    person.installs("--resource-key example.com/epc").succeeds();
    let nodes = finding("nodes");
    assert_eq!(nodes["level"], "fail");
    assert!(nodes["text"].as_str().unwrap().contains("b-azure: it lacks example.com/epc"), "{nodes}");
}
