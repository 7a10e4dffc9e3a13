//! What is particular to a Secret: what others put into it, how they make it, and what they forbid.

use marblerun_store::cluster::conformance::{content, holds, object};
use marblerun_store::cluster::{Content, SharedPlace as _, WriteFailure};
use marblerun_testkit::kube::{ControlPlane, Role};
use serde_json::json;

use crate::lab::{KubeLab, by_kubeconfig};

const NAME: &str = "marblerun-state";

#[test]
fn keys_labels_annotations_and_type_of_others_survive_creation_over_them_and_every_write() {
    let lab = KubeLab::new(Role::Ours);
    let foreign = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "example.com/other",
        "metadata": {
            "name": NAME, "labels": {"team": "a"}, "annotations": {"example.com/note": "b"},
            "finalizers": ["example.com/guard"],
        },
        "data": {"other": "AAEC"},
    });
    lab.apply(&["create", "-f", "-"], &foreign);
    let mut place = lab.instance(1);
    assert_eq!(object(&mut place).foreign_bytes, 3);
    let made = place.create(&content(1, 500)).unwrap();
    place.replace(&made, &content(2, 500)).unwrap();
    let now = lab.secret(NAME);
    assert_eq!(now["type"], foreign["type"]);
    assert_eq!(now["data"]["other"], "AAEC");
    for kept in ["labels", "finalizers"] {
        assert_eq!(now["metadata"][kept], foreign["metadata"][kept]);
    }
    let annotations = &now["metadata"]["annotations"];
    assert_eq!(annotations["example.com/note"], "b");
    assert_eq!(annotations["marblerun/sequence"], "2");
    assert_eq!(annotations["marblerun/deployment"], hex::encode([2; 16]));
    assert_eq!(annotations["marblerun/format"], "1");
    assert!(annotations["marblerun/manifest"].is_null());
    lab.kubectl(&["patch", "secret", NAME, "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]);
}

#[test]
fn a_new_secret_is_opaque_and_tells_who_wrote_it() {
    let lab = KubeLab::new(Role::Ours);
    let mut place = lab.instance(0xab);
    let version = place.create(&content(1, 500)).unwrap();
    let now = lab.secret(NAME);
    assert_eq!((&now["type"], &now["metadata"]["labels"]), (&json!("Opaque"), &json!(null)));
    let writer = object(&mut place).last_writer;
    assert!(writer.starts_with(&format!("marblerun-{}", "ab".repeat(16))), "{writer}");
    place.replace(&version, &content(2, 500)).unwrap();
    lab.kubectl(&["patch", "secret", NAME, "-p", r#"{"data":{"sealed_data":"AAAA"}}"#]);
    let writer = object(&mut place).last_writer;
    assert!(writer.starts_with("kubectl"), "{writer}");
}

#[test]
fn an_applied_backup_leaves_no_old_copy_of_the_state_after_the_next_write() {
    let lab = KubeLab::new(Role::Ours);
    let mut place = lab.instance(1);
    place.create(&content(1, 500)).unwrap();
    let backup = lab.kubectl(&["get", "secret", NAME, "-o", "yaml"]);
    lab.kubectl(&["delete", "secret", NAME]);
    lab.namespace.kubectl_with_input(["apply", "-f", "-"], &backup).unwrap().ok().unwrap();
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    assert!(lab.secret(NAME)["metadata"]["annotations"][annotation].as_str().unwrap().contains("sealed_data"));
    let there = object(&mut place);
    assert!(holds(&there, &content(1, 500)));
    place.replace(&there.version, &content(2, 500)).unwrap();
    assert!(lab.secret(NAME)["metadata"]["annotations"][annotation].is_null());
}

#[test]
fn a_backup_restored_by_replace_force_is_another_object() {
    let lab = KubeLab::new(Role::Ours);
    let mut place = lab.instance(1);
    let first = place.create(&content(1, 500)).unwrap();
    let backup = lab.kubectl(&["get", "secret", NAME, "-o", "yaml"]);
    let second = place.replace(&first, &content(2, 500)).unwrap();
    lab.namespace.kubectl_with_input(["replace", "--force", "-f", "-"], &backup).unwrap().ok().unwrap();
    let found = place.version().unwrap().unwrap();
    assert_ne!(found.uid, second.uid);
    let answer = place.replace(&second, &content(3, 500));
    assert!(matches!(answer, Err(WriteFailure::InDoubt { conflict: true, .. })), "{answer:?}");
    assert!(holds(&object(&mut place), &content(1, 500)));
}

#[test]
fn an_immutable_secret_says_so_and_refuses() {
    let lab = KubeLab::new(Role::Ours);
    let mut place = lab.instance(1);
    let version = place.create(&content(1, 500)).unwrap();
    lab.kubectl(&["patch", "secret", NAME, "-p", r#"{"immutable":true}"#]);
    let there = object(&mut place);
    assert!(there.immutable);
    assert_ne!(there.version, version);
    let answer = place.replace(&there.version, &content(2, 500));
    assert!(matches!(&answer, Err(WriteFailure::Refused(why)) if why.contains("immutable")), "{answer:?}");
}

#[test]
fn the_same_creation_again_is_no_conflict_but_another_one_of_the_same_process_is() {
    let lab = KubeLab::new(Role::Ours);
    let made = lab.instance(1).create(&content(1, 500)).unwrap();
    // As after an answer that was lost: the handle does not know.
    assert_eq!(lab.instance(1).create(&content(1, 500)), Ok(made));
    let other = lab.instance(1).create(&content(2, 500));
    assert!(matches!(other, Err(WriteFailure::InDoubt { conflict: true, .. })), "{other:?}");
}

#[test]
fn a_creation_that_comes_late_does_not_undo_what_the_same_process_wrote_since() {
    for role in [Role::Ours, Role::Upstream] {
        let lab = KubeLab::new(role);
        let mut place = lab.instance(1);
        let made = place.create(&content(1, 500)).unwrap();
        place.replace(&made, &content(2, 500)).unwrap();
        let late = lab.instance(1).create(&content(1, 500));
        assert!(matches!(late, Err(WriteFailure::InDoubt { conflict: true, .. })), "{late:?}");
        assert!(holds(&object(&mut place), &content(2, 500)));
    }
}

#[test]
fn many_writers_leave_a_short_list_of_managers() {
    let lab = KubeLab::new(Role::Ours);
    lab.instance(0).create(&content(0, 500)).unwrap();
    for instance in 1..16 {
        let mut place = lab.instance(instance);
        let base = object(&mut place).version;
        place.replace(&base, &content(instance, 500)).unwrap();
    }
    let managers = lab.secret(NAME)["metadata"]["managedFields"].as_array().unwrap().len();
    assert!(managers <= 12, "{managers}");
    assert!(object(&mut lab.instance(1)).last_writer.starts_with(&format!("marblerun-{}", hex::encode([15; 16]))));
}

#[test]
fn what_does_not_fit_beside_the_values_of_others_is_too_large() {
    let lab = KubeLab::new(Role::Ours);
    let mut place = lab.instance(1);
    place.create(&content(1, 500)).unwrap();
    let other = "A".repeat(40_000);
    lab.kubectl(&["patch", "secret", NAME, "-p", &json!({"stringData": {"other": other}}).to_string()]);
    let there = object(&mut place);
    assert_eq!(there.foreign_bytes, 40_000);
    let most = place.limits().object_bytes - there.foreign_bytes;
    let large = |size| Content { sealed_key: None, ..content(3, size) };
    let answer = place.replace(&there.version, &large(most + 1));
    assert!(matches!(answer, Err(WriteFailure::TooLarge(_))), "{answer:?}");
    place.replace(&there.version, &large(most)).unwrap();
}

#[test]
fn a_namespace_that_is_not_there_is_named() {
    let plane = ControlPlane::shared().unwrap();
    let lab = KubeLab::new(Role::Ours);
    let config = marblerun_kubernetes::KubernetesConfig {
        access: by_kubeconfig(&plane.kubeconfig()),
        names: crate::lab::names("no-such-namespace"),
        boot: marblerun_state::BootId([1; 16]),
        pod: None,
    };
    let kubernetes = lab.runtime.block_on(marblerun_kubernetes::Kubernetes::connect(config)).unwrap();
    let mut place = kubernetes.place();
    assert_eq!(place.read(), Ok(None));
    let answer = place.create(&content(1, 500));
    assert!(matches!(&answer, Err(WriteFailure::Refused(why)) if why.contains("no-such-namespace")), "{answer:?}");
}
