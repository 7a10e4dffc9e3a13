//! The audit trail: who did what to a deployment, in entries each of which holds the hash of the one before.
//!
//! There are two trails. *Changes* holds what happened. *Refusals* holds what was attempted and refused; it is kept
//! apart, and is short, so that nobody can push out what happened by attempting much. Both are part of the sealed
//! state, and the root key signs their heads: who has seen a signed head notices every later change to what was
//! before it.

mod entry;
mod head;
mod trail;

pub use entry::{AuditEntry, AuditEvent, MAX_AUDIT_TEXT};
pub use head::{AUDIT_HEAD_DOMAIN, SignedAuditHead};
pub use trail::{AuditBase, AuditKind, AuditTrail};

#[cfg(test)]
mod tests;
