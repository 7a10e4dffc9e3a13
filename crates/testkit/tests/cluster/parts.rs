//! A state that does not fit into one Secret: written, read, lost, copied and put back.

use std::collections::BTreeMap;

use marblerun_testkit::kube::Role;
use marblerun_testkit::load;

use crate::{Story, until};

/// Where 20,000 bytes fit into the Secret.
async fn large() -> Story {
    let story = Story::begin_with(&["alice"], 0, |builder| {
        builder.role(Role::OursWithParts).env("MARBLERUN_STATE_INLINE_MAX", "40000")
    })
    .await;
    write_much(&story, 0, 1).await;
    story
}

/// Writes more than fits.
async fn write_much(story: &Story, number: usize, seed: u8) {
    let secrets = (8..16).map(|index| (format!("s{index}"), load::plain(&[seed.wrapping_add(index); 8000]))).collect();
    story.client(number).await.set_secrets(secrets).await.unwrap();
}

fn parts(story: &Story) -> Vec<String> {
    let names = story.kubectl(&["get", "secret", "-o", "name"]);
    let is_part = |name: &&str| {
        let letters = name.strip_prefix("secret/marblerun-state-").unwrap_or_default();
        letters.starts_with(['a', 'b', 'c']) && letters[1..].parse::<u8>().is_ok()
    };
    names.lines().filter(is_part).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_state_goes_on_beside_its_secret_and_survives_everyone() {
    let mut story = large().await;
    assert!(!parts(&story).is_empty());
    let text = story.kubectl(&["get", "secret", "marblerun-state", "-o", "jsonpath={.data.sealed_data}"]);
    assert!(text.len() < 60_000, "{}", text.len());
    for round in 0..6 {
        story.write(round % 3, "s0", &format!("value {round}")).await;
    }
    assert_eq!(story.read(1, "s0").await.as_deref(), Some("value 5"));
    write_much(&story, 2, 100).await;
    story.kill_all();
    story.cluster.start_all().await.unwrap();
    story.everyone_is_at(3).await;
    assert_eq!(story.read(0, "s0").await.as_deref(), Some("value 5"));
    let client = story.client(1).await;
    let cluster = client.v3().cluster().await.unwrap();
    assert!(cluster.part_bytes > 40_000, "{}", cluster.part_bytes);

    // The Secret alone is no backup: without its parts, it waits.
    story.kill_all();
    for part in parts(&story) {
        story.kubectl(&["delete", &part]);
    }
    story.cluster.start_on(0, "host-0").await.unwrap();
    story.everyone_is_at(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_large_state_holds_its_parts_and_opens_in_a_fresh_cluster() {
    let mut story = large().await;
    story.write(1, "s0", "kept").await;
    // As documented: the Secret, and then its parts.
    let parts_of_it = parts(&story);
    let mut names = vec!["get".to_owned(), "-o".to_owned(), "yaml".to_owned(), "secret/marblerun-state".to_owned()];
    names.extend(parts_of_it);
    let yaml = story.kubectl(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let file = story.file("backup.yaml", yaml.as_bytes());
    let key = story.file("alice.pem", story.holders["alice"].private_pem().unwrap().as_bytes());
    let said = story.ok(&["backup", "verify", &file, "--key", &key]);
    assert!(said.starts_with("OK: the backup opens"), "{said}");

    story.kill_all();
    for name in parts(&story) {
        story.kubectl(&["delete", &name]);
    }
    story.opens_in_a_fresh_cluster(&file, "kept").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_parts_are_not_permitted_what_is_too_large_is_refused_and_the_rest_goes_on() {
    let story = Story::begin_with(&["alice"], 0, |builder| builder.env("MARBLERUN_STATE_INLINE_MAX", "40000")).await;
    let secrets: BTreeMap<_, _> = (8..16).map(|index| (format!("s{index}"), load::plain(&[index; 8000]))).collect();
    let refused = story.client(0).await.set_secrets(secrets).await.unwrap_err();
    assert!(refused.to_string().contains("coordinator.stateParts.enabled"), "{refused}");
    story.write(1, "s0", "goes on").await;
    until("all have it", || async { story.read(2, "s0").await.as_deref() == Some("goes on") }).await;
    assert!(parts(&story).is_empty());
}
