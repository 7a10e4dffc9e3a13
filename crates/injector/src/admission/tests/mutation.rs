//! What is added to a pod. Where upstream has no fault, the pod that results is upstream's.

use super::*;

fn labelled(labels: Value, containers: Value) -> Value {
    pod(labels, json!({"containers": containers}))
}

fn marble(containers: Value) -> Value {
    labelled(json!({"marblerun/marbletype": "t"}), containers)
}

fn full_environment() -> Value {
    json!([
        {"name": "EDG_MARBLE_COORDINATOR_ADDR", "value": "coordinator-mesh-api.marblerun:2001"},
        {"name": "EDG_MARBLE_TYPE", "value": "t"},
        {"name": "EDG_MARBLE_DNS_NAMES", "value": "t,t.inj,t.inj.svc.cluster.local"},
        {"name": "EDG_MARBLE_UUID_FILE", "value": "/t-uid/uuid-file"}
    ])
}

fn uuid_volume(name: &str) -> Value {
    json!({"name": name, "downwardAPI": {"items": [{"path": "uuid-file", "fieldRef": {"fieldPath": "metadata.uid"}}]}})
}

fn intel_limits() -> Value {
    json!({"sgx.intel.com/epc": "10Mi", "sgx.intel.com/enclave": "1", "sgx.intel.com/provision": "1"})
}

fn toleration(key: &str) -> Value {
    json!({"key": key, "operator": "Exists", "effect": "NoSchedule"})
}

#[test]
fn a_pod_of_one_container_becomes_what_upstream_makes_of_it() {
    let Decision::Injected { patch, marble_type, .. } = decide(&voting(), "inj", UID, &rules(INTEL)).unwrap() else {
        panic!()
    };
    assert_eq!(marble_type, "Voting");
    assert_eq!(
        serde_json::to_value(&patch).unwrap(),
        json!([
            {"op": "add", "path": "/spec/containers/0/env", "value": [
                {"name": "EDG_MARBLE_COORDINATOR_ADDR", "value": "coordinator-mesh-api.marblerun:2001"},
                {"name": "EDG_MARBLE_TYPE", "value": "Voting"},
                {"name": "EDG_MARBLE_DNS_NAMES", "value": "voting,voting.inj,voting.inj.svc.cluster.local"},
                {"name": "EDG_MARBLE_UUID_FILE", "value": "/Voting-uid/uuid-file"}]},
            {"op": "add", "path": "/spec/containers/0/volumeMounts", "value": [
                {"mountPath": "/Voting-uid", "name": VOLUME}]},
            {"op": "add", "path": "/spec/containers/0/resources", "value": {"limits": intel_limits()}},
            {"op": "add", "path": "/spec/volumes", "value": [uuid_volume(VOLUME)]},
            {"op": "add", "path": "/spec/tolerations", "value": [toleration("sgx.intel.com/epc")]}
        ])
    );
}

#[test]
fn lists_and_maps_that_exist_are_continued() {
    let before = pod(
        json!({"marblerun/marbletype": "t"}),
        json!({
            "containers": [{
                "name": "c",
                "env": [{"name": "A", "value": "1"}],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}
            }],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "tolerations": [{"operator": "Exists", "key": "k"}]
        }),
    );
    let (after, warnings) = decided(&before, &rules(INTEL));
    let container = &after["spec"]["containers"][0];
    assert_eq!(container["env"].as_array().unwrap().len(), 5);
    assert_eq!(container["env"][0], json!({"name": "A", "value": "1"}));
    assert_eq!(
        container["volumeMounts"],
        json!([{"name": "v", "mountPath": "/v"}, {"name": VOLUME, "mountPath": "/t-uid"}])
    );
    assert_eq!(container["resources"]["limits"]["cpu"], "1");
    assert_eq!(container["resources"]["limits"]["sgx.intel.com/epc"], "10Mi");
    assert_eq!(container["resources"]["requests"], json!({"cpu": "1"}), "the API server copies limits to requests");
    assert_eq!(after["spec"]["volumes"], json!([{"name": "v", "emptyDir": {}}, uuid_volume(VOLUME)]));
    assert_eq!(
        after["spec"]["tolerations"],
        json!([{"operator": "Exists", "key": "k"}, toleration("sgx.intel.com/epc")])
    );
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn every_container_becomes_a_marble_over_one_volume_and_init_containers_do_not() {
    let mut before = marble(json!([{"name": "a"}, {"name": "b"}]));
    before["spec"]["initContainers"] = json!([{"name": "init"}]);
    let (after, _) = decided(&before, &rules(INTEL));
    for index in [0, 1] {
        let container = &after["spec"]["containers"][index];
        assert_eq!(container["env"], full_environment());
        assert_eq!(container["volumeMounts"], json!([{"mountPath": "/t-uid", "name": VOLUME}]));
        assert_eq!(container["resources"]["limits"], intel_limits());
    }
    assert_eq!(after["spec"]["volumes"], json!([uuid_volume(VOLUME)]));
    assert_eq!(after["spec"]["initContainers"], before["spec"]["initContainers"]);
}

