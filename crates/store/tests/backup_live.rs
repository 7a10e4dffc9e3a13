//! Backups beside a running store: what was acknowledged is in them, and a restored one is what the next start loads.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use marblerun_pki::{Authority, SubjectAltNames};
use marblerun_recovery::establish;
use marblerun_sealing::{HostKeyFile, Sealers};
use marblerun_state::{Change, CounterKey, Lineage, Phase, RecoveryEntry, RootSecret, State};
use marblerun_store::backup::{VerifyWith, create, inspect, restore, verify};
use marblerun_store::{Store, StoreConfig, StoreMode, StoreTuning};
use tempfile::TempDir;
use zeroize::Zeroizing;

const PUBLIC: &str = include_str!("fixtures/keys/recovery1_pub.pem");
const PRIVATE: &str = include_str!("fixtures/keys/recovery1_priv.pem");

fn counter() -> CounterKey {
    CounterKey { marble_type: "m".into(), uuid: [1; 16], name: "c".into() }
}

fn make(phase: Phase) -> Result<State, String> {
    let authority = Authority::generate(&SubjectAltNames::default(), Timestamp::now()).map_err(|e| e.to_string())?;
    let lineage = Lineage { deployment_id: [5; 16], incarnation: 1, incarnation_id: [6; 16] };
    Ok(State::new(phase, lineage, Arc::new(authority), RootSecret(Zeroizing::new(vec![7; 32]))))
}

/// A store with small files, so that it compacts all the time.
fn start(home: &Path) -> Store {
    let config =
        StoreConfig::new(home.join("seal"), Sealers::simulation(HostKeyFile::new(&home.join("host-key"))), "test");
    let tuning = StoreTuning { compact_bytes: 20_000, look_every: Duration::from_millis(20), ..StoreTuning::default() };
    Store::open_with(config, tuning, &make).unwrap()
}

/// Sets a manifest with one recovery key; also rotates the recovery secrets.
async fn establish_recovery(store: &Store) {
    let keys = BTreeMap::from([("alice".to_owned(), PUBLIC.to_owned())]);
    let raw = format!("{{\"RecoveryKeys\":{{\"alice\":{PUBLIC:?}}}}}");
    let established = establish(&keys, 0).unwrap().unwrap();
    let entry = Arc::new(RecoveryEntry { set: established.set, root: established.root });
    let change = move |draft: &mut marblerun_state::Draft| {
        draft.record(Change::Manifest { raw: raw.clone().into(), signature: vec![1] })?;
        draft.record(Change::Recovery(vec![Arc::clone(&entry)]))
    };
    store.commit(change).await.unwrap();
}

async fn count(store: &Store, value: u64) {
    store.commit(move |draft| draft.record(Change::Counter(counter(), value))).await.unwrap();
}

fn with_key() -> VerifyWith {
    VerifyWith { private_keys: vec![Zeroizing::new(PRIVATE.to_owned())], ..VerifyWith::default() }
}

