//! Restores of a state in a Secret, over whatever is there, and interrupted anywhere.

use serde_json::json;

use crate::person::Person;
use crate::sealed::{another, large, ours};

const STATE: &str = "marblerun-state";
const ARCHIVE: &str = "marblerun-state-archive-0";

fn replicas(person: &Person) -> i64 {
    person.get("deployment/marblerun-coordinator")["spec"]["replicas"].as_i64().unwrap()
}

fn is_remembered(person: &Person) -> bool {
    let annotations = person.get("deployment/marblerun-coordinator")["metadata"]["annotations"].clone();
    annotations.get("marblerun/replicas-before-restore").is_some()
}

fn installed(replicas: u32) -> Person {
    let person = Person::new();
    person.installs(&format!("--distributed-deployment --replicas {replicas}")).succeeds();
    person
}

#[tokio::test]
async fn a_newer_state_gives_way_to_a_backup_if_that_is_forced_and_is_kept() {
    let deployment = ours().await;
    let person = installed(3);
    let (old, new) = (deployment.values(5), deployment.values(9));
    person.puts(STATE, &old);
    person.types("backup create --kubernetes b.yaml").succeeds();
    person.puts(STATE, &new);
    let uid = person.uid("secret/marblerun-state");
    person.types("backup restore b.yaml --kubernetes --no-wait").fails("holds a newer state (sequence 9");
    assert_eq!((replicas(&person), person.uid("secret/marblerun-state")), (3, uid.clone()), "nothing was done");

    let said = person.types("backup restore b.yaml --kubernetes --no-wait --force --dry-run").succeeds();
    for step in [
        "stop all Coordinators (3 now)",
        "keep what is in secret/marblerun-state as secret/marblerun-state-archive-0",
        "as 'kubectl replace --force' does",
        "start 3 Coordinators",
        "expect recovery by alice",
    ] {
        assert!(said.stdout.contains(step), "{step:?}: {said:?}");
    }
    assert!(!person.has(&format!("secret/{ARCHIVE}")) && replicas(&person) == 3);
    person.has_values(STATE, &new);

    let said = person.types("backup restore b.yaml --kubernetes --no-wait --force -o json").succeeds().json();
    assert_eq!((&said["archived"], &said["coordinators"]), (&json!(ARCHIVE), &json!(3)));
    person.has_values(STATE, &old);
    person.has_values(ARCHIVE, &new);
    assert_ne!(person.uid("secret/marblerun-state"), uid, "another object: a restore");
    assert!(replicas(&person) == 3 && !is_remembered(&person));
    // The way back: an archive is a backup.
    person.writes("archive.yaml", person.kubectl(&format!("get secret {ARCHIVE} -o yaml")).as_bytes());
    person.types("backup restore archive.yaml --kubernetes --no-wait").succeeds();
    person.has_values(STATE, &new);
    person.has_values("marblerun-state-archive-1", &old);
    let annotations = person.get("secret/marblerun-state-archive-1")["metadata"]["annotations"].clone();
    assert_eq!(annotations["marblerun/archive-reason"], "restored");
    let listed = person.types("backup list --kubernetes").succeeds().stdout;
    assert_eq!(listed.lines().count(), 4, "{listed}");
}

#[tokio::test]
async fn a_lost_state_comes_back_and_the_same_state_is_left_alone() {
    let deployment = ours().await;
    let person = installed(2);
    person.puts(STATE, &deployment.values(5));
    person.types("backup create --kubernetes b.yaml").succeeds();
    person.kubectl("delete secret marblerun-state");
    let said = person.types("backup restore b.yaml --kubernetes --no-wait").succeeds();
    assert!(said.stdout.contains("2 Coordinators are starting"), "{said:?}");
    person.has_values(STATE, &deployment_values(&person));
    let uid = person.uid("secret/marblerun-state");
    let generation = person.get("deployment/marblerun-coordinator")["metadata"]["generation"].clone();
    let said = person.types("backup restore b.yaml --kubernetes --no-wait").succeeds();
    assert!(said.stdout.contains("holds this very state already"), "{said:?}");
    assert_eq!(
        person.get("deployment/marblerun-coordinator")["metadata"]["generation"],
        generation,
        "nobody was stopped"
    );
    assert_eq!(person.uid("secret/marblerun-state"), uid);
    assert!(!person.has(&format!("secret/{ARCHIVE}")));

    // An empty Secret is as good as none.
    person.kubectl("delete secret marblerun-state");
    person.kubectl("create secret generic marblerun-state");
    person.types("backup restore b.yaml --kubernetes --no-wait").succeeds();
    assert!(person.values(STATE).contains_key("sealed_data") && !person.has(&format!("secret/{ARCHIVE}")));
}

