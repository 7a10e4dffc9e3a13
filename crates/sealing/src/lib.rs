//! Which key can only this platform get back? A [`KeySealer`] gives a slot secret that only this
//! platform (or this device) can reproduce; the store wraps its data encryption key with it.
//!
//! A sealer never sees the data encryption key. It hands out 32-byte *slot secrets*, addressed by
//! public `params` that are stored beside the wrapped key.
#![forbid(unsafe_code)]

use zeroize::Zeroizing;

pub mod counter;
pub mod derivation;
mod gramine;
mod nested;
mod params;
mod passphrase;
mod sealers;
pub mod snp;
mod software;
pub mod upstream_hsm;

pub use counter::{CounterDevice, CounterError, Freshness, MonotonicCounter};
pub use gramine::GramineKeys;
pub use nested::Nested;
pub use passphrase::Passphrase;
pub use sealers::{Sealers, SealersError, Surroundings};
pub use software::{HostKeyFile, Plain};

/// Slot kinds of the sealed format (numbers are stored).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum SlotKind {
    /// Recovery root of the key holders.
    Recovery = 1,
    /// Seal key of the platform (SGX, SEV-SNP); in simulation, the host key file.
    Platform = 2,
    /// TPM 2.0.
    Tpm = 3,
    /// PKCS#11 token.
    Pkcs11 = 4,
    /// Cloud KMS or managed HSM.
    Kms = 5,
    /// Passphrase.
    Passphrase = 6,
    /// Key encryption key of a cluster.
    Cluster = 7,
    /// No protection: the slot secret itself is stored (simulation).
    Plain = 8,
}

impl SlotKind {
    /// The kind with that number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Recovery,
            2 => Self::Platform,
            3 => Self::Tpm,
            4 => Self::Pkcs11,
            5 => Self::Kms,
            6 => Self::Passphrase,
            7 => Self::Cluster,
            8 => Self::Plain,
            _ => return None,
        })
    }

    /// One word for programs, such as `pkcs11`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recovery => "recovery",
            Self::Platform => "platform",
            Self::Tpm => "tpm",
            Self::Pkcs11 => "pkcs11",
            Self::Kms => "kms",
            Self::Passphrase => "passphrase",
            Self::Cluster => "cluster",
            Self::Plain => "plain",
        }
    }

    /// Whether slots of this kind stand in the header of `sealed_data` and so travel with a backup.
    /// The others stand only in `sealed_key`.
    #[must_use]
    pub fn is_portable(self) -> bool {
        matches!(self, Self::Recovery | Self::Pkcs11 | Self::Kms | Self::Passphrase)
    }
}

/// Which enclaves may get the key back (manifest `Config.SealMode`). The numbers are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum SealMode {
    /// Enclaves of the same signer and product.
    #[default]
    ProductKey = 0,
    /// Exactly this enclave.
    UniqueKey = 1,
    /// Nothing is stored.
    Disabled = 2,
}

impl SealMode {
    /// As a manifest names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProductKey => "ProductKey",
            Self::UniqueKey => "UniqueKey",
            Self::Disabled => "Disabled",
        }
    }

    /// The mode a manifest names; `""` is [`SealMode::ProductKey`]. `None` if unknown.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "" | "ProductKey" => Self::ProductKey,
            "UniqueKey" => Self::UniqueKey,
            "Disabled" => Self::Disabled,
            _ => return None,
        })
    }
}

/// A new slot: public parameters to store, and the secret they stand for.
pub struct NewSlot {
    /// What to store beside the wrapped key (at most 64 KiB).
    pub params: Vec<u8>,
    /// The slot secret.
    pub secret: Zeroizing<Vec<u8>>,
}

/// Why a sealer could not give a slot secret.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The parameters belong to another device, host or key.
    #[error("this platform cannot reproduce the sealing key: {0}")]
    NotMine(String),
    /// The device, token, service or file did not answer.
    #[error("sealing backend {backend} is not available: {reason}")]
    Unavailable {
        /// Name of the backend.
        backend: &'static str,
        /// What it said.
        reason: String,
    },
    /// The parameters are malformed.
    #[error("sealing parameters are malformed: {0}")]
    Malformed(String),
}

/// A source of slot secrets that only this platform can reproduce. May block.
pub trait KeySealer: Send + Sync + std::fmt::Debug {
    /// Kind of the slots it makes and opens.
    fn kind(&self) -> SlotKind;
    /// One word for logs and status, such as `plain` or `host-key-file`. Labels the slots it makes, so it is unique
    /// among the sealers of a Coordinator.
    fn name(&self) -> &str;
    /// Whether this plays a platform in simulation. Only then does the store take keys that prove nothing about who
    /// made them (plain slots, upstream's bare `sealed_key`).
    fn simulated(&self) -> bool {
        false
    }
    /// Whether a slot that this opens can only have been made by a genuine Coordinator, so that in a real trusted
    /// execution environment it may open a state by itself. A device or service that serves whoever asks proves
    /// nothing; one that makes sure whom it serves says so here.
    fn proves_its_maker(&self) -> bool {
        self.kind() == SlotKind::Platform && !self.simulated()
    }
    /// What an operator should know who has no other slot than this one.
    fn caution(&self) -> Option<&'static str> {
        None
    }
    /// What is inside a `sealed_key` that the original put into an HSM's envelope ([`upstream_hsm`]); `None` if this is
    /// no such HSM. May block.
    fn open_upstream(&self, sealed_key: &[u8]) -> Option<Result<Zeroizing<Vec<u8>>, SealError>> {
        let _ = sealed_key;
        None
    }
    /// Public name of the host (device, token): whoever can reproduce slot secrets made here has the same. Zeros where
    /// nothing tells hosts apart.
    ///
    /// # Errors
    /// [`SealError::Unavailable`] if the backend cannot be reached.
    fn host_id(&self) -> Result<[u8; 16], SealError>;
    /// Makes a new slot secret.
    ///
    /// # Errors
    /// [`SealError::Unavailable`] if the backend cannot be reached.
    fn new_slot(&self, mode: SealMode) -> Result<NewSlot, SealError>;
    /// Reproduces the secret for stored parameters.
    ///
    /// # Errors
    /// [`SealError::NotMine`] on another host; [`SealError::Unavailable`], [`SealError::Malformed`].
    fn slot_secret(&self, params: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError>;
}
