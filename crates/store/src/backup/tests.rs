//! A seal directory as a Coordinator keeps it, and keys of its parties.

mod create;
mod export;
mod export_secret;
mod facts;
mod open;
mod parts;
mod receive;
mod restore;
mod verify;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use marblerun_recovery::{Established, establish};
use marblerun_sealing::SlotKind;
use marblerun_state::{Change, RecoveryEntry, State};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;
use crate::format::state_sample::{counter, manifest, mark, spec, state};
use crate::format::{Dek, DekId, FileSpec, FileWriter, KeyEntry, SEALED_KEY, SealedKey, Slot, Tail, Witness};

const NAMES: [&str; 3] = ["alice", "bob", "carol"];

const PUBLIC: [&str; 3] = [
    include_str!("../../tests/fixtures/keys/recovery1_pub.pem"),
    include_str!("../../tests/fixtures/keys/recovery2_pub.pem"),
    include_str!("../../tests/fixtures/keys/recovery3_pub.pem"),
];

const PRIVATE: [&str; 3] = [
    include_str!("../../tests/fixtures/keys/recovery1_priv.pem"),
    include_str!("../../tests/fixtures/keys/recovery2_priv.pem"),
    include_str!("../../tests/fixtures/keys/recovery3_priv.pem"),
];

/// Parties by number.
fn keys(parties: &[usize]) -> VerifyWith {
    let private_keys = parties.iter().map(|party| Zeroizing::new(PRIVATE[*party].to_owned())).collect();
    VerifyWith { private_keys, ..VerifyWith::default() }
}

/// A deployment with the first `count` parties.
struct Deployment {
    state: State,
    established: Established,
    dek: Dek,
}

impl Deployment {
    fn new(count: usize, threshold: u64) -> Self {
        let keys: BTreeMap<String, String> =
            NAMES.iter().zip(PUBLIC).take(count).map(|(name, pem)| ((*name).to_owned(), pem.to_owned())).collect();
        let list: Vec<String> = keys.iter().map(|(name, pem)| format!("{name:?}:{pem:?}")).collect();
        let raw =
            format!("{{\"RecoveryKeys\":{{{}}},\"Config\":{{\"RecoveryThreshold\":{threshold}}}}}", list.join(","));
        let established = establish(&keys, threshold).unwrap().unwrap();
        let entry = RecoveryEntry { set: established.set.clone(), root: established.root.clone() };
        let mut state = state();
        state.apply(&manifest(&raw)).unwrap();
        state.apply(&Change::Recovery(vec![Arc::new(entry)])).unwrap();
        Self { state, established, dek: Dek::generate().unwrap() }
    }

    fn spec(&self, sequence: u64) -> FileSpec<'_> {
        spec(&self.state, &self.dek, sequence)
    }

    /// A seal directory with this state.
    fn seal(&self, sequence: u64) -> Seal {
        let home = TempDir::new().unwrap();
        let dir = home.path().join("seal");
        fs::create_dir(&dir).unwrap();
        let tail = self.write(&dir.join(SEALED_DATA), &self.spec(sequence));
        let dek_id = DekId([8; 16]);
        let slot = Slot::wrap(SlotKind::Plain, &[1; 32], &self.dek, dek_id, "plain", &[1; 32]).unwrap();
        let witness =
            Witness { incarnation: 1, incarnation_id: [2; 16], sequence, heads: vec![tail.head], counter: None };
        let entry = KeyEntry::new(dek_id, vec![slot], false, Some(witness), &self.dek);
        fs::write(dir.join(SEALED_KEY), SealedKey { entries: vec![entry] }.encode().unwrap()).unwrap();
        Seal { home, dir, tail }
    }

    /// A sealed file.
    fn write(&self, path: &Path, spec: &FileSpec<'_>) -> Tail {
        let (mut bytes, mut tail) = FileWriter::create(Vec::new(), spec).unwrap().finish().unwrap();
        mark(&mut bytes, &mut tail);
        fs::write(path, bytes).unwrap();
        tail
    }
}

/// A seal directory, and what its Coordinator needs to go on.
struct Seal {
    home: TempDir,
    dir: PathBuf,
    tail: Tail,
}

impl Seal {
    fn data(&self) -> PathBuf {
        self.dir.join(SEALED_DATA)
    }

    /// Commits as a Coordinator does: record, sync, mark.
    fn commit(&mut self) {
        let file = fs::OpenOptions::new().write(true).open(self.data()).unwrap();
        self.commit_to(&file);
    }

    fn commit_to(&mut self, file: &fs::File) {
        let record = self.tail.seal_delta(1_800_000_000_000, &[counter(self.tail.sequence + 1)]).unwrap();
        file.write_all_at(&record.bytes, self.tail.end).unwrap();
        self.tail.advance(&record);
        let write = self.tail.mark().unwrap();
        file.write_all_at(&write.bytes, write.offset).unwrap();
    }

    /// Makes a backup beside the directory.
    fn backup(&self) -> PathBuf {
        let path = self.home.path().join(format!("backup-{}", self.tail.sequence));
        create(&self.dir, &path, jiff::Timestamp::now()).unwrap().path
    }

    /// All names in the directory.
    fn names(&self) -> Vec<String> {
        names(&self.dir)
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