#[test]
fn a_named_container_is_the_only_marble() {
    let labels = json!({"marblerun/marbletype": "t", "marblerun/marblecontainer": "b"});
    let (after, _) = decided(&labelled(labels, json!([{"name": "a"}, {"name": "b"}])), &rules(INTEL));
    assert_eq!(after["spec"]["containers"][0], json!({"name": "a"}));
    assert_eq!(after["spec"]["containers"][1]["env"], full_environment());
    let labels = json!({"marblerun/marbletype": "t", "marblerun/marblecontainer": ""});
    let (after, _) = decided(&labelled(labels, json!([{"name": "a"}, {"name": "b"}])), &rules(INTEL));
    assert_eq!(after["spec"]["containers"][0]["env"], full_environment(), "an empty name means all");
}

#[test]
fn an_init_container_is_a_marble_when_it_is_named() {
    let mut before =
        labelled(json!({"marblerun/marbletype": "t", "marblerun/marblecontainer": "init"}), json!([{"name": "a"}]));
    before["spec"]["initContainers"] = json!([{"name": "first"}, {"name": "init"}]);
    let (after, _) = decided(&before, &rules(INTEL));
    assert_eq!(after["spec"]["containers"], before["spec"]["containers"]);
    assert_eq!(after["spec"]["initContainers"][0], json!({"name": "first"}));
    assert_eq!(after["spec"]["initContainers"][1]["env"], full_environment());
    assert_eq!(after["spec"]["volumes"], json!([uuid_volume(VOLUME)]));
}

#[test]
fn a_name_of_no_container_is_denied_with_the_names_there_are() {
    let labels = json!({"marblerun/marbletype": "t", "marblerun/marblecontainer": "ap"});
    let mut before = labelled(labels, json!([{"name": "app"}, {"name": "proxy"}]));
    assert_eq!(
        refusal(&before),
        "Label [marblerun/marblecontainer] names container \"ap\", which this pod does not have, request denied. \
         It has containers \"app\", \"proxy\"; no init containers"
    );
    before["spec"]["initContainers"] = json!([{"name": "init"}]);
    assert!(refusal(&before).ends_with("; init containers \"init\""));
    before["spec"]["containers"] = (0..500).map(|n| json!({"name": format!("c{n}")})).collect();
    assert!(refusal(&before).contains("\"c9\", 490 more; "));
    before["spec"] = Value::Null;
    assert!(refusal(&before).ends_with("It has no containers; no init containers"));
}

#[test]
fn variables_that_a_container_has_stay_as_they_are() {
    let own = json!([
        {"name": "EDG_MARBLE_TYPE", "value": "mine"},
        {"name": "EDG_MARBLE_DNS_NAMES", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}
    ]);
    let (after, _) = decided(&marble(json!([{"name": "c", "env": own}])), &rules(INTEL));
    assert_eq!(
        after["spec"]["containers"][0]["env"],
        json!([
            own[0],
            own[1],
            {"name": "EDG_MARBLE_COORDINATOR_ADDR", "value": "coordinator-mesh-api.marblerun:2001"},
            {"name": "EDG_MARBLE_UUID_FILE", "value": "/t-uid/uuid-file"}
        ])
    );
}

