//! Installing, once and again.

use serde_json::{Value, json};

use crate::person::{COORDINATORS, INJECTORS, Person};

#[test]
fn an_installation_is_waited_for_and_a_second_run_changes_nothing() {
    let person = Person::new();
    let child = person.begins("install --repository r.example/m --values values.yaml --timeout 240");
    person.makes_ready(INJECTORS, 1);
    person.makes_ready(COORDINATORS, 1);
    let said = Person::ends(child).succeeds();
    for promised in [
        "Setting up MarbleRun Webhook... Done",
        "deployment/marblerun-coordinator created",
        "marblerun-coordinator pods ready: 1/1",
        "MarbleRun installed successfully\n",
    ] {
        assert!(said.stdout.contains(promised), "{promised:?}: {said:?}");
    }
    let coordinator = person.get("deployment/marblerun-coordinator");
    assert_eq!(coordinator["spec"]["strategy"]["type"], "Recreate");
    assert_eq!(coordinator["spec"]["template"]["spec"]["containers"][0]["image"], "r.example/m/coordinator:v0.1.0");

    let objects =
        ["deployment/marblerun-coordinator", "secret/marble-injector-webhook-certs", "pvc/coordinator-pv-claim"];
    let versions = || objects.map(|object| person.get(object)["metadata"]["generation"].clone());
    let data = || person.get("secret/marble-injector-webhook-certs")["data"].clone();
    let before = (versions(), data());
    // Not even the repository must be said again.
    let again = person.types("install --values values.yaml").succeeds();
    assert!(again.stdout.contains("deployment/marblerun-coordinator unchanged"), "{again:?}");
    assert!(!again.stdout.contains(" changed") && !again.stdout.contains(" created"), "{again:?}");
    assert_eq!((versions(), data()), before);
    let checked = person.types("check --timeout 0").succeeds();
    assert!(checked.stdout.contains("marble-injector pods ready: 1/1\nmarblerun-coordinator pods ready: 1/1\n"));
}

#[test]
fn a_distributed_installation_keeps_its_replicas_and_does_not_become_a_single_one() {
    let person = Person::new();
    person.installs("--distributed-deployment --replicas 3").succeeds();
    assert_eq!(person.get("deployment/marblerun-coordinator")["spec"]["replicas"], 3);
    for object in ["role/marblerun-coordinator", "service/coordinator-key-api", "pdb/marblerun-coordinator"] {
        assert!(person.has(object), "{object}");
    }
    assert!(!person.has("pvc/coordinator-pv-claim"));
    person.kubectl("scale deployment/marblerun-coordinator --replicas 0");
    person.installs("--distributed-deployment").succeeds();
    assert_eq!(person.get("deployment/marblerun-coordinator")["spec"]["replicas"], 0, "who scaled it had a reason");
    person.installs("").fails("add --distributed-deployment");
    person.installs("--distributed-deployment --simulation").fails("leave out --simulation");
    let said = person.installs("--replicas 2 --distributed-deployment").succeeds();
    assert!(said.stdout.contains("deployment/marblerun-coordinator changed"), "{said:?}");
    assert_eq!(person.get("deployment/marblerun-coordinator")["spec"]["replicas"], 2);
}

