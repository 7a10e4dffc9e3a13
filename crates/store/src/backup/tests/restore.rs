use std::fs::File;

use super::*;

fn code(result: &Result<Restored, BackupError>) -> &'static str {
    result.as_ref().map_or_else(BackupError::code, |_| "done")
}

/// Everything in a directory.
fn content(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| (name.clone(), fs::read(dir.join(name)).unwrap());
    names(dir).into_iter().filter(|name| name != "sealed_data.lock").map(read).collect()
}

#[test]
fn a_backup_is_put_in_place_in_a_directory_that_is_not_there_yet() {
    let seal = Deployment::new(1, 0).seal(41);
    let (backup, target) = (seal.backup(), seal.home.path().join("new/seal"));
    let restored = restore(&backup, &target, false).unwrap();
    assert_eq!(restored.facts.sealed.unwrap().sequence, 41);
    assert!(restored.archived.is_empty() && !restored.running && !restored.key_here);
    assert_eq!(fs::read(target.join(SEALED_DATA)).unwrap(), fs::read(&backup).unwrap());
    assert_eq!((mode(&target), mode(&target.join(SEALED_DATA))), (0o700, 0o600));
    assert_eq!(names(&target), [SEALED_DATA]);
}

#[test]
fn what_is_replaced_is_kept_and_the_host_key_stays() {
    let mut seal = Deployment::new(1, 0).seal(41);
    let backup = seal.backup();
    seal.commit();
    let (data, key) = (fs::read(seal.data()).unwrap(), fs::read(seal.dir.join(SEALED_KEY)).unwrap());
    let restored = restore(&backup, &seal.dir, true).unwrap();
    let archived = ["sealed_data.42.restored", "sealed_key.42.restored"].map(|name| seal.dir.join(name));
    assert_eq!(restored.archived, archived);
    assert!(restored.key_here, "the host opens it by itself, if nothing forbids it");
    assert_eq!(fs::read(&archived[0]).unwrap(), data);
    assert_eq!(fs::read(&archived[1]).unwrap(), key);
    assert_eq!(fs::read(seal.dir.join(SEALED_KEY)).unwrap(), key);
    assert_eq!(fs::read(seal.data()).unwrap(), fs::read(&backup).unwrap());
    assert!(archived.iter().all(|path| mode(path) == 0o600));
    // And back again: the archive is a backup like any other.
    restore(&archived[0], &seal.dir, false).unwrap();
    assert_eq!(inspect(&seal.dir).unwrap().sealed.unwrap().sequence, 42);
    assert!(seal.names().contains(&"sealed_data.41.restored".to_owned()));
}

#[test]
fn a_newer_state_is_replaced_only_by_force() {
    let mut seal = Deployment::new(1, 0).seal(41);
    let backup = seal.backup();
    assert_eq!(code(&restore(&backup, &seal.dir, false)), "done", "the same state");
    seal.commit();
    let newer = seal.backup();
    let before = content(&seal.dir);
    let refused = restore(&backup, &seal.dir, false);
    assert_eq!(code(&refused), "newer_state");
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("sequence 42") && message.contains("--force"), "{message}");
    assert_eq!(content(&seal.dir), before, "nothing has changed");
    assert_eq!(code(&restore(&backup, &seal.dir, true)), "done");
    assert_eq!(code(&restore(&newer, &seal.dir, false)), "done", "a newer backup replaces an older state");
}

#[test]
fn a_state_that_went_another_way_counts_as_newer() {
    let deployment = Deployment::new(1, 0);
    let mut seal = deployment.seal(41);
    let copy = fs::read(seal.data()).unwrap();
    let tail = seal.tail.clone();
    seal.commit();
    let backup = seal.backup();
    fs::write(seal.data(), copy).unwrap();
    seal.tail = tail;
    seal.commit();
    assert_eq!(code(&restore(&backup, &seal.dir, false)), "newer_state", "same sequence, other changes");
}

#[test]
fn only_a_later_life_replaces_another_one() {
    let mut deployment = Deployment::new(1, 0);
    let first = deployment.seal(50);
    let lineage = marblerun_state::Lineage { incarnation: 2, incarnation_id: [7; 16], ..*deployment.state.lineage() };
    deployment.state.apply(&Change::Lineage(lineage)).unwrap();
    let second = deployment.seal(45);
    assert_eq!(code(&restore(&first.backup(), &second.dir, false)), "newer_state");
    assert_eq!(code(&restore(&second.backup(), &first.dir, false)), "done");
}

#[test]
fn another_deployment_is_replaced_only_by_force() {
    let mut deployment = Deployment::new(1, 0);
    let mine = deployment.seal(50);
    let lineage = marblerun_state::Lineage { deployment_id: [9; 16], ..*deployment.state.lineage() };
    deployment.state.apply(&Change::Lineage(lineage)).unwrap();
    let theirs = deployment.seal(60);
    let backup = theirs.backup();
    assert_eq!(code(&restore(&backup, &mine.dir, false)), "other_deployment");
    assert_eq!(code(&restore(&backup, &mine.dir, true)), "done");
}

