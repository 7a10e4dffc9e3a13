//! What the audit trail tells of each use case, and what it costs.

use std::collections::BTreeMap;

use marblerun_api::bytes::Base64;
use marblerun_api::v2::UserSecret;
use marblerun_coordinator::config::Config;
use marblerun_coordinator::core::{Clock, Coordinator};
use marblerun_coordinator::start::start;
use marblerun_state::{AuditEvent, AuditKind};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::world::{UUID, World, json as bytes, user, vector};

/// Entries in short: event, actor, subject, from, to, reason.
fn told(coordinator: &Coordinator, kind: AuditKind) -> Vec<String> {
    let state = coordinator.snapshot();
    let short =
        |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), |text| text.chars().take(14).collect());
    let entries = state.audit(kind).after(0);
    entries
        .map(|entry| {
            let reason = entry.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            let count = if entry.count > 1 { format!(" x{}", entry.count) } else { String::new() };
            format!(
                "{} {} {} {} {}{reason}{count}",
                entry.event.as_str(),
                entry.actor,
                entry.subject,
                short(&entry.before),
                short(&entry.after)
            )
        })
        .collect()
}

fn changes(world: &World) -> Vec<String> {
    told(&world.coordinator, AuditKind::Changes)
}

async fn refusals(world: &World) -> Vec<String> {
    world.coordinator.record_refusals().await;
    told(&world.coordinator, AuditKind::Refusals)
}

/// The digest of a manifest as [`told`] shows it.
fn short(manifest: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(manifest)))[..14].to_owned()
}

fn upload(name: &str, value: &[u8]) -> BTreeMap<String, UserSecret> {
    BTreeMap::from([(name.to_owned(), UserSecret { key: Some(Base64(value.to_vec())), ..UserSecret::default() })])
}

#[tokio::test]
async fn a_decision_of_several_users_is_told_step_by_step_with_what_was_and_what_will_be() {
    let world = World::new();
    let (first, file) = (vector("updbase-multi.json"), vector("other-multi-1.json"));
    world.coordinator.set_manifest(first.clone()).await.unwrap();
    let c = &world.coordinator;
    c.update(Some(&user("alice")), file.clone()).await.unwrap();
    c.acknowledge_update(Some(&user("alice")), file.clone()).await.unwrap();
    c.cancel_update(Some(&user("bob"))).await.unwrap();
    c.update(Some(&user("bob")), file.clone()).await.unwrap();
    c.acknowledge_update(Some(&user("carol")), file.clone()).await.unwrap();
    c.acknowledge_update(Some(&user("alice")), file.clone()).await.unwrap();
    let (old, new) = (short(&first), short(&file));
    assert_eq!(
        changes(&world),
        [
            format!("manifest_set anyone manifest - {old}"),
            format!("update_proposed alice manifest {old} {new}"),
            // The repeated acknowledgement said nothing new.
            format!("update_cancelled bob manifest {old} {new}"),
            format!("update_proposed bob manifest {old} {new}"),
            format!("update_acknowledged carol manifest {old} {new}"),
            format!("update_acknowledged alice manifest {old} {new}"),
            format!("update_applied alice manifest {old} {new}"),
        ]
    );
}

#[tokio::test]
async fn an_update_by_one_alone_and_new_versions_are_told() {
    let world = World::new();
    let (first, second) = (vector("updbase-single.json"), vector("updfull-recovery-removed.json"));
    world.coordinator.set_manifest(first.clone()).await.unwrap();
    world.coordinator.update(Some(&user("alice")), second.clone()).await.unwrap();
    let before = world.coordinator.snapshot().package("app").unwrap().security_version.unwrap();
    let raise = bytes(&json!({"Packages": {"app": {"SecurityVersion": before + 4}}}));
    world.coordinator.update(Some(&user("dave")), raise).await.unwrap();
    let (old, new) = (short(&first), short(&second));
    assert_eq!(
        changes(&world)[1..],
        [
            format!("update_proposed alice manifest {old} {new}"),
            format!("update_applied alice manifest {old} {new}"),
            format!("package_update dave app {before} {}", before + 4),
        ]
    );
}

