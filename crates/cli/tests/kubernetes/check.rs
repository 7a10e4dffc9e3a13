//! Waiting, and hearing why it takes long.

use serde_json::json;

use crate::person::{COORDINATORS, INJECTORS, Person};

#[test]
fn what_is_not_installed_is_told_and_is_no_failure() {
    let person = Person::new();
    let said = person.types("check").succeeds();
    assert_eq!(
        said.stdout,
        "marble-injector is not installed on this cluster\nmarblerun-coordinator is not installed on this cluster\n"
    );
    assert_eq!(person.types("check --exit-code").code, 3);
}

#[test]
fn a_coordinator_that_gets_ready_late_is_waited_for_and_one_that_does_not_fails() {
    let person = Person::new();
    person.installs("--disable-auto-injection").succeeds();
    let said = person.types("check --timeout 1");
    assert_eq!(said.code, 1);
    assert!(
        said.stderr.contains("deployment marblerun-coordinator was not ready after 1 seconds (0/1 pods available)"),
        "{said:?}"
    );
    let child = person.begins("check --timeout 240");
    person.makes_ready(COORDINATORS, 1);
    let said = Person::ends(child).succeeds();
    assert!(said.stdout.ends_with("marblerun-coordinator pods ready: 1/1\n"), "{said:?}");
    // What is ready at the last look is ready.
    person.types("check --timeout 0").succeeds();
    person.kubectl("scale deployment/marblerun-coordinator --replicas 0");
    person.types("check --timeout 60").fails("is scaled to 0");
    assert_eq!(person.types("check --timeout 60 -o json").json()["error"]["kind"], "conflict");
}

#[test]
fn why_pods_do_not_start_is_told_while_waiting() {
    let person = Person::new();
    person.installs("").succeeds();
    let why = "0/3 nodes are available: 3 Insufficient sgx.intel.com/epc.";
    let unschedulable = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}]);
    person.says_of_pods(COORDINATORS, 1, &json!({"conditions": unschedulable}));
    let waiting = json!([{
        "name": "marble-injector", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ErrImagePull", "message": "no such host"}},
    }]);
    person.says_of_pods(INJECTORS, 1, &json!({"containerStatuses": waiting}));
    let said = person.types("install --values values.yaml --timeout 5").fails("everything is installed, but not ready");
    for told in [
        why,
        "'marblerun precheck' tells",
        "container marble-injector: ErrImagePull: no such host",
        "check --repository",
    ] {
        assert!(said.stderr.contains(told), "{told:?}: {said:?}");
    }
    assert!(!said.stdout.contains("installed successfully"), "{said:?}");
}
