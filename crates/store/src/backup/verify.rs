//! Proving, offline, that a backup can be recovered with the keys at hand.
//!
//! It does what the key holders and the Coordinator would do: decrypts the parties' secrets, combines them, opens
//! the file, checks the state, and checks that the keys are those the manifest inside asks for.

use std::path::Path;

use marblerun_recovery::verify_quorum;
use marblerun_state::State;

use super::facts::Facts;
use super::open::{Candidate, WithKeys};
use super::{BackupError, VerifyWith};

/// A backup that was opened.
#[derive(Debug)]
pub struct Proof {
    /// What the file says without a key.
    pub facts: Facts,
    /// SHA-256 of the root certificate inside, whose private key was found to fit.
    pub root_fingerprint: [u8; 32],
    /// SHA-256 of the manifest in force.
    pub manifest_fingerprint: [u8; 32],
    /// Sequence of the newest state; `None` for a file of the Go Coordinator, which has none.
    pub sequence: Option<u64>,
    /// Its time, Unix milliseconds; likewise.
    pub time_ms: Option<u64>,
    /// The readable header is not the one inside. A Coordinator goes by the one inside, and repairs it.
    pub header_altered: bool,
    /// Whether a Coordinator would accept the recovery.
    pub quorum: Quorum,
}

/// Whether the keys are those the manifest inside asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quorum {
    /// They are: these parties' keys signed.
    Proven(Vec<String>),
    /// Not checked: without private keys nothing can be signed.
    NotChecked,
}

/// Opens a backup (a file, or the one in a seal directory) with recovery keys and checks what is inside. Reads only.
///
/// # Errors
/// [`BackupError::NotWhole`]; [`BackupError::BadKey`], [`BackupError::NotOpened`], [`BackupError::QuorumRefused`] if it cannot be
/// recovered with these keys; [`BackupError::NotAsExpected`] if it has another root certificate.
pub fn verify(path: &Path, with: &VerifyWith) -> Result<Proof, BackupError> {
    open(path, with).map(|(proof, _)| proof)
}

/// As [`verify`], and gives the state inside.
///
/// # Errors
/// As [`verify`].
pub fn open(path: &Path, with: &VerifyWith) -> Result<(Proof, State), BackupError> {
    prove(Candidate::find(path)?, with)
}

/// As [`verify`], of bytes that lie elsewhere, such as in a Secret. `name` stands for the path.
///
/// # Errors
/// As [`verify`].
pub fn verify_bytes(bytes: Vec<u8>, name: &Path, with: &VerifyWith) -> Result<Proof, BackupError> {
    prove(Candidate::of_bytes(bytes, name)?, with).map(|(proof, _)| proof)
}

fn prove(candidate: Candidate, with: &VerifyWith) -> Result<(Proof, State), BackupError> {
    let WithKeys { opened, uploads } = candidate.open_with_keys(with)?;
    let root_fingerprint = crate::digest::sha256(&[&opened.state.authority().root_certificate]);
    let Some(manifest) = opened.state.manifest() else {
        return Err(BackupError::NotAsExpected("the state inside has no manifest".into()));
    };
    let quorum = if uploads.is_empty() {
        Quorum::NotChecked
    } else {
        let manifest = &manifest.manifest;
        let names = verify_quorum(&manifest.recovery_keys, manifest.config.recovery_threshold, &uploads);
        Quorum::Proven(names.map_err(|error| BackupError::QuorumRefused(error.to_string()))?)
    };
    let proof = Proof {
        root_fingerprint,
        manifest_fingerprint: manifest.fingerprint,
        sequence: opened.sequence,
        time_ms: opened.time_ms,
        header_altered: opened.header_altered,
        facts: opened.facts,
        quorum,
    };
    Ok((proof, opened.state))
}
