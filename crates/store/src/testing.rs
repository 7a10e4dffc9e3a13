//! States, changes and manifests for the tests of this crate.

use std::sync::{Arc, OnceLock};

use marblerun_manifest::model::SecretKind;
use marblerun_pki::{Authority, Secret, SubjectAltNames};
use marblerun_recovery::{Party, RecoveryRoot, RecoverySet, Scheme};
use marblerun_state::{Change, CounterKey, Lineage, Phase, RecoveryEntry, RootSecret, State};
use zeroize::Zeroizing;

/// An authority; one is enough for tests that do not compare deployments.
fn authority() -> Arc<Authority> {
    static AUTHORITY: OnceLock<Arc<Authority>> = OnceLock::new();
    Arc::clone(AUTHORITY.get_or_init(|| Arc::new(new_authority())))
}

fn new_authority() -> Authority {
    Authority::generate(&SubjectAltNames::default(), jiff::Timestamp::now()).unwrap()
}

/// What the Coordinator makes when the store asks for a temporary state.
pub(crate) fn make(phase: Phase) -> Result<State, String> {
    Ok(with_authority(phase, authority()))
}

/// The same with an authority of its own.
pub(crate) fn make_another(phase: Phase) -> Result<State, String> {
    Ok(with_authority(phase, Arc::new(new_authority())))
}

fn with_authority(phase: Phase, authority: Arc<Authority>) -> State {
    let mut deployment_id = [0; 16];
    aws_lc_rs::rand::fill(&mut deployment_id).unwrap();
    let lineage = Lineage { deployment_id, incarnation: 1, incarnation_id: deployment_id };
    State::new(phase, lineage, authority, RootSecret(Zeroizing::new(vec![7; 32])))
}

/// A manifest with that seal mode comes into force.
pub(crate) fn manifest(seal_mode: &str) -> Change {
    let raw = format!(r#"{{"Packages":{{}},"Marbles":{{}},"Config":{{"SealMode":"{seal_mode}"}}}}"#);
    Change::Manifest { raw: raw.into(), signature: vec![1, 2, 3] }
}

/// The recovery root of a party called `name`.
pub(crate) fn root(name: &str) -> RecoveryRoot {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
    RecoveryRoot::new(Zeroizing::new(digest.as_ref().to_vec()))
}

/// The party called `name` is the one that can recover.
pub(crate) fn recovery(name: &str) -> Change {
    let epoch = root(name).expose()[..16].try_into().unwrap();
    let party = Party {
        name: name.to_owned(),
        public_key: vec![1],
        commitment: Some([2; 32]),
        encrypted_secret: b"encrypted".to_vec(),
    };
    let set = RecoverySet {
        scheme: Scheme::Single,
        threshold: 1,
        epoch,
        parties: vec![party],
        unassigned_commitments: Vec::new(),
    };
    Change::Recovery(vec![Arc::new(RecoveryEntry { set, root: root(name) })])
}

/// The counter the tests count with.
pub(crate) fn key() -> CounterKey {
    CounterKey { marble_type: "type".to_owned(), uuid: [1; 16], name: "n".to_owned() }
}

/// The counter is set.
pub(crate) fn count(value: u64) -> Change {
    Change::Counter(key(), value)
}

/// Value of the counter.
pub(crate) fn counted(state: &State) -> u64 {
    state.counter(&key())
}

/// A secret of that size is set.
pub(crate) fn secret(name: &str, size: usize) -> Change {
    let mut value = Zeroizing::new(vec![0; size]);
    aws_lc_rs::rand::fill(&mut value).unwrap();
    let secret = Secret {
        kind: SecretKind::Plain,
        size: 0,
        shared: true,
        user_defined: true,
        valid_for: 0,
        certificate: None,
        private: Some(value.clone()),
        public: Some(value),
    };
    Change::Secret(name.to_owned(), Some(Arc::new(secret)))
}
