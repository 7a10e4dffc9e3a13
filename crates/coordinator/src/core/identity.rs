//! Who is at the other end? Users and Marbles are known by one thing alone: the leaf certificate whose
//! key the TLS handshake proved. Whatever else a client presents is at most a chain and decides nothing.

use jiff::Timestamp;
use marblerun_pki::{MarbleCertificateError, verify_marble_certificate};
use marblerun_state::{Phase, State, User};

use crate::core::answer::PeerCertificate;
use crate::core::grace::{Grace, RootName, root_name};
use crate::error::{Error, ErrorKind};

/// A Marble whose certificate was checked, and the Marble root it stands under.
#[derive(Debug, Clone)]
pub struct MarbleIdentity {
    pub(super) marble_type: String,
    pub(super) uuid: [u8; 16],
    root: RootName,
}

impl MarbleIdentity {
    /// Whether it still stands, in a later state perhaps.
    pub(super) fn stands(&self, state: &State, grace: &Grace, now: Timestamp) -> bool {
        state.phase() == Phase::AcceptingMarbles && grace.stands(state, &self.root, &self.marble_type, &self.uuid, now)
    }
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

/// Refuses if the manifest in force does not switch a feature on.
pub(super) fn require_feature(state: &State, gate: &str) -> Result<(), Error> {
    if state.manifest().is_some_and(|active| active.manifest.config.has_feature(gate)) {
        return Ok(());
    }
    let text = format!("{gate} feature is not enabled in the manifest");
    Err(Error::new(ErrorKind::Forbidden, "feature_not_enabled", text))
}

/// The Marble behind a certificate: issued by the Marble root in force, or by one before it that still counts for
/// this Marble; in time, for servers, with a UUID and a type.
pub(super) fn marble(
    state: &State,
    peer: Option<&PeerCertificate>,
    grace: &Grace,
    now: Timestamp,
) -> Result<MarbleIdentity, Error> {
    if state.phase() != Phase::AcceptingMarbles {
        return Err(unknown_marble("server is not in expected state"));
    }
    let peer = peer.ok_or_else(|| unknown_marble("client certificate did not match any Marble"))?;
    let unknown = || unknown_marble(&MarbleCertificateError::UnknownAuthority.to_string());
    for root in grace.roots(state, now) {
        let marble = match verify_marble_certificate(&peer.0, root.certificate, now) {
            Ok(marble) => marble,
            Err(MarbleCertificateError::UnknownAuthority) => continue,
            Err(cause) => return Err(unknown_marble(&cause.to_string())),
        };
        let identity = MarbleIdentity {
            marble_type: marble.marble_type,
            uuid: marble.uuid.into_bytes(),
            root: root_name(root.certificate),
        };
        return if identity.stands(state, grace, now) { Ok(identity) } else { Err(unknown()) };
    }
    Err(unknown())
}

/// What a client is told that is no Marble, or is one no more.
pub(super) fn unknown_marble(cause: &str) -> Error {
    Error::new(ErrorKind::Unauthorized, "unknown_marble", format!("unauthorized marble: {cause}"))
}
