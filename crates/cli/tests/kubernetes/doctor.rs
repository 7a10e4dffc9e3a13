//! Finding what is wrong.

use serde_json::{Value, json};

use crate::person::{COORDINATORS, INJECTORS, Person};

struct Findings(Value);

impl Findings {
    fn of(person: &Person) -> (Self, i32) {
        let said = person.types("doctor --output json");
        (Self(said.json()), said.code)
    }

    /// Levels of a check, in their order.
    fn levels(&self, check: &str) -> Vec<String> {
        let all = self.0["findings"].as_array().unwrap();
        let of_check = all.iter().filter(|finding| finding["check"] == check);
        of_check.map(|finding| finding["level"].as_str().unwrap().to_owned()).collect()
    }

    fn text(&self) -> String {
        self.0.to_string()
    }
}

#[test]
fn a_cluster_without_an_installation_is_told_to_have_none() {
    let person = Person::new();
    let (found, code) = Findings::of(&person);
    assert_eq!(code, 1);
    assert_eq!(found.levels("coordinator"), ["fail"]);
    for fine in ["cluster", "clock", "rights", "injector"] {
        assert_eq!(found.levels(fine), ["ok"], "{fine}: {}", found.text());
    }
    let said = person.types("doctor");
    assert!(
        said.stdout.contains("FAIL  coordinator   deployment marblerun-coordinator is not in namespace"),
        "{said:?}"
    );
    assert!(said.stdout.contains("-> 'marblerun install' makes it"), "{said:?}");
}

#[test]
fn a_distributed_installation_is_examined_from_pods_to_state() {
    let person = Person::new();
    person.installs("--distributed-deployment --replicas 2").succeeds();
    let (found, code) = Findings::of(&person);
    assert_eq!(code, 1);
    assert_eq!(found.levels("installation"), ["ok"]);
    assert_eq!(found.levels("coordinator"), ["fail"]);
    assert_eq!(found.levels("state"), ["warn"], "there is none yet");
    assert_eq!(found.levels("keys"), ["warn"]);
    // A certificate that is trusted, nobody behind the Service, pods that are refused.
    assert_eq!(found.levels("webhook"), ["ok", "fail", "fail"], "{}", found.text());
    assert!(found.text().contains("failed calling webhook"), "{}", found.text());

    person.makes_ready(COORDINATORS, 2);
    person.makes_ready(INJECTORS, 1);
    person.kubectl("create secret generic marblerun-state --from-literal=sealed_data=x");
    person.applies(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "marblerun-sealed-kek"},
        "binaryData": {"0": "AA==", "1": "AA=="}}));
    person.types("check --timeout 120").succeeds();
    let (found, _) = Findings::of(&person);
    for fine in ["coordinator", "injector", "state", "keys", "network", "evictions"] {
        assert_eq!(found.levels(fine), ["ok"], "{fine}: {}", found.text());
    }
    person.kubectl("delete networkpolicy/marblerun-coordinator pdb/marblerun-coordinator");
    person.kubectl("delete secret/marble-injector-webhook-certs");
    let (found, _) = Findings::of(&person);
    assert_eq!(
        (found.levels("network"), found.levels("evictions")),
        (vec!["warn".to_owned()], vec!["warn".to_owned()])
    );
    assert_eq!(found.levels("webhook").first().unwrap(), "fail", "{}", found.text());
}

#[test]
fn a_single_installation_in_simulation_is_told_to_be_one_and_its_volume_is_looked_at() {
    let person = Person::new();
    person.installs("--simulation --disable-auto-injection").succeeds();
    let (found, _) = Findings::of(&person);
    assert_eq!(found.levels("protection"), ["warn"]);
    assert_eq!(found.levels("state"), ["fail"], "no storage class: {}", found.text());
    let name = format!("volume-of-{}", person.namespace.name());
    person.applies(&json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/nowhere"},
        "persistentVolumeReclaimPolicy": "Delete",
        "claimRef": {"namespace": person.namespace.name(), "name": "coordinator-pv-claim"},
    }}));
    person.kubectl("wait pvc/coordinator-pv-claim --for=jsonpath={.status.phase}=Bound --timeout=120s");
    let (found, _) = Findings::of(&person);
    assert_eq!(found.levels("state"), ["ok", "warn"], "it would be deleted with its claim: {}", found.text());
}

#[test]
fn who_may_see_little_is_told_what_could_not_be_looked_at() {
    let person = Person::new();
    person.installs("--distributed-deployment").succeeds();
    let account = person.namespace.service_account(marblerun_testkit::kube::Role::Ours).unwrap();
    let said = person.types_as(&account.kubeconfig, "doctor -o json");
    let found = Findings(said.json());
    assert_eq!(found.levels("rights"), ["warn"], "{}", found.text());
    assert!(found.text().contains("deployments (get, create, patch, delete)"), "{}", found.text());
    assert_eq!(found.levels("installation"), ["warn"], "{}", found.text());
}
