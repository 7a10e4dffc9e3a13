use std::os::unix::fs::symlink;

use super::*;

fn files(entries: &[(&str, &[u8])]) -> BTreeMap<String, Zeroizing<Vec<u8>>> {
    entries.iter().map(|(name, contents)| ((*name).to_owned(), Zeroizing::new(contents.to_vec()))).collect()
}

fn apply(entries: &[(&str, &[u8])], base: &Path) -> Result<(), FileError> {
    stage(&files(entries), base)?.commit()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Every path below a directory, with contents and mode.
fn tree(base: &Path) -> BTreeMap<PathBuf, (Option<Vec<u8>>, u32)> {
    let mut tree = BTreeMap::new();
    let mut open = vec![base.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let there = fs::symlink_metadata(&path).unwrap();
            if there.is_dir() {
                open.push(path.clone());
            }
            let contents = there.is_file().then(|| fs::read(&path).unwrap());
            tree.insert(path, (contents, there.permissions().mode()));
        }
    }
    tree
}

#[test]
fn files_and_directories_are_for_their_owner_alone() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path();
    let absolute = base.join("abs/x");
    apply(&[("a", b"1"), ("d/e/f", &[0, 255]), ("d/g", b""), (absolute.to_str().unwrap(), b"2")], base).unwrap();
    assert_eq!(fs::read(base.join("a")).unwrap(), b"1");
    assert_eq!(fs::read(base.join("d/e/f")).unwrap(), [0, 255]);
    assert_eq!(fs::read(base.join("d/g")).unwrap(), b"");
    assert_eq!(fs::read(absolute).unwrap(), b"2");
    assert_eq!(mode(&base.join("a")), 0o600);
    assert_eq!(mode(&base.join("d")), 0o700);
    assert_eq!(mode(&base.join("d/e")), 0o700);
    assert_eq!(tree(base).len(), 7, "nothing else is left: {:?}", tree(base).keys());
}

#[test]
fn a_file_that_is_there_is_replaced_and_keeps_its_mode() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("a");
    fs::write(&path, b"a longer text than the new one").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    apply(&[("a", b"new")], base.path()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(mode(&path), 0o640);
    assert_eq!(tree(base.path()).len(), 1);
}

#[test]
fn a_link_is_replaced_and_what_it_points_to_left_alone() {
    let base = tempfile::tempdir().unwrap();
    let outside = base.path().join("outside");
    fs::write(&outside, b"untouched").unwrap();
    symlink(&outside, base.path().join("link")).unwrap();
    symlink("nowhere", base.path().join("dangling")).unwrap();
    apply(&[("link", b"secret"), ("dangling", b"secret")], base.path()).unwrap();
    assert_eq!(fs::read(&outside).unwrap(), b"untouched");
    assert!(fs::symlink_metadata(base.path().join("link")).unwrap().is_file());
    assert_eq!(fs::read(base.path().join("dangling")).unwrap(), b"secret");
    assert!(!base.path().join("nowhere").exists());
}

#[test]
fn one_file_that_cannot_be_written_leaves_everything_as_it_was() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path();
    fs::write(base.join("there"), b"old").unwrap();
    fs::create_dir(base.join("directory")).unwrap();
    let before = tree(base);
    for bad in ["directory", "there/below", "", "..", "x/", "new/"] {
        let error = apply(&[("a/b/c", b"1"), ("there", b"2"), (bad, b"3")], base).unwrap_err();
        assert_eq!(error.path, Path::new(bad), "{error}");
        assert_eq!(tree(base), before, "{bad}");
    }
    let error = apply(&[("p", b"1"), ("p/q", b"2")], base).unwrap_err();
    assert_eq!(error.path, base.join("p"), "{error}");
    assert_eq!(tree(base), before);
}

#[test]
fn a_failure_while_files_are_put_in_place_takes_all_back() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path();
    fs::write(base.join("a"), b"old a").unwrap();
    fs::write(base.join("m"), b"old m").unwrap();
    let before = tree(base);
    let staged = stage(&files(&[("a", b"new a"), ("d/b", b"new b"), ("m", b"new m"), ("z", b"new z")]), base).unwrap();
    // Something comes in the way of the last one.
    fs::create_dir_all(base.join("z/full")).unwrap();
    fs::remove_file(&staged.files[3].new).unwrap();
    let error = staged.commit().unwrap_err();
    assert_eq!(error.path, base.join("z"));
    fs::remove_dir_all(base.join("z")).unwrap();
    assert_eq!(tree(base), before);
}

#[test]
fn staged_files_that_are_never_put_in_place_vanish() {
    let base = tempfile::tempdir().unwrap();
    drop(stage(&files(&[("a/b/c", b"1"), ("d", b"2")]), base.path()).unwrap());
    assert!(tree(base.path()).is_empty());
}

#[test]
fn gramine_s_keys_are_set_before_any_other_file_is_touched() {
    let base = tempfile::tempdir().unwrap();
    let gramine = base.path().join("dev/attestation");
    fs::create_dir_all(gramine.join("keys")).unwrap();
    let key = gramine.join("keys/default");
    fs::write(&key, b"something longer than sixteen bytes").unwrap();
    // It sorts before the key, and cannot be written.
    let all = files(&[("a", b"1"), ("dev/x/../attestation/keys/default", &[7; 16]), ("b/", b"2")]);
    stage_in(&all, base.path(), &gramine).unwrap_err();
    assert_eq!(fs::read(&key).unwrap(), [7; 16], "the value alone, in place");
    assert_eq!(fs::read_dir(gramine.join("keys")).unwrap().count(), 1, "nothing beside it");
    assert!(!base.path().join("a").exists());

    let all = files(&[("a", b"1"), ("dev/attestation/keys/default", &[8; 16])]);
    stage_in(&all, base.path(), &gramine).unwrap().commit().unwrap();
    assert_eq!((fs::read(&key).unwrap(), fs::read(base.path().join("a")).unwrap()), (vec![8; 16], b"1".to_vec()));
}

#[test]
fn a_key_that_gramine_does_not_know_is_an_error_and_no_new_file() {
    let base = tempfile::tempdir().unwrap();
    let gramine = base.path().join("dev/attestation");
    fs::create_dir_all(gramine.join("keys")).unwrap();
    let error = stage_in(&files(&[("dev/attestation/keys/other", &[7; 16])]), base.path(), &gramine).unwrap_err();
    assert_eq!(error.path, Path::new("dev/attestation/keys/other"));
    assert_eq!(fs::read_dir(gramine.join("keys")).unwrap().count(), 0);
    // A key that does not take its value.
    symlink("/dev/full", gramine.join("keys/full")).unwrap();
    let error = stage_in(&files(&[("dev/attestation/keys/full", &[7; 16])]), base.path(), &gramine).unwrap_err();
    assert!(error.reason.contains("No space left"), "{error}");
}

#[test]
fn where_there_is_no_gramine_its_keys_are_files_as_all_others() {
    let base = tempfile::tempdir().unwrap();
    let gramine = base.path().join("dev/attestation");
    stage_in(&files(&[("dev/attestation/keys/default", b"k")]), base.path(), &gramine).unwrap().commit().unwrap();
    assert_eq!(mode(&gramine.join("keys/default")), 0o600);
}
