//! Upstream's state: one JSON object of store keys to base64 values. Read on import, written by an explicit export.
//!
//! Every key has its place in [`State`]. What has none (keys we do not know), and what we would write differently
//! (generated placeholders of per-Marble secrets, an empty list where we write `null`), is kept as it was
//! ([`State::extra`]), so that an imported state exports to the same bytes until it is changed.

use std::collections::BTreeMap;

use marblerun_manifest::model::SecretDefinition;
use marblerun_pki::Secret;
use marblerun_recovery::{RecoveryRoot, Scheme};
use zeroize::Zeroizing;

mod export;
mod import;
mod json;
pub(crate) mod keys;
mod values;

use crate::{ChangeError, State};

/// Reads the plaintext of upstream's `sealed_data`. `dek` becomes the recovery root; `header` is the
/// recovery hash map (JSON, maybe `null` or empty), which may be lost.
///
/// # Errors
/// Which key is missing or unreadable.
pub fn import(
    plaintext: &[u8],
    header: &[u8],
    dek: RecoveryRoot,
    incarnation_id: [u8; 16],
    epoch: [u8; 16],
) -> Result<State, ChangeError> {
    import::import(plaintext, header, dek, incarnation_id, epoch)
}

/// Writes the plaintext that upstream would store for this state: sorted keys, Go's JSON.
///
/// Upstream stores a generated placeholder for every per-Marble secret, and takes the certificate template from it.
/// `placeholder` makes one from the name and the manifest's definition
/// ([`marblerun_pki::generate_per_marble`] with a random UUID and an empty Marble type). It is not asked for
/// secrets whose imported placeholder is still there.
///
/// # Errors
/// If a value has no upstream form, or a placeholder could not be made.
pub fn export(
    state: &State,
    placeholder: &dyn Fn(&str, &SecretDefinition) -> Result<Secret, String>,
) -> Result<Zeroizing<Vec<u8>>, ChangeError> {
    export::export(state, placeholder)
}

/// Writes the readable header that goes with [`export`]: what a recovery of upstream looks at. The key that
/// encrypts the plaintext is then the root of the first recovery set.
///
/// # Errors
/// If the hashes of the secrets are not known (an import whose header was lost).
pub fn export_header(state: &State) -> Result<Vec<u8>, ChangeError> {
    let Some(entry) = state.recovery().first().filter(|entry| entry.set.scheme != Scheme::Single) else {
        return Ok(b"null".to_vec());
    };
    let set = &entry.set;
    let known = set.parties.iter().filter_map(|party| party.commitment).chain(set.unassigned_commitments.clone());
    let hashes: BTreeMap<String, bool> = known.map(|hash| (hex::encode(hash), true)).collect();
    if hashes.len() != set.parties.len() {
        return Err(ChangeError(
            "the hashes of the recovery secrets are not known; change the recovery keys first".to_owned(),
        ));
    }
    let mut json = json::Json::with_capacity(hashes.len() * 80);
    json.map(&hashes, |json, _| {
        json.raw("true");
    });
    Ok(json.finish().to_vec())
}
