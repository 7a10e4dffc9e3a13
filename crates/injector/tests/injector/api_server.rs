//! Behind a real API server: what is stored of the pods that people create.

use marblerun_testkit::kube::ControlPlane;
use serde_json::{Value, json};

use crate::certificate::{MountedSecret, Pair};
use crate::process::Injector;
use crate::registration::{Webhook, injector, marble, pod};

fn environment(namespace: &str) -> Value {
    json!([
        {"name": "EDG_MARBLE_COORDINATOR_ADDR", "value": "coordinator-mesh-api.marblerun:2001"},
        {"name": "EDG_MARBLE_TYPE", "value": "Voting"},
        {"name": "EDG_MARBLE_DNS_NAMES", "value": format!("voting,voting.{namespace},voting.{namespace}.svc.cluster.local")},
        {"name": "EDG_MARBLE_UUID_FILE", "value": "/Voting-uid/uuid-file"}
    ])
}

#[test]
fn a_labelled_pod_is_stored_with_all_that_makes_it_a_marble() {
    let (injector, pair) = injector(&[]);
    let webhook = Webhook::register(&injector, &[&pair]);
    let stored = webhook.stored(&marble("voting"));
    let container = &stored["spec"]["containers"][0];
    assert_eq!(container["env"], environment(webhook.namespace.name()));
    let limits = json!({"sgx.intel.com/epc": "10Mi", "sgx.intel.com/enclave": "1", "sgx.intel.com/provision": "1"});
    assert_eq!(container["resources"], json!({"limits": limits, "requests": limits}));
    let mount = container["volumeMounts"][0].clone();
    assert_eq!(mount["mountPath"], "/Voting-uid");
    let volume = &stored["spec"]["volumes"][0];
    assert_eq!(volume["name"], mount["name"]);
    assert_eq!(volume["downwardAPI"]["items"][0]["fieldRef"]["fieldPath"], "metadata.uid");
    assert_eq!(volume["downwardAPI"]["items"][0]["path"], "uuid-file");
    let toleration = json!({"key": "sgx.intel.com/epc", "operator": "Exists", "effect": "NoSchedule"});
    assert!(stored["spec"]["tolerations"].as_array().unwrap().contains(&toleration), "{stored}");
}

#[test]
fn pods_without_the_label_and_pods_of_other_namespaces_are_left_alone() {
    let (injector, pair) = injector(&[]);
    let webhook = Webhook::register(&injector, &[&pair]);
    let stored = webhook.stored(&pod("plain", json!({"app": "x"})));
    assert!(stored["spec"]["containers"][0].get("env").is_none(), "{stored}");
    let elsewhere = ControlPlane::shared().unwrap().namespace().unwrap();
    let input = marble("voting").to_string();
    let created = elsewhere.kubectl_with_input(["create", "--output", "json", "--filename", "-"], &input).unwrap();
    let created: Value = serde_json::from_str(&created.ok().unwrap()).unwrap();
    assert!(created["spec"]["containers"][0].get("env").is_none(), "{created}");
}

#[test]
fn every_pod_of_a_controller_gets_a_volume_of_its_own_and_what_it_had_stays() {
    let (injector, pair) = injector(&["-sgxResource=none"]);
    let webhook = Webhook::register(&injector, &[&pair]);
    let mut pod = marble("x");
    pod["metadata"].as_object_mut().unwrap().remove("name");
    pod["metadata"]["generateName"] = json!("voting-");
    pod["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    pod["spec"]["tolerations"] = json!([{"key": "own", "operator": "Exists"}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    pod["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "value": "1"}, {"name": "EDG_MARBLE_TYPE", "value": "Voting"}]);
    pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "second", "image": "app"}));
    let mut volumes = Vec::new();
    for _ in 0..2 {
        let stored = webhook.stored(&pod);
        let names = |list: &Value| -> Vec<String> {
            list.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
        };
        let spec = &stored["spec"];
        assert_eq!(names(&spec["containers"][0]["env"])[..2], ["A", "EDG_MARBLE_TYPE"]);
        assert_eq!(spec["containers"][1]["env"], environment(webhook.namespace.name()));
        let stored_volumes = names(&spec["volumes"]);
        assert_eq!((stored_volumes.len(), stored_volumes[0].as_str()), (2, "data"));
        assert_eq!(names(&spec["containers"][0]["volumeMounts"]), stored_volumes);
        assert_eq!(spec["tolerations"][0], json!({"key": "own", "operator": "Exists"}));
        assert!(spec["containers"][0]["resources"].get("limits").is_none(), "no SGX in simulation");
        volumes.extend(stored_volumes);
    }
    volumes.sort();
    volumes.dedup();
    assert_eq!(volumes.len(), 3, "{volumes:?}");
}

