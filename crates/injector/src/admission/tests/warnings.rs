//! What people are told.

use super::*;

fn warnings_of(labels: Value, spec: Value, sgx: &str) -> Vec<String> {
    decided(&pod(labels, spec), &rules(sgx)).1
}

fn of_container(container: Value) -> Vec<String> {
    warnings_of(json!({"marblerun/marbletype": "t"}), json!({"containers": [container]}), INTEL)
}

fn one(warnings: Vec<String>) -> String {
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].chars().count() <= 256, "{warnings:?}");
    warnings.into_iter().next().unwrap()
}

#[test]
fn an_ordinary_marble_is_not_warned_of() {
    let container = json!({"name": "c", "resources": {"limits": {"sgx.intel.com/epc": "64Mi", "cpu": "1"}}});
    assert_eq!(of_container(container), Vec::<String>::new());
}

#[test]
fn a_variable_of_another_value_is_told_with_both() {
    let warning = one(of_container(json!({"name": "c", "env": [{"name": "EDG_MARBLE_TYPE", "value": "u"}]})));
    assert_eq!(warning, "container \"c\" sets EDG_MARBLE_TYPE to \"u\"; it is left so, and not set to \"t\"");
    let from = json!([{"name": "EDG_MARBLE_TYPE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
    let warning = one(of_container(json!({"name": "c", "env": from})));
    assert_eq!(warning, "container \"c\" takes EDG_MARBLE_TYPE from elsewhere; it is left as it is");
    assert_eq!(of_container(json!({"name": "c", "env": [{"name": "EDG_MARBLE_TYPE", "value": "t"}]})), [""; 0]);
}

#[test]
fn what_may_be_simulation_is_said_unless_the_pod_wants_no_resources_or_a_runtime_of_its_own() {
    let spec = json!({"containers": [{"name": "c"}]});
    let labels = json!({"marblerun/marbletype": "t"});
    let warning = one(warnings_of(labels.clone(), spec.clone(), ""));
    assert!(warning.contains("simulation, which protects nothing"), "{warning}");
    let mut confidential = spec.clone();
    confidential["runtimeClassName"] = json!("kata-qemu-tdx");
    assert_eq!(warnings_of(labels, confidential, ""), [""; 0]);
    let labels = json!({"marblerun/marbletype": "t", "marblerun/resource-injection": "disabled"});
    assert_eq!(warnings_of(labels, spec, ""), [""; 0]);
}

#[test]
fn labels_without_effect_are_told() {
    let spec = json!({"containers": [{"name": "c"}]});
    let labels = json!({"marblerun/marbletype": "t", "marblerun/marblecontianer": "x", "app": "y"});
    let warning = one(warnings_of(labels, spec.clone(), INTEL));
    assert!(warning.contains("\"marblerun/marblecontianer\" is not known"), "{warning}");
    let labels = json!({"marblerun/marbletype": "t", "marblerun/resource-injection": "Disabled"});
    let warning = one(warnings_of(labels, spec, INTEL));
    assert!(warning.contains("\"Disabled\" has no effect"), "{warning}");
}

#[test]
fn names_that_are_not_what_they_seem_are_told() {
    let spec = json!({"containers": [{"name": "c"}]});
    let of_type = |marble_type: &str| warnings_of(json!({"marblerun/marbletype": marble_type}), spec.clone(), INTEL);
    assert!(one(of_type("Voting")).contains("in lower case (voting)"));
    assert!(one(of_type("a_b")).contains("makes no valid DNS name"));
    assert!(one(of_type(&"a".repeat(64))).contains("makes no valid DNS name"));
    assert_eq!(of_type("a.b"), [""; 0]);
    let mut far = rules(INTEL);
    far.cluster_domain = [["a".repeat(60).as_str(); 3].join("."), "b".repeat(61)].join(".");
    let long = pod(json!({"marblerun/marbletype": "t"}), spec.clone());
    assert!(one(decided(&long, &far).1).contains("makes no valid DNS name"), "254 characters in all");
}

#[test]
fn a_pod_that_asks_the_dns_of_its_node_is_told() {
    let labels = || json!({"marblerun/marbletype": "t"});
    let spec = |network: bool, policy: Value| json!({"containers": [], "hostNetwork": network, "dnsPolicy": policy});
    for (network, policy, told) in [
        (true, json!(null), true),
        (true, json!("ClusterFirst"), true),
        (true, json!("ClusterFirstWithHostNet"), false),
        (false, json!("ClusterFirst"), false),
        (false, json!("Default"), true),
        (false, json!("None"), false),
    ] {
        let warnings = warnings_of(labels(), spec(network, policy.clone()), INTEL);
        assert_eq!(warnings.len(), usize::from(told), "{network} {policy}: {warnings:?}");
    }
    let mut rules = rules(INTEL);
    for address in ["10.1.2.3:2001", "[fd00::1]:2001"] {
        rules.coordinator = address.to_owned();
        assert_eq!(decided(&pod(labels(), spec(true, json!(null))), &rules).1, [""; 0], "an address needs no DNS");
    }
}

#[test]
fn a_mount_that_may_not_have_a_uuid_is_told() {
    let container = json!({"name": "c", "volumeMounts": [{"name": "own", "mountPath": "/t-uid"}]});
    let warning = one(of_container(container.clone()));
    assert!(warning.contains("\"own\" at /t-uid") && warning.contains("must hold a file uuid-file"), "{warning}");
    let uuid = json!({"items": [{"path": "uuid-file", "fieldRef": {"fieldPath": "metadata.uid"}}]});
    let spec = json!({"containers": [container], "volumes": [{"name": "own", "downwardAPI": uuid}]});
    assert_eq!(warnings_of(json!({"marblerun/marbletype": "t"}), spec, INTEL), [""; 0]);
}

#[test]
fn resources_that_a_node_may_not_have_are_told() {
    let asks = |key: &str, amount: Value| json!({"name": "c", "resources": {"limits": {key: amount}}});
    let warning = one(of_container(asks(AZURE, json!("10"))));
    assert!(warning.contains("of another SGX plugin than sgx.intel.com/epc"), "{warning}");
    for zero in [json!("0"), json!(0)] {
        let warning = one(of_container(asks("sgx.intel.com/enclave", zero)));
        assert!(warning.contains("sgx.intel.com/enclave: 0"), "{warning}");
    }
    let labels = json!({"marblerun/marbletype": "t"});
    let warnings = warnings_of(labels, json!({"containers": [asks(INTEL, json!("10Mi"))]}), "none");
    assert!(warnings.iter().any(|warning| warning.contains("a cluster without SGX do not have")), "{warnings:?}");
    let off = json!({"marblerun/marbletype": "t", "marblerun/resource-injection": "disabled"});
    assert_eq!(warnings_of(off, json!({"containers": [asks(AZURE, json!("10"))]}), INTEL), [""; 0]);
}

#[test]
fn warnings_are_few_and_short_and_cannot_steer_a_terminal() {
    let mut labels = json!({"marblerun/marbletype": "t"});
    for n in 0..100 {
        labels[format!("marblerun/\u{1b}[2J{n}{}", "x".repeat(1000))] = json!("");
    }
    let warnings = warnings_of(labels, json!({"containers": []}), INTEL);
    assert_eq!(warnings.len(), 16);
    assert_eq!(warnings[15], "MarbleRun has 85 more warnings about this pod");
    for warning in warnings {
        assert!(warning.chars().count() <= 256 && !warning.chars().any(char::is_control), "{warning:?}");
    }
}
