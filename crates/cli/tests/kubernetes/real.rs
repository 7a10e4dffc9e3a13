//! Real Coordinators over a real API server: what they committed goes into a backup, and comes back out of it.

use std::time::Duration;

use marblerun_client::Client;
use marblerun_testkit::kube::Cluster;
use marblerun_testkit::{Coordinator, RecoveryKeyPair, TestUser, load};

use crate::person::{Person, plane};

const SOON: Duration = Duration::from_secs(90);

async fn as_user(coordinator: &Coordinator, user: &TestUser) -> Client {
    coordinator.client_builder().await.unwrap().identity(user.identity().unwrap()).build().unwrap()
}

async fn value(coordinator: &Coordinator, user: &TestUser) -> Option<Vec<u8>> {
    let secrets = as_user(coordinator, user).await.secrets(&["s0".to_owned()]).await.ok()?;
    let text = serde_json::to_string(&secrets).unwrap();
    Some(text.into_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinators_come_back_from_a_backup_by_themselves_and_elsewhere_with_the_recovery_keys() {
    let mut cluster = Cluster::builder(&plane()).instances(2).start().await.unwrap();
    let person = Person::new();
    let there = format!(" -n {}", cluster.namespace().name());
    let types = |line: &str| tokio::task::block_in_place(|| person.types(&format!("{line}{there} ")));
    let (user, key) = (TestUser::new("writer").unwrap(), RecoveryKeyPair::new().unwrap());
    std::fs::write(person.path("key.pem"), key.private_pem().unwrap()).unwrap();
    cluster.wait_for_status(0, 2, SOON).await.unwrap();
    let manifest = load::manifest(&user, &[("alice", key.public_pem().unwrap())], 1).unwrap();
    let secrets = cluster.get(0).unwrap().client().await.unwrap().set_manifest(&manifest).await.unwrap();
    cluster.wait_for_status(1, 3, SOON).await.unwrap();
    let set = |coordinator: Client, value: &'static str| async move {
        coordinator.set_secrets([("s0".to_owned(), load::plain(value.as_bytes()))].into()).await.unwrap();
    };
    set(as_user(cluster.get(1).unwrap(), &user).await, "before").await;
    let before = value(cluster.get(0).unwrap(), &user).await.unwrap();
    types("backup create --kubernetes b.yaml").succeeds();
    types("backup verify b.yaml --key key.pem").succeeds();
    set(as_user(cluster.get(0).unwrap(), &user).await, "after").await;
    let root = cluster.get(0).unwrap().attest().await.unwrap().root;

    for number in 0..2 {
        cluster.terminate(number).await.unwrap();
    }
    types("backup restore b.yaml --kubernetes").fails("holds a newer state");
    let said = types("backup restore b.yaml --kubernetes --force").succeeds();
    assert!(said.stdout.contains("2 hosts have a key for it"), "{said:?}");
    cluster.start_all().await.unwrap();
    for number in 0..2 {
        cluster.wait_for_status(number, 3, SOON).await.unwrap();
        assert_eq!(value(cluster.get(number).unwrap(), &user).await.unwrap(), before, "as it was at the backup");
    }

    // Other hosts, and none of their keys.
    for number in 0..2 {
        cluster.terminate(number).await.unwrap();
    }
    cluster.namespace().kubectl(["delete", "secret", "marblerun-state"]).unwrap().ok().unwrap();
    cluster.namespace().kubectl(["delete", "configmap", "marblerun-sealed-kek"]).unwrap().ok().unwrap();
    let said = types("backup restore b.yaml --kubernetes").succeeds();
    assert!(said.stdout.contains("expect recovery by alice"), "{said:?}");
    cluster.start_on(0, "fresh-0").await.unwrap();
    cluster.start_on(1, "fresh-1").await.unwrap();
    cluster.wait_for_status(1, 1, SOON).await.unwrap();
    let (secret, signature) = key.open("alice", &secrets).unwrap();
    cluster.get(1).unwrap().client().await.unwrap().recover(&secret, &signature).await.unwrap();
    for number in 0..2 {
        cluster.wait_for_status(number, 3, SOON).await.unwrap();
    }
    assert_eq!(value(cluster.get(0).unwrap(), &user).await.unwrap(), before);

    // To the original's form, which ours import as the original would open it.
    types("state export --kubernetes --to upstream-kubernetes --key key.pem -o upstream.yaml").succeeds();
    for number in 0..2 {
        cluster.terminate(number).await.unwrap();
    }
    let file = person.path("upstream.yaml").display().to_string();
    cluster.namespace().kubectl(["replace", "--force", "-f", &file]).unwrap().ok().unwrap();
    cluster.start(0).await.unwrap();
    cluster.wait_for_status(0, 3, SOON).await.unwrap();
    assert_eq!(value(cluster.get(0).unwrap(), &user).await.unwrap(), before);
    assert_eq!(cluster.get(0).unwrap().attest().await.unwrap().root, root, "the same deployment all along");
}