#[test]
fn a_named_init_container_is_stored_as_a_marble() {
    let (injector, pair) = injector(&["-sgxResource", ""]);
    let webhook = Webhook::register(&injector, &[&pair]);
    let mut before = pod("init", json!({"marblerun/marbletype": "Voting", "marblerun/marblecontainer": "prepare"}));
    before["spec"]["initContainers"] = json!([{"name": "prepare", "image": "app"}]);
    let stored = webhook.stored(&before);
    assert_eq!(stored["spec"]["initContainers"][0]["env"], environment(webhook.namespace.name()));
    assert!(stored["spec"]["containers"][0].get("env").is_none());
}

#[test]
fn people_see_why_a_pod_is_refused_and_what_they_are_warned_of() {
    let (injector, pair) = injector(&[]);
    let webhook = Webhook::register(&injector, &[&pair]);
    let labels = json!({"marblerun/marbletype": "Voting", "marblerun/marblecontainer": "ap"});
    let said = webhook.refused(&pod("p", labels));
    assert!(
        said.contains("names container \"ap\", which this pod does not have") && said.contains("\"app\""),
        "{said}"
    );
    let said = webhook.refused(&pod("p", json!({"marblerun/marbletype": ""})));
    assert!(said.contains("Empty [marblerun/marbletype] label, request denied"), "{said}");
    let mut host = pod("p", json!({"marblerun/marbletype": "voting", "marblerun/typo": "x"}));
    host["spec"]["hostNetwork"] = json!(true);
    let created = webhook.create(&host);
    assert!(created.is_ok(), "{}", created.stderr);
    for warning in ["Warning: label \"marblerun/typo\" is not known to MarbleRun", "ClusterFirstWithHostNet"] {
        assert!(created.stderr.contains(warning), "{}", created.stderr);
    }
}

#[test]
fn a_webhook_for_all_pods_refuses_those_without_a_type() {
    let (injector, pair) = injector(&[]);
    let webhook = Webhook::register_as(&injector, &[&pair], |configuration| {
        configuration["webhooks"][0].as_object_mut().unwrap().remove("objectSelector");
    });
    let said = webhook.refused(&pod("plain", json!({})));
    assert!(said.contains("Missing [marblerun/marbletype] label, request denied"), "{said}");
}

#[test]
fn an_api_server_that_asks_in_v1beta1_is_answered() {
    let (injector, pair) = injector(&[]);
    let webhook = Webhook::register_as(&injector, &[&pair], |configuration| {
        configuration["webhooks"][0]["admissionReviewVersions"] = json!(["v1beta1"]);
    });
    let stored = webhook.stored(&marble("voting"));
    assert_eq!(stored["spec"]["containers"][0]["env"], environment(webhook.namespace.name()));
}

#[test]
fn asked_twice_for_one_pod_it_adds_nothing_the_second_time() {
    let (injector, pair) = injector(&[]);
    let webhook = Webhook::register_as(&injector, &[&pair], |configuration| {
        let mut second = configuration["webhooks"][0].clone();
        second["name"] = json!("second.cluster.local");
        configuration["webhooks"].as_array_mut().unwrap().push(second);
    });
    let stored = webhook.stored(&marble("voting"));
    assert_eq!(stored["spec"]["containers"][0]["env"], environment(webhook.namespace.name()));
    assert_eq!(stored["spec"]["volumes"].as_array().unwrap().len(), 1);
    let same = |toleration: &&Value| toleration["key"] == "sgx.intel.com/epc";
    assert_eq!(stored["spec"]["tolerations"].as_array().unwrap().iter().filter(same).count(), 1);
}

#[test]
fn while_the_webhook_is_down_labelled_pods_are_refused_and_others_created() {
    let pair = Pair::new("webhook");
    let secret = MountedSecret::new(&pair);
    let injector = Injector::start(&secret, &[]);
    let address = injector.address.to_string();
    let webhook = Webhook::register(&injector, &[&pair]);
    drop(injector);
    let said = webhook.refused(&marble("voting"));
    assert!(said.contains("failed calling webhook"), "{said}");
    assert!(webhook.create(&pod("plain", json!({"app": "x"}))).is_ok());
    let _injector = Injector::start_on(&address, &secret, &[]);
    let stored = webhook.stored(&marble("voting"));
    assert_eq!(stored["spec"]["containers"][0]["env"], environment(webhook.namespace.name()));
}

#[test]
fn a_renewed_certificate_is_taken_by_the_api_server_without_a_restart() {
    let (old, new) = (Pair::new("old"), Pair::new("new"));
    let mut secret = MountedSecret::new(&old);
    let mut injector = Injector::start(&secret, &[]);
    // The API server trusts the new one already, and only that.
    let webhook = Webhook::register(&injector, &[&new]);
    let said = webhook.refused(&marble("before"));
    assert!(said.contains("certificate"), "{said}");
    injector.wait_for_log("TLS handshake failed");
    secret.replace(&new.certificate, &new.key);
    let stored = webhook.stored(&marble("after"));
    assert_eq!(stored["spec"]["containers"][0]["env"], environment(webhook.namespace.name()));
}
