//! kill -9 at any moment loses nothing that was acknowledged.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use marblerun_client::{Client, ClientError, Trust};
use marblerun_testkit::{Coordinator, RecoveryKeyPair, TestUser, load};
use serde_json::{Value, json};

/// Kills of one run. The promise is made for 200.
const KILLS: usize = 200;
const WRITERS: usize = 8;
/// Kills of the run in which files are replaced all the time.
const REPLACING_KILLS: usize = 40;
/// Length of a value there: a few of them outgrow a snapshot.
const LARGE: usize = 200_000;

/// The last value that was acknowledged, and the one that was on its way, of one secret or counter.
#[derive(Clone, Copy, Default)]
struct Oracle {
    acknowledged: u64,
    attempted: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_under_load_loses_no_acknowledged_write_and_never_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let seal_dir = dir.path().join("seal");
    let host_key = dir.path().join("host-key");
    let user = TestUser::new("writer").unwrap();
    let recovery = RecoveryKeyPair::new().unwrap();
    let manifest = load::manifest(&user, &[("alice", recovery.public_pem().unwrap())], WRITERS).unwrap();

    let mut coordinator = Coordinator::builder(&seal_dir).host_key(&host_key).start().await.unwrap();
    coordinator.client().await.unwrap().set_manifest(&manifest).await.unwrap();
    let root = coordinator.attest().await.unwrap().root;
    let mut marbles = Vec::new();
    for writer in 0..WRITERS {
        marbles.push(load::marble_identity(&coordinator, writer).await.unwrap());
    }

    let mut secrets = [Oracle::default(); WRITERS];
    let mut counters = [Oracle::default(); WRITERS];
    for kill in 0..KILLS {
        assert_eq!(coordinator.status().await.unwrap(), 3, "kill {kill}: comes back by itself\n{}", coordinator.log());
        assert_eq!(coordinator.attest().await.unwrap().root, root, "kill {kill}: same root");
        check(&coordinator, &user, &root, &mut secrets).await;

        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for writer in 0..WRITERS {
            let builder = || Client::builder(coordinator.endpoint()).trust(Trust::Pinned(root.clone()));
            let client = builder().identity(user.identity().unwrap()).build().unwrap();
            let marble = builder().identity(marbles[writer].clone()).build().unwrap();
            let (secret, counter) = (secrets[writer], counters[writer]);
            tasks.push(tokio::spawn(write(writer, client, marble, secret, counter, stop.clone())));
        }
        // Spread over the whole life of a group commit: from before the first write to well into the load.
        tokio::time::sleep(Duration::from_micros((kill as u64 * 7919) % 40_000)).await;
        let builder = Coordinator::builder(&seal_dir).host_key(&host_key).same_ports(&coordinator);
        coordinator.kill().unwrap();
        stop.store(true, Ordering::Relaxed);
        for (writer, task) in tasks.into_iter().enumerate() {
            (secrets[writer], counters[writer]) = task.await.unwrap();
        }
        coordinator = builder.start().await.unwrap();
    }
    check(&coordinator, &user, &root, &mut secrets).await;
    for (writer, identity) in marbles.iter().enumerate() {
        let client = coordinator.client_builder().await.unwrap().identity(identity.clone()).build().unwrap();
        let stored = client.set_monotonic_counter("crash", 0).await.unwrap();
        assert!(stored >= counters[writer].acknowledged, "counter {writer}");
        assert!(stored <= counters[writer].attempted, "counter {writer}");
    }
    assert!(secrets.iter().any(|oracle| oracle.acknowledged > 0), "the load wrote something");
    assert!(counters.iter().any(|oracle| oracle.acknowledged > 0), "the load counted something");
    coordinator.terminate().await.unwrap();
}

