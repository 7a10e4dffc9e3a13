//! States to seal in tests.

use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use marblerun_manifest::model::SecretKind;
use marblerun_pki::{Authority, Secret, SubjectAltNames};
use marblerun_recovery::{RecoveryRoot, RecoverySet, Scheme};
use marblerun_state::{Change, CounterKey, Lineage, Phase, RecoveryEntry, RootSecret, State};
use zeroize::Zeroizing;

use super::{Dek, DekId, FileSpec, FileWriter, Head, Tail};

/// What the recovery secrets of the sample combine to.
pub(crate) const ROOT: [u8; 32] = [0x52; 32];

static AUTHORITY: LazyLock<Arc<Authority>> =
    LazyLock::new(|| Arc::new(Authority::generate(&SubjectAltNames::default(), Timestamp::now()).unwrap()));

/// A running state with a recovery set and a counter.
pub(crate) fn state() -> State {
    let lineage = Lineage { deployment_id: [1; 16], incarnation: 1, incarnation_id: [2; 16] };
    let secret = RootSecret(Zeroizing::new(vec![3; 32]));
    let mut state = State::new(Phase::AcceptingManifest, lineage, Arc::clone(&AUTHORITY), secret);
    for change in [manifest("{}"), recovery(), counter(1), Change::Log(vec!["{}".into()])] {
        state.apply(&change).unwrap();
    }
    state
}

pub(crate) fn manifest(raw: &str) -> Change {
    Change::Manifest { raw: raw.as_bytes().to_vec().into(), signature: vec![1, 2, 3] }
}

pub(crate) fn recovery() -> Change {
    let set = RecoverySet {
        scheme: Scheme::Single,
        threshold: 1,
        epoch: [4; 16],
        parties: vec![marblerun_recovery::Party {
            name: "alice".into(),
            public_key: vec![5; 30],
            commitment: Some([6; 32]),
            encrypted_secret: vec![7; 256],
        }],
        unassigned_commitments: Vec::new(),
    };
    Change::Recovery(vec![Arc::new(RecoveryEntry { set, root: RecoveryRoot::new(Zeroizing::new(ROOT.to_vec())) })])
}

pub(crate) fn counter(value: u64) -> Change {
    Change::Counter(CounterKey { marble_type: "m".into(), uuid: [9; 16], name: "c".into() }, value)
}

pub(crate) fn secret(name: &str, value: Vec<u8>) -> Change {
    let value = Zeroizing::new(value);
    let secret = Secret {
        kind: SecretKind::Plain,
        size: 0,
        shared: false,
        user_defined: true,
        valid_for: 0,
        certificate: None,
        public: Some(value.clone()),
        private: Some(value),
    };
    Change::Secret(name.into(), Some(Arc::new(secret)))
}

/// What two states have in common if they are equal: the bytes of their snapshots.
pub(crate) fn content(state: &State) -> Vec<Vec<u8>> {
    state.to_changes().map(|change| change.encode().to_vec()).collect()
}

/// How the sample is sealed.
pub(crate) fn spec<'a>(state: &'a State, dek: &'a Dek, sequence: u64) -> FileSpec<'a> {
    FileSpec {
        state,
        sequence,
        time_ms: 1_700_000_000_000 + sequence,
        previous_head: Head::default(),
        dek,
        dek_id: DekId([8; 16]),
        slots: Vec::new(),
        writer: "test 1.0",
        recovery_in_header: true,
        marks: true,
    }
}

/// Seals into memory, mark included.
pub(crate) fn seal(spec: &FileSpec<'_>) -> (Vec<u8>, Tail) {
    let (mut bytes, mut tail) = FileWriter::create(Vec::new(), spec).unwrap().finish().unwrap();
    mark(&mut bytes, &mut tail);
    (bytes, tail)
}

/// Writes the mark.
pub(crate) fn mark(bytes: &mut [u8], tail: &mut Tail) {
    if let Some(write) = tail.mark() {
        bytes[write.offset as usize..][..write.bytes.len()].copy_from_slice(&write.bytes);
    }
}

/// Appends a delta and marks it.
pub(crate) fn append(bytes: &mut Vec<u8>, tail: &mut Tail, changes: &[Change]) {
    let record = tail.seal_delta(1_800_000_000_000, changes).unwrap();
    bytes.extend_from_slice(&record.bytes);
    tail.advance(&record);
    mark(bytes, tail);
}
