//! Backups of a state in a Secret: what `kubectl` and `marblerun` make of them.

use serde_json::{Value, json};

use crate::person::Person;
use crate::sealed::{large, object, ours};

const STATE: &str = "marblerun-state";

#[tokio::test]
async fn a_backup_is_a_file_that_kubectl_applies_and_replaces_unchanged() {
    let deployment = ours().await;
    let person = Person::new();
    let values = deployment.values(5);
    person.puts(STATE, &values);
    // By hand, and noted by kubectl: an old copy of the whole state.
    let mine = "annotate secret marblerun-state mine=yes marblerun/sequence=5 marblerun/manifest=123456e78 \
                kubectl.kubernetes.io/last-applied-configuration={}";
    person.kubectl(mine);
    std::fs::create_dir(person.path("b")).unwrap();
    let said = person.types("backup create --kubernetes b").succeeds();
    assert!(said.stdout.contains("sequence 5 of 2027-01-15T08:00:00.005Z"), "{said:?}");
    let file = person.only_file("b");
    assert!(file.contains("/marblerun-state.") && file.ends_with("Z.5.yaml"), "{file}");
    let text = std::fs::read_to_string(&file).unwrap();
    for added in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "last-applied"] {
        assert!(!text.contains(added), "{added}: {text}");
    }

    person.kubectl("delete secret marblerun-state");
    person.kubectl(&format!("apply -f {file}"));
    person.has_values(STATE, &values);
    let annotations = person.get("secret/marblerun-state")["metadata"]["annotations"].clone();
    assert_eq!((&annotations["mine"], &annotations["marblerun/manifest"]), (&json!("yes"), &json!("123456e78")));

    person.puts(STATE, &deployment.values(9));
    person.kubectl(&format!("replace --force -f {file}"));
    person.has_values(STATE, &values);

    person.types("backup create --kubernetes b/marblerun-state.yaml").succeeds();
    person.types("backup create --kubernetes b/marblerun-state.yaml").fails("exists");
    let listed = person.types("backup list b -o json").succeeds().json();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
}

#[tokio::test]
async fn what_kubectl_saved_and_a_bare_file_are_backups_as_well() {
    let deployment = ours().await;
    let person = Person::new();
    deployment.gives_key_to(&person);
    let values = deployment.values(6);
    person.puts(STATE, &values);
    person.types("backup create --kubernetes ours.yaml").succeeds();
    person.writes("kubectl.yaml", person.kubectl("get secret marblerun-state -o yaml").as_bytes());
    person.writes("kubectl.json", person.kubectl("get secret marblerun-state -o json").as_bytes());
    person.writes("list.yaml", person.kubectl("get secrets -o yaml").as_bytes());
    person.writes("sealed_data", &values["sealed_data"]);
    let inspect = |file: &str| person.types(&format!("backup inspect {file} -o json")).succeeds().json();
    let of_ours = inspect("ours.yaml");
    assert_eq!((&of_ours["sequence"], &of_ours["condition"]), (&json!(6), &json!("whole")));
    assert_eq!(of_ours["secret"]["name"], STATE);
    assert_eq!((&of_ours["secret"]["keyIsForIt"], &of_ours["secret"]["kubectlApply"]), (&json!(true), &json!(true)));
    for file in ["ours.yaml", "kubectl.yaml", "kubectl.json", "list.yaml", "sealed_data"] {
        let mut told = inspect(file);
        assert_eq!(told["recovery"][0]["parties"][0]["name"], "alice");
        told["path"] = of_ours["path"].clone();
        if file == "sealed_data" {
            told["secret"] = of_ours["secret"].clone();
        }
        assert_eq!(told, of_ours, "{file}");
        let said = person.types(&format!("backup verify {file} --key key.pem")).succeeds();
        assert!(said.stdout.contains("a Coordinator would accept these keys: alice"), "{said:?}");
        let said = person.types(&format!("state inspect {file} --key key.pem -o json")).succeeds().json();
        assert_eq!(said["contents"]["phase"], "running");
    }
    let said = person.types("backup inspect ours.yaml").succeeds();
    assert!(said.stdout.contains("kubectl apply          works"), "{said:?}");

    let mut damaged = values.clone();
    damaged.get_mut("sealed_data").unwrap()[5000] ^= 1;
    person.writes("damaged.json", object(STATE, &damaged).to_string().as_bytes());
    person.types("backup inspect damaged.json").fails("not a backup that can be restored");
    person.types("backup verify damaged.json --key key.pem").fails("damaged.json");
    person.puts(STATE, &damaged);
    person.types("backup create --kubernetes no.yaml").fails("No backup was made of it");
    assert!(!person.path("no.yaml").exists());
}

