//! Who is at the other end? Users and Marbles are known by one thing alone: the leaf certificate whose
//! key the TLS handshake proved. Whatever else a client presents is at most a chain and decides nothing.

use std::sync::Arc;

use jiff::Timestamp;
use marblerun_pki::{Authority, verify_marble_certificate};
use marblerun_state::{Phase, State, User};

use crate::core::answer::PeerCertificate;
use crate::error::{Error, ErrorKind};

/// A Marble whose certificate was checked, and the authority it was checked against.
#[derive(Debug, Clone)]
pub struct MarbleIdentity {
    pub(super) marble_type: String,
    pub(super) uuid: [u8; 16],
    pub(super) authority: Arc<Authority>,
}

/// The user with exactly this certificate. Dates, issuer and usage are not looked at: what counts is
/// that the manifest names these bytes. Without a manifest there are no users.
pub(super) fn user<'s>(state: &'s State, peer: Option<&PeerCertificate>) -> Result<&'s User, Error> {
    peer.and_then(|peer| state.manifest()?.user_by_certificate(&peer.0)).ok_or_else(|| {
        Error::new(
            ErrorKind::Unauthorized,
            "unknown_user",
            "unauthorized user: client certificate did not match any MarbleRun users",
        )
    })
}

/// The Marble behind a certificate: issued by the current Marble root, in time, for servers, with a UUID and a type.
pub(super) fn marble(state: &State, peer: Option<&PeerCertificate>, now: Timestamp) -> Result<MarbleIdentity, Error> {
    let refuse =
        |cause: &str| Error::new(ErrorKind::Unauthorized, "unknown_marble", format!("unauthorized marble: {cause}"));
    if state.phase() != Phase::AcceptingMarbles {
        return Err(refuse("server is not in expected state"));
    }
    let peer = peer.ok_or_else(|| refuse("client certificate did not match any Marble"))?;
    let authority = state.authority();
    let marble = verify_marble_certificate(&peer.0, &authority.marble_root_certificate, now)
        .map_err(|cause| refuse(&cause.to_string()))?;
    Ok(MarbleIdentity {
        marble_type: marble.marble_type,
        uuid: marble.uuid.into_bytes(),
        authority: Arc::clone(authority),
    })
}