#[tokio::test]
async fn an_update_that_fails_at_its_last_acknowledgement_is_told_with_its_cause() {
    let world = World::new();
    let base = vector("updbase-multi.json");
    world.coordinator.set_manifest(base.clone()).await.unwrap();
    let mut next: Value = serde_json::from_slice(&base).unwrap();
    // Ends in the last days of year 9999, after which certificates cannot name a date: in a month it cannot be made.
    next["Secrets"]["dated"] = json!({"Type": "cert-ecdsa", "Size": 256, "Shared": true, "ValidFor": 2912110});
    let file = bytes(&next);
    let c = &world.coordinator;
    c.update(Some(&user("alice")), file.clone()).await.unwrap();
    c.acknowledge_update(Some(&user("bob")), file.clone()).await.unwrap();
    world.pass_days(30);
    let error = c.acknowledge_update(Some(&user("carol")), file.clone()).await.unwrap_err();
    let (old, new) = (short(&base), short(&file));
    assert_eq!(
        changes(&world)[2..],
        [
            format!("update_acknowledged bob manifest {old} {new}"),
            format!("update_acknowledged carol manifest {old} {new}"),
            format!("update_failed carol manifest {old} {new} ({})", error.code),
        ]
    );
    assert!(c.pending_update().await.is_err());
    assert!(refusals(&world).await.is_empty(), "the acknowledgement was accepted");
}

#[tokio::test]
async fn a_written_secret_is_told_by_digests_that_nobody_can_guess_from() {
    let mut manifest: Value = serde_json::from_slice(&vector("updbase-single.json")).unwrap();
    manifest["Roles"]["writer"] =
        json!({"ResourceType": "Secrets", "ResourceNames": ["userPlain"], "Actions": ["WriteSecret"]});
    manifest["Users"]["alice"]["Roles"].as_array_mut().unwrap().push(json!("writer"));
    let world = World::with(&manifest).await;
    for value in [b"1234", b"5678", b"1234"] {
        world.coordinator.write_secrets(Some(&user("alice")), upload("userPlain", value)).await.unwrap();
    }
    let state = world.coordinator.snapshot();
    let entries: Vec<_> = state.audit(AuditKind::Changes).after(1).cloned().collect();
    assert_eq!(entries.len(), 3);
    assert!(entries.iter().all(|entry| entry.event == AuditEvent::SecretWritten && entry.subject == "userPlain"));
    assert_eq!(entries[0].before, None);
    assert_eq!(entries[0].after, entries[1].before);
    assert_eq!(entries[0].after, entries[2].after, "the old value is back, and one sees it");
    assert_ne!(entries[0].after, entries[1].after);
    let bare = hex::encode(Sha256::digest(b"1234"));
    let lines: String = world.coordinator.audit_page(AuditKind::Changes, 0, 100).lines.concat();
    assert!(!lines.contains(&bare) && !lines.contains("1234\"") && lines.contains("hmac-sha256:"), "{lines}");
}

