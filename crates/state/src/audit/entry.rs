//! One entry, and its one form: a line of JSON with its keys in a fixed order. What is hashed, served and exported
//! are the bytes of that line.

use jiff::Timestamp;
use serde::Serialize;

use crate::ChangeError;

/// Longest text in an entry, in bytes. Names are strangers' texts, and an entry has to stay small.
pub const MAX_AUDIT_TEXT: usize = 256;

/// What happened. The numbers are those of the sealed format, the names those of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum AuditEvent {
    /// A manifest was set where none was in force.
    ManifestSet = 1,
    /// A user raised the security version of a package.
    PackageUpdate = 2,
    /// A user proposed another manifest.
    UpdateProposed = 3,
    /// A user acknowledged the proposed manifest.
    UpdateAcknowledged = 4,
    /// The proposed manifest came into force.
    UpdateApplied = 5,
    /// A user ended the proposal.
    UpdateCancelled = 6,
    /// The proposal had all acknowledgements and could not be applied.
    UpdateFailed = 7,
    /// A user gave a secret its value.
    SecretWritten = 8,
    /// Key holders brought the state back on a host that could not open it.
    Recovery = 9,
    /// An older state, or one that lost its end, was accepted at a start.
    RestoreAccepted = 10,
    /// The state was taken over from upstream's Coordinator.
    Imported = 11,
    /// A user was given a copy of the sealed state.
    Backup = 12,
    /// Something was attempted and refused.
    Refused = 13,
    /// Coordinators that share the state got another key encryption key.
    KekRotated = 14,
    /// An operator had the state of the running Coordinators written back over another one.
    RestoreRejected = 15,
    /// The key of the sealed state got another key slot.
    SlotAdded = 16,
    /// A key slot was removed, and the key replaced so that no copy of it opens what comes after.
    SlotRemoved = 17,
    /// The key of the sealed state was replaced, and with it all its key slots.
    SlotsRotated = 18,
}

impl AuditEvent {
    /// Every event.
    pub const ALL: [Self; 18] = [
        Self::ManifestSet,
        Self::PackageUpdate,
        Self::UpdateProposed,
        Self::UpdateAcknowledged,
        Self::UpdateApplied,
        Self::UpdateCancelled,
        Self::UpdateFailed,
        Self::SecretWritten,
        Self::Recovery,
        Self::RestoreAccepted,
        Self::Imported,
        Self::Backup,
        Self::Refused,
        Self::KekRotated,
        Self::RestoreRejected,
        Self::SlotAdded,
        Self::SlotRemoved,
        Self::SlotsRotated,
    ];

    /// As it stands in a line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ManifestSet => "manifest_set",
            Self::PackageUpdate => "package_update",
            Self::UpdateProposed => "update_proposed",
            Self::UpdateAcknowledged => "update_acknowledged",
            Self::UpdateApplied => "update_applied",
            Self::UpdateCancelled => "update_cancelled",
            Self::UpdateFailed => "update_failed",
            Self::SecretWritten => "secret_written",
            Self::Recovery => "recovery",
            Self::RestoreAccepted => "restore_accepted",
            Self::Imported => "imported",
            Self::Backup => "backup",
            Self::Refused => "refused",
            Self::KekRotated => "kek_rotated",
            Self::RestoreRejected => "restore_rejected",
            Self::SlotAdded => "seal_slot_added",
            Self::SlotRemoved => "seal_slot_removed",
            Self::SlotsRotated => "seal_slots_rotated",
        }
    }

    /// From its number in the sealed format.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|event| *event as u32 == number)
    }
}

/// One entry of a trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// 1 for the first of a trail, and one more for each next.
    pub sequence: u64,
    /// Unix milliseconds, by the clock of the Coordinator.
    pub time_ms: u64,
    /// What happened.
    pub event: AuditEvent,
    /// Who did it: a user's name, `party:NAME`s of a recovery, `anyone`, or `coordinator`.
    pub actor: String,
    /// To what: `manifest`, the name of a package or secret, a route.
    pub subject: String,
    /// What stood there before; absent if nothing did.
    pub before: Option<String>,
    /// What stands there now.
    pub after: Option<String>,
    /// Stable code of a refusal, a failure, or why something had to be accepted.
    pub reason: Option<String>,
    /// How many equal events this entry stands for.
    pub count: u64,
}

impl AuditEntry {
    /// An entry without a place in a trail yet. Texts that are too long are shortened.
    #[must_use]
    pub fn new(event: AuditEvent, time_ms: u64, actor: &str, subject: &str) -> Self {
        Self {
            sequence: 0,
            time_ms,
            event,
            actor: shortened(actor),
            subject: shortened(subject),
            before: None,
            after: None,
            reason: None,
            count: 1,
        }
    }

    /// With what stood there before.
    #[must_use]
    pub fn before(self, before: Option<String>) -> Self {
        Self { before: before.as_deref().map(shortened), ..self }
    }

    /// With what stands there now.
    #[must_use]
    pub fn after(self, after: impl AsRef<str>) -> Self {
        Self { after: Some(shortened(after.as_ref())), ..self }
    }

    /// With a reason.
    #[must_use]
    pub fn reason(self, reason: &str) -> Self {
        Self { reason: Some(shortened(reason)), ..self }
    }

    /// The line, with the hash of the line before it. No line end.
    #[must_use]
    pub fn line(&self, previous: &[u8; 32]) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            sequence: u64,
            time: String,
            event: &'a str,
            actor: &'a str,
            subject: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            before: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            after: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            reason: Option<&'a str>,
            count: u64,
            previous: String,
        }
        let line = Line {
            sequence: self.sequence,
            time: rendered_time(self.time_ms).unwrap_or_default(),
            event: self.event.as_str(),
            actor: &self.actor,
            subject: &self.subject,
            before: self.before.as_deref(),
            after: self.after.as_deref(),
            reason: self.reason.as_deref(),
            count: self.count,
            previous: hex::encode(previous),
        };
        // Numbers and strings always serialise.
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// Refuses what has no line, or one that is too long.
    pub(super) fn check(&self) -> Result<(), ChangeError> {
        if rendered_time(self.time_ms).is_none() {
            return Err(ChangeError(format!("an audit entry has no possible time: {} ms", self.time_ms)));
        }
        if self.texts().any(|text| text.len() > MAX_AUDIT_TEXT) {
            return Err(ChangeError(format!("a text of an audit entry has more than {MAX_AUDIT_TEXT} bytes")));
        }
        Ok(())
    }

    /// About what it takes in memory, and at least what its texts take when stored.
    pub(crate) fn weight(&self) -> usize {
        128 + self.texts().map(str::len).sum::<usize>()
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        let optional = [&self.before, &self.after, &self.reason].into_iter().filter_map(Option::as_deref);
        [self.actor.as_str(), self.subject.as_str()].into_iter().chain(optional)
    }
}

/// RFC 3339 in UTC with milliseconds.
pub(super) fn rendered_time(time_ms: u64) -> Option<String> {
    let time = Timestamp::from_millisecond(i64::try_from(time_ms).ok()?).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

/// At most [`MAX_AUDIT_TEXT`] bytes, cut between characters, and seen to be cut.
fn shortened(text: &str) -> String {
    const MARK: &str = "...";
    if text.len() <= MAX_AUDIT_TEXT {
        return text.to_owned();
    }
    let mut end = MAX_AUDIT_TEXT - MARK.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MARK}", text.get(..end).unwrap_or_default())
}
