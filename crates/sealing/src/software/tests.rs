use std::os::unix::fs::PermissionsExt;

use super::*;

fn host(dir: &tempfile::TempDir) -> HostKeyFile {
    HostKeyFile::new(&dir.path().join("sub/host.key"))
}

fn is_not_mine(result: Result<Zeroizing<Vec<u8>>, SealError>) -> bool {
    matches!(result, Err(SealError::NotMine(_)))
}

#[test]
fn a_plain_slot_carries_its_own_secret() {
    let slot = Plain.new_slot(SealMode::ProductKey).unwrap();
    assert_eq!(slot.params, *slot.secret);
    assert_eq!(Plain.slot_secret(&slot.params).unwrap(), slot.secret);
    let other = Plain.new_slot(SealMode::ProductKey).unwrap();
    assert_ne!(slot.secret, other.secret);
}

#[test]
fn a_plain_slot_of_another_length_is_malformed() {
    for length in [0, 31, 33] {
        assert!(matches!(Plain.slot_secret(&vec![0; length]), Err(SealError::Malformed(_))));
    }
}

#[test]
fn the_host_key_is_made_once_readable_by_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let sealer = host(&dir);
    let slot = sealer.new_slot(SealMode::ProductKey).unwrap();
    let content = fs::read(&sealer.path).unwrap();
    assert_eq!(fs::metadata(&sealer.path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(content.len(), 65);

    let again = HostKeyFile::new(&sealer.path).new_slot(SealMode::ProductKey).unwrap();
    assert_eq!(fs::read(&sealer.path).unwrap(), content);
    assert_ne!(slot.secret, again.secret);
    assert_eq!(fs::read_dir(dir.path().join("sub")).unwrap().count(), 1, "nothing is left beside the key");
}

#[test]
fn the_same_host_reproduces_a_slot_secret() {
    let dir = tempfile::tempdir().unwrap();
    let slot = host(&dir).new_slot(SealMode::UniqueKey).unwrap();
    assert_eq!(host(&dir).slot_secret(&slot.params).unwrap(), slot.secret);
    assert!(!slot.params.windows(32).any(|window| window == slot.secret.as_slice()));
}

#[test]
fn a_lost_or_changed_host_key_is_noticed_at_the_next_use() {
    let dir = tempfile::tempdir().unwrap();
    let sealer = host(&dir);
    let slot = sealer.new_slot(SealMode::ProductKey).unwrap();
    let key = fs::read(&sealer.path).unwrap();

    fs::remove_file(&sealer.path).unwrap();
    assert!(is_not_mine(sealer.slot_secret(&slot.params)));
    assert!(!sealer.path.exists(), "looking for a key makes none");

    let other = sealer.new_slot(SealMode::ProductKey).unwrap();
    assert!(is_not_mine(sealer.slot_secret(&slot.params)));
    assert!(sealer.slot_secret(&other.params).is_ok());

    fs::write(&sealer.path, key).unwrap();
    assert_eq!(sealer.slot_secret(&slot.params).unwrap(), slot.secret);
}

#[test]
fn a_slot_of_another_mode_or_salt_has_another_secret() {
    let dir = tempfile::tempdir().unwrap();
    let sealer = host(&dir);
    let slot = sealer.new_slot(SealMode::ProductKey).unwrap();
    for at in [1, Params::LENGTH - 1] {
        let mut params = slot.params.clone();
        params[at] ^= 1;
        assert_ne!(sealer.slot_secret(&params).unwrap(), slot.secret);
    }
}

#[test]
fn malformed_parameters_are_refused_before_the_key_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let sealer = host(&dir);
    let slot = sealer.new_slot(SealMode::ProductKey).unwrap();
    fs::remove_file(&sealer.path).unwrap();
    let mut newer = slot.params.clone();
    newer[0] = 2;
    let short = slot.params[..Params::LENGTH - 1].to_vec();
    let long = [slot.params, vec![0]].concat();
    for params in [vec![], short, long, newer] {
        assert!(matches!(sealer.slot_secret(&params), Err(SealError::Malformed(_))));
    }
}

#[test]
fn a_damaged_host_key_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let sealer = host(&dir);
    let slot = sealer.new_slot(SealMode::ProductKey).unwrap();
    for content in ["", "abc", &"g".repeat(64), &"0".repeat(66), &"0".repeat(100_000)] {
        fs::write(&sealer.path, content).unwrap();
        assert!(matches!(sealer.slot_secret(&slot.params), Err(SealError::Unavailable { .. })));
        assert!(sealer.new_slot(SealMode::ProductKey).is_err());
        assert_eq!(fs::read_to_string(&sealer.path).unwrap(), content);
    }
}

#[test]
fn hosts_that_start_at_the_same_moment_agree_on_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let slots: Vec<NewSlot> = std::thread::scope(|scope| {
        let starts: Vec<_> =
            (0..8).map(|_| scope.spawn(|| host(&dir).new_slot(SealMode::ProductKey).unwrap())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    for slot in slots {
        assert_eq!(host(&dir).slot_secret(&slot.params).unwrap(), slot.secret);
    }
}

#[test]
fn the_derivation_never_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("host.key");
    fs::write(&path, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n").unwrap();
    let sealer = HostKeyFile::new(&path);
    let id = key_id(&sealer.read().unwrap()).unwrap();
    assert_eq!(hex::encode(id), KEY_ID);
    let params = Params { version: 1, mode: 0, key_id: id, salt: [0x40; SECRET] };
    assert_eq!(hex::encode(&*sealer.slot_secret(&params.encode()).unwrap()), SLOT_SECRET);
}

// Computed with Python's hmac module from the definition (RFC 5869).
const KEY_ID: &str = "65c9c630d256d78272dd67a36ff7c2f3";
const SLOT_SECRET: &str = "2cdfcf4d9113447fcfc9e5c8a0cc9541ab47e5a3ab0222729be0e8ef05343945";
