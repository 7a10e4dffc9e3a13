//! Where something of MarbleRun is already: the original's objects, a Helm release, what others have set.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::person::Person;

/// Objects of the original's chart, in this namespace.
fn objects_of_the_original(person: &Person, file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/tests/fixtures/chart/upstream-1.9.1").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let authority = BASE64_STANDARD.encode(person.plane.ca_pem().unwrap());
    let text = text.replace("NAMESPACE", person.namespace.name()).replace("CA_BUNDLE", &authority);
    person.namespace.kubectl_with_input(["apply", "-f", "-"], &text).unwrap().ok().unwrap();
}

#[test]
fn the_originals_objects_are_taken_over_only_by_force_and_the_state_stays() {
    for (file, flags) in [("single.yaml", ""), ("distributed.yaml", "--distributed-deployment")] {
        let person = Person::new();
        objects_of_the_original(&person, file);
        person.kubectl("create secret generic marblerun-state --from-literal=sealed_data=x");
        let before = person.get("deployment/marblerun-coordinator");
        let said = person.installs(flags).fails("nothing was changed");
        assert!(
            said.stderr.contains("Deployment marblerun-coordinator: spec.")
                && said.stderr.contains("--force-conflicts"),
            "{said:?}"
        );
        assert_eq!(person.get("deployment/marblerun-coordinator")["spec"], before["spec"]);
        person.installs(&format!("{flags} --force-conflicts")).succeeds();
        let after = person.get("deployment/marblerun-coordinator");
        assert_eq!(after["spec"]["selector"], before["spec"]["selector"]);
        assert!(person.has("secret/marblerun-state"));
        if flags.is_empty() {
            // Which the API server refuses beside what it had filled in.
            assert_eq!(after["spec"]["strategy"], json!({"type": "Recreate"}));
            assert!(person.has("pvc/coordinator-pv-claim"));
        }
        let again = person.installs(flags).succeeds();
        assert!(!again.stdout.contains(" changed") && !again.stdout.contains(" created"), "{again:?}");
        // The webhook of the original sees pods of all namespaces, those of other tests, too.
        person.types("uninstall").succeeds();
    }
}

#[test]
fn an_installation_of_helm_is_left_to_helm() {
    let person = Person::new();
    // As Helm keeps its releases.
    for (version, status) in [("1", "superseded"), ("2", "deployed")] {
        person.applies(&json!({
            "apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
            "metadata": {
                "name": format!("sh.helm.release.v1.marblerun.v{version}"),
                "labels": {"owner": "helm", "name": "marblerun", "version": version, "status": status},
            },
        }));
    }
    let namespace = person.namespace.name().to_owned();
    let said = person.installs("").fails("Helm keeps this installation up to date (release \"marblerun\", revision 2");
    assert!(said.stderr.contains(&format!("helm upgrade marblerun CHART -n {namespace}")), "{said:?}");
    person.installs("--dry-run").fails("Helm keeps");
    person.types("uninstall").fails(&format!("'helm uninstall marblerun -n {namespace}'"));
    assert!(!person.has("serviceaccount/marblerun-coordinator"));
    // A release that is gone, of which Helm keeps the history, is none.
    let gone = r#"{"metadata":{"labels":{"status":"uninstalled"}}}"#;
    let patch = ["patch", "secret", "sh.helm.release.v1.marblerun.v2", "-p", gone];
    person.namespace.kubectl(patch).unwrap().ok().unwrap();
    person.installs("").succeeds();
}

#[test]
fn what_others_set_is_told_field_by_field_and_taken_over_by_force() {
    let person = Person::new();
    person.installs("").succeeds();
    let image = "set image deployment/marblerun-coordinator coordinator=mine:1";
    person.kubectl(image);
    let said = person.installs("").fails("others have set fields");
    assert!(said.stderr.contains("image") && said.stderr.contains("kubectl-set"), "{said:?}");
    let trial = person.installs("--dry-run --force-conflicts").succeeds();
    assert!(trial.stdout.contains("image: mine:1 -> r.example/m/coordinator:v0.1.0"), "{trial:?}");
    person.installs("--force-conflicts").succeeds();
    assert!(!person.kubectl("get deployment/marblerun-coordinator -o yaml").contains("mine:1"));
}

#[test]
fn a_webhook_certificate_that_nobody_vouches_for_is_replaced_and_a_good_one_of_others_is_not_touched() {
    let person = Person::new();
    person.kubectl(
        "create secret generic marble-injector-webhook-certs --from-literal=tls.crt=x --from-literal=tls.key=y",
    );
    let said = person.installs("").succeeds();
    assert!(said.stdout.contains("Done (its certificate was of no use"), "{said:?}");
    let data = person.get("secret/marble-injector-webhook-certs")["data"].clone();
    assert!(data["ca.crt"].is_string());
    // Somebody takes our label off: it is theirs now, and good.
    person.kubectl("label secret/marble-injector-webhook-certs app.kubernetes.io/managed-by-");
    let said = person.installs("").succeeds();
    assert!(said.stdout.contains("Done (its certificate is good until"), "{said:?}");
    assert!(!said.stdout.contains("secret/marble-injector-webhook-certs"), "{said:?}");
    assert_eq!(person.get("secret/marble-injector-webhook-certs")["data"], data);
    let webhook = person.get(&format!("mutatingwebhookconfiguration/marble-injector-{}", person.namespace.name()));
    assert_eq!(webhook["webhooks"][0]["clientConfig"]["caBundle"], data["ca.crt"]);
}
