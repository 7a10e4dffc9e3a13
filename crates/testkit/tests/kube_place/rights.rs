//! Which rights are used, and what is said where they lack.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use marblerun_kubernetes::Access;
use marblerun_store::cluster::conformance::{content, object};
use marblerun_store::cluster::{ArchiveReason, PlaceError, Severity, SharedPlace as _, WriteFailure};
use marblerun_testkit::kube::{ControlPlane, Role};

use crate::lab::{KubeLab, by_kubeconfig};

/// Everything a Coordinator does with its place.
fn everything(lab: &KubeLab) -> marblerun_kubernetes::Kubernetes {
    let kubernetes = lab.kubernetes(1);
    let watched = kubernetes.clone();
    lab.runtime.spawn(async move { watched.watch(|_| {}).await });
    let mut place = kubernetes.place();
    assert_eq!(place.read(), Ok(None));
    assert_eq!(place.version(), Ok(None));
    let made = place.create(&content(1, 500)).unwrap();
    place.replace(&made, &content(2, 500)).unwrap();
    assert!(place.version().unwrap().is_some());
    assert!(place.version().unwrap().is_some());
    let there = object(&mut place);
    for _ in 0..2 {
        place.archive(0, &there, ArchiveReason::Reset).unwrap();
        place.change_entries(&BTreeMap::from([("aa.bb.cc".to_owned(), vec![1])]), &["dd.ee.ff".to_owned()]).unwrap();
    }
    assert_eq!(place.archives().unwrap().len(), 1);
    assert_eq!(place.entries().unwrap().len(), 1);
    place.report(Severity::Normal, "Test", "a test");
    lab.runtime.block_on(kubernetes.discovery().addresses()).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    kubernetes
}

/// Verbs on resources that the account asked for, and those it was refused.
fn asked(lab: &KubeLab) -> (BTreeSet<String>, BTreeSet<String>) {
    let requests = lab.namespace.control_plane().audit_log().requests_of(&lab.account.user).unwrap();
    let of = |refused: bool| {
        let of_kind = requests.iter().filter(|request| (request.code == Some(403)) == refused);
        of_kind
            .map(|request| format!("{} {} {}", request.verb, request.resource, request.name).trim().to_owned())
            .collect()
    };
    (of(false), of(true))
}

#[test]
fn our_role_is_all_that_is_used_and_all_of_it_is_enough() {
    let lab = KubeLab::new(Role::Ours);
    let kubernetes = everything(&lab);
    let (granted, refused) = asked(&lab);
    assert_eq!(refused, BTreeSet::new());
    assert_eq!(kubernetes.refusals().all(), []);
    let archive = |number| format!("get secrets marblerun-state-archive-{number}");
    let mut expected: BTreeSet<String> = [
        "get secrets marblerun-state",
        "list secrets marblerun-state",
        "watch secrets marblerun-state",
        "patch secrets marblerun-state",
        "update secrets marblerun-state",
        "patch secrets marblerun-state-archive-0",
        "update secrets marblerun-state-archive-0",
        "get configmaps marblerun-sealed-kek",
        "list configmaps marblerun-sealed-kek",
        "watch configmaps marblerun-sealed-kek",
        "patch configmaps marblerun-sealed-kek",
        "list endpointslices",
        "watch endpointslices",
        "create events",
    ]
    .map(str::to_owned)
    .into();
    expected.extend((0..5).map(archive));
    assert_eq!(granted, expected);
}

#[test]
fn upstreams_role_is_enough_too_and_what_it_lacks_is_said() {
    let lab = KubeLab::new(Role::Upstream);
    let kubernetes = everything(&lab);
    let said: BTreeSet<_> =
        kubernetes.refusals().all().iter().map(|it| format!("{} {}", it.verb, it.resource)).collect();
    let expected =
        ["list secrets", "watch secrets", "watch configmaps", "watch endpointslices", "patch secrets", "create events"];
    assert_eq!(said, expected.map(str::to_owned).into());
    let requests = lab.namespace.control_plane().audit_log().requests_of(&lab.account.user).unwrap();
    let lists = requests.iter().filter(|request| request.verb == "list" && request.uri.contains("limit=1"));
    assert_eq!(lists.count(), 1, "it is tried once");
}

#[test]
fn without_any_right_the_missing_verb_is_named() {
    let lab = KubeLab::new(Role::Ours);
    lab.kubectl(&["delete", "rolebinding", "--all"]);
    let mut place = lab.instance(1);
    let forbidden = |answer: &Result<_, PlaceError>, what: &str| {
        assert!(matches!(answer, Err(PlaceError::Forbidden(why)) if why.contains(what)), "{answer:?}");
    };
    // The authorizer's cache may still say yes for a moment.
    let start = std::time::Instant::now();
    while !matches!(place.read(), Err(PlaceError::Forbidden(_))) {
        assert!(start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(100));
    }
    forbidden(&place.read().map(drop), "may not get secrets marblerun-state");
    forbidden(&place.version().map(drop), "may not get secrets marblerun-state");
    forbidden(&place.entries().map(drop), "may not get configmaps marblerun-sealed-kek");
    forbidden(&place.change_entries(&[("a.b.c".to_owned(), vec![1])].into(), &[]), "may not patch configmaps");
    forbidden(&place.archives().map(drop), "archive-0");
    let created = place.create(&content(1, 500));
    assert!(
        matches!(&created, Err(WriteFailure::Forbidden(why)) if why.contains("may not create secrets")),
        "{created:?}"
    );
}

#[test]
fn a_pods_account_is_found_and_a_token_that_is_not_accepted_is_said() {
    let plane = ControlPlane::shared().unwrap();
    let lab = KubeLab::new(Role::Ours);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), &lab.account.token).unwrap();
    std::fs::write(folder.path().join("ca.crt"), plane.ca_pem().unwrap()).unwrap();
    let pod = Access {
        host: Some("127.0.0.1".to_owned()),
        port: Some(plane.port().unwrap().to_string()),
        account: Some(folder.path().to_owned()),
        // Anyone's, and not asked.
        kubeconfig: by_kubeconfig(&plane.kubeconfig()).kubeconfig,
    };
    let mut place = lab.kubernetes_by(1, pod.clone()).place();
    place.create(&content(1, 500)).unwrap();
    let writer = lab.namespace.control_plane().audit_log().requests_of(&lab.account.user).unwrap();
    assert!(!writer.is_empty());
    std::fs::write(folder.path().join("token"), "not.a.token").unwrap();
    let mut place = lab.kubernetes_by(1, pod).place();
    let answer = place.read();
    assert!(matches!(&answer, Err(PlaceError::Forbidden(why)) if why.contains("401")), "{answer:?}");
    let answer = place.create(&content(2, 500));
    assert!(matches!(&answer, Err(WriteFailure::Forbidden(why)) if why.contains("token")), "{answer:?}");
}