/// What stands in the backup of a test.
fn deployment_values(person: &Person) -> crate::sealed::Values {
    let text = std::fs::read_to_string(person.path("b.yaml")).unwrap();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("\"{key}\": "))).unwrap();
        marblerun_api::bytes::decode(line.trim_matches('"')).unwrap()
    };
    [("sealed_data", value("sealed_data")), ("sealed_key", value("sealed_key"))].into()
}

#[tokio::test]
async fn the_state_of_another_deployment_is_replaced_only_by_force() {
    let person = installed(1);
    let (mine, theirs) = (another().await.values(2), ours().await.values(9));
    person.puts(STATE, &theirs);
    person.types("backup create --kubernetes b.yaml").succeeds();
    person.puts(STATE, &mine);
    person.types("backup restore b.yaml --kubernetes --no-wait").fails("belongs to another deployment");
    person.has_values(STATE, &mine);
    assert!(replicas(&person) == 1 && !is_remembered(&person));
    person.types("backup restore b.yaml --kubernetes --no-wait --force").succeeds();
    person.has_values(STATE, &theirs);
    person.has_values(ARCHIVE, &mine);
}

#[tokio::test]
async fn a_large_state_is_restored_over_a_changed_one() {
    let deployment = large().await;
    let person = installed(1);
    person.puts(STATE, &deployment.values(2));
    person.types("backup create --kubernetes b.yaml").succeeds();
    person.puts(STATE, &deployment.values(3));
    person.types("backup restore b.yaml --kubernetes --no-wait --force").succeeds();
    person.has_values(STATE, &deployment_values(&person));
}

#[tokio::test]
async fn a_fresh_cluster_gets_its_state_before_its_coordinators() {
    let deployment = ours().await;
    let person = Person::new();
    let fresh = format!("{}-fresh", person.namespace.name());
    // From the file of a Coordinator that was alone.
    person.writes("sealed_data", &deployment.file);
    person.types(&format!("backup restore sealed_data --kubernetes -n {fresh} ")).fails("--create-namespace makes it");
    let said =
        person.types(&format!("backup restore sealed_data --kubernetes --create-namespace -n {fresh} ")).succeeds();
    assert!(said.stdout.contains("marblerun install --distributed-deployment"), "{said:?}");
    let secret =
        person.kubectl(&format!("get secret marblerun-state --namespace {fresh} -o jsonpath={{.data.sealed_data}}"));
    let bytes = marblerun_api::bytes::decode(&secret).unwrap();
    person.writes("restored", &bytes);
    deployment.gives_key_to(&person);
    person.types("backup verify restored --key key.pem").succeeds();
    person.plane.kubectl(["delete", "namespace", &fresh, "--wait=false"]).unwrap().ok().unwrap();
}

/// Its pod does not end, as on a node that does not answer.
#[tokio::test]
async fn a_restore_that_was_interrupted_is_finished_by_running_it_again() {
    let deployment = ours().await;
    let person = installed(3);
    let (old, new) = (deployment.values(5), deployment.values(6));
    person.puts(STATE, &old);
    person.types("backup create --kubernetes b.yaml").succeeds();
    person.puts(STATE, &new);
    let labels = person.get("deployment/marblerun-coordinator")["spec"]["selector"]["matchLabels"].clone();
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "stuck", "labels": labels, "finalizers": ["example.com/stuck"]},
        "spec": {"containers": [{"name": "coordinator", "image": "i"}]}});
    person.applies(&pod);
    let line = "backup restore b.yaml --kubernetes --force --no-wait --timeout 3";
    let said = person.types(line).fails("pods have not ended (stuck");
    assert!(said.stderr.contains("starts 3 again"), "{said:?}");
    person.has_values(STATE, &new);
    assert!(replicas(&person) == 0 && is_remembered(&person));

    person.kubectl("patch pod stuck --type=merge -p {\"metadata\":{\"finalizers\":null}}");
    person.kubectl("delete pod stuck --ignore-not-found --grace-period=0 --force");
    // Interrupted later, too: archived and deleted, and the new one not made.
    let restored = person.types(&line.replace("--timeout 3", "--timeout 60")).succeeds();
    assert!(restored.stderr.contains("a restore was interrupted here"), "{restored:?}");
    person.has_values(STATE, &old);
    assert!(replicas(&person) == 3 && !is_remembered(&person));

    person.kubectl("annotate deployment marblerun-coordinator marblerun/replicas-before-restore=3");
    person.kubectl("scale deployment marblerun-coordinator --replicas=0");
    person.kubectl("delete secret marblerun-state");
    person.types(&line.replace("--timeout 3", "--timeout 60")).succeeds();
    person.has_values(STATE, &old);
    person.has_values(ARCHIVE, &new);
    assert!(!person.has("secret/marblerun-state-archive-1"));
    assert!(replicas(&person) == 3 && !is_remembered(&person));
}