#[tokio::test]
async fn a_backup_taken_during_commits_has_everything_that_was_acknowledged_before_it() {
    let deployment = ours().await;
    let person = Person::new();
    person.puts(STATE, &deployment.values(1));
    let acknowledged = std::sync::atomic::AtomicU64::new(1);
    let done = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::SeqCst;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sequence = 1;
            while !done.load(order) {
                sequence += 1;
                person.puts(STATE, &deployment.values(sequence));
                acknowledged.store(sequence, order);
            }
        });
        let mut last = 0;
        for number in 0..8 {
            let before = acknowledged.load(order);
            let told = person.types(&format!("backup create --kubernetes {number}.yaml -o json")).succeeds().json();
            assert_eq!(told["condition"], "whole");
            let sequence = told["sequence"].as_u64().unwrap();
            assert!(sequence >= before && sequence >= last, "{sequence} after {before}");
            last = sequence;
        }
        done.store(true, order);
    });
}

#[tokio::test]
async fn where_kubectl_apply_would_fail_the_backup_says_so_and_replace_force_does_not() {
    let deployment = large().await;
    let person = Person::new();
    let values = deployment.values(2);
    assert!(values["sealed_data"].len() > 262_144);
    person.puts(STATE, &values);
    let said = person.types("backup create --kubernetes large.yaml").succeeds();
    assert!(said.stderr.contains("'kubectl apply' cannot restore this backup"), "{said:?}");
    let told = person.types("backup inspect large.yaml -o json").succeeds().json();
    assert_eq!(told["secret"]["kubectlApply"], false);
    person.kubectl("delete secret marblerun-state");
    let large = person.path("large.yaml").display().to_string();
    let refused = person.namespace.kubectl(["apply", "-f", &large]).unwrap();
    assert!(refused.stderr.contains("Too long"), "{refused:?}");
    person.kubectl(&format!("replace --force -f {large}"));
    person.has_values(STATE, &values);
}

/// At the edge: the very size that the API server takes, and one byte more.
#[tokio::test]
async fn whether_kubectl_apply_works_is_foretold_to_the_byte() {
    let person = Person::new();
    let mut values = ours().await.values(3);
    // Base64 grows by 4 for 3 bytes: what is left is made up for by an annotation, whose bytes count in both places.
    values.insert("padding", vec![7; 180_000]);
    let of = |padding: usize, annotation: usize| {
        let mut values = values.clone();
        values.insert("padding", vec![7; padding]);
        let mut object = object(STATE, &values);
        object["metadata"]["namespace"] = person.namespace.name().into();
        object["metadata"]["annotations"] = json!({"a": "x".repeat(annotation)});
        person.writes("edge.json", object.to_string().as_bytes())
    };
    let foretold = |file: &str| -> bool {
        let told: Value = person.types(&format!("backup inspect {file} -o json")).succeeds().json();
        told["secret"]["kubectlApply"].as_bool().unwrap()
    };
    let edge = (0..400_000).step_by(3);
    let edge: Vec<usize> = edge.collect();
    let largest = edge.partition_point(|padding| foretold(&of(*padding, 1)));
    let mut checked = 0;
    for annotation in 1..=4 {
        for padding in [edge[largest - 1], edge[largest]] {
            let file = of(padding, annotation);
            let applied = person.namespace.kubectl(["apply", "-f", &file]).unwrap();
            assert_eq!(applied.is_ok(), foretold(&file), "{padding} {annotation}: {applied:?}");
            checked += usize::from(applied.is_ok());
            let _ = person.namespace.kubectl(["delete", "secret", STATE]).unwrap();
        }
    }
    assert!((1..8).contains(&checked), "both sides of the edge were tried");
}