/// The counter in a backup, read by a store on a host that has the key.
async fn counted_in(backup: &Path, home: &Path, key: &Path) -> u64 {
    let dir = TempDir::new().unwrap();
    fs::copy(home.join("host-key"), dir.path().join("host-key")).unwrap();
    restore(backup, &dir.path().join("seal"), false).unwrap();
    fs::copy(key, dir.path().join("seal/sealed_key")).unwrap();
    let store = start(dir.path());
    assert_eq!(store.status().mode, StoreMode::Durable);
    let value = store.snapshot().counter(&counter());
    store.close().await;
    value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_made_under_load_hold_what_was_acknowledged_through_compactions_and_rotations() {
    let home = TempDir::new().unwrap();
    let store = start(home.path());
    establish_recovery(&store).await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writer = tokio::spawn({
        let (store, acknowledged) = (store.clone(), Arc::clone(&acknowledged));
        async move {
            for value in 1..=1500 {
                count(&store, value).await;
                acknowledged.store(value, Ordering::SeqCst);
                if value % 500 == 0 {
                    establish_recovery(&store).await;
                }
            }
        }
    });
    let seal = home.path().join("seal");
    let mut made: Vec<(u64, PathBuf, PathBuf)> = Vec::new();
    while !writer.is_finished() {
        let before = acknowledged.load(Ordering::SeqCst);
        let number = made.len();
        let path = home.path().join(format!("backup-{number}"));
        let key = home.path().join(format!("key-{number}"));
        if number.is_multiple_of(2) {
            create(&seal, &path, Timestamp::now()).unwrap();
        } else {
            // Any tool will do.
            fs::copy(seal.join("sealed_data"), &path).unwrap();
        }
        fs::copy(seal.join("sealed_key"), &key).unwrap();
        made.push((before, path, key));
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    writer.await.unwrap();
    assert!(made.len() > 5, "{} backups", made.len());
    let step = made.len() / 12 + 1;
    for (number, (before, path, key)) in made.into_iter().enumerate() {
        let proof = verify(&path, &with_key()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(proof.sequence.is_some());
        // A sealed_key copied at another moment may name only the key of before or after a rotation.
        if number % step == 0 && key_fits(&path, &key) {
            assert!(counted_in(&path, home.path(), &key).await >= before);
        }
    }
    store.close().await;
}

/// Whether the copied host key file is that of the copied state.
fn key_fits(data: &Path, key: &Path) -> bool {
    use marblerun_store::format::{KeyFile, Layout, read_front};
    let (Ok(Layout::Sealed(front)), Ok(KeyFile::Ours(key))) =
        (read_front(&fs::read(data).unwrap()), KeyFile::decode(&fs::read(key).unwrap()))
    else {
        return false;
    };
    key.entry(front.header.dek_id).is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_restored_under_a_running_store_supersedes_it_and_is_what_the_next_start_loads() {
    let home = TempDir::new().unwrap();
    let seal = home.path().join("seal");
    let store = start(home.path());
    establish_recovery(&store).await;
    count(&store, 1).await;
    let backup = create(&seal, &home.path().join("backup"), Timestamp::now()).unwrap().path;
    count(&store, 2).await;

    assert_eq!(restore(&backup, &seal, false).unwrap_err().code(), "newer_state");
    let restored = restore(&backup, &seal, true).unwrap();
    assert!(restored.running && restored.key_here);
    let placed = fs::read(seal.join("sealed_data")).unwrap();
    let refused = store.commit(|draft| draft.record(Change::Counter(counter(), 3))).await;
    assert!(refused.is_err(), "nothing is acknowledged that the next start would not know");
    assert_eq!(store.status().mode, StoreMode::Superseded);
    store.close().await;
    drop(store);
    assert_eq!(fs::read(seal.join("sealed_data")).unwrap(), placed, "not written over at stop");

    let store = start(home.path());
    assert_eq!(store.status().mode, StoreMode::Durable);
    assert_eq!(store.snapshot().counter(&counter()), 1);
    count(&store, 10).await;
    store.close().await;
    drop(store);

    // What the restore replaced holds what came after the backup, and can be brought back.
    let kept = &restored.archived[0];
    assert_eq!(
        verify(kept, &with_key()).unwrap().sequence,
        inspect(kept).unwrap().sealed.map(|sealed| sealed.sequence)
    );
    restore(kept, &seal, true).unwrap();
    let store = start(home.path());
    assert_eq!(store.snapshot().counter(&counter()), 2);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_alone_on_another_host_asks_for_recovery_and_its_keys_bring_it_back() {
    let home = TempDir::new().unwrap();
    let store = start(home.path());
    establish_recovery(&store).await;
    count(&store, 7).await;
    let root = store.snapshot().recovery()[0].root.clone();
    let certificate = store.snapshot().authority().root_certificate.clone();
    let backup = create(&home.path().join("seal"), &home.path().join("backup"), Timestamp::now()).unwrap().path;
    store.close().await;

    let other = TempDir::new().unwrap();
    let restored = restore(&backup, &other.path().join("seal"), false).unwrap();
    assert!(!restored.key_here && !restored.running);
    let store = start(other.path());
    assert!(matches!(store.status().mode, StoreMode::Recovery { code: "no_key", .. }));
    assert!(store.opens(root.expose()) && !store.opens(&[1; 32]));
    store.recover(root, Box::new(|_| Ok(Vec::new()))).await.unwrap();
    assert_eq!(store.snapshot().counter(&counter()), 7);
    assert_eq!(store.snapshot().authority().root_certificate, certificate);
    store.close().await;
}
