//! Upstream's state: one JSON object of store keys to base64 values (state-and-recovery spec, section 4).

use marblerun_recovery::RecoveryRoot;

use crate::{ChangeError, State};

pub(crate) mod keys;

/// Reads the plaintext of upstream's `sealed_data`. `dek` becomes the recovery root; `header` is the
/// recovery hash map (JSON, maybe `null` or empty).
///
/// # Errors
/// Which key is unreadable.
pub fn import(
    _plaintext: &[u8],
    _header: &[u8],
    _dek: RecoveryRoot,
    _incarnation_id: [u8; 16],
    _epoch: [u8; 16],
) -> Result<State, ChangeError> {
    todo!()
}

/// Writes the plaintext that upstream would store for this state: sorted keys, Go's JSON.
///
/// # Errors
/// If a value has no upstream form.
pub fn export(_state: &State) -> Result<zeroize::Zeroizing<Vec<u8>>, ChangeError> {
    todo!()
}
