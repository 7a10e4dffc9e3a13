//! What holds for every pod.

use proptest::prelude::*;

use super::*;

const OTHER_UID: &str = "ffffffff-0000-4000-8000-000000000002";

/// Any JSON, for fields that nobody here knows.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z~/\"ü]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z~/]{1,3}", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

fn variable() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("EDG_MARBLE_TYPE".to_owned()),
        Just("EDG_MARBLE_COORDINATOR_ADDR".to_owned()),
        Just("EDG_MARBLE_UUID_FILE".to_owned()),
        "[A-Z]{1,3}",
    ];
    (name, prop::option::of("[a-z]{0,3}")).prop_map(|(name, value)| json!({"name": name, "value": value}))
}

fn mount() -> impl Strategy<Value = Value> {
    (prop_oneof![Just("/t-uid"), Just("/t-uid/"), Just("/data"), Just("/T-uid")], "[a-c]")
        .prop_map(|(path, name)| json!({"mountPath": path, "name": name}))
}

fn amounts() -> impl Strategy<Value = Value> {
    let key = prop_oneof![Just(INTEL), Just("sgx.intel.com/enclave"), Just(AZURE), Just("cpu")];
    prop::collection::btree_map(key, prop_oneof![Just(json!("1")), Just(json!(0)), Just(json!("64Mi"))], 0..3)
        .prop_map(|map| json!(map))
}

fn absent_or(strategy: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![1 => Just(None), 1 => Just(Some(Value::Null)), 4 => strategy.prop_map(Some)]
}

fn list(of: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Option<Value>> {
    absent_or(prop::collection::vec(of, 0..4).prop_map(Value::from))
}

/// An object of these fields, and of others.
fn object(fields: Vec<(&str, Option<Value>)>, unknown: Value) -> Value {
    let mut object = json!({"unknown": unknown});
    for (key, value) in fields {
        if let Some(value) = value {
            object[key] = value;
        }
    }
    object
}

fn container(name: &'static str) -> impl Strategy<Value = Value> {
    let resources = (absent_or(amounts()), absent_or(amounts()), anything())
        .prop_map(|(limits, requests, unknown)| object(vec![("limits", limits), ("requests", requests)], unknown));
    (list(variable()), list(mount()), absent_or(resources), anything()).prop_map(
        move |(env, mounts, resources, unknown)| {
            let name = Some(json!(name));
            object(vec![("name", name), ("env", env), ("volumeMounts", mounts), ("resources", resources)], unknown)
        },
    )
}

fn volume() -> impl Strategy<Value = Value> {
    let uuid = json!({"items": [{"path": "uuid-file", "fieldRef": {"fieldPath": "metadata.uid"}}]});
    prop_oneof![
        "[a-c]".prop_map(|name| json!({"name": name, "emptyDir": {}})),
        "uuid-file-[a-c]".prop_map(|name| json!({"name": name, "emptyDir": {}})),
        "uuid-file-[a-c]".prop_map(move |name| json!({"name": name, "downwardAPI": uuid})),
        Just(json!({"name": VOLUME, "emptyDir": {}})),
    ]
}

fn toleration() -> impl Strategy<Value = Value> {
    (
        prop_oneof![Just(INTEL), Just("k")],
        prop_oneof![Just("Exists"), Just("Equal")],
        prop_oneof![Just(json!("NoSchedule")), Just(Value::Null)],
    )
        .prop_map(|(key, operator, effect)| json!({"key": key, "operator": operator, "effect": effect}))
}

fn labels() -> impl Strategy<Value = Value> {
    (
        prop_oneof![Just("t"), Just("T"), Just("a_b"), Just("x/y~z")],
        prop::option::of(prop_oneof![Just(""), Just("a"), Just("init")]),
        prop::option::of(prop_oneof![Just("disabled"), Just("x")]),
        anything(),
    )
        .prop_map(|(marble_type, container, injection, unknown)| {
            json!({
                "marblerun/marbletype": marble_type,
                "marblerun/marblecontainer": container,
                "marblerun/resource-injection": injection,
                "unknown": unknown
            })
        })
}

fn any_pod() -> impl Strategy<Value = Value> {
    (
        labels(),
        prop::option::of(container("b")),
        container("a"),
        container("init"),
        list(volume()),
        list(toleration()),
        anything(),
    )
        .prop_map(|(labels, b, a, init, volumes, tolerations, unknown)| {
            let containers: Value = [Some(a), b].into_iter().flatten().collect();
            let fields = vec![
                ("containers", Some(containers)),
                ("initContainers", Some(json!([init]))),
                ("volumes", volumes),
                ("tolerations", tolerations),
            ];
            pod(labels, object(fields, unknown))
        })
}

/// Whether everything of `before` stands in `after`, in its place. `null` is nothing.
fn contains(after: &Value, before: &Value) -> bool {
    match (after, before) {
        (_, Value::Null) => true,
        (Value::Object(after), Value::Object(before)) => {
            before.iter().all(|(key, before)| after.get(key).is_some_and(|after| contains(after, before)))
        }
        (Value::Array(after), Value::Array(before)) => {
            after.len() >= before.len() && after.iter().zip(before).all(|(after, before)| contains(after, before))
        }
        _ => after == before,
    }
}

fn names_of(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|entry| entry["name"].as_str()).collect()
}

