//! The signed head: what the root key says about both trails at one moment.

use marblerun_pki::PkiError;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::entry::rendered_time;
use super::trail::{AuditKind, AuditTrail};
use crate::State;

/// Stands before the statement in what is signed, so that the signature is good for nothing else.
pub const AUDIT_HEAD_DOMAIN: &[u8] = b"marblerun audit head v1\n";

/// A statement about the heads of both trails, and the root key's signature over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedAuditHead {
    /// JSON. What is signed are these bytes behind [`AUDIT_HEAD_DOMAIN`].
    pub statement: String,
    /// ECDSA P-384 with SHA-384, ASN.1 DER; the key is that of the root certificate.
    pub signature: Vec<u8>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    deployment: String,
    incarnation: u64,
    time: String,
    root_fingerprint: String,
    changes: Place,
    refusals: Place,
}

/// How far a trail is.
#[derive(Serialize)]
struct Place {
    /// Of the newest entry.
    sequence: u64,
    head: String,
    /// Of the newest entry that is not kept any more; 0 if all are.
    dropped: u64,
    base: String,
}

impl Place {
    fn of(trail: &AuditTrail) -> Self {
        let (head, base) = (trail.head(), trail.base());
        Self {
            sequence: head.sequence,
            head: hex::encode(head.hash),
            dropped: base.sequence,
            base: hex::encode(base.hash),
        }
    }
}

impl State {
    /// Signs the heads of both trails.
    ///
    /// # Errors
    /// If signing fails.
    pub fn sign_audit_head(&self, time_ms: u64) -> Result<SignedAuditHead, PkiError> {
        let statement = Statement {
            deployment: hex::encode(self.lineage().deployment_id),
            incarnation: self.lineage().incarnation,
            time: rendered_time(time_ms).unwrap_or_default(),
            root_fingerprint: hex::encode(Sha256::digest(&self.authority().root_certificate)),
            changes: Place::of(self.audit(AuditKind::Changes)),
            refusals: Place::of(self.audit(AuditKind::Refusals)),
        };
        let statement = serde_json::to_string(&statement).unwrap_or_default();
        let signature = self.authority().root_key.sign_sha384(&[AUDIT_HEAD_DOMAIN, statement.as_bytes()].concat())?;
        Ok(SignedAuditHead { statement, signature })
    }
}
