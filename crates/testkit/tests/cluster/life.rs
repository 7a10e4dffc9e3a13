//! The life of a cluster: begin, share, lose instances, hosts, keys, and come back.

use std::time::Duration;

use crate::{SOON, Story, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_begin_at_once_share_everything_and_come_back_as_long_as_one_holder_is_left() {
    let mut story = Story::begin(&["alice"], 0).await;
    // One deployment, one root, though all three began on nothing at the same moment.
    let root = story.cluster.get(0).unwrap().attest().await.unwrap().root;
    for number in 1..3 {
        story.cluster.wait_for_status(number, 3, Duration::from_secs(5)).await.unwrap();
        assert_eq!(story.cluster.get(number).unwrap().attest().await.unwrap().root, root);
    }
    // What is acknowledged here is read there, at once.
    for round in 0..5 {
        let value = format!("value-{round}");
        story.write(round % 3, "s0", &value).await;
        assert_eq!(story.read((round + 1) % 3, "s0").await.as_deref(), Some(value.as_str()));
    }

    // One survivor is enough, whatever hosts the others come back on.
    story.cluster.kill(0).unwrap();
    story.cluster.kill(1).unwrap();
    story.write(2, "s1", "written alone").await;
    story.cluster.start(0).await.unwrap();
    story.cluster.start_on(1, "a-new-host").await.unwrap();
    story.everyone_is_at(3).await;
    assert_eq!(story.read(1, "s1").await.as_deref(), Some("written alone"));

    // One old host is enough when none is left.
    story.kill_all();
    story.cluster.start_on(1, "another-new-host").await.unwrap();
    story.cluster.wait_for_status(1, 1, SOON).await.unwrap();
    story.cluster.start(0).await.unwrap();
    story.cluster.start_on(2, "a-third-new-host").await.unwrap();
    story.everyone_is_at(3).await;
    assert_eq!(story.read(1, "s1").await.as_deref(), Some("written alone"));

    // The keys of the hosts are written anew when they are lost.
    story.kubectl(&["delete", "configmap", "marblerun-sealed-kek"]);
    until("the entries are back", || async {
        let entries = story.kubectl(&["get", "configmap", "marblerun-sealed-kek", "--ignore-not-found", "-o", "json"]);
        entries.matches("\": \"TVJLRUsx").count() >= 3
    })
    .await;
    story.kill_all();
    story.cluster.start_all().await.unwrap();
    story.everyone_is_at(3).await;
    assert_eq!(story.cluster.get(2).unwrap().attest().await.unwrap().root, root, "one deployment all along");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_hosts_new_and_two_of_three_holders_recover_through_whichever_instances_answer() {
    let mut story = Story::begin(&["alice", "bob", "carol"], 2).await;
    story.write(0, "s0", "kept").await;
    story.kill_all();
    for number in 0..3 {
        story.cluster.start_on(number, &format!("new-{number}")).await.unwrap();
    }
    story.everyone_is_at(1).await;
    // A manifest over it would be a mistake that costs a copy, but recovery is what is wanted.
    assert_eq!(story.recover(0, "alice").await.unwrap(), 1);
    // The instance that took it dies; what it took is with the others.
    story.cluster.kill(0).unwrap();
    assert_eq!(story.recover(1, "alice").await.unwrap_or(1), 1, "it is known already");
    assert_eq!(story.recover(2, "carol").await.unwrap(), 0);
    story.everyone_is_at(3).await;
    assert_eq!(story.read(1, "s0").await.as_deref(), Some("kept"));
    story.cluster.start(0).await.unwrap();
    story.cluster.wait_for_status(0, 3, SOON).await.unwrap();
    // The next start needs nobody.
    story.kill_all();
    story.cluster.start_all().await.unwrap();
    story.everyone_is_at(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn activations_are_counted_together_and_the_limit_is_never_passed() {
    let story = Story::begin(&["alice"], 0).await;
    let marble = marblerun_testkit::FakeMarble::new().unwrap();
    let mut admitted = 0;
    for attempt in 0..12 {
        let coordinator = story.cluster.get(attempt % 3).unwrap();
        let uuid = format!("{attempt:08x}-1111-4111-8111-000000000000");
        admitted += usize::from(marble.activate(coordinator.mesh_addr, "few", &uuid).await.is_ok());
    }
    assert_eq!(admitted, 5);
    // All get the same secret, wherever they ask.
    let mut shared = std::collections::BTreeSet::new();
    for number in 0..3 {
        let mesh = story.cluster.get(number).unwrap().mesh_addr;
        let activation = marble.activate(mesh, "app", &format!("{number:08x}-2222-4222-8222-000000000000")).await;
        shared.insert(activation.unwrap().text("SHARED").unwrap());
    }
    assert_eq!(shared.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_api_server_ends_nothing_and_all_is_well_after() {
    let plane = marblerun_testkit::kube::ControlPlane::builder().start().unwrap();
    let story = Story::begin_on(plane, &["alice"], 0, |builder| builder).await;
    story.write(0, "s0", "before").await;
    let client = story.client(1).await;
    let marble = marblerun_testkit::FakeMarble::new().unwrap();
    story.plane.stop_api_server().unwrap();
    let mesh = story.cluster.get(1).unwrap().mesh_addr;
    marble.activate(mesh, "app", "00000000-3333-4333-8333-000000000000").await.unwrap();
    assert_eq!(client.status().await.unwrap().code, 3);
    let refused = crate::read(&client, "s0").await.unwrap_err();
    assert_eq!(refused.code(), Some(503), "{refused}");
    story.plane.start_api_server().unwrap();
    until("reads are back", || async { crate::read(&client, "s0").await.is_ok() }).await;
    story.write(2, "s0", "after").await;
    assert_eq!(story.read(0, "s0").await.as_deref(), Some("after"));
    for (_, coordinator) in story.cluster.running() {
        assert!(coordinator.client().await.unwrap().v3().readiness().await.unwrap().ready);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_upstreams_role_it_works_as_well() {
    let mut story =
        Story::begin_with(&["alice"], 0, |builder| builder.role(marblerun_testkit::kube::Role::Upstream)).await;
    story.write(0, "s0", "value").await;
    assert_eq!(story.read(2, "s0").await.as_deref(), Some("value"));
    story.kill_all();
    story.cluster.start_all().await.unwrap();
    story.everyone_is_at(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_is_asked_for_little_and_for_nothing_that_the_role_lacks() {
    let plane = marblerun_testkit::kube::ControlPlane::builder().audit().start().unwrap();
    let story = Story::begin_on(plane, &["alice"], 0, |builder| builder).await;
    let user = story.cluster.account().user.clone();
    let log = story.plane.audit_log();

    // Reads that are validated share their proof, and a change is one PUT for all that wait.
    let from = log.clone().from_now().unwrap();
    let client = story.client(0).await;
    for round in 0..10 {
        let secrets = std::collections::BTreeMap::from([(
            "s0".to_owned(),
            marblerun_testkit::load::plain(format!("{round}").as_bytes()),
        )]);
        client.set_secrets(secrets).await.unwrap();
        crate::read(&client, "s0").await.unwrap();
        client.status().await.unwrap();
    }
    let puts = from.requests_of(&user).unwrap().iter().filter(|request| request.verb == "update").count();
    assert_eq!(puts, 10, "one for each change");

    // Idle: a look every two seconds each, and an eye on the own entry.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let from = log.clone().from_now().unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let idle = from.requests_of(&user).unwrap();
    assert!(idle.len() <= 3 * 20, "{} requests of three idle Coordinators in 20 s", idle.len());
    assert!(idle.iter().all(|request| !matches!(request.verb.as_str(), "update" | "create" | "delete")), "{idle:?}");

    let all = log.requests_of(&user).unwrap();
    let refused: Vec<_> = all.iter().filter(|request| request.code == Some(403)).collect();
    assert!(refused.is_empty(), "{refused:?}");
    let deleted = all.iter().filter(|request| request.verb.starts_with("delete")).count();
    assert_eq!(deleted, 0);
}