proptest! {
    #[test]
    fn a_pod_only_gains_and_a_second_time_changes_nothing(
        before in any_pod(),
        sgx in prop_oneof![Just(INTEL), Just(AZURE), Just("")],
    ) {
        let rules = rules(sgx);
        let (after, _) = decided(&before, &rules);
        prop_assert!(contains(&after, &before), "{before}\n{after}");
        let Decision::Injected { patch, .. } = decide(&after, "inj", OTHER_UID, &rules).unwrap() else {
            return Err(TestCaseError::fail("denied the second time"));
        };
        prop_assert!(patch.0.is_empty(), "{patch}");
    }

    #[test]
    fn every_marble_has_its_variables_and_every_injected_mount_its_volume(before in any_pod()) {
        let (after, _) = decided(&before, &rules(INTEL));
        let spec = &after["spec"];
        let wanted = before["metadata"]["labels"]["marblerun/marblecontainer"].as_str().unwrap_or_default();
        let all = spec["containers"].as_array().unwrap().iter().chain(spec["initContainers"].as_array().unwrap());
        for container in all {
            let name = container["name"].as_str().unwrap();
            let is_marble = if wanted.is_empty() { name != "init" } else { name == wanted };
            let variables = names_of(&container["env"]);
            if is_marble {
                for variable in ["EDG_MARBLE_COORDINATOR_ADDR", "EDG_MARBLE_TYPE", "EDG_MARBLE_DNS_NAMES", "EDG_MARBLE_UUID_FILE"] {
                    prop_assert!(variables.contains(&variable), "{container}");
                }
            } else {
                let list = if name == "init" { "initContainers" } else { "containers" };
                let untouched = before["spec"][list].as_array().unwrap().iter().any(|before| before == container);
                prop_assert!(untouched, "{container}");
            }
        }
        let volumes = names_of(&spec["volumes"]);
        let added = volumes.len() - names_of(&before["spec"]["volumes"]).len();
        prop_assert!(added <= 1);
        if added == 1 {
            let (last, earlier) = volumes.split_last().unwrap();
            prop_assert!(!earlier.contains(last), "{volumes:?}");
            let mounts = |container: &Value| names_of(&container["volumeMounts"]).contains(last);
            let used = ["containers", "initContainers"].iter().any(|list| spec[*list].as_array().unwrap().iter().any(mounts));
            prop_assert!(used, "a volume is added only where it is mounted");
        }
    }

    #[test]
    fn no_bytes_make_it_fail(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = answer(&body, &rules(INTEL));
    }

    #[test]
    fn no_json_makes_it_fail(object in anything(), labels in anything(), spec in anything()) {
        for pod in [object.clone(), pod(labels, spec), pod(json!({"marblerun/marbletype": "t"}), object)] {
            let decision = answer(&body_of(&review(&pod)), &rules(INTEL)).map(|answer| answer.decision);
            let failed = matches!(decision, Ok(Decision::Denied(Refusal::Fault { .. })));
            prop_assert!(!failed, "{pod}");
        }
    }
}
