use super::*;
use crate::format::Signature;

#[test]
fn inspecting_needs_no_key_and_tells_who_can_recover() {
    let deployment = Deployment::new(3, 2);
    let mut seal = deployment.seal(41);
    seal.commit();
    for path in [seal.backup(), seal.dir.clone(), seal.data()] {
        let facts = inspect(&path).unwrap();
        let sealed = facts.sealed.unwrap();
        assert_eq!(facts.condition.code(), "whole");
        assert_eq!((sealed.sequence, sealed.records, sealed.head), (42, Some(2), Some(seal.tail.head)));
        assert_eq!(sealed.time_ms, 1_800_000_000_000);
        assert_eq!(sealed.deployment_id, [1; 16]);
        assert_eq!(sealed.writer, "test 1.0");
        assert_eq!(sealed.signature, Signature::Valid);
        assert_eq!(sealed.manifest_fingerprint, deployment.state.manifest().unwrap().fingerprint);
        assert_eq!(sealed.root_certificate, deployment.state.authority().root_certificate);
        assert_eq!(sealed.slots, [(Some(SlotKind::Recovery), "recovery".to_owned())]);
        let names: Vec<_> = facts.recovery[0].parties.iter().map(|party| party.name.as_str()).collect();
        assert_eq!((names, facts.recovery[0].threshold), (NAMES.to_vec(), 2));
    }
}

#[test]
fn damage_is_told_and_is_no_error_of_inspecting() {
    let mut seal = Deployment::new(1, 0).seal(41);
    seal.commit();
    let whole = fs::read(seal.data()).unwrap();
    let condition = |bytes: &[u8]| {
        fs::write(seal.data(), bytes).unwrap();
        let facts = inspect(&seal.dir).unwrap();
        (facts.condition.code(), facts.sealed.map(|sealed| sealed.sequence))
    };
    assert_eq!(condition(&[&whole[..], &[1; 9]].concat()), ("torn", Some(42)));
    assert_eq!(condition(&whole[..whole.len() - 1]), ("cut_short", Some(41)));
    assert_eq!(condition(&whole[..8192 + 10]), ("cut_short", Some(41)));
    assert_eq!(condition(&whole[..100]), ("damaged", None));
    assert_eq!(condition(b""), ("damaged", None));
    let mut newer = whole.clone();
    newer[8] = 9;
    assert_eq!(condition(&newer), ("newer_format", None));
}

#[test]
fn what_is_not_there_is_an_error() {
    let home = TempDir::new().unwrap();
    assert_eq!(inspect(home.path()).unwrap_err().code(), "no_state");
    assert_eq!(inspect(&home.path().join("none")).unwrap_err().code(), "io");
    assert_eq!(list(&home.path().join("none")).unwrap_err().code(), "io");
}

#[test]
fn states_of_the_go_coordinator_are_recognised() {
    for (name, sets, hashes) in [("single", 1, 0), ("multi-xor-2", 1, 2), ("shamir-2of3", 1, 3)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/upstream").join(name);
        let facts = inspect(&path).unwrap();
        assert_eq!(facts.condition.code(), "upstream");
        assert!(facts.sealed.is_none());
        assert_eq!(facts.recovery.len(), sets);
        assert_eq!(facts.recovery[0].unassigned_commitments.len(), hashes);
    }
}

#[test]
fn backups_in_a_folder_are_listed_oldest_first_with_the_damaged_ones() {
    let mut seal = Deployment::new(1, 0).seal(41);
    let folder = seal.home.path().join("backups");
    fs::create_dir(&folder).unwrap();
    assert_eq!(list(&folder).unwrap().len(), 0);
    fs::copy(seal.data(), folder.join("z-first")).unwrap();
    seal.commit();
    fs::copy(seal.data(), folder.join("a-second")).unwrap();
    seal.commit();
    let cut = &fs::read(seal.data()).unwrap()[..9000];
    fs::write(folder.join("cut"), cut).unwrap();
    fs::write(folder.join("sealed_data.garbage"), b"garbage").unwrap();
    fs::write(folder.join("notes.txt"), b"to do").unwrap();
    fs::create_dir(folder.join("sealed_data.d")).unwrap();
    let found: Vec<_> = list(&folder)
        .unwrap()
        .into_iter()
        .map(|facts| (facts.path.file_name().unwrap().to_str().unwrap().to_owned(), facts.condition.code()))
        .collect();
    let expected =
        [("sealed_data.garbage", "damaged"), ("cut", "cut_short"), ("z-first", "whole"), ("a-second", "whole")];
    assert_eq!(found, expected.map(|(name, code)| (name.to_owned(), code)));
}