/// Other recovery keys, and a file that outgrows its snapshot, put another file in place of the one before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_while_files_are_replaced_loses_nothing_either() {
    let dir = tempfile::tempdir().unwrap();
    let seal_dir = dir.path().join("seal");
    let host_key = dir.path().join("host-key");
    let user = TestUser::new("writer").unwrap();
    let recovery = RecoveryKeyPair::new().unwrap().public_pem().unwrap();
    let manifest = |number: usize| {
        let keys = [(format!("alice{number}"), recovery.clone())];
        let keys: Vec<_> = keys.iter().map(|(name, pem)| (name.as_str(), pem.clone())).collect();
        let mut manifest: Value = serde_json::from_slice(&load::manifest(&user, &keys, 1).unwrap()).unwrap();
        manifest["Roles"]["update"] = json!({"ResourceType": "Manifest", "Actions": ["UpdateManifest"]});
        manifest["Users"]["writer"]["Roles"] = json!(["write", "read", "update"]);
        manifest.to_string().into_bytes()
    };

    let mut coordinator = Coordinator::builder(&seal_dir).host_key(&host_key).start().await.unwrap();
    coordinator.client().await.unwrap().set_manifest(&manifest(0)).await.unwrap();
    let root = coordinator.attest().await.unwrap().root;
    let mut secret = [Oracle::default()];
    let mut rotations = 0;
    for kill in 0..REPLACING_KILLS {
        assert_eq!(coordinator.status().await.unwrap(), 3, "kill {kill}: comes back by itself\n{}", coordinator.log());
        assert_eq!(coordinator.attest().await.unwrap().root, root, "kill {kill}: same root");
        check(&coordinator, &user, &root, &mut secret).await;

        let client = Client::builder(coordinator.endpoint()).trust(Trust::Pinned(root.clone()));
        let client = client.identity(user.identity().unwrap()).build().unwrap();
        let writer = tokio::spawn(write_large(client.clone(), secret[0]));
        // In every other round nothing but the growth of the file replaces it.
        let updates: Vec<Vec<u8>> =
            (1..=if kill % 2 == 0 { 50 } else { 0 }).map(|update| manifest(kill * 100 + update)).collect();
        let rotator = tokio::spawn(async move {
            let mut done = 0;
            for update in updates {
                match client.apply_update(&update).await {
                    Ok(_) => done += 1,
                    Err(ClientError::Transport { .. }) => break,
                    Err(error) => panic!("update: {error}"),
                }
            }
            done
        });
        tokio::time::sleep(Duration::from_millis((kill as u64 * 79) % 300)).await;
        let builder = Coordinator::builder(&seal_dir).host_key(&host_key).same_ports(&coordinator);
        coordinator.kill().unwrap();
        secret[0] = writer.await.unwrap();
        rotations += rotator.await.unwrap();
        coordinator = builder.start().await.unwrap();
    }
    check(&coordinator, &user, &root, &mut secret).await;
    assert!(secret[0].acknowledged > 0 && rotations > 0, "{} writes, {rotations} rotations", secret[0].acknowledged);
    coordinator.terminate().await.unwrap();
}

/// Writes large values until the Coordinator is gone.
async fn write_large(client: Client, mut secret: Oracle) -> Oracle {
    loop {
        secret.attempted += 1;
        let value = secret.attempted.to_string() + &" ".repeat(LARGE);
        match client.set_secrets(BTreeMap::from([("s0".to_owned(), load::plain(value.as_bytes()))])).await {
            Ok(()) => secret.acknowledged = secret.attempted,
            Err(ClientError::Transport { .. }) => return secret,
            Err(error) => panic!("secret: {error}"),
        }
    }
}

/// Writes until told to stop or until the Coordinator is gone.
async fn write(
    writer: usize,
    client: Client,
    marble: Client,
    mut secret: Oracle,
    mut counter: Oracle,
    stop: Arc<AtomicBool>,
) -> (Oracle, Oracle) {
    let name = format!("s{writer}");
    while !stop.load(Ordering::Relaxed) {
        secret.attempted += 1;
        let upload = BTreeMap::from([(name.clone(), load::plain(secret.attempted.to_string().as_bytes()))]);
        match client.set_secrets(upload).await {
            Ok(()) => secret.acknowledged = secret.attempted,
            Err(ClientError::Transport { .. }) => break,
            Err(error) => panic!("secret {writer}: {error}"),
        }
        counter.attempted += 1;
        match marble.set_monotonic_counter("crash", counter.attempted).await {
            Ok(before) => {
                assert!(before >= counter.acknowledged && before < counter.attempted, "counter {writer}: {before}");
                counter.acknowledged = counter.attempted;
            }
            Err(ClientError::Transport { .. }) => break,
            Err(error) => panic!("counter {writer}: {error}"),
        }
    }
    (secret, counter)
}

/// Every acknowledged value is there; one that was on its way may be.
async fn check(coordinator: &Coordinator, user: &TestUser, root: &[u8], oracles: &mut [Oracle]) {
    let client = Client::builder(coordinator.endpoint())
        .trust(Trust::Pinned(root.to_vec()))
        .identity(user.identity().unwrap())
        .build()
        .unwrap();
    let names: Vec<String> = (0..oracles.len()).map(|index| format!("s{index}")).collect();
    let stored = client.secrets(&names).await.unwrap();
    for (index, oracle) in oracles.iter_mut().enumerate() {
        let value = stored[&names[index]]
            .private
            .as_ref()
            .map_or(0, |bytes| std::str::from_utf8(&bytes.0).unwrap().trim_end().parse::<u64>().unwrap());
        assert!(value >= oracle.acknowledged, "secret {index}: {value} < {} acknowledged", oracle.acknowledged);
        assert!(value <= oracle.attempted, "secret {index}: {value} was never written");
        // What was in doubt is settled now.
        *oracle = Oracle { acknowledged: value, attempted: value };
    }
}
