//! What Coordinators tell each other (gRPC, package `marblerun.peer.v1`, service `Peers`), generated from
//! `proto/peer.proto`.
#![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::expect_used)]

tonic::include_proto!("marblerun.peer.v1");

/// When it was accepted: the rest is a secret.
impl std::fmt::Debug for CeremonyUpload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CeremonyUpload({})", self.count)
    }
}

/// Nothing: keys are secrets.
impl std::fmt::Debug for CeremonySession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CeremonySession(..)")
    }
}