#[tokio::test]
async fn what_is_refused_is_told_by_whom_and_why_and_changes_nothing_else() {
    let world = World::new();
    world.coordinator.set_manifest(vector("updbase-multi.json")).await.unwrap();
    let before = changes(&world);
    let c = &world.coordinator;
    for _ in 0..5 {
        c.update(Some(&user("dave")), vector("other-multi-1.json")).await.unwrap_err();
    }
    c.update(None, vector("other-multi-1.json")).await.unwrap_err();
    c.cancel_update(Some(&user("alice"))).await.unwrap_err();
    c.acknowledge_update(Some(&user("dave")), b"{}".to_vec()).await.unwrap_err();
    c.write_secrets(Some(&user("dave")), upload("userPlain", b"x")).await.unwrap_err();
    c.read_secrets(Some(&user("dave")), &["symShared".to_owned()]).await.unwrap_err();
    c.set_manifest(b"{}".to_vec()).await.unwrap_err();
    c.recover(zeroize::Zeroizing::new(vec![1; 16]), Vec::new()).await.unwrap_err();
    assert!(c.backup(Some(&user("dave"))).await.is_err());
    c.recovery_secrets(Some(&user("dave"))).await.unwrap_err();
    let mut told = refusals(&world).await;
    told.sort();
    assert_eq!(
        told,
        [
            "refused alice cancel_update - - (no_pending_update)",
            "refused anyone recover - - (wrong_state)",
            "refused anyone set_manifest - - (wrong_state)",
            "refused anyone update - - (unknown_user)",
            "refused dave acknowledge_update - - (no_pending_update)",
            "refused dave backup - - (not_allowed)",
            "refused dave read_secrets - - (not_allowed)",
            "refused dave recovery_secrets - - (not_allowed)",
            "refused dave update - - (not_allowed) x5",
            "refused dave write_secrets - - (not_allowed)",
        ]
    );
    assert_eq!(changes(&world), before);
}

#[tokio::test]
async fn refusals_cost_one_commit_however_many_there_are() {
    let world = World::new();
    world.coordinator.set_manifest(vector("updbase-multi.json")).await.unwrap();
    let groups = || world.coordinator.store_status().counters.groups;
    let before = groups();
    for _ in 0..2000 {
        world.coordinator.update(None, Vec::new()).await.unwrap_err();
    }
    assert_eq!(groups(), before, "they wait in memory");
    assert_eq!(refusals(&world).await, ["refused anyone update - - (unknown_user) x2000"]);
    assert_eq!(groups(), before + 1);
    world.coordinator.record_refusals().await;
    assert_eq!(groups(), before + 1, "nothing new is nothing to write");
}

#[tokio::test(start_paused = true)]
async fn refusals_are_recorded_by_themselves_after_ten_seconds() {
    let world = World::new();
    world.coordinator.set_manifest(vector("updbase-multi.json")).await.unwrap();
    world.coordinator.update(None, Vec::new()).await.unwrap_err();
    tokio::time::sleep(std::time::Duration::from_secs(9)).await;
    assert!(told(&world.coordinator, AuditKind::Refusals).is_empty());
    for _ in 0..100 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        // The committer is a thread of its own, whose time is not ours.
        std::thread::sleep(std::time::Duration::from_millis(5));
        if !told(&world.coordinator, AuditKind::Refusals).is_empty() {
            return;
        }
    }
    panic!("never recorded");
}

#[tokio::test]
async fn an_entry_costs_no_commit_of_its_own_and_counts_write_none() {
    let mut manifest: Value = serde_json::from_slice(&vector("updbase-single.json")).unwrap();
    manifest["Marbles"]["web"]["MaxActivations"] = json!(3);
    let world = World::with(&manifest).await;
    let status = || world.coordinator.store_status().counters;
    let before = status();
    world.coordinator.update(Some(&user("dave")), vector("upd-svn-higher.json")).await.unwrap();
    assert_eq!((status().commits, status().groups), (before.commits + 1, before.groups + 1));
    let entries = changes(&world);
    world.activate("web", UUID).await.unwrap();
    world.activate("pin", UUID).await.unwrap();
    assert_eq!(status().groups, before.groups + 2, "the limited one");
    assert_eq!(changes(&world), entries);
}