#[test]
fn what_cannot_be_compared_is_replaced_only_by_force_and_kept_to_the_byte() {
    let seal = Deployment::new(1, 0).seal(41);
    let backup = seal.backup();
    for foreign in
        [b"".to_vec(), vec![0; 5000], include_bytes!("../../../tests/fixtures/upstream/single/sealed_data").to_vec()]
    {
        fs::write(seal.data(), &foreign).unwrap();
        assert_eq!(code(&restore(&backup, &seal.dir, false)), "unknown_state");
        assert_eq!(fs::read(seal.data()).unwrap(), foreign);
        let restored = restore(&backup, &seal.dir, true).unwrap();
        assert_eq!(fs::read(&restored.archived[0]).unwrap(), foreign);
    }
}

#[test]
fn a_damaged_state_is_replaced_if_the_backup_has_all_it_had_and_is_kept_to_the_byte() {
    let mut seal = Deployment::new(1, 0).seal(41);
    seal.commit();
    let backup = seal.backup();
    let mut damaged = fs::read(seal.data()).unwrap();
    let at = damaged.len() - 60;
    damaged[at] ^= 1;
    fs::write(seal.data(), &damaged).unwrap();
    let restored = restore(&backup, &seal.dir, false).unwrap();
    assert_eq!(fs::read(&restored.archived[0]).unwrap(), damaged);
}

#[test]
fn a_backup_that_is_not_whole_is_never_put_in_place() {
    let mut seal = Deployment::new(1, 0).seal(41);
    let backup = seal.backup();
    seal.commit();
    let whole = fs::read(&backup).unwrap();
    let before = content(&seal.dir);
    for (bytes, expected) in [(&whole[..whole.len() - 1], "cut_short"), (&whole[..200], "damaged"), (b"x", "damaged")] {
        fs::write(&backup, bytes).unwrap();
        assert_eq!(code(&restore(&backup, &seal.dir, true)), expected);
        assert_eq!(content(&seal.dir), before);
    }
    assert_eq!(code(&restore(&seal.home.path().join("none"), &seal.dir, true)), "io");
    // A torn end is no loss: it is left out.
    fs::write(&backup, [whole.as_slice(), &[9; 40]].concat()).unwrap();
    assert_eq!(code(&restore(&backup, &seal.dir, true)), "done");
    assert_eq!(fs::read(seal.data()).unwrap(), whole);
}

#[test]
fn where_no_archive_can_be_written_nothing_is_replaced() {
    let mut seal = Deployment::new(1, 0).seal(41);
    let backup = seal.backup();
    seal.commit();
    fs::create_dir(seal.dir.join("sealed_data.restoring.archive")).unwrap();
    let before = fs::read(seal.data()).unwrap();
    assert_eq!(code(&restore(&backup, &seal.dir, true)), "io");
    assert_eq!(fs::read(seal.data()).unwrap(), before);
    assert!(!seal.names().iter().any(|name| name.contains("restored") || name == "sealed_data.restoring"));
}

#[test]
fn a_running_coordinator_is_noticed_and_what_it_wrote_last_is_kept_too() {
    let mut seal = Deployment::new(1, 0).seal(41);
    let backup = seal.backup();
    seal.commit();
    let lock = File::create(seal.dir.join("sealed_data.lock")).unwrap();
    lock.lock().unwrap();
    let running = fs::OpenOptions::new().write(true).open(seal.data()).unwrap();
    let dir = seal.dir.clone();
    let restored = std::thread::scope(|scope| {
        let restoring = scope.spawn(|| restore(&backup, &dir, true).unwrap());
        // Its check that the file is its own came just before the replacement; the write comes after it.
        while inspect(&dir).unwrap().sealed.unwrap().sequence == 42 {
            std::thread::yield_now();
        }
        seal.commit_to(&running);
        restoring.join().unwrap()
    });
    assert!(restored.running);
    assert_eq!(restored.facts.sealed.unwrap().sequence, 41);
    let archived = inspect(&restored.archived[0]).unwrap();
    assert_eq!((archived.sealed.unwrap().sequence, archived.condition.code()), (43, "whole"));
}

#[test]
fn the_states_of_the_last_three_restores_are_kept() {
    let mut seal = Deployment::new(1, 0).seal(41);
    let backup = seal.backup();
    for i in 0..5_u64 {
        fs::write(seal.data(), fs::read(&backup).unwrap()).unwrap();
        seal.tail = Deployment::new(1, 0).seal(41).tail;
        let restored = restore(&backup, &seal.dir, true).unwrap();
        assert!(restored.archived.iter().all(|path| path.exists()), "{i}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for base in [SEALED_DATA, SEALED_KEY] {
        let kept: Vec<_> =
            seal.names().into_iter().filter(|name| name.starts_with(&format!("{base}.41.restored"))).collect();
        assert_eq!(kept.len(), 3, "{kept:?}");
    }
}

#[test]
fn what_root_restores_belongs_to_the_user_of_the_directory() {
    use std::os::unix::fs::{MetadataExt, chown};
    let mut seal = Deployment::new(1, 0).seal(41);
    let backup = seal.backup();
    seal.commit();
    if chown(&seal.dir, Some(1234), Some(1235)).is_err() {
        eprintln!("skipped: needs to run as root");
        return;
    }
    let restored = restore(&backup, &seal.dir, true).unwrap();
    for path in restored.archived.iter().chain([&seal.data()]) {
        let owner = fs::metadata(path).unwrap();
        assert_eq!((owner.uid(), owner.gid()), (1234, 1235), "{}", path.display());
    }
}
