//! Seal modes that a full update changes: in force with the answer, over restarts, with the state on disk.

use std::path::Path;

use marblerun_coordinator::core::UpdateAnswer;
use marblerun_store::StoreMode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::{World, json as bytes, user, user_pem, vector};

fn manifest(seal_mode: &str, owners: &[&str]) -> Value {
    let users =
        owners.iter().map(|name| ((*name).to_owned(), json!({"Certificate": user_pem(name), "Roles": ["owner"]})));
    json!({
        "Packages": {"app": {"Debug": true}},
        "Marbles": {"web": {"Package": "app"}},
        "Secrets": {"key": {"Type": "symmetric-key", "Size": 128, "Shared": true}},
        "Users": users.collect::<serde_json::Map<_, _>>(),
        "Roles": {"owner": {"ResourceType": "Manifest", "Actions": ["UpdateManifest"]}},
        "Config": {"SealMode": seal_mode},
    })
}

async fn update(world: &World, seal_mode: &str) -> UpdateAnswer {
    world.coordinator.update(Some(&user("alice")), bytes(&manifest(seal_mode, &["alice"]))).await.unwrap()
}

fn mode(world: &World) -> StoreMode {
    world.coordinator.store_status().mode
}

/// Files that a start could take for a state.
fn states(home: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(home.join("seal")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.contains("discarded") && !name.ends_with(".lock")).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn disabling_leaves_no_older_manifest_for_a_restart_to_fall_back_to() {
    let home = TempDir::new().unwrap();
    let world = World::stored(home.path(), &[]).await;
    world.coordinator.set_manifest(bytes(&manifest("", &["alice"]))).await.unwrap();
    assert_eq!(mode(&world), StoreMode::Durable);
    update(&world, "Disabled").await;
    assert_eq!(mode(&world), StoreMode::Volatile, "at once");
    assert_eq!(states(home.path()), [""; 0]);
    assert_eq!(world.coordinator.status().0, 3, "it goes on running");
    let world = world.restarted(home.path(), &[]).await;
    assert_eq!(world.coordinator.status().0, 2, "nothing was kept, and nothing old came back");
}

#[tokio::test(flavor = "multi_thread")]
async fn enabling_stores_the_running_state_at_once() {
    let home = TempDir::new().unwrap();
    let world = World::stored(home.path(), &[]).await;
    world.coordinator.set_manifest(bytes(&manifest("Disabled", &["alice"]))).await.unwrap();
    assert_eq!((mode(&world), states(home.path())), (StoreMode::Volatile, vec![]));
    let root = world.coordinator.snapshot().authority().root_certificate.clone();
    let key = world.coordinator.snapshot().secret("key").cloned();
    update(&world, "ProductKey").await;
    assert_eq!(mode(&world), StoreMode::Durable, "at once");
    let log = world.log().await;
    let world = world.restarted(home.path(), &[]).await;
    let state = world.coordinator.snapshot();
    assert_eq!(state.authority().root_certificate, root);
    assert_eq!(state.secret("key").cloned(), key);
    assert_eq!(world.log().await, log);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_enclave_binding_is_a_new_file_under_a_new_key_that_the_next_start_opens() {
    let home = TempDir::new().unwrap();
    let host_key = format!("--simulation-host-key={}", home.path().join("host").display());
    let flags = [host_key];
    let mut world = World::stored(home.path(), &flags).await;
    world.coordinator.set_manifest(bytes(&manifest("", &["alice"]))).await.unwrap();
    let read = |name: &str| std::fs::read(home.path().join("seal").join(name)).unwrap();
    for seal_mode in ["UniqueKey", "ProductKey", "UniqueKey"] {
        // The name of a file stands at its beginning and is new for every file.
        let (data, key) = (read("sealed_data")[16..48].to_vec(), read("sealed_key"));
        update(&world, seal_mode).await;
        assert_ne!(read("sealed_data")[16..48], data, "to {seal_mode}");
        assert_ne!(read("sealed_key"), key);
        world = world.restarted(home.path(), &flags).await;
        let state = world.coordinator.snapshot();
        let in_force = state.manifest().unwrap().manifest.config.seal_mode.as_str();
        assert_eq!((in_force, mode(&world)), (seal_mode, StoreMode::Durable));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_several_owners_the_mode_changes_with_the_last_acknowledgement() {
    let home = TempDir::new().unwrap();
    let world = World::stored(home.path(), &[]).await;
    world.coordinator.set_manifest(bytes(&manifest("", &["alice", "bob"]))).await.unwrap();
    let proposed = bytes(&manifest("Disabled", &["alice", "bob"]));
    world.coordinator.update(Some(&user("alice")), proposed.clone()).await.unwrap();
    let world = world.restarted(home.path(), &[]).await;
    assert_eq!(mode(&world), StoreMode::Durable, "a proposal changes nothing");
    let answer = world.coordinator.acknowledge_update(Some(&user("bob")), proposed).await.unwrap();
    assert_eq!((answer.missing_users, mode(&world)), (None, StoreMode::Volatile));
    assert_eq!(states(home.path()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_recovery_keys_and_another_mode_at_once_are_one_update() {
    let home = TempDir::new().unwrap();
    let world = World::stored(home.path(), &[]).await;
    world.coordinator.set_manifest(vector("updbase-single.json")).await.unwrap();
    let mut next: Value = serde_json::from_slice(&vector("updfull-recovery-added.json")).unwrap();
    next["Config"]["SealMode"] = json!("UniqueKey");
    let answer = world.coordinator.update(Some(&user("alice")), bytes(&next)).await.unwrap();
    assert_eq!(answer.recovery_secrets.unwrap().len(), 2);
    let epoch = world.coordinator.snapshot().recovery()[0].set.epoch;
    let world = world.restarted(home.path(), &[]).await;
    let state = world.coordinator.snapshot();
    assert_eq!((state.recovery()[0].set.epoch, state.recovery().len()), (epoch, 1));
    assert_eq!(state.manifest().unwrap().raw, bytes(&next));
}
