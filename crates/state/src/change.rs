//! The only ways a state changes. Encoded as protobuf; an unknown kind is an error, never skipped.

use std::sync::Arc;

use marblerun_manifest::model::Package;
use marblerun_pki::{Authority, Secret};
use zeroize::Zeroizing;

use crate::state::{CounterKey, Lineage, PendingUpdate, RecoveryEntry, RootSecret};

/// One change.
#[derive(Debug, Clone)]
pub enum Change {
    /// Which deployment and incarnation this is.
    Lineage(Lineage),
    /// New keys and certificates.
    Authority(Arc<Authority>),
    /// Root secret, and the one before.
    RootSecret {
        /// Current.
        current: RootSecret,
        /// Before the last rotation.
        previous: Option<RootSecret>,
    },
    /// A manifest comes into force (and the phase becomes running). Does not touch packages or secrets.
    Manifest {
        /// As uploaded.
        raw: Vec<u8>,
        /// DER.
        signature: Vec<u8>,
    },
    /// An effective package is set (`None`: removed).
    Package(String, Option<Arc<Package>>),
    /// A secret is set (`None`: removed).
    Secret(String, Option<Arc<Secret>>),
    /// The previous generation of a secret is set (`None`: removed).
    PreviousSecret(String, Option<Arc<Secret>>),
    /// Activations counted for a Marble type.
    Activations(String, u64),
    /// A monotonic counter is set.
    Counter(CounterKey, u64),
    /// Lines are appended to the update log.
    Log(Vec<String>),
    /// The update log begins anew (followed by [`Change::Log`]).
    LogReset,
    /// The pending update is set or ended.
    PendingUpdate(Option<Arc<PendingUpdate>>),
    /// Recovery sets in force. In a committed transaction this makes the store change the data
    /// encryption key and write a new file.
    Recovery(Vec<Arc<RecoveryEntry>>),
    /// An unknown store key of an imported state (`None`: removed).
    Extra(String, Option<Vec<u8>>),
}

/// Why a change cannot be read or applied.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ChangeError(pub String);

impl Change {
    /// Encodes as one protobuf message.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        todo!()
    }

    /// Decodes one protobuf message (authenticated, but still bounded and checked).
    ///
    /// # Errors
    /// [`ChangeError`] on malformed or unknown kinds.
    pub fn decode(_bytes: &[u8]) -> Result<Self, ChangeError> {
        todo!()
    }
}