#[tokio::test]
async fn what_was_scaled_to_nothing_stays_so_and_by_hand_nothing_is_scaled() {
    let deployment = ours().await;
    let person = installed(2);
    person.puts(STATE, &deployment.values(5));
    person.types("backup create --kubernetes b.yaml").succeeds();
    person.kubectl("delete secret marblerun-state");
    let refused = person.types("backup restore b.yaml --kubernetes --no-scale");
    refused.fails("scale deployment/marblerun-coordinator --replicas=0");
    assert!(!person.has("secret/marblerun-state"));
    person.kubectl("scale deployment marblerun-coordinator --replicas=0");
    person.kubectl("wait --for=delete pods -l app.kubernetes.io/name=coordinator --timeout=60s");
    let said = person.types("backup restore b.yaml --kubernetes --no-scale").succeeds();
    assert!(said.stdout.contains("Start the Coordinators now"), "{said:?}");
    person.kubectl("delete secret marblerun-state");
    let said = person.types("backup restore b.yaml --kubernetes").succeeds();
    assert!(said.stdout.contains("there are none now"), "{said:?}");
    assert_eq!(replicas(&person), 0);
}

#[tokio::test]
async fn without_room_for_what_it_replaces_nothing_is_stopped() {
    let deployment = ours().await;
    let person = installed(2);
    person.puts(STATE, &deployment.values(5));
    person.types("backup create --kubernetes b.yaml").succeeds();
    person.puts(STATE, &deployment.values(6));
    for place in 0..5 {
        person.puts(&format!("marblerun-state-archive-{place}"), &[("sealed_data", vec![place])].into());
    }
    let line = "backup restore b.yaml --kubernetes --no-wait --force";
    person.types(line).fails("delete secret marblerun-state-archive-0");
    assert!(replicas(&person) == 2 && !is_remembered(&person));
    person.kubectl("annotate secret marblerun-state-archive-3 marblerun/archive-time=2020-01-01T00:00:00Z");
    person.types(line).succeeds();
    person.has_values("marblerun-state-archive-3", &deployment_values_of(&person, 6).await);
}

async fn deployment_values_of(person: &Person, sequence: u64) -> crate::sealed::Values {
    let values = person.values("marblerun-state-archive-3");
    person.writes("a", &values["sealed_data"]);
    assert_eq!(person.types("backup inspect a -o json").succeeds().json()["sequence"], sequence);
    [("sealed_data", values["sealed_data"].clone()), ("sealed_key", values["sealed_key"].clone())].into()
}

#[tokio::test]
async fn a_key_for_the_backup_that_is_there_stays_and_hosts_that_have_it_are_told() {
    let deployment = ours().await;
    let person = installed(1);
    let values = deployment.values(5);
    person.puts(STATE, &deployment.values(6));
    person.writes("sealed_data", &values["sealed_data"]);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "marblerun-sealed-kek"},
        "binaryData": {deployment.entry(): "AQ==", format!("{}.{}.{}", "0".repeat(32), "1".repeat(32), "2".repeat(16)): "AQ=="}});
    person.applies(&map);
    let said = person.types("backup restore sealed_data --kubernetes --no-wait --force -o json").succeeds().json();
    assert_eq!(said["hostsWithKey"], 1);
    let restored = person.values(STATE);
    assert_eq!(restored["sealed_data"], values["sealed_data"]);
    assert!(restored.contains_key("sealed_key"), "the data encryption key is the same, so the key that was there fits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinators_that_do_not_come_back_in_time_are_told_and_the_backup_is_in_place() {
    let deployment = ours().await;
    let person = installed(1);
    let old = deployment.values(5);
    person.puts(STATE, &old);
    person.types("backup create --kubernetes b.yaml").succeeds();
    person.puts(STATE, &deployment.values(8));
    let late = person.begins("backup restore b.yaml --kubernetes --force --timeout 3");
    let said = tokio::task::block_in_place(|| Person::ends(late)).fails("not ready in time");
    assert!(said.stdout.contains("The Coordinators are starting"), "it is in place: {said:?}");
    person.has_values(STATE, &old);
}
