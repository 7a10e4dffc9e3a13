//! The vectors observed on upstream, through the use cases: every first manifest, every single update, and
//! every sequence of updates.

use marblerun_coordinator::core::PeerCertificate;
use marblerun_coordinator::error::{Error, ErrorKind};
use serde::Deserialize;

use crate::world::{World, user, vector, vectors};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    file: Option<String>,
    base: Option<String>,
    update: Option<String>,
    user: Option<String>,
    name: Option<String>,
    steps: Vec<Entry>,
    op: String,
    expect: String,
    stage: Option<String>,
    missing: Option<i64>,
    missing_users: Option<Vec<String>>,
    recovery_secrets: Option<Vec<String>>,
    deviation_allowed: bool,
    status: Option<u16>,
}

fn entries() -> Vec<Entry> {
    serde_json::from_slice(&std::fs::read(vectors().join("index.json")).unwrap()).unwrap()
}

/// The prefix of the peer's text for each stage, when a manifest is set and when one is updated.
fn prefixes(stage: &str) -> [&'static str; 2] {
    match stage {
        "decode" => ["unmarshaling manifest: ", "unmarshaling update manifest: "],
        "check" => ["checking manifest: ", "invalid manifest: "],
        "check-update" => ["checking update manifest: "; 2],
        "secrets-shared" => ["generating secrets from manifest: "; 2],
        "secrets-private" => ["generating placeholder secrets from manifest: "; 2],
        "recovery-keys" => ["generating recovery encryption key: "; 2],
        "users" => ["generating users from manifest: "; 2],
        "template" => ["running manifest template dry run: "; 2],
        other => panic!("unknown stage {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_first_manifest_ends_as_upstream_ends_it() {
    let mut checked = 0;
    for entry in entries().into_iter().filter(|entry| entry.file.is_some() && entry.base.is_none()) {
        let file = entry.file.clone().unwrap();
        let world = World::new();
        let result = world.coordinator.set_manifest(vector(&file)).await;
        checked += 1;
        match (entry.expect.as_str(), result) {
            ("ok", Ok(answer)) => {
                let secrets: Vec<String> = answer.recovery_secrets.into_keys().collect();
                assert_eq!(secrets, sorted(entry.recovery_secrets.unwrap_or_default()), "{file}");
                assert_eq!(world.coordinator.status().0, 3, "{file}");
                assert_eq!(world.coordinator.manifest().await.unwrap().unwrap().raw, vector(&file), "{file}");
                assert_eq!(world.log().await.len(), 1, "{file}");
            }
            ("error", Err(error)) => {
                assert_eq!(error.kind, ErrorKind::Refused, "{file}: {error}");
                if let Some(stage) = &entry.stage {
                    let prefix = prefixes(stage)[0];
                    assert!(error.message.starts_with(prefix), "{file}: wanted {prefix:?}, got {error}");
                }
                assert_eq!(world.coordinator.status().0, 2, "{file}: a refused manifest changes nothing");
                assert!(world.coordinator.manifest().await.unwrap().is_none(), "{file}");
                let again = world.coordinator.set_manifest(vector("minimal.json")).await;
                assert!(again.is_ok(), "{file}: the next one is accepted");
                assert_eq!(world.log().await.len(), 1, "{file}");
            }
            (_, _) if entry.deviation_allowed => {}
            (wanted, result) => panic!("{file}: wanted {wanted}, got {:?}", result.map(|answer| answer.warnings)),
        }
    }
    assert!(checked > 250, "only {checked} vectors were found");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_update_ends_as_upstream_ends_it() {
    let mut checked = 0;
    for entry in entries().into_iter().filter(|entry| entry.update.is_some()) {
        let (base, update) = (entry.base.clone().unwrap(), entry.update.clone().unwrap());
        let name = format!("{base} + {update} by {:?}", entry.user);
        let world = World::new();
        world.coordinator.set_manifest(vector(&base)).await.unwrap();
        let result = apply(&world, entry.user.as_deref(), &update).await;
        checked += 1;
        if result.is_ok() != (entry.expect == "ok") && entry.deviation_allowed {
            continue;
        }
        expect(&world, &entry, &name, result).await;
        if entry.expect == "error" {
            assert_eq!(world.coordinator.manifest().await.unwrap().unwrap().raw, vector(&base), "{name}");
            assert_eq!(world.log().await.len(), 1, "{name}: a refused update leaves no trace");
            assert!(world.coordinator.pending_update().await.is_err(), "{name}");
        }
    }
    assert!(checked > 50, "only {checked} vectors were found");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sequence_of_updates_ends_as_upstream_ends_it() {
    let mut checked = 0;
    for entry in entries().into_iter().filter(|entry| !entry.steps.is_empty()) {
        let name = entry.name.clone().unwrap();
        if name == "fault found at the last acknowledgement cancels the update" {
            // Found when it is proposed: see `a_proposal_that_could_not_be_applied_is_refused_at_once`.
            continue;
        }
        let world = World::new();
        world.coordinator.set_manifest(vector(&entry.base.unwrap())).await.unwrap();
        for (number, step) in entry.steps.iter().enumerate() {
            run(&world, step, &format!("{name}, step {number}")).await;
        }
        checked += 1;
    }
    assert!(checked >= 8, "only {checked} sequences were found");
}

async fn run(world: &World, step: &Entry, name: &str) {
    let who = step.user.as_deref();
    let peer = who.map(user);
    let file = || step.file.as_deref().unwrap();
    match step.op.as_str() {
        "apply" => expect(world, step, name, apply(world, who, file()).await).await,
        "ack" => {
            let result = world.coordinator.acknowledge_update(peer.as_ref(), vector(file())).await;
            expect(world, step, name, result).await;
        }
        "cancel" => expect_status(step, name, world.coordinator.cancel_update(peer.as_ref()).await),
        "pending" => {
            let pending = world.coordinator.pending_update().await;
            if let (Ok((_, users, _)), Some(missing)) = (&pending, &step.missing_users) {
                assert_eq!(*users, sorted(missing.clone()), "{name}");
            }
            expect_status(step, name, pending.map(drop));
        }
        "active" => assert_eq!(world.coordinator.manifest().await.unwrap().unwrap().raw, vector(file()), "{name}"),
        "set" => expect_status(step, name, world.coordinator.set_manifest(vector(file())).await.map(drop)),
        // The state is one value; what a restart does to it is the store's promise and tested there.
        "restart" | "sleep" => {}
        other => panic!("{name}: unknown step {other}"),
    }
}

async fn apply(
    world: &World,
    who: Option<&str>,
    file: &str,
) -> Result<marblerun_coordinator::core::UpdateAnswer, Error> {
    let peer: Option<PeerCertificate> = who.map(user);
    world.coordinator.update(peer.as_ref(), vector(file)).await
}

async fn expect(
    world: &World,
    entry: &Entry,
    name: &str,
    result: Result<marblerun_coordinator::core::UpdateAnswer, Error>,
) {
    if let Ok(answer) = &result {
        let missing_users = answer.missing_users.clone().unwrap_or_default();
        assert_eq!(missing_users, sorted(entry.missing_users.clone().unwrap_or_default()), "{name}");
        if let Some(missing) = entry.missing {
            assert_eq!(answer.missing_acknowledgments, missing, "{name}");
            assert_eq!(answer.missing_users.is_none(), missing == 0, "{name}: null once applied");
        }
        let secrets: Option<Vec<String>> = answer.recovery_secrets.clone().map(|secrets| secrets.into_keys().collect());
        assert_eq!(secrets, entry.recovery_secrets.clone().map(sorted), "{name}");
        assert_eq!(world.coordinator.pending_update().await.is_ok(), answer.missing_users.is_some(), "{name}");
    }
    if let (Err(error), Some(stage)) = (&result, &entry.stage) {
        let prefix = prefixes(stage)[1];
        assert!(error.message.starts_with(prefix), "{name}: wanted {prefix:?}, got {error}");
    }
    expect_status(entry, name, result.map(drop));
}

fn expect_status(entry: &Entry, name: &str, result: Result<(), Error>) {
    assert_eq!(result.is_ok(), entry.expect == "ok", "{name}: {result:?}");
    let Err(error) = result else { return };
    let wanted = match entry.status {
        Some(401) => ErrorKind::Unauthorized,
        Some(404) => ErrorKind::NotFound,
        _ => ErrorKind::Refused,
    };
    assert_eq!(error.kind, wanted, "{name}: {error}");
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}