#[test]
fn who_names_a_uuid_file_gets_no_volume() {
    let own = json!([{"name": "EDG_MARBLE_UUID_FILE", "value": "/mine/uuid"}]);
    let (after, _) = decided(&marble(json!([{"name": "c", "env": own}])), &rules(INTEL));
    assert!(after["spec"].get("volumes").is_none() && after["spec"]["containers"][0].get("volumeMounts").is_none());
}

#[test]
fn the_volume_is_added_if_any_container_needs_it_whatever_the_last_one_mounts() {
    let needs = json!({"name": "needs"});
    let mounts = json!({"name": "mounts", "volumeMounts": [{"mountPath": "/t-uid", "name": "own"}]});
    for containers in [json!([needs, mounts]), json!([mounts, needs])] {
        let mut before = marble(containers);
        before["spec"]["volumes"] = json!([{"name": "own", "emptyDir": {}}]);
        let (after, _) = decided(&before, &rules(INTEL));
        assert_eq!(after["spec"]["volumes"], json!([{"name": "own", "emptyDir": {}}, uuid_volume(VOLUME)]));
        for container in after["spec"]["containers"].as_array().unwrap() {
            let volume = if container["name"] == "needs" { VOLUME } else { "own" };
            assert_eq!(container["volumeMounts"], json!([{"mountPath": "/t-uid", "name": volume}]));
        }
    }
}

#[test]
fn a_mount_in_the_place_of_the_uuid_file_is_used() {
    for path in ["/t-uid", "/t-uid/"] {
        let before = marble(json!([{"name": "c", "volumeMounts": [{"mountPath": path, "name": "own"}]}]));
        let (after, _) = decided(&before, &rules(INTEL));
        assert_eq!(after["spec"]["containers"][0]["volumeMounts"], before["spec"]["containers"][0]["volumeMounts"]);
        assert!(after["spec"].get("volumes").is_none());
        assert_eq!(after["spec"]["containers"][0]["env"], full_environment());
    }
}

