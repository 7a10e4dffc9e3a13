//! A copy that is read from a live directory and arrives elsewhere.

use std::io::Read as _;

use jiff::Timestamp;

use super::*;

/// Reads a copy in small pieces, so that marks fall on their borders too.
fn bytes_of(dir: &Path, piece: usize) -> Vec<u8> {
    let mut copying = copy_of(dir).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = vec![0; piece];
    loop {
        match copying.read(&mut buffer).unwrap() {
            0 => break,
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
    assert_eq!(bytes.len() as u64, copying.length());
    bytes
}

#[test]
fn a_copy_is_the_same_in_pieces_of_any_size_and_as_one_made_here() {
    let mut seal = Deployment::new(1, 0).seal(41);
    seal.commit();
    let here = &seal.dir;
    let whole = fs::read(seal.backup()).unwrap();
    for piece in [1, 7, 4096, 5000, 1 << 20] {
        assert!(bytes_of(here, piece) == whole, "in pieces of {piece}");
    }
}

#[test]
fn what_arrives_whole_gets_its_name_and_is_private() {
    let seal = Deployment::new(1, 0).seal(41);
    let bytes = bytes_of(&seal.dir, 1 << 16);
    let backups = seal.home.path().join("backups");
    fs::create_dir(&backups).unwrap();
    let mut incoming = Incoming::begin(&backups).unwrap();
    bytes.chunks(1000).for_each(|chunk| incoming.write(chunk).unwrap());
    let created = incoming.finish(Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(fs::read(&created.path).unwrap(), bytes);
    assert_eq!(mode(&created.path), 0o600);
    assert_eq!(names(&backups), ["sealed_data.19700101T000000Z.41"]);
}

#[test]
fn what_does_not_arrive_whole_leaves_nothing() {
    let seal = Deployment::new(1, 0).seal(41);
    let bytes = bytes_of(&seal.dir, 1 << 16);
    let target = seal.home.path().join("target");
    for kept in [0, 100, bytes.len() - 1] {
        let mut incoming = Incoming::begin(&target).unwrap();
        incoming.write(&bytes[..kept]).unwrap();
        assert!(matches!(incoming.finish(Timestamp::UNIX_EPOCH), Err(BackupError::NotWhole { .. })), "{kept}");
        assert!(!target.exists());
    }
    let mut incoming = Incoming::begin(&target).unwrap();
    incoming.write(&bytes).unwrap();
    drop(incoming);
    assert!(!target.exists());
    fs::write(&target, "precious").unwrap();
    assert!(matches!(Incoming::begin(&target), Err(BackupError::Exists { .. })));
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert_eq!(names(seal.home.path()), ["seal", "target"]);
}
