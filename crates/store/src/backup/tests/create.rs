use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jiff::Timestamp;

use super::*;

fn code<T>(result: Result<T, BackupError>) -> &'static str {
    result.err().map_or("done", |error| error.code())
}

#[test]
fn a_backup_in_a_folder_is_named_for_time_and_sequence_and_readable_by_its_owner_alone() {
    let mut seal = Deployment::new(1, 0).seal(41);
    seal.commit();
    let folder = seal.home.path().join("backups");
    fs::create_dir(&folder).unwrap();
    let now: Timestamp = "2026-03-04T05:06:07.89Z".parse().unwrap();
    let made = create(&seal.dir, &folder, now).unwrap();
    assert_eq!(made.path, folder.join("sealed_data.20260304T050607Z.42"));
    assert_eq!(mode(&made.path), 0o600);
    assert_eq!(names(&folder), ["sealed_data.20260304T050607Z.42"]);
    assert!(matches!(made.facts.condition, Condition::Whole));
    assert_eq!(fs::read(&made.path).unwrap().len(), fs::read(seal.data()).unwrap().len());
    assert_eq!(code(create(&seal.dir, &folder, now)), "exists", "not overwritten");
}

#[test]
fn nothing_is_overwritten_and_nothing_is_left_behind_by_a_failure() {
    let seal = Deployment::new(1, 0).seal(41);
    let target = seal.home.path().join("target");
    fs::write(&target, b"precious").unwrap();
    assert_eq!(code(create(&seal.dir, &target, Timestamp::now())), "exists");
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    let missing = seal.home.path().join("missing/target");
    assert_eq!(code(create(&seal.dir, &missing, Timestamp::now())), "io");

    let empty = seal.home.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert_eq!(code(create(&empty, &seal.home.path().join("new"), Timestamp::now())), "no_state");
    fs::write(seal.data(), &fs::read(seal.data()).unwrap()[..9000]).unwrap();
    assert_eq!(code(create(&seal.dir, &seal.home.path().join("new"), Timestamp::now())), "cut_short");
    assert_eq!(names(seal.home.path()), ["empty", "seal", "target"]);
}

#[test]
fn bytes_that_were_never_durable_are_left_out() {
    let deployment = Deployment::new(1, 0);
    let seal = deployment.seal(41);
    let whole = fs::read(seal.data()).unwrap();
    fs::write(seal.data(), [whole.as_slice(), &[7; 100]].concat()).unwrap();
    let made = fs::read(seal.backup()).unwrap();
    assert_eq!(made, whole);
}

#[test]
fn what_the_backup_has_is_marked_so_that_a_cut_of_it_is_seen() {
    let mut seal = Deployment::new(1, 0).seal(41);
    // Durable, but the mark is not written yet: the crash came before it.
    let record = seal.tail.seal_delta(1, &[counter(42)]).unwrap();
    let file = fs::OpenOptions::new().append(true).open(seal.data()).unwrap();
    std::io::Write::write_all(&mut &file, &record.bytes).unwrap();
    seal.tail.advance(&record);
    let backup = seal.backup();
    let bytes = fs::read(&backup).unwrap();
    assert_eq!(inspect(&backup).unwrap().sealed.unwrap().sequence, 42);
    fs::write(&backup, &bytes[..bytes.len() - record.bytes.len()]).unwrap();
    assert_eq!(inspect(&backup).unwrap().condition.code(), "cut_short");
}

#[test]
fn a_backup_of_a_running_coordinator_holds_all_that_was_acknowledged_before() {
    let deployment = Deployment::new(1, 0);
    let mut seal = deployment.seal(1);
    let (dir, home) = (seal.dir.clone(), seal.home.path().to_path_buf());
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(1));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                for _ in 0..20 {
                    seal.commit();
                    acknowledged.store(seal.tail.sequence, Ordering::SeqCst);
                }
                // Compaction: another file, by a rename.
                let mut state = deployment.state.clone();
                state.apply(&counter(seal.tail.sequence)).unwrap();
                let (new, sequence) = (dir.join("sealed_data.new"), seal.tail.sequence);
                let spec = FileSpec { previous_head: seal.tail.head, ..spec(&state, &deployment.dek, sequence) };
                seal.tail = deployment.write(&new, &spec);
                fs::rename(&new, dir.join(SEALED_DATA)).unwrap();
            }
        });
        for round in 0..60 {
            let before = acknowledged.load(Ordering::SeqCst);
            let folder = home.join(format!("backups-{round}"));
            fs::create_dir(&folder).unwrap();
            let made = create(&dir, &folder, Timestamp::now()).unwrap();
            let (path, sequence) = (made.path, made.facts.sealed.unwrap().sequence);
            assert!(path.to_string_lossy().ends_with(&format!("Z.{sequence}")), "named for what is in it: {path:?}");
            assert!(sequence >= before, "{sequence} < {before}");
            let opened = crate::format::open(&fs::read(&path).unwrap(), &deployment.dek, Default::default()).unwrap();
            assert_eq!((opened.tail.sequence, opened.torn), (sequence, None));
            if round % 10 == 0 {
                assert_eq!(verify(&path, &keys(&[0])).unwrap().sequence, Some(sequence));
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_state_of_the_go_coordinator_is_backed_up_also_while_its_name_is_missing_for_an_instant() {
    let home = TempDir::new().unwrap();
    let seal = home.path().join("seal");
    fs::create_dir(&seal).unwrap();
    let data = include_bytes!("../../../tests/fixtures/upstream/single/sealed_data");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(60));
            fs::write(seal.join("tmp"), data).unwrap();
            fs::rename(seal.join("tmp"), seal.join(SEALED_DATA)).unwrap();
        });
        let made = create(&seal, home.path(), "2026-03-04T05:06:07Z".parse().unwrap()).unwrap();
        assert_eq!(made.path.file_name().unwrap(), "sealed_data.20260304T050607Z.upstream");
        assert_eq!(made.facts.condition.code(), "upstream");
        assert_eq!(fs::read(made.path).unwrap(), data);
    });
}
