//! Monotonic counters of Marbles.

use std::collections::BTreeSet;
use std::sync::Arc;

use marblerun_coordinator::core::PeerCertificate;
use marblerun_coordinator::error::ErrorKind;
use serde_json::{Value, json};
use x509_cert::der::Encode as _;

use crate::world::{UUID, World, first_certificate, text, user, user_pem};

fn manifest() -> Value {
    json!({
        "Packages": {"app": {"SignerID": "00", "ProductID": 1, "SecurityVersion": 1}},
        "Marbles": {"web": {"Package": "app"}, "db": {"Package": "app"}},
        "Config": {"FeatureGates": ["monotoniccounter"]},
        "Users": {"alice": {"Certificate": user_pem("alice"), "Roles": ["svn"]}},
        "Roles": {"svn": {"ResourceType": "Packages", "ResourceNames": ["app"], "Actions": ["UpdateSecurityVersion"]}},
    })
}

/// The certificate a Marble was given.
async fn identity(world: &World, marble: &str, uuid: &str) -> PeerCertificate {
    let activated = world.activate(marble, uuid).await.unwrap();
    let chain = text(&activated, "MARBLE_PREDEFINED_MARBLE_CERTIFICATE_CHAIN");
    PeerCertificate(Arc::new(first_certificate(chain.as_bytes()).to_der().unwrap()))
}

async fn raise(world: &World, peer: &PeerCertificate, name: &str, value: u64) -> u64 {
    let marble = world.coordinator.authenticate_marble(Some(peer)).await.unwrap();
    world.coordinator.set_counter(marble, name.to_owned(), value).await.unwrap()
}

#[tokio::test]
async fn a_counter_only_grows_and_tells_what_it_was() {
    let world = World::with(&manifest()).await;
    world.coordinator.require_feature("MonotonicCounter").await.unwrap();
    let web = identity(&world, "web", UUID).await;
    for (value, before) in [(2, 0), (3, 2), (3, 3), (1, 3), (0, 3), (u64::MAX, 3), (5, u64::MAX)] {
        assert_eq!(raise(&world, &web, "foo", value).await, before, "to {value}");
    }
}

#[tokio::test]
async fn counters_of_other_names_instances_and_types_are_other_counters() {
    let world = World::with(&manifest()).await;
    let web = identity(&world, "web", UUID).await;
    assert_eq!(raise(&world, &web, "foo", 7).await, 0);
    assert_eq!(raise(&world, &web, "", 1).await, 0);
    assert_eq!(
        raise(&world, &identity(&world, "web", "11111111-2222-4333-8444-555555555555").await, "foo", 1).await,
        0
    );
    assert_eq!(raise(&world, &identity(&world, "db", UUID).await, "foo", 1).await, 0);
    assert_eq!(
        raise(&world, &identity(&world, "web", UUID).await, "foo", 8).await,
        7,
        "a new certificate, the same Marble"
    );
}

#[tokio::test]
async fn what_changes_nothing_writes_nothing() {
    let world = World::with(&manifest()).await;
    let web = identity(&world, "web", UUID).await;
    raise(&world, &web, "foo", 7).await;
    let sequence = world.coordinator.store_status().sequence;
    for value in 0..=7 {
        raise(&world, &web, "foo", value).await;
    }
    assert_eq!(world.coordinator.store_status().sequence, sequence);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_at_once_each_see_another_value_before() {
    let world = Arc::new(World::with(&manifest()).await);
    let web = identity(&world, "web", UUID).await;
    let calls: Vec<_> = (1..=64u64)
        .map(|value| {
            let (world, web) = (Arc::clone(&world), web.clone());
            tokio::spawn(async move { (value, raise(&world, &web, "foo", value).await) })
        })
        .collect();
    let mut raised = BTreeSet::new();
    for call in calls {
        let (value, before) = call.await.unwrap();
        if before < value {
            assert!(raised.insert(before), "two calls raised the counter from {before}");
        }
    }
    assert_eq!(raise(&world, &web, "foo", 0).await, 64);
}

#[tokio::test]
async fn one_marble_cannot_fill_the_state_of_all() {
    let world = World::with(&manifest()).await;
    let web = identity(&world, "web", UUID).await;
    let marble = world.coordinator.authenticate_marble(Some(&web)).await.unwrap();
    for n in 0..4096 {
        world.coordinator.set_counter(marble.clone(), n.to_string(), 1).await.unwrap();
    }
    let error = world.coordinator.set_counter(marble.clone(), "one more".into(), 1).await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Refused, "too_many_counters"));
    assert_eq!(world.coordinator.set_counter(marble.clone(), "7".into(), 2).await.unwrap(), 1, "those it has go on");
    let error = world.coordinator.set_counter(marble, "x".repeat(5000), 1).await.unwrap_err();
    assert_eq!(error.code, "counter_name_too_long");
}

