//! The audit trail, as the use cases write and read it. An entry is recorded in the transaction of what it tells about:
//! both are durable together, or neither is. What is refused has no transaction; see `refusals`.

mod digest;
mod keeper;
mod read;
mod refusals;

use std::borrow::Cow;

use jiff::Timestamp;
use marblerun_state::{AuditEntry, AuditEvent, AuditKind, Change, ChangeError, Draft, State};

pub(super) use digest::secret_digest;
pub(super) use keeper::Keeper;
pub use read::AuditPage;

/// Who is nobody in particular.
pub(super) const ANYONE: &str = "anyone";
/// Who acts where nobody was asked.
pub(super) const COORDINATOR: &str = "coordinator";
/// The subject of everything about the manifest.
const MANIFEST: &str = "manifest";

/// A user as an actor. Names are free text; one that reads like another kind of actor is told apart.
pub(super) fn user(name: &str) -> Cow<'_, str> {
    let is_taken = [ANYONE, COORDINATOR, refusals::OTHERS].contains(&name);
    match is_taken || ["party:", "user:"].iter().any(|prefix| name.starts_with(prefix)) {
        true => Cow::Owned(format!("user:{name}")),
        false => Cow::Borrowed(name),
    }
}

/// An entry of now.
pub(super) fn entry(event: AuditEvent, now: Timestamp, actor: &str, subject: &str) -> AuditEntry {
    AuditEntry::new(event, u64::try_from(now.as_millisecond()).unwrap_or_default(), actor, subject)
}

/// An entry about a manifest: the one in force, and the one it is about.
pub(super) fn about_manifest(
    event: AuditEvent,
    now: Timestamp,
    actor: &str,
    state: &State,
    fingerprint: &str,
) -> AuditEntry {
    entry(event, now, actor, MANIFEST)
        .before(state.manifest().map(|active| sha256(&hex::encode(active.fingerprint))))
        .after(sha256(fingerprint))
}

/// Appends entries to what happened.
pub(super) fn record(draft: &mut Draft, entries: impl IntoIterator<Item = AuditEntry>) -> Result<(), ChangeError> {
    append(draft, AuditKind::Changes, entries)
}

fn append(
    draft: &mut Draft,
    kind: AuditKind,
    entries: impl IntoIterator<Item = AuditEntry>,
) -> Result<(), ChangeError> {
    let first = draft.state().audit(kind).next_sequence();
    let entries = (first..).zip(entries).map(|(sequence, entry)| AuditEntry { sequence, ..entry });
    draft.record(Change::Audit(kind, entries.collect()))
}

fn sha256(fingerprint: &str) -> String {
    format!("sha256:{fingerprint}")
}

#[cfg(test)]
mod tests {
    use super::user;

    #[test]
    fn no_name_of_a_user_reads_like_somebody_else() {
        for (name, actor) in [
            ("alice", "alice"),
            ("anyone", "user:anyone"),
            ("coordinator", "user:coordinator"),
            ("others", "user:others"),
            ("party:alice", "user:party:alice"),
            ("user:anyone", "user:user:anyone"),
        ] {
            assert_eq!(user(name), actor);
        }
    }
}
