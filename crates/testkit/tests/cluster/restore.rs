//! Backup and restore with kubectl, as documented: stopped, running, changed, in a fresh cluster.

use crate::{SOON, Story, until};

/// `kubectl get secret marblerun-state -o yaml > backup.yaml`
fn backup(story: &Story, name: &str) -> String {
    let yaml = story.kubectl(&["get", "secret", "marblerun-state", "-o", "yaml"]);
    story.file(name, yaml.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_one_get_and_a_restore_puts_it_back() {
    let mut story = Story::begin(&["alice"], 0).await;
    story.write(0, "s0", "old").await;
    let saved = backup(&story, "backup.yaml");
    story.write(1, "s0", "new").await;

    // Scale to 0, apply: kubectl refuses what has changed since, and replaces it when forced.
    story.stop_all().await;
    let refused = story.cluster.namespace().kubectl(["apply", "-f", &saved]).unwrap();
    assert!(!refused.is_ok(), "the object has changed");
    story.kubectl(&["replace", "--force", "-f", &saved]);
    story.cluster.start_all().await.unwrap();
    story.everyone_is_at(3).await;
    assert_eq!(story.read(2, "s0").await.as_deref(), Some("old"));
    story.write(0, "s0", "newer").await;
    assert_eq!(story.read(1, "s0").await.as_deref(), Some("newer"));

    // Applied where nothing has changed, or where nothing is, it works as it stands.
    story.stop_all().await;
    let unchanged = backup(&story, "unchanged.yaml");
    story.kubectl(&["apply", "-f", &unchanged]);
    story.kubectl(&["delete", "secret", "marblerun-state"]);
    story.kubectl(&["apply", "-f", &unchanged]);
    story.cluster.start_all().await.unwrap();
    story.everyone_is_at(3).await;
    assert_eq!(story.read(2, "s0").await.as_deref(), Some("newer"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_opens_in_a_fresh_cluster_with_its_recovery_keys() {
    let mut story = Story::begin(&["alice"], 0).await;
    story.write(0, "s0", "kept").await;
    let saved = backup(&story, "backup.yaml");
    story.opens_in_a_fresh_cluster(&saved, "kept").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_under_running_coordinators_waits_for_an_operator() {
    let story = Story::begin(&["alice"], 0).await;
    story.write(0, "s0", "old").await;
    let saved = backup(&story, "backup.yaml");
    story.write(1, "s0", "new").await;
    story.kubectl(&["replace", "--force", "-f", &saved]);
    let client = story.client(0).await;
    until("it is noticed", || async {
        let cluster = client.v3().cluster().await;
        cluster.is_ok_and(|cluster| serde_json::to_string(&cluster).unwrap().contains("restore accept"))
    })
    .await;
    let refused = crate::read(&client, "s0").await.unwrap_err();
    assert_eq!(refused.code(), Some(503), "{refused}");
    let (cert, key) = (
        story.file("user.crt", story.user.certificate_pem.as_bytes()),
        story.file("user.key", story.user.key_pem.as_bytes()),
    );
    let address = story.address(0);
    story.ok(&["restore", "reject", &address, "--insecure", "--cert", &cert, "--key", &key]);
    until("what was served is served again", || async {
        crate::read(&story.client(2).await, "s0").await.is_ok_and(|value| value.as_deref() == Some("new"))
    })
    .await;

    // And once more, accepted this time.
    story.kubectl(&["replace", "--force", "-f", &saved]);
    until("it is noticed again", || async { crate::read(&client, "s0").await.is_err() }).await;
    story.ok(&["restore", "accept", &address, "--insecure", "--cert", &cert, "--key", &key]);
    until("the restored state is served by all", || async {
        crate::read(&story.client(1).await, "s0").await.is_ok_and(|value| value.as_deref() == Some("old"))
    })
    .await;
    story.write(2, "s0", "goes on").await;
    assert_eq!(story.read(0, "s0").await.as_deref(), Some("goes on"));
    let archives = story.kubectl(&["get", "secret", "-o", "name"]);
    assert!(archives.matches("marblerun-state-archive-").count() >= 2, "{archives}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_state_is_not_made_anew_and_a_manifest_in_recovery_mode_keeps_what_was_there() {
    let mut story = Story::begin(&["alice"], 0).await;
    let root = story.cluster.get(0).unwrap().attest().await.unwrap().root;
    story.write(0, "s0", "kept").await;
    let saved = backup(&story, "backup.yaml");
    story.stop_all().await;
    story.kubectl(&["delete", "secret", "marblerun-state"]);
    story.cluster.start_all().await.unwrap();
    story.everyone_is_at(1).await;
    assert_eq!(story.kubectl(&["get", "secret", "marblerun-state", "--ignore-not-found"]), "");
    story.kubectl(&["create", "-f", &saved]);
    for number in 0..3 {
        story.cluster.wait_for_status(number, 3, SOON).await.unwrap();
        assert_eq!(story.cluster.get(number).unwrap().attest().await.unwrap().root, root);
    }
    assert_eq!(story.read(1, "s0").await.as_deref(), Some("kept"));
}
