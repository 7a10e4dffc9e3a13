//! The key holders' encrypted secrets, for those who may replace the manifest: an answer that was lost, or went to
//! somebody else, loses nothing. They are of use to the holders of the recovery keys alone.

use marblerun_recovery::RecoverySet;
use marblerun_state::{Permission, Phase, State};

use crate::core::answer::PeerCertificate;
use crate::core::identity;
use crate::error::{Error, ErrorKind};

/// All sets in force: none without recovery keys, two while new keys wait to be confirmed.
pub(super) fn read(state: &State, peer: Option<&PeerCertificate>) -> Result<Vec<RecoverySet>, Error> {
    let user = identity::user(state, peer)?;
    if state.phase() != Phase::AcceptingMarbles {
        return Err(Error::wrong_state());
    }
    if !user.is_allowed(Permission::UpdateManifest, std::iter::empty()) {
        let text = format!("user {} is not allowed to read the recovery secrets: this takes UpdateManifest", user.name);
        return Err(Error::new(ErrorKind::Forbidden, "not_allowed", text));
    }
    Ok(state.recovery().iter().map(|entry| entry.set.clone()).collect())
}
