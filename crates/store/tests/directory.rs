//! A store on the real file system: permissions, locks, copies taken while it runs, restores under it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[allow(dead_code, reason = "shared with the unit tests")]
#[path = "../src/testing.rs"]
mod testing;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use marblerun_sealing::{Plain, Sealers};
use marblerun_state::{Change, CounterKey, Draft};
use marblerun_store::{CommitError, Store, StoreConfig, StoreMode, StoreTuning};
use testing::{count, counted, make, manifest, recovery, root, secret};

fn config(dir: &Path) -> StoreConfig {
    StoreConfig::new(dir.to_path_buf(), Sealers::simulation(Plain), "test")
}

fn tuning() -> StoreTuning {
    StoreTuning {
        lock_wait: Duration::from_millis(100),
        look_every: Duration::from_millis(20),
        compact_bytes: 20_000,
        ..StoreTuning::default()
    }
}

fn open(dir: &Path) -> Store {
    Store::open_with(config(dir), tuning(), &make).unwrap()
}

async fn commit(store: &Store, changes: Vec<Change>) -> Result<(), CommitError<String>> {
    let record = move |draft: &mut Draft| {
        changes.iter().try_for_each(|change| draft.record(change.clone()).map_err(|error| error.to_string()))
    };
    store.commit(record).await
}

async fn begun(dir: &Path) -> Store {
    let store = open(dir);
    commit(&store, vec![manifest(""), recovery("alice"), count(1)]).await.unwrap();
    store
}

/// Waits until the store is in that mode.
async fn until(store: &Store, mode: &StoreMode) {
    let begun = Instant::now();
    while store.status().mode != *mode {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", store.status());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn run(program: &str, arguments: &[&str], dir: &Path) {
    let status = Command::new(program).args(arguments).current_dir(dir).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

#[tokio::test]
async fn only_the_owner_can_read_what_is_stored() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a/b");
    let store = begun(&dir).await;
    commit(&store, vec![recovery("bob")]).await.unwrap();
    store.close().await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let names: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names.len(), 5, "data, key, lock, and the archives of both: {names:?}");
    for path in names {
        assert_eq!(mode(&path), 0o600, "{path:?}");
    }
}