#[tokio::test]
async fn a_snapshot_in_parts_is_backed_up_and_restored_with_them() {
    let deployment = ours().await;
    let person = Person::new();
    deployment.gives_key_to(&person);
    let (head, parts) = deployment.in_parts(4);
    person.puts(STATE, &head);
    person.types("backup create --kubernetes no.yaml").fails("lies in parts");
    for (number, part) in parts.iter().enumerate() {
        person.puts(&format!("{STATE}-b{}", number + 1), &[("part", part.clone())].into());
    }
    // Of the other bank, which is being written.
    person.puts("marblerun-state-a1", &[("part", b"unfinished".to_vec())].into());
    let told = person.types("backup create --kubernetes parts.yaml -o json").succeeds().json();
    assert_eq!(told["secret"]["parts"], json!(["marblerun-state-b1", "marblerun-state-b2"]));
    assert_eq!((&told["condition"], &told["sequence"]), (&json!("whole"), &json!(4)));
    person.types("backup verify parts.yaml --key key.pem").succeeds();

    person.kubectl("delete secrets --all");
    person.types("backup restore parts.yaml --kubernetes").succeeds();
    person.has_values(STATE, &head);
    person.has_values("marblerun-state-b2", &[("part", parts[1].clone())].into());
    assert!(!person.has("secret/marblerun-state-a1"));
    person.kubectl("delete secrets --all");
    let file = person.path("parts.yaml").display().to_string();
    person.kubectl(&format!("create -f {file}"));
    person.types("backup create --kubernetes again.yaml").succeeds();
}

#[tokio::test]
async fn a_state_goes_to_the_original_as_objects_that_it_starts_from() {
    let deployment = ours().await;
    let person = Person::new();
    deployment.gives_key_to(&person);
    person.puts(STATE, &deployment.values(7));
    person.types("state export --kubernetes --to upstream-kubernetes -o out.yaml").fails("add --key FILE");
    let export = "state export --kubernetes --to upstream-kubernetes --key key.pem";
    let said = person.types(&format!("{export} -o out.yaml")).succeeds();
    assert!(said.stderr.contains("every secret of the deployment"), "{said:?}");
    let file = person.path("out.yaml").display().to_string();
    person.kubectl(&format!("replace --force -f {file}"));
    let values = person.values(STATE);
    assert_eq!(values.keys().collect::<Vec<_>>(), ["sealed_data", "sealed_key"]);
    assert!(values["sealed_data"].starts_with(b"\x04\0\0\0null") && values["sealed_key"].len() == 60);
    let entries = person.get("configmap/marblerun-sealed-kek")["binaryData"].clone();
    let entry = entries["00000000000000000000000000000000"].as_str().unwrap();
    assert_eq!(marblerun_api::bytes::decode(entry).unwrap().len(), 1088);
    // What is there now is upstream's, and known as such.
    let told = person.types("backup create --kubernetes upstream.yaml -o json").succeeds().json();
    assert_eq!(told["condition"], "upstream");

    let said = person.types("state export upstream.yaml --to upstream-kubernetes --key key.pem -o no.yaml");
    said.fails("recovery data");
    person.types(&format!("{export} -o out.yaml")).fails("recovery data");
    person.puts(STATE, &deployment.values(7));
    person.types(&format!("{export} -o out.yaml")).fails("exists");
    person.types(&format!("{export} --no-sealed-key -o bare.yaml")).succeeds();
    let file = person.path("bare.yaml").display().to_string();
    person.kubectl(&format!("replace --force -f {file}"));
    assert_eq!(person.values(STATE).keys().collect::<Vec<_>>(), ["sealed_data"]);
    assert!(person.get("configmap/marblerun-sealed-kek")["binaryData"].is_null());
}

#[test]
fn where_nothing_is_there_is_nothing_to_back_up() {
    let person = Person::new();
    person.types("backup create --kubernetes b").fails("there is no state of MarbleRun in namespace");
    assert!(person.types("backup list --kubernetes").succeeds().stdout.starts_with("no backups in namespace"));
    person.installs("").succeeds();
    person.types("backup create --kubernetes b").fails("no pod with label app.kubernetes.io/name=coordinator runs");
    assert!(!person.path("b").exists());
    for line in [
        "backup create --kubernetes a b",
        "backup create b",
        "backup restore b",
        "backup restore b dir --kubernetes",
        "backup create a b --kube-context x",
        "backup restore b dir --dry-run",
        "backup list",
    ] {
        assert_eq!(person.types(line).code, 1, "{line}");
    }
}