#[test]
fn what_pods_get_files_of_is_looked_for_before_anything_is_made() {
    let person = Person::new();
    let seal = "--seal platform+passphrase --seal-passphrase-secret words --collateral-config-map files";
    let said = person.installs(seal).fails("names Secret words, which is not in namespace");
    assert!(said.stderr.contains("create secret generic words --from-file=passphrase"), "{said:?}");
    assert!(!person.has("deployment/marblerun-coordinator"));
    person.kubectl("create secret generic words --from-literal=password=correct-horse-battery");
    person.installs(seal).fails(r#"has no "passphrase", so no pod would start; it has password"#);
    person.kubectl("delete secret words");
    person.kubectl("create secret generic words --from-literal=passphrase=correct-horse-battery");
    person.installs(seal).fails("names ConfigMap files");
    person.kubectl("create configmap files --from-literal=a.json={}");
    person.installs(seal).succeeds();
    let deployment = person.get("deployment/marblerun-coordinator").to_string();
    assert!(deployment.contains(r#"{"name":"MARBLERUN_SEAL","value":"platform+passphrase"}"#), "{deployment}");
    assert!(deployment.contains(r#"{"name":"MARBLERUN_COLLATERAL","value":"/etc/marblerun/collateral"}"#));
    person.installs("--tee tdx").fails("no seal key of its own");
}

#[test]
fn a_simulation_asks_for_nothing_of_sgx_and_neither_do_its_marbles() {
    let person = Person::new();
    let said = person.installs("--simulation --domain a.example,10.0.0.1 --client-server-port 4444").succeeds();
    assert!(!said.stderr.contains("SGX") && said.stderr.contains("Warning: SIMULATION: "), "{said:?}");
    for (flags, told) in [("", "Warning: SIMULATION: "), ("-o json", "\"simulation\": true")] {
        person.makes_ready(INJECTORS, 1);
        person.makes_ready(COORDINATORS, 1);
        let said = person.types(&format!("check --timeout 60 {flags}")).succeeds();
        assert!(said.stderr.contains(told) || said.stdout.contains(told), "{told}: {said:?}");
    }
    let pod = person.get("deployment/marblerun-coordinator")["spec"]["template"]["spec"].clone();
    let container = &pod["containers"][0];
    assert!(container["resources"]["limits"].is_null() && pod["tolerations"].is_null(), "{pod}");
    let variable = |name: &str| {
        let all = container["env"].as_array().unwrap();
        all.iter().find(|variable| variable["name"] == name).unwrap()["value"].clone()
    };
    assert_eq!((variable("OE_SIMULATION"), variable("MARBLERUN_TEE")), (json!("1"), json!("simulation")));
    assert!(variable("EDG_COORDINATOR_DNS_NAMES").as_str().unwrap().starts_with("a.example,10.0.0.1,localhost,"));
    let arguments =
        person.get("deployment/marble-injector")["spec"]["template"]["spec"]["containers"][0]["args"].clone();
    assert!(arguments.as_array().unwrap().contains(&json!("-sgxResource=")), "{arguments}");
    assert_eq!(person.get("service/coordinator-client-api")["spec"]["ports"][0]["port"], 4444);
    assert!(!person.has("configmap/coordinator-dcap-config"));
}

#[test]
fn in_confidential_machines_neither_coordinator_nor_marbles_ask_for_sgx() {
    let person = Person::new();
    let said = person.installs("--set coordinator.tee=snp,coordinator.runtimeClassName=kata").succeeds();
    assert!(!said.stderr.contains("SGX") && !said.stderr.contains("SIMULATION"), "{said:?}");
    let pod = person.get("deployment/marblerun-coordinator")["spec"]["template"]["spec"].clone();
    assert_eq!(pod["runtimeClassName"], "kata");
    assert!(pod["containers"][0]["resources"]["limits"].is_null(), "{pod}");
    let arguments =
        person.get("deployment/marble-injector")["spec"]["template"]["spec"]["containers"][0]["args"].clone();
    assert!(arguments.as_array().unwrap().contains(&json!("-sgxResource=")), "{arguments}");
}

#[test]
fn what_is_left_out_later_is_removed_and_the_volume_is_not() {
    let person = Person::new();
    person.installs("--set coordinator.metrics.enabled=true").succeeds();
    assert!(person.has("service/coordinator-metrics") && person.has("deployment/marble-injector"));
    let flags = "--disable-auto-injection --set coordinator.pvcName=mine";
    let trial = person.installs(&format!("{flags} --dry-run")).succeeds();
    assert!(trial.stdout.contains("service/coordinator-metrics removed (dry run)"), "{trial:?}");
    assert!(person.has("service/coordinator-metrics"));
    let said = person.installs(flags).succeeds();
    for gone in ["service/coordinator-metrics", "deployment/marble-injector", "secret/marble-injector-webhook-certs"] {
        assert!(said.stdout.contains(&format!("{gone} removed")) && !person.has(gone), "{gone}: {said:?}");
    }
    let webhook = format!("mutatingwebhookconfiguration/marble-injector-{}", person.namespace.name());
    assert!(!person.has(&webhook));
    assert!(person.has("pvc/coordinator-pv-claim"), "a volume is state");
}

#[test]
fn a_trial_changes_nothing_and_tells_what_would_change() {
    let person = Person::new();
    let said = person.installs("--dry-run").succeeds();
    assert!(said.stdout.contains("deployment/marblerun-coordinator created (dry run)"), "{said:?}");
    assert!(!person.has("deployment/marblerun-coordinator") && !person.has("secret/marble-injector-webhook-certs"));
    person.installs("").succeeds();
    let said = person.installs("--dry-run --set coordinator.logFormat=json").succeeds();
    assert!(
        said.stdout.contains(r#"env[EDG_LOG_FORMAT]: (none) -> {"name":"EDG_LOG_FORMAT","value":"json"}"#),
        "{said:?}"
    );
    assert!(said.stdout.contains("service/coordinator-mesh-api unchanged (dry run)"), "{said:?}");
    assert!(!person.kubectl("get deployment/marblerun-coordinator -o yaml").contains("EDG_LOG_FORMAT"));
    // Refused by the API server: nothing at all is changed.
    let bad = "--set coordinator.storageSize=20Mi --set coordinator.pullPolicy=Sometimes";
    let said = person.installs(bad).fails("nothing was changed");
    assert!(
        said.stderr.contains("Sometimes") && said.stderr.contains("PersistentVolumeClaim coordinator-pv-claim"),
        "{said:?}"
    );
    // A namespace that is not there is not made, either.
    person.types("install --repository r.example/m --dry-run -n not-there-yet").succeeds();
    assert!(!person.plane.kubectl(["get", "namespace", "not-there-yet"]).unwrap().is_ok());
    let line = "install --repository r.example/m --set coordinator.pullPolicy=Sometimes -n not-there-for-long";
    person.types(line).fails("nothing was changed");
    let gone = ["wait", "--for=delete", "namespace/not-there-for-long", "--timeout=120s"];
    person.plane.kubectl(gone).unwrap().ok().unwrap();
}

#[test]
fn the_objects_can_be_had_without_a_cluster_and_applied_by_others() {
    let person = Person::new();
    let nowhere = person.path("nowhere");
    let line = "install --repository r.example/m --disable-auto-injection --dry-run=client -o yaml";
    let said = person.types_as(&nowhere, line).succeeds();
    let applied = person.namespace.kubectl_with_input(["apply", "--dry-run=server", "-f", "-"], &said.stdout).unwrap();
    assert!(applied.clone().ok().unwrap().contains("deployment.apps/marblerun-coordinator"), "{applied:?}");
    let said = person.installs("--dry-run -o json").succeeds();
    let list = said.json();
    let kinds: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"MutatingWebhookConfiguration") && !kinds.contains(&"Secret"), "{kinds:?}");
    assert!(
        !said.stdout.contains("PRIVATE") && said.stderr.contains("Secret marble-injector-webhook-certs is left out")
    );
    assert_eq!(list["kind"], "List");
}

#[test]
fn a_wrong_command_line_or_file_is_refused_before_anything_is_done() {
    let person = Person::new();
    std::fs::write(person.path("typo.yaml"), "coordinator: {replica: 3}").unwrap();
    std::fs::write(person.path("list.yaml"), "- a").unwrap();
    person.types("install").fails("--repository HOST/PATH");
    person.installs("--values typo.yaml").fails("coordinator.replica: unknown field");
    person.installs("--values list.yaml").fails("list.yaml");
    person.installs("--values missing.yaml").fails("missing.yaml");
    person.installs("--set coordinator").fails("expected NAME=VALUE");
    person.installs("--replicas 3").fails("--distributed-deployment");
    person.installs("--version v9.9.9").fails("this program installs version 0.1.0, not 9.9.9");
    person.installs("--kube-context nosuch").fails("no context \"nosuch\"");
    let said = person.types("install --exit-code --repository r.example/m -n Wrong");
    assert!(said.stderr.contains("cannot be a namespace"), "{said:?}");
    assert!(!person.has("serviceaccount/marblerun-coordinator"));
    let said = person.installs("--version v0.1.0 --enterprise-access-token x").succeeds();
    assert!(said.stderr.contains("Flag --enterprise-access-token has been deprecated"), "{said:?}");
}

#[test]
fn a_folder_with_the_chart_may_have_other_defaults_and_no_other_version() {
    let person = Person::new();
    let chart = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/marblerun");
    let text = |name: &str| std::fs::read_to_string(chart.join(name)).unwrap();
    let folder = person.path("chart");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("Chart.yaml"), text("Chart.yaml")).unwrap();
    std::fs::write(folder.join("values.yaml"), text("values.yaml").replace("logFormat: \"\"", "logFormat: json"))
        .unwrap();
    person.installs("--marblerun-chart-path chart --disable-auto-injection").succeeds();
    assert!(person.kubectl("get deployment/marblerun-coordinator -o yaml").contains("EDG_LOG_FORMAT"));
    std::fs::write(folder.join("Chart.yaml"), text("Chart.yaml").replace("version: 0.1.0", "version: 9.0.0")).unwrap();
    person.installs("--marblerun-chart-path chart").fails("not 9.0.0");
    person.installs("--marblerun-chart-path values.yaml").fails("is not a folder");
}

#[test]
fn who_may_not_install_is_told_so_and_changes_nothing() {
    let person = Person::new();
    let account = person.namespace.service_account(marblerun_testkit::kube::Role::Ours).unwrap();
    let line = "install --repository r.example/m --no-wait --exit-code";
    let said = person.types_as(&account.kubeconfig, line);
    assert_eq!(said.code, 12, "{said:?}");
    assert!(said.stderr.contains("the cluster does not allow this") && said.stderr.contains("doctor"), "{said:?}");
    assert!(!person.has("deployment/marblerun-coordinator"));
}

#[test]
fn a_cluster_that_does_not_answer_is_told_in_one_document() {
    let person = Person::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = std::fs::read_to_string(person.plane.kubeconfig()).unwrap();
    let port = person.plane.port().unwrap().to_string();
    let gone = person.path("gone");
    std::fs::write(&gone, text.replace(&port, &closed.port().to_string())).unwrap();
    for line in ["install --repository r.example/m", "uninstall", "check", "precheck"] {
        let said = person.types_as(&gone, &format!("{line} --exit-code -o json"));
        assert_eq!(said.code, 11, "{line}: {said:?}");
        assert_eq!(said.json()["error"]["kind"], "unreachable", "{line}");
    }
    let doctor = person.types_as(&gone, "doctor -o json").fails("1 check failed");
    assert_eq!(doctor.json()["findings"][0]["check"], "cluster");
    let none = person.types_as(&person.path("missing"), "check --exit-code -o json");
    let missing = none.json();
    assert_eq!((none.code, &missing["error"]["kind"]), (64, &Value::from("usage")), "{missing}");
}