#[tokio::test]
async fn pages_chain_and_the_head_names_the_last_entry() {
    let world = World::new();
    world.coordinator.set_manifest(vector("updbase-single.json")).await.unwrap();
    for version in 10..30 {
        let raise = bytes(&json!({"Packages": {"app": {"SecurityVersion": version}}}));
        world.coordinator.update(Some(&user("dave")), raise).await.unwrap();
    }
    let (mut after, mut previous, mut lines) = (0, None, 0);
    loop {
        let page = world.coordinator.audit_page(AuditKind::Changes, after, 4);
        assert!(page.lines.len() <= 4 && page.head.sequence == 21);
        assert_eq!(page.start.sequence, after);
        assert!(previous.is_none_or(|previous| previous == page.start.hash));
        previous = Some(page.start.hash);
        for line in &page.lines {
            assert!(line.ends_with(&format!("\"previous\":\"{}\"}}", hex::encode(previous.unwrap()))));
            previous = Some(Sha256::digest(line.as_bytes()).into());
            (after, lines) = (after + 1, lines + 1);
        }
        if page.lines.is_empty() {
            break;
        }
    }
    assert_eq!(lines, 21);
    let head = world.coordinator.audit_head().await.unwrap();
    let statement: Value = serde_json::from_str(&head.statement).unwrap();
    assert_eq!(statement["changes"]["head"], hex::encode(previous.unwrap()));
    assert_eq!(world.coordinator.audit_page(AuditKind::Changes, 0, usize::MAX).lines.len(), 21);
    assert_eq!(world.coordinator.audit_page(AuditKind::Changes, 0, 0).lines.len(), 1, "never nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_told_before_it_leaves_and_is_in_itself() {
    use std::io::Read as _;

    let home = tempfile::tempdir().unwrap();
    let seal = home.path().join("seal");
    let open = async |seal: std::path::PathBuf| {
        let config = Config::from_arguments([
            "marblerun-coordinator".to_owned(),
            format!("--seal-dir={}", seal.display()),
            "--tee=simulation".to_owned(),
        ]);
        start(&config.unwrap(), Clock::system()).await.unwrap()
    };
    let coordinator = open(seal.clone()).await;
    let nothing = coordinator.backup(Some(&user("alice"))).await.err().unwrap();
    assert_eq!(nothing.code, "unknown_user", "without a manifest there are no users");
    coordinator.set_manifest(vector("updbase-single.json")).await.unwrap();
    let head = hex::encode(coordinator.store_status().head.unwrap());
    let mut copy = coordinator.backup(Some(&user("alice"))).await.unwrap();
    coordinator.update(Some(&user("dave")), vector("upd-svn-higher.json")).await.unwrap();
    let mut backup = Vec::new();
    copy.read_to_end(&mut backup).unwrap();
    drop(copy);
    assert!(coordinator.backup(Some(&user("dave"))).await.is_err(), "it takes UpdateManifest");
    let state = coordinator.snapshot();
    let entry = state.audit(AuditKind::Changes).after(1).next().unwrap();
    assert_eq!((entry.event, entry.actor.as_str()), (AuditEvent::Backup, "alice"));
    assert_eq!(entry.after.as_deref(), Some(format!("sealed:{head}").as_str()));
    coordinator.close().await;

    // The copy is a state of its own, up to its own entry.
    std::fs::write(seal.join("sealed_data"), backup).unwrap();
    let restored = open(seal).await;
    assert_eq!(told(&restored, AuditKind::Changes)[1].split(' ').next(), Some("backup"));
    assert_eq!(
        told(&restored, AuditKind::Changes)[2],
        "restore_accepted coordinator sealed_data incarnation:1 incarnation:2 (older_than_witness)"
    );
    restored.close().await;
}

#[tokio::test]
async fn only_so_many_backups_are_read_at_a_time() {
    let home = tempfile::tempdir().unwrap();
    let config = Config::from_arguments([
        "marblerun-coordinator".to_owned(),
        format!("--seal-dir={}", home.path().join("seal").display()),
        "--tee=simulation".to_owned(),
    ]);
    let coordinator = start(&config.unwrap(), Clock::system()).await.unwrap();
    coordinator.set_manifest(vector("updbase-single.json")).await.unwrap();
    let mut copies = Vec::new();
    let refused = loop {
        match coordinator.backup(Some(&user("alice"))).await {
            Ok(copy) => copies.push(copy),
            Err(error) => break error,
        }
        assert!(copies.len() < 10);
    };
    assert_eq!(refused.code, "busy");
    copies.pop();
    coordinator.backup(Some(&user("alice"))).await.unwrap();
    coordinator.close().await;
}