#[test]
fn the_volume_of_an_earlier_run_is_used_again() {
    let (mut after, _) = decided(&marble(json!([{"name": "a"}])), &rules(INTEL));
    // Another webhook puts a container into the pod; the API server asks again, with another UID.
    after["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "b"}));
    let Decision::Injected { patch, .. } = decide(&after, "inj", "another", &rules(INTEL)).unwrap() else { panic!() };
    json_patch::patch(&mut after, &patch).unwrap();
    assert_eq!(after["spec"]["volumes"], json!([uuid_volume(VOLUME)]));
    assert_eq!(after["spec"]["containers"][1]["volumeMounts"], json!([{"mountPath": "/t-uid", "name": VOLUME}]));
}

#[test]
fn a_volume_that_only_has_the_name_is_not_taken_for_the_uuid_volume() {
    let mut before = marble(json!([{"name": "c"}]));
    before["spec"]["volumes"] = json!([{"name": VOLUME, "emptyDir": {}}]);
    let (after, _) = decided(&before, &rules(INTEL));
    let other = format!("{VOLUME}-1");
    assert_eq!(after["spec"]["volumes"][1], uuid_volume(&other));
    assert_eq!(after["spec"]["containers"][0]["volumeMounts"][0]["name"], other);
}

#[test]
fn each_plugin_gets_its_limits_and_its_toleration() {
    for (key, limits) in [
        (INTEL, intel_limits()),
        (AZURE, json!({AZURE: "10"})),
        (ALIBABA, json!({ALIBABA: "10"})),
        ("example.com/epc", json!({"example.com/epc": "10"})),
    ] {
        let (after, _) = decided(&marble(json!([{"name": "c"}])), &rules(key));
        assert_eq!(after["spec"]["containers"][0]["resources"], json!({"limits": limits}));
        assert_eq!(after["spec"]["tolerations"], json!([toleration(key)]));
    }
}

#[test]
fn amounts_that_a_container_has_win() {
    let limits = json!({"sgx.intel.com/epc": "64Mi"});
    let (after, _) = decided(&marble(json!([{"name": "c", "resources": {"limits": limits}}])), &rules(INTEL));
    assert_eq!(
        after["spec"]["containers"][0]["resources"]["limits"],
        json!({"sgx.intel.com/epc": "64Mi", "sgx.intel.com/enclave": "1", "sgx.intel.com/provision": "1"})
    );
    // The API server takes no limit but the request's own.
    let requests = json!({"sgx.intel.com/epc": "32Mi"});
    let (after, _) = decided(&marble(json!([{"name": "c", "resources": {"requests": requests}}])), &rules(INTEL));
    assert_eq!(after["spec"]["containers"][0]["resources"]["limits"]["sgx.intel.com/epc"], "32Mi");
}

#[test]
fn the_same_toleration_is_not_added_twice_and_another_one_does_not_count() {
    for (present, total) in [
        (toleration(INTEL), 1),
        (json!({"key": INTEL, "operator": "Exists", "effect": "NoExecute"}), 2),
        (json!({"key": INTEL, "operator": "Equal", "value": "x", "effect": "NoSchedule"}), 2),
    ] {
        let mut before = marble(json!([{"name": "c"}]));
        before["spec"]["tolerations"] = json!([present]);
        let (after, _) = decided(&before, &rules(INTEL));
        assert_eq!(after["spec"]["tolerations"].as_array().unwrap().len(), total, "{present}");
    }
}

#[test]
fn no_sgx_is_injected_where_the_label_or_the_cluster_says_so() {
    let with_label = |value: &str| json!({"marblerun/marbletype": "t", "marblerun/resource-injection": value});
    let containers = json!([{"name": "c"}]);
    for (labels, key, injected) in [
        (with_label("disabled"), INTEL, false),
        (with_label("Disabled"), INTEL, true),
        (with_label("enabled"), INTEL, true),
        (with_label(""), INTEL, true),
        (json!({"marblerun/marbletype": "t"}), "", false),
        (json!({"marblerun/marbletype": "t"}), "none", false),
    ] {
        let (after, _) = decided(&labelled(labels.clone(), containers.clone()), &rules(key));
        assert_eq!(after["spec"]["containers"][0].get("resources").is_some(), injected, "{labels}");
        assert_eq!(after["spec"].get("tolerations").is_some(), injected, "{labels}");
        assert_eq!(after["spec"]["containers"][0]["env"], full_environment(), "the rest is injected all the same");
    }
}

#[test]
fn null_counts_as_absent() {
    let before = pod(
        json!({"marblerun/marbletype": "t", "marblerun/marblecontainer": null}),
        json!({
            "containers": [{"name": "c", "env": null, "volumeMounts": null, "resources": {"limits": null}}],
            "volumes": null, "tolerations": null, "initContainers": null
        }),
    );
    let (after, _) = decided(&before, &rules(INTEL));
    assert_eq!(after["spec"]["containers"][0]["env"], full_environment());
    assert_eq!(after["spec"]["containers"][0]["resources"]["limits"], intel_limits());
    assert_eq!(after["spec"]["volumes"], json!([uuid_volume(VOLUME)]));
}

#[test]
fn a_long_type_keeps_its_path_and_does_not_touch_the_volumes_name() {
    let long = "T".repeat(63);
    let before = labelled(json!({"marblerun/marbletype": long}), json!([{"name": "c"}]));
    let (after, _) = decided(&before, &rules(INTEL));
    let mount = &after["spec"]["containers"][0]["volumeMounts"][0];
    assert_eq!(*mount, json!({"mountPath": format!("/{long}-uid"), "name": VOLUME}));
}

#[test]
fn fields_that_nobody_here_knows_survive() {
    let mut before = marble(json!([{"name": "c", "fromTheFuture": {"a": [1, null]}}]));
    before["spec"]["alsoNew"] = json!([{"x": 1.5}]);
    before["metadata"]["managedFields"] = json!([{"fieldsV1": {"f:spec": {}}}]);
    let (after, _) = decided(&before, &rules(INTEL));
    assert_eq!(after["spec"]["containers"][0]["fromTheFuture"], json!({"a": [1, null]}));
    assert_eq!(after["spec"]["alsoNew"], before["spec"]["alsoNew"]);
    assert_eq!(after["metadata"], before["metadata"]);
    assert_eq!(after["status"], json!({}), "nothing is put where nothing is needed");
}
