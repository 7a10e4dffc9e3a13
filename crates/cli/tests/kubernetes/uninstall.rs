//! Removing, and what stays.

use serde_json::json;

use crate::person::{Person, plane};

const LAST_LINE: &str = "MarbleRun successfully removed from your cluster\n";

fn makes_state(person: &Person) {
    for name in ["marblerun-state", "marblerun-state-archive-0", "marblerun-state-a1", "somebody-elses"] {
        person.kubectl(&format!("create secret generic {name} --from-literal=sealed_data=x"));
    }
    person.kubectl("create configmap marblerun-sealed-kek");
}

#[test]
fn uninstalling_keeps_the_state_and_may_be_done_twice() {
    let person = Person::new();
    person.installs("--distributed-deployment").succeeds();
    makes_state(&person);
    let said = person.types("uninstall").succeeds();
    assert!(said.stdout.ends_with(LAST_LINE), "{said:?}");
    assert!(said.stdout.contains("secret/marblerun-state kept\n"), "{said:?}");
    for gone in [
        "deployment/marblerun-coordinator",
        "service/coordinator-client-api",
        "secret/marble-injector-webhook-certs",
        "role/marblerun-coordinator",
        "serviceaccount/marblerun-coordinator",
        "networkpolicy/marblerun-coordinator",
    ] {
        assert!(!person.has(gone), "{gone}");
    }
    let webhook = format!("mutatingwebhookconfiguration/marble-injector-{}", person.namespace.name());
    assert!(!person.has(&webhook));
    for kept in ["secret/marblerun-state", "secret/marblerun-state-archive-0", "configmap/marblerun-sealed-kek"] {
        assert!(person.has(kept), "{kept}");
    }
    let again = person.types("uninstall").succeeds();
    assert!(again.stdout.ends_with(LAST_LINE) && !again.stdout.contains("removed\n"), "{again:?}");
    // And it comes back to what it had.
    person.installs("--distributed-deployment").succeeds();
    assert!(person.has("secret/marblerun-state"));
}

#[test]
fn the_volume_of_a_single_coordinator_stays_too() {
    let person = Person::new();
    person.installs("").succeeds();
    person.types("uninstall").succeeds();
    assert!(person.has("pvc/coordinator-pv-claim") && !person.has("deployment/marblerun-coordinator"));
}

#[test]
fn the_state_is_deleted_only_if_that_is_said_and_meant() {
    let person = Person::new();
    person.installs("--distributed-deployment").succeeds();
    makes_state(&person);
    person.types("uninstall --delete-state").fails("--delete-state needs --yes");
    assert!(person.has("deployment/marblerun-coordinator"), "nothing was done");
    let said = person.types("uninstall --delete-state --yes").succeeds();
    assert!(said.stdout.contains("secret/marblerun-state-archive-0 removed"), "{said:?}");
    for gone in [
        "secret/marblerun-state",
        "secret/marblerun-state-archive-0",
        "secret/marblerun-state-a1",
        "configmap/marblerun-sealed-kek",
    ] {
        assert!(!person.has(gone), "{gone}");
    }
    assert!(person.has("secret/somebody-elses"));
    assert!(plane().kubectl(["get", "namespace", person.namespace.name()]).unwrap().is_ok(), "it was there before");
}

#[test]
fn a_namespace_that_was_made_goes_with_the_state_if_nobody_else_is_in_it() {
    let person = Person::new();
    let install = |namespace: &str| {
        let line = "install --repository r.example/m --no-wait --disable-auto-injection -n";
        person.types(&format!("{line} {namespace}")).succeeds();
    };
    let uninstall =
        |namespace: &str| person.types(&format!("uninstall --delete-state --yes -n {namespace}")).succeeds().stdout;
    install("made-by-install");
    install("shared-with-others");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs", "namespace": "shared-with-others"}});
    person.plane.kubectl_with_input(["apply", "-f", "-"], &map.to_string()).unwrap().ok().unwrap();
    assert!(uninstall("made-by-install").contains("namespace/made-by-install removed"));
    assert!(!uninstall("shared-with-others").contains("namespace/shared-with-others removed"));
    assert!(person.plane.kubectl(["get", "namespace", "shared-with-others"]).unwrap().is_ok());
}

#[test]
fn what_somebody_else_made_is_left() {
    let person = Person::new();
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "marblerun-coordinator"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "coordinator", "image": "i"}]}}}});
    person.applies(&deployment);
    let said = person.types("uninstall").succeeds();
    assert!(said.stderr.contains("was not made by 'marblerun install'"), "{said:?}");
    assert!(person.has("deployment/marblerun-coordinator"));
}