#[tokio::test]
async fn a_directory_has_one_coordinator_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let store = begun(root.path()).await;
    let error = Store::open_with(config(root.path()), tuning(), &make).unwrap_err();
    assert!(error.to_string().contains("another Coordinator"), "{error}");
    // Who waits long enough gets it as soon as it is free.
    let patient = StoreTuning { lock_wait: Duration::from_secs(30), ..tuning() };
    let dir = root.path().to_path_buf();
    let next = std::thread::spawn(move || Store::open_with(config(&dir), patient, &make).unwrap());
    tokio::time::sleep(Duration::from_millis(200)).await;
    store.close().await;
    assert!(matches!(commit(&store, vec![count(2)]).await, Err(CommitError::Unavailable(_))));
    let next = next.join().unwrap();
    assert_eq!((next.status().mode, counted(&next.snapshot())), (StoreMode::Durable, 1));
    next.close().await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), b"").unwrap();
    assert!(Store::open_with(config(&root.path().join("file/dir")), tuning(), &make).is_err());
    let refused = Store::open_with(config(root.path()), tuning(), &|_| Err("no randomness".to_owned()));
    assert!(refused.unwrap_err().to_string().contains("no randomness"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_share_groups_and_nothing_is_lost() {
    let root = tempfile::tempdir().unwrap();
    let store = begun(root.path()).await;
    let key = |writer: u8| CounterKey { marble_type: "type".to_owned(), uuid: [writer; 16], name: "n".to_owned() };
    let writers: Vec<_> = (10..42_u8)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for value in 1..=25 {
                    commit(&store, vec![Change::Counter(key(writer), value), secret(&format!("s{writer}"), 500)])
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let counters = store.status().counters;
    assert_eq!(counters.commits, 1 + 32 * 25);
    assert!(counters.groups < counters.commits, "{counters:?}");
    assert!(counters.bytes_appended > 0 && counters.compactions > 0, "{counters:?}");
    store.close().await;
    let store = open(root.path());
    assert!((10..42).all(|writer| store.snapshot().counter(&key(writer)) == 25));
    store.close().await;
}

/// A copy made by plain reads of that size, from front to back, of what lay under the name when it began.
fn copy_slowly(from: &Path, to: &Path, step: usize) {
    let source = fs::File::open(from).unwrap();
    let mut copied = Vec::new();
    let mut buffer = vec![0; step];
    loop {
        let count = source.read_at(&mut buffer, copied.len() as u64).unwrap();
        if count == 0 {
            return fs::write(to, copied).unwrap();
        }
        copied.extend_from_slice(&buffer[..count]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_taken_at_any_moment_holds_all_that_was_acknowledged_before() {
    let root_dir = tempfile::tempdir().unwrap();
    let dir = root_dir.path().join("live");
    let store = begun(&dir).await;
    let (acknowledged, done) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicBool::new(false)));
    let writer = tokio::spawn({
        let (store, acknowledged, done) = (store.clone(), Arc::clone(&acknowledged), Arc::clone(&done));
        async move {
            let mut value = 1;
            while !done.load(Ordering::SeqCst) {
                value += 1;
                let mut changes = vec![count(value), secret("large", 2000)];
                if value % 50 == 0 {
                    // Alice keeps her key, so that every copy opens the same way; data key and file change.
                    changes.push(recovery("alice"));
                }
                commit(&store, changes).await.unwrap();
                acknowledged.store(value, Ordering::SeqCst);
            }
        }
    });
    let mut copies = Vec::new();
    for number in 0..48 {
        let to = root_dir.path().join(format!("copy{number}"));
        fs::create_dir(&to).unwrap();
        let least = acknowledged.load(Ordering::SeqCst);
        match number % 4 {
            0 => copy_slowly(&dir.join("sealed_data"), &to.join("sealed_data"), 512),
            1 => copy_slowly(&dir.join("sealed_data"), &to.join("sealed_data"), 1),
            2 => run("cp", &["sealed_data", to.join("sealed_data").to_str().unwrap()], &dir),
            _ => run(
                "dd",
                &["if=sealed_data", &format!("of={}/sealed_data", to.display()), "bs=64", "status=none"],
                &dir,
            ),
        }
        copies.push((to, least));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    done.store(true, Ordering::SeqCst);
    writer.await.unwrap();
    let counters = store.status().counters;
    assert!(counters.compactions > 0, "{counters:?}");
    store.close().await;
    for (copy, least) in copies {
        let store = open(&copy);
        assert!(
            matches!(store.status().mode, StoreMode::Recovery { code: "no_key", .. }),
            "{copy:?}: {:?}",
            store.status()
        );
        assert!(store.opens(root("alice").expose()));
        store
            .recover(root("alice"), Box::new(|_| Ok(Vec::new())))
            .await
            .unwrap_or_else(|error| panic!("{copy:?}: {error}"));
        let value = counted(&store.snapshot());
        assert!(value >= least, "{copy:?} has {value}, and {least} was acknowledged before");
        assert_eq!(store.recovery_material().map(|material| material.sets.len()), None);
        store.close().await;
    }
}

#[tokio::test]
async fn a_restore_onto_the_live_file_is_noticed_and_loaded_at_the_restart() {
    type Way = fn(&Path);
    let ways: [Way; 3] = [
        |dir| run("cp", &["backup", "sealed_data"], dir),
        |dir| run("tar", &["xf", "backup.tar"], dir),
        |dir| run("mv", &["backup", "sealed_data"], dir),
    ];
    for way in ways {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        let store = begun(dir).await;
        run("tar", &["cf", "backup.tar", "sealed_data"], dir);
        run("cp", &["sealed_data", "backup"], dir);
        let backup = fs::read(dir.join("backup")).unwrap();
        for value in 2..6 {
            commit(&store, vec![count(value)]).await.unwrap();
        }
        way(dir);
        until(&store, &StoreMode::Superseded).await;
        assert!(matches!(commit(&store, vec![count(9)]).await, Err(CommitError::Unavailable(_))));
        assert_eq!(counted(&store.snapshot()), 5);
        store.close().await;
        assert_eq!(fs::read(dir.join("sealed_data")).unwrap(), backup);
        let store = open(dir);
        assert_eq!((store.status().mode, counted(&store.snapshot())), (StoreMode::Durable, 1));
        store.close().await;
    }
}

#[tokio::test]
async fn a_removed_file_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let missing_wait = Duration::from_millis(20);
    let store = Store::open_with(config(root.path()), StoreTuning { missing_wait, ..tuning() }, &make).unwrap();
    commit(&store, vec![manifest(""), count(3)]).await.unwrap();
    fs::remove_file(root.path().join("sealed_data")).unwrap();
    commit(&store, vec![count(4)]).await.unwrap();
    store.close().await;
    assert_eq!(counted(&open(root.path()).snapshot()), 4);
}

/// What the audit trail tells.
fn trail(store: &Store) -> Vec<String> {
    let shown = |text: &Option<String>| text.clone().unwrap_or_default();
    let state = store.snapshot();
    let entries = state.audit(marblerun_state::AuditKind::Changes).after(0);
    entries
        .map(|entry| {
            let (before, after) = (shown(&entry.before), shown(&entry.after));
            let reason = entry.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            format!("{} by {}: {before} -> {after}{reason}", entry.event.as_str(), entry.actor)
        })
        .collect()
}

#[tokio::test]
async fn an_older_state_that_is_served_tells_so_in_its_trail_once() {
    let root = tempfile::tempdir().unwrap();
    let store = begun(root.path()).await;
    let old = fs::read(root.path().join("sealed_data")).unwrap();
    commit(&store, vec![count(2)]).await.unwrap();
    store.close().await;
    fs::write(root.path().join("sealed_data"), old).unwrap();
    for _ in 0..2 {
        let store = open(root.path());
        assert_eq!(
            trail(&store),
            ["restore_accepted by coordinator: incarnation:1 -> incarnation:2 (older_than_witness)"]
        );
        store.close().await;
    }
}

#[tokio::test]
async fn a_copy_read_while_commits_go_on_holds_what_was_acknowledged_before() {
    use std::io::Read as _;

    let root = tempfile::tempdir().unwrap();
    let store = begun(root.path()).await;
    commit(&store, vec![count(7)]).await.unwrap();
    let mut copying = store.copy().unwrap();
    commit(&store, vec![count(8)]).await.unwrap();
    let mut bytes = Vec::new();
    copying.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, copying.length());
    store.close().await;
    fs::write(root.path().join("sealed_data"), bytes).unwrap();
    assert_eq!(counted(&open(root.path()).snapshot()), 7);
}

#[tokio::test]
async fn there_is_no_copy_of_what_is_not_stored_or_not_ours() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    assert_eq!(store.copy().err().unwrap().code(), "no_state");
    store.close().await;
    let store = begun(root.path()).await;
    let other = tempfile::tempdir().unwrap();
    begun(other.path()).await.close().await;
    fs::copy(other.path().join("sealed_data"), root.path().join("sealed_data")).unwrap();
    assert_eq!(store.copy().err().unwrap().code(), "not_as_expected");
}

#[tokio::test]
async fn recovery_over_the_whole_store_and_again_after_a_restart() {
    let root_dir = tempfile::tempdir().unwrap();
    begun(root_dir.path()).await.close().await;
    fs::remove_file(root_dir.path().join("sealed_key")).unwrap();
    let store = open(root_dir.path());
    assert_eq!(store.recovery_material().unwrap().sets.len(), 1);
    assert!(!store.opens(root("bob").expose()));
    assert!(store.recover(root("bob"), Box::new(|_| Ok(Vec::new()))).await.is_err());
    let seen = Arc::new(AtomicU64::new(0));
    let check = Arc::clone(&seen);
    let decide = move |state: &marblerun_state::State| {
        check.store(counted(state), Ordering::SeqCst);
        Ok(vec!["alice".to_owned()])
    };
    store.recover(root("alice"), Box::new(decide)).await.unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 1, "the check sees the state inside");
    assert_eq!(store.status().mode, StoreMode::Durable);
    assert!(store.status().head.is_some() && store.status().sequence > 0);
    commit(&store, vec![count(2)]).await.unwrap();
    store.close().await;
    let store = open(root_dir.path());
    assert_eq!((store.status().mode, counted(&store.snapshot())), (StoreMode::Durable, 2));
    assert!(store.recovery_material().is_none());
    assert_eq!(trail(&store), ["recovery by party:alice: incarnation:1 -> incarnation:2"]);
    store.close().await;
}