#[tokio::test]
async fn who_is_no_marble_is_told_so() {
    let world = World::new();
    let refusal = async |world: &World, peer: Option<&PeerCertificate>| {
        let error = world.coordinator.authenticate_marble(peer).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthorized);
        error.message
    };
    assert!(
        refusal(&world, None).await.starts_with("unauthorized marble: "),
        "without a manifest there are no Marbles"
    );
    assert_eq!(
        world.coordinator.require_feature("MonotonicCounter").await.unwrap_err().message,
        "MonotonicCounter feature is not enabled in the manifest"
    );
    world.coordinator.set_manifest(crate::world::json(&manifest())).await.unwrap();
    assert_eq!(refusal(&world, None).await, "unauthorized marble: client certificate did not match any Marble");
    assert_eq!(
        refusal(&world, Some(&user("alice"))).await,
        "unauthorized marble: x509: certificate signed by unknown authority"
    );
    assert!(refusal(&world, Some(&PeerCertificate(Arc::new(vec![1, 2, 3])))).await.contains("malformed"));
}

#[tokio::test]
async fn a_marble_that_stays_up_over_an_update_counts_on_until_it_activates_again() {
    let world = World::with(&manifest()).await;
    let old = identity(&world, "web", UUID).await;
    raise(&world, &old, "foo", 7).await;
    let before_update = world.coordinator.authenticate_marble(Some(&old)).await.unwrap();
    let update = br#"{"Packages":{"app":{"SecurityVersion":2}}}"#.to_vec();
    world.coordinator.update(Some(&user("alice")), update.clone()).await.unwrap();
    assert_eq!(raise(&world, &old, "foo", 8).await, 7);
    let passed = world.coordinator.set_counter(before_update.clone(), "foo".into(), 9).await;
    assert_eq!(passed.unwrap(), 8, "also if the update came between the two checks");

    let between = world.coordinator.authenticate_marble(Some(&old)).await.unwrap();
    let new = identity(&world, "web", UUID).await;
    assert_eq!(world.coordinator.authenticate_marble(Some(&old)).await.unwrap_err().kind, ErrorKind::Unauthorized);
    for gone in [before_update, between] {
        let error = world.coordinator.set_counter(gone, "foo".into(), 10).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthorized, "also if the activation came between the two checks");
    }
    assert_eq!(raise(&world, &new, "foo", 10).await, 9, "the counter is as it was");

    world.coordinator.update(Some(&user("alice")), update).await.unwrap();
    assert_eq!(raise(&world, &new, "foo", 11).await, 10);
    world.pass_days(1);
    let error = world.coordinator.authenticate_marble(Some(&new)).await.unwrap_err();
    assert_eq!(error.message, "unauthorized marble: x509: certificate signed by unknown authority");
}

#[tokio::test]
async fn a_marble_whose_type_the_update_removed_counts_no_more() {
    let mut manifest = manifest();
    manifest["Roles"]["owner"] = json!({"ResourceType": "Manifest", "Actions": ["UpdateManifest"]});
    manifest["Users"]["alice"]["Roles"] = json!(["owner"]);
    let world = World::with(&manifest).await;
    let (web, db) = (identity(&world, "web", UUID).await, identity(&world, "db", UUID).await);
    let passed = world.coordinator.authenticate_marble(Some(&web)).await.unwrap();
    manifest["Marbles"].as_object_mut().unwrap().remove("web");
    world.coordinator.update(Some(&user("alice")), crate::world::json(&manifest)).await.unwrap();
    assert_eq!(raise(&world, &db, "foo", 1).await, 0);
    assert!(world.coordinator.authenticate_marble(Some(&web)).await.is_err());
    assert!(world.coordinator.set_counter(passed, "foo".into(), 1).await.is_err());
}
