//! Values of the hosts, archives, Events.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use marblerun_store::cluster::conformance::{content, object};
use marblerun_store::cluster::{ArchiveReason, Content, PlaceError, Severity, SharedPlace as _};
use marblerun_testkit::kube::Role;
use serde_json::{Value, json};

use crate::lab::KubeLab;

const MAP: &str = "marblerun-sealed-kek";

#[test]
fn values_of_upstreams_hosts_are_read_and_never_written() {
    let lab = KubeLab::new(Role::Ours);
    let theirs = "0123456789abcdef0123456789abcdef";
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": MAP, "labels": {"a": "b"}},
        "binaryData": {theirs: "AAEC"}, "data": {"text": "kept"},
    });
    lab.apply(&["create", "-f", "-"], &map);
    let mut place = lab.instance(1);
    assert_eq!(place.entries().unwrap(), BTreeMap::from([(theirs.to_owned(), vec![0, 1, 2])]));
    let mine = BTreeMap::from([("aa.bb.cc".to_owned(), vec![9; 100])]);
    place.change_entries(&mine, &[]).unwrap();
    assert_eq!(place.entries().unwrap().len(), 2);
    let overwritten = place.change_entries(&BTreeMap::from([(theirs.to_owned(), vec![1])]), &[]);
    assert!(matches!(overwritten, Err(PlaceError::Refused(_))), "{overwritten:?}");
    let removed = place.change_entries(&BTreeMap::new(), &[theirs.to_owned()]);
    assert!(matches!(removed, Err(PlaceError::Refused(_))), "{removed:?}");
    let now: Value = serde_json::from_str(&lab.kubectl(&["get", "configmap", MAP, "-o", "json"])).unwrap();
    assert_eq!((&now["data"], &now["metadata"]["labels"]), (&map["data"], &map["metadata"]["labels"]));
    assert_eq!(now["binaryData"][theirs], "AAEC");
}

#[test]
fn a_map_that_refuses_is_told_from_one_that_is_away() {
    let lab = KubeLab::new(Role::Ours);
    let mut place = lab.instance(1);
    let mine = |size| BTreeMap::from([("aa.bb.cc".to_owned(), vec![9; size])]);
    let large = place.change_entries(&mine(1_100_000), &[]);
    assert!(matches!(large, Err(PlaceError::Refused(_))), "{large:?}");
    place.change_entries(&mine(700_000), &[]).unwrap();
    lab.kubectl(&["patch", "configmap", MAP, "-p", r#"{"immutable":true}"#]);
    let immutable = place.change_entries(&mine(3), &[]);
    assert!(matches!(&immutable, Err(PlaceError::Refused(why)) if why.contains("immutable")), "{immutable:?}");
}

#[test]
fn an_archive_is_a_backup_that_tells_why_when_and_from_what_it_was_made() {
    let lab = KubeLab::new(Role::Ours);
    let mut place = lab.instance(1);
    place.create(&Content { parts: Some(b"names".to_vec()), ..content(1, 500) }).unwrap();
    let first = object(&mut place);
    place.archive(1, &first, ArchiveReason::Damaged).unwrap();
    let (state, archive) = (lab.secret("marblerun-state"), lab.secret("marblerun-state-archive-1"));
    assert_eq!(archive["data"], state["data"]);
    let note = |archive: &Value, name: &str| archive["metadata"]["annotations"][name].clone();
    assert_eq!(note(&archive, "marblerun/archive-reason"), "damaged");
    assert_eq!(note(&archive, "marblerun/archive-source"), first.version.revision.as_str());

    // Written over: its age counts from then.
    place.archive(1, &first, ArchiveReason::Reset).unwrap();
    let archive = lab.secret("marblerun-state-archive-1");
    assert_eq!(note(&archive, "marblerun/archive-reason"), "reset");
    let time = note(&archive, "marblerun/archive-time");
    let made: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(made).as_secs().abs() < 600);

    let digest = place.archives().unwrap()[0].digest;
    let long_ago = r#"{"metadata":{"annotations":{"marblerun/archive-digest":null,"marblerun/archive-time":"2020-01-01T00:00:00Z"}}}"#;
    lab.kubectl(&["patch", "secret", "marblerun-state-archive-1", "--type=merge", "-p", long_ago]);
    let archives = place.archives().unwrap();
    assert_eq!(archives[0].digest, digest, "computed where it is not noted");
    assert!(archives[0].age.unwrap() > Duration::from_secs(5 * 365 * 86400));
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn operators_are_told_by_events_once_and_nobody_waits_for_it() {
    let lab = KubeLab::new(Role::Ours);
    let mut place = lab.instance(1);
    let start = Instant::now();
    for _ in 0..5 {
        place.report(Severity::Warning, "StateDiverged", "the state is not the one this instance knows");
    }
    assert!(start.elapsed() < Duration::from_secs(2));
    let events = || -> Vec<Value> {
        let list: Value = serde_json::from_str(&lab.kubectl(&["get", "events", "-o", "json"])).unwrap();
        list["items"].as_array().unwrap().clone()
    };
    wait_for("the event", || !events().is_empty());
    place.report(Severity::Normal, "Other", "other");
    wait_for("the other event", || events().len() > 1);
    let events = events();
    assert_eq!(events.len(), 2, "{events:?}");
    let event = events.iter().find(|event| event["reason"] == "StateDiverged").unwrap();
    assert_eq!((&event["type"], &event["involvedObject"]["name"]), (&json!("Warning"), &json!("marblerun-state")));
    assert!(event["message"].as_str().unwrap().contains("this instance knows"));
}
