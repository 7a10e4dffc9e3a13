//! Key slots of a sealed state: which backends open it by themselves, and what operators change about that. Those of a state
//! that several Coordinators share are the copies of its key encryption key, of the host that answers and of all hosts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One key slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SealSlot {
    /// Its name: that of the backend that made it.
    pub label: String,
    /// `platform`, `tpm`, `pkcs11`, `kms`, `passphrase`, `plain`; absent for one of a newer version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The configured backend that opens it; absent if none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Whether it stands in every backup, which it then opens wherever its backend is.
    pub in_backups: bool,
    /// Whether it stands beside a shared state, once for all hosts that reach its backend. The others are of this host alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// Whether it opened the state when it was last tried; absent if it was not tried since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens: Option<bool>,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A configured sealing backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SealBackend {
    /// Its name.
    pub name: String,
    /// Kind of its slots.
    pub kind: String,
    /// Whether it has one.
    pub has_slot: bool,
}

/// Answer of the calls on `seal/slots`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SealSlots {
    /// Name of the key that the slots give, hexadecimal: another one after each rotation.
    pub key: String,
    /// `SealMode` of the manifest.
    pub mode: String,
    /// The slots, those of this host alone first.
    pub slots: Vec<SealSlot>,
    /// What is configured, in the order in which the slots are tried.
    pub backends: Vec<SealBackend>,
    /// Whether recovery keys open the state, too.
    pub recoverable: bool,
    /// Who changed something, as the audit trail names him; absent where nothing was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Body of `POST seal/slots`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SealSlotAddition {
    /// Name of a configured backend that has no slot.
    pub backend: String,
}

/// Body of `POST seal/slots/test`; may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SealSlotTest {
    /// Label of the only slot to try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
}

/// Body of `POST seal/slots/rotate`; may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SealSlotRotation {
    /// Label of a slot that must be there afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// Also if slots are lost that cannot be made anew now.
    #[serde(default)]
    pub force: bool,
}
